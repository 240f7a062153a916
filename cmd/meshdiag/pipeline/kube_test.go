package pipeline

import (
	"os"
	"testing"
	"time"

	"github.com/meshdiag/meshdiag/checks"
	"github.com/meshdiag/meshdiag/collect/kube"
	"github.com/meshdiag/meshdiag/collect/logscan"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/internal/kubetest"
)

var realKube kubetest.Shared

func TestMain(m *testing.M) { os.Exit(realKube.Main(m)) }

// liveEngine asks a real API server, with every check.
func liveEngine(t *testing.T, c *kubetest.Cluster) *diagnose.Engine {
	t.Helper()
	scanner, err := logscan.New(checks.Signatures())
	if err != nil {
		t.Fatal(err)
	}
	a, err := kube.New(kube.Config{Kubeconfig: c.Kubeconfig(t, c.Admin, "live"), Scanner: scanner, RetryDelay: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	e, err := diagnose.New(diagnose.Config{Checks: checks.All(), Collectors: a.Collectors(), Validate: a.Validate})
	if err != nil {
		t.Fatal(err)
	}
	return e
}
