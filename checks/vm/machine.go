package vm

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// Pages that several checks refer to.
const (
	refTroubleshooting = "https://cloud.google.com/traffic-director/docs/troubleshooting"
	refAutoVMs         = "https://cloud.google.com/service-mesh/docs/service-routing/auto-vms-options"
	refGuestAttributes = "https://cloud.google.com/compute/docs/metadata/manage-guest-attributes"
	refSerialPort      = "https://cloud.google.com/compute/docs/troubleshooting/viewing-serial-port-output"
)

// Commands that several checks give. gcloud takes the VM's name, its zone and its project.
const (
	showAttributes = "gcloud compute instances get-guest-attributes {{instance}} --zone={{zone}} --project={{project}} --query-path=gce-service-proxy/"
	showSerialPort = "gcloud compute instances get-serial-port-output {{instance}} --zone={{zone}} --project={{project}} --port=1"
)

// steps are remedies that several checks share. Those that name a VM stand beside those for files that don't tell which.
var (
	seeAttributes = []diagnose.Step{
		{If: "instance", Text: "Read the guest attributes again.", Command: showAttributes},
		{Unless: "instance", Text: "Read the VM's guest attributes again: gcloud compute instances get-guest-attributes VM --zone=ZONE --query-path=gce-service-proxy/."},
	}
	seeSerialPort = []diagnose.Step{
		{If: "instance", Text: "Read what the set-up wrote to serial port 1; hand it in with this question for a look at it.", Command: showSerialPort},
		{Unless: "instance", Text: "Read what the set-up wrote to serial port 1 (gcloud compute instances get-serial-port-output VM --port=1); hand it in with this question for a look at it."},
	}
	remake = diagnose.Step{Text: "The set-up runs once, at the VM's first start: mend the reason, then make the VM anew. Where a managed instance group owns it, " +
		"gcloud compute instance-groups managed recreate-instances GROUP --instances=VM does it; that deletes its boot disk and what is on it, so drain and save it first."}
)

// explainedBySetup are what a VM shows whose set-up as a service proxy hasn't gone through.
var explainedBySetup = []diagnose.CheckID{
	"vm/agent-dead", "vm/agent-failure", "vm/envoy-not-running", "vm/envoy-not-live", "vm/serial-log-errors",
	"controlplane/client-not-connected", "controlplane/no-client-connected",
	"traffic/outbound-not-intercepted", "traffic/vip-not-intercepted", "traffic/inbound-port-not-intercepted",
}

// stopped are the states in which a VM doesn't run and won't by itself. https://cloud.google.com/compute/docs/instances/instance-life-cycle
var stopped = []string{"STOPPING", "STOPPED", "TERMINATED", "SUSPENDING", "SUSPENDED", "DEPROVISIONING"}

// starting are those in which it will soon.
var starting = []string{"PROVISIONING", "STAGING", "REPAIRING"}

// serviceProxy says whether a VM was made with --service-proxy: only such a VM has an agent.
func serviceProxy(i evidence.Instance) bool { return i.Metadata[evidence.ServiceProxyKey] != "" }

// about gives the VM that a request is about: the one it names, else the one called name, else the only one there is. The
// error is an *evidence.Missing where it isn't known, and a *diagnose.NotApplicable where no VM is meant.
func about(req diagnose.Request, v *evidence.View, name string) (evidence.Instance, error) {
	list, err := evidence.Get(v, evidence.Instances)
	if err != nil {
		return evidence.Instance{}, err
	}
	t := req.Target
	if name = cmp.Or(t.Instance, name); name == "" {
		if len(list) != 1 {
			return evidence.Instance{}, diagnose.Skip("no VM is named, and the list holds %d", len(list))
		}
		return list[0], nil
	}
	for _, i := range list {
		if i.Name == name && (t.Zone == "" || i.Zone == "" || evidence.LastSegment(i.Zone) == t.Zone) {
			return i, nil
		}
	}
	return evidence.Instance{}, &evidence.Missing{
		Name: evidence.Instances.Name(), Why: evidence.Failed, Err: fmt.Errorf("VM %s is not among the %d read", name, len(list)),
	}
}

// named gives the VM's name for a sentence.
func named(name string) string {
	if name == "" {
		return "the VM"
	}
	return "VM " + name
}

// subject gives the VM's place and name.
func subject(req diagnose.Request, i evidence.Instance, name string) string {
	name = cmp.Or(i.Name, name, req.Target.Instance)
	if zone := cmp.Or(evidence.LastSegment(i.Zone), req.Target.Zone); zone != "" && name != "" {
		return "VM " + zone + "/" + name
	}
	return named(name)
}

// aboutVM names the VM, where it is known which one it is.
func aboutVM(req diagnose.Request, i evidence.Instance, name string) diagnose.About {
	name = cmp.Or(i.Name, name, req.Target.Instance)
	if zone := cmp.Or(evidence.LastSegment(i.Zone), req.Target.Zone); zone != "" && name != "" {
		name = zone + "/" + name
	}
	return diagnose.About{diagnose.AboutVM: {name}}
}

// params gives the parameters of a remedy on a VM.
func params(req diagnose.Request, i evidence.Instance, name string) map[string]string {
	return map[string]string{
		"instance": cmp.Or(i.Name, name, req.Target.Instance),
		"zone":     cmp.Or(evidence.LastSegment(i.Zone), req.Target.Zone),
		"project":  cmp.Or(i.Project, req.Target.Project),
	}
}

// truth says whether a metadata value means yes. https://cloud.google.com/compute/docs/metadata/predefined-metadata-keys
func truth(s string) bool {
	return slices.Contains([]string{"true", "1", "yes", "y"}, strings.ToLower(strings.TrimSpace(s)))
}

// maxWords bounds what a summary quotes; maxExcerpt what an exhibit does.
const (
	maxWords   = 140
	maxExcerpt = 400
)

// clip cuts a text to n bytes on a rune's border, and makes one line of it.
func clip(s string, n int) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}
