package traffic

import (
	"strings"
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestInboundPortDropped(t *testing.T) {
	nic := boot(evidence.Bootstrap{Kind: evidence.EnvoyBootstrap, NodeID: "projects/482915067713/networks/mesh-vpc/nodes/8f1c0a52-71de-4a4d-9d0b-6a1f3c2b9e77~10.128.0.5"})
	checkstest.Run(t, InboundPortDropped, []checkstest.Case{
		{Name: "on the proxy's port", Request: serving(8080), Put: all(rules(manual, dropping("-p tcp -m tcp --dport 15001 -j DROP")), running(997)),
			Want: []checkstest.Want{{Summary: "Connections to port 8080 are dropped, after they were taken to the proxy's port 15001", Confidence: diagnose.Confirmed, Params: map[string]string{"landing": "15001"}, Excerpt: "--dport 15001 -j DROP"}}},
		{Name: "not intercepted", Request: serving(9090), Put: rules(manual, dropping("-p tcp -m tcp --dport 9090 -j REJECT --reject-with tcp-reset")), Want: []checkstest.Want{{Summary: "are rejected with tcp-reset by filter INPUT rule 1"}}},
		{Name: "the policy", Request: serving(8080), Put: rules(manual, strings.Replace(filter, ":INPUT ACCEPT", ":INPUT DROP", 1)), Want: []checkstest.Want{{Excerpt: "filter INPUT"}}},
		{Name: "raw sees the original port", Request: serving(8080), Put: rules(manual, filter, "*raw\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n-A PREROUTING -p tcp -m tcp --dport 8080 -j DROP\nCOMMIT\n"), Want: []checkstest.Want{{Summary: "Connections to port 8080 are dropped by raw PREROUTING"}}},
		{Name: "from the proxy to the application", Request: serving(8080), Put: all(rules(manual, dropping("-i lo -p tcp -m tcp --dport 8080 -j DROP")), running(997)), Want: []checkstest.Want{{Summary: "The proxy's own connections to the application at 127.0.0.1:8080 are dropped"}}},
		{Name: "behind a rule that a listing shows to be for everything", Request: serving(8080), Put: all(rules(listedSidecar, listedFilter), running(1337)), Want: []checkstest.Want{{
			Summary: "by filter INPUT rule 3: DROP tcp -- anywhere anywhere tcp dpt:15006", Confidence: diagnose.Likely}}},

		{Name: "nothing drops", Request: serving(8080), Put: all(rules(manual, filter), running(997))},
		{Name: "on the original port of an intercepted one, from outside", Request: serving(8080), Put: all(rules(manual, dropping("! -i lo -p tcp -m tcp --dport 8080 -j DROP")), running(997))},
		{Name: "another port", Request: serving(8080), Put: all(rules(manual, dropping("-p tcp -m tcp --dport 9090 -j DROP")), running(997))},
		{Name: "any port, a sidecar", Request: serving(8080), Put: all(rules(sidecar, filter), running(1337))},
		{Name: "the interface of the VM's primary address", Request: serving(8080), Put: all(recorded(manual, dropping("-i eth0 -p tcp -m tcp --dport 15001 -j DROP")), nic), Want: []checkstest.Want{{
			Summary: "-i eth0", Confidence: diagnose.Confirmed, Excerpt: "assumed: clients come by eth0, which has the host's primary address 10.128.0.5, and not by eth1"}}},
		{Name: "the VM's other interface", Request: serving(8080), Put: all(recorded(manual, filter, dropping("-i eth1 -p tcp -m tcp --dport 15001 -j DROP")), nic)},
		{Name: "one of two interfaces, and which is the first isn't known", Request: serving(8080), Put: recorded(manual, dropping("-i eth1 -p tcp -m tcp --dport 15001 -j DROP")),
			Outcome: diagnose.OutcomeInconclusive, Reason: "arrives on eth0 is redirected to 10.128.0.5:15001, and on eth1 dropped"},
		{Name: "any interface but lo", Request: serving(8080), Put: recorded(manual, dropping("! -i lo -p tcp -m tcp --dport 15001 -j DROP")), Want: []checkstest.Want{{Excerpt: "asked for every interface: eth0, eth1"}}},
		{Name: "another interface", Request: serving(8080), Put: rules(manual, dropping("-i eth1 -p tcp -m tcp --dport 15001 -j DROP")), Outcome: diagnose.OutcomeInconclusive, Reason: "eth1"},
		{Name: "some sources", Request: serving(8080), Put: rules(manual, dropping("-s 203.0.113.0/24 -p tcp -j DROP")), Outcome: diagnose.OutcomeInconclusive, Reason: "203.0.113.0/24"},
		{Name: "admitted from some sources alone", Request: serving(8080), Put: rules(manual, "*filter\n:INPUT DROP [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n-A INPUT -s 35.191.0.0/16 -p tcp -m tcp --dport 15001 -j ACCEPT\nCOMMIT\n"),
			Outcome: diagnose.OutcomeInconclusive, Reason: "35.191.0.0/16"},
		{Name: "nat not read", Request: serving(8080), Put: rules(dropping("-p tcp -m tcp --dport 8080 -j DROP")), Outcome: diagnose.OutcomeInconclusive, Reason: "nat table"},
		{Name: "filter not read", Request: serving(8080), Put: rules(manual), Outcome: diagnose.OutcomeInconclusive, Reason: "filter table"},
		{Name: "not root", Request: serving(8080), Put: rulesBut(unread, manual, filter), Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Request: serving(8080), Put: late(evidence.PacketRules.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Request: serving(8080), Outcome: diagnose.OutcomeSkipped},
	})
}
