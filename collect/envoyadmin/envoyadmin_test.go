package envoyadmin

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// admin answers as Envoy does, with what a test changes.
func admin(t *testing.T, change map[string]http.HandlerFunc) *httptest.Server {
	t.Helper()
	answers := map[string]string{
		"/server_info": `{"version":"abc/1.30.1/Clean/RELEASE/BoringSSL","state":"LIVE","hot_restart_version":"disabled","node":{"id":"n1"}}`,
		"/config_dump": `{"configs":[{"@type":"type.googleapis.com/envoy.admin.v3.ClustersConfigDump","dynamic_active_clusters":[{"version_info":"1","cluster":{"name":"c","type":"STATIC"}}]}]}`,
		"/clusters":    `{"cluster_statuses":[{"name":"c","host_statuses":[]}]}`,
		"/listeners":   `{"listener_statuses":[{"name":"l","local_address":{"socket_address":{"address":"0.0.0.0","port_value":15001}}}]}`,
		"/stats":       "control_plane.connected_state: 1\nserver.live: 1\n",
		"/init_dump":   `{}`,
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			t.Errorf("%s %s: only GET changes nothing", r.Method, r.URL)
		}
		if h := change[r.URL.Path]; h != nil {
			h(w, r)
			return
		}
		_, _ = io.WriteString(w, answers[r.URL.Path])
	}))
	t.Cleanup(s.Close)
	return s
}

func ask(t *testing.T, s *httptest.Server) *evidence.View {
	t.Helper()
	src, err := New(Config{Address: strings.TrimPrefix(s.URL, "http://")})
	if err != nil {
		t.Fatal(err)
	}
	set := evidence.NewSet()
	if err := src.Collector().Collect(t.Context(), diagnose.Request{}, evidence.NewView(set), set); err != nil {
		t.Fatal(err)
	}
	return evidence.NewView(set)
}

func TestEverythingIsRead(t *testing.T) {
	v := ask(t, admin(t, nil))
	dumps, err := evidence.Whole(v, evidence.EnvoyDumps)
	if err != nil || len(dumps) != 1 || dumps[0].Source.Pasted || len(dumps[0].Dump.Clusters) != 1 {
		t.Errorf("dumps %+v, %v", dumps, err)
	}
	if info, err := evidence.Whole(v, evidence.EnvoyInfos); err != nil || info[0].Info.State != "LIVE" {
		t.Errorf("server info %+v, %v", info, err)
	}
	if l, err := evidence.Whole(v, evidence.EnvoyListeners); err != nil || len(l[0].List) != 1 {
		t.Errorf("listeners %+v, %v", l, err)
	}
	for _, missing := range []error{second(evidence.Whole(v, evidence.EnvoyHosts)), second(evidence.Whole(v, evidence.EnvoyStats)), second(evidence.Whole(v, evidence.EnvoyPending))} {
		if missing != nil {
			t.Error(missing)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// One answer that fails hides no other, and is unknown, not empty.
func TestOneFails(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"denied":    func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) },
		"malformed": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"configs": 5`) },
		"redirect":  func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/server_info", http.StatusFound) },
		"cut": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, `{"configs":[`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			v := ask(t, admin(t, map[string]http.HandlerFunc{"/config_dump": h}))
			if _, err := evidence.Get(v, evidence.EnvoyDumps); err == nil {
				t.Error("a dump is known")
			}
			if _, err := evidence.Get(v, evidence.EnvoyInfos); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAddress(t *testing.T) {
	for _, bad := range []string{"", "localhost", "10.0.0.1:15000", "envoy.example.com:15000", "169.254.169.254:80"} {
		if _, err := New(Config{Address: bad}); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
	for _, good := range []Config{{Address: "localhost:15000"}, {Address: "[::1]:15000"}, {Address: "10.0.0.1:15000", Allowed: []string{"10.0.0.1"}}} {
		if _, err := New(good); err != nil {
			t.Error(err)
		}
	}
}
