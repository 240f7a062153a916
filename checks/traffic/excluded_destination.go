package traffic

import (
	"fmt"

	"github.com/meshdiag/meshdiag/checks/hostrules"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/netfilter"
)

// ExcludedDestination finds destinations that a rule leaves out on purpose.
var ExcludedDestination = diagnose.Check{
	ID:       "traffic/excluded-destination",
	Severity: diagnose.Degrading,
	Layer:    diagnose.LayerInterception,
	Symptoms: []diagnose.Symptom{diagnose.SymptomRequestsFail},
	Doc: diagnose.Doc{
		Title: "The destination is excluded from interception",
		Explanation: "A rule lets connections to the destination pass before the one that takes them to the proxy, as a list of excluded addresses or ports " +
			"makes it. They bypass the mesh: none of its routes, policies and telemetry apply.",
		Quiet: "When the rule that lets pass is for the proxy's own user, or comes behind all that intercepts.",
		Remedy: []diagnose.Step{
			{Text: "If the destination is meant to be in the mesh, take it off the list. See the rules.", Command: showNAT},
			{If: "instance", Text: "On a VM made with --service-proxy the lists are exclude-outbound-ip-ranges and exclude-outbound-port-ranges of its template.",
				Command: `gcloud compute instances describe {{instance}} --zone={{zone}} --project={{project}} --flatten="metadata[gce-service-proxy]"`},
			{Text: "In a pod they are the annotations traffic.sidecar.istio.io/excludeOutboundIPRanges and excludeOutboundPorts."},
		},
		References: []string{refAutoVMs, refIptables},
	},
	Needs:    needs(evidence.ForwardingRules.Name()),
	Applies:  asksDestination,
	Evaluate: excludedDestination,
}

func excludedDestination(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	to, err := destination(req, v)
	return each(v, func(h hostrules.Host) ([]diagnose.Cause, error) {
		if err != nil {
			return nil, err
		}
		if to.Addr().IsLoopback() {
			return nil, diagnose.Skip("%s is the host itself", to.Addr())
		}
		r, intercepted, sure, err := application(h, to)
		if intercepted || err != nil {
			return nil, err
		}
		step, ok := exclusion(h, r)
		if !ok {
			return nil, nil
		}
		return []diagnose.Cause{cause(h, fmt.Sprintf("%s is excluded from interception by rule %d of chain %s, so connections bypass the proxy.", to, step.Number, step.Chain),
			shown(sure), nil, step.String())}, nil
	})
}

// exclusion finds the rule that lets a packet pass on its way out of nat, with others behind it in its chain that take packets
// to the proxy: those that come behind all of them exclude nothing.
func exclusion(h hostrules.Host, r netfilter.Result) (netfilter.Step, bool) {
	for _, s := range r.Steps {
		rule, chain := h.Rule(s)
		if rule == nil || s.Table != "nat" || rule.Target != "RETURN" && rule.Target != "ACCEPT" {
			continue
		}
		for _, later := range chain.Rules[s.Number:] {
			if takes(h, s, later) {
				return s, true
			}
		}
	}
	return netfilter.Step{}, false
}

// takes says whether a rule takes packets to the proxy, itself or in the chains it leads to.
func takes(h hostrules.Host, s netfilter.Step, r *netfilter.Rule) bool {
	seen := map[string]bool{}
	for todo := []string{r.Target}; len(todo) > 0; {
		target := todo[0]
		todo = todo[1:]
		if target == "REDIRECT" || target == "TPROXY" {
			return true
		}
		if target == "" || seen[target] {
			continue
		}
		seen[target] = true
		for _, t := range h.Set.Find(s.Family, s.Table) {
			if c := t.Chain(target); c != nil && t.Backend == s.Backend {
				for _, r := range c.Rules {
					todo = append(todo, r.Target)
				}
			}
		}
	}
	return false
}
