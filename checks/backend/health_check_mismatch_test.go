package backend

import (
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestHealthCheckMismatch(t *testing.T) {
	check := func(typ, spec string, port int, name string) func(*evidence.Set) {
		return put(evidence.HealthChecks, []evidence.HealthCheck{{Name: "web-hc", SelfLink: base + "global/healthChecks/web-hc", Type: typ, PortSpec: spec, Port: port, PortName: name}})
	}
	protocol := func(p string) func(*evidence.BackendService) {
		return func(s *evidence.BackendService) { s.Protocol = p }
	}
	sick := health(endpoints(2, groupA, unhealthy))
	at8080 := groups(group(groupA, 2, 8080), group(groupB, 2, 8080))
	checkstest.Run(t, HealthCheckMismatch, []checkstest.Case{
		{Name: "another port", Request: network, Put: all(services(web()), fixed(80), sick, at8080),
			Want: []checkstest.Want{{Subject: "backend service web", Summary: "Health check web-hc of backend service web asks port 80; the endpoints serve on 8080.", Confidence: diagnose.Likely, Severity: diagnose.Degrading,
				Excerpt: "type HTTP, port USE_FIXED_PORT 80", Params: map[string]string{"health_check": "web-hc", "update": "http", "port_differs": "yes"}}}},
		{Name: "another protocol on the serving port", Request: network, Put: all(services(web(protocol("GRPC"))), serving, sick), Want: []checkstest.Want{{Summary: "speaks HTTP; the service speaks GRPC", Params: map[string]string{"protocol": "GRPC"}}}},
		{Name: "another protocol on the same fixed port", Request: network, Put: all(services(web()), check("HTTPS", "USE_FIXED_PORT", 8080, ""), sick), Want: []checkstest.Want{{Summary: "speaks HTTPS"}}},
		{Name: "another named port", Request: network, Put: all(services(web()), check("HTTP", "USE_NAMED_PORT", 0, "admin"), sick), Want: []checkstest.Want{{Summary: "named port admin; the service serves on the named port http"}}},
		{Name: "nobody knows whether it fails", Request: files, Put: all(services(web()), fixed(80), at8080), Want: []checkstest.Want{{Confidence: diagnose.Possible, Severity: diagnose.Advice}}},

		{Name: "the same port", Request: network, Put: all(services(web()), fixed(8080), sick, at8080)},
		{Name: "USE_SERVING_PORT", Request: network, Put: all(services(web()), serving, sick, at8080)},
		{Name: "a port of its own that answers", Request: network, Put: all(services(web()), fixed(15021), health(endpoints(2, groupA, healthy)), at8080)},
		{Name: "it answers for one endpoint", Request: network, Put: all(services(web()), fixed(15021), health(endpoints(2, groupA, unhealthy), endpoints(1, groupB, healthy)))},
		{Name: "TCP suits all", Request: network, Put: all(services(web(protocol("GRPC"))), check("TCP", "USE_SERVING_PORT", 0, ""), sick)},
		{Name: "HTTP behind TCP", Request: network, Put: all(services(web(protocol("TCP"))), serving, sick)},
		{Name: "one of several serving ports", Request: network, Put: all(services(web()), fixed(80), groups(group(groupA, 1, 80, 8080)), health())},
		{Name: "the same named port", Request: network, Put: all(services(web()), check("HTTP", "USE_NAMED_PORT", 0, "http"), sick)},
		{Name: "of a load balancer", Request: network, Put: all(services(web(scheme("EXTERNAL"))), fixed(80), sick), Outcome: diagnose.OutcomeSkipped},
		{Name: "another service's check", Request: network, Put: all(services(web(func(s *evidence.BackendService) { s.HealthChecks = nil })), fixed(80), sick), Outcome: diagnose.OutcomeSkipped},
		{Name: "the serving ports are denied", Request: network, Put: all(services(web()), fixed(80), deny(evidence.EndpointGroups.Name()), health()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "the health checks are denied", Request: network, Put: all(services(web()), deny(evidence.HealthChecks.Name())), Outcome: diagnose.OutcomeInconclusive},
		{Name: "denied", Request: network, Put: deny(evidence.BackendServices.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Request: network, Put: late(evidence.BackendServices.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Request: files, Outcome: diagnose.OutcomeSkipped},
	})
}
