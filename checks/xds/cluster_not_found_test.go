package xds

import (
	"strings"
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
)

func TestClusterNotFound(t *testing.T) {
	gone, other := whole(), whole()
	gone.clusters = nil
	other.clusters = []string{strings.Replace(eds, "checkout", "cart", 1)}
	req := asking("10.0.0.1:80", 0)
	checkstest.Run(t, ClusterNotFound, append(commonQuiet(t, req),
		checkstest.Case{Name: "no cluster", Request: req, Put: dumps(gone.dump(t)), Want: []checkstest.Want{{Summary: "cluster checkout, which the proxy does not have"}}},
		checkstest.Case{Name: "another cluster", Request: req, Put: dumps(other.dump(t)), Want: []checkstest.Want{{Summary: "cluster checkout"}}},
		checkstest.Case{Name: "for traffic that comes in", Request: asking("", 8080), Put: dumps(gone.dump(t)), Want: []checkstest.Want{{Subject: "serving port 8080"}}},
	))
}
