package istiod

import (
	"testing"
	"time"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

func TestConfigRejected(t *testing.T) {
	waiting := func(text string, change ...func(*evidence.LogMessage)) evidence.LogMessage {
		return said(messages.ProxyNotReady, "proxy.log", text, change...)
	}
	minutes := span(5*time.Minute, time.Second)
	lds := unready12(rejected, 1, 0, 0, 1)
	nack := said(messages.EnvoyConfigRejected, "proxy.log", "[warning][config] gRPC config for type.googleapis.com/envoy.config.listener.v3.Listener rejected: Error adding/updating listener(s) 0.0.0.0_80: bad")
	istiodSays := said(messages.IstiodNack, "istiod.log", "2023-04-18T07:27:54.016482Z\twarn\tads\tADS:LDS: ACK ERROR sidecar~10.8.0.5~checkout-6d5f-x2x9k.shop~shop.svc.cluster.local-12 Internal:Error adding/updating listener(s) 0.0.0.0_80: bad")
	dump := func(node string) put {
		return func(s *evidence.Set) {
			evidence.Put(s, evidence.ClientStatuses, []evidence.ClientStatus{{Client: evidence.Client{NodeID: node}, Resources: []evidence.Resource{{TypeURL: "type.googleapis.com/envoy.config.listener.v3.Listener", Name: "0.0.0.0_80", Reason: "bad"}}}}, pasted)
		}
	}
	const node = "sidecar~10.8.0.5~checkout-6d5f-x2x9k.shop~shop.svc.cluster.local"
	checkstest.Run(t, ConfigRejected, []checkstest.Case{
		{
			Name: "listeners, since 1.12", Request: ofFiles, Put: logs(waiting(lds)),
			Want: []checkstest.Want{{Subject: "the proxy that wrote proxy.log", Confidence: diagnose.Likely, Severity: diagnose.Blocking, Summary: "rejected 1 update of listeners (LDS) from istiod"}},
		},
		{
			Name: "listeners, before 1.12", Request: ofFiles, Put: logs(waiting(unready11(1, 0, 0, 3), times(100), minutes)),
			Want: []checkstest.Want{{Summary: "rejected 3 updates of listeners (LDS) from istiod, said 100 times over 4m59s"}},
		},
		{
			Name: "clusters and listeners", Request: ofFiles, Put: logs(waiting(unready12(rejected, 0, 2, 0, 1))),
			Want: []checkstest.Want{{Summary: "1 update of listeners (LDS) and 2 updates of clusters (CDS)"}},
		},
		{
			Name: "without counts", Request: ofFiles, Put: logs(waiting("Envoy proxy is NOT ready: config received from XDS server, but was rejected")),
			Want: []checkstest.Want{{Summary: "configuration of a type that the line does not tell"}},
		},
		{
			Name: "live", Request: ofPod, Put: all(live(evidence.Pods, app()), logs(waiting(lds, liveLog, times(10), minutes))),
			Want: []checkstest.Want{{Subject: "the proxy of pod shop/checkout-6d5f-x2x9k", Params: map[string]string{"pod": "checkout-6d5f-x2x9k"}}},
		},
		{
			Name: "another proxy's dump tells", Request: ofPod, Put: all(dump("sidecar~10.8.0.9~cart-1.shop~shop.svc.cluster.local"), logs(waiting(lds, liveLog))),
			Want: []checkstest.Want{{Summary: "rejected"}},
		},

		{Name: "the log tells what", Request: ofFiles, Put: logs(waiting(lds), nack), Outcome: diagnose.OutcomeSkipped, Reason: "xds/config-rejected"},
		{Name: "istiod's log tells what", Request: ofPod, Put: logs(waiting(lds, liveLog), istiodSays), Outcome: diagnose.OutcomeSkipped},
		{Name: "the proxy's dump tells what", Request: ofPod, Put: all(dump(node), logs(waiting(lds, liveLog))), Outcome: diagnose.OutcomeSkipped},
		{Name: "ready later", Request: ofFiles, Put: logs(waiting(lds), said(messages.ProxyReady, "proxy.log", isReady, at(20, 20)))},
		{Name: "ready by now", Request: ofPod, Put: all(live(evidence.Pods, app(proxyReady)), logs(waiting(lds, liveLog)))},
		{Name: "nothing came", Request: ofFiles, Put: logs(waiting(unready12(nothing, 0, 0, 0, 0), times(100), minutes))},
		{Name: "rejected once, and a later line counts none", Request: ofFiles, Put: logs(waiting(lds), waiting(unready12(partly, 1, 0, 0, 0), at(30, 30)))},
		{Name: "Google's", Request: ofFiles, Put: logs(waiting(lds), said(messages.AgentUpstreamConnected, "proxy.log", "connected to upstream XDS server: trafficdirector.googleapis.com:443")), Outcome: diagnose.OutcomeSkipped},
		{Name: "not asked", Request: ofFiles, Outcome: diagnose.OutcomeSkipped},
		{Name: "denied", Request: ofPod, Put: deny(evidence.LogMessages.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Request: ofPod, Put: late(evidence.LogMessages.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "two addresses", Request: diagnose.Request{Target: diagnose.Target{Namespace: "shop", Workload: "Deployment/checkout"}}, Put: all(live[kube.Pod](evidence.Pods), live[kube.Workload](evidence.Workloads), live(evidence.Namespaces, space("shop", "default")),
			live(evidence.ConfigMaps, mesh("istio", "istiod.istio-system.svc:15012"), mesh("istio-a", "istiod-a.istio-system.svc:15012")), logs(waiting(unready12(nothing, 0, 0, 0, 0), liveLog)))},
	})
}
