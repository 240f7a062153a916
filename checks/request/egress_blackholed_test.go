package request_test

import (
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/checks/request"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestEgressBlackholed(t *testing.T) {
	to := func(host string, n int) evidence.AccessGroup {
		g := group("BlackHoleCluster", 0, "", "UH")
		g.Authority, g.Upstream, g.Count = host, "", n
		return g
	}
	checkstest.Run(t, request.EgressBlackholed, []checkstest.Case{
		{Name: "connections", Put: access(to("api.example.com", 3)), Want: []checkstest.Want{{
			Subject: "requests that leave the mesh", Summary: "The proxy blocked 3 requests to api.example.com, which the mesh does not know.", Params: map[string]string{"host": "api.example.com", "outside": "yes", "metadata": ""}}}},
		{Name: "the metadata server alone", Put: access(to("169.254.169.254:80", 9)), Want: []checkstest.Want{{Summary: "169.254.169.254:80", Params: map[string]string{"metadata": "yes", "outside": "", "host": ""}}}},
		{Name: "both", Put: access(to("169.254.169.254:80", 9), to("api.example.com", 3)), Want: []checkstest.Want{{Summary: "12 requests to 169.254.169.254:80, api.example.com", Params: map[string]string{"metadata": "yes", "host": "api.example.com"}}}},
		{Name: "502", Put: access(with(group("", 502, "direct_response"), func(g *evidence.AccessGroup) { g.Route, g.Authority = "block_all", "news.example.com" })), Want: []checkstest.Want{{Summary: "5 requests to news.example.com"}}},
		{Name: "many", Put: access(to("a.example.com", 1), to("b.example.com", 2), to("c.example.com", 3), to("d.example.com", 4)), Want: []checkstest.Want{{Summary: "10 requests to d.example.com, c.example.com, b.example.com and 1 more"}}},
		{Name: "without a host", Put: access(to("", 1)), Want: []checkstest.Want{{Summary: "The proxy blocked 1 request to places outside"}}},

		{Name: "passthrough", Put: access(group("PassthroughCluster", 0, ""))},
		{Name: "to the proxy's own port", Put: access(to("10.8.1.7:15006", 3), to("10.8.1.7:15001", 3))},
		{Name: "502 of the application", Put: access(group(cart, 502, "via_upstream"))},
		{Name: "a direct response of a route", Put: access(with(group("", 502, "direct_response"), func(g *evidence.AccessGroup) { g.Route = "maintenance" }))},
		{Name: "denied", Put: fail(requests), Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Put: late(requests), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Outcome: diagnose.OutcomeSkipped},
	})
}
