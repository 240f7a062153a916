package injection

import (
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

func TestNotSelected(t *testing.T) {
	const one = "pod shop/checkout-6d5f-x2x9k"
	byDefault := hooks(injector("default"))
	tagged := hooks(injector("asm-1234-7"), tag("default", "asm-1234-7"))
	custom := hooks(injector("default", func(c *kube.WebhookConfiguration) {
		c.Webhooks = c.Webhooks[:1]
		c.Webhooks[0].NamespaceSelector = &kube.Selector{MatchLabels: map[string]string{"mesh": "on"}}
	}))
	anyNamespace := hooks(injector("default", func(c *kube.WebhookConfiguration) {
		c.Webhooks = c.Webhooks[:1]
		c.Webhooks[0].NamespaceSelector = &kube.Selector{}
		c.Webhooks[0].ObjectSelector = &kube.Selector{MatchExpressions: []kube.Requirement{{Key: "app", Operator: "Exists"}}}
	}))
	conditions := injector("default", func(c *kube.WebhookConfiguration) {
		for i := range c.Webhooks {
			c.Webhooks[i].MatchConditions = []kube.MatchCondition{{Name: "not-batch", Expression: "!has(object.spec.batch)"}}
		}
	})
	evaluated := func(v bool) put {
		var list []evidence.MatchConditionResult
		for _, w := range conditions.Webhooks {
			list = append(list, evidence.MatchConditionResult{Configuration: conditions.Name, Webhook: w.Name, Condition: "not-batch", Pod: one, True: v})
		}
		return func(s *evidence.Set) { evidence.Put(s, evidence.MatchConditions, list, api) }
	}
	checkstest.Run(t, NotSelected, append([]checkstest.Case{
		{Name: "a pod asked about", Request: ofPod, Put: all(byDefault, spaces(shop()), pods(pod())), Want: []checkstest.Want{{
			Subject: one, Key: "", Confidence: diagnose.Confirmed, Severity: diagnose.Blocking,
			Summary: "No injector selects " + one + ": neither namespace shop nor the pod has a label that an injector asks for; with istio-injection=enabled on namespace shop, istio-sidecar-injector would.",
			Excerpt: "namespace.sidecar-injector.istio.io: namespaceSelector wants istio-injection=enabled; namespace shop has no istio-injection",
			Params:  map[string]string{"ns_label": "istio-injection=enabled", "or_pod_label": `sidecar.istio.io/inject: "true"`, "restart": "deployment/checkout"}}}},
		{Name: "by a tag", Request: ofPod, Put: all(tagged, spaces(shop()), pods(pod())), Want: []checkstest.Want{{Summary: "istio-revision-tag-default would", Params: map[string]string{"ns_label": "istio-injection=enabled"}}}},
		{Name: "the revision asked for goes first", Request: diagnose.Request{Target: diagnose.Target{Namespace: "shop", Pod: "checkout-6d5f-x2x9k", Revision: "asm-1234-7"}}, Put: all(tagged, spaces(shop()), pods(pod())),
			Want: []checkstest.Want{{Params: map[string]string{"ns_label": "istio.io/rev=asm-1234-7"}}}},
		{Name: "a label that no default serves", Request: ofNamespace, Put: all(hooks(injector("asm-1234-7")), spaces(shop("istio-injection", "enabled")), pods(pod(), pod(named("b")))), Want: []checkstest.Want{{
			Subject: "namespace shop", Summary: "(2 pods): no injector serves the label istio-injection=enabled of namespace shop; with istio.io/rev=asm-1234-7 in the place of istio-injection",
			Params: map[string]string{"ns_label": "istio.io/rev=asm-1234-7", "ns_remove": "istio-injection"}}}},
		{Name: "an injector that asks for more than the namespace's label", Request: ofNamespace, Put: all(hooks(injector("default", func(c *kube.WebhookConfiguration) {
			for i := range c.Webhooks {
				c.Webhooks[i].ObjectSelector = &kube.Selector{MatchLabels: map[string]string{"team": "a"}}
			}
		})), spaces(shop("istio-injection", "enabled")), pods(pod())), Want: []checkstest.Want{{
			Summary: "an injector asks for the label istio-injection=enabled, and for more: namespace.sidecar-injector.istio.io: objectSelector wants team=a; the pod has no team"}}},
		{Name: "an injector whose rules aren't about pods", Request: ofNamespace, Put: all(hooks(injector("default", func(c *kube.WebhookConfiguration) {
			for i := range c.Webhooks {
				c.Webhooks[i].Rules = []kube.Rule{{Operations: []string{"UPDATE"}, APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}}}
			}
		})), spaces(shop("istio-injection", "enabled")), pods(pod())), Want: []checkstest.Want{{Summary: "its rules don't cover the creation of pods"}}},
		{Name: "a namespace asked about", Request: ofNamespace, Put: all(byDefault, spaces(shop()), pods(pod(), pod(named("cart-1"), of("StatefulSet", "cart")))), Want: []checkstest.Want{{Severity: diagnose.Advice, Subject: "namespace shop", Params: map[string]string{"restart_all": "shop"}}}},
		{Name: "somebody says that sidecars are missing", Request: ofSymptom, Put: all(byDefault, spaces(shop()), pods(pod())), Want: []checkstest.Want{{Severity: diagnose.Blocking}}},
		{Name: "somebody says so of a namespace that is off", Request: ofSymptom, Put: all(byDefault, spaces(shop("istio-injection", "disabled")), pods(pod())), Want: []checkstest.Want{{Severity: diagnose.Advice, Summary: "labelled istio-injection=disabled"}}},
		{Name: "the namespace is off, and would hide the pod's label", Request: ofPod, Put: all(byDefault, spaces(shop("istio-injection", "disabled")), pods(pod())), Want: []checkstest.Want{{
			Summary: "with istio-injection=enabled on namespace shop", Params: map[string]string{"or_pod_label": "", "pod_label": ""}}}},
		{Name: "a template", Request: ofWorkload, Put: all(byDefault, spaces(shop()), pods(), workloads(deployment())), Want: []checkstest.Want{{Subject: "the template of Deployment shop/checkout", Params: map[string]string{"restart": "", "workload": "deployment/checkout"}}}},
		{Name: "the template of a file, before it is applied over a pod that is injected", Request: ofWorkload, Put: all(byDefault, spaces(shop()), pods(pod(label("sidecar.istio.io/inject", "true"), sidecar)), func(s *evidence.Set) {
			d := deployment()
			d.Origin = "checkout.yaml"
			file(evidence.Workloads, d)(s)
		}), Want: []checkstest.Want{{Subject: "the template of Deployment shop/checkout"}}},
		{Name: "another pod of its maker is injected", Request: ofNamespace, Put: all(byDefault, spaces(shop()), pods(pod(), pod(named("b"), sidecar))), Want: []checkstest.Want{{Subject: one, Key: "workloads/Deployment/checkout"}}},
		{Name: "the pod's own wish has no effect", Request: ofNamespace, Put: all(hooks(injector("asm-1234-7")), spaces(shop()), pods(pod(label("sidecar.istio.io/inject", "true")))), Want: []checkstest.Want{{Summary: "looked at by the injector of a default revision alone"}}},
		{Name: "a revision in files", Request: ofFiles, Put: all(file(evidence.MutatingWebhooks, injector("default", deactivated), injector("asm-1234-7")), file(evidence.Namespaces, shop("istio-injection", "enabled"))), Want: []checkstest.Want{{Confidence: diagnose.Likely, Summary: "no injector in the files given serves", Key: "namespaces/shop"}}},
		{Name: "a selector of somebody's own", Request: ofPod, Put: all(custom, spaces(shop()), pods(pod())), Want: []checkstest.Want{{Params: map[string]string{"ns_label": "mesh=on"}}}},
		{Name: "a match condition refuses", Request: ofPod, Put: all(hooks(conditions), evaluated(false), spaces(shop("istio-injection", "enabled")), pods(pod())), Want: []checkstest.Want{{Excerpt: "the match condition \"not-batch\" (!has(object.spec.batch)) is false"}}},
		{Name: "a managed channel that no webhook asks for", Request: ofPod, Put: all(hooks(injector("asm-managed", byURL)), spaces(shop("istio.io/rev", "asm-managed-rapid")), pods(pod())), Want: []checkstest.Want{{Subject: "namespace shop", Params: map[string]string{"ns_label": "istio.io/rev=asm-managed"}}}},
		{Name: "a namespace of the platform", Request: diagnose.Request{Target: diagnose.Target{Namespace: "kube-system", Pod: "checkout-6d5f-x2x9k"}}, Put: all(byDefault, spaces(namespace("kube-system", "istio-injection", "enabled")), pods(pod(in("kube-system")))), Want: []checkstest.Want{{Summary: "leaves every pod of namespace kube-system alone"}}},
		{Name: "ambient, asked about", Request: ofPod, Put: all(byDefault, spaces(shop("istio.io/dataplane-mode", "ambient")), pods(pod())), Want: []checkstest.Want{{Severity: diagnose.Advice, Summary: "ambient mode"}}},

		{Name: "matchLabels match", Request: ofPod, Put: all(custom, spaces(shop("mesh", "on")), pods(pod(sidecar)))},
		{Name: "an empty selector and Exists match", Request: ofPod, Put: all(anyNamespace, spaces(shop()), pods(pod(sidecar)))},
		{Name: "the match condition agrees", Request: ofPod, Put: all(hooks(conditions), evaluated(true), spaces(shop("istio-injection", "enabled")), pods(pod(native)))},
		{Name: "not in the mesh, and nobody asks", Request: ofFiles, Put: all(file(evidence.MutatingWebhooks, injector("default")), file(evidence.Namespaces, shop()), file(evidence.Pods, pod()))},
		{Name: "switched off by itself", Request: ofNamespace, Put: all(byDefault, spaces(shop()), pods(pod(label("sidecar.istio.io/inject", "false")), pod(named("b"), onHostNetwork)))},
		{Name: "the namespace is off", Request: ofNamespace, Put: all(byDefault, spaces(shop("istio-injection", "disabled")), pods(pod()))},
		{Name: "a static pod of a node", Request: ofNamespace, Put: all(byDefault, spaces(shop()), pods(pod(annotation("kubernetes.io/config.mirror", "x"))))},
		{Name: "istiod", Request: diagnose.Request{Target: diagnose.Target{Namespace: "istio-system"}}, Put: all(byDefault, spaces(namespace("istio-system")), pods(pod(in("istio-system"), label("app", "istiod"))))},
		{Name: "pods that have ended", Request: ofNamespace, Put: all(byDefault, spaces(shop()), pods(pod(func(p *kube.Pod) { p.Status.Phase = "Succeeded" })))},
		{Name: "no label would help", Request: ofNamespace, Put: all(hooks(injector("default", func(c *kube.WebhookConfiguration) {
			c.Webhooks = c.Webhooks[:1]
			c.Webhooks[0].NamespaceSelector = &kube.Selector{MatchLabels: map[string]string{"a": "1", "b": "2"}}
		})), spaces(shop()), pods(pod()))},
	}, unseenWebhooks()...))
}
