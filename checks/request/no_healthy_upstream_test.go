package request_test

import (
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/checks/request"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
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

		{Name: "no such Service", Put: puts(access(group(cart, 503, "", "UH")), services(), pods()), Want: []checkstest.Want{{Summary: "since Service shop/cart does not exist.", Confidence: diagnose.Confirmed}}},
		{Name: "a selector that matches nothing", Put: puts(access(group(cart, 503, "", "UH")), services(service("cart", 8080, "8080")), pods(pod("web-1", "10.8.2.9", 8080, app("web")))),
			Want: []checkstest.Want{{Summary: "since no pod has the labels that Service shop/cart selects (app=cart).", Confidence: diagnose.Confirmed, Params: map[string]string{"selector": "app=cart"}}}},
		{Name: "a name of a port that no container has", Put: puts(access(group(cart, 503, "", "UH")), services(service("cart", 8080, "grpc")), pods(pod("cart-1", "10.8.2.4", 9090))),
			Want: []checkstest.Want{{Summary: "targetPort grpc of Service shop/cart is a name that no port of its pods has", Params: map[string]string{"target_port": "grpc"}}}},
		{Name: "a subset without pods", Put: puts(access(group("outbound|8080|v2|cart.shop.svc.cluster.local", 503, "", "UH")), services(service("cart", 8080, "8080")), pods(pod("cart-1", "10.8.2.4", 8080)), destinationRules(subsetRule("v2"))),
			Want: []checkstest.Want{{Summary: "no pod of Service shop/cart has the labels of subset v2 (version=v2) of DestinationRule shop/cart"}}},
		{Name: "none ready", Put: puts(access(group(cart, 503, "", "UH")), services(service("cart", 8080, "8080")), pods(pod("cart-1", "10.8.2.4", 8080)), endpoints("cart", false, false)),
			Want: []checkstest.Want{{Summary: "none of the 2 endpoints of Service shop/cart is ready", Params: map[string]string{"unready_pod": "cart-1"}}}},
		{Name: "one, and not ready", Put: puts(access(group(cart, 503, "", "UH")), services(service("cart", 8080, "8080")), pods(pod("cart-1", "10.8.2.4", 8080)), endpoints("cart", false)), Want: []checkstest.Want{{Summary: "the one endpoint of Service shop/cart is not ready"}}},
		{Name: "some ready says nothing", Put: puts(access(group(cart, 503, "", "UH")), services(service("cart", 8080, "8080")), pods(pod("cart-1", "10.8.2.4", 8080)), endpoints("cart", true, false)), Want: []checkstest.Want{{Summary: "failed: the proxy had no healthy host for them.", Confidence: diagnose.Likely}}},
		{Name: "endpoints made by hand say nothing", Put: puts(access(group(cart, 503, "", "UH")), services(func() kube.Service { s := service("cart", 8080, "8080"); s.Spec.Selector = nil; return s }()), pods()), Want: []checkstest.Want{{Summary: "no healthy host for them."}}},
		{Name: "pods of a file say nothing", Put: puts(access(group(cart, 503, "", "UH")), services(service("cart", 8080, "8080")), partly(evidence.Pods, pod("web-1", "10.8.2.9", 8080, app("web")))), Want: []checkstest.Want{{Summary: "no healthy host for them."}}},

		{Name: "the black hole", Put: access(group("BlackHoleCluster", 0, "", "UH"))},
		{Name: "refused", Put: access(group(cart, 503, "upstream_reset_before_response_started{connection_failure,delayed_connect_error:_111}", "UF"))},
		{Name: "well", Put: access(group(cart, 200, ""))},
		{Name: "503 of the application", Put: access(group(cart, 503, "via_upstream"))},
		{Name: "denied", Put: fail(requests), Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Put: late(requests), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Outcome: diagnose.OutcomeSkipped},
	})
}
