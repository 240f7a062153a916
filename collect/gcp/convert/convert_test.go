package convert

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	compute "google.golang.org/api/compute/v1"
	networkservices "google.golang.org/api/networkservices/v1"
	serviceusage "google.golang.org/api/serviceusage/v1"

	"github.com/meshdiag/meshdiag/evidence"
)

// corpus reads a recorded answer from the corpus beside the repository.
func corpus(t *testing.T, name string, into any) {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; ; dir = filepath.Dir(dir) {
		data, err := os.ReadFile(filepath.Join(dir, "..", "shared", "corpus", "gcp", name))
		if err == nil {
			if err := json.Unmarshal(data, into); err != nil {
				t.Fatal(err)
			}
			return
		}
		if dir == filepath.Dir(dir) {
			t.Skipf("no ../shared/corpus/gcp/%s beside the repository", name)
		}
	}
}

func TestRecordedForwardingRules(t *testing.T) {
	var l compute.ForwardingRuleAggregatedList
	corpus(t, "forwardingRules-aggregated.json", &l)
	r := ForwardingRule(l.Items["global"].ForwardingRules[0], evidence.Source{})
	if r.Name != "front1" || r.Project != "gcpdiag-gke1-aaaa" || r.Region != "" || r.Scheme != "EXTERNAL_MANAGED" || r.PortRange != "80-80" {
		t.Errorf("got %+v", r)
	}
}

func TestRecordedInstances(t *testing.T) {
	var l compute.InstanceList
	corpus(t, "instances-list.json", &l)
	for _, i := range l.Items {
		got := Instance(i, evidence.Source{})
		if got.Name == "" || got.Zone == "" || got.Project != "gcpdiag-gce1-aaaa" || got.ID == "" || got.Created.IsZero() || len(got.Networks) == 0 || len(got.Addresses) == 0 {
			t.Errorf("got %+v", got)
		}
	}
}

func TestRecordedServices(t *testing.T) {
	var l serviceusage.ListServicesResponse
	corpus(t, "services-list.json", &l)
	if got := Service(l.Services[0]); got != (evidence.APIService{Name: "autoscaling.googleapis.com", State: "ENABLED"}) {
		t.Errorf("got %+v", got)
	}
	if got := ServiceProject(l.Services[0]); got != "12340001" {
		t.Errorf("got %q", got)
	}
}

func TestRecordedHealth(t *testing.T) {
	var h compute.BackendServiceGroupHealth
	corpus(t, "backendService-getHealth-unhealthy.json", &h)
	got := Health(&h, evidence.Source{})
	if len(got) != 2 || got[0].Zone != "us-east1-b" || got[0].Address != "10.142.0.2" || got[0].Port != 80 || got[0].State != "UNHEALTHY" {
		t.Errorf("got %+v", got)
	}
}

func TestForwardingRule(t *testing.T) {
	got := ForwardingRule(&compute.ForwardingRule{
		Name: "r", SelfLink: "https://compute.googleapis.com/compute/v1/projects/p/regions/us/forwardingRules/r", Network: "projects/host/global/networks/vpc",
		MetadataFilters: []*compute.MetadataFilter{nil, {FilterMatchCriteria: "MATCH_ANY", FilterLabels: []*compute.MetadataFilterLabelMatch{nil, {Name: "app", Value: "a"}}}},
	}, evidence.Source{Detail: "d"})
	if got.Project != "p" || got.Region != "us" || got.Network != "vpc" || got.NetworkProject != "host" || got.Source.Detail != "d" ||
		len(got.MetadataFilters) != 1 || got.MetadataFilters[0].Match != "MATCH_ANY" || got.MetadataFilters[0].Labels[0] != (evidence.Label{Name: "app", Value: "a"}) {
		t.Errorf("got %+v", got)
	}
}

func TestURLMapNamesEveryService(t *testing.T) {
	const in = `{"name":"m","defaultService":"s01","hostRules":[null,{"hosts":["a","b"]}],
		"defaultRouteAction":{"weightedBackendServices":[null,{"backendService":"s02"}],"requestMirrorPolicy":{"backendService":"s03"}},
		"tests":[{"service":"never"}],
		"pathMatchers":[null,{"defaultService":"s04","defaultRouteAction":{"weightedBackendServices":[{"backendService":"s05"}]},
			"pathRules":[null,{"service":"s06","routeAction":{"weightedBackendServices":[{"backendService":"s07"}]}}],
			"routeRules":[null,{"service":"s08","routeAction":{"requestMirrorPolicy":{"backendService":"s09"},"weightedBackendServices":[{"backendService":"s01"}]}}]}]}`
	var m compute.UrlMap
	if err := json.Unmarshal([]byte(in), &m); err != nil {
		t.Fatal(err)
	}
	got := URLMap(&m)
	if want := []string{"s01", "s02", "s03", "s04", "s05", "s06", "s07", "s08", "s09"}; !slices.Equal(got.Services, want) || !slices.Equal(got.Hosts, []string{"a", "b"}) {
		t.Errorf("got %+v", got)
	}
}

func TestHealthCheck(t *testing.T) {
	for _, tc := range []struct {
		in   *compute.HealthCheck
		want evidence.HealthCheck
	}{
		{&compute.HealthCheck{Name: "h", Type: "HTTP", HttpHealthCheck: &compute.HTTPHealthCheck{Port: 80, PortSpecification: "USE_FIXED_PORT"}}, evidence.HealthCheck{Name: "h", Type: "HTTP", Port: 80, PortSpec: "USE_FIXED_PORT"}},
		{&compute.HealthCheck{Type: "TCP", TcpHealthCheck: &compute.TCPHealthCheck{PortName: "web"}}, evidence.HealthCheck{Type: "TCP", PortName: "web", PortSpec: "USE_NAMED_PORT"}},
		{&compute.HealthCheck{Type: "GRPC", GrpcHealthCheck: &compute.GRPCHealthCheck{PortSpecification: "USE_SERVING_PORT"}}, evidence.HealthCheck{Type: "GRPC", PortSpec: "USE_SERVING_PORT"}},
		{&compute.HealthCheck{Type: "SSL", SslHealthCheck: &compute.SSLHealthCheck{Port: 443, PortName: "tls"}}, evidence.HealthCheck{Type: "SSL", Port: 443, PortName: "tls", PortSpec: "USE_FIXED_PORT"}},
		{&compute.HealthCheck{Type: "HTTP2"}, evidence.HealthCheck{Type: "HTTP2"}},
	} {
		if got := HealthCheck(tc.in); got != tc.want {
			t.Errorf("got %+v, want %+v", got, tc.want)
		}
	}
}

func TestBackendService(t *testing.T) {
	got := BackendService(&compute.BackendService{Name: "web", Protocol: "HTTP", LoadBalancingScheme: "INTERNAL_SELF_MANAGED", PortName: "http", HealthChecks: []string{"h"}, Backends: []*compute.Backend{{Group: "g", CapacityScaler: 1}}})
	if got.PortName != "http" || got.Scheme != evidence.SelfManaged || len(got.HealthChecks) != 1 || len(got.Backends) != 1 || got.Backends[0] != (evidence.Backend{Group: "g", Capacity: 1}) {
		t.Errorf("got %+v", got)
	}
}

func TestRoutes(t *testing.T) {
	got := TLSRoute(&networkservices.TlsRoute{
		Name: "projects/p/locations/global/tlsRoutes/r", Meshes: []string{"projects/p/locations/global/meshes/m"}, Gateways: []string{"x/gateways/g"},
		Rules: []*networkservices.TlsRouteRouteRule{nil, {Matches: []*networkservices.TlsRouteRouteMatch{nil, {SniHost: []string{"h"}}}}},
	})
	if got.Kind != "tls" || got.Name != "r" || got.Location != "global" || !slices.Equal(got.Meshes, []string{"m"}) || !slices.Equal(got.Gateways, []string{"g"}) || !slices.Equal(got.Hostnames, []string{"h"}) {
		t.Errorf("got %+v", got)
	}
}

// TestNil holds that a null in an API's or a file's list can't stop the program.
func TestNil(*testing.T) {
	var s evidence.Source
	ForwardingRule(nil, s)
	Instance(nil, s)
	Instance(&compute.Instance{ServiceAccounts: []*compute.ServiceAccount{nil}, NetworkInterfaces: []*compute.NetworkInterface{nil}, Metadata: &compute.Metadata{Items: []*compute.MetadataItems{nil, {Key: "k"}}}}, s)
	Service(nil)
	ServiceProject(nil)
	Health(nil, s)
	Health(&compute.BackendServiceGroupHealth{HealthStatus: []*compute.HealthStatus{nil}}, s)
	TargetGRPCProxy(nil, s)
	TargetHTTPProxy(nil, s)
	TargetHTTPSProxy(nil, s)
	TargetTCPProxy(nil, s)
	URLMap(nil)
	BackendService(nil)
	BackendService(&compute.BackendService{Backends: []*compute.Backend{nil}})
	HealthCheck(nil)
	Mesh(nil)
	Gateway(nil)
	HTTPRoute(nil)
	GRPCRoute(nil)
	TCPRoute(nil)
	TLSRoute(nil)
}
