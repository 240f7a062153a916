package messages

import "github.com/meshdiag/meshdiag/diagnose"

// StreamClosed is Envoy's word that a stream to the control plane ended, in each of its wordings:
//
//	gRPC config stream closed: N, TEXT
//	METHOD gRPC config stream closed: N, TEXT
//	METHOD gRPC config stream to TARGET closed: N, TEXT
//	METHOD gRPC config stream to TARGET closed since Ss ago: N, TEXT
//	METHOD gRPC config stream to TARGET closed: N, TEXT (previously N, TEXT since Ss ago)
//	gRPC config stream closed, no healthy upstream (as guides quote it)
//
// Fields: method (empty in old versions), target, again ("since" where the line itself says that the same failure
// persists), code (a gRPC status code as a number), text (the server's words, may be empty); bare
// in their place, for what guides quote. Envoy reports codes 4, 8 and
// 14 at debug level the first time.
// https://github.com/envoyproxy/envoy/blob/main/source/extensions/config_subscription/grpc/grpc_stream.h
var StreamClosed = diagnose.Signature{
	ID:      "envoy-stream-closed",
	Anchors: []string{"gRPC config stream"},
	Pattern: `(?m)(?:\b(?P<method>[A-Z]\w+) )?gRPC config stream(?: to (?P<target>\S+))? closed(?: (?P<again>since) \d+s ago)?(?:: (?P<code>\d{1,2})(?:, ?|$)` +
		`(?P<text>[^\n]*?)(?: \(previously [^\n]*)?\s*$|, (?P<bare>no healthy upstream))`,
	Meaning: "an xDS stream to the control plane ended",
	Examples: []string{
		`[2019-05-05 09:52:19.294][23][warning][config] [bazel-out/k8-opt/bin/external/envoy/source/common/config/_virtual_includes/grpc_stream_lib/common/config/grpc_stream.h:86] gRPC config stream closed: 13, `,
		`2020-06-30T00:09:33.231051Z	warning	envoy config	[external/envoy/source/common/config/grpc_stream.h:92] StreamAggregatedResources gRPC config stream closed: 13,`,
		`2020-06-29T23:37:27.523826Z	warning	envoy config	StreamAggregatedResources gRPC config stream closed: 14, no healthy upstream`,
		`gRPC config stream closed, no healthy upstream`,
		`[2024-06-27 15:00:06.433][973][warning][config] [external/envoy/source/common/config/grpc_stream.h:199] StreamClusters gRPC config stream to xds-cluster closed since 1052s ago: 14, upstream connect error or disconnect/reset before headers. reset reason: connection termination`,
		`[2025-03-02 08:00:01.100][1][warning][config] DeltaAggregatedResources gRPC config stream to trafficdirector.googleapis.com:443 closed: 7, Request had insufficient authentication scopes. (previously 14, no healthy upstream since 31s ago)`,
		`[2025-03-02 08:00:01.100][1][warning][upstream] StreamLoadStats gRPC config stream closed: 5, Requested entity was not found.`,
	},
}

// ADSFailed is the word of a gRPC library, or of Istio's agent, that a stream to the control plane failed.
//
// Fields: node (the xDS node id, where the line gives it), event (what the line says happened; one failure may give lines
// of several events), status (the status code's name, "Unauthenticated" in Go and "UNAUTHENTICATED" elsewhere; empty where
// the error carries none), code (the same as a number, from C-core), text (the rest).
//
// grpc-go: internal/xds/clients/xdsclient/ads_stream.go and authority.go; grpc-java: io.grpc.xds ControlPlaneClient;
// C-core: src/core/xds/xds_client/xds_client.cc; Istio: pkg/istio-agent/xds_proxy.go.
var ADSFailed = diagnose.Signature{
	ID: "grpc-ads-stream-failed",
	Anchors: []string{
		"[xDS node id: ", "ADS stream closed", "ADS stream failed with status", "error received from xDS stream", "a new ADS streaming RPC",
		"ADS call status received", "upstream terminated with unexpected error",
	},
	Pattern: `(?m)(?:\[xDS node id: (?P<node>[^\]\n]+)\]: )?(?:xds: )?` +
		`(?P<event>ADS stream (?:closed|failed)|error received from xDS stream|Failed to create a new ADS streaming RPC|ADS call status received|upstream terminated with unexpected error)` +
		`(?: with status (?P<java>[A-Z_]+))?(?: \((?:chand|xds_channel)=[^)\n]*\))?(?:: | )?` +
		`(?:rpc error: code = (?P<status>\w+) desc = |status=(?P<code>\d{1,2}), details='|(?P<core>[A-Z_]{2,20}): ?)?(?P<text>[^\n]*?)\s*$`,
	Meaning: "an xDS stream to the control plane failed",
	Examples: []string{
		`2026/10/02 08:00:01 WARNING: [xds] [xds-client 0xc0001a2000] [ads-stream 0xc0002b4000] ADS stream closed: rpc error: code = Unauthenticated desc = Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid authentication credential.`,
		`2026/10/02 08:00:01 WARNING: [xds] [xds-client 0xc0001a2000] [ads-stream 0xc0002b4000] Failed to create a new ADS streaming RPC: rpc error: code = Unavailable desc = connection error: desc = "transport: Error while dialing: dial tcp 142.250.1.95:443: i/o timeout"`,
		`rpc error: code = Unavailable desc = [xDS node id: projects/482915067713/networks/mesh-vpc/nodes/c2cc5ef0-5ab1-4c57-a20e-88072eee656d]: xds: error received from xDS stream: rpc error: code = PermissionDenied desc = The caller does not have permission`,
		`xds: error received from xDS stream: EOF`,
		`2026-10-02 08:00:01.100 ERROR [xds-client<1>-(trafficdirector.googleapis.com:443)] ADS stream closed with status UNAVAILABLE: ADS stream closed by server. Cause: null`,
		`I1002 08:00:01.100 xds_client.cc:1196] [xds_client 0x55d] xds server trafficdirector.googleapis.com:443: ADS call status received (chand=0x1, ads_calld=0x2, call=0x3): status=16, details='Request had invalid authentication credentials.', error='null'`,
		`I1002 08:00:01.100 xds_client.cc:980] [xds_client 0x55d] xds server trafficdirector.googleapis.com:443: ADS call status received (xds_channel=0x1, ads_call=0x2, streaming_call=0x3): UNAUTHENTICATED: Request had invalid authentication credentials.`,
		`2026-10-02T08:00:01.100000Z	warn	xdsproxy	upstream terminated with unexpected error rpc error: code = Unauthenticated desc = authentication failure`,
	},
}

// StreamWorked says that a stream to the control plane brought something: the proxy was let in. "all dependencies
// initialized. starting workers" isn't among them: Envoy prints it too once it has waited in vain for its first
// configuration. Neither is Istio's "connected to upstream XDS server": it comes before the server has said a word.
//
// Fields: none.
var StreamWorked = diagnose.Signature{
	ID: "xds-stream-worked",
	Anchors: []string{
		"cds: add", "lds: add/update listener", "ADS response received", "Sending ACK for resource type",
		"Envoy proxy is ready", "after having received at least one response",
	},
	Pattern: `cds: add(?:ed/updated)? \d+ cluster|lds: add/update listener|ADS response received|Sending ACK for resource type|Envoy proxy is ready|` +
		`ADS stream failed after having received at least one response`,
	Meaning: "the control plane answered on an xDS stream",
	Examples: []string{
		`[2025-03-02 08:00:01.100][1][info][upstream] [source/common/upstream/cds_api_helper.cc:32] cds: add 12 cluster(s), remove 1 cluster(s)`,
		`[2025-03-02 08:00:01.100][1][info][upstream] cds: added/updated 12 cluster(s) (0 skipped), removed 0 cluster(s)`,
		`[2025-03-02 08:00:01.200][1][info][upstream] [source/server/lds_api.cc:82] lds: add/update listener 'TRAFFICDIRECTOR_INTERCEPTION_LISTENER'`,
		`INFO: [xds] [xds-client 0xc0001a2000] [ads-stream 0xc0002b4000] ADS response received for type "type.googleapis.com/envoy.config.listener.v3.Listener", version "1", nonce "1"`,
		`INFO: [xds] [xds-client 0xc0001a2000] [ads-stream 0xc0002b4000] Sending ACK for resource type: "type.googleapis.com/envoy.config.listener.v3.Listener", version: "1", nonce: "1"`,
		`2020-06-29T23:37:30.890178Z	info	Envoy proxy is ready`,
		`WARNING: [xds] [xds-client 0xc0001a2000] [xDS authority] Watchers not notified since ADS stream failed after having received at least one response: rpc error: code = Unavailable desc = closing transport due to: connection error`,
	},
}

// InsufficientScopes is Google's refusal of an access token whose OAuth scopes don't cover the API.
//
// Fields: client (a client library of another kind than an xDS client, whose own call it was), service (the API, where the
// line names it).
var InsufficientScopes = diagnose.Signature{
	ID:      "insufficient-scopes",
	Anchors: []string{"insufficient authentication scopes", "ACCESS_TOKEN_SCOPE_INSUFFICIENT"},
	Pattern: `(?:(?P<client>googleapi: |google\.api_core\.exceptions\.|googleapiclient\.errors\.|storage: |bigquery: )[^\n]{0,80}?)?` +
		`(?:insufficient authentication scopes|ACCESS_TOKEN_SCOPE_INSUFFICIENT)(?:[^\n]*?\b(?P<service>[a-z][a-z0-9-]{3,})\.googleapis\.com)?`,
	Meaning: "the access token's scopes don't cover the API",
	Examples: []string{
		`StreamAggregatedResources gRPC config stream closed: 7, Request had insufficient authentication scopes.`,
		`xds: error received from xDS stream: rpc error: code = PermissionDenied desc = Request had insufficient authentication scopes.`,
		`"message": "Request had insufficient authentication scopes.",`,
		`"reason": "ACCESS_TOKEN_SCOPE_INSUFFICIENT",`,
		`googleapi: Error 403: Request had insufficient authentication scopes.`,
		`403 Request had insufficient authentication scopes. [reason: "ACCESS_TOKEN_SCOPE_INSUFFICIENT" domain: "googleapis.com" metadata { key: "service" value: "storage.googleapis.com" }]`,
	},
}

// PermissionDenied is Google's refusal that names a permission of the control plane's.
//
// Fields: permission ("trafficdirector.networks.getConfigs"), project (number or id, where the line names the resource).
var PermissionDenied = diagnose.Signature{
	ID:      "trafficdirector-permission-denied",
	Anchors: []string{"trafficdirector.networks."},
	Pattern: `(?:[Pp]ermissions? (?:\\?['"]|\\u0027)?(?P<permission>trafficdirector\.networks\.\w+)(?:\\?['"]|\\u0027)? denied` +
		`|Required (?:\\?['"]|\\u0027)?(?P<required>trafficdirector\.networks\.\w+)(?:\\?['"]|\\u0027)? permission` +
		`|does not have (?:permission )?(?:\\?['"]|\\u0027)?(?P<lacking>trafficdirector\.networks\.\w+))` +
		`(?:[^\n]*?projects/(?P<project>[a-z0-9:.-]+))?`,
	Meaning: "the caller lacks a permission of the control plane",
	Examples: []string{
		`StreamAggregatedResources gRPC config stream closed: 7, Permission 'trafficdirector.networks.getConfigs' denied on resource '//trafficdirector.googleapis.com/projects/482915067713/networks/mesh-vpc' (or it may not exist).`,
		`"message": "Permission \u0027trafficdirector.networks.getConfigs\u0027 denied on resource",`,
		`StreamLoadStats gRPC config stream closed: 7, Permission 'trafficdirector.networks.reportMetrics' denied on resource '//trafficdirector.googleapis.com/projects/482915067713/networks/mesh-vpc' (or it may not exist).`,
		`rpc error: code = PermissionDenied desc = Required 'trafficdirector.networks.getConfigs' permission for 'projects/482915067713/networks/mesh-vpc'`,
	},
}

// APIDisabled is Google's refusal of a call to an API that isn't enabled in the project that the call is counted for.
//
// Fields: api (the API's title), project (a number, seldom an id), service ("trafficdirector.googleapis.com", where the
// line holds the link that enables it); or, where there is Google's reason alone, disabled (the API's service, where the line names it after
// the reason) and stream (set where an xDS stream ended with it).
var APIDisabled = diagnose.Signature{
	ID:      "api-not-enabled",
	Anchors: []string{"has not been used in project", "SERVICE_DISABLED"},
	Pattern: `(?P<api>\b[A-Z][\w() -]{0,60}? API) has not been used in project (?P<project>[\w:.-]+) before or it is disabled` +
		`(?:[^\n]*?/apis/(?:api|library)/(?P<service>[a-z0-9.-]+\.googleapis\.com))?` +
		`|(?:(?P<stream>gRPC config stream|(?:ADS|xDS) stream)[^\n]*?(?:\d{1,2}, |desc = |[A-Z_]: ?|details=')[^\n]{0,40}?)?\bSERVICE_DISABLED\b(?:[^\n]*?\b(?P<disabled>[a-z]{5,}\.googleapis\.com))?`,
	Meaning: "the API isn't enabled in the project",
	Examples: []string{
		`StreamAggregatedResources gRPC config stream closed: 7, Traffic Director API has not been used in project 482915067713 before or it is disabled. Enable it by visiting https://console.developers.google.com/apis/api/trafficdirector.googleapis.com/overview?project=482915067713 then retry. If you enabled this API recently, wait a few minutes for the action to propagate to our systems and retry.`,
		`xds: error received from xDS stream: rpc error: code = PermissionDenied desc = Traffic Director API has not been used in project 482915067713 before or it is disabled.`,
		`"message": "Network Services API has not been used in project 482915067713 before or it is disabled. Enable it by visiting https://console.developers.google.com/apis/api/networkservices.googleapis.com/overview?project=482915067713 then retry.",`,
		`SERVICE_DISABLED`,
		`403 PERMISSION_DENIED [reason: "SERVICE_DISABLED" domain: "googleapis.com" metadata { key: "service" value: "trafficdirector.googleapis.com" }]`,
		`StreamAggregatedResources gRPC config stream closed: 7, SERVICE_DISABLED`,
	},
}

// BadCredentials is a refusal of the credentials themselves, or word that there were none to show.
//
// Fields: client and service as in [InsufficientScopes]; text (what was said).
var BadCredentials = diagnose.Signature{
	ID:      "invalid-authentication-credentials",
	Anchors: []string{"invalid authentication credentials", "missing required authentication credential", "transport: failed to read token file"},
	Pattern: `(?:(?P<client>googleapi: |google\.api_core\.exceptions\.|googleapiclient\.errors\.|storage: |bigquery: )[^\n]{0,80}?)?` +
		`(?P<text>Request had invalid authentication credentials|Request is missing required authentication credential|transport: failed to read token file [^\n]{1,200}?(?:denied|directory|$))` +
		`(?:[^\n]*?\b(?P<service>[a-z][a-z0-9-]{3,})\.googleapis\.com)?`,
	Meaning: "the credentials were refused, or there were none",
	Examples: []string{
		`StreamAggregatedResources gRPC config stream closed: 16, Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project.`,
		`gRPC config stream closed: 16, transport: failed to read token file "./var/run/secrets/tokens/istio-token": open ./var/run/secrets/tokens/istio-token: permission denied`,
		`rpc error: code = Unauthenticated desc = Request is missing required authentication credential. Expected OAuth 2 access token, login cookie or other valid authentication credential.`,
	},
}
