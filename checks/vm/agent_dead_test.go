package vm

import (
	"testing"
	"time"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestAgentDead(t *testing.T) {
	done := func(heartbeat string) func(*evidence.Set) {
		return attrs("bootstrap-status", "FINISHED", "agent-heartbeat", heartbeat)
	}
	clock := func(d time.Duration, src evidence.Source) func(*evidence.Set) {
		return putFrom(evidence.ClockFact, []evidence.ClockOffset{{Offset: d, Source: src}}, src)
	}
	checkstest.Run(t, AgentDead, []checkstest.Case{
		{Name: "an hour ago", Request: target, Put: all(done(beat(time.Hour)), vms(web())),
			Want: []checkstest.Want{{Subject: "VM europe-west1-b/web-1", Summary: "60 minutes ago", Confidence: diagnose.Confirmed, Severity: diagnose.Degrading, Excerpt: "agent-heartbeat: 2026-03-02T11:00:00Z"}}},
		{Name: "RFC 1123", Request: target, Put: all(done("Mon, 02 Mar 2026 11:30:00 GMT"), vms(web())), Want: []checkstest.Want{{Summary: "30 minutes ago"}}},
		{Name: "unix seconds", Request: target, Put: all(done("1772449200"), vms(web())), Want: []checkstest.Want{{Summary: "60 minutes ago"}}},
		{Name: "six minutes, and nobody compared the clocks", Request: target, Put: all(done(beat(6*time.Minute)), vms(web())), Want: []checkstest.Want{{Confidence: diagnose.Likely}}},
		{Name: "six minutes by compared clocks", Request: target, Put: all(done(beat(6*time.Minute)), vms(web()), clock(0, service), clock(0, workload)), Want: []checkstest.Want{{Confidence: diagnose.Confirmed}}},
		{Name: "the VM's clock is ahead", Request: target, Put: all(done(beat(2*time.Minute)), vms(web()), clock(time.Hour, workload)), Want: []checkstest.Want{{Summary: "62 minutes ago"}}},
		{Name: "with what it said last", Request: target, Put: all(attrs("agent-heartbeat", beat(time.Hour), "agent-last-failure", "disk full"), vms(web())), Want: []checkstest.Want{{Excerpt: "disk full"}}},
		{Name: "a file alone", Request: files, Put: table("agent-heartbeat", beat(48*time.Hour)), Want: []checkstest.Want{{Confidence: diagnose.Possible, Summary: "if the file is fresh"}}, Unfilled: open},

		{Name: "just now", Request: target, Put: all(done(beat(30*time.Second)), vms(web()))},
		{Name: "five minutes", Request: target, Put: all(done(beat(5*time.Minute)), vms(web()))},
		{Name: "our clock is ten minutes ahead", Request: target, Put: all(done(beat(11*time.Minute)), vms(web()), clock(10*time.Minute, service))},
		{Name: "the VM's clock is ten minutes behind", Request: target, Put: all(done(beat(11*time.Minute)), vms(web()), clock(-10*time.Minute, workload))},
		{Name: "a little ahead", Request: target, Put: all(done(beat(-2*time.Minute)), vms(web()))},
		{Name: "an hour ahead", Request: target, Put: all(done(beat(-time.Hour)), vms(web())), Outcome: diagnose.OutcomeInconclusive, Reason: "a clock is wrong"},
		{Name: "no service proxy", Request: target, Put: all(done(beat(time.Hour)), vms(web(plain))), Outcome: diagnose.OutcomeSkipped, Reason: "no agent is expected"},
		{Name: "stopped", Request: target, Put: all(done(beat(time.Hour)), vms(web(status("TERMINATED")))), Outcome: diagnose.OutcomeSkipped},
		{Name: "the VM can't be read", Request: target, Put: all(done(beat(time.Hour)), deny(evidence.Instances.Name())), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not set up yet", Request: target, Put: all(attrs("bootstrap-status", "IN PROGRESS"), vms(web())), Outcome: diagnose.OutcomeSkipped},
		{Name: "done, and never a heartbeat", Request: target, Put: all(attrs("bootstrap-status", "FINISHED"), vms(web())), Outcome: diagnose.OutcomeInconclusive, Reason: "never"},
		{Name: "no attributes", Request: target, Put: all(absent, vms(web())), Outcome: diagnose.OutcomeSkipped},
		{Name: "an unknown form", Request: target, Put: all(done("quarter past"), vms(web())), Outcome: diagnose.OutcomeInconclusive, Reason: "quarter past"},
		{Name: "denied", Request: target, Put: deny(evidence.GuestAttributes.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Request: target, Put: late(evidence.GuestAttributes.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Request: network, Outcome: diagnose.OutcomeSkipped},
	})
}
