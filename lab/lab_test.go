package lab

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	statusv3 "github.com/envoyproxy/go-control-plane/envoy/service/status/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"go.uber.org/goleak"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/oauth"
	"net/http"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// visitor reaches a world the way meshdiag would: with its CA, its credentials file and its endpoints.
type visitor struct {
	*World
	http   *http.Client // carries OAuth tokens
	tokens oauth2.TokenSource
	pool   *x509.CertPool
}

func startWorld(t *testing.T, name string, o Options) *visitor {
	t.Helper()
	s, err := ScenarioByName(name)
	if err != nil {
		t.Fatal(err)
	}
	return startScenario(t, s, o)
}

func startScenario(t *testing.T, s Scenario, o Options) *visitor {
	t.Helper()
	w, err := Start(t.Context(), s, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	v := &visitor{World: w, pool: x509.NewCertPool()}
	ca, err := os.ReadFile(w.Connection().CAFile)
	if err != nil {
		t.Fatal(err)
	}
	if !v.pool.AppendCertsFromPEM(ca) {
		t.Fatal("CA file holds no certificate")
	}
	key, err := os.ReadFile(w.Connection().CredentialsFile)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: v.pool}, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	ctx := context.WithValue(context.Background(), oauth2.HTTPClient, &http.Client{Transport: transport})
	creds, err := google.CredentialsFromJSONWithType(ctx, key, google.ServiceAccount, scopePrefix+scopeCloudPlatform)
	if err != nil {
		t.Fatal(err)
	}
	v.tokens = creds.TokenSource
	v.http = oauth2.NewClient(ctx, creds.TokenSource)
	return v
}

// dial reaches the control plane over gRPC as meshdiag would, name resolution aside.
func (v *visitor) dial(t *testing.T) *grpc.ClientConn {
	t.Helper()
	_, port, err := net.SplitHostPort(v.Connection().TrafficDirectorEndpoint)
	if err != nil {
		t.Fatal(err)
	}
	cc, err := grpc.NewClient("127.0.0.1:"+port, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: v.pool})),
		grpc.WithPerRPCCredentials(oauth.TokenSource{TokenSource: v.tokens}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cc.Close() })
	return cc
}

func (v *visitor) request(nodeID string) *statusv3.ClientStatusRequest {
	s, t := v.Scenario(), v.Target()
	key, value := "TRAFFICDIRECTOR_NETWORK_NAME", t.Network
	if t.Mesh != "" {
		key, value = "TRAFFICDIRECTOR_MESH_SCOPE_NAME", t.Mesh
	}
	exact := func(k, val string) *matcherv3.StructMatcher {
		return &matcherv3.StructMatcher{Path: []*matcherv3.StructMatcher_PathSegment{{Segment: &matcherv3.StructMatcher_PathSegment_Key{Key: k}}},
			Value: &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_StringMatch{StringMatch: exactly(val)}}}
	}
	m := &matcherv3.NodeMatcher{NodeMetadatas: []*matcherv3.StructMatcher{exact("TRAFFICDIRECTOR_GCP_PROJECT_NUMBER", s.Project.Number), exact(key, value)}}
	if nodeID != "" {
		m.NodeId = exactly(nodeID)
	}
	return &statusv3.ClientStatusRequest{Node: &corev3.Node{Id: "projects/" + s.Project.Number + "/networks/" + value + "/nodes/visitor"},
		NodeMatchers: []*matcherv3.NodeMatcher{m}}
}

func exactly(s string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: s}}
}

// fleet asks CSDS in two steps and gives the statuses of every listed node by node id.
func (v *visitor) fleet(t *testing.T) map[string][]*statusv3.ClientConfig_GenericXdsConfig {
	t.Helper()
	st, err := statusv3.NewClientStatusDiscoveryServiceClient(v.dial(t)).StreamClientStatus(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ask := func(nodeID string) *statusv3.ClientStatusResponse {
		if err := st.Send(v.request(nodeID)); err != nil {
			t.Fatal(err)
		}
		r, err := st.Recv()
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	out := map[string][]*statusv3.ClientConfig_GenericXdsConfig{}
	for _, c := range ask("").GetConfig() {
		if len(c.GetGenericXdsConfigs()) > 0 {
			t.Errorf("the list carries the status of %s", c.GetNode().GetId())
		}
		r := ask(c.GetNode().GetId())
		if len(r.GetConfig()) != 1 {
			t.Fatalf("%s: %d answers", c.GetNode().GetId(), len(r.GetConfig()))
		}
		out[c.GetNode().GetId()] = r.GetConfig()[0].GetGenericXdsConfigs()
	}
	return out
}

func TestHealthyWorld(t *testing.T) {
	v := startWorld(t, "healthy", Options{})
	fleet := v.fleet(t)
	if len(fleet) != 3 {
		t.Fatalf("%d clients listed, expected 3", len(fleet))
	}
	for id, configs := range fleet {
		if len(configs) != 4 {
			t.Errorf("%s: %d resources, expected listener, route, cluster and endpoints", id, len(configs))
		}
		for _, c := range configs {
			if c.GetConfigStatus() != statusv3.ConfigStatus_SYNCED {
				t.Errorf("%s: %s is %s", id, c.GetName(), c.GetConfigStatus())
			}
		}
	}
	flags := strings.Join(v.Flags(), " ")
	if !strings.HasPrefix(flags, "--project mesh-prod-4f2a --network mesh-vpc --traffic-director-endpoint trafficdirector.googleapis.com:") {
		t.Errorf("flags: %s", flags)
	}
}

func TestStartFails(t *testing.T) {
	s, err := ScenarioByName("healthy")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Start(t.Context(), s, Options{Dir: file}); err == nil || !strings.Contains(err.Error(), "scratch folder") {
		t.Errorf("a file as folder: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Start(ctx, s, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled start: %v", err)
	}
	s.Fault.Path = "moat"
	if _, err := Start(t.Context(), s, Options{}); err == nil || !strings.Contains(err.Error(), "fault.path") {
		t.Errorf("a bad scenario: %v", err)
	}
}

// A folder that was given stays; one that was made goes with the world.
func TestScratchFolder(t *testing.T) {
	s, err := ScenarioByName("no-client-connected")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"", filepath.Join(t.TempDir(), "made")} {
		w, err := Start(t.Context(), s, Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		file := w.Connection().CredentialsFile
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("credentials file: %v, %v", info, err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(file); (err == nil) != (dir != "") {
			t.Errorf("after Close, with folder %q: %v", dir, err)
		}
	}
}

// Two worlds, and the same scenario twice at once, do not get in each other's way.
func TestWorldsSideBySide(t *testing.T) {
	for _, name := range []string{"healthy", "config-rejected", "healthy"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if n := len(startWorld(t, name, Options{}).fleet(t)); n != 3 {
				t.Errorf("%d clients", n)
			}
		})
	}
}
