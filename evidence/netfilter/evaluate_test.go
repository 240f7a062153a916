package netfilter_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	. "github.com/meshdiag/meshdiag/evidence/netfilter"
)

// manualSet is what Google's troubleshooting page for Envoy prints of a VM set up by hand, with 10.0.0.1 intercepted.
const manualSet = `-N ISTIO_IN_REDIRECT
-N ISTIO_OUTPUT
-N ISTIO_REDIRECT
-A OUTPUT -p tcp -j ISTIO_OUTPUT
-A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15001
-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001
-A ISTIO_OUTPUT -m owner --uid-owner 1006 -j RETURN
-A ISTIO_OUTPUT -d 127.0.0.1/32 -j RETURN
-A ISTIO_OUTPUT -d 10.0.0.1/32 -j ISTIO_REDIRECT
-A ISTIO_OUTPUT -j RETURN
`

func table(name, rules string) string { return "*" + name + "\n" + rules + "\nCOMMIT\n" }

// TestEvaluate holds what the kernel tests can't: what isn't known, and what no kernel would load.
func TestEvaluate(t *testing.T) {
	redirect := "-A OUTPUT -p tcp -j REDIRECT --to-ports 15001"
	tests := []struct {
		name, text string
		host       Host
		dir        Direction
		p          Packet
		want, why  string // why is for unknown
	}{
		{"by hand", manualSet, Host{}, Outbound, to("10.0.0.1:80", 1000), "redirected to 127.0.0.1:15001", ""},
		{"by hand, the proxy", manualSet, Host{}, Outbound, to("10.0.0.1:80", 1006), "delivered", ""},
		{"by hand, another address", manualSet, Host{}, Outbound, to("10.0.0.2:80", 1000), "delivered", ""},
		{"by hand, an unknown user", manualSet, Host{}, Outbound, to("10.0.0.1:80", NoID), "unknown", "--uid-owner 1006"},
		{"by hand, an unknown user, where it makes no difference", manualSet, Host{}, Outbound, to("10.0.0.2:80", NoID), "delivered", ""},
		{"UDP", manualSet, Host{}, Outbound, Packet{Protocol: UDP, Destination: to("10.0.0.1:53", 0).Destination, DestinationPort: 53}, "delivered", ""},
		{"an address within IPv6", manualSet, Host{}, Outbound, to("[::ffff:10.0.0.1]:80", 1), "redirected to 127.0.0.1:15001", ""},
		{"no destination", manualSet, Host{}, Outbound, Packet{}, "unknown", "no destination"},
		{"two families", manualSet, Host{}, Outbound, Packet{Source: from("fd00::1", "[fd00::2]:1").Source, Destination: to("10.0.0.1:1", 0).Destination}, "unknown", "different families"},
		{"no rules of the family", manualSet, Host{}, Outbound, to("[fd00::1]:80", 1), "unknown", "no IPv6 rules were read"},
		{"only filter was read", table("filter", ":OUTPUT ACCEPT [0:0]"), Host{}, Outbound, to("10.0.0.1:80", 1), "unknown", "nat table wasn't read"},

		{"an extension that decides", table("nat", "-A OUTPUT -m set --match-set mesh dst -j RETURN\n"+redirect), Host{}, Outbound, to("10.0.0.1:80", 1), "unknown", "--match-set mesh dst"},
		{"an extension that doesn't", table("nat", "-A OUTPUT -m set --match-set mesh dst -j LOG\n"+redirect), Host{}, Outbound, to("10.0.0.1:80", 1), "redirected to 127.0.0.1:15001", ""},
		{"an extension, beside what doesn't hold", table("nat", "-A OUTPUT -m set --match-set mesh dst -p tcp --dport 81 -j RETURN\n"+redirect), Host{}, Outbound, to("10.0.0.1:80", 1), "redirected to 127.0.0.1:15001", ""},
		{"both ways lead to one end", table("nat", "-A OUTPUT -p tcp -m cgroup --path mesh -j REDIRECT --to-ports 15001\n"+redirect), Host{}, Outbound, to("10.0.0.1:80", 1), "redirected to 127.0.0.1:15001", ""},
		{"one question has one answer", table("nat", "-A OUTPUT -m owner --uid-owner envoy -j RETURN\n-A OUTPUT -p tcp -m owner ! --uid-owner envoy -j RETURN\n"+redirect), Host{}, Outbound, to("10.0.0.1:80", 1), "delivered", ""},
		{"chance has many", table("nat", "-A OUTPUT -m statistic --mode random --probability 0.5 -j RETURN\n"+redirect), Host{}, Outbound, to("10.0.0.1:80", 1), "unknown", "-m statistic --mode random --probability 0.5"},
		{"a target that isn't known", table("filter", ":INPUT ACCEPT [0:0]\n-A INPUT -p tcp -j NFQUEUE --queue-num 1") + table("nat", ":OUTPUT ACCEPT [0:0]"), Host{}, Inbound, from("10.0.0.9", "10.0.0.1:80"), "unknown", "what NFQUEUE does"},
		{"a chain that isn't there", table("nat", "-A OUTPUT -p tcp -j ISTIO_OUTPUT"), Host{}, Outbound, to("10.0.0.1:80", 1), "unknown", "ISTIO_OUTPUT is neither a chain in the text nor a target that is known"},
		{"an option that isn't known", table("nat", "-A OUTPUT -p tcp -j REDIRECT --to-ports 15001 --sideways"), Host{}, Outbound, to("10.0.0.1:80", 1), "unknown", "what REDIRECT does"},
		{"a circle", table("nat", "-A OUTPUT -j A\n-A A -j B\n-A B -j A"), Host{}, Outbound, to("10.0.0.1:80", 1), "unknown", "in a circle: nat A leads to itself"},
		{"a circle by goto", table("nat", "-A OUTPUT -g A\n-A A -g A"), Host{}, Outbound, to("10.0.0.1:80", 1), "unknown", "in a circle"},
		{"a circle that is left", table("nat", "-A OUTPUT -j A\n-A A -p tcp -j REDIRECT --to-ports 15001\n-A A -j A"), Host{}, Outbound, to("10.0.0.1:80", 1), "redirected to 127.0.0.1:15001", ""},

		{"a policy that isn't shown", table("filter", "-A INPUT -p tcp --dport 22 -j ACCEPT") + table("nat", ":OUTPUT ACCEPT [0:0]"), Host{}, Inbound, from("10.0.0.9", "10.0.0.1:80"), "unknown", "policy of filter INPUT"},
		{"a policy that isn't shown, nor asked", table("filter", "-A INPUT -p tcp --dport 80 -j ACCEPT") + table("nat", ":OUTPUT ACCEPT [0:0]"), Host{}, Inbound, from("10.0.0.9", "10.0.0.1:80"), "delivered", ""},
		{"a policy of QUEUE", table("filter", ":INPUT QUEUE [0:0]") + table("nat", ":OUTPUT ACCEPT [0:0]"), Host{}, Inbound, from("10.0.0.9", "10.0.0.1:80"), "unknown", "is QUEUE"},
		{"a range of ports", table("nat", "-A OUTPUT -p tcp -j REDIRECT --to-ports 15001-15003"), Host{}, Outbound, to("10.0.0.1:80", 1), "redirected to 127.0.0.1:15001", ""},
		{"a drop of half the range", table("nat", "-A OUTPUT -p tcp -j REDIRECT --to-ports 15001-15003") + table("filter", ":INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n-A INPUT -p tcp --dport 15002 -j DROP"), Host{}, Outbound, to("10.0.0.1:80", 1), "unknown", "--dport 15002"},
		{"a drop of the whole range", table("nat", "-A OUTPUT -p tcp -j REDIRECT --to-ports 15001-15003") + table("filter", ":INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n-A INPUT -p tcp --dport 15000:15010 -j DROP"), Host{}, Outbound, to("10.0.0.1:80", 1), "dropped", ""},
		{"source ports that a client doesn't get", table("nat", "-A OUTPUT -p tcp --sport 53 -j RETURN\n"+redirect), Host{}, Outbound, to("10.0.0.1:80", 1), "redirected to 127.0.0.1:15001", ""},
		{"source ports that it may get", table("nat", "-A OUTPUT -p tcp --sport 40000:50000 -j RETURN\n"+redirect), Host{}, Outbound, to("10.0.0.1:80", 1), "unknown", "--sport 40000:50000"},
		{"a host name", table("nat", "-A OUTPUT -d vip.internal -p tcp -j REDIRECT --to-ports 15001"), Host{}, Outbound, to("10.0.0.1:80", 1), "unknown", "-d vip.internal"},
		{"a service that nobody knows", table("nat", "-A OUTPUT -p tcp --dport frobnicate -j REDIRECT --to-ports 15001"), Host{}, Outbound, to("10.0.0.1:80", 1), "unknown", "--dport frobnicate"},
		{"the old way to negate", table("nat", "-A OUTPUT -d ! 10.0.0.0/8 -j RETURN\n"+redirect), Host{}, Outbound, to("11.0.0.1:80", 1), "delivered", ""},
		{"a mask with a hole", table("nat", "-A OUTPUT -d 10.0.0.1/255.0.0.255 -j RETURN\n"+redirect), Host{}, Outbound, to("10.9.9.1:80", 1), "delivered", ""},
		{"beside a mask with a hole", table("nat", "-A OUTPUT -d 10.0.0.1/255.0.0.255 -j RETURN\n"+redirect), Host{}, Outbound, to("10.9.9.2:80", 1), "redirected to 127.0.0.1:15001", ""},
		{"a list of networks", table("nat", "-A OUTPUT -d 192.168.0.0/16,10.0.0.0/8 -j RETURN\n"+redirect), Host{}, Outbound, to("10.9.9.2:80", 1), "delivered", ""},
		{"a port by name", table("nat", "-A OUTPUT -p tcp --dport mysql -j RETURN\n"+redirect), Host{}, Outbound, to("10.0.0.1:3306", 1), "delivered", ""},
		{"rules that are inserted", table("nat", redirect+"\n-I OUTPUT -d 10.0.0.1 -j RETURN\n-I OUTPUT 2 -d 10.0.0.2 -j RETURN"), Host{}, Outbound, to("10.0.0.2:80", 1), "delivered", ""},
		{"to a loopback address from outside", table("nat", "-A PREROUTING -p tcp -j DNAT --to-destination 127.0.0.1:15006"), Host{}, Inbound, from("10.0.0.9", "10.0.0.1:80"), "unknown", "route_localnet"},
		{"on to another host", table("nat", "-A PREROUTING -p tcp -j DNAT --to-destination 10.9.9.9:8080") + table("filter", ":FORWARD DROP [0:0]\n:INPUT ACCEPT [0:0]"), pod, Inbound, from("10.0.0.9", "10.4.0.7:80"), "dropped", ""},
		{"on to a host that may be this", table("nat", "-A PREROUTING -p tcp -j DNAT --to-destination 10.9.9.9:8080") + table("filter", ":FORWARD DROP [0:0]\n:INPUT ACCEPT [0:0]"), Host{}, Inbound, from("10.0.0.9", "10.4.0.7:80"), "unknown", "10.9.9.9 is an address of this host"},
		{"an established connection", table("nat", redirect), Host{}, Outbound, Packet{Destination: to("10.0.0.1:80", 1).Destination, DestinationPort: 80, State: Established}, "delivered", ""},
		{"listed without -v, with an interface that matters", agent, Host{Users: map[string]int{"envoy": 5}}, Outbound, to("10.7.240.1:80", 1), "unknown", "doesn't show the interfaces"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, err := Parse([]byte(tt.text))
			if err != nil {
				t.Fatal(err)
			}
			r := s.Evaluate(tt.host, tt.dir, tt.p)
			if got := r.Outcome.String(); got != tt.want {
				t.Errorf("%s, want %s\nwhy %q\nsteps %q", got, tt.want, r.Why, r.Steps)
			}
			if why := strings.Join(r.Why, "; "); !strings.Contains(why, tt.why) || (why == "") != (r.Verdict != Unknown) {
				t.Errorf("why %q, want %q", why, tt.why)
			}
		})
	}
}

// TestTrace holds the order of steps and what is named as having decided.
func TestTrace(t *testing.T) {
	s := parse(t, table("raw", "-A OUTPUT -p tcp -j CT --zone 1")+table("nat", ":OUTPUT ACCEPT [0:0]\n-A OUTPUT -p tcp -j ISTIO_OUTPUT\n-A ISTIO_OUTPUT -d 10.9.0.0/16 -j RETURN\n-A ISTIO_OUTPUT -p tcp -j REDIRECT --to-ports 15001")+
		table("filter", ":INPUT DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -p tcp -j LOG"))
	r := s.Evaluate(Host{}, Outbound, to("10.0.0.1:80", 1))
	var got []string
	for _, st := range r.Steps {
		got = append(got, fmt.Sprintf("%s %s %d", st.Table, st.Chain, st.Number))
	}
	want := []string{"raw OUTPUT 1", "nat OUTPUT 1", "nat ISTIO_OUTPUT 2", "filter OUTPUT 1", "filter INPUT 0"}
	if !slices.Equal(got, want) {
		t.Errorf("steps %q, want %q", got, want)
	}
	if r.Verdict != Dropped || !r.Rewritten || r.To.String() != "127.0.0.1:15001" || r.Rule.String() != "filter INPUT: policy DROP" {
		t.Errorf("%+v by %s", r.Outcome, r.Rule)
	}
	r = s.Evaluate(Host{}, Outbound, to("10.9.0.1:80", 1))
	if r.Verdict != Delivered || r.Rule == nil || r.Rule.Text != "-A ISTIO_OUTPUT -d 10.9.0.0/16 -j RETURN" {
		t.Errorf("an excluded destination is %s by %v", r.Outcome, r.Rule)
	}
	if got := s.ReachableFrom(IPv4, "nat", "OUTPUT"); !slices.Equal(got, []string{"OUTPUT", "ISTIO_OUTPUT"}) {
		t.Errorf("reachable are %q", got)
	}
	if got := s.ReachableFrom(IPv6, "nat", "OUTPUT"); got != nil {
		t.Errorf("reachable are %q", got)
	}
}

func TestIntercepted(t *testing.T) {
	s := parse(t, table("nat", `-A OUTPUT -m owner --uid-owner 1337 -j RETURN
-A OUTPUT -d 10.0.0.128/25 -j RETURN
-A OUTPUT -d 10.9.0.0/16 -m set --match-set x dst -j RETURN
-A OUTPUT -d 10.0.0.0/23 -p tcp -j REDIRECT --to-ports 15001
-A OUTPUT -d 10.9.0.0/16 -p tcp -j REDIRECT --to-ports 15001
-A OUTPUT -d 255.255.255.0/24 -p tcp -j REDIRECT --to-ports 15001`))
	yes, maybe, err := s.Intercepted(Host{}, to("0.0.0.0:80", 1000))
	if got := fmt.Sprint(yes, maybe, err); got != "[10.0.0.0/25 10.0.1.0/24 255.255.255.0/24] [10.9.0.0/16] <nil>" {
		t.Error(got)
	}
	if yes, maybe, err = s.Intercepted(Host{}, to("0.0.0.0:80", 1337)); len(yes) != 0 || len(maybe) != 0 || err != nil {
		t.Error(yes, maybe, err)
	}
	all := parse(t, table("nat", "-A OUTPUT -p tcp -d ::1/128 -j RETURN\n-A OUTPUT -p tcp -j REDIRECT --to-ports 15001"))
	if yes, _, err = all.Intercepted(Host{}, to("[::]:80", 1)); err != nil || len(yes) != 128 || yes[127].String() != "8000::/1" {
		t.Error(yes, err)
	}
	if _, _, err = all.Intercepted(Host{}, Packet{}); err == nil {
		t.Error("no error without a family")
	}
	odd := parse(t, table("nat", "-A OUTPUT -d 10.0.0.1/255.0.0.255 -j RETURN"))
	if _, _, err = odd.Intercepted(Host{}, to("0.0.0.0:80", 1)); err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("error %v", err)
	}
}

// TestLarge holds the limits: many rules, jumps that multiply, deep nesting, more doubts than can be walked.
func TestLarge(t *testing.T) {
	var many, wide, deep, doubts strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&many, "-A OUTPUT -d 10.%d.%d.0/24 -p tcp -m tcp --dport 80 -j REDIRECT --to-ports 15001\n", i/256, i%256)
	}
	for i := range 40 {
		fmt.Fprintf(&wide, "-A C%d -j C%d\n-A C%d -j C%d\n", i, i+1, i, i+1)
	}
	for i := range 1000 {
		fmt.Fprintf(&deep, "-A C%d -j C%d\n", i, i+1)
		fmt.Fprintf(&doubts, "-A OUTPUT -m set --match-set s%d dst -j MARK --set-mark %d\n", i, i)
	}
	tests := []struct{ name, rules, want, why string }{
		{"20,000 rules", many.String() + "-A OUTPUT -p tcp -j REDIRECT --to-ports 15002", "redirected to 127.0.0.1:15002", ""},
		{"jumps that multiply", "-A OUTPUT -j C0\n" + wide.String() + "-A C40 -s 1.2.3.4 -j DROP", "unknown", "rules would have to be looked at"},
		{"deep nesting", "-A OUTPUT -j C0\n" + deep.String() + "-A C1000 -j ACCEPT", "unknown", "nested deeper"},
		{"a thousand doubts", doubts.String() + "-A OUTPUT -p tcp -m mark --mark 7 -j REDIRECT", "unknown", "in doubt"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := parse(t, table("nat", tt.rules))
			p := to("192.0.2.1:80", 1)
			p.Source = from("192.0.2.9", "192.0.2.1:80").Source
			r := s.Evaluate(Host{}, Outbound, p)
			if r.Outcome.String() != tt.want || !strings.Contains(strings.Join(r.Why, "; "), tt.why) {
				t.Errorf("%s, why %q; want %s, why %q", r.Outcome, r.Why, tt.want, tt.why)
			}
		})
	}
	s, err := Parse([]byte(table("nat", strings.Repeat("-A OUTPUT -j RETURN\n", MaxRules+1))))
	if err == nil || !strings.Contains(err.Error(), "only the first") || s.Rules() != MaxRules {
		t.Errorf("%d rules, error %v", s.Rules(), err)
	}
	s, _ = Parse([]byte(table("nat", many.String())))
	if _, _, err := s.Intercepted(Host{}, to("0.0.0.0:80", 1)); err == nil {
		t.Error("no error for more prefixes than can be asked about")
	}
}
