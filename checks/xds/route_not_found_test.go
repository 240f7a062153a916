package xds

import (
	"fmt"
	"strings"
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
)

func TestRouteNotFound(t *testing.T) {
	gone, otherPath, named := whole(), whole(), whole()
	gone.routes = nil
	otherPath.routes = []string{fmt.Sprintf(vhost, "*", "/api/")}
	named.routes = []string{strings.Replace(fmt.Sprintf(vhost, "*", "/"), "482915067713.checkout", "482915067713.other", 1)}
	req := asking("10.0.0.1:80", 0)
	elsewhere := req
	elsewhere.Target.NodeID = ""
	checkstest.Run(t, RouteNotFound, append(commonQuiet(t, req),
		checkstest.Case{Name: "no route configuration", Request: req, Put: dumps(gone.dump(t)), Want: []checkstest.Want{{Summary: "route configuration URL_MAP/482915067713.checkout", Confidence: diagnose.Confirmed}}},
		checkstest.Case{Name: "one of another name", Request: req, Put: dumps(named.dump(t)), Want: []checkstest.Want{{Summary: "does not have"}}},
		checkstest.Case{Name: "another proxy's", Request: elsewhere, Put: dumps(gone.dump(t)), Want: []checkstest.Want{{Key: "nodes/" + nodeA}}},
		checkstest.Case{Name: "a path decides, and none was given", Request: req, Put: dumps(otherPath.dump(t)), Outcome: diagnose.OutcomeInconclusive, Reason: "path"},
	))
}
