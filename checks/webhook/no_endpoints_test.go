package webhook

import (
	"testing"
	"time"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

func TestNoEndpoints(t *testing.T) {
	const reason = `no endpoints available for service "istiod"`
	// down is the cluster with istiod's endpoints as they are given, and its pods.
	down := func(slice []kube.EndpointSlice, pods ...kube.Pod) put {
		return all(hooks(injector(""), validator("")), injected, quiet(), whole(evidence.ClusterServices, "istio-system", service("istio-system", "istiod")),
			whole(evidence.EndpointSlices, "istio-system", slice...), whole(evidence.ControlPlaneWorkloads, "", deployment("istiod", "default")), whole(evidence.ControlPlanePods, "", pods...))
	}
	none := []kube.EndpointSlice{endpoints("istio-system", "istiod", webhookPort, 0, 1)}
	checkstest.Run(t, NoEndpoints, []checkstest.Case{
		{Name: "no slice", Request: ofShop, Put: down(nil), Want: []checkstest.Want{{
			Subject: "webhook namespace.sidecar-injector.istio.io of service istio-system/istiod", Confidence: diagnose.Confirmed, Severity: diagnose.Blocking,
			Summary: "Service istio-system/istiod has no ready endpoint: its selector app=istiod matches no pod.", Params: map[string]string{"deployment": "istiod", "configuration": "istio-sidecar-injector"}}}},
		{Name: "crashing", Request: ofShop, Put: down(none, istiod("istiod-7d9", waiting("CrashLoopBackOff", "back-off"))), Want: []checkstest.Want{{
			Summary: "no ready endpoint: istiod-7d9 is in CrashLoopBackOff (container discovery): back-off.", Excerpt: "0 ready, 1 not ready", Confidence: diagnose.Confirmed}}},
		{Name: "two pods", Request: ofShop, Put: down(none, istiod("istiod-1", waiting("ErrImagePull", "")), istiod("istiod-2", nil)), Want: []checkstest.Want{{Summary: "istiod-1 is in ErrImagePull (container discovery); 1 pod more."}}},
		{Name: "scaled to nothing", Request: ofShop, Put: all(hooks(injector("")), injected, quiet(), whole(evidence.ClusterServices, "istio-system", service("istio-system", "istiod")), whole[kube.EndpointSlice](evidence.EndpointSlices, "istio-system"),
			whole(evidence.ControlPlaneWorkloads, "", func() kube.Workload {
				w := deployment("istiod", "default")
				zero := 0
				w.Spec.Replicas = &zero
				return w
			}())), Want: []checkstest.Want{{Summary: "Deployment istio-system/istiod is scaled to 0"}}},
		{Name: "another port name", Request: ofShop, Put: down([]kube.EndpointSlice{endpoints("istio-system", "istiod", "https", 2, 0)}), Want: []checkstest.Want{{
			Summary: `has 2 ready endpoints, but none with its port "https-webhook"`, Params: map[string]string{"port_name": "https-webhook"}}}},
		{Name: "the reason alone, quoted singly", Put: text(`no endpoints available for service 'istiod' 이 오류는`), Want: []checkstest.Want{{
			Subject: "a webhook of service istio-system/istiod", Confidence: diagnose.Likely, Params: map[string]string{"service": "istiod", "deployment": "istiod"}}}},
		{Name: "of another Service alone", Put: text(`no endpoints available for service "cart"`)},
		{Name: "and the event", Request: ofShop, Put: all(hooks(injector("")), injected, whole(evidence.ClusterServices, "istio-system", service("istio-system", "istiod")), whole(evidence.EndpointSlices, "istio-system", none...), event(time.Minute, call+reason)),
			Want: []checkstest.Want{{Subject: ofIstiod, Confidence: diagnose.Confirmed, Excerpt: "ReplicaSet shop/cart-5d: Error creating"}}},
		{Name: "timeouts are a sign of it", Request: ofShop, Put: all(hooks(injector("")), injected, whole(evidence.ClusterServices, "istio-system", service("istio-system", "istiod")), whole(evidence.EndpointSlices, "istio-system", none...), event(time.Minute, call+"context deadline exceeded")),
			Want: []checkstest.Want{{Subject: ofIstiod, Excerpt: "context deadline exceeded"}}},
		{Name: "in files", Put: all(hookFile(injector("")), file(evidence.ClusterServices, service("istio-system", "istiod")), file(evidence.EndpointSlices, none...)), Want: []checkstest.Want{{Confidence: diagnose.Likely, Summary: "no ready endpoint"}}},
		{Name: "text alone", Put: text(call + reason), Want: []checkstest.Want{{Subject: ofIstiod, Key: "", Confidence: diagnose.Likely, Severity: diagnose.Blocking,
			Summary: `Webhook ` + hookName + ` of service istio-system/istiod has nothing ready behind it: "no endpoints available for service "istiod"".`}}},
		{Name: "old wording", Put: text(call + `endpoints "istiod" not found`), Want: []checkstest.Want{{Subject: ofIstiod}}},
		{Name: "event alone", Request: ofShop, Put: event(time.Minute, call+reason), Want: []checkstest.Want{{Subject: ofIstiod, Excerpt: "12 times"}}},
		{Name: "another one's, which keeps pods from being made", Request: ofShop, Put: all(hooks(certManager("pods")), injected, quiet(), whole(evidence.ClusterServices, "cert-manager", service("cert-manager", "cert-manager-webhook")), whole[kube.EndpointSlice](evidence.EndpointSlices, "cert-manager")),
			Want: []checkstest.Want{{Subject: ofManager, Severity: diagnose.Blocking, Summary: "that webhook is not the mesh's"}}},
		{Name: "another one's, text alone", Put: text(certCall + `no endpoints available for service "cert-manager-webhook"`), Want: []checkstest.Want{{Subject: ofManager, Severity: diagnose.Blocking, Summary: "not the mesh's"}}},
		{Name: "news that objects contradict", Request: ofShop, Put: all(hooks(injector("")), plane(""), injected, event(3*time.Minute, call+reason)), Want: []checkstest.Want{{Confidence: diagnose.Possible, Severity: diagnose.Degrading, Summary: "but it has 2 ready endpoints by now"}}},
		{Name: "of another revision", Request: ofShop, Put: all(hooks(injector(""), injector("canary")), injected, quiet(), whole(evidence.ClusterServices, "istio-system", service("istio-system", "istiod"), service("istio-system", "istiod-canary")),
			whole(evidence.EndpointSlices, "istio-system", endpoints("istio-system", "istiod", webhookPort, 1, 0))), Want: []checkstest.Want{{Key: "webhooks/istio-sidecar-injector-canary", Severity: diagnose.Advice}}},

		{Name: "all well", Request: ofShop, Put: well(injector(""), validator(""))},
		{Name: "one of two is ready", Request: ofShop, Put: down([]kube.EndpointSlice{endpoints("istio-system", "istiod", webhookPort, 1, 1)})},
		{Name: "over for long", Request: ofShop, Put: all(hooks(injector("")), plane(""), injected, event(12*time.Minute, call+reason))},
		{Name: "not repeated", Request: ofShop, Put: event(40*time.Minute, call+reason)},
		{Name: "managed", Request: ofShop, Put: all(hooks(managedInjector()), injected, quiet(), whole[kube.Service](evidence.ClusterServices, "istio-system"), whole[kube.EndpointSlice](evidence.EndpointSlices, "istio-system"))},
		{Name: "another one's, for its own objects", Request: ofShop, Put: all(hooks(certManager("certificates")), injected, quiet(), whole(evidence.ClusterServices, "cert-manager", service("cert-manager", "cert-manager-webhook")), whole[kube.EndpointSlice](evidence.EndpointSlices, "cert-manager"))},
		{Name: "no Service", Request: ofShop, Put: all(hooks(injector("")), injected, quiet(), whole[kube.Service](evidence.ClusterServices, "istio-system"), whole[kube.EndpointSlice](evidence.EndpointSlices, "istio-system"))},
		{Name: "another message", Put: text(call + "context deadline exceeded")},
		{Name: "slices denied", Request: ofShop, Put: all(hooks(injector("")), injected, quiet(), whole(evidence.ClusterServices, "istio-system", service("istio-system", "istiod")), fail(evidence.EndpointSlices.Name())), Outcome: diagnose.OutcomeInconclusive, Reason: "endpoint-slices"},
		{Name: "slices of another namespace alone", Request: ofShop, Put: all(hooks(injector("")), injected, quiet(), whole(evidence.ClusterServices, "istio-system", service("istio-system", "istiod")), whole[kube.EndpointSlice](evidence.EndpointSlices, "shop")), Outcome: diagnose.OutcomeInconclusive, Reason: "istio-system were not all read"},
		{Name: "webhooks denied", Request: ofShop, Put: all(quiet(), fail(evidence.MutatingWebhooks.Name())), Outcome: diagnose.OutcomeInconclusive, Reason: "mutating-webhooks"},
		{Name: "late", Request: ofShop, Put: all(quiet(), late(evidence.MutatingWebhooks.Name(), evidence.ValidatingWebhooks.Name())), Outcome: diagnose.OutcomeInconclusive, Reason: "in time"},
		{Name: "webhooks in a file, and nothing else", Put: hookFile(injector("")), Outcome: diagnose.OutcomeSkipped},
		{Name: "not asked", Outcome: diagnose.OutcomeSkipped},
	})
}
