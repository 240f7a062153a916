package injection

import (
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

func TestImageAuto(t *testing.T) {
	byDefault := hooks(injector("default"))
	checkstest.Run(t, ImageAuto, append([]checkstest.Case{
		{Name: "nothing selects it", Request: ofNamespace, Put: all(byDefault, spaces(shop()), pods(pod(auto))), Want: []checkstest.Want{{
			Subject: "pod shop/checkout", Confidence: diagnose.Confirmed, Summary: "no injector selects it; with istio-injection=enabled on namespace shop", Params: map[string]string{"ns_label": "istio-injection=enabled"}}}},
		{Name: "selected by now", Request: ofNamespace, Put: all(byDefault, spaces(shop("istio-injection", "enabled")), pods(pod(auto))), Want: []checkstest.Want{{Summary: "selects it now", Params: map[string]string{"restart": "deployment/checkout", "ns_label": ""}}}},
		{Name: "a template that nothing selects", Request: ofFiles, Put: all(file(evidence.MutatingWebhooks, injector("asm-1234-7")), file(evidence.Namespaces, shop()), file(evidence.Workloads, deployment(auto))), Want: []checkstest.Want{{Confidence: diagnose.Likely, Subject: "the template of"}}},
		{Name: "the label is misspelt", Request: ofNamespace, Put: all(byDefault, spaces(shop("istio-inject", "enabled")), pods(pod(auto))), Want: []checkstest.Want{{}}},

		{Name: "a template that an injector selects", Request: ofWorkload, Put: all(byDefault, spaces(shop("istio-injection", "enabled")), pods(), workloads(deployment(auto)))},
		{Name: "filled in", Request: ofNamespace, Put: all(byDefault, spaces(shop()), pods(pod(sidecar)))},
		{Name: "another image", Request: ofNamespace, Put: all(byDefault, spaces(shop()), pods(pod(func(p *kube.Pod) { p.Spec.Containers[0].Image = "registry/auto:1" })))},
		{Name: "switched off", Request: ofNamespace, Put: all(byDefault, spaces(shop()), pods(pod(auto, label("sidecar.istio.io/inject", "false"))))},
	}, unseenWebhooks()...))
}
