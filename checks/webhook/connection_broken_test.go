package webhook

import (
	"testing"
	"time"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

func TestConnectionBroken(t *testing.T) {
	const named = `failed calling webhook "` + hookName + `": `
	checkstest.Run(t, ConnectionBroken, []checkstest.Case{
		{Name: "a proxy refuses", Put: text(call + "Forbidden"), Want: []checkstest.Want{{Subject: ofIstiod, Summary: `through an HTTP proxy, which refuses: "Forbidden"`, Params: map[string]string{"proxied": "yes"}}}},
		{Name: "a reason that isn't known", Put: text(call + "context deadline"), Want: []checkstest.Want{{Subject: ofIstiod, Summary: `can't be called: "context deadline"`, Params: map[string]string{"proxied": ""}}}},
		{Name: "broken after the method", Put: text(`failed calling webhook "` + hookName + `": failed to call webhook: Post`), Want: []checkstest.Want{{Confidence: diagnose.Possible, Params: map[string]string{"cut": "yes"}}}},
		{Name: "refused", Put: text(call + "dial tcp 192.0.2.2:15017: connect: connection refused"), Want: []checkstest.Want{{Subject: ofIstiod, Confidence: diagnose.Likely, Severity: diagnose.Blocking,
			Summary: "refuses the API server's connections", Params: map[string]string{"refused": "yes", "address": "192.0.2.2:15017"}}}},
		{Name: "EOF", Put: text(call + "EOF"), Want: []checkstest.Want{{Subject: ofIstiod, Summary: "has its connections broken off", Params: map[string]string{"proxied": "yes"}}}},
		{Name: "reset", Put: text(call + "read tcp 10.0.0.2:4433->10.60.1.5:15017: read: connection reset by peer"), Want: []checkstest.Want{{Subject: ofIstiod}}},
		{Name: "no TLS", Put: text(call + "http: server gave HTTP response to HTTPS client"), Want: []checkstest.Want{{Subject: ofIstiod, Params: map[string]string{"plain": "yes"}}}},
		{Name: "HTTP 500", Put: text(named + `failed to call webhook: an error on the server ("unknown") has prevented the request from succeeding`), Want: []checkstest.Want{{Subject: "webhook " + hookName, Summary: "answers with an HTTP error", Params: map[string]string{"http": "yes"}}}},
		{Name: "HTTP 500, of a server that the cluster knows", Request: ofShop, Put: all(hooks(injector("")), plane(""), injected, event(time.Minute, named+`failed to call webhook: an error on the server ("unknown") has prevented the request from succeeding`)), Want: []checkstest.Want{{Subject: ofIstiod}}},
		{Name: "HTTP 404", Put: text(named + `failed to call webhook: the server could not find the requested resource`), Want: []checkstest.Want{{Params: map[string]string{"http": "yes"}}}},
		{Name: "no answer", Put: text(named + `received invalid webhook response: webhook response was absent`), Want: []checkstest.Want{{Summary: "gives an answer that isn't a webhook's"}}},
		{Name: "another answer", Put: text(named + `received invalid webhook response: expected response.uid="7d6d", got ""`), Want: []checkstest.Want{{Excerpt: "7d6d"}}},
		{Name: "half a patch", Put: text(named + `received invalid webhook response: webhook returned response.patch but not response.patchType`), Want: []checkstest.Want{{Summary: "gives an answer that isn't a webhook's"}}},
		{Name: "a patch that doesn't fit", Put: text(`Error creating: Internal error occurred: replace operation does not apply: doc is missing path: /spec/none/0: missing value`), Want: []checkstest.Want{{Subject: "the mutating webhooks that are called for pods", Params: map[string]string{"patch": "yes"}}}},
		{Name: "the line ends", Put: text(`Internal error occurred: failed calling webhook "` + hookName + `":`), Want: []checkstest.Want{{Confidence: diagnose.Possible, Params: map[string]string{"cut": "yes"}}}},
		{Name: "another one's", Put: text(certCall + "EOF"), Want: []checkstest.Want{{Subject: ofManager, Summary: "not the mesh's", Severity: diagnose.Blocking}}},

		{Name: "nothing is ready", Request: ofShop, Put: all(hooks(injector("")), injected, whole(evidence.ClusterServices, "istio-system", service("istio-system", "istiod")), whole[kube.EndpointSlice](evidence.EndpointSlices, "istio-system"), event(time.Minute, call+"dial tcp 192.0.2.2:15017: connect: connection refused"))},
		{Name: "denied by a webhook", Put: text(`admission webhook "rev.validation.istio.io" denied the request: configuration is invalid: x`)},
		{Name: "no answer in time", Put: text(call + "context deadline exceeded")},
		{Name: "an application's", Put: text("dial tcp 10.84.12.7:6379: connect: connection refused")},
		{Name: "the line ends, and the whole is there besides", Put: text(call+"context deadline exceeded", `Internal error occurred: failed calling webhook "`+hookName+`":`)},
		{Name: "managed", Put: text(`failed calling webhook "istiod-asm-managed.sidecar-injector.istio.io": failed to call webhook: an error on the server ("unknown") has prevented the request from succeeding`)},
		{Name: "managed, as the cluster shows", Request: ofShop, Put: all(hooks(managedInjector()), injected, event(time.Minute, named+`failed to call webhook: an error on the server ("unknown") has prevented the request from succeeding`))},
		{Name: "denied", Request: ofShop, Put: all(hooks(injector("")), injected, fail(evidence.ClusterEvents.Name())), Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Request: ofShop, Put: late(evidence.LogMessages.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Outcome: diagnose.OutcomeSkipped},
	})
}
