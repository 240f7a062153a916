package traffic

import (
	"strings"
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestInboundPortNotIntercepted(t *testing.T) {
	checkstest.Run(t, InboundPortNotIntercepted, []checkstest.Case{
		{Name: "another port is", Request: serving(9090), Put: all(rules(manual), running(997)),
			Want: []checkstest.Want{{Summary: "No rule takes connections to port 9090 to the proxy", Confidence: diagnose.Confirmed, Severity: diagnose.Degrading}}},
		{Name: "by the agent", Request: serving(9090), Put: rules(agent), Want: []checkstest.Want{{Summary: "PREROUTING leads to SERVICE_PROXY_INBOUND"}}},
		{Name: "an excluded port", Request: serving(15021), Put: rules(sidecar), Want: []checkstest.Want{{Excerpt: "--dport 15021 -j RETURN"}}},
		{Name: "no rules at all", Request: serving(8080), Put: rules(emptyNAT, "*mangle\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n"), Want: []checkstest.Want{{Summary: "no chain of the mesh's is reachable", Excerpt: "no rule matches"}}},

		{Name: "by hand, to 15001", Request: serving(8080), Put: rules(manual)},
		{Name: "by the agent, its port", Request: serving(8080), Put: rules(agent)},
		{Name: "any port", Request: serving(8080), Put: rules(sidecar)},
		{Name: "a port's name", Request: serving(3306), Put: rules("Chain PREROUTING (policy ACCEPT)\ntarget     prot opt source               destination\nSERVICE_PROXY_INBOUND  tcp  --  anywhere             anywhere\n\n" +
			"Chain SERVICE_PROXY_INBOUND (1 references)\ntarget     prot opt source               destination\nREDIRECT   tcp  --  anywhere             anywhere             tcp dpt:mysql redir ports 15001\n")},
		{Name: "dropped, which is another's", Request: serving(9090), Put: rules(manual, dropping("-p tcp -j DROP"))},
		{Name: "taken from some sources alone", Request: serving(8080), Put: rules(strings.Replace(manual, "-A ISTIO_INBOUND -p tcp -m tcp --dport 8080", "-A ISTIO_INBOUND -s 10.0.0.0/8 -p tcp -m tcp --dport 8080", 1)), Outcome: diagnose.OutcomeInconclusive, Reason: "10.0.0.0/8"},
		{Name: "mangle may", Request: serving(9090), Put: rules(emptyNAT), Outcome: diagnose.OutcomeInconclusive, Reason: "mangle"},
		{Name: "nat not read", Request: serving(9090), Put: rules(filter), Outcome: diagnose.OutcomeInconclusive, Reason: "nat"},
		{Name: "not root", Request: serving(9090), Put: rulesBut(unread, manual), Outcome: diagnose.OutcomeInconclusive},
		{Name: "a Kubernetes node", Request: serving(9090), Put: rules(node), Outcome: diagnose.OutcomeSkipped},
		{Name: "nftables", Request: serving(9090), Put: rules(manual, "table inet mesh {\n}\n"), Outcome: diagnose.OutcomeInconclusive},
		{Name: "denied", Request: serving(9090), Put: deny(evidence.PacketRules.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "no serving port", Request: files, Put: rules(manual), Outcome: diagnose.OutcomeSkipped},
	})
}
