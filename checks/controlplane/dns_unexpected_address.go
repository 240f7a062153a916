package controlplane

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// The addresses by which Google's APIs are reached from a VPC network without external addresses.
// https://cloud.google.com/vpc/docs/configure-private-google-access
var googleVIPs = []netip.Prefix{
	netip.MustParsePrefix("199.36.153.8/30"),       // private.googleapis.com
	netip.MustParsePrefix("199.36.153.4/30"),       // restricted.googleapis.com
	netip.MustParsePrefix("2600:2d00:2:2000::/64"), // private.googleapis.com
	netip.MustParsePrefix("2600:2d00:2:1000::/64"), // restricted.googleapis.com
}

// notPublic are the blocks that aren't globally reachable, besides those that net/netip knows by itself.
// https://www.iana.org/assignments/iana-ipv4-special-registry and iana-ipv6-special-registry
var notPublic = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),       // this network
	netip.MustParsePrefix("100.64.0.0/10"),   // carriers' NAT
	netip.MustParsePrefix("192.0.0.0/24"),    // protocol assignments
	netip.MustParsePrefix("192.0.2.0/24"),    // documentation
	netip.MustParsePrefix("198.18.0.0/15"),   // benchmarks
	netip.MustParsePrefix("198.51.100.0/24"), // documentation
	netip.MustParsePrefix("203.0.113.0/24"),  // documentation
	netip.MustParsePrefix("240.0.0.0/4"),     // reserved, broadcast included
	netip.MustParsePrefix("64:ff9b:1::/48"),  // local translation
	netip.MustParsePrefix("100::/64"),        // discard
	netip.MustParsePrefix("2001::/23"),       // protocol assignments
	netip.MustParsePrefix("2001:db8::/32"),   // documentation
	netip.MustParsePrefix("3fff::/20"),       // documentation
	netip.MustParsePrefix("5f00::/16"),       // segment routing
}

// nat64 is the prefix under which DNS64 gives IPv4 addresses: the last four bytes say where they lead (RFC 6052).
var nat64 = netip.MustParsePrefix("64:ff9b::/96")

// DNSUnexpectedAddress finds that the control plane's name resolves to an address that is neither public nor one of
// Google's private or restricted ones nor in a range that the operator declared.
var DNSUnexpectedAddress = diagnose.Check{
	ID:       "controlplane/dns-unexpected-address",
	Severity: diagnose.Blocking,
	Layer:    diagnose.LayerNetwork,
	Symptoms: []diagnose.Symptom{diagnose.SymptomNotConnected, diagnose.SymptomNoConfig},
	Needs:    []evidence.Name{evidence.DNSProbe.Name(), evidence.RESTProbe.Name(), evidence.GRPCProbe.Name()},
	Explains: append([]diagnose.CheckID{"controlplane/tcp-blocked", "controlplane/tls-failure", "controlplane/grpc-blocked", "vm/agent-failure"}, disconnected...),
	Doc: diagnose.Doc{
		Title: "The control plane's name resolves to an unexpected address",
		Explanation: "Google's APIs are reached at public addresses, at private.googleapis.com (199.36.153.8/30, 2600:2d00:2:2000::/64), at restricted.googleapis.com " +
			"(199.36.153.4/30, 2600:2d00:2:1000::/64), or at a Private Service Connect endpoint of your own. The name resolves to something else: mostly a private zone with an old or wrong record, " +
			"or a resolver that answers for what it blocks.",
		Quiet: "The private or restricted addresses; a range that the operator declared, as for a Private Service Connect endpoint; an address at which the control plane itself answered.",
		Remedy: []diagnose.Step{
			{Text: "See which zone gives this answer.",
				Command: "gcloud dns managed-zones list --project={{project}} --filter='dnsName~googleapis' --format='yaml(name,dnsName,visibility,privateVisibilityConfig)'"},
			{Text: "If {{address}} is a Private Service Connect endpoint for Google's APIs, declare its range to meshdiag.", Command: "gcloud compute addresses list --project={{project}} --filter='purpose=PRIVATE_SERVICE_CONNECT'"},
			{Text: "If not, correct the record: in the private zone for googleapis.com, make *.googleapis.com a CNAME of private.googleapis.com (or restricted.googleapis.com), with A records 199.36.153.8 to 199.36.153.11 (or 199.36.153.4 to 199.36.153.7)."},
			{Text: "See what the workload gets.", Command: "dig +short {{host}}"},
		},
		References: []string{
			"https://cloud.google.com/vpc/docs/configure-private-google-access",
			"https://docs.cloud.google.com/vpc-service-controls/docs/private-connectivity",
			"https://cloud.google.com/vpc/docs/about-accessing-google-apis-endpoints",
		},
	},
	Evaluate: dnsUnexpectedAddress,
}

func dnsUnexpectedAddress(_ diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	results, err := evidence.Get(v, evidence.DNSProbe)
	// An address that the control plane answered at is right, whatever range it is of.
	good := map[netip.Addr]bool{}
	for _, key := range []evidence.Key[[]evidence.CallResult]{evidence.RESTProbe, evidence.GRPCProbe} {
		calls, _ := evidence.Get(v, key) // what isn't known clears nothing
		for _, c := range calls {
			if a, perr := netip.ParseAddrPort(c.Address); perr == nil && c.Answered {
				good[a.Addr().Unmap()] = true
			}
		}
	}
	if err != nil {
		return nil, err
	}
	results = nearest(results, func(r evidence.DNSResult) evidence.Source { return r.Source })
	c := diagnose.Cause{Params: map[string]string{}}
	var odd []string
	known := 0
	for _, r := range results {
		var here []string
		for _, a := range r.Addresses {
			known++
			if !expected(a, r.Expected) && !good[a.Unmap()] {
				here = append(here, a.String())
			}
		}
		if len(here) == 0 {
			continue
		}
		odd = append(odd, here...)
		confidence, where := seenFrom(r.Source)
		c.Confidence = confidence
		c.Subject = r.Host
		c.Params["host"] = r.Host
		c.Summary = fmt.Sprintf("%s resolves to %s %s: neither public nor Google's private or restricted addresses.", r.Host, listed(unique(odd)), where)
		c.Evidence = append(c.Evidence, diagnose.Exhibit{
			Fact: evidence.DNSProbe.Name(), Excerpt: fmt.Sprintf("%s at %s: %s", r.Host, orUnnamed(r.Resolver), listed(here)), Source: r.Source,
		})
	}
	switch {
	case known == 0:
		return nil, diagnose.Skip("no address was found for the control plane's name")
	case len(odd) == 0:
		return nil, nil
	}
	c.Params["address"] = odd[0]
	return []diagnose.Cause{c}, nil
}

// expected says whether the control plane may be at an address.
func expected(a netip.Addr, declared []netip.Prefix) bool {
	a = a.Unmap().WithZone("")
	in := func(p netip.Prefix) bool { return p.Contains(a) }
	if slices.ContainsFunc(declared, in) || slices.ContainsFunc(googleVIPs, in) {
		return true
	}
	if nat64.Contains(a) {
		b := a.As16()
		return expected(netip.AddrFrom4([4]byte(b[12:])), declared)
	}
	return a.IsGlobalUnicast() && !a.IsPrivate() && !slices.ContainsFunc(notPublic, in)
}
