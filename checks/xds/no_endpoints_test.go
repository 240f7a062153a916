package xds

import (
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestNoEndpoints(t *testing.T) {
	none, empty, absent := whole(), whole(), whole()
	none.assigned = []string{`{"cluster_name":"checkout","endpoints":[]}`}
	empty.assigned = []string{assigned()}
	absent.assigned = []string{`{"cluster_name":"cart","endpoints":[]}`}
	req := asking("10.0.0.1:80", 0)
	checkstest.Run(t, NoEndpoints, append(commonQuiet(t, req),
		checkstest.Case{Name: "an empty assignment", Request: req, Put: dumps(none.dump(t)), Want: []checkstest.Want{{Summary: "cluster checkout, which has no endpoint"}}},
		checkstest.Case{Name: "a locality without endpoints", Request: req, Put: dumps(empty.dump(t)), Want: []checkstest.Want{{Summary: "no endpoint"}}},
		checkstest.Case{Name: "no assignment at all", Request: req, Put: dumps(absent.dump(t)), Want: []checkstest.Want{{Summary: "no endpoint"}}},
		checkstest.Case{Name: "unhealthy ones are endpoints", Request: req, Put: dumps(func() evidence.EnvoyDump {
			p := whole()
			p.assigned = []string{assigned("UNHEALTHY")}
			return p.dump(t)
		}())},
	))
}
