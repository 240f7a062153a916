package startup

import (
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

// initState sets how istio-init, or istio-validation, fares; nothing after it has started.
func initState(state kube.ContainerState, change ...func(*kube.ContainerStatus)) func(*kube.Pod) {
	return func(p *kube.Pod) {
		s := &p.Status.InitContainers[0]
		s.State, s.Ready = state, false
		for _, f := range change {
			f(s)
		}
		p.Status.Phase = "Pending"
		p.Status.Containers = []kube.ContainerStatus{{Name: "app", State: waiting("PodInitializing")}, {Name: "istio-proxy", State: waiting("PodInitializing")}}
		unreadyPod(p)
	}
}

func TestIstioInitFailed(t *testing.T) {
	pods := func(p ...kube.Pod) []kube.Pod { return p }
	said := func(m ...evidence.LogMessage) []evidence.LogMessage { return m }
	wants := func(w ...checkstest.Want) []checkstest.Want { return w }
	setup := func(file, text string, src evidence.Source) evidence.LogMessage {
		return say(messages.InterceptionSetupFailed, file, text, 2, 2, src)
	}
	failed := initState(waiting("CrashLoopBackOff"), restarted(3, terminated(60, 61, 1, "Error")))
	validation := initState(waiting("CrashLoopBackOff"), restarted(3, terminated(60, 61, 126, "Error")))
	noID := []string{"namespace", "pod"}
	checkstest.Run(t, IstioInitFailed, []checkstest.Case{
		{Name: "chains of the run before", Request: ofPod, Put: inCluster(pods(pod(failed)), nil, said(setup(logBefore("istio-init"), "iptables: Chain already exists.", api))), Want: wants(checkstest.Want{
			Subject: "pod shop/" + podName, Summary: "Container istio-init of pod shop/" + podName + " failed with exit code 1: iptables: Chain already exists.", Confidence: diagnose.Confirmed, Severity: diagnose.Blocking,
			Params: map[string]string{"exists": "true", "container": "istio-init"}, Excerpt: "istio-init ended: exit code 1",
		})},
		{Name: "not allowed to", Request: ofPod, Put: inCluster(pods(pod(failed)), nil, said(setup(logBefore("istio-init"), "iptables v1.6.1: can't initialize iptables table `nat': Permission denied (you must be root)", api))), Want: wants(checkstest.Want{Params: map[string]string{"denied": "true"}})},
		{Name: "validation", Request: ofPod, Put: inCluster(pods(pod(withCNI, validation)), nil, nil), Want: wants(checkstest.Want{Summary: "Container istio-validation of pod shop/" + podName + " failed with exit code 126: the packet rules that the CNI plugin should have made are not there.",
			Params: map[string]string{"validation": "true", "node": "node-1"}})},
		{Name: "validation, with its word", Request: ofPod, Put: inCluster(pods(pod(withCNI, validation)), nil, said(say(messages.InterceptionNotValid, logOf("istio-validation"), "iptables validation failed; workload is not ready for Istio.", 61, 61, api))),
			Want: wants(checkstest.Want{Summary: "iptables validation failed; workload is not ready for Istio."})},
		{Name: "its termination message", Request: ofPod, Put: inCluster(pods(pod(failed, func(p *kube.Pod) {
			p.Status.InitContainers[0].Last.Terminated.Message = "starting\npanic: exit status 4\n"
		})), nil, nil), Want: wants(checkstest.Want{Summary: "exit code 1: panic: exit status 4."})},
		{Name: "out of memory", Request: ofPod, Put: inCluster(pods(pod(initState(terminated(1, 2, 137, "OOMKilled")))), nil, nil), Want: wants(checkstest.Want{Summary: "ran out of memory"})},
		{Name: "its image", Request: ofPod, Put: inCluster(pods(pod(initState(waiting("ImagePullBackOff")))), nil, nil), Want: wants(checkstest.Want{Summary: "can't be started: ImagePullBackOff", Params: map[string]string{"container": ""}})},
		{Name: "many alike", Request: ofNamespace, Put: inCluster(pods(pod(failed), pod(failed, named("checkout-6d5f4c8b9-aaaaa"))), nil, nil), Want: wants(checkstest.Want{Subject: "2 pods of Deployment shop/checkout", Key: "workloads/Deployment/checkout"})},
		{Name: "a manifest with its status", Request: ofFiles, Put: file(evidence.Pods, pod(failed)), Want: wants(checkstest.Want{Confidence: diagnose.Confirmed})},
		{Name: "the validation's word alone", Request: ofFiles, Put: logged(say(messages.InterceptionNotValid, "text", "iptables validation failed; workload is not ready for Istio.", -1, -1, pasted)), Want: wants(checkstest.Want{Confidence: diagnose.Likely, Summary: "are not there: iptables validation failed"}), Unfilled: noID},
		{Name: "the rules' own panic alone", Request: ofFiles, Put: logged(setup("text", "line 2: CHAIN_USER_ADD failed (File exists): chain ISTIO_REDIRECT", pasted)), Want: wants(checkstest.Want{Confidence: diagnose.Likely, Params: map[string]string{"exists": "true"}}), Unfilled: noID},
		{Name: "anybody's iptables", Request: ofFiles, Put: logged(setup("text", "iptables: Chain already exists.", pasted)), Want: wants(checkstest.Want{Confidence: diagnose.Possible}), Unfilled: noID},

		{Name: "all is well", Request: ofPod, Put: inCluster(pods(pod()), nil, nil)},
		{Name: "failed once, and succeeded then", Request: ofPod, Put: inCluster(pods(pod(status("istio-init", terminated(3, 4, 0, "Completed"), restarted(1, terminated(1, 2, 1, "Error"))))), nil, said(setup(logBefore("istio-init"), "iptables: Chain already exists.", api)))},
		{Name: "it runs", Request: ofPod, Put: inCluster(pods(pod(initState(running(1)))), nil, nil)},
		{Name: "another init container failed", Request: ofPod, Put: inCluster(pods(pod(withInit("migrate", false, terminated(3, 4, 1, "Error")))), nil, nil)},
		{Name: "the application's iptables", Request: ofPod, Put: inCluster(pods(pod()), nil, said(setup(logOf("app"), "iptables: Chain already exists.", api)))},
		{Name: "image: auto is the injector's matter", Request: ofPod, Put: inCluster(pods(pod(initState(waiting("InvalidImageName")), func(p *kube.Pod) { p.Spec.InitContainers[0].Image = "auto" })), nil, nil)},
		{Name: "nothing was asked", Request: ofFiles, Outcome: diagnose.OutcomeSkipped},
		{Name: "denied", Request: ofPod, Put: all(deny(evidence.Pods.Name()), logged()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Request: ofPod, Put: all(late(evidence.Pods.Name()), logged()), Outcome: diagnose.OutcomeInconclusive},
	})
}
