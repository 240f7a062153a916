package webhook

import (
	"testing"
	"time"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestUntrustedCertificate(t *testing.T) {
	const (
		unknown = "tls: failed to verify certificate: x509: certificate signed by unknown authority"
		hint    = unknown + ` (possibly because of "crypto/rsa: verification error" while trying to verify candidate authority certificate "cluster.local")`
		dated   = "tls: failed to verify certificate: x509: certificate has expired or is not yet valid: current time 2026-11-20T16:33:43Z is after 2026-11-19T00:00:00Z"
		alert   = "2021-02-06T09:00:00.000000Z\tinfo\thttp: TLS handshake error from 10.128.0.2:48212: remote error: tls: bad certificate"
	)
	far := seen.Add(90 * 24 * time.Hour)
	other := authorityOf("other", seen.Add(-24*time.Hour), seen.Add(3000*24*time.Hour))
	checkstest.Run(t, UntrustedCertificate, []checkstest.Case{
		{Name: "text alone", Put: text(call + unknown), Want: []checkstest.Want{{Subject: ofIstiod, Confidence: diagnose.Likely, Severity: diagnose.Blocking, Summary: "presents a certificate that the API server doesn't accept"}}},
		{Name: "the reason alone", Put: text("x509: certificate signed by unknown authority Webhook 証明書に問題がある可能性があります。"), Want: []checkstest.Want{{
			Subject: "the webhooks of istiod", Confidence: diagnose.Possible, Severity: diagnose.Degrading, Summary: "If the API server said this", Params: map[string]string{"alone": "yes"}}}},
		{Name: "a line broken before the reason", Put: text(call, "x509: certificate signed by unknown authority"), Want: []checkstest.Want{{Subject: ofIstiod, Confidence: diagnose.Likely, Excerpt: "unknown authority"}}},
		{Name: "with a hint", Put: text(call + hint), Want: []checkstest.Want{{Subject: ofIstiod, Excerpt: "crypto/rsa"}}},
		{Name: "out of date", Put: text(call + dated), Want: []checkstest.Want{{Subject: ofIstiod, Params: map[string]string{"dated": "yes"}}}},
		{Name: "the event, and a caBundle that may be another's", Request: ofShop, Put: all(hooks(injector("")), plane(""), injected, event(time.Minute, call+unknown)), Want: []checkstest.Want{{Subject: ofIstiod, Confidence: diagnose.Likely, Severity: diagnose.Blocking, Params: map[string]string{"configuration": "istio-sidecar-injector"}}}},
		{Name: "what is served has expired", Request: ofShop, Put: all(well(injector("")), serving(authority(), seen.Add(-time.Hour), istiodName)), Want: []checkstest.Want{{Confidence: diagnose.Confirmed, Summary: "serves a certificate that expired on 2026-11-20T11:00:00Z"}}},
		{Name: "said by another program", Put: text(`2026-11-20T10:00:00Z error x509: certificate signed by unknown authority`, `Get "https://example.com": x509: certificate signed by unknown authority`)},
		{Name: "another one's", Put: text(certCall + unknown), Want: []checkstest.Want{{Subject: ofManager, Summary: "not the mesh's", Severity: diagnose.Blocking}}},
		{Name: "istiod's side of it", Put: text(alert), Want: []checkstest.Want{{Confidence: diagnose.Possible, Severity: diagnose.Degrading, Subject: "istiod.log", Summary: "bad certificate"}}},
		{Name: "both sides of it are one", Put: text(call+unknown, alert), Want: []checkstest.Want{{Subject: ofIstiod}}},
		{Name: "the API server went on without it", Put: text(`W0212 11:24:51.100000       1 dispatcher.go:142] Failed calling webhook, failing open ` + hookName + `: failed calling webhook "` + hookName + `": failed to call webhook: Post "https://istiod.istio-system.svc:443/inject?timeout=10s": ` + unknown), Want: []checkstest.Want{{Subject: ofIstiod, Severity: diagnose.Degrading}}},

		{Name: "the caBundle is empty", Request: ofShop, Put: all(hooks(injector("", entriesWith(empty))), plane(""), injected, event(time.Minute, call+unknown))},
		{Name: "the caBundle is another's", Request: ofShop, Put: all(hooks(injector("")), plane(""), injected, serving(other, far, istiodName), event(time.Minute, call+unknown))},
		{Name: "verified by now", Request: ofShop, Put: all(hooks(injector("")), plane(""), injected, serving(authority(), far, istiodName), event(10*time.Minute, call+unknown))},
		{Name: "a name", Put: text(call + "x509: certificate is valid for a, not b")},
		{Name: "a handshake that a scan broke off", Put: text("http: TLS handshake error from 10.0.0.1:4433: EOF")},
		{Name: "all well", Request: ofShop, Put: all(well(injector(""), validator("")), serving(authority(), far, istiodName))},
		{Name: "istiod's side, and all is verified", Request: ofShop, Put: all(hooks(injector("")), plane(""), injected, whole(evidence.ClusterEvents, "shop"), serving(authority(), far, istiodName), logOf(live, seen.Add(-10*time.Minute), alert))},
		{Name: "denied", Request: ofShop, Put: all(hooks(injector("")), injected, fail(evidence.ClusterEvents.Name())), Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Request: ofShop, Put: late(evidence.LogMessages.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Outcome: diagnose.OutcomeSkipped},
	})
}
