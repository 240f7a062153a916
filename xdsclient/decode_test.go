package xdsclient

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	statusv3 "github.com/envoyproxy/go-control-plane/envoy/service/status/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

var someTime = time.Date(2026, 11, 20, 10, 0, 0, 123e6, time.UTC)

func anyOf(tb testing.TB, m proto.Message) *anypb.Any {
	tb.Helper()
	a, err := anypb.New(m)
	if err != nil {
		tb.Fatal(err)
	}
	return a
}

// fullResponse has every field that is read, in both forms.
func fullResponse(tb testing.TB) *statusv3.ClientStatusResponse {
	tb.Helper()
	metadata, err := structpb.NewStruct(map[string]any{"TRAFFICDIRECTOR_NETWORK_NAME": "default", "n": 1.5, "t": true,
		"null": nil, "list": []any{"a", 1.0}, "nested": map[string]any{"b": "<x>", "a": []any{}}})
	if err != nil {
		tb.Fatal(err)
	}
	at := timestamppb.New(someTime)
	failed := &adminv3.UpdateFailureState{Details: "address in use", VersionInfo: "8", LastUpdateAttempt: at,
		FailedConfiguration: anyOf(tb, &clusterv3.Cluster{Name: "bad"})}
	node := &corev3.Node{Id: "projects/1/networks/default/nodes/a", Cluster: "c", Metadata: metadata,
		Locality: &corev3.Locality{Region: "r", Zone: "z", SubZone: "s"}, UserAgentName: "envoy",
		UserAgentVersionType: &corev3.Node_UserAgentBuildVersion{UserAgentBuildVersion: &corev3.BuildVersion{
			Version: &typev3.SemanticVersion{MajorNumber: 1, MinorNumber: 30, Patch: 2}}},
		ClientFeatures: []string{"f"}}
	per := func(s statusv3.ConfigStatus, p *statusv3.PerXdsConfig) *statusv3.PerXdsConfig {
		p.Status = s
		return p
	}
	return &statusv3.ClientStatusResponse{Config: []*statusv3.ClientConfig{
		{Node: node, ClientScope: "xds:///a", GenericXdsConfigs: []*statusv3.ClientConfig_GenericXdsConfig{
			{TypeUrl: resourceTypes + "cluster.v3.Cluster", Name: "one", VersionInfo: "7", LastUpdated: at,
				XdsConfig:    anyOf(tb, &clusterv3.Cluster{Name: "one"}),
				ConfigStatus: statusv3.ConfigStatus_STALE, ClientStatus: adminv3.ClientResourceStatus_ACKED},
			{TypeUrl: "type.googleapis.com/some.day.Thing", Name: "x",
				XdsConfig:    &anypb.Any{TypeUrl: "type.googleapis.com/some.day.Thing", Value: []byte{0xff, 0xff}},
				ConfigStatus: 99, ClientStatus: -1, IsStaticResource: true},
			{TypeUrl: resourceTypes + "listener.v3.Listener", Name: "l", ClientStatus: adminv3.ClientResourceStatus_NACKED,
				ErrorState: failed, LastUpdated: timestamppb.New(time.Time{})},
		}},
		{Node: &corev3.Node{Id: "b", UserAgentVersionType: &corev3.Node_UserAgentVersion{UserAgentVersion: "1.0"}},
			XdsConfig: []*statusv3.PerXdsConfig{
				per(statusv3.ConfigStatus_SYNCED, &statusv3.PerXdsConfig{PerXdsConfig: &statusv3.PerXdsConfig_ListenerConfig{
					ListenerConfig: &adminv3.ListenersConfigDump{VersionInfo: "ignored",
						StaticListeners: []*adminv3.ListenersConfigDump_StaticListener{{LastUpdated: at}},
						DynamicListeners: []*adminv3.ListenersConfigDump_DynamicListener{
							{Name: "active", ClientStatus: adminv3.ClientResourceStatus_NACKED, ErrorState: failed,
								WarmingState: &adminv3.ListenersConfigDump_DynamicListenerState{VersionInfo: "2"},
								ActiveState:  &adminv3.ListenersConfigDump_DynamicListenerState{VersionInfo: "1", LastUpdated: at}},
							{Name: "warming", WarmingState: &adminv3.ListenersConfigDump_DynamicListenerState{VersionInfo: "2"}},
						}}}}),
				per(statusv3.ConfigStatus_ERROR, &statusv3.PerXdsConfig{ClientStatus: statusv3.ClientConfigStatus_CLIENT_NACKED,
					PerXdsConfig: &statusv3.PerXdsConfig_ClusterConfig{ClusterConfig: &adminv3.ClustersConfigDump{
						DynamicActiveClusters: []*adminv3.ClustersConfigDump_DynamicCluster{{VersionInfo: "3",
							Cluster: anyOf(tb, &clusterv3.Cluster{Name: "c1"}), LastUpdated: at}},
						DynamicWarmingClusters: []*adminv3.ClustersConfigDump_DynamicCluster{{VersionInfo: "4",
							Cluster: &anypb.Any{TypeUrl: "type.googleapis.com/some.day.Thing", Value: []byte{0xff}}}},
						StaticClusters: []*adminv3.ClustersConfigDump_StaticCluster{{Cluster: anyOf(tb, &clusterv3.Cluster{Name: "s1"})}}}}}),
				per(0, &statusv3.PerXdsConfig{PerXdsConfig: &statusv3.PerXdsConfig_RouteConfig{RouteConfig: &adminv3.RoutesConfigDump{
					DynamicRouteConfigs: []*adminv3.RoutesConfigDump_DynamicRouteConfig{{
						RouteConfig: anyOf(tb, &routev3.RouteConfiguration{Name: "r1"}), ErrorState: failed}}}}}),
				per(0, &statusv3.PerXdsConfig{PerXdsConfig: &statusv3.PerXdsConfig_ScopedRouteConfig{
					ScopedRouteConfig: &adminv3.ScopedRoutesConfigDump{
						DynamicScopedRouteConfigs: []*adminv3.ScopedRoutesConfigDump_DynamicScopedRouteConfigs{{Name: "sr", VersionInfo: "5",
							ClientStatus: adminv3.ClientResourceStatus_ACKED, LastUpdated: at}},
						InlineScopedRouteConfigs: []*adminv3.ScopedRoutesConfigDump_InlineScopedRouteConfigs{{Name: "in"}}}}}),
				per(0, &statusv3.PerXdsConfig{PerXdsConfig: &statusv3.PerXdsConfig_EndpointConfig{
					EndpointConfig: &adminv3.EndpointsConfigDump{
						DynamicEndpointConfigs: []*adminv3.EndpointsConfigDump_DynamicEndpointConfig{{
							EndpointConfig: anyOf(tb, &endpointv3.ClusterLoadAssignment{ClusterName: "e1"})}}}}}),
				per(statusv3.ConfigStatus_NOT_SENT, &statusv3.PerXdsConfig{}),
				{},
			}},
		{},
	}}
}

func marshal(tb testing.TB, m proto.Message) []byte {
	tb.Helper()
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func TestDecodeBothForms(t *testing.T) {
	got, err := DecodeResponse(marshal(t, fullResponse(t)), DecodeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	const c = resourceTypes
	failed := &UpdateFailure{Details: "address in use", Version: "8", LastAttempt: someTime}
	want := []ClientConfig{
		{ClientScope: "xds:///a", Node: Node{ID: "projects/1/networks/default/nodes/a", Cluster: "c",
			Metadata: map[string]string{"TRAFFICDIRECTOR_NETWORK_NAME": "default", "n": "1.5", "t": "true", "null": "null",
				"list": `["a",1]`, "nested": `{"a":[],"b":"<x>"}`},
			Locality: Locality{"r", "z", "s"}, UserAgentName: "envoy", UserAgentVersion: "1.30.2"},
			Resources: []Resource{
				{TypeURL: c + "cluster.v3.Cluster", Name: "one", Version: "7", LastUpdated: someTime,
					ConfigStatus: ConfigStatusStale, ClientStatus: ClientStatusAcked},
				{TypeURL: "type.googleapis.com/some.day.Thing", Name: "x", ConfigStatus: ConfigStatusUnrecognized,
					ClientStatus: ClientStatusUnrecognized, Static: true},
				{TypeURL: c + "listener.v3.Listener", Name: "l", ClientStatus: ClientStatusNacked, Error: failed},
			}},
		{Node: Node{ID: "b", UserAgentVersion: "1.0"}, Resources: []Resource{
			{TypeURL: c + "listener.v3.Listener", ConfigStatus: ConfigStatusSynced, Static: true, LastUpdated: someTime},
			{TypeURL: c + "listener.v3.Listener", Name: "active", Version: "1", LastUpdated: someTime,
				ConfigStatus: ConfigStatusSynced, ClientStatus: ClientStatusNacked, Error: failed},
			{TypeURL: c + "listener.v3.Listener", Name: "warming", Version: "2", ConfigStatus: ConfigStatusSynced},
			{TypeURL: c + "cluster.v3.Cluster", Name: "s1", ConfigStatus: ConfigStatusError, ClientStatus: ClientStatusNacked, Static: true},
			{TypeURL: c + "cluster.v3.Cluster", Name: "c1", Version: "3", LastUpdated: someTime, ConfigStatus: ConfigStatusError,
				ClientStatus: ClientStatusNacked},
			{TypeURL: "type.googleapis.com/some.day.Thing", Version: "4", ConfigStatus: ConfigStatusError, ClientStatus: ClientStatusNacked},
			{TypeURL: c + "route.v3.RouteConfiguration", Name: "r1", Error: failed},
			{TypeURL: c + "route.v3.ScopedRouteConfiguration", Name: "in", Static: true},
			{TypeURL: c + "route.v3.ScopedRouteConfiguration", Name: "sr", Version: "5", LastUpdated: someTime, ClientStatus: ClientStatusAcked},
			{TypeURL: c + "endpoint.v3.ClusterLoadAssignment", Name: "e1"},
			{ConfigStatus: ConfigStatusNotSent},
		}},
		{},
	}
	diffClients(t, got, want)
}

func diffClients(t *testing.T, got, want []ClientConfig) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d clients, want %d", len(got), len(want))
	}
	for i := range want {
		g, w := got[i], want[i]
		if len(g.Resources) != len(w.Resources) {
			t.Errorf("client %d: %d resources, want %d", i, len(g.Resources), len(w.Resources))
			continue
		}
		for k := range w.Resources {
			if !reflect.DeepEqual(g.Resources[k], w.Resources[k]) {
				t.Errorf("client %d, resource %d:\n got %+v\nwant %+v", i, k, g.Resources[k], w.Resources[k])
			}
		}
		g.Resources, w.Resources = nil, nil
		if !reflect.DeepEqual(g, w) {
			t.Errorf("client %d:\n got %+v\nwant %+v", i, g, w)
		}
	}
}

// TestDecodeSplit reads the same answer from buffers of every small size: values cross their borders everywhere.
func TestDecodeSplit(t *testing.T) {
	b := marshal(t, fullResponse(t))
	b = protowire.AppendTag(b, 100, protowire.StartGroupType) // unknown, and skipped
	b = protowire.AppendTag(b, 1, protowire.StartGroupType)
	b = protowire.AppendTag(b, 2, protowire.Fixed64Type)
	b = append(b, 1, 2, 3, 4, 5, 6, 7, 8)
	b = protowire.AppendTag(b, 1, protowire.EndGroupType)
	b = protowire.AppendTag(b, 100, protowire.EndGroupType)
	want, err := DecodeResponse(b, DecodeOptions{KeepContents: true})
	if err != nil {
		t.Fatal(err)
	}
	for size := 1; size < 40; size++ {
		d := newDecoder(DecodeOptions{KeepContents: true})
		if size%2 == 0 {
			d.halveFrom = 1
		}
		got, err := d.response(split(b, size))
		if err != nil {
			t.Fatalf("size %d: %v", size, err)
		}
		diffClients(t, got, want)
	}
}

func split(b []byte, size int) mem.BufferSlice {
	var s mem.BufferSlice
	for len(b) > 0 {
		n := min(size, len(b))
		s, b = append(s, mem.SliceBuffer(b[:n])), b[n:]
	}
	return s
}

func TestKeepContents(t *testing.T) {
	m := fullResponse(t)
	got, err := DecodeResponse(marshal(t, m), DecodeOptions{KeepContents: true})
	if err != nil {
		t.Fatal(err)
	}
	for i, g := range m.GetConfig()[0].GetGenericXdsConfigs() {
		r := got[0].Resources[i]
		if g.GetXdsConfig() == nil {
			if r.Contents != nil {
				t.Errorf("%s has contents that were not sent", r.Name)
			}
			continue
		}
		if r.Contents.TypeURL != g.GetXdsConfig().GetTypeUrl() || string(r.Contents.Value) != string(g.GetXdsConfig().GetValue()) {
			t.Errorf("%s: contents %+v", r.Name, r.Contents)
		}
	}
	if c := got[1].Resources[4].Contents; c == nil || len(c.Value) == 0 {
		t.Error("a cluster of the deprecated form has no contents")
	}
}

// TestDecodeCutOff cuts an answer at each byte: it must be refused, unless the cut is between two clients.
func TestDecodeCutOff(t *testing.T) {
	m := fullResponse(t)
	b := marshal(t, m)
	whole := map[int]bool{0: true}
	n := 0
	for _, c := range m.GetConfig() {
		n += protowire.SizeTag(1) + protowire.SizeBytes(proto.Size(c))
		whole[n] = true
	}
	for i := range b {
		_, err := DecodeResponse(b[:i], DecodeOptions{})
		if whole[i] != (err == nil) || err != nil && !errors.Is(err, ErrMalformed) {
			t.Errorf("%d of %d bytes: %v", i, len(b), err)
		}
	}
}

func TestDecodeMalformed(t *testing.T) {
	in := func(path ...protowire.Number) func(b ...byte) []byte {
		return func(b ...byte) []byte {
			for i := len(path) - 1; i >= 0; i-- {
				b = protowire.AppendBytes(protowire.AppendTag(nil, path[i], protowire.BytesType), b)
			}
			return b
		}
	}
	for name, row := range map[string]struct {
		b    []byte
		want string
	}{
		"field number 0":           {[]byte{0x02, 0}, "field number"},
		"end of no group":          {[]byte{0x0c}, "field number"},
		"group left open":          {[]byte{0x1b}, "group"},
		"groups nested too deep":   {[]byte(strings.Repeat("\x1b", maxGroups+1)), "group"},
		"wire type 7":              {[]byte{0x0f}, "field number"},
		"varint of 11 bytes":       {[]byte(strings.Repeat("\xff", 11)), "varint"},
		"length of 2^63":           {append([]byte{0x0a}, protowire.AppendVarint(nil, 1<<63)...), "length"},
		"client longer than all":   {[]byte{0x0a, 5, 0}, "config[0]: "},
		"field beyond its client":  {[]byte{0x0a, 2, 0x1a, 4, 1, 2, 3, 4}, "config[0]: "},
		"resource: bad tag":        {in(1, 3)(0x07), "generic_xds_configs[0]: "},
		"resource: cut fixed64":    {in(1, 3)(0x09, 1), "length"},
		"resource: name not UTF-8": {in(1, 3)(0x12, 1, 0xff), "UTF-8"},
		"resource: bad time":       {in(1, 3, 5)(0x08), "varint"},
		"resource: bad any":        {in(1, 3, 4)(0x0a, 9), "length"},
		"error state: not UTF-8":   {in(1, 3, 8)(0x1a, 1, 0xff), "error_state"},
		"node: id not UTF-8":       {in(1, 1)(0x0a, 1, 0xff), "node: "},
		"node: metadata value":     {in(1, 1, 3, 1, 2)(0x32, 9), "metadata"},
		"node: locality":           {in(1, 1, 4)(0x0a, 9), "node: "},
		"node: build version":      {in(1, 1, 8, 1)(0x08), "varint"},
		"scope not UTF-8":          {in(1, 4)(0xff), "client_scope"},
		"listener: bad state":      {in(1, 2, 2, 3, 2)(0x0a, 9), "xds_config[0]: listenerConfig: dynamicListeners"},
		"cluster: bad any":         {in(1, 2, 3, 3, 2)(0x0a, 9), "clusterConfig"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, s := range []mem.BufferSlice{{mem.SliceBuffer(row.b)}, split(row.b, 1)} {
				_, err := newDecoder(DecodeOptions{KeepContents: true}).response(s)
				if !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), row.want) {
					t.Errorf("error %v, want one with %q", err, row.want)
				}
				if proto.Unmarshal(row.b, &statusv3.ClientStatusResponse{}) == nil {
					t.Error("protobuf accepts this")
				}
			}
		})
	}
}

func TestDecodeJSONIsDecodeResponse(t *testing.T) {
	m := fullResponse(t)
	for _, c := range m.GetConfig() { // a type that protojson can write, but with unknown contents
		for _, g := range c.GetGenericXdsConfigs() {
			g.XdsConfig = nil
		}
	}
	m.Config[1].XdsConfig[1].GetClusterConfig().GetDynamicWarmingClusters()[0].Cluster = nil
	m.Config[0].GenericXdsConfigs[1].ConfigStatus = 99
	for _, o := range []protojson.MarshalOptions{{}, {UseProtoNames: true}, {UseEnumNumbers: true}, {Indent: " "}} {
		b, err := o.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		want, err := DecodeResponse(marshal(t, m), DecodeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		got, err := DecodeJSON(b, DecodeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		sortStatics(want)
		sortStatics(got)
		diffClients(t, got, want)
	}
}

// sortStatics orders the static resources, which JSON has no order for, after the others.
func sortStatics(clients []ClientConfig) {
	for _, c := range clients {
		var first, last []Resource
		for _, r := range c.Resources {
			if r.Static && r.ClientStatus != ClientStatusUnrecognized {
				last = append(last, r)
			} else {
				first = append(first, r)
			}
		}
		copy(c.Resources, append(first, last...))
	}
}

func ExampleDecodeJSON() {
	clients, err := DecodeJSON([]byte(`{"config": [{"node": {"id": "n"}, "genericXdsConfigs": [
		{"typeUrl": "type.googleapis.com/envoy.config.listener.v3.Listener", "name": "l", "configStatus": "STALE"}]}]}`), DecodeOptions{})
	fmt.Println(clients[0].Node.ID, clients[0].Resources[0].ConfigStatus, err)
	// Output: n STALE <nil>
}
