package xds

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

const (
	// staleAfter is how long a client may take to answer a response: Envoy warms clusters and listeners first, for 15 s at
	// most by default (initial_fetch_timeout), and a slow control plane's answer may be on its way.
	staleAfter = time.Minute
	// staleSpan is how far apart two samples must be that show the same version unanswered: an ACK takes one round trip.
	staleSpan = 2 * time.Second
)

// ConfigStale finds configuration that a client was sent and doesn't answer.
var ConfigStale = diagnose.Check{
	ID:       "xds/config-stale",
	Severity: diagnose.Degrading,
	Layer:    diagnose.LayerConfig,
	Symptoms: []diagnose.Symptom{diagnose.SymptomNoConfig, diagnose.SymptomRequestsFail},
	Doc: diagnose.Doc{
		Title: "The client doesn't acknowledge its configuration",
		Explanation: "STALE says that the control plane sent a version and that the client neither accepted nor rejected it. For a " +
			"moment after every change that is normal. Where it lasts, the client's main thread is stuck or starved of CPU, or the " +
			"stream is dead and neither side has noticed, and the client works with an old configuration.",
		Quiet: "When the version was sent less than a minute ago, or one sample alone showed it and it carries no time.",
		Remedy: []diagnose.Step{
			{Text: "On the client's VM or in its pod, see whether Envoy answers, and what state it is in:",
				Command: `curl -s -m 5 http://localhost:15000/server_info | grep '"state"'`},
			{Text: "See whether it is short of CPU or memory:",
				Command: `top -b -n 1 -p "$(pgrep -d, -x envoy)"`},
			{Text: "See whether it still takes updates (run this twice, some seconds apart):",
				Command: `curl -s 'http://localhost:15000/stats?filter=connected_state|ds.update_'`},
			{Text: "If it answers and nothing moves, restart the proxy: that opens a new stream. Connections through it are cut."},
		},
		References: []string{
			"https://cloud.google.com/traffic-director/docs/client-status",
			"https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/status/v3/csds.proto",
		},
	},
	Needs:    []evidence.Name{evidence.ClientStatuses.Name()},
	Evaluate: configStale,
}

func configStale(_ diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	list, err, open := statuses(v)
	if err != nil {
		return nil, err
	}
	var f findings
	single := 0
	each(list, func(s *evidence.ClientStatus, r seen) {
		if r.Server != evidence.Stale || has(r.Client) {
			return // what the client itself shows goes before the control plane's view of it
		}
		age := staleFor(s, r)
		switch {
		case r.Samples >= 2 && r.SampleSpan >= staleSpan, age > staleAfter:
			f.add("STALE", diagnose.Confirmed, r)
		case r.LastUpdated.IsZero() || s.Asked.IsZero() || s.Source.Pasted:
			single++
		}
	})
	f.join()
	causes := f.causes(clientCount(list), func(x finding) string {
		who := "The client has"
		if len(x.clients) > 1 {
			who = x.by(clientCount(list)) + " have"
		}
		return fmt.Sprintf("%s not acknowledged %s, which the control plane sent%s.", who, x.what(), longest(list, x.types))
	})
	switch {
	case len(causes) > 0:
		return causes, nil
	case open != nil:
		return nil, open
	case single > 0:
		return nil, errors.New(plural(single, "resource") + " STALE in a single answer that does not tell since when: ask again in a few seconds")
	}
	return nil, nil
}

// staleFor tells how long ago, at least, an unanswered version was sent. A file doesn't say when it was made: there only
// its own latest time counts.
func staleFor(s *evidence.ClientStatus, r seen) time.Duration {
	asked := s.Asked
	if s.Source.Pasted {
		asked = time.Time{}
		for _, o := range s.Resources {
			for _, t := range []time.Time{o.LastUpdated, o.ReasonTime} {
				if t.After(asked) {
					asked = t
				}
			}
		}
	}
	if r.LastUpdated.IsZero() || asked.IsZero() {
		return 0
	}
	return asked.Sub(r.LastUpdated)
}

// longest says how long the types have been unanswered: by its time, or over the samples.
func longest(list []evidence.ClientStatus, types []string) string {
	var age, span time.Duration
	each(list, func(s *evidence.ClientStatus, r seen) {
		if r.Server == evidence.Stale && slices.Contains(types, r.Type()) {
			age, span = max(age, staleFor(s, r)), max(span, r.SampleSpan)
		}
	})
	switch {
	case age > staleAfter:
		return fmt.Sprintf(" at least %s ago", age.Round(time.Second))
	case span > 0:
		return fmt.Sprintf(": unchanged over %s of samples", span.Round(100*time.Millisecond))
	}
	return ""
}
