package webhook

import (
	"testing"
	"time"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestDenied(t *testing.T) {
	const (
		invalid = `Error from server: error when creating "vs.yaml": admission webhook "rev.validation.istio.io" denied the request: configuration is invalid: gateway must have at least one server`
		warden  = `admission webhook "warden-validating.common-webhooks.networking.gke.io" denied the request: GKE Warden rejected the request because it violates one or more constraints. Violations details: {"[denied by autogke-default-linux-capabilities]":["linux capability 'NET_ADMIN,NET_RAW' on container 'istio-init' not allowed"]}`
	)
	checkstest.Run(t, Denied, []checkstest.Case{
		{Name: "Istio's configuration", Put: text(invalid), Want: []checkstest.Want{{Subject: "webhook rev.validation.istio.io", Severity: diagnose.Degrading, Confidence: diagnose.Likely,
			Summary: `refused an object: "configuration is invalid: gateway must have at least one server".`, Params: map[string]string{"reason": "configuration is invalid: gateway must have at least one server"}}}},
		{Name: "a policy, of pods", Request: ofShop, Put: event(time.Minute, warden), Want: []checkstest.Want{{Subject: "webhook warden-validating.common-webhooks.networking.gke.io", Severity: diagnose.Blocking, Summary: "not the mesh's", Params: map[string]string{"net_admin": "yes"}}}},
		{Name: "no reason", Put: text(`admission webhook "validation.istio.io" denied the request without explanation`), Want: []checkstest.Want{{Summary: "and gave no reason"}}},
		{Name: "of a server that the cluster knows", Request: ofShop, Put: all(hooks(injector(""), validator("")), plane(""), injected, text(invalid)), Want: []checkstest.Want{{Subject: "webhook rev.validation.istio.io of service istio-system/istiod"}}},
		{Name: "two webhooks", Put: text(invalid, warden), Want: []checkstest.Want{{Subject: "rev.validation.istio.io"}, {Subject: "warden"}}},

		{Name: "the injector's own failure", Put: text(`Error creating: admission webhook "` + hookName + `" denied the request: Pod injection failed: invalid annotation`)},
		{Name: "the injector's template", Put: text(`admission webhook "` + hookName + `" denied the request: failed to run injection template: template: inject:1: function "annotations" not defined`)},
		{Name: "the injector, without a reason", Put: text(`admission webhook "` + hookName + `" denied the request without explanation`)},
		{Name: "no webhook's", Put: text("the server denied the request")},
		{Name: "a webhook that can't be called", Put: text(call + "EOF")},
		{Name: "not repeated", Request: ofShop, Put: event(40*time.Minute, warden)},
		{Name: "denied", Request: ofShop, Put: fail(evidence.ClusterEvents.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Request: ofShop, Put: late(evidence.LogMessages.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Outcome: diagnose.OutcomeSkipped},
	})
}
