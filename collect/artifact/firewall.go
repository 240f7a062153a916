package artifact

import (
	"encoding/json"
	"errors"
	"fmt"

	compute "google.golang.org/api/compute/v1"

	"github.com/meshdiag/meshdiag/collect/gcp/convert"
	"github.com/meshdiag/meshdiag/evidence"
)

// kindFirewall is the effective firewall of a network, or of a VM's interface: as the API's getEffectiveFirewalls answers, and
// gcloud prints it with --format=json.
const kindFirewall = "effective-firewall"

// isFirewall recognises it by the names of its lists.
func (m fields) isFirewall() bool {
	for k := range m {
		switch k {
		case "firewallPolicys", "firewalls", "organizationFirewalls", "kind":
		default:
			return false
		}
	}
	return m.list("firewallPolicys") != nil || m.list("firewalls") != nil
}

// What is read of rules and policies: what else is in them can't spoil them.
var (
	ruleFields = []string{"name", "network", "direction", "priority", "disabled", "allowed", "denied", "sourceRanges", "destinationRanges",
		"sourceTags", "targetTags", "sourceServiceAccounts", "targetServiceAccounts"}
	policyFields = []string{"name", "shortName", "displayName", "type", "priority", "rules"}
)

// firewalls reads effective firewalls. Neither the network nor the VM is in them but in the URLs of VPC rules.
func (in *input) firewalls(docs []json.RawMessage, where string) (outcome, error) {
	src := in.source(evidence.FromAPI, where)
	out := []evidence.FirewallSet{}
	rules := 0
	open := false
	for _, d := range docs {
		m, err := object(d, "the firewall")
		if err != nil {
			return outcome{}, err
		}
		var answer compute.NetworksGetEffectiveFirewallsResponse
		for i, raw := range m.list("firewalls") {
			var f compute.Firewall
			if err := lean(raw, ruleFields, &f, fmt.Sprintf("firewalls: item %d", i+1)); err != nil {
				return outcome{}, err
			}
			answer.Firewalls = append(answer.Firewalls, &f)
		}
		for i, raw := range m.list("firewallPolicys") {
			var p compute.NetworksGetEffectiveFirewallsResponseEffectiveFirewallPolicy
			if err := lean(raw, policyFields, &p, fmt.Sprintf("firewallPolicys: item %d", i+1)); err != nil {
				return outcome{}, err
			}
			answer.FirewallPolicys = append(answer.FirewallPolicys, &p)
		}
		network := ""
		if len(answer.Firewalls) > 0 {
			network = evidence.LastSegment(answer.Firewalls[0].Network)
		}
		policies := convert.NetworkPolicies(&answer)
		set := evidence.FirewallSet{Network: network, Source: src, Rules: convert.EffectiveRules(network, policies, answer.Firewalls, false)}
		rules += len(set.Rules)
		if convert.OrderMatters(policies, answer.Firewalls) {
			open = true
			continue
		}
		out = append(out, set)
	}
	note := count(rules, "rule")
	if open {
		err := errors.New("whether the network's firewall policies or its VPC rules come first isn't in it: gcloud compute networks describe NETWORK shows networkFirewallPolicyEnforcementOrder")
		in.set.Fail(evidence.EffectiveFirewalls.Name(), src, fmt.Errorf("%s: %w", in.name, err))
		note += "; " + err.Error()
	}
	if len(out) > 0 || !open {
		evidence.Put(in.set, evidence.EffectiveFirewalls, out, src)
	}
	return used("", "%s", note), nil
}

// lean decodes some fields of an object.
func lean(raw json.RawMessage, names []string, into any, what string) error {
	m, err := object(raw, what)
	if err != nil {
		return err
	}
	few := fields{}
	for _, n := range names {
		if v, ok := m[n]; ok {
			few[n] = v
		}
	}
	// A hierarchical policy's name is a number; YAML tools take its quotes away.
	if n := few["name"]; len(n) > 0 && n[0] >= '0' && n[0] <= '9' {
		few["name"] = json.RawMessage(`"` + string(n) + `"`)
	}
	b, err := json.Marshal(few)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return decode(b, into, what)
}
