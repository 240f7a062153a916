package controlplane

import (
	"testing"
	"time"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// closed is an Envoy stream closure at a line.
func closed(line int, code, text string) evidence.LogMessage {
	return msg(messages.StreamClosed.ID, line, "StreamAggregatedResources gRPC config stream closed: "+code+", "+text,
		map[string]string{"method": "StreamAggregatedResources", "code": code, "text": text})
}

// ads is a grpc-go stream failure at a line.
func ads(line int, event, status, text string) evidence.LogMessage {
	return msg(messages.ADSFailed.ID, line, event+": rpc error: code = "+status+" desc = "+text, map[string]string{"event": event, "status": status, "text": text})
}

// came is a message that says that a stream works, at a line.
func came(line int) evidence.LogMessage {
	return msg(messages.StreamWorked.ID, line, "cds: add 3 cluster(s), remove 0 cluster(s)", nil)
}

func TestInvalidCredentials(t *testing.T) {
	const bad = "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid authentication credential."
	const unreadable = `transport: failed to read token file "./var/run/secrets/tokens/istio-token": open ./var/run/secrets/tokens/istio-token: permission denied`
	text := msg(messages.BadCredentials.ID, 1, bad, map[string]string{"text": "Request had invalid authentication credentials"})
	foreign := text
	foreign.Fields = map[string]string{"client": "googleapi: ", "text": "Request had invalid authentication credentials"}
	in := func(m evidence.LogMessage, file string) evidence.LogMessage { m.File = file; return m }
	withNode := ads(3, "error received from xDS stream", "Unauthenticated", bad)
	withNode.Fields["node"] = nodeID
	checkstest.Run(t, InvalidCredentials, []checkstest.Case{
		{Name: "again and again", Request: files, Put: logs(many(closed(10, "16", bad), 5, 90), text),
			Want: []checkstest.Want{{Subject: "the proxy that wrote proxy.log", Summary: "refused the proxy's credentials (code 16) 5 times in proxy.log: Request had invalid", Confidence: diagnose.Likely, Excerpt: "line 10 (5 times, the last on line 90)"}}},
		{Name: "once, and nothing after it", Request: node, Put: logs(closed(10, "16", bad)), Want: []checkstest.Want{{Subject: nodeID, Summary: "with nothing after it"}}},
		{Name: "again after a success", Request: files, Put: logs(many(closed(10, "16", bad), 2, 50), came(30)), Want: []checkstest.Want{{}}},
		{Name: "a token file", Request: files, Put: logs(many(closed(10, "16", unreadable), 2, 12)),
			Want: []checkstest.Want{{Params: map[string]string{"file": "./var/run/secrets/tokens/istio-token"}}}},
		{Name: "a proxyless client", Request: files, Put: logs(withNode, many(ads(4, "ADS stream closed", "Unauthenticated", bad), 3, 20)),
			Want: []checkstest.Want{{Subject: nodeID, Summary: "3 times"}}},
		{Name: "the text alone", Request: files, Put: logs(text), Want: []checkstest.Want{{}}},
		{Name: "an empty text", Request: files, Put: logs(closed(10, "16", "")), Want: []checkstest.Want{{Summary: "no text"}}},
		{Name: "one of two logs", Request: files, Put: logs(many(closed(10, "16", bad), 2, 50), in(came(60), "other.log")), Want: []checkstest.Want{{Key: "files/proxy.log"}}},
		{Name: "workers started in vain", Request: files, Put: logs(many(closed(10, "16", bad), 2, 50)), Want: []checkstest.Want{{}}},

		{Name: "once, then a success", Request: files, Put: logs(closed(10, "16", bad), text, came(14))},
		{Name: "some, then a success", Request: files, Put: logs(many(closed(10, "16", bad), 3, 13), came(14))},
		{Name: "once, then streams that end as a routine", Request: files, Put: logs(closed(10, "16", bad), every(closed(20, "13", ""), 4, 30*time.Minute))},
		{Name: "once, then refused for another reason", Request: files, Put: logs(closed(10, "16", bad), many(closed(20, "7", "Request had insufficient authentication scopes."), 4, 30))},
		{Name: "once, then grpc-go got answers", Request: files, Put: logs(ads(1, "ADS stream closed", "Unauthenticated", bad),
			msg(messages.ADSFailed.ID, 9, "Watchers not notified since ADS stream failed after having received at least one response: EOF",
				map[string]string{"event": "ADS stream failed", "text": "after having received at least one response: EOF"}))},
		{Name: "another client's call", Request: files, Put: logs(foreign)},
		{Name: "another code", Request: files, Put: logs(many(closed(10, "7", bad), 5, 90))},
		{Name: "a log without such messages", Request: files, Put: logs()},
		{Name: "failed", Request: files, Put: deny(evidence.LogMessages.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Request: files, Put: late(evidence.LogMessages.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Request: network, Outcome: diagnose.OutcomeSkipped},
	})
}
