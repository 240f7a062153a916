package backend

import (
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestNoBackends(t *testing.T) {
	leads := func(urls ...string) func(*evidence.Set) {
		return all(put(evidence.URLMaps, []evidence.URLMap{{Name: "m", Services: urls}}), put(evidence.TargetProxies, []evidence.TargetProxy(nil)))
	}
	link := base + "global/backendServices/web"
	tcp := all(put(evidence.URLMaps, []evidence.URLMap(nil)), put(evidence.TargetProxies, []evidence.TargetProxy{{Kind: "tcp", Service: "https://compute.googleapis.com/compute/beta/projects/" + projectID + "/global/backendServices/web"}}))
	cut := func(s *evidence.BackendService) { s.Cut, s.Backends = true, nil }
	two := services(web(backends()), web(called("db")))
	checkstest.Run(t, NoBackends, []checkstest.Case{
		{Name: "none", Request: network, Put: all(two, leads(link, base+"global/backendServices/other")),
			Want: []checkstest.Want{{Subject: "backend service web", Summary: "has no backends, so every request to it fails", Confidence: diagnose.Confirmed, Severity: diagnose.Blocking, Excerpt: "backends: none"}}},
		{Name: "behind a target TCP proxy", Request: network, Put: all(two, tcp), Want: []checkstest.Want{{Summary: "web has no backends"}}},
		{Name: "empty groups", Request: network, Put: all(services(web(), web(called("db"))), leads(link), groups(group(groupA, 0), group("https://compute.googleapis.com/compute/v1/projects/"+projectID+"/zones/us-central1-a/networkEndpointGroups/web-b", 0))),
			Want: []checkstest.Want{{Summary: "has no endpoints: there is none in web-a and web-b", Excerpt: "endpoints: 0", Params: map[string]string{"empty": "yes"}}}},
		{Name: "the one that was handed in", Request: files, Put: putFrom(evidence.BackendServices, []evidence.BackendService{web(backends())}, pasted), Want: []checkstest.Want{{Summary: "has no backends"}}},
		{Name: "a Mesh, whose routes don't tell", Request: mesh, Put: two, Want: []checkstest.Want{{Confidence: diagnose.Possible, Severity: diagnose.Advice}}},

		{Name: "it has some", Request: network, Put: all(services(web(), web(called("db"))), leads(link), groups(group(groupA, 3), group(groupB, 0)))},
		{Name: "nothing leads to it", Request: network, Put: all(two, leads(base+"global/backendServices/db"), groups(group(groupA, 3), group(groupB, 3)))},
		{Name: "how many isn't known", Request: network, Put: all(services(web(), web(called("db"))), leads(link), groups(group(groupA, 0), group(groupB, -1)))},
		{Name: "a group isn't known", Request: network, Put: all(services(web(), web(called("db"))), leads(link), groups(group(groupA, 0))), Outcome: diagnose.OutcomeInconclusive},
		{Name: "the groups are denied", Request: network, Put: all(services(web(), web(called("db"))), leads(link), deny(evidence.EndpointGroups.Name())), Outcome: diagnose.OutcomeInconclusive},
		{Name: "of a load balancer", Request: network, Put: all(services(web(backends(), scheme("INTERNAL_MANAGED")), web(called("db"), scheme("EXTERNAL"))), leads(link))},
		{Name: "a list in a file", Request: files, Put: putFrom(evidence.BackendServices, []evidence.BackendService{web(backends()), web(called("db"))}, pasted), Outcome: diagnose.OutcomeSkipped},
		{Name: "a file that leaves fields out", Request: files, Put: putFrom(evidence.BackendServices, []evidence.BackendService{web(cut)}, pasted), Outcome: diagnose.OutcomeSkipped},
		{Name: "the URL maps are denied", Request: network, Put: all(two, deny(evidence.URLMaps.Name())), Outcome: diagnose.OutcomeInconclusive},
		{Name: "denied", Request: network, Put: deny(evidence.BackendServices.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Request: network, Put: late(evidence.BackendServices.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Request: files, Outcome: diagnose.OutcomeSkipped},
	})
}
