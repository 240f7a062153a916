package vm

import (
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestNotServiceProxy(t *testing.T) {
	client := func(node string, kv ...string) func(*evidence.Set) {
		c := evidence.Client{NodeID: "projects/482915067713/networks/mesh-vpc/nodes/" + node, Metadata: map[string]string{}}
		for n := 0; n < len(kv); n += 2 {
			c.Metadata[kv[n]] = kv[n+1]
		}
		return put(evidence.Clients, evidence.ClientList{Clients: []evidence.Client{c}})
	}
	nobody := put(evidence.Clients, evidence.ClientList{})
	bare := vms(web(plain))
	labelled := vms(web(plain, func(i *evidence.Instance) { i.Labels = map[string]string{evidence.ServiceProxyKey: "on"} }))
	checkstest.Run(t, NotServiceProxy, []checkstest.Case{
		{Name: "no entry, no client", Request: target, Put: all(bare, nobody),
			Want: []checkstest.Want{{Subject: "VM europe-west1-b/web-1", Summary: "was not made with --service-proxy", Confidence: diagnose.Possible, Excerpt: "has the entries ssh-keys"}}},
		{Name: "others are connected", Request: target, Put: all(bare, client("8f1c0a52-71de-4a4d-9d0b-6a1f3c2b9e77~10.128.0.55")), Want: []checkstest.Want{{}}},
		{Name: "the label without the entry", Request: target, Put: all(labelled, deny(evidence.Clients.Name())), Want: []checkstest.Want{{Confidence: diagnose.Likely, Summary: "has the label gce-service-proxy=on"}}},

		{Name: "the entry is there", Request: target, Put: all(vms(web()), nobody)},
		{Name: "deployed by hand: a bootstrap", Request: target, Put: all(bare, nobody, putFrom(evidence.Bootstraps, []evidence.Bootstrap{{Kind: evidence.EnvoyBootstrap}}, pasted))},
		{Name: "deployed by hand: connected by address", Request: target, Put: all(bare, client("8f1c0a52~10.128.0.5"))},
		{Name: "deployed by hand: connected by number", Request: target, Put: all(bare, client("x", "TRAFFIC_DIRECTOR_CLIENT_ENVIRONMENT", `{"INSTANCE-ID":"3633122484352464042"}`))},
		{Name: "deployed by hand: its status", Request: target, Put: all(bare, nobody, put(evidence.ClientStatuses, []evidence.ClientStatus{{Client: evidence.Client{NodeID: "a~10.128.0.5"}}}))},
		{Name: "deployed by hand: Envoy runs", Request: target, Put: all(bare, nobody, putFrom(evidence.Processes, []evidence.ProcessList{{List: []evidence.Process{{Command: "envoy"}}}}, pasted))},
		{Name: "deployed by hand: it answers", Request: target, Put: all(bare, nobody, putFrom(evidence.EnvoyInfos, []evidence.EnvoyInfo{{}}, pasted))},
		{Name: "something reported", Request: target, Put: all(bare, nobody, attrs("proxy-version", "x"))},
		{Name: "a GKE node", Request: target, Put: all(vms(web(plain, func(i *evidence.Instance) { i.Labels = map[string]string{gkeLabel: ""} })), nobody), Outcome: diagnose.OutcomeSkipped},
		{Name: "stopped", Request: target, Put: all(vms(web(plain, status("TERMINATED"))), nobody), Outcome: diagnose.OutcomeSkipped},
		{Name: "a file without metadata", Request: target, Put: all(vms(web(fromFile, metadata())), nobody), Outcome: diagnose.OutcomeSkipped},
		{Name: "the clients aren't known", Request: target, Put: all(bare, deny(evidence.Clients.Name())), Outcome: diagnose.OutcomeInconclusive},
		{Name: "no VM named", Request: network, Put: all(bare, nobody), Outcome: diagnose.OutcomeSkipped},
		{Name: "denied", Request: target, Put: all(nobody, deny(evidence.Instances.Name())), Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Request: target, Put: late(evidence.Instances.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Request: target, Outcome: diagnose.OutcomeSkipped},
	})
}
