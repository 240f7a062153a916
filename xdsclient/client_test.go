package xdsclient_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	statusv3 "github.com/envoyproxy/go-control-plane/envoy/service/status/v3"
	"golang.org/x/oauth2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/meshdiag/meshdiag/xdsclient"
	"github.com/meshdiag/meshdiag/xdsclient/xdsclienttest"
)

const project = "123456789012"

var network = xdsclient.Scope{ProjectNumber: project, Network: "default"}

func nodeID(network string, i int) string {
	return fmt.Sprintf("projects/%s/networks/%s/nodes/%04d", project, network, i)
}

// fleet connects clients to a network, each with one listener that the server says is STALE.
func fleet(s *xdsclienttest.Server, n int) (ids []string) {
	for i := range n {
		c := client(nodeID("default", i))
		s.Connect(xdsclienttest.Client{ProjectNumber: project, Network: "default", Config: c})
		ids = append(ids, c.GetNode().GetId())
	}
	return ids
}

func client(id string) *statusv3.ClientConfig {
	return &statusv3.ClientConfig{Node: &corev3.Node{Id: id},
		GenericXdsConfigs: []*statusv3.ClientConfig_GenericXdsConfig{{
			TypeUrl: "type.googleapis.com/envoy.config.listener.v3.Listener", Name: "l", ConfigStatus: statusv3.ConfigStatus_STALE}}}
}

// discoverer is what both transports offer.
type discoverer interface {
	List(context.Context, xdsclient.Scope) ([]xdsclient.Node, error)
	Status(context.Context, xdsclient.Scope, string) (xdsclient.ClientConfig, error)
	Statuses(context.Context, xdsclient.Scope, []string, func(xdsclient.ClientConfig, error)) error
}

// overBoth runs a test over gRPC and over REST, each against a server of its own.
func overBoth(t *testing.T, c xdsclient.Config, test func(t *testing.T, s *xdsclienttest.Server, d discoverer)) {
	t.Run("grpc", func(t *testing.T) {
		s := xdsclienttest.Start(t, xdsclienttest.Config{})
		c := c
		c.Endpoint, c.Insecure = s.Addr, true
		d, err := xdsclient.New(c)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		test(t, s, d)
	})
	t.Run("rest", func(t *testing.T) {
		s := xdsclienttest.Start(t, xdsclienttest.Config{})
		h := &http.Client{Transport: &http.Transport{}}
		defer h.CloseIdleConnections()
		d, err := xdsclient.NewREST(xdsclient.RESTConfig{BaseURL: s.URL, HTTPClient: h, Streams: c.Streams,
			AskTimeout: c.AskTimeout, MeshSpelling: c.MeshSpelling, QuotaProject: c.QuotaProject, KeepContents: c.KeepContents})
		if err != nil {
			t.Fatal(err)
		}
		test(t, s, d)
	})
}

func TestTwoSteps(t *testing.T) {
	overBoth(t, xdsclient.Config{Streams: 3, QuotaProject: "p"}, func(t *testing.T, s *xdsclienttest.Server, d discoverer) {
		ids := fleet(s, 40)
		nodes, err := d.List(t.Context(), network)
		if err != nil || len(nodes) != len(ids) || nodes[7].ID != ids[7] {
			t.Fatalf("%d nodes, %v", len(nodes), err)
		}
		one, err := d.Status(t.Context(), network, ids[3])
		if err != nil || one.Node.ID != ids[3] || len(one.Resources) != 1 || one.Resources[0].ConfigStatus != xdsclient.ConfigStatusStale {
			t.Fatalf("status: %+v, %v", one, err)
		}
		seen := map[string]bool{}
		if err := d.Statuses(t.Context(), network, ids, func(c xdsclient.ClientConfig, err error) {
			if err != nil || seen[c.Node.ID] || len(c.Resources) != 1 {
				t.Errorf("%+v, %v", c, err)
			}
			seen[c.Node.ID] = true
		}); err != nil || len(seen) != len(ids) {
			t.Fatalf("%d of %d, %v", len(seen), len(ids), err)
		}
		for _, r := range s.Requests() {
			if got := strings.Join(r.Header.Get("x-goog-user-project"), ","); got != "p" {
				t.Fatalf("x-goog-user-project is %q", got)
			}
		}
		if st := s.Stats(); st.MaxOutstanding > 1 || st.Streams > 1+1+3 {
			t.Errorf("stats %+v: want one request outstanding on a stream, and a stream each for the first two calls, 3 for the last", st)
		}
	})
}

func TestNoClients(t *testing.T) {
	overBoth(t, xdsclient.Config{}, func(t *testing.T, _ *xdsclienttest.Server, d discoverer) {
		nodes, err := d.List(t.Context(), network)
		if err != nil || nodes == nil || len(nodes) != 0 {
			t.Errorf("nodes %v, %v: want an empty list", nodes, err)
		}
		_, err = d.Status(t.Context(), network, "gone")
		wantError(t, err, codes.NotFound, xdsclient.ReasonNotConnected, "gone")
	})
}

func insecureClient(t *testing.T, s *xdsclienttest.Server, c xdsclient.Config) *xdsclient.Client {
	t.Helper()
	c.Endpoint, c.Insecure = s.Addr, true
	d, err := xdsclient.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func TestCutStreamsAreReopened(t *testing.T) {
	for name, with := range map[string]error{
		"ended with OK": nil,
		"UNAVAILABLE":   status.Error(codes.Unavailable, "time limit"),
		"policy":        status.Error(codes.PermissionDenied, "RpcSecurityPolicy: stream too old"),
	} {
		t.Run(name, func(t *testing.T) {
			s := xdsclienttest.Start(t, xdsclienttest.Config{})
			ids := fleet(s, 10)
			s.Behave(xdsclienttest.Behaviour{CutAfter: 3, CutWith: with})
			answers := 0
			err := insecureClient(t, s, xdsclient.Config{Streams: 1}).Statuses(t.Context(), network, ids, func(c xdsclient.ClientConfig, err error) {
				if answers++; err != nil {
					t.Errorf("%s: %v", c.Node.ID, err)
				}
			})
			if st := s.Stats(); err != nil || answers != 10 || st.Streams != 4 || st.MaxOutstanding != 1 {
				t.Errorf("%d answers, %+v, %v", answers, st, err)
			}
		})
	}
}

func TestRetriesAreBounded(t *testing.T) {
	s := xdsclienttest.Start(t, xdsclienttest.Config{})
	s.Behave(xdsclienttest.Behaviour{Refuse: func(*statusv3.ClientStatusRequest) error {
		return status.Error(codes.PermissionDenied, "RpcSecurityPolicy")
	}})
	_, err := insecureClient(t, s, xdsclient.Config{}).List(t.Context(), network)
	if wantError(t, err, codes.PermissionDenied, "", "RpcSecurityPolicy"); s.Stats().Requests != 3 {
		t.Errorf("asked %d times", s.Stats().Requests)
	}
}

func TestStatusesGivesUp(t *testing.T) {
	overBoth(t, xdsclient.Config{Streams: 4}, func(t *testing.T, s *xdsclienttest.Server, d discoverer) {
		ids := fleet(s, 1000)
		var allowed atomic.Int64
		allowed.Store(100)
		s.Behave(xdsclienttest.Behaviour{Refuse: func(*statusv3.ClientStatusRequest) error {
			if allowed.Add(-1) >= 0 {
				return nil
			}
			return status.Error(codes.PermissionDenied, "no more")
		}})
		told, good, notAsked := map[string]bool{}, 0, 0
		err := d.Statuses(t.Context(), network, ids, func(c xdsclient.ClientConfig, err error) {
			told[c.Node.ID] = true
			var e *xdsclient.Error
			if err == nil {
				good++
			} else if errors.As(err, &e) && e.Reason == xdsclient.ReasonNotAsked {
				notAsked++
			}
		})
		wantError(t, err, codes.PermissionDenied, "", "no more")
		if len(told) != 1000 || good != 100 || notAsked < 880 {
			t.Errorf("told of %d, %d answered, %d not asked", len(told), good, notAsked)
		}
	})
}

func TestOneBadNodeIsNotTheFleet(t *testing.T) {
	overBoth(t, xdsclient.Config{Streams: 2}, func(t *testing.T, s *xdsclienttest.Server, d discoverer) {
		ids := fleet(s, 20)
		s.Behave(xdsclienttest.Behaviour{Refuse: func(r *statusv3.ClientStatusRequest) error {
			if r.GetNodeMatchers()[0].GetNodeId().GetExact() == ids[5] {
				return status.Error(codes.FailedPrecondition, "bad node")
			}
			return nil
		}})
		bad := 0
		if err := d.Statuses(t.Context(), network, ids, func(c xdsclient.ClientConfig, err error) {
			if err != nil {
				bad++
				if wantError(t, err, codes.FailedPrecondition, "", "bad node"); c.Node.ID != ids[5] {
					t.Errorf("%s failed", c.Node.ID)
				}
			}
		}); err != nil || bad != 1 {
			t.Errorf("%d bad, %v", bad, err)
		}
	})
}

func TestMeshSpelling(t *testing.T) {
	for _, row := range []struct {
		connected, asked string
		spelling         xdsclient.MeshSpelling
		found            bool
		requests         int
	}{
		{"m", "m", xdsclient.MeshAuto, true, 2},
		{"mesh:m", "m", xdsclient.MeshAuto, true, 3},
		{"mesh:m", "m", xdsclient.MeshBare, false, 1},
		{"m", "m", xdsclient.MeshPrefixed, false, 1},
		{"mesh:m", "m", xdsclient.MeshPrefixed, true, 2},
		{"mesh:m", "mesh:m", xdsclient.MeshBare, true, 2},
		{"scope:g", "scope:g", xdsclient.MeshAuto, true, 2},
		{"other", "m", xdsclient.MeshAuto, false, 2},
	} {
		t.Run(fmt.Sprintf("%s asked as %s %d", row.connected, row.asked, row.spelling), func(t *testing.T) {
			overBoth(t, xdsclient.Config{MeshSpelling: row.spelling}, func(t *testing.T, s *xdsclienttest.Server, d discoverer) {
				id := nodeID(row.connected, 1)
				s.Connect(xdsclienttest.Client{ProjectNumber: project, Mesh: row.connected, Config: client(id)})
				scope := xdsclient.Scope{ProjectNumber: project, Mesh: row.asked}
				nodes, err := d.List(t.Context(), scope)
				if err != nil || (len(nodes) == 1) != row.found {
					t.Fatalf("nodes %v, %v", nodes, err)
				}
				if row.found {
					if _, err := d.Status(t.Context(), scope, id); err != nil {
						t.Error(err)
					}
				}
				if n := s.Stats().Requests; n != row.requests {
					t.Errorf("%d requests, want %d", n, row.requests)
				}
			})
		})
	}
	t.Run("denied in one spelling is not empty", func(t *testing.T) {
		overBoth(t, xdsclient.Config{}, func(t *testing.T, s *xdsclienttest.Server, d discoverer) {
			s.Behave(xdsclienttest.Behaviour{Refuse: func(r *statusv3.ClientStatusRequest) error {
				if strings.Contains(r.GetNode().GetId(), "mesh:") {
					return status.Error(codes.PermissionDenied, "no")
				}
				return nil
			}})
			_, err := d.List(t.Context(), xdsclient.Scope{ProjectNumber: project, Mesh: "m"})
			wantError(t, err, codes.PermissionDenied, "", "mesh m")
		})
	})
}

func TestBadScopes(t *testing.T) {
	for want, scope := range map[string]xdsclient.Scope{
		"ProjectNumber is missing":   {Network: "default"},
		"not its id":                 {ProjectNumber: "my-project", Network: "default"},
		"one of the two is required": {ProjectNumber: "1"},
		"only one of the two":        {ProjectNumber: "1", Network: "n", Mesh: "m"},
		"name of a VPC network":      {ProjectNumber: "1", Network: "projects/p/global/networks/default"},
		"name of a Mesh":             {ProjectNumber: "1", Mesh: "mesh:"},
		"scope of a Gateway":         {ProjectNumber: "1", Mesh: "scope:a b"},
	} {
		overBoth(t, xdsclient.Config{}, func(t *testing.T, s *xdsclienttest.Server, d discoverer) {
			_, err := d.List(t.Context(), scope)
			wantError(t, err, codes.InvalidArgument, "", want)
			_, err = d.Status(t.Context(), scope, "n")
			wantError(t, err, codes.InvalidArgument, "", want)
			wantError(t, d.Statuses(t.Context(), scope, []string{"n"}, nil), codes.InvalidArgument, "", want)
			if s.Stats().Requests != 0 {
				t.Error("it was sent")
			}
		})
	}
}

func TestBadConfigs(t *testing.T) {
	token := oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "secret"})
	for want, c := range map[string]xdsclient.Config{
		"HOST:PORT":     {Endpoint: "trafficdirector.googleapis.com"},
		"plain text":    {Endpoint: "localhost:1", Insecure: true, TokenSource: token},
		"TLS and":       {Endpoint: "localhost:1", Insecure: true, TLS: &tls.Config{}},
		"Streams 65":    {Streams: 65},
		"AskTimeout -1": {AskTimeout: -1},
	} {
		_, err := xdsclient.New(c)
		wantError(t, err, codes.InvalidArgument, "", want)
	}
	_, err := xdsclient.NewREST(xdsclient.RESTConfig{BaseURL: "localhost"})
	wantError(t, err, codes.InvalidArgument, "", "BaseURL")
	_, err = xdsclient.NewREST(xdsclient.RESTConfig{BaseURL: "http://localhost", TokenSource: token})
	wantError(t, err, codes.InvalidArgument, "", "plain text")
}

func TestHugeAnswer(t *testing.T) {
	s := xdsclienttest.Start(t, xdsclienttest.Config{})
	c := client("n")
	c.GenericXdsConfigs[0].XdsConfig = &anypb.Any{TypeUrl: "type.googleapis.com/x", Value: bytes.Repeat([]byte{1}, 40<<20)}
	s.Connect(xdsclienttest.Client{ProjectNumber: project, Network: "default", Config: c})
	for _, keep := range []bool{false, true} {
		got, err := insecureClient(t, s, xdsclient.Config{KeepContents: keep}).Status(t.Context(), network, "n")
		if err != nil || len(got.Resources) != 1 || (got.Resources[0].Contents != nil) != keep {
			t.Fatal(err)
		}
		if keep && len(got.Resources[0].Contents.Value) != 40<<20 {
			t.Error("contents are not whole")
		}
	}
}

func TestLocal(t *testing.T) {
	s := xdsclienttest.Start(t, xdsclienttest.Config{Local: true})
	d := insecureClient(t, s, xdsclient.Config{})
	if got, err := d.Local(t.Context()); err != nil || len(got) != 0 {
		t.Errorf("%v, %v", got, err)
	}
	for _, scope := range []string{"xds:///a", "xds:///b"} {
		c := client("n")
		c.ClientScope = scope
		s.Connect(xdsclienttest.Client{Config: c})
	}
	got, err := d.Local(t.Context())
	if err != nil || len(got) != 2 || got[0].ClientScope != "xds:///a" || got[1].ClientScope != "xds:///b" {
		t.Errorf("%v, %v", got, err)
	}
	_, err = d.List(t.Context(), network)
	wantError(t, err, codes.InvalidArgument, "", "node_matchers are not supported")
}

func TestUnreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	var dialled atomic.Value
	d, err := xdsclient.New(xdsclient.Config{Endpoint: "xds.invalid:443", Insecure: true,
		Dial: func(ctx context.Context, address string) (net.Conn, error) {
			dialled.Store(address)
			return (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		}})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	_, err = d.List(t.Context(), network)
	wantError(t, err, codes.Unavailable, "", "refused")
	if dialled.Load() != "xds.invalid:443" {
		t.Errorf("the dialer was given %v", dialled.Load())
	}
	r, err := xdsclient.NewREST(xdsclient.RESTConfig{BaseURL: "http://" + addr})
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.List(t.Context(), network)
	wantError(t, err, codes.Unavailable, "", "refused")
}

func TestRESTErrorsThatAreNotGoogles(t *testing.T) {
	for _, row := range []struct {
		status int
		body   string
		code   codes.Code
		text   string
	}{
		{503, "<html>\n<b>proxy says no</b>", codes.Unavailable, "HTTP 503 Service Unavailable: <html> <b>proxy says no</b>"},
		{302, "", codes.Unknown, "HTTP 302"},
		{403, `[{"error":{"code":403,"message":"in an array","status":"PERMISSION_DENIED"}}]`, codes.PermissionDenied, "in an array"},
		{418, `{"error":{"message":"odd","status":"TEAPOT"}}`, codes.Unknown, "odd"},
		{200, "<html>", codes.Internal, "malformed"},
		{200, " ", codes.Internal, "empty body"},
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(row.status)
			_, _ = w.Write([]byte(row.body))
		})}
		done := make(chan struct{})
		go func() { defer close(done); _ = srv.Serve(l) }()
		h := &http.Client{Transport: &http.Transport{}}
		d, err := xdsclient.NewREST(xdsclient.RESTConfig{BaseURL: "http://" + l.Addr().String() + "/", HTTPClient: h})
		if err != nil {
			t.Fatal(err)
		}
		_, err = d.List(t.Context(), network)
		var e *xdsclient.Error
		if !errors.As(err, &e) || e.Code != row.code || !strings.Contains(err.Error(), row.text) {
			t.Errorf("%d %s: %v", row.status, row.body, err)
		}
		h.CloseIdleConnections()
		srv.Close()
		<-done
	}
}
