package injection

import (
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestInjectorFailed(t *testing.T) {
	const rev = "rev.namespace.sidecar-injector.istio.io"
	template := message(messages.PodInjectionFailed, "Pod injection failed: failed to run injection template: template: inject:12:4", "stage", "failed to run injection template", "reason", "template: inject:12:4: nil pointer evaluating interface {}.hub")
	denied := message(messages.WebhookDenied, "Error creating: admission webhook denied the request", "webhook", rev, "reason", "failed to run injection template: template: inject:12:4: nil pointer evaluating interface {}.hub")
	checkstest.Run(t, InjectorFailed, []checkstest.Case{
		{Name: "the template", Request: ofPod, Put: logs(template), Want: []checkstest.Want{{Subject: "the sidecar injector", Summary: "could not inject: failed to run injection template: template: inject:12:4", Confidence: diagnose.Likely, Params: map[string]string{"of_config": "true"}}}},
		{Name: "an event that two signatures recognise", Request: ofPod, Put: logs(template, denied), Want: []checkstest.Want{{}}},
		{Name: "a denial of the injector in words of its own", Request: ofFiles, Put: logs(message(messages.WebhookDenied, "denied", "webhook", rev, "reason", `requested template "grpc-agnet" not found; have [sidecar grpc-agent]`)),
			Want: []checkstest.Want{{Summary: "grpc-agnet", Params: map[string]string{"template": "grpc-agnet"}}}},
		{Name: "an annotation", Request: ofFiles, Put: logs(message(messages.PodInjectionFailed, "x", "text", `invalid value "maybe" for annotation traffic.sidecar.istio.io/excludeOutboundPorts: strconv.Atoi`)),
			Want: []checkstest.Want{{Params: map[string]string{"annotation": "traffic.sidecar.istio.io/excludeOutboundPorts"}}}},
		{Name: "no reason", Request: ofFiles, Put: logs(message(messages.WebhookDenied, "denied without explanation", "webhook", rev)), Want: []checkstest.Want{{Summary: "gives no reason"}}},
		{Name: "a managed control plane", Request: ofPod, Put: all(fleet("ACTIVE"), logs(template)), Want: []checkstest.Want{{Params: map[string]string{"managed": "the fleet says that the control plane is TRAFFIC_DIRECTOR"}}}},

		{Name: "another webhook's denial", Request: ofPod, Put: logs(message(messages.WebhookDenied, "denied", "webhook", "validation.gatekeeper.sh", "reason", "[no-latest] image has the tag latest"))},
		{Name: "another injector's words", Request: ofPod, Put: logs(
			message(messages.PodInjectionFailed, "denied", "text", "no such secret"), message(messages.WebhookDenied, "denied", "webhook", "vault.hashicorp.com", "reason", "no such secret"))},
		{Name: "other messages", Request: ofPod, Put: logs(message(messages.WebhookCallFailed, "x", "webhook", rev, "reason", "EOF"))},
		{Name: "denied", Request: ofPod, Put: deny(evidence.LogMessages.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Request: ofPod, Put: late(evidence.LogMessages.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Request: ofPod, Outcome: diagnose.OutcomeSkipped},
	})
}
