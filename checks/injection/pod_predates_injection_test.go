package injection

import (
	"testing"
	"time"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

func TestPodPredatesInjection(t *testing.T) {
	byDefault := hooks(injector("default"))
	on := func(ago time.Duration) put { return spaces(labelledAt(shop("istio-injection", "enabled"), ago)) }
	unknown := spaces(shop("istio-injection", "enabled"))
	checkstest.Run(t, PodPredatesInjection, append([]checkstest.Case{
		{Name: "the label is younger", Request: ofNamespace, Put: all(byDefault, on(time.Minute), pods(pod())), Want: []checkstest.Want{{
			Subject: "pod shop/checkout", Confidence: diagnose.Likely, Summary: "made at 2026-03-02T11:00:00Z, and the labels of namespace shop were last changed at 2026-03-02T11:59:00Z; it would be injected now", Params: map[string]string{"restart": "deployment/checkout"}}}},
		{Name: "the webhook is younger", Request: ofNamespace, Put: all(hooks(injector("default", madeAgo(time.Minute))), unknown, pods(pod())), Want: []checkstest.Want{{Summary: "the webhook configuration istio-sidecar-injector at"}}},
		{Name: "only younger pods have one", Request: ofNamespace, Put: all(byDefault, unknown, pods(pod(), pod(named("b"), made(time.Minute), sidecar))), Want: []checkstest.Want{{Summary: "only pods made later have a sidecar"}}},
		{Name: "the pod's own label is younger", Request: ofNamespace, Put: all(byDefault, spaces(shop()), pods(pod(label("sidecar.istio.io/inject", "true"), func(p *kube.Pod) {
			p.Managed = []kube.Managed{{Manager: "kubectl-label", Time: noon, Labels: []string{"sidecar.istio.io/inject"}}}
		}))), Want: []checkstest.Want{{Summary: "its labels were changed at"}}},
		{Name: "an older pod has one for a label of its own", Request: ofNamespace, Put: all(byDefault, on(time.Minute), pods(pod(), pod(named("b"), of("Job", "b"), made(2*time.Hour), label("istio.io/rev", "default"), sidecar))), Want: []checkstest.Want{{}}},
		{Name: "several pods", Request: ofNamespace, Put: all(byDefault, on(time.Minute), pods(pod(), pod(named("b"), made(2*time.Hour)), pod(named("c"), made(3*time.Hour)))), Want: []checkstest.Want{{Subject: "3 pods of Deployment shop/checkout", Summary: "the first was made at"}}},
		{Name: "a pod of its own", Request: ofNamespace, Put: all(byDefault, on(time.Minute), pods(pod(of("", "")))), Want: []checkstest.Want{{Params: map[string]string{"bare_pod": "checkout-6d5f-x2x9k", "restart": ""}}}},
		{Name: "a pod of a ReplicaSet alone", Request: ofNamespace, Put: all(byDefault, on(time.Minute), pods(pod(of("ReplicaSet", "checkout")))), Want: []checkstest.Want{{Params: map[string]string{"delete_pod": "checkout-6d5f-x2x9k"}}}},

		{Name: "made after both", Request: ofNamespace, Put: all(byDefault, on(50*time.Hour), pods(pod()))},
		{Name: "an older pod has one", Request: ofNamespace, Put: all(byDefault, unknown, pods(pod(), pod(named("b"), made(2*time.Hour), sidecar)))},
		{Name: "nothing tells which was first", Request: ofNamespace, Put: all(byDefault, unknown, pods(pod()))},
		{Name: "it has one", Request: ofNamespace, Put: all(byDefault, on(time.Minute), pods(pod(native)))},
		{Name: "nothing selects it now", Request: ofNamespace, Put: all(byDefault, spaces(labelledAt(shop("istio-injection", "disabled"), time.Minute)), pods(pod()))},
		{Name: "a label set when it was made", Request: ofNamespace, Put: all(byDefault, spaces(shop()), pods(pod(label("sidecar.istio.io/inject", "true"), func(p *kube.Pod) {
			p.Managed = []kube.Managed{{Manager: "kube-controller-manager", Time: p.Created, Labels: []string{"sidecar.istio.io/inject"}}}
		})))},
	}, unseenWebhooks()...))
}
