package xdsclient

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	statusv3 "github.com/envoyproxy/go-control-plane/envoy/service/status/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// FuzzDecodeResponse holds the walk against protobuf: what protobuf accepts is accepted, with the same content, however it
// lies in buffers; what is refused says so. Skipped fields may hold what protobuf would have refused.
func FuzzDecodeResponse(f *testing.F) {
	full := marshal(f, fullResponse(f))
	f.Add(full, uint8(3))
	f.Add(append(full[:len(full):len(full)], full...), uint8(200))
	f.Add([]byte{0x0a, 2, 0x8a, 0x00}, uint8(1)) // a field number that is longer than it needs be
	for _, c := range fullResponse(f).GetConfig() {
		f.Add(marshal(f, &statusv3.ClientStatusResponse{Config: []*statusv3.ClientConfig{c}}), uint8(16))
	}
	f.Fuzz(func(t *testing.T, b []byte, size uint8) {
		o := DecodeOptions{KeepContents: true}
		got, err := DecodeResponse(b, o)
		if err != nil && !errors.Is(err, ErrMalformed) {
			t.Fatalf("error %v does not say that the answer is malformed", err)
		}
		d := newDecoder(o)
		d.halveFrom = 1
		for range 2 { // what the decoder remembers of an answer must not show in the next
			again, againErr := d.response(split(b, int(size)+1))
			if (err == nil) != (againErr == nil) {
				t.Fatalf("in one buffer: %v; in buffers of %d bytes: %v", err, int(size)+1, againErr)
			}
			if err == nil && !reflect.DeepEqual(got, again) {
				t.Fatalf("in one buffer: %+v\nin buffers of %d bytes: %+v", got, int(size)+1, again)
			}
		}
		var m statusv3.ClientStatusResponse
		if proto.Unmarshal(b, &m) != nil {
			return
		}
		if err != nil {
			t.Fatalf("protobuf accepts what was refused: %v", err)
		}
		want := fromProto(&m)
		for _, clients := range [][]ClientConfig{got, want} {
			for i := range clients {
				for k := range clients[i].Resources {
					r := &clients[i].Resources[k]
					if r.ConfigStatus == ConfigStatusUnknown { // protobuf cannot tell it from absent
						r.ConfigStatus = ConfigStatusAbsent
					}
					if r.ClientStatus == ClientStatusUnknown {
						r.ClientStatus = ClientStatusAbsent
					}
					if r.Contents != nil && len(r.Contents.Value) == 0 {
						r.Contents.Value = nil
					}
				}
				generic := clients[i].Resources[:0:0]
				for _, r := range clients[i].Resources {
					if !statusOnly(r) {
						generic = append(generic, r)
					}
				}
				clients[i].Resources = generic
			}
		}
		if len(got) != len(want) {
			t.Fatalf("%d clients, want %d", len(got), len(want))
		}
		for i := range want {
			g, w := got[i], want[i]
			// The deprecated form is compared as a set of names: its order differs, and static and dynamic mix.
			if !reflect.DeepEqual(g.Node, w.Node) || g.ClientScope != w.ClientScope {
				t.Fatalf("got  %+v\nwant %+v", g, w)
			}
			gs, ws := map[string]int{}, map[string]int{}
			for _, r := range g.Resources {
				gs[key(r)]++
			}
			for _, r := range w.Resources {
				ws[key(r)]++
			}
			if !reflect.DeepEqual(gs, ws) {
				t.Fatalf("got  %v\nwant %v", gs, ws)
			}
		}
	})
}

// statusOnly says whether a record may be the one that a status without resources gives. Whether there is one depends on
// UNKNOWN being sent or absent, which protobuf cannot tell apart.
func statusOnly(r Resource) bool {
	r.TypeURL, r.ConfigStatus, r.ClientStatus = "", 0, 0
	return r == Resource{}
}

func key(r Resource) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%q|%q|%q|%v|%v|%v|%v", r.TypeURL, r.Name, r.Version, r.LastUpdated, r.ConfigStatus, r.ClientStatus, r.Static)
	if r.Error != nil {
		fmt.Fprintf(&b, "|%+v", *r.Error)
	}
	if r.Contents != nil {
		fmt.Fprintf(&b, "|%q %q", r.Contents.TypeURL, r.Contents.Value)
	}
	return b.String()
}

// fromProto is what the walk must give, by way of protobuf's own decoder.
func fromProto(m *statusv3.ClientStatusResponse) []ClientConfig {
	var out []ClientConfig
	for _, c := range m.GetConfig() {
		to := ClientConfig{Node: nodeFromProto(c.GetNode()), ClientScope: c.GetClientScope()}
		for _, g := range c.GetGenericXdsConfigs() {
			to.Resources = append(to.Resources, Resource{TypeURL: g.GetTypeUrl(), Name: g.GetName(), Version: g.GetVersionInfo(),
				LastUpdated: stampOf(g.GetLastUpdated()).time(), ConfigStatus: configStatus(int32(g.GetConfigStatus())),
				ClientStatus: clientStatus(int32(g.GetClientStatus())), Static: g.GetIsStaticResource(),
				Error: failureOf(g.GetErrorState()), Contents: contentsOf(g.GetXdsConfig())})
		}
		for _, p := range c.GetXdsConfig() {
			to.Resources = append(to.Resources, perFromProto(p)...)
		}
		out = append(out, to)
	}
	return out
}

func stampOf(t *timestamppb.Timestamp) *stamp { return &stamp{t.GetSeconds(), t.GetNanos()} }

func failureOf(e *adminv3.UpdateFailureState) *UpdateFailure {
	if e == nil {
		return nil
	}
	return &UpdateFailure{Details: e.GetDetails(), Version: e.GetVersionInfo(), LastAttempt: stampOf(e.GetLastUpdateAttempt()).time()}
}

func contentsOf(a *anypb.Any) *Contents {
	if a == nil {
		return nil
	}
	return &Contents{TypeURL: a.GetTypeUrl(), Value: a.GetValue()}
}

func nodeFromProto(n *corev3.Node) Node {
	out := Node{ID: n.GetId(), Cluster: n.GetCluster(), UserAgentName: n.GetUserAgentName(),
		Locality:         Locality{n.GetLocality().GetRegion(), n.GetLocality().GetZone(), n.GetLocality().GetSubZone()},
		UserAgentVersion: n.GetUserAgentVersion()}
	if v := n.GetUserAgentBuildVersion().GetVersion(); v != nil {
		out.UserAgentVersion = (&buildVersion{true, v.GetMajorNumber(), v.GetMinorNumber(), v.GetPatch()}).String()
	}
	for k, v := range n.GetMetadata().GetFields() {
		if out.Metadata == nil {
			out.Metadata = map[string]string{}
		}
		out.Metadata[k] = metadataText(v.AsInterface())
	}
	return out
}

func perFromProto(p *statusv3.PerXdsConfig) []Resource {
	var out []Resource
	add := func(typ, name, version string, a *anypb.Any, t *timestamppb.Timestamp, e *adminv3.UpdateFailureState,
		s adminv3.ClientResourceStatus, static bool) {
		r := Resource{TypeURL: a.GetTypeUrl(), Name: name, Version: version, LastUpdated: stampOf(t).time(), Error: failureOf(e),
			ClientStatus: clientStatus(int32(s)), Static: static, Contents: contentsOf(a)}
		if r.TypeURL == "" {
			r.TypeURL = resourceTypes + typ
		}
		last := func(s string) string { return s[strings.LastIndexByte(s, '.')+1:] }
		if name == "" && last(r.TypeURL) == last(typ) && last(typ) != "Listener" && last(typ) != "ScopedRouteConfiguration" ||
			static && last(typ) == "Listener" && last(r.TypeURL) == "Listener" {
			r.Name = newDecoder(DecodeOptions{}).nameIn(a.GetValue())
		}
		out = append(out, r)
	}
	const listener, cluster, route, scoped, endpoint = "listener.v3.Listener", "cluster.v3.Cluster", "route.v3.RouteConfiguration",
		"route.v3.ScopedRouteConfiguration", "endpoint.v3.ClusterLoadAssignment"
	for _, l := range p.GetListenerConfig().GetDynamicListeners() {
		s := l.GetActiveState()
		if s == nil {
			s = l.GetWarmingState()
		}
		if s == nil {
			s = l.GetDrainingState()
		}
		add(listener, l.GetName(), s.GetVersionInfo(), s.GetListener(), s.GetLastUpdated(), l.GetErrorState(), l.GetClientStatus(), false)
	}
	for _, l := range p.GetListenerConfig().GetStaticListeners() {
		add(listener, "", "", l.GetListener(), l.GetLastUpdated(), nil, 0, true)
	}
	dump := p.GetClusterConfig()
	for _, c := range append(dump.GetDynamicActiveClusters(), dump.GetDynamicWarmingClusters()...) {
		add(cluster, "", c.GetVersionInfo(), c.GetCluster(), c.GetLastUpdated(), c.GetErrorState(), c.GetClientStatus(), false)
	}
	for _, c := range dump.GetStaticClusters() {
		add(cluster, "", "", c.GetCluster(), c.GetLastUpdated(), nil, 0, true)
	}
	for _, r := range p.GetRouteConfig().GetDynamicRouteConfigs() {
		add(route, "", r.GetVersionInfo(), r.GetRouteConfig(), r.GetLastUpdated(), r.GetErrorState(), r.GetClientStatus(), false)
	}
	for _, r := range p.GetRouteConfig().GetStaticRouteConfigs() {
		add(route, "", "", r.GetRouteConfig(), r.GetLastUpdated(), nil, 0, true)
	}
	last := func(a []*anypb.Any) *anypb.Any {
		if len(a) == 0 {
			return nil
		}
		return a[len(a)-1]
	}
	for _, r := range p.GetScopedRouteConfig().GetDynamicScopedRouteConfigs() {
		add(scoped, r.GetName(), r.GetVersionInfo(), last(r.GetScopedRouteConfigs()), r.GetLastUpdated(), r.GetErrorState(), r.GetClientStatus(), false)
	}
	for _, r := range p.GetScopedRouteConfig().GetInlineScopedRouteConfigs() {
		add(scoped, r.GetName(), "", last(r.GetScopedRouteConfigs()), r.GetLastUpdated(), nil, 0, true)
	}
	for _, e := range p.GetEndpointConfig().GetDynamicEndpointConfigs() {
		add(endpoint, "", e.GetVersionInfo(), e.GetEndpointConfig(), e.GetLastUpdated(), e.GetErrorState(), e.GetClientStatus(), false)
	}
	for _, e := range p.GetEndpointConfig().GetStaticEndpointConfigs() {
		add(endpoint, "", "", e.GetEndpointConfig(), e.GetLastUpdated(), nil, 0, true)
	}
	server, client := configStatus(int32(p.GetStatus())), oldClientStatus(int32(p.GetClientStatus()))
	if len(out) == 0 && (server != ConfigStatusUnknown || client != ClientStatusUnknown) {
		return nil
	}
	for i := range out {
		if out[i].ConfigStatus = server; out[i].ClientStatus == ClientStatusUnknown {
			out[i].ClientStatus = client
		}
	}
	return out
}

// FuzzDecodeJSON: whatever comes, it is read or refused as malformed.
func FuzzDecodeJSON(f *testing.F) {
	m := fullResponse(f)
	for _, c := range m.GetConfig() {
		for _, g := range c.GetGenericXdsConfigs() {
			g.XdsConfig = nil
		}
	}
	m.Config[1].XdsConfig[1].GetClusterConfig().GetDynamicWarmingClusters()[0].Cluster = nil
	b, err := protojson.Marshal(m)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`[{"node":{"metadata":{"a":[1e999]}}}]`))
	f.Add([]byte(`{"config":[{"generic_xds_configs":[{"last_updated":{"seconds":"1"},"config_status":3}]}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := DecodeJSON(b, DecodeOptions{KeepContents: true}); err != nil && !errors.Is(err, ErrMalformed) {
			t.Fatalf("error %v does not say that the answer is malformed", err)
		}
	})
}
