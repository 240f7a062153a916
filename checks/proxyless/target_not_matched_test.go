package proxyless_test

import (
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/checks/proxyless"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestTargetNotMatched(t *testing.T) {
	rule := func(name, port, proxy string) evidence.ForwardingRule {
		return evidence.ForwardingRule{Name: name, Project: projectID, Scheme: evidence.SelfManaged, Network: network, IPAddress: "0.0.0.0", PortRange: port + "-" + port, Target: link + "targetGrpcProxies/" + proxy, Source: gcp}
	}
	proxies := put(evidence.TargetProxies, []evidence.TargetProxy{
		{Kind: "grpc", Name: "checkout-proxy", SelfLink: link + "targetGrpcProxies/checkout-proxy", URLMap: "https://compute.googleapis.com/compute/v1/projects/mesh-prod-4f2a/global/urlMaps/checkout-map", ValidateForProxyless: true},
		{Kind: "grpc", Name: "cart-proxy", SelfLink: link + "targetGrpcProxies/cart-proxy", URLMap: link + "urlMaps/cart-map"},
	})
	maps := func(hosts ...string) func(*evidence.Set) {
		return put(evidence.URLMaps, []evidence.URLMap{{Name: "checkout-map", SelfLink: link + "urlMaps/checkout-map", Hosts: hosts}, {Name: "cart-map", SelfLink: link + "urlMaps/cart-map", Hosts: []string{"cart:50052"}}})
	}
	rules := put(evidence.ForwardingRules, []evidence.ForwardingRule{rule("checkout-rule", "50051", "checkout-proxy"), rule("cart-rule", "50052", "cart-proxy"),
		{Name: "http", Scheme: evidence.SelfManaged, Network: network, PortRange: "8080-8080", Target: link + "targetHttpProxies/http"}})
	grpc := put(evidence.Clients, evidence.ClientList{Clients: []evidence.Client{{NodeID: nodeID, UserAgentName: "gRPC Go"}}})
	envoy := put(evidence.Clients, evidence.ClientList{Clients: []evidence.Client{{NodeID: nodeID, UserAgentName: "envoy"}}})
	removed := func(name string) evidence.LogMessage {
		return message(messages.GRPCListenerMissing, `xds: resource "`+name+`" of type "ListenerResource" has been removed`, map[string]string{"name": name})
	}
	routes := func(hosts ...string) func(*evidence.Set) {
		return put(evidence.Routes, []evidence.Route{{Kind: "grpc", Name: "checkout-route", Meshes: []string{"shop-mesh"}, Hostnames: hosts}, {Kind: "grpc", Name: "other", Meshes: []string{"other-mesh"}, Hostnames: []string{"checkout:8080"}}})
	}
	all := func(hosts ...string) func(*evidence.Set) { return puts(rules, proxies, maps(hosts...)) }
	const xdstp = "xdstp://traffic-director-global.xds.googleapis.com/envoy.config.listener.v3.Listener/482915067713/mesh-vpc/"
	checkstest.Run(t, proxyless.TargetNotMatched, []checkstest.Case{
		{Name: "no rule with the port", Request: dialling(onNetwork, "checkout:8080"), Put: puts(grpc, all("checkout:50051")), Want: []checkstest.Want{{
			Subject: "xds:///checkout:8080", Summary: `A gRPC client dials xds:///checkout:8080, and no forwarding rule on network "mesh-vpc" has port 8080.`, Confidence: diagnose.Confirmed, Excerpt: "cart-rule has port 50052\ncheckout-rule has port 50051", Params: map[string]string{"other_port": "yes"}}}},
		{Name: "port 80 when none is given", Request: dialling(onNetwork, "xds:///checkout"), Put: puts(bootstraps(bootstrap(nil)), all("checkout")), Want: []checkstest.Want{{Summary: "has port 80, which is meant where none is given.", Params: map[string]string{"dial": "checkout", "port": "80"}}}},
		{Name: "no host rule with the port in it", Request: dialling(onNetwork, "checkout:50051"), Put: puts(grpc, all("checkout", "checkout:80")), Want: []checkstest.Want{{
			Summary: `A gRPC client dials xds:///checkout:50051, and no host rule behind port 50051 is "checkout:50051" (there is "checkout").`, Confidence: diagnose.Likely, Excerpt: "URL map checkout-map has the hosts checkout, checkout:80", Params: map[string]string{"url_map": "checkout-map"}}}},
		{Name: "the client says so too", Request: onNetwork, Put: puts(logs(removed(xdstp+"checkout:50051")), all("checkout")), Want: []checkstest.Want{{Subject: "xds:///checkout:50051", Confidence: diagnose.Confirmed, Excerpt: "has been removed"}}},
		{Name: "an encoded name, from files alone", Put: puts(logs(removed(xdstp+"checkout%3A8080")), bootstraps(bootstrap(nil)), all("checkout:50051")), Want: []checkstest.Want{{Summary: "no forwarding rule"}}, Unfilled: []string{"project"}},
		{Name: "two of them", Request: onNetwork, Put: puts(logs(removed("checkout:8080"), removed("cart:9090"), removed("cart:50052")), all("checkout:50051")),
			Want: []checkstest.Want{{Key: "dials/checkout:8080"}, {Key: "dials/cart:9090"}}},
		{Name: "no route of the Mesh", Request: dialling(onMesh, "checkout:8080"), Put: puts(grpc, routes("checkout:50051")), Want: []checkstest.Want{{Summary: `no route of Mesh "shop-mesh" has the hostname "checkout:8080" (there is "checkout:50051").`, Confidence: diagnose.Likely}}},

		{Name: "the client's word alone", Put: logs(removed("checkout:8080")), Unfilled: []string{"project"}, Want: []checkstest.Want{{Subject: "xds:///checkout:8080", Confidence: diagnose.Possible,
			Summary: "A gRPC client dials xds:///checkout:8080, and said once that the control plane has no listener for it.", Excerpt: "has been removed", Params: map[string]string{"told": "yes", "port": "8080"}}}},
		{Name: "a client's word that it never came", Put: logs(message(messages.GRPCListenerMissing, "xds: ListenerResource target checkout not found, watcher timeout", map[string]string{"target": "checkout"})),
			Unfilled: []string{"project"}, Want: []checkstest.Want{{Subject: "xds:///checkout", Confidence: diagnose.Likely, Params: map[string]string{"port": "80"}}}},
		{Name: "its network known, and no rules handed in", Put: puts(logs(removed("checkout:8080")), bootstraps(bootstrap(nil))), Unfilled: []string{"project"}, Want: []checkstest.Want{{Confidence: diagnose.Possible}}},

		{Name: "matched", Request: dialling(onNetwork, "checkout:50051"), Put: puts(grpc, all("checkout:50051"))},
		{Name: "matched by another case of letters", Request: dialling(onNetwork, "Checkout:50051"), Put: puts(grpc, all("checkout:50051"))},
		{Name: "a wildcard", Request: dialling(onNetwork, "checkout:50051"), Put: puts(grpc, all("*"))},
		{Name: "no host rules", Request: dialling(onNetwork, "checkout:50051"), Put: puts(grpc, all())},
		{Name: "a rule that shows no port", Request: dialling(onNetwork, "checkout:8080"), Put: puts(grpc, proxies, maps(), put(evidence.ForwardingRules, []evidence.ForwardingRule{{Name: "r", Scheme: evidence.SelfManaged, Network: network, Target: link + "targetGrpcProxies/checkout-proxy"}}))},
		{Name: "a removal of the past", Request: onNetwork, Put: puts(logs(removed("checkout:50051")), all("checkout:50051"))},
		{Name: "a route of the Mesh", Request: dialling(onMesh, "checkout:8080"), Put: puts(grpc, routes("checkout:8080"))},
		{Name: "a route for all hosts", Request: dialling(onMesh, "checkout:8080"), Put: puts(grpc, routes())},
		{Name: "no rule on the network", Request: dialling(onNetwork, "checkout:8080"), Put: puts(grpc, put(evidence.ForwardingRules, nil)), Outcome: diagnose.OutcomeSkipped, Reason: "no forwarding rule for gRPC is on network mesh-vpc"},
		{Name: "no route attached", Request: dialling(onMesh, "checkout:8080"), Put: puts(grpc, put(evidence.Routes, nil)), Outcome: diagnose.OutcomeSkipped},
		{Name: "a scope", Request: dialling(diagnose.Request{Target: diagnose.Target{Project: projectID, Mesh: "scope:edge"}}, "checkout:8080"), Put: grpc, Outcome: diagnose.OutcomeSkipped},
		{Name: "clients with a sidecar", Request: dialling(onNetwork, "checkout:8080"), Put: puts(envoy, all("checkout:50051")), Outcome: diagnose.OutcomeSkipped, Reason: "without a sidecar"},
		{Name: "an address", Request: dialling(onNetwork, "10.0.0.1:8080"), Put: puts(grpc, all("checkout:50051")), Outcome: diagnose.OutcomeSkipped},
		{Name: "no network known, and nothing said", Request: dialling(diagnose.Request{}, "xds:///checkout:8080"), Put: puts(logs(), all("checkout")), Outcome: diagnose.OutcomeSkipped, Reason: "network or Mesh is not known"},
		{Name: "the proxy isn't known", Request: dialling(onNetwork, "checkout:50051"), Put: puts(grpc, rules, put(evidence.TargetProxies, nil), maps("x")), Outcome: diagnose.OutcomeSkipped},
		{Name: "the URL map isn't known", Request: dialling(onNetwork, "checkout:50051"), Put: puts(grpc, rules, proxies, put(evidence.URLMaps, nil)), Outcome: diagnose.OutcomeSkipped},
		{Name: "rules denied", Request: dialling(onNetwork, "checkout:8080"), Put: puts(grpc, fail(evidence.ForwardingRules.Name())), Outcome: diagnose.OutcomeInconclusive},
		{Name: "a part of the rules", Request: dialling(onNetwork, "checkout:8080"), Put: puts(grpc, all("checkout:50051"), fail(evidence.ForwardingRules.Name())), Outcome: diagnose.OutcomeInconclusive},
		{Name: "URL maps denied", Request: dialling(onNetwork, "checkout:50051"), Put: puts(grpc, rules, proxies, fail(evidence.URLMaps.Name())), Outcome: diagnose.OutcomeInconclusive},
		{Name: "proxies denied", Request: dialling(onNetwork, "checkout:50051"), Put: puts(grpc, rules, fail(evidence.TargetProxies.Name())), Outcome: diagnose.OutcomeInconclusive},
		{Name: "routes late", Request: dialling(onMesh, "checkout:50051"), Put: puts(grpc, late(evidence.Routes.Name())), Outcome: diagnose.OutcomeInconclusive},
		{Name: "who dials is denied", Request: dialling(onNetwork, "checkout:8080"), Put: puts(fail(evidence.Clients.Name()), all("checkout:50051")), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Request: onNetwork, Outcome: diagnose.OutcomeSkipped},
	})
}
