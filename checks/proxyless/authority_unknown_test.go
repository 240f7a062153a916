package proxyless_test

import (
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/checks/proxyless"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestAuthorityUnknown(t *testing.T) {
	said := func(authority, target string) evidence.LogMessage {
		return message(messages.GRPCAuthorityUnknown, `authority "`+authority+`" … is not found in the bootstrap file`, map[string]string{"authority": authority, "target": target})
	}
	const ours = "traffic-director-global.xds.googleapis.com"
	with := bootstrap(func(b *evidence.Bootstrap) { b.Authorities = []string{ours} })
	checkstest.Run(t, proxyless.AuthorityUnknown, []checkstest.Case{
		{Name: "the word alone", Put: logs(said("td.example.com", "xds://td.example.com/checkout:50051")), Want: []checkstest.Want{{
			Subject: "the dial target xds://td.example.com/checkout:50051", Summary: `A gRPC client dials xds://td.example.com/checkout:50051, and its bootstrap lists no authority "td.example.com".`, Confidence: diagnose.Likely, Params: map[string]string{"service": ""}}}},
		{Name: "with the bootstrap", Request: onNetwork, Put: puts(logs(said("td.example.com", "xds://td.example.com/checkout:50051")), bootstraps(with)), Want: []checkstest.Want{{Confidence: diagnose.Confirmed, Params: map[string]string{"known": ours}}}},
		{Name: "two slashes", Put: logs(said("checkout:50051", "xds://checkout:50051")), Want: []checkstest.Want{{Params: map[string]string{"service": "checkout:50051"}}}},
		{Name: "C++, which gives no target", Put: logs(message(messages.GRPCAuthorityUnknown, "x", map[string]string{"name": "td"})), Want: []checkstest.Want{{Summary: `dials xds://td/…`}}},
		{Name: "Java, which gives nothing", Put: logs(message(messages.GRPCAuthorityUnknown, "x", nil)), Want: []checkstest.Want{{Subject: "the dial target", Summary: "a target whose authority its bootstrap does not list"}}},
		{Name: "as it was asked about", Request: dialling(onNetwork, "xds://td/checkout:50051"), Put: bootstraps(with), Want: []checkstest.Want{{Summary: `lists no authority "td"`, Confidence: diagnose.Confirmed, Excerpt: ours}}},
		{Name: "asked about, and logged", Request: dialling(onNetwork, "xds://td/checkout:50051"), Put: puts(logs(said("td", "xds://td/checkout:50051")), bootstraps(with)), Want: []checkstest.Want{{Confidence: diagnose.Confirmed}}},

		{Name: "an authority that is there", Request: dialling(onNetwork, "xds://"+ours+"/checkout:50051"), Put: bootstraps(with)},
		{Name: "no authority", Request: dialling(onNetwork, "xds:///checkout:50051"), Put: bootstraps(with)},
		{Name: "no xds target", Request: dialling(onNetwork, "checkout:50051"), Put: bootstraps(with)},
		{Name: "no bootstrap of a gRPC client", Request: dialling(onNetwork, "xds://td/checkout:50051"), Put: bootstraps(evidence.Bootstrap{Kind: evidence.EnvoyBootstrap})},
		{Name: "other messages", Put: logs(unrelated)},
		{Name: "denied", Put: fail(evidence.LogMessages.Name(), evidence.Bootstraps.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Put: late(evidence.LogMessages.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Outcome: diagnose.OutcomeSkipped},
	})
}
