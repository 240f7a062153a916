package config_test

import (
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/checks/config"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestNetworkMismatch(t *testing.T) {
	old := rule("web", "mesh-vpc-old")
	tcp := rule("db", "mesh-vpc-old", func(r *evidence.ForwardingRule) {
		r.Target = "https://www.googleapis.com/compute/v1/projects/p/global/targetTcpProxies/db-proxy"
	})
	checkstest.Run(t, config.NetworkMismatch, []checkstest.Case{
		{
			Name: "the rules are on another network than was asked about", Request: onNetwork, Put: puts(theProject, rules(old, tcp)),
			Want: []checkstest.Want{{
				Subject: "network mesh-vpc of project mesh-prod-4f2a",
				Summary: `on network "mesh-vpc", but none of the 2 forwarding rules with INTERNAL_SELF_MANAGED is on it: they are on "mesh-vpc-old".`,
				Key:     "", Confidence: diagnose.Confirmed, Severity: diagnose.Blocking, Excerpt: `network "mesh-vpc-old"`,
				Params: map[string]string{"proxy_network": network, "rules_network": "mesh-vpc-old", "tcp_proxy": "db-proxy", "ports": "80"},
			}},
		},
		{
			Name: "the closest of several", Request: onNetwork, Put: rules(rule("a", "default"), rule("b", "mesh-vcp"), rule("c", "prod")),
			Want: []checkstest.Want{{Summary: `The closest name is "mesh-vcp".`, Params: map[string]string{"rules_network": "mesh-vcp", "rule": "b"}}},
		},
		{
			Name: "the bootstrap names another network than the rules and the request", Request: onNetwork,
			Put: puts(theProject, rules(rule("web", network)), boots(boot(onSegment("mesh-vpc-old")))),
			Want: []checkstest.Want{{
				Subject: "bootstrap envoy.yaml", Summary: `names network "mesh-vpc-old", but the one forwarding rule with INTERNAL_SELF_MANAGED is on "mesh-vpc"`,
				Confidence: diagnose.Confirmed, Excerpt: `node.id: "mesh-vpc-old"`, Params: map[string]string{"rules_network": network, "envoy": "envoy.yaml"},
			}},
		},
		{
			Name: "the bootstrap's network has rules of its own", Request: onNetwork,
			Put:  puts(rules(rule("web", network), old), boots(boot(onSegment("mesh-vpc-old")))),
			Want: []checkstest.Want{{Subject: "bootstrap envoy.yaml", Summary: `not "mesh-vpc" that was asked about`, Confidence: diagnose.Likely, Severity: diagnose.Degrading, Params: map[string]string{"ask_again": "mesh-vpc-old"}}},
		},
		{
			Name: "the proxy and the rules agree, the question is off", Request: onNetwork,
			Put: puts(rules(old), boots(boot(onSegment("mesh-vpc-old")))),
			Want: []checkstest.Want{{
				Summary: `Network "mesh-vpc" was asked about, and no forwarding rule is on it; the rules and bootstrap envoy.yaml are on network "mesh-vpc-old".`,
				Key:     "", Severity: diagnose.Degrading, Params: map[string]string{"ask_again": "mesh-vpc-old"},
			}},
		},
		{
			Name: "the node asked about", Request: asking(onNetwork, node("mesh-vpc-old")), Put: rules(rule("web", network)),
			Want: []checkstest.Want{{Subject: "node " + node("mesh-vpc-old"), Excerpt: `node id: "mesh-vpc-old"`, Key: ""}},
		},
		{
			Name: "files alone", Request: filesOnly,
			Put:  puts(paste(evidence.ForwardingRules, []evidence.ForwardingRule{old}), boots(grpcBoot(network))),
			Want: []checkstest.Want{{Subject: "bootstrap td-grpc-bootstrap.json", Confidence: diagnose.Likely, Key: "", Params: map[string]string{"project": projectID}}},
		},
		{
			Name: "one of two bootstraps", Request: onNetwork,
			Put:  puts(rules(rule("web", network)), boots(boot(), sidecarEnv(projectNumber, "mesh_vpc"))),
			Want: []checkstest.Want{{Key: "files/sidecar.env", Subject: "bootstrap sidecar.env", Excerpt: `VPC_NETWORK_NAME: "mesh_vpc"`}},
		},
		{
			Name: "node id and metadata disagree", Request: onNetwork,
			Put:  puts(rules(rule("web", network)), boots(boot(meta(evidence.MetadataNetwork, "default")))),
			Want: []checkstest.Want{{Summary: "names two networks", Confidence: diagnose.Possible, Severity: diagnose.Degrading}},
		},
		{Name: "a rule on the network", Request: onNetwork, Put: puts(rules(rule("web", network), old), boots(boot()))},
		{Name: "no rule at all is another row's", Request: onNetwork, Put: puts(theProject, rules(rule("lb", "", external)))},
		{Name: "URL against name", Request: diagnose.Request{Target: diagnose.Target{Project: projectID, Network: "https://www.googleapis.com/compute/v1/projects/host/global/networks/" + network}},
			Put: rules(rule("web", "projects/host/global/networks/"+network))},
		{Name: "the metadata holds the network's URL", Request: onNetwork, Put: puts(rules(rule("web", network)), boots(boot(meta(evidence.MetadataNetwork, "projects/host/global/networks/"+network))))},
		{Name: "Shared VPC: a service project's rule on the host's network", Request: onNetwork, Put: puts(theProject, rules(rule("web", network, networkOf("net-host-prod"))), boots(boot()))},
		{Name: "Shared VPC: the rule is in another project, which is another row's", Request: onNetwork, Put: puts(theProject, rules(rule("web", network, inProject("svc")), old))},
		{Name: "a node of a Mesh", Request: asking(onNetwork, node("mesh:"+meshName)), Put: rules(old), Outcome: diagnose.OutcomeSkipped, Reason: "Mesh"},
		{Name: "a scope in the bootstrap", Request: onNetwork, Put: puts(rules(old), boots(boot(onSegment("scope:edge")))), Outcome: diagnose.OutcomeSkipped},
		{Name: "a Mesh by metadata, its network left empty", Request: filesOnly, Put: puts(rules(old), boots(boot(withNode("x"), meta(evidence.MetadataNetwork, ""), meta("TRAFFICDIRECTOR_MESH_NAME", "gketd-m")))), Outcome: diagnose.OutcomeSkipped},
		{Name: "rules pasted alone", Request: filesOnly, Put: rules(old), Outcome: diagnose.OutcomeSkipped},
		{
			Name: "an istiod's bootstrap", Request: onNetwork,
			Put: puts(rules(rule("web", network)), boots(evidence.Bootstrap{Kind: evidence.EnvoyBootstrap, File: "e.json", NodeID: "sidecar~10.0.0.1~a.b~b.svc.cluster.local", Servers: []string{"istiod.istio-system.svc:15012"}})),
		},
		{Name: "a rule without scheme on the network", Request: onNetwork, Put: rules(old, rule("web", network, noScheme)), Outcome: diagnose.OutcomeInconclusive, Reason: "shows no loadBalancingScheme"},
		{Name: "Mesh target", Request: onMesh, Put: rules(old), Outcome: diagnose.OutcomeSkipped},
		{Name: "denied", Request: onNetwork, Put: fail("forwarding-rules"), Outcome: diagnose.OutcomeInconclusive, Reason: "not allowed"},
		{Name: "late", Request: onNetwork, Put: late("forwarding-rules"), Outcome: diagnose.OutcomeInconclusive},
		{Name: "a part denied", Request: onNetwork, Put: puts(rules(old), failPart("forwarding-rules")), Outcome: diagnose.OutcomeInconclusive},
		{Name: "a part denied, and a rule on the network in the other", Request: onNetwork, Put: puts(rules(rule("web", network)), failPart("forwarding-rules"))},
		{Name: "the bootstrap can't be read, and nothing else names a network", Request: filesOnly, Put: puts(rules(old), fail("bootstraps")), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Request: onNetwork, Outcome: diagnose.OutcomeSkipped},
	})
}
