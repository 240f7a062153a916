package vm

import (
	"fmt"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// BootstrapFailed finds a VM whose set-up as a service proxy failed.
var BootstrapFailed = diagnose.Check{
	ID:       "vm/bootstrap-failed",
	Severity: diagnose.Blocking,
	Layer:    diagnose.LayerVM,
	Symptoms: []diagnose.Symptom{diagnose.SymptomNotConnected, diagnose.SymptomNoConfig, diagnose.SymptomRequestsFail},
	Needs:    []evidence.Name{evidence.GuestAttributes.Name(), evidence.Instances.Name()},
	Explains: explainedBySetup,
	Doc: diagnose.Doc{
		Title: "The set-up of the VM's service proxy failed",
		Explanation: "The guest attribute bootstrap-status says FAILED: the agent, Envoy or the interception could not be installed or configured. bootstrap-last-failure " +
			"says what went wrong. The set-up runs once, at the VM's first start, and isn't tried again by itself.",
		Quiet: "bootstrap-status is FINISHED: a bootstrap-last-failure beside it is of an earlier try. The VM doesn't run.",
		Remedy: append(append([]diagnose.Step{
			{If: "failure", Text: "Mend what it names: {{failure}}"},
		}, seeSerialPort...), remake),
		References: []string{refTroubleshooting, refGuestAttributes},
	},
	Evaluate: bootstrapFailed,
}

func bootstrapFailed(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	r, err := reported(req, v)
	if err != nil {
		return nil, err
	}
	switch r.status() {
	case statusFailed:
	case "":
		return nil, diagnose.Skip("the guest attributes given are only some of them")
	default:
		return nil, nil
	}
	c := r.cause(req)
	c.Evidence = []diagnose.Exhibit{r.attribute(evidence.GuestBootstrapStatus)}
	c.Summary = fmt.Sprintf("The set-up of the service proxy on %s failed, and gives no reason.", r.name(req))
	if key, text := r.lastFailure(); key != "" {
		c.Summary = fmt.Sprintf("The set-up of the service proxy on %s failed: %s", r.name(req), sentence(clip(text, maxWords)))
		c.Evidence = append(c.Evidence, r.attribute(key))
		c.Params["failure"] = sentence(clip(text, maxExcerpt))
	}
	return []diagnose.Cause{c}, nil
}
