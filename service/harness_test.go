package service_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/service"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// gate is a collector that a test holds back: it says when it was entered, and waits.
type gate struct {
	entered chan struct{} // one value a Collect
	release chan struct{} // closed by the test
}

// world is what the test's engine sees; the collector's behaviour is chosen by the project that a request names.
type world struct {
	gate gate
}

// The projects that choose a behaviour.
const (
	plainProject  = "plain-project"
	panicProject  = "panic-project"
	denyProject   = "deny-project"
	gateProject   = "gate-project"
	brokenProject = "broken-project"
)

func newWorld() *world {
	return &world{gate: gate{entered: make(chan struct{}, 100), release: make(chan struct{})}}
}

// engine has two collectors and two checks of its own: a rule on another network, and a text that says so.
func (w *world) engine(t testing.TB) *diagnose.Engine {
	t.Helper()
	rules := diagnose.Collector{
		Name: "rules", Provides: []evidence.Name{evidence.ForwardingRules.Name()},
		Applies: func(r diagnose.Request) bool { return r.Target.Live() },
		Collect: func(ctx context.Context, r diagnose.Request, _ *evidence.View, out *evidence.Set) error {
			src := evidence.Source{Collector: "rules", Detail: "list", Vantage: evidence.FromAPI}
			switch r.Target.Project {
			case denyProject:
				return &evidence.Denied{What: "the forwarding rules", Permission: "compute.forwardingRules.list"}
			case brokenProject:
				return errors.New("bad bytes \xff\xfe from upstream")
			case gateProject:
				w.gate.entered <- struct{}{}
				select {
				case <-w.gate.release:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			evidence.Put(out, evidence.ForwardingRules, []evidence.ForwardingRule{{Name: "rule-1", Network: "other"}}, src)
			return nil
		},
	}
	files := diagnose.Collector{
		Name: "files", Provides: []evidence.Name{evidence.Artifacts.Name(), evidence.LogMessages.Name()},
		Applies: func(r diagnose.Request) bool { return len(r.Artifacts) > 0 },
		Collect: func(_ context.Context, r diagnose.Request, _ *evidence.View, out *evidence.Set) error {
			for _, a := range r.Artifacts {
				src := evidence.Source{Collector: "files", Detail: a.Name, Pasted: true}
				f := evidence.ArtifactFile{Name: a.Name, Kind: "log", Used: true}
				if bytes.Contains(a.Data, []byte("nonsense")) {
					f = evidence.ArtifactFile{Name: a.Name, Note: "matches no kind that is known"}
				}
				evidence.Put(out, evidence.Artifacts, []evidence.ArtifactFile{f}, src)
				if bytes.Contains(a.Data, []byte("wrong network")) {
					evidence.Put(out, evidence.LogMessages, []evidence.LogMessage{{Signature: "wrong-network", File: a.Name, Text: string(a.Data)}}, src)
				}
			}
			return nil
		},
	}
	checks := []diagnose.Check{{
		ID: "config/network-mismatch", Severity: diagnose.Blocking, Layer: diagnose.LayerConfig, Needs: []evidence.Name{evidence.ForwardingRules.Name()},
		Doc: diagnose.Doc{
			Title: "The forwarding rules are on another network", Explanation: "A proxy gets only the rules of its own network.",
			Remedy: []diagnose.Step{{Text: "Move the rule.", Command: "gcloud compute forwarding-rules list --project={{project}}"}, {If: "mesh", Text: "Or use the Mesh {{mesh}}."}},
		},
		Symptoms: []diagnose.Symptom{diagnose.SymptomNoConfig},
		// Whether a check applies is asked outside the engine's own recovery.
		Applies: func(r diagnose.Request) bool {
			if r.Target.Project == panicProject {
				panic("a secret of this program")
			}
			return true
		},
		Evaluate: func(r diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
			got, err := evidence.Whole(v, evidence.ForwardingRules)
			if err != nil {
				return nil, err
			}
			var out []diagnose.Cause
			for _, f := range got {
				if f.Network != r.Target.Network {
					out = append(out, diagnose.Cause{
						Subject: f.Name, Summary: "rule " + f.Name + " is on network " + f.Network + ", the proxies on " + r.Target.Network,
						Confidence: diagnose.Confirmed, Evidence: []diagnose.Exhibit{{Fact: evidence.ForwardingRules.Name(), Excerpt: "network: " + f.Network}},
					})
				}
			}
			return out, nil
		},
	}, {
		ID: "xds/logged-network", Severity: diagnose.Degrading, Layer: diagnose.LayerVM, Needs: []evidence.Name{evidence.LogMessages.Name()},
		Doc:        diagnose.Doc{Title: "A log tells of a wrong network"},
		Signatures: []diagnose.Signature{{ID: "wrong-network", Anchors: []string{"wrong network"}, Pattern: "wrong network", Meaning: "the network is wrong", Examples: []string{"wrong network"}}},
		Evaluate: func(_ diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
			got, err := evidence.Get(v, evidence.LogMessages)
			if err != nil {
				return nil, err
			}
			var out []diagnose.Cause
			for _, m := range got {
				out = append(out, diagnose.Cause{Subject: m.File, Summary: "the log says so", Confidence: diagnose.Likely, Evidence: []diagnose.Exhibit{{Fact: evidence.LogMessages.Name(), Excerpt: m.Text}}})
			}
			return out, nil
		},
	}}
	e, err := diagnose.New(diagnose.Config{Collectors: []diagnose.Collector{rules, files}, Checks: checks, Timeout: service.MaxTimeout})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// logBuffer takes logs from several goroutines.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// running is a server under test.
type running struct {
	*service.Server
	world *world
	logs  *logBuffer
	conn  *grpc.ClientConn
	http  *http.Client
	base  string
	stop  func() error // drains, and gives what Run returned
}

type option func(*service.Config, *service.ServerConfig)

// start runs a server on loopback, in plaintext where no option says otherwise.
func start(t testing.TB, opts ...option) *running {
	t.Helper()
	r := &running{world: newWorld(), logs: &logBuffer{}}
	var logTo io.Writer = r.logs
	if os.Getenv("MESHDIAG_TEST_LOG") != "" {
		logTo = io.MultiWriter(r.logs, os.Stderr)
	}
	cfg := service.Config{Engine: r.world.engine(t), Logger: slog.New(slog.NewJSONHandler(logTo, nil))}
	scfg := service.ServerConfig{Listen: "127.0.0.1:0", AdminListen: "127.0.0.1:0", Version: "test"}
	for _, o := range opts {
		o(&cfg, &scfg)
	}
	svc, err := service.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	scfg.Service = svc
	if r.Server, err = service.NewServer(scfg); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	var once sync.Once
	var runErr error
	r.stop = func() error {
		once.Do(func() { cancel(); runErr = <-done })
		return runErr
	}
	transport := &http.Transport{}
	r.http, r.base = &http.Client{Transport: transport}, "http://"+r.Addr().String()
	if r.conn, err = grpc.NewClient(r.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = r.conn.Close()
		transport.CloseIdleConnections()
		if err := r.stop(); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return r
}

// answer is an HTTP answer read to its end.
type answer struct {
	code   int
	header http.Header
	body   string
}

// do sends a request; headers are pairs, and Content-Type is application/json for a POST that doesn't say otherwise. "-"
// sends no such header.
func (r *running) do(t testing.TB, method, path, body string, headers ...string) answer {
	t.Helper()
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, r.base+path, reader)
	if err != nil {
		t.Fatal(err)
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		if headers[i+1] == "-" {
			req.Header.Del(headers[i])
			continue
		}
		req.Header.Set(headers[i], headers[i+1])
		if headers[i] == "Host" {
			req.Host = headers[i+1] // where net/http takes it from
		}
	}
	resp, err := r.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(raw)}
}

// restError is the one shape of REST errors.
type restError struct {
	Error struct {
		Code    int              `json:"code"`
		Status  string           `json:"status"`
		Message string           `json:"message"`
		Details []map[string]any `json:"details"`
	} `json:"error"`
}

// parseError holds a body against the shape, and gives it with its one ErrorInfo's reason.
func parseError(t testing.TB, a answer) (e restError, reason string) {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(a.body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&e); err != nil {
		t.Fatalf("not an error's shape: %v\n%d %s", err, a.code, a.body)
	}
	if got := a.header.Get("Content-Type"); got != "application/json" {
		t.Errorf("the error's Content-Type is %q", got)
	}
	if e.Error.Code != a.code {
		t.Errorf("the body says %d, the answer %d", e.Error.Code, a.code)
	}
	n := 0
	for _, d := range e.Error.Details {
		if d["@type"] == "type.googleapis.com/google.rpc.ErrorInfo" {
			n++
			reason, _ = d["reason"].(string)
			if d["domain"] != service.Domain {
				t.Errorf("domain is %v", d["domain"])
			}
		}
	}
	if n != 1 {
		t.Errorf("%d ErrorInfos, want one: %s", n, a.body)
	}
	return e, reason
}

// reasonOf gives the reason of a gRPC error's one ErrorInfo, and its field violations.
func reasonOf(t testing.TB, err error) (reason string, fields []string) {
	t.Helper()
	n := 0
	for _, d := range status.Convert(err).Details() {
		switch d := d.(type) {
		case *errdetails.ErrorInfo:
			n++
			reason = d.GetReason()
		case *errdetails.BadRequest:
			for _, v := range d.GetFieldViolations() {
				fields = append(fields, v.GetField())
			}
		}
	}
	if n != 1 {
		t.Errorf("%d ErrorInfos in %v, want one", n, err)
	}
	return reason, fields
}
