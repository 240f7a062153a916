package injection

import (
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestDisabled(t *testing.T) {
	rest := all(hooks(injector("default")), spaces(shop("istio-injection", "enabled")))
	off := label("sidecar.istio.io/inject", "false")
	checkstest.Run(t, Disabled, append([]checkstest.Case{
		{Name: "by the label", Request: ofPod, Put: all(rest, pods(pod(off))), Want: []checkstest.Want{{
			Subject: "pod shop/checkout", Confidence: diagnose.Confirmed, Severity: diagnose.Blocking, Summary: "label sidecar.istio.io/inject=false", Params: map[string]string{"pod_label": `sidecar.istio.io/inject: "true"`}}}},
		{Name: "the label beats the annotation", Request: ofPod, Put: all(rest, pods(pod(off, annotation("sidecar.istio.io/inject", "true")))), Want: []checkstest.Want{{Summary: "the annotation true doesn't count beside the label"}}},
		{Name: "by the annotation", Request: ofPod, Put: all(rest, pods(pod(annotation("sidecar.istio.io/inject", "false")))), Want: []checkstest.Want{{Summary: "annotation sidecar.istio.io/inject=false", Excerpt: "annotation sidecar.istio.io/inject=false"}}},
		{Name: "whatever is no yes is a no", Request: ofWorkload, Put: all(rest, pods(), workloads(deployment(annotation("sidecar.istio.io/inject", "never")))), Want: []checkstest.Want{{Subject: "the template of Deployment shop/checkout"}}},
		{Name: "in a namespace that would not be injected", Request: ofPod, Put: all(hooks(injector("asm-1234-7")), spaces(shop()), pods(pod(off))), Want: []checkstest.Want{{Params: map[string]string{"ns_label": "istio.io/rev=asm-1234-7"}}}},
		{Name: "of many, with the symptom", Request: ofSymptom, Put: all(rest, pods(pod(off), pod(off, named("b"), of("Job", "b")))), Want: []checkstest.Want{{Severity: diagnose.Advice}, {Severity: diagnose.Advice}}},
		{Name: "webhooks aren't known", Request: ofPod, Put: all(spaces(shop()), pods(pod(off)), deny("mutating-webhooks")), Want: []checkstest.Want{{}}},
		{Name: "the policy", Request: ofNamespace, Put: all(rest, settings("default", "disabled", "{}"), pods(pod())), Want: []checkstest.Want{{Excerpt: "policy: disabled", Params: map[string]string{"config_map": "istio-sidecar-injector", "config_namespace": "istio-system"}}}},
		{Name: "a policy that there is none of", Request: ofNamespace, Put: all(rest, settings("default", "off", "{}"), pods(pod())), Want: []checkstest.Want{{}}},
		{Name: "the policy of a revision", Request: ofNamespace, Put: all(hooks(injector("asm-1234-7")), spaces(shop("istio.io/rev", "asm-1234-7")), settings("asm-1234-7", "disabled", ""), pods(pod())), Want: []checkstest.Want{{}}},
		{Name: "never injected", Request: ofPod, Put: all(rest, settings("default", "enabled", `{"sidecarInjectorWebhook":{"neverInjectSelector":[{"matchLabels":{"app":"checkout"}}]}}`), pods(pod())), Want: []checkstest.Want{{Summary: "neverInjectSelector app=checkout of ConfigMap istio-system/istio-sidecar-injector"}}},

		{Name: "nobody asks", Request: ofNamespace, Put: all(rest, pods(pod(off)))},
		{Name: "in files, nobody asks", Request: ofFiles, Put: all(file(evidence.MutatingWebhooks, injector("default")), file(evidence.Namespaces, shop("istio-injection", "enabled")), file(evidence.Pods, pod(off)))},
		{Name: "the policy, and the pod asks by itself", Request: ofPod, Put: all(rest, settings("default", "disabled", "{}"), pods(pod(label("sidecar.istio.io/inject", "true"))))},
		{Name: "the policy, and the pod is always injected", Request: ofPod, Put: all(rest, settings("default", "disabled", `{"sidecarInjectorWebhook":{"alwaysInjectSelector":[{"matchLabels":{"app":"checkout"}}]}}`), pods(pod()))},
		{Name: "the policy is enabled", Request: ofPod, Put: all(rest, settings("default", "enabled", `{"sidecarInjectorWebhook":{"neverInjectSelector":[{}]}}`), pods(pod()))},
		{Name: "the policy of another revision", Request: ofPod, Put: all(rest, settings("asm-1234-7", "disabled", "{}"), pods(pod()))},
		{Name: "off, and injected by hand", Request: ofPod, Put: all(rest, pods(pod(off, sidecar)))},
		{Name: "a yes", Request: ofPod, Put: all(rest, pods(pod(label("sidecar.istio.io/inject", "true"), sidecar)))},
	}, unseen()...))
}
