package webhook

import (
	"testing"
	"time"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

func TestCABundleInvalid(t *testing.T) {
	const unknown = "x509: certificate signed by unknown authority"
	far := seen.Add(90 * 24 * time.Hour)
	other := authorityOf("cluster.local", seen.Add(-24*time.Hour), seen.Add(3000*24*time.Hour)) // another one of the same name
	expired := authorityOf("old", seen.Add(-48*time.Hour), seen.Add(-time.Hour))
	ending := authorityOf("ending", seen.Add(-48*time.Hour), seen.Add(40*24*time.Hour))
	daily := authorityOf("daily", seen.Add(-time.Hour), seen.Add(23*time.Hour))
	both := append(append([]byte{}, ending.pem...), authority().pem...)
	checkstest.Run(t, CABundleInvalid, []checkstest.Case{
		{Name: "not base64", Request: ofShop, Put: well(injector("", bundled(kube.Bundle{Raw: "CA_BUNDLE"}))), Want: []checkstest.Want{{
			Confidence: diagnose.Confirmed, Severity: diagnose.Blocking, Summary: "The caBundle of " + hookName + " of istio-sidecar-injector and of 1 entry more isn't base64: CA_BUNDLE."}}},
		{Name: "not PEM", Request: ofShop, Put: well(injector("", bundled(kube.Bundle{PEM: []byte("hello")}))), Want: []checkstest.Want{{Summary: "isn't PEM"}}},
		{Name: "expired", Request: ofShop, Put: well(injector("", bundled(kube.Bundle{PEM: expired.pem}))), Want: []checkstest.Want{{Summary: "has expired: O=old was valid until 2026-11-20T11:00:00Z"}}},
		{Name: "another authority", Request: ofShop, Put: all(well(injector("")), serving(other, far, istiodName)), Want: []checkstest.Want{{
			Confidence: diagnose.Confirmed, Summary: "(O=cluster.local) does not verify the certificate that Service istio-system/istiod serves, issued by O=cluster.local", Excerpt: "TLS handshake with 10.4.0.7:15017"}}},
		{Name: "another authority, and the event", Request: ofShop, Put: all(hooks(injector("")), plane(""), injected, serving(other, far, istiodName), event(time.Minute, call+unknown)), Want: []checkstest.Want{{Subject: ofIstiod, Excerpt: unknown}}},
		{Name: "expires soon", Request: ofShop, Put: well(injector("", bundled(kube.Bundle{PEM: ending.pem}))), Want: []checkstest.Want{{Severity: diagnose.Advice, Summary: "expires on 2026-12-30", Params: map[string]string{"expires": "2026-12-30"}}}},
		{Name: "in a file", Put: hookFile(injector("", bundled(kube.Bundle{PEM: expired.pem}))), Want: []checkstest.Want{{Confidence: diagnose.Confirmed}}},
		{Name: "text alone", Put: text(`Internal error occurred: failed calling webhook "` + hookName + `": could not get REST client: unable to load root certificates: unable to parse bytes as PEM block`), Want: []checkstest.Want{{Subject: "webhook " + hookName, Confidence: diagnose.Likely}}},
		{Name: "one entry of the validator's", Request: ofShop, Put: well(injector(""), validator("", bundled(kube.Bundle{PEM: expired.pem}))), Want: []checkstest.Want{{Key: "webhooks/istio-validator-istio-system", Severity: diagnose.Degrading}}},
		{Name: "another one's, which keeps pods from being made", Request: ofShop, Put: all(hooks(certManager("pods", bundled(kube.Bundle{Raw: "x"}))), injected, quiet()), Want: []checkstest.Want{{Subject: ofManager, Severity: diagnose.Blocking}}},

		{Name: "verified", Request: ofShop, Put: all(well(injector(""), validator("")), serving(authority(), far, istiodName))},
		{Name: "two authorities, one of them signed", Request: ofShop, Put: all(well(injector("", bundled(kube.Bundle{PEM: both}))), serving(authority(), far, istiodName))},
		{Name: "one of two expires soon", Request: ofShop, Put: well(injector("", bundled(kube.Bundle{PEM: both})))},
		{Name: "one that lives a day, and is renewed by a program", Request: ofShop, Put: well(injector("", bundled(kube.Bundle{PEM: daily.pem})))},
		{Name: "empty", Request: ofShop, Put: well(injector("", entriesWith(empty)))},
		{Name: "another name", Request: ofShop, Put: all(well(injector("")), serving(authority(), far, "istiod-canary.istio-system.svc"))},
		{Name: "what is served has expired", Request: ofShop, Put: all(well(injector("")), serving(authority(), seen.Add(-time.Hour), istiodName))},
		{Name: "a URL", Put: hookFile(managedInjector())},
		{Name: "another one's, for its own objects", Request: ofShop, Put: all(hooks(certManager("certificates", bundled(kube.Bundle{Raw: "x"}))), injected, quiet())},
		{Name: "what is served isn't known", Request: ofShop, Put: all(well(injector("")), fail(evidence.ServingCertificates.Name()))},
		{Name: "denied", Request: ofShop, Put: all(quiet(), fail(evidence.MutatingWebhooks.Name())), Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Request: ofShop, Put: all(hooks(injector("")), late(evidence.LogMessages.Name())), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Outcome: diagnose.OutcomeSkipped},
	})
}
