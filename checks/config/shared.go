package config

import "github.com/meshdiag/meshdiag/diagnose"

// explainedByConfig are the symptoms of a proxy for which the control plane has no configuration.
var explainedByConfig = []diagnose.CheckID{
	"controlplane/no-client-connected", "controlplane/client-not-connected", "controlplane/stream-errors", "config/not-found-logged", "controlplane/api-errors",
	"xds/no-dynamic-config", "xds/initial-fetch-timeout", "vm/envoy-not-live", "proxyless/produced-zero-addresses",
}

// Pages that several checks refer to.
const (
	refAttributes  = "https://cloud.google.com/service-mesh/docs/per-proxy-config"
	refRules       = "https://docs.cloud.google.com/service-mesh/legacy/load-balancing-apis/forwarding-rules"
	refLimitations = "https://cloud.google.com/traffic-director/docs/limitations"
	refXDS         = "https://cloud.google.com/traffic-director/docs/xds-control-plane-apis"
	refMeshSetup   = "https://docs.cloud.google.com/service-mesh/docs/service-routing/set-up-envoy-http-mesh"
	refAutoVMs     = "https://cloud.google.com/service-mesh/docs/service-routing/auto-vms-options"
	refGRPCProxy   = "https://cloud.google.com/compute/docs/reference/rest/v1/targetGrpcProxies"
	refRuleAPI     = "https://cloud.google.com/compute/docs/reference/rest/v1/globalForwardingRules/insert"
)

// errNoBootstrap is the answer of checks of bootstraps where those given are for other control planes.
var errNoBootstrap = diagnose.Skip("none of the bootstraps given is for Traffic Director")
