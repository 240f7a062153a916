package controlplane

import (
	"fmt"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// NoServiceAccount finds a proxy's VM that has no service account, and so no credentials to show the control plane.
var NoServiceAccount = diagnose.Check{
	ID:       "controlplane/no-service-account",
	Severity: diagnose.Blocking,
	Layer:    diagnose.LayerAPI,
	Symptoms: []diagnose.Symptom{diagnose.SymptomNotConnected, diagnose.SymptomNoConfig},
	Needs:    []evidence.Name{evidence.Instances.Name()},
	Explains: append([]diagnose.CheckID{
		"controlplane/missing-oauth-scope", "controlplane/missing-permission", "controlplane/invalid-credentials",
	}, disconnected...),
	Doc: diagnose.Doc{
		Title:       "The VM has no service account",
		Explanation: "A proxy on a VM shows the control plane the access token of the VM's service account, which it gets from the metadata server. This VM has none, so there is no token, and every stream is refused.",
		Quiet:       "GKE nodes, whose pods have service accounts of their own; VMs that weren't made to run a proxy and weren't asked about.",
		Remedy: []diagnose.Step{
			{Text: "Choose or make a service account that holds roles/trafficdirector.client in the project of the mesh.", Command: "gcloud iam service-accounts list --project={{project}}"},
			{Text: "A service account can be attached to a stopped VM alone. Stopping interrupts what runs on it: drain it first.", Command: "gcloud compute instances stop {{instance}} --zone={{zone}} --project={{project}}"},
			{Text: "Attach it, with the scope that the control plane needs; put its email in SERVICE_ACCOUNT_EMAIL's place.",
				Command: "gcloud compute instances set-service-account {{instance}} --zone={{zone}} --project={{project}} --service-account=SERVICE_ACCOUNT_EMAIL --scopes=cloud-platform"},
			{Text: "Start the VM.", Command: "gcloud compute instances start {{instance}} --zone={{zone}} --project={{project}}"},
			{Text: "If an instance template made the VM, make a new template with a service account, or the next VM will have the same fault."},
		},
		References: []string{
			"https://cloud.google.com/compute/docs/access/change-service-account",
			"https://cloud.google.com/traffic-director/docs/troubleshooting",
		},
	},
	Evaluate: noServiceAccount,
}

func noServiceAccount(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	vms, err := proxyVMs(req.Target, v)
	if err != nil {
		return nil, err
	}
	var causes []diagnose.Cause
	judged := 0
	for _, i := range vms {
		if partial(i) {
			continue
		}
		judged++
		if len(i.ServiceAccounts) > 0 {
			continue
		}
		causes = append(causes, diagnose.Cause{
			Subject:    "VM " + evidence.LastSegment(i.Zone) + "/" + i.Name,
			Key:        vmKey(req.Target, i, len(vms)),
			About:      aboutVM(i),
			Summary:    fmt.Sprintf("VM %s has no service account, so its proxy has no credentials for the control plane.", i.Name),
			Confidence: diagnose.Confirmed,
			Params:     vmParams(req.Target, i),
			Evidence:   []diagnose.Exhibit{{Fact: evidence.Instances.Name(), Excerpt: i.Name + ": serviceAccounts: none", Source: i.Source}},
		})
	}
	if judged == 0 {
		return nil, diagnose.Skip("the list of VMs in the file leaves out most fields, service accounts perhaps among them")
	}
	return causes, nil
}
