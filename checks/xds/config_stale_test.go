package xds

import (
	"testing"
	"time"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestConfigStale(t *testing.T) {
	stale := server(ldsURL, interception, evidence.Stale)
	pasted := func(r ...evidence.Resource) evidence.ClientStatus {
		s := status(nodeA, r...)
		s.Source = paste
		return s
	}
	checkstest.Run(t, ConfigStale, []checkstest.Case{
		{Name: "for ten minutes", Request: target, Put: seenStatus(status(nodeA, version(updated(stale, 10*time.Minute), "17"))),
			Want: []checkstest.Want{{Subject: nodeA, Key: "nodes/" + nodeA + "/Listener/" + interception, Confidence: diagnose.Confirmed, Severity: diagnose.Degrading,
				Summary: "The client has not acknowledged Listener " + interception + ", which the control plane sent at least 10m0s ago.", Excerpt: "version 17"}}},
		{Name: "in two samples, without a time", Request: target, Put: seenStatus(status(nodeA, sampled(stale, 2, 3*time.Second))),
			Want: []checkstest.Want{{Summary: "unchanged over 3s of samples", Excerpt: "the same in 2 samples over 3s"}}},
		{Name: "several resources at several clients", Request: target, Put: seenStatus(
			status(nodeA, updated(stale, 2*time.Minute), updated(server(ldsURL, "b", evidence.Stale), 2*time.Minute)),
			status(nodeB, updated(stale, 3*time.Minute)), status(nodeC, server(ldsURL, interception, evidence.Synced))),
			Want: []checkstest.Want{{Subject: "2 of 3 clients", Key: "clients/Listener", Summary: "2 of 3 clients have not acknowledged 2 Listener resources"}}},
		{Name: "several types at one client are one cause", Request: target, Put: seenStatus(status(nodeA, updated(stale, 2*time.Minute), updated(server(cdsURL, "shop", evidence.Stale), 3*time.Minute))),
			Want: []checkstest.Want{{Key: "nodes/" + nodeA, Summary: "not acknowledged Listener " + interception + " and Cluster shop, which the control plane sent at least 3m0s ago"}}},
		{Name: "a file in which something else is newer by minutes", Request: files, Put: seenStatus(pasted(updated(stale, 10*time.Minute), updated(server(cdsURL, "c", evidence.Synced), time.Minute))),
			Want: []checkstest.Want{{Summary: "at least 9m0s ago"}}},

		{Name: "near-miss: just now", Request: target, Put: seenStatus(status(nodeA, updated(stale, 5*time.Second)))},
		{Name: "near-miss: two samples, a moment apart, sent just now", Request: target, Put: seenStatus(status(nodeA, updated(sampled(stale, 2, time.Second), 5*time.Second)))},
		{Name: "near-miss: synced", Request: target, Put: seenStatus(status(nodeA, updated(server(ldsURL, "a", evidence.Synced), time.Hour)))},
		{Name: "near-miss: the client has it", Request: target, Put: seenStatus(status(nodeA, updated(evidence.Resource{TypeURL: ldsURL, Name: "a", Server: evidence.Stale, Client: evidence.Acked}, time.Hour)))},
		{Name: "near-miss: static", Request: target, Put: seenStatus(status(nodeA, updated(evidence.Resource{TypeURL: ldsURL, Name: "a", Server: evidence.Stale, Static: true}, time.Hour)))},
		{Name: "one sample without a time", Request: target, Put: seenStatus(status(nodeA, stale)), Outcome: diagnose.OutcomeInconclusive, Reason: "1 resource STALE in a single answer"},
		{Name: "a file read hours after it was written", Request: files, Put: seenStatus(pasted(updated(stale, 3*time.Hour))), Outcome: diagnose.OutcomeInconclusive, Reason: "single answer"},
		{Name: "denied", Request: target, Put: refuse, Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Request: target, Put: late, Outcome: diagnose.OutcomeInconclusive},
		{Name: "part of the clients is unknown", Request: target, Put: partly(status(nodeA, server(ldsURL, "a", evidence.Synced))), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Request: target, Outcome: diagnose.OutcomeSkipped},
	})
}
