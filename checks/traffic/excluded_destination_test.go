package traffic

import (
	"strings"
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestExcludedDestination(t *testing.T) {
	checkstest.Run(t, ExcludedDestination, []checkstest.Case{
		{Name: "a range", Request: to("10.9.0.7:80"), Put: all(rules(manual), running(997)),
			Want: []checkstest.Want{{Summary: "10.9.0.7:80 is excluded from interception by rule 5 of chain ISTIO_OUTPUT", Confidence: diagnose.Confirmed, Excerpt: "-d 10.9.0.0/16 -j RETURN"}}},
		{Name: "a port", Request: to("10.0.0.7:3306"), Put: rules(manual), Want: []checkstest.Want{{Excerpt: "--dport 3306 -j RETURN"}}},
		{Name: "a name", Request: to("payments:80"), Put: all(rules(manual), vips("10.9.1.1")), Want: []checkstest.Want{{Summary: "10.9.1.1:80"}}},
		{Name: "accepted", Request: to("10.0.0.7:80"), Put: rules(strings.Replace(agent, "-A SERVICE_PROXY_OUTPUT -m owner", "-A SERVICE_PROXY_OUTPUT -d 10.0.0.0/28 -j ACCEPT\n-A SERVICE_PROXY_OUTPUT -m owner", 1)), Want: []checkstest.Want{{}}},
		{Name: "a range, in a listing that hides interfaces", Request: to("10.9.0.7:80"), Put: rules(listedExclusion), Want: []checkstest.Want{{Summary: "by rule 9 of chain ISTIO_OUTPUT", Confidence: diagnose.Likely}}},

		{Name: "intercepted", Request: to("10.0.0.7:80"), Put: all(rules(manual), running(997))},
		{Name: "only behind all that intercepts", Request: to("172.16.5.9:80"), Put: rules(manual)},
		{Name: "the proxy's user is exempt, not the destination", Request: to("203.0.113.9:443"), Put: rules(sidecar)},
		{Name: "no range holds it", Request: to("10.0.1.1:80"), Put: rules(agent)},
		{Name: "a listing shows nothing of the interface that a rule is limited to", Request: to("203.0.113.9:443"), Put: rules(listedSidecar)},
		{Name: "the same, in the range taken", Request: to("10.0.0.7:80"), Put: rules(listedRange)},
		{Name: "the same, outside the range taken", Request: to("172.16.5.9:80"), Put: rules(listedRange)},
		{Name: "no rules", Request: to("10.0.1.1:80"), Put: rules(emptyNAT)},
		{Name: "the host itself", Request: to("127.0.0.1:80"), Put: rules(manual), Outcome: diagnose.OutcomeSkipped},
		{Name: "nat not read", Request: to("10.9.0.7:80"), Put: rules(filter), Outcome: diagnose.OutcomeInconclusive},
		{Name: "denied", Request: to("10.9.0.7:80"), Put: deny(evidence.PacketRules.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "a name that nothing tells the address of", Request: to("payments:80"), Put: rules(manual), Outcome: diagnose.OutcomeSkipped},
	})
}
