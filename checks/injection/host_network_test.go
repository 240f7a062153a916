package injection

import (
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

func TestHostNetwork(t *testing.T) {
	rest := all(hooks(injector("default")), spaces(shop("istio-injection", "enabled")))
	checkstest.Run(t, HostNetwork, append([]checkstest.Case{
		{Name: "a pod asked about", Request: ofPod, Put: all(rest, pods(pod(onHostNetwork))), Want: []checkstest.Want{{Subject: "pod shop/checkout", Confidence: diagnose.Confirmed, Severity: diagnose.Blocking, Excerpt: "hostNetwork: true"}}},
		{Name: "a template asked about", Request: ofWorkload, Put: all(rest, pods(), workloads(deployment(onHostNetwork))), Want: []checkstest.Want{{Subject: "the template of Deployment shop/checkout"}}},
		{Name: "it asks for a sidecar itself", Request: ofNamespace, Put: all(rest, pods(pod(onHostNetwork, label("sidecar.istio.io/inject", "true")))), Want: []checkstest.Want{{Severity: diagnose.Blocking}}},
		{Name: "with the symptom", Request: ofSymptom, Put: all(rest, pods(pod(onHostNetwork))), Want: []checkstest.Want{{Severity: diagnose.Advice}}},
		{Name: "as kubectl describe shows it", Request: ofPod, Put: all(rest, pods(pod(func(p *kube.Pod) { p.Described, p.Status.PodIP = true, p.Status.HostIP }))), Want: []checkstest.Want{{}}},
		{Name: "webhooks aren't known", Request: ofPod, Put: all(pods(pod(onHostNetwork)), deny("mutating-webhooks"), deny("namespaces")), Want: []checkstest.Want{{}}},

		{Name: "nobody asks", Request: ofNamespace, Put: all(rest, pods(pod(onHostNetwork)))},
		{Name: "in files", Request: ofFiles, Put: all(rest, pods(pod(onHostNetwork)))},
		{Name: "on a network of its own", Request: ofPod, Put: all(rest, pods(pod(sidecar)))},
		{Name: "with a proxy all the same", Request: ofPod, Put: all(rest, pods(pod(onHostNetwork, sidecar)))},
	}, unseen()...))
}
