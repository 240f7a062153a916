package lab

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	compute "google.golang.org/api/compute/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// vms registers what a VM reports of itself.
func (g *googleAPIs) vms() {
	const at = "GET /compute/v1/projects/{project}/zones/{zone}/instances/{name}/"
	call := func(permission string) api {
		return api{host: computeHost, permission: "compute.instances." + permission, scopes: []string{"compute", "compute.readonly"}}
	}
	g.handle(at+"getGuestAttributes", call("getGuestAttributes"), g.guestAttributes)
	g.handle(at+"serialPort", call("getSerialPortOutput"), g.serialPort)
	g.handle(at+"getEffectiveFirewalls", call("getEffectiveFirewalls"), g.instanceFirewalls)
}

// instanceAt gives the VM that a request names.
func (g *googleAPIs) instanceAt(r *http.Request) (*Instance, error) {
	zone, name := r.PathValue("zone"), r.PathValue("name")
	i := g.scenario.instance(name)
	if i == nil || zone != g.scenario.Zone {
		return nil, computeNotFound(r.PathValue("project"), "zones/"+zone+"/instances/"+name)
	}
	return i, nil
}

func metadataItems(m map[string]string) *compute.Metadata {
	out := &compute.Metadata{Kind: "compute#metadata", Fingerprint: "x1Zb0kQ5w2E="}
	for _, k := range sortedKeys(m) {
		v := m[k]
		out.Items = append(out.Items, &compute.MetadataItems{Key: k, Value: &v})
	}
	return out
}

// guestAttributes answers 404 both where guest attributes are off and where there are none.
func (g *googleAPIs) guestAttributes(_ identity, r *http.Request) (any, error) {
	i, err := g.instanceAt(r)
	if err != nil {
		return nil, err
	}
	query := r.URL.Query().Get("queryPath")
	namespace, key, _ := strings.Cut(query, "/")
	values, ok := g.scenario.guestAttributes(i, time.Now())
	out := &compute.GuestAttributes{Kind: "compute#guestAttributes", QueryPath: query, QueryValue: &compute.GuestAttributesValue{},
		SelfLink: g.link("zones/" + g.scenario.Zone + "/instances/" + i.Name + "/guestAttributes/" + query)}
	for _, k := range sortedKeys(values) {
		if namespace == guestNamespace && (key == "" || key == k) {
			out.QueryValue.Items = append(out.QueryValue.Items, &compute.GuestAttributesEntry{Namespace: guestNamespace, Key: k, Value: values[k]})
		}
	}
	if !ok || len(out.QueryValue.Items) == 0 {
		return nil, status.Errorf(codes.NotFound, "The resource '%s' of type 'Guest Attribute' was not found.", query)
	}
	return out, nil
}

// serialPort gives the output from a byte on; a negative start counts from the end.
func (g *googleAPIs) serialPort(_ identity, r *http.Request) (any, error) {
	i, err := g.instanceAt(r)
	if err != nil {
		return nil, err
	}
	text := i.SerialPort
	if port := r.URL.Query().Get("port"); port != "" && port != "1" {
		text = "" // the lab's VMs write to the first port alone
	}
	start := 0
	if v := r.URL.Query().Get("start"); v != "" {
		if start, err = strconv.Atoi(v); err != nil {
			return nil, status.Errorf(codes.InvalidArgument, "Invalid value for field 'start': '%s'.", v)
		}
	}
	if start < 0 {
		start = max(len(text)+start, 0)
	}
	start = min(start, len(text))
	return &compute.SerialPortOutput{Kind: "compute#serialPortOutput", Contents: text[start:], Start: int64(start), Next: int64(len(text)),
		SelfLink: g.link("zones/" + g.scenario.Zone + "/instances/" + i.Name + "/serialPort"), ForceSendFields: []string{"Contents", "Start", "Next"}}, nil
}

// firewalls registers what a network's firewall is.
func (g *googleAPIs) firewalls() {
	call := func(permission string) api {
		return api{host: computeHost, permission: "compute.networks." + permission, scopes: []string{"compute", "compute.readonly"}}
	}
	const at = "GET /compute/v1/projects/{project}/global/networks/{name}"
	known := func(r *http.Request) error {
		if name := r.PathValue("name"); name != g.scenario.Network {
			return computeNotFound(r.PathValue("project"), "global/networks/"+name)
		}
		return nil
	}
	g.handle(at, call("get"), func(_ identity, r *http.Request) (any, error) {
		order := "AFTER_CLASSIC_FIREWALL"
		if g.scenario.PoliciesFirst {
			order = "BEFORE_CLASSIC_FIREWALL"
		}
		name := g.scenario.Network
		return &compute.Network{Kind: "compute#network", Id: resourceID("networks/" + name), Name: name, CreationTimestamp: creationTime,
			SelfLink: g.link("global/networks/" + name), NetworkFirewallPolicyEnforcementOrder: order}, known(r)
	})
	g.handle(at+"/getEffectiveFirewalls", call("getEffectiveFirewalls"), func(_ identity, r *http.Request) (any, error) {
		out := &compute.NetworksGetEffectiveFirewallsResponse{Firewalls: g.vpcRules(nil)}
		for i, p := range g.scenario.FirewallPolicies {
			policy := &compute.NetworksGetEffectiveFirewallsResponseEffectiveFirewallPolicy{Type: p.Type, Rules: policyRules(p.Rules)}
			policy.Name, policy.ShortName, policy.Priority = policyNames(p, i)
			out.FirewallPolicys = append(out.FirewallPolicys, policy)
		}
		return out, known(r)
	})
}

func (g *googleAPIs) instanceFirewalls(_ identity, r *http.Request) (any, error) {
	vm, err := g.instanceAt(r)
	if err != nil {
		return nil, err
	}
	if nic := r.URL.Query().Get("networkInterface"); nic != "nic0" {
		return nil, status.Errorf(codes.InvalidArgument, "Invalid value for field 'networkInterface': '%s'.", nic)
	}
	out := &compute.InstancesGetEffectiveFirewallsResponse{Firewalls: g.vpcRules(vm)}
	for i, p := range g.scenario.FirewallPolicies {
		policy := &compute.InstancesGetEffectiveFirewallsResponseEffectiveFirewallPolicy{Type: p.Type, Rules: policyRules(p.Rules)}
		policy.Name, policy.ShortName, policy.Priority = policyNames(p, i)
		out.FirewallPolicys = append(out.FirewallPolicys, policy)
	}
	return out, nil
}

// policyNames gives a policy's names and the priority of its association, which hierarchical ones don't have.
func policyNames(p FirewallPolicy, i int) (name, short string, priority int64) {
	if p.Type == "HIERARCHY" {
		return strconv.FormatUint(resourceID("firewallPolicies/"+p.Name)%1_000_000_000_000, 10), p.Name, 0
	}
	return p.Name, p.Name, int64(1000 + i)
}

// vpcRules gives the rules of the network, or those for a VM's tags.
func (g *googleAPIs) vpcRules(vm *Instance) []*compute.Firewall {
	var out []*compute.Firewall
	for _, f := range g.scenario.Firewalls {
		if vm != nil && len(f.Tags) > 0 && !slices.ContainsFunc(f.Tags, func(t string) bool { return slices.Contains(vm.Tags, t) }) {
			continue
		}
		rule := &compute.Firewall{Kind: "compute#firewall", Id: resourceID("firewalls/" + f.Name), Name: f.Name, CreationTimestamp: creationTime,
			SelfLink: g.link("global/firewalls/" + f.Name), Network: g.link("global/networks/" + g.scenario.Network),
			Direction: f.Direction, Priority: f.Priority, TargetTags: f.Tags, ForceSendFields: []string{"Priority", "Disabled"}}
		if f.Direction == "EGRESS" {
			rule.DestinationRanges = f.Ranges
		} else {
			rule.SourceRanges = f.Ranges
		}
		for _, p := range protocols(f) {
			name, ports := splitProtocol(p)
			if f.Action == "deny" {
				rule.Denied = append(rule.Denied, &compute.FirewallDenied{IPProtocol: name, Ports: ports})
			} else {
				rule.Allowed = append(rule.Allowed, &compute.FirewallAllowed{IPProtocol: name, Ports: ports})
			}
		}
		out = append(out, rule)
	}
	return out
}

func protocols(f Firewall) []string {
	if len(f.Protocols) == 0 {
		return []string{"all"}
	}
	return f.Protocols
}

func policyRules(rules []Firewall) []*compute.FirewallPolicyRule {
	var out []*compute.FirewallPolicyRule
	for _, f := range rules {
		m := &compute.FirewallPolicyRuleMatcher{}
		if f.Direction == "EGRESS" {
			m.DestIpRanges = f.Ranges
		} else {
			m.SrcIpRanges = f.Ranges
		}
		for _, p := range protocols(f) {
			name, ports := splitProtocol(p)
			m.Layer4Configs = append(m.Layer4Configs, &compute.FirewallPolicyRuleMatcherLayer4Config{IpProtocol: name, Ports: ports})
		}
		out = append(out, &compute.FirewallPolicyRule{Kind: "compute#firewallPolicyRule", RuleName: f.Name, Direction: f.Direction,
			Action: f.Action, Priority: f.Priority, Match: m})
	}
	return out
}
