package istiod

import (
	"testing"
	"time"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

func plan(w kube.Workload, pods ...kube.Pod) put {
	return all(live(evidence.ControlPlaneWorkloads, w), live(evidence.ControlPlanePods, pods...))
}

func want(subject, summary string) []checkstest.Want {
	return []checkstest.Want{{Subject: subject, Summary: summary, Confidence: diagnose.Confirmed}}
}

func TestNotReady(t *testing.T) {
	const subject = "Deployment istio-system/istiod"
	down := deployment("default", noneReady)
	oom := &kube.Terminated{ExitCode: 137, Reason: "OOMKilled"}
	checkstest.Run(t, NotReady, []checkstest.Case{
		{
			Name: "image", Request: ofPod,
			Put: all(plan(down, istiod("default", inState(waits("ImagePullBackOff", `Back-off pulling image "gcr.io/istio-release/pilot:1.20.3"`), nil))),
				live(evidence.ClusterEvents, event("Pod", "istiod-7d9c-2b4kx", "Failed", `Failed to pull image "gcr.io/istio-release/pilot:1.20.3": rpc error: code = NotFound desc = not found`))),
			Want: []checkstest.Want{{Subject: subject, Confidence: diagnose.Confirmed, Severity: diagnose.Blocking,
				Summary: `No pod of Deployment istio-system/istiod is ready (0 of 1): istiod-7d9c-2b4kx can't pull the image gcr.io/istio-release/pilot:1.20.3 (ImagePullBackOff): Failed to pull image`,
				Params:  map[string]string{"image": "gcr.io/istio-release/pilot:1.20.3", "namespace": "istio-system", "pod": "istiod-7d9c-2b4kx", "workload": "deployment/istiod"}}},
		},
		{
			Name: "crash", Request: ofNamespace,
			Put:  plan(down, istiod("default", inState(waits("CrashLoopBackOff", "back-off 5m0s"), &kube.Terminated{ExitCode: 1, Reason: "Error"}))),
			Want: want(subject, "container discovery ended with exit code 1 and was restarted 12 times."),
		},
		{
			Name: "out of memory", Request: ofNamespace, Put: plan(down, istiod("default", inState(waits("CrashLoopBackOff", ""), oom))),
			Want: []checkstest.Want{{Subject: subject, Summary: "exit code 137, OOMKilled", Params: map[string]string{"oom": "yes"}}},
		},
		{
			Name: "started again, and not ready yet", Request: ofNamespace, Put: plan(down, istiod("default", inState(runs(), oom))),
			Want: want(subject, "ended with exit code 137, OOMKilled and was restarted 12 times"),
		},
		{
			Name: "no room", Request: ofNamespace, Put: plan(down, istiod("default", pending("0/3 nodes are available: 3 Insufficient cpu."))),
			Want: want(subject, "istiod-7d9c-2b4kx can't be scheduled: 0/3 nodes are available: 3 Insufficient cpu."),
		},
		{
			Name: "a Secret that isn't there", Request: ofNamespace, Put: plan(down, istiod("default", inState(waits("CreateContainerConfigError", `secret "cacerts" not found`), nil))),
			Want: want(subject, `container discovery can't be started (CreateContainerConfigError): secret "cacerts" not found`),
		},
		{
			Name: "a volume", Request: ofNamespace,
			Put: all(plan(down, istiod("default", inState(waits("ContainerCreating", ""), nil))),
				live(evidence.ClusterEvents, event("Pod", "istiod-7d9c-2b4kx", "FailedMount", `MountVolume.SetUp failed for volume "istio-csr-ca-configmap" : configmap "istio-ca-root-cert" not found`))),
			Want: want(subject, "lacks a volume: MountVolume.SetUp failed"),
		},
		{
			Name: "runs and isn't ready", Request: ofNamespace,
			Put: all(plan(down, istiod("default", inState(runs(), nil))),
				live(evidence.ClusterEvents, event("Pod", "istiod-7d9c-2b4kx", "Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 503"))),
			Want: want(subject, "runs, and its container discovery is not ready: Readiness probe failed: HTTP probe failed with statuscode: 503."),
		},
		{
			Name: "node gone", Request: ofNamespace, Put: plan(down, istiod("default", func(p *kube.Pod) {
				p.Status.Conditions = []kube.Condition{{Type: "Ready", Status: "Unknown", Reason: "NodeStatusUnknown"}}
			})),
			Want: want(subject, "is on node node-1, which doesn't answer"),
		},
		{
			Name: "evicted", Request: ofNamespace, Put: plan(down, istiod("default", func(p *kube.Pod) {
				p.Status = kube.PodStatus{Phase: "Failed", Reason: "Evicted", Message: "The node was low on resource: memory."}
			})),
			Want: want(subject, "has ended (Evicted): The node was low on resource: memory."),
		},
		{
			Name: "the last pod is being deleted", Request: ofNamespace, Put: plan(down, istiod("default", func(p *kube.Pod) { p.Deleted = noon.Add(-time.Hour) })),
			Want: want(subject, "istiod-7d9c-2b4kx is being deleted"),
		},
		{
			Name: "no pod can be made", Request: ofNamespace,
			Put: plan(deployment("default", noneReady, func(w *kube.Workload) {
				w.Status.Conditions = []kube.Condition{{Type: "ReplicaFailure", Status: "True", Message: `pods "istiod-7d9c-" is forbidden: exceeded quota: compute`}}
			})),
			Want: []checkstest.Want{{Subject: subject, Summary: "no pod can be made: pods", Params: map[string]string{"create": "yes"}}},
		},
		{
			Name: "the same, from an event", Request: ofNamespace,
			Put:  all(plan(down), live(evidence.ClusterEvents, event("ReplicaSet", "istiod-7d9c", "FailedCreate", `Error creating: pods "istiod-7d9c-" is forbidden: violates PodSecurity "restricted:latest"`))),
			Want: want(subject, "violates PodSecurity"),
		},
		{Name: "no pod, and no reason", Request: ofNamespace, Put: plan(down), Want: want(subject, "No pod of Deployment istio-system/istiod is ready (0 of 1).")},
		{
			Name: "scaled to zero, the only one", Request: ofNamespace, Put: plan(deployment("default", scaledTo(0))),
			Want: []checkstest.Want{{Subject: subject, Summary: "is scaled to 0", Params: map[string]string{"scaled": "yes"}}},
		},
		{
			Name: "scaled to zero, and asked about", Request: ofCanary,
			Put:  all(live(evidence.ControlPlaneWorkloads, deployment("default"), deployment("asm-1260-11", scaledTo(0))), live(evidence.ControlPlanePods, istiod("default"))),
			Want: []checkstest.Want{{Subject: "Deployment istio-system/istiod-asm-1260-11", Severity: diagnose.Blocking}},
		},
		{
			Name: "scaled to zero, and the namespace's own", Request: ofNamespace,
			Put: all(live(evidence.ControlPlaneWorkloads, deployment("default"), deployment("asm-1260-11", scaledTo(0))), live(evidence.ControlPlanePods, istiod("default")),
				live(evidence.MutatingWebhooks, injector("default"), injector("asm-1260-11")), live(evidence.Namespaces, space("shop", "asm-1260-11"))),
			Want: []checkstest.Want{{Subject: "Deployment istio-system/istiod-asm-1260-11"}},
		},
		{
			Name: "a revision beside one that serves", Request: ofNamespace,
			Put:  all(live(evidence.ControlPlaneWorkloads, deployment("default"), deployment("asm-1260-11", noneReady)), live(evidence.ControlPlanePods, istiod("default"))),
			Want: []checkstest.Want{{Subject: "Deployment istio-system/istiod-asm-1260-11", Severity: diagnose.Degrading, Key: "namespaces/istio-system/workloads/Deployment/istiod-asm-1260-11"}},
		},
		{
			Name: "the pods of a file", Request: ofFiles, Put: file(evidence.ControlPlanePods, istiod("default", inState(waits("CrashLoopBackOff", ""), oom))),
			Want: []checkstest.Want{{Subject: subject, Confidence: diagnose.Likely}}, Unfilled: []string{"workload"},
		},

		{Name: "ready", Request: ofPod, Put: plan(deployment("default"), istiod("default"))},
		{Name: "mid-rollout", Request: ofPod, Put: plan(deployment("default"), istiod("default"), istiod("default", named("istiod-8f-new"), inState(waits("ImagePullBackOff", ""), nil)))},
		{Name: "ready by its pod", Request: ofPod, Put: plan(down, istiod("default"))},
		{Name: "an old revision scaled to zero", Request: ofNamespace,
			Put: all(live(evidence.ControlPlaneWorkloads, deployment("default"), deployment("asm-1234-1", scaledTo(0))), live(evidence.ControlPlanePods, istiod("default")))},
		{Name: "started just now", Request: ofPod, Put: plan(down, istiod("default", made(20*time.Second), inState(waits("ContainerCreating", ""), nil)))},
		{Name: "started just now, and runs", Request: ofPod, Put: plan(down, istiod("default", made(20*time.Second), inState(runs(), nil)))},
		{Name: "installed just now", Request: ofPod, Put: plan(deployment("default", noneReady, func(w *kube.Workload) { w.Created = noon.Add(-3 * time.Second) }))},
		{Name: "managed, by its injector", Request: ofPod, Put: all(plan(down), live(evidence.MutatingWebhooks, managedInjector())), Outcome: diagnose.OutcomeSkipped, Reason: "Google runs the control plane"},
		{Name: "managed, by the fleet", Request: ofPod, Put: all(plan(down), func(s *evidence.Set) {
			evidence.Put(s, evidence.FleetMesh, []evidence.FleetMembership{{ControlPlane: "ACTIVE", Implementation: "TRAFFIC_DIRECTOR"}}, api)
		}), Outcome: diagnose.OutcomeSkipped},
		{Name: "managed, by its revision", Request: ofPod, Put: all(plan(down), live(evidence.ControlPlaneRevisions, kube.ControlPlaneRevision{Meta: kube.Meta{Name: "asm-managed"}})), Outcome: diagnose.OutcomeSkipped},
		{Name: "no istiod in the cluster", Request: ofPod, Put: all(live[kube.Workload](evidence.ControlPlaneWorkloads), live[kube.Pod](evidence.ControlPlanePods)), Outcome: diagnose.OutcomeSkipped, Reason: "no istiod"},
		{Name: "a manifest that was not applied", Request: ofFiles, Put: file(evidence.ControlPlaneWorkloads, deployment("default", func(w *kube.Workload) { w.UID, w.Status = "", kube.WorkloadStatus{} })), Outcome: diagnose.OutcomeSkipped},
		{Name: "a pod manifest that was not applied", Request: ofFiles, Put: file(evidence.ControlPlanePods, istiod("canary", func(p *kube.Pod) { p.UID, p.Status = "", kube.PodStatus{} })), Outcome: diagnose.OutcomeSkipped},
		{Name: "not asked", Request: ofFiles, Outcome: diagnose.OutcomeSkipped},
		{Name: "denied", Request: ofPod, Put: all(deny(evidence.ControlPlaneWorkloads.Name()), deny(evidence.ControlPlanePods.Name())), Outcome: diagnose.OutcomeInconclusive, Reason: "list istiod"},
		{Name: "Deployments denied, the pod ready", Request: ofPod, Put: all(deny(evidence.ControlPlaneWorkloads.Name()), live(evidence.ControlPlanePods, istiod("default"))), Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Request: ofPod, Put: late(evidence.ControlPlaneWorkloads.Name()), Outcome: diagnose.OutcomeInconclusive, Reason: "in time"},
	})
}
