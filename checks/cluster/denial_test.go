package cluster_test

import (
	"testing"

	"github.com/meshdiag/meshdiag/checks/cluster"
)

func TestInjectorRefused(t *testing.T) {
	for _, tc := range []struct {
		webhook, reason string
		want            bool
	}{
		{"rev.namespace.sidecar-injector.istio.io", "Pod injection failed: invalid annotation", true},
		{"rev.namespace.sidecar-injector.istio.io", `strconv.ParseBool: parsing "maybe": invalid syntax`, true},
		{"sidecar-injector.istio.io", "", true},
		{"inject.example.com", "failed to run injection template: template: inject:1", true},
		{"rev.validation.istio.io", "configuration is invalid: gateway must have at least one server", false},
		{"webhook.cert-manager.io", "spec.secretName: Required value", false},
		{"warden-validating.common-webhooks.networking.gke.io", "GKE Warden rejected the request", false},
		{"", "", false},
	} {
		if got := cluster.InjectorRefused(tc.webhook, tc.reason); got != tc.want {
			t.Errorf("%s, %q: %v", tc.webhook, tc.reason, got)
		}
	}
}
