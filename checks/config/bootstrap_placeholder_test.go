package config_test

import (
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/checks/config"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func holding(p ...evidence.Placeholder) func(*evidence.Bootstrap) {
	return func(b *evidence.Bootstrap) { b.Placeholders = p }
}

func TestBootstrapPlaceholder(t *testing.T) {
	id := evidence.Placeholder{Field: "node.id", Value: "projects/PROJECT_NUMBER/networks/VPC_NETWORK_NAME/nodes/UUID"}
	number := evidence.Placeholder{Field: "node.metadata.TRAFFICDIRECTOR_GCP_PROJECT_NUMBER", Value: "<PROJECT_NUMBER>"}
	network := evidence.Placeholder{Field: "VPC_NETWORK_NAME", Value: "${VPC_NETWORK_NAME}"}
	istio := evidence.Bootstrap{Kind: evidence.EnvoyBootstrap, File: "istio.json", NodeID: "${NODE}", Servers: []string{"istiod.istio-system.svc:15012"}, Placeholders: []evidence.Placeholder{id}}
	checkstest.Run(t, config.BootstrapPlaceholder, []checkstest.Case{
		{
			Name: "node id", Request: onNetwork, Put: boots(boot(withNode(id.Value), holding(id))),
			Want: []checkstest.Want{{
				Subject: "bootstrap envoy.yaml", Summary: "PROJECT_NUMBER", Key: "", Confidence: diagnose.Confirmed, Excerpt: "node.id",
				Params: map[string]string{"file": "envoy.yaml", "field": "node.id"},
			}},
		},
		{
			Name: "several fields", Request: filesOnly, Put: boots(boot(holding(number, id, network, id))),
			Want: []checkstest.Want{{Summary: "and 1 more", Excerpt: "<PROJECT_NUMBER>"}},
		},
		{
			Name: "one of two files", Request: filesOnly, Put: boots(boot(), func() evidence.Bootstrap {
				b := sidecarEnv(projectNumber, network.Value)
				b.Placeholders = []evidence.Placeholder{network}
				return b
			}()),
			Want: []checkstest.Want{{Key: "files/sidecar.env", Summary: `"${VPC_NETWORK_NAME}" in VPC_NETWORK_NAME`}},
		},
		{Name: "filled in", Request: onNetwork, Put: boots(boot(), grpcBoot("mesh-vpc"))},
		{Name: "empty values are another row's", Request: onNetwork, Put: boots(sidecarEnv("", ""))},
		{Name: "an istiod's template", Request: onNetwork, Put: boots(istio), Outcome: diagnose.OutcomeSkipped, Reason: "none of the bootstraps"},
		{Name: "unreadable", Request: onNetwork, Put: fail("bootstraps"), Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Request: onNetwork, Put: late("bootstraps"), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not given", Request: onNetwork, Outcome: diagnose.OutcomeSkipped},
	})
}
