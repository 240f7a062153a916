package vm

import (
	"fmt"
	"slices"
	"strings"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// gkeLabel marks the VMs that are nodes of a GKE cluster, whose proxies run in pods.
const gkeLabel = "goog-gke-node"

// NotServiceProxy finds that the VM asked about was never made to run a proxy, and that nothing shows one deployed by hand.
var NotServiceProxy = diagnose.Check{
	ID:       "vm/not-service-proxy",
	Severity: diagnose.Blocking,
	Layer:    diagnose.LayerVM,
	Symptoms: []diagnose.Symptom{diagnose.SymptomNotConnected, diagnose.SymptomNoConfig, diagnose.SymptomRequestsFail},
	Needs: []evidence.Name{
		evidence.Instances.Name(), evidence.Bootstraps.Name(), evidence.Clients.Name(), evidence.ClientStatuses.Name(), evidence.Processes.Name(),
		evidence.EnvoyInfos.Name(), evidence.EnvoyDumps.Name(), evidence.GuestAttributes.Name(),
	},
	Doc: diagnose.Doc{
		Title: "The VM was not made as a service proxy",
		Explanation: "Only a VM whose instance template was made with --service-proxy (it leaves the instance metadata entry gce-service-proxy) installs an agent and Envoy by itself. " +
			"This one has no such entry, and nothing seen shows a proxy that was put there by hand: no bootstrap, no Envoy, no client of the control plane.",
		Quiet: "Envoy was deployed by hand: a bootstrap, a process list with Envoy, an answer of its admin interface or its connection to the control plane shows it. Nodes of GKE. VMs that weren't asked about.",
		Remedy: []diagnose.Step{
			{Text: "If the VM should get its proxy by itself: make an instance template with --service-proxy=enabled beside the settings of the old one, and make the VM anew from it. " +
				"The entry can't be added to a VM that is there. Making a VM anew deletes its boot disk: save what is on it first."},
			{If: "instance", Text: "If you deployed Envoy by hand: see whether it runs, and hand in its bootstrap with this question.",
				Command: "gcloud compute ssh {{instance}} --zone={{zone}} --project={{project}} --command='ps aux | grep [e]nvoy'"},
		},
		References: []string{refAutoVMs, refTroubleshooting},
	},
	Applies:  func(req diagnose.Request) bool { return req.Target.Instance != "" },
	Evaluate: notServiceProxy,
}

func notServiceProxy(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	i, err := about(req, v, "")
	if err != nil {
		return nil, err
	}
	manual, clientsErr := handmade(i, v)
	label := i.Labels[evidence.ServiceProxyKey] == "on"
	_, gke := i.Labels[gkeLabel]
	switch {
	case serviceProxy(i):
		return nil, nil
	case gke:
		return nil, diagnose.Skip("VM %s is a node of a GKE cluster", i.Name)
	case i.Source.Pasted && len(i.Metadata) == 0:
		return nil, diagnose.Skip("the file doesn't show the metadata of VM %s", i.Name)
	case slices.Contains(stopped, i.Status):
		return nil, diagnose.Skip("VM %s doesn't run, so that a proxy on it can't be seen", i.Name)
	case manual:
		return nil, nil
	case clientsErr != nil && !label:
		return nil, clientsErr // a proxy deployed by hand would show there
	}
	c := diagnose.Cause{
		Subject: subject(req, i, ""), Confidence: diagnose.Possible, Params: params(req, i, ""),
		Summary:  fmt.Sprintf("VM %s was not made with --service-proxy (no metadata entry %s), and nothing shows a proxy on it.", i.Name, evidence.ServiceProxyKey),
		Evidence: []diagnose.Exhibit{{Fact: evidence.Instances.Name(), Source: i.Source, Excerpt: fmt.Sprintf("%s: metadata %s", i.Name, keys(i.Metadata))}},
	}
	if label {
		c.Confidence = diagnose.Likely
		c.Summary = fmt.Sprintf("VM %s has the label %s=on and lacks the metadata entry of that name, without which nothing is set up.", i.Name, evidence.ServiceProxyKey)
	}
	return []diagnose.Cause{c}, nil
}

// handmade says whether something shows that a proxy runs on the VM, or is meant to. The error says that the control plane's
// clients aren't known, among which it would be.
func handmade(i evidence.Instance, v *evidence.View) (bool, error) {
	boots, _ := evidence.Get(v, evidence.Bootstraps)
	list, err := evidence.Get(v, evidence.Clients)
	statuses, _ := evidence.Get(v, evidence.ClientStatuses)
	processes, _ := evidence.Get(v, evidence.Processes)
	infos, _ := evidence.Get(v, evidence.EnvoyInfos)
	dumps, _ := evidence.Get(v, evidence.EnvoyDumps)
	attrs, _ := evidence.Get(v, evidence.GuestAttributes)
	found := len(boots) > 0 || len(infos) > 0 || len(dumps) > 0 || len(attrs.Values) > 0
	for _, p := range processes {
		found = found || slices.ContainsFunc(p.List, mayBeEnvoy)
	}
	for _, c := range list.Clients {
		found = found || runsOn(c, i)
	}
	for _, s := range statuses {
		found = found || runsOn(s.Client, i)
	}
	return found, err
}

// runsOn says whether a client names the VM: its node id or metadata hold the VM's address, name or number as a word.
func runsOn(c evidence.Client, i evidence.Instance) bool {
	names := append([]string{i.Name}, i.Addresses...)
	if i.ID != "" {
		names = append(names, i.ID)
	}
	in := func(s string) bool {
		words := strings.FieldsFunc(s, func(r rune) bool { return strings.ContainsRune(`~/",{}[] `, r) })
		return slices.ContainsFunc(words, func(w string) bool { return slices.Contains(names, w) })
	}
	if in(c.NodeID) {
		return true
	}
	for _, v := range c.Metadata {
		if in(v) {
			return true
		}
	}
	return false
}

// maxKeys bounds the metadata entries that are named.
const maxKeys = 8

func keys(m map[string]string) string {
	if len(m) == 0 {
		return "has no entries"
	}
	var out []string
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	more := ""
	if n := len(out) - maxKeys; n > 0 {
		out, more = out[:maxKeys], fmt.Sprintf(" and %d more", n)
	}
	return "has the entries " + strings.Join(out, ", ") + more
}
