package traffic

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/meshdiag/meshdiag/checks/hostrules"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/envoy"
)

// ServerFirstProtocol finds destinations on the port of a protocol in which the server speaks first.
var ServerFirstProtocol = diagnose.Check{
	ID:       "traffic/server-first-protocol",
	Severity: diagnose.Blocking,
	Layer:    diagnose.LayerInterception,
	Symptoms: []diagnose.Symptom{diagnose.SymptomRequestsFail},
	Doc: diagnose.Doc{
		Title: "The destination's protocol may be one in which the server speaks first",
		Explanation: "The proxy looks at a client's first bytes to tell what it speaks. In MySQL, SMTP, FTP or SSH the server speaks first and the client waits: so both wait, " +
			"and the connection hangs. Meshes made with the Google Cloud APIs don't support such protocols. That the port is the protocol's usual one is all that tells here.",
		Quiet: "For protocols in which the client speaks first (MongoDB, PostgreSQL, Redis), when the port isn't intercepted, and in meshes of Istio's APIs, where the name of a Service's port (tcp-, mysql) settles it.",
		Remedy: []diagnose.Step{
			{Text: "See whether the server speaks first: connect from the client's host past the proxy, as root, and send nothing.", Command: "sudo timeout 5 nc {{address}} {{port}}"},
			{Text: "If it does, exclude port {{port}} from interception: exclude-outbound-port-ranges of --service-proxy (with intercept-all-outbound-traffic), or a SERVICE_CIDR that doesn't hold the address."},
		},
		References: []string{"https://docs.cloud.google.com/service-mesh/docs/service-routing/limitations", refAutoVMs},
	},
	Needs:    needs(evidence.ForwardingRules.Name(), evidence.EnvoyDumps.Name()),
	Applies:  asksDestination,
	Evaluate: serverFirstProtocol,
}

// serverFirst gives the protocols in which the server speaks first, by their ports in IANA's registry.
func serverFirst() map[int]string {
	return map[int]string{21: "FTP", 22: "SSH", 25: "SMTP", 110: "POP3", 143: "IMAP", 587: "SMTP", 3306: "MySQL"}
}

func serverFirstProtocol(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	hosts, hostsErr := hostrules.Hosts(v)
	boots, _ := evidence.Get(v, evidence.Bootstraps)
	rules, rulesErr := evidence.Get(v, evidence.ForwardingRules)
	dumps, _ := evidence.Get(v, evidence.EnvoyDumps)
	q, err := envoy.ParseDestination(req.Target.Destination)
	if err != nil {
		return nil, diagnose.Skip("%v", err)
	}
	name, ok := serverFirst()[q.Port]
	if !ok {
		return nil, nil
	}
	cloud, istio := req.Target.MeshName() != "", false
	look := func(id string, metadata map[string]string) {
		if metadata["ISTIO_VERSION"] != "" {
			istio = true
		} else if _, err := evidence.ParseNodeID(id); err == nil {
			cloud = true
		}
	}
	for _, b := range boots {
		look(b.NodeID, b.Metadata)
	}
	for _, d := range dumps {
		if !d.Baseline && d.Dump != nil {
			look(d.Dump.NodeID, d.Dump.Metadata)
		}
	}
	cloud = cloud || slices.ContainsFunc(rules, func(r evidence.ForwardingRule) bool { return r.Scheme == evidence.SelfManaged })
	switch {
	case istio:
		return nil, diagnose.Skip("the mesh is of Istio's APIs, where the name of the Service's port settles the protocol")
	case !cloud && rulesErr != nil:
		return nil, rulesErr
	case !cloud:
		return nil, diagnose.Skip("nothing tells that the mesh is made with the Google Cloud APIs")
	}
	excerpt, fact, source := "destination "+req.Target.Destination, evidence.ForwardingRules.Name(), evidence.Source{}
	if rulesErr != nil {
		fact = evidence.Bootstraps.Name()
	}
	if hostsErr == nil && len(hosts) == 1 {
		h := hosts[0]
		if to, err := hostrules.Destination(req.Target.Destination, req.Target.Network, rules); err == nil {
			r, intercepted, _, err := application(h, to)
			if err != nil {
				return nil, err
			}
			if !intercepted {
				return nil, nil
			}
			excerpt, fact, source = hostrules.Excerpt(r), evidence.PacketRules.Name(), h.Source
		}
	}
	address := q.Name
	if q.IP.IsValid() {
		address = q.IP.String()
	}
	return []diagnose.Cause{{
		Subject:    req.Target.Destination,
		Summary:    fmt.Sprintf("Port %d is that of %s, in which the server speaks first: behind the proxy such connections hang.", q.Port, name),
		Confidence: diagnose.Possible,
		Params:     map[string]string{"port": strconv.Itoa(q.Port), "address": address},
		Evidence:   []diagnose.Exhibit{{Fact: fact, Excerpt: excerpt, Source: source}},
	}}, nil
}
