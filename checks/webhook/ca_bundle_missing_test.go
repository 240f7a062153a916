package webhook

import (
	"testing"
	"time"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

// role is istiod's ClusterRole, with verbs on webhook configurations.
func role(verbs ...string) put {
	r := kube.ClusterRole{Meta: kube.Meta{Name: "istiod-clusterrole-istio-system", Labels: map[string]string{"app": "istiod"}}}
	r.Rules = []kube.PolicyRule{{Verbs: []string{"get", "list"}, APIGroups: []string{""}, Resources: []string{"pods"}}}
	if len(verbs) > 0 {
		r.Rules = append(r.Rules, kube.PolicyRule{Verbs: verbs, APIGroups: []string{"admissionregistration.k8s.io"}, Resources: []string{"mutatingwebhookconfigurations", "validatingwebhookconfigurations"}})
	}
	return whole(evidence.ClusterRoles, "", r)
}

func TestCABundleMissing(t *testing.T) {
	const unknown = "tls: failed to verify certificate: x509: certificate signed by unknown authority"
	forbidden := "2022-06-06T07:14:09.419199Z\terror\tpatching webhook istio-sidecar-injector failed: mutatingwebhookconfigurations.admissionregistration.k8s.io \"istio-sidecar-injector\" is forbidden: User \"system:serviceaccount:istio-system:istiod\" cannot patch resource"
	second := func(c *kube.WebhookConfiguration) { c.Webhooks[1].Client.CABundle = kube.Bundle{} }
	checkstest.Run(t, CABundleMissing, []checkstest.Case{
		{Name: "empty", Request: ofShop, Put: well(injector("", entriesWith(empty)), validator("")), Want: []checkstest.Want{{
			Key: "", Confidence: diagnose.Confirmed, Severity: diagnose.Blocking, Subject: "webhook namespace.sidecar-injector.istio.io of service istio-system/istiod",
			Summary: "The caBundle of " + hookName + " of istio-sidecar-injector and of 1 entry more is empty", Params: map[string]string{"deployment": "istiod", "configuration": "istio-sidecar-injector"}}}},
		{Name: "the second entry alone", Request: ofShop, Put: well(injector("", second)), Want: []checkstest.Want{{Summary: "The caBundle of namespace.sidecar-injector.istio.io of istio-sidecar-injector is empty"}}},
		{Name: "and the event", Request: ofShop, Put: all(hooks(injector("", entriesWith(empty))), plane(""), injected, event(time.Minute, call+unknown)), Want: []checkstest.Want{{Subject: ofIstiod, Excerpt: unknown, Confidence: diagnose.Confirmed}}},
		{Name: "the label is of another revision", Request: ofShop, Put: well(injector("", entriesWith(empty), func(c *kube.WebhookConfiguration) { c.Labels["istio.io/rev"] = "asm-1234-7" })), Want: []checkstest.Want{{
			Summary: "its label istio.io/rev is asm-1234-7, and istiod runs of default", Params: map[string]string{"label": "asm-1234-7", "running": "default"}}}},
		{Name: "no label", Request: ofShop, Put: well(injector("", entriesWith(empty), func(c *kube.WebhookConfiguration) { delete(c.Labels, "istio.io/rev") })), Want: []checkstest.Want{{Params: map[string]string{"label": "none"}}}},
		{Name: "no right to write it", Request: ofShop, Put: all(well(injector("", entriesWith(empty))), role("get", "list", "watch")), Want: []checkstest.Want{{
			Summary: "ClusterRole istiod-clusterrole-istio-system does not let istiod patch it", Params: map[string]string{"role": "istiod-clusterrole-istio-system"}}}},
		{Name: "all rights", Request: ofShop, Put: all(well(injector("", entriesWith(empty))), role("*")), Want: []checkstest.Want{{Params: map[string]string{"lacks": ""}}}},
		{Name: "a validator that was never filled in", Request: ofShop, Put: well(injector(""), validator("", entriesWith(empty), entriesWith(ignored))), Want: []checkstest.Want{{Key: "webhooks/istio-validator-istio-system", Severity: diagnose.Advice}}},
		{Name: "as kubectl prints it", Put: hookFile(injector("", entriesWith(empty))), Want: []checkstest.Want{{Confidence: diagnose.Confirmed, Severity: diagnose.Blocking}}},
		{Name: "a manifest", Put: hookFile(injector("", entriesWith(empty), template)), Want: []checkstest.Want{{Key: "webhooks/istio-sidecar-injector", Confidence: diagnose.Possible, Severity: diagnose.Advice, Summary: "leaves caBundle empty"}}},
		{Name: "what helm template prints, and the message", Put: all(hookFile(injector("", entriesWith(empty), template)), file(evidence.ControlPlaneWorkloads, toApply(deployment("istiod", "default"))), text(call+unknown)),
			Want: []checkstest.Want{{Subject: ofIstiod, Confidence: diagnose.Likely, Severity: diagnose.Blocking}}},
		{Name: "a manifest beside another revision's", Put: all(hookFile(injector("", entriesWith(empty), template)), file(evidence.ControlPlaneWorkloads, toApply(deployment("istiod-old", "old")))), Want: []checkstest.Want{{Severity: diagnose.Advice}}},
		{Name: "a manifest, and the message", Put: all(hookFile(injector("", entriesWith(empty), template)), text(call+unknown)), Want: []checkstest.Want{{Subject: ofIstiod, Confidence: diagnose.Likely, Severity: diagnose.Blocking}}},
		{Name: "istiod may not write it", Put: text(forbidden), Want: []checkstest.Want{{Subject: "webhook istio-sidecar-injector", Summary: "can't be given its caBundle by istiod", Confidence: diagnose.Likely}}},
		{Name: "another one's, which keeps pods from being made", Request: ofShop, Put: all(hooks(certManager("pods", entriesWith(empty))), injected, quiet()), Want: []checkstest.Want{{Subject: ofManager, Severity: diagnose.Blocking, Summary: "not the mesh's"}}},

		{Name: "filled in", Request: ofShop, Put: well(injector(""), validator(""))},
		{Name: "managed", Request: ofShop, Put: all(hooks(managedInjector()), injected, quiet())},
		{Name: "managed, in a file", Put: hookFile(managedInjector())},
		{Name: "a validator just installed", Request: ofShop, Put: well(injector(""), validator("", entriesWith(empty), entriesWith(ignored), age(2*time.Minute)))},
		{Name: "what helm template prints", Put: all(hookFile(injector("", entriesWith(empty), template)), file(evidence.ControlPlaneWorkloads, toApply(deployment("istiod", "default"))))},
		{Name: "a validator's manifest", Put: hookFile(validator("", entriesWith(empty), entriesWith(ignored), template))},
		{Name: "istiod does not run", Request: ofShop, Put: all(hooks(injector("", entriesWith(empty))), injected, quiet(), whole(evidence.ClusterServices, "istio-system", service("istio-system", "istiod")), whole[kube.EndpointSlice](evidence.EndpointSlices, "istio-system"))},
		{Name: "another one's, for its own objects", Request: ofShop, Put: all(hooks(certManager("certificates", entriesWith(empty))), injected, quiet())},
		{Name: "another one's manifest", Put: hookFile(certManager("pods", entriesWith(empty), template))},
		{Name: "the message alone", Put: text(call + unknown)},
		{Name: "a conflict is tried again", Put: text("error\tpatching webhook istio-sidecar-injector failed: Operation cannot be fulfilled on mutatingwebhookconfigurations.admissionregistration.k8s.io \"istio-sidecar-injector\": the object has been modified")},
		{Name: "denied", Request: ofShop, Put: all(quiet(), fail(evidence.MutatingWebhooks.Name(), evidence.ValidatingWebhooks.Name())), Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Request: ofShop, Put: all(quiet(), late(evidence.MutatingWebhooks.Name())), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Outcome: diagnose.OutcomeSkipped},
	})
}
