package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestMain(m *testing.M) {
	code := realKube.Main(m)
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// asked is one request, as RBAC sees it.
type asked struct {
	verb, group, resource, namespace, name string
	path                                   string // of what is no resource: "/apis"
	query                                  url.Values
}

func (a asked) String() string {
	if a.path != "" {
		return a.verb + " " + a.path
	}
	s := a.verb + " " + a.resource
	if a.group != "" {
		s += "." + a.group
	}
	if a.namespace != "" {
		s += " in " + a.namespace
	}
	if a.name != "" {
		s += " " + a.name
	}
	return s
}

// apiServer is an HTTPS server that speaks as much of the Kubernetes API as the collector asks for.
type apiServer struct {
	*httptest.Server
	// answer, if not nil, may answer a request itself: then it returns true.
	answer func(http.ResponseWriter, *http.Request, asked) bool

	mu      sync.Mutex
	reviews bool                        // what it answers to a SelfSubjectAccessReview
	objects map[string][]map[string]any // by "group/version/resource"
	logs    map[string]string           // by "namespace/pod/container"
	pageOf  int                         // objects a page; 0 for as many as are asked for
	asks    []asked
}

func newServer(t *testing.T) *apiServer {
	t.Helper()
	s := &apiServer{objects: map[string][]map[string]any{}, logs: map[string]string{}}
	s.serve("/v1/namespaces", "/v1/pods", "/v1/events", "/v1/services", "/v1/configmaps", "/v1/secrets",
		"apps/v1/deployments", "apps/v1/replicasets", "apps/v1/statefulsets", "apps/v1/daemonsets", "batch/v1/jobs", "batch/v1/cronjobs",
		"authorization.k8s.io/v1/selfsubjectaccessreviews", "discovery.k8s.io/v1/endpointslices", "rbac.authorization.k8s.io/v1/clusterroles",
		"admissionregistration.k8s.io/v1/mutatingwebhookconfigurations", "admissionregistration.k8s.io/v1/validatingwebhookconfigurations")
	s.Server = httptest.NewUnstartedServer(s)
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // connections that are cut are the point
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	return s
}

// serve makes kinds known.
func (s *apiServer) serve(kinds ...string) {
	for _, k := range kinds {
		if s.objects[k] == nil {
			s.objects[k] = []map[string]any{}
		}
	}
}

// add puts objects in, as JSON.
func (s *apiServer) add(t *testing.T, kind string, objects ...string) {
	t.Helper()
	for _, o := range objects {
		var m map[string]any
		if err := json.Unmarshal([]byte(o), &m); err != nil {
			t.Fatalf("%s: %v in %s", kind, err, o)
		}
		s.objects[kind] = append(s.objects[kind], m)
	}
}

// requests gives what was asked, and forgets it.
func (s *apiServer) requests() []asked {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.asks
	s.asks = nil
	return out
}

func parseAsked(r *http.Request) (asked, string) {
	a := asked{verb: "get", query: r.URL.Query()}
	if r.Method == http.MethodPost {
		a.verb = "create"
	}
	p := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	var version string
	switch {
	case p[0] == "api" && len(p) > 2:
		version, p = p[1], p[2:]
	case p[0] == "apis" && len(p) > 3:
		a.group, version, p = p[1], p[2], p[3:]
	default:
		a.path = r.URL.Path
		return a, ""
	}
	if p[0] == "namespaces" && len(p) > 2 {
		a.namespace, p = p[1], p[2:]
	}
	a.resource = p[0]
	if len(p) > 1 {
		a.name = p[1]
	} else if a.verb == "get" {
		a.verb = "list"
	}
	if len(p) > 2 {
		a.resource += "/" + p[2]
	}
	return a, a.group + "/" + version + "/" + p[0]
}

func (s *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a, kind := parseAsked(r)
	s.mu.Lock()
	s.asks = append(s.asks, a)
	answer := s.answer
	s.mu.Unlock()
	if answer != nil && answer(w, r, a) {
		return
	}
	objects, known := s.objects[kind]
	switch {
	case a.path != "":
		s.discover(w, a.path)
	case !known:
		http.Error(w, "404 page not found", http.StatusNotFound)
	case a.resource == "selfsubjectaccessreviews":
		writeJSON(w, http.StatusCreated, map[string]any{"kind": "SelfSubjectAccessReview", "status": map[string]any{"allowed": s.reviews}})
	case a.resource == "pods/exec":
		status(w, http.StatusForbidden, "Forbidden", `pods "checkout" is forbidden: User "eve" cannot `+a.verb+` resource "pods/exec"`)
	case a.resource == "pods/log":
		text, ok := s.logs[a.namespace+"/"+a.name+"/"+a.query.Get("container")]
		if !ok {
			status(w, http.StatusBadRequest, "BadRequest", "container is waiting to start: PodInitializing")
			return
		}
		fmt.Fprint(w, text)
	case a.verb == "list":
		s.list(w, a, objects)
	default:
		for _, o := range objects {
			if text(o, "metadata", "name") == a.name && text(o, "metadata", "namespace") == a.namespace {
				writeJSON(w, http.StatusOK, o)
				return
			}
		}
		status(w, http.StatusNotFound, "NotFound", fmt.Sprintf("%s %q not found", a.resource, a.name))
	}
}

func (s *apiServer) list(w http.ResponseWriter, a asked, objects []map[string]any) {
	var match []map[string]any
	for _, o := range objects {
		if a.namespace != "" && text(o, "metadata", "namespace") != a.namespace {
			continue
		}
		if k, v, ok := strings.Cut(a.query.Get("labelSelector"), "="); ok && text(o, "metadata", "labels", k) != v {
			continue
		}
		if k, v, ok := strings.Cut(a.query.Get("fieldSelector"), "="); ok && text(o, strings.Split(k, ".")...) != v {
			continue
		}
		match = append(match, o)
	}
	limit, _ := strconv.Atoi(a.query.Get("limit"))
	if s.pageOf > 0 {
		limit = s.pageOf
	}
	from, _ := strconv.Atoi(a.query.Get("continue"))
	to := min(len(match), from+limit)
	meta := map[string]any{"resourceVersion": "7"}
	if to < len(match) {
		meta["continue"], meta["remainingItemCount"] = strconv.Itoa(to), len(match)-to
	}
	items := match[from:to]
	if items == nil {
		items = []map[string]any{}
	}
	writeJSON(w, http.StatusOK, map[string]any{"kind": "ThingList", "apiVersion": "v1", "metadata": meta, "items": items})
}

// discover answers /apis and /apis/GROUP/VERSION.
func (s *apiServer) discover(w http.ResponseWriter, path string) {
	groups := map[string][]string{}
	var resources []any
	for k := range s.objects {
		p := strings.Split(k, "/")
		if p[0] != "" && !slices.Contains(groups[p[0]], p[1]) {
			groups[p[0]] = append(groups[p[0]], p[1])
		}
		if path == "/apis/"+p[0]+"/"+p[1] {
			resources = append(resources, map[string]any{"name": p[2]})
		}
	}
	switch {
	case path == "/apis":
		var list []any
		for g, versions := range groups {
			slices.Sort(versions)
			var vs []any
			for _, v := range versions {
				vs = append(vs, map[string]any{"groupVersion": g + "/" + v, "version": v})
			}
			list = append(list, map[string]any{"name": g, "versions": vs, "preferredVersion": vs[0]})
		}
		writeJSON(w, http.StatusOK, map[string]any{"kind": "APIGroupList", "apiVersion": "v1", "groups": list})
	case resources != nil:
		writeJSON(w, http.StatusOK, map[string]any{"kind": "APIResourceList", "apiVersion": "v1", "resources": resources})
	default:
		http.Error(w, "404 page not found", http.StatusNotFound)
	}
}

func text(o map[string]any, path ...string) string {
	var v any = o
	for _, p := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return ""
		}
		v = m[p]
	}
	s, _ := v.(string)
	return s
}

func writeJSON(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v) // a client that is gone needs no answer
}

// status answers as an API server does.
func status(w http.ResponseWriter, code int, reason, message string) {
	writeJSON(w, code, map[string]any{
		"kind": "Status", "apiVersion": "v1", "metadata": map[string]any{}, "status": "Failure", "message": message, "reason": reason, "code": code,
	})
}

// kubeconfig writes a kubeconfig with the server as context "test", and more contexts by name.
func (s *apiServer) kubeconfig(t *testing.T, more ...string) string {
	t.Helper()
	cfg := clientcmdapi.NewConfig()
	for _, name := range append(more, "test") {
		cfg.Clusters[name] = &clientcmdapi.Cluster{Server: s.URL, CertificateAuthorityData: pemOf(s.Certificate().Raw)}
		cfg.AuthInfos[name] = &clientcmdapi.AuthInfo{Token: "secret-token"}
		cfg.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name}
		cfg.CurrentContext = name
	}
	file := filepath.Join(t.TempDir(), "config")
	if err := clientcmd.WriteToFile(*cfg, file); err != nil {
		t.Fatal(err)
	}
	return file
}

// api makes the collectors of the server.
func (s *apiServer) api(t *testing.T, change func(*Config)) *API {
	t.Helper()
	cfg := Config{Kubeconfig: s.kubeconfig(t), RetryDelay: time.Millisecond, Now: func() time.Time { return noon }}
	if change != nil {
		change(&cfg)
	}
	a, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a
}

var noon = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

// run collects facts as a diagnosis does that needs them.
func run(t *testing.T, a *API, target diagnose.Target, needs ...evidence.Name) (*evidence.View, *diagnose.Report) {
	t.Helper()
	var view *evidence.View
	e, err := diagnose.New(diagnose.Config{Collectors: a.Collectors(), Validate: a.Validate, Checks: []diagnose.Check{{
		ID: "test/all", Doc: diagnose.Doc{Title: "all"}, Severity: diagnose.Advice, Layer: diagnose.LayerCluster, Needs: needs,
		Evaluate: func(_ diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
			view = v
			return nil, nil
		},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	rep, err := e.Diagnose(ctx, diagnose.Request{Target: target}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return view, rep
}

// get reads a fact that has to be known.
func get[T any](t *testing.T, v *evidence.View, k evidence.Key[T]) T {
	t.Helper()
	x, err := evidence.Whole(v, k)
	if err != nil {
		t.Fatal(err)
	}
	return x
}
