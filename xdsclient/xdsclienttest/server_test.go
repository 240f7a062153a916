package xdsclienttest_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"runtime"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	statusv3 "github.com/envoyproxy/go-control-plane/envoy/service/status/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/meshdiag/meshdiag/xdsclient/xdsclienttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func exact(s string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: s}}
}

// ask builds a request; what is "" is left out.
func ask(asker, nodeID string, metadata map[string]string) *statusv3.ClientStatusRequest {
	m := &matcherv3.NodeMatcher{}
	if nodeID != "" {
		m.NodeId = exact(nodeID)
	}
	for k, v := range metadata {
		m.NodeMetadatas = append(m.NodeMetadatas, &matcherv3.StructMatcher{
			Path:  []*matcherv3.StructMatcher_PathSegment{{Segment: &matcherv3.StructMatcher_PathSegment_Key{Key: k}}},
			Value: &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_StringMatch{StringMatch: exact(v)}}})
	}
	req := &statusv3.ClientStatusRequest{NodeMatchers: []*matcherv3.NodeMatcher{m}}
	if asker != "" {
		req.Node = &corev3.Node{Id: asker}
	}
	return req
}

func TestRules(t *testing.T) {
	const number, net, mesh = "TRAFFICDIRECTOR_GCP_PROJECT_NUMBER", "TRAFFICDIRECTOR_NETWORK_NAME", "TRAFFICDIRECTOR_MESH_SCOPE_NAME"
	s := xdsclienttest.Start(t, xdsclienttest.Config{})
	s.Connect(xdsclienttest.Client{ProjectNumber: "1", Network: "default", Config: &statusv3.ClientConfig{Node: &corev3.Node{Id: "a"},
		GenericXdsConfigs: []*statusv3.ClientConfig_GenericXdsConfig{{Name: "r"}}}})
	cc, err := grpc.NewClient(s.Addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	h := &http.Client{Transport: &http.Transport{}}
	defer h.CloseIdleConnections()
	for name, row := range map[string]struct {
		req              *statusv3.ClientStatusRequest
		code             codes.Code
		clients, configs int
	}{
		"list":              {ask("projects/1/networks/default/nodes/x", "", map[string]string{number: "1", net: "default"}), codes.OK, 1, 0},
		"one":               {ask("projects/1/networks/default/nodes/x", "a", map[string]string{number: "1", net: "default"}), codes.OK, 1, 1},
		"another":           {ask("projects/1/networks/default/nodes/x", "b", map[string]string{number: "1", net: "default"}), codes.OK, 0, 0},
		"another network":   {ask("projects/1/networks/n/nodes/x", "", map[string]string{number: "1", net: "n"}), codes.OK, 0, 0},
		"no project number": {ask("projects/1/networks/default/nodes/x", "", map[string]string{net: "default"}), codes.InvalidArgument, 0, 0},
		"no network":        {ask("projects/1/networks/default/nodes/x", "", map[string]string{number: "1"}), codes.InvalidArgument, 0, 0},
		"network and mesh":  {ask("projects/1/networks/n/nodes/x", "", map[string]string{number: "1", net: "n", mesh: "m"}), codes.InvalidArgument, 0, 0},
		"no matcher":        {&statusv3.ClientStatusRequest{}, codes.InvalidArgument, 0, 0},
		"no asker":          {ask("", "", map[string]string{number: "1", net: "default"}), codes.PermissionDenied, 0, 0},
		"odd asker":         {ask("me", "", map[string]string{number: "1", net: "default"}), codes.PermissionDenied, 0, 0},
		"other project":     {ask("projects/2/networks/default/nodes/x", "", map[string]string{number: "1", net: "default"}), codes.PermissionDenied, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			stream, err := statusv3.NewClientStatusDiscoveryServiceClient(cc).StreamClientStatus(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := stream.Send(row.req); err != nil {
				t.Fatal(err)
			}
			got, err := stream.Recv()
			check(t, got, status.Code(err), row.code, row.clients, row.configs)
			body, err := protojson.Marshal(row.req)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := h.Post(s.URL+"/v3/discovery:client_status", "application/json", bytes.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			b, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			got = &statusv3.ClientStatusResponse{}
			var code codes.Code
			if resp.StatusCode != http.StatusOK {
				var e struct {
					Error struct{ Status codes.Code }
				}
				if err := json.Unmarshal(b, &e); err != nil {
					t.Fatalf("%s: %v", b, err)
				}
				code = e.Error.Status
			} else if err := protojson.Unmarshal(b, got); err != nil {
				t.Fatal(err)
			}
			check(t, got, code, row.code, row.clients, row.configs)
		})
	}
}

func check(t *testing.T, got *statusv3.ClientStatusResponse, code, want codes.Code, clients, configs int) {
	t.Helper()
	n := 0
	for _, c := range got.GetConfig() {
		n += len(c.GetGenericXdsConfigs())
	}
	if code != want || len(got.GetConfig()) != clients || n != configs {
		t.Errorf("code %v, %d clients, %d configs; want %v, %d, %d", code, len(got.GetConfig()), n, want, clients, configs)
	}
}

// TestOutstanding: the count that other tests rely on does count.
func TestOutstanding(t *testing.T) {
	s := xdsclienttest.Start(t, xdsclienttest.Config{Local: true})
	release := make(chan struct{})
	s.Behave(xdsclienttest.Behaviour{Refuse: func(*statusv3.ClientStatusRequest) error { <-release; return nil }})
	cc, err := grpc.NewClient(s.Addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	stream, err := statusv3.NewClientStatusDiscoveryServiceClient(cc).StreamClientStatus(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := stream.Send(&statusv3.ClientStatusRequest{}); err != nil {
			t.Fatal(err)
		}
	}
	for s.Stats().MaxOutstanding < 3 && t.Context().Err() == nil {
		runtime.Gosched() // they arrive in their own time
	}
	close(release)
	for range 3 {
		if _, err := stream.Recv(); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.Stats().MaxOutstanding; got != 3 {
		t.Errorf("max outstanding %d", got)
	}
}
