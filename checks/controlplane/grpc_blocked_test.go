package controlplane

import (
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestGRPCBlocked(t *testing.T) {
	const address = "142.250.1.95:443"
	call := func(src evidence.Source, answered bool, code, message string) evidence.CallResult {
		return evidence.CallResult{Host: tdHost, Address: address, Answered: answered, Code: code, Message: message, Source: src}
	}
	probes := func(shakes []evidence.TLSResult, rest, grpc []evidence.CallResult) func(*evidence.Set) {
		return all(tlsProbe(shakes...), putFrom(evidence.RESTProbe, rest, service), putFrom(evidence.GRPCProbe, grpc, service))
	}
	good := []evidence.TLSResult{shake(service, address, evidence.TLSOk)}
	ok, refused := []evidence.CallResult{call(service, true, "OK", "")}, []evidence.CallResult{call(service, true, "PERMISSION_DENIED", "The caller does not have permission")}
	dead := []evidence.CallResult{call(service, false, "UNAVAILABLE", "stream terminated by RST_STREAM")}
	gateway := []evidence.CallResult{call(service, false, "HTTP 502", "Bad Gateway")}
	here := func(c evidence.CallResult) evidence.CallResult { c.Source = workload; return c }
	checkstest.Run(t, GRPCBlocked, []checkstest.Case{
		{Name: "REST answers, gRPC is reset", Request: network, Put: probes(good, ok, dead),
			Want: []checkstest.Want{{Subject: tdHost, Summary: "over REST and not over gRPC, from the machine meshdiag runs on: UNAVAILABLE stream terminated by RST_STREAM.", Confidence: diagnose.Likely, Excerpt: "REST: answered OK"}}},
		{Name: "REST is refused, which is an answer", Request: network, Put: probes(good, refused, gateway), Want: []checkstest.Want{{Summary: "HTTP 502 Bad Gateway"}}},
		{Name: "from the workload", Request: vm, Put: probes([]evidence.TLSResult{shake(workload, address, evidence.TLSOk)}, []evidence.CallResult{here(ok[0])}, []evidence.CallResult{here(dead[0]), ok[0]}),
			Want: []checkstest.Want{{Confidence: diagnose.Confirmed}}},

		{Name: "both answer", Request: network, Put: probes(good, ok, ok)},
		{Name: "gRPC is refused, which is an answer", Request: network, Put: probes(good, ok, refused)},
		{Name: "both fail", Request: network, Put: probes(good, gateway, dead)},
		{Name: "TLS fails", Request: network, Put: probes([]evidence.TLSResult{shake(service, address, evidence.TLSUnknownAuthority)}, ok, dead)},
		{Name: "TLS without HTTP/2 is another check's", Request: network, Put: probes([]evidence.TLSResult{shake(service, address, evidence.TLSNoHTTP2)}, ok, dead)},
		{Name: "REST from here, gRPC from the workload", Request: vm, Put: probes(good, ok, []evidence.CallResult{here(dead[0])})},
		{Name: "one of several gRPC calls answers", Request: network, Put: probes(good, ok, append(dead, ok...))},
		{Name: "no call made", Request: network, Put: probes(good, ok, nil), Outcome: diagnose.OutcomeSkipped},
		{Name: "gRPC late", Request: network, Put: all(tlsProbe(good...), putFrom(evidence.RESTProbe, ok, service), late(evidence.GRPCProbe.Name())), Outcome: diagnose.OutcomeInconclusive},
		{Name: "REST failed", Request: network, Put: all(tlsProbe(good...), deny(evidence.RESTProbe.Name()), putFrom(evidence.GRPCProbe, dead, service)), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Request: files, Outcome: diagnose.OutcomeSkipped},
	})
}
