package kubefacts

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

func TestFactsGoByGroup(t *testing.T) {
	for _, tc := range []struct {
		version, kind string
		want          []evidence.Name
	}{
		{"v1", "Service", []evidence.Name{evidence.ClusterServices.Name()}},
		{"serving.knative.dev/v1", "Service", nil},
		{"apps/v1", "Deployment", []evidence.Name{evidence.Workloads.Name()}},
		{"extensions/v1beta1", "Deployment", []evidence.Name{evidence.Workloads.Name()}},
		{"v1", "Deployment", nil},
		{"audit.k8s.io/v1", "Event", nil},
		{"events.k8s.io/v1", "Event", []evidence.Name{evidence.ClusterEvents.Name()}},
		{"", "Event", []evidence.Name{evidence.ClusterEvents.Name()}},
		{"v1", "Secret", nil},
		{"v1", "", nil},
	} {
		if got := Facts(tc.version, tc.kind); !slices.Equal(got, tc.want) {
			t.Errorf("%s %s: %v, want %v", tc.version, tc.kind, got, tc.want)
		}
	}
	for _, k := range Kinds() {
		if Facts("", k) == nil {
			t.Errorf("%s goes nowhere", k)
		}
	}
}

func TestAddRefuses(t *testing.T) {
	var o Objects
	for _, tc := range []struct{ version, kind, raw, want string }{
		{"v1", "Secret", `{}`, "objects of kind Secret (v1) aren't read"},
		{"v1", "Pod", `{"metadata":{}}`, "has no metadata.name"},
		{"v1", "Pod", `{"metadata":[]}`, "metadata: array stands where an object is expected"},
		{"v1", "Pod", `{"metadata":{"name":"a"},"spec":{"hostNetwork":"yes"}}`, "spec.hostNetwork: string stands where true or false is expected"},
		{"v1", "Pod", `{"metadata":{"name":"a","creationTimestamp":"yesterday"}}`, "not readable: "},
		{"v1", "Endpoints", `{"metadata":{"name":"a"},"subsets":{}}`, "subsets: "},
		{"v1", "Endpoints", `{"metadata":{"name":"a"},"subsets":[{"ports":{}}]}`, "subsets.ports: "},
	} {
		if err := o.Add(tc.version, tc.kind, []byte(tc.raw), "f"); err == nil || !strings.HasPrefix(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %s", tc.raw, err, tc.want)
		}
	}
	if err := o.Add("v1", "ConfigMap", []byte(`{"metadata":{"name":"kube-root-ca.crt"}}`), "f"); !errors.Is(err, ErrNotTheMesh) {
		t.Error(err)
	}
	if len(o.Counts()) != 0 {
		t.Errorf("%+v", o.Counts())
	}
}

func TestScanCountsWhatIsSaid(t *testing.T) {
	at := func(minute int) time.Time { return time.Date(2024, 5, 1, 10, minute, 0, 0, time.UTC) }
	list := []Message{
		{Object: "a", Text: "one\n", Count: 2, First: at(5), Last: at(6)},
		{Object: "b", Text: "other\nof two lines", Count: 1},
		{Object: "c", Text: "one", Count: 3, First: at(1), Last: at(2)},
		{Object: "d", Text: "one more", Count: 4, First: at(7), Last: at(8)},
	}
	scan := func(r io.Reader, file string, src evidence.Source) ([]evidence.LogMessage, error) {
		b, err := io.ReadAll(r)
		if string(b) != "one\nother\nof two lines\none more\n" {
			t.Errorf("%q", b)
		}
		return []evidence.LogMessage{
			{Signature: "s", File: file, Line: 1, LastLine: 4, Count: 2, Source: src},
			{Signature: "t", File: file, Line: 3, LastLine: 3, Count: 1, First: at(9), Last: at(9), Source: src},
		}, err
	}
	got, err := Scan(scan, list, "f", evidence.Source{Detail: "f"})
	if err != nil || len(got) != 2 {
		t.Fatal(got, err)
	}
	if m := got[0]; m.Count != 9 || !m.First.Equal(at(1)) || !m.Last.Equal(at(8)) || m.Source.Detail != "f (a)" || m.Line != 0 {
		t.Errorf("%+v", m)
	}
	if m := got[1]; m.Count != 1 || !m.First.Equal(at(9)) || m.Source.Detail != "f (b)" {
		t.Errorf("%+v", m)
	}
	if m, err := Scan(scan, nil, "f", evidence.Source{}); m != nil || err != nil {
		t.Error(m, err)
	}
}

func TestMessages(t *testing.T) {
	var o Objects
	if err := o.Add("v1", "Pod", []byte(`{"metadata":{"name":"a","namespace":"n"},"status":{"message":"m1","conditions":[{"type":"Ready","message":"m2"},{"type":"X"}],
		"initContainerStatuses":[{"name":"i","lastState":{"terminated":{"message":"m3","finishedAt":"2024-05-01T10:00:00Z"}}}],"containerStatuses":[{"name":"c","state":{"waiting":{"message":"m4"}}}]}}`), "f"); err != nil {
		t.Fatal(err)
	}
	o.Events = append(o.Events, kube.Event{Message: "m5", Count: 0})
	o.Revisions = append(o.Revisions, kube.ControlPlaneRevision{Meta: kube.Meta{Name: "r"}})
	o.Revisions[0].Status.Conditions = []kube.Condition{{Type: "Stalled", Message: "m6"}}
	o.DataPlanes = append(o.DataPlanes, kube.DataPlaneControl{Meta: kube.Meta{Name: "d"}})
	o.DataPlanes[0].Status.ErrorDetails = []kube.ErrorText{"m7"}
	o.Workloads = append(o.Workloads, kube.Workload{Kind: "Job", Meta: kube.Meta{Name: "j"}, Status: kube.WorkloadStatus{Conditions: []kube.Condition{{Type: "Failed", Message: "m8"}}}})
	var got []string
	for _, m := range o.Messages() {
		if m.Count != 1 {
			t.Errorf("%+v", m)
		}
		got = append(got, m.Object+": "+m.Text)
	}
	want := "event: m5; Pod n/a: m1; Pod n/a, condition Ready: m2; Pod n/a, container i: m3; Pod n/a, container c: m4; Job j, condition Failed: m8; ControlPlaneRevision r, condition Stalled: m6; DataPlaneControl d: m7"
	if s := strings.Join(got, "; "); s != want {
		t.Errorf("%s\nwant %s", s, want)
	}
}

func TestLoggedEvent(t *testing.T) {
	at := time.Date(2024, 5, 1, 10, 0, 0, 0, time.UTC)
	for _, tc := range []struct {
		payload string
		ok      bool
	}{
		{`{"kind":"Event","apiVersion":"v1","involvedObject":{"kind":"Pod","name":"p"},"reason":"R","message":"m"}`, true},
		{`{"regarding":{"kind":"Pod","name":"p"},"reason":"R","note":"m"}`, true},
		{`{"involvedObject":{"kind":"Pod","name":"p"}}`, false},
		{`{"involvedObject":{"kind":"Pod"},"reason":"R"}`, false},
		{`{"involvedObject":"x","reason":"R"}`, false},
		{`{"kind":"Other","involvedObject":{"name":"p"},"reason":"R"}`, false},
		{`{"message":"m","reason":"R"}`, false},
		{``, false},
	} {
		e, ok := LoggedEvent([]byte(tc.payload), at)
		if ok != tc.ok || ok && (e.Message != "m" || !e.Last.Equal(at) || !e.First.Equal(at) || e.Count != 1) {
			t.Errorf("%s: %+v %v", tc.payload, e, ok)
		}
	}
}
