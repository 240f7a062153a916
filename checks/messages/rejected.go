package messages

import "github.com/meshdiag/meshdiag/diagnose"

// How xDS clients, and istiod, log that a configuration was rejected or accepted. A client acknowledges or rejects a whole
// response (https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol), so one line may name several resources.
//
// Fields: type_url is a type URL of v2 or v3, or a client's short name for a type; xds is the short name alone ("LDS");
// form is "gRPC" for state-of-the-world subscriptions and "delta" for incremental ones; details is the reason as printed,
// to the end of the line; node is a node id.
var (
	// EnvoyConfigRejected is Envoy's word for a NACK. The details may begin on the next line.
	EnvoyConfigRejected = diagnose.Signature{
		ID:      "envoy-config-rejected",
		Anchors: []string{"gRPC config for ", "delta config for "},
		Pattern: `(?P<form>gRPC|delta) config for (?P<type_url>[\w./-]+)(?: update)? rejected:[ \t]*(?P<details>.*)`,
		Meaning: "the proxy rejected a configuration update",
		Examples: []string{
			`gRPC config for type.googleapis.com/envoy.api.v2.Listener rejected:`,
			`[2021-05-07 10:12:31.101][12][warning][config] [source/common/config/grpc_subscription_impl.cc:101] gRPC config for type.googleapis.com/envoy.config.listener.v3.Listener rejected: Error adding/updating listener(s) TRAFFICDIRECTOR_INTERCEPTION_PORT: unable to open file '/var/log/envoy.log': Permission denied`,
			`[2026-02-11 08:00:01.324][20530622][warning][config] [source/extensions/config_subscription/grpc/grpc_subscription_impl.cc:138] gRPC config for type.googleapis.com/envoy.config.listener.v3.Listener rejected: Error adding/updating listener(s) ready-0.0.0.0-19003: cannot bind '0.0.0.0:19003': Address already in use`,
			`[warning][config] delta config for type.googleapis.com/envoy.config.route.v3.RouteConfiguration rejected: Only unique values for domains are permitted. Duplicate entry of domain shop.example.com in route 80`,
			`[2020-05-07 09:00:00.000][1][warning][upstream] [source/common/config/grpc_mux_impl.cc:226] gRPC config for type.googleapis.com/envoy.api.v2.Listener update rejected: Error adding/updating listener listener_internal: route: unknown weighted cluster`,
			`{"level":"warning","message":"gRPC config for type.googleapis.com/envoy.config.cluster.v3.Cluster rejected: Error adding/updating cluster(s) shop: Proto constraint validation failed"}`,
		},
	}
	// EnvoyUpdateError is the head of Envoy's details, which may stand on a line of its own.
	EnvoyUpdateError = diagnose.Signature{
		ID:      "envoy-update-error",
		Anchors: []string{"Error adding/updating "},
		Pattern: `Error adding/updating (?P<kind>listener|cluster)(?:\(s\))? (?P<details>.*)`,
		Meaning: "the proxy could not add a listener or cluster that it was sent",
		Examples: []string{
			`Error adding/updating listener(s) TRAFFICDIRECTOR_INTERCEPTION_PORT:`,
			`Error adding/updating listener(s) 0.0.0.0_80: cannot bind '0.0.0.0:80': Permission denied`,
			`Error adding/updating listener ambassador-listener-443: cannot bind '0.0.0.0:443': Permission denied`,
			`Error adding/updating cluster(s) shop: Proto constraint validation failed`,
		},
	}
	// EnvoyFileDenied is the reason of a listener or of the admin interface whose access log can't be opened.
	EnvoyFileDenied = diagnose.Signature{
		ID:      "envoy-file-denied",
		Anchors: []string{"unable to open file '"},
		Pattern: `unable to open file '(?P<path>[^']+)': Permission denied`,
		Meaning: "the proxy may not open a file, as a rule its access log",
		Examples: []string{
			`unable to open file '/var/log/envoy.log': Permission denied`,
			`gRPC config for type.googleapis.com/envoy.config.listener.v3.Listener rejected: Error adding/updating listener(s) TRAFFICDIRECTOR_INTERCEPTION_PORT: unable to open file '/var/log/envoy/access.log': Permission denied`,
		},
	}
	// EnvoyBindFailed is the reason of a listener whose address can't be bound. address is host:port or a path.
	EnvoyBindFailed = diagnose.Signature{
		ID:      "envoy-bind-failed",
		Anchors: []string{"cannot bind '"},
		Pattern: `cannot bind '(?P<address>[^']+)': (?P<error>Permission denied|Address already in use)`,
		Meaning: "the proxy could not bind a listener's address",
		Examples: []string{
			`failed to add listener on worker: cannot bind '0.0.0.0:53': Permission denied`,
			`Error adding/updating listener(s) 0.0.0.0_80: cannot bind '0.0.0.0:80': Permission denied`,
			`ingress/http: cannot bind '0.0.0.0:8888': Address already in use`,
		},
	}
	// EnvoyDuplicateListener is the reason of a listener that is sent twice, or whose address another listener has.
	EnvoyDuplicateListener = diagnose.Signature{
		ID:      "envoy-duplicate-listener",
		Anchors: []string{"has duplicate address", "duplicate listener "},
		Pattern: `error adding listener: '(?P<listener>[^']+)' has duplicate address '(?P<address>[^']+)'|duplicate listener (?P<name>\S+) found`,
		Meaning: "two listeners claim one name or address",
		Examples: []string{
			`lds: fetch failure: error adding listener: 'http_172.17.0.20_8080' has duplicate address '172.17.0.20:8080' as existing listener`,
			`gRPC config for type.googleapis.com/envoy.config.listener.v3.Listener rejected: Error adding/updating listener(s) 0.0.0.0_8080: duplicate listener 0.0.0.0_8080 found`,
		},
	}
	// EnvoyDuplicateDomain is the reason of a route configuration in which two virtual hosts claim one domain.
	EnvoyDuplicateDomain = diagnose.Signature{
		ID:      "envoy-duplicate-domain",
		Anchors: []string{"Only unique values for domains are permitted"},
		Pattern: `Only unique values for domains are permitted\.(?: Duplicate entry of domain (?P<domain>[^\s"\\]+))?`,
		Meaning: "two virtual hosts of a route configuration claim one domain",
		Examples: []string{
			`Only unique values for domains are permitted. Duplicate entry of domain checkout:8080`,
			`Only unique values for domains are permitted. Duplicate entry of domain shop.example.com in route 80`,
			`delta config for type.googleapis.com/envoy.config.route.v3.RouteConfiguration rejected: Only unique values for domains are permitted. Duplicate entry of domain x`,
		},
	}
	// GRPCNack is how grpc-go logs a NACK, in its wording since 2024 and before.
	GRPCNack = diagnose.Signature{
		ID:      "grpc-go-nack",
		Anchors: []string{"Sending NACK for re"},
		Pattern: `Sending NACK for (?:resource|response) type: \\?"?(?P<type_url>[\w./-]+)\\?"?, version: [^,]*, nonce: [^,]*, reason: (?P<details>.*)`,
		Meaning: "the gRPC client rejected a configuration update",
		Examples: []string{
			`2026/11/03 10:15:02 WARNING: [xds] [xds-client 0xc0002b6000] [xds-channel 0xc000160a80] [ads-stream 0xc0001a2b00] Sending NACK for resource type: "type.googleapis.com/envoy.config.listener.v3.Listener", version: "3", nonce: "5", reason: error parsing "ListenerResource" response: resource "shop:8080": no RouteSpecifier: api_listener:{}`,
			`WARNING: [xds] [xds-client 0xc00043a000] Sending NACK for response type: ClusterResource, version: 2, nonce: 7, reason: unexpected lbPolicy MAGLEV in response`,
		},
	}
	// GRPCJavaRejected is how grpc-java logs a NACK; the reasons follow on lines of their own.
	GRPCJavaRejected = diagnose.Signature{
		ID:      "grpc-java-nack",
		Anchors: []string{"Failed processing "},
		Pattern: `Failed processing (?P<xds>LDS|RDS|CDS|EDS) Response version \S* nonce \S*?\. Errors:[ \t]*(?P<details>.*)`,
		Meaning: "the gRPC client rejected a configuration update",
		Examples: []string{
			`WARNING: [xds-client<3>: (trafficdirector.googleapis.com:443)] Failed processing CDS Response version 1617141154495058478 nonce 4. Errors:`,
		},
	}
	// GRPCJavaReason is the line after it.
	GRPCJavaReason = diagnose.Signature{
		ID:      "grpc-java-reason",
		Anchors: []string{" validation error: "},
		Pattern: `(?P<xds>LDS|RDS|CDS|EDS) response \w+ '(?P<resource>[^']*)' validation error: (?P<details>.*)`,
		Meaning: "why the gRPC client rejected a resource",
		Examples: []string{
			`CDS response Cluster 'cloud-internal-istio:cloud_mp_482915067713' validation error: Cluster cloud-internal-istio: unspecified cluster discovery type`,
		},
	}
	// IstiodNack is how istiod logs a proxy's NACK. node is the proxy's connection id.
	IstiodNack = diagnose.Signature{
		ID:      "istiod-nack",
		Anchors: []string{": ACK ERROR "},
		Pattern: `ADS:(?P<xds>\w+): ACK ERROR (?P<node>\S+) (?P<code>\w+):(?P<details>.*)`,
		Meaning: "a proxy rejected the configuration that istiod sent",
		Examples: []string{
			"2023-04-18T07:27:54.016482Z\twarn\tads\tADS:LDS: ACK ERROR router~10.8.1.14~istio-ingressgateway-7d4f.istio-system~istio-system.svc.cluster.local-12 Internal:Error adding/updating listener(s) 0.0.0.0_80: cannot bind '0.0.0.0:80': Permission denied",
		},
	}
	// EnvoyListenerAccepted says that a listener was taken over. Unchanged ones are not logged.
	EnvoyListenerAccepted = diagnose.Signature{
		ID:      "envoy-listener-accepted",
		Anchors: []string{"lds: add/update listener '"},
		Pattern: `lds: add/update listener '(?P<name>[^']+)'(?P<skipped> skipped)?`,
		Meaning: "the proxy took a listener over",
		Examples: []string{
			`[2025-03-14 12:42:48.245][3090][info][upstream] [source/common/listener_manager/lds_api.cc:106] lds: add/update listener 'outbound:241.0.0.1:5050'`,
		},
	}
	// EnvoyClustersAccepted ends Envoy's work on a response of clusters; where some were refused, the rejection follows it.
	EnvoyClustersAccepted = diagnose.Signature{
		ID:      "envoy-clusters-accepted",
		Anchors: []string{"cds: added/updated "},
		Pattern: `cds: added/updated \d+ cluster`,
		Meaning: "the proxy took clusters over",
		Examples: []string{
			`[2025-03-14 12:42:48.210][3090][info][upstream] [source/common/upstream/cds_api_helper.cc:71] cds: added/updated 1 cluster(s), skipped 8 unmodified cluster(s)`,
		},
	}
	// GRPCAck is how grpc-go logs an ACK, at a high verbosity.
	GRPCAck = diagnose.Signature{
		ID:      "grpc-go-ack",
		Anchors: []string{"Sending ACK for re"},
		Pattern: `Sending ACK for (?:resource|response) type: \\?"?(?P<type_url>[\w./-]+)`,
		Meaning: "the gRPC client took a configuration update over",
		Examples: []string{
			`2026/11/03 10:16:02 INFO: [xds] [xds-client 0xc0002b6000] [ads-stream 0xc0001a2b00] Sending ACK for resource type: "type.googleapis.com/envoy.config.listener.v3.Listener", version: "4", nonce: "6"`,
		},
	}
	// IstiodAck is how istiod logs an ACK, at debug level. A connection id holds tildes, which tells it from "ACK ERROR".
	IstiodAck = diagnose.Signature{
		ID:      "istiod-ack",
		Anchors: []string{": ACK router~", ": ACK sidecar~"},
		Pattern: `ADS:(?P<xds>\w+): ACK (?P<node>\w+~\S+) `,
		Meaning: "a proxy took over the configuration that istiod sent",
		Examples: []string{
			"2023-04-18T07:28:10.000000Z\tdebug\tads\tADS:LDS: ACK sidecar~10.8.1.14~shop-7d4f.shop~shop.svc.cluster.local-13 2023-04-18T07:28:09Z/9 bd1c",
		},
	}
)
