package controlplane

import (
	"fmt"
	"slices"
	"strings"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// GRPCBlocked finds that TLS works and the control plane answers over REST, and never over gRPC: something on the way
// breaks HTTP/2 streams.
var GRPCBlocked = diagnose.Check{
	ID:       "controlplane/grpc-blocked",
	Severity: diagnose.Blocking,
	Layer:    diagnose.LayerNetwork,
	Symptoms: []diagnose.Symptom{diagnose.SymptomNotConnected, diagnose.SymptomNoConfig},
	Needs:    []evidence.Name{evidence.TLSProbe.Name(), evidence.RESTProbe.Name(), evidence.GRPCProbe.Name()},
	Explains: disconnected,
	Doc: diagnose.Doc{
		Title: "gRPC does not get through to the control plane",
		Explanation: "The same question is answered over REST and not over gRPC, on a connection whose TLS handshake agrees on HTTP/2. " +
			"Something on the way (an HTTP proxy, a gateway, an inspecting firewall) takes HTTP/2 connections and breaks what gRPC needs of them: trailers, long streams, or both directions at once. " +
			"Proxies get their configuration over gRPC alone.",
		Quiet: "REST fails too: then the fault lies deeper. A refusal (permission denied, unauthenticated) is an answer: gRPC gets through.",
		Remedy: []diagnose.Step{
			{Text: "See whether a proxy is set in the environment; gRPC clients and Envoy must go round it.", Command: "env | grep -i proxy"},
			{Text: "Let {{host}} bypass the proxy or gateway (NO_PROXY for clients that heed it, an exemption on the device else), or let the device pass TLS through untouched."},
			{Text: "Try from the workload; a gRPC status, be it a refusal, means that gRPC gets through.",
				Command: "curl -sv --http2 --max-time 10 -X POST -H 'content-type: application/grpc' -H 'te: trailers' https://{{host}}/envoy.service.status.v3.ClientStatusDiscoveryService/StreamClientStatus -o /dev/null"},
		},
		References: []string{
			"https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md",
			"https://cloud.google.com/traffic-director/docs/troubleshooting",
		},
	},
	Evaluate: grpcBlocked,
}

func grpcBlocked(_ diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	// Each is read whatever the others say: a fact that is missing makes the check inconclusive.
	shakes, tlsErr := evidence.Get(v, evidence.TLSProbe)
	rest, restErr := evidence.Get(v, evidence.RESTProbe)
	calls, grpcErr := evidence.Get(v, evidence.GRPCProbe)
	for _, err := range []error{grpcErr, restErr, tlsErr} {
		if err != nil {
			return nil, err
		}
	}
	// The three are compared from one vantage.
	calls = nearest(calls, func(c evidence.CallResult) evidence.Source { return c.Source })
	if len(calls) == 0 {
		return nil, diagnose.Skip("no call was made over gRPC")
	}
	from := calls[0].Source.Vantage
	answered := func(c evidence.CallResult) bool { return c.Answered && c.Source.Vantage == from }
	at := slices.IndexFunc(rest, answered)
	if at < 0 || slices.ContainsFunc(calls, func(c evidence.CallResult) bool { return c.Answered }) ||
		!slices.ContainsFunc(shakes, func(r evidence.TLSResult) bool { return r.Fault == evidence.TLSOk && r.Source.Vantage == from }) {
		return nil, nil
	}
	c := calls[0]
	confidence, where := seenFrom(c.Source)
	host := c.Host
	if host == "" {
		host = "trafficdirector.googleapis.com"
	}
	exhibits := []diagnose.Exhibit{{
		Fact: evidence.RESTProbe.Name(), Source: rest[at].Source,
		Excerpt: strings.TrimSpace(fmt.Sprintf("REST: answered %s %s", rest[at].Code, rest[at].Reason)),
	}}
	for _, c := range calls {
		exhibits = append(exhibits, diagnose.Exhibit{
			Fact: evidence.GRPCProbe.Name(), Source: c.Source,
			Excerpt: strings.TrimSpace(fmt.Sprintf("gRPC: no answer of the control plane's: %s %s", c.Code, clip(c.Message, maxExcerpt))),
		})
	}
	return []diagnose.Cause{{
		Subject:    host,
		Summary:    fmt.Sprintf("The control plane answers over REST and not over gRPC, %s: %s.", where, orNone(clip(strings.TrimSpace(c.Code+" "+c.Message), maxWords))),
		Confidence: confidence,
		Params:     map[string]string{"host": host},
		Evidence:   exhibits,
	}}, nil
}
