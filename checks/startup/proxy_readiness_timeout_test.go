package startup

import (
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

const waitFailed = `Exec lifecycle hook ([pilot-agent wait]) for Container "istio-proxy" in Pod "` + podName + `_shop(f0140293-8505-4462-964b-7d6dcb43f93a)" failed - error: command 'pilot-agent wait' exited with 255: Error: timeout waiting for Envoy proxy to become ready. Last error: HTTP status code 503`

func TestProxyReadinessTimeout(t *testing.T) {
	pods := func(p ...kube.Pod) []kube.Pod { return p }
	events := func(e ...kube.Event) []kube.Event { return e }
	said := func(m ...evidence.LogMessage) []evidence.LogMessage { return m }
	wants := func(w ...checkstest.Want) []checkstest.Want { return w }
	unready := status("istio-proxy", running(3), notReady)
	hook := event("FailedPostStartHook", "istio-proxy", waitFailed, 63, 63, 1)
	checkstest.Run(t, ProxyReadinessTimeout, []checkstest.Case{
		{Name: "not ready for minutes", Request: ofPod, Put: inCluster(pods(pod(unreadyPod, unready)), events(probeFailed(5, 590, 290)), said(notReadyAt(4, 590))), Want: wants(checkstest.Want{
			Subject: "pod shop/" + podName, Summary: "The proxy of pod shop/" + podName + " runs and is not ready 9m57s after its start: it received no configuration from the control plane.",
			Confidence: diagnose.Confirmed, Severity: diagnose.Blocking, Params: map[string]string{"unreceived": "true"}, Excerpt: "istio-proxy NOT ready: no configuration yet (5× in 586.0s)  [log of istio-proxy]",
		})},
		{Name: "the status alone", Request: ofWorkload, Put: inCluster(pods(pod(unreadyPod, unready)), nil, nil), Want: wants(checkstest.Want{Summary: "9m57s after its start.", Confidence: diagnose.Confirmed})},
		{Name: "logs denied, the status says enough", Request: ofPod, Put: all(live(evidence.Pods, pod(unreadyPod, unready)), deny(evidence.LogMessages.Name())), Want: wants(checkstest.Want{Confidence: diagnose.Confirmed})},
		{Name: "the hook gave up", Request: ofPod, Put: inCluster(pods(pod(held, unreadyPod, status("istio-proxy", running(64), notReady, restarted(1, terminated(3, 63, 137, "Error"))))), events(hook), nil), Want: wants(checkstest.Want{
			Summary: "is held for its proxy, which did not become ready: HTTP status code 503.", Confidence: diagnose.Confirmed, Excerpt: "the wait for the proxy failed",
		})},
		{Name: "it came up the second time", Request: ofPod, Put: inCluster(pods(pod(held, status("istio-proxy", running(64), restarted(1, terminated(3, 63, 137, "Error"))))), events(hook), said(readyAt(80))), Want: wants(checkstest.Want{Severity: diagnose.Advice, Summary: "in vain at first"})},
		{Name: "rejected", Request: ofPod, Put: inCluster(pods(pod(unreadyPod, unready)), nil, said(say(messages.ProxyNotReady, logOf("istio-proxy"),
			"warn\tEnvoy proxy is NOT ready: config received from XDS server, but was rejected: cds updates: 1 successful, 0 rejected; lds updates: 0 successful, 1 rejected", 4, 590, api))), Want: wants(checkstest.Want{Summary: "it rejected a part of its configuration", Params: map[string]string{"rejected": "true"}})},
		{Name: "it keeps ending", Request: ofPod, Put: inCluster(pods(pod(unreadyPod, status("istio-proxy", waiting("CrashLoopBackOff"), restarted(5, terminated(500, 501, 1, "Error"))))), nil, nil), Want: wants(checkstest.Want{Summary: "keeps ending with exit code 1", Confidence: diagnose.Confirmed})},
		{Name: "native sidecar", Request: ofPod, Put: inCluster(pods(pod(unreadyPod, native(true), status("istio-proxy", running(3), notReady))), nil, nil), Want: wants(checkstest.Want{Confidence: diagnose.Confirmed})},
		{Name: "managed", Request: ofPod, Put: all(byGoogle, inCluster(pods(pod(unreadyPod, unready)), nil, nil)), Want: wants(checkstest.Want{Params: map[string]string{"managed": "the cluster has the ControlPlaneRevision asm-managed"}})},
		{Name: "a file that tells since when", Request: ofFiles, Put: all(file(evidence.Pods, pod(unreadyPod, unready)), file(evidence.ClusterEvents, probeFailed(5, 125, 60))), Want: wants(checkstest.Want{Summary: "2m2s after its start"})},
		{Name: "events alone", Request: ofFiles, Put: file(evidence.ClusterEvents, probeFailed(5, 125, 60)), Want: wants(checkstest.Want{Summary: "was not ready for 2m0s", Confidence: diagnose.Likely})},
		{Name: "the hook's line alone", Request: ofFiles, Put: logged(say(messages.ProxyWaitFailed, "text", waitFailed, -1, -1, pasted)), Want: wants(checkstest.Want{Confidence: diagnose.Likely, Key: "files/text"}), Unfilled: []string{"namespace", "pod"}},
		{Name: "a proxy's log alone", Request: ofFiles, Put: logged(say(messages.ProxyNotReady, "proxy.log", notReceived, 4, 120, pasted)), Want: wants(checkstest.Want{Summary: "was not ready for 1m56s", Confidence: diagnose.Likely}), Unfilled: []string{"namespace", "pod"}},

		{Name: "all is well", Request: ofPod, Put: inCluster(pods(pod()), events(probeFailed(5, 12, 4)), said(notReadyAt(4, 12), readyAt(13.5)))},
		{Name: "it started just now", Request: ofPod, Put: inCluster(pods(pod(unreadyPod, status("istio-proxy", running(580), notReady))), events(probeFailed(582, 599, 9)), said(notReadyAt(581, 599)))},
		{Name: "another container's probe", Request: ofPod, Put: inCluster(pods(pod(unreadyPod, status("app", running(3), notReady))), events(event("Unhealthy", "app", "Readiness probe failed: HTTP probe failed with statuscode: 503", 5, 590, 290)), said(readyAt(13.5)))},
		{Name: "it is being deleted", Request: ofPod, Put: inCluster(pods(pod(unreadyPod, unready, func(p *kube.Pod) { p.Deleted = now })), events(probeFailed(5, 590, 290)), nil)},
		{Name: "no sidecar", Request: ofPod, Put: inCluster(pods(pod(unreadyPod, func(p *kube.Pod) {
			p.Spec.Containers = p.Spec.Containers[:1]
			p.Status.Containers = p.Status.Containers[:1]
		})), nil, nil)},
		{Name: "it isn't started yet", Request: ofPod, Put: inCluster(pods(pod(initState(running(1)))), nil, nil)},
		{Name: "it took 50 s, and is ready", Request: ofFiles, Put: logged(say(messages.ProxyNotReady, "proxy.log", notReceived, 4, 54, pasted), say(messages.ProxyReady, "proxy.log", "Envoy proxy is ready", 55, 55, pasted))},
		{Name: "it took two minutes, and is ready", Request: ofFiles, Put: logged(say(messages.ProxyNotReady, "proxy.log", notReceived, 4, 124, pasted), say(messages.ProxyReady, "proxy.log", "Envoy proxy is ready", 125, 125, pasted))},
		{Name: "it is shutting down", Request: ofFiles, Put: logged(say(messages.ProxyNotReady, "proxy.log", "Envoy proxy is NOT ready: server is terminated: received signal: terminated", 4, 124, pasted))},
		{Name: "a file that doesn't tell since when", Request: ofFiles, Put: file(evidence.Pods, pod(unreadyPod, unready)), Outcome: diagnose.OutcomeSkipped, Reason: "since when"},
		{Name: "nothing was asked", Request: ofFiles, Outcome: diagnose.OutcomeSkipped},
		{Name: "denied", Request: ofPod, Put: all(deny(evidence.Pods.Name()), logged()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Request: ofPod, Put: late(evidence.Pods.Name()), Outcome: diagnose.OutcomeInconclusive},
	})
}
