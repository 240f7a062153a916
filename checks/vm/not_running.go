package vm

import (
	"fmt"
	"slices"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// NotRunning finds that the VM asked about is stopped, suspended or terminated.
var NotRunning = diagnose.Check{
	ID:       "vm/not-running",
	Severity: diagnose.Blocking,
	Layer:    diagnose.LayerVM,
	Symptoms: []diagnose.Symptom{diagnose.SymptomNotConnected, diagnose.SymptomNoConfig, diagnose.SymptomRequestsFail},
	Needs:    []evidence.Name{evidence.Instances.Name()},
	Explains: []diagnose.CheckID{"controlplane/client-not-connected", "controlplane/no-client-connected", "vm/agent-dead", "vm/agent-failure", "vm/envoy-not-running"},
	Doc: diagnose.Doc{
		Title: "The VM does not run",
		Explanation: "A VM that is stopped, suspended or terminated runs no proxy. What its agent last reported (guest attributes, heartbeat, log entries) stays readable, and " +
			"is of the time before.",
		Quiet: "A VM that is only just starting: ask again in a minute. Stopped VMs that weren't asked about.",
		Remedy: []diagnose.Step{
			{Text: "See who stopped it and why: a person, a schedule, a managed instance group, or Compute Engine (preemption, host error).",
				Command: "gcloud compute operations list --project={{project}} --zones={{zone}} --filter=targetLink:instances/{{instance}} --sort-by='~insertTime' --limit=10"},
			{If: "suspended", Text: "Resume it.", Command: "gcloud compute instances resume {{instance}} --zone={{zone}} --project={{project}}"},
			{Unless: "suspended", Text: "Start it.", Command: "gcloud compute instances start {{instance}} --zone={{zone}} --project={{project}}"},
		},
		References: []string{
			"https://cloud.google.com/compute/docs/instances/instance-life-cycle",
			"https://cloud.google.com/compute/docs/instances/stop-start-instance",
		},
	},
	Evaluate: notRunning,
}

func notRunning(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	i, err := about(req, v, "")
	switch {
	case err != nil:
		return nil, err
	case req.Target.Instance == "" && !serviceProxy(i):
		return nil, diagnose.Skip("no VM is named, and VM %s wasn't made to run a proxy", i.Name)
	case i.Status == "":
		return nil, diagnose.Skip("the file doesn't say whether VM %s runs", i.Name)
	case slices.Contains(starting, i.Status):
		return nil, fmt.Errorf("VM %s is %s: it isn't up yet", i.Name, i.Status)
	case !slices.Contains(stopped, i.Status):
		return nil, nil
	}
	c := diagnose.Cause{
		Subject: subject(req, i, ""), Confidence: diagnose.Confirmed, Params: params(req, i, ""),
		Summary:  fmt.Sprintf("VM %s is %s, so no proxy runs on it.", i.Name, i.Status),
		Evidence: []diagnose.Exhibit{{Fact: evidence.Instances.Name(), Excerpt: i.Name + ": status " + i.Status, Source: i.Source}},
	}
	if i.Status == "SUSPENDED" || i.Status == "SUSPENDING" {
		c.Params["suspended"] = "yes"
	}
	return []diagnose.Cause{c}, nil
}
