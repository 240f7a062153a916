package proxyless_test

import (
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/checks/proxyless"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestBootstrapInvalid(t *testing.T) {
	noServers := bootstrap(func(b *evidence.Bootstrap) { b.Problems = []string{"xds_servers is missing"} })
	refused := message(messages.GRPCBootstrapInvalid, "xds: required field `xds_servers` not found in bootstrap configuration: {", map[string]string{"problem": "required field `xds_servers` not found in bootstrap"})
	outer := message(messages.GRPCBootstrapInvalid, "}) failed during bootstrap: xds: `channel_creds` field in server config cannot be empty: {", map[string]string{"parse": "xds: `channel_creds` field in server config cannot be empty: {"})
	broken := evidence.ArtifactFile{Name: "b.json", Note: "gRPC bootstrap: JSON ends in the middle at byte 31 (cut off?)", Broken: "grpc-bootstrap"}
	checkstest.Run(t, proxyless.BootstrapInvalid, []checkstest.Case{
		{Name: "no servers", Request: onNetwork, Put: bootstraps(noServers), Want: []checkstest.Want{{Subject: "bootstrap bootstrap.json", Summary: "No gRPC client can start from bootstrap.json: xds_servers is missing.", Confidence: diagnose.Confirmed}}},
		{Name: "one of two files", Put: bootstraps(bootstrap(func(b *evidence.Bootstrap) { b.File = "good.json" }), noServers), Want: []checkstest.Want{{Key: "files/bootstrap.json"}}},
		{Name: "a file that is cut", Put: puts(put(evidence.Artifacts, []evidence.ArtifactFile{broken}), fail(evidence.Bootstraps.Name())), Want: []checkstest.Want{{Summary: "The gRPC bootstrap b.json is malformed: JSON ends in the middle at byte 31 (cut off?).", Confidence: diagnose.Likely}}},
		{Name: "the client's word", Put: logs(refused), Want: []checkstest.Want{{Summary: "A gRPC client refused its bootstrap: required field `xds_servers` not found in bootstrap.", Confidence: diagnose.Likely}}},
		{Name: "an error within another", Put: logs(outer), Want: []checkstest.Want{{Summary: "refused its bootstrap: `channel_creds` field in server config cannot be empty."}}},
		{Name: "file and word", Put: puts(bootstraps(noServers), logs(refused)), Want: []checkstest.Want{{Summary: "xds_servers is missing", Confidence: diagnose.Confirmed, Excerpt: "client.log:3"}}},
		{Name: "the C++ core's word with a reason", Put: logs(message(messages.GRPCClientFailed, "Failed to create xds client", map[string]string{"reason": `{"created":"@1584552212.4","description":"no credential found","file":"xds_channel.cc"}`})),
			Want: []checkstest.Want{{Summary: "makes of its bootstrap: no credential found.", Confidence: diagnose.Likely}}},
		{Name: "the C++ core's word alone", Put: logs(message(messages.GRPCClientFailed, "Failed to create xds client", nil)), Want: []checkstest.Want{{Summary: "the line doesn't say why", Confidence: diagnose.Possible}}},
		{Name: "the C++ core's word, and what it refused", Put: logs(message(messages.GRPCClientFailed, "Failed to create xds client", nil), refused), Want: []checkstest.Want{{Summary: "refused its bootstrap"}}},

		{Name: "the C++ core's word that there is none", Put: logs(message(messages.GRPCClientFailed, "Failed to create xds client", map[string]string{"reason": "FAILED_PRECONDITION: Environment variables GRPC_XDS_BOOTSTRAP or GRPC_XDS_BOOTSTRAP_CONFIG not defined"}),
			message(messages.GRPCBootstrapMissing, "Environment variables GRPC_XDS_BOOTSTRAP or GRPC_XDS_BOOTSTRAP_CONFIG not defined", nil))},
		{Name: "a whole one", Put: bootstraps(bootstrap(nil))},
		{Name: "without the feature xds_v3", Put: puts(bootstraps(bootstrap(func(b *evidence.Bootstrap) { b.Transport = "" })), logs(unrelated))},
		{Name: "an Envoy's", Put: bootstraps(evidence.Bootstrap{Kind: evidence.EnvoyBootstrap, File: "envoy.yaml"})},
		{Name: "a broken file of another kind", Put: puts(put(evidence.Artifacts, []evidence.ArtifactFile{{Name: "e.yaml", Broken: "envoy-bootstrap"}}), logs())},
		{Name: "denied", Put: fail(evidence.Bootstraps.Name(), evidence.LogMessages.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "the log denied", Put: puts(bootstraps(bootstrap(nil)), fail(evidence.LogMessages.Name())), Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Put: late(evidence.Bootstraps.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Outcome: diagnose.OutcomeSkipped},
	})
}
