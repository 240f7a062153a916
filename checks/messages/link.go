package messages

import "github.com/meshdiag/meshdiag/diagnose"

// LoadReportFailed is Envoy's word that its load report stream ended or could not be opened. It comes with every end of that
// stream, also with the routine ones, and Envoy tries again after five seconds.
//
// Fields: none.
// https://github.com/envoyproxy/envoy/blob/main/source/common/upstream/load_stats_reporter.cc
var LoadReportFailed = diagnose.Signature{
	ID:      "envoy-load-report-failed",
	Anchors: []string{"Load reporter stats stream/connection failure"},
	Pattern: `Load reporter stats stream/connection failure, will retry in \d+ ?ms`,
	Meaning: "the stream of load reports to the control plane ended, and is opened again",
	Examples: []string{
		`[2025-03-02 08:00:01.100][1][warning][upstream] [source/common/upstream/load_stats_reporter.cc:80] Load reporter stats stream/connection failure, will retry in 5000 ms.`,
	},
}

// UpdateFailed is Envoy's word, at debug level, to each subscription of a stream that the stream ended. The stream's own line
// tells why.
//
// Fields: type_url.
var UpdateFailed = diagnose.Signature{
	ID:      "envoy-subscription-disconnected",
	Anchors: []string{"gRPC update for "},
	Pattern: `gRPC update for (?P<type_url>(?:type\.googleapis\.com/)?envoy[\w./-]+) failed`,
	Meaning: "a subscription learnt that its stream ended; the stream's own line tells why",
	Examples: []string{
		`[2025-03-02 08:00:01.100][1][debug][config] [source/extensions/config_subscription/grpc/grpc_subscription_impl.cc:112] gRPC update for type.googleapis.com/envoy.config.cluster.v3.Cluster failed`,
	},
}

// Goaway is grpc-go's word that a server ended the connection in order, as servers do after a time or when they restart. The
// client connects again by itself.
//
// Fields: none.
var Goaway = diagnose.Signature{
	ID:      "grpc-goaway-no-error",
	Anchors: []string{"received prior goaway: code: NO_ERROR"},
	Pattern: `received prior goaway: code: NO_ERROR`,
	Meaning: "a server ended a gRPC connection in order, and the client connects again",
	Examples: []string{
		`rpc error: code = Unavailable desc = closing transport due to: connection error: desc = "error reading from server: EOF", received prior goaway: code: NO_ERROR, debug data: `,
	},
}

// HostNotFound is grpc-go's word that the name of the server that it dials doesn't resolve.
//
// Fields: stream (what the line says of the stream or the agent whose own message holds this one), host.
var HostNotFound = diagnose.Signature{
	ID:      "grpc-host-not-found",
	Anchors: []string{": no such host"},
	Pattern: `(?:(?P<stream>gRPC config stream|(?:ADS|xDS) stream|ADS streaming RPC|failed to connect to upstream|upstream grpc client|upstream terminated)[^\n]*?)?` +
		`transport: [Ee]rror while dialing:? [^\n]*?lookup (?P<host>[\w.-]+)[^\n]*?: no such host`,
	Meaning: "the name of the server that a gRPC client dials does not resolve",
	Examples: []string{
		`rpc error: code = Unavailable desc = connection error: desc = "transport: Error while dialing dial tcp: lookup istiod.istio-system.svc on 169.254.169.254:53: no such host"`,
		`rpc error: code = Unavailable desc = connection error: desc = "transport: error while dialing: dial tcp: lookup trafficdirector.googleapis.com: no such host"`,
		`gRPC config stream closed: 14, connection error: desc = "transport: Error while dialing dial tcp: lookup istiod.istio-system.svc: no such host"`,
	},
}

// AgentUpstreamFailed is the word of Istio's agent, which passes the proxy's xDS streams on, that it got no connection to the
// control plane. Other programs have upstreams too, so that the line must name the agent's part or an xDS server.
//
// Fields: address (of the server dialled; empty where the line doesn't give it) and text; or client, where the connection
// could not even be prepared: the reason.
// https://github.com/istio/istio/blob/master/pkg/istio-agent/xds_proxy.go
var AgentUpstreamFailed = diagnose.Signature{
	ID:      "istio-agent-upstream-failed",
	Anchors: []string{"failed to connect to upstream ", "failed to create upstream grpc client: "},
	Pattern: `(?m)(?:xdsproxy\b[^\n]*?failed to connect to upstream (?P<agent_address>\S+)` +
		`|failed to connect to upstream (?P<address>(?:istiod|trafficdirector\.|meshconfig\.)[\w.-]*:\d+|[\w.\[\]-]+:1501[02])): (?P<text>[^\n]*?)\s*$` +
		`|failed to create upstream grpc client: (?P<client>[^\n]*?)\s*$`,
	Meaning: "Istio's agent got no connection to the control plane",
	Examples: []string{
		"2024-06-27T15:00:06.433000Z\terror\txdsproxy\tfailed to connect to upstream istiod.istio-system.svc:15012: context deadline exceeded",
		"2024-06-27T15:00:06.433000Z\terror\txdsproxy\tfailed to connect to upstream meshconfig.googleapis.com:443: rpc error: code = Unavailable desc = connection closed",
		`failed to connect to upstream istiod.istio-system.svc:15012: context deadline exceeded`,
		"2024-06-27T15:00:06.433000Z\twarn\txdsproxy\tfailed to create upstream grpc client: open var/run/secrets/istio/root-cert.pem: no such file or directory",
	},
}

// AgentUpstreamConnected is the same agent's word that the connection stands. The server has said nothing yet.
//
// Fields: address.
var AgentUpstreamConnected = diagnose.Signature{
	ID:      "istio-agent-upstream-connected",
	Anchors: []string{"connected to upstream XDS server: "},
	Pattern: `connected to upstream XDS server: (?P<address>[^\s"\\]+)`,
	Meaning: "Istio's agent connected to the control plane",
	Examples: []string{
		"2024-06-27T15:00:16.433000Z\tinfo\txdsproxy\tconnected to upstream XDS server: istiod.istio-system.svc:15012",
	},
}
