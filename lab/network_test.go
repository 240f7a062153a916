package lab

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"testing"
	"time"

	statusv3 "github.com/envoyproxy/go-control-plane/envoy/service/status/v3"
	"github.com/miekg/dns"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"io"
	"strings"
)

// checkBlackhole tries to connect for long enough that a live port would have answered.
func checkBlackhole(t *testing.T, v *visitor) {
	t.Helper()
	_, port, err := net.SplitHostPort(v.Connection().TrafficDirectorEndpoint)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", "127.0.0.1:"+port)
	if err == nil {
		c.Close()
		t.Fatal("the port answers")
	}
	var nerr net.Error
	if !errors.As(err, &nerr) || !nerr.Timeout() {
		t.Errorf("connecting gives %v, expected a timeout", err)
	}
}

func TestNameServer(t *testing.T) {
	for _, tc := range []struct {
		fault, name string
		qtype       uint16
		rcode       int
		address     string
	}{
		{name: trafficDirectorHost, qtype: dns.TypeA, address: "127.0.0.1"},
		{name: trafficDirectorHost, qtype: dns.TypeAAAA},
		{name: "TrafficDirector.GoogleAPIs.com", qtype: dns.TypeA, address: "127.0.0.1"},
		{name: "nobody.example.com", qtype: dns.TypeA, rcode: dns.RcodeNameError},
		{fault: "nxdomain", name: trafficDirectorHost, qtype: dns.TypeA, rcode: dns.RcodeNameError},
		{fault: "servfail", name: trafficDirectorHost, qtype: dns.TypeA, rcode: dns.RcodeServerFailure},
	} {
		t.Run(tc.fault+" "+tc.name+" "+dns.TypeToString[tc.qtype], func(t *testing.T) {
			n, err := startNameServer(tc.fault)
			if err != nil {
				t.Fatal(err)
			}
			defer n.close()
			for _, network := range []string{"udp", "tcp"} {
				q := new(dns.Msg).SetQuestion(tc.name+".", tc.qtype)
				m, _, err := (&dns.Client{Net: network}).ExchangeContext(t.Context(), q, n.addr)
				if err != nil {
					t.Fatal(err)
				}
				if m.Rcode != tc.rcode {
					t.Errorf("%s: %s, expected %s", network, dns.RcodeToString[m.Rcode], dns.RcodeToString[tc.rcode])
				}
				var got string
				for _, rr := range m.Answer {
					got += rr.(*dns.A).A.String()
				}
				if got != tc.address {
					t.Errorf("%s: answer %q, expected %q", network, got, tc.address)
				}
			}
		})
	}
}

func TestNameServerTimeout(t *testing.T) {
	n, err := startNameServer("timeout")
	if err != nil {
		t.Fatal(err)
	}
	defer n.close()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if m, _, err := new(dns.Client).ExchangeContext(ctx, new(dns.Msg).SetQuestion(trafficDirectorHost+".", dns.TypeA), n.addr); err == nil {
		t.Errorf("answered: %v", m)
	}
}

func (v *visitor) handshake(t *testing.T) *tls.ConnectionState {
	t.Helper()
	_, port, err := net.SplitHostPort(v.Connection().TrafficDirectorEndpoint)
	if err != nil {
		t.Fatal(err)
	}
	//nolint:gosec // the test looks at whatever chain is presented
	c, err := (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, ServerName: trafficDirectorHost, NextProtos: []string{"h2"}}}).
		DialContext(t.Context(), "tcp", "127.0.0.1:"+port)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	state := c.(*tls.Conn).ConnectionState()
	return &state
}

func TestCertificates(t *testing.T) {
	for scenario, issuer := range map[string]string{"healthy": "Lab Root CA", "grpc-blocked": "Lab Root CA", "tls-intercepted": "Corp Inspection CA"} {
		t.Run(scenario, func(t *testing.T) {
			state := startWorld(t, scenario, Options{}).handshake(t)
			leaf := state.PeerCertificates[0]
			if leaf.Issuer.CommonName != issuer {
				t.Errorf("issuer %q, expected %q", leaf.Issuer.CommonName, issuer)
			}
			if err := leaf.VerifyHostname(trafficDirectorHost); err != nil {
				t.Error(err)
			}
			if state.NegotiatedProtocol != "h2" {
				t.Errorf("ALPN %q", state.NegotiatedProtocol)
			}
		})
	}
}

// postStatus asks CSDS the REST way, at the control plane's own address.
func (v *visitor) postStatus(t *testing.T, base string, r *statusv3.ClientStatusRequest) (int, string) {
	t.Helper()
	b, err := protojson.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := v.http.Post(base+clientStatusPath, "application/json", strings.NewReader(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	out, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(out)
}

func (v *visitor) controlPlaneURL(t *testing.T) string {
	t.Helper()
	_, port, err := net.SplitHostPort(v.Connection().TrafficDirectorEndpoint)
	if err != nil {
		t.Fatal(err)
	}
	return "https://127.0.0.1:" + port
}

// grpc-blocked is what its name says only while the REST form of CSDS gets through.
func TestMiddleboxBreaksGRPCAlone(t *testing.T) {
	v := startWorld(t, "grpc-blocked", Options{})
	if code, body := v.postStatus(t, v.controlPlaneURL(t), v.request("")); code != http.StatusOK || body != "{}" {
		t.Errorf("REST: %d %s", code, body)
	}
	st, err := statusv3.NewClientStatusDiscoveryServiceClient(v.dial(t)).StreamClientStatus(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err = st.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("gRPC: %v", err)
	}
}
