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

func (a *API) networkFirewall(ctx context.Context, n networkRef) (evidence.FirewallSet, error) {
	acc := access{
		what: fmt.Sprintf("the effective firewall of network %s of project %s", n.name, n.project), method: "compute.networks.getEffectiveFirewalls",
		project: n.project, permission: "compute.networks.getEffectiveFirewalls", role: computeViewer,
	}
	var policies []convert.Policy
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
		rules, policies = got.Firewalls, convert.NetworkPolicies(got)
		return nil
	})
	if err != nil {
		return evidence.FirewallSet{}, err
	}
	return a.firewallSet(ctx, n, "", policies, rules, a.source(acc.method))
}

func (a *API) instanceFirewall(ctx context.Context, t diagnose.Target, n networkRef) (evidence.FirewallSet, error) {
	acc := vmAccess(t, "the effective firewall", "getEffectiveFirewalls")
	var policies []convert.Policy
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
		rules, policies = got.Firewalls, convert.InstancePolicies(got)
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

// firewallSet puts policies and VPC rules in the order of evaluation, which it asks the network for where it matters.
func (a *API) firewallSet(ctx context.Context, n networkRef, instance string, policies []convert.Policy, vpc []*compute.Firewall, src evidence.Source) (evidence.FirewallSet, error) {
	out := evidence.FirewallSet{Network: n.name, Instance: instance, Source: src}
	policiesFirst := false
	if convert.OrderMatters(policies, vpc) {
		var err error
		if policiesFirst, err = a.policiesFirst(ctx, n); err != nil {
			return out, err
		}
	}
	out.Rules = convert.EffectiveRules(n.name, policies, vpc, policiesFirst)
	return out, nil
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
