package webhook

import (
	"slices"
	"testing"
	"time"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestCannotSwitchToFailClosed(t *testing.T) {
	const (
		not      = "2023-04-17T00:08:00.086475Z\tinfo\tvalidationController\tNot ready to switch validation to fail-closed: dummy invalid config not rejected"
		switched = "2023-04-17T00:08:04.212630Z\tinfo\tvalidationController\tEndpoint successfully rejected invalid config. Switching to fail-close."
		refused  = "info\tvalidationController\tNot ready to switch validation to fail-closed: dummy invalid rejected for the wrong reason: Internal error occurred: failed calling webhook \"rev.validation.istio.io\": failed to call webhook: Post \"https://istiod.istio-system.svc:443/validate?timeout=10s\": dial tcp 10.97.219.77:443: connect: connection refused"
		other    = "info\tvalidationController\tNot ready to switch validation to fail-closed: dummy invalid rejected for the wrong reason: etcdserver: request timed out"
	)
	keeps := slices.Repeat([]string{not}, 200)
	base := all(plane(""), injected, whole(evidence.ClusterEvents, "shop"))
	checkstest.Run(t, CannotSwitchToFailClosed, []checkstest.Case{
		{Name: "one line", Put: text(not), Want: []checkstest.Want{{Subject: "the validating webhook of istiod", Confidence: diagnose.Possible, Severity: diagnose.Degrading, Summary: "the API server does not reach the webhook"}}},
		{Name: "again and again", Put: text(keeps...), Want: []checkstest.Want{{Confidence: diagnose.Likely}}},
		{Name: "the wrong reason: a call that failed", Put: text(refused), Want: []checkstest.Want{{Summary: `the API server can't call it: "dial tcp 10.97.219.77:443: connect: connection refused"`, Params: map[string]string{"blocked": "yes"}}}},
		{Name: "the wrong reason: something else", Put: text(other), Want: []checkstest.Want{{Summary: `something else refused the trial: "etcdserver: request timed out"`, Params: map[string]string{"reason": "etcdserver: request timed out"}}}},
		{Name: "in the cluster", Request: ofShop, Put: all(hooks(injector(""), validator("", entriesWith(ignored), age(time.Minute))), base, logOf(live, seen.Add(-5*time.Minute), keeps...)), Want: []checkstest.Want{{
			Subject: "webhook rev.validation.istio.io of service istio-system/istiod", Confidence: diagnose.Likely}}},
		{Name: "it says so again after it had switched", Put: text(append([]string{not, switched}, keeps...)...), Want: []checkstest.Want{{Confidence: diagnose.Likely}}},
		{Name: "never switched", Request: ofShop, Put: well(injector(""), validator("", entriesWith(ignored))), Want: []checkstest.Want{{Severity: diagnose.Advice, Confidence: diagnose.Likely, Summary: "still at failurePolicy Ignore, 48h0m0s after it was written last"}}},

		{Name: "while it starts", Put: text(not, not, switched)},
		{Name: "switched after a while", Put: text(append(append([]string{}, keeps...), switched)...)},
		{Name: "it started just now", Request: ofShop, Put: all(hooks(injector(""), validator("", entriesWith(ignored), age(time.Minute))), base, logOf(live, seen.Add(-3*time.Second), not, not))},
		{Name: "at Fail", Request: ofShop, Put: well(injector(""), validator(""))},
		{Name: "a manifest at Ignore", Put: all(hookFile(validator("", entriesWith(ignored), template)), text())},
		{Name: "the managed one's", Request: ofShop, Put: well(managedInjector())},
		{Name: "denied", Request: ofShop, Put: all(hooks(injector("")), fail(evidence.LogMessages.Name())), Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Request: ofShop, Put: late(evidence.LogMessages.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Outcome: diagnose.OutcomeSkipped},
	})
}
