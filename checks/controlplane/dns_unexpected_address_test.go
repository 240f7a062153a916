package controlplane

import (
	"net/netip"
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestDNSUnexpectedAddress(t *testing.T) {
	answer := func(addresses ...string) evidence.DNSResult {
		return dns(service, "10.0.0.2:53", "NOERROR", "", addresses...)
	}
	declared := answer("10.3.0.7")
	declared.Expected = []netip.Prefix{netip.MustParsePrefix("10.3.0.0/24")}
	elsewhere := answer("10.4.0.7")
	elsewhere.Expected = declared.Expected
	answers := func(key evidence.Key[[]evidence.CallResult], address string, ok bool) func(*evidence.Set) {
		return putFrom(key, []evidence.CallResult{{Host: tdHost, Address: address, Answered: ok, Code: "OK"}}, service)
	}
	checkstest.Run(t, DNSUnexpectedAddress, []checkstest.Case{
		{Name: "a private address", Request: network, Put: dnsProbe(answer("10.3.0.7")),
			Want: []checkstest.Want{{Subject: tdHost, Summary: tdHost + " resolves to 10.3.0.7 from the machine meshdiag runs on: neither public", Confidence: diagnose.Likely,
				Params: map[string]string{"address": "10.3.0.7", "host": tdHost}, Excerpt: "at 10.0.0.2:53: 10.3.0.7"}}},
		{Name: "a sinkhole", Request: meshReq, Put: dnsProbe(answer("0.0.0.0")), Want: []checkstest.Want{{Summary: "0.0.0.0"}}},
		{Name: "loopback, IPv6", Request: network, Put: dnsProbe(answer("::1", "fd00::7")), Want: []checkstest.Want{{Summary: "::1 and fd00::7"}}},
		{Name: "one resolver of two", Request: network, Put: dnsProbe(answer("142.250.1.95"), dns(service, "10.0.0.3:53", "NOERROR", "", "192.168.1.1")), Want: []checkstest.Want{{Excerpt: "10.0.0.3:53"}}},
		{Name: "another range than the declared one", Request: network, Put: dnsProbe(elsewhere), Want: []checkstest.Want{{Summary: "10.4.0.7"}}},
		{Name: "from the workload", Request: vm, Put: dnsProbe(answer("142.250.1.95"), dns(workload, "169.254.169.254:53", "NOERROR", "", "10.3.0.7")),
			Want: []checkstest.Want{{Confidence: diagnose.Confirmed, Summary: "from the workload"}}},
		{Name: "nothing answered there", Request: network, Put: all(dnsProbe(answer("10.3.0.7")), answers(evidence.GRPCProbe, "10.3.0.7:443", false)), Want: []checkstest.Want{{}}},

		{Name: "public, next to the private VIP", Request: network, Put: dnsProbe(answer("199.36.153.12"))},
		{Name: "public", Request: network, Put: dnsProbe(answer("142.250.1.95", "2a00:1450:4001:80b::200a"))},
		{Name: "private.googleapis.com", Request: network, Put: dnsProbe(answer("199.36.153.8", "199.36.153.11", "2600:2d00:2:2000::1"))},
		{Name: "restricted.googleapis.com", Request: network, Put: dnsProbe(answer("199.36.153.4", "2600:2d00:2:1000::1"))},
		{Name: "declared", Request: network, Put: dnsProbe(declared)},
		{Name: "not declared, and the control plane answers there", Request: network, Put: all(dnsProbe(answer("10.3.0.7")), answers(evidence.RESTProbe, "10.3.0.7:443", true))},
		{Name: "DNS64 of a public address", Request: network, Put: dnsProbe(answer("64:ff9b::8efa:15f"))},
		{Name: "it does not resolve", Request: network, Put: dnsProbe(dns(service, "10.0.0.2:53", "NXDOMAIN", "")), Outcome: diagnose.OutcomeSkipped},
		{Name: "failed", Request: network, Put: deny(evidence.DNSProbe.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Request: network, Put: late(evidence.DNSProbe.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Request: files, Outcome: diagnose.OutcomeSkipped},
	})
}

func TestExpected(t *testing.T) {
	for a, want := range map[string]bool{
		"8.8.8.8": true, "::ffff:8.8.8.8": true, "199.36.153.4": true, "199.36.153.11": true, "2600:2d00:2:1000::5": true, "2600:2d00:2:2000::5": true,
		"10.0.0.1": false, "172.16.0.1": false, "172.32.0.1": true, "192.168.0.1": false, "100.64.0.1": false, "169.254.169.254": false, "127.0.0.1": false,
		"0.0.0.0": false, "255.255.255.255": false, "224.0.0.1": false, "198.18.0.1": false, "203.0.113.9": false, "::": false, "fe80::1": false,
		"fc00::1": false, "2001:db8::1": false, "64:ff9b::a00:1": false, "::ffff:10.0.0.1": false,
	} {
		if got := expected(netip.MustParseAddr(a), nil); got != want {
			t.Errorf("%s: %v, want %v", a, got, want)
		}
	}
}
