package backend

import (
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestSomeUnhealthy(t *testing.T) {
	one := func() []evidence.EndpointHealth {
		l := endpoints(4, groupA, healthy)
		l[0].State = unhealthy
		return l
	}
	checkstest.Run(t, SomeUnhealthy, []checkstest.Case{
		{Name: "one of a region, all of another", Request: network, Put: all(health(one(), endpoints(2, groupB, unhealthy)), services(web())),
			Want: []checkstest.Want{{Subject: "backend service web", Summary: "3 of the 6 endpoints known of backend service web are unhealthy (us-central1 2 of 2 and europe-west1 1 of 4)", Confidence: diagnose.Confirmed, Severity: diagnose.Degrading,
				Excerpt: "10.128.0.10:8080"}}},
		{Name: "98 of 100", Request: network, Put: all(health(endpoints(98, groupA, unhealthy), endpoints(2, groupB, healthy)), services(web())), Want: []checkstest.Want{{Summary: "98 of the 100"}}},
		{Name: "a file alone", Request: files, Put: unnamed(one()), Want: []checkstest.Want{{Subject: "the backend service of health.json", Summary: "1 of the 4 endpoints known in health.json"}}, Unfilled: open},
		{Name: "all of one group, the other isn't told", Request: network, Put: all(health(endpoints(3, groupA, unhealthy)), services(web()), groups(group(groupB, 2))), Want: []checkstest.Want{{Summary: "3 of the 3 endpoints known"}}},
		{Name: "no region is known", Request: files, Put: func(s *evidence.Set) {
			l := one()
			for i := range l {
				l[i].Zone = ""
			}
			evidence.Put(s, evidence.BackendHealth, l, pasted)
		}, Want: []checkstest.Want{{Summary: "are unhealthy: traffic"}}, Unfilled: open},
		{Name: "some can't be read", Request: network, Put: all(health(one()), deny(evidence.BackendHealth.Name()), services(web())), Want: []checkstest.Want{{}}},

		{Name: "all are healthy", Request: network, Put: all(health(endpoints(3, groupA, healthy)), services(web()))},
		{Name: "all are unhealthy", Request: network, Put: all(health(endpoints(3, groupA, unhealthy)), services(web(backends(groupA))))},
		{Name: "no health is told", Request: network, Put: all(health(endpoints(3, groupA, "")), services(web()))},
		{Name: "the answer is empty", Request: network, Put: all(health(), services(web()))},
		{Name: "draining", Request: network, Put: all(health(endpoints(1, groupA, "DRAINING"), endpoints(3, groupB, healthy)), services(web()))},
		{Name: "of a load balancer", Request: network, Put: all(health(one()), services(web(scheme("EXTERNAL"))))},
		{Name: "denied", Request: network, Put: deny(evidence.BackendHealth.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "some denied, the rest healthy", Request: network, Put: all(health(endpoints(3, groupA, healthy)), deny(evidence.BackendHealth.Name()), services(web())), Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Request: network, Put: late(evidence.BackendHealth.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Request: files, Outcome: diagnose.OutcomeSkipped},
	})
}
