package firewall

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
	tagged := Machine{Known: true, Tags: []string{"web"}, Accounts: []string{"web@p.iam.gserviceaccount.com"}}
	for _, tc := range []struct {
		name  string
		to    Machine
		rules []evidence.FirewallRule
		want  Fate
		by    string
	}{
		{"no rule", tagged, nil, Blocked, ""},
		{"admitted", tagged, []evidence.FirewallRule{rule("allow", 1000, probe)}, Admitted, ""},
		{"by a broader rule", tagged, []evidence.FirewallRule{rule("allow", 1000, "35.0.0.0/8")}, Admitted, ""},
		{"by two halves", tagged, []evidence.FirewallRule{rule("allow", 1000, "35.191.0.0/17", "35.191.128.0/17")}, Admitted, ""},
		{"a half alone", tagged, []evidence.FirewallRule{rule("allow", 1000, "35.191.0.0/17")}, Unknown, ""},
		{"one address is denied", tagged, []evidence.FirewallRule{rule("deny", 900, "35.191.7.9/32"), rule("allow", 1000, any)}, Unknown, "deny-900"},
		{"another range", tagged, []evidence.FirewallRule{rule("allow", 1000, "10.0.0.0/8")}, Blocked, ""},
		{"denied first", tagged, []evidence.FirewallRule{rule("allow", 1000, any), rule("deny", 900, any)}, Blocked, "deny-900"},
		{"denied later", tagged, []evidence.FirewallRule{rule("deny", 65534, any), rule("allow", 1000, any)}, Admitted, ""},
		{"equal priority: deny wins", tagged, []evidence.FirewallRule{rule("allow", 1000, any), rule("deny", 1000, any)}, Blocked, "deny-1000"},
		{"egress", tagged, []evidence.FirewallRule{with(rule("allow", 1000, any), func(r *evidence.FirewallRule) { r.Direction = "EGRESS" })}, Blocked, ""},
		{"switched off", tagged, []evidence.FirewallRule{with(rule("allow", 1000, any), func(r *evidence.FirewallRule) { r.Disabled = true })}, Blocked, ""},
		{"another port", tagged, []evidence.FirewallRule{with(rule("allow", 1000, any), ports("tcp", [2]uint16{80, 80}))}, Blocked, ""},
		{"a range of ports", tagged, []evidence.FirewallRule{with(rule("allow", 1000, any), ports("tcp", [2]uint16{80, 80}, [2]uint16{8000, 9000}))}, Admitted, ""},
		{"all protocols", tagged, []evidence.FirewallRule{with(rule("allow", 1000, any), ports("all"))}, Admitted, ""},
		{"TCP by its number", tagged, []evidence.FirewallRule{with(rule("allow", 1000, any), ports("6"))}, Admitted, ""},
		{"UDP", tagged, []evidence.FirewallRule{with(rule("allow", 1000, any), ports("udp"))}, Blocked, ""},
		{"its tag", tagged, []evidence.FirewallRule{with(rule("allow", 1000, any), tags("db", "web"))}, Admitted, ""},
		{"another tag", tagged, []evidence.FirewallRule{with(rule("allow", 1000, any), tags("db"))}, Blocked, ""},
		{"a tag, and the VM's aren't known", Machine{}, []evidence.FirewallRule{with(rule("allow", 1000, any), tags("db"))}, Unknown, ""},
		{"a deny by tag before an allow, Unknown", Machine{}, []evidence.FirewallRule{with(rule("deny", 10, any), tags("db")), rule("allow", 1000, any)}, Unknown, "deny-10"},
		{"a deny by tag before nothing", Machine{}, []evidence.FirewallRule{with(rule("deny", 10, any), tags("db"))}, Blocked, "deny-10"},
		{"its service account", tagged, []evidence.FirewallRule{with(rule("allow", 1000, any), func(r *evidence.FirewallRule) { r.TargetAccounts = tagged.Accounts })}, Admitted, ""},
		{"from tags alone", tagged, []evidence.FirewallRule{with(rule("allow", 1000), func(r *evidence.FirewallRule) { r.SourceTags = []string{"lb"} })}, Blocked, ""},
		{"from anywhere, unsaid", tagged, []evidence.FirewallRule{rule("allow", 1000)}, Admitted, ""},
		{"a policy denies before the network's rule", tagged, []evidence.FirewallRule{policy("org", 0, rule("deny", 1000, any)), rule("allow", 1, any)}, Blocked, "deny-1000"},
		{"a policy admits before the network's rule", tagged, []evidence.FirewallRule{policy("org", 0, rule("allow", 1000, probe)), rule("deny", 1, any)}, Admitted, ""},
		{"a policy hands over", tagged, []evidence.FirewallRule{policy("org", 0, rule("goto_next", 1, any)), policy("org", 0, rule("deny", 2, any)), rule("allow", 1000, any)}, Admitted, ""},
		{"two policies", tagged, []evidence.FirewallRule{policy("org", 0, rule("goto_next", 1, any)), policy("folder", 1, rule("deny", 2, any)), rule("allow", 1000, any)}, Blocked, "deny-2"},
		{"handed over to nothing", tagged, []evidence.FirewallRule{policy("org", 0, rule("goto_next", 1, any))}, Blocked, ""},
		{"a policy's rule for regions", tagged, []evidence.FirewallRule{policy("org", 0, with(rule("deny", 1), func(r *evidence.FirewallRule) { r.Opaque = []string{"source region RU"} })), rule("allow", 1000, any)}, Unknown, "deny-1"},
		{"an opaque rule that changes nothing", tagged, []evidence.FirewallRule{policy("org", 0, with(rule("allow", 1), func(r *evidence.FirewallRule) { r.Opaque = []string{"x"} })), rule("allow", 1000, any)}, Admitted, ""},
		{"an inspection", tagged, []evidence.FirewallRule{policy("org", 0, rule("apply_security_profile_group", 1, any))}, Unknown, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := New(evidence.FirewallSet{Rules: tc.rules}, Packets{Port: 8080, Target: tc.to}).Range(netip.MustParsePrefix(probe))
			by := ""
			if got.By != nil {
				by = got.By.Name
			}
			if got.Fate != tc.want || by != tc.by {
				t.Errorf("fate %d by %q, want %d by %q", got.Fate, by, tc.want, tc.by)
			}
			if got.Fate == Unknown && got.Undecided == nil && tc.name != "a half alone" && tc.name != "one address is denied" {
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
	seen := map[Fate]int{}
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
		f := New(evidence.FirewallSet{Rules: rules}, Packets{Port: 80, Target: Machine{Known: true}})
		said := f.Range(whole).Fate
		seen[said]++
		var met Fate
		for range 64 {
			a := within(32)
			want := plain(f.rules, a.Addr())
			if got := f.Range(a).Fate; got != want {
				t.Fatalf("%s: said %d, want %d, by %+v", a, got, want, rules)
			}
			met |= want
		}
		if met&^said != 0 {
			t.Fatalf("of the whole range it says %d, addresses meet %d, by %+v", said, met, rules)
		}
	}
	if seen[Admitted] == 0 || seen[Blocked] == 0 || seen[Unknown] == 0 {
		t.Errorf("the rules were too much alike: %v", seen)
	}
}

// plain evaluates sorted rules for one address.
func plain(rules []evidence.FirewallRule, a netip.Addr) Fate {
	skip := -1
	for _, r := range rules {
		if r.Level == skip || !r.Ranges[0].Contains(a) {
			continue
		}
		switch r.Action {
		case "allow":
			return Admitted
		case "deny":
			return Blocked
		}
		skip = r.Level
	}
	return Blocked
}

// TestFirewallBounded holds that rules which cut a range to pieces can't keep the evaluator busy.
func TestFirewallBounded(t *testing.T) {
	var rules []evidence.FirewallRule
	for i := range 20_000 {
		rules = append(rules, rule("allow", i%65535, netip.PrefixFrom(netip.AddrFrom4([4]byte{35, 191, byte(i >> 7), byte(i << 1)}), 32).String()))
	}
	f := New(evidence.FirewallSet{Rules: rules}, Packets{Port: 80, Target: Machine{Known: true}})
	if got := f.Range(netip.MustParsePrefix("35.191.0.0/16")).Fate; got != Unknown {
		t.Errorf("fate %d", got)
	}
}

func TestSenders(t *testing.T) {
	const client = "10.128.0.5/32"
	tagged := func(r *evidence.FirewallRule) {
		r.SourceTags, r.SourceAccounts = []string{"web"}, []string{"web@p.iam.gserviceaccount.com"}
	}
	byTag := []evidence.FirewallRule{with(rule("allow", 1000), tagged)}
	byBoth := []evidence.FirewallRule{with(rule("allow", 1000, "10.9.0.0/16"), tagged)}
	for _, tc := range []struct {
		name  string
		from  *Machine
		rules []evidence.FirewallRule
		want  Fate
	}{
		{"its tag", &Machine{Known: true, Tags: []string{"web"}}, byTag, Admitted},
		{"its account", &Machine{Known: true, Accounts: []string{"web@p.iam.gserviceaccount.com"}}, byTag, Admitted},
		{"another's", &Machine{Known: true, Tags: []string{"db"}}, byTag, Blocked},
		{"not known", &Machine{}, byTag, Unknown},
		{"no VM", nil, byTag, Blocked},
		{"its tag, and not its range", &Machine{Known: true, Tags: []string{"web"}}, byBoth, Admitted},
		{"neither its tag nor its range", &Machine{Known: true}, byBoth, Blocked},
		{"its range, and not its tag", &Machine{Known: true}, []evidence.FirewallRule{with(rule("allow", 1000, "10.128.0.0/9"), tagged)}, Admitted},
		{"denied by its tag", &Machine{Known: true, Tags: []string{"web"}}, []evidence.FirewallRule{with(rule("deny", 10), tagged), rule("allow", 1000, "0.0.0.0/0")}, Blocked},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := New(evidence.FirewallSet{Rules: tc.rules}, Packets{Port: 8080, Target: Machine{Known: true}, Sender: tc.from})
			if got := f.Range(netip.MustParsePrefix(client)).Fate; got != tc.want {
				t.Errorf("fate %d, want %d", got, tc.want)
			}
		})
	}
}

func TestEgress(t *testing.T) {
	out := func(r evidence.FirewallRule) evidence.FirewallRule { r.Direction = Egress; return r }
	for _, tc := range []struct {
		name  string
		rules []evidence.FirewallRule
		want  Fate
	}{
		{"no rule", nil, Admitted},
		{"denied", []evidence.FirewallRule{out(rule("deny", 1000, "10.0.0.0/8"))}, Blocked},
		{"denied elsewhere", []evidence.FirewallRule{out(rule("deny", 1000, "192.168.0.0/16"))}, Admitted},
		{"admitted before all is denied", []evidence.FirewallRule{out(rule("allow", 10, "10.132.0.0/16")), out(rule("deny", 1000, "0.0.0.0/0"))}, Admitted},
		{"what comes in is denied", []evidence.FirewallRule{rule("deny", 1000, "0.0.0.0/0")}, Admitted},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := New(evidence.FirewallSet{Rules: tc.rules}, Packets{Direction: Egress, Port: 8080, Target: Machine{Known: true}})
			if got := f.Range(netip.MustParsePrefix("10.132.0.10/32")).Fate; got != tc.want {
				t.Errorf("fate %d, want %d", got, tc.want)
			}
		})
	}
}
