package vm

import (
	"fmt"
	"time"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// setupTime is how long a set-up may take: it installs a few packages and one archive, which is done in two or three
// minutes; beyond this it is stuck.
const setupTime = 15 * time.Minute

// BootstrapInProgress finds a VM whose set-up as a service proxy isn't done.
var BootstrapInProgress = diagnose.Check{
	ID:       "vm/bootstrap-in-progress",
	Severity: diagnose.Blocking,
	Layer:    diagnose.LayerVM,
	Symptoms: []diagnose.Symptom{diagnose.SymptomNotConnected, diagnose.SymptomNoConfig, diagnose.SymptomRequestsFail},
	Needs:    []evidence.Name{evidence.GuestAttributes.Name(), evidence.Instances.Name()},
	Explains: explainedBySetup,
	Doc: diagnose.Doc{
		Title: "The set-up of the VM's service proxy is not done",
		Explanation: "The guest attribute bootstrap-status says IN PROGRESS: the agent, Envoy and the interception are being installed. Until it says FINISHED there is no " +
			"proxy on the VM. It is a matter of minutes; a quarter of an hour after the VM was made, it is stuck, mostly waiting for a download.",
		Quiet: "bootstrap-status is FINISHED or FAILED; the VM doesn't run, so that the attribute is a leftover.",
		Remedy: append(append([]diagnose.Step{
			{Unless: "stuck", Text: "Wait some minutes. Fifteen minutes after the VM was made, take it for stuck."},
		}, append(seeAttributes, seeSerialPort...)...), remake),
		References: []string{refTroubleshooting, refGuestAttributes},
	},
	Evaluate: bootstrapInProgress,
}

func bootstrapInProgress(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	r, err := reported(req, v)
	if err != nil {
		return nil, err
	}
	switch r.status() {
	case statusInProgress:
	case "":
		return nil, diagnose.Skip("the guest attributes given are only some of them")
	default:
		return nil, nil
	}
	c := r.cause(req)
	c.Evidence = []diagnose.Exhibit{r.attribute(evidence.GuestBootstrapStatus)}
	c.Summary = fmt.Sprintf("The set-up of the service proxy on %s is still under way: bootstrap-status is IN PROGRESS.", r.name(req))
	if r.Source.Pasted {
		c.Confidence = diagnose.Likely // it may have gone on since
	}
	if age, ok := r.age(); ok && age > setupTime {
		c.Params["stuck"] = "yes"
		c.Summary = fmt.Sprintf("The set-up of the service proxy on %s is stuck: bootstrap-status is IN PROGRESS %s after the VM was made.", r.name(req), ago(age))
		c.Evidence = append(c.Evidence, diagnose.Exhibit{
			Fact: evidence.Instances.Name(), Source: r.vm.Source, Excerpt: r.vm.Name + ": creationTimestamp " + r.vm.Created.UTC().Format(time.RFC3339),
		})
	} else {
		c.Severity = diagnose.Degrading // it may well be done in a minute
	}
	return []diagnose.Cause{c}, nil
}
