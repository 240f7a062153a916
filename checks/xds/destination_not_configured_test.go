package xds

import (
	"fmt"
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestDestinationNotConfigured(t *testing.T) {
	otherHost := whole()
	otherHost.routes = []string{fmt.Sprintf(vhost, "cart.example.com", "/")}
	byName := asking("checkout.example.com:80", 0)
	cases := append(commonQuiet(t, asking("10.0.0.1:80", 0)),
		checkstest.Case{Name: "another address", Request: asking("10.0.0.2:80", 0), Put: dumps(whole().dump(t)),
			Want: []checkstest.Want{{Subject: "10.0.0.2:80", Summary: "no filter chain", Excerpt: "TRAFFICDIRECTOR_INTERCEPTION_LISTENER", Confidence: diagnose.Confirmed}}},
		checkstest.Case{Name: "another port", Request: asking("10.0.0.1:8443", 0), Put: dumps(whole().dump(t)), Want: []checkstest.Want{{Summary: "no filter chain"}}},
		checkstest.Case{Name: "no virtual host", Request: byName, Put: dumps(otherHost.dump(t)), Want: []checkstest.Want{{Summary: "no virtual host", Subject: "checkout.example.com:80"}}},
		checkstest.Case{Name: "a working proxy beside it", Request: asking("10.0.0.2:80", 0), Put: dumps(baseline(whole().dump(t)), whole().dump(t)),
			Want: []checkstest.Want{{Summary: "no filter chain"}}},
		checkstest.Case{Name: "health given too", Request: asking("10.0.0.1:80", 0), Put: func(s *evidence.Set) {
			dumps(whole().dump(t))(s)
			evidence.Put(s, evidence.EnvoyHosts, []evidence.EnvoyHostStates{{Hosts: hostsOf(t, "checkout::10.128.0.10:8080::health_flags::healthy\n")}}, evidence.Source{})
		}},
	)
	checkstest.Run(t, DestinationNotConfigured, cases)
}
