package controlplane

import (
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestNoServiceAccount(t *testing.T) {
	vms := func(l ...evidence.Instance) func(*evidence.Set) { return put(evidence.Instances, l) }
	bare := func(i evidence.Instance) evidence.Instance { i.ServiceAccounts = nil; return i }
	web := webVM(cloudPlatform)
	labelled := bare(web)
	labelled.Labels = map[string]string{evidence.ServiceProxyKey: "on"}
	nameOnly := fromFile(evidence.Instance{Name: "web-1", Zone: "europe-west1-b"})
	gke := bare(web)
	gke.Labels = map[string]string{"goog-gke-node": ""}
	checkstest.Run(t, NoServiceAccount, []checkstest.Case{
		{Name: "the target's VM", Request: vm, Put: vms(bare(web)),
			Want: []checkstest.Want{{Subject: "VM europe-west1-b/web-1", Summary: "VM web-1 has no service account", Confidence: diagnose.Confirmed, Excerpt: "serviceAccounts: none"}}},
		{Name: "the zone as a URL", Request: vm, Put: vms(func() evidence.Instance {
			i := bare(web)
			i.Zone = "https://www.googleapis.com/compute/v1/projects/mesh-prod-4f2a/zones/europe-west1-b"
			return i
		}()), Want: []checkstest.Want{{Subject: "VM europe-west1-b/web-1", Params: map[string]string{"zone": "europe-west1-b"}}}},
		{Name: "a VM of a file that is labelled as a proxy's", Request: files, Put: vms(fromFile(labelled)), Want: []checkstest.Want{{}}},
		{Name: "one of two proxies' VMs", Request: network, Put: vms(proxy(web), called(proxy(bare(web)), "web-2")),
			Want: []checkstest.Want{{Subject: "web-2", Key: "instances/europe-west1-b/web-2"}}},

		{Name: "it has one", Request: vm, Put: vms(web)},
		{Name: "another VM has none", Request: vm, Put: vms(web, called(bare(web), "db-1"))},
		{Name: "the same name in another zone", Request: vm, Put: vms(func() evidence.Instance { i := bare(web); i.Zone = "us-central1-a"; return i }(), web)},
		{Name: "VMs of a file that run no proxy", Request: files, Put: vms(fromFile(bare(web))), Outcome: diagnose.OutcomeSkipped},
		{Name: "a file with names alone", Request: vm, Put: vms(nameOnly), Outcome: diagnose.OutcomeSkipped, Reason: "leaves out"},
		{Name: "a GKE node", Request: vm, Put: vms(gke), Outcome: diagnose.OutcomeSkipped},
		{Name: "not in the answer", Request: vm, Put: vms(), Outcome: diagnose.OutcomeInconclusive},
		{Name: "denied", Request: vm, Put: deny(evidence.Instances.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Request: vm, Put: late(evidence.Instances.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Request: network, Outcome: diagnose.OutcomeSkipped},
	})
}
