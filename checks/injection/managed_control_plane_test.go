package injection

import (
	"strings"
	"testing"
	"time"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

func condition(severity, code, details, link string) func(*evidence.FleetMembership) {
	return func(m *evidence.FleetMembership) {
		m.Conditions = append(m.Conditions, evidence.FleetCondition{Code: code, Severity: severity, Details: details, Link: link})
	}
}

func revision(name string, list ...kube.Condition) put {
	r := kube.ControlPlaneRevision{Meta: kube.Meta{Name: name, Namespace: "istio-system"}}
	r.Status.Conditions = list
	return live(evidence.ControlPlaneRevisions, r)
}

func TestManagedControlPlane(t *testing.T) {
	const workloadIdentity = "NODEPOOL_WORKLOAD_IDENTITY_FEDERATION_REQUIRED"
	const link = "https://cloud.google.com/kubernetes-engine/docs/how-to/workload-identity"
	unknown := `an error on the server ("unknown") has prevented the request from succeeding`
	called := func(kv ...string) put {
		return logs(message(messages.WebhookCallFailed, "failed calling webhook", kv...))
	}
	checkstest.Run(t, ManagedControlPlane, []checkstest.Case{
		{Name: "a precondition, with its condition", Request: ofPod, Put: fleet("FAILED_PRECONDITION", condition("INFO", "VPCSC_GA_SUPPORTED", "", ""), condition("ERROR", workloadIdentity, "One or more node pools have workload identity federation disabled.", link)),
			Want: []checkstest.Want{{Subject: "prod", Summary: "a node pool lacks Workload Identity Federation", Confidence: diagnose.Confirmed, Severity: diagnose.Blocking, Excerpt: link, Params: map[string]string{"link": link, "code": workloadIdentity}}}},
		{Name: "the service agent", Request: ofPod, Put: fleet("STALLED", condition("ERROR", "MESH_IAM_PERMISSION_DENIED", "", "")),
			Want: []checkstest.Want{{Params: map[string]string{"agent": "true", "fleet_number": "482915067713"}}}},
		{Name: "several conditions", Request: ofPod, Put: fleet("DEGRADED", condition("ERROR", "QUOTA_EXCEEDED_BACKEND_SERVICES", "", ""), condition("ERROR", "SOMETHING_NEW", "It is new.", "")),
			Want: []checkstest.Want{{Summary: "the project's quota of backend services is used up; also SOMETHING_NEW.", Severity: diagnose.Degrading}}},
		{Name: "a code that isn't known", Request: ofPod, Put: fleet("STALLED", condition("ERROR", "SOMETHING_NEW", "It is new.", "")), Want: []checkstest.Want{{Summary: "SOMETHING_NEW, It is new."}}},
		{Name: "active with an error", Request: ofPod, Put: fleet("ACTIVE", condition("ERROR", "CONFIG_VALIDATION_ERROR", "", "")), Want: []checkstest.Want{{Summary: "it is invalid", Severity: diagnose.Degrading}}},
		{Name: "the data plane", Request: ofPod, Put: fleet("ACTIVE", func(m *evidence.FleetMembership) { m.DataPlane = "DEGRADED" }), Want: []checkstest.Want{{Summary: "data plane of prod as DEGRADED", Severity: diagnose.Degrading}}},
		{Name: "provisioning for hours", Request: ofPod, Put: fleet("PROVISIONING", func(m *evidence.FleetMembership) { m.Updated = noon.Add(-5 * time.Hour) }), Want: []checkstest.Want{{Confidence: diagnose.Likely}}},
		{Name: "a stalled revision", Request: ofPod, Put: revision("asm-managed", kube.Condition{Type: "Reconciled", Status: "False"}, kube.Condition{Type: "Stalled", Status: "True", Reason: "PreconditionFailed", Message: "Workload Identity is off."}),
			Want: []checkstest.Want{{Subject: "ControlPlaneRevision asm-managed", Summary: "is Stalled, PreconditionFailed: something about the cluster keeps it from being provisioned: Workload Identity is off."}}},
		{Name: "a call that fails, by the name alone", Request: ofFiles, Put: called("webhook", "istiod-asm-managed.sidecar-injector.istio.io", "reason", unknown), Want: []checkstest.Want{{Confidence: diagnose.Likely, Params: map[string]string{"gateway_api": "true"}}}},
		{Name: "a call that fails, by the URL", Request: ofFiles, Put: called("webhook", "namespace.sidecar-injector.istio.io", "url", "https://meshconfig.googleapis.com/v1alpha1/x:inject?timeout=10s", "reason", "context deadline exceeded"), Want: []checkstest.Want{{Summary: "context deadline exceeded"}}},
		{Name: "a call that fails, by the cluster's webhook", Request: ofPod, Put: all(hooks(injector("asm-managed", byURL)), called("webhook", "rev.namespace.sidecar-injector.istio.io", "reason", "EOF")), Want: []checkstest.Want{{}}},
		{Name: "several clusters", Request: ofFiles, Put: func(s *evidence.Set) {
			evidence.Put(s, evidence.FleetMesh, []evidence.FleetMembership{
				{Membership: "projects/p/locations/l/memberships/a", ControlPlane: "STALLED", Source: api}, {Membership: "projects/p/locations/l/memberships/b", ControlPlane: "ACTIVE", Source: api}}, api)
		}, Want: []checkstest.Want{{Key: "memberships/a"}}},

		{Name: "active", Request: ofPod, Put: fleet("ACTIVE", condition("WARNING", "CONFIG_VALIDATION_WARNING", "", ""), condition("INFO", "MODERNIZATION_SCHEDULED", "", ""))},
		{Name: "provisioning just now", Request: ofPod, Put: all(fleet("PROVISIONING", condition("ERROR", "CNI_INSTALLATION_FAILED", "", "")), revision("asm-managed", kube.Condition{Type: "Reconciled", Status: "False"}, kube.Condition{Type: "ProvisioningFinished", Status: "False"}))},
		{Name: "not managed", Request: ofPod, Put: fleet("", func(m *evidence.FleetMembership) { m.DataPlane = "" })},
		{Name: "disabled", Request: ofPod, Put: fleet("DISABLED", func(m *evidence.FleetMembership) { m.DataPlane = "DISABLED" })},
		{Name: "a webhook that is a Service", Request: ofPod, Put: all(fleet("ACTIVE"), hooks(injector("default")), called("webhook", "namespace.sidecar-injector.istio.io", "service", "istiod", "namespace", "istio-system", "url", "https://istiod.istio-system.svc:443/inject", "reason", "EOF"))},
		{Name: "another's webhook at a URL", Request: ofPod, Put: all(fleet("ACTIVE"), called("webhook", "policy.example.com", "url", "https://policy.example.googleapis.com/v", "reason", "EOF"))},
		{Name: "no such kind", Request: ofPod, Put: func(s *evidence.Set) {
			evidence.Put(s, evidence.ControlPlaneRevisions, []evidence.Objects[kube.ControlPlaneRevision]{{NoSuchKind: true, Whole: true, Source: api}}, api)
		}},
		{Name: "denied", Request: ofPod, Put: deny(evidence.FleetMesh.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Request: ofPod, Put: late(evidence.ControlPlaneRevisions.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Request: ofPod, Outcome: diagnose.OutcomeSkipped},
	})
}

// TestConditions holds that every code is explained in a way that goes on a sentence.
func TestConditions(t *testing.T) {
	for code, k := range fleetConditions {
		if k.meaning == "" || strings.HasSuffix(k.meaning, ".") || (k.todo == "" && !k.agent) || (k.todo != "" && !strings.HasSuffix(k.todo, ".")) {
			t.Errorf("%s: %+v", code, k)
		}
	}
	if k := explainCondition("MODERNIZATION_STALLED"); !strings.Contains(k.meaning, "stalled") {
		t.Errorf("MODERNIZATION_STALLED: %+v", k)
	}
	if k := explainCondition("NEW"); k != (known{}) {
		t.Errorf("a code that isn't known is explained: %+v", k)
	}
}
