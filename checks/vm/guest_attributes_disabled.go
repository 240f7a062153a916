package vm

import (
	"fmt"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// GuestAttributesDisabled finds a service proxy's VM on which nothing can be reported in guest attributes.
var GuestAttributesDisabled = diagnose.Check{
	ID:       "vm/guest-attributes-disabled",
	Severity: diagnose.Advice,
	Layer:    diagnose.LayerVM,
	Needs:    []evidence.Name{evidence.Instances.Name(), evidence.ProjectMetadata.Name(), evidence.GuestAttributes.Name()},
	Doc: diagnose.Doc{
		Title: "Guest attributes are off, so the VM's service proxy cannot report",
		Explanation: "The set-up and the agent of a VM made with --service-proxy report in guest attributes how they fare. gcloud switches them on with the metadata entry " +
			"enable-guest-attributes=TRUE when it makes the VM or its template; here it isn't TRUE. The proxy may work all the same: it can't be told.",
		Quiet: "Guest attributes can be read; the VM wasn't made with --service-proxy. The VM's own value counts before the project's.",
		Remedy: []diagnose.Step{
			{If: "instance", Text: "Switch them on for the VM; it needn't be started again.",
				Command: "gcloud compute instances add-metadata {{instance}} --zone={{zone}} --project={{project}} --metadata=enable-guest-attributes=TRUE"},
			{Text: "Where it doesn't stay, see whether the organization's policy constraints/compute.disableGuestAttributesAccess forbids it; and set it in the instance template, or the next VM will have the same fault."},
			{If: "instance", Text: "Start the agent again, so that it reports.",
				Command: "gcloud compute ssh {{instance}} --zone={{zone}} --project={{project}} --command='sudo systemctl restart service-proxy-agent'"},
		},
		References: []string{refGuestAttributes, refAutoVMs},
	},
	Evaluate: guestAttributesDisabled,
}

func guestAttributesDisabled(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	attrs, attrsErr := evidence.Get(v, evidence.GuestAttributes)
	project, projectErr := evidence.Get(v, evidence.ProjectMetadata)
	vm, err := about(req, v, attrs.Instance)
	switch {
	case attrsErr == nil && len(attrs.Values) > 0 && (req.Target.Instance == "" || attrs.Instance == "" || attrs.Instance == req.Target.Instance):
		return nil, nil
	case err != nil:
		return nil, err
	case !serviceProxy(vm):
		return nil, diagnose.Skip("VM %s wasn't made with --service-proxy: nothing on it reports in guest attributes", vm.Name)
	}
	value, own, err := guestAttributesSwitch(vm, project, projectErr)
	if err != nil || truth(value) {
		return nil, err
	}
	what := "is not set"
	if value != "" {
		what = "is " + clip(value, maxWords)
	}
	where := "on neither VM nor project"
	switch {
	case own:
		where = "on the VM"
	case value != "":
		where = "on the project"
	}
	return []diagnose.Cause{{
		Subject: subject(req, vm, ""), Confidence: diagnose.Confirmed, Params: params(req, vm, ""),
		Summary:  fmt.Sprintf("Guest attributes are off for VM %s: %s %s %s, so its set-up and agent cannot report.", vm.Name, evidence.EnableGuestAttributes, what, where),
		Evidence: []diagnose.Exhibit{switchExhibit(vm, value, own)},
	}}, nil
}
