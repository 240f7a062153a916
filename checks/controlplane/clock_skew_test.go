package controlplane

import (
	"testing"
	"time"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestClockSkew(t *testing.T) {
	off := func(src evidence.Source, offset, within time.Duration) evidence.ClockOffset {
		return evidence.ClockOffset{Offset: offset, Within: within, Source: src}
	}
	clock := func(c ...evidence.ClockOffset) func(*evidence.Set) { return putFrom(evidence.ClockFact, c, service) }
	checkstest.Run(t, ClockSkew, []checkstest.Case{
		{Name: "ahead", Request: network, Put: clock(off(service, 11*time.Minute, 2*time.Second)),
			Want: []checkstest.Want{{Subject: "machine meshdiag runs on", Summary: "The clock is 11m0s ahead of the control plane's, seen from the machine meshdiag runs on", Confidence: diagnose.Likely, Severity: diagnose.Degrading, Excerpt: "give or take 2s"}}},
		{Name: "behind, on the VM", Request: vm, Put: clock(off(service, 0, time.Second), off(workload, -2*time.Hour, time.Second)),
			Want: []checkstest.Want{{Subject: "the workload's clock", Summary: "2h0m0s behind", Confidence: diagnose.Confirmed, Severity: diagnose.Blocking}}},
		{Name: "the better of two measurements", Request: network, Put: clock(off(service, time.Minute, 10*time.Minute), off(service, 6*time.Minute, time.Second)), Want: []checkstest.Want{{Summary: "6m0s"}}},

		{Name: "right", Request: network, Put: clock(off(service, 300*time.Millisecond, time.Second))},
		{Name: "five minutes", Request: network, Put: clock(off(service, -5*time.Minute, 0))},
		{Name: "within what the measurement may be off by", Request: network, Put: clock(off(service, 5*time.Minute+20*time.Second, 30*time.Second))},
		{Name: "ours is wrong, the workload's is right", Request: vm, Put: clock(off(service, time.Hour, time.Second), off(workload, time.Second, time.Second))},
		{Name: "not compared", Request: network, Put: clock(), Outcome: diagnose.OutcomeSkipped},
		{Name: "failed", Request: network, Put: deny(evidence.ClockFact.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Request: network, Put: late(evidence.ClockFact.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Request: files, Outcome: diagnose.OutcomeSkipped},
	})
}
