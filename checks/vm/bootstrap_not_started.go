package vm

import (
	"cmp"
	"fmt"
	"time"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// justMade is how old a VM may be for its set-up not to have begun: the guest boots, and the OS Config agent, which runs the
// set-up, asks for work within its first minutes.
const justMade = 5 * time.Minute

// BootstrapNotStarted finds a VM made with --service-proxy on which the set-up never began.
var BootstrapNotStarted = diagnose.Check{
	ID:       "vm/bootstrap-not-started",
	Severity: diagnose.Blocking,
	Layer:    diagnose.LayerVM,
	Symptoms: []diagnose.Symptom{diagnose.SymptomNotConnected, diagnose.SymptomNoConfig, diagnose.SymptomRequestsFail},
	Needs:    []evidence.Name{evidence.GuestAttributes.Name(), evidence.Instances.Name(), evidence.ProjectMetadata.Name()},
	Explains: explainedBySetup,
	Doc: diagnose.Doc{
		Title: "The set-up of the VM's service proxy has not begun",
		Explanation: "A VM made with --service-proxy installs its agent and Envoy at its first start: the OS Config agent runs the set-up as a software recipe, and the set-up " +
			"says in the guest attribute bootstrap-status how far it came. Guest attributes are on for this VM and that one isn't set, so the set-up never began: mostly because " +
			"the OS Config agent doesn't run (an image without it, enable-osconfig off) or can't reach its API.",
		Quiet: "Guest attributes are off or can't be read: then nobody knows. A VM that is less than five minutes old. A VM that wasn't made with --service-proxy.",
		Remedy: append(append([]diagnose.Step{
			{If: "instance", Text: "See whether the OS Config agent is on for the VM and for the project (enable-osconfig=TRUE), and that the recipe is there (gce-software-declaration).",
				Command: "gcloud compute instances describe {{instance}} --zone={{zone}} --project={{project}} --format='yaml(metadata.items)'"},
			{If: "instance", Text: "See whether it runs, and what it says.",
				Command: "gcloud compute ssh {{instance}} --zone={{zone}} --project={{project}} --command='sudo journalctl -u google-osconfig-agent --no-pager -n 50'"},
			{If: "project", Text: "See that its API is on.", Command: "gcloud services list --enabled --project={{project}} --filter=config.name:osconfig.googleapis.com"},
		}, seeSerialPort...), remake),
		References: []string{refTroubleshooting, refAutoVMs, "https://cloud.google.com/compute/docs/troubleshooting/vm-manager/verify-setup"},
	},
	Evaluate: bootstrapNotStarted,
}

func bootstrapNotStarted(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	r, err := reported(req, v)
	if err != nil {
		return nil, err
	}
	project, projectErr := evidence.Get(v, evidence.ProjectMetadata)
	switch s := r.status(); {
	case s == "":
		return nil, diagnose.Skip("the guest attributes given are only some of them")
	case s != statusNone:
		return nil, nil
	}
	if r.vmErr != nil {
		return nil, r.vmErr // whether anything is to be set up, and whether it could say so, isn't known
	}
	if !serviceProxy(r.vm) {
		return nil, diagnose.Skip("VM %s wasn't made with --service-proxy: nothing is set up on it by itself", r.vm.Name)
	}
	switched := diagnose.Exhibit{}
	if len(r.Values) == 0 { // otherwise something could be written, so they are on
		value, own, err := guestAttributesSwitch(r.vm, project, projectErr)
		switch {
		case err != nil:
			return nil, err
		case !truth(value):
			return nil, diagnose.Skip("guest attributes are off for VM %s, so that nothing could be reported", r.vm.Name)
		}
		switched = switchExhibit(r.vm, value, own)
	}
	if r.Values[evidence.GuestAgentHeartbeat] != "" {
		return nil, fmt.Errorf("the agent of VM %s reports, and its set-up says that it hasn't begun", r.vm.Name)
	}
	age, known := r.age()
	if known && age < justMade && age > -justMade {
		return nil, fmt.Errorf("VM %s was made %s ago: its set-up may yet begin", r.vm.Name, ago(max(age, 0)))
	}
	c := r.cause(req)
	c.Summary = fmt.Sprintf("The set-up of the service proxy on %s has not begun: guest attributes are on, and bootstrap-status is not set.", r.name(req))
	if known {
		c.Summary = fmt.Sprintf("The set-up of the service proxy on %s has not begun %s after the VM was made: bootstrap-status is not set.", r.name(req), ago(age))
	} else {
		c.Confidence = diagnose.Likely // it may have been made just now
	}
	if r.Source.Pasted {
		c.Confidence = diagnose.Likely
	}
	c.Evidence = []diagnose.Exhibit{r.attribute(evidence.GuestBootstrapStatus)}
	if switched.Fact != "" {
		c.Evidence = append(c.Evidence, switched)
	}
	return []diagnose.Cause{c}, nil
}

// guestAttributesSwitch gives the metadata value that switches a VM's guest attributes on or off: the VM's own, else the
// project's. own says whose it is.
// https://cloud.google.com/compute/docs/metadata/manage-guest-attributes#enable_attributes
func guestAttributesSwitch(i evidence.Instance, project map[string]string, projectErr error) (value string, own bool, err error) {
	if value, own = i.Metadata[evidence.EnableGuestAttributes]; own {
		return value, true, nil
	}
	return project[evidence.EnableGuestAttributes], false, projectErr
}

func switchExhibit(i evidence.Instance, value string, own bool) diagnose.Exhibit {
	if own {
		return diagnose.Exhibit{Fact: evidence.Instances.Name(), Source: i.Source, Excerpt: fmt.Sprintf("%s: metadata %s=%s", i.Name, evidence.EnableGuestAttributes, value)}
	}
	return diagnose.Exhibit{Fact: evidence.ProjectMetadata.Name(), Excerpt: fmt.Sprintf("%s: not set on VM %s; on the project %s", evidence.EnableGuestAttributes, i.Name, cmp.Or(value, "not set"))}
}
