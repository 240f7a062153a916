package traffic

import (
	"testing"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// TestCorpusIsQuiet asks every check about rule sets as Istio writes them, for destinations and ports that they take.
func TestCorpusIsQuiet(t *testing.T) {
	checks := []diagnose.Check{OutboundNotIntercepted, VIPNotIntercepted, RedirectPortMismatch, InboundPortNotIntercepted, InboundPortDropped, ExcludedDestination, ServerFirstProtocol}
	engine, err := diagnose.New(diagnose.Config{Checks: checks})
	if err != nil {
		t.Fatal(err)
	}
	sockets := listening(evidence.Socket{Address: "0.0.0.0", Port: 15001, Process: "envoy", UID: 1337}, evidence.Socket{Address: "0.0.0.0", Port: 15006, Process: "envoy", UID: 1337})
	for name, target := range map[string]diagnose.Target{
		"istio-cni-include-exclude-ip.txt": {ServingPort: 8080},
		"istio-inbound-ports-include.txt":  {ServingPort: 32000},
		"istio-inbound-ports-wildcard.txt": {ServingPort: 8080},
		"istio-ipnets.txt":                 {Destination: "10.1.2.3:80"},
		"istio-tproxy.txt":                 {Destination: "9.9.1.1:80", ServingPort: 8080},
	} {
		set := evidence.NewSet()
		all(rules(corpus(t, name)), running(1337), sockets)(set)
		for _, c := range checks {
			if found, res := engine.Evaluate(c.ID, diagnose.Request{Target: target}, set); len(found) > 0 {
				t.Errorf("%s: %s %s: %+v", name, c.ID, res.Outcome, found)
			}
		}
	}
}
