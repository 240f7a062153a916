package vm

import (
	"fmt"
	"slices"

	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// BootstrapSourceUnreachable finds that a VM's set-up could not fetch what it needs.
var BootstrapSourceUnreachable = diagnose.Check{
	ID:       "vm/bootstrap-source-unreachable",
	Severity: diagnose.Blocking,
	Layer:    diagnose.LayerNetwork,
	Symptoms: []diagnose.Symptom{diagnose.SymptomNotConnected, diagnose.SymptomNoConfig, diagnose.SymptomRequestsFail},
	Needs:    []evidence.Name{evidence.SerialPorts.Name(), evidence.LogMessages.Name(), evidence.GuestAttributes.Name(), evidence.Instances.Name()},
	Explains: append([]diagnose.CheckID{"vm/bootstrap-failed", "vm/bootstrap-in-progress", "vm/bootstrap-not-started"}, explainedBySetup...),
	Signatures: []diagnose.Signature{
		messages.FetchFailed,
	},
	Doc: diagnose.Doc{
		Title: "The VM's set-up could not fetch what it needs",
		Explanation: "A VM made with --service-proxy gets its recipe from the OS Config API, its agent from the Cloud Storage bucket gce-service-proxy, and packages from its distribution. " +
			"Its log shows that one of them could not be reached, or refused the VM's service account.",
		Quiet: "The set-up is done; a try from one bucket failed, and the next one from another succeeded; the VM isn't a service proxy, and fetches things of its own.",
		Remedy: []diagnose.Step{
			{If: "network", Text: "A VM without an external address reaches Google's APIs through Private Google Access: see whether its subnet has it, and switch it on (gcloud compute networks subnets update SUBNET --region=REGION --enable-private-ip-google-access).",
				Command: "gcloud compute networks subnets list --network={{network}} --project={{project}} --format='table(name,region,privateIpGoogleAccess)'"},
			{Unless: "network", Text: "A VM without an external address reaches Google's APIs through Private Google Access: switch it on for its subnet (gcloud compute networks subnets update SUBNET --region=REGION --enable-private-ip-google-access)."},
			{Text: "Packages of the distribution aren't behind it: they need a way out (Cloud NAT, a proxy), a mirror within, or an image that has them."},
			{If: "instance", Text: "See that the VM's service account has a scope for Cloud Storage (cloud-platform covers all).",
				Command: "gcloud compute instances describe {{instance}} --zone={{zone}} --project={{project}} --format='yaml(serviceAccounts)'"},
			{If: "project", Text: "See that the OS Config API is on.", Command: "gcloud services enable osconfig.googleapis.com --project={{project}}"},
			{Text: "In a VPC Service Controls perimeter, Google's bucket gce-service-proxy lies outside: an egress rule must admit it."},
			remake,
		},
		References: []string{refTroubleshooting, refSerialPort, "https://cloud.google.com/vpc/docs/configure-private-google-access"},
	},
	Evaluate: bootstrapSourceUnreachable,
}

func bootstrapSourceUnreachable(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	s, skip := readSetup(req, v)
	if skip != nil {
		return nil, skip
	}
	hits := serialLines(s.ports, fetchFailed, false)
	if !s.serviceProxy() {
		hits = nil
	}
	hits = slices.DeleteFunc(hits, func(h hit) bool {
		overcome := packagesCame
		switch {
		case ofOSConfig.MatchString(h.text):
			overcome = mentionsIt // it brought the recipe after all
		case ofStorage.MatchString(h.text):
			overcome = copied
		}
		return after(s.ports, h, overcome) || after(s.ports, h, agentStarted)
	})
	hits = append(hits, s.named(messages.FetchFailed)...)
	if len(hits) == 0 {
		return nil, s.tally.Err()
	}
	from := ""
	if host := source(hits[0].text); host != "" {
		from = " from " + host
	}
	return []diagnose.Cause{s.cause(req, hits, diagnose.Likely,
		fmt.Sprintf("The VM's set-up could not fetch what it needs%s: %s", from, sentence(clip(hits[0].text, maxWords))))}, nil
}

// source gives the host that a message names.
func source(line string) string {
	m := fetchFailed.FindStringSubmatch(line)
	for i := range m {
		if name := fetchFailed.SubexpNames()[i]; name != "" && name != "bucket" && m[i] != "" {
			return m[i]
		}
	}
	return ""
}
