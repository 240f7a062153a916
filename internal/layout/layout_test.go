// Package layout holds the direction of imports: a layer that may be imported by all is one that nobody can change.
package layout

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/meshdiag/meshdiag/"

// rules say what each layer may import of this module, and why no more. A package falls under the first prefix it matches.
var rules = []struct {
	layer, why string
	may        []string
}{
	{"evidence", "facts are what all else speaks in: they hang on the standard library alone", []string{"evidence"}},
	{"xdsclient/xdsclienttest", "a fake server, for tests of any layer", []string{"xdsclient"}},
	{"xdsclient", "a CSDS client is of use without meshdiag: it knows nothing of the rest", nil},
	{"diagnose", "the engine must run on any evidence, so it knows no source and no check", []string{"evidence"}},
	{"checks/checkstest", "runs checks on the engine", []string{"diagnose", "evidence"}},
	{"checks", "a check that could reach a network could not be tested by a table", []string{"diagnose", "evidence", "checks"}},
	{"collect", "collectors bring evidence and judge nothing: a check they knew would be judged twice", []string{"diagnose", "evidence", "xdsclient", "collect"}},
	{"service", "RPCs over the engine: what it runs on is put together in cmd", []string{"gen", "diagnose", "evidence", "service"}},
	{"report", "renders the API's messages, so that a remote report prints as a local one", []string{"gen", "report"}},
	{"lab/discovery", "holds the lab's answers against Google's documents", nil},
	{"lab", "the world outside: a lab that shared code with the pipeline would share its mistakes", []string{"lab"}},
	{"gen", "generated", []string{"gen"}},
	{"cmd", "puts everything together", []string{"service", "lab", "collect", "checks", "diagnose", "evidence", "xdsclient", "gen", "report", "cmd"}},
	{"internal/kubetest", "a real API server, for tests of any layer: it's the world outside", nil},
	{"internal/layout", "this test", nil},
}

type pkg struct {
	ImportPath string
	Imports    []string
}

func TestImportsGoOneWay(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports", "./...")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	dec := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		check(t, p)
	}
}

func check(t *testing.T, p pkg) {
	t.Helper()
	name, own := strings.CutPrefix(p.ImportPath, module)
	if !own {
		return
	}
	for _, r := range rules {
		if !within(name, r.layer) {
			continue
		}
		for _, imp := range p.Imports {
			dep, own := strings.CutPrefix(imp, module)
			if own && !allowed(dep, r.may) {
				t.Errorf("%s imports %s, and may import only %v: %s", name, dep, r.may, r.why)
			}
			if !own && (r.layer == "evidence" || r.layer == "checks") && strings.Contains(strings.SplitN(imp, "/", 2)[0], ".") && !strings.HasPrefix(imp, module) {
				t.Errorf("%s imports %s; only the standard library is allowed: %s", name, imp, r.why)
			}
			if r.layer == "checks" && (imp == "net" || imp == "os" || strings.HasPrefix(imp, "net/http") || imp == "os/exec") {
				t.Errorf("%s imports %s: %s", name, imp, r.why)
			}
		}
		return
	}
	t.Errorf("%s falls under no rule: say here what it may import, and why", name)
}

func within(name, prefix string) bool { return name == prefix || strings.HasPrefix(name, prefix+"/") }

func allowed(dep string, may []string) bool {
	for _, m := range may {
		if within(dep, m) {
			return true
		}
	}
	return false
}
