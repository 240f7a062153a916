package webhook

import (
	"testing"
	"time"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

// tag is a revision tag's injector, which points at a revision.
func tag(name, rev string) kube.WebhookConfiguration {
	return injector(rev, func(c *kube.WebhookConfiguration) {
		c.Name, c.Labels["istio.io/tag"] = "istio-revision-tag-"+name, name
	})
}

func TestStaleWebhook(t *testing.T) {
	checkstest.Run(t, StaleWebhook, []checkstest.Case{
		{Name: "a revision that is gone", Request: ofShop, Put: well(injector("asm-1234-1"), injector("")), Want: []checkstest.Want{{
			Key: "webhooks/istio-sidecar-injector-asm-1234-1", Confidence: diagnose.Confirmed, Severity: diagnose.Advice,
			Summary: "MutatingWebhookConfiguration istio-sidecar-injector-asm-1234-1 is left of revision asm-1234-1 of the control plane, which is gone: Service istio-system/istiod-asm-1234-1 does not exist, and what runs there is istiod (revision default).",
			Params:  map[string]string{"configuration": "istio-sidecar-injector-asm-1234-1", "configuration_kind": "mutatingwebhookconfiguration", "plane_revision": "asm-1234-1"}}}},
		{Name: "called for what is asked about", Request: ofShop, Put: all(hooks(injector("asm-1234-1"), injector("")), plane(""), shop("istio.io/rev", "asm-1234-1"), quiet()), Want: []checkstest.Want{{Key: "", Severity: diagnose.Blocking}}},
		{Name: "and the event", Request: ofShop, Put: all(hooks(injector("asm-1234-1"), injector("")), plane(""), shop("istio.io/rev", "asm-1234-1"), event(time.Minute, `Internal error occurred: failed calling webhook "`+hookName+`": failed to call webhook: Post "https://istiod-asm-1234-1.istio-system.svc:443/inject?timeout=10s": service "istiod-asm-1234-1" not found`)),
			Want: []checkstest.Want{{Excerpt: `service "istiod-asm-1234-1" not found`, Confidence: diagnose.Confirmed}}},
		{Name: "a validator", Request: ofShop, Put: well(injector(""), validator("asm-1234-1")), Want: []checkstest.Want{{Key: "webhooks/istio-validator-asm-1234-1-istio-system", Severity: diagnose.Degrading, Params: map[string]string{"configuration_kind": "validatingwebhookconfiguration"}}}},
		{Name: "both of a revision", Request: ofShop, Put: well(injector(""), injector("asm-1234-1"), validator("asm-1234-1")), Want: []checkstest.Want{{Params: map[string]string{"more": "validatingwebhookconfiguration istio-validator-asm-1234-1-istio-system"}}}},
		{Name: "a tag that points at a revision that is gone", Request: ofShop, Put: well(tag("prod", "asm-1234-1"), injector("")), Want: []checkstest.Want{{Params: map[string]string{"configuration": "istio-revision-tag-prod"}}}},
		{Name: "left after a move to the managed control plane", Request: ofShop, Put: all(hooks(injector("asm-1234-1"), managedInjector()), injected, quiet(), whole[kube.Service](evidence.ClusterServices, "istio-system"), whole[kube.Workload](evidence.ControlPlaneWorkloads, "")), Want: []checkstest.Want{{Summary: "a managed one"}}},
		{Name: "in files that show another control plane", Put: all(hookFile(injector("asm-1234-1")), file(evidence.ClusterServices, service("istio-system", "istiod")), file(evidence.ControlPlaneWorkloads, deployment("istiod", "default"))), Want: []checkstest.Want{{Confidence: diagnose.Possible, Severity: diagnose.Advice, Summary: "in the files given"}}},

		{Name: "all well", Request: ofShop, Put: well(injector(""), validator(""))},
		{Name: "a tag that points at a revision that runs", Request: ofShop, Put: all(hooks(tag("prod", "asm-1234-7"), injector("asm-1234-7")), plane("asm-1234-7"), injected, quiet())},
		{Name: "a Deployment without its Service", Request: ofShop, Put: all(hooks(injector("")), injected, quiet(), whole[kube.Service](evidence.ClusterServices, "istio-system"), whole(evidence.ControlPlaneWorkloads, "", deployment("istiod", "default"), deployment("istiod-canary", "canary")))},
		{Name: "a Service without its Deployment", Request: ofShop, Put: all(hooks(injector("old")), injected, quiet(), whole(evidence.ClusterServices, "istio-system", service("istio-system", "istiod-old")), whole(evidence.ControlPlaneWorkloads, "", deployment("istiod", "default")), whole[kube.EndpointSlice](evidence.EndpointSlices, "istio-system"))},
		{Name: "no control plane at all: lost or left, nobody knows", Request: ofShop, Put: all(hooks(injector("")), injected, quiet(), whole[kube.Service](evidence.ClusterServices, "istio-system"), whole[kube.Workload](evidence.ControlPlaneWorkloads, ""))},
		{Name: "managed", Request: ofShop, Put: all(hooks(managedInjector()), injected, quiet(), whole[kube.Service](evidence.ClusterServices, "istio-system"), whole(evidence.ControlPlaneWorkloads, "", deployment("istiod", "default")))},
		{Name: "another one's", Request: ofShop, Put: all(hooks(certManager("pods")), injected, quiet(), whole[kube.Service](evidence.ClusterServices, "cert-manager"), whole(evidence.ControlPlaneWorkloads, "", deployment("istiod", "default")))},
		{Name: "Deployments denied", Request: ofShop, Put: all(hooks(injector("old")), injected, quiet(), whole[kube.Service](evidence.ClusterServices, "istio-system"), fail(evidence.ControlPlaneWorkloads.Name())), Outcome: diagnose.OutcomeInconclusive, Reason: "istiod-deployments"},
		{Name: "Services denied", Request: ofShop, Put: all(hooks(injector("old")), injected, quiet(), fail(evidence.ClusterServices.Name())), Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Request: ofShop, Put: all(quiet(), late(evidence.MutatingWebhooks.Name())), Outcome: diagnose.OutcomeInconclusive},
		{Name: "a message alone proves nothing", Put: text(call + `service "istiod" not found`), Outcome: diagnose.OutcomeSkipped},
		{Name: "not asked", Outcome: diagnose.OutcomeSkipped},
	})
}
