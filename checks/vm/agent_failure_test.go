package vm

import (
	"testing"
	"time"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestAgentFailure(t *testing.T) {
	const away = "Cannot reach the Cloud Service Mesh API server"
	fresh := func(failure string) func(*evidence.Set) {
		return attrs("bootstrap-status", "FINISHED", "agent-heartbeat", beat(time.Minute), "agent-last-failure", failure)
	}
	seen := func(n int, span time.Duration) func(*evidence.Set) {
		m := message(messages.AgentCannotReach.ID, away)
		m.Count, m.First, m.Last = n, noon.Add(-span), noon
		return logs(m)
	}
	clock := putFrom(evidence.ClockFact, []evidence.ClockOffset{{Offset: 10 * time.Minute, Source: service}}, service)
	checkstest.Run(t, AgentFailure, []checkstest.Case{
		{Name: "a lasting failure", Request: target, Put: all(fresh("iptables-restore: exit status 4"), vms(web())),
			Want: []checkstest.Want{{Subject: "VM europe-west1-b/web-1", Summary: "iptables-restore: exit status 4.", Confidence: diagnose.Likely, Excerpt: "agent-last-failure: iptables-restore"}}},
		{Name: "one that may pass, again and again", Request: target, Put: all(fresh(away), vms(web()), seen(9, 10*time.Minute)), Want: []checkstest.Want{{Summary: "9 times in 10 minutes"}}},
		{Name: "in the log alone", Request: files, Put: seen(3, 5*time.Minute), Want: []checkstest.Want{{Subject: "the VM", Excerpt: "agent.log, line 3 (3 times): " + away}}, Unfilled: open},
		{Name: "a file alone", Request: files, Put: table("agent-heartbeat", beat(time.Hour), "agent-last-failure", "envoy exited: signal: killed"), Want: []checkstest.Want{{Summary: "envoy exited"}}, Unfilled: open},
		{Name: "fresh by compared clocks", Request: target, Put: all(attrs("agent-heartbeat", beat(11*time.Minute), "agent-last-failure", "x"), vms(web()), clock), Want: []checkstest.Want{{}}},

		{Name: "one that may pass, once", Request: target, Put: all(fresh(away), vms(web()))},
		{Name: "by its old name", Request: target, Put: all(fresh("Cannot reach the Traffic Director API server."), vms(web()))},
		{Name: "twice within a minute", Request: target, Put: all(fresh(away), vms(web()), seen(2, time.Minute))},
		{Name: "none", Request: target, Put: all(fresh("[none]"), vms(web()))},
		{Name: "empty", Request: target, Put: all(fresh(""), vms(web()))},
		{Name: "the agent is dead", Request: target, Put: all(attrs("agent-heartbeat", beat(time.Hour), "agent-last-failure", "disk full"), vms(web())), Outcome: diagnose.OutcomeSkipped, Reason: "dead"},
		{Name: "stopped", Request: target, Put: all(fresh("disk full"), vms(web(status("TERMINATED"))), seen(9, time.Hour)), Outcome: diagnose.OutcomeSkipped},
		{Name: "no service proxy", Request: target, Put: all(fresh("disk full"), vms(web(plain))), Outcome: diagnose.OutcomeSkipped},
		{Name: "a log without it", Request: files, Put: logs(), Outcome: diagnose.OutcomePassed},
		{Name: "denied", Request: target, Put: deny(evidence.GuestAttributes.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Request: target, Put: late(evidence.GuestAttributes.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Request: network, Outcome: diagnose.OutcomeSkipped},
	})
}
