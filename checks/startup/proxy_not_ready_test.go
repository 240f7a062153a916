package startup

import (
	"fmt"
	"strings"
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

func TestProxyNotReady(t *testing.T) {
	pods := func(p ...kube.Pod) []kube.Pod { return p }
	raced := []evidence.LogMessage{refusedAt("app", 3.6, 3.6), notReadyAt(4, 12), readyAt(13.5)}
	wants := func(w ...checkstest.Want) []checkstest.Want { return w }
	file := func(name, text string, sig diagnose.Signature, first, last float64) evidence.LogMessage {
		return say(sig, name, text, first, last, pasted)
	}
	const dial = "panic: dial tcp " + redis + ": connect: connection refused"
	to := func(address string) evidence.LogMessage {
		return say(messages.ConnectionRefused, logOf("app"), "dial tcp "+address+": connect: connection refused", 3.6, 3.6, api)
	}
	checkstest.Run(t, ProxyNotReady, []checkstest.Case{
		{Name: "refused before ready", Request: ofPod, Put: inCluster(pods(pod()), nil, raced), Want: wants(checkstest.Want{
			Subject: "pod shop/" + podName, Summary: "Container app of pod shop/" + podName + " was refused 10.84.12.7:6379 9.9s before its proxy was ready; its traffic went to the proxy by then.",
			Confidence: diagnose.Confirmed, Severity: diagnose.Degrading, Excerpt: "app: connection refused, to 10.84.12.7:6379",
			Params: map[string]string{"hold": `{"spec":{"template":{"metadata":{"annotations":{"proxy.istio.io/config":"{\"holdApplicationUntilProxyStarts\":true}"}}}}}`, "workload": "deployment/checkout"},
		})},
		{Name: "refused before the proxy's container even started", Request: ofPod, Put: inCluster(pods(pod(status("istio-proxy", running(5)))), nil, raced[:1]),
			Want: wants(checkstest.Want{Summary: "1.4s before container istio-proxy started", Confidence: diagnose.Confirmed})},
		{Name: "the guide's: the probe failed after it", Request: ofPod, Put: inCluster(pods(pod(unreadyPod)), []kube.Event{probeFailed(5, 46, 5)}, raced[:1]),
			Want: wants(checkstest.Want{Summary: "and 1.4s later the proxy's readiness probe still failed", Confidence: diagnose.Likely, Excerpt: "(5× in 41.0s)"})},
		{Name: "crash loop, the log has no times", Request: ofPod, Put: inCluster(pods(pod(unreadyPod, status("app", waiting("CrashLoopBackOff"), restarted(1, terminated(3, 4, 1, "Error"))))), nil,
			[]evidence.LogMessage{say(messages.ConnectionRefused, logBefore("app"), dial, -1, -1, api), readyAt(13.5)}),
			Want: wants(checkstest.Want{Summary: "at least 9.5s before its proxy was ready", Severity: diagnose.Blocking, Confidence: diagnose.Confirmed})},
		{Name: "termination message", Request: ofPod, Put: inCluster(pods(pod(unreadyPod, status("app", running(30), restarted(1, terminated(3, 4, 1, "Error"))))), nil,
			[]evidence.LogMessage{say(messages.ConnectionRefused, "Pod shop/"+podName+", container app", dial, 4, 4, api), readyAt(13.5)}),
			Want: wants(checkstest.Want{Summary: "9.5s before its proxy was ready", Confidence: diagnose.Confirmed})},
		{Name: "CNI", Request: ofWorkload, Put: inCluster(pods(pod(withCNI)), nil, raced), Want: wants(checkstest.Want{Confidence: diagnose.Confirmed})},
		{Name: "the destination's address isn't told", Request: ofPod, Put: inCluster(pods(pod()), nil, []evidence.LogMessage{say(messages.ConnectionRefused, logOf("app"), "Error: connect ECONNREFUSED", 3.6, 3.6, api), readyAt(13.5)}),
			Want: wants(checkstest.Want{Summary: "was refused a connection", Confidence: diagnose.Likely})},
		{Name: "a name, with excluded ranges", Request: ofPod, Put: inCluster(pods(pod(annotated(excludeRanges, "10.84.0.0/16"))), nil,
			[]evidence.LogMessage{say(messages.ConnectionRefused, logOf("app"), "HTTPConnectionPool(host='catalog', port=8080): Max retries: [Errno 111] Connection refused", 3.6, 3.6, api), readyAt(13.5)}),
			Want: wants(checkstest.Want{Summary: "catalog:8080", Confidence: diagnose.Likely})},
		{Name: "a query of a name, which the proxy answers", Request: ofPod, Put: inCluster(pods(pod(func(p *kube.Pod) {
			p.Spec.Containers[1].Env = []kube.EnvVar{{Name: "ISTIO_META_DNS_CAPTURE", Value: "true"}}
		})), nil,
			[]evidence.LogMessage{say(messages.ConnectionRefused, logOf("app"), "dial tcp: lookup db on 10.64.0.10:53: read udp 10.60.1.5:4000->10.64.0.10:53: read: connection refused", 3.6, 3.6, api), readyAt(13.5)}),
			Want: wants(checkstest.Want{Summary: "was refused the query of db", Confidence: diagnose.Confirmed})},
		{Name: "thousands alike", Request: ofNamespace, Put: inCluster(manyRaced(5000)), Want: wants(checkstest.Want{Subject: "5000 pods of Deployment shop/checkout", Key: "workloads/Deployment/checkout", Summary: "(5000 pods alike)"})},
		{Name: "annotation at the Deployment itself", Request: ofPod, Put: all(live(evidence.Pods, pod()), logged(raced...), live(evidence.ClusterEvents, []kube.Event{}...),
			live(evidence.Workloads, deployment(func(w *kube.Workload) {
				w.Annotations = map[string]string{"proxy.istio.io/config": "holdApplicationUntilProxyStarts: true"}
				w.Spec.Template.Annotations = map[string]string{"proxy.istio.io/config": "concurrency: 2"}
			}))),
			Want: wants(checkstest.Want{Params: map[string]string{"misplaced": "Deployment/checkout", "hold": `{"spec":{"template":{"metadata":{"annotations":{"proxy.istio.io/config":"concurrency: 2\nholdApplicationUntilProxyStarts: true"}}}}}`}})},
		{Name: "the template asks by now", Request: ofPod, Put: all(live(evidence.Pods, pod()), logged(raced...),
			live(evidence.Workloads, deployment(func(w *kube.Workload) {
				w.Spec.Template.Annotations = map[string]string{"proxy.istio.io/config": `{"holdApplicationUntilProxyStarts": true}`}
			}))), Want: wants(checkstest.Want{Params: map[string]string{"restart": "true", "hold": ""}})},
		{Name: "values.global.proxy.lifecycle goes before", Request: ofPod, Put: inCluster(pods(pod(held, func(p *kube.Pod) {
			p.Spec.Containers[0].Lifecycle = &kube.Lifecycle{PreStop: &kube.Handler{Exec: &kube.Exec{Command: []string{"sleep", "5"}}}}
		})), nil, raced), Want: wants(checkstest.Want{Params: map[string]string{"overridden": "true", "hold": ""}, Confidence: diagnose.Confirmed})},
		{Name: "asks, and nothing waits", Request: ofPod, Put: inCluster(pods(pod(annotated(kube.AnnotationProxyConfig, "holdApplicationUntilProxyStarts: true"))), nil, raced), Want: wants(checkstest.Want{Params: map[string]string{"unheeded": "true"}})},
		{Name: "native sidecar without a startup probe", Request: ofPod, Put: inCluster(pods(pod(native(false))), nil, raced), Want: wants(checkstest.Want{Params: map[string]string{"probeless": "true"}})},
		{Name: "control plane in the cluster", Request: ofPod, Put: all(byIstiod, inCluster(pods(pod()), nil, raced)), Want: wants(checkstest.Want{Params: map[string]string{"hold_everywhere": "the cluster has the Deployment istio-system/istiod"}})},
		{Name: "managed control plane", Request: ofPod, Put: all(byGoogle, inCluster(pods(pod()), nil, raced)), Want: wants(checkstest.Want{Params: map[string]string{"hold_everywhere": ""}})},
		{Name: "a pod by itself", Request: ofPod, Put: inCluster(pods(pod(func(p *kube.Pod) { p.Owners = nil })), nil, raced), Want: wants(checkstest.Want{Params: map[string]string{"hold": "", "hold_by_hand": "true"}})},
		{Name: "the pod is gone, Cloud Logging remembers", Request: ofPod, Put: all(live(evidence.Pods, []kube.Pod{}...), live(evidence.ClusterEvents, probeFailed(5, 46, 5)), logged(say(messages.ConnectionRefused, "shop/"+podName+"/app", dial, 3.6, 3.6, api))),
			Want: wants(checkstest.Want{Subject: "pod shop/" + podName, Confidence: diagnose.Likely})},
		{Name: "a pasted log of a described pod", Request: ofFiles, Put: all(fileOf(evidence.Pods, pod(func(p *kube.Pod) { p.Described = true })), logged(file("app.log", dial, messages.ConnectionRefused, 3.6, 3.6), file("istio-proxy.log", "Envoy proxy is ready", messages.ProxyReady, 13, 13))),
			Want: wants(checkstest.Want{Confidence: diagnose.Likely, Key: "namespaces/shop/workloads/Deployment/checkout"})},
		{Name: "one log alone", Request: ofFiles, Put: logged(file("pod.log", dial, messages.ConnectionRefused, 3.6, 3.6), file("pod.log", "Envoy proxy is ready", messages.ProxyReady, 13, 13)),
			Want: wants(checkstest.Want{Subject: "the pod of pod.log", Key: "files/pod.log", Confidence: diagnose.Likely}), Unfilled: []string{"namespace", "workload"}},
		{Name: "two logs of who knows which pod", Request: ofFiles, Put: logged(file("app.log", dial, messages.ConnectionRefused, 3.6, 3.6), file("proxy.log", "Envoy proxy is ready", messages.ProxyReady, 13, 13)),
			Want: wants(checkstest.Want{Subject: "the pod of app.log and proxy.log", Confidence: diagnose.Possible}), Unfilled: []string{"namespace", "workload"}},

		// It is not that.
		{Name: "all is well", Request: ofPod, Put: inCluster(pods(pod()), nil, raced[1:])},
		{Name: "refused after the proxy was ready", Request: ofPod, Put: inCluster(pods(pod()), nil, []evidence.LogMessage{refusedAt("app", 14, 14), notReadyAt(4, 12), readyAt(13.5)})},
		{Name: "refused before and after", Request: ofPod, Put: inCluster(pods(pod()), nil, []evidence.LogMessage{refusedAt("app", 3.6, 300), readyAt(13.5)})},
		{Name: "refused after the pod was ready", Request: ofPod, Put: inCluster(pods(pod()), []kube.Event{probeFailed(5, 46, 5)}, []evidence.LogMessage{refusedAt("app", 30, 30)})},
		{Name: "a hold that works", Request: ofPod, Put: inCluster(pods(pod(held)), []kube.Event{probeFailed(5, 46, 5)}, raced[:1])},
		{Name: "native sidecar with a startup probe", Request: ofPod, Put: inCluster(pods(pod(native(true))), nil, raced)},
		{Name: "no sidecar", Request: ofPod, Put: inCluster(pods(pod(func(p *kube.Pod) {
			p.Spec.Containers = p.Spec.Containers[:1]
			p.Status.Containers = p.Status.Containers[:1]
		})), nil, raced[:1])},
		{Name: "loopback", Request: ofPod, Put: inCluster(pods(pod()), nil, []evidence.LogMessage{to("127.0.0.1:6379"), readyAt(13.5)})},
		{Name: "excluded by annotation", Request: ofPod, Put: inCluster(pods(pod(annotated(excludeRanges, "10.84.12.0/24"))), nil, raced)},
		{Name: "excluded port", Request: ofPod, Put: inCluster(pods(pod(annotated(excludePorts, "443,6379"))), nil, raced)},
		{Name: "excluded mesh-wide", Request: ofPod, Put: inCluster(pods(pod(func(p *kube.Pod) { p.Spec.InitContainers[0].Args[12] = "10.84.12.7/32" })), nil, raced)},
		{Name: "not among the ranges included", Request: ofPod, Put: inCluster(pods(pod(func(p *kube.Pod) { p.Spec.InitContainers[0].Args[10] = "10.4.0.0/14" })), nil, raced)},
		{Name: "runs as the proxy's user", Request: ofPod, Put: inCluster(pods(pod(func(p *kube.Pod) {
			p.Spec.Containers[0].SecurityContext = &kube.SecurityContext{RunAsUser: new(int64(1337))}
		})), nil, raced)},
		{Name: "no interception", Request: ofPod, Put: inCluster(pods(pod(annotated("sidecar.istio.io/interceptionMode", "NONE"))), nil, raced)},
		{Name: "the agent's own line", Request: ofPod, Put: inCluster(pods(pod()), nil, []evidence.LogMessage{refusedAt("istio-proxy", 3.6, 3.6), readyAt(13.5)})},
		{Name: "a query of a name, which others answer", Request: ofPod, Put: inCluster(pods(pod()), nil,
			[]evidence.LogMessage{say(messages.ConnectionRefused, logOf("app"), "dial tcp: lookup db on 10.64.0.10:53: read udp 10.60.1.5:4000->10.64.0.10:53: read: connection refused", 3.6, 3.6, api), readyAt(13.5)})},
		{Name: "the application's clock is of another zone", Request: ofPod, Put: inCluster(pods(pod()), nil, []evidence.LogMessage{refusedAt("app", -3600, -3600), readyAt(13.5)})},
		{Name: "the log begins hours later", Request: ofPod, Put: inCluster(pods(pod(status("app", running(7000), restarted(1, terminated(6000, 6999, 1, "Error"))))), nil, []evidence.LogMessage{refusedAt("app", 7100, 7100), readyAt(9000)})},
		{Name: "another pod's log", Request: ofPod, Put: inCluster(pods(pod()), nil, []evidence.LogMessage{say(messages.ConnectionRefused, "log of container app of pod shop/cart-1", dial, 3.6, 3.6, api), readyAt(13.5)})},
		{Name: "the application's own probe", Request: ofPod, Put: inCluster(pods(pod(unreadyPod)), []kube.Event{event("Unhealthy", "app", "Readiness probe failed: HTTP probe failed with statuscode: 503", 5, 46, 5)}, raced[:1])},
		{Name: "a template is not a pod", Request: ofFiles, Put: all(fileOf(evidence.Workloads, deployment()), logged()), Outcome: diagnose.OutcomePassed},
		{Name: "a refused connection alone", Request: ofFiles, Put: logged(file("app.log", dial, messages.ConnectionRefused, 3.6, 3.6)), Outcome: diagnose.OutcomeSkipped, Reason: "don't tell when a proxy became ready"},
		{Name: "refused in a log after ready", Request: ofFiles, Put: logged(file("pod.log", dial, messages.ConnectionRefused, 20, 20), file("pod.log", "Envoy proxy is ready", messages.ProxyReady, 13, 13)), Outcome: diagnose.OutcomeSkipped},
		{Name: "two logs, after ready", Request: ofFiles, Put: logged(file("app.log", dial, messages.ConnectionRefused, 20, 20), file("proxy.log", "Envoy proxy is ready", messages.ProxyReady, 13, 13)), Outcome: diagnose.OutcomeSkipped},
		{Name: "a stream to the control plane", Request: ofFiles, Put: logged(
			file("pod.log", `ADS stream closed: rpc error: desc = "transport: Error while dialing: dial tcp 10.0.0.1:15012: connect: connection refused"`, messages.ConnectionRefused, 3.6, 3.6), file("pod.log", "Envoy proxy is ready", messages.ProxyReady, 13, 13)), Outcome: diagnose.OutcomeSkipped},

		// It isn't known.
		{Name: "nothing was asked", Request: ofFiles, Outcome: diagnose.OutcomeSkipped},
		{Name: "pods denied", Request: ofPod, Put: all(deny(evidence.Pods.Name()), logged(), live(evidence.ClusterEvents, []kube.Event{}...)), Outcome: diagnose.OutcomeInconclusive, Reason: "not allowed"},
		{Name: "logs denied", Request: ofPod, Put: all(live(evidence.Pods, pod(unreadyPod)), deny(evidence.LogMessages.Name())), Outcome: diagnose.OutcomeInconclusive, Reason: "not allowed"},
		{Name: "logs denied of a pod that is ready", Request: ofPod, Put: all(live(evidence.Pods, pod()), deny(evidence.LogMessages.Name()))},
		{Name: "logs late", Request: ofPod, Put: all(live(evidence.Pods, pod(unreadyPod)), late(evidence.LogMessages.Name())), Outcome: diagnose.OutcomeInconclusive},
	})
}

// fileOf puts objects as a file holds them.
func fileOf[T any](k evidence.Key[[]evidence.Objects[T]], items ...T) put { return file(k, items...) }

// manyRaced is a Deployment of n pods that all lost the race.
func manyRaced(n int) (pods []kube.Pod, events []kube.Event, m []evidence.LogMessage) {
	for i := range n {
		name := fmt.Sprintf("checkout-6d5f4c8b9-%05d", i)
		pods = append(pods, pod(named(name)))
		for _, x := range []evidence.LogMessage{refusedAt("app", 3.6, 3.6), readyAt(13.5)} {
			x.File = strings.ReplaceAll(x.File, podName, name)
			x.Source.Detail = x.File
			m = append(m, x)
		}
	}
	return pods, nil, m
}
