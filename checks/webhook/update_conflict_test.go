package webhook

import (
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestUpdateConflict(t *testing.T) {
	const (
		validating = "2022-06-06T07:14:09.419199Z\terror\tvalidationController\tFailed to update validatingwebhookconfiguration istio-validator-istio-system (failurePolicy=Fail, resourceVersion=83150152): Operation cannot be fulfilled on validatingwebhookconfigurations.admissionregistration.k8s.io \"istio-validator-istio-system\": the object has been modified; please apply your changes to the latest version and try again"
		mutating   = `error handling /istio-sidecar-injector, retrying: Operation cannot be fulfilled on mutatingwebhookconfigurations.admissionregistration.k8s.io "istio-sidecar-injector": the object has been modified; please apply your changes to the latest version and try again`
	)
	live3 := func(lines ...string) put {
		return all(plane(""), injected, whole(evidence.ClusterEvents, "shop"), logOf(live, seen, lines...))
	}
	checkstest.Run(t, UpdateConflict, []checkstest.Case{
		{Name: "and a left-over injector", Request: ofShop, Put: all(hooks(injector(""), injector("old")), live3(mutating)), Want: []checkstest.Want{{
			Key: "webhooks/istio-sidecar-injector-old", Severity: diagnose.Advice, Subject: "webhook configuration istio-sidecar-injector", Summary: "MutatingWebhookConfiguration istio-sidecar-injector-old is left"}}},
		{Name: "and a left-over validator", Request: ofShop, Put: all(hooks(injector(""), validator("old")), live3(validating)), Want: []checkstest.Want{{Subject: "istio-validator-istio-system"}}},
		{Name: "both messages", Request: ofShop, Put: all(hooks(injector(""), injector("old"), validator("old")), live3(validating, mutating)), Want: []checkstest.Want{{Confidence: diagnose.Likely}}},

		{Name: "harmless", Request: ofShop, Put: all(hooks(injector(""), validator("")), live3(validating, mutating))},
		{Name: "text alone", Put: text(validating, mutating)},
		{Name: "another object", Put: text(`Operation cannot be fulfilled on deployments.apps "x": the object has been modified`)},
		{Name: "a left-over webhook, and no conflict", Request: ofShop, Put: well(injector(""), injector("old"))},
		{Name: "denied", Request: ofShop, Put: all(hooks(injector("")), fail(evidence.LogMessages.Name())), Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Request: ofShop, Put: late(evidence.LogMessages.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Outcome: diagnose.OutcomeSkipped},
	})
}
