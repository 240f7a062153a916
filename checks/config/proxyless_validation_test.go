package config_test

import (
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/checks/config"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

const compute = "https://www.googleapis.com/compute/v1/projects/" + projectID + "/global/"

func toGRPC(proxy string) func(*evidence.ForwardingRule) {
	return func(r *evidence.ForwardingRule) {
		r.IPAddress, r.Target = "0.0.0.0", compute+"targetGrpcProxies/"+proxy
	}
}

func grpcProxy(name string, validates bool) evidence.TargetProxy {
	return evidence.TargetProxy{Kind: "grpc", Name: name, URLMap: compute + "urlMaps/" + name + "-map", ValidateForProxyless: validates, Source: gcp}
}

// backends puts a URL map for each proxy with one backend service of the protocol behind it.
func backends(protocol string, proxies ...string) func(*evidence.Set) {
	var maps []evidence.URLMap
	var services []evidence.BackendService
	for _, p := range proxies {
		maps = append(maps, evidence.URLMap{Name: p + "-map", Services: []string{compute + "backendServices/" + p + "-bs"}})
		services = append(services, evidence.BackendService{Name: p + "-bs", Protocol: protocol, Scheme: evidence.SelfManaged})
	}
	return puts(put(evidence.URLMaps, maps), put(evidence.BackendServices, services))
}

func grpcClient(uuid string) evidence.Client {
	c := client(uuid)
	c.UserAgentName, c.UserAgentVersion = "gRPC Go", "1.85.0"
	return c
}

func TestProxylessValidation(t *testing.T) {
	one := rules(rule("shop", network, toGRPC("shop")))
	two := rules(rule("shop", network, toGRPC("shop")), rule("cart", network, toGRPC("cart")))
	bare, good, cart := targets(grpcProxy("shop", false)), targets(grpcProxy("shop", true)), targets(grpcProxy("shop", true), grpcProxy("cart", false))
	meshNode := grpcClient("m")
	meshNode.NodeID = node("mesh:" + meshName)
	refusal := message("proxyless-address-refused", "Invalid value for field 'resource.IPAddress'", 1)
	checkstest.Run(t, config.ProxylessValidation, []checkstest.Case{
		{
			Name: "no flag, gRPC clients alone", Request: onNetwork, Put: puts(one, bare, backends("GRPC", "shop"), clients(grpcClient("a"))),
			Want: []checkstest.Want{{
				Subject: "target gRPC proxy shop", Key: "", Confidence: diagnose.Confirmed, Excerpt: "is gRPC Go 1.85.0",
				Summary: `Target gRPC proxy "shop" on network "mesh-vpc" lacks validateForProxyless`,
				Params:  map[string]string{"grpc_proxy": "shop", "url_map": "shop-map", "ports": "80", "network": network},
			}},
		},
		{
			Name: "no flag anywhere, a mixed fleet", Request: onNetwork, Put: puts(one, bare, backends("GRPC", "shop"), clients(grpcClient("a"), client("b"))),
			Want: []checkstest.Want{{Confidence: diagnose.Likely}},
		},
		{
			Name: "all clients are gRPC, and one proxy of two lacks the flag", Request: onNetwork, Put: puts(two, cart, backends("GRPC", "shop", "cart"), clients(grpcClient("a"))),
			Want: []checkstest.Want{{Subject: "target gRPC proxy cart", Confidence: diagnose.Possible}},
		},
		{
			Name: "a backend service of another protocol", Request: onNetwork, Put: puts(one, good, backends("HTTP2", "shop"), clients(grpcClient("a"))),
			Want: []checkstest.Want{{Subject: "backend service shop-bs", Summary: "has the protocol HTTP2, not GRPC", Params: map[string]string{"backend_service": "shop-bs"}}},
		},
		{
			Name: "a gRPC bootstrap and pasted API answers", Request: filesOnly, Put: puts(one, bare, boots(grpcBoot(network))),
			Want: []checkstest.Want{{Confidence: diagnose.Likely, Excerpt: "bootstrap td-grpc-bootstrap.json"}},
		},
		{
			Name: "the API's refusal", Request: filesOnly, Put: logs(refusal),
			Want: []checkstest.Want{{Summary: "because its address is not 0.0.0.0", Confidence: diagnose.Likely}},
		},
		{Name: "validated, GRPC behind it", Request: onNetwork, Put: puts(one, good, backends("GRPC", "shop"), clients(grpcClient("a")))},
		{Name: "a proxy without the flag for Envoys, beside one with it", Request: onNetwork, Put: puts(two, cart, backends("GRPC", "shop", "cart"), clients(grpcClient("a"), client("b")))},
		{
			Name: "a proxy without the flag for Envoys, and the gRPC client alone is asked about", Request: asking(onNetwork, grpcClient("a").NodeID),
			Put: puts(two, cart, backends("GRPC", "shop", "cart"), clients(grpcClient("a"), client("b"))),
		},
		{
			Name: "the Envoys' proxy may have other backends", Request: onNetwork,
			Put: puts(two, cart, backends("GRPC", "shop"), clients(grpcClient("a"), client("b"))),
		},
		{Name: "no flag, Envoys alone", Request: onNetwork, Put: puts(one, bare, backends("HTTP2", "shop"), clients(client("a"))), Outcome: diagnose.OutcomeSkipped, Reason: "no gRPC client"},
		{Name: "the gRPC client is another node", Request: asking(onNetwork, client("b").NodeID), Put: puts(one, bare, clients(grpcClient("a"), client("b"))), Outcome: diagnose.OutcomeSkipped},
		{Name: "HTTP target proxies", Request: onNetwork, Put: puts(rules(rule("web", network)), targets(evidence.TargetProxy{Kind: "http", Name: "web-proxy"}), clients(grpcClient("a")))},
		{Name: "the rule is on another network", Request: onNetwork, Put: puts(rules(rule("shop", "other", toGRPC("shop"))), bare, clients(grpcClient("a")))},
		{Name: "a gRPC client of a Mesh", Request: onNetwork, Put: puts(one, bare, clients(meshNode)), Outcome: diagnose.OutcomeSkipped},
		{Name: "Mesh target", Request: onMesh, Put: puts(one, bare, clients(grpcClient("a"))), Outcome: diagnose.OutcomeSkipped, Reason: "GRPCRoutes"},
		{Name: "a protocol that isn't shown", Request: onNetwork, Put: puts(one, good, backends("", "shop"), clients(grpcClient("a")))},
		{Name: "a log without refusals", Request: filesOnly, Put: logs(message("envoy-stream-closed", "x", 1))},
		{Name: "clients denied", Request: onNetwork, Put: puts(one, bare, fail("clients")), Outcome: diagnose.OutcomeInconclusive},
		{Name: "target proxies denied", Request: onNetwork, Put: puts(one, fail("target-proxies"), clients(grpcClient("a"))), Outcome: diagnose.OutcomeInconclusive},
		{Name: "a part of the target proxies denied", Request: onNetwork, Put: puts(one, bare, failPart("target-proxies"), clients(grpcClient("a"))), Outcome: diagnose.OutcomeInconclusive},
		{Name: "rules late", Request: onNetwork, Put: puts(late("forwarding-rules"), bare, clients(grpcClient("a"))), Outcome: diagnose.OutcomeInconclusive},
		{Name: "URL maps denied", Request: onNetwork, Put: puts(one, good, fail("url-maps"), clients(grpcClient("a"))), Outcome: diagnose.OutcomeInconclusive},
		{Name: "backend services denied", Request: onNetwork, Put: puts(one, good, put(evidence.URLMaps, nil), fail("backend-services"), clients(grpcClient("a"))), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Request: onNetwork, Outcome: diagnose.OutcomeSkipped},
	})
}
