package xds

import (
	"fmt"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence/envoy"
)

// InboundPortNotConfigured finds serving ports for which the proxy has no inbound listener.
var InboundPortNotConfigured = diagnose.Check{
	ID:       "xds/inbound-port-not-configured",
	Severity: diagnose.Blocking,
	Layer:    diagnose.LayerConfig,
	Symptoms: []diagnose.Symptom{diagnose.SymptomRequestsFail},
	Doc: diagnose.Doc{
		Title: "The proxy has no inbound listener for the serving port",
		Explanation: "Connections that come in are redirected to the proxy, which must have a listener or filter chain for the port that they were meant " +
			"for. It has none, so it closes them.",
		Quiet: "When a chain takes any port, or the default filter chain does.",
		Remedy: []diagnose.Step{
			{If: "instance", Text: "The VM's serving ports are those of its template. See which it has:",
				Command: `gcloud compute instances describe {{instance}} --zone={{zone}} --project={{project}} --flatten="metadata[gce-service-proxy]"`},
			{Text: "Make a template with --service-proxy=enabled,serving-ports={{port}}, or add the port to BACKEND_INBOUND_PORTS of a manual deployment; with the service routing APIs, an EndpointPolicy must match the port."},
			{If: "project", Text: "See the endpoint policies:", Command: "gcloud network-services endpoint-policies list --project={{project}} --location=global"},
		},
		References: []string{refDump, "https://cloud.google.com/service-mesh/docs/service-routing/auto-vms-options"},
	},
	Needs:   walkNeeds,
	Applies: func(r diagnose.Request) bool { return r.Target.ServingPort != 0 },
	Evaluate: atHop(envoy.Inbound, func(w walk, m envoy.Hop) (string, map[string]string) {
		return fmt.Sprintf("The proxy has no inbound %s for port %d.", m.Kind, w.query.Port), nil
	}, envoy.ListenerHop, envoy.FilterChainHop, envoy.FilterHop),
}
