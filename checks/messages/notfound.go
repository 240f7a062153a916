package messages

import "github.com/meshdiag/meshdiag/diagnose"

// How the control plane says that it has no configuration for a client. Both texts reach the proxy's log as the message of
// gRPC status 5 (NOT_FOUND), for the configuration and for the load reporting stream alike.
// https://docs.cloud.google.com/service-mesh/docs (Troubleshoot Envoy deployments, error messages in the Envoy logs)
var (
	// ConfigNotFound is Traffic Director's own text, under both names of the product, in any wrapping: bare, in a log line, as
	// a gRPC error, in JSON with its quotes escaped.
	//
	// Fields: product; kind ("network", "mesh" or "scope"), name and project, empty where the text doesn't give them or they
	// stand on the next line. The name of a network may itself begin with mesh: or scope:.
	ConfigNotFound = diagnose.Signature{
		ID:      "config-not-found",
		Anchors: []string{" configuration was not found"},
		Pattern: `(?P<product>Cloud Service Mesh|Traffic Director) configuration was not found` +
			`(?: for (?P<kind>network|mesh|scope) ` + quotes + `(?P<name>[\w.:/-]+)` + quotes + `(?: in project ` + quotes + `(?P<project>[\w:-]+(?:\.[\w:-]+)*)` + quotes + `)?)?`,
		Meaning: "the control plane has no configuration for the network, Mesh or scope that the proxy named",
		Examples: []string{
			`StreamAggregatedResources gRPC config stream closed: 5, Cloud Service Mesh configuration was not found for network "mesh-vpc" in project "482915067713".`,
			`StreamLoadStats gRPC config stream closed: 5, Traffic Director configuration was not found for network "default" in project "123456789012".`,
			`[2023-08-14 09:12:44.871][14][warning][config] [./source/common/config/grpc_stream.h:196] DeltaAggregatedResources gRPC config stream to trafficdirector.googleapis.com:443 closed: 5, Cloud Service Mesh configuration was not found for mesh "checkout-mesh" in project "482915067713". (previously 14, no healthy upstream since 31s ago)`,
			`{"severity":"WARNING","message":"StreamAggregatedResources gRPC config stream closed: 5, Traffic Director configuration was not found for scope \"edge\" in project \"482915067713\"."}`,
			`{"log":"closed: 5, Cloud Service Mesh configuration was not found for network \\\"mesh:checkout-mesh\\\" in project \\\"482915067713\\\".\n"}`,
			`rpc error: code = NotFound desc = Traffic Director configuration was not found for network 'mesh-vpc' in project '482915067713'.`,
			`Cloud Service Mesh configuration was not found.`,
			`5, Cloud Service Mesh configuration was not found for network "VPC_NAME" in`,
		},
	}
	// EntityNotFound is the text that Google's APIs have in common, so that it counts only where a stream to a control plane
	// ended with it, or where it stands on a line of its own.
	//
	// Fields: stream (empty for a line of its own).
	EntityNotFound = diagnose.Signature{
		ID:      "entity-not-found",
		Anchors: []string{"Requested entity was not found"},
		Pattern: `(?m)(?:(?P<stream>gRPC config stream|ADS|xDS)\b[^\n]*(?:closed[^\n]*: 5, ?|code = NotFound desc = |NOT_FOUND: |status=5, details='))Requested entity was not found` +
			`|^\s*(?:5, ?)?Requested entity was not found\.?\s*$`,
		Meaning: "the control plane did not find what the proxy asked for",
		Examples: []string{
			`StreamAggregatedResources gRPC config stream closed: 5, Requested entity was not found.`,
			`[2025-03-02 08:00:01.100][1][warning][upstream] StreamLoadStats gRPC config stream to trafficdirector.googleapis.com:443 closed since 31s ago: 5, Requested entity was not found.`,
			`2026/10/02 08:00:01 WARNING: [xds] [xds-client 0xc0001a2000] [ads-stream 0xc0002b4000] ADS stream closed: rpc error: code = NotFound desc = Requested entity was not found.`,
			`2026-10-02 08:00:01.100 ERROR [xds-client<1>-(trafficdirector.googleapis.com:443)] ADS stream closed with status NOT_FOUND: Requested entity was not found.. Cause: null`,
			`I1002 08:00:01.100 xds_client.cc:1196] [xds_client 0x55d] xds server trafficdirector.googleapis.com:443: ADS call status received (chand=0x1, ads_calld=0x2, call=0x3): status=5, details='Requested entity was not found.', error='null'`,
			`5, Requested entity was not found.`,
			`Requested entity was not found.`,
		},
	}
)

// quotes matches a quotation mark as it comes: plain, escaped once or more often, as JSON's \u0022, or none.
const quotes = `(?:\\*["']|\\+u0022|&quot;)?`
