package vm

import (
	"testing"
	"time"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestBootstrapInProgress(t *testing.T) {
	busy := attrs("bootstrap-status", "IN PROGRESS")
	checkstest.Run(t, BootstrapInProgress, []checkstest.Case{
		{Name: "just made", Request: target, Put: all(busy, vms(web(made(6*time.Minute)))),
			Want: []checkstest.Want{{Subject: "VM europe-west1-b/web-1", Summary: "still under way", Severity: diagnose.Degrading, Confidence: diagnose.Confirmed, Excerpt: "IN PROGRESS"}}},
		{Name: "stuck", Request: target, Put: all(busy, vms(web(made(20*time.Minute)))),
			Want: []checkstest.Want{{Summary: "stuck: bootstrap-status is IN PROGRESS 20 minutes after", Severity: diagnose.Blocking, Params: map[string]string{"stuck": "yes"}}}},
		{Name: "with an underscore", Request: target, Put: all(attrs("bootstrap-status", "in_progress"), vms(web())), Want: []checkstest.Want{{}}},
		{Name: "a file alone", Request: files, Put: table("bootstrap-status", "IN PROGRESS"), Want: []checkstest.Want{{Subject: "the VM", Confidence: diagnose.Likely}}, Unfilled: open},
		{Name: "the VM can't be read", Request: target, Put: all(busy, deny(evidence.Instances.Name())), Want: []checkstest.Want{{Severity: diagnose.Degrading}}},

		{Name: "done", Request: target, Put: all(attrs("bootstrap-status", "FINISHED"), vms(web()))},
		{Name: "failed", Request: target, Put: all(attrs("bootstrap-status", "FAILED"), vms(web()))},
		{Name: "absent", Request: target, Put: all(absent, vms(web()))},
		{Name: "stopped in the middle", Request: target, Put: all(busy, vms(web(status("TERMINATED")))), Outcome: diagnose.OutcomeSkipped},
		{Name: "denied", Request: target, Put: deny(evidence.GuestAttributes.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Request: target, Put: late(evidence.GuestAttributes.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Request: network, Outcome: diagnose.OutcomeSkipped},
	})
}
