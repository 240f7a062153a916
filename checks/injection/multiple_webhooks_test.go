package injection

import (
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

func TestMultipleWebhooks(t *testing.T) {
	on := spaces(shop("istio-injection", "enabled"))
	two := hooks(injector("default"), tag("default", "asm-1234-7"))
	twice := hooks(injector("default", func(c *kube.WebhookConfiguration) {
		c.Webhooks = append(c.Webhooks, c.Webhooks[2])
		c.Webhooks[4].Name = "legacy.sidecar-injector.istio.io"
	}))
	checkstest.Run(t, MultipleWebhooks, append([]checkstest.Case{
		{Name: "the default revision and the default tag", Request: ofNamespace, Put: all(two, on, pods(pod(sidecar))), Want: []checkstest.Want{{
			Subject: "istio-revision-tag-default", Confidence: diagnose.Confirmed, Severity: diagnose.Degrading, Summary: "2 injectors select 1 pod of namespace shop", Params: map[string]string{"default_tag": "asm-1234-7", "namespace": "shop"}}}},
		{Name: "a namespace without a pod", Request: ofNamespace, Put: all(two, on, pods()), Want: []checkstest.Want{{Summary: "2 injectors select the pods of namespace shop"}}},
		{Name: "a pod asked about", Request: ofPod, Put: all(two, on, pods(pod())), Want: []checkstest.Want{{Summary: "2 injectors select pod shop/checkout-6d5f-x2x9k"}}},
		{Name: "a template", Request: ofWorkload, Put: all(two, on, pods(), workloads(deployment())), Want: []checkstest.Want{{Summary: "the template of Deployment shop/checkout"}}},
		{Name: "two entries of one configuration", Request: ofNamespace, Put: all(twice, on, pods(pod(sidecar))), Want: []checkstest.Want{{Params: map[string]string{"default_tag": ""}}}},
		{Name: "several namespaces, once", Request: ofFiles, Put: all(two, spaces(shop("istio-injection", "enabled"), namespace("cart", "istio-injection", "enabled")), pods(pod())), Want: []checkstest.Want{{Summary: "of 2 namespaces (cart, shop)"}}},

		{Name: "one is deactivated", Request: ofNamespace, Put: all(hooks(injector("default", deactivated), tag("default", "asm-1234-7"), injector("asm-1234-7")), on, pods(pod(sidecar)))},
		{Name: "each has its own label", Request: ofNamespace, Put: all(hooks(injector("default"), injector("canary"), tag("prod", "canary")), on, pods(pod(sidecar)))},
		{Name: "the same, live and in a file", Request: ofNamespace, Put: all(hooks(injector("default")), file(evidence.MutatingWebhooks, injector("default")), on, pods(pod(sidecar)))},
		{Name: "another's webhook besides", Request: ofNamespace, Put: all(hooks(injector("default"), kube.WebhookConfiguration{Kind: "MutatingWebhookConfiguration", Meta: kube.Meta{Name: "vault"}, Webhooks: []kube.Webhook{{Name: "vault.hashicorp.com", Rules: entries("x", false)[0].Rules}}}), on, pods(pod(sidecar)))},
		{Name: "on the host", Request: ofPod, Put: all(two, on, pods(pod(onHostNetwork)))},
		{Name: "switched off", Request: ofPod, Put: all(two, on, pods(pod(annotation("sidecar.istio.io/inject", "false"))))},
	}, unseenWebhooks()...))
}
