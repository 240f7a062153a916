package request

import (
	"fmt"
	"slices"
	"strings"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// EgressBlackholed finds requests to places outside of the mesh that the proxy blocks.
var EgressBlackholed = diagnose.Check{
	ID:       "request/egress-blackholed",
	Severity: diagnose.Degrading,
	Layer:    diagnose.LayerConfig,
	Symptoms: []diagnose.Symptom{diagnose.SymptomRequestsFail},
	Doc: diagnose.Doc{
		Title: "The proxy blocks requests that leave the mesh",
		Explanation: "With outboundTrafficPolicy REGISTRY_ONLY a proxy lets out only what the mesh knows: all else goes to BlackHoleCluster, which closes the connection, and HTTP " +
			"requests are answered with 502 by the virtual host block_all. The metadata server is such a place, which client libraries of Google Cloud need.",
		Quiet: "For PassthroughCluster, which lets everything out, and for connections to the proxy's own ports, which it must not send to itself.",
		Remedy: []diagnose.Step{
			{If: "metadata", Text: `Let the pods reach the metadata server past the proxy: put the annotation traffic.sidecar.istio.io/excludeOutboundIPRanges: "169.254.169.254/32" on their pod template (which restarts them)`},
			{If: "outside", Text: "Declare {{host}} with a ServiceEntry. See those there are", Command: "kubectl get serviceentries -A"},
			{Text: "Is REGISTRY_ONLY meant? It is set for the mesh, or by a Sidecar resource for a namespace", Command: "kubectl get sidecars -A -o yaml | grep -B3 -A3 outboundTrafficPolicy"},
		},
		References: []string{"https://istio.io/latest/docs/tasks/traffic-management/egress/egress-control/", "https://istio.io/latest/docs/reference/config/networking/service-entry/"},
	},
	Needs:    []evidence.Name{evidence.AccessLogs.Name()},
	Evaluate: egressBlackholed,
}

// blackholed says whether a request was blocked as REGISTRY_ONLY does. Connections to the proxy's own ports (15001 and
// 15006) end in the same cluster, so that they don't run in a circle.
func blackholed(g evidence.AccessGroup) bool {
	if strings.HasSuffix(g.Authority, ":15001") || strings.HasSuffix(g.Authority, ":15006") {
		return false
	}
	return g.Cluster == "BlackHoleCluster" || g.Route == "block_all"
}

// isMetadata says whether a host is the metadata server.
// https://cloud.google.com/compute/docs/metadata/querying-metadata
func isMetadata(host string) bool {
	return strings.HasPrefix(host, "169.254.169.254") || strings.HasPrefix(host, "metadata.google.internal")
}

func egressBlackholed(_ diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	groups, err := evidence.Get(v, evidence.AccessLogs)
	if err != nil {
		return nil, err
	}
	// One cause for all: one setting blocks them.
	var b bunch
	for _, g := range groups {
		if blackholed(g) {
			b.add(g)
		}
	}
	if b.count == 0 {
		return nil, nil
	}
	b.place = "BlackHoleCluster"
	b.finish(groups)
	summary := fmt.Sprintf("The proxy blocked %s to places outside of the mesh.", plural(b.count, "request", "requests"))
	if len(b.hosts) > 0 {
		summary = fmt.Sprintf("The proxy blocked %s to %s, which the mesh does not know.", plural(b.count, "request", "requests"), b.someHosts())
	}
	c := b.cause(diagnose.Likely, summary)
	c.Subject = "requests that leave the mesh"
	if slices.ContainsFunc(b.hosts, isMetadata) {
		c.Params["metadata"] = "yes"
	}
	delete(c.Params, "host")
	if i := slices.IndexFunc(b.hosts, func(h string) bool { return !isMetadata(h) }); i >= 0 {
		c.Params["host"], c.Params["outside"] = b.hosts[i], "yes"
	}
	return []diagnose.Cause{c}, nil
}
