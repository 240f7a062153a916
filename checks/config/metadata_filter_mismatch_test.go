package config_test

import (
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/checks/config"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func filter(match string, pairs ...string) func(*evidence.ForwardingRule) {
	f := evidence.MetadataFilter{Match: match}
	for i := 0; i < len(pairs); i += 2 {
		f.Labels = append(f.Labels, evidence.Label{Name: pairs[i], Value: pairs[i+1]})
	}
	return func(r *evidence.ForwardingRule) { r.MetadataFilters = append(r.MetadataFilters, f) }
}

// client is a node that CSDS lists on the network, with these metadata besides those that every one has.
func client(uuid string, pairs ...string) evidence.Client {
	c := evidence.Client{
		NodeID: "projects/" + projectNumber + "/networks/" + network + "/nodes/" + uuid, UserAgentName: "envoy", UserAgentVersion: "1.30.1",
		Metadata: map[string]string{evidence.MetadataProject: projectNumber, evidence.MetadataNetwork: network},
	}
	for i := 0; i < len(pairs); i += 2 {
		c.Metadata[pairs[i]] = pairs[i+1]
	}
	return c
}

func clients(c ...evidence.Client) func(*evidence.Set) {
	return put(evidence.Clients, evidence.ClientList{ProjectNumber: projectNumber, Scope: "network", ScopeName: network, Clients: c})
}

func TestMetadataFilterMismatch(t *testing.T) {
	prod := rule("web", network, filter("MATCH_ALL", "app", "shop", "env", "prod"))
	anyOf := rule("any", network, filter("MATCH_ANY", "app", "shop", "app2", "cart"))
	silent := client("c")
	silent.Metadata = nil
	mesh := client("m")
	mesh.NodeID = node("mesh:" + meshName)
	checkstest.Run(t, config.MetadataFilterMismatch, []checkstest.Case{
		{
			Name: "MATCH_ALL, one label off", Request: onNetwork, Put: puts(rules(prod), boots(boot(meta("app", "shop"), meta("env", "staging")))),
			Want: []checkstest.Want{{
				Subject: "bootstrap envoy.yaml", Key: "", Confidence: diagnose.Confirmed, Excerpt: `"env": "staging"`,
				Summary: `The only rule "web" on network "mesh-vpc" asks for MATCH_ALL of "app=shop", "env=prod"; bootstrap envoy.yaml has "env": "staging".`,
				Params:  map[string]string{"label": "env", "value": "prod", "rule": "web"},
			}},
		},
		{
			Name: "a wrong value is named before a label that isn't there", Request: onNetwork,
			Put:  puts(rules(rule("web", network, filter("MATCH_ANY", "canary", "true", "env", "prod"))), boots(boot(meta("env", "staging")))),
			Want: []checkstest.Want{{Params: map[string]string{"label": "env", "value": "prod"}}},
		},
		{
			Name: "MATCH_ANY, none", Request: onNetwork, Put: puts(rules(anyOf), clients(client("a", "app", "other"))),
			Want: []checkstest.Want{{Key: "nodes/projects/" + projectNumber + "/networks/mesh-vpc/nodes/a", Excerpt: `"app2" not there`}},
		},
		{
			Name: "several filters in a rule, one unsatisfied", Request: filesOnly,
			Put:  puts(rules(rule("web", network, filter("MATCH_ANY", "app", "shop"), filter("MATCH_ALL", "env", "prod"))), boots(boot(meta("app", "shop")))),
			Want: []checkstest.Want{{Summary: `MATCH_ANY of "app=shop" and MATCH_ALL of "env=prod"`, Params: map[string]string{"label": "env"}}},
		},
		{
			Name: "two rules, neither admits it; the node asked about", Request: asking(onNetwork, client("a").NodeID),
			Put:  puts(rules(prod, anyOf), clients(client("a"), client("b", "app", "shop"))),
			Want: []checkstest.Want{{Key: "", Summary: "none of the 2 rules"}},
		},
		{
			Name: "clients that lack the same are one cause", Request: onNetwork,
			Put:  puts(rules(anyOf), clients(client("a"), client("b"), client("c", "app", "x"), client("d", "app", "shop"))),
			Want: []checkstest.Want{{Subject: "2 nodes of network mesh-vpc", Key: "nodes"}, {Subject: "nodes/c"}},
		},
		{Name: "MATCH_ALL, all there", Request: onNetwork, Put: puts(rules(prod), boots(boot(meta("app", "shop"), meta("env", "prod"))))},
		{Name: "MATCH_ANY, one of them", Request: onNetwork, Put: puts(rules(anyOf), clients(client("a", "app2", "cart")))},
		{Name: "another rule without filters", Request: onNetwork, Put: puts(rules(prod, rule("all", network)), boots(boot()))},
		{Name: "filters on another network's rule", Request: onNetwork, Put: puts(rules(rule("x", "other", filter("MATCH_ALL", "a", "b"))), boots(boot()))},
		{Name: "a match of an unknown kind", Request: onNetwork, Put: puts(rules(rule("x", network, filter("NOT_SET", "a", "b"))), boots(boot()))},
		{Name: "the metadata wasn't told", Request: onNetwork, Put: puts(rules(prod), clients(silent)), Outcome: diagnose.OutcomeSkipped, Reason: "no proxy's metadata"},
		{Name: "a Mesh's node", Request: onNetwork, Put: puts(rules(prod), clients(mesh)), Outcome: diagnose.OutcomeSkipped},
		{Name: "sidecar.env says nothing of metadata", Request: filesOnly, Put: puts(rules(prod), boots(sidecarEnv(projectNumber, network))), Outcome: diagnose.OutcomeSkipped},
		{Name: "no filters anywhere, clients unknown", Request: onNetwork, Put: puts(rules(rule("web", network)), fail("clients"))},
		{Name: "clients denied", Request: onNetwork, Put: puts(rules(prod), fail("clients")), Outcome: diagnose.OutcomeInconclusive},
		{Name: "clients late", Request: onNetwork, Put: puts(rules(prod), late("clients")), Outcome: diagnose.OutcomeInconclusive},
		{Name: "rules denied", Request: onNetwork, Put: puts(fail("forwarding-rules"), boots(boot())), Outcome: diagnose.OutcomeInconclusive},
		{Name: "a part of the rules denied", Request: onNetwork, Put: puts(rules(prod), failPart("forwarding-rules"), boots(boot())), Outcome: diagnose.OutcomeInconclusive},
		{Name: "rules pasted alone", Request: filesOnly, Put: rules(prod), Outcome: diagnose.OutcomeSkipped},
		{Name: "Mesh target", Request: onMesh, Put: rules(prod), Outcome: diagnose.OutcomeSkipped},
		{Name: "not asked", Request: onNetwork, Put: boots(boot()), Outcome: diagnose.OutcomeSkipped},
	})
}
