package xds

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/envoy"
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
			"ejected by outlier detection, as the proxy sees it. Envoy answers 503 with the flag UH, or, in panic mode, sends to them all the same. " +
			"Where no destination is asked about, every cluster is looked at that /clusters shows.",
		Quiet: "When one endpoint is healthy, degraded or of unknown health: Envoy sends to it. For clusters without endpoints, and for those of traffic that comes in, where no destination is asked about.",
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
	Evaluate: endpointsUnhealthy,
}

func endpointsUnhealthy(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	if !asksForWay(req) {
		return unhealthyClusters(req, v)
	}
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
		c := w.cause(req, fmt.Sprintf("%s that %s leads to %s unhealthy, as the proxy sees it (%s: %s).",
			every(len(hosts)), destination(w.query), are(len(hosts)), hosts[0].Address, hosts[0].Why), map[string]string{"endpoint": hosts[0].Address})
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

// unhealthyClusters looks at all clusters of each /clusters.
func unhealthyClusters(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	states, err := evidence.Get(v, evidence.EnvoyHosts)
	if err != nil {
		return nil, err
	}
	var causes []diagnose.Cause
	for _, s := range states {
		if s.Hosts == nil {
			continue
		}
		var bad []envoy.ClusterHosts
		for _, c := range s.Hosts.Clusters {
			if len(c.Hosts) > 0 && !strings.HasPrefix(c.Name, "inbound") && !slices.ContainsFunc(c.Hosts, envoy.Host.Healthy) {
				bad = append(bad, c)
			}
		}
		if len(bad) == 0 {
			continue
		}
		slices.SortFunc(bad, func(a, b envoy.ClusterHosts) int { return strings.Compare(a.Name, b.Name) })
		first := bad[0].Hosts[0]
		c := diagnose.Cause{
			Subject: "the proxy of " + cmp.Or(s.File, s.Source.Detail), Confidence: diagnose.Confirmed,
			Params: map[string]string{"endpoint": first.Address.String()}, About: diagnose.About{},
			Summary: fmt.Sprintf("%s of cluster %s %s unhealthy, as the proxy sees it (%s: %s).",
				every(len(bad[0].Hosts)), brief(bad[0].Name, maxNameSize), are(len(bad[0].Hosts)), first.Address, strings.Join(first.Flags, ", ")),
		}
		if n := len(bad) - 1; n > 0 {
			c.Summary = strings.TrimSuffix(c.Summary, ".") + fmt.Sprintf(", and so are those of %s.", plural(n, "further cluster"))
		}
		if len(states) > 1 {
			c.Key = "files/" + cmp.Or(s.File, s.Source.Detail)
		}
		var lines []string
		for i, b := range bad {
			c.About[diagnose.AboutCluster] = append(c.About[diagnose.AboutCluster], b.Name)
			if i == maxLines {
				lines = append(lines, fmt.Sprintf("… and %d more", len(bad)-i))
				break
			}
			lines = append(lines, fmt.Sprintf("%s: %s, such as %s: %s", brief(b.Name, maxNameSize), plural(len(b.Hosts), "endpoint"), b.Hosts[0].Address, strings.Join(b.Hosts[0].Flags, ", ")))
		}
		c.Evidence = []diagnose.Exhibit{{Fact: evidence.EnvoyHosts.Name(), Excerpt: strings.Join(lines, "\n"), Source: s.Source}}
		causes = append(causes, c)
	}
	return causes, nil
}

func every(n int) string {
	if n == 1 {
		return "The only endpoint"
	}
	return "All " + plural(n, "endpoint")
}

func are(n int) string {
	if n == 1 {
		return "is"
	}
	return "are"
}
