package request_test

import (
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/checks/request"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestMTLSMismatch(t *testing.T) {
	const (
		old     = "TLS error: 268435703:SSL routines:OPENSSL_internal:WRONG_VERSION_NUMBER"
		details = "upstream_reset_before_response_started{remote_connection_failure|TLS_error:|268435703:SSL_routines:OPENSSL_internal:WRONG_VERSION_NUMBER:TLS_error_end}"
	)
	transport := func(s string) func(*evidence.AccessGroup) {
		return func(g *evidence.AccessGroup) { g.Transport = s }
	}
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
