package xds

import (
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestPrivilegedPort(t *testing.T) {
	rejected := func(reason string) evidence.ClientStatus {
		return status(nodeA, because(server(ldsURL, "web", evidence.Error), reason))
	}
	checkstest.Run(t, PrivilegedPort, []checkstest.Case{
		{Name: "port 80", Request: target, Put: seenStatus(rejected("cannot bind '0.0.0.0:80': Permission denied")),
			Want: []checkstest.Want{{Subject: nodeA, Confidence: diagnose.Confirmed, Params: map[string]string{"port": "80"}, Summary: "The client may not bind 0.0.0.0:80 for listener web"}}},
		{Name: "port 443 over IPv6, from a log", Request: files, Put: logged(prefix + "gRPC config for " + ldsURL + " rejected: Error adding/updating listener(s) web: cannot bind '[::]:443': Permission denied"),
			Want: []checkstest.Want{{Confidence: diagnose.Likely, Params: map[string]string{"port": "443"}}}},
		{Name: "an old Envoy's wording", Request: files, Put: logged("gRPC config for " + ldsURLv2 + " rejected: Error adding/updating listener ambassador-listener-443: cannot bind '0.0.0.0:443': Permission denied"),
			Want: []checkstest.Want{{Summary: "listener ambassador-listener-443"}}},
		{Name: "on a worker, no rejection logged", Request: files, Put: logged("failed to add listener on worker: cannot bind '0.0.0.0:53': Permission denied"),
			Want: []checkstest.Want{{Params: map[string]string{"port": "53"}}}},
		{Name: "1023 is the last", Request: target, Put: seenStatus(rejected("cannot bind '0.0.0.0:1023': Permission denied")), Want: []checkstest.Want{{}}},

		{Name: "near-miss: 1024", Request: target, Put: seenStatus(rejected("cannot bind '0.0.0.0:1024': Permission denied"))},
		{Name: "near-miss: in use", Request: target, Put: seenStatus(rejected("cannot bind '0.0.0.0:80': Address already in use"))},
		{Name: "near-miss: a pipe", Request: target, Put: seenStatus(rejected("cannot bind '/var/run/envoy.sock': Permission denied"))},
		{Name: "near-miss: a file", Request: files, Put: logged(oneLiner)},
		{Name: "near-miss: accepted since", Request: files, Put: logged(lds80 + "\n" + added + "0.0.0.0_80'")},
		{Name: "denied", Request: target, Put: refuse, Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Request: target, Put: late, Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Request: target, Outcome: diagnose.OutcomeSkipped},
	})
}
