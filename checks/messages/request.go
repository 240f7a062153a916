package messages

import "github.com/meshdiag/meshdiag/diagnose"

// What proxies and their agents say around requests that fail, and what reaches the caller as the body of the answer.
var (
	// AccessDenied is the body of Envoy's answer where its RBAC filter refuses a request, and what the filter logs at debug
	// level, which names the policy.
	AccessDenied = diagnose.Signature{
		ID:      "rbac-access-denied",
		Anchors: []string{"RBAC: access denied", "enforced denied, matched policy "},
		Pattern: `RBAC: access denied|enforced denied, matched policy (?P<policy>[^\s"\\]+)`,
		Meaning: "a proxy refused a request for an authorization policy",
		Examples: []string{
			`RBAC: access denied`,
			`rpc error: code = PermissionDenied desc = RBAC: access denied`,
			"2026-01-04T11:06:13.510661Z\tdebug\tenvoy rbac external/envoy/source/extensions/filters/http/rbac/rbac_filter.cc:224\tenforced denied, matched policy ns[default]-policy[test]-rule[0]\tthread=25",
		},
	}
	// UpstreamConnectError is the body of Envoy's answer where it can't reach the upstream host. stream is set where a stream
	// to a control plane ended with it; it is no request then.
	UpstreamConnectError = diagnose.Signature{
		ID:      "upstream-connect-error",
		Anchors: []string{"upstream connect error or disconnect/reset before headers"},
		Pattern: `(?:(?P<stream>(?:gRPC config|xDS|ADS|ads-)[ -]?stream)[^\n]*?)?upstream connect error or disconnect/reset before headers\.(?: retried and the latest)? reset reason: (?P<reason>[\w ]+)` +
			`(?:, transport failure reason: (?P<transport>[^"\\\n]*))?`,
		Meaning: "a proxy could not reach the host that a request was for",
		Examples: []string{
			`upstream connect error or disconnect/reset before headers. reset reason: connection failure, transport failure reason: delayed connect error: 111`,
			`upstream connect error or disconnect/reset before headers. retried and the latest reset reason: remote connection failure, transport failure reason: TLS_error:|268435703:SSL routines:OPENSSL_internal:WRONG_VERSION_NUMBER:TLS_error_end`,
			`StreamAggregatedResources gRPC config stream closed: 14, upstream connect error or disconnect/reset before headers. reset reason: connection failure`,
		},
	}
	// EndpointDialTimeout is how gRPC, and other programs in Go, say that nothing answered at an address.
	EndpointDialTimeout = diagnose.Signature{
		ID:      "dial-timeout",
		Anchors: []string{": i/o timeout", "connect: connection timed out"},
		Pattern: `dial tcp (?P<address>(?:\d{1,3}(?:\.\d{1,3}){3}|\[[0-9a-f:.]+\]):\d+): (?:i/o timeout|connect: connection timed out)`,
		Meaning: "nothing answered in time at an address",
		Examples: []string{
			`rpc error: code = Unavailable desc = connection error: desc = "transport: Error while dialing: dial tcp 10.132.0.10:50051: i/o timeout"`,
			`dial tcp [fd20:1::5]:8080: connect: connection timed out`,
		},
	}
	// ProxyTerminating is how Istio's agent, Envoy and the kubelet say that a pod is being shut down. container is what the
	// kubelet stops.
	ProxyTerminating = diagnose.Signature{
		ID:      "proxy-terminating",
		Anchors: []string{"Agent draining Proxy", "Agent draining proxy", "Graceful termination period is ", "caught ENVOY_SIGTERM", "Stopping container "},
		Pattern: `Agent draining [Pp]roxy|Graceful termination period is |caught ENVOY_SIGTERM|Stopping container (?P<container>[\w.-]+)`,
		Meaning: "a pod is being shut down",
		Examples: []string{
			"2025-01-06T15:53:11.767874Z\tinfo\tAgent draining Proxy for termination",
			"2025-01-06T15:53:11.769427Z\tinfo\tGraceful termination period is 30s, starting...",
			`[2025-01-06 15:53:11.771][1][warning][main] [source/server/server.cc:863] caught ENVOY_SIGTERM`,
			`2025-01-06T15:53:11Z   Normal   Killing   pod/cart-6f7c   Stopping container istio-proxy`,
		},
	}
	// ProxyReady is Istio's agent's word that the proxy begins to serve.
	ProxyReady = diagnose.Signature{
		ID:       "proxy-ready",
		Anchors:  []string{"Envoy proxy is ready"},
		Pattern:  `Envoy proxy is ready`,
		Meaning:  "the proxy begins to serve",
		Examples: []string{"2020-06-29T23:37:30.890178Z\tinfo\tEnvoy proxy is ready"},
	}
	// InitialFetchTimeout is Envoy's word that it went on without a configuration that did not come.
	InitialFetchTimeout = diagnose.Signature{
		ID:      "envoy-initial-fetch-timeout",
		Anchors: []string{"initial fetch timed out for "},
		Pattern: `(?:gRPC config: |delta config: |REST config: )?initial fetch timed out for (?P<type_url>[\w./-]+)`,
		Meaning: "the proxy started without a configuration that did not come in time",
		Examples: []string{
			`[2024-06-27 15:00:21.433][12][warning][config] [source/extensions/config_subscription/grpc/grpc_subscription_impl.cc:130] gRPC config: initial fetch timed out for type.googleapis.com/envoy.config.listener.v3.Listener`,
			`gRPC config: initial fetch timed out for type.googleapis.com/envoy.config.cluster.v3.Cluster`,
			`[warning][config] delta config: initial fetch timed out for type.googleapis.com/envoy.config.route.v3.RouteConfiguration`,
		},
	}
)
