package controlplane

import (
	"regexp"

	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/evidence"
)

// controlPlaneHost tells the names of control planes from those of an application's own servers.
var controlPlaneHost = regexp.MustCompile(`^(?:(?:[\w-]+\.)?(?:trafficdirector|meshconfig)\.googleapis\.com|istiod[\w-]*(?:\.[\w.-]+)?)\.?$`)

// linkFailures gives the messages that tell of the connection under the xDS streams, and that nothing later takes back:
// Istio's agent and gRPC clients that don't get through, and a stream of load reports that never holds.
func linkFailures(msgs []evidence.LogMessage, good successes) []closure {
	connected, told := successes{}, map[string]bool{}
	for _, m := range msgs {
		switch {
		case m.Signature == messages.AgentUpstreamConnected.ID:
			if l := lastOf(m); connected[m.File] == (moment{}) || l.line > connected[m.File].line || l.at.After(connected[m.File].at) {
				connected[m.File] = l
			}
		case m.Signature == messages.StreamClosed.ID && m.Fields["method"] == loadReports:
			told[m.File] = true // it tells the code too
		}
	}
	var out []closure
	for _, m := range msgs {
		c := closure{LogMessage: m, code: codeUnknown}
		switch m.Signature {
		case messages.AgentUpstreamFailed.ID:
			c.text = "failed to connect to upstream " + m.Fields["address"] + m.Fields["agent_address"] + " " + m.Fields["text"]
			if m.Fields["client"] != "" {
				c.text = "failed to create upstream grpc client: " + m.Fields["client"]
			}
			if connected.after(m) {
				continue
			}
		case messages.HostNotFound.ID:
			if m.Fields["stream"] != "" || !controlPlaneHost.MatchString(m.Fields["host"]) {
				continue // told by its own message, or of another server
			}
			c.text = "lookup " + m.Fields["host"] + ": no such host"
		case messages.LoadReportFailed.ID:
			if told[m.File] || !c.rapid() {
				continue
			}
			c.method, c.text = loadReports, "connection failure"
		default:
			continue
		}
		if !good.after(m) && !c.knownElsewhere() {
			out = append(out, c)
		}
	}
	return out
}
