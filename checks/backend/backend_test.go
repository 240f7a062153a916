package backend

import (
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// What the tables of this area are about.
const (
	projectID = "mesh-prod-4f2a"
	base      = "https://www.googleapis.com/compute/v1/projects/" + projectID + "/"
	groupA    = base + "zones/europe-west1-b/networkEndpointGroups/web-a"
	groupB    = base + "zones/us-central1-a/networkEndpointGroups/web-b"
)

var (
	noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

	network = diagnose.Request{Target: diagnose.Target{Project: projectID, Network: "mesh-vpc"}}
	mesh    = diagnose.Request{Target: diagnose.Target{Project: projectID, Mesh: "prod-mesh"}}
	files   = diagnose.Request{}

	api    = evidence.Source{Collector: "gcp", Detail: "compute.backendServices.getHealth", Vantage: evidence.FromAPI, Time: noon}
	pasted = evidence.Source{Collector: "file", Detail: "health.json", Vantage: evidence.FromAPI, Time: noon, Pasted: true}

	open = []string{"project", "backend_service"}
)

// web is a backend service of the mesh with two groups.
func web(change ...func(*evidence.BackendService)) evidence.BackendService {
	s := evidence.BackendService{
		Name: "web", SelfLink: base + "global/backendServices/web", Protocol: "HTTP", Scheme: evidence.SelfManaged, PortName: "http",
		HealthChecks: []string{base + "global/healthChecks/web-hc"}, Backends: []evidence.Backend{{Group: groupA, Capacity: 1}, {Group: groupB, Capacity: 1}},
	}
	for _, f := range change {
		f(&s)
	}
	return s
}

func called(name string) func(*evidence.BackendService) {
	return func(s *evidence.BackendService) { s.Name, s.SelfLink = name, base+"global/backendServices/"+name }
}

func scheme(v string) func(*evidence.BackendService) {
	return func(s *evidence.BackendService) { s.Scheme = v }
}

func backends(urls ...string) func(*evidence.BackendService) {
	return func(s *evidence.BackendService) {
		s.Backends = nil
		for _, u := range urls {
			s.Backends = append(s.Backends, evidence.Backend{Group: u, Capacity: 1})
		}
	}
}

func services(l ...evidence.BackendService) func(*evidence.Set) {
	return put(evidence.BackendServices, l)
}

// endpoints are n endpoints of a group of service web in one state.
func endpoints(n int, group, state string) []evidence.EndpointHealth {
	out := make([]evidence.EndpointHealth, n)
	zone := "europe-west1-b"
	first := netip.MustParseAddr("10.128.0.10")
	if group == groupB {
		zone, first = "us-central1-a", netip.MustParseAddr("10.130.0.10")
	}
	for i := range out {
		name := base + "zones/" + zone + "/instances/vm-" + strings.ReplaceAll(first.String(), ".", "-")
		out[i] = evidence.EndpointHealth{Service: "web", Group: group, Zone: zone, Address: first.String(), Port: 8080, Instance: name, State: state, Source: api}
		first = first.Next()
	}
	return out
}

func health(l ...[]evidence.EndpointHealth) func(*evidence.Set) {
	var out []evidence.EndpointHealth
	for _, x := range l {
		out = append(out, x...)
	}
	return put(evidence.BackendHealth, out)
}

// unnamed is health as a file tells it that names neither service nor group.
func unnamed(l []evidence.EndpointHealth) func(*evidence.Set) {
	for i := range l {
		l[i].Service, l[i].Group, l[i].Source = "", "", pasted
	}
	return putFrom(evidence.BackendHealth, l, pasted)
}

func groups(l ...evidence.EndpointGroup) func(*evidence.Set) { return put(evidence.EndpointGroups, l) }

func group(url string, n int, ports ...int) evidence.EndpointGroup {
	return evidence.EndpointGroup{URL: url, Kind: "neg", Type: "GCE_VM_IP_PORT", Endpoints: n, Ports: ports, Network: "mesh-vpc"}
}

func put[T any](k evidence.Key[T], x T) func(*evidence.Set) { return putFrom(k, x, api) }

func putFrom[T any](k evidence.Key[T], x T, src evidence.Source) func(*evidence.Set) {
	return func(s *evidence.Set) { evidence.Put(s, k, x, src) }
}

func deny(n evidence.Name) checkstest.Put { return checkstest.Deny(api, n) }

func late(n evidence.Name) checkstest.Put { return checkstest.Late(api, n) }

func all(list ...checkstest.Put) checkstest.Put { return checkstest.All(list...) }

// TestArea holds what all checks of the area have in common.
func TestArea(t *testing.T) {
	checks := []diagnose.Check{FailOpen, SomeUnhealthy, NoBackends, HealthCheckBlocked, HealthCheckMismatch}
	if _, err := diagnose.New(diagnose.Config{Checks: checks}); err != nil {
		t.Fatal(err)
	}
	for _, c := range checks {
		_, condition, _ := strings.Cut(string(c.ID), "/")
		if _, err := os.Stat(strings.ReplaceAll(condition, "-", "_") + ".go"); err != nil || c.ID.Area() != "backend" {
			t.Errorf("%s has no file of its name here", c.ID)
		}
		if c.Doc.Explanation == "" || c.Doc.Quiet == "" || len(c.Doc.Remedy) == 0 || len(c.Doc.References) == 0 {
			t.Errorf("%s lacks a part of its page", c.ID)
		}
	}
}
