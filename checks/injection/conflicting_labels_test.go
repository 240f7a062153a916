package injection

import (
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestConflictingLabels(t *testing.T) {
	both := []string{"istio-injection", "enabled", "istio.io/rev", "canary"}
	labelled := spaces(shop(both...))
	checkstest.Run(t, ConflictingLabels, append([]checkstest.Case{
		{Name: "a default revision hides the other", Request: ofNamespace, Put: all(hooks(injector("default"), injector("canary")), labelled, pods(pod(sidecar))), Want: []checkstest.Want{{
			Subject: "namespace shop", Severity: diagnose.Degrading, Confidence: diagnose.Confirmed, Summary: "the first wins, so istio-sidecar-injector injects, not revision canary", Params: map[string]string{"to_revision": "true", "to_default": "true"}}}},
		{Name: "a default tag hides the other", Request: ofNamespace, Put: all(hooks(injector("asm-1234-7"), tag("default", "asm-1234-7"), injector("canary")), labelled, pods(pod(sidecar))), Want: []checkstest.Want{{Severity: diagnose.Degrading, Summary: "istio-revision-tag-default injects"}}},
		{Name: "no default: nothing injects", Request: ofNamespace, Put: all(hooks(injector("canary")), labelled, pods(pod())), Want: []checkstest.Want{{
			Severity: diagnose.Blocking, Confidence: diagnose.Confirmed, Summary: "so nothing injects", Params: map[string]string{"to_revision": "true", "to_default": "", "restart": "deployment/checkout"}}}},
		{Name: "the revision isn't there either", Request: ofNamespace, Put: all(hooks(injector("default")), labelled, pods(pod(sidecar))), Want: []checkstest.Want{{Params: map[string]string{"to_revision": "", "to_default": "true"}}}},
		{Name: "neither of them would help", Request: ofNamespace, Put: all(hooks(injector("asm-1234-7")), labelled, pods(pod())), Want: []checkstest.Want{{Severity: diagnose.Blocking, Params: map[string]string{"ns_label": "istio.io/rev=asm-1234-7", "ns_remove": "istio-injection"}}}},
		{Name: "a manifest alone", Request: ofFiles, Put: file(evidence.Namespaces, shop(both...)), Want: []checkstest.Want{{Key: "namespaces/shop", Severity: diagnose.Degrading, Confidence: diagnose.Likely, Summary: "where no default revision is installed nothing injects"}}},
		{Name: "the only injector in the files serves neither", Request: ofFiles, Put: all(file(evidence.MutatingWebhooks, injector("canary")), file(evidence.Namespaces, shop(both...))), Want: []checkstest.Want{{Confidence: diagnose.Likely, Severity: diagnose.Blocking}}},
		{Name: "sidecars and ambient", Request: ofNamespace, Put: all(hooks(injector("default")), spaces(shop("istio-injection", "enabled", "istio.io/dataplane-mode", "ambient")), pods(pod(sidecar))), Want: []checkstest.Want{{Severity: diagnose.Advice, Params: map[string]string{"sidecar_label": "istio-injection"}}}},
		{Name: "the namespace hides a template's revision", Request: ofNamespace, Put: all(hooks(injector("default"), injector("canary")), spaces(shop("istio-injection", "enabled")), pods(), workloads(deployment(label("istio.io/rev", "canary")))), Want: []checkstest.Want{{
			Subject: "the template of Deployment shop/checkout", Severity: diagnose.Degrading, Summary: "a label of namespace shop hides: revision default injects"}}},
		{Name: "the namespace hides a pod's revision", Request: ofPod, Put: all(hooks(injector("default"), injector("canary")), spaces(shop("istio-injection", "enabled")), pods(pod(sidecar, label("istio.io/rev", "canary"), annotation("sidecar.istio.io/status", `{"revision":"default"}`)))), Want: []checkstest.Want{{Subject: "pod shop/checkout"}}},

		{Name: "off, with a revision", Request: ofNamespace, Put: all(hooks(injector("default"), injector("canary")), spaces(shop("istio-injection", "disabled", "istio.io/rev", "canary")), pods(pod()))},
		{Name: "off, with ambient", Request: ofNamespace, Put: all(hooks(injector("default")), spaces(shop("istio-injection", "disabled", "istio.io/dataplane-mode", "ambient")), pods(pod()))},
		{Name: "both lead to the same injector", Request: ofNamespace, Put: all(hooks(injector("default")), spaces(shop("istio-injection", "enabled", "istio.io/rev", "default")), pods(pod(sidecar)))},
		{Name: "one label", Request: ofNamespace, Put: all(hooks(injector("canary")), spaces(shop("istio.io/rev", "canary")), pods(pod(sidecar)))},
		{Name: "a pod that the injector labelled", Request: ofPod, Put: all(hooks(injector("default"), injector("canary")), spaces(shop("istio-injection", "enabled")), pods(pod(sidecar, label("istio.io/rev", "canary"), annotation("sidecar.istio.io/status", `{"revision":"canary"}`))))},
		{Name: "another namespace's, and a pod is asked about", Request: ofPod, Put: all(hooks(injector("default")), spaces(shop("istio-injection", "enabled"), namespace("other", both...)), pods(pod(sidecar)))},
		{Name: "a pod on the host is asked about", Request: ofPod, Put: all(hooks(injector("canary")), labelled, pods(pod(onHostNetwork)))},
	}, unseenWebhooks()...))
}
