package kube

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

func TestEveryFact(t *testing.T) {
	s := shopWorld(t)
	a := s.api(t, withScanner(t))
	v, _ := run(t, a, shop, everyFact(a)...)

	same(t, "namespaces", names(t, v, evidence.Namespaces, func(x *kube.Namespace) string { return x.Ref() }), "istio-system", "other", "shop")
	same(t, "pods", names(t, v, evidence.Pods, func(x *kube.Pod) string { return x.Ref() }), "shop/checkout-7d9-aaaaa", "shop/checkout-7d9-bbbbb")
	same(t, "workloads", names(t, v, evidence.Workloads, (*kube.Workload).Title), "CronJob shop/nightly", "DaemonSet shop/agent", "Deployment shop/checkout", "Job shop/migrate",
		"ReplicaSet shop/bare", "ReplicaSet shop/checkout-7d9", "ReplicaSet shop/checkout-refused", "StatefulSet shop/db")
	same(t, "events", names(t, v, evidence.ClusterEvents, func(x *kube.Event) string { return x.Name }), "e1", "e3")
	same(t, "services", names(t, v, evidence.ClusterServices, func(x *kube.Service) string { return x.Ref() }), "cert-manager/istiod", "istio-system/istiod", "shop/istiod")
	same(t, "slices", names(t, v, evidence.EndpointSlices, func(x *kube.EndpointSlice) string { return x.Ref() }), "cert-manager/istiod-1", "istio-system/istiod-1", "shop/istiod-1")
	same(t, "istiod pods", names(t, v, evidence.ControlPlanePods, func(x *kube.Pod) string { return x.Ref() }), "istio-system/istiod-0")
	same(t, "istiod deployments", names(t, v, evidence.ControlPlaneWorkloads, (*kube.Workload).Title), "Deployment istio-system/istiod")
	same(t, "roles", names(t, v, evidence.ClusterRoles, func(x *kube.ClusterRole) string { return x.Ref() }), "istiod-clusterrole-istio-system")
	same(t, "config maps", names(t, v, evidence.ConfigMaps, func(x *kube.ConfigMap) string { return x.Ref() }), "istio-system/istio")
	same(t, "envoy filters", names(t, v, evidence.EnvoyFilters, func(x *kube.EnvoyFilter) string { return x.Ref() }), "istio-system/root", "shop/own")
	same(t, "peer authentications", names(t, v, evidence.PeerAuthentications, func(x *kube.PeerAuthentication) string { return x.Ref() }), "istio-system/default")

	if !evidence.Covers(get(t, v, evidence.ControlPlanePods), "anywhere") || !evidence.Covers(get(t, v, evidence.ConfigMaps), "istio-control") {
		t.Error("istiod's pods of the whole cluster, and that there is no namespace istio-control, are known")
	}
	if b := get(t, v, evidence.EnvoyFilters); evidence.Covers(b, "other") || !evidence.Covers(b, "shop") {
		t.Error("EnvoyFilters of namespace other were not asked for")
	}
	for _, b := range get(t, v, evidence.ControlPlaneRevisions) {
		if !b.NoSuchKind || !b.Whole || len(b.Items) > 0 {
			t.Errorf("ControlPlaneRevisions aren't installed: %+v", b)
		}
	}
	for _, p := range evidence.All(get(t, v, evidence.Pods)) {
		if p.Annotations[lastApplied] != "" {
			t.Error("kubectl's copy of the whole object is kept")
		}
	}
	if c := evidence.All(get(t, v, evidence.MutatingWebhooks))[0]; !c.Mutating() || c.Kind != "MutatingWebhookConfiguration" {
		t.Errorf("the kind is %q", c.Kind)
	}

	log, err := evidence.Whole(v, evidence.LogMessages)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []struct{ signature, detail string }{
		{"not-ready", "log of container istio-proxy of pod shop/checkout-7d9-aaaaa"},
		{"not-ready", "log of the container before, istio-proxy of pod shop/checkout-7d9-aaaaa"},
		{"webhook-failed", "log of container discovery of pod istio-system/istiod-0"},
		{"webhook-failed", "FailedCreate of ReplicaSet shop/checkout-refused"},
	} {
		if !hasMessage(log, want.signature, want.detail) {
			t.Errorf("no message %s of %q in %+v", want.signature, want.detail, log)
		}
	}
	for _, m := range log {
		if strings.Contains(m.Source.Detail, "FailedCreate") && (m.Count != 4 || m.Last.Format("15:04") != "11:00" || m.Source.Vantage != evidence.FromAPI) {
			t.Errorf("got %+v", m)
		}
	}
}

// Of a pod that is named, all events are read.
func TestEventsOfAPod(t *testing.T) {
	s := shopWorld(t)
	v, _ := run(t, s.api(t, nil), diagnose.Target{Namespace: "shop", Pod: "checkout-7d9-aaaaa"}, evidence.ClusterEvents.Name())
	same(t, "events", names(t, v, evidence.ClusterEvents, func(x *kube.Event) string { return x.Name }), "e1", "e2", "e3")
}

// Who may read in his namespace alone still learns of it what he may, and what else would be needed.
func TestNamespaceAlone(t *testing.T) {
	s := shopWorld(t)
	s.answer = denyNamespaces
	v, rep := run(t, s.api(t, nil), shop, evidence.Namespaces.Name())
	b, err := evidence.Get(v, evidence.Namespaces)
	if err != nil || !evidence.Covers(b, "shop") || evidence.Covers(b, "other") || len(evidence.All(b)) != 1 {
		t.Errorf("got %+v, %v", b, err)
	}
	i := slices.IndexFunc(rep.Unseen, func(u diagnose.Unseen) bool { return u.Fact == evidence.Namespaces.Name() })
	if i < 0 || !rep.Unseen[i].Mandatory || rep.Unseen[i].Permission != "list namespaces" || !strings.HasSuffix(rep.Unseen[i].Command, "--user=eve") {
		t.Errorf("unseen: %+v", rep.Unseen)
	}
	v, _ = run(t, s.api(t, nil), diagnose.Target{Namespace: "gone"}, evidence.Namespaces.Name())
	b, err = evidence.Get(v, evidence.Namespaces)
	if err != nil || !evidence.Covers(b, "gone") || len(evidence.All(b)) != 0 {
		t.Errorf("a namespace that isn't there: %+v, %v", b, err)
	}
}

// Without the right to the whole cluster, istiod is looked for where it matters.
func TestIstiodByNamespace(t *testing.T) {
	s := shopWorld(t)
	forbidden := func(a asked) bool { return a.resource == "pods" && a.namespace == "" }
	s.answer = func(w http.ResponseWriter, _ *http.Request, a asked) bool {
		if !forbidden(a) {
			return false
		}
		status(w, http.StatusForbidden, "Forbidden", `pods is forbidden: User "eve" cannot list resource "pods"`)
		return true
	}
	v, _ := run(t, s.api(t, nil), shop, evidence.ControlPlanePods.Name())
	b := get(t, v, evidence.ControlPlanePods)
	if len(evidence.All(b)) != 1 || !evidence.Covers(b, "istio-system") || !evidence.Covers(b, "cert-manager") || evidence.Covers(b, "elsewhere") {
		t.Errorf("got %+v", b)
	}

	forbidden = func(a asked) bool { return a.resource == "pods" && a.namespace != "shop" }
	v, _ = run(t, s.api(t, nil), shop, evidence.ControlPlanePods.Name())
	if _, err := evidence.Whole(v, evidence.ControlPlanePods); err == nil || !strings.Contains(err.Error(), "needs list pods)") {
		t.Errorf("got %v", err)
	}
}

// One kind of workload that may not be read makes the others no whole.
func TestWorkloadsInPart(t *testing.T) {
	s := shopWorld(t)
	s.answer = func(w http.ResponseWriter, _ *http.Request, a asked) bool {
		if a.resource != "cronjobs" {
			return false
		}
		status(w, http.StatusForbidden, "Forbidden", "no")
		return true
	}
	v, _ := run(t, s.api(t, nil), shop, evidence.Workloads.Name())
	b, err := evidence.Get(v, evidence.Workloads)
	if err != nil || evidence.Covers(b, "shop") || len(evidence.All(b)) == 0 {
		t.Errorf("got %+v, %v", b, err)
	}
	var d *evidence.Denied
	if _, err := evidence.Whole(v, evidence.Workloads); !errors.As(err, &d) || d.Permission != "list cronjobs.batch in namespace shop" {
		t.Errorf("got %v", err)
	}
}

// That a kind isn't installed is known from what the API server lists, not from a path that isn't found.
func TestInstalledKinds(t *testing.T) {
	for _, test := range []struct {
		name   string
		serve  []string
		answer func(http.ResponseWriter, asked) bool
		want   string // of the error; "" for known
		none   bool
	}{
		{name: "no such group", none: true},
		{name: "group without the kind", serve: []string{"mesh.cloud.google.com/v1/dataplanecontrols"}, none: true},
		{name: "installed", serve: []string{"mesh.cloud.google.com/v1alpha1/controlplanerevisions"}},
		{name: "in one of two versions", serve: []string{"mesh.cloud.google.com/v1/dataplanecontrols", "mesh.cloud.google.com/v1beta1/controlplanerevisions"}},
		{name: "a proxy that finds nothing", answer: func(w http.ResponseWriter, a asked) bool {
			if a.path != "" {
				http.Error(w, "404 page not found", http.StatusNotFound)
			}
			return a.path != ""
		}, want: "HTTP 404"},
		{name: "a page for people", answer: func(w http.ResponseWriter, a asked) bool {
			if a.path != "" {
				http.Error(w, "<html>", http.StatusOK)
			}
			return a.path != ""
		}, want: "no list of what a Kubernetes API server serves"},
		{name: "another's JSON", answer: func(w http.ResponseWriter, a asked) bool {
			if a.path != "" {
				writeJSON(w, http.StatusOK, map[string]any{"groups": []any{}})
			}
			return a.path != ""
		}, want: "no list of what a Kubernetes API server serves"},
		{name: "a group that hides", serve: []string{"mesh.cloud.google.com/v1alpha1/controlplanerevisions"}, answer: func(w http.ResponseWriter, a asked) bool {
			if strings.HasPrefix(a.path, "/apis/mesh") {
				http.Error(w, "404 page not found", http.StatusNotFound)
			}
			return strings.HasPrefix(a.path, "/apis/mesh")
		}, want: "though the API server lists mesh.cloud.google.com/v1alpha1"},
		{name: "denied", answer: func(w http.ResponseWriter, a asked) bool {
			if a.path != "" {
				status(w, http.StatusForbidden, "Forbidden", `forbidden: User "eve" cannot get path "/apis"`)
			}
			return a.path != ""
		}, want: "needs get /apis"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newServer(t)
			s.serve(test.serve...)
			s.answer = func(w http.ResponseWriter, _ *http.Request, a asked) bool {
				return test.answer != nil && test.answer(w, a)
			}
			v, _ := run(t, s.api(t, nil), shop, evidence.ControlPlaneRevisions.Name())
			b, err := evidence.Get(v, evidence.ControlPlaneRevisions)
			switch {
			case test.want != "":
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("got %v, want %q", err, test.want)
				}
			case err != nil || len(b) != 1 || b[0].NoSuchKind != test.none || !b[0].Whole:
				t.Errorf("got %+v, %v", b, err)
			}
		})
	}
}

// A container without a log is nothing wrong; a log that may not be read is.
func TestLogs(t *testing.T) {
	s := shopWorld(t)
	delete(s.logs, "shop/checkout-7d9-aaaaa/istio-init")
	v, _ := run(t, s.api(t, withScanner(t)), shop, evidence.LogMessages.Name())
	if _, err := evidence.Whole(v, evidence.LogMessages); err != nil {
		t.Error(err)
	}
	s.answer = func(w http.ResponseWriter, _ *http.Request, a asked) bool {
		if a.resource != "pods/log" || a.namespace != "shop" {
			return false
		}
		status(w, http.StatusForbidden, "Forbidden", `pods "x" is forbidden: User "eve" cannot get resource "pods/log"`)
		return true
	}
	v, _ = run(t, s.api(t, withScanner(t)), shop, evidence.LogMessages.Name())
	var d *evidence.Denied
	if _, err := evidence.Whole(v, evidence.LogMessages); !errors.As(err, &d) || !strings.HasPrefix(d.Permission, "get pods/log checkout-7d9-aaaaa in namespace shop") {
		t.Errorf("got %v", err)
	}
	for _, r := range s.requests() {
		q := r.query
		end, begin := q.Get("tailLines") == "2000" && q.Get("limitBytes") == "2097152", q.Get("tailLines") == "" && q.Get("limitBytes") == "262144"
		if r.resource == "pods/log" && !end && !begin {
			t.Errorf("the log is asked for without bounds: %v", r.query)
		}
	}
}

func TestMatchConditionsOfPods(t *testing.T) {
	s := shopWorld(t)
	v, _ := run(t, s.api(t, nil), shop, evidence.MatchConditions.Name())
	results, err := evidence.Whole(v, evidence.MatchConditions)
	if err != nil {
		t.Fatal(err)
	}
	of := map[string]evidence.MatchConditionResult{}
	for _, r := range results {
		of[r.Condition+" "+r.Pod] = r
	}
	for _, pod := range []string{"pod shop/checkout-7d9-aaaaa", "pod shop/checkout-7d9-bbbbb", "the template of Deployment shop/checkout", "the template of CronJob shop/nightly",
		"the template of ReplicaSet shop/bare", "the template of StatefulSet shop/db"} {
		if r, ok := of["one-app "+pod]; !ok || !r.True || r.Problem != "" || r.Configuration != "istio-sidecar-injector" {
			t.Errorf("%s: %+v", pod, r)
		}
		if r, ok := of["humans "+pod]; !ok || !strings.Contains(r.Problem, "who creates the pod") {
			t.Errorf("%s: %+v", pod, r)
		}
	}
	gets := 0
	for _, r := range s.requests() {
		if r.verb == "get" && r.resource == "pods" {
			gets++
		}
	}
	if gets != 1 {
		t.Errorf("%d pods were read again; one stands for all of its template", gets)
	}
}

func TestSecretOfIstiod(t *testing.T) {
	s := shopWorld(t)
	s.reviews = true
	secretTLS(t, s)
	v, _ := run(t, s.api(t, nil), shop, evidence.ServingCertificates.Name())
	list, err := evidence.Get(v, evidence.ServingCertificates)
	if err != nil || len(list) != 1 || list[0].Service != "istiod" || len(list[0].Chain) != 1 || !strings.HasPrefix(list[0].From, "secret istio-system/istiod-tls") {
		t.Errorf("got %+v, %v", list, err)
	}
	s.reviews = false
	s.requests()
	run(t, s.api(t, nil), shop, evidence.ServingCertificates.Name())
	for _, r := range s.requests() {
		if r.resource == "secrets" {
			t.Error("a Secret is asked for that may not be read")
		}
	}
}

func TestExecDenied(t *testing.T) {
	s := shopWorld(t)
	a := s.api(t, func(c *Config) { c.PodExec = true })
	v, _ := run(t, a, diagnose.Target{Namespace: "shop", Pod: "checkout-7d9-aaaaa"}, execFacts()...)
	var d *evidence.Denied
	if _, err := evidence.Get(v, evidence.EnvoyDumps); !errors.As(err, &d) {
		t.Fatalf("got %v", err)
	}
	if d.Permission != "create pods/exec checkout-7d9-aaaaa in namespace shop" || !strings.Contains(d.Command, "-n shop create rolebinding meshdiag-pod-exec --clusterrole=meshdiag-pod-exec --user=eve") {
		t.Errorf("got %+v", d)
	}
	for _, c := range s.api(t, nil).Collectors() {
		if c.Name == "kube/pod-exec" {
			t.Error("commands are run in pods without being asked for")
		}
	}
}
