package traffic

import (
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/envoy"
)

func TestServerFirstProtocol(t *testing.T) {
	of := func(metadata map[string]string) func(*evidence.Set) {
		return boot(evidence.Bootstrap{Kind: evidence.EnvoyBootstrap, NodeID: nodeID, Metadata: metadata, Source: fromFile})
	}
	istio := map[string]string{"ISTIO_VERSION": "1.21.0"}
	checkstest.Run(t, ServerFirstProtocol, []checkstest.Case{
		{Name: "MySQL", Request: to("10.0.0.7:3306"), Put: all(rules(agent), of(nil)),
			Want: []checkstest.Want{{Subject: "10.0.0.7:3306", Summary: "Port 3306 is that of MySQL", Confidence: diagnose.Possible, Excerpt: "REDIRECT"}}},
		{Name: "SMTP, by a name", Request: to("mail:25"), Put: vips("10.0.0.7"), Want: []checkstest.Want{{Summary: "SMTP", Params: map[string]string{"address": "mail"}}}},
		{Name: "SSH, by a dump", Request: to("10.0.0.7:22"), Put: all(rules(agent), dump(&envoy.Dump{NodeID: nodeID})), Want: []checkstest.Want{{Summary: "SSH"}}},
		{Name: "a Mesh", Request: diagnose.Request{Target: diagnose.Target{Project: project, Mesh: "prod-mesh", Destination: "10.0.0.7:21"}}, Want: []checkstest.Want{{Summary: "FTP"}}},

		{Name: "HTTP", Request: to("10.0.0.7:80"), Put: of(nil)},
		{Name: "PostgreSQL", Request: to("10.0.0.7:5432"), Put: of(nil)},
		{Name: "MongoDB", Request: to("10.0.0.7:27017"), Put: of(nil)},
		{Name: "Redis", Request: to("10.0.0.7:6379"), Put: of(nil)},
		{Name: "no port", Request: to("payments"), Put: of(nil)},
		{Name: "the port is excluded", Request: to("10.0.0.7:3306"), Put: all(rules(manual), of(nil))},
		{Name: "not in a range", Request: to("10.0.1.7:3306"), Put: all(rules(agent), of(nil))},
		{Name: "Istio's APIs", Request: to("10.0.0.7:3306"), Put: all(rules(sidecar), of(istio)), Outcome: diagnose.OutcomeSkipped, Reason: "Istio"},
		{Name: "rules that can't tell", Request: to("10.0.0.7:3306"), Put: all(rules(filter), of(nil)), Outcome: diagnose.OutcomeInconclusive},
		{Name: "no mesh is known", Request: to("10.0.0.7:3306"), Put: put(evidence.ForwardingRules, []evidence.ForwardingRule{{Scheme: "EXTERNAL"}}), Outcome: diagnose.OutcomeSkipped, Reason: "nothing tells"},
		{Name: "denied", Request: to("10.0.0.7:3306"), Put: deny(evidence.ForwardingRules.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Request: to("10.0.0.7:3306"), Outcome: diagnose.OutcomeSkipped},
	})
}
