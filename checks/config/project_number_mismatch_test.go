package config_test

import (
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/checks/config"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestProjectNumberMismatch(t *testing.T) {
	const other = "903344718825"
	byNumber := diagnose.Request{Target: diagnose.Target{Project: projectNumber, Network: network}}
	ours := rules(rule("web", network))
	checkstest.Run(t, config.ProjectNumberMismatch, []checkstest.Case{
		{
			Name: "another project's number", Request: onNetwork,
			Put: puts(theProject, ours, boots(boot(withNode(nodeOf(other, network)), meta(evidence.MetadataProject, other)))),
			Want: []checkstest.Want{{
				Subject: "bootstrap envoy.yaml", Summary: "names project 903344718825 in node.id; the number of project mesh-prod-4f2a is 482915067713.",
				Key: "", Confidence: diagnose.Confirmed, Excerpt: `node.metadata.TRAFFICDIRECTOR_GCP_PROJECT_NUMBER: "903344718825"`,
				Params: map[string]string{"number": projectNumber, "envoy": "envoy.yaml"},
			}},
		},
		{
			Name: "the ID where the number belongs", Request: onNetwork, Put: puts(theProject, ours, boots(sidecarEnv(projectID, network))),
			Want: []checkstest.Want{{Subject: "bootstrap sidecar.env", Summary: `gives "mesh-prod-4f2a" as project in GCP_PROJECT_NUMBER, where the project's number belongs (482915067713).`}},
		},
		{
			Name: "the ID, files alone", Request: filesOnly, Put: boots(sidecarEnv(projectID, network)),
			Want: []checkstest.Want{{Summary: "where the project's number belongs.", Params: map[string]string{"project": projectID}}},
		},
		{
			Name: "the node asked about", Request: asking(onNetwork, nodeOf(other, network)), Put: puts(theProject, ours),
			Want: []checkstest.Want{{Subject: "node projects/" + other, Excerpt: "has the number 482915067713"}},
		},
		{
			Name: "asked by number, the project unreadable", Request: byNumber, Put: puts(fail("project"), ours, boots(grpcBoot(network), boot(withNode(nodeOf(other, network))))),
			Want: []checkstest.Want{{Key: "files/envoy.yaml", Summary: "names project " + other}},
		},
		{
			Name: "node id and metadata disagree", Request: filesOnly, Put: boots(boot(meta(evidence.MetadataProject, other))),
			Want: []checkstest.Want{{Summary: "names two projects", Confidence: diagnose.Likely}},
		},
		{
			Name: "Shared VPC: asked about the host, the rules are in a service project", Request: onNetwork,
			Put: puts(theProject, rules(rule("web", network, inProject("svc-prod")))),
			Want: []checkstest.Want{{
				Subject: "project mesh-prod-4f2a", Summary: `are in service project "svc-prod"`, Confidence: diagnose.Confirmed,
				Params: map[string]string{"rules_project": "svc-prod"},
			}},
		},
		{
			Name: "Shared VPC: asked about a service project, the rules are in the host", Request: onNetwork,
			Put:  puts(theProject, rules(rule("web", network, inProject("net-host"), networkOf("net-host")))),
			Want: []checkstest.Want{{Summary: `are in project "net-host", which owns the network`, Confidence: diagnose.Likely}},
		},
		{Name: "the same project by ID and by number", Request: onNetwork, Put: puts(theProject, ours, boots(boot(), grpcBoot(network)))},
		{Name: "asked by number, the project unreadable, same number", Request: byNumber, Put: puts(fail("project"), ours, boots(boot()))},
		{Name: "Shared VPC: our rules on the host's network", Request: onNetwork, Put: puts(theProject, rules(rule("web", network, networkOf("net-host"))), boots(boot()))},
		{Name: "Shared VPC: rules in both", Request: onNetwork, Put: puts(theProject, rules(rule("web", network), rule("web", network, inProject("svc-prod"))))},
		{Name: "no rule on the network is another row's", Request: onNetwork, Put: puts(theProject, rules(rule("web", "other", inProject("svc-prod"))))},
		{Name: "a part denied: our own rules may be there", Request: onNetwork, Put: puts(theProject, rules(rule("web", network, inProject("svc-prod"))), failPart("forwarding-rules")), Outcome: diagnose.OutcomeInconclusive},
		{Name: "the rules can't be read", Request: onNetwork, Put: puts(theProject, fail("forwarding-rules")), Outcome: diagnose.OutcomeInconclusive},
		{Name: "nothing names a project", Request: onNetwork, Put: theProject},
		{Name: "an empty number is incomplete, not wrong", Request: onNetwork, Put: puts(theProject, boots(sidecarEnv("", network)))},
		{Name: "the project can't be read", Request: onNetwork, Put: puts(fail("project"), boots(boot())), Outcome: diagnose.OutcomeInconclusive},
		{Name: "the project is late", Request: onNetwork, Put: puts(late("project"), boots(boot())), Outcome: diagnose.OutcomeInconclusive},
		{Name: "a bootstrap alone: nothing to compare with", Request: filesOnly, Put: boots(boot()), Outcome: diagnose.OutcomeSkipped, Reason: "project was not asked for"},
		{Name: "a Mesh's proxy with the right number", Request: onMesh, Put: puts(theProject, boots(grpcBoot("mesh:"+meshName)))},
		{
			Name: "a Mesh's proxy with another number", Request: onMesh, Put: puts(theProject, boots(boot(withNode(nodeOf(other, "mesh:"+meshName))))),
			Want: []checkstest.Want{{Summary: "names project " + other}},
		},
		{Name: "files that name no project", Request: filesOnly, Put: rules(), Outcome: diagnose.OutcomeSkipped},
		{Name: "bootstraps unreadable", Request: onNetwork, Put: puts(theProject, fail("bootstraps")), Outcome: diagnose.OutcomeInconclusive},
	})
}
