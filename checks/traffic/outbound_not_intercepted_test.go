package traffic

import (
	"strings"
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/envoy"
)

func TestOutboundNotIntercepted(t *testing.T) {
	sidecarBoot := boot(evidence.Bootstrap{Kind: evidence.EnvoyBootstrap, File: "bootstrap.yaml", NodeID: nodeID})
	noJump := strings.Replace(manual, "-A OUTPUT -p tcp -j ISTIO_OUTPUT\n", "", 1)
	checkstest.Run(t, OutboundNotIntercepted, []checkstest.Case{
		{Name: "no rules, Envoy runs", Request: to("10.0.0.7:80"), Put: all(rules(emptyNAT, filter), running(997)),
			Want: []checkstest.Want{{Subject: "rules.txt", Summary: "leads to no ISTIO_OUTPUT", Confidence: diagnose.Confirmed, Excerpt: "nat OUTPUT leads to no other chain"}}},
		{Name: "the jump is missing", Request: files, Put: rules(noJump), Unfilled: nil, Want: []checkstest.Want{{Summary: "chain ISTIO_OUTPUT is there, and nothing"}}},
		{Name: "the agent's jump is missing", Request: files, Put: rules(strings.Replace(agent, "-A OUTPUT -p tcp -j SERVICE_PROXY_OUTPUT\n", "", 1)), Want: []checkstest.Want{{Summary: "SERVICE_PROXY_OUTPUT is there"}}},
		{Name: "Docker's rules alone, a bootstrap", Request: files, Put: all(rules(docker), sidecarBoot), Want: []checkstest.Want{{Excerpt: "nat OUTPUT leads to: DOCKER"}}},
		{Name: "inbound alone, a dump", Request: files, Put: all(rules(strings.NewReplacer("-A OUTPUT -p tcp -j SERVICE_PROXY_OUTPUT\n", "", ":SERVICE_PROXY_OUTPUT - [0:0]\n", "").Replace(emptyNAT)), dump(&envoy.Dump{NodeID: nodeID})), Want: []checkstest.Want{{}}},

		{Name: "by hand", Request: files, Put: all(rules(manual), running(997))},
		{Name: "by the agent", Request: files, Put: all(rules(agent), running(997))},
		{Name: "a sidecar", Request: files, Put: all(rules(sidecar), running(1337))},
		{Name: "somebody's own chains", Request: files, Put: all(rules(strings.NewReplacer("ISTIO_", "MY_").Replace(manual)), running(997))},
		{Name: "nftables", Request: files, Put: all(rules("table inet mesh {\n}\n"), running(997)), Outcome: diagnose.OutcomeInconclusive, Reason: "nftables' own rules"},
		{Name: "nftables beside empty tables", Request: files, Put: all(rules(emptyNAT, "table inet mesh {\n}\n"), running(997)), Outcome: diagnose.OutcomeInconclusive},
		{Name: "one engine, empty", Request: files, Put: all(rulesBut(unread, emptyNAT), running(997)), Outcome: diagnose.OutcomeInconclusive, Reason: "not root"},
		{Name: "filter alone", Request: files, Put: all(rules(filter), running(997)), Outcome: diagnose.OutcomeInconclusive, Reason: "nat table was not read"},
		{Name: "a Kubernetes node", Request: files, Put: all(rules(node), running(997)), Outcome: diagnose.OutcomeSkipped, Reason: "Kubernetes node"},
		{Name: "proxyless", Request: to("10.0.0.7:80"), Put: all(rules(emptyNAT), boot(evidence.Bootstrap{Kind: evidence.GRPCBootstrap, NodeID: nodeID})), Outcome: diagnose.OutcomeSkipped, Reason: "proxyless"},
		{Name: "a gateway", Request: files, Put: all(rules(emptyNAT), boot(evidence.Bootstrap{Kind: evidence.EnvoyBootstrap, NodeID: "router~10.4.0.7~gw.istio-system~istio-system.svc.cluster.local"})), Outcome: diagnose.OutcomeSkipped, Reason: "gateway"},
		{Name: "interception is off", Request: files, Put: all(rules(emptyNAT), boot(evidence.Bootstrap{Kind: evidence.EnvoyBootstrap, Metadata: map[string]string{"INTERCEPTION_MODE": "NONE"}})), Outcome: diagnose.OutcomeSkipped},
		{Name: "no proxy is known", Request: files, Put: rules(emptyNAT, filter), Outcome: diagnose.OutcomeSkipped, Reason: "nothing tells"},
		{Name: "a jump to a chain that does nothing", Request: files, Put: all(rules(emptyNAT[:len(emptyNAT)-7]+"-A OUTPUT -m set --match-set mesh dst -j MY\n-N MY\nCOMMIT\n"), running(997)), Want: []checkstest.Want{{}}},
		{Name: "a target that isn't known", Request: files, Put: all(rules(strings.Replace(emptyNAT, "COMMIT", "-A OUTPUT -p tcp -j MYTARGET\nCOMMIT", 1)), running(997)), Outcome: diagnose.OutcomeInconclusive},
		{Name: "denied", Request: files, Put: deny(evidence.PacketRules.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Request: files, Put: late(evidence.PacketRules.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Request: files, Outcome: diagnose.OutcomeSkipped},
	})
}
