package messages

import "github.com/meshdiag/meshdiag/diagnose"

// What gRPC clients without a proxy say of their bootstrap and of what they dial. The texts are those of grpc-go, grpc-java
// and gRPC's C++ core (which Python, Ruby and C# of old share), in their releases since 2020. They reach a log as the message
// of a failed call, or of the channel.
var (
	// GRPCBootstrapMissing says that the client was told of no bootstrap at all.
	GRPCBootstrapMissing = diagnose.Signature{
		ID: "grpc-bootstrap-missing",
		Anchors: []string{
			"bootstrap environment variables (", "Environment variables GRPC_XDS_BOOTSTRAP", "Cannot find bootstrap configuration",
		},
		Pattern: `bootstrap environment variables \(\\*"GRPC_XDS_BOOTSTRAP\\*" or \\*"GRPC_XDS_BOOTSTRAP_CONFIG\\*"\) (?:not )?defined` +
			`|Environment variables GRPC_XDS_BOOTSTRAP or GRPC_XDS_BOOTSTRAP_CONFIG not defined|Cannot find bootstrap configuration`,
		Meaning: "a gRPC client that dials xds:/// was given no bootstrap",
		Examples: []string{
			`2026/11/03 10:15:02 rpc error: code = Unavailable desc = failed to exit idle mode: failed to start resolver: failed to build resolver: xds: failed to create xds-client: failed to read xDS bootstrap config from env vars: bootstrap environment variables ("GRPC_XDS_BOOTSTRAP" or "GRPC_XDS_BOOTSTRAP_CONFIG") not defined and fallback config not set`,
			`{"level":"error","err":"xds: failed to create xds-client: xds: failed to read bootstrap file: none of the bootstrap environment variables (\"GRPC_XDS_BOOTSTRAP\" or \"GRPC_XDS_BOOTSTRAP_CONFIG\") defined"}`,
			`E1103 10:15:02.113 xds_resolver.cc:1053] Failed to create xds client -- channel will remain in TRANSIENT_FAILURE: FAILED_PRECONDITION: Environment variables GRPC_XDS_BOOTSTRAP or GRPC_XDS_BOOTSTRAP_CONFIG not defined`,
			`Caused by: io.grpc.xds.client.XdsInitializationException: Cannot find bootstrap configuration`,
		},
	}
	// GRPCBootstrapUnreadable says that the bootstrap's file can't be read. file and error are empty where the line doesn't
	// give them.
	GRPCBootstrapUnreadable = diagnose.Signature{
		ID:      "grpc-bootstrap-unreadable",
		Anchors: []string{"failed to read bootstrap config from file", "ailed to read bootstrap config: open ", "Fail to read bootstrap file"},
		Pattern: `failed to read bootstrap config from file \\*"(?P<file>[^"\\]+)\\*": (?:open [^:]*: )?(?P<error>[^"\\]*)` +
			`|ailed to read bootstrap config: open (?P<path>[^:]+): (?P<reason>[^"\\]*)|Fail to read bootstrap file`,
		Meaning: "a gRPC client could not read the file of its bootstrap",
		Examples: []string{
			`rpc error: code = Unavailable desc = xds: failed to create xds-client: xds: failed to read xDS bootstrap config from env vars:  xds: failed to read bootstrap config from file "/var/lib/grpc/bootstrap.json": open /var/lib/grpc/bootstrap.json: no such file or directory`,
			`xds: Failed to read bootstrap config: open /etc/xds/bootstrap.json: permission denied`,
			`io.grpc.xds.XdsInitializationException: Fail to read bootstrap file`,
		},
	}
	// GRPCGeneratorFailed says that Google's generator of bootstraps ended without writing one. what or doing is what it could not
	// do, why or reason its reason; flags is set instead where two of its flags contradict each other, and name where the Mesh's name was refused. Other
	// programs write "Failed to determine project ID", with a capital.
	// https://github.com/GoogleCloudPlatform/traffic-director-grpc-bootstrap, main.go
	GRPCGeneratorFailed = diagnose.Signature{
		ID: "grpc-bootstrap-generator-failed",
		Anchors: []string{
			"Error: failed to determine project id: ", "Error: generating deployment info: ", "Error: unable to generate mesh id: ",
			"flag cannot be specified while --generate-mesh-id", "Error: config-mesh may only contain ",
		},
		Pattern: `Error: (?P<what>failed to determine project id): (?P<why>could not (?:discover|parse) project id[^\n]{0,400})` +
			`|Error: (?P<doing>generating deployment info|unable to generate mesh id): (?P<reason>[^\n]{0,400})` +
			`|Error: (?P<flags>--config-mesh(?:-experimental)? flag cannot be specified while --generate-mesh-id(?:-experimental)? is also set)` +
			`|Error: (?P<name>config-mesh may only contain letters, numbers, and '-')`,
		Meaning: "Google's generator of gRPC bootstraps ended without writing one",
		Examples: []string{
			`Error: failed to determine project id: could not discover project id: failed communicating with metadata server: Get "http://metadata.google.internal/computeMetadata/v1/project/numeric-project-id": dial tcp: lookup metadata.google.internal on 10.0.0.10:53: no such host`,
			`Error: generating deployment info: failed to determine GKE cluster name: metadata server returned status code 404 for url "http://metadata.google.internal/computeMetadata/v1/instance/attributes/cluster-name"`,
			`Error: unable to generate mesh id: failed to determine GKE cluster locality: metadata server returned status code 404 for url "http://metadata.google.internal/computeMetadata/v1/instance/attributes/cluster-location"`,
			`Error: --config-mesh flag cannot be specified while --generate-mesh-id is also set.`,
			`Error: --config-mesh-experimental flag cannot be specified while --generate-mesh-id-experimental is also set.`,
			`Error: config-mesh may only contain letters, numbers, and '-'. It must begin with a letter and must not exceed 64 characters in length`,
		},
	}
	// GRPCBootstrapInvalid says that the client refused its bootstrap, and why.
	GRPCBootstrapInvalid = diagnose.Signature{
		ID: "grpc-bootstrap-invalid",
		Anchors: []string{
			"not found in bootstrap", "field in server config cannot be empty", "JSON bootstrap configuration: ", "failed during bootstrap: ",
			"doesn't contain valid value in bootstrap", "Invalid bootstrap: ", "no supported channel credentials found", "errors validating JSON: [field:",
			"credentials bundle from bootstrap for ", "clientListenerResourceNameTemplate ",
		},
		Pattern: `xds: (?P<problem>(?:[Rr]equired field [` + "`" + `\\"]*[\w.]+[` + "`" + `\\"]* (?:not found in bootstrap|doesn't contain valid value in bootstrap)` +
			`|[` + "`" + `]\w+[` + "`" + `] field in server config cannot be empty|error normalizing JSON bootstrap configuration: [^\n]*|field clientListenerResourceNameTemplate [^\n]*doesn't start with prefix [^\n]*))` +
			`|failed during bootstrap: (?P<parse>[^\n]*)|(?P<java>Invalid bootstrap: [^\n]*|[Ss]erver [^\n]*no supported channel credentials found)` +
			`|errors validating JSON: \[(?P<core>field:(?:xds_servers|authorities|node|certificate_providers)[^\n\]]*)|(?P<creds>failed to build credentials bundle from bootstrap for [^\n]*)`,
		Meaning: "a gRPC client refused its bootstrap",
		Examples: []string{
			"xds: failed to create xds-client: xds: failed to read xDS bootstrap config from env vars:  xds: required field `xds_servers` not found in bootstrap configuration: {",
			"}) failed during bootstrap: xds: `channel_creds` field in server config cannot be empty: {",
			"xds: `server_uri` field in server config cannot be empty: {",
			`xds: Required field "xds_servers.server_uri" not found in bootstrap [{}]`,
			`xds: Required field \"xds_servers.channel_creds\" doesn't contain valid value in bootstrap`,
			`xds: error normalizing JSON bootstrap configuration: invalid character '}' looking for beginning of object key string`,
			`io.grpc.xds.XdsInitializationException: Invalid bootstrap: 'xds_servers' does not exist.`,
			`io.grpc.xds.XdsInitializationException: Invalid bootstrap: server trafficdirector.googleapis.com:443 'channel_creds' required`,
			`io.grpc.xds.XdsInitializationException: Server trafficdirector.googleapis.com:443: no supported channel credentials found`,
			`Failed to create xds client -- channel will remain in TRANSIENT_FAILURE: INVALID_ARGUMENT: errors validating JSON: [field:xds_servers[0].channel_creds error:no known creds type found]`,
			`failed to build credentials bundle from bootstrap for "tls": open /etc/ca.pem: no such file or directory`,
		},
	}
	// GRPCClientFailed is the word of gRPC's C++ core that it could not make its xDS client, which it makes of the bootstrap. The
	// reason is empty where the line is cut there; where it is one that is known, its own signature is found too.
	GRPCClientFailed = diagnose.Signature{
		ID:      "grpc-xds-client-failed",
		Anchors: []string{"Failed to create xds client -- channel will remain in TRANSIENT_FAILURE"},
		Pattern: `Failed to create xds client -- channel will remain in TRANSIENT_FAILURE(?:: (?P<reason>[^\n]+))?`,
		Meaning: "a gRPC client could not make its xDS client",
		Examples: []string{
			`E0318 17:23:32.444515988   27538 xds_resolver.cc:118]        Failed to create xds client -- channel will remain in TRANSIENT_FAILURE: {"created":"@1584552212.444450255","description":"no credential found","file":"src/core/ext/filters/client_channel/xds/xds_channel.cc","file_line":36}`,
			`Failed to create xds client -- channel will remain in TRANSIENT_FAILURE`,
		},
	}
	// GRPCAuthorityUnknown says that the dialled target names an authority that the bootstrap lacks. authority and target are
	// empty where the text doesn't give them, as grpc-java's.
	GRPCAuthorityUnknown = diagnose.Signature{
		ID:      "grpc-authority-unknown",
		Anchors: []string{"is not found in the bootstrap file", "target authority not found in the bootstrap", "Invalid target URI -- authority not found for "},
		Pattern: `authority \\*"(?P<authority>[^"\\]+)\\*" specified in dial target \\*"(?P<target>[^"\\]+)\\*" is not found in the bootstrap file` +
			`|target authority not found in the bootstrap|Invalid target URI -- authority not found for (?P<name>[\w.:%-]+)`,
		Meaning: "a gRPC client dials a target with an authority that its bootstrap doesn't list",
		Examples: []string{
			`rpc error: code = Unavailable desc = failed to exit idle mode: failed to start resolver: failed to build resolver: xds: authority "traffic-director.example.com" specified in dial target "xds://traffic-director.example.com/checkout:50051" is not found in the bootstrap file`,
			`{"msg":"xds: authority \"td\" specified in dial target \"xds://td/checkout\" is not found in the bootstrap file"}`,
			`io.grpc.StatusRuntimeException: INVALID_ARGUMENT: invalid target URI: target authority not found in the bootstrap`,
			`UNAVAILABLE: Invalid target URI -- authority not found for xds.unknown.com`,
		},
	}
	// GRPCNoAddresses says that a client has nowhere to send its calls. xds is set where the line shows that the name was
	// resolved by xDS, policy where a load balancing policy of xDS says so; stream where it is about the way to the control plane, and not about the service dialled.
	GRPCNoAddresses = diagnose.Signature{
		ID: "grpc-no-addresses",
		Anchors: []string{
			"produced zero addresses", "NameResolver returned no usable address", "UNAVAILABLE: No usable endpoint",
			"weighted-target: no targets to pick from", "no priority is provided, all priorities are removed",
		},
		Pattern: `(?:(?P<xds>xds:///|xDS node id|\[xds\]|XdsNameResolver)[^\n]*?)?(?:(?P<stream>(?:xDS|ADS|LRS|ads|lrs) ?-?stream|xds-channel|gRPC config stream|StreamAggregatedResources)[^\n]*?)?` +
			`(?:name resolver error: produced zero addresses|produced zero addresses|NameResolver returned no usable address(?P<java>[^\n]*io\.grpc\.xds)?|UNAVAILABLE: (?P<endpoint>No usable endpoint)|(?P<policy>weighted-target: no targets to pick from|no priority is provided, all priorities are removed))`,
		Meaning: "a gRPC client has no address to send its calls to",
		Examples: []string{
			`rpc error: code = Unavailable desc = name resolver error: produced zero addresses`,
			`2026/11/03 10:15:02 could not call xds:///checkout:50051: rpc error: code = Unavailable desc = name resolver error: produced zero addresses`,
			`xds: error received from xDS stream: rpc error: code = Unavailable desc = name resolver error: produced zero addresses`,
			`WARNING: [Channel<1>: (xds:///be-srv)] Failed to resolve name. status=Status{code=UNAVAILABLE, description=NameResolver returned no usable address. addrs=[], attrs={}`,
			`io.grpc.StatusRuntimeException: UNAVAILABLE: No usable endpoint`,
			`2026/11/03 10:15:02 could not call xds:///checkout:50051: rpc error: code = Unavailable desc = weighted-target: no targets to pick from`,
			`rpc error: code = Unavailable desc = no priority is provided, all priorities are removed`,
		},
	}
	// GRPCListenerMissing says that the control plane has no listener for what a client dialled. name is the listener's name:
	// HOST:PORT, or an xdstp name that ends in it.
	GRPCListenerMissing = diagnose.Signature{
		ID: "grpc-listener-missing",
		Anchors: []string{
			`of type \"ListenerResource\" has been removed`, `of type "ListenerResource" has been removed`, "ListenerResource target ", "LDS resource does not exist: ",
			"xDS listener resource does not exist", "xDS listener resource: does not exist",
		},
		Pattern: `resource \\*"(?P<name>[^"\\]+)\\*" of type \\*"ListenerResource\\*" has been removed|ListenerResource target (?P<target>\S+) not found` +
			`|LDS resource does not exist: (?P<java>[^\s"\\]+)|(?P<core>[^\s"\\]+): xDS listener resource:? does not exist`,
		Meaning: "the control plane has no listener for what a gRPC client dials",
		Examples: []string{
			`[xDS node id: projects/482915067713/networks/mesh-vpc/nodes/1]: xds: resource "xdstp://traffic-director-global.xds.googleapis.com/envoy.config.listener.v3.Listener/482915067713/mesh-vpc/checkout:8080" of type "ListenerResource" has been removed`,
			`{"err":"xds: resource \"checkout:8080\" of type \"ListenerResource\" has been removed"}`,
			`rpc error: code = Unavailable desc = xds: ListenerResource target checkout not found, watcher timeout, xDS client nodeID: projects/1/networks/n/nodes/2`,
			`io.grpc.StatusRuntimeException: UNAVAILABLE: LDS resource does not exist: checkout:8080 nodeID: projects/1/networks/n/nodes/2`,
			`UNAVAILABLE: empty address list: checkout:8080: xDS listener resource does not exist`,
		},
	}
)
