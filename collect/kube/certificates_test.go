package kube

import (
	"crypto/tls"
	"encoding/json"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/meshdiag/meshdiag/evidence/kube"
)

func parse[T any](t *testing.T, texts ...string) []T {
	t.Helper()
	out := make([]T, len(texts))
	for i, text := range texts {
		if err := json.Unmarshal([]byte(text), &out[i]); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func TestServersOfWebhooks(t *testing.T) {
	hooks := parse[kube.WebhookConfiguration](t,
		`{"webhooks":[{"clientConfig":{"service":{"namespace":"a","name":"policy","port":8443}}},{"clientConfig":{"url":"https://x"}},{"clientConfig":{"service":{"namespace":"istio-system","name":"istiod-asm-1"}}}]}`,
		`{"webhooks":[{"clientConfig":{"service":{"namespace":"istio-system","name":"istiod-asm-1","port":443}}}]}`)
	services := parse[kube.Service](t,
		`{"metadata":{"namespace":"istio-system","name":"istiod-asm-1"},"spec":{"ports":[{"name":"grpc","port":15010},{"name":"https-webhook","port":443,"targetPort":15017}]}}`,
		`{"metadata":{"namespace":"a","name":"policy"},"spec":{"ports":[{"port":443}]}}`)
	slices := parse[kube.EndpointSlice](t,
		`{"metadata":{"namespace":"istio-system","labels":{"kubernetes.io/service-name":"istiod-asm-1"}},"ports":[{"name":"grpc","port":15010},{"name":"https-webhook","port":15017}],
		  "endpoints":[{"addresses":["10.0.0.7"]},{"addresses":["10.0.0.8"],"conditions":{"ready":false}},{"addresses":["127.0.0.1"]},{"addresses":["169.254.169.254"]},{"addresses":["name"]},{"addresses":["fd00::1"]}]}`,
		`{"metadata":{"namespace":"other","labels":{"kubernetes.io/service-name":"istiod-asm-1"}},"ports":[{"name":"https-webhook","port":1}],"endpoints":[{"addresses":["10.9.9.9"]}]}`)
	got := serversOf(hooks, services, slices)
	if len(got) != 2 || got[0].ref.Name != "istiod-asm-1" || got[1].ref.Name != "policy" {
		t.Fatalf("got %+v", got)
	}
	var list []string
	for _, a := range got[0].addresses {
		list = append(list, a.String())
	}
	same(t, "addresses", list, "10.0.0.7:15017", "[fd00::1]:15017")
	if len(got[1].addresses) != 0 {
		t.Errorf("the Service has no port 8443: %v", got[1].addresses)
	}
}

// The server's certificate is seen though the server then wants one of the client's.
func TestHandshakeWithServerThatWantsCertificates(t *testing.T) {
	s := newServer(t)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: s.TLS.Certificates, ClientAuth: tls.RequireAnyClientCert, MaxVersion: version, MinVersion: tls.VersionTLS12})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			conn, err := l.Accept()
			if err == nil {
				_ = conn.(*tls.Conn).HandshakeContext(t.Context()) // it fails, which is the point
				_ = conn.Close()
			}
		}()
		chain, err := handshake(t.Context(), netip.MustParseAddrPort(l.Addr().String()), "istiod.istio-system.svc")
		if err != nil || len(chain) == 0 || !chain[0].Equal(s.Certificate()) {
			t.Errorf("%s: %v, %v", tls.VersionName(version), chain, err)
		}
		<-done
		_ = l.Close()
	}
}

func TestHandshakeFails(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if conn, err := l.Accept(); err == nil {
			_, _ = conn.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")) // no TLS
			_ = conn.Close()
		}
	}()
	if _, err := handshake(t.Context(), netip.MustParseAddrPort(l.Addr().String()), "x"); err == nil || !strings.Contains(err.Error(), "TLS") {
		t.Errorf("got %v", err)
	}
	<-done
	_ = l.Close()
}
