package xds

import (
	"fmt"
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestEndpointsUnhealthy(t *testing.T) {
	all, some := whole(), whole()
	all.assigned, some.assigned = []string{assigned("UNHEALTHY", "DRAINING")}, []string{assigned("UNHEALTHY", "HEALTHY")}
	req := asking("10.0.0.1:80", 0)
	flags := func(f string) func(*evidence.Set) {
		return func(s *evidence.Set) {
			dumps(whole().dump(t))(s)
			evidence.Put(s, evidence.EnvoyHosts, []evidence.EnvoyHostStates{{Hosts: hostsOf(t, fmt.Sprintf("checkout::10.128.0.10:8080::health_flags::%s\ncheckout::10.128.0.11:8080::health_flags::%s\n", f, f))}}, evidence.Source{})
		}
	}
	checkstest.Run(t, EndpointsUnhealthy, append(commonQuiet(t, req),
		checkstest.Case{Name: "all by EDS", Request: req, Put: dumps(all.dump(t)), Want: []checkstest.Want{{Summary: "All 2 endpoints", Excerpt: "10.128.0.10:8080", Params: map[string]string{"endpoint": "10.128.0.10:8080"}}}},
		checkstest.Case{Name: "all by active checks", Request: req, Put: flags("/failed_active_hc"), Want: []checkstest.Want{{Summary: "failed_active_hc"}}},
		checkstest.Case{Name: "all ejected", Request: req, Put: flags("/failed_outlier_check"), Want: []checkstest.Want{{Summary: "failed_outlier_check"}}},
		checkstest.Case{Name: "one healthy", Request: req, Put: dumps(some.dump(t))},
		checkstest.Case{Name: "healthy by /clusters", Request: req, Put: flags("healthy")},
	))
}
