package request_test

import (
	"testing"
	"time"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/checks/request"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestShutdownRace(t *testing.T) {
	const details = "upstream_reset_before_response_started{remote_connection_failure,delayed_connect_error:_111}"
	between := func(g evidence.AccessGroup, from, to time.Duration) evidence.AccessGroup {
		g.First, g.Last = noon.Add(from), noon.Add(to)
		return g
	}
	end := message(messages.ProxyTerminating, "2026-11-03T12:00:00Z\tinfo\tAgent draining Proxy for termination", nil)
	end.First, end.Last = noon, noon
	elsewhere := end
	elsewhere.File = "events.txt"
	timeless := end
	timeless.First, timeless.Last = time.Time{}, time.Time{}
	rolling := end
	rolling.Last, rolling.Count = noon.Add(time.Hour), 2
	failing := between(group(local, 503, details, "UF"), time.Second, 4*time.Second)
	checkstest.Run(t, request.ShutdownRace, []checkstest.Case{
		{Name: "the proxy's own end", Put: puts(access(failing, between(group(local, 200, ""), -time.Hour, 0)), logs(end)), Want: []checkstest.Want{{
			Key: "requests/inbound|8080||", Summary: "5 of 10 requests to inbound|8080|| (cart:8080) failed between 12:00:01 and 12:00:04, while a pod was shut down (12:00:00).", Confidence: diagnose.Likely, Excerpt: "Agent draining"}}},
		{Name: "another pod's end", Put: puts(access(between(group(cart, 503, "upstream_reset_before_response_started{connection_termination}", "UC"), -2*time.Second, 30*time.Second)), logs(elsewhere)),
			Want: []checkstest.Want{{Summary: "failed between", Confidence: diagnose.Possible, Params: map[string]string{"service": "cart"}}}},
		{Name: "the second of two", Put: puts(access(between(group(cart, 503, "", "UH"), time.Hour, time.Hour+time.Second)), logs(rolling)), Want: []checkstest.Want{{Summary: "failed between 13:00:00"}}},

		{Name: "it goes on for ten minutes", Put: puts(access(group(local, 503, details, "UF")), logs(end))},
		{Name: "an hour later", Put: puts(access(between(failing, time.Hour, time.Hour)), logs(end))},
		{Name: "at other times too", Put: puts(access(failing, between(with(failing, func(g *evidence.AccessGroup) { g.Authority = "other" }), time.Hour, 2*time.Hour)), logs(end))},
		{Name: "no times", Put: puts(access(with(failing, func(g *evidence.AccessGroup) { g.First, g.Last = time.Time{}, time.Time{} })), logs(end))},
		{Name: "a message without a time", Put: puts(access(failing), logs(timeless))},
		{Name: "nothing ended", Put: puts(access(failing), logs())},
		{Name: "errors of the application", Put: puts(access(between(group(local, 503, "via_upstream"), 0, time.Second)), logs(end))},
		{Name: "denied", Put: fail(requests, logFact), Outcome: diagnose.OutcomeInconclusive},
		{Name: "the log denied", Put: puts(access(failing), fail(logFact)), Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Put: puts(late(requests), logs()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Outcome: diagnose.OutcomeSkipped},
	})
}
