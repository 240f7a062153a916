package istiod

import (
	"fmt"
	"testing"
	"time"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

// unready11 and unready12 are the readiness line before and since Istio 1.12, with its counts.
func unready11(clusters, clustersNo, listeners, listenersNo int) string {
	return "2019-05-10T04:56:28.765214Z\tinfo\tEnvoy proxy is NOT ready: config not received from Pilot (is Pilot running?)" + updates(clusters, clustersNo, listeners, listenersNo)
}

func unready12(how string, clusters, clustersNo, listeners, listenersNo int) string {
	return "2022-06-06T07:14:09.419199Z\twarn\tEnvoy proxy is NOT ready: " + how + updates(clusters, clustersNo, listeners, listenersNo)
}

const (
	nothing  = "config not received from XDS server (is Istiod running?)"
	partly   = "config not fully received from XDS server"
	rejected = "config received from XDS server, but was rejected"
)

func updates(clusters, clustersNo, listeners, listenersNo int) string {
	return fmt.Sprintf(": cds updates: %d successful, %d rejected; lds updates: %d successful, %d rejected", clusters, clustersNo, listeners, listenersNo)
}

// proxyStarted says since when the pod's proxy has been running.
func proxyStarted(ago time.Duration) func(*kube.Pod) {
	return func(p *kube.Pod) { p.Status.Containers[1].State.Running.Started = noon.Add(-ago) }
}

func TestConfigNotReceived(t *testing.T) {
	waiting := func(text string, change ...func(*evidence.LogMessage)) evidence.LogMessage {
		return said(messages.ProxyNotReady, "proxy.log", text, change...)
	}
	minutes := span(5*time.Minute, time.Second)
	none := unready12(nothing, 0, 0, 0, 0)
	google := said(messages.AgentUpstreamFailed, "proxy.log", "error\txdsproxy\tfailed to connect to upstream meshconfig.googleapis.com:443: rpc error: code = Unavailable desc = connection closed")
	checkstest.Run(t, ConfigNotReceived, []checkstest.Case{
		{
			Name: "nothing, before 1.12", Request: ofFiles, Put: logs(waiting(unready11(0, 0, 0, 0), times(100), minutes)),
			Want: []checkstest.Want{{Subject: "the proxy that wrote proxy.log", Confidence: diagnose.Likely, Severity: diagnose.Blocking,
				Summary: "The proxy that wrote proxy.log has received nothing from istiod (updates taken: 0 of clusters, 0 of listeners), said 100 times over 4m59s."}},
		},
		{
			Name: "nothing, since 1.12", Request: ofFiles, Put: logs(waiting(none, times(40))),
			Want: []checkstest.Want{{Confidence: diagnose.Likely, Summary: "has received nothing from istiod"}},
		},
		{
			Name: "one line alone", Request: ofFiles, Put: logs(waiting(none)),
			Want: []checkstest.Want{{Confidence: diagnose.Possible}},
		},
		{
			Name: "a part, since 1.12", Request: ofFiles, Put: logs(waiting(unready12(partly, 1, 0, 0, 0), times(100), minutes)),
			Want: []checkstest.Want{{Summary: "has received only a part of its configuration from istiod, and no listeners (updates taken: 1 of clusters, 0 of listeners)", Params: map[string]string{"part": "yes"}}},
		},
		{
			Name: "a part, before 1.12", Request: ofFiles, Put: logs(waiting(unready11(1, 0, 0, 0), times(100), minutes)),
			Want: []checkstest.Want{{Summary: "only a part"}},
		},
		{
			Name: "without counts", Request: ofFiles, Put: logs(waiting("config not received from XDS server (is Istiod running?)", times(100), minutes)),
			Want: []checkstest.Want{{Summary: "has received nothing from istiod, said 100 times"}},
		},
		{
			Name: "live, the pod asked about", Request: ofPod, Put: all(live(evidence.Pods, app(proxyStarted(10*time.Minute))), logs(waiting(none, liveLog, times(100), minutes))),
			Want: []checkstest.Want{{Subject: "the proxy of pod shop/checkout-6d5f-x2x9k", Key: "", Confidence: diagnose.Likely, Params: map[string]string{"pod": "checkout-6d5f-x2x9k", "namespace": "shop"}}},
		},
		{
			Name: "live, a pod of the namespace, and why", Request: ofNamespace,
			Put: all(live(evidence.Pods, app(proxyStarted(10*time.Minute))), logs(waiting(none, liveLog, times(100), minutes),
				said(messages.AgentUpstreamFailed, "", "error\txdsproxy\tfailed to connect to upstream istiod.istio-system.svc:15012: context deadline exceeded", liveLog))),
			Want: []checkstest.Want{{Key: "workloads/Deployment/checkout", Summary: "its agent does not get through to istiod.istio-system.svc:15012: context deadline exceeded."}},
		},
		{
			Name: "Cloud Logging, a pod of which nothing else is known", Request: ofNamespace, Put: logs(waiting(none, liveLog, times(100), minutes, func(m *evidence.LogMessage) { m.File = "shop/old-1/istio-proxy" })),
			Want: []checkstest.Want{{Subject: "the proxy of pod shop/old-1", Key: "pods/old-1"}},
		},
		{
			Name: "it was ready, and waits again", Request: ofFiles, Put: logs(said(messages.ProxyReady, "proxy.log", isReady, at(3, 3), span(time.Hour, time.Hour)), waiting(none, times(100), minutes)),
			Want: []checkstest.Want{{Summary: "over 4m59s"}},
		},
		{
			Name: "a discovery address in the cluster", Request: ofPod, Put: all(live(evidence.ConfigMaps, mesh("istio", "istiod.istio-system.svc:15012")), live(evidence.Pods, app(environ("istiod.istio-system.svc:15012"))), logs(waiting(none, liveLog, times(100), minutes))),
			Want: []checkstest.Want{{}},
		},

		{Name: "ready later", Request: ofFiles, Put: logs(waiting(none, times(3), span(time.Minute, 50*time.Second)), said(messages.ProxyReady, "proxy.log", isReady, at(20, 20)))},
		{Name: "ready later, by its time", Request: ofFiles, Put: logs(waiting(none, times(3), span(time.Minute, 50*time.Second), at(0, 0)), said(messages.ProxyReady, "proxy.log", isReady, at(0, 0), span(time.Second, time.Second)))},
		{Name: "the first minute", Request: ofFiles, Put: logs(waiting(none, times(8), span(20*time.Second, time.Second)))},
		{Name: "the first minute, live", Request: ofPod, Put: all(live(evidence.Pods, app(proxyStarted(30*time.Second))), logs(waiting(none, liveLog, times(8), span(20*time.Second, time.Second))))},
		{Name: "the first minute, live, the pod not known", Request: ofPod, Put: logs(waiting(none, liveLog, times(8), span(20*time.Second, time.Second)))},
		{Name: "live, and ready by now", Request: ofPod, Put: all(live(evidence.Pods, app(proxyReady)), logs(waiting(none, liveLog, times(100), minutes)))},
		{Name: "the pod is gone", Request: ofNamespace, Put: all(live(evidence.Pods, app()), logs(waiting(none, liveLog, times(100), minutes, func(m *evidence.LogMessage) { m.File = "shop/old-1/istio-proxy" })))},
		{Name: "the pod is being deleted", Request: ofPod, Put: all(live(evidence.Pods, app(func(p *kube.Pod) { p.Deleted = noon })), logs(waiting(none, liveLog, times(100), minutes)))},
		{Name: "rejected, before 1.12", Request: ofFiles, Put: logs(waiting(unready11(1, 0, 0, 3), times(100), minutes))},
		{Name: "rejected, since 1.12", Request: ofFiles, Put: logs(waiting(unready12(rejected, 1, 0, 0, 1), times(100), minutes))},
		{Name: "not ready for another reason", Request: ofFiles, Put: logs(waiting("Envoy proxy is NOT ready: server is not live, current state is: INITIALIZING", times(100), minutes))},
		{Name: "Google's, by the agent's word", Request: ofFiles, Put: logs(waiting(none, times(100), minutes), google), Outcome: diagnose.OutcomeSkipped, Reason: "Google's"},
		{Name: "Google's, by the mesh's address", Request: ofPod, Put: all(live(evidence.ConfigMaps, mesh("istio", "trafficdirector.googleapis.com:443")), logs(waiting(none, liveLog, times(100), minutes))), Outcome: diagnose.OutcomeSkipped},
		{Name: "Google's, by the pod's annotation", Request: ofPod, Put: all(live(evidence.ConfigMaps, mesh("istio", "istiod.istio-system.svc:15012")), live(evidence.Pods, app(annotation("proxy.istio.io/config", "discoveryAddress: meshconfig.googleapis.com:443"))), logs(waiting(none, liveLog, times(100), minutes))), Outcome: diagnose.OutcomeSkipped},
		{Name: "Google's, by its injector", Request: ofPod, Put: all(live(evidence.MutatingWebhooks, managedInjector()), logs(waiting(none, liveLog, times(100), minutes))), Outcome: diagnose.OutcomeSkipped},
		{Name: "not asked", Request: ofFiles, Outcome: diagnose.OutcomeSkipped},
		{Name: "denied", Request: ofPod, Put: deny(evidence.LogMessages.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "one log denied", Request: ofPod, Put: all(deny(evidence.LogMessages.Name()), logs(said(messages.ProxyReady, "", isReady, liveLog))), Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Request: ofPod, Put: late(evidence.LogMessages.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "templates alone", Request: diagnose.Request{Target: diagnose.Target{Namespace: "shop", Workload: "Deployment/checkout"}}, Put: all(live[kube.Pod](evidence.Pods), live[kube.Workload](evidence.Workloads), live(evidence.Namespaces, space("shop", "default")),
			live(evidence.ConfigMaps, mesh("istio", "istiod.istio-system.svc:15012"), mesh("istio-a", "istiod-a.istio-system.svc:15012")), logs(waiting(none, liveLog, span(20*time.Second, time.Second))))},
	})
}
