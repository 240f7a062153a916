package request_test

import (
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/checks/request"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestNoRoute(t *testing.T) {
	checkstest.Run(t, request.NoRoute, []checkstest.Case{
		{Name: "no route", Request: onNetwork, Put: access(group("", 404, "route_not_found", "NR")), Want: []checkstest.Want{{
			Subject: "requests to cart:8080", Summary: "5 requests to cart:8080 failed: the proxy has no route for them.", Params: map[string]string{"host": "cart:8080"}}}},
		{Name: "Envoy's own format", Put: access(with(group("", 404, "", "NR"), func(g *evidence.AccessGroup) { g.Upstream = "" })), Want: []checkstest.Want{{Summary: "no route"}}},
		{Name: "no cluster", Put: access(group(cart, 503, "cluster_not_found", "NC")), Want: []checkstest.Want{{Summary: "their route leads to a cluster that the proxy does not have"}}},
		{Name: "a log that names nothing", Put: access(with(group("", 404, "", "NR"), func(g *evidence.AccessGroup) { g.Authority, g.Upstream = "", "" })), Want: []checkstest.Want{{Subject: "a place that the log does not name"}}},

		{Name: "404 of the application", Put: access(group(cart, 404, "via_upstream"))},
		{Name: "no filter chain", Put: access(with(group("", 0, "filter_chain_not_found", "NR"), func(*evidence.AccessGroup) {}))},
		{Name: "blocked by REGISTRY_ONLY", Put: access(with(group("", 502, "direct_response", "NR"), func(g *evidence.AccessGroup) { g.Route = "block_all" }))},
		{Name: "denied", Put: fail(requests), Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Put: late(requests), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Outcome: diagnose.OutcomeSkipped},
	})
}
