package backend

import (
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestFailOpen(t *testing.T) {
	checkstest.Run(t, FailOpen, []checkstest.Case{
		{Name: "all of them", Request: network, Put: all(health(endpoints(3, groupA, unhealthy), endpoints(2, groupB, unhealthy)), services(web())),
			Want: []checkstest.Want{{Subject: "backend service web", Summary: "All 5 endpoints of backend service web are unhealthy, so Cloud Service Mesh ignores health", Confidence: diagnose.Confirmed,
				Excerpt: "10.128.0.10:8080 (vm-10-128-0-10)", Params: map[string]string{"health_check": "web-hc", "project": projectID}}}},
		{Name: "99 of 100", Request: network, Put: all(health(endpoints(99, groupA, unhealthy), endpoints(1, groupB, healthy)), services(web())), Want: []checkstest.Want{{Summary: "99 of 100 endpoints", Excerpt: "and 94 more"}}},
		{Name: "a file that doesn't say of what", Request: files, Put: unnamed(endpoints(2, groupA, unhealthy)),
			Want: []checkstest.Want{{Subject: "the backend service of health.json", Summary: "All 2 endpoints in health.json are unhealthy; unless the service has others", Confidence: diagnose.Likely}}, Unfilled: open},
		{Name: "the other group is empty", Request: network, Put: all(health(endpoints(3, groupA, unhealthy)), services(web()), groups(group(groupA, 3), group(groupB, 0))), Want: []checkstest.Want{{}}},
		{Name: "one of two services", Request: network, Put: all(health(endpoints(3, groupA, unhealthy), endpoints(3, groupB, unhealthy), func() []evidence.EndpointHealth {
			l := endpoints(2, groupA, healthy)
			for i := range l {
				l[i].Service = "db"
			}
			return l
		}()), services(web(), web(called("db")))), Want: []checkstest.Want{{Key: "backends/web"}}},
		{Name: "told of each of two forwarding rules", Request: network, Put: all(health(endpoints(1, groupA, unhealthy), endpoints(1, groupA, unhealthy)), services(web(backends(groupA)))), Want: []checkstest.Want{{Summary: "All 1 endpoints"}}},
		{Name: "some groups can't be read", Request: network, Put: all(health(endpoints(3, groupA, unhealthy)), deny(evidence.BackendHealth.Name()), services(web(backends(groupA)))), Want: []checkstest.Want{{Confidence: diagnose.Likely}}},

		{Name: "98 of 100", Request: network, Put: all(health(endpoints(98, groupA, unhealthy), endpoints(2, groupB, healthy)), services(web()))},
		{Name: "Envoy's panic threshold", Request: network, Put: all(health(endpoints(3, groupA, unhealthy), endpoints(2, groupB, healthy)), services(web()))},
		{Name: "all are healthy", Request: network, Put: all(health(endpoints(3, groupA, healthy)), services(web()))},
		{Name: "no health is told", Request: network, Put: all(health(endpoints(3, groupA, "")), services(web()))},
		{Name: "the answer is empty", Request: network, Put: all(health(), services(web()))},
		{Name: "the other group's health isn't told", Request: network, Put: all(health(endpoints(3, groupA, unhealthy)), services(web()), groups(group(groupA, 3), group(groupB, 2)))},
		{Name: "of a load balancer", Request: network, Put: all(health(endpoints(3, groupA, unhealthy)), services(web(scheme("EXTERNAL_MANAGED"))))},
		{Name: "a probe came through for one of two rules", Request: network, Put: all(health(endpoints(1, groupA, unhealthy), endpoints(1, groupA, healthy)), services(web()))},
		{Name: "denied", Request: network, Put: deny(evidence.BackendHealth.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "some denied, the rest healthy", Request: network, Put: all(health(endpoints(3, groupA, healthy)), deny(evidence.BackendHealth.Name()), services(web())), Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Request: network, Put: late(evidence.BackendHealth.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Request: files, Outcome: diagnose.OutcomeSkipped},
	})
}
