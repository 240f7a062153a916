package controlplane

import (
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestNoClientConnected(t *testing.T) {
	none := evidence.ClientList{ProjectNumber: number, Scope: "network", ScopeName: vpc}
	one := evidence.ClientList{ProjectNumber: number, Clients: []evidence.Client{{NodeID: nodeID}}}
	checkstest.Run(t, NoClientConnected, []checkstest.Case{
		{Name: "a network nobody is on", Request: network, Put: all(put(evidence.Clients, none), put(evidence.Meshes, nil)),
			Want: []checkstest.Want{{Subject: "network mesh-vpc of project 482915067713", Summary: "lists no client for network mesh-vpc", Confidence: diagnose.Likely,
				Excerpt: "projects/482915067713/networks/mesh-vpc: none", Params: map[string]string{"expected": vpc}}}},
		{Name: "a mesh", Request: meshReq, Put: put(evidence.Clients, evidence.ClientList{}),
			Want: []checkstest.Want{{Subject: "Mesh prod-mesh of project mesh-prod-4f2a", Confidence: diagnose.Likely, Params: map[string]string{"expected": "mesh:prod-mesh"}}}},
		{Name: "a Gateway scope", Request: scopeReq, Put: put(evidence.Clients, none), Want: []checkstest.Want{{Subject: "Gateway scope edge"}}},
		{Name: "a VM on a network without clients", Request: vm, Put: all(put(evidence.Clients, none), put(evidence.Meshes, nil)), Want: []checkstest.Want{{}}},
		{Name: "whether there are Meshes is denied", Request: network, Put: all(put(evidence.Clients, none), deny(evidence.Meshes.Name())),
			Want: []checkstest.Want{{Summary: "could not be seen", Confidence: diagnose.Possible}}},

		{Name: "one client", Request: network, Put: put(evidence.Clients, one)},
		{Name: "the project has Meshes", Request: network, Put: all(put(evidence.Clients, none), put(evidence.Meshes, []evidence.Mesh{{Name: "prod-mesh"}})),
			Outcome: diagnose.OutcomeInconclusive, Reason: "ask for prod-mesh"},
		{Name: "denied", Request: network, Put: deny(evidence.Clients.Name()), Outcome: diagnose.OutcomeInconclusive, Reason: "not allowed"},
		{Name: "late", Request: network, Put: late(evidence.Clients.Name()), Outcome: diagnose.OutcomeInconclusive, Reason: "in time"},
		{Name: "a part is denied", Request: network, Put: all(put(evidence.Clients, none), deny(evidence.Clients.Name())), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Request: network, Outcome: diagnose.OutcomeSkipped},
		{Name: "an empty answer from a file", Request: network, Put: putFrom(evidence.Clients, evidence.ClientList{}, pasted), Outcome: diagnose.OutcomeSkipped},
		{Name: "files alone", Request: files, Put: putFrom(evidence.Clients, evidence.ClientList{}, pasted), Outcome: diagnose.OutcomeSkipped},
	})
}
