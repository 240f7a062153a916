package xds

import (
	"fmt"
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
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
	clusters := func(text string) func(*evidence.Set) {
		return func(s *evidence.Set) {
			evidence.Put(s, evidence.EnvoyHosts, []evidence.EnvoyHostStates{{Hosts: hostsOf(t, text), File: "clusters.txt"}}, evidence.Source{})
		}
	}
	checkstest.Run(t, EndpointsUnhealthy, append(commonQuiet(t, req),
		checkstest.Case{Name: "all by EDS", Request: req, Put: dumps(all.dump(t)), Want: []checkstest.Want{{Summary: "All 2 endpoints", Excerpt: "10.128.0.10:8080", Params: map[string]string{"endpoint": "10.128.0.10:8080"}}}},
		checkstest.Case{Name: "all by active checks", Request: req, Put: flags("/failed_active_hc"), Want: []checkstest.Want{{Summary: "failed_active_hc"}}},
		checkstest.Case{Name: "all ejected", Request: req, Put: flags("/failed_outlier_check"), Want: []checkstest.Want{{Summary: "failed_outlier_check"}}},
		checkstest.Case{Name: "no destination, all of a cluster", Put: clusters("checkout::10.128.0.10:8080::health_flags::/failed_active_hc\ncheckout::10.128.0.11:8080::health_flags::/failed_eds_health\ncart::10.128.0.12:8080::health_flags::healthy\n"), Want: []checkstest.Want{{
			Summary: "All 2 endpoints of cluster checkout are unhealthy, as the proxy sees it (10.128.0.10:8080: failed_active_hc).", Confidence: diagnose.Confirmed, Excerpt: "checkout: 2 endpoints", Params: map[string]string{"endpoint": "10.128.0.10:8080"}}}},
		checkstest.Case{Name: "no destination, all of two clusters", Put: clusters("b::10.128.0.10:8080::health_flags::/failed_active_hc\na::10.128.0.11:8080::health_flags::/failed_eds_health\n"),
			Want: []checkstest.Want{{Summary: "The only endpoint of cluster a is unhealthy, as the proxy sees it (10.128.0.11:8080: failed_eds_health), and so are those of 1 further cluster."}}},
		checkstest.Case{Name: "no destination, some of each cluster", Put: clusters("checkout::10.128.0.10:8080::health_flags::/failed_active_hc\ncheckout::10.128.0.11:8080::health_flags::/degraded_eds_health\n")},
		checkstest.Case{Name: "no destination, a cluster without endpoints", Put: clusters("checkout::added_via_api::true\ncheckout::default_priority::max_connections::1024\n")},
		checkstest.Case{Name: "no destination, what comes in", Put: clusters("inbound|8080||::127.0.0.1:8080::health_flags::/failed_outlier_check\n")},
		checkstest.Case{Name: "another destination", Request: asking("10.0.0.1:80", 0), Put: func(s *evidence.Set) {
			dumps(whole().dump(t))(s)
			clusters("cart::10.128.0.12:8080::health_flags::/failed_active_hc\n")(s)
		}},
		checkstest.Case{Name: "one healthy", Request: req, Put: dumps(some.dump(t))},
		checkstest.Case{Name: "healthy by /clusters", Request: req, Put: flags("healthy")},
	))
}
