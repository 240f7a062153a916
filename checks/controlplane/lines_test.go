package controlplane

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// logChecks are the checks of this area that read logs.
var logChecks = []diagnose.Check{APIDisabled, MissingOAuthScope, MissingPermission, InvalidCredentials, EnvoyTooOld, XDSv2, QuotaExhausted, StreamErrors}

// scan reads a log as a person would write it down: one message a signature and set of fields, with its lines.
func scan(file, text string) []evidence.LogMessage {
	var sigs []diagnose.Signature
	for _, c := range logChecks {
		for _, s := range c.Signatures {
			if !slices.ContainsFunc(sigs, func(o diagnose.Signature) bool { return o.ID == s.ID }) {
				sigs = append(sigs, s)
			}
		}
	}
	at := map[string]int{}
	var out []evidence.LogMessage
	for n, line := range strings.Split(text, "\n") {
		for _, s := range sigs {
			re := regexp.MustCompile(s.Pattern)
			m := re.FindStringSubmatch(line)
			if m == nil || !slices.ContainsFunc(s.Anchors, func(a string) bool { return strings.Contains(line, a) }) {
				continue
			}
			fields, key := map[string]string{}, s.ID
			for i, name := range re.SubexpNames() {
				if name != "" {
					fields[name] = m[i]
					key += "\x00" + m[i]
				}
			}
			i, ok := at[key]
			if !ok {
				i = len(out)
				at[key] = i
				out = append(out, evidence.LogMessage{Signature: s.ID, Fields: fields, File: file, Line: n + 1, Text: line, Source: pasted})
			}
			out[i].Count++
			out[i].LastLine = n + 1
		}
	}
	return out
}

// causesOf gives the IDs of the log checks that find something in a log, sorted.
func causesOf(t *testing.T, file, text string) []string {
	t.Helper()
	engine, err := diagnose.New(diagnose.Config{Checks: logChecks})
	if err != nil {
		t.Fatal(err)
	}
	set := evidence.NewSet()
	evidence.Put(set, evidence.LogMessages, scan(file, text), pasted)
	var ids []string
	for _, c := range logChecks {
		found, _ := engine.Evaluate(c.ID, files, set)
		for _, f := range found {
			ids = append(ids, strings.TrimPrefix(string(f.Check), "controlplane/"))
		}
	}
	slices.Sort(ids)
	return ids
}

func TestLines(t *testing.T) {
	const (
		envoy  = "[2026-03-02 08:00:01.100][1][warning][config] [./source/extensions/config_subscription/grpc/grpc_stream.h:191] "
		scopes = "Request had insufficient authentication scopes."
		bad    = "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid authentication credential."
	)
	twice := func(s string) string { return s + "\n" + s }
	cases := []struct{ name, text, want string }{
		{"scopes, Envoy", twice(envoy + "StreamAggregatedResources gRPC config stream to trafficdirector.googleapis.com:443 closed: 7, " + scopes), "missing-oauth-scope"},
		{"scopes, bare", scopes, "missing-oauth-scope"},
		{"scopes, JSON", `{"error":{"code":403,"message":"` + scopes + `","status":"PERMISSION_DENIED"}}`, "missing-oauth-scope"},
		{"scopes, grpc-go", "rpc error: code = Unavailable desc = [xDS node id: " + nodeID + "]: xds: error received from xDS stream: rpc error: code = PermissionDenied desc = " + scopes, "missing-oauth-scope"},
		{"scopes of Cloud Storage", "googleapi: Error 403: " + scopes, ""},
		{"permission, Envoy", twice(envoy + "DeltaAggregatedResources gRPC config stream closed: 7, Permission 'trafficdirector.networks.getConfigs' denied on resource '//trafficdirector.googleapis.com/projects/482915067713/networks/mesh-vpc' (or it may not exist)."), "missing-permission"},
		{"permission, unnamed", envoy + "StreamAggregatedResources gRPC config stream closed: 7, The caller does not have permission", "missing-permission"},
		{"API off", twice(envoy + "StreamAggregatedResources gRPC config stream closed: 7, Traffic Director API has not been used in project 482915067713 before or it is disabled. Enable it by visiting https://console.developers.google.com/apis/api/trafficdirector.googleapis.com/overview?project=482915067713 then retry."), "api-disabled"},
		{"another API off", "Cloud Trace API has not been used in project 482915067713 before or it is disabled. Enable it by visiting https://console.developers.google.com/apis/api/cloudtrace.googleapis.com/overview?project=482915067713 then retry.", ""},
		{"credentials, grpc-go", twice("2026/03/02 08:00:01 WARNING: [xds] [xds-client 0xc0] [ads-stream 0xc1] ADS stream closed: rpc error: code = Unauthenticated desc = " + bad), "invalid-credentials"},
		{"credentials, C-core", "xds_client.cc:980] [xds_client 0x55d] xds server td:443: ADS call status received (xds_channel=0x1, ads_call=0x2, streaming_call=0x3): UNAUTHENTICATED:" + bad, "invalid-credentials"},
		{"credentials, with workers started in vain", twice(envoy+"StreamAggregatedResources gRPC config stream closed: 16, "+bad) + "\nall dependencies initialized. starting workers", "invalid-credentials"},
		{"credentials once, then clusters", envoy + "StreamAggregatedResources gRPC config stream closed: 16, " + bad + "\n[info] cds: added/updated 3 cluster(s) (0 skipped), removed 0 cluster(s)", ""},
		{"quota", twice(envoy + "StreamAggregatedResources gRPC config stream closed: 8, Quota exceeded for quota metric 'Requests'"), "quota-exhausted"},
		{"unavailable", envoy + "StreamClusters gRPC config stream to xds-cluster closed since 1052s ago: 14, upstream connect error or disconnect/reset before headers. reset reason: connection termination", "stream-errors"},
		{"routine", twice(envoy + "StreamAggregatedResources gRPC config stream closed: 13, "), ""},
		{"goaway", twice(envoy + `StreamAggregatedResources gRPC config stream closed: 14, closing transport due to: connection error: desc = "error reading from server: EOF", received prior goaway: code: NO_ERROR, debug data: `), ""},
		{"not found is for others", twice(envoy + `StreamAggregatedResources gRPC config stream closed: 5, Cloud Service Mesh configuration was not found for network "mesh-vpc" in project "482915067713".`), ""},
		{"not found, grpc-go", twice("ADS stream closed: rpc error: code = NotFound desc = Requested entity was not found."), ""},
		{"old Envoy, Cloud Logging", `{"jsonPayload":{"message":"Envoy Version: dc78069b10cc94fa07bb974b7101dd1b42e2e7bf/1.15.1-dev/Clean/RELEASE/BoringSSL"}}`, "envoy-too-old"},
		{"old Envoy, as the guide abbreviates it", "gce-service-proxy proxy-version sha/1.15.1-dev/Clean/RELEASE/BoringSSL", "envoy-too-old"},
		{"Istio's version", "2020-06-29T23:37:27.285550Z	info	Version 1.6.3-1e8c62baad31c829c5993235c429248f36a85478-dirty-Modified", ""},
		{"a v2 filter inside configuration", "The v2 xDS major version is deprecated and disabled by default.", ""},
		{"v2 transport", "error initializing configuration: V2 (and AUTO) xDS transport protocol versions are not supported in ads_config", "xds-v2"},
	}
	const (
		noHost    = `rpc error: code = Unavailable desc = connection error: desc = "transport: Error while dialing: dial tcp: lookup trafficdirector.googleapis.com: no such host"`
		upstream  = "2024-06-27T15:00:06.433000Z\terror\txdsproxy\tfailed to connect to upstream istiod.istio-system.svc:15012: context deadline exceeded"
		connected = "2024-06-27T15:00:16.433000Z\tinfo\txdsproxy\tconnected to upstream XDS server: istiod.istio-system.svc:15012"
		loads     = "[warning][upstream] Load reporter stats stream/connection failure, will retry in 5000 ms."
	)
	cases = append(cases, []struct{ name, text, want string }{
		{"API off, the reason with its service", `403 PERMISSION_DENIED [reason: "SERVICE_DISABLED" domain: "googleapis.com" metadata { key: "service" value: "trafficdirector.googleapis.com" }]`, "api-disabled"},
		{"API off, the reason on a stream", twice(envoy + "StreamAggregatedResources gRPC config stream closed: 7, SERVICE_DISABLED"), "api-disabled"},
		{"the reason behind another API's text", envoy + "StreamAggregatedResources gRPC config stream closed: 7, Cloud Trace API has not been used in project 482915067713 before or it is disabled. SERVICE_DISABLED", ""},
		{"the reason alone names no API", "SERVICE_DISABLED", ""},
		{"the reason of another API", `[reason: "SERVICE_DISABLED" domain: "googleapis.com" metadata { key: "service" value: "cloudtrace.googleapis.com" }]`, ""},
		{"no such host", twice(noHost), "stream-errors"},
		{"no such host, then an answer", twice(noHost) + "\nADS response received for type x", ""},
		{"no such host, once", noHost, ""},
		{"no such host, an application's server", twice(strings.Replace(noHost, "trafficdirector.googleapis.com", "checkout.shop.svc", 1)), ""},
		{"the agent's upstream", twice(upstream), "stream-errors"},
		{"the agent's upstream, once", upstream, ""},
		{"the agent's upstream, then connected", twice(upstream) + "\n" + connected, ""},
		{"the agent's upstream, then ready", twice(upstream) + "\nEnvoy proxy is ready", ""},
		{"connected, then the agent's upstream", connected + "\n" + twice(upstream), "stream-errors"},
		{"another program's upstream", twice("failed to connect to upstream 8.8.8.8:53: i/o timeout"), ""},
		{"load reports, without times", twice(loads), ""},
		{"subscriptions and goaways", twice("gRPC update for type.googleapis.com/envoy.config.cluster.v3.Cluster failed\nrpc error: code = Unavailable desc = error reading from server: EOF, received prior goaway: code: NO_ERROR, debug data: "), ""},
	}...)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := strings.Join(causesOf(t, "proxy.log", c.text), " "); got != c.want {
				t.Errorf("found %q, want %q", got, c.want)
			}
		})
	}
	if len(scan("f", "gRPC config stream closed: 13, ")) != 1 || messages.StreamClosed.ID == "" {
		t.Error("the scan of this test recognises nothing")
	}
}

// TestRealLog holds the checks against a log of a real proxy, whose routine reconnects are no faults.
func TestRealLog(t *testing.T) {
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil || dir == filepath.Dir(dir) {
			break
		}
	}
	name := filepath.Join(dir, "..", "shared", "corpus", "logs", "istio-ingress-gateway.log")
	b, err := os.ReadFile(name)
	if err != nil {
		t.Skip("the corpus of real files is not here: ", err)
	}
	if n := len(scan("istio.log", string(b))); n < 3 {
		t.Fatalf("only %d messages were recognised", n)
	}
	if got := causesOf(t, "istio.log", string(b)); len(got) > 0 {
		t.Errorf("found %v in a healthy proxy's log", got)
	}
}
