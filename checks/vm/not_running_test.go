package vm

import (
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestNotRunning(t *testing.T) {
	db := func(i *evidence.Instance) { i.Name = "db-1" }
	checkstest.Run(t, NotRunning, []checkstest.Case{
		{Name: "terminated", Request: target, Put: vms(web(status("TERMINATED"))),
			Want: []checkstest.Want{{Subject: "VM europe-west1-b/web-1", Summary: "VM web-1 is TERMINATED", Confidence: diagnose.Confirmed, Excerpt: "status TERMINATED"}}},
		{Name: "suspended", Request: target, Put: vms(web(status("SUSPENDED"))), Want: []checkstest.Want{{Params: map[string]string{"suspended": "yes"}}}},
		{Name: "being stopped, whatever it was made for", Request: target, Put: vms(web(plain, status("STOPPING"))), Want: []checkstest.Want{{}}},
		{Name: "the one proxy's VM of a file", Request: files, Put: vms(web(fromFile, status("TERMINATED"))), Want: []checkstest.Want{{Params: map[string]string{"project": projectID}}}},

		{Name: "it runs", Request: target, Put: vms(web())},
		{Name: "another VM is stopped", Request: target, Put: vms(web(db, status("TERMINATED")), web())},
		{Name: "the same name in another zone", Request: target, Put: vms(web(status("TERMINATED"), func(i *evidence.Instance) { i.Zone = "us-central1-a" }), web())},
		{Name: "starting", Request: target, Put: vms(web(status("STAGING"))), Outcome: diagnose.OutcomeInconclusive, Reason: "isn't up yet"},
		{Name: "a list of VMs, some of them stopped", Request: files, Put: vms(web(fromFile, status("TERMINATED")), web(fromFile, db)), Outcome: diagnose.OutcomeSkipped},
		{Name: "one VM that runs no proxy", Request: files, Put: vms(web(fromFile, plain, status("TERMINATED"))), Outcome: diagnose.OutcomeSkipped},
		{Name: "a file without the status", Request: target, Put: vms(web(fromFile, status(""))), Outcome: diagnose.OutcomeSkipped},
		{Name: "not in the answer", Request: target, Put: vms(), Outcome: diagnose.OutcomeInconclusive, Reason: "not among the 0"},
		{Name: "denied", Request: target, Put: deny(evidence.Instances.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Request: target, Put: late(evidence.Instances.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Request: network, Outcome: diagnose.OutcomeSkipped},
	})
}
