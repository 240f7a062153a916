package messages

import "github.com/meshdiag/meshdiag/diagnose"

// What istiod says of its own webhooks.
var (
	// TLSRejectedByClient is what a server written in Go prints where a client broke off the handshake for the server's
	// certificate. Any such server prints it: it tells of the webhooks only in istiod's log, and there every client with
	// another root certificate causes it, also one that isn't the API server.
	//
	// Fields: address (of the client), alert ("bad certificate", "unknown certificate authority", "expired certificate").
	// https://github.com/golang/go/blob/master/src/crypto/tls/alert.go
	TLSRejectedByClient = diagnose.Signature{
		ID:      "tls-rejected-by-client",
		Anchors: []string{"http: TLS handshake error from "},
		Pattern: `http: TLS handshake error from (?P<address>[^\s"\\]+): remote error: tls: (?P<alert>bad certificate|unknown certificate authority|unknown certificate|expired certificate|revoked certificate|unsupported certificate)`,
		Meaning: "a client refused the certificate of an HTTPS server, in istiod's log as a rule that of its webhooks",
		Examples: []string{
			"2021-02-06T09:00:00.000000Z\tinfo\thttp: TLS handshake error from 10.128.0.2:48212: remote error: tls: bad certificate",
			`2020/03/07 12:00:00 http: TLS handshake error from 10.60.0.1:33370: remote error: tls: unknown certificate authority`,
		},
	}
	// ValidationNotSwitched is istiod's word that it leaves its validating webhook at failurePolicy Ignore, since an invalid
	// object that it wrote on trial was not refused by itself. It tries again, and says [ValidationSwitched] in the end; a
	// few such lines are normal when istiod starts.
	//
	// Fields: accepted (set where the invalid object was taken: the API server can't reach the webhook); or reason (what
	// refused it instead, as printed).
	// https://github.com/istio/istio/blob/master/pkg/webhooks/validation/controller/controller.go
	ValidationNotSwitched = diagnose.Signature{
		ID:      "validation-not-fail-closed",
		Anchors: []string{"Not ready to switch validation to fail-closed"},
		Pattern: `Not ready to switch validation to fail-closed: (?:(?P<accepted>dummy invalid config not rejected)|dummy invalid (?:config )?rejected for the wrong reason: (?P<reason>[^\n]*)|(?P<other>[^\n]*))`,
		Meaning: "istiod does not see its own validating webhook at work",
		Examples: []string{
			"2023-04-17T00:08:00.086475Z\tinfo\tvalidationController\tNot ready to switch validation to fail-closed: dummy invalid config not rejected",
			"2024-07-25T20:12:53.319393Z\tinfo\tvalidationController\tNot ready to switch validation to fail-closed: dummy invalid rejected for the wrong reason: Internal error occurred: failed calling webhook \"rev.validation.istio.io\": failed to call webhook: Post \"https://istiod.istio-system.svc:443/validate?timeout=10s\": dial tcp 10.97.219.77:443: connect: connection refused",
		},
	}
	// ValidationSwitched says that the trial succeeded: the API server reaches the validating webhook.
	//
	// Fields: none.
	ValidationSwitched = diagnose.Signature{
		ID:      "validation-fail-closed",
		Anchors: []string{"Endpoint successfully rejected invalid config"},
		Pattern: `Endpoint successfully rejected invalid config`,
		Meaning: "istiod saw its own validating webhook at work",
		Examples: []string{
			"2023-04-17T00:08:04.212630Z\tinfo\tvalidationController\tEndpoint successfully rejected invalid config. Switching to fail-close.",
		},
	}
	// WebhookPatchFailed is istiod's word that it could not write its certificate authority into a webhook configuration.
	//
	// Fields: configuration, reason.
	// https://github.com/istio/istio/blob/master/pkg/webhooks/webhookpatch.go
	WebhookPatchFailed = diagnose.Signature{
		ID:      "webhook-patch-failed",
		Anchors: []string{"atching webhook "},
		Pattern: `\b[Pp]atching webhook ` + quotes + `(?P<configuration>[\w-]+(?:\.[\w-]+)*)` + quotes + ` failed: (?P<reason>[^\n]*)`,
		Meaning: "istiod could not write its certificate authority into a webhook configuration",
		Examples: []string{
			"2022-06-06T07:14:09.419199Z\terror\tpatching webhook istio-sidecar-injector failed: mutatingwebhookconfigurations.admissionregistration.k8s.io \"istio-sidecar-injector\" is forbidden: User \"system:serviceaccount:istio-system:istiod\" cannot patch resource \"mutatingwebhookconfigurations\"",
		},
	}
	// WebhookUpdateConflict says that somebody else wrote a webhook configuration at the same time, as a second replica of
	// istiod does, or a second revision. The writer tries again: it is harmless by itself.
	//
	// Fields: kind ("validating" or "mutating"), configuration, policy (failurePolicy, where the line gives it), handler
	// (the queue's item, where a handler reports it).
	WebhookUpdateConflict = diagnose.Signature{
		ID:      "webhook-update-conflict",
		Anchors: []string{"Operation cannot be fulfilled on validatingwebhook", "Operation cannot be fulfilled on mutatingwebhook"},
		Pattern: `(?:Failed to update (?:validat|mutat)ingwebhookconfiguration \S+ \(failurePolicy=(?P<policy>\w+)[^)\n]*\): |error handling (?P<handler>[^\s,]+), retrying[^:\n]*: )?` +
			`Operation cannot be fulfilled on (?P<kind>validating|mutating)webhookconfigurations\.admissionregistration\.k8s\.io ` + quotes + `(?P<configuration>[\w\[\]-]+(?:\.[\w-]+)*)` + quotes + `: the object has been modified`,
		Meaning: "two writers changed a webhook configuration at the same time",
		Examples: []string{
			"2022-06-06T07:14:09.419199Z\terror\tvalidationController\tFailed to update validatingwebhookconfiguration istio-validator-istio-system (failurePolicy=Fail, resourceVersion=83150152): Operation cannot be fulfilled on validatingwebhookconfigurations.admissionregistration.k8s.io \"istio-validator-istio-system\": the object has been modified; please apply your changes to the latest version and try again",
			`error handling /istio-sidecar-injector, retrying: Operation cannot be fulfilled on mutatingwebhookconfigurations.admissionregistration.k8s.io "istio-sidecar-injector": the object has been modified; please apply your changes to the latest version and try again`,
		},
	}
	// PodInjectionFailed says that the injector was called and could not inject: its template, its values, or an annotation
	// of the pod is wrong. The caller sees it as [WebhookDenied].
	//
	// Fields: stage ("failed parsing generated injected YAML" or "failed to run injection template") and reason; or text,
	// where no stage is named.
	// https://github.com/istio/istio/blob/master/pkg/kube/inject/webhook.go and inject.go
	PodInjectionFailed = diagnose.Signature{
		ID:      "pod-injection-failed",
		Anchors: []string{"Pod injection failed: ", "failed parsing generated injected YAML", "failed to run injection template"},
		Pattern: `(?:Pod injection failed: )?(?P<stage>failed parsing generated injected YAML|failed to run injection template)(?: \([^)\n]*\))?: (?P<reason>[^\n]*)` +
			`|Pod injection failed: (?P<text>[^\n]*)`,
		Meaning: "the sidecar injector could not inject a pod",
		Examples: []string{
			"2023-02-24T10:00:00.000000Z\terror\tPod injection failed: failed to run injection template: template: inject:12:4: executing \"inject\" at <.Values.global.hub>: nil pointer evaluating interface {}.hub",
			`failed parsing generated injected YAML (check Istio sidecar injector configuration): error converting YAML to JSON: yaml: line 12: did not find expected key`,
			"2020-02-24T10:00:00.000000Z\terror\tPod injection failed: strconv.ParseBool: parsing \"maybe\": invalid syntax",
		},
	}
)
