package xds

import (
	"fmt"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence/envoy"
)

// RouteNotFound finds destinations whose listener names a route configuration that the proxy lacks, or whose virtual host
// has no route for the request.
var RouteNotFound = diagnose.Check{
	ID:       "xds/route-not-found",
	Severity: diagnose.Blocking,
	Layer:    diagnose.LayerConfig,
	Symptoms: []diagnose.Symptom{diagnose.SymptomRequestsFail},
	Doc: diagnose.Doc{
		Title: "The way to the destination ends at a route that isn't there",
		Explanation: "The destination was followed through the proxy's own configuration. Its listener takes it, and then the route configuration " +
			"that the listener names is not in the proxy, or none of its routes matches. Envoy answers 404 (NR in the access log).",
		Quiet: "When a route takes every path, or when the dump doesn't hold the proxy's routes whole.",
		Remedy: []diagnose.Step{
			{If: "project", Text: "Routes come from URL maps and from the routes of a Mesh. See their path matchers:",
				Command: "gcloud compute url-maps list --project={{project}} --format='yaml(name,hostRules,pathMatchers)'"},
			{Text: "See which route configurations the proxy has:", Command: "curl -s 'http://localhost:15000/config_dump?resource=dynamic_route_configs'"},
		},
		References: []string{refDump, refVHosts},
	},
	Needs:    walkNeeds,
	Explains: []diagnose.CheckID{"request/no-route"},
	Applies:  asksForWay,
	Evaluate: atHop("", func(w walk, m envoy.Hop) (string, map[string]string) {
		if m.Kind == envoy.RouteEntryHop {
			return fmt.Sprintf("%s reaches a virtual host of the proxy, and none of its routes matches.", destination(w.query)), nil
		}
		return fmt.Sprintf("%s is sent to route configuration %s, which the proxy does not have.", destination(w.query), brief(m.Name, maxNameSize)), nil
	}, envoy.RouteHop, envoy.RouteEntryHop),
}
