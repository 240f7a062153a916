package netfilter_test

import (
	"errors"
	"net/netip"
	"testing"

	. "github.com/meshdiag/meshdiag/evidence/netfilter"
)

func seeds(f *testing.F) {
	for _, s := range []string{saved, agent, verbose(agent), manualSet, table("nat", "-A OUTPUT -j A\n-A A -g OUTPUT"),
		table("mangle", "-A PREROUTING ! -d ::1/128 -p tcp -j TPROXY --tproxy-mark 1337/0xffffffff --on-port 15006\n-A OUTPUT -m connmark --mark 1 -j CONNMARK --restore-mark"),
		table("nat", "-A OUTPUT -p tcp -m multiport ! --dports 53,80:90 -m owner ! --uid-owner 1-9 -j DNAT --to-destination [fd00::1]:80"),
		"table inet x {\n}\n", "$ ip6tables -t nat -L -v --line-numbers\nChain OUTPUT (policy ACCEPT 0 packets, 0 bytes)\nnum pkts bytes target prot opt in out source destination\n1 0 0 X tcp any any !::1 anywhere [goto] tcp dpt:!mysql flags:!0x17/0x02 ! owner UID match a\n",
	} {
		f.Add([]byte(s))
	}
}

// FuzzParse holds that no text makes the parser fail other than by an error, and that nothing is read without a table.
func FuzzParse(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		Recognise(text)
		s, err := Parse(text)
		var line *LineError
		if errors.As(err, &line) && line.Line < 1 {
			t.Errorf("an error of line %d", line.Line)
		}
		for _, table := range s.Tables {
			if table.Name == "" || table.Family == 0 {
				t.Errorf("a table without name or family: %+v", table)
			}
			for _, c := range table.Chains {
				for i, r := range c.Rules {
					if r.Number != i+1 || r.Line < 1 {
						t.Errorf("rule %d of %s is numbered %d, line %d", i+1, c.Name, r.Number, r.Line)
					}
				}
			}
		}
		if m := Merge(s, s); len(m.Tables) != len(s.Tables) {
			t.Errorf("a set merged with itself has %d tables, not %d", len(m.Tables), len(s.Tables))
		}
	})
}

// FuzzEvaluate holds that every question ends, and that Unknown always says why and nothing else does.
func FuzzEvaluate(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := Parse(text)
		if err != nil && s.Rules() == 0 {
			return
		}
		for _, h := range []Host{{}, pod} {
			for _, dst := range []string{"10.7.240.1:80", "127.0.0.1:3306", "[fd00::1]:80", "10.4.0.7:8080"} {
				for _, d := range []Direction{Outbound, Inbound} {
					a := netip.MustParseAddrPort(dst)
					r := s.Connect(h, d, Packet{Destination: a.Addr(), DestinationPort: a.Port(), UID: 1337, GID: NoID})
					if (r.Verdict == Unknown) != (len(r.Why) > 0) {
						t.Errorf("%s, why %q", r.Outcome, r.Why)
					}
					if r.Verdict != Unknown && !r.To.IsValid() {
						t.Errorf("%s without an address", r.Outcome)
					}
				}
			}
		}
	})
}
