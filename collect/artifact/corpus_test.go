package artifact

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// corpus reads a file of inputs that nobody wrote for this project; the test is skipped where they are absent.
func corpus(t *testing.T, name string) diagnose.Artifact {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("no go.mod above the test")
		}
		dir = filepath.Dir(dir)
	}
	b, err := os.ReadFile(filepath.Join(dir, "..", "shared", "corpus", name))
	if os.IsNotExist(err) {
		t.Skipf("../shared/corpus/%s isn't there", name)
	}
	if err != nil {
		t.Fatal(err)
	}
	return diagnose.Artifact{Name: filepath.Base(name), Data: b}
}

func TestCorpusRecognised(t *testing.T) {
	for _, tc := range []struct{ name, kind, note string }{
		{"bootstrap/grpc-mesh.json", "grpc-bootstrap", "node id in the file"},
		{"bootstrap/grpc-vpc-network.json", "grpc-bootstrap", "node id in the file"},
		{"csds/grpc-java-client-against-traffic-director.json", "csds", "1 client with 4 resources"},
		{"gcp/backendService-getHealth-unhealthy.json", "backend-health", "health of 2 endpoints"},
		{"gcp/forwardingRules-aggregated.json", "forwarding-rules", "7 forwarding rules"},
		{"gcp/instances-list.json", "instances", "3 instances, one page of several"},
		{"gcp/services-list.json", "services", "15 services"},
		{"envoy/istio-sidecar-config_dump.json", "envoy-config-dump", "2 listeners, 1 route configuration, 3 clusters; bootstrap: node id in the file"},
		{"envoy/osm-sidecar-config_dump.json", "envoy-config-dump", "1 listener, 1 route configuration, 2 clusters; bootstrap: node id in the file"},
		{"logs/istio-ingress-gateway.log", "log", "6 lines with a known message, of 145"},
		{"iptables/istio-tproxy.txt", "packet-rules", "78 rules"},
		{"kubernetes/mutating-webhook-default.yaml", "kubernetes", "1 MutatingWebhookConfiguration"},
		{"kubernetes/managed-control-plane-webhooks.yaml", "kubernetes", "1 ValidatingWebhookConfiguration"},
		{"kubernetes/namespaces-and-pods-injection.yaml", "kubernetes", "12 Namespaces, 7 Pods"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, files := collect(t, corpus(t, tc.name))
			if f := files[0]; f.Kind != tc.kind || f.Note != tc.note || f.Used != (tc.kind != "") {
				t.Errorf("%+v, want kind %q, note %q", f, tc.kind, tc.note)
			}
		})
	}
}

func TestCorpusBootstraps(t *testing.T) {
	for name, want := range map[string]string{
		"bootstrap/grpc-mesh.json":        "projects/123456789012/networks/mesh:my-mesh/nodes/805c2d29-4470-4f85-8838-fcb4f04eb65f",
		"bootstrap/grpc-vpc-network.json": "projects/123456789012/networks/my-vpc/nodes/c2cc5ef0-5ab1-4c57-a20e-88072eee656d",
	} {
		set, _ := collect(t, corpus(t, name))
		b := get(t, set, evidence.Bootstraps)[0]
		if b.Kind != evidence.GRPCBootstrap || b.NodeID != want || b.Transport != evidence.TransportV3 || len(b.Placeholders) != 0 || len(b.V2Places) != 0 ||
			len(b.Servers) != 1 || b.Servers[0] != "trafficdirector.googleapis.com:443" {
			t.Errorf("%s: %+v", name, b)
		}
	}
}
