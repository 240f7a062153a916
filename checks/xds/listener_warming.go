package xds

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/envoy"
)

// warmingAfter is how long a listener may warm: Envoy waits 15 s for each resource by default (initial_fetch_timeout), and a
// listener may wait for several.
const warmingAfter = time.Minute

// ListenerWarming finds listeners that wait, and don't get, what they need to serve.
var ListenerWarming = diagnose.Check{
	ID:       "xds/listener-warming",
	Severity: diagnose.Blocking,
	Layer:    diagnose.LayerConfig,
	Symptoms: []diagnose.Symptom{diagnose.SymptomNoConfig, diagnose.SymptomRequestsFail},
	Doc: diagnose.Doc{
		Title: "A listener is stuck warming",
		Explanation: "Envoy puts a listener to work only when all that it refers to (routes, secrets, extension configurations) has come. This one has " +
			"waited for more than a minute, so something that it needs doesn't come.",
		Quiet: "When it began to warm less than a minute before the dump was taken.",
		Remedy: []diagnose.Step{
			{Text: "See what it waits for:", Command: "curl -s http://localhost:15000/init_dump"},
			{Text: "A route configuration that is waited for is missing at the control plane, or was rejected; a secret needs its certificate provider. See what the proxy logged:",
				Command: "grep -nE 'initial fetch timed out|rejected' /var/log/envoy/envoy.err.log"},
		},
		References: []string{"https://www.envoyproxy.io/docs/envoy/latest/operations/admin#get--init_dump",
			"https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/operations/init"},
	},
	Needs:    []evidence.Name{evidence.EnvoyDumps.Name(), evidence.EnvoyPending.Name()},
	Evaluate: listenerWarming,
}

func listenerWarming(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	dumps, err := evidence.Get(v, evidence.EnvoyDumps)
	if err != nil {
		return nil, err
	}
	pending, _ := evidence.Get(v, evidence.EnvoyPending)
	var causes []diagnose.Cause
	for _, d := range dumps {
		if d.Baseline {
			continue
		}
		now := dumpTime(d)
		for i := range d.Dump.Listeners {
			l := &d.Dump.Listeners[i]
			if l.State != envoy.Warming || l.LastUpdated.IsZero() || now.Sub(l.LastUpdated) < warmingAfter {
				continue
			}
			waits := ""
			if w := waitsFor(pending, l.Name); len(w) > 0 {
				waits = ", waiting for " + some(w, maxNameSize/maxNamed)
			}
			about := aboutDump(d)
			about[diagnose.AboutResource] = []string{l.Name}
			causes = append(causes, diagnose.Cause{
				Subject: "listener " + brief(l.Name, maxNameSize) + " at " + cmp.Or(d.Dump.NodeID, place(d)), Key: pathKey(req, d), About: about, Confidence: diagnose.Confirmed,
				Summary: fmt.Sprintf("Listener %s has been warming for %s%s.", brief(l.Name, maxNameSize), now.Sub(l.LastUpdated).Round(time.Second), waits),
				Params:  map[string]string{"listener": l.Name, "node_id": d.Dump.NodeID},
				Evidence: []diagnose.Exhibit{{Fact: evidence.EnvoyDumps.Name(), Source: d.Source,
					Excerpt: fmt.Sprintf("%s: warming since %s, version %s", l.Place, l.LastUpdated.UTC().Format(time.RFC3339), l.Version)}},
			})
		}
	}
	return causes, nil
}

// waitsFor gives the targets of the init managers that have a listener's name.
func waitsFor(pending []evidence.EnvoyInit, listener string) (out []string) {
	for _, p := range pending {
		for _, u := range p.Unready {
			if strings.Contains(u.Manager, listener) {
				out = append(out, u.Targets...)
			}
		}
	}
	return out
}
