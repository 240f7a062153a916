package checks

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/meshdiag/meshdiag/diagnose"
)

// leastAnchor is what the scan of logs rests on: it looks at every fifth position, and an anchor of eight bytes holds four
// that begin at one of them.
const leastAnchor = 8

func TestAnchorsAreLongEnough(t *testing.T) {
	for _, s := range Signatures() {
		if len(s.Anchors) == 0 {
			t.Errorf("signature %s has no anchor", s.ID)
		}
		for _, a := range s.Anchors {
			if len(a) < leastAnchor || strings.ContainsAny(a, "\r\n") {
				t.Errorf("signature %s: anchor %q must have at least %d bytes, and no line break", s.ID, a, leastAnchor)
			}
		}
	}
}

// recognise gives the signatures that a line holds.
func recognise(t *testing.T, all []diagnose.Signature, line string) []string {
	t.Helper()
	var ids []string
	for _, s := range all {
		anchored := slices.ContainsFunc(s.Anchors, func(a string) bool { return strings.Contains(line, a) })
		if anchored && regexp.MustCompile(s.Pattern).MatchString(line) {
			ids = append(ids, s.ID)
		}
	}
	return ids
}

// TestWordings holds that a message is recognised in the wording of each era, product and program.
func TestWordings(t *testing.T) {
	const (
		stream   = "envoy-stream-closed"
		ads      = "grpc-ads-stream-failed"
		rejected = "envoy-config-rejected"
		update   = "envoy-update-error"
	)
	all := Signatures()
	for _, w := range []struct {
		line string
		want []string // sorted; others may come besides
	}{
		// Envoy, up to 1.14, up to 1.23, and later.
		{`gRPC config stream closed: 14, no healthy upstream`, []string{stream}},
		{`gRPC config stream closed: 13, `, []string{stream}},
		{`gRPC config stream closed: 13,`, []string{stream}},
		{`StreamAggregatedResources gRPC config stream closed: 14, no healthy upstream`, []string{stream}},
		{`DeltaAggregatedResources gRPC config stream closed: 13, `, []string{stream}},
		{`StreamListeners gRPC config stream closed: 14, upstream connect error or disconnect/reset before headers. reset reason: connection failure`, []string{stream}},
		{`StreamClusters gRPC config stream to xds-grpc closed: 14, upstream connect error or disconnect/reset before headers. reset reason: connection termination`, []string{stream}},
		{`StreamAggregatedResources gRPC config stream to trafficdirector.googleapis.com:443 closed since 52s ago: 14, no healthy upstream`, []string{stream}},
		{`DeltaAggregatedResources gRPC config stream to xds closed: 7, x (previously 14, no healthy upstream since 31s ago)`, []string{stream}},
		{`gRPC config stream closed: 14, closing transport due to: connection error: desc = "error reading from server: EOF", received prior goaway: code: NO_ERROR, debug data: `, []string{stream}},
		{`gRPC config stream closed: 14, connection error: desc = "transport: Error while dialing dial tcp: lookup istiod.istio-system.svc: no such host"`, []string{stream}},
		{`gRPC config stream closed: 8, Quota exceeded for quota metric 'Stream requests'`, []string{stream}},
		{`StreamLoadStats gRPC config stream closed: 13, `, []string{stream}},

		// What the control plane says, under both names of the product, for network, scope and mesh.
		{`StreamAggregatedResources gRPC config stream closed: 5, Cloud Service Mesh configuration was not found for network "mesh-vpc" in project "482915067713".`, []string{"config-not-found", stream}},
		{`StreamAggregatedResources gRPC config stream closed: 5, Traffic Director configuration was not found for network "default" in project "482915067713".`, []string{"config-not-found", stream}},
		{`gRPC config stream to trafficdirector.googleapis.com:443 closed: 5, Cloud Service Mesh configuration was not found for mesh "shop" in project "482915067713".`, []string{"config-not-found", stream}},
		{`gRPC config stream closed: 5, Traffic Director configuration was not found for scope "edge" in project "482915067713".`, []string{"config-not-found", stream}},
		{`Cloud Service Mesh configuration was not found.`, []string{"config-not-found"}},
		{`Traffic Director configuration was not found for network "VPC_NAME" in`, []string{"config-not-found"}},
		{`StreamLoadStats gRPC config stream closed: 5, Requested entity was not found.`, []string{"entity-not-found", stream}},
		{`gRPC config stream closed: 7, Request had insufficient authentication scopes.`, []string{stream, "insufficient-scopes"}},
		{`"reason": "ACCESS_TOKEN_SCOPE_INSUFFICIENT"`, []string{"insufficient-scopes"}},
		{`gRPC config stream closed: 7, Permission 'trafficdirector.networks.getConfigs' denied on resource '//trafficdirector.googleapis.com/projects/1/networks/n' (or it may not exist).`, []string{stream, "trafficdirector-permission-denied"}},
		{`gRPC config stream closed: 7, The caller does not have permission`, []string{stream}},
		{`gRPC config stream closed: 7, Traffic Director API has not been used in project 1 before or it is disabled. Enable it by visiting https://console.developers.google.com/apis/api/trafficdirector.googleapis.com/overview?project=1 then retry.`, []string{"api-not-enabled", stream}},
		{`gRPC config stream closed: 16, transport: failed to read token file "./var/run/secrets/tokens/istio-token": open ./var/run/secrets/tokens/istio-token: permission denied`, []string{stream, "invalid-authentication-credentials"}},
		{`gRPC config stream closed: 16, Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid authentication credential.`, []string{stream, "invalid-authentication-credentials"}},

		// Rejections: Envoy of both transports and both API versions, istiod, gRPC.
		{`gRPC config for type.googleapis.com/envoy.api.v2.Listener rejected: x`, []string{rejected}},
		{`gRPC config for type.googleapis.com/envoy.api.v2.Listener update rejected: x`, []string{rejected}},
		{`gRPC config for type.googleapis.com/envoy.config.listener.v3.Listener rejected: Error adding/updating listener(s) 0.0.0.0_80: cannot bind '0.0.0.0:80': Permission denied`, []string{"envoy-bind-failed", rejected, update}},
		{`delta config for type.googleapis.com/envoy.config.route.v3.RouteConfiguration rejected: Only unique values for domains are permitted. Duplicate entry of domain x`, []string{rejected}},
		{`Error adding/updating listener(s) TRAFFICDIRECTOR_INTERCEPTION_PORT: unable to open file '/var/log/envoy.log': Permission denied`, []string{"envoy-file-denied", update}},
		{`Error adding/updating listener(s) x: Unable to create Wasm HTTP filter y`, []string{update}},
		{`Error adding/updating cluster(s) shop: Proto constraint validation failed (field: x)`, []string{update}},
		{`error adding listener: 'x' has duplicate address '10.0.0.1:80' as existing listener`, []string{"envoy-duplicate-listener"}},
		{`duplicate listener 0.0.0.0_80 found`, []string{"envoy-duplicate-listener"}},
		{`cannot bind '0.0.0.0:15006': Address already in use`, []string{"envoy-bind-failed"}},
		{`ADS:LDS: ACK ERROR sidecar~10.0.0.1~x.y~y.svc.cluster.local-12 Internal:Error adding/updating listener(s) z: w`, []string{update, "istiod-nack"}},
		{`ADS:LDS: ACK ERROR router~10.0.0.1~x.y~y.svc.cluster.local-12 Internal:Error adding/updating listener(s) z: w`, []string{update, "istiod-nack"}},

		// Proxyless gRPC: Go, Java, C-core.
		{`xds: error received from xDS stream: EOF`, []string{ads}},
		{`[xDS node id: projects/1/networks/n/nodes/x]: xds: error received from xDS stream: rpc error: code = NotFound desc = Requested entity was not found.`, []string{"entity-not-found", ads}},
		{`ADS stream closed with status UNAVAILABLE: ADS stream closed by server. Cause: null`, []string{ads}},
		{`ADS call status received (chand=0x1, ads_calld=0x2, call=0x3): status=16, details='x', error='null'`, []string{ads}},
		{`xds: resource "R" of type "ListenerResource" has been removed`, []string{"grpc-listener-missing"}},
		{`xds: ListenerResource target x not found, watcher timeout, xDS client nodeID: projects/1/networks/n/nodes/2`, []string{"grpc-listener-missing"}},

		// The connection under the streams: Envoy, gRPC, Istio's agent.
		{`Load reporter stats stream/connection failure, will retry in 5000 ms.`, []string{"envoy-load-report-failed"}},
		{`SERVICE_DISABLED`, []string{"api-not-enabled"}},
		{`"reason": "SERVICE_DISABLED",`, []string{"api-not-enabled"}},
		{`rpc error: code = Unavailable desc = connection error: desc = "transport: Error while dialing dial tcp: lookup istiod.istio-system.svc: no such host"`, []string{"grpc-host-not-found"}},
		{`rpc error: code = Unavailable desc = connection error: desc = "transport: Error while dialing: dial tcp: lookup trafficdirector.googleapis.com on 169.254.169.254:53: no such host"`, []string{"grpc-host-not-found"}},
		{`closing transport due to: connection error: desc = "error reading from server: EOF", received prior goaway: code: NO_ERROR, debug data: `, []string{"grpc-goaway-no-error"}},
		{`gRPC update for type.googleapis.com/envoy.api.v2.Cluster failed`, []string{"envoy-subscription-disconnected"}},
		{`gRPC update for type.googleapis.com/envoy.config.cluster.v3.Cluster failed`, []string{"envoy-subscription-disconnected"}},
		{`Only unique values for domains are permitted. Duplicate entry of domain x`, []string{"envoy-duplicate-domain"}},
		{`failed to connect to upstream istiod.istio-system.svc:15012: context deadline exceeded`, []string{"istio-agent-upstream-failed"}},
		{"2024-06-27T15:00:06Z\terror\txdsproxy\tfailed to connect to upstream 10.0.0.1:443: EOF", []string{"istio-agent-upstream-failed"}},
		{`failed to create upstream grpc client: open root-cert.pem: no such file or directory`, []string{"istio-agent-upstream-failed"}},
		{`connected to upstream XDS server: istiod.istio-system.svc:15012`, []string{"istio-agent-upstream-connected"}},
	} {
		got := recognise(t, all, w.line)
		for _, id := range w.want {
			if !slices.Contains(got, id) {
				t.Errorf("%s\n\tis recognised as %v, want %s among them", w.line, got, id)
			}
		}
	}
}

// TestWordingsOfOthers holds that what only sounds alike isn't recognised.
func TestWordingsOfOthers(t *testing.T) {
	all := Signatures()
	for _, line := range []string{
		`gRPC stream closed: 14`,
		`Target configuration was not found for network "x"`,
		`ERROR: (gcloud.compute.instances.describe) NOT_FOUND: Requested entity was not found.`,
		`rpc error: code = NotFound desc = Requested entity was not found.`,
		`open file '/var/log/envoy.log': Permission denied`,
		`bind: address already in use`,
		`permission trafficdirector.networks.getConfigs granted`,
		`Error adding/updating endpoints`,
		`failed to connect to upstream 8.8.8.8:53: i/o timeout`,
		`failed to connect to upstream server: connection refused`,
		`dial tcp: lookup db.internal on 10.0.0.2:53: no such host`,
		`gRPC update for checkout failed`,
		`GOAWAY received: ENHANCE_YOUR_CALM`,
		`MY_SERVICE_DISABLED_FLAG=1`,
	} {
		if got := recognise(t, all, line); len(got) > 0 {
			t.Errorf("%s\n\tis recognised as %v", line, got)
		}
	}
}
