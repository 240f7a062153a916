package gcp

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	logging "google.golang.org/api/logging/v2"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

var (
	onPod       = diagnose.Request{Target: diagnose.Target{Project: "mesh-prod", Namespace: "shop", Pod: "checkout-1", Cluster: "gke_mesh-prod_us-central1_prod"}}
	onNamespace = diagnose.Request{Target: diagnose.Target{Project: "mesh-prod", Namespace: "shop"}}
	onWorkload  = diagnose.Request{Target: diagnose.Target{Project: "mesh-prod", Namespace: "shop", Workload: "Deployment/check.out"}}
)

const listEntries = "POST v2/entries:list"

func podEntry(at, container, message string) string {
	return fmt.Sprintf(`{"timestamp":%q,"logName":"projects/mesh-prod/logs/stderr","resource":{"type":"k8s_container","labels":{"namespace_name":"shop","pod_name":"checkout-1","container_name":%q}},"textPayload":%q}`, at, container, message)
}

func TestPodLog(t *testing.T) {
	var asked []logging.ListLogEntriesRequest
	g := newGoogle(t, map[string]http.HandlerFunc{listEntries: entries(t, &asked, map[string]string{"": `{"entries":[` + strings.Join([]string{
		podEntry("2026-03-04T09:58:02Z", "istio-proxy", "gRPC config stream closed: 14, x"),
		podEntry("2026-03-04T09:58:01Z", "app", "gRPC config stream closed: 14, x"),
		"null",
		podEntry("2026-03-04T09:58:00Z", "istio-proxy", "gRPC config stream closed: 14, x"),
		`{"timestamp":"2026-03-04T09:57:00Z","resource":{"type":"container","labels":{"namespace_id":"shop","pod_id":"old-1","container_name":"app"}},"jsonPayload":{"message":"gRPC config stream closed: 7, x"}}`,
		`{"timestamp":"2026-03-04T09:57:00Z","textPayload":"nothing"}`,
	}, ",") + `]}`})})
	view, set := run(t, g.api(withScanner(t)), onPod, "pod-log")
	outcomeOf(t, set, "log-messages", true, "")
	want := `timestamp>="2026-03-03T10:00:00Z" AND resource.labels.cluster_name="prod" AND ((resource.type="k8s_container" AND resource.labels.namespace_name="shop" AND resource.labels.pod_name="checkout-1") ` +
		`OR (resource.type="container" AND resource.labels.namespace_id="shop" AND resource.labels.pod_id="checkout-1")) AND (`
	if len(asked) != 1 || !strings.HasPrefix(asked[0].Filter, want) || asked[0].ResourceNames[0] != "projects/mesh-prod" || asked[0].OrderBy != "timestamp desc" {
		t.Fatalf("asked %+v", asked)
	}
	got, err := evidence.Get(view, evidence.LogMessages)
	if err != nil || len(got) != 3 {
		t.Fatalf("%+v, %v", got, err)
	}
	if got[0].File != "shop/checkout-1/app" || got[1].File != "shop/checkout-1/istio-proxy" || got[1].Count != 2 || got[1].Last.Second() != 2 || got[2].File != "shop/old-1/app" ||
		got[1].Source.String() != "gcp logging.entries.list (shop/checkout-1/istio-proxy)" {
		t.Errorf("%+v", got)
	}
}

func TestPodEvents(t *testing.T) {
	event := func(at, reason, message string, count int) string {
		return fmt.Sprintf(`{"timestamp":%q,"logName":"projects/mesh-prod/logs/events","resource":{"type":"k8s_pod"},"jsonPayload":{"apiVersion":"v1","kind":"Event","metadata":{"name":"checkout-1.%s","namespace":"shop"},`+
			`"involvedObject":{"kind":"Pod","name":"checkout-1","namespace":"shop"},"reason":%q,"message":%q,"type":"Warning","count":%d}}`, at, reason, reason, message, count)
	}
	var asked []logging.ListLogEntriesRequest
	g := newGoogle(t, map[string]http.HandlerFunc{listEntries: entries(t, &asked, map[string]string{"": `{"entries":[` + strings.Join([]string{
		event("2026-03-04T09:58:02Z", "Unhealthy", "gRPC config stream closed: 14, x", 3), event("2026-03-04T09:50:00Z", "Unhealthy", "gRPC config stream closed: 14, x", 2),
		event("2026-03-04T09:49:00Z", "Started", "Started container app", 1), `{"jsonPayload":{"message":"other"}}`,
	}, ",") + `]}`})})
	view, set := run(t, g.api(withScanner(t)), onWorkload, "pod-events")
	outcomeOf(t, set, "events", true, "")
	want := `logName="projects/mesh-prod/logs/events" AND timestamp>="2026-03-04T09:00:00Z" AND jsonPayload.involvedObject.namespace="shop" AND jsonPayload.involvedObject.name=~"^check[.]out($|-)"`
	if len(asked) != 1 || asked[0].Filter != want {
		t.Fatalf("asked %+v, want %s", asked, want)
	}
	batches, err := evidence.Get(view, evidence.ClusterEvents)
	if err != nil || len(batches) != 1 || batches[0].Whole || len(batches[0].Items) != 2 {
		t.Fatalf("%+v, %v", batches, err)
	}
	if e := batches[0].Items; e[0].Reason != "Started" || e[1].Count != 3 || e[1].First.Format(time.TimeOnly) != "09:50:00" || e[1].Last.Format(time.TimeOnly) != "09:58:02" {
		t.Errorf("%+v", e)
	}
	m, err := evidence.Get(view, evidence.LogMessages)
	if err != nil || len(m) != 1 || m[0].Count != 3 || m[0].Source.String() != "gcp logging.entries.list (events) (event Unhealthy of Pod shop/checkout-1)" || m[0].Last.Second() != 2 {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestPodLogUnknown(t *testing.T) {
	for _, tt := range []struct {
		name   string
		req    diagnose.Request
		answer http.HandlerFunc
		known  bool
		fails  string
	}{
		{"nothing logged", onNamespace, say(`{}`), true, ""},
		{"denied", onNamespace, refuse(403, "PERMISSION_DENIED", "no", "", nil), false, "needs logging.logEntries.list"},
		{"API off", onNamespace, refuse(403, "PERMISSION_DENIED", "off", "SERVICE_DISABLED", map[string]string{"service": "logging.googleapis.com", "consumer": "projects/1"}), false, "logging.googleapis.com is not enabled"},
		{"malformed", onNamespace, say(`{"entries":{}}`), false, "cannot unmarshal"},
		{"an impossible name", diagnose.Request{Target: diagnose.Target{Project: "p", Namespace: `x" OR "`}}, say(`{}`), false, "target.namespace"},
	} {
		for _, c := range []string{"pod-log", "pod-events"} {
			t.Run(tt.name+"/"+c, func(t *testing.T) {
				_, set := run(t, newGoogle(t, map[string]http.HandlerFunc{listEntries: tt.answer}).api(withScanner(t)), tt.req, c)
				outcomeOf(t, set, "log-messages", tt.known, tt.fails)
				if set.Has(evidence.ClusterEvents.Name()) {
					t.Error("the cluster's own events are told")
				}
			})
		}
	}
}

func TestPodLogIsBounded(t *testing.T) {
	asked := 0
	g := newGoogle(t, map[string]http.HandlerFunc{listEntries: func(w http.ResponseWriter, r *http.Request) {
		asked++
		say(`{"entries":[`+strings.TrimSuffix(strings.Repeat(podEntry("2026-03-04T09:30:00Z", "istio-proxy", "gRPC config stream closed: 7, x")+",", 240), ",")+fmt.Sprintf(`],"nextPageToken":"%d"}`, asked))(w, r)
	}})
	view, _ := run(t, g.api(withScanner(t)), onNamespace, "pod-log")
	got, err := evidence.Get(view, evidence.LogMessages)
	if err != nil || asked != 5 || len(got) != 1 || got[0].Count != maxPodEntries {
		t.Errorf("asked %d times, got %+v, %v", asked, got, err)
	}
}

func TestPodLogApplies(t *testing.T) {
	for _, c := range newGoogle(t, nil).api(withScanner(t)).Collectors() {
		if strings.HasPrefix(c.Name, "gcp/pod-") && (c.Applies(onNetwork) || !c.Applies(onNamespace) || c.Applies(diagnose.Request{Target: diagnose.Target{Namespace: "shop"}})) {
			t.Errorf("%s applies wrongly", c.Name)
		}
	}
}
