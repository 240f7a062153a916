package webhook

import (
	"testing"
	"time"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

func TestUnreachable(t *testing.T) {
	const deadline = "context deadline exceeded"
	replicas := func(want, have int) kube.Workload {
		w := kube.Workload{Kind: "ReplicaSet", Meta: kube.Meta{Namespace: "shop", Name: "cart-5d"}}
		w.Spec.Replicas, w.Status.Replicas = &want, have
		return w
	}
	withSet := func(w kube.Workload) put {
		return all(hooks(injector("")), plane(""), whole(evidence.Namespaces, "", kube.Namespace{Meta: kube.Meta{Name: "shop", Labels: map[string]string{"istio-injection": "enabled"}}}),
			whole[kube.Pod](evidence.Pods, "shop"), whole(evidence.Workloads, "shop", w), event(4*time.Minute, call+deadline))
	}
	checkstest.Run(t, Unreachable, []checkstest.Case{
		{Name: "the reason alone", Put: text("net/http: request canceled while waiting for connection (Client.Timeout exceeded while awaiting headers) 这可能是网络连接问题。"), Want: []checkstest.Want{{
			Subject: "the webhooks of istiod", Confidence: diagnose.Possible, Severity: diagnose.Degrading, Params: map[string]string{"mesh_webhook": "yes"}}}},
		{Name: "the reason alone, with istiod's port", Put: text("dial tcp 10.60.1.5:15017: i/o timeout"), Want: []checkstest.Want{{
			Subject: "webhook of istiod's", Confidence: diagnose.Likely, Params: map[string]string{"address": "10.60.1.5:15017"}}}},
		{Name: "another program's", Put: text(`Get "https://example.com": net/http: request canceled while waiting for connection (Client.Timeout exceeded while awaiting headers)`)},
		{Name: "a name that doesn't resolve", Put: text(call + "dial tcp: lookup istiod.istio-system.svc on 10.64.0.10:53: no such host"), Want: []checkstest.Want{{Subject: ofIstiod, Summary: "has a name that the API server can't resolve"}}},
		{Name: "text alone", Put: text(call + deadline), Want: []checkstest.Want{{Subject: ofIstiod, Confidence: diagnose.Likely, Severity: diagnose.Blocking,
			Summary: `Webhook ` + hookName + ` of service istio-system/istiod does not answer the API server in time: "context deadline exceeded".`}}},
		{Name: "i/o timeout names the port", Put: text(call + "dial tcp 10.129.45.155:15017: i/o timeout"), Want: []checkstest.Want{{Subject: ofIstiod, Params: map[string]string{"address": "10.129.45.155:15017"}}}},
		{Name: "canceled while waiting", Put: text(`Error creating: Internal error occurred: failed calling webhook "sidecar-injector.istio.io": Post https://istiod.istio-system.svc:443/inject?timeout=30s: net/http: request canceled while waiting for connection (Client.Timeout exceeded while awaiting headers)`),
			Want: []checkstest.Want{{Subject: "webhook sidecar-injector.istio.io of service istio-system/istiod"}}},
		{Name: "events, and ready endpoints", Request: ofShop, Put: all(hooks(injector("")), plane(""), injected, event(time.Minute, call+deadline)), Want: []checkstest.Want{{Subject: ofIstiod, Confidence: diagnose.Likely, Severity: diagnose.Blocking, Excerpt: "2 ready endpoints"}}},
		{Name: "the same event, and as the scan of logs read it", Request: ofShop, Put: all(hooks(injector("")), plane(""), injected, event(time.Minute, call+deadline), logOf(live, seen.Add(-time.Minute), call+deadline)), Want: []checkstest.Want{{Subject: ofIstiod, Confidence: diagnose.Likely, Excerpt: "12 times"}}},
		{Name: "another one's: say whose", Put: text(certCall + deadline), Want: []checkstest.Want{{Subject: ofManager, Severity: diagnose.Blocking, Summary: "that webhook is not the mesh's", Params: map[string]string{"foreign": "yes", "mesh_webhook": ""}}}},
		{Name: "the mesh's and another one's", Put: text(call+deadline, certCall+deadline), Want: []checkstest.Want{{Subject: ofIstiod}, {Subject: ofManager}}},
		{Name: "the API server's own limit", Put: text(`failed calling webhook "` + hookName + `": Timeout: request did not complete within requested timeout 30s`), Want: []checkstest.Want{{Subject: "webhook " + hookName}}},
		{Name: "the validator's", Put: text(`failed calling webhook "rev.validation.istio.io": failed to call webhook: Post "https://istiod.istio-system.svc:443/validate?timeout=10s": ` + deadline), Want: []checkstest.Want{{Subject: "webhook rev.validation.istio.io of service istio-system/istiod", Severity: diagnose.Degrading}}},
		{Name: "not all pods are made yet", Request: ofShop, Put: withSet(replicas(3, 1)), Want: []checkstest.Want{{Confidence: diagnose.Likely}}},
		{Name: "all pods are made by now", Request: ofShop, Put: withSet(replicas(3, 3)), Want: []checkstest.Want{{Confidence: diagnose.Possible, Summary: "but what the message is about has all its pods by now"}}},
		{Name: "an older event than the newest of two", Request: ofShop, Put: all(event(time.Minute, call+deadline), text(call+deadline)), Want: []checkstest.Want{{Subject: ofIstiod}}},

		{Name: "nothing is ready", Request: ofShop, Put: all(hooks(injector("")), injected, whole(evidence.ClusterServices, "istio-system", service("istio-system", "istiod")), whole[kube.EndpointSlice](evidence.EndpointSlices, "istio-system"), event(time.Minute, call+deadline))},
		{Name: "nothing is ready, in the same text", Put: text(call+deadline, call+`no endpoints available for service "istiod"`)},
		{Name: "not repeated", Request: ofShop, Put: all(hooks(injector("")), plane(""), injected, event(30*time.Minute, call+deadline))},
		{Name: "refused", Put: text(call + "dial tcp 10.0.0.1:15017: connect: connection refused")},
		{Name: "istiod's own trial", Put: text("Not ready to switch validation to fail-closed: dummy invalid rejected for the wrong reason: Internal error occurred: failed calling webhook \"rev.validation.istio.io\": failed to call webhook: Post \"https://istiod.istio-system.svc:443/validate?timeout=10s\": " + deadline)},
		{Name: "the managed control plane's", Put: text(`failed calling webhook "rev.namespace.sidecar-injector.istio.io": failed to call webhook: Post "https://meshconfig.googleapis.com:443/v1internal/inject?timeout=10s": ` + deadline)},
		{Name: "denied", Request: ofShop, Put: all(hooks(injector("")), injected, fail(evidence.ClusterEvents.Name())), Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Request: ofShop, Put: late(evidence.LogMessages.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Outcome: diagnose.OutcomeSkipped},
	})
}
