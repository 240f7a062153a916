package xds

import (
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestAddressInUse(t *testing.T) {
	rejected := func(reason string) evidence.ClientStatus {
		return status(nodeA, because(server(ldsURL, "web", evidence.Error), reason))
	}
	checkstest.Run(t, AddressInUse, []checkstest.Case{
		{Name: "another process", Request: target, Put: seenStatus(rejected("Error adding/updating listener(s) web: cannot bind '0.0.0.0:8080': Address already in use")),
			Want: []checkstest.Want{{Subject: nodeA, Params: map[string]string{"port": "8080", "foreign": "yes"}, Summary: "The client could not bind 0.0.0.0:8080 for listener web"}}},
		{Name: "two listeners with one address", Request: target, Put: seenStatus(rejected("error adding listener: 'web' has duplicate address '10.0.0.1:443,10.0.0.1:444' as existing listener")),
			Want: []checkstest.Want{{Params: map[string]string{"port": "443"}, Summary: "another listener has the same address, 10.0.0.1:443"}}},
		{Name: "a listener sent twice, from a log", Request: files, Put: logged(prefix + "gRPC config for " + ldsURL + " rejected: Error adding/updating listener(s) 0.0.0.0_8080: duplicate listener 0.0.0.0_8080 found"),
			Want: []checkstest.Want{{Confidence: diagnose.Likely, Summary: "The client was sent listener 0.0.0.0_8080 twice"}}},
		{Name: "the second of two lines", Request: files, Put: logged(prefix + "gRPC config for " + ldsURL + " rejected: Error adding/updating listener(s) a: cannot bind '0.0.0.0:19003': Address already in use\nns/run/http: cannot bind '0.0.0.0:8888': Address already in use\n"),
			Want: []checkstest.Want{{Summary: "0.0.0.0:19003 for listener a"}, {Summary: "0.0.0.0:8888 for listener ns/run/http"}}},

		{Name: "near-miss: not permitted", Request: files, Put: logged(lds80)},
		{Name: "near-miss: an application's own error", Request: files, Put: logged("Error: listen EADDRINUSE: address already in use :::3000")},
		{Name: "near-miss: duplicate domains are another thing", Request: files, Put: logged(rdsNack)},
		{Name: "near-miss: accepted since", Request: files, Put: logged(prefix + "gRPC config for " + ldsURL + " rejected: Error adding/updating listener(s) a: cannot bind '0.0.0.0:8080': Address already in use\n" + added + "a'")},
		{Name: "denied", Request: target, Put: refuse, Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Request: target, Put: late, Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Request: target, Outcome: diagnose.OutcomeSkipped},
	})
}
