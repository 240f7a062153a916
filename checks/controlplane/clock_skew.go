package controlplane

import (
	"fmt"
	"time"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// maxSkew is how far a clock may be off before certificates and tokens made just now look as if they weren't valid.
const maxSkew = 5 * time.Minute

// ClockSkew finds a clock that is off against the control plane's by more than five minutes.
//
// Source of the rule: the Date header of the control plane's HTTP answers (RFC 9110, section 6.6.1).
var ClockSkew = diagnose.Check{
	ID:       "controlplane/clock-skew",
	Severity: diagnose.Blocking,
	Layer:    diagnose.LayerVM,
	Symptoms: []diagnose.Symptom{diagnose.SymptomNotConnected},
	Needs:    []evidence.Name{evidence.ClockFact.Name()},
	Explains: append([]diagnose.CheckID{"controlplane/tls-failure", "controlplane/invalid-credentials", "vm/agent-failure"}, disconnected...),
	Doc: diagnose.Doc{
		Title:       "The clock is wrong",
		Explanation: "A clock that is off by minutes makes good certificates look expired or not valid yet, and makes signed tokens invalid. It was compared with the Date header that the control plane sends.",
		Quiet:       "A difference within what the measurement may be off by; a difference under five minutes; the workload's own clock is right.",
		Remedy: []diagnose.Step{
			{If: "instance", Text: "See whether the VM's clock is synchronised; Compute Engine's time server is metadata.google.internal.",
				Command: "gcloud compute ssh {{instance}} --zone={{zone}} --project={{project}} --command='timedatectl status; chronyc sources'"},
			{Unless: "instance", Text: "See whether the clock is synchronised; on Compute Engine the time server is metadata.google.internal.", Command: "timedatectl status; chronyc sources"},
			{Text: "Set the clock at once. Programs that take time for steady may stumble over the jump.", Command: "sudo chronyc makestep"},
		},
		References: []string{
			"https://cloud.google.com/compute/docs/instances/configure-ntp",
		},
	},
	Evaluate: clockSkew,
}

func clockSkew(_ diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	list, err := evidence.Get(v, evidence.ClockFact)
	if err != nil {
		return nil, err
	}
	list = nearest(list, func(c evidence.ClockOffset) evidence.Source { return c.Source })
	if len(list) == 0 {
		return nil, diagnose.Skip("no clock was compared")
	}
	best := list[0]
	for _, c := range list[1:] {
		if c.Within.Abs() < best.Within.Abs() {
			best = c
		}
	}
	off := best.Offset.Abs()
	if off-best.Within.Abs() <= maxSkew {
		return nil, nil
	}
	confidence, where := seenFrom(best.Source)
	way := "ahead of"
	if best.Offset < 0 {
		way = "behind"
	}
	c := diagnose.Cause{
		Subject:    "the workload's clock",
		Summary:    fmt.Sprintf("The clock is %s %s the control plane's, seen %s; over %d minutes break TLS and tokens.", off.Round(time.Second), way, where, int(maxSkew.Minutes())),
		Confidence: confidence,
		Evidence: []diagnose.Exhibit{{
			Fact: evidence.ClockFact.Name(), Excerpt: fmt.Sprintf("offset %s, give or take %s", best.Offset.Round(time.Second), best.Within.Round(time.Second)), Source: best.Source,
		}},
	}
	if best.Source.Vantage != evidence.FromWorkload {
		// This machine's clock, not a proxy's: it may spoil what is seen from here, and breaks nothing in the mesh.
		c.Subject, c.Severity = "the clock of the machine meshdiag runs on", diagnose.Degrading
	}
	return []diagnose.Cause{c}, nil
}
