package netfilter_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	. "github.com/meshdiag/meshdiag/evidence/netfilter"
)

// corpus reads a file of rule sets that others wrote, from the folder beside the repository.
func corpus(t *testing.T, name string) Set {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, "..", "shared", "corpus", "iptables", name))
	if err != nil {
		t.Skipf("the corpus isn't here: %v", err)
	}
	if !Recognise(text) {
		t.Errorf("%s isn't recognised as a rule set", name)
	}
	s, err := Parse(text)
	if err != nil {
		t.Errorf("%s: %v", name, err)
	}
	return s
}

// pod is a pod with one interface, under Istio: 1337 is the proxy's user and group.
var pod = Host{Interfaces: []Interface{{"lo", addrs("127.0.0.1", "::1")}, {"eth0", addrs("10.4.0.7", "fd00::7")}}}

const proxyID = 1337

func addrs(s ...string) []netip.Addr {
	var out []netip.Addr
	for _, a := range s {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

// to is a packet to an address and port, sent by a user whose group has the same number.
func to(dst string, uid int) Packet {
	a := netip.MustParseAddrPort(dst)
	return Packet{Destination: a.Addr(), DestinationPort: a.Port(), UID: uid, GID: uid}
}

// from is a packet from an address to this host's address and port, by eth0.
func from(src, dst string) Packet {
	p := to(dst, NoID)
	p.Source, p.InInterface = netip.MustParseAddr(src), "eth0"
	return p
}

func TestIstioCorpus(t *testing.T) {
	const client = "10.4.0.99"
	tests := []struct {
		file string
		what string
		dir  Direction
		p    Packet
		want string
	}{
		{"istio-inbound-ports-wildcard.txt", "the address that its wildcard leaves out", Outbound, to("10.0.0.1:80", 1000), "delivered"},
		{"istio-inbound-ports-wildcard.txt", "inbound", Inbound, from(client, "10.4.0.7:8080"), "redirected to 10.4.0.7:15006"},
		{"istio-inbound-ports-wildcard.txt", "HBONE", Inbound, from(client, "10.4.0.7:15008"), "delivered"},
		{"istio-inbound-ports-wildcard.txt", "the proxy to its own pod's address", Outbound, to("10.4.0.7:8080", proxyID), "redirected to 127.0.0.1:15006"},
		{"istio-inbound-ports-wildcard.txt", "the proxy to the application", Outbound, to("127.0.0.1:8080", proxyID), "delivered"},
		{"istio-inbound-ports-wildcard.txt", "the proxy out", Outbound, to("10.0.0.1:80", proxyID), "delivered"},
		{"istio-inbound-ports-include.txt", "an included port", Inbound, from(client, "10.4.0.7:32000"), "redirected to 10.4.0.7:15006"},
		{"istio-inbound-ports-include.txt", "the other included port", Inbound, from(client, "10.4.0.7:31000"), "redirected to 10.4.0.7:15006"},
		{"istio-inbound-ports-include.txt", "a port not included", Inbound, from(client, "10.4.0.7:8080"), "delivered"},
		{"istio-ipnets.txt", "an included range", Outbound, to("10.1.2.3:80", 1000), "redirected to 127.0.0.1:15001"},
		{"istio-ipnets.txt", "beside the included range", Outbound, to("11.0.0.1:80", 1000), "delivered"},
		{"istio-ipnets.txt", "the proxy to the included range", Outbound, to("10.1.2.3:80", proxyID), "delivered"},
		{"istio-ipnets.txt", "the application to its own pod", Outbound, to("10.4.0.7:80", 1000), "delivered"},
		{"istio-ipnets.txt", "inbound is not intercepted", Inbound, from(client, "10.4.0.7:80"), "delivered"},
		{"istio-cni-include-exclude-ip.txt", "an excluded range", Outbound, to("10.1.2.3:80", 1000), "delivered"},
		{"istio-cni-include-exclude-ip.txt", "the application itself", Outbound, to("127.0.0.1:80", 1000), "delivered"},
		{"istio-cni-include-exclude-ip.txt", "an included range", Outbound, to("127.0.0.2:80", 1000), "redirected to 127.0.0.1:15001"},
		{"istio-cni-include-exclude-ip.txt", "an excluded port", Outbound, to("127.0.0.2:15020", 1000), "delivered"},
		{"istio-cni-include-exclude-ip.txt", "inbound", Inbound, from(client, "10.4.0.7:80"), "redirected to 10.4.0.7:15006"},
		{"istio-cni-include-exclude-ip.txt", "inbound metrics", Inbound, from(client, "10.4.0.7:15020"), "delivered"},
		{"istio-cni-include-exclude-ip.txt", "inbound health", Inbound, from(client, "10.4.0.7:15021"), "delivered"},
		{"istio-cni-include-exclude-ip.txt", "inbound stats", Inbound, from(client, "10.4.0.7:15090"), "delivered"},
		{"istio-tproxy.txt", "inbound", Inbound, from(client, "10.4.0.7:80"), "tproxied to 10.4.0.7:15006"},
		{"istio-tproxy.txt", "inbound IPv6", Inbound, from("fd00::99", "[fd00::7]:80"), "tproxied to [fd00::7]:15006"},
		{"istio-tproxy.txt", "an included range", Outbound, to("9.9.1.1:80", 1000), "redirected to 127.0.0.1:15001"},
		{"istio-tproxy.txt", "an excluded range", Outbound, to("1.1.2.2:80", 1000), "delivered"},
		{"istio-tproxy.txt", "DNS over TCP", Outbound, to("127.0.0.53:53", 1000), "redirected to 127.0.0.1:15053"},
		{"istio-tproxy.txt", "the proxy to its own pod's address", Outbound, to("10.4.0.7:80", proxyID), "redirected to 127.0.0.1:15006"},
		{"istio-tproxy.txt", "the proxy to its own pod's IPv6 address", Outbound, to("[fd00::7]:80", proxyID), "redirected to [::1]:15006"},
	}
	sets := map[string]Set{}
	for _, tt := range tests {
		s, ok := sets[tt.file]
		if !ok {
			s = corpus(t, tt.file)
			sets[tt.file] = s
		}
		for ask, get := range map[string]func(Host, Direction, Packet) Result{"Evaluate": s.Evaluate, "Connect": s.Connect} {
			r := get(pod, tt.dir, tt.p)
			if got := r.Outcome.String(); got != tt.want {
				t.Errorf("%s, %s: %s is %s, want %s\nwhy %q\nsteps %v", tt.file, tt.what, ask, got, tt.want, r.Why, r.Steps)
			}
		}
	}
}

func TestCorpusIntercepted(t *testing.T) {
	s := corpus(t, "istio-ipnets.txt")
	got, unknown, err := s.Intercepted(pod, to("0.0.0.0:80", 1000))
	if err != nil || len(unknown) > 0 {
		t.Fatalf("unknown %v, error %v", unknown, err)
	}
	// 10.0.0.0/8 but for the pod's own address.
	if len(got) != 24 || got[0].String() != "10.0.0.0/14" {
		t.Errorf("intercepted %v", got)
	}
	got, _, err = s.Intercepted(Host{}, to("0.0.0.0:80", 1000))
	if err != nil || len(got) != 1 || got[0].String() != "10.0.0.0/8" {
		t.Errorf("intercepted %v, error %v, want 10.0.0.0/8", got, err)
	}
}
