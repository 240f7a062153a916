package artifact

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/meshdiag/meshdiag/collect/bundle"
	"github.com/meshdiag/meshdiag/evidence"
)

func bootstrap(t *testing.T, text string) evidence.Bootstrap {
	t.Helper()
	set, files := collect(t, file(text))
	if !files[0].Used {
		t.Fatalf("%+v", files[0])
	}
	return get(t, set, evidence.Bootstraps)[0]
}

func TestEnvoyBootstrap(t *testing.T) {
	want := evidence.Bootstrap{
		Kind: evidence.EnvoyBootstrap, File: "f", NodeID: "projects/123456789012/networks/default/nodes/0f1e2d3c~10.0.0.2",
		Metadata: map[string]string{
			"TRAFFICDIRECTOR_NETWORK_NAME": "default", "TRAFFICDIRECTOR_GCP_PROJECT_NUMBER": "123456789012", "TRAFFICDIRECTOR_INTERCEPTION_PORT": "15001",
			"TRAFFICDIRECTOR_ENABLE_TRACING": "false", "TRAFFICDIRECTOR_ACCESS_LOG_PATH": "", "app": `{"name":"web"}`,
		},
		Transport: "V3", Servers: []string{"trafficdirector.googleapis.com:443"},
		Source: evidence.Source{Collector: "file", Detail: "f", Vantage: evidence.FromWorkload, Time: now, Pasted: true},
	}
	if got := bootstrap(t, envoyYAML); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestEnvoyBootstrapServersAndV2(t *testing.T) {
	got := bootstrap(t, `{
 "node": {"id": "x", "userAgentName": "envoy", "userAgentBuildVersion": {"version": {"majorNumber": 1, "minorNumber": 14}}},
 "dynamicResources": {
  "ldsConfig": {"ads": {}},
  "cdsConfig": {"ads": {}, "resourceApiVersion": "V2"},
  "adsConfig": {"apiType": "GRPC", "grpcServices": [{"envoyGrpc": {"clusterName": "td_cluster"}}]}
 },
 "staticResources": {"clusters": [
  {"name": "other", "loadAssignment": {"endpoints": [{"lbEndpoints": [{"endpoint": {"address": {"socketAddress": {"address": "10.1.1.1", "portValue": 80}}}}]}]}},
  {"name": "td_cluster",
   "transportSocket": {"typedConfig": {"@type": "type.googleapis.com/envoy.api.v2.auth.UpstreamTlsContext"}},
   "loadAssignment": {"endpoints": [{"lbEndpoints": [{"endpoint": {"address": {"socketAddress": {"address": "trafficdirector.googleapis.com", "portValue": 443}}}}]}]}}
 ]},
 "tracing": {"http": {"typedConfig": {"@type": "type.googleapis.com/envoy.config.trace.v2alpha.Config"}}, "x": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}
}`)
	if fmt.Sprint(got.Servers) != "[trafficdirector.googleapis.com:443]" || got.Transport != "" || got.UserAgent != "1.14.0" {
		t.Errorf("%+v", got)
	}
	want := []string{"dynamicResources.cdsConfig.resourceApiVersion", "staticResources.clusters[1].transportSocket.typedConfig.@type", "tracing.http.typedConfig.@type"}
	if !reflect.DeepEqual(got.V2Places, want) {
		t.Errorf("v2 at %q, want %q", got.V2Places, want)
	}
}

func TestTransport(t *testing.T) {
	for version, want := range map[string]string{"V2": "V2", "V3": "V3", "AUTO": "", "1": "V2", "2": "V3", `""`: ""} {
		if got := bootstrap(t, "dynamic_resources: {ads_config: {transport_api_version: "+version+"}}"); got.Transport != want {
			t.Errorf("%s: transport %q, want %q", version, got.Transport, want)
		}
	}
}

func TestUserAgent(t *testing.T) {
	for node, want := range map[string]string{
		`user_agent_version: 1.30.1`: "1.30.1",
		`user_agent_build_version: {version: {major_number: 1, minor_number: 18, patch: 3}}`: "1.18.3",
		`build_version: 0a1b/1.12.2/Clean/RELEASE/BoringSSL`:                                 "1.12.2",
		`user_agent_name: envoy`: "",
	} {
		if got := bootstrap(t, "node: {"+strings.TrimSuffix(strings.TrimPrefix(node, "{"), "")+"}\nadmin: {}"); got.UserAgent != want {
			t.Errorf("%s: %q, want %q", node, got.UserAgent, want)
		}
	}
}

func TestPlaceholders(t *testing.T) {
	id := func(project, network string) string {
		return fmt.Sprintf("node: {id: %q}\nadmin: {}", "projects/"+project+"/networks/"+network+"/nodes/n")
	}
	meta := func(key, value string) string {
		return fmt.Sprintf("node: {metadata: {%s: %q}}\nadmin: {}", key, value)
	}
	for _, tc := range []struct{ text, field string }{
		{id("PROJECT_NUMBER", "default"), "node.id"},
		{id("123", "VPC_NETWORK_NAME"), "node.id"},
		{id("123", "SOMETHING"), "node.id"},
		{id("123", "mesh:MESH_NAME"), "node.id"},
		{id("123", "<network>"), "node.id"},
		{id("${PROJECT}", "default"), "node.id"},
		{id("123", "{{ .Network }}"), "node.id"},
		{id("123", "YOUR_NETWORK"), "node.id"},
		{"node: {id: ENVOY_NODE_ID}\nadmin: {}", "node.id"},
		{meta(evidence.MetadataNetwork, "VPC_NETWORK_NAME"), "node.metadata." + evidence.MetadataNetwork},
		{meta(evidence.MetadataNetwork, "ANYTHING"), "node.metadata." + evidence.MetadataNetwork},
		{meta(evidence.MetadataProject, "[PROJECT_NUMBER]"), "node.metadata." + evidence.MetadataProject},
		{meta(evidence.MetadataIntercept, "ENVOY_PORT"), "node.metadata." + evidence.MetadataIntercept},
		{"static_resources: {clusters: [{name: td, load_assignment: {endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: XDS_SERVER, port_value: 443}}}}]}]}}]}\ndynamic_resources: {ads_config: {cluster_names: [td]}}",
			"static_resources.clusters[0].load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address.address"},
		{`{"xds_servers": [{"server_uri": "${XDS_SERVER}"}]}`, "xds_servers[0].server_uri"},
		{"VPC_NETWORK_NAME='YOUR_VPC'\n", "VPC_NETWORK_NAME"},
		{"GCP_PROJECT_NUMBER=${PROJECT_NUMBER}\n", "GCP_PROJECT_NUMBER"},

		// Real values, however odd.
		{id("123", "vpc-network-name"), ""},
		{id("123", "project-number"), ""},
		{id("123", "mesh:MyMesh"), ""},
		{id("my-project", "default"), ""},
		{meta("app", "PROD"), ""},
		{meta("app", "a < b > c"), ""},
		{meta(evidence.MetadataNetwork, ""), ""},
		{meta("nested", "") + "\nlayered_runtime: {layers: [{name: \"${NAME}\"}]}", ""},
		{"VPC_NETWORK_NAME='network'\nGCP_PROJECT_NUMBER='1'\n", ""},
		{"P='1'\nGCP_PROJECT_NUMBER=\"$P\"\n", ""},
	} {
		got := bootstrap(t, tc.text).Placeholders
		if tc.field == "" && len(got) > 0 || tc.field != "" && (len(got) != 1 || got[0].Field != tc.field || got[0].Value == "") {
			t.Errorf("%s: placeholders %q, want one in %q", tc.text, got, tc.field)
		}
	}
}

func TestSidecarEnv(t *testing.T) {
	got := bootstrap(t, `# Settings of the sidecar
ENVOY_USER='envoy'
SERVICE_CIDR='*'        # everything
GCP_PROJECT_NUMBER='123456789012'
VPC_NETWORK_NAME=''
export ENVOY_PORT="15001"; # listener
LOG_DIR=/var/log/envoy/
ACCESSLOG_PATH="${LOG_DIR}access.log"
ENVOY_ADMIN_PORT='1500'0
set -a
TRACING_ENABLED=fal\se
ENVOY_USER="en'v\"oy"
`)
	want := map[string]string{
		"ENVOY_USER": `en'v"oy`, "SERVICE_CIDR": "*", "GCP_PROJECT_NUMBER": "123456789012", "VPC_NETWORK_NAME": "", "ENVOY_PORT": "15001",
		"LOG_DIR": "/var/log/envoy/", "ACCESSLOG_PATH": "/var/log/envoy/access.log", "ENVOY_ADMIN_PORT": "15000", "TRACING_ENABLED": "false",
		"TRAFFICDIRECTOR_GCP_PROJECT_NUMBER": "123456789012", "TRAFFICDIRECTOR_NETWORK_NAME": "", "TRAFFICDIRECTOR_INTERCEPTION_PORT": "15001",
		"TRAFFICDIRECTOR_ACCESS_LOG_PATH": "/var/log/envoy/access.log", "TRAFFICDIRECTOR_ENABLE_TRACING": "false",
	}
	if got.Kind != evidence.SidecarEnvFile || !reflect.DeepEqual(got.Metadata, want) || len(got.Placeholders) != 0 {
		t.Errorf("%+v", got)
	}
}

// TestSidecarEnvDoubling holds that variables that refer to each other don't fill the memory.
func TestSidecarEnvDoubling(t *testing.T) {
	text := "VPC_NETWORK_NAME='n'\nA0=0123456789\n"
	for i := range 100 {
		text += fmt.Sprintf("A%d=\"$A%d$A%d\"\n", i+1, i, i)
	}
	n := 0
	for _, v := range bootstrap(t, text).Metadata {
		n += len(v)
	}
	if n > 1<<20 {
		t.Errorf("%d bytes", n)
	}
}

func TestConfigDumpTime(t *testing.T) {
	b := bootstrap(t, `{"configs":[{"@type":"type.googleapis.com/envoy.admin.v3.BootstrapConfigDump","bootstrap":{"node":{"id":"x"},"dynamic_resources":{"ads_config":{"transport_api_version":"V2"}}},"last_updated":"2024-01-02T03:04:05.678Z"}]}`)
	if b.Source.Time.Format(time.RFC3339Nano) != "2024-01-02T03:04:05.678Z" || b.Source.Detail != "f configs[0].bootstrap" ||
		fmt.Sprint(b.V2Places) != "[configs[0].bootstrap.dynamic_resources.ads_config.transport_api_version]" {
		t.Errorf("%+v", b)
	}
}

// TestWrongTypes puts a value of every other type in every place of files of every kind: each is either read all the same or
// refused with the place, and nothing panics.
func TestWrongTypes(t *testing.T) {
	docs, err := yamlDocuments([]byte(envoyYAML))
	if err != nil {
		t.Fatal(err)
	}
	r := reader(t)
	for _, doc := range []string{string(docs[0]), `{"xds_servers":[{"server_uri":"x","server_features":["xds_v3"]}],"node":{"id":"x","metadata":{"a":"b"}},"authorities":{"a":{"xds_servers":[]}}}`,
		`{"config":[` + client + `]}`, "[" + rule + "]", "[" + vm + "]", `{"services":[{"name":"projects/1/services/x","state":"ENABLED"}]}`, `[{"backend":"b","status":{"healthStatus":[{"port":1}]}}]`,
		`{"configs":[{"@type":"type.googleapis.com/envoy.admin.v3.BootstrapConfigDump","bootstrap":{"node":{"id":"x"}}}]}`,
		`[{"insertId":"b","logName":"l","timestamp":"2024-05-01T10:00:02Z"}]`, `{"error":{"code":1,"message":"m"}}`} {
		var v any
		if err := json.Unmarshal([]byte(doc), &v); err != nil {
			t.Fatal(err)
		}
		mutate(v, func(what string) {
			b, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			set := evidence.NewSet()
			left := int64(bundle.MaxBytes)
			f := r.file(t.Context(), file(string(b)), set, &left, nil)[0]
			if f.Note == "" || strings.HasPrefix(f.Note, "internal") || f.Used != (f.Kind != "") {
				t.Errorf("%s: %+v", what, f)
			}
		})
	}
}

// mutate puts a value of every type in every place below v in turn, and calls f each time.
func mutate(v any, f func(what string)) {
	others := []any{nil, "s", 1.5, true, []any{"a"}, []any{map[string]any{}}, map[string]any{"a": 1}}
	switch x := v.(type) {
	case map[string]any:
		for k, old := range x {
			for _, o := range others {
				x[k] = o
				f(fmt.Sprintf("%s = %v", k, o))
			}
			x[k] = old
			mutate(old, f)
		}
	case []any:
		for i, old := range x {
			for _, o := range others {
				x[i] = o
				f(fmt.Sprintf("[%d] = %v", i, o))
			}
			x[i] = old
			mutate(old, f)
		}
	}
}
