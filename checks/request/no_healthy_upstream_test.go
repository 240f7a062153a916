package request_test

import (
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/checks/request"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestNoHealthyUpstream(t *testing.T) {
	more := make([]evidence.AccessGroup, 0, 12)
	want := make([]checkstest.Want, 0, 10)
	for i := range 12 {
		g := group("cluster-"+string(rune('a'+i)), 503, "no_healthy_upstream", "UH")
		g.Count = 100 - i
		more = append(more, g)
		if i < 10 {
			want = append(want, checkstest.Want{Subject: g.Cluster})
		}
	}
	want[9].Excerpt = "2 places more with the same failure, not listed"
	checkstest.Run(t, request.NoHealthyUpstream, []checkstest.Case{
		{Name: "by the flag", Request: onNetwork, Put: access(group(cart, 503, "no_healthy_upstream", "UH")), Want: []checkstest.Want{{
			Summary: "5 requests to outbound|8080||cart.shop.svc.cluster.local (cart:8080) failed: the proxy had no healthy host for them.", Confidence: diagnose.Likely}}},
		{Name: "by the details", Put: access(group(cart, 503, "no_healthy_upstream")), Want: []checkstest.Want{{Summary: "no healthy host"}}},
		{Name: "TCP of a release that names no cluster", Put: access(group("", 0, "", "UH")), Want: []checkstest.Want{{Summary: "REGISTRY_ONLY looks the same", Confidence: diagnose.Possible}}},
		{Name: "two clusters, and both authorities of one", Put: access(group(cart, 503, "", "UH"), with(group(cart, 503, "", "UH"), func(g *evidence.AccessGroup) { g.Authority = "cart.shop" }), group("other", 503, "", "UH")),
			Want: []checkstest.Want{{Summary: "10 requests to outbound|8080||cart.shop.svc.cluster.local failed"}, {Summary: "5 requests to other"}}},
		{Name: "many clusters", Put: access(more...), Want: want},

		{Name: "the black hole", Put: access(group("BlackHoleCluster", 0, "", "UH"))},
		{Name: "refused", Put: access(group(cart, 503, "upstream_reset_before_response_started{connection_failure,delayed_connect_error:_111}", "UF"))},
		{Name: "well", Put: access(group(cart, 200, ""))},
		{Name: "503 of the application", Put: access(group(cart, 503, "via_upstream"))},
		{Name: "denied", Put: fail(requests), Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Put: late(requests), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Outcome: diagnose.OutcomeSkipped},
	})
}
