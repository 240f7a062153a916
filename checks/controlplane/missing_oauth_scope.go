package controlplane

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// cloudPlatform is the one OAuth scope that covers the control plane's API.
const cloudPlatform = "https://www.googleapis.com/auth/cloud-platform"

// MissingOAuthScope finds a VM whose service account lacks the cloud-platform scope, or a message that says so.
//
// Source of the rule: the control plane's discovery document names this scope alone.
var MissingOAuthScope = diagnose.Check{
	ID:         "controlplane/missing-oauth-scope",
	Severity:   diagnose.Blocking,
	Layer:      diagnose.LayerAPI,
	Symptoms:   []diagnose.Symptom{diagnose.SymptomNotConnected, diagnose.SymptomNoConfig},
	Needs:      []evidence.Name{evidence.Instances.Name(), evidence.LogMessages.Name()},
	Explains:   disconnected,
	Signatures: []diagnose.Signature{messages.InsufficientScopes, messages.StreamClosed, messages.ADSFailed, messages.StreamWorked},
	Doc: diagnose.Doc{
		Title: "The VM's access scopes do not cover the control plane",
		Explanation: "A VM's access token is limited to the OAuth scopes that the VM was made with, whatever roles its service account holds. " +
			"The control plane takes tokens with the scope " + cloudPlatform + " alone; the default scopes of Compute Engine don't include it. " +
			"Without it every stream ends with code 7, insufficient authentication scopes.",
		Quiet: "The cloud-platform scope is there among others; a GKE node, whose pods use Workload Identity; a VM that wasn't made to run a proxy and wasn't asked about; " +
			"a call to another API was refused; the control plane answered later on.",
		Remedy: []diagnose.Step{
			{Text: "Scopes can be changed on a stopped VM alone; it needn't be made anew. Stopping interrupts what runs on it: drain it first."},
			{If: "instance", Text: "Stop the VM.", Command: "gcloud compute instances stop {{instance}} --zone={{zone}} --project={{project}}"},
			{If: "service_account", Text: "Give it the scope, keeping its service account.",
				Command: "gcloud compute instances set-service-account {{instance}} --zone={{zone}} --project={{project}} --service-account={{service_account}} --scopes=cloud-platform"},
			{If: "instance", Unless: "service_account", Text: "Give it the scope, keeping its service account.",
				Command: "gcloud compute instances set-service-account {{instance}} --zone={{zone}} --project={{project}} --scopes=cloud-platform"},
			{If: "instance", Text: "Start it.", Command: "gcloud compute instances start {{instance}} --zone={{zone}} --project={{project}}"},
			{Unless: "instance", Text: "Find the VM that the proxy runs on, stop it, run gcloud compute instances set-service-account with --scopes=cloud-platform on it, and start it."},
			{Text: "If an instance template made the VM, make a new template with --scopes=cloud-platform, or the next VM will have the same fault."},
		},
		References: []string{
			"https://cloud.google.com/compute/docs/access/service-accounts#scopes",
			"https://cloud.google.com/traffic-director/docs/troubleshooting",
		},
	},
	Evaluate: missingOAuthScope,
}

func missingOAuthScope(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	var causes []diagnose.Cause
	vms, vmErr := proxyVMs(req.Target, v)
	for _, i := range vms {
		for _, a := range i.ServiceAccounts {
			if covered(a.Scopes) || (len(a.Scopes) == 0 && i.Source.Pasted) {
				continue // an empty list in a file may be a field that wasn't printed
			}
			causes = append(causes, diagnose.Cause{
				Subject: "VM " + evidence.LastSegment(i.Zone) + "/" + i.Name,
				Key:     vmKey(req.Target, i, len(vms)),
				About:   diagnose.About{diagnose.AboutVM: aboutVM(i)[diagnose.AboutVM], diagnose.AboutAccount: {a.Email}},
				Summary: fmt.Sprintf("Service account %s of VM %s lacks the cloud-platform scope; it has %s.", a.Email, i.Name, shortScopes(a.Scopes)),
				// What the VM's token may do was compared with what the API takes.
				Confidence: diagnose.Confirmed,
				Params:     withParams(vmParams(req.Target, i), "service_account", a.Email),
				Evidence: []diagnose.Exhibit{{
					Fact: evidence.Instances.Name(), Source: i.Source,
					Excerpt: fmt.Sprintf("%s: serviceAccounts[].email %s, scopes %s", i.Name, a.Email, orNone(strings.Join(a.Scopes, " "))),
				}},
			})
		}
	}
	msgs, logErr := evidence.Get(v, evidence.LogMessages)
	good := worked(msgs)
	for _, m := range msgs {
		if m.Signature != messages.InsufficientScopes.ID || !xdsCall(m) || good.after(m) {
			continue
		}
		causes = append(causes, diagnose.Cause{
			Subject:    proxyOf(req, m),
			Key:        fileKey(msgs, m.File),
			About:      aboutProxy(m),
			Summary:    fmt.Sprintf("The control plane refused the proxy's access token for its scopes, says %s: the VM lacks the cloud-platform scope.", inLog(m)),
			Confidence: diagnose.Likely,
			Evidence:   []diagnose.Exhibit{quote(m)},
		})
	}
	if len(causes) > 0 {
		return causes, nil
	}
	return nil, either(vmErr, logErr)
}

// either gives why no clean bill can be given where two sources stand in for each other: nil where one was read and the
// other not asked for, or found not to apply.
func either(a, b error) error {
	var failed, idle error
	for _, e := range []error{a, b} {
		var m *evidence.Missing
		switch {
		case e == nil:
		case errors.As(e, &m) && m.Why != evidence.NotAsked:
			if failed == nil {
				failed = e
			}
		case idle == nil:
			idle = e
		}
	}
	switch {
	case failed != nil:
		return failed
	case a != nil && b != nil:
		return idle
	}
	return nil
}

// covered says whether scopes hold the one that the control plane takes. gcloud's alias for it counts.
func covered(scopes []string) bool {
	return slices.ContainsFunc(scopes, func(s string) bool {
		s = strings.TrimSuffix(strings.TrimSpace(s), "/")
		return s == cloudPlatform || s == "cloud-platform"
	})
}

// shortScopes names scopes without what all of them begin with.
func shortScopes(scopes []string) string {
	short := make([]string, 0, len(scopes))
	for _, s := range scopes {
		short = append(short, strings.TrimPrefix(s, "https://www.googleapis.com/auth/"))
	}
	return orNone(listed(short))
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// withParams adds a name and its value to parameters.
func withParams(p map[string]string, name, value string) map[string]string {
	p[name] = value
	return p
}
