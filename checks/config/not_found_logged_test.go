package config_test

import (
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/checks/config"
	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

var envoyLog = evidence.Source{Collector: "artifact", Detail: "envoy.err.log", Vantage: evidence.FromWorkload, Pasted: true}

// message is one kind of message in a log; pairs are its fields.
func message(signature, text string, count int, pairs ...string) evidence.LogMessage {
	m := evidence.LogMessage{Signature: signature, Fields: map[string]string{}, File: "envoy.err.log", Line: 17, LastLine: 17 + count - 1, Text: text, Count: count, Source: envoyLog}
	for i := 0; i < len(pairs); i += 2 {
		m.Fields[pairs[i]] = pairs[i+1]
	}
	return m
}

func logs(m ...evidence.LogMessage) func(*evidence.Set) {
	return func(s *evidence.Set) { evidence.Put(s, evidence.LogMessages, m, envoyLog) }
}

func TestNotFoundLogged(t *testing.T) {
	config5, entity5 := messages.ConfigNotFound.ID, messages.EntityNotFound.ID
	byNetwork := message(config5, `gRPC config stream closed: 5, Cloud Service Mesh configuration was not found for network "mesh-vpc" in project "482915067713".`, 12,
		"product", "Cloud Service Mesh", "kind", "network", "name", network, "project", projectNumber)
	byMesh := message(config5, `…`, 1, "kind", "mesh", "name", meshName, "project", projectNumber)
	byScope := message(config5, `…`, 1, "kind", "scope", "name", "edge", "project", projectNumber)
	asNetwork := message(config5, `…`, 1, "kind", "network", "name", "mesh:"+meshName, "project", projectNumber)
	stream := message(entity5, `StreamAggregatedResources gRPC config stream closed: 5, Requested entity was not found.`, 3, "stream", "gRPC config stream")
	bare := message(entity5, `Requested entity was not found.`, 1)
	other := message("envoy-stream-closed", "gRPC config stream closed: 13, ", 4, "code", "13")
	checkstest.Run(t, config.NotFoundLogged, []checkstest.Case{
		{
			Name: "a network, text alone", Request: filesOnly, Put: logs(byNetwork),
			Want: []checkstest.Want{{
				Subject: "network mesh-vpc of project 482915067713", Key: "", Confidence: diagnose.Likely, Excerpt: "envoy.err.log:17: gRPC config stream",
				Summary: `answered 12 times that it has no configuration for network "mesh-vpc" in project "482915067713".`,
				Params:  map[string]string{"network": network, "project": projectNumber},
			}},
		},
		{Name: "a Mesh", Request: filesOnly, Put: logs(byMesh), Want: []checkstest.Want{{Subject: "mesh checkout-mesh", Params: map[string]string{"mesh": meshName}}}},
		{Name: "a scope", Request: filesOnly, Put: logs(byScope), Want: []checkstest.Want{{Subject: "scope edge", Params: map[string]string{"scope": "edge"}}}},
		{Name: "a Mesh in a network's place", Request: filesOnly, Put: logs(asNetwork), Want: []checkstest.Want{{Subject: "mesh checkout-mesh"}}},
		{
			Name: "requested entity, on a stream", Request: filesOnly, Put: logs(stream), Unfilled: []string{"project"},
			Want: []checkstest.Want{{Summary: "answered 3 times that it did not find the configuration", Confidence: diagnose.Likely}},
		},
		{
			Name: "requested entity, pasted bare", Request: filesOnly, Put: logs(bare), Unfilled: []string{"project"},
			Want: []checkstest.Want{{Confidence: diagnose.Possible}},
		},
		{
			Name: "two wordings of one thing", Request: filesOnly, Put: logs(stream, byNetwork),
			Want: []checkstest.Want{{Subject: "network mesh-vpc", Excerpt: "Requested entity"}},
		},
		{
			Name: "the API that would tell is denied", Request: onNetwork, Put: puts(logs(stream), fail("forwarding-rules")),
			Want: []checkstest.Want{{Subject: "network mesh-vpc", Params: map[string]string{"project": projectID}}},
		},
		{Name: "the API confirms that it isn't there: a symptom of the row that says so", Request: onNetwork, Put: puts(logs(byNetwork), rules(rule("web", "other"))), Want: []checkstest.Want{{Subject: "network mesh-vpc"}}},
		{Name: "the API shows the rule", Request: onNetwork, Put: puts(logs(byNetwork, stream), rules(rule("web", network)))},
		{Name: "the API shows the Mesh", Request: onMesh, Put: puts(logs(byMesh, asNetwork), meshes(meshName))},
		{Name: "the API shows the scope", Request: onScope, Put: puts(logs(byScope), gateways(edge("gw-1")))},
		{Name: "other closures", Request: filesOnly, Put: logs(other)},
		{Name: "the log can't be read", Request: onNetwork, Put: fail("log-messages"), Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Request: onNetwork, Put: late("log-messages"), Outcome: diagnose.OutcomeInconclusive},
		{Name: "no log", Request: onNetwork, Put: rules(), Outcome: diagnose.OutcomeSkipped},
	})
}
