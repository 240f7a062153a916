package messages

import "github.com/meshdiag/meshdiag/diagnose"

// What Kubernetes' API server says of admission webhooks. The texts reach a user as the event FailedCreate of a ReplicaSet
// ("Error creating: …"), as a command's error ("Error from server (InternalError): …"), as a condition of a Deployment, and
// in the API server's own log.
// https://github.com/kubernetes/apiserver/blob/master/pkg/util/webhook/error.go and
// pkg/admission/plugin/webhook/mutating/dispatcher.go
var (
	// WebhookCallFailed says that a webhook could not be called.
	//
	// Fields:
	//   - webhook: the entry's name ("rev.namespace.sidecar-injector.istio.io"), empty where a line was broken before it;
	//   - url: what was called, and service and namespace, where that is a service of the cluster. A service's webhook is
	//     called at its pods' target port, so that an address in reason has another port than url;
	//   - reason: the error as printed, to its end: "context deadline exceeded", "EOF", "no endpoints available for service
	//     "istiod"", "service "istiod" not found", "x509: …", "dial tcp ADDRESS: …", "could not get REST client: …" for a
	//     caBundle that can't be read;
	//   - mode: "open" where the API server says that it went on without the webhook, "closed" where it says that it refused
	//     the object; empty elsewhere, where it refused it;
	//   - trial: set where it was istiod that tried its own validating webhook, which fails while istiod starts.
	WebhookCallFailed = diagnose.Signature{
		ID:      "webhook-call-failed",
		Anchors: []string{"failed calling webhook", "failed calling admission webhook"},
		Pattern: `(?m)(?:Failed calling webhook, failing (?P<mode>open|closed) \S+?: |(?P<trial>dummy invalid (?:config )?rejected for the wrong reason): [^\n]*?)?` +
			`failed calling (?:admission )?webhook(?:\s*$| ` + quotes + `(?P<webhook>[\w-]+(?:\.[\w-]+)*)` + quotes + `:? *(?:failed to call webhook:? *)?` +
			`(?:(?:Post|Get) *` + quotes + `(?P<url>https?://(?:(?P<service>[a-z0-9-]+)\.(?P<namespace>[a-z0-9-]+)\.svc\b)?[^\s"'\\]*?)` + quotes + `(?:: |:?\s*$))?(?P<reason>` + reason + `))`,
		Meaning: "Kubernetes could not call an admission webhook",
		Examples: []string{
			`Error creating: Internal error occurred: failed calling webhook "namespace.sidecar-injector.istio.io": failed to call webhook: Post "https://istiod.istio-system.svc:443/inject?timeout=10s": context deadline exceeded`,
			`  Warning  FailedCreate  18m (x10 over 10h)  replicaset-controller  Error creating: Internal error occurred: failed calling webhook "sidecar-injector.istio.io": Post https://istiod.istio-system.svc:443/inject?timeout=30s: dial tcp 10.129.45.155:15017: i/o timeout`,
			`Error creating: Internal error occurred: failed calling webhook "sidecar-injector.istio.io": Post "https://istiod.istio-system.svc:443/inject?timeout=30s": net/http: request canceled while waiting for connection (Client.Timeout exceeded while awaiting headers)`,
			`    message: 'Internal error occurred: failed calling admission webhook "sidecar-injector.istio.io": Post https://istio-sidecar-injector.istio-system.svc:443/inject: dial tcp 10.254.156.130:443: getsockopt: connection refused'`,
			`Error from server (InternalError): error when creating "gateway.yaml": Internal error occurred: failed calling webhook "rev.validation.istio.io": failed to call webhook: Post "https://istiod-asm-1122-0.istio-system.svc:443/validate?timeout=10s": EOF`,
			`Error from server (InternalError): Internal error occurred: failed calling webhook "namespace.sidecar-injector.istio.io": failed to call webhook: Post "https://istiod.istio-system.svc:443/inject?timeout=10s": no endpoints available for service "istiod"`,
			`Internal error occurred: failed calling webhook "rev.namespace.sidecar-injector.istio.io": failed to call webhook: Post "https://istiod-asm-1234-7.istio-system.svc:443/inject?timeout=10s": service "istiod-asm-1234-7" not found`,
			`Internal error occurred: failed calling webhook "rev.namespace.sidecar-injector.istio.io": failed to call webhook: Post "https://istiod.istio-system.svc:443/inject?timeout=10s": tls: failed to verify certificate: x509: certificate signed by unknown authority (possibly because of "crypto/rsa: verification error" while trying to verify candidate authority certificate "cluster.local")`,
			`        "message": "Error creating: Internal error occurred: failed calling webhook \"rev.namespace.sidecar-injector.istio.io\": failed to call webhook: Post \"https://istiod.istio-system.svc:443/inject?timeout=10s\": x509: certificate is not valid for any names, but wanted to match istiod.istio-system.svc",`,
			`E0212 11:24:51.100000       1 replica_set.go:536] sync "shop/cart-6f7c" failed with Internal error occurred: failed calling webhook "sidecar-injector.istio.io": Post "https://istiod.istio-system.svc:443/inject?timeout=30s": endpoints "istiod" not found`,
			`Internal error occurred: failed calling webhook "istiod-asm-managed.sidecar-injector.istio.io": failed to call webhook: an error on the server ("unknown") has prevented the request from succeeding`,
			`W0212 11:24:51.100000       1 dispatcher.go:142] Failed calling webhook, failing open rev.validation.istio.io: failed calling webhook "rev.validation.istio.io": failed to call webhook: Post "https://istiod.istio-system.svc:443/validate?timeout=10s": dial tcp 10.60.1.5:15017: connect: connection refused`,
			"2024-07-25T20:12:53.319393Z\tinfo\tvalidationController\tNot ready to switch validation to fail-closed: dummy invalid rejected for the wrong reason: Internal error occurred: failed calling webhook \"rev.validation.istio.io\": failed to call webhook: Post \"https://istiod.istio-system.svc:443/validate?timeout=10s\": dial tcp 10.97.219.77:443: connect: connection refused",
			`        Internal error occurred: failed calling webhook`,
		},
	}
	// WebhookCallReason is the end of [WebhookCallFailed] by itself, as people copy it and as tables of error messages print it,
	// at the start of a line. What doesn't name istiod, or its port, any program written in Go may say of anything: in a log it is no
	// sign of a webhook.
	//
	// Fields: reason (as printed); named, instead, where it names istiod or the port that its webhooks have.
	WebhookCallReason = diagnose.Signature{
		ID: "webhook-call-reason",
		Anchors: []string{
			"no endpoints available for service", "ervice \"istiod", `ervice \"istiod`, "ervice 'istiod", ":15017: i/o timeout", ":15017: connect: ",
			"request canceled while waiting for connection (Client.Timeout exceeded", "x509: certificate signed by unknown authority",
		},
		Pattern: `(?m)^[^\S\n]*["']?(?:Error from server(?: \(\w+\))?: |[Ee]rror: )?(?:Internal error occurred: )?` +
			`(?:(?P<named>no endpoints available for service ` + quotes + `istiod[\w-]*` + quotes + `|[Ss]ervice ` + quotes + `istiod[\w-]*` + quotes + ` not found|no service port \d+ found for service ` + quotes + `istiod[\w-]*` + quotes +
			`|dial tcp[46]? [^\s"'\\]+:15017: (?:i/o timeout|connect: [a-z ]+))` +
			`|(?P<reason>net/http: request canceled while waiting for connection \(Client\.Timeout exceeded while awaiting headers\)|(?:tls: failed to verify certificate: )?x509: certificate signed by unknown authority))`,
		Meaning: "what a call of a webhook may fail for",
		Examples: []string{
			`no endpoints available for service "istiod"`,
			`no endpoints available for service 'istiod'`,
			`Service "istiod" not found`,
			`Error from server (InternalError): Internal error occurred: service "istiod-asm-1234-7" not found`,
			`dial tcp 10.60.1.5:15017: i/o timeout`,
			`net/http: request canceled while waiting for connection (Client.Timeout exceeded while awaiting headers)`,
			`x509: certificate signed by unknown authority`,
			`x509: certificate signed by unknown authority (possibly because of "crypto/rsa: verification error" while trying to verify candidate authority certificate "cluster.local")`,
		},
	}
	// WebhookDenied says that a webhook was called, and refused: it works, and what it was shown is wrong, or its own
	// configuration is.
	//
	// Fields: webhook; reason (as printed, to the end of the line; empty where the webhook gave none).
	WebhookDenied = diagnose.Signature{
		ID:      "webhook-denied",
		Anchors: []string{"denied the request"},
		Pattern: `admission webhook ` + quotes + `(?P<webhook>[\w-]+(?:\.[\w-]+)*)` + quotes + ` denied the request(?:: (?P<reason>[^\n]*)| without explanation)?`,
		Meaning: "an admission webhook refused an object",
		Examples: []string{
			`Error from server: error when creating "vs.yaml": admission webhook "rev.validation.istio.io" denied the request: configuration is invalid: gateway must have at least one server`,
			`Error creating: admission webhook "rev.namespace.sidecar-injector.istio.io" denied the request: failed to run injection template: template: inject:1: function "annotations" not defined`,
			`admission webhook "validation.istio.io" denied the request without explanation`,
		},
	}
	// WebhookPatchUnusable is the API server's word that it could not apply what a mutating webhook wants changed; it doesn't say
	// which webhook that was. Where several change the same pod, one may have taken away what another one's patch rests on.
	//
	// Fields: operation (of the JSON patch: "replace"), reason (as printed).
	// https://github.com/evanphx/json-patch/blob/master/v5/patch.go
	WebhookPatchUnusable = diagnose.Signature{
		ID:      "webhook-patch-unusable",
		Anchors: []string{" operation does not apply: "},
		Pattern: `Internal error occurred: (?:jsonpatch )?(?P<operation>add|remove|replace|move|copy|test) operation does not apply: (?P<reason>(?:path: \\*"[^"\\\n]*\\*"|[^"\\\n])*)`,
		Meaning: "what a mutating webhook wants changed does not fit the object",
		Examples: []string{
			`Error creating: Internal error occurred: replace operation does not apply: doc is missing path: /spec/initContainers/0: missing value`,
			`Error from server (InternalError): Internal error occurred: add operation does not apply: doc is missing path: "/metadata/labels/istio.io~1rev": missing value`,
		},
	}
)

// reason matches an error up to its end, in a line that may quote the error as a whole: it holds quotes only after the
// words that name something, and in pairs.
const reason = `(?:[Ss]ervice '[\w-]+'|(?:[Ss]ervices?|service type|endpoints|certificate|because of|name|resource|host|lookup) \\*"[^"\\\n]*\\*"|server \(\\*"[^"\\\n]*\\*"\)|(?:response\.uid=|, got )\\*"[^"\\\n]*\\*"|\w'\w|[^"'\\\n])*`
