package artifact

import (
	"bytes"
	"compress/gzip"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

const envoyYAML = `# Made for a VM.
node:
  id: projects/123456789012/networks/default/nodes/0f1e2d3c~10.0.0.2
  cluster: cluster
  locality:
    zone: us-central1-a
  metadata:
    TRAFFICDIRECTOR_NETWORK_NAME: "default"
    TRAFFICDIRECTOR_GCP_PROJECT_NUMBER: 123456789012
    TRAFFICDIRECTOR_INTERCEPTION_PORT: '15001'
    TRAFFICDIRECTOR_ENABLE_TRACING: false
    TRAFFICDIRECTOR_ACCESS_LOG_PATH: ""
    app: {name: "web"}
dynamic_resources:
  lds_config: {ads: {}, resource_api_version: V3}
  cds_config: {ads: {}, resource_api_version: V3}
  ads_config:
    api_type: GRPC
    transport_api_version: V3
    grpc_services:
    - google_grpc:
        target_uri: trafficdirector.googleapis.com:443
        stat_prefix: trafficdirector
cluster_manager:
  load_stats_config:
    transport_api_version: V3
admin:
  address: {socket_address: {address: 127.0.0.1, port_value: 15000}}
`

const rule = `{"kind":"compute#forwardingRule","name":"td","IPAddress":"10.0.0.1","IPProtocol":"TCP","portRange":"80-80",
 "loadBalancingScheme":"INTERNAL_SELF_MANAGED","network":"https://www.googleapis.com/compute/v1/projects/p/global/networks/default",
 "selfLink":"https://www.googleapis.com/compute/v1/projects/p/global/forwardingRules/td","target":"https://x/targetHttpProxies/t"}`

const vm = `{"kind":"compute#instance","id":"123","name":"vm","zone":"https://www.googleapis.com/compute/v1/projects/p/zones/z","status":"RUNNING",
 "selfLink":"https://www.googleapis.com/compute/v1/projects/p/zones/z/instances/vm","networkInterfaces":[{"network":"https://x/networks/default","networkIP":"10.0.0.2"}]}`

const client = `{"node":{"id":"projects/1/networks/default/nodes/a"},"genericXdsConfigs":[{"typeUrl":"type.googleapis.com/envoy.config.listener.v3.Listener","name":"l","configStatus":"SYNCED","lastUpdated":"2024-01-02T03:04:05Z"}]}`

func TestRecognised(t *testing.T) {
	for _, tc := range []struct{ name, text, kind, note string }{
		{"Envoy YAML", envoyYAML, "envoy-bootstrap", "node id in the file"},
		{"Envoy JSON in camelCase", `{"node":{"cluster":"c"},"dynamicResources":{"adsConfig":{"transportApiVersion":"V3"}}}`, "envoy-bootstrap", "no node id in the file"},
		{"Envoy, static alone", "static_resources:\n  clusters: []\n", "envoy-bootstrap", "no node id in the file"},
		{"Envoy, node alone", "node:\n  id: projects/1/networks/n/nodes/x\n", "envoy-bootstrap", "node id in the file"},
		{"Envoy, node with metadata alone", "node:\n  metadata: {TRAFFICDIRECTOR_NETWORK_NAME: n}\n", "envoy-bootstrap", "no node id in the file"},
		{"CRLF and byte order mark", "\xef\xbb\xbf" + strings.ReplaceAll(envoyYAML, "\n", "\r\n"), "envoy-bootstrap", "node id in the file"},
		{"gRPC", `{"xds_servers":[{"server_uri":"trafficdirector.googleapis.com:443","channel_creds":[{"type":"google_default"}]}],"node":{"id":"x"}}`, "grpc-bootstrap", "node id in the file"},
		{"sidecar.env", "# comment\nexport VPC_NETWORK_NAME='default'\nGCP_PROJECT_NUMBER='1'\nENVOY_PORT='15001'\n", "sidecar-env", "6 variables"},
		{"CSDS response", `{"config":[` + client + `]}`, "csds", "1 client with 1 resource"},
		{"CSDS client", client, "csds", "1 client with 1 resource"},
		{"CSDS clients", "[" + client + "," + client + "]", "csds", "2 clients with 2 resources"},
		{"CSDS responses one after the other", `{"config":[` + client + "]}\n{\n\"config\":[" + client + "]}", "csds", "2 clients with 2 resources"},
		{"CSDS list", `{"config":[{"node":{"id":"projects/1/networks/n/nodes/a"}},{"node":{"id":"projects/1/networks/n/nodes/b"}}]}`, "csds", "list of 2 connected clients"},
		{"CSDS in YAML", "config:\n- node: {id: x}\n  generic_xds_configs:\n  - {type_url: t, name: n, config_status: STALE}\n", "csds", "1 client with 1 resource"},
		{"rules, list", `{"kind":"compute#forwardingRuleList","items":[` + rule + `]}`, "forwarding-rules", "1 forwarding rule"},
		{"rules, one page", `{"kind":"compute#forwardingRuleList","nextPageToken":"t","items":[` + rule + `]}`, "forwarding-rules", "1 forwarding rule, one page of several"},
		{"rules, empty list", `{"kind":"compute#forwardingRuleList","id":"projects/p/global/forwardingRules"}`, "forwarding-rules", "0 forwarding rules"},
		{"rules, empty aggregated list", `{"id":"projects/p/aggregated/forwardingRules","items":{"global":{"warning":{"code":"NO_RESULTS_ON_PAGE"}}}}`, "forwarding-rules", "0 forwarding rules"},
		{"rules, aggregated with a region missing", `{"id":"projects/p/aggregated/forwardingRules","items":{"global":{"warning":{"code":"UNREACHABLE"}}}}`, "forwarding-rules", "0 forwarding rules, with the warning UNREACHABLE"},
		{"rules, gcloud", "[" + rule + "]", "forwarding-rules", "1 forwarding rule"},
		{"rules, gcloud describe", rule, "forwarding-rules", "1 forwarding rule, a single one"},
		{"rules, gcloud YAML", "---\nIPAddress: 10.0.0.1\nIPProtocol: TCP\nkind: compute#forwardingRule\nname: a\n---\nIPAddress: 10.0.0.2\nkind: compute#forwardingRule\nname: b\n", "forwarding-rules", "2 forwarding rules"},
		{"instances, gcloud", "[" + vm + "]", "instances", "1 instance"},
		{"instances, aggregated", `{"kind":"compute#instanceAggregatedList","items":{"zones/z":{"instances":[` + vm + `]},"zones/y":{"warning":{"code":"NO_RESULTS_ON_PAGE"}}}}`, "instances", "1 instance"},
		{"instance, YAML with a number as id", "id: 42\nkind: compute#instance\nname: vm\nstatus: RUNNING\n", "instances", "1 instance, a single one"},
		{"services, API", `{"services":[{"name":"projects/1/services/trafficdirector.googleapis.com","state":"ENABLED"}]}`, "services", "1 service"},
		{"services, gcloud", `[{"name":"projects/1/services/trafficdirector.googleapis.com","state":"DISABLED","config":{"name":"x"}}]`, "services", "1 service"},
		{"health, gcloud", `[{"backend":"https://x/instanceGroups/g","status":{"healthStatus":[{"healthState":"HEALTHY","ipAddress":"10.0.0.2","port":80}],"kind":"compute#backendServiceGroupHealth"}}]`, "backend-health", "health of 1 endpoint"},
		{"health, gcloud, YAML", "---\nbackend: https://x/networkEndpointGroups/g\nstatus:\n  healthStatus:\n  - healthState: UNHEALTHY\n    ipAddress: 10.0.0.2\n    port: 80\n  kind: compute#backendServiceGroupHealth\n", "backend-health", "health of 1 endpoint"},
		{"health, API, empty", `{"kind":"compute#backendServiceGroupHealth"}`, "backend-health", "health of 0 endpoints"},
		{"config dump", `{"configs":[{"@type":"type.googleapis.com/envoy.admin.v3.BootstrapConfigDump","bootstrap":{"node":{"id":"x"}},"last_updated":"2024-01-02T03:04:05.678Z"}]}`, "envoy-config-dump", "0 listeners, 0 route configurations, 0 clusters; bootstrap: node id in the file"},
		{"Envoy log", "[2024-05-01 10:11:12.345][12][warning][config] gRPC config stream closed: 5, x\n[2024-05-01 10:11:12.345][12][info] y\n", "log", "1 line with a known message, of 2"},
		{"a pasted line", `StreamAggregatedResources gRPC config stream closed: 5, Cloud Service Mesh configuration was not found for network "n" in project "1".`, "log", "1 line with a known message, of 1"},
		{"a pasted line that parses as YAML", "rpc error: code = Unavailable", "log", "no known message in 1 line"},
		{"prose", "It does not work.\nWhat now?\n", "log", "no known message in 2 lines"},
		{"JSON lines", `{"level":"warn","msg":"gRPC config stream closed: 5, x"}` + "\n" + `{"level":"info","msg":"y"}` + "\n", "log", "1 line with a known message, of 2"},
		{"JSON lines, the last cut off", `{"level":"warn","msg":"x"}` + "\n" + `{"level":"in`, "log", "no known message in 2 lines"},
		{"one JSON line", `{"level":"warn","msg":"x"}`, "log", "no known message in 1 line"},
		{"API error", "{\n \"error\": {\n  \"code\": 403,\n  \"message\": \"Traffic Director API has not been used in project 12 before or it is disabled.\",\n  \"status\": \"PERMISSION_DENIED\"\n }\n}\n", "api-error", "1 line with a known message, of 7"},
		{"Cloud Logging", `[{"insertId":"b","logName":"l","timestamp":"2024-05-01T10:00:02Z","jsonPayload":{"message":"gRPC config stream closed: 5, x"}},{"insertId":"a","logName":"l","timestamp":"2024-05-01T10:00:01Z","textPayload":"gRPC config stream closed: 7, x"}]`, "log", "2 lines with a known message, of 2"},
		{"Cloud Logging, YAML", "---\ninsertId: a\nlogName: l\ntimestamp: '2024-05-01T10:00:01Z'\ntextPayload: gRPC config stream closed: 7, x\n", "log", "1 line with a known message, of 5"},
		{"template in YAML", strings.Replace(envoyYAML, "projects/123456789012/networks/default/nodes/0f1e2d3c~10.0.0.2", "{{ .NodeID }}", 1), "envoy-bootstrap", "node id in the file, 1 placeholder"},
		{"template in JSON", `{"node":{"id":"x"},"dynamic_resources":{},"static_resources":{},"admin":{"address":{"socket_address":{"address":"::","port_value":${PORT}}}}}`, "envoy-bootstrap", "node id in the file"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, files := collect(t, file(tc.text))
			if f := files[0]; f.Kind != tc.kind || f.Note != tc.note || !f.Used {
				t.Errorf("%+v, want kind %q, note %q", f, tc.kind, tc.note)
			}
		})
	}
}

func TestNotRecognised(t *testing.T) {
	deep := strings.Repeat("[", 100_000)
	bomb := "a: &a [x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c < 'k'; c++ {
		prev := string(c - 1)
		bomb += string(c) + ": &" + string(c) + " [" + strings.TrimSuffix(strings.Repeat("*"+prev+",", 9), ",") + "]\n"
	}
	for _, tc := range []struct{ name, text, note string }{
		{"empty", "", "empty"},
		{"blank", " \r\n\t\n", "empty"},
		{"byte order mark alone", "\xef\xbb\xbf", "empty"},
		{"binary", "\x7fELF\x02\x01\x01\x00\x00", "not recognised: binary"},
		{"NUL bytes", strings.Repeat("\x00", 1000), "not recognised: binary"},
		{"random bytes", strings.Repeat("\x93\xfe\x01\x02\x88abc", 100), "not recognised: binary"},
		{"JSON object", `{"b":1,"a":{"config":[]}}`, "not recognised: JSON object with keys a, b"},
		{"JSON object with many odd keys", `{"a b":1,"c":1,"d":1,"e":1,"f":1,"g":1,"h":1,"i":1}`, `not recognised: JSON object with keys "a b", c, d, e, f, g and 2 more`},
		{"empty object", "{}", "not recognised: empty JSON object"},
		{"empty array", "[]", "not recognised: empty JSON array"},
		{"JSON numbers", "[\n1, 2]", "not recognised: JSON array of 2"},
		{"Kubernetes", "apiVersion: v1\nkind: ConfigMap\ndata:\n  static_resources: x\n", "not recognised: Kubernetes ConfigMap"},
		{"Kubernetes JSON with a node", `{"apiVersion":"v1","kind":"Pod","node":{"metadata":{"TRAFFICDIRECTOR_NETWORK_NAME":"x"}},"admin":{}}`, "Kubernetes objects: Pod: has no metadata.name"},
		{"Prometheus configuration", "global:\n  scrape_interval: 15s\nscrape_configs:\n- job_name: x\n", "not recognised: JSON object with keys global, scrape_configs"},
		{"another compute list", `{"kind":"compute#urlMapList","items":[{"kind":"compute#urlMap","name":"u"}]}`, "not recognised: JSON object with keys items, kind"},
		{"a list of several kinds", "[" + rule + "," + vm + "]", "not recognised: JSON array of 2, the first a JSON object with keys IPAddress, IPProtocol, kind, loadBalancingScheme, name, network and 3 more"},
		{"an aggregated list with others besides", `{"items":{"global":{"forwardingRules":[` + rule + `],"urlMaps":[{}]}}}`, "not recognised: JSON object with keys items"},
		{"CSDS without a client", `{"config":[]}`, "CSDS answer without a client: nobody matched what was asked for, which the file doesn't say"},
		{"CSDS with one client and no status", `{"config":[{"node":{"id":"projects/1/networks/n/nodes/a"}}]}`, "CSDS answer with one client and no status: ask with its exact node id for the status"},
		{"JSON cut off", `{"a":1,"b":{"c":`, "not recognised: JSON ends in the middle at byte 16 (cut off?) (object with keys a, b, c)"},
		{"bootstrap cut off", `{"node":{"id":"x"},"dynamic_resources":{"ads_`, "Envoy bootstrap: JSON ends in the middle at byte 45 (cut off?)"},
		{"bootstrap with a slip", "{\"node\":{\"id\":\"x\"},\n\"dynamic_resources\":{\"a\" 1}}", "Envoy bootstrap: not JSON from byte 46 (line 2) on: invalid character '1' after object key"},
		{"bootstrap YAML with a slip", "node:\n  id: x\ndynamic_resources:\n  ads_config: [\n", "Envoy bootstrap: not YAML: yaml: line 4: did not find expected node content"},
		{"node is a list", `{"node":[],"dynamic_resources":{}}`, "Envoy bootstrap: node is an array, expected an object"},
		{"metadata is a list", "node:\n  metadata: [a]\ndynamic_resources: {}\n", "Envoy bootstrap: node.metadata is an array, expected an object"},
		{"gRPC servers are a string", `{"xds_servers":"trafficdirector.googleapis.com:443"}`, "gRPC bootstrap: xds_servers is a string, expected an array"},
		{"rule with a number for a name", `[{"kind":"compute#forwardingRule","name":7}]`, "forwarding rules: item 1: name is of type number, expected string"},
		{"CSDS with a number for an id", `{"config":[{"node":{"id":7}}]}`, "CSDS answer: malformed CSDS answer: config[0].node.id: want a string"},
		{"sidecar.env with an open quote", "VPC_NETWORK_NAME='default'\nGCP_PROJECT_NUMBER='1\n", "sidecar.env: line 2, GCP_PROJECT_NUMBER: a quote isn't closed"},
		{"sidecar.env with blanks", "VPC_NETWORK_NAME='default'\nGCP_PROJECT_NUMBER = '1'\n", `sidecar.env: line 2 is "GCP_PROJECT_NUMBER = '1'", expected GCP_PROJECT_NUMBER='value'`},
		{"deep JSON", deep, "not recognised: nested deeper than 200 levels at byte 200"},
		{"deep YAML", "dynamic_resources: " + deep, "Envoy bootstrap: not YAML: yaml: exceeded max depth of 10000"},
		{"less deep YAML", "dynamic_resources: " + deep[:300] + strings.Repeat("]", 300), "Envoy bootstrap: YAML document 1: line 1: nested deeper than 200 levels"},
		{"YAML bomb", "dynamic_resources: {}\n" + bomb, "Envoy bootstrap: YAML document 1: line 7: its aliases add more than 200000 nodes or 64 MiB"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, files := collect(t, file(tc.text))
			if f := files[0]; f.Kind != "" || f.Note != tc.note || f.Used {
				t.Errorf("%+v, want not used, note %q", f, tc.note)
			}
		})
	}
}

// TestEmptyInitDump holds that an empty object is what its file's name says, and nothing under another name.
func TestEmptyInitDump(t *testing.T) {
	set, files := collect(t, diagnose.Artifact{Name: "vm/init_dump.json", Data: []byte("{ }\n")}, diagnose.Artifact{Name: "x.json", Data: []byte("{}")})
	if !files[0].Used || files[0].Kind != "envoy-init-dump" || files[1].Used {
		t.Errorf("%+v", files)
	}
	if p := get(t, set, evidence.EnvoyPending); len(p) != 1 || len(p[0].Unready) != 0 {
		t.Errorf("%+v", p)
	}
}

func TestTextFlag(t *testing.T) {
	_, files := collect(t, diagnose.Artifact{Name: "f", Data: []byte(envoyYAML), Text: true})
	if files[0].Kind != "log" || files[0].Note != "no known message in 28 lines" {
		t.Errorf("%+v", files[0])
	}
}

func TestGzipAndUTF16(t *testing.T) {
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	if _, err := w.Write([]byte(envoyYAML)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	wide := []byte{0xff, 0xfe}
	for _, u := range utf16.Encode([]rune(envoyYAML)) {
		wide = append(wide, byte(u), byte(u>>8))
	}
	_, files := collect(t, diagnose.Artifact{Name: "a", Data: z.Bytes()}, diagnose.Artifact{Name: "b", Data: wide}, diagnose.Artifact{Name: "c", Data: z.Bytes()[:z.Len()/2]})
	if files[0].Kind != "envoy-bootstrap" || files[1].Kind != "envoy-bootstrap" || files[2].Note != "gzip: ends in the middle (cut off?)" {
		t.Errorf("%+v", files)
	}
}

// TestBroken holds that a file that is clearly of a kind and can't be read doesn't count as absent.
func TestBrokenFailsItsFact(t *testing.T) {
	set, _ := collect(t, file(`{"node":{"id":"x"},"dynamic_resources":{"ads_`))
	_, err := evidence.Get(evidence.NewView(set), evidence.Bootstraps)
	if want := "bootstraps could not be read: f: Envoy bootstrap: JSON ends in the middle at byte 45 (cut off?)"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	set, _ = collect(t, file("some text"))
	for _, n := range reader(t).Collector().Provides {
		if known := n == evidence.Artifacts.Name() || n == evidence.LogMessages.Name(); set.Has(n) != known {
			t.Errorf("%s: told %v, want %v", n, !known, known)
		}
	}
}
