package csds

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	statusv3 "github.com/envoyproxy/go-control-plane/envoy/service/status/v3"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/xdsclient"
	"github.com/meshdiag/meshdiag/xdsclient/xdsclienttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	number   = "482915067713"
	listener = "type.googleapis.com/envoy.config.listener.v3.Listener"
)

func nodeID(i int) string { return fmt.Sprintf("projects/%s/networks/mesh-vpc/nodes/%03d", number, i) }

func connected(i int, rs ...*statusv3.ClientConfig_GenericXdsConfig) xdsclienttest.Client {
	return xdsclienttest.Client{ProjectNumber: number, Network: "mesh-vpc",
		Config: &statusv3.ClientConfig{Node: &corev3.Node{Id: nodeID(i), UserAgentName: "gRPC Go"}, GenericXdsConfigs: rs}}
}

func state(s statusv3.ConfigStatus, updated time.Time) *statusv3.ClientConfig_GenericXdsConfig {
	r := &statusv3.ClientConfig_GenericXdsConfig{TypeUrl: listener, Name: "checkout", VersionInfo: "7", ConfigStatus: s}
	if !updated.IsZero() {
		r.LastUpdated = timestamppb.New(updated)
	}
	return r
}

var synced = state(statusv3.ConfigStatus_SYNCED, time.Unix(1763640000, 0))

// run runs both steps as the engine does, and gives what they brought.
func run(t *testing.T, s *xdsclienttest.Server, cfg Config, target diagnose.Target, project error) *evidence.View {
	t.Helper()
	client, err := xdsclient.New(xdsclient.Config{Endpoint: s.Addr, Insecure: true})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	cfg.Asker = client
	set := evidence.NewSet()
	src := evidence.Source{Collector: "gcp"}
	if project != nil {
		set.Fail(evidence.ProjectFact.Name(), src, project)
	} else {
		evidence.Put(set, evidence.ProjectFact, evidence.Project{ID: "mesh-prod-4f2a", Number: number}, src)
	}
	for _, c := range New(cfg).Collectors() {
		own := evidence.NewSet()
		if err := c.Collect(t.Context(), diagnose.Request{Target: target}, evidence.NewView(set), own); err != nil {
			for _, n := range c.Provides {
				own.Fail(n, evidence.Source{Collector: c.Name}, err)
			}
		}
		set.Absorb(own)
	}
	return evidence.NewView(set)
}

var network = diagnose.Target{Project: "mesh-prod-4f2a", Network: "mesh-vpc"}

func TestListThenStatus(t *testing.T) {
	s := xdsclienttest.Start(t, xdsclienttest.Config{})
	s.Connect(connected(2, synced), connected(1, synced, state(statusv3.ConfigStatus_ERROR, time.Time{})))
	v := run(t, s, Config{}, network, nil)
	list, err := evidence.Whole(v, evidence.Clients)
	if err != nil || len(list.Clients) != 2 || list.Clients[0].NodeID != nodeID(1) || list.Scope != "network" || list.ScopeName != "mesh-vpc" {
		t.Errorf("clients %+v, %v", list, err)
	}
	st, err := evidence.Whole(v, evidence.ClientStatuses)
	if err != nil || len(st) != 2 || len(st[0].Resources) != 2 || st[0].Resources[1].Server != evidence.Error || st[0].Asked.IsZero() {
		t.Errorf("statuses %+v, %v", st, err)
	}
}

func TestOneNode(t *testing.T) {
	s := xdsclienttest.Start(t, xdsclienttest.Config{})
	s.Connect(connected(1, synced), connected(2, synced))
	target := network
	target.NodeID = nodeID(2)
	st, err := evidence.Whole(run(t, s, Config{}, target, nil), evidence.ClientStatuses)
	if err != nil || len(st) != 1 || st[0].Client.NodeID != nodeID(2) {
		t.Errorf("statuses %+v, %v", st, err)
	}
	target.NodeID = nodeID(9)
	if _, err := evidence.Get(run(t, s, Config{}, target, nil), evidence.ClientStatuses); err == nil || !strings.Contains(err.Error(), nodeID(9)) {
		t.Errorf("a node that isn't listed: %v", err)
	}
}

func TestNobodyConnectedIsAnEmptyListAndKnown(t *testing.T) {
	s := xdsclienttest.Start(t, xdsclienttest.Config{})
	v := run(t, s, Config{}, network, nil)
	if list, err := evidence.Whole(v, evidence.Clients); err != nil || len(list.Clients) != 0 {
		t.Errorf("clients %+v, %v", list, err)
	}
}

// What isn't whole is known in part and failed beside it, so that no clean bill rests on it.
func TestPartsAreNotTheWhole(t *testing.T) {
	quiet := connected(3)
	unknown := connected(4, &statusv3.ClientConfig_GenericXdsConfig{TypeUrl: listener, Name: "x"})
	for _, tc := range []struct {
		name    string
		clients []xdsclienttest.Client
		max     int
		behave  xdsclienttest.Behaviour
		want    string
		known   int
	}{
		{"more clients than are asked", []xdsclienttest.Client{connected(1, synced), connected(2, synced), connected(3, synced)}, 2, xdsclienttest.Behaviour{}, "1 of 3 clients were not asked", 2},
		{"a client without resources", []xdsclienttest.Client{connected(1, synced), quiet}, 0, xdsclienttest.Behaviour{}, "tells no status of any resource", 2},
		{"a client of unknown status", []xdsclienttest.Client{connected(1, synced), unknown}, 0, xdsclienttest.Behaviour{}, "tells no status of any resource", 2},
		{"one status refused", []xdsclienttest.Client{connected(1, synced), connected(2, synced)}, 0, xdsclienttest.Behaviour{Refuse: func(r *statusv3.ClientStatusRequest) error {
			if r.GetNodeMatchers()[0].GetNodeId().GetExact() == nodeID(2) {
				return status.Error(codes.PermissionDenied, "no")
			}
			return nil
		}}, "not allowed to read the xDS clients", 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := xdsclienttest.Start(t, xdsclienttest.Config{})
			s.Connect(tc.clients...)
			s.Behave(tc.behave)
			v := run(t, s, Config{MaxStatus: tc.max}, network, nil)
			if st, err := evidence.Get(v, evidence.ClientStatuses); err != nil || len(st) != tc.known {
				t.Errorf("%d statuses, %v; want %d", len(st), err, tc.known)
			}
			if _, err := evidence.Whole(v, evidence.ClientStatuses); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("whole: %v, want %q", err, tc.want)
			}
		})
	}
}

func TestRefusalsAreUnknownNotEmpty(t *testing.T) {
	for _, tc := range []struct {
		name    string
		behave  xdsclienttest.Behaviour
		project error
		want    string
		denied  string // a part of the command that grants it
	}{
		{"denied", xdsclienttest.Behaviour{Refuse: func(*statusv3.ClientStatusRequest) error {
			return status.Error(codes.PermissionDenied, "Permission 'trafficdirector.networks.getConfigs' denied")
		}}, nil, "not allowed", "--role=roles/trafficdirector.viewer --condition=None"},
		{"API off", xdsclienttest.Behaviour{Refuse: func(*statusv3.ClientStatusRequest) error {
			return status.Error(codes.PermissionDenied, "Traffic Director API has not been used in project 1 before or it is disabled.")
		}}, nil, "not allowed", "gcloud services enable"},
		{"unavailable", xdsclienttest.Behaviour{Refuse: func(*statusv3.ClientStatusRequest) error { return status.Error(codes.Unavailable, "try later") }}, nil, "try later", ""},
		{"ends without an answer", xdsclienttest.Behaviour{EndFirst: true}, nil, "STREAM_ENDED_WITHOUT_ANSWER", ""},
		{"project number unknown", xdsclienttest.Behaviour{}, errors.New("403 from the API"), "the project could not be read", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := xdsclienttest.Start(t, xdsclienttest.Config{})
			s.Connect(connected(1, synced))
			s.Behave(tc.behave)
			v := run(t, s, Config{}, network, tc.project)
			_, err := evidence.Get(v, evidence.Clients)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("clients: %v, want %q", err, tc.want)
			}
			var d *evidence.Denied
			if tc.denied != "" && (!errors.As(err, &d) || !strings.Contains(d.Command, tc.denied)) {
				t.Errorf("no command to be let in: %+v", d)
			}
			if _, err := evidence.Get(v, evidence.ClientStatuses); err == nil {
				t.Error("statuses are known without a list")
			}
		})
	}
}

func TestSecondSample(t *testing.T) {
	requested := &statusv3.ClientConfig_GenericXdsConfig{TypeUrl: listener, Name: "checkout", ClientStatus: adminv3.ClientResourceStatus_REQUESTED}
	for _, tc := range []struct {
		name          string
		first, second *statusv3.ClientConfig_GenericXdsConfig
		samples       int
		asks          int64
	}{
		{"stale stays", state(statusv3.ConfigStatus_STALE, time.Time{}), state(statusv3.ConfigStatus_STALE, time.Time{}), 2, 2},
		{"stale settles", state(statusv3.ConfigStatus_STALE, time.Time{}), synced, 1, 2},
		{"requested stays", requested, requested, 2, 2},
		{"stale with a time needs one", state(statusv3.ConfigStatus_STALE, time.Unix(1, 0)), synced, 1, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := xdsclienttest.Start(t, xdsclienttest.Config{})
			s.Connect(connected(1, tc.first))
			var asks atomic.Int64
			s.Behave(xdsclienttest.Behaviour{Answer: func(r *statusv3.ClientStatusRequest, a *statusv3.ClientStatusResponse) []byte {
				if r.GetNodeMatchers()[0].GetNodeId().GetExact() != "" && asks.Add(1) > 1 {
					a = &statusv3.ClientStatusResponse{Config: []*statusv3.ClientConfig{connected(1, tc.second).Config}}
				}
				b, err := proto.Marshal(a)
				if err != nil {
					t.Error(err)
				}
				return b
			}})
			client, err := xdsclient.New(xdsclient.Config{Endpoint: s.Addr, Insecure: true})
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			set := evidence.NewSet()
			evidence.Put(set, evidence.ProjectFact, evidence.Project{Number: number}, evidence.Source{})
			for _, c := range New(Config{Asker: client, SampleInterval: time.Millisecond}).Collectors() {
				if err := c.Collect(t.Context(), diagnose.Request{Target: network}, evidence.NewView(set), set); err != nil {
					t.Fatal(err)
				}
			}
			st, err := evidence.Get(evidence.NewView(set), evidence.ClientStatuses)
			if err != nil || len(st) != 1 {
				t.Fatalf("%+v, %v", st, err)
			}
			if r := st[0].Resources[0]; r.Samples != tc.samples || asks.Load() != tc.asks {
				t.Errorf("%d samples after %d asks, want %d after %d: %+v", r.Samples, asks.Load(), tc.samples, tc.asks, r)
			}
		})
	}
}
