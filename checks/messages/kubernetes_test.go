package messages_test

import (
	"strings"
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
)

func TestKubernetesSignatures(t *testing.T) {
	checkstest.Signatures(t, []diagnose.Signature{
		messages.ProxyNotReady,
		messages.WebhookCallFailed, messages.WebhookDenied, messages.WebhookPatchUnusable,
		messages.TLSRejectedByClient, messages.ValidationNotSwitched, messages.ValidationSwitched, messages.WebhookPatchFailed,
		messages.WebhookUpdateConflict, messages.PodInjectionFailed,
		messages.ConnectionRefused, messages.ProbeFailed, messages.ProxyWaitFailed, messages.InterceptionSetupFailed,
		messages.InterceptionNotValid, messages.PodCreateFailed,
	})
}

// TestWebhookReasons holds each reason in each wrapping, of each era.
func TestWebhookReasons(t *testing.T) {
	const name = "rev.namespace.sidecar-injector.istio.io"
	reasons := []string{
		`context deadline exceeded`,
		`net/http: request canceled while waiting for connection (Client.Timeout exceeded while awaiting headers)`,
		`net/http: TLS handshake timeout`,
		`dial tcp 10.129.45.155:15017: i/o timeout`,
		`dial tcp 10.254.156.130:443: getsockopt: connection refused`,
		`dial tcp 10.60.1.5:15017: connect: no route to host`,
		`dial tcp: lookup istiod.istio-system.svc on 10.64.0.10:53: no such host`,
		`proxyconnect tcp: dial tcp 10.0.0.9:3128: i/o timeout`,
		`EOF`, `unexpected EOF`, `read tcp 10.0.0.2:4433->10.60.1.5:15017: read: connection reset by peer`,
		`no endpoints available for service "istiod"`,
		`service "istiod" not found`, `endpoints "istiod" not found`, `no service port 443 found for service "istiod"`, `unsupported service type "ExternalName"`,
		`x509: certificate signed by unknown authority`,
		`x509: certificate signed by unknown authority (possibly because of "crypto/rsa: verification error" while trying to verify candidate authority certificate "cluster.local")`,
		`tls: failed to verify certificate: x509: certificate has expired or is not yet valid: current time 2026-01-04T11:06:13Z is after 2025-12-31T00:00:00Z`,
		`x509: certificate is not valid for any names, but wanted to match istiod.istio-system.svc`,
		`x509: certificate is valid for istiod.istio-system.svc, not istiod-asm-1234-7.istio-system.svc`,
		`x509: cannot validate certificate for 10.0.0.1 because it doesn't contain any IP SANs`,
		`an error on the server ("unknown") has prevented the request from succeeding`,
		`Timeout: request did not complete within requested timeout 30s`,
		`the server could not find the requested resource`,
		`http: server gave HTTP response to HTTPS client`,
		`tls: failed to verify certificate: x509: certificate relies on legacy Common Name field, use SANs instead`,
		`received invalid webhook response: webhook response was absent`,
		`received invalid webhook response: expected response.uid="7d6dcb43-f93a", got ""`,
		`received invalid webhook response: webhook returned response.patch but not response.patchType`,
	}
	const url = "https://istiod.istio-system.svc:443/inject?timeout=10s"
	for _, reason := range reasons {
		for _, call := range []string{
			`failed calling webhook "` + name + `": failed to call webhook: Post "` + url + `": ` + reason,
			`failed calling webhook "` + name + `": Post "` + url + `": ` + reason,
			`failed calling webhook "` + name + `": Post ` + url + `: ` + reason,
			`failed calling admission webhook "` + name + `": Post ` + url + `: ` + reason,
		} {
			for _, line := range []string{
				call,
				`Internal error occurred: ` + call,
				`Error from server (InternalError): error when creating "pod.yaml": Internal error occurred: ` + call,
				`  Warning  FailedCreate  81s (x37 over 12h)  replicaset-controller  Error creating: Internal error occurred: ` + call,
				`    message: 'Internal error occurred: ` + call + `'`,
				`E0212 1 replica_set.go:536] sync failed err="Internal error occurred: ` + escape(call) + `" item="shop/cart"`,
				`{"message":"` + escape(call) + `"}`,
			} {
				got := fields(messages.WebhookCallFailed, line)
				want := map[string]string{"webhook": name, "url": url, "service": "istiod", "namespace": "istio-system"}
				for k, v := range want {
					if got[k] != v {
						t.Errorf("%s\n\t%s is %q, want %q", line, k, got[k], v)
					}
				}
				if r := strings.ReplaceAll(got["reason"], `\"`, `"`); r != reason {
					t.Errorf("%s\n\treason %q, want %q", line, r, reason)
				}
			}
		}
	}
}

// escape writes a text as a quoted one holds it.
func escape(s string) string { return strings.ReplaceAll(s, `"`, `\"`) }

func TestKubernetesFields(t *testing.T) {
	cases := []struct {
		name string
		sig  diagnose.Signature
		line string
		want map[string]string // nil: not recognised
	}{
		{"Pilot", messages.ProxyNotReady, "info\tEnvoy proxy is NOT ready: config not received from Pilot (is Pilot running?): cds updates: 2 successful, 0 rejected; lds updates: 0 successful, 24 rejected",
			map[string]string{"config": "not received", "server": "Pilot", "cds_successful": "2", "cds_rejected": "0", "lds_successful": "0", "lds_rejected": "24"}},
		{"rejected", messages.ProxyNotReady, "warn\tEnvoy proxy is NOT ready: config received from XDS server, but was rejected: cds updates: 1 successful, 0 rejected; lds updates: 0 successful, 1 rejected",
			map[string]string{"config": "received", "server": "XDS server", "cds_successful": "1", "cds_rejected": "0", "lds_successful": "0", "lds_rejected": "1"}},
		{"partial", messages.ProxyNotReady, "Envoy proxy is NOT ready: config not fully received from XDS server: cds updates: 1 successful, 0 rejected; lds updates: 0 successful, 0 rejected",
			map[string]string{"config": "not fully received", "server": "XDS server", "cds_successful": "1", "cds_rejected": "0", "lds_successful": "0", "lds_rejected": "0"}},
		{"cut short", messages.ProxyNotReady, "Envoy proxy is NOT ready: config not received from XDS server (is Istiod running?)",
			map[string]string{"config": "not received", "server": "XDS server"}},
		{"state", messages.ProxyNotReady, "Envoy proxy is NOT ready: server is not live, current state is: PRE_INITIALIZING", map[string]string{"state": "PRE_INITIALIZING"}},
		{"workers", messages.ProxyNotReady, "Envoy proxy is NOT ready: workers have not yet started", map[string]string{"workers": "workers have not yet started"}},
		{"stat", messages.ProxyNotReady, "Envoy proxy is NOT ready: listener_manager.workers_started is not yet updated: server.state: 0", map[string]string{"stat": "listener_manager.workers_started"}},
		{"admin", messages.ProxyNotReady, "Envoy proxy is NOT ready: failed to get readiness stats: HTTP status code 503", map[string]string{"failed": "readiness stats", "error": "HTTP status code 503"}},
		{"ends", messages.ProxyNotReady, "Envoy proxy is NOT ready: server is terminated: received signal: terminated", map[string]string{"terminated": "received signal: terminated"}},
		{"application ports, before 1.3", messages.ProxyNotReady, "Envoy proxy is NOT ready: envoy missing listener for inbound application port: 8080", map[string]string{"other": "envoy missing listener for inbound application port: 8080"}},
		{"ready", messages.ProxyNotReady, "Envoy proxy is ready", nil},
		{"another program's configuration", messages.ProxyNotReady, "config not received from server", nil},

		{"failing open", messages.WebhookCallFailed, `Failed calling webhook, failing open rev.validation.istio.io: failed calling webhook "rev.validation.istio.io": failed to call webhook: Post "https://istiod.istio-system.svc:443/validate?timeout=10s": EOF`,
			map[string]string{"mode": "open", "webhook": "rev.validation.istio.io", "url": "https://istiod.istio-system.svc:443/validate?timeout=10s", "service": "istiod", "namespace": "istio-system", "reason": "EOF"}},
		{"istiod's own trial", messages.WebhookCallFailed, `dummy invalid rejected for the wrong reason: Internal error occurred: failed calling webhook "v": failed to call webhook: EOF`,
			map[string]string{"trial": "dummy invalid rejected for the wrong reason", "webhook": "v", "reason": "EOF"}},
		{"a URL outside the cluster", messages.WebhookCallFailed, `failed calling webhook "istiod-asm-managed.istio.io": failed to call webhook: Post "https://meshconfig.googleapis.com:443/v1internal/inject?timeout=10s": EOF`,
			map[string]string{"webhook": "istiod-asm-managed.istio.io", "url": "https://meshconfig.googleapis.com:443/v1internal/inject?timeout=10s", "reason": "EOF"}},
		{"folded YAML", messages.WebhookCallFailed, `      message: 'Internal error occurred: failed calling webhook "sidecar-injector.istio.io":`,
			map[string]string{"webhook": "sidecar-injector.istio.io"}},
		{"unreadable bundle", messages.WebhookCallFailed, `failed calling webhook "x.istio.io": could not get REST client: unable to load root certificates: unable to parse bytes as PEM block`,
			map[string]string{"webhook": "x.istio.io", "reason": "could not get REST client: unable to load root certificates: unable to parse bytes as PEM block"}},
		{"denied", messages.WebhookDenied, `admission webhook \"rev.validation.istio.io\" denied the request: configuration is invalid: x`,
			map[string]string{"webhook": "rev.validation.istio.io", "reason": "configuration is invalid: x"}},
		{"denied without a reason", messages.WebhookDenied, `admission webhook "x.istio.io" denied the request without explanation`, map[string]string{"webhook": "x.istio.io"}},
		{"an answer without a call", messages.WebhookCallFailed, `failed calling webhook "x.istio.io": received invalid webhook response: expected response.uid="7d6d", got "1"`,
			map[string]string{"webhook": "x.istio.io", "reason": `received invalid webhook response: expected response.uid="7d6d", got "1"`}},
		{"a patch that doesn't fit", messages.WebhookPatchUnusable, `Internal error occurred: replace operation does not apply: doc is missing path: /spec/none/0: missing value`,
			map[string]string{"operation": "replace", "reason": "doc is missing path: /spec/none/0: missing value"}},
		{"kubectl's own patch", messages.WebhookPatchUnusable, `error: replace operation does not apply: doc is missing path`, nil},
		{"another denial", messages.WebhookDenied, "the server denied the request", nil},

		{"handshake broken off by a scan", messages.TLSRejectedByClient, "http: TLS handshake error from 10.0.0.1:4433: EOF", nil},
		{"alert", messages.TLSRejectedByClient, "http: TLS handshake error from 10.0.0.1:4433: remote error: tls: bad certificate", map[string]string{"address": "10.0.0.1:4433", "alert": "bad certificate"}},
		{"accepted", messages.ValidationNotSwitched, "Not ready to switch validation to fail-closed: dummy invalid config not rejected", map[string]string{"accepted": "dummy invalid config not rejected"}},
		{"wrong reason", messages.ValidationNotSwitched, "Not ready to switch validation to fail-closed: dummy invalid rejected for the wrong reason: etcdserver: request timed out", map[string]string{"reason": "etcdserver: request timed out"}},
		{"conflict of another object", messages.WebhookUpdateConflict, `Operation cannot be fulfilled on deployments.apps "x": the object has been modified`, nil},
		{"conflict", messages.WebhookUpdateConflict, `Failed to update validatingwebhookconfiguration istio-validator (failurePolicy=Fail, resourceVersion=83): Operation cannot be fulfilled on validatingwebhookconfigurations.admissionregistration.k8s.io "istio-validator": the object has been modified; please apply`,
			map[string]string{"kind": "validating", "policy": "Fail", "configuration": "istio-validator"}},
		{"injection", messages.PodInjectionFailed, "failed to run injection template: template: inject:1", map[string]string{"stage": "failed to run injection template", "reason": "template: inject:1"}},
		{"injection, no stage", messages.PodInjectionFailed, "Pod injection failed: x", map[string]string{"text": "x"}},

		{"refused, Go", messages.ConnectionRefused, "dial tcp [::1]:6379: connect: connection refused", map[string]string{"address": "[::1]:6379"}},
		{"refused, vault", messages.ConnectionRefused, `error="Put http://vault:8200/v1/auth/kubernetes/login: dial tcp 10.0.0.1:8200: connect: connection refused"`,
			map[string]string{"url": "http://vault:8200/v1/auth/kubernetes/login", "address": "10.0.0.1:8200"}},
		{"refused, a stream to the control plane", messages.ConnectionRefused, `ADS stream closed: rpc error: code = Unavailable desc = connection error: desc = "transport: Error while dialing: dial tcp 10.0.0.1:443: connect: connection refused"`,
			map[string]string{"stream": "ADS stream", "address": "10.0.0.1:443"}},
		{"refused, the agent's own", messages.ConnectionRefused, `Envoy proxy is NOT ready: failed to get readiness stats: Get "http://localhost:15000/stats": dial tcp 127.0.0.1:15000: connect: connection refused`,
			map[string]string{"stream": "Envoy proxy is NOT ready", "url": "http://localhost:15000/stats", "address": "127.0.0.1:15000"}},
		{"refused, Python", messages.ConnectionRefused, "HTTPConnectionPool(host='catalog', port=8080): Max retries exceeded: [Errno 111] Connection refused", map[string]string{"host": "catalog", "port": "8080"}},
		{"refused, more blanks", messages.ConnectionRefused, "err=dial tcp   192.168.9.16:19209: connect: connection refused", map[string]string{"address": "192.168.9.16:19209"}},
		{"refused, a query", messages.ConnectionRefused, "dial tcp: lookup vault on 10.64.0.10:53: read udp 10.60.1.5:4000->10.64.0.10:53: read: connection refused", map[string]string{"name": "vault", "resolver": "10.64.0.10:53"}},
		{"refused in prose", messages.ConnectionRefused, "our policy: connection refused if unknown", nil},
		{"probe", messages.ProbeFailed, "Readiness probe failed: HTTP probe failed with statuscode: 503", map[string]string{"probe": "Readiness", "status": "503"}},
		{"probe, refused, unquoted", messages.ProbeFailed, "Readiness probe failed: Get http://10.0.0.1:15020/healthz/ready: dial tcp 10.0.0.1:15020: connect: connection refused",
			map[string]string{"probe": "Readiness", "url": "http://10.0.0.1:15020/healthz/ready", "error": "dial tcp 10.0.0.1:15020: connect: connection refused"}},
		{"a probe of something else", messages.ProbeFailed, "space probe failed: no fuel", nil},
		{"hook", messages.ProxyWaitFailed, `Exec lifecycle hook ([pilot-agent wait]) for Container "istio-proxy" in Pod "cart-6f7c_shop(f0140293-8505)" failed - error: command 'pilot-agent wait' exited with 255: Error: timeout waiting for Envoy proxy to become ready. Last error: HTTP status code 503`,
			map[string]string{"pod": "cart-6f7c", "namespace": "shop", "exit": "255", "error": "HTTP status code 503"}},
		{"waiting is normal", messages.ProxyWaitFailed, "Waiting for Envoy proxy to be ready (timeout: 60 seconds)...", nil},
		{"chain", messages.InterceptionSetupFailed, "iptables: Chain already exists.", map[string]string{"tool": "iptables", "exists": "Chain already exists"}},
		{"restore", messages.InterceptionSetupFailed, "iptables-restore: line 2 failed", map[string]string{"tool": "iptables-restore", "line": "2"}},
		{"a version alone", messages.InterceptionSetupFailed, "iptables-restore v1.8.4 (legacy)", nil},
		{"another validation", messages.InterceptionNotValid, "order 12: validation timeout after 3s", nil},
		{"validation", messages.InterceptionNotValid, "Error: validation timeout", map[string]string{}},
		{"quota", messages.PodCreateFailed, `Error creating: pods "cart" is forbidden: exceeded quota: compute`, map[string]string{"text": `pods "cart" is forbidden: exceeded quota: compute`}},
		{"another creation", messages.PodCreateFailed, "Error creating: user exists", nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := fields(c.sig, c.line)
			if (got == nil) != (c.want == nil) {
				t.Fatalf("recognised: %v (%v)", got != nil, got)
			}
			if len(got) != len(c.want) {
				t.Errorf("fields %q, want %q", got, c.want)
			}
			for k, v := range c.want {
				if got[k] != v {
					t.Errorf("field %s is %q, want %q", k, got[k], v)
				}
			}
		})
	}
}
