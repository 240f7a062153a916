package request

import (
	"fmt"
	"time"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// streamIdle is how long a stream may be silent: Cloud Service Mesh with the Google Cloud APIs fixes it at five minutes.
// https://docs.cloud.google.com/service-mesh/docs/service-routing/limitations
const streamIdle = 5 * time.Minute

// Timeout finds requests that a proxy ended because they took too long.
var Timeout = diagnose.Check{
	ID:       "request/timeout",
	Severity: diagnose.Degrading,
	Layer:    diagnose.LayerBackend,
	Symptoms: []diagnose.Symptom{diagnose.SymptomRequestsFail},
	Doc: diagnose.Doc{
		Title: "Requests run into the proxy's timeout",
		Explanation: "Response flag UT: the upstream did not answer within the route's timeout (15 s by Envoy's default, the backend service's timeoutSec with the Google Cloud " +
			"APIs), and the proxy answered 504. SI and stream_idle_timeout: nothing was sent in either direction for the idle timeout, which Cloud Service Mesh fixes at " +
			"five minutes. UMSDR and DT: the stream lived for as long as it may.",
		Quiet: "When the client gave up first (DC), when the connection couldn't be made in time (UF), and for a 504 that the application gave.",
		Remedy: []diagnose.Step{
			{If: "idle", Text: "The stream was idle for too long. With the Google Cloud APIs five minutes can't be changed: let the client or the server send something within it (gRPC: a message of its own; HTTP/2 pings don't count)"},
			{If: "slow", Text: "Is the answer meant to take this long? If so raise the route's timeout: with the Google Cloud APIs of the backend service", Command: "gcloud compute backend-services list --global --project={{project}} --format='table(name,timeoutSec)'"},
			{If: "slow", Text: "With the Istio APIs: timeout of the VirtualService's route", Command: "kubectl get virtualservices -A -o yaml | grep -nE 'name:|timeout:'"},
			{Text: "If not, the upstream is slow: its own metrics and log say where the time goes"},
		},
		References: []string{refFlags, "https://www.envoyproxy.io/docs/envoy/latest/faq/configuration/timeouts"},
	},
	Needs:    []evidence.Name{evidence.AccessLogs.Name()},
	Evaluate: timeout,
}

func idle(g evidence.AccessGroup) bool {
	return flagged(g, "SI") || contains(g.Details, "stream_idle_timeout")
}

func timedOut(g evidence.AccessGroup) bool {
	return flagged(g, "UT", "UMSDR", "DT") || contains(g.Details, "response_timeout", "upstream_per_try_timeout", "upstream_max_stream_duration_reached") || g.Details == "max_duration_timeout"
}

func timeout(_ diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	groups, err := evidence.Get(v, evidence.AccessLogs)
	if err != nil {
		return nil, err
	}
	list, more := bunches(groups, func(g evidence.AccessGroup) bool { return idle(g) || timedOut(g) })
	var causes []diagnose.Cause
	for _, b := range list {
		after := ""
		if b.longest > 0 {
			after = " after " + b.longest.Round(time.Millisecond).String()
			if b.count > 1 {
				after = " after up to " + b.longest.Round(time.Millisecond).String()
			}
		}
		c := b.cause(diagnose.Likely, "")
		if idle(b.groups[0]) {
			c.Params["idle"] = "yes"
			c.Summary = fmt.Sprintf("%s %s ended by the proxy%s, because nothing was sent on it for too long.", b.share(), were(b.count), after)
			if b.longest >= streamIdle && len(b.groups) == 1 {
				c.Summary = fmt.Sprintf("%s %s ended by the proxy%s: a stream may be idle for five minutes.", b.share(), were(b.count), after)
			}
		} else {
			c.Params["slow"] = "yes"
			c.Summary = fmt.Sprintf("%s ran into the proxy's timeout%s.", b.share(), after)
		}
		causes = append(causes, c)
	}
	return leftOut(causes, more), nil
}
