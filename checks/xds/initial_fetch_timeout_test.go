package xds

import (
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestInitialFetchTimeout(t *testing.T) {
	said := func(file, url string, line int) evidence.LogMessage {
		return evidence.LogMessage{Signature: messages.InitialFetchTimeout.ID, Fields: map[string]string{"type_url": url}, File: file, Line: line, LastLine: line, Count: 1,
			Text: "gRPC config: initial fetch timed out for " + url, Source: paste}
	}
	accepted := func(s diagnose.Signature, file string, line int) evidence.LogMessage {
		return evidence.LogMessage{Signature: s.ID, File: file, Line: line, LastLine: line, Count: 1, Text: "accepted", Source: paste}
	}
	logs := func(list ...evidence.LogMessage) func(*evidence.Set) {
		return put(nil, append([]evidence.LogMessage{}, list...))
	}
	fails := func(late bool) func(*evidence.Set) {
		return func(s *evidence.Set) {
			if late {
				s.FailLate(evidence.LogMessages.Name(), paste, nil)
				return
			}
			s.Fail(evidence.LogMessages.Name(), paste, &evidence.Denied{What: "the logs"})
		}
	}
	const log, other = "envoy.log", "two/envoy.log"
	checkstest.Run(t, InitialFetchTimeout, []checkstest.Case{
		{Name: "listeners", Request: oneNode, Put: logs(said(log, ldsURL, 5)), Want: []checkstest.Want{{Subject: "the proxy of envoy.log", Summary: "The proxy gave up waiting for its first Listener.", Confidence: diagnose.Likely, Excerpt: "initial fetch timed out"}}},
		{Name: "several types", Put: logs(said(log, cdsURL, 4), said(log, rdsURL, 5)), Want: []checkstest.Want{{Summary: "its first Cluster, RouteConfiguration."}}},
		{Name: "two proxies", Put: logs(said(log, cdsURL, 4), said(other, cdsURL, 5)), Want: []checkstest.Want{{Key: "files/envoy.log"}, {Key: "files/two%2Fenvoy.log"}}},
		{Name: "taken over before", Put: logs(accepted(messages.EnvoyListenerAccepted, log, 3), said(log, ldsURL, 5)), Want: []checkstest.Want{{Summary: "Listener"}}},
		{Name: "another proxy took its own", Put: logs(said(log, ldsURL, 5), accepted(messages.EnvoyListenerAccepted, other, 9)), Want: []checkstest.Want{{Summary: "Listener"}}},
		{Name: "clusters came, listeners didn't", Put: logs(said(log, ldsURL, 5), said(log, cdsURL, 6), accepted(messages.EnvoyClustersAccepted, log, 9)), Want: []checkstest.Want{{Summary: "its first Listener."}}},

		{Name: "came late", Put: logs(said(log, ldsURL, 5), accepted(messages.EnvoyListenerAccepted, log, 9))},
		{Name: "clusters came late", Put: logs(said(log, cdsURL, 5), accepted(messages.EnvoyClustersAccepted, log, 9))},
		{Name: "nothing of it", Put: logs(accepted(messages.EnvoyListenerAccepted, log, 9))},
		{Name: "denied", Put: fails(false), Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Put: fails(true), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Outcome: diagnose.OutcomeSkipped},
	})
}
