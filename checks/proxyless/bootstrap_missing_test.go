package proxyless_test

import (
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/checks/proxyless"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestBootstrapMissing(t *testing.T) {
	unset := message(messages.GRPCBootstrapMissing, `bootstrap environment variables ("GRPC_XDS_BOOTSTRAP" or "GRPC_XDS_BOOTSTRAP_CONFIG") not defined`, nil)
	unset.Count = 7
	absent := message(messages.GRPCBootstrapUnreadable, `xds: failed to read bootstrap config from file "/etc/b.json": open /etc/b.json: no such file or directory`,
		map[string]string{"file": "/etc/b.json", "error": "no such file or directory"})
	old := message(messages.GRPCBootstrapUnreadable, "xds: Failed to read bootstrap config: open /etc/b.json: permission denied", map[string]string{"path": "/etc/b.json", "reason": "permission denied"})
	java := message(messages.GRPCBootstrapUnreadable, "Fail to read bootstrap file", nil)
	noProject := message(messages.GRPCGeneratorFailed, "Error: failed to determine project id: could not discover project id: failed communicating with metadata server",
		map[string]string{"what": "failed to determine project id", "why": "could not discover project id: failed communicating with metadata server"})
	noCluster := message(messages.GRPCGeneratorFailed, "Error: generating deployment info: failed to determine GKE cluster name: metadata server returned status code 404",
		map[string]string{"doing": "generating deployment info", "reason": "failed to determine GKE cluster name: metadata server returned status code 404"})
	both := message(messages.GRPCGeneratorFailed, "Error: --config-mesh flag cannot be specified while --generate-mesh-id is also set.",
		map[string]string{"flags": "--config-mesh flag cannot be specified while --generate-mesh-id is also set"})
	checkstest.Run(t, proxyless.BootstrapMissing, []checkstest.Case{
		{Name: "no variable", Put: logs(unset), Want: []checkstest.Want{{Summary: "A gRPC client said 7 times that neither GRPC_XDS_BOOTSTRAP nor GRPC_XDS_BOOTSTRAP_CONFIG is set.", Confidence: diagnose.Likely, Excerpt: "client.log:3"}}},
		{Name: "no file", Request: onNetwork, Put: logs(absent), Want: []checkstest.Want{{Subject: "bootstrap /etc/b.json", Summary: "could not read its bootstrap /etc/b.json: no such file or directory.", Params: map[string]string{"file": "/etc/b.json"}}}},
		{Name: "no permission, in old words", Put: logs(old), Want: []checkstest.Want{{Summary: "could not read its bootstrap /etc/b.json: permission denied."}}},
		{Name: "the same file twice", Put: logs(absent, old), Want: []checkstest.Want{{Summary: "no such file", Excerpt: "permission denied"}}},
		{Name: "Java", Put: logs(java), Want: []checkstest.Want{{Summary: "A gRPC client could not read the file of its bootstrap."}}},

		{Name: "the generator found no project", Put: logs(noProject, noProject), Want: []checkstest.Want{{Summary: "The bootstrap generator wrote none, as it found no project number: could not discover project id", Confidence: diagnose.Likely, Params: map[string]string{"project_flag": "yes"}}}},
		{Name: "the generator found no cluster", Request: onNetwork, Put: logs(noCluster), Want: []checkstest.Want{{Summary: "no GKE cluster name or location: failed to determine GKE cluster name: metadata server returned status code 404.", Params: map[string]string{"cluster_flag": "yes"}}}},
		{Name: "the generator's flags", Put: logs(both), Want: []checkstest.Want{{Summary: "wrote none: --config-mesh flag cannot be specified while --generate-mesh-id is also set.", Params: map[string]string{"mesh_flag": "yes"}}}},

		{Name: "nothing of it", Put: logs(unrelated)},
		{Name: "an empty log", Put: logs()},
		{Name: "refused rather than missing", Put: logs(message(messages.GRPCBootstrapInvalid, "x", map[string]string{"problem": "x"}))},
		{Name: "denied", Put: fail(evidence.LogMessages.Name()), Outcome: diagnose.OutcomeInconclusive, Reason: "not allowed"},
		{Name: "late", Put: late(evidence.LogMessages.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Outcome: diagnose.OutcomeSkipped},
	})
}
