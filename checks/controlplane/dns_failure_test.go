package controlplane

import (
	"net/netip"
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

const tdHost = "trafficdirector.googleapis.com"

// dns is a resolver's answer as seen from a vantage.
func dns(src evidence.Source, resolver, rcode, failure string, addresses ...string) evidence.DNSResult {
	r := evidence.DNSResult{Host: tdHost, Resolver: resolver, RCode: rcode, Err: failure, Source: src}
	for _, a := range addresses {
		r.Addresses = append(r.Addresses, netip.MustParseAddr(a))
	}
	return r
}

func dnsProbe(r ...evidence.DNSResult) func(*evidence.Set) {
	return putFrom(evidence.DNSProbe, r, service)
}

func TestDNSFailure(t *testing.T) {
	checkstest.Run(t, DNSFailure, []checkstest.Case{
		{Name: "NXDOMAIN", Request: network, Put: dnsProbe(dns(service, "10.0.0.2:53", "NXDOMAIN", "")),
			Want: []checkstest.Want{{Subject: tdHost, Summary: "does not resolve from the machine meshdiag runs on: NXDOMAIN from 10.0.0.2:53.", Confidence: diagnose.Likely,
				Params: map[string]string{"zone_suspect": "yes", "resolver_suspect": ""}}}},
		{Name: "SERVFAIL and a timeout", Request: network, Put: dnsProbe(dns(service, "10.0.0.2:53", "SERVFAIL", ""), dns(service, "10.0.0.3:53", "", "i/o timeout")),
			Want: []checkstest.Want{{Summary: "SERVFAIL from 10.0.0.2:53 and no answer in time from 10.0.0.3:53", Params: map[string]string{"resolver_suspect": "yes"}, Excerpt: "at 10.0.0.3:53: no answer in time"}}},
		{Name: "refused", Request: meshReq, Put: dnsProbe(dns(service, "10.0.0.2:53", "REFUSED", "")), Want: []checkstest.Want{{Summary: "REFUSED from"}}},
		{Name: "an empty answer", Request: network, Put: dnsProbe(dns(service, "", "NOERROR", "")), Want: []checkstest.Want{{Summary: "an empty answer from the system's resolver"}}},
		{Name: "the resolver cannot be reached", Request: network, Put: dnsProbe(dns(service, "10.0.0.2:53", "", "connection refused")), Want: []checkstest.Want{{Summary: "connection refused from"}}},
		{Name: "from the workload", Request: vm, Put: dnsProbe(dns(workload, "169.254.169.254:53", "NXDOMAIN", ""), dns(service, "10.0.0.2:53", "NOERROR", "", "142.250.1.95")),
			Want: []checkstest.Want{{Summary: "from the workload: NXDOMAIN", Confidence: diagnose.Confirmed}}},

		{Name: "it resolves", Request: network, Put: dnsProbe(dns(service, "10.0.0.2:53", "NOERROR", "", "142.250.1.95"))},
		{Name: "one resolver of several answers", Request: network, Put: dnsProbe(dns(service, "10.0.0.2:53", "SERVFAIL", ""), dns(service, "10.0.0.3:53", "NOERROR", "", "199.36.153.9"))},
		{Name: "the workload resolves, we do not", Request: vm, Put: dnsProbe(dns(service, "10.0.0.2:53", "NXDOMAIN", ""), dns(workload, "169.254.169.254:53", "NOERROR", "", "142.250.1.95"))},
		{Name: "the control plane answers us all the same", Request: network, Put: all(dnsProbe(dns(service, "10.0.0.2:53", "NXDOMAIN", "")), put(evidence.Clients, evidence.ClientList{ProjectNumber: number}))},
		{Name: "it answers us, and the workload cannot resolve", Request: vm, Put: all(dnsProbe(dns(workload, "10.0.0.2:53", "NXDOMAIN", "")), put(evidence.Clients, evidence.ClientList{ProjectNumber: number})), Want: []checkstest.Want{{}}},
		{Name: "nothing was looked up", Request: network, Put: dnsProbe(), Outcome: diagnose.OutcomeSkipped},
		{Name: "failed", Request: network, Put: deny(evidence.DNSProbe.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Request: network, Put: late(evidence.DNSProbe.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Request: files, Outcome: diagnose.OutcomeSkipped},
	})
}
