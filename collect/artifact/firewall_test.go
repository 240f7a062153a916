package artifact

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/meshdiag/meshdiag/evidence"
)

const (
	vpcRuleJSON   = `{"kind":"compute#firewall","id":"4918206655021947","name":"allow-health-checks","network":"https://www.googleapis.com/compute/v1/projects/mesh-prod-4f2a/global/networks/mesh-vpc","direction":"INGRESS","priority":1000,"sourceRanges":["35.191.0.0/16","130.211.0.0/22"],"allowed":[{"IPProtocol":"tcp","ports":["8080"]}],"disabled":false}`
	orgPolicyJSON = `{"name":"481920665502","shortName":"org-baseline","type":"HIERARCHY","rules":[{"priority":10,"direction":"INGRESS","action":"deny","match":{"srcIpRanges":["10.0.0.0/8"],"layer4Configs":[{"ipProtocol":"tcp"}]}},{"priority":2147483647,"direction":"INGRESS","action":"goto_next","match":{"srcIpRanges":["0.0.0.0/0"],"layer4Configs":[{"ipProtocol":"all"}]}}]}`
	netPolicyJSON = `{"name":"mesh-policy","type":"NETWORK","priority":1000,"rules":[{"priority":5,"direction":"INGRESS","action":"allow","match":{"srcIpRanges":["0.0.0.0/0"],"layer4Configs":[{"ipProtocol":"all"}]}}]}`
)

func TestEffectiveFirewall(t *testing.T) {
	for _, tc := range []struct{ name, text, kind, note string }{
		{"as the API answers", `{"firewalls":[` + vpcRuleJSON + `],"firewallPolicys":[` + orgPolicyJSON + `]}`, kindFirewall, "3 rules"},
		{"VPC rules alone", `{"firewalls":[` + vpcRuleJSON + `]}`, kindFirewall, "1 rule"},
		{"a policy alone", `{"firewallPolicys":[` + netPolicyJSON + `]}`, kindFirewall, "1 rule"},
		{"YAML", "firewallPolicys:\n- name: 481920665502\n  shortName: org-baseline\n  type: HIERARCHY\n  rules:\n  - action: deny\n    direction: INGRESS\n    priority: 10\n    match: {srcIpRanges: [10.0.0.0/8], layer4Configs: [{ipProtocol: tcp}]}\nfirewalls:\n- {id: 4918206655021947, name: x, priority: 1000, allowed: [{IPProtocol: all}]}\n", kindFirewall, "2 rules"},
		{"both orders are possible", `{"firewalls":[` + vpcRuleJSON + `],"firewallPolicys":[` + netPolicyJSON + `]}`, kindFirewall, "2 rules; whether the network's firewall policies or its VPC rules come first isn't in it: gcloud compute networks describe NETWORK shows networkFirewallPolicyEnforcementOrder"},
		{"a plain list of rules", "[" + vpcRuleJSON + "]", "", "not recognised"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			set, files := collect(t, file(tc.text))
			if f := files[0]; f.Kind != tc.kind || !strings.HasPrefix(f.Note, tc.note) || f.Used != (tc.kind != "") {
				t.Errorf("%+v, want kind %q, note %q", f, tc.kind, tc.note)
			}
			_, err := evidence.Whole(evidence.NewView(set), evidence.EffectiveFirewalls)
			if known := err == nil; known != (tc.kind != "" && !strings.HasPrefix(tc.name, "both")) {
				t.Errorf("the firewall is known: %v, %v", known, err)
			}
		})
	}
	set, _ := collect(t, file(`{"firewalls":[`+vpcRuleJSON+`],"firewallPolicys":[`+orgPolicyJSON+`]}`))
	f := get(t, set, evidence.EffectiveFirewalls)[0]
	if f.Network != "mesh-vpc" || f.Instance != "" || !f.Source.Pasted || len(f.Rules) != 3 {
		t.Fatalf("%+v", f)
	}
	deny, allow := f.Rules[0], f.Rules[2]
	if deny.Policy != "org-baseline" || deny.Action != "deny" || deny.Level != 0 || allow.Name != "allow-health-checks" || allow.Level != 1 ||
		len(allow.Ranges) != 2 || allow.Ranges[0] != netip.MustParsePrefix("35.191.0.0/16") || allow.Protocols[0].Ports[0] != [2]uint16{8080, 8080} {
		t.Errorf("%+v", f.Rules)
	}
}

func TestEffectiveFirewallBroken(t *testing.T) {
	for _, tc := range []struct{ name, text, note string }{
		{"a priority in words", `{"firewalls":[{"name":"x","priority":"high"}]}`, "effective firewall: firewalls: item 1: priority is of type string, expected int64"},
		{"a policy without rules' form", `{"firewallPolicys":[{"name":"x","rules":{}}]}`, "effective firewall: firewallPolicys: item 1: rules is of type object, expected array"},
		{"cut off", `{"firewallPolicys":[` + orgPolicyJSON[:100], "effective firewall: JSON ends in the middle at byte"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, files := collect(t, file(tc.text))
			if f := files[0]; f.Used || !strings.HasPrefix(f.Note, tc.note) {
				t.Errorf("%+v, want note %q", f, tc.note)
			}
		})
	}
}
