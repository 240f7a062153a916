package vm

import (
	"fmt"
	"slices"
	"strings"

	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// IPv6ModulesMissing finds that interception could not be set up for want of the kernel's IPv6 modules.
var IPv6ModulesMissing = diagnose.Check{
	ID:         "vm/ipv6-modules-missing",
	Severity:   diagnose.Blocking,
	Layer:      diagnose.LayerVM,
	Symptoms:   []diagnose.Symptom{diagnose.SymptomRequestsFail},
	Needs:      []evidence.Name{evidence.KernelModules.Name(), evidence.SerialPorts.Name(), evidence.LogMessages.Name(), evidence.GuestAttributes.Name(), evidence.Instances.Name()},
	Explains:   []diagnose.CheckID{"vm/bootstrap-failed", "vm/serial-log-errors", "traffic/outbound-not-intercepted", "traffic/vip-not-intercepted", "traffic/inbound-port-not-intercepted"},
	Signatures: []diagnose.Signature{messages.IPv6ModulesMissing},
	Doc: diagnose.Doc{
		Title: "The kernel lacks the modules that interception needs for IPv6",
		Explanation: "Setting up interception runs ip6tables too. On a VM that was made in the Google Cloud console some IPv6 modules are installed and not available until the VM is " +
			"started again; the set-up fails with it. VMs made with gcloud don't have this fault.",
		Quiet: "The modules are loaded; the failure is of an earlier start of the VM; the set-up is done.",
		Remedy: []diagnose.Step{
			{If: "instance", Text: "Start the VM again. This interrupts what runs on it: drain it first.", Command: "gcloud compute instances reset {{instance}} --zone={{zone}} --project={{project}}"},
			{Unless: "instance", Text: "Start the VM again. This interrupts what runs on it: drain it first.", Command: "sudo reboot"},
			{Text: "See that the module loads.", Command: "sudo modprobe ip6table_nat && lsmod | grep ip6"},
			{Text: "Run the set-up again: run.sh of the traffic-director package where you deployed by hand; a VM made with --service-proxy is made anew instead, for its set-up runs once."},
		},
		References: []string{refTroubleshooting, "https://cloud.google.com/traffic-director/docs/limitations"},
	},
	Evaluate: ipv6ModulesMissing,
}

func ipv6ModulesMissing(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	s, skip := readSetup(req, v)
	lists, _ := evidence.Read(&s.tally, v, evidence.KernelModules)
	if skip != nil {
		return nil, skip
	}
	var missing []string
	var shown diagnose.Exhibit
	for _, l := range lists {
		if slices.Contains(l.Loaded, "ip6_tables") || slices.Contains(l.Loaded, "ip6table_nat") {
			return nil, nil // they can be loaded, so that what failed once is of the past
		}
		for _, m := range l.Missing {
			if ipv6Module(m) && !slices.Contains(missing, m) {
				missing = append(missing, m)
				shown = diagnose.Exhibit{Fact: evidence.KernelModules.Name(), Excerpt: "neither loaded nor on disk: " + strings.Join(l.Missing, ", "), Source: l.Source}
			}
		}
	}
	slices.Sort(missing)
	hits := append(serialLines(s.ports, noModules, true), s.named(messages.IPv6ModulesMissing)...)
	switch {
	case len(hits) > 0 && len(missing) > 0:
		c := s.cause(req, hits, diagnose.Confirmed, fmt.Sprintf("ip6tables failed on the VM, and its kernel lacks %s.", strings.Join(missing, ", ")))
		c.Evidence = append([]diagnose.Exhibit{shown}, c.Evidence...)
		return []diagnose.Cause{c}, nil
	case len(hits) > 0:
		return []diagnose.Cause{s.cause(req, hits, diagnose.Likely, fmt.Sprintf("ip6tables failed on the VM, for its kernel lacks IPv6 modules: %s", sentence(clip(hits[0].text, maxWords))))}, nil
	case len(missing) > 0:
		c := s.cause(req, nil, diagnose.Possible, fmt.Sprintf("The VM's kernel lacks %s: where ip6tables is set up, that fails.", strings.Join(missing, ", ")))
		c.Evidence = []diagnose.Exhibit{shown}
		return []diagnose.Cause{c}, nil
	}
	return nil, s.tally.Err()
}

// ipv6Module says whether a kernel module is one that ip6tables needs.
func ipv6Module(name string) bool {
	return strings.HasPrefix(name, "ip6") || strings.HasSuffix(name, "_ipv6")
}
