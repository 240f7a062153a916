package injection

import (
	"testing"
	"time"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

func TestSidecarMissing(t *testing.T) {
	byDefault := hooks(injector("default"))
	on := spaces(labelledAt(shop("istio-injection", "enabled"), 50*time.Hour))
	unknown := spaces(shop("istio-injection", "enabled"))
	checkstest.Run(t, SidecarMissing, append([]checkstest.Case{
		{Name: "made after the label", Request: ofNamespace, Put: all(byDefault, on, pods(pod())), Want: []checkstest.Want{{
			Subject: "pod shop/checkout", Confidence: diagnose.Confirmed, Summary: "after the namespace got its label", Excerpt: "namespace.sidecar-injector.istio.io: selects it"}}},
		{Name: "the webhook lets pods pass", Request: ofNamespace, Put: all(hooks(injector("default", ignoring)), on, pods(pod())), Want: []checkstest.Want{{Summary: "failurePolicy is Ignore"}}},
		{Name: "an older pod has one", Request: ofNamespace, Put: all(byDefault, unknown, pods(pod(), pod(named("b"), made(2*time.Hour), sidecar))), Want: []checkstest.Want{{Confidence: diagnose.Likely}}},
		{Name: "nothing tells which was first", Request: ofNamespace, Put: all(byDefault, unknown, pods(pod())), Want: []checkstest.Want{{Confidence: diagnose.Possible, Summary: "when namespace shop got its label isn't known"}}},
		{Name: "by the pod's own label", Request: ofNamespace, Put: all(byDefault, spaces(shop()), pods(pod(label("sidecar.istio.io/inject", "true")))), Want: []checkstest.Want{{Confidence: diagnose.Confirmed}}},
		{Name: "as kubectl describe shows it", Request: ofNamespace, Put: all(byDefault, on, pods(pod(func(p *kube.Pod) { p.Described = true }))), Want: []checkstest.Want{{Confidence: diagnose.Likely}}},
		{Name: "a file of pods as they are", Request: ofFiles, Put: all(file(evidence.MutatingWebhooks, injector("default")), file(evidence.Namespaces, shop("istio-injection", "enabled")), file(evidence.Pods, pod(manifest), pod(manifest, named("b"), sidecar))), Want: []checkstest.Want{{Confidence: diagnose.Possible, Summary: "nothing tells when it was made"}}},
		{Name: "the injector's container was taken out again", Request: ofNamespace, Put: all(byDefault, on, pods(pod(annotation("sidecar.istio.io/status", `{"containers":["istio-proxy"]}`)))), Want: []checkstest.Want{{}}},
		{Name: "managed", Request: ofNamespace, Put: all(hooks(injector("default", byURL)), on, pods(pod())), Want: []checkstest.Want{{Params: map[string]string{"managed": "the injector istiod-asm-managed is a URL"}}}},
		{Name: "an init container of that name that ends", Request: ofNamespace, Put: all(byDefault, on, pods(pod(func(p *kube.Pod) {
			p.Spec.InitContainers = []kube.Container{{Name: "istio-proxy", Image: "proxyv2"}}
		}))), Want: []checkstest.Want{{}}},

		{Name: "the namespace has its label from the start", Request: ofNamespace, Put: all(byDefault, spaces(func() kube.Namespace {
			ns := labelledAt(shop("istio-injection", "enabled"), time.Hour)
			ns.Created = noon.Add(-time.Hour)
			return ns
		}()), pods(pod())), Want: []checkstest.Want{{Confidence: diagnose.Confirmed, Summary: "from the start"}}},

		{Name: "a native sidecar", Request: ofNamespace, Put: all(byDefault, on, pods(pod(native)))},
		{Name: "a sidecar", Request: ofNamespace, Put: all(byDefault, on, pods(pod(sidecar)))},
		{Name: "another template's container", Request: ofNamespace, Put: all(byDefault, on, pods(pod(annotation("sidecar.istio.io/status", `{"containers":["server"]}`))))},
		{Name: "a manifest", Request: ofFiles, Put: all(file(evidence.MutatingWebhooks, injector("default")), file(evidence.Namespaces, shop("istio-injection", "enabled")), file(evidence.Pods, pod(manifest)))},
		{Name: "a template", Request: ofWorkload, Put: all(byDefault, on, pods(), workloads(deployment()))},
		{Name: "older than the label", Request: ofNamespace, Put: all(byDefault, spaces(labelledAt(shop("istio-injection", "enabled"), time.Minute)), pods(pod()))},
		{Name: "switched off", Request: ofNamespace, Put: all(byDefault, on, pods(pod(label("sidecar.istio.io/inject", "false"))))},
		{Name: "on the host", Request: ofNamespace, Put: all(byDefault, on, pods(pod(onHostNetwork)))},
		{Name: "being deleted", Request: ofNamespace, Put: all(byDefault, on, pods(pod(func(p *kube.Pod) { p.Deleted = noon })))},
	}, unseenWebhooks()...))
}
