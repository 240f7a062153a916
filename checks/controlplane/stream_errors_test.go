package controlplane

import (
	"testing"
	"time"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestStreamErrors(t *testing.T) {
	const upstream = "upstream connect error or disconnect/reset before headers. reset reason: connection termination"
	const goaway = `closing transport due to: connection error: desc = "error reading from server: EOF", received prior goaway: code: NO_ERROR, debug data: `
	lasting := closed(10, "14", upstream)
	lasting.Fields["again"] = "since"
	loads := many(closed(10, "14", upstream), 6, 60)
	loads.Fields["method"] = "StreamLoadStats"
	eof := msg(messages.ADSFailed.ID, 3, "ADS stream closed: EOF", map[string]string{"event": "ADS stream closed", "text": "EOF"})
	java := msg(messages.ADSFailed.ID, 3, "ADS stream closed with status UNAVAILABLE: ADS stream closed by server. Cause: null",
		map[string]string{"event": "ADS stream closed", "java": "UNAVAILABLE", "text": "ADS stream closed by server. Cause: null"})
	echo := every(ads(3, "error received from xDS stream", "Unavailable", "connection refused"), 6, time.Minute)
	repeated := func(code, text string) func(*evidence.Set) { return logs(many(closed(10, code, text), 5, 90)) }
	retried := msg(messages.LoadReportFailed.ID, 4, "Load reporter stats stream/connection failure, will retry in 5000 ms.", nil)
	const dialing = `connection error: desc = "transport: Error while dialing: dial tcp`
	single := func(code, text string) func(*evidence.Set) { return logs(of(1, closed(1, code, text))) }
	oneLoad := of(1, closed(1, "14", dialing+` 142.250.74.170:443: i/o timeout"`))
	oneLoad.Fields["method"] = "StreamLoadStats"
	agent := msg(messages.AgentUpstreamFailed.ID, 1, "failed to connect to upstream istiod.istio-system.svc:15012: context deadline exceeded",
		map[string]string{"address": "istiod.istio-system.svc:15012", "text": "context deadline exceeded"})
	checkstest.Run(t, StreamErrors, []checkstest.Case{
		{Name: "unavailable, again and again", Request: files, Put: repeated("14", upstream), Unfilled: []string{"project"},
			Want: []checkstest.Want{{Subject: "the proxy that wrote proxy.log", Summary: "xDS streams failed 5 times in proxy.log with code 14: upstream connect error", Confidence: diagnose.Likely,
				Params: map[string]string{"dial": "yes"}, Excerpt: "line 10 (5 times"}}},
		{Name: "no healthy upstream", Request: node, Put: repeated("14", "no healthy upstream"), Want: []checkstest.Want{{Subject: nodeID, Params: map[string]string{"upstream": "yes"}}}},
		{Name: "the line says that it lasts", Request: files, Put: logs(lasting), Want: []checkstest.Want{{Summary: "2 times"}}},
		{Name: "an address that changes", Request: files, Put: logs(closed(10, "14", "dial tcp 142.250.1.95:443: i/o timeout"), closed(11, "14", "dial tcp 142.250.2.95:443: i/o timeout")),
			Want: []checkstest.Want{{Summary: "2 times"}}},
		{Name: "a code 13 that comes every second", Request: files, Put: logs(every(closed(10, "13", ""), 20, time.Second)), Want: []checkstest.Want{{Summary: "20 times in proxy.log with code 13: no text"}}},
		{Name: "code 7 of a perimeter", Request: network, Put: repeated("7", "Request is prohibited by organization's policy. vpcServiceControlsUniqueIdentifier: aB3"),
			Want: []checkstest.Want{{Params: map[string]string{"perimeter": "yes"}}}},
		{Name: "invalid argument", Request: files, Put: repeated("3", "Invalid node id"), Want: []checkstest.Want{{Summary: "code 3"}}},
		{Name: "load reports", Request: files, Put: logs(loads), Want: []checkstest.Want{{Summary: "load report streams failed 6 times"}}},
		{Name: "proxyless, echoed over minutes", Request: files, Put: logs(echo), Want: []checkstest.Want{{Summary: "2 times"}}},
		{Name: "proxyless, without a status", Request: files, Put: logs(many(eof, 4, 40)), Want: []checkstest.Want{{Summary: "no code: EOF"}}},
		{Name: "a message that is too large", Request: files, Put: repeated("8", "grpc: received message larger than max (5242880 vs. 4194304)"), Want: []checkstest.Want{{Summary: "code 8"}}},

		{Name: "pasted: the name", Request: files, Put: single("14", dialing+`: lookup trafficdirector.googleapis.com: no such host"`), Unfilled: []string{"project"},
			Want: []checkstest.Want{{Summary: "The control plane's name did not resolve where the proxy runs, as far as one message tells (code 14)", Confidence: diagnose.Possible, Params: map[string]string{"dns": "yes"}}}},
		{Name: "pasted: silence", Request: files, Put: single("14", dialing+` 142.250.74.170:443: i/o timeout"`),
			Want: []checkstest.Want{{Summary: "The proxy got no connection to the control plane", Confidence: diagnose.Possible, Params: map[string]string{"dial": "yes"}}}},
		{Name: "pasted: refused", Request: files, Put: single("14", dialing+` 142.250.74.170:443: connect: connection refused"`), Want: []checkstest.Want{{Summary: "The proxy got no connection", Confidence: diagnose.Possible}}},
		{Name: "pasted: Envoy's reset", Request: files, Put: single("14", "upstream connect error or disconnect/reset before headers. reset reason: connection failure"), Want: []checkstest.Want{{Confidence: diagnose.Possible}}},
		{Name: "pasted: turned down", Request: files, Put: single("3", "Invalid node id"), Want: []checkstest.Want{{Summary: "turned the proxy's request down, as far as one message tells (code 3): Invalid node id.", Confidence: diagnose.Possible}}},
		{Name: "pasted: the agent", Request: files, Put: logs(of(1, agent)), Want: []checkstest.Want{{Summary: "The proxy got no connection", Confidence: diagnose.Possible}}},

		{Name: "pasted: then an answer", Request: files, Put: logs(of(2, closed(1, "14", dialing+` 142.250.74.170:443: i/o timeout"`)), of(2, came(2)))},
		{Name: "pasted: then a routine", Request: files, Put: logs(of(2, closed(1, "14", dialing+` 142.250.74.170:443: i/o timeout"`)), of(2, closed(2, "13", "")))},
		{Name: "pasted: in a log that goes on", Request: files, Put: logs(of(60, closed(1, "14", dialing+` 142.250.74.170:443: i/o timeout"`)))},
		{Name: "pasted: a routine", Request: files, Put: single("13", "")},
		{Name: "pasted: a goaway", Request: files, Put: single("14", goaway)},
		{Name: "pasted: a connection that ended", Request: files, Put: single("14", upstream)},
		{Name: "pasted: as a proxy starts", Request: files, Put: single("14", "no healthy upstream")},
		{Name: "pasted: a deadline", Request: files, Put: single("4", "Deadline Exceeded")},
		{Name: "pasted: not found under code 3", Request: files, Put: single("3", "Traffic Director configuration was not found")},
		{Name: "pasted: scopes", Request: files, Put: single("7", "Request had insufficient authentication scopes.")},
		{Name: "pasted: quota", Request: files, Put: single("8", "Quota exceeded")},
		{Name: "pasted: load reports", Request: files, Put: logs(oneLoad)},
		{Name: "load reports that never hold", Request: files, Put: logs(every(retried, 20, 5*time.Second)),
			Want: []checkstest.Want{{Summary: "load report streams failed 20 times", Confidence: diagnose.Likely}}},
		{Name: "load reports, told by their stream", Request: files, Put: logs(loads, every(retried, 20, 5*time.Second)),
			Want: []checkstest.Want{{Summary: "load report streams failed 6 times in proxy.log with code 14"}}},
		{Name: "load reports that are renewed", Request: files, Put: logs(every(retried, 40, 29*time.Minute))},
		{Name: "load reports, without times", Request: files, Put: logs(many(retried, 40, 900))},
		{Name: "load reports, then configuration", Request: files, Put: logs(every(retried, 20, 5*time.Second), came(90))},
		{Name: "routine reconnects", Request: files, Put: logs(every(closed(10, "13", ""), 40, 29*time.Minute))},
		{Name: "routine reconnects, without times", Request: files, Put: logs(many(closed(10, "13", ""), 40, 900))},
		{Name: "goaway", Request: files, Put: repeated("14", goaway)},
		{Name: "goaway to a proxyless client", Request: files, Put: logs(many(ads(4, "ADS stream closed", "Unavailable", goaway), 6, 70))},
		{Name: "grpc-java's routine", Request: files, Put: logs(many(java, 6, 70))},
		{Name: "a proxy that starts, then routine reconnects", Request: files, Put: logs(many(closed(99, "14", "no healthy upstream"), 2, 103), many(closed(121, "13", ""), 4, 137))},
		{Name: "a proxy that starts, then gets configuration", Request: files, Put: logs(many(closed(9, "14", "no healthy upstream"), 3, 13), came(20))},
		{Name: "unavailable once", Request: files, Put: logs(closed(10, "14", upstream))},
		{Name: "deadline once, unavailable once", Request: files, Put: logs(closed(10, "4", "deadline"), closed(11, "14", upstream))},
		{Name: "echoed to several watchers at once", Request: files, Put: logs(every(ads(3, "error received from xDS stream", "Unavailable", "connection refused"), 8, time.Millisecond))},
		{Name: "ended in order", Request: files, Put: repeated("0", "")},
		{Name: "scopes", Request: files, Put: repeated("7", "Request had insufficient authentication scopes.")},
		{Name: "permission", Request: files, Put: repeated("7", "The caller does not have permission")},
		{Name: "API off", Request: files, Put: repeated("7", "Traffic Director API has not been used in project 482915067713 before or it is disabled.")},
		{Name: "credentials", Request: files, Put: repeated("16", "who are you")},
		{Name: "quota", Request: files, Put: repeated("8", "Quota exceeded")},
		{Name: "not found", Request: files, Put: repeated("5", `Cloud Service Mesh configuration was not found for network "mesh-vpc" in project "482915067713".`)},
		{Name: "entity not found", Request: files, Put: repeated("5", "Requested entity was not found.")},
		{Name: "failed", Request: files, Put: deny(evidence.LogMessages.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Request: files, Put: late(evidence.LogMessages.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Request: network, Outcome: diagnose.OutcomeSkipped},
	})
}
