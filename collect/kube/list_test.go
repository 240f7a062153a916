package kube

import (
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/internal/kubetest"
)

var realKube kubetest.Shared

func pemOf(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

var shop = diagnose.Target{Namespace: "shop"}

func pod(namespace, name, more string) string {
	return fmt.Sprintf(`{"metadata":{"name":%q,"namespace":%q,"labels":{"app":"x"}},"spec":{"containers":[{"name":"app"}]}%s}`, name, namespace, more)
}

func TestListsAreReadPageByPage(t *testing.T) {
	s := newServer(t)
	for i := range 7 {
		s.add(t, "/v1/pods", pod("shop", fmt.Sprintf("p%d", i), ""), pod("other", fmt.Sprintf("q%d", i), ""))
	}
	s.pageOf = 3
	v, _ := run(t, s.api(t, nil), shop, evidence.Pods.Name())
	batches := get(t, v, evidence.Pods)
	if len(batches) != 1 || len(batches[0].Items) != 7 || !batches[0].Whole || batches[0].Namespace != "shop" {
		t.Fatalf("got %+v", batches)
	}
	for i, p := range batches[0].Items {
		if p.Name != fmt.Sprintf("p%d", i) {
			t.Errorf("pod %d is %s", i, p.Name)
		}
	}
	if src := batches[0].Source; src.String() != "kube list pods in namespace shop" || src.Vantage != evidence.FromAPI || !src.Time.Equal(noon) {
		t.Errorf("the source is %+v", src)
	}
}

// An empty list is knowledge: there are no pods.
func TestEmptyListIsKnown(t *testing.T) {
	s := newServer(t)
	v, _ := run(t, s.api(t, nil), shop, evidence.Pods.Name())
	if b := get(t, v, evidence.Pods); len(b) != 1 || !evidence.Covers(b, "shop") {
		t.Errorf("got %+v", b)
	}
}

func TestTokenTooOld(t *testing.T) {
	for _, times := range []int32{1, 2} {
		s := newServer(t)
		for i := range 5 {
			s.add(t, "/v1/pods", pod("shop", fmt.Sprintf("p%d", i), ""))
		}
		s.pageOf = 2
		var gone atomic.Int32
		s.answer = func(w http.ResponseWriter, _ *http.Request, a asked) bool {
			if a.resource != "pods" || a.query.Get("continue") != "4" || gone.Load() >= times {
				return false
			}
			gone.Add(1)
			status(w, http.StatusGone, "Expired", "The provided continue parameter is too old")
			return true
		}
		v, _ := run(t, s.api(t, nil), shop, evidence.Pods.Name())
		b, err := evidence.Get(v, evidence.Pods)
		switch times {
		case 1:
			if err != nil || len(evidence.All(b)) != 5 {
				t.Errorf("one 410: %d pods, %v", len(evidence.All(b)), err)
			}
		default:
			if err == nil || !strings.Contains(err.Error(), "410") {
				t.Errorf("two 410s: %v", err)
			}
		}
	}
}

// Beyond the bound, what was read is known, and so is that there is more.
func TestTooManyObjects(t *testing.T) {
	s := newServer(t)
	one := pod("shop", "p", "")
	s.answer = func(w http.ResponseWriter, _ *http.Request, a asked) bool {
		if a.resource != "pods" {
			return false
		}
		var next int
		_, _ = fmt.Sscan(a.query.Get("continue"), &next)
		fmt.Fprintf(w, `{"kind":"PodList","metadata":{"continue":"%d","remainingItemCount":12345},"items":[%s]}`, next+1, strings.Repeat(one+",", pageSize-1)+one)
		return true
	}
	v, _ := run(t, s.api(t, nil), shop, evidence.Pods.Name())
	b, err := evidence.Get(v, evidence.Pods)
	if err != nil || len(evidence.All(b)) != maxObjects || evidence.Covers(b, "shop") {
		t.Fatalf("%d pods, %v", len(evidence.All(b)), err)
	}
	if _, err := evidence.Whole(v, evidence.Pods); err == nil || !strings.Contains(err.Error(), "the first 20000 were looked at, and there are 12345 more") {
		t.Errorf("got %v", err)
	}
}

// An object that isn't as expected is left out, and said so: the others are known.
func TestOddObject(t *testing.T) {
	s := newServer(t)
	s.add(t, "/v1/pods", pod("shop", "a", ""), `{"metadata":{"name":"b","namespace":"shop"},"spec":{"containers":7}}`,
		`{"metadata":{"name":"c","namespace":"shop","creationTimestamp":"yesterday"},"spec":{}}`, pod("shop", "d", ""))
	v, _ := run(t, s.api(t, nil), shop, evidence.Pods.Name())
	b, err := evidence.Get(v, evidence.Pods)
	if all := evidence.All(b); err != nil || len(all) != 2 || all[1].Name != "d" || evidence.Covers(b, "shop") {
		t.Fatalf("got %+v, %v", b, err)
	}
	if _, err := evidence.Whole(v, evidence.Pods); err == nil || !strings.Contains(err.Error(), "2 of 4 can't be understood") {
		t.Errorf("got %v", err)
	}
}

// Whatever goes wrong is said, and never an empty list.
func TestWhatGoesWrong(t *testing.T) {
	type answer func(http.ResponseWriter, *http.Request)
	fails := func(code int, reason, message string) answer {
		return func(w http.ResponseWriter, _ *http.Request) { status(w, code, reason, message) }
	}
	cut := func(text string) answer {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, text)
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}
	}
	says := func(text string) answer {
		return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, text) }
	}
	for _, test := range []struct {
		name   string
		answer answer
		times  int32 // how often it answers so; 0 for always
		want   string
		denied *evidence.Denied
		known  bool
		asks   int
	}{
		{name: "401", answer: fails(401, "Unauthorized", "Unauthorized"), want: "the API server did not accept the credentials", asks: 1,
			denied: &evidence.Denied{}},
		{name: "403 of RBAC", answer: fails(403, "Forbidden", `pods is forbidden: User "eve" cannot list resource "pods" in API group "" in the namespace "shop"`),
			want: "not allowed to read the pods of namespace shop (needs list pods in namespace shop)", asks: 1,
			denied: &evidence.Denied{
				Permission: "list pods in namespace shop",
				Role:       `ClusterRole meshdiag-reader of deploy/rbac.yaml`,
				Command:    "kubectl --context test apply -f deploy/rbac.yaml && kubectl --context test create clusterrolebinding meshdiag-reader --clusterrole=meshdiag-reader --user=eve",
			}},
		{name: "403 of a service account", answer: fails(403, "Forbidden", `pods is forbidden: User "system:serviceaccount:ops:meshdiag" cannot list resource "pods"`),
			want: "needs list pods", asks: 1, denied: &evidence.Denied{
				Permission: "list pods in namespace shop",
				Role:       `ClusterRole meshdiag-reader of deploy/rbac.yaml`,
				Command:    "kubectl --context test apply -f deploy/rbac.yaml && kubectl --context test create clusterrolebinding meshdiag-reader --clusterrole=meshdiag-reader --serviceaccount=ops:meshdiag",
			}},
		{name: "403 of a proxy", answer: func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "<html>no</html>", http.StatusForbidden) },
			want: "refused by what is before the API server", asks: 1, denied: &evidence.Denied{}},
		{name: "404", answer: func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no such page", http.StatusNotFound) }, want: "HTTP 404 Not Found", asks: 1},
		{name: "429 once", answer: fails(429, "TooManyRequests", "too many"), times: 1, known: true, asks: 2},
		{name: "429 for ever", answer: fails(429, "TooManyRequests", "too many requests, please try again later"), want: "HTTP 429 Too Many Requests: too many requests", asks: 3},
		{name: "429 for longer than there is", answer: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "3600")
			status(w, 429, "TooManyRequests", "come back tomorrow")
		}, want: "come back tomorrow", asks: 1},
		{name: "500", answer: fails(500, "InternalError", "etcdserver: leader changed"), want: "HTTP 500 Internal Server Error: etcdserver: leader changed", asks: 3},
		{name: "503 twice", answer: fails(503, "ServiceUnavailable", "apiserver is shutting down"), times: 2, known: true, asks: 3},
		{name: "redirection", answer: func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://example.com/login", http.StatusFound)
		}, want: "HTTP 302", asks: 1},
		{name: "cut in an object", answer: cut(`{"kind":"PodList","apiVersion":"v1","metadata":{},"items":[` + pod("shop", "a", "") + `,{"meta`), want: "reading the pods of namespace shop", asks: 3},
		{name: "cut once", answer: cut(`{"kind":"PodList","items":[{`), times: 1, known: true, asks: 2},
		{name: "ends between objects", answer: says(`{"kind":"PodList","items":[` + pod("shop", "a", "")), want: "unexpected EOF", asks: 3},
		{name: "ends after the objects", answer: says(`{"kind":"PodList","items":[]`), want: "unexpected EOF", asks: 3},
		{name: "empty", answer: says(""), want: "unexpected EOF", asks: 3},
		{name: "a page for people", answer: says("<html><body>Sign in</body></html>"), want: "no list of the Kubernetes API", asks: 1},
		{name: "no items", answer: says(`{"kind":"PodList","metadata":{}}`), want: "no list of the Kubernetes API", asks: 1},
		{name: "another's JSON", answer: says(`{"items":[],"total":0}`), want: "no list of the Kubernetes API", asks: 1},
		{name: "an array", answer: says(`[]`), want: "no list of the Kubernetes API", asks: 1},
		{name: "the same page for ever", answer: says(`{"kind":"PodList","metadata":{"continue":"x"},"items":[]}`), want: "the same page twice", asks: 2},
		{name: "an endless object", answer: func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, `{"kind":"PodList","items":[{"metadata":{"name":"`)
			block := []byte(strings.Repeat("x", 1<<20))
			for r.Context().Err() == nil {
				if _, err := w.Write(block); err != nil {
					return
				}
			}
		}, want: "an object of it is larger than 4 MiB", asks: 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newServer(t)
			var n atomic.Int32
			s.answer = func(w http.ResponseWriter, r *http.Request, a asked) bool {
				if a.resource != "pods" || a.namespace != "shop" || (test.times > 0 && n.Add(1) > test.times) {
					return false
				}
				test.answer(w, r)
				return true
			}
			a := s.api(t, nil)
			v, rep := run(t, a, shop, evidence.Pods.Name())
			asks := 0
			for _, r := range s.requests() {
				if r.resource == "pods" && r.namespace == "shop" {
					asks++
				}
			}
			if asks != test.asks {
				t.Errorf("asked %d times, want %d", asks, test.asks)
			}
			b, err := evidence.Get(v, evidence.Pods)
			if test.known {
				if err != nil || !evidence.Covers(b, "shop") {
					t.Errorf("got %v", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got %v, want %q", err, test.want)
			}
			if strings.Contains(err.Error(), "secret-token") {
				t.Errorf("the token is in %v", err)
			}
			if rep.Verdict != diagnose.Inconclusive {
				t.Errorf("the verdict is %s", rep.Verdict)
			}
			var d *evidence.Denied
			if errors.As(err, &d) != (test.denied != nil) {
				t.Fatalf("denied: %+v", d)
			}
			if d != nil && (d.Permission != test.denied.Permission || d.Role != test.denied.Role || d.Command != test.denied.Command) {
				t.Errorf("got %+v, want %+v", d, test.denied)
			}
			if _, err := evidence.Get(v, evidence.MutatingWebhooks); err != nil {
				t.Errorf("one fact's failure hides another: %v", err)
			}
		})
	}
}

// A server that doesn't answer is left at the call's end.
func TestHang(t *testing.T) {
	for _, name := range []string{"before the answer", "in the answer"} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			s.answer = func(w http.ResponseWriter, r *http.Request, a asked) bool {
				if a.resource != "pods" {
					return false
				}
				if name == "in the answer" {
					fmt.Fprint(w, `{"kind":"PodList","items":[`)
					_ = http.NewResponseController(w).Flush()
				}
				<-r.Context().Done()
				return true
			}
			v, _ := run(t, s.api(t, func(c *Config) { c.CallTimeout = 50 * time.Millisecond }), shop, evidence.Pods.Name())
			_, err := evidence.Get(v, evidence.Pods)
			if err == nil || !strings.Contains(err.Error(), "no whole answer within 50ms") {
				t.Errorf("got %v", err)
			}
		})
	}
}

// The API server goes away between two pages.
func TestGoesAway(t *testing.T) {
	s := newServer(t)
	for i := range 5 {
		s.add(t, "/v1/pods", pod("shop", fmt.Sprintf("p%d", i), ""))
	}
	s.pageOf = 2
	s.answer = func(_ http.ResponseWriter, _ *http.Request, a asked) bool {
		if a.query.Get("continue") == "" {
			return false
		}
		_ = s.Listener.Close()
		panic(http.ErrAbortHandler)
	}
	v, _ := run(t, s.api(t, nil), shop, evidence.Pods.Name())
	if _, err := evidence.Get(v, evidence.Pods); err == nil || !strings.Contains(err.Error(), "reading the pods of namespace shop") {
		t.Errorf("got %v", err)
	}
}
