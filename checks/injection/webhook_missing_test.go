package injection

import (
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

func TestWebhookMissing(t *testing.T) {
	none, on := hooks(), spaces(shop("istio-injection", "enabled"))
	checkstest.Run(t, WebhookMissing, append([]checkstest.Case{
		{Name: "the namespace asks", Request: ofNamespace, Put: all(none, on, pods(pod())), Want: []checkstest.Want{{Subject: "the injecting webhooks of the mesh", Confidence: diagnose.Confirmed, Excerpt: "no configuration of an injector"}}},
		{Name: "a pod is asked about", Request: ofPod, Put: all(none, spaces(shop()), pods(pod())), Want: []checkstest.Want{{}}},
		{Name: "a control plane runs", Request: ofNamespace, Put: all(none, istiod("default"), spaces(shop()), pods(pod())), Want: []checkstest.Want{{}}},
		{Name: "another's webhooks alone", Request: ofNamespace, Put: all(hooks(kube.WebhookConfiguration{Kind: "MutatingWebhookConfiguration", Meta: kube.Meta{Name: "vault"}, Webhooks: []kube.Webhook{{Name: "vault.hashicorp.com"}}}), on, pods(pod())), Want: []checkstest.Want{{}}},
		{Name: "all are deactivated", Request: ofNamespace, Put: all(hooks(injector("default", deactivated)), on, pods(pod())), Want: []checkstest.Want{{}}},
		{Name: "of one revision that runs", Request: ofNamespace, Put: all(hooks(injector("asm-1234-7")), istiod("canary"), spaces(shop("istio.io/rev", "canary")), pods(pod())), Want: []checkstest.Want{{Subject: "the injecting webhook of revision canary", Params: map[string]string{"rev": "canary", "revisions": "asm-1234-7"}}}},
		{Name: "of several namespaces, once", Request: ofFiles, Put: all(none, spaces(shop("istio-injection", "enabled"), namespace("cart", "istio-injection", "enabled")), pods(pod(), pod(in("cart")))), Want: []checkstest.Want{{Key: ""}}, Unfilled: []string{}},

		{Name: "managed", Request: ofNamespace, Put: all(none, fleet("ACTIVE"), on, pods(pod()))},
		{Name: "managed, by its revision", Request: ofNamespace, Put: all(none, revision("asm-managed"), on, pods(pod()))},
		{Name: "the fleet can't be asked", Request: ofNamespace, Put: all(none, deny(evidence.FleetMesh.Name()), on, pods(pod())), Outcome: diagnose.OutcomeInconclusive, Reason: "fleet-mesh"},
		{Name: "the fleet can't be asked, and istiod runs", Request: ofNamespace, Put: all(none, istiod("default"), deny(evidence.FleetMesh.Name()), on, pods(pod())), Want: []checkstest.Want{{Params: map[string]string{"in_cluster": "true"}}}},
		{Name: "a cluster without a mesh", Request: ofNamespace, Put: all(none, spaces(shop()), pods(pod()))},
		{Name: "the tag's webhook alone", Request: ofNamespace, Put: all(hooks(tag("default", "asm-1234-7")), on, pods(pod(sidecar)))},
		{Name: "one that lacks the usual name", Request: ofNamespace, Put: all(hooks(injector("default", func(c *kube.WebhookConfiguration) {
			c.Name = "my-injector"
			c.Labels = nil
		})), on, pods(pod(sidecar)))},
		{Name: "a file without one", Request: ofFiles, Put: all(file(evidence.MutatingWebhooks, kube.WebhookConfiguration{Kind: "MutatingWebhookConfiguration"}), file(evidence.Namespaces, shop("istio-injection", "enabled"))), Outcome: diagnose.OutcomeSkipped},
		{Name: "a file with deactivated ones", Request: ofFiles, Put: all(file(evidence.MutatingWebhooks, injector("default", deactivated)), file(evidence.Namespaces, shop("istio-injection", "enabled")), file(evidence.Pods, pod())), Outcome: diagnose.OutcomeSkipped},
	}, unseenWebhooks()...))
}
