package main

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/meshdiag/meshdiag/collect/host"
	pb "github.com/meshdiag/meshdiag/gen/meshdiag/v1"
)

// vmAddress is the VM's.
const vmAddress = "10.128.0.5"

// metadataServer answers as Compute Engine's does on a VM of the lab.
func metadataServer(t *testing.T, instance string) string {
	t.Helper()
	s := httptest.NewServer(metadata(instance))
	t.Cleanup(s.Close)
	return s.URL
}

func metadata(instance string) http.Handler {
	values := map[string]string{
		"project/numeric-project-id": "482915067713", "project/project-id": "mesh-prod-4f2a",
		"instance/zone": "projects/482915067713/zones/us-central1-a", "instance/name": instance, "instance/network-interfaces/0/ip": vmAddress,
		"instance/service-accounts/default/email": "mesh-proxy@mesh-prod-4f2a.iam.gserviceaccount.com", "instance/service-accounts/default/scopes": "https://www.googleapis.com/auth/cloud-platform\n",
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Metadata-Flavor", "Google")
		v, ok := values[strings.TrimPrefix(r.URL.Path, "/computeMetadata/v1/")]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
		}
		_, _ = w.Write([]byte(v))
	})
}

// vmNode is how the VM's Envoy says who it is.
const vmNode = `"node":{"id":"projects/482915067713/networks/mesh-vpc/nodes/8f1c0a52-71de-4a4d-9d0b-6a1f3c2b9e77~` + vmAddress + `","metadata":{"TRAFFICDIRECTOR_INTERCEPTION_PORT":"15001","TRAFFICDIRECTOR_NETWORK_NAME":"mesh-vpc"}}`

// envoyAdmin answers as the admin interface of an Envoy that Traffic Director configured.
func envoyAdmin() http.Handler {
	const (
		at      = `"version_info":"1","last_updated":"2026-05-01T10:00:00.000Z"`
		types   = `"@type":"type.googleapis.com/envoy.`
		address = `"address":{"socket_address":{"address":"0.0.0.0","port_value":15001}}`
		hcm     = `{"name":"envoy.filters.network.http_connection_manager","typed_config":{` + types + `extensions.filters.network.http_connection_manager.v3.HttpConnectionManager","stat_prefix":"t","rds":{"route_config_name":"URL_MAP/1","config_source":{"ads":{}}}}}`
		cluster = `cloud-internal-istio:cloud_mp_482915067713_1`
	)
	pages := map[string]string{
		"/server_info": `{"version":"d6b0f2a3c1e84f95a7d0b6c8e2f413957a6d8b01/1.32.3/Clean/RELEASE/BoringSSL","state":"LIVE","uptime_current_epoch":"86400s",` + vmNode + `}`,
		"/config_dump": `{"configs":[
			{` + types + `admin.v3.BootstrapConfigDump","bootstrap":{` + vmNode + `}},
			{` + types + `admin.v3.ListenersConfigDump","version_info":"1","dynamic_listeners":[{"name":"TRAFFICDIRECTOR_INTERCEPTION_LISTENER","active_state":{` + at + `,"listener":{` + types + `config.listener.v3.Listener","name":"TRAFFICDIRECTOR_INTERCEPTION_LISTENER",` + address + `,"use_original_dst":true,"filter_chains":[{"filters":[` + hcm + `]}]}}}]},
			{` + types + `admin.v3.RoutesConfigDump","dynamic_route_configs":[{` + at + `,"route_config":{` + types + `config.route.v3.RouteConfiguration","name":"URL_MAP/1","virtual_hosts":[{"name":"v","domains":["*"],"routes":[{"match":{"prefix":""},"route":{"cluster":"` + cluster + `"}}]}]}}]},
			{` + types + `admin.v3.ClustersConfigDump","version_info":"1","dynamic_active_clusters":[{` + at + `,"cluster":{` + types + `config.cluster.v3.Cluster","name":"` + cluster + `","type":"EDS","eds_cluster_config":{"eds_config":{"ads":{}}}}}]},
			{` + types + `admin.v3.EndpointsConfigDump","dynamic_endpoint_configs":[{` + at + `,"endpoint_config":{` + types + `config.endpoint.v3.ClusterLoadAssignment","cluster_name":"` + cluster + `","endpoints":[{"locality":{"zone":"us-central1-a"},"lb_endpoints":[{"endpoint":{"address":{"socket_address":{"address":"10.128.0.40","port_value":80}}},"health_status":"HEALTHY"}]}]}}]}]}`,
		"/clusters":  `{"cluster_statuses":[{"name":"` + cluster + `","host_statuses":[{"address":{"socket_address":{"address":"10.128.0.40","port_value":80}},"health_status":{"eds_health_status":"HEALTHY"}}]}]}`,
		"/listeners": `{"listener_statuses":[{"name":"TRAFFICDIRECTOR_INTERCEPTION_LISTENER","local_` + address[1:] + `}]}`,
		"/stats":     "cluster_manager.cds.update_success: 3\ncontrol_plane.connected_state: 1\nlistener_manager.lds.update_success: 2\nserver.live: 1\nserver.state: 0\n",
		"/init_dump": "{}", "/certs": `{"certificates":[]}`,
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		page, ok := pages[r.URL.Path]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
		}
		_, _ = w.Write([]byte(page))
	})
}

// vmFolder makes a folder that stands for a VM on which Envoy runs for the lab's network.
func vmFolder(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range map[string]string{
		"proc/42/cmdline":               "/usr/local/bin/envoy\x00-c\x00/etc/envoy/boot.json\x00",
		"proc/42/status":                "Uid:\t997 997 997 997\nGid:\t997 997 997 997\nCapEff:\t0\n",
		"proc/self/net/tcp":             "  sl\n   0: 00000000:3A99 00000000:0000 0A 00000000:00000000 00:00000000 00000000   997        0 4711 1\n", // 15001
		"proc/sys/kernel/hostname":      "frontend-vm\n",
		"etc/envoy/boot.json":           `{` + vmNode + `,"dynamic_resources":{"ads_config":{"api_type":"GRPC","transport_api_version":"V3"}}}`,
		"proc/self/net/ip_tables_names": "",
	} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// vmRules are what the agent sets on the VM.
const vmRules = `# Generated by iptables-save v1.8.9 (nf_tables)
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:SERVICE_PROXY_OUTPUT - [0:0]
:SERVICE_PROXY_REDIRECT - [0:0]
:SERVICE_PROXY_SERVICE_CIDRS - [0:0]
-A OUTPUT -p tcp -j SERVICE_PROXY_OUTPUT
-A SERVICE_PROXY_OUTPUT -m owner --uid-owner 997 -j RETURN
-A SERVICE_PROXY_OUTPUT -j SERVICE_PROXY_SERVICE_CIDRS
-A SERVICE_PROXY_REDIRECT -p tcp -j REDIRECT --to-ports 15001
-A SERVICE_PROXY_SERVICE_CIDRS -d 10.128.4.0/24 -j SERVICE_PROXY_REDIRECT
COMMIT
# Completed
`

// The rest of what a VM needs to be healthy is on it: a recording of it, made just now, is the evidence. One of another VM, an
// old one, and one that doesn't tell whose it is are none, nor is one without the rules.
func TestRecordingOfAVM(t *testing.T) {
	flags := strings.Fields(startLab(t, "vm-well"))
	var conn connectionFlags
	cmd := &cobra.Command{}
	conn.add(cmd)
	_, args := split(flags)
	if err := cmd.ParseFlags(args); err != nil {
		t.Fatal(err)
	}
	probes, err := probing(conn)
	if err != nil {
		t.Fatal(err)
	}
	admin := httptest.NewServer(envoyAdmin())
	t.Cleanup(admin.Close)
	_, port, err := net.SplitHostPort(admin.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	adminPort, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	for name, text := range map[string]string{"iptables-nft-save": "cat <<'END'\n" + vmRules + "END\n", "ip6tables-nft-save": ""} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"+text), 0o755); err != nil { // #nosec G306 -- it is run
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		name     string
		instance string
		cfg      host.Config
		exit     int
		says     string
	}{
		{name: "of the VM", instance: "frontend-vm", exit: exitHealthy, says: "was recorded on VM us-central1-a/frontend-vm"},
		{name: "of another VM", instance: "frontend-vm-2", exit: exitInconclusive, says: "bundle.tar.gz was recorded on VM us-central1-a/frontend-vm-2 of project mesh-prod-4f2a"},
		{name: "three hours old", instance: "frontend-vm", cfg: host.Config{Now: func() time.Time { return time.Now().Add(-3*time.Hour - time.Minute) }}, exit: exitInconclusive, says: "bundle.tar.gz was recorded 3 h ago"},
		{name: "unidentified", cfg: host.Config{MetadataURL: "http://127.0.0.1:1"}, exit: exitInconclusive, says: "bundle.tar.gz doesn't tell on which VM it was recorded"},
		{name: "without the rules", instance: "frontend-vm", cfg: host.Config{CommandPath: []string{t.TempDir()}}, exit: exitInconclusive, says: "no such command here"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := tc.cfg
			cfg.Root, cfg.AdminPorts, cfg.Probe = vmFolder(t), []int{adminPort}, probes
			if cfg.MetadataURL == "" {
				cfg.MetadataURL = metadataServer(t, tc.instance)
			}
			if cfg.CommandPath == nil {
				cfg.CommandPath = []string{bin, "/usr/bin", "/bin"}
			}
			r, err := host.New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			b, err := r.Record(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var packed bytes.Buffer
			if err := b.Write(&packed); err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "bundle.tar.gz"), packed.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
			t.Chdir(dir)
			exit, stdout, stderr := meshdiag(t, append([]string{"diagnose", "-o", "json", "-f", "bundle.tar.gz"}, flags...)...)
			var rep pb.Report
			if err := protojson.Unmarshal([]byte(stdout), &rep); err != nil {
				t.Fatalf("%v: %s%s", err, stdout, stderr)
			}
			if exit != tc.exit || !strings.Contains(fmt.Sprint(rep.GetNotes(), rep.GetUnseen()), tc.says) {
				t.Errorf("exit status %d\n%s%s", exit, stdout, stderr)
			}
		})
	}
}
