package injection

import (
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

func TestAnnotationHasNoEffect(t *testing.T) {
	byDefault := hooks(injector("default"))
	on := annotation("sidecar.istio.io/inject", "true")
	annotated := func(kv ...string) kube.Namespace {
		ns := shop()
		ns.Annotations = pairs(kv)
		return ns
	}
	checkstest.Run(t, AnnotationHasNoEffect, append([]checkstest.Case{
		{Name: "of a pod", Request: ofNamespace, Put: all(byDefault, spaces(shop()), pods(pod(on))), Want: []checkstest.Want{{
			Subject: "pod shop/checkout", Confidence: diagnose.Confirmed, Summary: "the annotation sidecar.istio.io/inject=true selects nothing; with istio-injection=enabled on namespace shop",
			Params: map[string]string{"or_pod_label": `sidecar.istio.io/inject: "true"`}}}},
		{Name: "of a template", Request: ofWorkload, Put: all(byDefault, spaces(shop()), pods(), workloads(deployment(on))), Want: []checkstest.Want{{Subject: "the template of Deployment shop/checkout"}}},
		{Name: "of a template in a file", Request: ofFiles, Put: all(file(evidence.MutatingWebhooks, injector("default")), file(evidence.Namespaces, shop()), file(evidence.Workloads, deployment(on))), Want: []checkstest.Want{{Confidence: diagnose.Likely}}},
		{Name: "where the namespace is off", Request: ofNamespace, Put: all(byDefault, spaces(shop("istio-injection", "disabled")), pods(pod(on))), Want: []checkstest.Want{{Params: map[string]string{"ns_label": "istio-injection=enabled", "or_pod_label": ""}}}},
		{Name: "of a namespace", Request: ofNamespace, Put: all(byDefault, spaces(annotated("istio-injection", "enabled")), pods(pod())), Want: []checkstest.Want{{Subject: "namespace shop", Params: map[string]string{"ns_label": "istio-injection=enabled"}}}},

		{Name: "the namespace is injected", Request: ofNamespace, Put: all(byDefault, spaces(shop("istio-injection", "enabled")), pods(pod(on, sidecar)))},
		{Name: "a label besides", Request: ofNamespace, Put: all(byDefault, spaces(shop()), pods(pod(on, label("sidecar.istio.io/inject", "true"), sidecar)))},
		{Name: "a no", Request: ofNamespace, Put: all(byDefault, spaces(shop()), pods(pod(annotation("sidecar.istio.io/inject", "false"))))},
		{Name: "on the host", Request: ofNamespace, Put: all(byDefault, spaces(shop()), pods(pod(on, onHostNetwork)))},
		{Name: "another annotation", Request: ofNamespace, Put: all(byDefault, spaces(annotated("istio-injection", "disabled")), pods(pod(annotation("traffic.sidecar.istio.io/excludeOutboundPorts", "1"))))},
	}, unseenWebhooks()...))
}
