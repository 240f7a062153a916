package webhook

import (
	"testing"
	"time"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestCertificateNameMismatch(t *testing.T) {
	const valid = "tls: failed to verify certificate: x509: certificate is valid for istiod-asm-1234-7.istio-system.svc, istiod.example.com, not istiod.istio-system.svc"
	far := seen.Add(90 * 24 * time.Hour)
	checkstest.Run(t, CertificateNameMismatch, []checkstest.Case{
		{Name: "text alone", Put: text(call + valid), Want: []checkstest.Want{{Subject: ofIstiod, Confidence: diagnose.Likely, Severity: diagnose.Blocking, Summary: "presents a certificate for another name", Params: map[string]string{"host": istiodName}}}},
		{Name: "for no name", Put: text(call + "tls: failed to verify certificate: x509: certificate is not valid for any names, but wanted to match istiod.istio-system.svc"), Want: []checkstest.Want{{Subject: ofIstiod}}},
		{Name: "a common name", Put: text(call + "tls: failed to verify certificate: x509: certificate relies on legacy Common Name field, use SANs instead"), Want: []checkstest.Want{{Subject: ofIstiod}}},
		{Name: "an address", Put: text(`failed calling webhook "x.example.com": Post "https://10.0.0.1:9443/mutate?timeout=10s": x509: cannot validate certificate for 10.0.0.1 because it doesn't contain any IP SANs`), Want: []checkstest.Want{{Subject: "webhook x.example.com at https://10.0.0.1:9443", Summary: "not the mesh's", Params: map[string]string{"url": "https://10.0.0.1:9443/mutate?timeout=10s"}}}},
		{Name: "what is served", Request: ofShop, Put: all(well(injector("")), serving(authority(), far, "istiod-canary.istio-system.svc")), Want: []checkstest.Want{{
			Confidence: diagnose.Confirmed, Severity: diagnose.Blocking, Summary: "Service istio-system/istiod serves a certificate for istiod-canary.istio-system.svc; the API server asks for istiod.istio-system.svc"}}},
		{Name: "served without a name", Request: ofShop, Put: all(well(injector("")), serving(authority(), far)), Want: []checkstest.Want{{Summary: "serves a certificate without a DNS name"}}},
		{Name: "what is served, and the event", Request: ofShop, Put: all(hooks(injector("")), plane(""), injected, serving(authority(), far, "istiod.example.com"), event(time.Minute, call+valid)), Want: []checkstest.Want{{Subject: ofIstiod, Confidence: diagnose.Confirmed, Excerpt: "asm-1234-7"}}},

		{Name: "one of several names", Request: ofShop, Put: all(well(injector("")), serving(authority(), far, "istiod.istio-system", istiodName))},
		{Name: "an authority", Put: text(call + "x509: certificate signed by unknown authority")},
		{Name: "right by now", Request: ofShop, Put: all(hooks(injector("")), plane(""), injected, serving(authority(), far, istiodName), event(10*time.Minute, call+valid))},
		{Name: "what is served isn't known", Request: ofShop, Put: all(well(injector("")), fail(evidence.ServingCertificates.Name()))},
		{Name: "managed", Put: text(`failed calling webhook "rev.namespace.sidecar-injector.istio.io": Post "https://x-uc.a.run.app:443/inject?timeout=10s": ` + valid)},
		{Name: "denied", Request: ofShop, Put: all(hooks(injector("")), injected, fail(evidence.ClusterEvents.Name())), Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Request: ofShop, Put: late(evidence.LogMessages.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Outcome: diagnose.OutcomeSkipped},
	})
}
