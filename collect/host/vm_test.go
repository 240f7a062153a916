package host_test

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meshdiag/meshdiag/collect/artifact"
	"github.com/meshdiag/meshdiag/collect/bundle"
	"github.com/meshdiag/meshdiag/collect/host"
	"github.com/meshdiag/meshdiag/collect/probe"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// TestMain is Envoy where the tests start this program as one.
func TestMain(m *testing.M) {
	if os.Getenv("TEST_AS_ENVOY") == "" {
		os.Exit(m.Run())
	}
	lis, err := net.FileListener(os.NewFile(3, "listener"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("ready")
	server := &http.Server{Handler: envoyAdmin(), ReadHeaderTimeout: time.Minute}
	_ = server.Serve(lis)
}

const secret = "k7SecretSecretSecretSecret"

// envoyAdmin answers as Envoy's admin interface does; what isn't a GET would change something.
func envoyAdmin() http.Handler {
	page := func(s string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodGet {
				http.Error(w, "changed!", http.StatusTeapot)
				return
			}
			_, _ = w.Write([]byte(s))
		}
	}
	mux := http.NewServeMux()
	node := `"node":{"id":"projects/123/networks/mesh-vpc/nodes/x","metadata":{"TRAFFICDIRECTOR_NETWORK_NAME":"mesh-vpc"}}`
	mux.HandleFunc("/server_info", page(`{"version":"abc/1.30.1/Clean/RELEASE/BoringSSL","state":"LIVE","uptime_current_epoch":"60s",`+node+`}`))
	mux.HandleFunc("/config_dump", page(`{"configs":[{"@type":"type.googleapis.com/envoy.admin.v3.BootstrapConfigDump","bootstrap":{`+node+`,
		"x":{"access_token":"`+secret+`"},
		"static_resources":{"listeners":[{"name":"l","address":{"socket_address":{"address":"0.0.0.0","port_value":15001}}}]}}}]}`))
	mux.HandleFunc("/clusters", page(`{"cluster_statuses":[{"name":"c","host_statuses":[{"address":{"socket_address":{"address":"10.0.0.9","port_value":80}},"health_status":{"eds_health_status":"HEALTHY"}}]}]}`))
	mux.HandleFunc("/listeners", page(`{"listener_statuses":[{"name":"l","local_address":{"socket_address":{"address":"0.0.0.0","port_value":15001}}}]}`))
	mux.HandleFunc("/stats", page("control_plane.connected_state: 1\nserver.live: 1\n"))
	mux.HandleFunc("/init_dump", page("{}"))
	mux.HandleFunc("/certs", page(`{"certificates":[]}`))
	return mux
}

// startEnvoy starts a process called envoy, with an admin interface on a port of its own.
func startEnvoy(t *testing.T, accessLog string) (pid, port int, bootstrap string) {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	port = lis.Addr().(*net.TCPAddr).Port
	file, err := lis.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	dir := t.TempDir()
	bootstrap = filepath.Join(dir, "bootstrap.yaml")
	put(t, bootstrap, fmt.Sprintf(`node:
  id: projects/123/networks/mesh-vpc/nodes/x
  metadata:
    TRAFFICDIRECTOR_NETWORK_NAME: mesh-vpc
    TRAFFICDIRECTOR_ACCESS_LOG_PATH: %s
admin:
  address: {socket_address: {address: 127.0.0.1, port_value: %d}}
dynamic_resources:
  ads_config: {api_type: GRPC, transport_api_version: V3}
  call: {access_token: %s}
`, accessLog, port, secret))
	put(t, filepath.Join(dir, "sidecar.env"), "VPC_NETWORK_NAME='mesh-vpc'\nGCP_PROJECT_NUMBER='123'\nLOG_DIR='"+dir+"'\n")
	put(t, filepath.Join(dir, "envoy.err.log"), "[2026-05-01 10:11:12.345][1][warning] gRPC config stream closed: 7, x\nAuthorization: Bearer "+secret+"\n")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Args = []string{"/usr/local/bin/envoy", "-c", bootstrap, "--api-key", secret}
	cmd.Env = []string{"TEST_AS_ENVOY=1", "GRPC_XDS_BOOTSTRAP_CONFIG=" + `{"xds_servers":[{"server_uri":"trafficdirector.googleapis.com:443"}],"node":{"id":"projects/123/networks/mesh-vpc/nodes/g"}}`, "OTHER=" + secret}
	cmd.ExtraFiles = []*os.File{file}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	if _, err := out.Read(make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid, port, bootstrap
}

func put(t testing.TB, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// metadataServer answers as Compute Engine's does, and refuses to give tokens away.
func metadataServer(t *testing.T) string {
	values := map[string]string{
		"project/numeric-project-id": "123", "project/project-id": "mesh-prod", "instance/service-accounts/default/email": "sa@mesh-prod.iam.gserviceaccount.com",
		"instance/zone": "projects/123/zones/us-central1-b", "instance/name": "frontend-vm", "instance/id": "5524086711907384471", "instance/network-interfaces/0/ip": "10.128.0.5",
		"instance/service-accounts/default/scopes": "https://www.googleapis.com/auth/logging.write\nhttps://www.googleapis.com/auth/cloud-platform\n",
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Metadata-Flavor", "Google")
		v, ok := values[strings.TrimPrefix(r.URL.Path, "/computeMetadata/v1/")]
		switch {
		case strings.Contains(r.URL.Path, "token"):
			t.Errorf("a token was asked for: %s", r.URL)
		case r.Header.Get("Metadata-Flavor") != "Google" || r.Method != http.MethodGet:
			w.WriteHeader(http.StatusForbidden)
		case !ok:
			w.WriteHeader(http.StatusNotFound)
		default:
			_, _ = w.Write([]byte(v))
		}
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// refusing gives an address that refuses connections.
func refusing(t *testing.T) string {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	return lis.Addr().String()
}

// commands makes a folder of commands that print what the real ones do.
func commands(t *testing.T, scripts map[string]string) []string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range scripts {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return []string{dir, "/bin", "/usr/bin"}
}

const saved = "# Generated by iptables-save v1.8.9 (nf_tables)\n*nat\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n" +
	":ISTIO_OUTPUT - [0:0]\n[3:180] -A OUTPUT -p tcp -j ISTIO_OUTPUT\n[1:60] -A ISTIO_OUTPUT -d 10.0.0.0/8 -p tcp -j REDIRECT --to-ports 15001\nCOMMIT\n# Completed\n"

func cat(text string) string { return "cat <<'END'\n" + text + "END" }

func record(t *testing.T, cfg host.Config) *bundle.Bundle {
	t.Helper()
	if cfg.Probe.Endpoint == "" {
		cfg.Probe = probe.Config{Endpoint: refusing(t)}
	}
	if cfg.MetadataURL == "" {
		cfg.MetadataURL = "http://" + refusing(t)
	}
	r, err := host.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	b, err := r.Record(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// facts hands a bundle in as a person would.
func facts(t *testing.T, b *bundle.Bundle) (*evidence.View, []evidence.ArtifactFile) {
	t.Helper()
	var packed bytes.Buffer
	if err := b.Write(&packed); err != nil {
		t.Fatal(err)
	}
	r, err := artifact.New(artifact.Config{Signatures: []diagnose.Signature{{ID: "closed", Anchors: []string{"gRPC config stream"}, Pattern: `gRPC config stream closed: (?P<code>\d+)`}}})
	if err != nil {
		t.Fatal(err)
	}
	set := evidence.NewSet()
	if err := r.Collector().Collect(t.Context(), diagnose.Request{Artifacts: []diagnose.Artifact{{Name: "bundle.tar.gz", Data: packed.Bytes()}}}, evidence.NewView(set), set); err != nil {
		t.Fatal(err)
	}
	v := evidence.NewView(set)
	return v, get(t, v, evidence.Artifacts)
}

func get[T any](t *testing.T, v *evidence.View, k evidence.Key[T]) T {
	t.Helper()
	x, err := evidence.Get(v, k)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func item(t *testing.T, b *bundle.Bundle, name string) bundle.Item {
	t.Helper()
	i := slices.IndexFunc(b.Manifest.Items, func(i bundle.Item) bool { return i.Name == name })
	if i < 0 {
		t.Fatalf("no item %s in %+v", name, b.Manifest.Items)
	}
	return b.Manifest.Items[i]
}
