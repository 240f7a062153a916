package vm

import (
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestBootstrapFailed(t *testing.T) {
	const reason = "iptables: No chain/target/match by that name"
	checkstest.Run(t, BootstrapFailed, []checkstest.Case{
		{Name: "with its reason", Request: target, Put: all(attrs("bootstrap-status", "FAILED", "bootstrap-last-failure", reason), vms(web())),
			Want: []checkstest.Want{{Subject: "VM europe-west1-b/web-1", Summary: "failed: " + reason + ".", Confidence: diagnose.Confirmed, Excerpt: "bootstrap-last-failure: " + reason}}},
		{Name: "the key with a digit", Request: target, Put: all(attrs("bootstrap-status", "FAILED", "bootstrap-last-failure1", reason), vms(web())), Want: []checkstest.Want{{Summary: reason}}},
		{Name: "without a reason", Request: target, Put: all(attrs("bootstrap-status", "failed"), vms(web())), Want: []checkstest.Want{{Summary: "gives no reason"}}},
		{Name: "a file alone", Request: files, Put: table("bootstrap-status", "FAILED", "bootstrap-last-failure", "out of disk\nspace"), Want: []checkstest.Want{{Subject: "the VM", Summary: "out of disk space."}}, Unfilled: open},
		{Name: "a file with one row", Request: files, Put: func(s *evidence.Set) {
			g := guest(pasted, "bootstrap-status", "FAILED")
			g.Partial = true
			evidence.Put(s, evidence.GuestAttributes, g, pasted)
		}, Want: []checkstest.Want{{Subject: "VM web-1"}}, Unfilled: open},
		{Name: "the VM can't be read", Request: target, Put: all(attrs("bootstrap-status", "FAILED"), deny(evidence.Instances.Name())), Want: []checkstest.Want{{}}},

		{Name: "done, with an old failure", Request: target, Put: all(attrs("bootstrap-status", "FINISHED", "bootstrap-last-failure", reason), vms(web()))},
		{Name: "under way, after a failure", Request: target, Put: all(attrs("bootstrap-status", "IN PROGRESS", "bootstrap-last-failure", reason), vms(web()))},
		{Name: "no status", Request: target, Put: all(absent, vms(web()))},
		{Name: "a query of the failure alone", Request: files, Put: func(s *evidence.Set) {
			g := guest(pasted, "bootstrap-last-failure", reason)
			g.Partial = true
			evidence.Put(s, evidence.GuestAttributes, g, pasted)
		}, Outcome: diagnose.OutcomeSkipped},
		{Name: "stopped", Request: target, Put: all(attrs("bootstrap-status", "FAILED"), vms(web(status("SUSPENDED")))), Outcome: diagnose.OutcomeSkipped},
		{Name: "denied", Request: target, Put: deny(evidence.GuestAttributes.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Request: target, Put: late(evidence.GuestAttributes.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Request: network, Outcome: diagnose.OutcomeSkipped},
	})
}
