package controlplane

import (
	"fmt"
	"strings"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// DNSFailure finds that the control plane's name doesn't resolve at any resolver asked.
var DNSFailure = diagnose.Check{
	ID:       "controlplane/dns-failure",
	Severity: diagnose.Blocking,
	Layer:    diagnose.LayerNetwork,
	Symptoms: []diagnose.Symptom{diagnose.SymptomNotConnected, diagnose.SymptomNoConfig},
	Needs:    []evidence.Name{evidence.DNSProbe.Name(), evidence.Clients.Name()},
	Explains: append([]diagnose.CheckID{"vm/agent-failure"}, disconnected...),
	Doc: diagnose.Doc{
		Title: "The control plane's name does not resolve",
		Explanation: "Proxies reach the control plane by name, trafficdirector.googleapis.com. No resolver that was asked gives an address for it. " +
			"NXDOMAIN or an empty answer mostly comes from a private zone for googleapis.com that lacks this name; " +
			"SERVFAIL, a refusal or silence from a forwarding zone, an outbound server policy or a firewall between the resolver and its upstream.",
		Quiet: "One resolver of several fails and another answers; the workload's own resolver answers and only the machine meshdiag runs on can't resolve; the control plane answers this machine all the same, so that it is reached another way (HTTPS_PROXY, an entry in /etc/hosts).",
		Remedy: []diagnose.Step{
			{Text: "Ask again from the workload.", Command: "dig +noall +comments +answer {{host}}"},
			{If: "zone_suspect", Text: "See whether a private zone for googleapis.com hides the name; it needs a record for {{host}}, or a CNAME *.googleapis.com to private.googleapis.com or restricted.googleapis.com.",
				Command: "gcloud dns managed-zones list --project={{project}} --filter='dnsName~googleapis' --format='yaml(name,dnsName,visibility,privateVisibilityConfig)'"},
			{If: "resolver_suspect", Text: "See whether the network's queries are sent to a server of your own, and whether that server answers.",
				Command: "gcloud dns policies list --project={{project}}"},
			{If: "resolver_suspect", Text: "See whether a firewall or route keeps port 53, UDP and TCP, from that server; Cloud DNS forwards from 35.199.192.0/19.",
				Command: "gcloud compute firewall-rules list --project={{project}} --format='yaml(name,network,direction,priority,denied,sourceRanges)'"},
		},
		References: []string{
			"https://cloud.google.com/vpc/docs/configure-private-google-access#config-domain",
			"https://cloud.google.com/dns/docs/troubleshooting",
			"https://cloud.google.com/traffic-director/docs/troubleshooting",
		},
	},
	Evaluate: dnsFailure,
}

func dnsFailure(_ diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	results, err := evidence.Get(v, evidence.DNSProbe)
	if err != nil {
		return nil, err
	}
	results = nearest(results, func(r evidence.DNSResult) evidence.Source { return r.Source })
	if len(results) == 0 {
		return nil, diagnose.Skip("no name was looked up")
	}
	var hosts []string
	for _, r := range results {
		hosts = append(hosts, r.Host)
	}
	var causes []diagnose.Cause
	for _, host := range unique(hosts) {
		if c, failed := unresolved(host, results); failed {
			causes = append(causes, c)
		}
	}
	if len(causes) > 0 && gotThrough(v, results[0].Source) {
		return nil, nil
	}
	return causes, nil
}

// unresolved gives the cause for a name that no resolver gives an address for.
func unresolved(host string, results []evidence.DNSResult) (diagnose.Cause, bool) {
	c := diagnose.Cause{Subject: host, Params: map[string]string{"host": host}}
	var said []string
	var where string
	for _, r := range results {
		if r.Host != host {
			continue
		}
		if len(r.Addresses) > 0 {
			return diagnose.Cause{}, false
		}
		answer, suspect := dnsAnswer(r)
		said = append(said, answer+" from "+orUnnamed(r.Resolver))
		c.Params[suspect] = "yes"
		c.Confidence, where = seenFrom(r.Source)
		c.Evidence = append(c.Evidence, diagnose.Exhibit{
			Fact: evidence.DNSProbe.Name(), Excerpt: fmt.Sprintf("%s at %s: %s", host, orUnnamed(r.Resolver), answer), Source: r.Source,
		})
	}
	c.Summary = fmt.Sprintf("%s does not resolve %s: %s.", host, where, listed(said))
	return c, true
}

// dnsAnswer says how a resolver failed, and which step of the remedy that calls for.
func dnsAnswer(r evidence.DNSResult) (answer, suspect string) {
	switch {
	case r.RCode == "NXDOMAIN":
		return r.RCode, "zone_suspect"
	case r.RCode == "NOERROR":
		return "an empty answer", "zone_suspect"
	case r.RCode != "":
		return r.RCode, "resolver_suspect"
	case strings.Contains(strings.ToLower(r.Err), "timeout") || strings.Contains(strings.ToLower(r.Err), "timed out"):
		return "no answer in time", "resolver_suspect"
	case r.Err != "":
		return clip(r.Err, maxWords), "resolver_suspect"
	}
	return "no answer", "resolver_suspect"
}

func orUnnamed(resolver string) string {
	if resolver == "" {
		return "the system's resolver"
	}
	return resolver
}
