package request

import (
	"fmt"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// NoRoute finds requests for which the proxy had no route.
var NoRoute = diagnose.Check{
	ID:       "request/no-route",
	Severity: diagnose.Degrading,
	Layer:    diagnose.LayerConfig,
	Symptoms: []diagnose.Symptom{diagnose.SymptomRequestsFail},
	Doc: diagnose.Doc{
		Title: "The proxy has no route for requests",
		Explanation: "Response flag NR: no virtual host has the host asked for, or none of its routes matches; the proxy answers 404. With NC the route leads to a cluster " +
			"that the proxy doesn't have, and it answers 503. A host and the same host with a port are different to a virtual host that doesn't list both.",
		Quiet: "For connections without a filter chain (request/mtls-mismatch) and for what REGISTRY_ONLY blocks (request/egress-blackholed). Names that nobody in the mesh serves, as scanners ask gateways for, do show.",
		Remedy: []diagnose.Step{
			{If: "host", Text: "Take the configuration of the proxy that logged this, and let meshdiag follow the way of the request through it", Command: "curl -s 'http://localhost:15000/config_dump?include_eds' > config_dump.json && meshdiag diagnose -f config_dump.json --destination {{host}}"},
			{If: "project", Text: "Do the host rules of the URL map list the host, with the port it is asked for with?", Command: "gcloud compute url-maps list --project={{project}} --format='yaml(name,hostRules)'"},
			{Text: "With the Istio APIs: does a VirtualService list the host, and is it bound to this gateway (or mesh)?", Command: "kubectl get virtualservices,gateways.networking.istio.io -A"},
		},
		References: []string{refFlags, "https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/route/v3/route_components.proto"},
	},
	Needs:    []evidence.Name{evidence.AccessLogs.Name()},
	Evaluate: noRoute,
}

func noRoute(_ diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	groups, err := evidence.Get(v, evidence.AccessLogs)
	if err != nil {
		return nil, err
	}
	list, more := bunches(groups, func(g evidence.AccessGroup) bool {
		return (flagged(g, "NR", "NC") || g.Details == "route_not_found" || g.Details == "cluster_not_found") && !plaintextRefused(g) && !blackholed(g)
	})
	var causes []diagnose.Cause
	for _, b := range list {
		what := "the proxy has no route for them"
		if g := b.groups[0]; flagged(g, "NC") || g.Details == "cluster_not_found" {
			what = "their route leads to a cluster that the proxy does not have"
		}
		causes = append(causes, b.cause(diagnose.Likely, fmt.Sprintf("%s failed: %s.", b.share(), what)))
	}
	return leftOut(causes, more), nil
}
