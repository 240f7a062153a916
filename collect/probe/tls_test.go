package probe

import (
	"crypto/tls"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/meshdiag/meshdiag/evidence"
)

func TestTLS(t *testing.T) {
	ours, theirs := newAuthority(t, "Test Root"), newAuthority(t, "Inspection Box CA")
	now := time.Now()
	ok := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	for _, tt := range []struct {
		name     string
		port     string
		fault    evidence.TLSFault
		protocol string
		issuer   string
	}{
		{"good", httpServer(t, ours.good(t), true, ok), evidence.TLSOk, "h2", "CN=Test Root"},
		{"unknown authority", httpServer(t, theirs.good(t), true, ok), evidence.TLSUnknownAuthority, "h2", "CN=Inspection Box CA"},
		{"wrong host", httpServer(t, ours.issue(t, "other.test", now.Add(-time.Hour), now.Add(time.Hour)), true, ok), evidence.TLSWrongHost, "h2", "CN=Test Root"},
		{"expired", httpServer(t, ours.issue(t, name, now.Add(-time.Hour), now.Add(-time.Minute)), true, ok), evidence.TLSExpired, "h2", "CN=Test Root"},
		{"not yet valid", httpServer(t, ours.issue(t, name, now.Add(time.Minute), now.Add(time.Hour)), true, ok), evidence.TLSNotYetValid, "h2", "CN=Test Root"},
		{"no h2", httpServer(t, ours.good(t), false, ok), evidence.TLSNoHTTP2, "http/1.1", "CN=Test Root"},
		{"not TLS", rawServer(t, func(c net.Conn) {
			_, _ = c.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")) // what is seen of it is what is tested
			_ = c.Close()
		}), evidence.TLSNotTLS, "", ""},
		{"closed", rawServer(t, func(c net.Conn) { _ = c.Close() }), evidence.TLSBroken, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := evidence.Get(run(t, prober(t, tt.port, ours.pool, nil), "probe/dns", "probe/tcp", "probe/tls"), evidence.TLSProbe)
			if err != nil || len(got) != 1 {
				t.Fatalf("got %v, %v", got, err)
			}
			r := got[0]
			if r.Fault != tt.fault || r.Protocol != tt.protocol || (r.Err == "") != (tt.fault == evidence.TLSOk) {
				t.Errorf("got %+v, want fault %q, protocol %q", r, tt.fault, tt.protocol)
			}
			issuer := ""
			if len(r.Chain) > 0 {
				issuer = r.Chain[0].Issuer
			}
			if issuer != tt.issuer {
				t.Errorf("issuer %q, want %q", issuer, tt.issuer)
			}
		})
	}
}

func TestTLSProtocolRefused(t *testing.T) {
	ca := newAuthority(t, "Test Root")
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{ca.good(t)}, NextProtos: []string{"imap"}, MinVersion: tls.VersionTLS12})
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
			_ = c.(*tls.Conn).HandshakeContext(t.Context()) // it fails: that is the point
			_ = c.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close() // ends Accept
		<-done
	})
	got, err := evidence.Get(run(t, prober(t, port(t, l.Addr()), ca.pool, nil), "probe/dns", "probe/tcp", "probe/tls"), evidence.TLSProbe)
	if err != nil || len(got) != 1 || got[0].Fault != evidence.TLSNoHTTP2 {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestTLSSilence(t *testing.T) {
	release := make(chan struct{})
	p := rawServer(t, func(c net.Conn) {
		go func() {
			<-release
			_ = c.Close() // the test is over
		}()
	})
	t.Cleanup(func() { close(release) })
	got, err := evidence.Get(run(t, prober(t, p, nil, func(c *Config) { c.TLSTimeout = 100 * time.Millisecond }), "probe/dns", "probe/tcp", "probe/tls"), evidence.TLSProbe)
	if err != nil || len(got) != 1 || got[0].Fault != evidence.TLSBroken {
		t.Errorf("got %+v, %v", got, err)
	}
}
