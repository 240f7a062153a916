package xds

import (
	"fmt"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// EndpointsUnhealthy finds destinations all of whose endpoints the proxy itself holds for unhealthy.
var EndpointsUnhealthy = diagnose.Check{
	ID:       "xds/endpoints-unhealthy",
	Severity: diagnose.Blocking,
	Layer:    diagnose.LayerBackend,
	Symptoms: []diagnose.Symptom{diagnose.SymptomRequestsFail},
	Doc: diagnose.Doc{
		Title: "The proxy holds every endpoint for unhealthy",
		Explanation: "The destination was followed through the proxy's own configuration to its endpoints, and each of them fails its health check or was " +
			"ejected by outlier detection, as the proxy sees it. Envoy answers 503 with the flag UH, or, in panic mode, sends to them all the same.",
		Quiet: "When one endpoint is healthy, degraded or of unknown health: Envoy sends to it.",
		Remedy: []diagnose.Step{
			{Text: "See the proxy's own flags for each endpoint:", Command: "curl -s http://localhost:15000/clusters | grep health_flags"},
			{If: "endpoint", Text: "From the proxy's host, try one:", Command: "curl -s -m 5 -o /dev/null -w '%{http_code}\\n' http://{{endpoint}}/"},
			{If: "project", Text: "See what Google's health checks say:",
				Command: "gcloud compute backend-services list --project={{project}} --filter=loadBalancingScheme=INTERNAL_SELF_MANAGED --format='value(name)' | xargs -n 1 gcloud compute backend-services get-health --global --project={{project}}"},
		},
		References: []string{"https://www.envoyproxy.io/docs/envoy/latest/operations/admin#get--clusters",
			"https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/panic_threshold"},
	},
	Needs:    walkNeeds,
	Explains: []diagnose.CheckID{"request/no-healthy-upstream"},
	Applies:  asksForWay,
	Evaluate: endpointsUnhealthy,
}

func endpointsUnhealthy(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	list, open, err := walks(req, v)
	if err != nil {
		return nil, err
	}
	var causes []diagnose.Cause
	for _, w := range list {
		hosts := w.result.Hosts
		if w.result.Unknown != nil || !w.result.AllUnhealthy() {
			continue
		}
		c := w.cause(req, fmt.Sprintf("All %s that %s leads to are unhealthy, as the proxy sees them (%s: %s).",
			plural(len(hosts), "endpoint"), destination(w.query), hosts[0].Address, hosts[0].Why), map[string]string{"endpoint": hosts[0].Address})
		for i, h := range hosts {
			if i == maxLines {
				c.Evidence[0].Excerpt += fmt.Sprintf("\n… and %d more", len(hosts)-i)
				break
			}
			c.Evidence[0].Excerpt += fmt.Sprintf("\n%s of %s: %s", h.Address, brief(h.Cluster, maxNameSize), h.Why)
		}
		causes = append(causes, c)
	}
	if len(causes) > 0 {
		return causes, nil
	}
	return nil, open
}
