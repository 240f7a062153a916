package injection

import (
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestRevisionNotInstalled(t *testing.T) {
	two := hooks(injector("asm-1234-7"), tag("prod", "asm-1234-7"))
	asked := func(rev string) diagnose.Request { return diagnose.Request{Target: diagnose.Target{Revision: rev}} }
	checkstest.Run(t, RevisionNotInstalled, append([]checkstest.Case{
		{Name: "of a namespace", Request: ofNamespace, Put: all(two, spaces(shop("istio.io/rev", "asm-1234-1")), pods(pod())), Want: []checkstest.Want{{
			Subject: "namespace shop", Confidence: diagnose.Confirmed, Summary: "no injector serves that revision (pod shop/checkout-6d5f-x2x9k); the nearest that is served is asm-1234-7.", Excerpt: "wants istio.io/rev=asm-1234-7; namespace shop has istio.io/rev=asm-1234-1",
			Params: map[string]string{"nearest": "asm-1234-7", "ns_label": "istio.io/rev=asm-1234-7", "revisions": "asm-1234-7, prod"}}}},
		{Name: "far from all", Request: ofNamespace, Put: all(two, spaces(shop("istio.io/rev", "pidgeon")), pods()), Want: []checkstest.Want{{Summary: "served are asm-1234-7, prod", Params: map[string]string{"nearest": "", "ns_label": "istio.io/rev=asm-1234-7"}}}},
		{Name: "the tag is gone", Request: ofNamespace, Put: all(hooks(injector("asm-1234-7")), spaces(shop("istio.io/rev", "prod")), pods(pod())), Want: []checkstest.Want{{}}},
		{Name: "of a pod", Request: ofNamespace, Put: all(two, spaces(shop()), pods(pod(label("istio.io/rev", "prodd")))), Want: []checkstest.Want{{Subject: "pod shop/checkout", Params: map[string]string{"pod_label": `istio.io/rev: "prod"`}}}},
		{Name: "of a template", Request: ofFiles, Put: all(file(evidence.MutatingWebhooks, injector("asm-1234-7")), file(evidence.Namespaces, shop()), file(evidence.Workloads, deployment(label("istio.io/rev", "x")))), Want: []checkstest.Want{{Confidence: diagnose.Likely, Summary: "no injector in the files given serves", Key: "namespaces/shop/workloads/Deployment/checkout"}}},
		{Name: "a managed channel in a cluster that isn't managed", Request: ofNamespace, Put: all(two, istiod("asm-1234-7"), spaces(shop("istio.io/rev", "asm-managed")), pods(pod())), Want: []checkstest.Want{{}}},
		{Name: "asked about", Request: asked("asm-1234-1"), Put: all(two, spaces(), pods()), Want: []checkstest.Want{{Subject: "revision asm-1234-1", Excerpt: "serves asm-1234-7"}}, Unfilled: []string{"namespace"}},

		{Name: "installed", Request: ofNamespace, Put: all(two, spaces(shop("istio.io/rev", "asm-1234-7")), pods(pod(sidecar)))},
		{Name: "a tag", Request: ofNamespace, Put: all(two, spaces(shop("istio.io/rev", "prod")), pods(pod(sidecar)))},
		{Name: "a managed channel", Request: ofNamespace, Put: all(hooks(injector("asm-managed", byURL)), spaces(shop("istio.io/rev", "asm-managed-rapid")), pods(pod()))},
		{Name: "a managed channel of the fleet's", Request: ofNamespace, Put: all(hooks(), fleet("ACTIVE"), spaces(shop("istio.io/rev", "asm-managed")), pods(pod()))},
		{Name: "a control plane of it runs", Request: ofNamespace, Put: all(two, istiod("canary"), spaces(shop("istio.io/rev", "canary")), pods(pod()))},
		{Name: "a control plane of it runs, in files", Request: ofFiles, Put: all(file(evidence.MutatingWebhooks, injector("default")), file(evidence.Namespaces, shop("istio.io/rev", "canary")), file(evidence.Pods, pod(in("istio-system"), label("app", "istiod", "istio.io/rev", "canary"))))},
		{Name: "hidden by the other label", Request: ofNamespace, Put: all(two, spaces(shop("istio.io/rev", "x", "istio-injection", "disabled")), pods(pod()))},
		{Name: "asked about, and there", Request: asked("prod"), Put: all(two, spaces(), pods())},
		{Name: "a file without webhooks", Request: ofFiles, Put: file(evidence.Namespaces, shop("istio.io/rev", "x")), Outcome: diagnose.OutcomeSkipped},
	}, unseenWebhooks()...))
}
