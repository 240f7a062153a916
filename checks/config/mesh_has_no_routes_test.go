package config_test

import (
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/checks/config"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestMeshHasNoRoutes(t *testing.T) {
	routes := func(r ...evidence.Route) func(*evidence.Set) { return put(evidence.Routes, r) }
	toMesh := func(kind, mesh string) evidence.Route {
		return evidence.Route{Kind: kind, Name: kind + "-1", Location: "global", Meshes: []string{mesh}, Hostnames: []string{"checkout.svc"}}
	}
	toGateway := func(gw string) evidence.Route {
		return evidence.Route{Kind: "http", Name: "in", Location: "global", Gateways: []string{gw}}
	}
	checkstest.Run(t, config.MeshHasNoRoutes, []checkstest.Case{
		{
			Name: "no route in the project", Request: onMesh, Put: puts(meshes(meshName), routes()),
			Want: []checkstest.Want{{
				Subject: "Mesh checkout-mesh", Summary: "the project has no route of any kind", Key: "", Confidence: diagnose.Confirmed,
				Excerpt: "routes of any kind: 0", Params: map[string]string{"mesh": meshName, "location": "global"},
			}},
		},
		{
			Name: "all routes are another Mesh's", Request: onMesh, Put: puts(meshes(meshName, "payments"), routes(toMesh("http", "payments"), toMesh("grpc", "payments"))),
			Want: []checkstest.Want{{Summary: `none of the project's 2 routes names the Mesh: they name "payments".`, Params: map[string]string{"elsewhere": "payments", "route": "http-1", "route_kind": "http"}}},
		},
		{
			Name: "a scope whose Gateway has none", Request: onScope, Put: puts(gateways(edge("gw-1")), routes(toGateway("gw-2"), toMesh("http", "gw-1"))),
			Want: []checkstest.Want{{Subject: "Gateway scope edge", Summary: `names a Gateway with the scope ("gw-1")`, Params: map[string]string{"gateway": "gw-1"}}},
		},
		{
			Name: "the Mesh a bootstrap names", Request: diagnose.Request{Target: onNetwork.Target, Artifacts: []diagnose.Artifact{{Name: "b.json"}}},
			Put:  puts(meshes(meshName), routes(), boots(grpcBoot("mesh:"+meshName))),
			Want: []checkstest.Want{{Subject: "Mesh checkout-mesh", Excerpt: "node.id"}},
		},
		{Name: "a TLS route", Request: onMesh, Put: puts(meshes(meshName), routes(toMesh("tls", meshName)))},
		{Name: "a route named by URL", Request: onMesh, Put: puts(meshes(meshName), routes(toMesh("tcp", "projects/p/locations/global/meshes/"+meshName)))},
		{Name: "one of two Gateways of the scope", Request: onScope, Put: puts(gateways(edge("gw-1"), edge("gw-2")), routes(toGateway("gw-2")))},
		{Name: "no such Mesh is another row's", Request: onMesh, Put: puts(meshes("payments"), routes())},
		{Name: "another Mesh without routes", Request: onMesh, Put: puts(meshes(meshName, "spare"), routes(toMesh("http", meshName)))},
		{Name: "a network", Request: onNetwork, Put: puts(meshes(meshName), routes()), Outcome: diagnose.OutcomeSkipped},
		{Name: "files that name none", Request: filesOnly, Put: puts(meshes(meshName), routes()), Outcome: diagnose.OutcomeSkipped},
		{Name: "routes denied", Request: onMesh, Put: puts(meshes(meshName), fail("routes")), Outcome: diagnose.OutcomeInconclusive},
		{Name: "one kind of route denied", Request: onMesh, Put: puts(meshes(meshName), routes(), failPart("routes")), Outcome: diagnose.OutcomeInconclusive},
		{Name: "one kind denied, a route of another is there", Request: onMesh, Put: puts(meshes(meshName), routes(toMesh("grpc", meshName)), failPart("routes"))},
		{Name: "meshes late", Request: onMesh, Put: puts(late("meshes"), routes()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "a part of the Gateways denied", Request: onScope, Put: puts(gateways(edge("gw-1")), failPart("gateways"), routes()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Request: onMesh, Outcome: diagnose.OutcomeSkipped},
	})
}
