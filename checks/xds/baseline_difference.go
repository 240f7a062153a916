package xds

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/envoy"
)

// maxDifferences is how many differences a report shows: the most meaningful come first, and nobody reads on for long.
const maxDifferences = 12

// BaselineDifference finds what a working proxy's configuration has and the broken one's lacks.
var BaselineDifference = diagnose.Check{
	ID:       "xds/baseline-difference",
	Severity: diagnose.Degrading,
	Layer:    diagnose.LayerConfig,
	Symptoms: []diagnose.Symptom{diagnose.SymptomNoConfig, diagnose.SymptomRequestsFail},
	Doc: diagnose.Doc{
		Title: "The proxy lacks what a working one has",
		Explanation: "The config dumps of a proxy that works and of one that doesn't were compared: listeners, filter chains, routes, virtual hosts, " +
			"clusters and endpoints. Versions, times, order and the proxies' own addresses don't count. A difference is a lead: two proxies may " +
			"rightly differ.",
		Quiet: "When both have the same, or the broken one only has more.",
		Remedy: []diagnose.Step{
			{Text: "Begin with the first difference: see what makes it (rule, route or backend service), and why the control plane gives it to one proxy alone: network, metadata filters, or the proxy's own rejection."},
			{Text: "Compare who the two proxies say they are:", Command: "curl -s http://localhost:15000/server_info | grep -A 20 '\"node\"'"},
		},
		References: []string{refDump},
	},
	Needs:    []evidence.Name{evidence.EnvoyDumps.Name()},
	Evaluate: baselineDifference,
}

func baselineDifference(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	dumps, err := evidence.Get(v, evidence.EnvoyDumps)
	if err != nil {
		return nil, err
	}
	var good, bad []evidence.EnvoyDump
	for _, d := range dumps {
		if d.Baseline {
			good = append(good, d)
		} else {
			bad = append(bad, d)
		}
	}
	if len(good) == 0 || len(bad) == 0 {
		return nil, diagnose.Skip("there is no pair of config dumps to compare: hand one of a working proxy in with --baseline")
	}
	var causes []diagnose.Cause
	for _, b := range bad {
		diffs, more := envoy.Diff(good[0].Dump, b.Dump)
		var lines []string
		first := ""
		for _, d := range diffs {
			if d.Kind == envoy.NotCompared {
				continue
			}
			l := fmt.Sprintf("%s %s: %s", d.Of, brief(d.Name, maxNameSize), d.Kind)
			if d.Good != "" || d.Bad != "" {
				l += fmt.Sprintf(" (working: %s; this one: %s)", cmp.Or(d.Good, "nothing"), cmp.Or(d.Bad, "nothing"))
			}
			if first == "" {
				first = fmt.Sprintf("%s %s %s", d.Of, brief(d.Name, maxNameSize), map[envoy.DifferenceKind]string{
					envoy.WasRejected: "was rejected by this one", envoy.Lacks: "is lacking in this one", envoy.NotServing: "does not serve in this one",
					envoy.NoEndpoints: "has no usable endpoint in this one", envoy.LeadsElsewhere: "leads elsewhere in this one"}[d.Kind])
				if d.Kind == envoy.Differs {
					first = fmt.Sprintf("%s %s differs", d.Of, brief(d.Name, maxNameSize))
				}
			}
			if len(lines) < maxDifferences {
				lines = append(lines, l)
			} else {
				more++
			}
		}
		if first == "" {
			continue
		}
		if more > 0 {
			lines = append(lines, fmt.Sprintf("… and %d more", more))
		}
		causes = append(causes, diagnose.Cause{
			Subject: cmp.Or(b.Dump.NodeID, place(b)), Key: pathKey(req, b), About: aboutDump(b), Confidence: diagnose.Possible,
			Summary:  fmt.Sprintf("Compared with %s, %s: %s.", place(good[0]), place(b), first),
			Params:   map[string]string{"node_id": b.Dump.NodeID},
			Evidence: []diagnose.Exhibit{{Fact: evidence.EnvoyDumps.Name(), Source: b.Source, Excerpt: strings.Join(lines, "\n")}},
		})
	}
	return causes, nil
}
