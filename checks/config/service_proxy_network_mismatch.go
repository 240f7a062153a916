package config

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// ServiceProxyNetworkMismatch finds a VM made with --service-proxy whose proxy asks for a network that no rule is on.
var ServiceProxyNetworkMismatch = diagnose.Check{
	ID: "config/service-proxy-network-mismatch",
	Doc: diagnose.Doc{
		Title: "The VM's --service-proxy names another network than the forwarding rules",
		Explanation: "A VM made with --service-proxy carries the settings of its proxy in the instance metadata key gce-service-proxy. The network in its " +
			"proxy-spec is what the agent writes into the proxy's bootstrap. A VM in several networks must name one; a VM in one network needn't.",
		Quiet: "An empty network on a VM with one interface is right: the interface's network is used. VMs whose proxy-spec names a Mesh or a scope need no network.",
		Remedy: []diagnose.Step{
			{
				Text:    "See what the VM has",
				Command: `gcloud compute instances describe {{instance}} --zone={{zone}} --project={{project}} --flatten="metadata[gce-service-proxy]"`,
			},
			{
				Text:    "See which networks the rules are on",
				Command: listRules,
			},
			{
				If:   "rules_network",
				Text: "Make a new instance template with --service-proxy=enabled,network={{rules_network}} beside the settings of the old one, and recreate the VM from it. Recreating a VM loses its boot disk; in a managed instance group a rolling update does it one by one",
			},
			{
				Unless: "rules_network",
				Text:   "Make a new instance template with --service-proxy=enabled,network=NETWORK beside the settings of the old one, and recreate the VM from it. Recreating a VM loses its boot disk; in a managed instance group a rolling update does it one by one",
			},
		},
		References: []string{refAutoVMs, refRules},
	},
	Severity: diagnose.Blocking,
	Layer:    diagnose.LayerConfig,
	Symptoms: []diagnose.Symptom{diagnose.SymptomNoConfig, diagnose.SymptomRequestsFail},
	Needs:    []evidence.Name{evidence.Instances.Name(), evidence.ForwardingRules.Name()},
	Explains: append([]diagnose.CheckID{"config/network-mismatch"}, explainedByConfig...),
	Evaluate: serviceProxyNetworkMismatch,
}

// proxySpec is what the instance metadata says of the VM's proxy. Its fields are strings, as gcloud writes them.
type proxySpec struct {
	Spec struct {
		Network string `json:"network"`
		Mesh    string `json:"mesh"`
		Scope   string `json:"scope"`
	} `json:"proxy-spec"`
}

func serviceProxyNetworkMismatch(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	vms, err := evidence.Get(v, evidence.Instances)
	if err != nil {
		return nil, err
	}
	list, errRules := evidence.Whole(v, evidence.ForwardingRules)
	set := newRuleSet(list)
	var causes []diagnose.Cause
	var open error
	seen := 0
	for _, vm := range vms {
		text, ok := vm.Metadata[evidence.ServiceProxyKey]
		if !ok || (req.Target.Instance != "" && vm.Name != req.Target.Instance) {
			continue
		}
		seen++
		var p proxySpec
		if err := json.Unmarshal([]byte(text), &p); err != nil {
			open = fmt.Errorf("the metadata %s of VM %s isn't the JSON that was expected: %w", evidence.ServiceProxyKey, vm.Name, err)
			continue
		}
		if p.Spec.Mesh != "" || p.Spec.Scope != "" {
			continue
		}
		network := evidence.LastSegment(p.Spec.Network)
		c := diagnose.Cause{
			About:   diagnose.About{diagnose.AboutVM: {evidence.LastSegment(vm.Zone) + "/" + vm.Name}},
			Subject: "VM " + vm.Name, Key: "instances/" + vm.Zone + "/" + vm.Name, Confidence: diagnose.Confirmed,
			Params: map[string]string{"instance": vm.Name, "zone": vm.Zone, "project": vmProject(req, vm)},
			Evidence: []diagnose.Exhibit{{
				Fact: evidence.Instances.Name(), Source: vm.Source,
				Excerpt: fmt.Sprintf("VM %s, metadata %s: proxy-spec.network %s; interfaces on %s", quote(vm.Name), evidence.ServiceProxyKey, quote(p.Spec.Network), few(quoted(vm.Networks))),
			}},
		}
		if vm.Name == req.Target.Instance {
			c.Key = ""
		}
		nets := slices.Compact(slices.Sorted(slices.Values(vm.Networks)))
		switch {
		case network == "" && len(nets) > 1:
			c.Summary = fmt.Sprintf("%s has interfaces on %s, and its service proxy names none of them: proxy-spec.network is empty.", c.Subject, few(quoted(vm.Networks)))
			for _, n := range nets {
				if len(set.on(n)) > 0 {
					c.Params["rules_network"] = n
				}
			}
		case network == "", len(set.on(network)) > 0:
			continue
		case errRules != nil:
			open = errRules
			continue
		case len(set.managed) == 0:
			continue // no rule at all is another condition
		default:
			if err := set.undecided(network); err != nil {
				open = err
				continue
			}
			all := set.networks()
			c.Params["rules_network"] = all[0]
			if near, ok := nearest(network, all); ok {
				c.Params["rules_network"] = near
			}
			for _, n := range nets { // the VM's own network is the likeliest of all
				if slices.Contains(all, n) {
					c.Params["rules_network"] = n
				}
			}
			if pasted(v, evidence.ForwardingRules.Name()) {
				c.Confidence = diagnose.Likely
			}
			c.Summary = fmt.Sprintf("The service proxy of %s names network %s; the forwarding rules with INTERNAL_SELF_MANAGED are on %s.", c.Subject, quote(network), few(quoted(all)))
			c.Evidence = append(c.Evidence, ruleExhibit(set.managed))
		}
		causes = append(causes, c)
	}
	switch {
	case len(causes) > 0:
		return causes, nil
	case open != nil:
		return nil, open
	case seen == 0:
		return nil, diagnose.Skip("no VM that was made with --service-proxy is known")
	}
	return nil, nil
}

func vmProject(req diagnose.Request, vm evidence.Instance) string {
	if vm.Project != "" {
		return vm.Project
	}
	return req.Target.Project
}
