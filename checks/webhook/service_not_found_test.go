package webhook

import (
	"testing"
	"time"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

func TestServiceNotFound(t *testing.T) {
	const reason = `service "istiod" not found`
	none := whole[kube.Service](evidence.ClusterServices, "istio-system")
	noPlane := whole[kube.Workload](evidence.ControlPlaneWorkloads, "")
	external := service("istio-system", "istiod", func(s *kube.Service) {
		s.Spec.Type, s.Spec.ExternalName, s.Spec.Ports = "ExternalName", "istiod.example.com", nil
	})
	checkstest.Run(t, ServiceNotFound, []checkstest.Case{
		{Name: "no Service, and a Deployment", Request: ofShop, Put: all(hooks(injector("")), injected, quiet(), none, whole(evidence.ControlPlaneWorkloads, "", deployment("istiod", "default"))), Want: []checkstest.Want{{
			Subject: "of service istio-system/istiod", Confidence: diagnose.Confirmed, Severity: diagnose.Blocking, Summary: "Service istio-system/istiod does not exist.", Excerpt: "Services of namespace istio-system: none"}}},
		{Name: "no control plane at all", Request: ofShop, Put: all(hooks(injector("")), injected, quiet(), none, noPlane), Want: []checkstest.Want{{Summary: "does not exist, and no control plane runs in its namespace"}}},
		{Name: "Deployments denied", Request: ofShop, Put: all(hooks(injector("")), injected, quiet(), none, fail(evidence.ControlPlaneWorkloads.Name())), Want: []checkstest.Want{{Confidence: diagnose.Confirmed}}},
		{Name: "another port", Request: ofShop, Put: all(hooks(injector("", entriesWith(func(w *kube.Webhook) { p := 15017; w.Client.Service.Port = &p }))), injected, quiet(), whole(evidence.ClusterServices, "istio-system", service("istio-system", "istiod"))),
			Want: []checkstest.Want{{Summary: "Service istio-system/istiod has no port 15017", Params: map[string]string{"unusable": "yes"}, Excerpt: "443 https-webhook"}}},
		{Name: "ExternalName", Request: ofShop, Put: all(hooks(injector("")), injected, quiet(), whole(evidence.ClusterServices, "istio-system", external)), Want: []checkstest.Want{{Summary: "is an ExternalName (istiod.example.com)"}}},
		{Name: "and the event", Request: ofShop, Put: all(hooks(injector("")), injected, none, noPlane, event(time.Minute, call+reason)), Want: []checkstest.Want{{Subject: ofIstiod, Confidence: diagnose.Confirmed, Excerpt: reason}}},
		{Name: "text alone", Put: text(call + reason), Want: []checkstest.Want{{Subject: ofIstiod, Confidence: diagnose.Likely, Severity: diagnose.Blocking, Params: map[string]string{"service": "istiod", "service_namespace": "istio-system", "webhook": hookName}}}},
		{Name: "text: no such port", Put: text(call + `no service port 443 found for service "istiod"`), Want: []checkstest.Want{{Subject: ofIstiod, Summary: "no service port 443"}}},
		{Name: "text: wrong type", Put: text(call + `unsupported service type "ExternalName"`), Want: []checkstest.Want{{Subject: ofIstiod}}},
		{Name: "text: a capital, as guides print it", Put: text(call + `Service "istiod" not found`), Want: []checkstest.Want{{Subject: ofIstiod, Summary: `"Service "istiod" not found"`}}},
		{Name: "the reason alone", Put: text(`Service "istiod" not found 이 오류는 Istio 서비스가 없는 경우 발생할 수 있습니다.`), Want: []checkstest.Want{{
			Subject: "a webhook of service istio-system/istiod", Confidence: diagnose.Likely, Severity: diagnose.Blocking, Params: map[string]string{"service": "istiod", "service_namespace": "istio-system"}}}},
		{Name: "text of another one's", Put: text(certCall + `service "cert-manager-webhook" not found`), Want: []checkstest.Want{{Subject: ofManager, Severity: diagnose.Blocking, Summary: "not the mesh's"}}},
		{Name: "the injector's failures are ignored", Request: ofShop, Put: all(hooks(injector("", entriesWith(ignored))), injected, quiet(), none, noPlane), Want: []checkstest.Want{{Severity: diagnose.Degrading}}},
		{Name: "a validator alone", Request: ofShop, Put: all(hooks(validator("")), injected, quiet(), none, noPlane), Want: []checkstest.Want{{Key: "webhooks/istio-validator-istio-system", Severity: diagnose.Degrading, Params: map[string]string{"configuration_kind": "validatingwebhookconfiguration"}}}},

		{Name: "all well", Request: ofShop, Put: well(injector(""), validator(""))},
		{Name: "what kubectl says of a name", Put: text(`Error from server (NotFound): services "istiod" not found`)},
		{Name: "the reason alone, of another Service", Put: text(`service "cart" not found`)},
		{Name: "the reason alone, beside webhooks", Request: ofShop, Put: all(well(injector("")), text(reason))},
		{Name: "the reason alone, of a live log", Request: ofShop, Put: logOf(live, seen, reason)},
		{Name: "managed", Request: ofShop, Put: all(hooks(managedInjector()), injected, quiet(), none)},
		{Name: "the managed control plane's call", Put: text(`failed calling webhook "rev.namespace.sidecar-injector.istio.io": failed to call webhook: Post "https://istiod-asm-managed.example.run.app:443/inject?timeout=10s": service "x" not found`)},
		{Name: "of a revision that is gone", Request: ofShop, Put: all(hooks(injector("old")), injected, quiet(), plane(""))},
		{Name: "there by now", Request: ofShop, Put: all(hooks(injector("")), injected, plane(""), event(10*time.Minute, call+reason))},
		{Name: "the webhook is gone by now", Request: ofShop, Put: all(hooks(), injected, event(10*time.Minute, call+reason))},
		{Name: "deactivated", Request: ofShop, Put: all(hooks(injector("", entriesWith(func(w *kube.Webhook) {
			w.NamespaceSelector = &kube.Selector{MatchLabels: map[string]string{"istio.io/deactivated": "never-match"}}
		}))), injected, quiet(), none, noPlane)},
		{Name: "Services of another namespace alone", Request: ofShop, Put: all(hooks(injector("")), injected, quiet(), whole[kube.Service](evidence.ClusterServices, "shop")), Outcome: diagnose.OutcomeInconclusive, Reason: "Services of namespace istio-system were not all read"},
		{Name: "Services denied", Request: ofShop, Put: all(hooks(injector("")), injected, quiet(), fail(evidence.ClusterServices.Name())), Outcome: diagnose.OutcomeInconclusive, Reason: "cluster-services"},
		{Name: "late", Request: ofShop, Put: all(hooks(injector("")), injected, quiet(), late(evidence.ClusterServices.Name())), Outcome: diagnose.OutcomeInconclusive},
		{Name: "files without the Service prove nothing", Put: all(hookFile(injector("")), file(evidence.ClusterServices, service("istio-system", "other"))), Outcome: diagnose.OutcomeSkipped, Reason: "files given"},
		{Name: "not asked", Outcome: diagnose.OutcomeSkipped},
	})
}
