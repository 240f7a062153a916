package xds

import (
	"fmt"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence/envoy"
)

// NoEndpoints finds destinations whose cluster has no endpoint.
var NoEndpoints = diagnose.Check{
	ID:       "xds/no-endpoints",
	Severity: diagnose.Blocking,
	Layer:    diagnose.LayerBackend,
	Symptoms: []diagnose.Symptom{diagnose.SymptomRequestsFail},
	Doc: diagnose.Doc{
		Title: "The destination's cluster has no endpoint",
		Explanation: "The destination was followed through the proxy's own configuration to its cluster, and the cluster has no endpoint to send to. " +
			"Envoy answers 503 with the flag UH.",
		Quiet: "When one of several weighted clusters has endpoints, when the cluster needs none (original destination), or when the dump was taken " +
			"without ?include_eds and no /clusters was given.",
		Remedy: []diagnose.Step{
			{If: "project", Text: "See which backends the backend service has, and whether their groups have endpoints:",
				Command: "gcloud compute backend-services list --project={{project}} --filter=loadBalancingScheme=INTERNAL_SELF_MANAGED --format='yaml(name,backends)'"},
			{Text: "See the proxy's own view:", Command: "curl -s http://localhost:15000/clusters | grep health_flags"},
		},
		References: []string{refDump, "https://cloud.google.com/load-balancing/docs/negs"},
	},
	Needs:    walkNeeds,
	Explains: []diagnose.CheckID{"request/no-healthy-upstream", "proxyless/produced-zero-addresses"},
	Applies:  asksForWay,
	Evaluate: atHop("", func(w walk, m envoy.Hop) (string, map[string]string) {
		return fmt.Sprintf("%s leads to cluster %s, which has no endpoint at the proxy.", destination(w.query), brief(m.Name, maxNameSize)), nil
	}, envoy.EndpointsHop),
}
