package startup

import (
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

// ofJob makes a pod a Job's.
func ofJob(p *kube.Pod) {
	p.Name, p.Labels = "nightly-28561-x2x9k", nil
	p.Owners = []kube.Owner{{Kind: "Job", Name: "nightly-28561", Controller: true}}
	p.Spec.RestartPolicy = "OnFailure"
	unreadyPod(p)
}

func TestJobNeverCompletes(t *testing.T) {
	pods := func(p ...kube.Pod) put { return live(evidence.Pods, p...) }
	wants := func(w ...checkstest.Want) []checkstest.Want { return w }
	done := status("app", terminated(3, 60, 0, "Completed"))
	job := kube.Workload{Kind: "Job", Meta: kube.Meta{Name: "nightly-28561", Namespace: "shop", Owners: []kube.Owner{{Kind: "CronJob", Name: "nightly", Controller: true}}}}
	checkstest.Run(t, JobNeverCompletes, []checkstest.Case{
		{Name: "done, and the proxy runs on", Request: ofNamespace, Put: pods(pod(ofJob, done)), Want: wants(checkstest.Want{
			Subject: "pod shop/nightly-28561-x2x9k", Key: "workloads/Job/nightly-28561", Confidence: diagnose.Confirmed, Severity: diagnose.Degrading,
			Summary: "The application of pod shop/nightly-28561-x2x9k ended 9m0s ago and its proxy runs on, so that the Job does not complete.", Excerpt: "app ended: done",
		})},
		{Name: "a CronJob's", Request: ofNamespace, Put: all(pods(pod(ofJob, done)), live(evidence.Workloads, job)), Want: wants(checkstest.Want{Params: map[string]string{
			"workload": "cronjob/nightly", "native_patch": `{"spec":{"jobTemplate":{"spec":{"template":{"metadata":{"annotations":{"sidecar.istio.io/nativeSidecar":"true"}}}}}}}`,
		}})},
		{Name: "failed for good", Request: ofNamespace, Put: pods(pod(ofJob, func(p *kube.Pod) { p.Spec.RestartPolicy = "Never" }, status("app", terminated(3, 60, 1, "Error")))), Want: wants(checkstest.Want{Excerpt: "app exit code 1; istio-proxy runs"})},
		{Name: "a pod of a workflow", Request: ofNamespace, Put: pods(pod(ofJob, done, func(p *kube.Pod) { p.Owners = []kube.Owner{{Kind: "Workflow", Name: "etl", Controller: true}} })), Want: wants(checkstest.Want{Summary: "so that the pod does not."})},
		{Name: "in a file", Request: ofFiles, Put: file(evidence.Pods, pod(ofJob, done)), Want: wants(checkstest.Want{Confidence: diagnose.Likely})},

		{Name: "native sidecar", Request: ofNamespace, Put: pods(pod(ofJob, native(true), done))},
		{Name: "the application runs", Request: ofNamespace, Put: pods(pod(ofJob))},
		{Name: "it failed, and is started again", Request: ofNamespace, Put: pods(pod(ofJob, status("app", terminated(3, 60, 1, "Error"))))},
		{Name: "it ended just now", Request: ofNamespace, Put: pods(pod(ofJob, status("app", terminated(3, 590, 0, "Completed"))))},
		{Name: "the proxy ended too", Request: ofNamespace, Put: pods(pod(ofJob, done, status("istio-proxy", terminated(3, 61, 0, "Completed"))))},
		{Name: "one of two containers runs", Request: ofNamespace, Put: pods(pod(ofJob, done, func(p *kube.Pod) {
			p.Spec.Containers = append(p.Spec.Containers, kube.Container{Name: "second"})
			p.Status.Containers = append(p.Status.Containers, kube.ContainerStatus{Name: "second", State: running(3)})
		}))},
		{Name: "a Deployment's container is started again anyway", Request: ofNamespace, Put: pods(pod(done))},
		{Name: "no sidecar", Request: ofNamespace, Put: pods(pod(ofJob, done, func(p *kube.Pod) { p.Spec.Containers = p.Spec.Containers[:1] }))},
		{Name: "nothing was asked", Request: ofFiles, Outcome: diagnose.OutcomeSkipped},
		{Name: "denied", Request: ofNamespace, Put: deny(evidence.Pods.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Request: ofNamespace, Put: late(evidence.Pods.Name()), Outcome: diagnose.OutcomeInconclusive},
	})
}
