package xds

import (
	"fmt"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence/envoy"
)

const (
	refDump   = "https://www.envoyproxy.io/docs/envoy/latest/operations/admin#get--config_dump"
	refChains = "https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/listener/v3/listener_components.proto#config-listener-v3-filterchainmatch"
	refVHosts = "https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/route/v3/route_components.proto#config-route-v3-virtualhost"
	refRules  = "https://cloud.google.com/load-balancing/docs/forwarding-rule-concepts"
)

// listSelfManaged lists Traffic Director's forwarding rules with what they match.
const listSelfManaged = "gcloud compute forwarding-rules list --project={{project}} --filter=loadBalancingScheme=INTERNAL_SELF_MANAGED " +
	"--format='table(name,network.basename(),IPAddress,portRange,target.basename())'"

// DestinationNotConfigured finds destinations that no listener, filter chain or virtual host of the proxy takes.
var DestinationNotConfigured = diagnose.Check{
	ID:       "xds/destination-not-configured",
	Severity: diagnose.Blocking,
	Layer:    diagnose.LayerConfig,
	Symptoms: []diagnose.Symptom{diagnose.SymptomRequestsFail},
	Doc: diagnose.Doc{
		Title: "The proxy has no configuration for this destination",
		Explanation: "The destination was followed through the proxy's own configuration as Envoy does it: the listener by address, the filter " +
			"chain by destination port first and then by the longest prefix, without going back, else the default chain; then the virtual " +
			"host by the request's host. Nothing takes it, so the proxy closes the connection or answers 404.",
		Quiet: "When a wildcard, a chain without criteria or the default filter chain takes it, or when what decides was not given.",
		Remedy: []diagnose.Step{
			{If: "project", Text: "A forwarding rule (or a Mesh's route) must name this very address and port. See what the rules match:", Command: listSelfManaged},
			{If: "project", Text: "And which hosts the URL maps and routes know:",
				Command: "gcloud compute url-maps list --project={{project}} --format='yaml(name,hostRules)'"},
			{Text: "See what the proxy itself has:", Command: "curl -s 'http://localhost:15000/config_dump?include_eds' | grep -n '{{port}}'"},
		},
		References: []string{refDump, refChains, refVHosts, refRules},
	},
	Needs:    walkNeeds,
	Explains: []diagnose.CheckID{"request/no-route"},
	Applies:  asksForWay,
	Evaluate: atHop(envoy.Outbound, notConfigured, envoy.ListenerHop, envoy.FilterChainHop, envoy.FilterHop, envoy.VirtualHostHop),
}

func notConfigured(w walk, m envoy.Hop) (string, map[string]string) {
	what := map[envoy.HopKind]string{
		envoy.ListenerHop: "no listener takes it", envoy.FilterChainHop: "no filter chain of its listener matches",
		envoy.FilterHop: "its filter chain leads nowhere", envoy.VirtualHostHop: "no virtual host has a domain for it",
	}[m.Kind]
	return fmt.Sprintf("%s is not configured at the proxy: %s.", destination(w.query), what), nil
}
