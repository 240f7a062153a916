package gcp

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"
	compute "google.golang.org/api/compute/v1"

	"github.com/meshdiag/meshdiag/collect/gcp/convert"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

const (
	// maxNetworks bounds the networks whose firewall is read: the endpoints of one mesh are on one or a few.
	maxNetworks = 5
	// firstInterface is the interface of a VM that is on the mesh's network; a proxy uses no other.
	firstInterface = "nic0"
)

// networkRef names a network.
type networkRef struct{ project, name string }

// collectFirewalls reads the firewall in force for the VM asked about, and for the networks that the mesh's endpoints are on.
func (a *API) collectFirewalls(ctx context.Context, req diagnose.Request, view *evidence.View, set *evidence.Set) error {
	t := req.Target
	name := evidence.EffectiveFirewalls.Name()
	const method = "compute.networks.getEffectiveFirewalls"
	networks, problem := networksOf(t, view)
	if len(networks) > maxNetworks {
		problem = cmp.Or[error](problem, &partialError{"the firewalls of the mesh's networks", fmt.Sprintf("%d of %d were read", maxNetworks, len(networks))})
		networks = networks[:maxNetworks]
	}
	reads := []func() (evidence.FirewallSet, error){}
	for _, n := range networks {
		reads = append(reads, func() (evidence.FirewallSet, error) { return a.networkFirewall(ctx, n) })
	}
	if t.Instance != "" {
		if err := checkZone(t); err != nil {
			return err
		}
		reads = append(reads, func() (evidence.FirewallSet, error) { return a.instanceFirewall(ctx, t, networkOfVM(t, view)) })
	}
	found := make([]evidence.FirewallSet, len(reads))
	errs := make([]error, len(reads))
	var g errgroup.Group
	for i, read := range reads {
		g.Go(func() error {
			found[i], errs[i] = read()
			return nil
		})
	}
	_ = g.Wait() // the errors are in errs
	out := []evidence.FirewallSet{}
	for i, err := range errs {
		if err == nil {
			out = append(out, found[i])
		}
		problem = cmp.Or(problem, err)
	}
	if len(out) > 0 || problem == nil {
		evidence.Put(set, evidence.EffectiveFirewalls, out, a.source(method))
	}
	if problem != nil {
		a.fail(ctx, set, name, method, problem)
	}
	return nil
}

// networksOf gives the target's network and those of the endpoints. The error says why it isn't known which they are.
func networksOf(t diagnose.Target, view *evidence.View) ([]networkRef, error) {
	var out []networkRef
	add := func(n networkRef) {
		if n.name != "" && !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	if t.Network != "" {
		add(networkRef{projectOf(t, view), t.Network})
	}
	groups, err := evidence.Get(view, evidence.EndpointGroups)
	for _, g := range groups {
		add(networkRef{cmp.Or(g.NetworkProject, t.Project), g.Network})
	}
	if err != nil && len(out) == 0 && t.Instance == "" {
		return nil, fmt.Errorf("which networks the endpoints are on isn't known: %w", err)
	}
	return out, nil
}

// projectOf gives the project of the target's network: where a Shared VPC is used, rules on it name its host project.
func projectOf(t diagnose.Target, view *evidence.View) string {
	rules, err := evidence.Get(view, evidence.ForwardingRules)
	if err != nil {
		return t.Project // the best that is known
	}
	for _, r := range rules {
		if r.Network == t.Network && r.NetworkProject != "" {
			return r.NetworkProject
		}
	}
	return t.Project
}

// networkOfVM gives the network of the VM's first interface.
func networkOfVM(t diagnose.Target, view *evidence.View) networkRef {
	vms, err := evidence.Get(view, evidence.Instances)
	if err == nil {
		for _, vm := range vms {
			if vm.Name == t.Instance && len(vm.Networks) > 0 {
				if vm.Networks[0] == t.Network {
					break
				}
				return networkRef{t.Project, vm.Networks[0]}
			}
		}
	}
	return networkRef{projectOf(t, view), t.Network}
}

// policy is a firewall policy as both methods tell it.
type policy struct {
	kind, name string
	priority   int64 // of its association; not for hierarchical ones
	rules      []*compute.FirewallPolicyRule
}

func (a *API) networkFirewall(ctx context.Context, n networkRef) (evidence.FirewallSet, error) {
	acc := access{
		what: fmt.Sprintf("the effective firewall of network %s of project %s", n.name, n.project), method: "compute.networks.getEffectiveFirewalls",
		project: n.project, permission: "compute.networks.getEffectiveFirewalls", role: computeViewer,
	}
	var policies []policy
	var rules []*compute.Firewall
	err := a.call(ctx, acc, func(ctx context.Context) error {
		c, err := a.compute()
		if err != nil {
			return err
		}
		got, err := c.Networks.GetEffectiveFirewalls(n.project, n.name).Context(ctx).Do()
		if err != nil {
			return err
		}
		rules = got.Firewalls
		for _, p := range got.FirewallPolicys {
			if p != nil {
				policies = append(policies, policy{p.Type, cmp.Or(p.ShortName, p.DisplayName, p.Name), p.Priority, p.Rules})
			}
		}
		return nil
	})
	if err != nil {
		return evidence.FirewallSet{}, err
	}
	return a.firewallSet(ctx, n, "", policies, rules, a.source(acc.method))
}

func (a *API) instanceFirewall(ctx context.Context, t diagnose.Target, n networkRef) (evidence.FirewallSet, error) {
	acc := vmAccess(t, "the effective firewall", "getEffectiveFirewalls")
	var policies []policy
	var rules []*compute.Firewall
	err := a.call(ctx, acc, func(ctx context.Context) error {
		c, err := a.compute()
		if err != nil {
			return err
		}
		got, err := c.Instances.GetEffectiveFirewalls(t.Project, t.Zone, t.Instance, firstInterface).Context(ctx).Do()
		if err != nil {
			return err
		}
		rules = got.Firewalls
		for _, p := range got.FirewallPolicys {
			if p != nil {
				policies = append(policies, policy{p.Type, cmp.Or(p.ShortName, p.DisplayName, p.Name), p.Priority, p.Rules})
			}
		}
		return nil
	})
	if err != nil {
		return evidence.FirewallSet{}, err
	}
	if n.name == "" && len(rules) > 0 && rules[0] != nil {
		n = networkRef{networkProject(rules[0].Network), evidence.LastSegment(rules[0].Network)}
	}
	return a.firewallSet(ctx, n, t.Instance, policies, rules, a.source(acc.method))
}

// firewallSet puts policies and VPC rules in the order of evaluation: hierarchical policies, system ones, then VPC rules and
// the policies of the network, either first as the network has it.
// https://docs.cloud.google.com/firewall/docs/firewall-policies-rule-eval-order
func (a *API) firewallSet(ctx context.Context, n networkRef, instance string, policies []policy, vpc []*compute.Firewall, src evidence.Source) (evidence.FirewallSet, error) {
	out := evidence.FirewallSet{Network: n.name, Instance: instance, Source: src}
	policiesFirst := false
	if len(vpc) > 0 && slices.ContainsFunc(policies, func(p policy) bool { return rank(p.kind) == rankNetwork && p.decides() }) {
		var err error
		if policiesFirst, err = a.policiesFirst(ctx, n); err != nil {
			return out, err
		}
	}
	// Hierarchical policies come in their order, from the organisation down; others by the priority of their association.
	slices.SortStableFunc(policies, func(a, b policy) int {
		order := cmp.Compare(rank(a.kind), rank(b.kind))
		if order == 0 && rank(a.kind) != rankHierarchy {
			order = cmp.Or(cmp.Compare(global(b.kind), global(a.kind)), cmp.Compare(a.priority, b.priority))
		}
		return order
	})
	level := 0
	addVPC := func() {
		for _, f := range vpc {
			if f != nil {
				out.Rules = append(out.Rules, convert.Firewall(f, level))
			}
		}
		level++
	}
	done := false
	for _, p := range policies {
		if !done && !policiesFirst && rank(p.kind) == rankNetwork {
			addVPC()
			done = true
		}
		for _, r := range p.rules {
			if r != nil && r.TargetType != "INTERNAL_MANAGED_LB" && appliesTo(r, n) {
				out.Rules = append(out.Rules, convert.PolicyRule(r, p.name, level))
			}
		}
		level++
	}
	if !done {
		addVPC()
	}
	// Of VPC rules with the same priority, one that denies wins.
	slices.SortStableFunc(out.Rules, func(a, b evidence.FirewallRule) int {
		return cmp.Or(cmp.Compare(a.Level, b.Level), cmp.Compare(a.Priority, b.Priority), cmp.Compare(denies(b), denies(a)))
	})
	return out, nil
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
	if r.Action == "deny" {
		return 1
	}
	return 0
}

// decides says whether a policy has a rule that doesn't just hand over to what comes next, as its default rules do.
func (p policy) decides() bool {
	return slices.ContainsFunc(p.rules, func(r *compute.FirewallPolicyRule) bool {
		return r != nil && !r.Disabled && r.Action != "goto_next"
	})
}

// appliesTo says whether a policy's rule is for the network; one that names none is for all.
func appliesTo(r *compute.FirewallPolicyRule, n networkRef) bool {
	return len(r.TargetResources) == 0 || n.name == "" || slices.ContainsFunc(r.TargetResources, func(url string) bool {
		return evidence.LastSegment(url) == n.name
	})
}

// policiesFirst says whether the policies of a network are evaluated before its VPC rules.
func (a *API) policiesFirst(ctx context.Context, n networkRef) (bool, error) {
	acc := access{
		what: fmt.Sprintf("the order of the firewall of network %s of project %s", n.name, n.project), method: "compute.networks.get",
		project: n.project, permission: "compute.networks.get", role: networkViewer,
	}
	if n.name == "" {
		return false, fmt.Errorf("reading %s: the network isn't known", acc.what)
	}
	var order string
	err := a.call(ctx, acc, func(ctx context.Context) error {
		c, err := a.compute()
		if err != nil {
			return err
		}
		got, err := c.Networks.Get(n.project, n.name).Context(ctx).Do()
		if err != nil {
			return err
		}
		order = got.NetworkFirewallPolicyEnforcementOrder
		return nil
	})
	return order == "BEFORE_CLASSIC_FIREWALL", err
}
