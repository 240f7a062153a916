package controlplane

import (
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestTCPBlocked(t *testing.T) {
	try := func(src evidence.Source, address string, o evidence.TCPOutcome, failure string) evidence.TCPResult {
		return evidence.TCPResult{Host: tdHost, Address: address, Outcome: o, Err: failure, Source: src}
	}
	probe := func(r ...evidence.TCPResult) func(*evidence.Set) { return putFrom(evidence.TCPProbe, r, service) }
	refused := try(service, "142.250.1.95:443", evidence.TCPRefused, "connect: connection refused")
	silent := try(service, "142.250.1.95:443", evidence.TCPTimeout, "i/o timeout")
	checkstest.Run(t, TCPBlocked, []checkstest.Case{
		{Name: "refused", Request: network, Put: probe(refused),
			Want: []checkstest.Want{{Subject: tdHost + ":443", Summary: "No address of " + tdHost + " accepts a connection from the machine meshdiag runs on: 142.250.1.95:443 refused.",
				Confidence: diagnose.Likely, Params: map[string]string{"refused": "yes", "silent": ""}}}},
		{Name: "silence", Request: network, Put: probe(silent), Want: []checkstest.Want{{Summary: "142.250.1.95:443 timed out", Params: map[string]string{"silent": "yes", "refused": ""}, Excerpt: "i/o timeout"}}},
		{Name: "each address in its way", Request: meshReq, Put: probe(refused, try(service, "142.250.2.95:443", evidence.TCPTimeout, ""), try(service, "[2a00:1450::5f]:443", evidence.TCPUnreachable, "")),
			Want: []checkstest.Want{{Summary: "142.250.1.95:443 refused, 142.250.2.95:443 timed out and [2a00:1450::5f]:443 unreachable"}}},
		{Name: "from the VM", Request: vm, Put: probe(try(workload, "142.250.1.95:443", evidence.TCPUnreachable, ""), try(service, "142.250.1.95:443", evidence.TCPConnected, "")),
			Want: []checkstest.Want{{Summary: "from the workload", Confidence: diagnose.Confirmed, Params: map[string]string{"unrouted": "yes"}}}},

		{Name: "silence, and no IPv6 on the machine", Request: network, Put: probe(try(service, "[2a00:1450::5f]:443", evidence.TCPFailed, "address family not supported"), silent),
			Want: []checkstest.Want{{Summary: "142.250.1.95:443 timed out"}}},

		{Name: "connected", Request: network, Put: probe(try(service, "142.250.1.95:443", evidence.TCPConnected, ""))},
		{Name: "one of several addresses fails", Request: network, Put: probe(silent, try(service, "142.250.2.95:443", evidence.TCPConnected, ""))},
		{Name: "IPv6 alone is unreachable", Request: network, Put: probe(try(service, "[2a00:1450::5f]:443", evidence.TCPUnreachable, ""), try(service, "142.250.2.95:443", evidence.TCPConnected, ""))},
		{Name: "the workload connects, we do not", Request: vm, Put: probe(refused, try(workload, "142.250.1.95:443", evidence.TCPConnected, ""))},
		{Name: "the machine's own failure", Request: network, Put: probe(try(service, "142.250.1.95:443", evidence.TCPFailed, "socket: too many open files")),
			Outcome: diagnose.OutcomeInconclusive, Reason: "too many open files"},
		{Name: "the control plane answers us all the same", Request: network, Put: all(probe(refused), put(evidence.Clients, evidence.ClientList{ProjectNumber: number}))},
		{Name: "CSDS failed as well", Request: network, Put: all(probe(refused), deny(evidence.Clients.Name())), Want: []checkstest.Want{{}}},
		{Name: "nothing was tried", Request: network, Put: probe(), Outcome: diagnose.OutcomeSkipped},
		{Name: "failed", Request: network, Put: deny(evidence.TCPProbe.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Request: network, Put: late(evidence.TCPProbe.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Request: files, Outcome: diagnose.OutcomeSkipped},
	})
}
