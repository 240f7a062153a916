package traffic

import (
	"strings"
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// dropping is a filter table with one rule in INPUT.
func dropping(rule string) string {
	return strings.Replace(filter, "COMMIT", "-A INPUT "+rule+"\nCOMMIT", 1)
}

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
		{Name: "mangle may", Request: serving(9090), Put: rules(emptyNAT), Outcome: diagnose.OutcomeInconclusive, Reason: "mangle"},
		{Name: "nat not read", Request: serving(9090), Put: rules(filter), Outcome: diagnose.OutcomeInconclusive, Reason: "nat"},
		{Name: "not root", Request: serving(9090), Put: rulesBut(unread, manual), Outcome: diagnose.OutcomeInconclusive},
		{Name: "a Kubernetes node", Request: serving(9090), Put: rules(node), Outcome: diagnose.OutcomeSkipped},
		{Name: "nftables", Request: serving(9090), Put: rules(manual, "table inet mesh {\n}\n"), Outcome: diagnose.OutcomeInconclusive},
		{Name: "denied", Request: serving(9090), Put: deny(evidence.PacketRules.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "no serving port", Request: files, Put: rules(manual), Outcome: diagnose.OutcomeSkipped},
	})
}

func TestInboundPortDropped(t *testing.T) {
	checkstest.Run(t, InboundPortDropped, []checkstest.Case{
		{Name: "on the proxy's port", Request: serving(8080), Put: all(rules(manual, dropping("-p tcp -m tcp --dport 15001 -j DROP")), running(997)),
			Want: []checkstest.Want{{Summary: "Connections to port 8080 are dropped, after they were taken to the proxy's port 15001", Confidence: diagnose.Confirmed, Params: map[string]string{"landing": "15001"}, Excerpt: "--dport 15001 -j DROP"}}},
		{Name: "not intercepted", Request: serving(9090), Put: rules(manual, dropping("-p tcp -m tcp --dport 9090 -j REJECT --reject-with tcp-reset")), Want: []checkstest.Want{{Summary: "are rejected with tcp-reset by filter INPUT rule 1"}}},
		{Name: "the policy", Request: serving(8080), Put: rules(manual, strings.Replace(filter, ":INPUT ACCEPT", ":INPUT DROP", 1)), Want: []checkstest.Want{{Excerpt: "filter INPUT"}}},
		{Name: "raw sees the original port", Request: serving(8080), Put: rules(manual, filter, "*raw\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n-A PREROUTING -p tcp -m tcp --dport 8080 -j DROP\nCOMMIT\n"), Want: []checkstest.Want{{Summary: "Connections to port 8080 are dropped by raw PREROUTING"}}},
		{Name: "from the proxy to the application", Request: serving(8080), Put: all(rules(manual, dropping("-i lo -p tcp -m tcp --dport 8080 -j DROP")), running(997)), Want: []checkstest.Want{{Summary: "The proxy's own connections to the application at 127.0.0.1:8080 are dropped"}}},

		{Name: "nothing drops", Request: serving(8080), Put: all(rules(manual, filter), running(997))},
		{Name: "on the original port of an intercepted one, from outside", Request: serving(8080), Put: all(rules(manual, dropping("! -i lo -p tcp -m tcp --dport 8080 -j DROP")), running(997))},
		{Name: "another port", Request: serving(8080), Put: all(rules(manual, dropping("-p tcp -m tcp --dport 9090 -j DROP")), running(997))},
		{Name: "any port, a sidecar", Request: serving(8080), Put: all(rules(sidecar, filter), running(1337))},
		{Name: "another interface", Request: serving(8080), Put: rules(manual, dropping("-i eth1 -p tcp -m tcp --dport 15001 -j DROP")), Outcome: diagnose.OutcomeInconclusive, Reason: "eth1"},
		{Name: "some sources", Request: serving(8080), Put: rules(manual, dropping("-s 203.0.113.0/24 -p tcp -j DROP")), Outcome: diagnose.OutcomeInconclusive, Reason: "203.0.113.0/24"},
		{Name: "nat not read", Request: serving(8080), Put: rules(dropping("-p tcp -m tcp --dport 8080 -j DROP")), Outcome: diagnose.OutcomeInconclusive, Reason: "nat table"},
		{Name: "filter not read", Request: serving(8080), Put: rules(manual), Outcome: diagnose.OutcomeInconclusive, Reason: "filter table"},
		{Name: "not root", Request: serving(8080), Put: rulesBut(unread, manual, filter), Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Request: serving(8080), Put: late(evidence.PacketRules.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Request: serving(8080), Outcome: diagnose.OutcomeSkipped},
	})
}
