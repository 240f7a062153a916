package pipeline

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/meshdiag/meshdiag/checks"
	"github.com/meshdiag/meshdiag/collect/artifact"
	"github.com/meshdiag/meshdiag/diagnose"
)

// The files of the corpus: namespaces and pods of every kind, an injector of the default revision, and the managed control plane's
// validating webhook.
const (
	corpusPods    = "namespaces-and-pods-injection.yaml"
	corpusWebhook = "mutating-webhook-default.yaml"
	corpusManaged = "managed-control-plane-webhooks.yaml"
)

// corpusFiles reads files of the corpus of real ones.
func corpusFiles(t *testing.T, names ...string) []diagnose.Artifact {
	t.Helper()
	var out []diagnose.Artifact
	for _, n := range names {
		data, err := os.ReadFile(filepath.Join("..", "..", "..", "..", "shared", "corpus", "kubernetes", n))
		if err != nil {
			t.Skipf("the corpus of real files is not here: %v", err)
		}
		out = append(out, diagnose.Artifact{Name: n, Data: data})
	}
	return out
}

// fromFiles diagnoses files alone, with the checks of injection, and gives the causes as "check: subject", sorted.
func fromFiles(t *testing.T, req diagnose.Request) ([]string, *diagnose.Report) {
	t.Helper()
	reader, err := artifact.New(artifact.Config{Signatures: checks.Signatures()})
	if err != nil {
		t.Fatal(err)
	}
	all := slices.DeleteFunc(checks.All(), func(c diagnose.Check) bool { return c.ID.Area() != "injection" })
	e, err := diagnose.New(diagnose.Config{Checks: all, Collectors: []diagnose.Collector{reader.Collector()}})
	if err != nil {
		t.Fatal(err)
	}
	r, err := e.Diagnose(t.Context(), req, nil)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, c := range r.Causes {
		out = append(out, string(c.Check)+": "+c.Subject)
	}
	slices.Sort(out)
	return out, r
}

// TestInjectionCorpus holds what is found in the whole of the corpus, and nothing besides.
func TestInjectionCorpus(t *testing.T) {
	got, r := fromFiles(t, diagnose.Request{Artifacts: corpusFiles(t, corpusPods, corpusWebhook, corpusManaged)})
	want := []string{
		"injection/conflicting-labels: namespace busted",           // both labels: the default injector wins over revision canary
		"injection/conflicting-labels: namespace multi-ns-1",       // the same with revision test
		"injection/conflicting-labels: namespace multi-ns-2",       // sidecars and ambient
		"injection/conflicting-labels: namespace multi-ns-3",       // a revision's sidecars and ambient
		"injection/revision-not-installed: namespace pidgeon-test", // no webhook and no control plane of that revision
		"injection/sidecar-missing: pod default/noninjectedpod",    // selected, and beside a pod that has its sidecar
	}
	if !slices.Equal(got, want) {
		t.Errorf("found %q\nwant  %q", got, want)
	}
	for _, c := range r.Causes {
		t.Logf("[%s %s] %s", c.Severity, c.Confidence, c.Summary)
	}
}

// TestInjectionCorpusWithoutWebhooks holds that nothing is concluded from webhooks that aren't in the files.
func TestInjectionCorpusWithoutWebhooks(t *testing.T) {
	got, _ := fromFiles(t, diagnose.Request{Artifacts: corpusFiles(t, corpusPods)})
	for _, c := range got {
		if !strings.HasPrefix(c, "injection/conflicting-labels: ") {
			t.Errorf("%s: labels that contradict each other are all that namespaces show by themselves", c)
		}
	}
	if got, _ := fromFiles(t, diagnose.Request{Artifacts: corpusFiles(t, corpusWebhook)}); len(got) > 0 {
		t.Errorf("a webhook alone gives %q", got)
	}
}

// TestInjectionCorpusByQuestion asks about every namespace and every pod of the corpus by name.
func TestInjectionCorpusByQuestion(t *testing.T) {
	files := corpusFiles(t, corpusPods, corpusWebhook)
	for _, tc := range []struct {
		namespace, pod string
		check, why     string // no check: nothing is wrong
	}{
		{"default", "", "sidecar-missing", "istio-injection=enabled, which the default injector serves; one pod is selected and has no sidecar, beside one that has"},
		{"default", "injectedpod", "", "it has istio-proxy"},
		{"default", "noninjectedpod", "sidecar-missing", "namespace.sidecar-injector.istio.io selects it, and it has no istio-proxy"},
		{"default", "podinjectiondisabled", "disabled", "its annotation says false; that is told because the pod is asked about"},
		{"default", "podinjectiondisabled-label", "disabled", "its label says false"},
		{"default", "podinjectiondisabled-label-and-anno", "disabled", "its label says false, and counts before the annotation that says true"},
		{"default", "noninjectedpodhostnetwork", "host-network", "pods on their node's network are never injected"},
		{"istio-system", "istiod-canary-1234567890-12345", "", "the control plane is never injected, and need not be"},
		{"ambient", "", "", "ambient: its pods need no sidecar"},
		{"foo", "", "", "istio-injection=disabled is a choice"},
		{"bar", "", "", "never labelled, and without pods: nothing says that it was to be in the mesh"},
		{"canary-test", "", "", "revision canary runs (istiod-canary-1234567890-12345); that its webhook isn't in the files proves nothing"},
		{"pidgeon-test", "", "revision-not-installed", "neither a webhook nor a control plane of revision pidgeon"},
		{"busted", "", "conflicting-labels", "istio-injection=enabled hides istio.io/rev=canary"},
		{"multi-ns-1", "", "conflicting-labels", "istio-injection=enabled hides istio.io/rev=test"},
		{"multi-ns-2", "", "conflicting-labels", "sidecars and ambient at once"},
		{"multi-ns-3", "", "conflicting-labels", "sidecars of a revision and ambient at once"},
		{"not-conflict-ns-1", "", "", "istio-injection=disabled takes the conflict with ambient away"},
		{"not-conflict-ns-2", "", "", "istio-injection=disabled takes the conflict with the revision away, and hides that it isn't installed"},
	} {
		name := strings.TrimSuffix(tc.namespace+"/"+tc.pod, "/")
		t.Run(name, func(t *testing.T) {
			got, r := fromFiles(t, diagnose.Request{Target: diagnose.Target{Namespace: tc.namespace, Pod: tc.pod}, Artifacts: files})
			var want []string
			if tc.check != "" {
				what := "namespace " + tc.namespace
				switch {
				case tc.pod != "":
					what = "pod " + name
				case tc.check == "sidecar-missing":
					what = "pod default/noninjectedpod"
				}
				want = []string{"injection/" + tc.check + ": " + what}
			}
			if !slices.Equal(got, want) {
				t.Errorf("found %q, want %q: %s", got, want, tc.why)
			}
			if tc.check == "" && r.Verdict == diagnose.Healthy {
				t.Error("files alone give no clean bill")
			}
		})
	}
}
