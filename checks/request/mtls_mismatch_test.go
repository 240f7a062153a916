package request_test

import (
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/checks/request"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

func TestMTLSMismatch(t *testing.T) {
	const (
		old     = "TLS error: 268435703:SSL routines:OPENSSL_internal:WRONG_VERSION_NUMBER"
		details = "upstream_reset_before_response_started{remote_connection_failure|TLS_error:|268435703:SSL_routines:OPENSSL_internal:WRONG_VERSION_NUMBER:TLS_error_end}"
	)
	transport := func(s string) func(*evidence.AccessGroup) {
		return func(g *evidence.AccessGroup) { g.Transport = s }
	}
	toCart := diagnose.Request{Target: diagnose.Target{Namespace: "shop", Pod: "web-1", Destination: "cart.shop:8080"}}
	noChain := with(group("", 0, "", "NR"), func(g *evidence.AccessGroup) { g.Termination, g.Upstream = "filter_chain_not_found", "" })
	checkstest.Run(t, request.MTLSMismatch, []checkstest.Case{
		{Name: "TLS to a plaintext server", Put: access(group(cart, 503, details, "UF", "URX")), Want: []checkstest.Want{{
			Summary: "5 requests to outbound|8080||cart.shop.svc.cluster.local (cart:8080) failed: the proxy began TLS and the other side answered in plaintext.", Confidence: diagnose.Likely,
			Params: map[string]string{"plain_server": "yes", "service": "cart", "namespace": "shop"}}}},
		{Name: "in the words of old releases", Put: access(with(group(cart, 503, "", "UF", "URX"), transport(old))), Want: []checkstest.Want{{Summary: "answered in plaintext"}}},
		{Name: "plaintext to STRICT", Put: access(with(group("", 0, "", "NR"), func(g *evidence.AccessGroup) {
			g.Termination, g.Upstream = "filter_chain_not_found", ""
		})), Want: []checkstest.Want{{Summary: "no filter chain took the connection", Confidence: diagnose.Possible, Params: map[string]string{"plain_client": "yes"}}}},
		{Name: "no client certificate", Put: access(with(group(cart, 503, "", "UF"), transport("TLS_error:|268436496:SSL_routines:OPENSSL_internal:SSLV3_ALERT|:TLSV13_ALERT_CERTIFICATE_REQUIRED"))),
			Want: []checkstest.Want{{Summary: "asks for a client certificate", Params: map[string]string{"plain_client": "yes"}}}},
		{Name: "the body alone", Put: logs(connectError("TLS_error:|268435703:SSL routines:OPENSSL_internal:WRONG_VERSION_NUMBER:TLS_error_end")), Want: []checkstest.Want{{Summary: "answered in plaintext", Key: "requests"}}},

		{Name: "a DestinationRule, and no sidecar", Put: puts(access(group(cart, 503, details, "UF", "URX")), services(service("cart", 8080, "8080")), pods(pod("cart-1", "10.8.2.4", 8080)), destinationRules(tlsRule("ISTIO_MUTUAL"))),
			Want: []checkstest.Want{{Confidence: diagnose.Confirmed, Summary: "answered in plaintext. DestinationRule shop/cart has clients speak TLS (ISTIO_MUTUAL), and pod shop/cart-1 has no sidecar that could answer it.",
				Params: map[string]string{"rule": "DestinationRule shop/cart", "rule_name": "cart", "rule_namespace": "shop"}}}},
		{Name: "a DestinationRule, and DISABLE", Put: puts(access(group(cart, 503, details, "UF", "URX")), services(service("cart", 8080, "8080")), pods(pod("cart-1", "10.8.2.4", 8080, proxied)), destinationRules(tlsRule("ISTIO_MUTUAL")), peers(peer("shop", "off", "DISABLE"))),
			Want: []checkstest.Want{{Confidence: diagnose.Confirmed, Summary: "and PeerAuthentication shop/off sets mode DISABLE for the server."}}},
		{Name: "a DestinationRule alone", Put: puts(access(group(cart, 503, details, "UF", "URX")), destinationRules(tlsRule("SIMPLE"))), Want: []checkstest.Want{{Confidence: diagnose.Likely, Summary: "DestinationRule shop/cart has clients speak TLS (SIMPLE)."}}},
		{Name: "a DestinationRule of another host says nothing", Put: puts(access(group(cart, 503, details, "UF", "URX")), destinationRules(func() kube.DestinationRule { r := tlsRule("SIMPLE"); r.Spec.Host = "web"; return r }())), Want: []checkstest.Want{{Confidence: diagnose.Likely, Summary: "answered in plaintext."}}},
		{Name: "STRICT by the namespace", Request: ofPod, Put: puts(access(noChain), pods(pod("cart-1", "10.8.2.4", 8080, proxied)), peers(peer("istio-system", "default", "PERMISSIVE"), peer("shop", "default", "STRICT"))),
			Want: []checkstest.Want{{Confidence: diagnose.Likely, Summary: "PeerAuthentication shop/default asks for mutual TLS (STRICT).", Params: map[string]string{"peer_name": "default", "peer_namespace": "shop"}}}},
		{Name: "STRICT by the mesh", Request: ofPod, Put: puts(access(noChain), pods(pod("cart-1", "10.8.2.4", 8080, proxied)), peers(peer("istio-system", "default", "STRICT"), peer("shop", "default", "UNSET"))),
			Want: []checkstest.Want{{Summary: "PeerAuthentication istio-system/default asks"}}},
		{Name: "STRICT for the workload, plaintext by a DestinationRule", Request: ofPod, Put: puts(access(with(noChain, func(g *evidence.AccessGroup) { g.Upstream = "10.8.2.4:8080" })), services(service("cart", 80, "8080")), pods(pod("cart-1", "10.8.2.4", 8080, proxied)),
			peers(peer("shop", "default", "PERMISSIVE"), func() kube.PeerAuthentication {
				p := peer("shop", "cart", "STRICT")
				p.Spec.Selector = &kube.WorkloadSelector{MatchLabels: map[string]string{"app": "cart"}}
				return p
			}()), destinationRules(tlsRule("DISABLE"))),
			Want: []checkstest.Want{{Confidence: diagnose.Confirmed, Summary: "PeerAuthentication shop/cart asks for mutual TLS (STRICT), and DestinationRule shop/cart has clients speak plaintext (DISABLE)."}}},
		{Name: "STRICT for the port", Request: ofPod, Put: puts(access(with(noChain, func(g *evidence.AccessGroup) { g.Upstream = "10.8.2.4:8080" })), pods(pod("cart-1", "10.8.2.4", 8080, proxied)), peers(byPort("8080", "STRICT"))),
			Want: []checkstest.Want{{Summary: "PeerAuthentication shop/ports asks for mutual TLS (STRICT)."}}},
		{Name: "modes of a file may not be all", Request: ofPod, Put: puts(access(noChain), pods(pod("cart-1", "10.8.2.4", 8080, proxied)), partly(evidence.PeerAuthentications, peer("shop", "default", "PERMISSIVE"))), Want: []checkstest.Want{{Confidence: diagnose.Possible}}},
		{Name: "the port isn't known, and one is STRICT", Request: ofPod, Put: puts(access(noChain), pods(pod("cart-1", "10.8.2.4", 8080, proxied)), peers(byPort("9999", "STRICT"))), Want: []checkstest.Want{{Confidence: diagnose.Possible}}},

		{Name: "asked: a client without a sidecar", Request: toCart, Put: puts(services(service("cart", 8080, "http")), pods(pod("web-1", "10.8.2.9", app("web")), pod("cart-1", "10.8.2.4", 9090, proxied)), peers(peer("shop", "default", "STRICT"))),
			Want: []checkstest.Want{{Confidence: diagnose.Confirmed, Subject: "requests to cart.shop", Summary: "PeerAuthentication shop/default asks for mutual TLS (STRICT) of requests to cart.shop, and pod shop/web-1 has no sidecar.", Excerpt: "for pod shop/cart-1, port 9090"}}},
		{Name: "asked: a client that is told to speak plaintext", Request: toCart, Put: puts(services(service("cart", 8080, "http")), pods(pod("web-1", "10.8.2.9", app("web"), proxied), pod("cart-1", "10.8.2.4", 9090, proxied)), peers(peer("shop", "default", "STRICT")), destinationRules(tlsRule("DISABLE"))),
			Want: []checkstest.Want{{Summary: "and DestinationRule shop/cart has clients speak plaintext (DISABLE)."}}},
		{Name: "asked: modes of a file", Request: toCart, Put: puts(services(service("cart", 8080, "http")), pods(pod("web-1", "10.8.2.9", app("web")), pod("cart-1", "10.8.2.4", 9090, proxied)), partly(evidence.PeerAuthentications, peer("shop", "default", "STRICT"))), Want: []checkstest.Want{{Confidence: diagnose.Likely}}},

		{Name: "asked: both have sidecars", Request: toCart, Put: puts(logs(), services(service("cart", 8080, "http")), pods(pod("web-1", "10.8.2.9", app("web"), proxied), pod("cart-1", "10.8.2.4", 9090, proxied)), peers(peer("shop", "default", "STRICT")))},
		{Name: "asked: PERMISSIVE on the port", Request: toCart, Put: puts(logs(), services(service("cart", 8080, "http")), pods(pod("web-1", "10.8.2.9", app("web")), pod("cart-1", "10.8.2.4", 9090, proxied)), peers(peer("shop", "default", "STRICT"), byPort("9090", "PERMISSIVE")))},
		{Name: "asked: the server has no sidecar", Request: toCart, Put: puts(logs(), services(service("cart", 8080, "http")), pods(pod("web-1", "10.8.2.9", app("web")), pod("cart-1", "10.8.2.4", 9090)), peers(peer("shop", "default", "STRICT")))},
		{Name: "asked: the port goes past the server's proxy", Request: toCart, Put: puts(logs(), services(service("cart", 8080, "http")), pods(pod("web-1", "10.8.2.9", app("web")), pod("cart-1", "10.8.2.4", 9090, proxied, func(p *kube.Pod) {
			p.Annotations = map[string]string{"traffic.sidecar.istio.io/excludeInboundPorts": "15, 9090"}
		})), peers(peer("shop", "default", "STRICT")))},
		{Name: "asked: another host", Request: diagnose.Request{Target: diagnose.Target{Namespace: "shop", Pod: "web-1", Destination: "example.com:443"}}, Put: puts(logs(), services(service("cart", 8080, "http")), pods(pod("web-1", "10.8.2.9", app("web")), pod("cart-1", "10.8.2.4", 9090, proxied)), peers(peer("shop", "default", "STRICT")))},
		{Name: "the server takes plaintext", Request: ofPod, Put: puts(access(noChain), pods(pod("cart-1", "10.8.2.4", 8080, proxied)), peers(peer("shop", "default", "PERMISSIVE")))},
		{Name: "the server takes plaintext on this port", Request: ofPod, Put: puts(access(with(noChain, func(g *evidence.AccessGroup) { g.Upstream = "10.8.2.4:8080" })), pods(pod("cart-1", "10.8.2.4", 8080, proxied)), peers(peer("shop", "default", "STRICT"), byPort("8080", "PERMISSIVE")))},
		{Name: "nobody asks for mutual TLS", Request: ofPod, Put: puts(access(noChain), pods(pod("cart-1", "10.8.2.4", 8080, proxied)), peers())},

		{Name: "an expired certificate", Put: access(with(group(cart, 503, "", "UF"), transport("TLS_error:|268436501:SSL_routines:OPENSSL_internal:SSLV3_ALERT_CERTIFICATE_EXPIRED"))),
			Outcome: diagnose.OutcomeSkipped, Reason: "because a certificate expired"},
		{Name: "a certificate that isn't trusted", Put: access(with(group(cart, 503, "", "UF"), transport("TLS_error:|268435581:SSL_routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:TLS_error_end"))),
			Outcome: diagnose.OutcomeSkipped, Reason: "could not be verified"},
		{Name: "refused", Put: access(group(cart, 503, "upstream_reset_before_response_started{connection_failure,delayed_connect_error:_111}", "UF"))},
		{Name: "no route", Put: access(group("", 404, "route_not_found", "NR"))},
		{Name: "a stream to the control plane", Put: logs(func() evidence.LogMessage {
			m := connectError(old)
			m.Fields["stream"] = "gRPC config stream"
			return m
		}())},
		{Name: "denied", Put: fail(requests, logFact), Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Put: puts(late(requests), logs()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Outcome: diagnose.OutcomeSkipped},
	})
}
