package config_test

import (
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/checks/config"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestBootstrapIncomplete(t *testing.T) {
	plain := withNode(nodeUUID + "~10.128.0.7")
	bare := evidence.Bootstrap{Kind: evidence.EnvoyBootstrap, File: "envoy.json", NodeID: "proxy-1", Servers: []string{"127.0.0.1:18000"}, Source: bootFile}
	istio := bare
	istio.Servers = []string{"istiod.istio-system.svc:15012"}
	checkstest.Run(t, config.BootstrapIncomplete, []checkstest.Case{
		{
			Name: "the number is missing", Request: onNetwork, Put: boots(boot(plain, without(evidence.MetadataProject))),
			Want: []checkstest.Want{{
				Subject: "bootstrap envoy.yaml", Summary: "neither node.id nor node.metadata gives the project number.", Key: "", Confidence: diagnose.Confirmed,
				Excerpt: "TRAFFICDIRECTOR_GCP_PROJECT_NUMBER: not there", Params: map[string]string{"missing": "TRAFFICDIRECTOR_GCP_PROJECT_NUMBER"},
			}},
		},
		{
			Name: "both are there and empty", Request: onNetwork, Put: boots(boot(plain, meta(evidence.MetadataProject, ""), meta(evidence.MetadataNetwork, " "))),
			Want: []checkstest.Want{{Summary: "gives the project number or the network.", Excerpt: "TRAFFICDIRECTOR_NETWORK_NAME: empty"}},
		},
		{
			Name: "sidecar.env as shipped, files alone", Request: filesOnly, Put: boots(sidecarEnv("", "")), Unfilled: []string{"project"},
			Want: []checkstest.Want{{Summary: "bootstrap sidecar.env leaves GCP_PROJECT_NUMBER and VPC_NETWORK_NAME empty", Excerpt: "VPC_NETWORK_NAME: empty"}},
		},
		{
			Name: "one of two files", Request: onNetwork, Put: boots(boot(), sidecarEnv(projectNumber, "")),
			Want: []checkstest.Want{{Key: "files/sidecar.env", Params: map[string]string{"missing": "VPC_NETWORK_NAME"}}},
		},
		{
			Name: "an unknown server's bootstrap handed in for a live target", Request: onNetwork, Put: boots(bare),
			Want: []checkstest.Want{{Subject: "bootstrap envoy.json", Excerpt: `node.id: "proxy-1"`}},
		},
		{Name: "v3: node.id alone carries both", Request: onNetwork, Put: boots(grpcBoot(network))},
		{Name: "v3: a Mesh in node.id", Request: onMesh, Put: boots(grpcBoot("mesh:" + meshName))},
		{Name: "v3: a scope in node.id", Request: onScope, Put: boots(grpcBoot("scope:edge"))},
		{Name: "metadata alone carries both", Request: onNetwork, Put: boots(boot(plain))},
		{Name: "a Mesh by name, its network left empty on purpose", Request: onMesh, Put: boots(boot(plain, meta(evidence.MetadataNetwork, ""), meta("TRAFFICDIRECTOR_MESH_NAME", "gketd-checkout")))},
		{Name: "a Mesh scope name", Request: onMesh, Put: boots(boot(plain, without(evidence.MetadataNetwork), meta(evidence.MetadataMesh, meshName)))},
		{Name: "a Gateway scope name", Request: onScope, Put: boots(boot(plain, without(evidence.MetadataNetwork), meta("TRAFFICDIRECTOR_SCOPE_NAME", "edge")))},
		{Name: "sidecar.env with both", Request: filesOnly, Put: boots(sidecarEnv(projectNumber, network))},
		{Name: "empty metadata beside a full node.id", Request: onNetwork, Put: boots(boot(meta(evidence.MetadataProject, ""), meta(evidence.MetadataNetwork, "")))},
		{Name: "an unknown server's bootstrap alone", Request: filesOnly, Put: boots(bare), Outcome: diagnose.OutcomeSkipped},
		{Name: "istiod's, with a live target", Request: onNetwork, Put: boots(istio), Outcome: diagnose.OutcomeSkipped},
		{Name: "unreadable", Request: onNetwork, Put: fail("bootstraps"), Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Request: onNetwork, Put: late("bootstraps"), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not given", Request: onNetwork, Outcome: diagnose.OutcomeSkipped},
	})
}
