package probe

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/meshdiag/meshdiag/evidence"
)

func TestDNS(t *testing.T) {
	silent := func(dns.ResponseWriter, *dns.Msg) {}
	for _, tt := range []struct {
		name      string
		handle    dns.HandlerFunc
		rcode     string
		err       string
		addresses []string
	}{
		{name: "both kinds", handle: addresses("127.0.0.2", "::1"), rcode: "NOERROR", addresses: []string{"127.0.0.2", "::1"}},
		{name: "IPv4 alone", handle: addresses("127.0.0.1"), rcode: "NOERROR", addresses: []string{"127.0.0.1"}},
		{name: "IPv6 alone", handle: addresses("::1"), rcode: "NOERROR", addresses: []string{"::1"}},
		{name: "empty", handle: addresses(), rcode: "NOERROR"},
		{name: "NXDOMAIN", handle: rcode(dns.RcodeNameError), rcode: "NXDOMAIN"},
		{name: "SERVFAIL", handle: rcode(dns.RcodeServerFailure), rcode: "SERVFAIL"},
		{name: "REFUSED", handle: rcode(dns.RcodeRefused), rcode: "REFUSED"},
		{name: "a code without a name", handle: rcode(14), rcode: "RCODE14"},
		{name: "silence", handle: silent, err: "timeout"},
		{name: "IPv4 empty, IPv6 fails", handle: func(w dns.ResponseWriter, q *dns.Msg) {
			if q.Question[0].Qtype == dns.TypeAAAA {
				rcode(dns.RcodeServerFailure)(w, q)
				return
			}
			addresses()(w, q)
		}, rcode: "SERVFAIL"},
		{name: "IPv4 answered, IPv6 fails", handle: func(w dns.ResponseWriter, q *dns.Msg) {
			if q.Question[0].Qtype == dns.TypeAAAA {
				rcode(dns.RcodeServerFailure)(w, q)
				return
			}
			addresses("127.0.0.1")(w, q)
		}, rcode: "NOERROR", addresses: []string{"127.0.0.1"}},
		{name: "cut off by UDP, whole by TCP", handle: func(w dns.ResponseWriter, q *dns.Msg) {
			if w.RemoteAddr().Network() == "udp" {
				m := new(dns.Msg).SetReply(q)
				m.Truncated = true
				_ = w.WriteMsg(m) // a lost answer shows in the test
				return
			}
			addresses("127.0.0.3")(w, q)
		}, rcode: "NOERROR", addresses: []string{"127.0.0.3"}},
		{name: "no EDNS", handle: func(w dns.ResponseWriter, q *dns.Msg) {
			if q.IsEdns0() != nil {
				rcode(dns.RcodeFormatError)(w, q)
				return
			}
			addresses("127.0.0.1")(w, q)
		}, rcode: "NOERROR", addresses: []string{"127.0.0.1"}},
		{name: "answer to another question", handle: func(w dns.ResponseWriter, q *dns.Msg) {
			m := new(dns.Msg).SetReply(q)
			m.Question[0].Name = "other.test."
			_ = w.WriteMsg(m) // a lost answer shows in the test
		}, err: "the answer is to another question"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := dnsServer(t, tt.handle)
			p, err := New(Config{Endpoint: name + ":443", Resolvers: []string{server}, DNSTimeout: 300 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			got, err := evidence.Get(run(t, p, "probe/dns"), evidence.DNSProbe)
			if err != nil || len(got) != 1 {
				t.Fatalf("got %v, %v", got, err)
			}
			var want []netip.Addr
			for _, a := range tt.addresses {
				want = append(want, netip.MustParseAddr(a))
			}
			r := got[0]
			if r.Host != name || r.Resolver != server || r.RCode != tt.rcode || r.Err != tt.err || !slices.Equal(r.Addresses, want) {
				t.Errorf("got %+v, want rcode %q, error %q, addresses %v", r, tt.rcode, tt.err, want)
			}
			if r.Source.Vantage != evidence.FromService || r.Source.Time.IsZero() {
				t.Errorf("source %+v", r.Source)
			}
		})
	}
}

func TestDNSUDPLossIsAskedAgain(t *testing.T) {
	var asked atomic.Int32
	server := dnsServer(t, func(w dns.ResponseWriter, q *dns.Msg) {
		if q.Question[0].Qtype == dns.TypeA && asked.Add(1) == 1 {
			return
		}
		addresses("127.0.0.1")(w, q)
	})
	p, err := New(Config{Endpoint: name + ":443", Resolvers: []string{server}, DNSTimeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	got, err := evidence.Get(run(t, p, "probe/dns"), evidence.DNSProbe)
	if err != nil || got[0].RCode != "NOERROR" || len(got[0].Addresses) != 1 {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestDNSEachResolverForItself(t *testing.T) {
	gone, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := gone.LocalAddr().String()
	if err := gone.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(file, []byte("search wrong.test\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	good := dnsServer(t, addresses("127.0.0.1"))
	expected := []netip.Prefix{netip.MustParsePrefix("10.7.0.0/16")}
	p, err := New(Config{Endpoint: name + ":443", Resolvers: []string{good, nobody, dnsServer(t, rcode(dns.RcodeNameError))}, ExpectedRanges: expected, Vantage: evidence.FromWorkload})
	if err != nil {
		t.Fatal(err)
	}
	got, err := evidence.Get(run(t, p, "probe/dns"), evidence.DNSProbe)
	if err != nil || len(got) != 3 {
		t.Fatalf("got %v, %v", got, err)
	}
	if got[0].RCode != "NOERROR" || got[1].Err != "connection refused" || got[2].RCode != "NXDOMAIN" {
		t.Errorf("got %+v", got)
	}
	if !slices.Equal(got[0].Expected, expected) || got[0].Source.Vantage != evidence.FromWorkload {
		t.Errorf("got %+v", got[0])
	}
	p, err = New(Config{Endpoint: name + ":443", ResolvConf: file})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := evidence.Get(run(t, p, "probe/dns"), evidence.DNSProbe); err == nil {
		t.Error("a resolv.conf without a server gave an answer")
	}
}

func TestNewNamesTheField(t *testing.T) {
	for _, cfg := range []Config{
		{Endpoint: "no-port"}, {Endpoint: ":443"}, {Endpoint: "h:none-such"}, {Endpoint: "h:443", Resolvers: []string{"dns.google"}},
	} {
		if p, err := New(cfg); err == nil {
			t.Errorf("%+v gave %+v", cfg, p)
		}
	}
	p, err := New(Config{Resolvers: []string{"10.0.0.2", "[::1]:5353"}})
	if err != nil || p.cfg.Endpoint != DefaultEndpoint || !slices.Equal(p.resolvers, []string{"10.0.0.2:53", "[::1]:5353"}) {
		t.Errorf("got %+v, %v", p, err)
	}
}
