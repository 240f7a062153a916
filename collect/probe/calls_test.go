package probe

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	statuspb "github.com/envoyproxy/go-control-plane/envoy/service/status/v3"
	"golang.org/x/oauth2"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/meshdiag/meshdiag/evidence"
)

func reply(code int, kind, body string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind)
		w.WriteHeader(code)
		_, _ = w.Write([]byte(body)) // what arrives is what is tested
	})
}

func TestREST(t *testing.T) {
	ca, other := newAuthority(t, "Test Root"), newAuthority(t, "Other Root")
	disabled := `{"error":{"code":403,"status":"PERMISSION_DENIED","message":"Traffic Director API has not been used",` +
		`"details":[{"@type":"type.googleapis.com/google.rpc.Help"},{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"SERVICE_DISABLED"}]}}`
	for _, tt := range []struct {
		name     string
		handler  http.Handler
		cert     tls.Certificate
		h2       bool
		answered bool
		code     string
		reason   string
		message  string // part of it
	}{
		{name: "answer", handler: reply(200, "application/json; charset=UTF-8", `{}`), answered: true, code: "OK"},
		{name: "answer by h2", h2: true, handler: reply(200, "application/json", `{"config":[{}]}`), answered: true, code: "OK"},
		{name: "refusal", handler: reply(403, "application/json", disabled), answered: true, code: "PERMISSION_DENIED", reason: "SERVICE_DISABLED", message: "has not been used"},
		{name: "unavailable, its own word", handler: reply(503, "application/json", `{"error":{"code":503,"status":"UNAVAILABLE","message":"later"}}`), answered: true, code: "UNAVAILABLE"},
		{name: "a box's page", handler: reply(502, "text/html", "<html>Bad\nGateway"), code: "502", message: "<html>Bad Gateway"},
		{name: "a captive portal", handler: reply(200, "text/html", "<html>Log in"), code: "200", message: "Log in"},
		{name: "JSON of another shape", handler: reply(403, "application/json", `{"error":"blocked by policy"}`), code: "403", message: "blocked"},
		{name: "cut-off JSON", handler: reply(200, "application/json", `{"config":[`), code: "200"},
		{name: "JSON that is no object", handler: reply(200, "application/json", `null`), code: "200"},
		{name: "a redirection", handler: http.RedirectHandler("https://login.test/", http.StatusFound), code: "302"},
		{name: "wrong authority", handler: reply(200, "application/json", `{}`), cert: other.good(t), message: "unknown authority"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.cert.Certificate == nil {
				tt.cert = ca.good(t)
			}
			view := run(t, prober(t, httpServer(t, tt.cert, tt.h2, tt.handler), ca.pool, nil), "probe/dns", "probe/tcp", "probe/rest")
			got, err := evidence.Get(view, evidence.RESTProbe)
			if err != nil || len(got) != 1 {
				t.Fatalf("got %v, %v", got, err)
			}
			r := got[0]
			if r.Answered != tt.answered || r.Code != tt.code || r.Reason != tt.reason || !strings.Contains(r.Message, tt.message) || strings.Contains(r.Message, "\n") {
				t.Errorf("got %+v", r)
			}
			clock, err := evidence.Get(view, evidence.ClockFact)
			if (err == nil) != tt.answered {
				t.Errorf("clock %v, %v", clock, err)
			}
		})
	}
}

func TestClock(t *testing.T) {
	ca := newAuthority(t, "Test Root")
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", time.Now().Add(10*time.Minute).UTC().Format(http.TimeFormat))
		reply(200, "application/json", `{}`).ServeHTTP(w, r)
	})
	got, err := evidence.Get(run(t, prober(t, httpServer(t, ca.good(t), false, h), ca.pool, nil), "probe/dns", "probe/tcp", "probe/rest"), evidence.ClockFact)
	if err != nil || len(got) != 1 {
		t.Fatalf("got %v, %v", got, err)
	}
	if off := got[0].Offset + 10*time.Minute; off < -got[0].Within || off > got[0].Within {
		t.Errorf("got %+v, want 10 minutes behind", got[0])
	}
}

func TestClockOffset(t *testing.T) {
	date := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	sent := date.Add(time.Minute)
	got := clockOffset(date.Format(http.TimeFormat), sent, sent.Add(time.Second))
	if got == nil || got.Offset != time.Minute || got.Within != time.Second {
		t.Errorf("got %+v", got)
	}
	for _, bad := range []string{"", "yesterday"} {
		if got := clockOffset(bad, sent, sent); got != nil {
			t.Errorf("%q gave %+v", bad, got)
		}
	}
}

func TestGRPC(t *testing.T) {
	ca, other := newAuthority(t, "Test Root"), newAuthority(t, "Other Root")
	type stream = statuspb.ClientStatusDiscoveryService_StreamClientStatusServer
	fail := func(c codes.Code, msg string) func(stream) error {
		return func(stream) error { return status.Error(c, msg) }
	}
	withInfo, err := status.New(codes.PermissionDenied, "off").WithDetails(&errdetails.ErrorInfo{Reason: "SERVICE_DISABLED"})
	if err != nil {
		t.Fatal(err)
	}
	h2 := func(h http.HandlerFunc) string { return httpServer(t, ca.good(t), true, h) }
	for _, tt := range []struct {
		name     string
		port     string
		answered bool
		code     string
		reason   string
		message  string // part of it
	}{
		{name: "answer", port: grpcServer(t, ca.good(t), func(s stream) error { return s.Send(&statuspb.ClientStatusResponse{}) }), answered: true, code: "OK"},
		{name: "end without an answer", port: grpcServer(t, ca.good(t), func(stream) error { return nil }), answered: true, code: "OK"},
		{name: "invalid argument", port: grpcServer(t, ca.good(t), fail(codes.InvalidArgument, "no node id")), answered: true, code: "INVALID_ARGUMENT", message: "no node id"},
		{name: "refusal with reason", port: grpcServer(t, ca.good(t), func(stream) error { return withInfo.Err() }), answered: true, code: "PERMISSION_DENIED", reason: "SERVICE_DISABLED"},
		{name: "its own unavailable", port: grpcServer(t, ca.good(t), fail(codes.Unavailable, "later")), answered: true, code: "UNAVAILABLE", message: "later"},
		{name: "its own unavailable, after headers", port: grpcServer(t, ca.good(t), func(s stream) error {
			if err := s.SendHeader(metadata.Pairs("a", "b")); err != nil {
				return err
			}
			return status.Error(codes.Unavailable, "later")
		}), answered: true, code: "UNAVAILABLE", message: "later"},
		{name: "a box's page", port: h2(reply(502, "text/html", "<html>").ServeHTTP), code: "502", message: "502"},
		{name: "a box's JSON", port: h2(reply(200, "application/json", "{}").ServeHTTP), code: "200", message: "content-type"},
		{name: "trailers lost", port: h2(reply(200, "application/grpc", "\x00\x00\x00\x00\x00").ServeHTTP), answered: true, code: "OK"},
		{name: "trailers and message lost", port: h2(reply(200, "application/grpc", "").ServeHTTP), code: "UNKNOWN"},
		{name: "stream reset", port: h2(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }), code: "INTERNAL"},
		{name: "HTTP/1.1 alone", port: httpServer(t, ca.good(t), false, reply(200, "application/json", "{}")), code: "UNAVAILABLE"},
		{name: "wrong authority", port: grpcServer(t, other.good(t), fail(codes.NotFound, "")), code: "UNAVAILABLE", message: "unknown authority"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := evidence.Get(run(t, prober(t, tt.port, ca.pool, nil), "probe/dns", "probe/tcp", "probe/grpc"), evidence.GRPCProbe)
			if err != nil || len(got) != 1 {
				t.Fatalf("got %v, %v", got, err)
			}
			r := got[0]
			if r.Answered != tt.answered || r.Code != tt.code || r.Reason != tt.reason || !strings.Contains(r.Message, tt.message) {
				t.Errorf("got %+v", r)
			}
		})
	}
}

func TestCallsHang(t *testing.T) {
	ca := newAuthority(t, "Test Root")
	p := httpServer(t, ca.good(t), true, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	view := run(t, prober(t, p, ca.pool, func(c *Config) { c.CallTimeout = 300 * time.Millisecond }))
	for _, k := range []evidence.Key[[]evidence.CallResult]{evidence.RESTProbe, evidence.GRPCProbe} {
		got, err := evidence.Get(view, k)
		if err != nil || len(got) != 1 || got[0].Answered {
			t.Errorf("%s: got %+v, %v", k.Name(), got, err)
		}
	}
}

type tokenFunc func() (*oauth2.Token, error)

func (f tokenFunc) Token() (*oauth2.Token, error) { return f() }

func TestToken(t *testing.T) {
	ca := newAuthority(t, "Test Root")
	echo := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		msg := r.Header.Get("Authorization") + "/" + r.Header.Get("X-Goog-User-Project")
		reply(401, "application/json", fmt.Sprintf(`{"error":{"code":401,"status":"UNAUTHENTICATED","message":%q}}`, msg)).ServeHTTP(w, r)
	})
	type stream = statuspb.ClientStatusDiscoveryService_StreamClientStatusServer
	echoGRPC := func(s stream) error {
		md, _ := metadata.FromIncomingContext(s.Context())
		return status.Error(codes.Unauthenticated, strings.Join(md.Get("authorization"), "")+"/"+strings.Join(md.Get("x-goog-user-project"), ""))
	}
	release := make(chan struct{})
	var hung sync.WaitGroup
	t.Cleanup(func() {
		close(release)
		hung.Wait()
	})
	for _, tt := range []struct {
		name   string
		tokens oauth2.TokenSource
		want   string
	}{
		{"hangs", tokenFunc(func() (*oauth2.Token, error) {
			hung.Add(1)
			defer hung.Done()
			<-release
			return nil, errors.New("late")
		}), "/"},
		{"none", nil, "/"},
		{"good", oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "t0"}), "Bearer t0/q"},
		{"fails", tokenFunc(func() (*oauth2.Token, error) { return nil, errors.New("no metadata server") }), "/"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			change := func(c *Config) { c.TokenSource, c.QuotaProject, c.CallTimeout = tt.tokens, "q", 3*time.Second }
			rest, err := evidence.Get(run(t, prober(t, httpServer(t, ca.good(t), true, echo), ca.pool, change), "probe/dns", "probe/tcp", "probe/rest"), evidence.RESTProbe)
			if err != nil || rest[0].Message != tt.want || !rest[0].Answered {
				t.Errorf("REST: got %+v, %v", rest, err)
			}
			grpc, err := evidence.Get(run(t, prober(t, grpcServer(t, ca.good(t), echoGRPC), ca.pool, change), "probe/dns", "probe/tcp", "probe/grpc"), evidence.GRPCProbe)
			if err != nil || grpc[0].Message != tt.want || !grpc[0].Answered {
				t.Errorf("gRPC: got %+v, %v", grpc, err)
			}
		})
	}
}
