package xds

import (
	"fmt"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence/envoy"
)

// ClusterNotFound finds destinations whose route leads to a cluster that the proxy lacks.
var ClusterNotFound = diagnose.Check{
	ID:       "xds/cluster-not-found",
	Severity: diagnose.Blocking,
	Layer:    diagnose.LayerConfig,
	Symptoms: []diagnose.Symptom{diagnose.SymptomRequestsFail},
	Doc: diagnose.Doc{
		Title: "The way to the destination ends at a cluster that isn't there",
		Explanation: "The destination was followed through the proxy's own configuration. Its route leads to a cluster that is not in the proxy, or " +
			"not yet serving. Envoy answers 503 (NC in the access log).",
		Quiet: "When one of several weighted clusters is there, or when the dump doesn't hold the proxy's clusters whole.",
		Remedy: []diagnose.Step{
			{If: "project", Text: "A cluster is made from a backend service. See that it exists, with the scheme INTERNAL_SELF_MANAGED:",
				Command: "gcloud compute backend-services list --project={{project}} --format='table(name,loadBalancingScheme,protocol)'"},
			{Text: "See whether the proxy rejected it:", Command: "curl -s 'http://localhost:15000/config_dump?resource=dynamic_active_clusters&mask=cluster.name,error_state'"},
		},
		References: []string{refDump, "https://cloud.google.com/load-balancing/docs/backend-service"},
	},
	Needs:    walkNeeds,
	Explains: []diagnose.CheckID{"request/no-route"},
	Applies:  asksForWay,
	Evaluate: atHop("", func(w walk, m envoy.Hop) (string, map[string]string) {
		return fmt.Sprintf("%s is routed to cluster %s, which the proxy does not have.", destination(w.query), brief(m.Name, maxNameSize)), nil
	}, envoy.ClusterHop),
}
