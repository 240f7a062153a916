package config_test

import (
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/checks/config"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func meshes(names ...string) func(*evidence.Set) {
	var out []evidence.Mesh
	for _, n := range names {
		out = append(out, evidence.Mesh{Name: n, Location: "global", Project: projectID})
	}
	return put(evidence.Meshes, out)
}

func gateways(g ...evidence.Gateway) func(*evidence.Set) { return put(evidence.Gateways, g) }

func edge(name string) evidence.Gateway {
	return evidence.Gateway{Name: name, Location: "global", Scope: "edge", Type: "OPEN_MESH"}
}

func TestMeshNotFound(t *testing.T) {
	given := func(req diagnose.Request) diagnose.Request {
		req.Artifacts = []diagnose.Artifact{{Name: "envoy.yaml"}}
		return req
	}
	checkstest.Run(t, config.MeshNotFound, []checkstest.Case{
		{
			Name: "another name", Request: onMesh, Put: meshes("checkout-mash", "payments"),
			Want: []checkstest.Want{{
				Subject: "Mesh checkout-mesh of project mesh-prod-4f2a", Confidence: diagnose.Confirmed, Key: "",
				Summary: `No Mesh is called "checkout-mesh": the project has "checkout-mash", "payments". The closest name is "checkout-mash".`,
				Excerpt: "2 Meshes", Params: map[string]string{"near": "checkout-mash", "mesh": meshName},
			}},
		},
		{Name: "none at all", Request: onMesh, Put: meshes(), Want: []checkstest.Want{{Summary: "the project has no Mesh."}}},
		{
			Name: "asked with the prefix", Request: diagnose.Request{Target: diagnose.Target{Project: projectID, Mesh: "mesh:" + meshName}}, Put: meshes("a"),
			Want: []checkstest.Want{{Subject: "Mesh checkout-mesh", Params: map[string]string{"mesh": meshName}}},
		},
		{
			Name: "a scope", Request: onScope, Put: gateways(evidence.Gateway{Name: "edge", Scope: "edge-gw"}),
			Want: []checkstest.Want{{Subject: "Gateway scope edge", Summary: `the project has "edge-gw"`, Params: map[string]string{"scope": "edge", "near": "edge-gw"}}},
		},
		{
			Name: "the bootstrap's Mesh, the one asked about exists", Request: given(onMesh),
			Put:  puts(meshes(meshName), boots(boot(onSegment("mesh:checkout")))),
			Want: []checkstest.Want{{Subject: "Mesh checkout of", Summary: `bootstrap envoy.yaml names Mesh "checkout", which does not exist`, Excerpt: `node.id: "checkout"`, Params: map[string]string{"near": meshName}}},
		},
		{
			Name: "the node asked about", Request: asking(onNetwork, node("mesh:gone")), Put: meshes(meshName),
			Want: []checkstest.Want{{Subject: "Mesh gone", Summary: "node projects/"}},
		},
		{Name: "there", Request: onMesh, Put: meshes("other", meshName)},
		{Name: "there, in another location", Request: onMesh, Put: put(evidence.Meshes, []evidence.Mesh{{Name: meshName, Location: "us-central1"}})},
		{Name: "the scope is there", Request: onScope, Put: gateways(edge("gw-1"))},
		{Name: "a Gateway of the name isn't a scope", Request: onScope, Put: gateways(evidence.Gateway{Name: "edge"}), Want: []checkstest.Want{{Summary: "the project has no Gateway scope."}}},
		{Name: "a Mesh of managed Cloud Service Mesh", Request: diagnose.Request{Target: diagnose.Target{Project: projectID, Mesh: "gsmmesh-ab12-c1-us-central1-0123456789ab"}}, Put: meshes(), Outcome: diagnose.OutcomeSkipped, Reason: "managed"},
		{Name: "a network", Request: onNetwork, Put: meshes(), Outcome: diagnose.OutcomeSkipped},
		{Name: "a network's bootstrap", Request: given(onNetwork), Put: puts(meshes(), boots(boot())), Outcome: diagnose.OutcomeSkipped, Reason: "nothing names"},
		{Name: "files alone: a Mesh's bootstrap, and nothing to compare with", Request: given(filesOnly), Put: boots(grpcBoot("mesh:" + meshName)), Outcome: diagnose.OutcomeSkipped, Reason: "meshes was not asked for"},
		{Name: "denied", Request: onMesh, Put: fail("meshes"), Outcome: diagnose.OutcomeInconclusive},
		{Name: "a location denied", Request: onMesh, Put: puts(meshes("a"), failPart("meshes")), Outcome: diagnose.OutcomeInconclusive},
		{Name: "a location denied, there in another", Request: onMesh, Put: puts(meshes(meshName), failPart("meshes"))},
		{Name: "gateways late", Request: onScope, Put: late("gateways"), Outcome: diagnose.OutcomeInconclusive},
	})
}
