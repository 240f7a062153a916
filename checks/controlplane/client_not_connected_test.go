package controlplane

import (
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestClientNotConnected(t *testing.T) {
	clients := func(c ...evidence.Client) func(*evidence.Set) {
		return put(evidence.Clients, evidence.ClientList{ProjectNumber: number, Clients: c})
	}
	other := evidence.Client{NodeID: nodes + "11111111-2222-4333-8444-555555555555~10.128.0.9"}
	near := evidence.Client{NodeID: nodes + "8f1c0a52-71de-4a4d-9d0b-6a1f3c2b9e78~10.128.0.6"}
	mute := evidence.Client{NodeID: nodes + "99999999-2222-4333-8444-555555555555"}
	web := put(evidence.Instances, []evidence.Instance{{Name: "web-1", Zone: "europe-west1-b", ID: "3633122484352464042", Addresses: []string{"10.128.0.5"}}})
	pod := diagnose.Request{Target: diagnose.Target{Project: projectID, Mesh: "prod-mesh", NodeID: "projects/" + number +
		"/networks/mesh:prod-mesh/nodes/sidecar~10.4.0.7~checkout-6d5f9c7b8d-x2x9p.shop~shop.svc.cluster.local"}}
	bare := diagnose.Request{Target: diagnose.Target{Project: projectID, Network: vpc, NodeID: nodes + "checkout-6d5f9c7b8d-x2x9p"}}
	checkstest.Run(t, ClientNotConnected, []checkstest.Case{
		{Name: "others are listed", Request: node, Put: clients(other, near),
			Want: []checkstest.Want{{Subject: nodeID, Summary: "lists 2 clients for network mesh-vpc, and not node 8f1c0a52", Confidence: diagnose.Likely,
				Params: map[string]string{"nearest": near.NodeID + ", " + other.NodeID}, Excerpt: near.NodeID}}},
		{Name: "a pod", Request: pod, Put: clients(evidence.Client{NodeID: "projects/482915067713/networks/mesh:prod-mesh/nodes/sidecar~10.4.0.8~checkout-6d5f9c7b8d-aaaaa.shop~shop.svc.cluster.local"}),
			Want: []checkstest.Want{{Summary: "lists 1 client for Mesh prod-mesh"}}},
		{Name: "a VM, and every client says where it runs", Request: vm, Put: all(web, clients(other, near)),
			Want: []checkstest.Want{{Subject: "VM europe-west1-b/web-1", Summary: "lists 2 clients"}}},
		{Name: "another VM's client, by metadata", Request: vm, Put: all(web, clients(evidence.Client{NodeID: mute.NodeID,
			Metadata: map[string]string{"TRAFFIC_DIRECTOR_CLIENT_ENVIRONMENT": `{"GCE-VM":"web-2","INSTANCE-ID":"7"}`}})), Want: []checkstest.Want{{}}},

		{Name: "listed", Request: node, Put: clients(other, evidence.Client{NodeID: nodeID})},
		{Name: "listed under another id with its address", Request: node, Put: clients(evidence.Client{NodeID: nodes + "aaaaaaaa-2222-4333-8444-555555555555~10.128.0.5"})},
		{Name: "its address in the metadata", Request: node, Put: clients(evidence.Client{NodeID: mute.NodeID, Metadata: map[string]string{"INSTANCE_IP": "10.128.0.5"}})},
		{Name: "its UUID with another address", Request: node, Put: clients(evidence.Client{NodeID: nodes + "8f1c0a52-71de-4a4d-9d0b-6a1f3c2b9e77~10.128.0.77"})},
		{Name: "asked for by pod name", Request: bare, Put: clients(evidence.Client{NodeID: nodes + "sidecar~10.4.0.7~checkout-6d5f9c7b8d-x2x9p.shop~shop.svc.cluster.local"})},
		{Name: "the VM by number", Request: vm, Put: all(web, clients(evidence.Client{NodeID: mute.NodeID,
			Metadata: map[string]string{"TRAFFIC_DIRECTOR_CLIENT_ENVIRONMENT": `{"INSTANCE-ID":"3633122484352464042"}`}}))},
		{Name: "the VM by address", Request: vm, Put: all(web, clients(other, evidence.Client{NodeID: nodeID}))},
		{Name: "a VM, and a client does not say where it runs", Request: vm, Put: all(web, clients(other, mute)), Outcome: diagnose.OutcomeInconclusive, Reason: "1 of the 2"},
		{Name: "the VM was not read", Request: vm, Put: all(deny(evidence.Instances.Name()), clients(other)), Outcome: diagnose.OutcomeInconclusive},
		{Name: "no such VM in the answer", Request: vm, Put: all(put(evidence.Instances, nil), clients(other)), Outcome: diagnose.OutcomeInconclusive, Reason: "not among"},
		{Name: "nobody is listed", Request: node, Put: clients(), Outcome: diagnose.OutcomeSkipped},
		{Name: "denied", Request: node, Put: deny(evidence.Clients.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Request: node, Put: late(evidence.Clients.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "a part is denied", Request: node, Put: all(clients(other), deny(evidence.Clients.Name())), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Request: node, Outcome: diagnose.OutcomeSkipped},
		{Name: "no proxy named", Request: network, Put: clients(other), Outcome: diagnose.OutcomeSkipped},
	})
}
