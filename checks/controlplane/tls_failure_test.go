package controlplane

import (
	"testing"
	"time"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// shake is a handshake as seen from a vantage.
func shake(src evidence.Source, address string, f evidence.TLSFault, chain ...evidence.Certificate) evidence.TLSResult {
	return evidence.TLSResult{Host: tdHost, Address: address, Fault: f, Chain: chain, Source: src}
}

func tlsProbe(r ...evidence.TLSResult) func(*evidence.Set) {
	return putFrom(evidence.TLSProbe, r, service)
}

func TestTLSFailure(t *testing.T) {
	google := evidence.Certificate{Subject: "CN=*.googleapis.com", Issuer: "CN=WR2,O=Google Trust Services,C=US", NotBefore: noon.AddDate(0, -2, 0), NotAfter: noon.AddDate(0, 1, 0), DNSNames: []string{"*.googleapis.com"}}
	corp := evidence.Certificate{Subject: "CN=trafficdirector.googleapis.com", Issuer: "CN=Example Corp TLS Inspection CA", NotBefore: noon.AddDate(0, -1, 0), NotAfter: noon.AddDate(1, 0, 0)}
	elsewhere := evidence.Certificate{Subject: "CN=portal.example.com", Issuer: "CN=R11", DNSNames: []string{"portal.example.com"}}
	const a, b = "142.250.1.95:443", "142.250.2.95:443"
	broken := shake(service, a, evidence.TLSBroken)
	broken.Err = "read: connection reset by peer"
	http1 := shake(service, a, evidence.TLSNoHTTP2, google)
	http1.Protocol = "http/1.1"
	soon := google
	soon.NotAfter = noon.Add(3 * time.Hour)
	checkstest.Run(t, TLSFailure, []checkstest.Case{
		{Name: "inspection", Request: network, Put: tlsProbe(shake(service, a, evidence.TLSUnknownAuthority, corp)),
			Want: []checkstest.Want{{Subject: tdHost, Summary: "from the machine meshdiag runs on: its certificate is issued by CN=Example Corp TLS Inspection CA, which is not trusted.",
				Confidence: diagnose.Likely, Params: map[string]string{"inspected": "yes", "issuer": corp.Issuer}, Excerpt: "issued by CN=Example Corp"}}},
		{Name: "another host's certificate", Request: network, Put: tlsProbe(shake(service, a, evidence.TLSWrongHost, elsewhere)), Want: []checkstest.Want{{Summary: "is for portal.example.com, not for " + tdHost}}},
		{Name: "expired", Request: network, Put: tlsProbe(shake(service, a, evidence.TLSExpired, google)), Want: []checkstest.Want{{Summary: "expired on 2026-04-02 12:00 UTC", Params: map[string]string{"clock": "yes"}}}},
		{Name: "not valid yet", Request: network, Put: tlsProbe(shake(service, a, evidence.TLSNotYetValid, google)), Want: []checkstest.Want{{Summary: "not valid before 2026-01-02"}}},
		{Name: "no HTTP/2", Request: meshReq, Put: tlsProbe(http1), Want: []checkstest.Want{{Summary: "(ALPN: http/1.1)", Params: map[string]string{"no_h2": "yes"}}}},
		{Name: "not TLS", Request: network, Put: tlsProbe(shake(service, a, evidence.TLSNotTLS)), Want: []checkstest.Want{{Summary: "does not speak TLS"}}},
		{Name: "broken off on one address, inspected on another", Request: network, Put: tlsProbe(broken, shake(service, b, evidence.TLSUnknownAuthority, corp)),
			Want: []checkstest.Want{{Subject: b, Summary: "Inspection CA", Excerpt: "connection reset"}}},
		{Name: "from the workload", Request: vm, Put: tlsProbe(shake(service, a, evidence.TLSOk, google), shake(workload, a, evidence.TLSBroken)),
			Want: []checkstest.Want{{Summary: "from the workload: it breaks off (none)", Confidence: diagnose.Confirmed}}},

		{Name: "good", Request: network, Put: tlsProbe(shake(service, a, evidence.TLSOk, google))},
		{Name: "good, and close to its end", Request: network, Put: tlsProbe(shake(service, a, evidence.TLSOk, soon))},
		{Name: "one of several addresses fails", Request: network, Put: tlsProbe(broken, shake(service, b, evidence.TLSOk, google))},
		{Name: "the workload's succeeds, ours does not", Request: vm, Put: tlsProbe(shake(service, a, evidence.TLSUnknownAuthority, corp), shake(workload, a, evidence.TLSOk, google))},
		{Name: "the control plane answers us all the same", Request: network, Put: all(tlsProbe(shake(service, a, evidence.TLSUnknownAuthority, corp)), put(evidence.Clients, evidence.ClientList{ProjectNumber: number}))},
		{Name: "no connection to try on", Request: network, Put: tlsProbe(), Outcome: diagnose.OutcomeSkipped},
		{Name: "failed", Request: network, Put: deny(evidence.TLSProbe.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Request: network, Put: late(evidence.TLSProbe.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Request: files, Outcome: diagnose.OutcomeSkipped},
	})
}
