package gcp

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/oauth2"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// google is an HTTP server that answers for all of Google's APIs: by path, or path and query.
type google struct {
	t       *testing.T
	url     string
	answers map[string]http.HandlerFunc
	mu      sync.Mutex
	asked   []string
}

func newGoogle(t *testing.T, answers map[string]http.HandlerFunc) *google {
	t.Helper()
	g := &google{t: t, answers: answers}
	s := httptest.NewServer(g)
	t.Cleanup(s.Close)
	g.url = s.URL
	return g
}

func (g *google) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/")
	key := r.Method + " " + path
	if t := r.URL.Query().Get("pageToken"); t != "" {
		key += "?" + t
	}
	g.mu.Lock()
	g.asked = append(g.asked, key)
	g.mu.Unlock()
	if h := g.answers[key]; h != nil {
		h(w, r)
		return
	}
	refuse(404, "NOT_FOUND", "no such thing: "+key, "", nil)(w, r)
}

// questions gives what was asked so far.
func (g *google) questions() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.asked)
}

// say answers with JSON.
func say(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(body)) // what arrives is what is tested
	}
}

// refuse answers with an error as Google's APIs do (https://google.aip.dev/193).
func refuse(code int, status, message, reason string, meta map[string]string) http.HandlerFunc {
	e := map[string]any{"code": code, "status": status, "message": message}
	if reason != "" {
		e["details"] = []any{map[string]any{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": "googleapis.com", "metadata": meta}}
	}
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(map[string]any{"error": e}) // what arrives is what is tested
	}
}

func denied(permission string) http.HandlerFunc {
	return refuse(403, "PERMISSION_DENIED", "Required '"+permission+"' permission for 'projects/mesh-prod'", "", nil)
}

var hang http.HandlerFunc = func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

func (g *google) api(change func(*Config)) *API {
	g.t.Helper()
	cfg := Config{Endpoint: g.url, RetryDelay: time.Millisecond, CallTimeout: 5 * time.Second}
	if change != nil {
		change(&cfg)
	}
	a, err := New(cfg)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(a.Close)
	return a
}

var (
	onNetwork = diagnose.Request{Target: diagnose.Target{Project: "mesh-prod", Network: "mesh-vpc"}}
	onMesh    = diagnose.Request{Target: diagnose.Target{Project: "mesh-prod", Mesh: "sidecars"}}
	onVM      = diagnose.Request{Target: diagnose.Target{Project: "mesh-prod", Network: "mesh-vpc", Zone: "us-central1-a", Instance: "vm-1"}}
)

// run lets the named collectors work one after another, and gives what is known then.
func run(t *testing.T, a *API, req diagnose.Request, names ...string) (*evidence.View, *evidence.Set) {
	t.Helper()
	return runIn(t.Context(), t, a, req, names...)
}

func runIn(ctx context.Context, t *testing.T, a *API, req diagnose.Request, names ...string) (*evidence.View, *evidence.Set) {
	t.Helper()
	set := evidence.NewSet()
	for _, n := range names {
		ran := false
		for _, c := range a.Collectors() {
			if c.Name != "gcp/"+n {
				continue
			}
			if ran = c.Applies(req); !ran {
				t.Fatalf("%s does not apply to %s", n, req.Target)
			}
			if err := c.Collect(ctx, req, evidence.NewView(set), set); err != nil {
				set.Fail(c.Provides[0], evidence.Source{Collector: c.Name}, err)
			}
		}
		if !ran {
			t.Fatalf("no collector %s", n)
		}
	}
	return evidence.NewView(set), set
}

// failure gives why some source didn't tell a fact, nil where none failed.
func failure(set *evidence.Set, n evidence.Name) error {
	for _, o := range set.Observations() {
		if o.Name == n && !o.Known() {
			return o.Err
		}
	}
	return nil
}

const projects = "GET v3/projects/"

func TestProject(t *testing.T) {
	const known = `{"name":"projects/482915067713","projectId":"mesh-prod","state":"ACTIVE"}`
	const service = "GET v1/projects/mesh-prod/services/trafficdirector.googleapis.com"
	no := refuse(403, "PERMISSION_DENIED", "The caller does not have permission", "", nil)
	for _, tt := range []struct {
		name    string
		project string
		answers map[string]http.HandlerFunc
		want    evidence.Project
		fails   string // part of it
	}{
		{"by id", "mesh-prod", map[string]http.HandlerFunc{projects + "mesh-prod": say(known)}, evidence.Project{ID: "mesh-prod", Number: "482915067713"}, ""},
		{"by number", "482915067713", map[string]http.HandlerFunc{projects + "482915067713": say(known)}, evidence.Project{ID: "mesh-prod", Number: "482915067713"}, ""},
		{"number, refused", "482915067713", map[string]http.HandlerFunc{projects + "482915067713": no}, evidence.Project{Number: "482915067713"}, "resourcemanager.projects.get"},
		{"id, refused, number from Service Usage", "mesh-prod", map[string]http.HandlerFunc{
			projects + "mesh-prod": no,
			service:                say(`{"name":"projects/482915067713/services/trafficdirector.googleapis.com","state":"ENABLED"}`),
		}, evidence.Project{ID: "mesh-prod", Number: "482915067713"}, ""},
		{"id, refused twice", "mesh-prod", map[string]http.HandlerFunc{projects + "mesh-prod": no, service: no}, evidence.Project{}, "resourcemanager.projects.get"},
		{"another project", "mesh-prod", map[string]http.HandlerFunc{projects + "mesh-prod": say(`{"name":"projects/1","projectId":"other"}`)}, evidence.Project{}, "names project"},
		{"no project", "mesh-prod", map[string]http.HandlerFunc{projects + "mesh-prod": say(`{}`)}, evidence.Project{}, "names project"},
		{"not JSON", "mesh-prod", map[string]http.HandlerFunc{projects + "mesh-prod": say(`<html>`)}, evidence.Project{}, "invalid character"},
		{"path in the name", "../v1", nil, evidence.Project{}, "target.project"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			req := onNetwork
			req.Target.Project = tt.project
			view, set := run(t, newGoogle(t, tt.answers).api(nil), req, "project")
			got, err := evidence.Get(view, evidence.ProjectFact)
			if got != tt.want || (err == nil) != (tt.want != evidence.Project{}) {
				t.Errorf("got %+v, %v, want %+v", got, err, tt.want)
			}
			ferr := failure(set, evidence.ProjectFact.Name())
			if (ferr == nil) != (tt.fails == "") || (ferr != nil && !strings.Contains(ferr.Error(), tt.fails)) {
				t.Errorf("failure %v, want %q", ferr, tt.fails)
			}
		})
	}
}

func TestServices(t *testing.T) {
	at := func(api string) string { return "GET v1/projects/mesh-prod/services/" + api + ".googleapis.com" }
	state := func(api, s string) http.HandlerFunc {
		return say(`{"name":"projects/482915067713/services/` + api + `.googleapis.com","state":"` + s + `"}`)
	}
	off := refuse(403, "PERMISSION_DENIED", "Service Usage API has not been used in project 482915067713 before or it is disabled.", "SERVICE_DISABLED",
		map[string]string{"service": "serviceusage.googleapis.com", "consumer": "projects/482915067713"})
	view, set := run(t, newGoogle(t, map[string]http.HandlerFunc{
		at("trafficdirector"): state("trafficdirector", "DISABLED"), at("compute"): state("compute", "ENABLED"), at("networkservices"): state("networkservices", "ENABLED"),
	}).api(nil), onMesh, "services")
	got, err := evidence.Get(view, evidence.Services)
	if err != nil || len(got) != 3 || got[2] != (evidence.APIService{Name: "trafficdirector.googleapis.com", State: "DISABLED"}) || failure(set, "services") != nil {
		t.Errorf("got %+v, %v", got, err)
	}
	view, set = run(t, newGoogle(t, map[string]http.HandlerFunc{at("trafficdirector"): state("trafficdirector", "ENABLED"), at("compute"): off}).api(nil), onNetwork, "services")
	got, err = evidence.Get(view, evidence.Services)
	if err != nil || len(got) != 1 {
		t.Errorf("got %+v, %v", got, err)
	}
	var d *evidence.Denied
	if !errors.As(failure(set, "services"), &d) || d.Command != "gcloud services enable serviceusage.googleapis.com --project=482915067713" {
		t.Errorf("got %+v", d)
	}
	view, _ = run(t, newGoogle(t, map[string]http.HandlerFunc{at("trafficdirector"): say(`{}`), at("compute"): state("networkservices", "ENABLED")}).api(nil), onNetwork, "services")
	if got, err := evidence.Get(view, evidence.Services); err == nil {
		t.Errorf("empty answers gave %+v", got)
	}
}

func TestDeniedSaysHowToGrant(t *testing.T) {
	const list = "GET compute/v1/projects/mesh-prod/global/urlMaps"
	const bind = "gcloud projects add-iam-policy-binding mesh-prod --member="
	for _, tt := range []struct {
		name       string
		principal  string
		answer     http.HandlerFunc
		permission string
		role       string
		command    string
		says       string
	}{
		{"plain, nobody known", "", denied("compute.urlMaps.list"), "compute.urlMaps.list", networkViewer, bind + "user:YOU --role=roles/compute.networkViewer --condition=None", "the URL maps of project mesh-prod"},
		{"service account", "diag@p.iam.gserviceaccount.com", denied("compute.urlMaps.list"), "compute.urlMaps.list", networkViewer, bind + "serviceAccount:diag@p.iam.gserviceaccount.com --role=roles/compute.networkViewer --condition=None", ""},
		{"user, to be quoted", "o'neil@example.com", denied("compute.urlMaps.list"), "compute.urlMaps.list", networkViewer, bind + `'user:o'\''neil@example.com' --role=roles/compute.networkViewer --condition=None`, ""},
		{"another permission is named", "", denied("resourcemanager.projects.get"), "resourcemanager.projects.get", "", "", ""},
		{"API disabled", "", refuse(403, "PERMISSION_DENIED", "off", "SERVICE_DISABLED", map[string]string{"service": "compute.googleapis.com", "consumer": "projects/77"}), "", "", "gcloud services enable compute.googleapis.com --project=77", "compute.googleapis.com is not enabled in project 77"},
		{"API disabled in gcloud's own project", "", refuse(403, "PERMISSION_DENIED", "off", "SERVICE_DISABLED", map[string]string{"service": "compute.googleapis.com", "consumer": "projects/764086051850"}), "", "", "gcloud auth application-default set-quota-project mesh-prod", ""},
		{"API disabled, the older way", "", say403(`{"error":{"code":403,"message":"off","errors":[{"reason":"accessNotConfigured"}]}}`), "", "", "gcloud services enable compute.googleapis.com --project=mesh-prod", ""},
		{"scope", "", refuse(403, "PERMISSION_DENIED", "scopes", "ACCESS_TOKEN_SCOPE_INSUFFICIENT", nil), "", "", "gcloud auth application-default login --scopes=https://www.googleapis.com/auth/cloud-platform", "lack the OAuth scope"},
		{"quota project", "a@example.com", refuse(403, "PERMISSION_DENIED", "no", "USER_PROJECT_DENIED", map[string]string{"consumer": "projects/q"}), "serviceusage.services.use", "roles/serviceusage.serviceUsageConsumer", "gcloud projects add-iam-policy-binding q --member=user:a@example.com --role=roles/serviceusage.serviceUsageConsumer --condition=None", ""},
		{"perimeter", "", refuse(403, "PERMISSION_DENIED", "no", "SECURITY_POLICY_VIOLATED", nil), "", "", "", "perimeter"},
		{"not authenticated", "", refuse(401, "UNAUTHENTICATED", "who?", "", nil), "", "", "gcloud auth application-default login", "not accepted"},
		{"service account not authenticated", "x@p.iam.gserviceaccount.com", refuse(401, "UNAUTHENTICATED", "who?", "", nil), "", "", "", "not accepted"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := newGoogle(t, map[string]http.HandlerFunc{list: tt.answer}).api(func(c *Config) { c.Principal = tt.principal })
			view, set := run(t, a, onNetwork, "url-maps")
			if got, err := evidence.Get(view, evidence.URLMaps); err == nil {
				t.Fatalf("a refusal gave %+v", got)
			}
			var d *evidence.Denied
			if !errors.As(failure(set, "url-maps"), &d) {
				t.Fatalf("got %v", failure(set, "url-maps"))
			}
			if d.Permission != tt.permission || d.Role != tt.role || d.Command != tt.command || !strings.Contains(d.Error(), tt.says) || d.Err == nil {
				t.Errorf("got %+v", d)
			}
		})
	}
}

func say403(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write([]byte(body)) // what arrives is what is tested
	}
}

func TestRetries(t *testing.T) {
	const list = "GET compute/v1/projects/mesh-prod/global/urlMaps"
	for _, tt := range []struct {
		name   string
		first  http.HandlerFunc
		asked  int
		known  bool
		denied bool
	}{
		{"429", refuse(429, "RESOURCE_EXHAUSTED", "slow down", "", nil), 2, true, false},
		{"503", refuse(503, "UNAVAILABLE", "later", "", nil), 2, true, false},
		{"403 for the rate", say403(`{"error":{"code":403,"message":"rate","errors":[{"reason":"rateLimitExceeded"}]}}`), 2, true, false},
		{"connection cut", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, 2, true, false},
		{"403", denied("compute.urlMaps.list"), 1, false, true},
		{"400", refuse(400, "INVALID_ARGUMENT", "no", "", nil), 1, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var g *google
			g = newGoogle(t, map[string]http.HandlerFunc{list: func(w http.ResponseWriter, r *http.Request) {
				if len(g.questions()) == 1 {
					tt.first(w, r)
					return
				}
				say(`{"items":[]}`)(w, r)
			}})
			view, set := run(t, g.api(nil), onNetwork, "url-maps")
			_, err := evidence.Get(view, evidence.URLMaps)
			var d *evidence.Denied
			if (err == nil) != tt.known || len(g.questions()) != tt.asked || errors.As(failure(set, "url-maps"), &d) != tt.denied {
				t.Errorf("got %v after %v", err, g.questions())
			}
		})
	}
	g := newGoogle(t, map[string]http.HandlerFunc{list: refuse(503, "UNAVAILABLE", "later", "", nil)})
	_, set := run(t, g.api(nil), onNetwork, "url-maps")
	if err := failure(set, "url-maps"); err == nil || len(g.questions()) != maxAttempts || !strings.Contains(err.Error(), "HTTP 503: later") {
		t.Errorf("got %v after %v", err, g.questions())
	}
}

func TestHangs(t *testing.T) {
	g := newGoogle(t, map[string]http.HandlerFunc{"GET compute/v1/projects/mesh-prod/global/urlMaps": hang})
	tries := 0
	_, set := run(t, g.api(func(c *Config) {
		c.CallTimeout = 20 * time.Millisecond
		c.Observe = func(string, string) { tries++ }
	}), onNetwork, "url-maps")
	if err := failure(set, "url-maps"); err == nil || !strings.Contains(err.Error(), "no answer within 20ms") || tries != maxAttempts {
		t.Errorf("got %v after %d tries", err, tries)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	view, _ := runIn(ctx, t, g.api(nil), onNetwork, "url-maps")
	_, err := evidence.Get(view, evidence.URLMaps)
	var m *evidence.Missing
	if !errors.As(err, &m) || m.Why != evidence.Late {
		t.Errorf("got %v", err)
	}
}

type tokenFunc func() (*oauth2.Token, error)

func (f tokenFunc) Token() (*oauth2.Token, error) { return f() }

func TestRequestsCarryTokenAndProject(t *testing.T) {
	const list = "GET compute/v1/projects/mesh-prod/global/urlMaps"
	var got http.Header
	var codes []string
	g := newGoogle(t, map[string]http.HandlerFunc{list: func(w http.ResponseWriter, r *http.Request) {
		got = r.Header
		say(`{}`)(w, r)
	}})
	_, set := run(t, g.api(func(c *Config) {
		c.TokenSource = oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "t0"})
		c.QuotaProject = "q"
		c.Observe = func(api, code string) { codes = append(codes, api+" "+code) }
	}), onNetwork, "url-maps")
	if got.Get("Authorization") != "Bearer t0" || got.Get("X-Goog-User-Project") != "q" || failure(set, "url-maps") != nil || len(codes) != 1 || codes[0] != "compute 200" {
		t.Errorf("got %v, %v, %v", got, codes, failure(set, "url-maps"))
	}
}

func TestTokenStaysAtHome(t *testing.T) {
	elsewhere := newGoogle(t, nil)
	g := newGoogle(t, map[string]http.HandlerFunc{"GET compute/v1/projects/mesh-prod/global/urlMaps": http.RedirectHandler(elsewhere.url, http.StatusFound).ServeHTTP})
	_, set := run(t, g.api(func(c *Config) { c.TokenSource = oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "t0"}) }), onNetwork, "url-maps")
	if failure(set, "url-maps") == nil || len(elsewhere.questions()) != 0 {
		t.Errorf("followed to %v", elsewhere.questions())
	}
}

func TestNoToken(t *testing.T) {
	g := newGoogle(t, nil)
	_, set := run(t, g.api(func(c *Config) {
		c.TokenSource = tokenFunc(func() (*oauth2.Token, error) { return nil, errors.New("no metadata server") })
	}), onNetwork, "url-maps")
	if err := failure(set, "url-maps"); err == nil || !strings.Contains(err.Error(), "no access token: no metadata server") || len(g.questions()) != 0 {
		t.Errorf("got %v", err)
	}
	release, ended := make(chan struct{}), make(chan struct{})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, set = runIn(ctx, t, g.api(func(c *Config) {
		c.TokenSource = tokenFunc(func() (*oauth2.Token, error) {
			defer close(ended)
			<-release
			return nil, errors.New("late")
		})
	}), onNetwork, "url-maps")
	if err := failure(set, "url-maps"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	close(release)
	<-ended
}

func TestNewWantsABaseURL(t *testing.T) {
	for _, e := range []string{"localhost:8080", "ftp://h", "https://", "https://h?x=1", "://"} {
		if _, err := New(Config{Endpoint: e}); err == nil {
			t.Errorf("%q is taken", e)
		}
	}
	if _, err := New(Config{Endpoint: "https://127.0.0.1:1/"}); err != nil {
		t.Error(err)
	}
}

func TestNamesThatChangeThePath(t *testing.T) {
	for _, tt := range []diagnose.Target{
		{Project: "a/b"}, {Project: ".."}, {Project: "p", Mesh: "m?x"}, {Project: "p", Mesh: "scope:a b"}, {Project: "p", Zone: "z%2f"}, {Project: "p", Instance: "i/../j"},
	} {
		if err := checkNames(tt); err == nil {
			t.Errorf("%+v is taken", tt)
		}
	}
	if err := checkNames(diagnose.Target{Project: "example.com:mesh-prod", Mesh: "mesh:side_cars", Zone: "us-central1-a", Instance: "vm-1"}); err != nil {
		t.Error(err)
	}
}
