package netfilter_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	. "github.com/meshdiag/meshdiag/evidence/netfilter"
)

// agent is the chains of the VM agent as iptables -L without -n prints them.
const agent = `Chain PREROUTING (policy ACCEPT)
target     prot opt source               destination
SERVICE_PROXY_INBOUND  tcp  --  anywhere             anywhere

Chain INPUT (policy ACCEPT)
target     prot opt source               destination

Chain OUTPUT (policy ACCEPT)
target     prot opt source               destination
SERVICE_PROXY_OUTPUT  tcp  --  anywhere             anywhere

Chain POSTROUTING (policy ACCEPT)
target     prot opt source               destination

Chain SERVICE_PROXY_OUTPUT (1 references)
target     prot opt source               destination
RETURN     all  --  anywhere             anywhere             owner UID match envoy
RETURN     all  --  anywhere             metadata.google.internal
SERVICE_PROXY_SERVICE_CIDRS  all  --  anywhere             anywhere

Chain SERVICE_PROXY_SERVICE_CIDRS (1 references)
target                   prot opt source         destination
SERVICE_PROXY_REDIRECT   all  --  anywhere       10.7.240.0/20

Chain SERVICE_PROXY_INBOUND (1 references)
target     prot opt source               destination
SERVICE_PROXY_IN_REDIRECT  tcp  --  anywhere             anywhere             tcp dpt:mysql
SERVICE_PROXY_IN_REDIRECT  tcp  --  anywhere             anywhere             tcp dpt:http-alt

Chain SERVICE_PROXY_REDIRECT (1 references)
target     prot opt source               destination
REDIRECT   tcp  --  anywhere             anywhere             redir ports 15001

Chain SERVICE_PROXY_IN_REDIRECT (1 references)
target     prot opt source               destination
REDIRECT   tcp  --  anywhere             anywhere             redir ports 15006
`

// verbose makes a listing with -v of one without.
func verbose(listing string) string {
	var out []string
	for line := range strings.Lines(listing) {
		line = strings.TrimRight(line, "\n")
		switch f := strings.Fields(line); {
		case strings.HasPrefix(line, "Chain"):
			line = strings.Replace(line, "(policy ACCEPT)", "(policy ACCEPT 12K packets, 3M bytes)", 1)
		case len(f) > 0 && f[0] == "target":
			line = " pkts bytes target     prot opt in     out     source               destination"
		case len(f) > 0:
			line = "   12  3402 " + strings.Replace(line, "  --  ", "  --  any    any  ", 1)
		}
		out = append(out, line)
	}
	return strings.Join(out, "\n") + "\n"
}

func parse(t *testing.T, text string) Set {
	t.Helper()
	if !Recognise([]byte(text)) {
		t.Error("not recognised as a rule set")
	}
	s, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestAgentListing(t *testing.T) {
	host := Host{Users: map[string]int{"envoy": 1001}}
	tests := []struct {
		what string
		dir  Direction
		p    Packet
		want string
		rule string // what decided
	}{
		{"in a service range", Outbound, to("10.7.240.9:80", 1000), "redirected to 127.0.0.1:15001", "SERVICE_PROXY_REDIRECT rule 1"},
		{"the last of the range", Outbound, to("10.7.255.255:80", 1000), "redirected to 127.0.0.1:15001", "SERVICE_PROXY_REDIRECT rule 1"},
		{"beside the range", Outbound, to("10.8.0.0:80", 1000), "delivered", ""},
		{"the proxy itself", Outbound, to("10.7.240.9:80", 1001), "delivered", "SERVICE_PROXY_OUTPUT rule 1"},
		{"the metadata server", Outbound, to("169.254.169.254:80", 1000), "delivered", "SERVICE_PROXY_OUTPUT rule 2"},
		{"a serving port by name", Inbound, from("10.0.0.9", "10.0.0.2:3306"), "redirected to 10.0.0.2:15006", "SERVICE_PROXY_IN_REDIRECT rule 1"},
		{"a serving port by a name with a dash", Inbound, from("10.0.0.9", "10.0.0.2:8080"), "redirected to 10.0.0.2:15006", "SERVICE_PROXY_IN_REDIRECT rule 1"},
		{"another port", Inbound, from("10.0.0.9", "10.0.0.2:8081"), "delivered", ""},
	}
	full := parse(t, verbose(agent))
	short := parse(t, agent)
	for _, tt := range tests {
		r := full.Evaluate(host, tt.dir, tt.p)
		if r.Outcome.String() != tt.want {
			t.Errorf("%s: %s, want %s\nwhy %q\nsteps %q", tt.what, r.Outcome, tt.want, r.Why, r.Steps)
		}
		if got := fmt.Sprint(r.Rule); r.Rule != nil && !strings.Contains(got, tt.rule) || r.Rule == nil && tt.rule != "" {
			t.Errorf("%s: decided by %s, want %s", tt.what, got, tt.rule)
		}
		// Without -v a rule may be limited to an interface: nothing is sure but that no rule speaks of the packet.
		r = short.Evaluate(host, tt.dir, tt.p)
		switch {
		case r.Verdict == Unknown && r.AsShown == nil:
			t.Errorf("%s: without -v, nothing is said of what the rules show: %q", tt.what, r.Why)
		case r.Verdict == Unknown && r.AsShown.String() != tt.want:
			t.Errorf("%s: without -v, the rules show %s, want %s", tt.what, r.AsShown, tt.want)
		case r.Verdict != Unknown && r.Outcome.String() != tt.want:
			t.Errorf("%s: without -v, %s, want %s", tt.what, r.Outcome, tt.want)
		case strings.HasPrefix(tt.want, "redirected") && r.Verdict != Unknown:
			t.Errorf("%s: without -v, the verdict is %s", tt.what, r.Verdict)
		}
	}
	if got := full.Tables[0].Chain("OUTPUT").Rules[0]; got.Packets != 12 || !got.Counted {
		t.Errorf("the counters were read as %d", got.Packets)
	}
	// Without the user's number the proxy's way is in doubt, and the rule is named.
	r := full.Evaluate(Host{}, Outbound, to("10.7.240.9:80", 1001))
	if r.Verdict != Unknown || len(r.Why) != 1 || !strings.Contains(r.Why[0], "--uid-owner envoy") || r.Rule == nil || r.Rule.Number != 1 {
		t.Errorf("an unknown user's way is %s, by %v, why %q", r.Outcome, r.Rule, r.Why)
	}
}

// TestHiddenInterfaces asks about rules whose interface a listing without -v hides, and which make no sense without one.
func TestHiddenInterfaces(t *testing.T) {
	const head = "Chain OUTPUT (policy ACCEPT)\ntarget     prot opt source               destination\n"
	redirect := "REDIRECT   tcp  --  anywhere             anywhere             redir ports 15001\n"
	tests := []struct{ name, rules, want string }{
		{"all but localhost", "REDIRECT   tcp  --  anywhere            !localhost            redir ports 15006\n", "delivered"},
		{"all that isn't the proxy's", "RETURN     all  --  anywhere             anywhere             ! owner UID match 1337\n" + redirect, "redirected to 127.0.0.1:15001"},
		{"everything, with rules behind it", "RETURN     all  --  anywhere             anywhere\n" + redirect, "redirected to 127.0.0.1:15001"},
		{"all but a range", "REDIRECT   tcp  --  anywhere            !10.0.0.0/8            redir ports 15001\n", "redirected to 127.0.0.1:15001"},
		{"all of TCP", "ACCEPT     tcp  --  anywhere             anywhere\n" + redirect, "delivered"},
		{"everything, at the end", "REDIRECT   tcp  --  anywhere             10.0.0.0/8           redir ports 15001\nRETURN     all  --  anywhere             anywhere\n", "delivered"},
		{"a user's", "RETURN     all  --  anywhere             anywhere             owner UID match 1000\n" + redirect, "delivered"},
	}
	for _, tt := range tests {
		s := parse(t, "# iptables -t nat -L\n"+head+tt.rules)
		r := s.Evaluate(Host{}, Outbound, to("192.0.2.1:80", 1000))
		got := r.Outcome.String()
		if r.AsShown != nil {
			got = r.AsShown.String()
		}
		if got != tt.want {
			t.Errorf("%s: the rules show %s, want %s", tt.name, got, tt.want)
		}
	}
	s := parse(t, "# iptables -t nat -L\n"+head+"RETURN     all  --  anywhere             anywhere             ! owner UID match 1337\nREDIRECT   tcp  --  anywhere             10.0.0.0/8           redir ports 15001\n")
	sure, _, err := s.Intercepted(Host{}, to("0.0.0.0:80", 1000))
	shown, unknown, err2 := s.ShownIntercepted(Host{}, to("0.0.0.0:80", 1000))
	if fmt.Sprint(sure, err, shown, unknown, err2) != "[] <nil> [10.0.0.0/8] [] <nil>" {
		t.Errorf("taken surely %v (%v), as shown %v, unknown %v (%v)", sure, err, shown, unknown, err2)
	}
	// The rule that decides what is shown is named, not the one that is in doubt.
	if r := s.Evaluate(Host{}, Outbound, to("10.0.0.1:80", 1000)); r.Rule == nil || r.Rule.Number != 2 {
		t.Errorf("decided by %v", r.Rule)
	}
}

// TestTables tells the tables and families of texts that don't name them.
func TestTables(t *testing.T) {
	listing := func(chains ...string) string {
		var b strings.Builder
		for _, c := range chains {
			fmt.Fprintf(&b, "Chain %s (policy ACCEPT)\ntarget     prot opt source               destination\n\n", c)
		}
		return b.String()
	}
	tests := []struct {
		name, text string
		want       []string
		notes      int
	}{
		{"one table of -S", "-P INPUT ACCEPT\n-P FORWARD ACCEPT\n-P OUTPUT ACCEPT\n-A INPUT -s 10.0.0.1/32 -j DROP\n", []string{"IPv4 filter"}, 0},
		{"nat by -S", "-P PREROUTING ACCEPT\n-P INPUT ACCEPT\n-P OUTPUT ACCEPT\n-P POSTROUTING ACCEPT\n-N X\n-A X -d ::1/128 -j RETURN\n", []string{"IPv6 nat"}, 0},
		{"mangle by -S", "-P PREROUTING ACCEPT\n-P INPUT ACCEPT\n-P FORWARD ACCEPT\n-P OUTPUT ACCEPT\n-P POSTROUTING ACCEPT\n", []string{"IPv4 mangle"}, 1},
		{"raw and filter by -S", "-P PREROUTING ACCEPT\n-P OUTPUT ACCEPT\n-A OUTPUT -d 1.1.1.1/32 -j ACCEPT\n-P INPUT ACCEPT\n-P FORWARD ACCEPT\n-P OUTPUT ACCEPT\n-A INPUT -s 1.1.1.1/32 -j DROP\n", []string{"IPv4 raw", "IPv4 filter"}, 0},
		{"what grep ISTIO leaves", "-N ISTIO_OUTPUT\n-A OUTPUT -p tcp -j ISTIO_OUTPUT\n-A ISTIO_OUTPUT -d 10.0.0.1/32 -j ISTIO_REDIRECT\n-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001\n", []string{"IPv4 nat"}, 0},
		{"what grep leaves without the redirect", "-A OUTPUT -p tcp -j ISTIO_OUTPUT\n-A ISTIO_OUTPUT -d 10.0.0.1/32 -j ISTIO_REDIRECT\n", []string{"IPv4 nat"}, 1},
		{"a prompt before -S", "user@vm:~$ sudo ip6tables -t nat -S\n-P OUTPUT ACCEPT\n", []string{"IPv6 nat"}, 0},
		{"two prompts", "# iptables -t mangle -S\n-A OUTPUT -j MARK --set-mark 1\n# iptables-legacy -t nat -S\n-A OUTPUT -p tcp -j REDIRECT --to-ports 1\n", []string{"IPv4 mangle", "IPv4 nat"}, 0},
		{"commands", "iptables -t nat -N A\nsudo iptables -w -t nat -A A -p tcp -j REDIRECT --to-port 15001\nip6tables -A INPUT -p tcp -j DROP\n", []string{"IPv4 nat", "IPv6 filter"}, 0},
		{"listings of four tables", listing("PREROUTING", "OUTPUT") + listing("INPUT", "FORWARD", "OUTPUT") + listing("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING") + listing("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"),
			[]string{"IPv4 raw", "IPv4 filter", "IPv4 nat", "IPv4 mangle"}, 1},
		{"nat of old kernels", listing("PREROUTING", "POSTROUTING", "OUTPUT"), []string{"IPv4 nat"}, 1},
		{"both families listed", "$ iptables -t nat -L -n\n" + listing("PREROUTING", "OUTPUT", "POSTROUTING") + "$ ip6tables -t nat -L -n\n" + listing("PREROUTING", "OUTPUT", "POSTROUTING"), []string{"IPv4 nat", "IPv6 nat"}, 0},
		{"a listing of IPv6 before 1.8.9", "Chain INPUT (policy ACCEPT)\ntarget     prot opt source               destination\nDROP       tcp      ::/0                 fd00::/8             tcp dpt:22\n\nChain FORWARD (policy ACCEPT)\ntarget     prot opt source               destination\n", []string{"IPv6 filter"}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, err := Parse([]byte(tt.text))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, x := range s.Tables {
				got = append(got, fmt.Sprintf("%s %s", x.Family, x.Name))
			}
			if !slices.Equal(got, tt.want) || len(s.Notes) != tt.notes {
				t.Errorf("tables %q with notes %q, want %q and %d notes", got, s.Notes, tt.want, tt.notes)
			}
		})
	}
}

// saved is what iptables-nft-save prints where there are legacy tables too.
const saved = `# Generated by iptables-save v1.8.9 (nf_tables) on Fri Nov 20 14:09:31 2026
*filter
:INPUT DROP [10:600]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
[7:420] -A INPUT -p tcp -m tcp --dport 8080 -m comment --comment "a \"quoted\" -j ACCEPT" -j DROP
COMMIT
# Completed on Fri Nov 20 14:09:31 2026
# Generated by iptables-save v1.8.9 (nf_tables) on Fri Nov 20 14:09:31 2026
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
COMMIT
# Completed on Fri Nov 20 14:09:31 2026
# Warning: iptables-legacy tables present, use iptables-legacy-save to see them
`

func TestSaved(t *testing.T) {
	s := parse(t, saved)
	if !s.Complete[IPv4] || s.Complete[IPv6] {
		t.Errorf("complete are %v, want IPv4", s.Complete)
	}
	if !s.UnreadLegacy || len(s.Notes) != 1 {
		t.Errorf("the warning of legacy tables is lost: %q", s.Notes)
	}
	r := s.Find(IPv4, "filter")[0].Chain("INPUT").Rules[0]
	if r.Packets != 7 || !r.Counted || r.Line != 6 || r.Number != 1 || r.Target != "DROP" || !strings.HasPrefix(r.Text, "-A INPUT") {
		t.Errorf("the rule was read as %+v", r)
	}
	res := s.Evaluate(Host{}, Inbound, from("10.0.0.1", "10.0.0.2:8080"))
	if res.Verdict != Dropped || res.Rule == nil || res.Rule.Line != 6 || !slices.Equal(res.Unread, []string{"iptables-legacy tables"}) {
		t.Errorf("%s by %v, unread %q", res.Outcome, res.Rule, res.Unread)
	}
	res = s.Evaluate(Host{}, Inbound, from("10.0.0.1", "10.0.0.2:22"))
	if res.Verdict != Dropped || res.Rule == nil || res.Rule.Number != 0 || res.Rule.Text != "policy DROP" {
		t.Errorf("%s by %v, want the policy", res.Outcome, res.Rule)
	}
	// Another family is none of this text's business.
	if res = s.Evaluate(Host{}, Inbound, from("fd00::1", "[fd00::2]:22")); res.Verdict != Unknown {
		t.Errorf("IPv6 is %s without its rules", res.Outcome)
	}
	both := Merge(s, parse(t, strings.ReplaceAll(saved[:strings.Index(saved, "# Warning")], " (nf_tables)", "")))
	if both.UnreadLegacy || len(both.Tables) != 4 {
		t.Errorf("with the legacy tables there are %d tables, unread legacy %t", len(both.Tables), both.UnreadLegacy)
	}
}

func TestMerge(t *testing.T) {
	natOnly := parse(t, manualSet)
	filterOnly := parse(t, "*filter\n:INPUT DROP [0:0]\n-A INPUT -i lo -j ACCEPT\n-A INPUT -s 127.0.0.1/32 -j ACCEPT\nCOMMIT\n")
	six := parse(t, "*nat\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -d ::1/128 -j RETURN\n-A OUTPUT -p tcp -j REDIRECT --to-ports 15001\nCOMMIT\n")
	s := Merge(natOnly, filterOnly, six, natOnly)
	if len(s.Tables) != 3 || len(s.Notes) != 0 {
		t.Fatalf("%d tables, notes %q", len(s.Tables), s.Notes)
	}
	if r := s.Evaluate(Host{}, Outbound, to("10.0.0.1:80", 1000)); r.Outcome.String() != "redirected to 127.0.0.1:15001" {
		t.Errorf("IPv4: %s", r.Outcome)
	}
	if r := s.Evaluate(Host{}, Outbound, to("[fd00::1]:80", 1000)); r.Outcome.String() != "redirected to [::1]:15001" {
		t.Errorf("IPv6: %s", r.Outcome)
	}
	if r := s.Evaluate(Host{}, Inbound, from("10.0.0.9", "10.0.0.2:80")); r.Verdict != Dropped {
		t.Errorf("inbound: %s", r.Outcome)
	}
	other := parse(t, strings.Replace(manualSet, "10.0.0.1/32", "10.0.0.2/32", 1))
	if s = Merge(natOnly, other); len(s.Tables) != 1 || len(s.Notes) != 1 {
		t.Errorf("two snapshots that differ: %d tables, notes %q", len(s.Tables), s.Notes)
	}
	// A listing knows less than -S, whichever comes last.
	if s = Merge(natOnly, parse(t, agent)); s.Tables[0].Form != Commands {
		t.Errorf("kept the form %s", s.Tables[0].Form)
	}
}

func TestNFTables(t *testing.T) {
	const ruleset = `table inet istio-proxy-nat {
	chain output {
		type nat hook output priority -100; policy accept;
		meta l4proto tcp redirect to :15001
	}
}
table ip nat {
	chain OUTPUT { type nat hook output priority -100; policy accept; }
}
`
	s := parse(t, ruleset)
	if want := []string{"inet istio-proxy-nat", "ip nat"}; !slices.Equal(s.NFTTables, want) || len(s.Tables) != 0 {
		t.Errorf("tables %q, want %q", s.NFTTables, want)
	}
	r := s.Evaluate(Host{}, Outbound, to("10.0.0.1:80", 1))
	if r.Verdict != Unknown || !strings.Contains(r.Why[0], "nftables") {
		t.Errorf("%s, why %q", r.Outcome, r.Why)
	}
	both := Merge(s, parse(t, saved))
	if want := []string{"inet istio-proxy-nat"}; !slices.Equal(both.NFTTables, want) {
		t.Errorf("beside iptables' rules, tables %q, want %q", both.NFTTables, want)
	}
	if r = both.Evaluate(Host{}, Outbound, to("10.0.0.1:80", 1)); !slices.Contains(r.Unread, "nft table inet istio-proxy-nat") {
		t.Errorf("unread is %q", r.Unread)
	}
}

func TestMalformed(t *testing.T) {
	tests := []struct {
		name, text string
		line       int
		want       string // in the error
	}{
		{"an address", "*nat\n-A OUTPUT -d 10.0.0.300/32 -j RETURN\nCOMMIT\n", 2, "an address, with a prefix length or mask, was expected"},
		{"a prefix", "*nat\n-A OUTPUT -d 10.0.0.1/33 -j RETURN\nCOMMIT\n", 2, "an address, with a prefix length or mask, was expected"},
		{"a port", "*nat\n-A OUTPUT -p tcp --dport 70000 -j RETURN\nCOMMIT\n", 2, "a port, 0 to 65535"},
		{"a range of ports", "*nat\n-A OUTPUT -p tcp --dport 90:80 -j RETURN\nCOMMIT\n", 2, "ends before it begins"},
		{"a quotation mark", "*nat\n-A OUTPUT -m comment --comment \"x -j RETURN\nCOMMIT\n", 2, "quotation mark"},
		{"no value", "*nat\n-A OUTPUT -j\nCOMMIT\n", 2, "-j has no value"},
		{"a user", "*nat\n-A OUTPUT -m owner --uid-owner 1-x -j RETURN\nCOMMIT\n", 2, "--uid-owner 1-x"},
		{"a mark", "*nat\n-A OUTPUT -m mark --mark zz -j RETURN\nCOMMIT\n", 2, "a number was expected"},
		{"a stray word", "*nat\n-A OUTPUT 5 -j RETURN\nCOMMIT\n", 2, "an option was expected"},
		{"two targets", "*nat\n-A OUTPUT -j RETURN -j DROP\nCOMMIT\n", 2, "a second target"},
		{"a bare exclamation mark", "*nat\n-A OUTPUT -p tcp !\nCOMMIT\n", 2, "exclamation mark"},
		{"a listed address", "Chain OUTPUT (policy ACCEPT)\ntarget prot opt source destination\nRETURN tcp -- 0.0.0.0/0 10.0.0.300\n", 3, "an address"},
		{"a proxy's port", "*mangle\n-A PREROUTING -p tcp -j TPROXY --tproxy-mark 1\nCOMMIT\n", 2, "TPROXY without --on-port"},
		{"prose", "*nat\n-A OUTPUT -j RETURN\nhello\nCOMMIT\n", 3, "not a line of a rule set"},
		{"a cut text", "*nat\n-A OUTPUT -j RETURN\n", 2, "no COMMIT"},
		{"a chain outside", ":OUTPUT ACCEPT [0:0]\n-P OUTPUT ACCEPT\n", 1, "a chain without a table"},
		{"a deletion", "*nat\n-D OUTPUT -j RETURN\n-A OUTPUT -j RETURN\nCOMMIT\n", 2, "a rule (-A), a chain (-N) or a policy (-P) was expected"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse([]byte(tt.text))
			var line *LineError
			if !errors.As(err, &line) || line.Line != tt.line || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one of line %d with %q", err, tt.line, tt.want)
			}
		})
	}
	// The others are kept, and the bad one isn't taken for nothing.
	s, err := Parse([]byte("*nat\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -d 10.0.0.1/32 -j ACCEPT\n-A OUTPUT -d 10.0.0.300/32 -j RETURN\n-A OUTPUT -p tcp -j REDIRECT --to-ports 15001\nCOMMIT\n"))
	if err == nil || s.Rules() != 3 {
		t.Fatalf("%d rules, error %v", s.Rules(), err)
	}
	if r := s.Evaluate(Host{}, Outbound, to("10.0.0.1:80", 1)); r.Verdict != Delivered {
		t.Errorf("before the bad line: %s", r.Outcome)
	}
	if r := s.Evaluate(Host{}, Outbound, to("10.0.0.2:80", 1)); r.Verdict != Unknown || !strings.Contains(strings.Join(r.Why, "; "), "line 4 can't be read") {
		t.Errorf("behind the bad line: %s, why %q", r.Outcome, r.Why)
	}
}

func TestManyBadLines(t *testing.T) {
	_, err := Parse([]byte("*nat\n" + strings.Repeat("what is this\n", 1000) + "COMMIT\n"))
	if err == nil || strings.Count(err.Error(), "\n") > 60 || !strings.Contains(err.Error(), "950 further lines") {
		t.Errorf("error %v", err)
	}
	long := "*nat\n-A OUTPUT -d 10.0.0.1/32 -m comment --comment \"" + strings.Repeat("x", MaxLine) + "\" -j RETURN\n-A OUTPUT -j RETURN\nCOMMIT\n"
	s, err := Parse([]byte(long))
	if err == nil || !strings.Contains(err.Error(), "line 2: longer than") || len(err.Error()) > 400 {
		t.Errorf("error %.500v", err)
	}
	if s.Rules() != 1 {
		t.Errorf("%d rules", s.Rules())
	}
}

func TestRecogniseNot(t *testing.T) {
	for _, text := range []string{"", "hello\n", "{\"a\": 1}", "table of contents\n", "Chain of events\n", "[2026-11-20 12:00:00] -A- started\n", "apiVersion: v1\nkind: Pod\n", "* item\n* nat item\n"} {
		if Recognise([]byte(text)) {
			t.Errorf("%q is taken for a rule set", text)
		}
	}
}
