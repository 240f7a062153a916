package traffic

import (
	"strings"
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// listing is what iptables -t nat -L prints of rules made by hand.
const listing = `Chain OUTPUT (policy ACCEPT)
target     prot opt source               destination
ISTIO_OUTPUT  tcp  --  anywhere             anywhere

Chain ISTIO_OUTPUT (1 references)
target     prot opt source               destination
RETURN     all  --  anywhere             anywhere             owner UID match 997
RETURN     all  --  anywhere             localhost
ISTIO_REDIRECT  all  --  anywhere             10.0.0.0/8
RETURN     all  --  anywhere             anywhere

Chain ISTIO_REDIRECT (1 references)
target     prot opt source               destination
REDIRECT   tcp  --  anywhere             anywhere             redir ports 15001
`

func TestVIPNotIntercepted(t *testing.T) {
	checkstest.Run(t, VIPNotIntercepted, []checkstest.Case{
		{Name: "by hand", Request: to("172.16.5.9:80"), Put: all(rules(manual), running(997)),
			Want: []checkstest.Want{{Summary: "172.16.5.9 is in no range", Confidence: diagnose.Confirmed, Excerpt: "ISTIO_OUTPUT rule 7: -A ISTIO_OUTPUT -j RETURN", Params: map[string]string{"cidr": "172.16.5.9/32", "by_hand": "yes", "by_agent": ""}}}},
		{Name: "by the agent", Request: to("10.0.1.1:80"), Put: rules(agent), Want: []checkstest.Want{{Summary: "10.0.1.1 is in no range that the rules take to the proxy (10.0.0.0/24).", Params: map[string]string{"by_agent": "yes", "agent_vm": "payments-7c4", "by_hand": ""}}}},
		{Name: "by the agent, in files", Request: diagnose.Request{Target: diagnose.Target{Destination: "10.0.1.1:80"}}, Put: rules(agent), Want: []checkstest.Want{{Params: map[string]string{"by_agent": "yes", "agent_vm": ""}}}},
		{Name: "somebody's own chains", Request: to("10.0.1.1:80"), Put: rules(strings.ReplaceAll(agent, "SERVICE_PROXY_", "MY_")), Want: []checkstest.Want{{Params: map[string]string{"by_agent": "yes", "by_hand": "yes"}}}},
		{Name: "a name with one address", Request: to("payments:80"), Put: all(rules(agent), vips("10.7.7.7")), Want: []checkstest.Want{{Summary: "10.7.7.7"}}},
		{Name: "the filter table was read too", Request: to("10.0.1.1"), Put: rules(agent, filter), Want: []checkstest.Want{{}}},
		{Name: "a listing that hides interfaces", Request: to("172.16.5.9:80"), Put: rules(listing), Want: []checkstest.Want{{Summary: "as far as a listing"}}},
		{Name: "a listing, whose rule for all but localhost is for what the host sends to itself", Request: to("172.16.5.9:80"), Put: rules(listedVM),
			Want: []checkstest.Want{{Summary: "172.16.5.9 is in no range that the rules take to the proxy (10.0.0.0/8, as far as a listing without -v shows).", Confidence: diagnose.Likely}}},
		{Name: "a sidecar's listing", Request: to("172.16.5.9:80"), Put: rules(listedRange), Want: []checkstest.Want{{Summary: "10.0.0.0/8, as far as a listing"}}},
		{Name: "other ports alone", Request: to("10.0.0.7:80"), Put: rules("*nat\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -p tcp -d 10.0.0.0/8 -m multiport --dports 443,8080 -j REDIRECT --to-ports 15001\nCOMMIT\n"),
			Want: []checkstest.Want{{Summary: "The rules take port 443 of 10.0.0.7 to the proxy, and not port 80.", Confidence: diagnose.Confirmed, Params: map[string]string{"only_port": "443", "port": "80", "by_hand": ""}}}},

		{Name: "in a listing's range", Request: to("10.3.3.3:80"), Put: rules(listing)},
		{Name: "a sidecar's listing takes everything", Request: to("172.16.5.9:80"), Put: rules(listedSidecar)},
		{Name: "a listing takes nothing but loopback", Request: to("172.16.5.9:80"), Put: rules(listedLoopback), Outcome: diagnose.OutcomeInconclusive, Reason: "listing without -v"},
		{Name: "in the range", Request: to("10.0.0.7:80"), Put: rules(agent)},
		{Name: "in a broader range", Request: to("10.200.0.7:80"), Put: rules(manual)},
		{Name: "everything", Request: to("203.0.113.9:443"), Put: all(rules(sidecar), running(1337))},
		{Name: "excluded on purpose", Request: to("10.9.0.7:80"), Put: rules(manual)},
		{Name: "an excluded port", Request: to("172.16.5.9:3306"), Put: rules(manual)},
		{Name: "nothing is intercepted", Request: to("10.0.0.7:80"), Put: rules(emptyNAT), Outcome: diagnose.OutcomeSkipped, Reason: "take nothing"},
		{Name: "the host itself", Request: to("127.0.0.1:80"), Put: rules(manual), Outcome: diagnose.OutcomeSkipped},
		{Name: "a name with two addresses", Request: to("payments:80"), Put: all(rules(manual), vips("10.0.0.7", "172.16.5.9")), Outcome: diagnose.OutcomeSkipped, Reason: "2 addresses may be meant"},
		{Name: "a rule for any address", Request: to("payments:80"), Put: all(rules(manual), vips("0.0.0.0")), Outcome: diagnose.OutcomeSkipped, Reason: "any address"},
		{Name: "a name, rules denied", Request: to("payments:80"), Put: all(rules(manual), deny(evidence.ForwardingRules.Name())), Outcome: diagnose.OutcomeInconclusive},
		{Name: "nat not read", Request: to("172.16.5.9:80"), Put: rules(filter), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not root", Request: to("172.16.5.9:80"), Put: rulesBut(unread, manual), Outcome: diagnose.OutcomeInconclusive},
		{Name: "an IP set decides", Request: to("172.16.5.9:80"), Put: rules(strings.Replace(agent, "-d 10.0.0.0/24", "-m set --match-set mesh dst", 1)), Outcome: diagnose.OutcomeInconclusive, Reason: "can't tell"},
		{Name: "late", Request: to("172.16.5.9:80"), Put: late(evidence.PacketRules.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Request: to("172.16.5.9:80"), Outcome: diagnose.OutcomeSkipped},
		{Name: "no destination", Request: files, Put: rules(manual), Outcome: diagnose.OutcomeSkipped},
	})
}
