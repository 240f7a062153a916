package artifact

import (
	"testing"
	"time"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

var now = time.Date(2024, 5, 1, 12, 0, 0, 0, time.UTC)

func reader(t testing.TB) *Reader {
	t.Helper()
	r, err := New(Config{
		Now: func() time.Time { return now },
		Signatures: []diagnose.Signature{
			{ID: "stream-closed", Anchors: []string{"gRPC config stream"}, Pattern: `gRPC config stream(?: to \S+)? closed(?: since \d+s ago)?: (?P<code>\d+)`},
			{ID: "not-found", Anchors: []string{"configuration was not found for network"}, Pattern: `configuration was not found for network "(?P<network>[^"]*)" in project "(?P<project>[^"]*)"`},
			{ID: "api-off", Anchors: []string{"has not been used in project"}, Pattern: `has not been used in project (?P<project>\d+)`},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// collect runs the collector on files.
func collect(t testing.TB, files ...diagnose.Artifact) (*evidence.Set, []evidence.ArtifactFile) {
	t.Helper()
	set := evidence.NewSet()
	if err := reader(t).Collector().Collect(t.Context(), diagnose.Request{Artifacts: files}, evidence.NewView(set), set); err != nil {
		t.Fatal(err)
	}
	got := get(t, set, evidence.Artifacts)
	if len(got) != len(files) {
		t.Fatalf("%d files gave %d entries", len(files), len(got))
	}
	for i, f := range got {
		if f.Name != files[i].Name || f.Note == "" || f.Used != (f.Kind != "") {
			t.Fatalf("entry %+v", f)
		}
	}
	return set, got
}

func file(text string) diagnose.Artifact { return diagnose.Artifact{Name: "f", Data: []byte(text)} }

func get[T any](t testing.TB, set *evidence.Set, k evidence.Key[T]) T {
	t.Helper()
	v, err := evidence.Get(evidence.NewView(set), k)
	if err != nil {
		t.Fatal(err)
	}
	return v
}
