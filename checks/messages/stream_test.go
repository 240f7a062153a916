package messages_test

import (
	"regexp"
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
)

func TestStreamSignatures(t *testing.T) {
	checkstest.Signatures(t, []diagnose.Signature{
		messages.StreamClosed, messages.ADSFailed, messages.StreamWorked, messages.InsufficientScopes,
		messages.PermissionDenied, messages.APIDisabled, messages.BadCredentials, messages.LoadReportFailed, messages.UpdateFailed,
		messages.Goaway, messages.HostNotFound, messages.AgentUpstreamFailed, messages.AgentUpstreamConnected,
	})
}

// fields gives what a signature makes of a line, nil where it isn't recognised. Empty fields are left out.
func fields(s diagnose.Signature, line string) map[string]string {
	re := regexp.MustCompile(s.Pattern)
	m := re.FindStringSubmatch(line)
	if m == nil {
		return nil
	}
	out := map[string]string{}
	for i, n := range re.SubexpNames() {
		if n != "" && m[i] != "" {
			out[n] = m[i]
		}
	}
	return out
}

func TestFields(t *testing.T) {
	const denied = "Request had insufficient authentication scopes."
	cases := []struct {
		name string
		sig  diagnose.Signature
		line string
		want map[string]string // nil: not recognised
	}{
		{"old Envoy", messages.StreamClosed, "[w] gRPC config stream closed: 5, Requested entity was not found.",
			map[string]string{"code": "5", "text": "Requested entity was not found."}},
		{"empty text, cut", messages.StreamClosed, "StreamAggregatedResources gRPC config stream closed: 13,",
			map[string]string{"method": "StreamAggregatedResources", "code": "13"}},
		{"empty text, CRLF", messages.StreamClosed, "StreamAggregatedResources gRPC config stream closed: 13, \r",
			map[string]string{"method": "StreamAggregatedResources", "code": "13"}},
		{"target and since", messages.StreamClosed, "StreamClusters gRPC config stream to xds-cluster closed since 1052s ago: 14, no healthy upstream",
			map[string]string{"method": "StreamClusters", "target": "xds-cluster", "again": "since", "code": "14", "text": "no healthy upstream"}},
		{"previously", messages.StreamClosed, "DeltaAggregatedResources gRPC config stream to td:443 closed: 7, " + denied + " (previously 14, no healthy upstream since 31s ago)",
			map[string]string{"method": "DeltaAggregatedResources", "target": "td:443", "code": "7", "text": denied}},
		{"a message of several lines", messages.StreamClosed, "StreamRoutes gRPC config stream closed: 8, quota\nnext",
			map[string]string{"method": "StreamRoutes", "code": "8", "text": "quota"}},
		{"not a closure", messages.StreamClosed, "Unable to establish new gRPC config stream", nil},

		{"grpc-go closed", messages.ADSFailed, `[ads-stream 0x1] ADS stream closed: rpc error: code = Unauthenticated desc = no token`,
			map[string]string{"event": "ADS stream closed", "status": "Unauthenticated", "text": "no token"}},
		{"grpc-go inside an RPC's error", messages.ADSFailed, `rpc error: code = Unavailable desc = [xDS node id: projects/1/networks/n/nodes/x]: xds: error received from xDS stream: rpc error: code = PermissionDenied desc = ` + denied,
			map[string]string{"node": "projects/1/networks/n/nodes/x", "event": "error received from xDS stream", "status": "PermissionDenied", "text": denied}},
		{"grpc-java", messages.ADSFailed, `ADS stream failed with status UNAUTHENTICATED: no token. Cause: null`,
			map[string]string{"event": "ADS stream failed", "java": "UNAUTHENTICATED", "text": "no token. Cause: null"}},
		{"C-core before 2023", messages.ADSFailed, `ADS call status received (chand=0x1, ads_calld=0x2, call=0x3): status=16, details='no token', error='null'`,
			map[string]string{"event": "ADS call status received", "code": "16", "text": `no token', error='null'`}},
		{"C-core now", messages.ADSFailed, `ADS call status received (xds_channel=0x1, ads_call=0x2, streaming_call=0x3): UNAVAILABLE:connection reset`,
			map[string]string{"event": "ADS call status received", "core": "UNAVAILABLE", "text": "connection reset"}},
		{"a node id before another error", messages.ADSFailed, `[xDS node id: n]: xds: resource "r" of type "ListenerResource" has been removed`, nil},
		{"closed after answers", messages.ADSFailed, "Watchers not notified since ADS stream failed after having received at least one response: EOF",
			map[string]string{"event": "ADS stream failed", "text": "after having received at least one response: EOF"}},

		{"scopes, bare", messages.InsufficientScopes, denied, map[string]string{}},
		{"scopes of another client", messages.InsufficientScopes, "upload: googleapi: Error 403: " + denied, map[string]string{"client": "googleapi: "}},
		{"scopes of another service", messages.InsufficientScopes, `"ACCESS_TOKEN_SCOPE_INSUFFICIENT" domain: "googleapis.com" value: "storage.googleapis.com"`,
			map[string]string{"service": "storage"}},

		{"permission, JSON of Google's", messages.PermissionDenied, `Permission \u0027trafficdirector.networks.getConfigs\u0027 denied on resource`,
			map[string]string{"permission": "trafficdirector.networks.getConfigs"}},
		{"permission, escaped quotes", messages.PermissionDenied, `Permission \"trafficdirector.networks.getConfigs\" denied on resource //trafficdirector.googleapis.com/projects/482915067713/networks/mesh-vpc`,
			map[string]string{"permission": "trafficdirector.networks.getConfigs", "project": "482915067713"}},
		{"permission granted, in an audit log", messages.PermissionDenied, `{"granted": true, "permission": "trafficdirector.networks.getConfigs"}`, nil},

		{"API by title alone", messages.APIDisabled, "desc = Traffic Director API has not been used in project 482915067713 before or it is disabled.",
			map[string]string{"api": "Traffic Director API", "project": "482915067713"}},
		{"another API", messages.APIDisabled, "Cloud Trace API has not been used in project mesh-prod-4f2a before or it is disabled. Enable it by visiting https://console.cloud.google.com/apis/library/cloudtrace.googleapis.com?project=mesh-prod-4f2a",
			map[string]string{"api": "Cloud Trace API", "project": "mesh-prod-4f2a", "service": "cloudtrace.googleapis.com"}},

		{"token file", messages.BadCredentials, `transport: failed to read token file "./var/run/secrets/tokens/istio-token": open x: permission denied`,
			map[string]string{"text": `transport: failed to read token file "./var/run/secrets/tokens/istio-token": open x: permission denied`}},
		{"workers started without configuration", messages.StreamWorked, "all dependencies initialized. starting workers", nil},
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
