package probe

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	statuspb "github.com/envoyproxy/go-control-plane/envoy/service/status/v3"
	"github.com/miekg/dns"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// name is what the tests call the control plane.
const name = "control-plane.test"

var target = diagnose.Request{Target: diagnose.Target{Project: "p", Network: "n"}}

// run lets the named collectors, all where none is named, work one after another on one set.
func run(t *testing.T, p *Prober, names ...string) *evidence.View {
	t.Helper()
	set := evidence.NewSet()
	for _, c := range p.Collectors() {
		if !c.Applies(target) {
			t.Fatalf("%s does not apply to %v", c.Name, target)
		}
		if len(names) > 0 && !slices.Contains(names, c.Name) {
			continue
		}
		ctx, cancel := context.WithTimeout(t.Context(), c.Timeout)
		err := c.Collect(ctx, target, evidence.NewView(set), set)
		cancel()
		for _, n := range c.Provides {
			if err != nil && !set.Has(n) {
				set.Fail(n, evidence.Source{Collector: c.Name}, err)
			}
		}
	}
	return evidence.NewView(set)
}

// dnsServer is a real one on loopback, UDP and TCP on one port.
func dnsServer(t *testing.T, handle dns.HandlerFunc) string {
	t.Helper()
	// The TCP port is the scarcer: the same UDP port is free as a rule.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	pc, err := net.ListenPacket("udp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*dns.Server{{PacketConn: pc, Handler: handle}, {Listener: l, Handler: handle}} {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = s.ActivateAndServe() // its error is that it was shut down
		}()
		<-started
		t.Cleanup(func() {
			_ = s.Shutdown() // the test is over
			<-done
		})
	}
	return pc.LocalAddr().String()
}

// addresses answers every question with the addresses of its kind.
func addresses(list ...string) dns.HandlerFunc {
	return func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg)
		m.SetReply(q)
		for _, s := range list {
			a := netip.MustParseAddr(s)
			h := dns.RR_Header{Name: q.Question[0].Name, Rrtype: q.Question[0].Qtype, Class: dns.ClassINET, Ttl: 60}
			switch {
			case a.Is4() && h.Rrtype == dns.TypeA:
				m.Answer = append(m.Answer, &dns.A{Hdr: h, A: a.AsSlice()})
			case a.Is6() && h.Rrtype == dns.TypeAAAA:
				m.Answer = append(m.Answer, &dns.AAAA{Hdr: h, AAAA: a.AsSlice()})
			}
		}
		_ = w.WriteMsg(m) // a lost answer shows in the test
	}
}

func rcode(code int) dns.HandlerFunc {
	return func(w dns.ResponseWriter, q *dns.Msg) {
		_ = w.WriteMsg(new(dns.Msg).SetRcode(q, code)) // a lost answer shows in the test
	}
}

// authority issues certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t *testing.T, cn string) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: cn}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{cert: cert, key: key, pool: x509.NewCertPool()}
	a.pool.AddCert(cert)
	return a
}

// issue makes a certificate for a host name or address.
func (a *authority) issue(t *testing.T, host string, from, to time.Time) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: host}, NotBefore: from, NotAfter: to,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if ip := net.ParseIP(host); ip != nil {
		tmpl.IPAddresses = []net.IP{ip}
	} else {
		tmpl.DNSNames = []string{host}
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der, a.cert.Raw}, PrivateKey: key}
}

// good makes a certificate that is valid now.
func (a *authority) good(t *testing.T) tls.Certificate {
	return a.issue(t, name, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
}

// httpServer serves HTTP over TLS, with h2 where asked, and gives its port.
func httpServer(t *testing.T, cert tls.Certificate, h2 bool, h http.Handler) string {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.EnableHTTP2 = h2
	s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	s.StartTLS()
	t.Cleanup(s.Close)
	return port(t, s.Listener.Addr())
}

// csds is a control plane that ends every question as told.
type csds struct {
	statuspb.UnimplementedClientStatusDiscoveryServiceServer
	end func(statuspb.ClientStatusDiscoveryService_StreamClientStatusServer) error
}

func (c csds) StreamClientStatus(s statuspb.ClientStatusDiscoveryService_StreamClientStatusServer) error {
	return c.end(s)
}

func grpcServer(t *testing.T, cert tls.Certificate, end func(statuspb.ClientStatusDiscoveryService_StreamClientStatusServer) error) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(grpc.Creds(credentials.NewServerTLSFromCert(&cert)))
	statuspb.RegisterClientStatusDiscoveryServiceServer(s, csds{end: end})
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(l) // its error is that it was stopped
	}()
	t.Cleanup(func() {
		s.Stop()
		<-done
	})
	return port(t, l.Addr())
}

// rawServer hands every connection to a function.
func rawServer(t *testing.T, handle func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			handle(c)
		}
	}()
	t.Cleanup(func() {
		_ = l.Close() // ends Accept
		<-done
	})
	return port(t, l.Addr())
}

func port(t *testing.T, a net.Addr) string {
	t.Helper()
	_, p, ok := strings.Cut(a.String(), ":")
	if !ok {
		t.Fatalf("no port in %s", a)
	}
	return p
}

// prober probes name at a port, resolved to 127.0.0.1 by a DNS server of its own.
func prober(t *testing.T, port string, roots *x509.CertPool, change func(*Config)) *Prober {
	t.Helper()
	cfg := Config{Endpoint: name + ":" + port, Resolvers: []string{dnsServer(t, addresses("127.0.0.1"))}, RootCAs: roots}
	if change != nil {
		change(&cfg)
	}
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
