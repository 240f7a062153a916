package istiod

import (
	"fmt"
	"testing"
	"time"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// sync is a proxy as istioctl shows it, types given as CDS, LDS, EDS, RDS.
func sync(proxy string, states ...string) evidence.ProxySync {
	p := evidence.ProxySync{Proxy: proxy, Istiod: "istiod-7d9c-2b4kx", Types: map[string]string{}, Source: pasted}
	for i, s := range states {
		p.Types[[]string{"CDS", "LDS", "EDS", "RDS", "ECDS"}[i]] = s
	}
	return p
}

func syncs(list ...evidence.ProxySync) put {
	return func(s *evidence.Set) { evidence.Put(s, evidence.ProxySyncs, list, pasted) }
}

func earlier(p evidence.ProxySync) evidence.ProxySync {
	p.Source.Time = p.Source.Time.Add(-time.Minute)
	return p
}

func TestUnsyncedProxies(t *testing.T) {
	const ok = "SYNCED"
	good := sync("cart-1.shop", ok, ok, ok, ok)
	var many []evidence.ProxySync
	for i := range 5000 {
		many = append(many, sync(fmt.Sprintf("checkout-%04d.shop", i), ok, "STALE", ok, ok))
	}
	checkstest.Run(t, UnsyncedProxies, []checkstest.Case{
		{
			Name: "stale, one proxy", Request: ofFiles, Put: syncs(good, sync("checkout-1.shop", ok, "STALE", ok, ok)),
			Want: []checkstest.Want{{Subject: "proxy checkout-1.shop", Confidence: diagnose.Possible, Summary: "Proxy checkout-1.shop is not in step with istiod: LDS STALE.", Key: "namespaces/shop/pods/checkout-1",
				Params: map[string]string{"pod": "checkout-1", "namespace": "shop"}, Excerpt: "of istiod-7d9c-2b4kx"}},
		},
		{
			Name: "stale, several", Request: ofFiles, Put: syncs(good, sync("checkout-1.shop", "STALE", "STALE", ok, ok), sync("checkout-2.shop", "STALE", "STALE", ok, ok)),
			Want: []checkstest.Want{{Subject: "2 of 3 proxies", Confidence: diagnose.Likely, Summary: "2 of 3 proxies (checkout-1.shop, checkout-2.shop) are not in step with istiod: CDS/LDS STALE."}},
		},
		{
			Name: "rejected", Request: ofPod, Put: syncs(good, sync("checkout-6d5f-x2x9k.shop", ok, "ERROR", ok, ok)),
			Want: []checkstest.Want{{Confidence: diagnose.Confirmed, Summary: "LDS ERROR", Params: map[string]string{"error": "yes"}}},
		},
		{
			Name: "no listeners sent", Request: ofFiles, Put: syncs(sync("checkout-1.shop", ok, "NOT SENT", ok, "NOT SENT")),
			Want: []checkstest.Want{{Confidence: diagnose.Likely, Summary: "LDS NOT SENT", Params: map[string]string{"not_sent": "yes"}}},
		},
		{
			Name: "a gateway without clusters", Request: ofFiles, Put: syncs(sync("istio-ingressgateway-1.istio-system", "NOT SENT", "NOT SENT", "NOT SENT", "NOT SENT")),
			Want: []checkstest.Want{{Summary: "CDS NOT SENT"}},
		},
		{
			Name: "thousands", Request: ofFiles, Put: syncs(many...),
			Want: []checkstest.Want{{Subject: "5000 of 5000 proxies", Summary: "checkout-0002.shop and 4997 more"}},
		},
		{
			Name: "of a managed control plane", Request: ofFiles, Put: all(syncs(good, sync("checkout-1.shop", ok, "ERROR", ok, ok)), live(evidence.MutatingWebhooks, managedInjector())),
			Want: []checkstest.Want{{Summary: "is not in step with the control plane: LDS ERROR.", Params: map[string]string{"error": ""}}},
		},
		{Name: "a waypoint that rejects", Request: ofFiles, Put: syncs(sync("waypoint-5x2.shop", ok, "ERROR", ok, "NOT SENT")), Want: []checkstest.Want{{Summary: "LDS ERROR"}}},
		{
			Name: "stale again", Request: ofFiles, Put: syncs(earlier(sync("checkout-1.shop", ok, ok, ok, ok)), sync("checkout-1.shop", ok, "STALE", ok, ok)),
			Want: []checkstest.Want{{Summary: "LDS STALE"}},
		},

		{Name: "in step", Request: ofFiles, Put: syncs(good, sync("checkout-1.shop", ok, ok, ok, "NOT SENT", "NOT SENT"))},
		{Name: "endpoints not sent", Request: ofFiles, Put: syncs(sync("checkout-1.shop", ok, ok, "NOT SENT", "NOT SENT"))},
		{Name: "ignored", Request: ofFiles, Put: syncs(sync("checkout-1.shop", ok, ok, ok, ok, "IGNORED"))},
		{Name: "a gateway without listeners", Request: ofFiles, Put: syncs(sync("istio-ingressgateway-66c994c45c-cmb7x.istio-system", ok, "NOT SENT", ok, "NOT SENT"))},
		{Name: "ztunnel and a waypoint", Request: ofFiles, Put: syncs(sync("ztunnel-5x2.istio-system", "NOT SENT", "NOT SENT", "NOT SENT", "NOT SENT"), sync("waypoint-5x2.shop", ok, "NOT SENT", ok, ok))},
		{Name: "in step since", Request: ofFiles, Put: syncs(earlier(sync("checkout-1.shop", ok, "STALE", ok, ok)), sync("checkout-1.shop", ok, ok, ok, ok))},
		{Name: "subscribed is all that is told", Request: ofFiles, Put: syncs(sync("checkout-1.shop", "SUBSCRIBED", "SUBSCRIBED"))},
		{Name: "another namespace's", Request: ofNamespace, Put: syncs(good, sync("checkout-1.other", ok, "ERROR"))},
		{Name: "another pod's", Request: ofPod, Put: syncs(good, sync("checkout-1.shop", ok, "ERROR"))},
		{Name: "another workload's", Request: diagnose.Request{Target: diagnose.Target{Namespace: "shop", Workload: "Deployment/checkout"}}, Put: syncs(sync("cart-1.shop", ok, "ERROR"))},
		{Name: "not asked", Request: ofFiles, Outcome: diagnose.OutcomeSkipped},
		{Name: "denied", Request: ofPod, Put: deny(evidence.ProxySyncs.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Request: ofPod, Put: late(evidence.ProxySyncs.Name()), Outcome: diagnose.OutcomeInconclusive},
	})
}
