package main

import (
	"os"
	"regexp"
	"slices"
	"testing"

	"github.com/meshdiag/meshdiag/checks"
)

// TestEveryCheckHasAScenario holds the list of docs/lab.md: each check is expected by a scenario, or by a fault in a real API server,
// or is there.
func TestEveryCheckHasAScenario(t *testing.T) {
	produced := map[string]bool{}
	for _, s := range scenarios(t) {
		for _, id := range slices.Concat(s.Expect.Causes, s.Expect.Symptoms) {
			produced[id] = true
		}
	}
	for _, f := range faults {
		for _, id := range f.causes {
			produced[id] = true
		}
	}
	page, err := os.ReadFile("../../docs/lab.md")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z-]+/[a-z0-9-]+)` \\| [^|]{10,} \\| [^|]{6,} \\|$").FindAllStringSubmatch(string(page), -1) {
		listed[m[1]] = true
	}
	for _, c := range checks.All() {
		id := string(c.ID)
		switch {
		case produced[id] && listed[id]:
			t.Errorf("docs/lab.md lists %s, which a scenario or a fault in a cluster produces", id)
		case !produced[id] && !listed[id]:
			t.Errorf("neither a scenario nor a fault in a cluster produces %s, and docs/lab.md doesn't say why not", id)
		}
		delete(produced, id)
		delete(listed, id)
	}
	for id := range produced {
		t.Errorf("a scenario expects %s, which is no check", id)
	}
	for id := range listed {
		t.Errorf("docs/lab.md lists %s, which is no check", id)
	}
}
