package controlplane

import (
	"errors"
	"fmt"
	"strings"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// TCPBlocked finds that no address of the control plane accepts a connection.
var TCPBlocked = diagnose.Check{
	ID:       "controlplane/tcp-blocked",
	Severity: diagnose.Blocking,
	Layer:    diagnose.LayerNetwork,
	Symptoms: []diagnose.Symptom{diagnose.SymptomNotConnected, diagnose.SymptomNoConfig},
	Needs:    []evidence.Name{evidence.TCPProbe.Name(), evidence.Clients.Name()},
	Explains: append([]diagnose.CheckID{"controlplane/grpc-blocked", "vm/agent-failure"}, disconnected...),
	Doc: diagnose.Doc{
		Title: "The control plane's port cannot be reached",
		Explanation: "The name resolves, and no address accepts a TCP connection. Silence mostly means a firewall that drops, or a VM without an external address in a subnet without Private Google Access; " +
			"a refusal means that something on the way answers in the control plane's place; \"unreachable\" means that no route leads there.",
		Quiet: "One of several addresses fails; the workload's own attempt succeeds and only the machine meshdiag runs on can't connect; the control plane answers this machine all the same, so that it is reached another way (HTTPS_PROXY, an entry in /etc/hosts).",
		Remedy: []diagnose.Step{
			{If: "instance", Text: "Try from the VM itself.",
				Command: "gcloud compute ssh {{instance}} --zone={{zone}} --project={{project}} --command='curl -sv --max-time 10 https://trafficdirector.googleapis.com/ -o /dev/null'"},
			{Unless: "instance", Text: "Try from the workload itself.", Command: "curl -sv --max-time 10 https://trafficdirector.googleapis.com/ -o /dev/null"},
			{If: "refused", Text: "It was refused: look for a proxy or firewall that answers in the control plane's place (an egress proxy, a service mesh that intercepts this machine's traffic, an entry in /etc/hosts).",
				Command: "getent ahosts {{host}}"},
			{If: "silent", Text: "See which egress rules deny; one that allows tcp:443 to the address needs a smaller priority number than they have.",
				Command: "gcloud compute firewall-rules list --project={{project}} --filter='direction=EGRESS' --format='yaml(name,network,priority,destinationRanges,allowed,denied)'"},
			{If: "unrouted", Text: "See whether a route to the default internet gateway covers the address (0.0.0.0/0, or 199.36.153.8/30 and 199.36.153.4/30 for the private and restricted addresses).",
				Command: "gcloud compute routes list --project={{project}} --filter='nextHopGateway~default-internet-gateway' --format='table(name,network,destRange,priority)'"},
			{If: "unrouted", Text: "VMs without an external address need Private Google Access on their subnet.",
				Command: "gcloud compute networks subnets list --project={{project}} --format='table(name,region,network,privateIpGoogleAccess)'"},
		},
		References: []string{
			"https://cloud.google.com/vpc/docs/configure-private-google-access",
			"https://cloud.google.com/traffic-director/docs/troubleshooting",
		},
	},
	Evaluate: tcpBlocked,
}

func tcpBlocked(_ diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	results, err := evidence.Get(v, evidence.TCPProbe)
	if err != nil {
		return nil, err
	}
	results = nearest(results, func(r evidence.TCPResult) evidence.Source { return r.Source })
	if len(results) == 0 {
		return nil, diagnose.Skip("no address was tried")
	}
	c := diagnose.Cause{Subject: tcpSubject(results), Params: map[string]string{"host": results[0].Host}}
	var said []string
	odd := ""
	var where string
	for _, r := range results {
		switch r.Outcome {
		case evidence.TCPConnected:
			return nil, nil
		case evidence.TCPRefused:
			c.Params["refused"] = "yes"
		case evidence.TCPTimeout:
			c.Params["silent"], c.Params["unrouted"] = "yes", "yes"
		case evidence.TCPUnreachable:
			c.Params["unrouted"] = "yes"
		default:
			odd = r.Err
			continue
		}
		said = append(said, r.Address+" "+string(r.Outcome))
		c.Confidence, where = seenFrom(r.Source)
		c.Evidence = append(c.Evidence, diagnose.Exhibit{
			Fact: evidence.TCPProbe.Name(), Excerpt: strings.TrimSpace(fmt.Sprintf("%s: %s %s", r.Address, r.Outcome, r.Err)), Source: r.Source,
		})
	}
	if len(said) == 0 {
		// Attempts that failed for a reason of the machine's own say nothing of the way.
		return nil, &evidence.Missing{Name: evidence.TCPProbe.Name(), Why: evidence.Failed, Err: errors.New("every attempt failed on the machine itself: " + orNone(odd))}
	}
	if gotThrough(v, results[0].Source) {
		return nil, nil
	}
	c.Summary = fmt.Sprintf("No address of %s accepts a connection %s: %s.", orNone(results[0].Host), where, listed(said))
	return []diagnose.Cause{c}, nil
}

// tcpSubject names the port that can't be reached.
func tcpSubject(results []evidence.TCPResult) string {
	r := results[0]
	i := strings.LastIndexByte(r.Address, ':')
	if r.Host == "" || i < 0 {
		return r.Address
	}
	return r.Host + r.Address[i:]
}
