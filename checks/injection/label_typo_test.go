package injection

import (
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

func TestLabelTypo(t *testing.T) {
	byDefault := hooks(injector("default"))
	byRevision := hooks(injector("asm-1234-7"))
	typo := func(kv ...string) put { return all(byDefault, spaces(shop(kv...)), pods(pod())) }
	onPod := func(kv ...string) put { return all(byDefault, spaces(shop()), pods(pod(label(kv...)))) }
	checkstest.Run(t, LabelTypo, append([]checkstest.Case{
		{Name: "as a guide prints it", Request: ofNamespace, Put: typo("istio-inject", "enabled"), Want: []checkstest.Want{{
			Subject: "namespace shop", Key: "", Confidence: diagnose.Confirmed, Summary: "Namespace shop is labelled istio-inject=enabled, which no injector looks at; the label is istio-injection=enabled (pod shop/checkout-6d5f-x2x9k).",
			Excerpt: "namespace shop: labels istio-inject=enabled", Params: map[string]string{"ns_label": "istio-injection=enabled", "ns_remove": "istio-inject", "restart": "deployment/checkout"}}}},
		{Name: "a value", Request: ofNamespace, Put: typo("istio-injection", "true"), Want: []checkstest.Want{{Summary: "istio-injection=true", Params: map[string]string{"ns_remove": ""}}}},
		{Name: "a letter off in the value", Request: ofNamespace, Put: typo("istio-injection", "enable"), Want: []checkstest.Want{{}}},
		{Name: "a capital", Request: ofNamespace, Put: typo("istio-injection", "Enabled"), Want: []checkstest.Want{{}}},
		{Name: "two letters off in the key", Request: ofNamespace, Put: typo("istio-injecton", "enabled"), Want: []checkstest.Want{{}}},
		{Name: "a swap", Request: ofNamespace, Put: typo("isito-injection", "enabled"), Want: []checkstest.Want{{Excerpt: "label of namespace shop: isito-injection=enabled"}}},
		{Name: "the label of pods on a namespace", Request: ofNamespace, Put: typo("sidecar.istio.io/inject", "true"), Want: []checkstest.Want{{Params: map[string]string{"ns_label": "istio-injection=enabled", "ns_remove": "sidecar.istio.io/inject"}}}},
		{Name: "of the revision's key", Request: ofNamespace, Put: all(byRevision, spaces(shop("istio.io/revision", "asm-1234-7")), pods(pod())), Want: []checkstest.Want{{Params: map[string]string{"ns_label": "istio.io/rev=asm-1234-7"}}}},
		{Name: "without a pod yet", Request: ofNamespace, Put: all(byDefault, spaces(shop("istio-inject", "enabled")), pods()), Want: []checkstest.Want{{}}},
		{Name: "a manifest alone", Request: ofFiles, Put: file(evidence.Namespaces, shop("istio-inject", "enabled")), Want: []checkstest.Want{{Confidence: diagnose.Likely, Key: "namespaces/shop"}}},
		{Name: "a pod's value", Request: ofNamespace, Put: onPod("sidecar.istio.io/inject", "yes"), Want: []checkstest.Want{{Subject: "pod shop/checkout", Summary: `no injector takes "yes" as the value`, Params: map[string]string{"pod_label": `sidecar.istio.io/inject: "true"`, "restart": ""}}}},
		{Name: "a pod's value in a namespace that is injected", Request: ofNamespace, Put: all(byDefault, spaces(shop("istio-injection", "enabled")), pods(pod(label("sidecar.istio.io/inject", "enabled")))), Want: []checkstest.Want{{Summary: `"enabled"`}}},
		{Name: "the label of namespaces on a pod", Request: ofNamespace, Put: onPod("istio-injection", "enabled"), Want: []checkstest.Want{{Params: map[string]string{"pod_label": `no istio-injection, sidecar.istio.io/inject: "true"`}}}},
		{Name: "a pod's key", Request: ofNamespace, Put: onPod("sidecar.istio.io/injection", "true"), Want: []checkstest.Want{{}}},
		{Name: "a pod's revision", Request: ofNamespace, Put: all(byRevision, spaces(shop()), pods(pod(label("istio.io/rv", "asm-1234-7")))), Want: []checkstest.Want{{}}},

		{Name: "right", Request: ofNamespace, Put: all(byDefault, spaces(shop("istio-injection", "enabled")), pods(pod(sidecar)))},
		{Name: "misspelt, and right besides", Request: ofNamespace, Put: all(byDefault, spaces(shop("istio-inject", "enabled", "istio-injection", "enabled")), pods(pod(sidecar)))},
		{Name: "some injector looks at it", Request: ofNamespace, Put: all(hooks(injector("default"), injector("x", func(c *kube.WebhookConfiguration) {
			c.Webhooks = c.Webhooks[:1]
			c.Webhooks[0].NamespaceSelector = &kube.Selector{MatchLabels: map[string]string{"istio-inject": "enabled"}}
		})), spaces(shop("istio-inject", "enabled")), pods(pod(sidecar)))},
		{Name: "other labels of the mesh", Request: ofNamespace, Put: typo("istio.io/use-waypoint", "shop", "istio.io/tag", "prod", "topology.istio.io/network", "n", "istio-discovery", "enabled")},
		{Name: "off", Request: ofNamespace, Put: typo("istio-injection", "disabled")},
		{Name: "off, misspelt", Request: ofNamespace, Put: typo("istio-injection", "disable")},
		{Name: "the right one would not help", Request: ofNamespace, Put: all(byRevision, spaces(shop("istio-inject", "enabled")), pods(pod()))},
		{Name: "a yes that the injector takes, where the namespace is injected", Request: ofNamespace, Put: all(byDefault, spaces(shop("istio-injection", "enabled")), pods(pod(label("sidecar.istio.io/inject", "yes"), sidecar)))},
		{Name: "a no", Request: ofNamespace, Put: all(byDefault, spaces(shop("istio-injection", "enabled")), pods(pod(label("sidecar.istio.io/inject", "no"))))},
	}, unseenWebhooks()...))
}

func TestNearest(t *testing.T) {
	if near := nearest("asm-1234-1", []string{"default", "asm-1234-7", "canary"}); near != "asm-1234-7" {
		t.Errorf("nearest is %q", near)
	}
	if near := nearest("pidgeon", []string{"default", "canary"}); near != "" {
		t.Errorf("nearest is %q", near)
	}
}
