package vm

import (
	"testing"
	"time"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/envoy"
)

func TestEnvoyNotLive(t *testing.T) {
	const nodeA, nodeB = "projects/482915067713/networks/mesh-vpc/nodes/a", "projects/482915067713/networks/mesh-vpc/nodes/b"
	info := func(node, state string, up time.Duration) evidence.EnvoyInfo {
		return evidence.EnvoyInfo{Info: envoy.ServerInfo{State: state, Node: envoy.Node{ID: node}}, Uptime: up, Source: pasted}
	}
	infos := func(l ...evidence.EnvoyInfo) func(*evidence.Set) { return putFrom(evidence.EnvoyInfos, l, pasted) }
	node := diagnose.Request{Target: diagnose.Target{Project: projectID, Network: "mesh-vpc", NodeID: nodeA}}
	checkstest.Run(t, EnvoyNotLive, []checkstest.Case{
		{Name: "waits for its configuration", Request: files, Put: infos(info(nodeA, "INITIALIZING", 10*time.Minute)),
			Want: []checkstest.Want{{Subject: "the Envoy of " + nodeA, Summary: "up for 10 minutes, and is still INITIALIZING", Confidence: diagnose.Confirmed, Severity: diagnose.Blocking, Excerpt: "state INITIALIZING"}}},
		{Name: "waits for its clusters", Request: node, Put: infos(info(nodeA, "PRE_INITIALIZING", time.Hour), info(nodeB, "LIVE", time.Hour)), Want: []checkstest.Want{{}}},
		{Name: "drains", Request: files, Put: infos(info(nodeA, "LIVE", time.Hour), info(nodeB, "DRAINING", time.Second)),
			Want: []checkstest.Want{{Key: "nodes/" + nodeB, Severity: diagnose.Degrading, Params: map[string]string{"draining": "yes"}}}},
		{Name: "it doesn't name its node", Request: files, Put: infos(info("", "INITIALIZING", 2*time.Minute)), Want: []checkstest.Want{{Subject: "the Envoy of web-1.txt"}}},

		{Name: "live", Request: files, Put: infos(info(nodeA, "LIVE", time.Hour))},
		{Name: "just started", Request: files, Put: infos(info(nodeA, "INITIALIZING", 20*time.Second)), Outcome: diagnose.OutcomeInconclusive, Reason: "just now"},
		{Name: "how long isn't known", Request: files, Put: infos(info(nodeA, "PRE_INITIALIZING", 0)), Outcome: diagnose.OutcomeInconclusive},
		{Name: "another proxy's", Request: node, Put: infos(info(nodeB, "INITIALIZING", time.Hour))},
		{Name: "failed", Request: node, Put: deny(evidence.EnvoyInfos.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Request: node, Put: late(evidence.EnvoyInfos.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Request: network, Outcome: diagnose.OutcomeSkipped},
	})
}
