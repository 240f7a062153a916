package convert

import (
	"cmp"
	"slices"

	compute "google.golang.org/api/compute/v1"

	"github.com/meshdiag/meshdiag/evidence"
)

// Policy is a firewall policy, as the effective firewall of a network and that of a VM's interface tell it.
type Policy struct {
	Kind, Name string
	Priority   int64 // of its association; not for hierarchical ones
	Rules      []*compute.FirewallPolicyRule
}

// NetworkPolicies gives the policies of a network's effective firewall.
func NetworkPolicies(r *compute.NetworksGetEffectiveFirewallsResponse) []Policy {
	var out []Policy
	for _, p := range r.FirewallPolicys {
		if p != nil {
			out = append(out, Policy{p.Type, cmp.Or(p.ShortName, p.DisplayName, p.Name), p.Priority, p.Rules})
		}
	}
	return out
}

// InstancePolicies gives the policies of the effective firewall of a VM's interface.
func InstancePolicies(r *compute.InstancesGetEffectiveFirewallsResponse) []Policy {
	var out []Policy
	for _, p := range r.FirewallPolicys {
		if p != nil {
			out = append(out, Policy{p.Type, cmp.Or(p.ShortName, p.DisplayName, p.Name), p.Priority, p.Rules})
		}
	}
	return out
}

// OrderMatters says whether it matters which come first, the policies of the network or its VPC rules.
func OrderMatters(policies []Policy, vpc []*compute.Firewall) bool {
	return len(vpc) > 0 && slices.ContainsFunc(policies, func(p Policy) bool { return rank(p.Kind) == rankNetwork && p.decides() })
}

// EffectiveRules puts policies and VPC rules in the order of evaluation: hierarchical policies, system ones, then VPC rules and
// the policies of the network, either first as the network has it. Rules that are for other networks are left out; network ""
// leaves none.
// https://docs.cloud.google.com/firewall/docs/firewall-policies-rule-eval-order
func EffectiveRules(network string, policies []Policy, vpc []*compute.Firewall, policiesFirst bool) []evidence.FirewallRule {
	var out []evidence.FirewallRule
	// Hierarchical policies come in their order, from the organisation down; others by the priority of their association.
	policies = slices.Clone(policies)
	slices.SortStableFunc(policies, func(a, b Policy) int {
		order := cmp.Compare(rank(a.Kind), rank(b.Kind))
		if order == 0 && rank(a.Kind) != rankHierarchy {
			order = cmp.Or(cmp.Compare(global(b.Kind), global(a.Kind)), cmp.Compare(a.Priority, b.Priority))
		}
		return order
	})
	level := 0
	addVPC := func() {
		for _, f := range vpc {
			if f != nil {
				out = append(out, Firewall(f, level))
			}
		}
		level++
	}
	done := false
	for _, p := range policies {
		if !done && !policiesFirst && rank(p.Kind) == rankNetwork {
			addVPC()
			done = true
		}
		for _, r := range p.Rules {
			if r != nil && r.TargetType != "INTERNAL_MANAGED_LB" && appliesTo(r, network) {
				out = append(out, PolicyRule(r, p.Name, level))
			}
		}
		level++
	}
	if !done {
		addVPC()
	}
	// Of VPC rules with the same priority, one that denies wins.
	slices.SortStableFunc(out, func(a, b evidence.FirewallRule) int {
		return cmp.Or(cmp.Compare(a.Level, b.Level), cmp.Compare(a.Priority, b.Priority), cmp.Compare(denies(b), denies(a)))
	})
	return out
}

// The ranks of the types of policies.
const (
	rankHierarchy = iota
	rankSystem
	rankNetwork
)

func rank(kind string) int {
	switch kind {
	case "HIERARCHY":
		return rankHierarchy
	case "SYSTEM", "SYSTEM_GLOBAL", "SYSTEM_REGIONAL":
		return rankSystem
	}
	return rankNetwork
}

func global(kind string) int {
	if kind == "NETWORK_REGIONAL" || kind == "SYSTEM_REGIONAL" {
		return 0
	}
	return 1
}

func denies(r evidence.FirewallRule) int {
	if r.Action == deny {
		return 1
	}
	return 0
}

// decides says whether a policy has a rule that doesn't just hand over to what comes next, as its default rules do.
func (p Policy) decides() bool {
	return slices.ContainsFunc(p.Rules, func(r *compute.FirewallPolicyRule) bool {
		return r != nil && !r.Disabled && r.Action != "goto_next"
	})
}

// appliesTo says whether a policy's rule is for the network; one that names none is for all.
func appliesTo(r *compute.FirewallPolicyRule, network string) bool {
	return len(r.TargetResources) == 0 || network == "" || slices.ContainsFunc(r.TargetResources, func(url string) bool {
		return evidence.LastSegment(url) == network
	})
}
