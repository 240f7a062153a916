package xds

import (
	"testing"
	"time"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestResourceMissing(t *testing.T) {
	checkstest.Run(t, ResourceMissing, []checkstest.Case{
		{Name: "a listener that isn't there", Request: onMesh, Put: seenStatus(status(nodeA, client(ldsURL, "shop:8080", evidence.DoesNotExist))),
			Want: []checkstest.Want{{Subject: nodeA, Key: "nodes/" + nodeA + "/Listener/shop:8080", Confidence: diagnose.Confirmed, Severity: diagnose.Blocking,
				Summary: "The client asked for Listener shop:8080: the control plane has none of that name (DOES_NOT_EXIST)."}}},
		{Name: "endpoints that didn't come", Request: target, Put: seenStatus(status(nodeA, client(edsURL, "e1", evidence.TimedOut), client(edsURL, "e2", evidence.TimedOut))),
			Want: []checkstest.Want{{Key: "nodes/" + nodeA + "/ClusterLoadAssignment", Summary: "2 ClusterLoadAssignment resources (e1 and e2): it did not come in time (TIMEOUT)"}}},
		{Name: "asked for, in two samples", Request: target, Put: seenStatus(status(nodeA, sampled(client(rdsURL, "shop-map", evidence.Requested), 2, 3*time.Second))),
			Want: []checkstest.Want{{Confidence: diagnose.Likely, Summary: "it has not come, over several samples (REQUESTED)"}}},
		{Name: "missing at two of three clients", Request: target, Put: seenStatus(
			status(nodeA, client(cdsURL, "shop", evidence.DoesNotExist)), status(nodeB, client(cdsURL, "shop", evidence.DoesNotExist)), status(nodeC, client(cdsURL, "shop", evidence.Acked))),
			Want: []checkstest.Want{{Subject: "2 of 3 clients", Key: "clients/Cluster", Summary: "2 of 3 clients asked for Cluster shop"}}},
		{Name: "a file alone", Request: files, Put: seenStatus(status(nodeA, client(cdsURL, "shop", evidence.DoesNotExist))), Want: []checkstest.Want{{}}},

		{Name: "near-miss: asked for just now", Request: target, Put: seenStatus(status(nodeA, client(rdsURL, "shop-map", evidence.Requested)))},
		{Name: "near-miss: accepted", Request: target, Put: seenStatus(status(nodeA, sampled(client(rdsURL, "shop-map", evidence.Acked), 2, 3*time.Second)))},
		{Name: "near-miss: rejected is another check's", Request: target, Put: seenStatus(status(nodeA, client(rdsURL, "shop-map", evidence.Nacked)))},
		{Name: "near-miss: static", Request: target, Put: seenStatus(status(nodeA, evidence.Resource{TypeURL: cdsURL, Name: "x", Client: evidence.DoesNotExist, Static: true}))},
		{Name: "denied", Request: target, Put: refuse, Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Request: target, Put: late, Outcome: diagnose.OutcomeInconclusive},
		{Name: "part of the clients is unknown", Request: target, Put: partly(status(nodeA, server(ldsURL, "a", evidence.Synced))), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Request: target, Outcome: diagnose.OutcomeSkipped},
	})
}
