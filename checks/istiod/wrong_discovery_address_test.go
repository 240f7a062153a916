package istiod

import (
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

const (
	noUpstream = "[warning][config] StreamAggregatedResources gRPC config stream closed: 14, no healthy upstream"
	notYet     = "2020-06-29T23:37:30.1Z\tinfo\tEnvoy proxy is NOT ready: config not received from Pilot (is Pilot running?): cds updates: 0 successful, 0 rejected; lds updates: 0 successful, 0 rejected"
	noHost     = "2024-06-27T15:00:06.433000Z\terror\txdsproxy\tfailed to connect to upstream istiod-old.istio-system.svc:15012: rpc error: code = Unavailable desc = connection error: desc = \"transport: Error while dialing: dial tcp: lookup istiod-old.istio-system.svc on 10.64.0.10:53: no such host\""
	isReady    = "2020-06-29T23:37:40.1Z\tinfo\tEnvoy proxy is ready"
)

// mesh is the mesh's ConfigMap with a discovery address.
func mesh(name, discovery string) kube.ConfigMap {
	return kube.ConfigMap{Meta: kube.Meta{Name: name, Namespace: "istio-system"}, Data: map[string]string{"mesh": "accessLogFile: /dev/stdout\ndefaultConfig:\n  # discoveryAddress: old.istio-system.svc:15012\n  discoveryAddress: " + discovery + "\n  tracing: {}\n"}}
}

func TestWrongDiscoveryAddress(t *testing.T) {
	services := live(evidence.ClusterServices, service("istiod", 15010, 15012, 443, 15014))
	const wrong = "istiod-asm-1234-1.istio-system.svc:15012"
	checkstest.Run(t, WrongDiscoveryAddress, []checkstest.Case{
		{
			Name: "the mesh's", Request: ofNamespace, Put: all(services, live(evidence.ConfigMaps, mesh("istio", wrong))),
			Want: []checkstest.Want{{Subject: "ConfigMap istio-system/istio", Confidence: diagnose.Confirmed,
				Summary: "ConfigMap istio-system/istio sends proxies to istiod at istiod-asm-1234-1.istio-system.svc:15012, and Service istio-system/istiod-asm-1234-1 does not exist.",
				Params:  map[string]string{"right": "istiod.istio-system.svc:15012", "configmap": "istio"}}},
		},
		{
			Name: "the mesh's, quoted, with the domain, and what the proxy says", Request: ofPod,
			Put: all(services, live(evidence.ConfigMaps, mesh("istio", `"istiod-old.istio-system.svc.cluster.local:15012"`)),
				logs(said(messages.StreamClosed, "proxy.log", noUpstream))),
			Want: []checkstest.Want{{Summary: "Service istio-system/istiod-old does not exist", Excerpt: "no healthy upstream"}},
		},
		{
			Name: "another port", Request: ofNamespace, Put: all(services, live(evidence.ConfigMaps, mesh("istio", "istiod.istio-system.svc:15011"))),
			Want: []checkstest.Want{{Summary: "Service istio-system/istiod has no port 15011 (it has 15010, 15012, 443, 15014)"}},
		},
		{
			Name: "a pod's annotation", Request: ofPod,
			Put: all(services, live(evidence.ConfigMaps, mesh("istio", "istiod.istio-system.svc:15012")), live(evidence.Pods, app(annotation("proxy.istio.io/config", `{"discoveryAddress": "`+wrong+`"}`)))),
			Want: []checkstest.Want{{Subject: "pod shop/checkout-6d5f-x2x9k", Key: "", Summary: "Pod shop/checkout-6d5f-x2x9k sends", Confidence: diagnose.Confirmed,
				Params: map[string]string{"annotated": "deployment/checkout", "app_workload": "deployment/checkout"}}},
		},
		{
			Name: "the pods' environment", Request: ofNamespace,
			Put:  all(services, live(evidence.Pods, app(environ(wrong)), app(named("checkout-6d5f-aaaaa"), environ(wrong)), app(named("checkout-6d5f-bbbbb"), environ("istiod.istio-system.svc:15012")))),
			Want: []checkstest.Want{{Subject: "2 pods of Deployment shop/checkout", Key: "workloads/Deployment/checkout", Excerpt: "PROXY_CONFIG of container istio-proxy"}},
		},
		{
			Name: "a template", Request: diagnose.Request{Target: diagnose.Target{Namespace: "shop", Workload: "Deployment/checkout"}},
			Put: all(services, live[kube.Pod](evidence.Pods), live(evidence.Workloads, kube.Workload{Kind: "Deployment", Meta: kube.Meta{Name: "checkout", Namespace: "shop"},
				Spec: kube.WorkloadSpec{Template: kube.Pod{Meta: kube.Meta{Annotations: map[string]string{"proxy.istio.io/config": "discoveryAddress: " + wrong}}}}})),
			Want: []checkstest.Want{{Subject: "the template of Deployment shop/checkout"}},
		},
		{
			Name: "the ConfigMap of a revision that isn't the namespace's", Request: ofNamespace,
			Put: all(services, live(evidence.MutatingWebhooks, injector("default")), live(evidence.Namespaces, space("shop", "default")),
				live(evidence.ConfigMaps, mesh("istio", "istiod.istio-system.svc:15012"), mesh("istio-asm-1234-1", wrong))),
			Want: []checkstest.Want{{Subject: "ConfigMap istio-system/istio-asm-1234-1", Key: "configmaps/istio-asm-1234-1"}},
		},
		{
			Name: "as guides quote it", Request: ofFiles, Put: logs(said(messages.StreamClosed, "text", "gRPC config stream closed, no healthy upstream라는 로그가 표시되면")),
			Want: []checkstest.Want{{Confidence: diagnose.Possible, Summary: "its discovery address may name a Service that does not exist"}},
		},
		{
			Name: "a log: a name that doesn't resolve", Request: ofFiles, Put: logs(said(messages.AgentUpstreamFailed, "proxy.log", noHost)),
			Want: []checkstest.Want{{Confidence: diagnose.Likely, Summary: "The proxy looks for istiod at istiod-old.istio-system.svc, a name that does not resolve."}},
		},
		{
			Name: "a log, and the Services", Request: ofPod, Put: all(services, logs(said(messages.AgentUpstreamFailed, "proxy.log", noHost))),
			Want: []checkstest.Want{{Confidence: diagnose.Likely, Summary: "and Service istio-system/istiod-old does not exist."}},
		},
		{
			Name: "a log: no upstream", Request: ofFiles, Put: logs(said(messages.StreamClosed, "proxy.log", noUpstream), said(messages.ProxyNotReady, "proxy.log", notYet)),
			Want: []checkstest.Want{{Confidence: diagnose.Possible, Summary: "finds no upstream for its control plane"}},
		},
		{
			Name: "two logs", Request: ofFiles, Put: logs(said(messages.AgentUpstreamFailed, "a.log", noHost), said(messages.ProxyNotReady, "b.log", notYet)),
			Want: []checkstest.Want{{Key: "files/a.log", Subject: "the proxy that wrote a.log"}},
		},

		{Name: "right", Request: ofNamespace, Put: all(services, live(evidence.ConfigMaps, mesh("istio", "istiod.istio-system.svc:15012")))},
		{Name: "right, without svc", Request: ofNamespace, Put: all(services, live(evidence.ConfigMaps, mesh("istio", "istiod.istio-system:15012")))},
		{Name: "Google's", Request: ofNamespace, Put: all(services, live(evidence.ConfigMaps, mesh("injector-mesh", "trafficdirector.googleapis.com:443")))},
		{Name: "an address", Request: ofNamespace, Put: all(services, live(evidence.ConfigMaps, mesh("istio", "10.0.0.4:15012")))},
		{Name: "another cluster's", Request: ofNamespace, Put: all(services, live(evidence.ConfigMaps, mesh("istio", "istiod.mesh.example.com:15012")))},
		{Name: "none set", Request: ofNamespace, Put: all(services, live(evidence.ConfigMaps, kube.ConfigMap{Meta: kube.Meta{Name: "istio", Namespace: "istio-system"}, Data: map[string]string{"mesh": "defaultConfig:\n  proxyMetadata: {}\n"}}))},
		{Name: "commented out", Request: ofNamespace, Put: all(services, live(evidence.ConfigMaps, kube.ConfigMap{Meta: kube.Meta{Name: "istio", Namespace: "istio-system"}, Data: map[string]string{"mesh": "defaultConfig:\n  #discoveryAddress: " + wrong + "\n"}}))},
		{Name: "no upstream, and the address is right", Request: ofPod, Put: all(services, live(evidence.ConfigMaps, mesh("istio", "istiod.istio-system.svc:15012")), logs(said(messages.StreamClosed, "proxy.log", noUpstream), said(messages.ProxyNotReady, "proxy.log", notYet)))},
		{Name: "no upstream, and it is ready later", Request: ofFiles, Put: logs(said(messages.StreamClosed, "proxy.log", noUpstream), said(messages.ProxyNotReady, "proxy.log", notYet), said(messages.ProxyReady, "proxy.log", isReady, at(90, 90)))},
		{Name: "no upstream, of an Envoy of nobody's", Request: ofFiles, Put: logs(said(messages.StreamClosed, "proxy.log", noUpstream))},
		{Name: "connected later", Request: ofFiles, Put: logs(said(messages.AgentUpstreamFailed, "proxy.log", noHost), said(messages.AgentUpstreamConnected, "proxy.log", "connected to upstream XDS server: istiod-old.istio-system.svc:15012", at(40, 40)))},
		{Name: "the name is right and doesn't resolve", Request: ofPod, Put: all(live(evidence.ClusterServices, service("istiod-old", 15012)), logs(said(messages.AgentUpstreamFailed, "proxy.log", noHost)))},
		{Name: "Google's name doesn't resolve", Request: ofFiles, Put: logs(said(messages.HostNotFound, "proxy.log", `connection error: desc = "transport: error while dialing: dial tcp: lookup trafficdirector.googleapis.com: no such host"`))},
		{Name: "managed", Request: ofPod, Put: all(services, live(evidence.MutatingWebhooks, managedInjector()), live(evidence.ConfigMaps, mesh("istio", wrong))), Outcome: diagnose.OutcomeSkipped},
		{Name: "Services that aren't known", Request: ofFiles, Put: file(evidence.ConfigMaps, mesh("istio", wrong)), Outcome: diagnose.OutcomeSkipped, Reason: "the Services of namespace istio-system aren't known"},
		{Name: "Services denied", Request: ofPod, Put: all(deny(evidence.ClusterServices.Name()), live(evidence.ConfigMaps, mesh("istio", wrong))), Outcome: diagnose.OutcomeInconclusive, Reason: "cluster-services"},
		{Name: "ConfigMaps denied", Request: ofPod, Put: all(services, deny(evidence.ConfigMaps.Name())), Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Request: ofPod, Put: all(services, late(evidence.ConfigMaps.Name())), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Request: ofFiles, Outcome: diagnose.OutcomeSkipped},
	})
}

func environ(discovery string) func(*kube.Pod) {
	return func(p *kube.Pod) {
		p.Spec.Containers[1].Env = []kube.EnvVar{{Name: "PROXY_CONFIG", Value: `{"discoveryAddress":"` + discovery + `","proxyMetadata":{}}`}}
	}
}
