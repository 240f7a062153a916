package backend

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/meshdiag/meshdiag/evidence"
)

// rule makes an ingress rule of a VPC for all of TCP.
func rule(action string, priority int, ranges ...string) evidence.FirewallRule {
	r := evidence.FirewallRule{
		Name: fmt.Sprintf("%s-%d", action, priority), Priority: priority, Direction: "INGRESS", Action: action, Level: 9,
		Protocols: []evidence.ProtocolPorts{{Protocol: "tcp"}},
	}
	for _, s := range ranges {
		r.Ranges = append(r.Ranges, netip.MustParsePrefix(s))
	}
	return r
}

// policy makes it a rule of a policy.
func policy(name string, level int, r evidence.FirewallRule) evidence.FirewallRule {
	r.Policy, r.Level = name, level
	return r
}

func with(r evidence.FirewallRule, change func(*evidence.FirewallRule)) evidence.FirewallRule {
	change(&r)
	return r
}

func TestFirewall(t *testing.T) {
	const any, probe = "0.0.0.0/0", "35.191.0.0/16"
	tags := func(l ...string) func(*evidence.FirewallRule) {
		return func(r *evidence.FirewallRule) { r.TargetTags = l }
	}
	ports := func(p string, l ...[2]uint16) func(*evidence.FirewallRule) {
		return func(r *evidence.FirewallRule) { r.Protocols = []evidence.ProtocolPorts{{Protocol: p, Ports: l}} }
	}
	tagged := vm{known: true, tags: []string{"web"}, accounts: []string{"web@p.iam.gserviceaccount.com"}}
	for _, tc := range []struct {
		name  string
		to    vm
		rules []evidence.FirewallRule
		want  fate
		by    string
	}{
		{"no rule", tagged, nil, blocked, ""},
		{"admitted", tagged, []evidence.FirewallRule{rule("allow", 1000, probe)}, admitted, ""},
		{"by a broader rule", tagged, []evidence.FirewallRule{rule("allow", 1000, "35.0.0.0/8")}, admitted, ""},
		{"by two halves", tagged, []evidence.FirewallRule{rule("allow", 1000, "35.191.0.0/17", "35.191.128.0/17")}, admitted, ""},
		{"a half alone", tagged, []evidence.FirewallRule{rule("allow", 1000, "35.191.0.0/17")}, unknown, ""},
		{"one address is denied", tagged, []evidence.FirewallRule{rule("deny", 900, "35.191.7.9/32"), rule("allow", 1000, any)}, unknown, "deny-900"},
		{"another range", tagged, []evidence.FirewallRule{rule("allow", 1000, "10.0.0.0/8")}, blocked, ""},
		{"denied first", tagged, []evidence.FirewallRule{rule("allow", 1000, any), rule("deny", 900, any)}, blocked, "deny-900"},
		{"denied later", tagged, []evidence.FirewallRule{rule("deny", 65534, any), rule("allow", 1000, any)}, admitted, ""},
		{"equal priority: deny wins", tagged, []evidence.FirewallRule{rule("allow", 1000, any), rule("deny", 1000, any)}, blocked, "deny-1000"},
		{"egress", tagged, []evidence.FirewallRule{with(rule("allow", 1000, any), func(r *evidence.FirewallRule) { r.Direction = "EGRESS" })}, blocked, ""},
		{"switched off", tagged, []evidence.FirewallRule{with(rule("allow", 1000, any), func(r *evidence.FirewallRule) { r.Disabled = true })}, blocked, ""},
		{"another port", tagged, []evidence.FirewallRule{with(rule("allow", 1000, any), ports("tcp", [2]uint16{80, 80}))}, blocked, ""},
		{"a range of ports", tagged, []evidence.FirewallRule{with(rule("allow", 1000, any), ports("tcp", [2]uint16{80, 80}, [2]uint16{8000, 9000}))}, admitted, ""},
		{"all protocols", tagged, []evidence.FirewallRule{with(rule("allow", 1000, any), ports("all"))}, admitted, ""},
		{"TCP by its number", tagged, []evidence.FirewallRule{with(rule("allow", 1000, any), ports("6"))}, admitted, ""},
		{"UDP", tagged, []evidence.FirewallRule{with(rule("allow", 1000, any), ports("udp"))}, blocked, ""},
		{"its tag", tagged, []evidence.FirewallRule{with(rule("allow", 1000, any), tags("db", "web"))}, admitted, ""},
		{"another tag", tagged, []evidence.FirewallRule{with(rule("allow", 1000, any), tags("db"))}, blocked, ""},
		{"a tag, and the VM's aren't known", vm{}, []evidence.FirewallRule{with(rule("allow", 1000, any), tags("db"))}, unknown, ""},
		{"a deny by tag before an allow, unknown", vm{}, []evidence.FirewallRule{with(rule("deny", 10, any), tags("db")), rule("allow", 1000, any)}, unknown, "deny-10"},
		{"a deny by tag before nothing", vm{}, []evidence.FirewallRule{with(rule("deny", 10, any), tags("db"))}, blocked, "deny-10"},
		{"its service account", tagged, []evidence.FirewallRule{with(rule("allow", 1000, any), func(r *evidence.FirewallRule) { r.TargetAccounts = tagged.accounts })}, admitted, ""},
		{"from tags alone", tagged, []evidence.FirewallRule{with(rule("allow", 1000), func(r *evidence.FirewallRule) { r.SourceTags = []string{"lb"} })}, blocked, ""},
		{"from anywhere, unsaid", tagged, []evidence.FirewallRule{rule("allow", 1000)}, admitted, ""},
		{"a policy denies before the network's rule", tagged, []evidence.FirewallRule{policy("org", 0, rule("deny", 1000, any)), rule("allow", 1, any)}, blocked, "deny-1000"},
		{"a policy admits before the network's rule", tagged, []evidence.FirewallRule{policy("org", 0, rule("allow", 1000, probe)), rule("deny", 1, any)}, admitted, ""},
		{"a policy hands over", tagged, []evidence.FirewallRule{policy("org", 0, rule("goto_next", 1, any)), policy("org", 0, rule("deny", 2, any)), rule("allow", 1000, any)}, admitted, ""},
		{"two policies", tagged, []evidence.FirewallRule{policy("org", 0, rule("goto_next", 1, any)), policy("folder", 1, rule("deny", 2, any)), rule("allow", 1000, any)}, blocked, "deny-2"},
		{"handed over to nothing", tagged, []evidence.FirewallRule{policy("org", 0, rule("goto_next", 1, any))}, blocked, ""},
		{"a policy's rule for regions", tagged, []evidence.FirewallRule{policy("org", 0, with(rule("deny", 1), func(r *evidence.FirewallRule) { r.Opaque = []string{"source region RU"} })), rule("allow", 1000, any)}, unknown, "deny-1"},
		{"an opaque rule that changes nothing", tagged, []evidence.FirewallRule{policy("org", 0, with(rule("allow", 1), func(r *evidence.FirewallRule) { r.Opaque = []string{"x"} })), rule("allow", 1000, any)}, admitted, ""},
		{"an inspection", tagged, []evidence.FirewallRule{policy("org", 0, rule("apply_security_profile_group", 1, any))}, unknown, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := newFirewall(evidence.FirewallSet{Rules: tc.rules}, packets{port: 8080, to: tc.to}).from(netip.MustParsePrefix(probe))
			by := ""
			if got.by != nil {
				by = got.by.Name
			}
			if got.fate != tc.want || by != tc.by {
				t.Errorf("fate %d by %q, want %d by %q", got.fate, by, tc.want, tc.by)
			}
			if got.fate == unknown && got.undecided == nil && tc.name != "a half alone" && tc.name != "one address is denied" {
				t.Error("it doesn't say which rule is undecided")
			}
		})
	}
}

// TestFirewallAgainstAddresses compares what is said of a range with what a plain loop says of addresses in it.
func TestFirewallAgainstAddresses(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 11))
	within := func(bits int) netip.Prefix {
		a := netip.AddrFrom4([4]byte{35, 191, byte(rng.IntN(4)), byte(rng.IntN(256))})
		return netip.PrefixFrom(a, bits).Masked()
	}
	actions := []string{"allow", "deny", "goto_next"}
	whole := netip.MustParsePrefix("35.191.0.0/22")
	seen := map[fate]int{}
	for range 2000 {
		var rules []evidence.FirewallRule
		for range rng.IntN(6) {
			r := rule(actions[rng.IntN(2)], rng.IntN(4))
			r.Ranges = []netip.Prefix{within(20 + rng.IntN(13))}
			if rng.IntN(2) == 0 {
				r = policy("p", rng.IntN(2), r)
				r.Action = actions[rng.IntN(3)]
				r.Priority = len(rules) // unique within a policy
			}
			rules = append(rules, r)
		}
		f := newFirewall(evidence.FirewallSet{Rules: rules}, packets{port: 80, to: vm{known: true}})
		said := f.from(whole).fate
		seen[said]++
		var met fate
		for range 64 {
			a := within(32)
			want := plain(f.rules, a.Addr())
			if got := f.from(a).fate; got != want {
				t.Fatalf("%s: said %d, want %d, by %+v", a, got, want, rules)
			}
			met |= want
			f.parts = 0
		}
		if met&^said != 0 {
			t.Fatalf("of the whole range it says %d, addresses meet %d, by %+v", said, met, rules)
		}
	}
	if seen[admitted] == 0 || seen[blocked] == 0 || seen[unknown] == 0 {
		t.Errorf("the rules were too much alike: %v", seen)
	}
}

// plain evaluates sorted rules for one address.
func plain(rules []evidence.FirewallRule, a netip.Addr) fate {
	skip := -1
	for _, r := range rules {
		if r.Level == skip || !r.Ranges[0].Contains(a) {
			continue
		}
		switch r.Action {
		case "allow":
			return admitted
		case "deny":
			return blocked
		}
		skip = r.Level
	}
	return blocked
}

// TestFirewallBounded holds that rules which cut a range to pieces can't keep the evaluator busy.
func TestFirewallBounded(t *testing.T) {
	var rules []evidence.FirewallRule
	for i := range 20_000 {
		rules = append(rules, rule("allow", i%65535, netip.PrefixFrom(netip.AddrFrom4([4]byte{35, 191, byte(i >> 7), byte(i << 1)}), 32).String()))
	}
	f := newFirewall(evidence.FirewallSet{Rules: rules}, packets{port: 80, to: vm{known: true}})
	if got := f.from(probers[0]).fate; got != unknown {
		t.Errorf("fate %d", got)
	}
}
