package config_test

import (
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/checks/config"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestNoForwardingRule(t *testing.T) {
	managedRule := rule("web", network)
	internal := rule("ilb", network, func(r *evidence.ForwardingRule) { r.Scheme = "INTERNAL_MANAGED" })
	checkstest.Run(t, config.NoForwardingRule, []checkstest.Case{
		{
			Name: "rules of other schemes alone", Request: onNetwork,
			Put: puts(theProject, rules(rule("lb", "", external), internal)),
			Want: []checkstest.Want{{
				Subject: "network mesh-vpc of project mesh-prod-4f2a", Summary: `The project has 2 forwarding rules, none with the scheme INTERNAL_SELF_MANAGED`,
				Confidence: diagnose.Confirmed, Excerpt: "INTERNAL_SELF_MANAGED: 0", Params: map[string]string{"network": network},
			}},
		},
		{
			Name: "no rule at all, asked by number", Request: diagnose.Request{Target: diagnose.Target{Project: projectNumber, Network: network}},
			Put:  rules(),
			Want: []checkstest.Want{{Summary: "no forwarding rule at all", Confidence: diagnose.Confirmed}},
		},
		{
			Name: "the project has Meshes: likely at most", Request: onNetwork,
			Put:  puts(rules(), put(evidence.Meshes, []evidence.Mesh{{Name: meshName, Location: "global"}})),
			Want: []checkstest.Want{{Summary: "It has 1 Mesh", Confidence: diagnose.Likely, Params: map[string]string{"meshes": meshName}}},
		},
		{
			Name: "files alone: a list without one, and a bootstrap that needs one", Request: filesOnly,
			Put:  puts(paste(evidence.ForwardingRules, []evidence.ForwardingRule{rule("lb", "", external)}), boots(grpcBoot(network))),
			Want: []checkstest.Want{{Summary: "The files hold 1 forwarding rule, none", Confidence: diagnose.Likely, Excerpt: `node.id: "mesh-vpc"`}},
		},
		{
			Name: "a rule without scheme that leads to an external proxy isn't one", Request: onNetwork,
			Put:  rules(rule("old", "", external, noScheme)),
			Want: []checkstest.Want{{Confidence: diagnose.Confirmed}},
		},
		{Name: "a rule on the network", Request: onNetwork, Put: puts(theProject, rules(managedRule))},
		{Name: "rules on another network are another row's", Request: onNetwork, Put: puts(theProject, rules(rule("web", "other")))},
		{Name: "rules of another project on the network are another row's", Request: onNetwork, Put: puts(theProject, rules(rule("web", network, inProject("svc-prod"))))},
		{
			Name: "rules of another project elsewhere don't count", Request: onNetwork,
			Put:  puts(theProject, rules(rule("web", "other", inProject("svc-prod")))),
			Want: []checkstest.Want{{Confidence: diagnose.Confirmed}},
		},
		{
			Name: "a gRPC rule that shows no scheme", Request: onNetwork,
			Put: rules(rule("grpc", network, noScheme, func(r *evidence.ForwardingRule) { r.Target = "projects/p/global/targetGrpcProxies/g" })),
		},
		{
			Name: "a rule on the network that shows no scheme", Request: onNetwork, Put: rules(rule("web", network, noScheme)),
			Outcome: diagnose.OutcomeInconclusive, Reason: "shows no loadBalancingScheme",
		},
		{
			Name: "a rule that shows no network", Request: onNetwork, Put: rules(rule("web", "")),
			Outcome: diagnose.OutcomeInconclusive, Reason: "shows no network",
		},
		{Name: "asked with the network's URL", Request: diagnose.Request{Target: diagnose.Target{Project: projectID, Network: "projects/h/global/networks/" + network}}, Put: rules(managedRule)},
		{Name: "a Mesh", Request: onMesh, Put: rules(), Outcome: diagnose.OutcomeSkipped},
		{Name: "a node of a Mesh", Request: asking(onNetwork, node("mesh:"+meshName)), Put: rules(), Outcome: diagnose.OutcomeSkipped, Reason: "Mesh"},
		{Name: "a bootstrap of a Mesh that names the VPC too", Request: onNetwork, Put: puts(rules(), boots(boot(withNode(node("mesh:"+meshName))))), Outcome: diagnose.OutcomeSkipped},
		{Name: "rules pasted alone accuse nobody", Request: filesOnly, Put: rules(rule("lb", "", external)), Outcome: diagnose.OutcomeSkipped, Reason: "nothing names"},
		{Name: "denied", Request: onNetwork, Put: fail("forwarding-rules"), Outcome: diagnose.OutcomeInconclusive, Reason: "compute.forwardingRules.list"},
		{Name: "late", Request: onNetwork, Put: late("forwarding-rules"), Outcome: diagnose.OutcomeInconclusive, Reason: "in time"},
		{Name: "a part denied", Request: onNetwork, Put: puts(rules(rule("lb", "", external)), failPart("forwarding-rules")), Outcome: diagnose.OutcomeInconclusive},
		{Name: "a part denied, and a rule in the other", Request: onNetwork, Put: puts(rules(managedRule), failPart("forwarding-rules"))},
		{Name: "a pasted list doesn't stand in for a denied API", Request: onNetwork, Put: puts(paste(evidence.ForwardingRules, nil), fail("forwarding-rules")), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Request: onNetwork, Outcome: diagnose.OutcomeSkipped, Reason: "not asked for"},
	})
}
