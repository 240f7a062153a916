package xds

import (
	"testing"
	"time"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestConfigNotSent(t *testing.T) {
	sidecar := agent("", status(nodeA, server(ldsURL, "", evidence.NotSent)))
	sidecar.Client.Metadata = map[string]string{evidence.MetadataIntercept: "15001"}
	checkstest.Run(t, ConfigNotSent, []checkstest.Case{
		{Name: "Envoy gets no listeners", Request: target, Put: seenStatus(status(nodeA, server(ldsURL, "", evidence.NotSent), server(cdsURL, "shop", evidence.Synced))),
			Want: []checkstest.Want{{Subject: nodeA, Key: "nodes/" + nodeA + "/Listener", Confidence: diagnose.Likely, Severity: diagnose.Blocking,
				Summary: "The control plane has not sent Listener configuration to the client."}}},
		{Name: "gRPC asked for a listener by name", Request: onMesh, Put: seenStatus(agent("gRPC Go", status(nodeA, sampled(server(ldsURL, "shop:8080", evidence.NotSent), 2, 3*time.Second)))),
			Want: []checkstest.Want{{Key: "nodes/" + nodeA + "/Listener/shop:8080", Confidence: diagnose.Confirmed, Params: map[string]string{"resource": "shop:8080"}}}},
		{Name: "a sidecar that doesn't say what it is", Request: target, Put: seenStatus(sidecar), Want: []checkstest.Want{{}}},
		{Name: "everyone", Request: target, Put: seenStatus(status(nodeA, server(ldsURL, "", evidence.NotSent)), status(nodeB, server(ldsURL, "", evidence.NotSent))),
			Want: []checkstest.Want{{Subject: "2 of 2 clients", Summary: "to 2 of 2 clients"}}},
		{Name: "neither listeners nor clusters", Request: target, Put: seenStatus(status(nodeA, server(ldsURL, "", evidence.NotSent), server(cdsURL, "", evidence.NotSent))),
			Want: []checkstest.Want{{Key: "nodes/" + nodeA, Summary: "not sent Listener configuration and Cluster configuration to the client"}}},
		{Name: "a file alone", Request: files, Put: seenStatus(status(nodeA, server(cdsURL, "", evidence.NotSent))), Want: []checkstest.Want{{Summary: "Cluster configuration"}}},

		{Name: "near-miss: routes, endpoints, secrets and extensions", Request: target, Put: seenStatus(status(nodeA,
			server(rdsURL, "", evidence.NotSent), server(edsURL, "e", evidence.NotSent), server(ldsURL, "a", evidence.Synced),
			server("type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig", "", evidence.NotSent)))},
		{Name: "near-miss: a gRPC server asks for no clusters", Request: target, Put: seenStatus(agent("gRPC Java", status(nodeA, server(cdsURL, "", evidence.NotSent), server(ldsURL, "grpc/server?10.0.0.1:8080", evidence.Synced))))},
		{Name: "near-miss: an idle gRPC client asks for nothing", Request: target, Put: seenStatus(agent("gRPC Go", status(nodeA, server(ldsURL, "", evidence.NotSent))))},
		{Name: "near-miss: who it is isn't known", Request: target, Put: seenStatus(agent("", status(nodeA, server(cdsURL, "", evidence.NotSent))))},
		{Name: "near-miss: the whole type unsent beside listeners that were", Request: target, Put: seenStatus(status(nodeA, server(ldsURL, "", evidence.NotSent), server(ldsURL, "a", evidence.Synced)))},
		{Name: "near-miss: the client has it", Request: target, Put: seenStatus(status(nodeA, evidence.Resource{TypeURL: ldsURL, Name: "a", Server: evidence.NotSent, Client: evidence.Acked}))},
		{Name: "denied", Request: target, Put: refuse, Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Request: target, Put: late, Outcome: diagnose.OutcomeInconclusive},
		{Name: "part of the clients is unknown", Request: target, Put: partly(status(nodeA, server(ldsURL, "a", evidence.Synced))), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Request: target, Outcome: diagnose.OutcomeSkipped},
	})
}
