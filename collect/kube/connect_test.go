package kube

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/meshdiag/meshdiag/diagnose"
)

func write(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// nowhere makes kubectl's usual places empty, and the machine one outside any cluster.
func nowhere(t *testing.T) {
	t.Helper()
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	t.Setenv("HOME", t.TempDir())
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
}

// A file that was named has to be one.
func TestKubeconfigThatIsNone(t *testing.T) {
	for _, test := range []struct{ name, file, want string }{
		{"missing", filepath.Join(t.TempDir(), "absent"), "no such file"},
		{"not YAML", write(t, "{{{"), "is not a kubeconfig"},
		{"something else", write(t, "name: x\n"), "has no contexts"},
		{"empty", write(t, ""), "has no contexts"},
	} {
		_, err := New(Config{Kubeconfig: test.file})
		if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

// Without any cluster the collectors don't apply.
func TestNoCluster(t *testing.T) {
	nowhere(t)
	a, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	if a.Configured() {
		t.Error("a cluster from nowhere")
	}
	_, rep := run(t, a, shop)
	for _, u := range rep.Unseen {
		if !u.Mandatory || !strings.Contains(u.Reason, "no Kubernetes cluster is configured") {
			t.Errorf("%+v", u)
		}
	}
	if len(rep.Unseen) == 0 || rep.Verdict != diagnose.Inconclusive {
		t.Errorf("%s, unseen %+v", rep.Verdict, rep.Unseen)
	}
}

// A kubeconfig that nobody named and that can't be read hurts those alone who ask about a cluster.
func TestBrokenDefaultKubeconfig(t *testing.T) {
	nowhere(t)
	t.Setenv("KUBECONFIG", write(t, "{{{"))
	a, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	_, rep := run(t, a, shop)
	if len(rep.Unseen) == 0 || !strings.Contains(rep.Unseen[0].Reason, "reading the kubeconfig") {
		t.Errorf("unseen %+v", rep.Unseen)
	}
}

func TestValidate(t *testing.T) {
	nowhere(t)
	s := newServer(t)
	three := s.kubeconfig(t, "prod", "stage")
	text, err := os.ReadFile(three)
	if err != nil {
		t.Fatal(err)
	}
	undecided := write(t, strings.Replace(string(text), "current-context: test", `current-context: ""`, 1))
	for _, test := range []struct{ name, file, cluster, want string }{
		{"known", three, "prod", ""},
		{"the current one", three, "", ""},
		{"unknown", three, "produ", `target.kubernetes.cluster: "produ" is not a context of the kubeconfig, which has: prod, stage, test`},
		{"no current one", undecided, "", "target.kubernetes.cluster: the kubeconfig has no current context; name one of: prod, stage, test"},
		{"none at all", "", "prod", `target.kubernetes.cluster: "prod" is a context of no kubeconfig: none is configured`},
		{"none at all, none named", "", "", ""},
	} {
		a, err := New(Config{Kubeconfig: test.file})
		if err != nil {
			t.Fatal(err)
		}
		err = a.Validate(diagnose.Request{Target: diagnose.Target{Cluster: test.cluster, Namespace: "shop"}})
		var bad *diagnose.BadInput
		switch {
		case test.want == "" && err != nil, test.want != "" && (!errors.As(err, &bad) || err.Error() != test.want):
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
		if err := a.Validate(diagnose.Request{Target: diagnose.Target{Project: "p", Network: "n"}}); err != nil {
			t.Errorf("%s: a request about no cluster: %v", test.name, err)
		}
	}
}

// Names that would change a request's path are refused.
func TestNamesStayNames(t *testing.T) {
	s := newServer(t)
	a := s.api(t, nil)
	for _, target := range []diagnose.Target{{Namespace: "../kube-system"}, {Namespace: "shop", Pod: "a/b"}, {Namespace: "SHOP"}, {Namespace: ".."}} {
		_, rep := run(t, a, target)
		for _, u := range rep.Unseen {
			if !strings.Contains(u.Reason, "is not a name") {
				t.Errorf("%+v: %s", target, u.Reason)
			}
		}
	}
	if r := s.requests(); len(r) > 0 {
		t.Errorf("asked %v", r)
	}
}
