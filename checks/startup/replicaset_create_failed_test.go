package startup

import (
	"testing"
	"time"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

const (
	byWebhook  = `Internal error occurred: failed calling webhook "rev.namespace.sidecar-injector.istio.io": failed to call webhook: Post "https://istiod.istio-system.svc:443/inject?timeout=10s": context deadline exceeded`
	bySecurity = `pods "checkout-6d5f4c8b9-x2x9k" is forbidden: violates PodSecurity "baseline:latest": non-default capabilities (container "istio-init" must not include "NET_ADMIN", "NET_RAW" in securityContext.capabilities.add)`
	byQuota    = `pods "checkout-6d5f4c8b9-x2x9k" is forbidden: exceeded quota: compute, requested: limits.cpu=2, used: limits.cpu=8, limited: limits.cpu=8`
)

func replicaSet(replicas, made int) kube.Workload {
	w := kube.Workload{Kind: "ReplicaSet", Meta: kube.Meta{Name: "checkout-6d5f4c8b9", Namespace: "shop", Owners: []kube.Owner{{Kind: "Deployment", Name: "checkout", Controller: true}}}}
	w.Spec.Replicas, w.Status.Replicas = &replicas, made
	return w
}

func TestReplicaSetCreateFailed(t *testing.T) {
	events := func(e ...kube.Event) put { return live(evidence.ClusterEvents, e...) }
	wants := func(w ...checkstest.Want) []checkstest.Want { return w }
	lately := now.Sub(noon).Seconds() - 30
	of := func(kind, name string, e kube.Event) kube.Event {
		e.Involved.Kind, e.Involved.Name = kind, name
		return e
	}
	line := func(text string) put {
		return logged(say(messages.PodCreateFailed, "text", "  Warning  FailedCreate  18m (x10 over 10h)  replicaset-controller  Error creating: "+text, -1, -1, pasted))
	}
	checkstest.Run(t, ReplicaSetCreateFailed, []checkstest.Case{
		{Name: "a webhook", Request: ofNamespace, Put: events(failedCreate(byWebhook, lately)), Want: wants(checkstest.Want{
			Subject: "Deployment shop/checkout", Key: "workloads/Deployment/checkout", Confidence: diagnose.Confirmed, Severity: diagnose.Blocking,
			Summary: "Deployment shop/checkout gets no pods: webhook rev.namespace.sidecar-injector.istio.io can't be called, or refuses them (14 times).",
			Params:  map[string]string{"webhook": "rev.namespace.sidecar-injector.istio.io", "kind": "replicaset", "name": "checkout-6d5f4c8b9", "workload": "deployment/checkout"},
		})},
		{Name: "of the workload asked about", Request: ofWorkload, Put: all(events(failedCreate(byWebhook, lately)), live(evidence.Workloads, replicaSet(3, 0))), Want: wants(checkstest.Want{Subject: "Deployment shop/checkout"})},
		{Name: "another webhook refuses", Request: ofNamespace, Put: events(failedCreate(`admission webhook "policy.example.com" denied the request: no`, lately)), Want: wants(checkstest.Want{Params: map[string]string{"webhook": "policy.example.com"}})},
		{Name: "Pod Security refuses istio-init", Request: ofNamespace, Put: events(failedCreate(bySecurity, lately)), Want: wants(checkstest.Want{Summary: "Pod Security refuses what container istio-init of the sidecar needs", Params: map[string]string{"security": "istio-init"}})},
		{Name: "a pod security policy", Request: ofNamespace, Put: events(failedCreate(`pods "x" is forbidden: unable to validate against any pod security policy: [spec.initContainers[0].securityContext.capabilities.add: Invalid value: "NET_ADMIN": capability may not be added]`, lately)), Want: wants(checkstest.Want{Params: map[string]string{"security": "istio-init"}})},
		{Name: "injected twice", Request: ofNamespace, Put: events(failedCreate(`Pod "x" is invalid: spec.initContainers[1].name: Duplicate value: "istio-init"`, lately)), Want: wants(checkstest.Want{Params: map[string]string{"twice": "istio-init"}})},
		{Name: "a DaemonSet", Request: ofNamespace, Put: events(of("DaemonSet", "agent", failedCreate(byWebhook, lately))), Want: wants(checkstest.Want{Subject: "DaemonSet shop/agent", Params: map[string]string{"workload": "daemonset/agent"}})},
		{Name: "events in a file, however old", Request: ofFiles, Put: file(evidence.ClusterEvents, failedCreate(byWebhook, -90000)), Want: wants(checkstest.Want{Key: "namespaces/shop/workloads/Deployment/checkout"})},
		{Name: "two workloads", Request: ofNamespace, Put: events(failedCreate(byWebhook, lately), of("ReplicaSet", "cart-58c4d9f7b", failedCreate(byWebhook, lately)), failedCreate(byWebhook, lately)), Want: wants(checkstest.Want{Subject: "cart"}, checkstest.Want{Subject: "checkout"})},
		{Name: "a line alone", Request: ofFiles, Put: line(byWebhook), Want: wants(checkstest.Want{Key: "files/text", Confidence: diagnose.Likely})},
		{Name: "the managed control plane's webhook", Request: ofNamespace, Put: all(byGoogle, events(failedCreate(`Internal error occurred: failed calling webhook "rev.namespace.sidecar-injector.istio.io": failed to call webhook: an error on the server ("unknown") has prevented the request from succeeding`, lately))),
			Want: wants(checkstest.Want{Key: "managed/workloads/Deployment/checkout"})},
		{Name: "Google's webhook, in a line alone", Request: ofFiles, Put: line(`Internal error occurred: failed calling webhook "rev.namespace.sidecar-injector.istio.io": failed to call webhook: Post "https://istiod-asm-managed-x.run.app:443/inject?timeout=10s": EOF`),
			Want: wants(checkstest.Want{Key: "managed/files/text"})},
		{Name: "another one's webhook, the control plane managed", Request: ofNamespace, Put: all(byGoogle, events(failedCreate(`Internal error occurred: failed calling webhook "policy.example.com": failed to call webhook: Post "https://policy.policy.svc:443/v?timeout=10s": EOF`, lately))),
			Want: wants(checkstest.Want{Key: "workloads/Deployment/checkout"})},
		{Name: "not all the pods", Request: ofNamespace, Put: all(events(failedCreate(byWebhook, lately)), live(evidence.Workloads, replicaSet(3, 2))), Want: wants(checkstest.Want{Subject: "Deployment shop/checkout"})},

		{Name: "nothing failed", Request: ofNamespace, Put: events(probeFailed(5, 46, 5))},
		{Name: "a quota", Request: ofNamespace, Put: events(failedCreate(byQuota, lately)), Outcome: diagnose.OutcomeSkipped, Reason: "pods can't be created for a quota (ReplicaSet shop/checkout-6d5f4c8b9): that is no fault of the mesh"},
		{Name: "Pod Security refuses the application", Request: ofNamespace, Put: events(failedCreate(`pods "x" is forbidden: violates PodSecurity "baseline:latest": privileged (container "app" must not set securityContext.privileged=true)`, lately)), Outcome: diagnose.OutcomeSkipped, Reason: "Pod Security"},
		{Name: "a service account that isn't there", Request: ofNamespace, Put: events(failedCreate(`pods "x-" is forbidden: error looking up service account shop/app: serviceaccount "app" not found`, lately)), Outcome: diagnose.OutcomeSkipped, Reason: "a missing service account"},
		{Name: "a limit range", Request: ofNamespace, Put: events(failedCreate(`pods "x" is forbidden: minimum memory usage per Container is 128Mi, but request is 40Mi`, lately)), Outcome: diagnose.OutcomeSkipped, Reason: "a limit range"},
		{Name: "it is over", Request: ofNamespace, Put: events(failedCreate(byWebhook, now.Sub(noon).Seconds()-30*time.Minute.Seconds()))},
		{Name: "the pods are there by now", Request: ofNamespace, Put: all(events(failedCreate(byWebhook, lately)), live(evidence.Workloads, replicaSet(3, 3)))},
		{Name: "another workload's", Request: ofWorkload, Put: events(of("ReplicaSet", "cart-58c4d9f7b", failedCreate(byWebhook, lately)))},
		{Name: "a quota's line alone", Request: ofFiles, Put: line(byQuota), Outcome: diagnose.OutcomeSkipped, Reason: "a quota (text)"},
		{Name: "nothing was asked", Request: ofFiles, Outcome: diagnose.OutcomeSkipped},
		{Name: "denied", Request: ofNamespace, Put: all(deny(evidence.ClusterEvents.Name()), logged()), Outcome: diagnose.OutcomeInconclusive, Reason: "not allowed"},
		{Name: "late", Request: ofNamespace, Put: late(evidence.ClusterEvents.Name()), Outcome: diagnose.OutcomeInconclusive},
	})
}
