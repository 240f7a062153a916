package startup

import (
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/envoy"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

func TestProxyOOM(t *testing.T) {
	pods := func(p ...kube.Pod) []kube.Pod { return p }
	wants := func(w ...checkstest.Want) []checkstest.Want { return w }
	limited := func(p *kube.Pod) {
		c, _ := p.Container("istio-proxy")
		c.Resources.Limits = map[string]kube.Text{"memory": "512Mi", "cpu": "2"}
		c.Resources.Requests = map[string]kube.Text{"memory": "128Mi", "cpu": "100m"}
	}
	killed := terminated(3, 400, 137, "OOMKilled")
	again := status("istio-proxy", running(401), restarted(3, killed))
	down := status("istio-proxy", waiting("CrashLoopBackOff"), restarted(3, killed))
	stats := func(s *evidence.Set) {
		evidence.Put(s, evidence.EnvoyStats, []evidence.EnvoyCounters{{Stats: envoy.Stats{"cluster_manager.active_clusters": 4211, "listener_manager.total_listeners_active": 1893}}}, api)
	}
	checkstest.Run(t, ProxyOOM, []checkstest.Case{
		{Name: "killed, and runs again", Request: ofPod, Put: all(inCluster(pods(pod(limited, again)), nil, nil), stats), Want: wants(checkstest.Want{
			Subject: "pod shop/" + podName, Summary: "The proxy of pod shop/" + podName + " was killed for want of memory, at its limit of 512Mi; it runs again, after 3 restarts.",
			Confidence: diagnose.Confirmed, Severity: diagnose.Degrading, Excerpt: "its configuration: 4211 clusters, 1893 listeners",
			Params: map[string]string{"limit_patch": `{"spec":{"template":{"metadata":{"annotations":{"sidecar.istio.io/proxyCPU":"100m","sidecar.istio.io/proxyCPULimit":"2","sidecar.istio.io/proxyMemory":"128Mi","sidecar.istio.io/proxyMemoryLimit":"1024Mi"}}}}}`},
		})},
		{Name: "does not run", Request: ofNamespace, Put: inCluster(pods(pod(limited, down)), nil, nil), Want: wants(checkstest.Want{Severity: diagnose.Blocking, Excerpt: "istio-proxy ended: out of memory (OOMKilled)"})},
		{Name: "no limit", Request: ofPod, Put: inCluster(pods(pod(down)), nil, nil), Want: wants(checkstest.Want{Summary: "at its node's", Params: map[string]string{"limit_patch": ""}})},
		{Name: "native sidecar", Request: ofPod, Put: inCluster(pods(pod(native(true), down)), nil, nil), Want: wants(checkstest.Want{Confidence: diagnose.Confirmed})},
		{Name: "a described pod", Request: ofFiles, Put: file(evidence.Pods, pod(again, func(p *kube.Pod) { p.Described = true })), Want: wants(checkstest.Want{Confidence: diagnose.Confirmed})},
		{Name: "a dump of that proxy", Request: ofFiles, Put: all(file(evidence.Pods, pod(again)), func(s *evidence.Set) {
			evidence.Put(s, evidence.EnvoyDumps, []evidence.EnvoyDump{{Dump: &envoy.Dump{NodeID: "sidecar~10.60.1.6~cart-1.shop~shop.svc.cluster.local"}}}, pasted)
		}), Want: wants(checkstest.Want{Excerpt: "OOMKilled"})},

		{Name: "all is well", Request: ofPod, Put: inCluster(pods(pod()), nil, nil)},
		{Name: "the application was killed", Request: ofPod, Put: inCluster(pods(pod(status("app", running(401), restarted(3, killed)))), nil, nil)},
		{Name: "ended by its liveness probe", Request: ofPod, Put: inCluster(pods(pod(status("istio-proxy", running(401), restarted(3, terminated(3, 400, 137, "Error"))))), nil, nil)},
		{Name: "logs alone", Request: ofFiles, Put: logged(), Outcome: diagnose.OutcomeSkipped},
		{Name: "denied", Request: ofPod, Put: deny(evidence.Pods.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Request: ofPod, Put: late(evidence.Pods.Name()), Outcome: diagnose.OutcomeInconclusive},
	})
}

func TestDouble(t *testing.T) {
	for in, want := range map[string]string{"512Mi": "1024Mi", "1Gi": "2Gi", "134217728": "268435456", "1.5Gi": "", "": "", "0": "", "Mi": ""} {
		has(t, in, double(in), want)
	}
}
