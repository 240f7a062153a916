package envoy

import (
	"reflect"
	"strings"
	"testing"
)

const (
	serverInfoJSON = `{"version": "98c1c9/1.34.1/Clean/RELEASE/BoringSSL", "state": "INITIALIZING", "hot_restart_version": "11.104", "uptime_current_epoch": "3s",
		"node": {"id": "projects/1/networks/default/nodes/a", "cluster": "c", "metadata": {"TRAFFICDIRECTOR_INTERCEPTION_PORT": "15001", "n": 3, "o": {"k": [1]}}, "user_agent_build_version": {"version": {"major_number": 1, "minor_number": 34, "patch": 1}}}}`
	clustersText = `web::observability_name::web
web::outlier::success_rate_average::-1
web::default_priority::max_connections::1024
web::high_priority::max_connections::1024
web::added_via_api::true
web::eds_service_name::web
web::10.8.0.1:8080::cx_active::0
web::10.8.0.1:8080::hostname::web-1
web::10.8.0.1:8080::health_flags::healthy
web::10.8.0.1:8080::weight::3
web::10.8.0.1:8080::priority::1
web::[fd00::2]:8080::hostname::
web::[fd00::2]:8080::health_flags::/failed_active_hc/failed_outlier_check
web::10.8.0.3:8080::health_flags::/degraded_eds_health
empty::observability_name::empty
empty::added_via_api::false
`
	clustersJSON = `{"cluster_statuses": [{"name": "web", "added_via_api": true, "host_statuses": [
		{"address": {"socket_address": {"address": "10.8.0.1", "port_value": 8080}}, "hostname": "web-1", "weight": 3, "priority": 1, "health_status": {"eds_health_status": "HEALTHY"}},
		{"address": {"socket_address": {"address": "fd00::2", "port_value": 8080}}, "health_status": {"failed_active_health_check": true, "failed_outlier_check": true, "eds_health_status": "HEALTHY"}},
		{"address": {"socket_address": {"address": "10.8.0.3", "port_value": 8080}}, "health_status": {"eds_health_status": "DEGRADED"}}]}, {"name": "empty"}]}`
	listenersText = "virtualOutbound::0.0.0.0:15001\nname::with::colons::[::]:80\n"
	listenersJSON = `{"listener_statuses": [{"name": "virtualOutbound", "local_address": {"socket_address": {"address": "0.0.0.0", "port_value": 15001}}}, {"name": "name::with::colons", "local_address": {"socket_address": {"address": "::", "port_value": 80}}}]}`
	statsText     = "cluster_manager.cds.update_rejected: 2\ncluster_manager.cds.update_time: 1700000000000\ncontrol_plane.connected_state: 1\ncontrol_plane.identifier: \"\"\nhttp.x.rds.r.update_rejected: 1\nhttp.x.downstream_rq_total: 9\nserver.state: 2\nserver.initialization_time_ms: P0(nan,53) P25(nan,53.25)\n"
	statsJSON     = `{"stats": [{"name": "cluster_manager.cds.update_rejected", "value": 2}, {"name": "cluster_manager.cds.update_time", "value": 1700000000000}, {"name": "control_plane.connected_state", "value": 1}, {"name": "control_plane.identifier", "value": "x"}, {"name": "http.x.rds.r.update_rejected", "value": 1}, {"name": "http.x.downstream_rq_total", "value": 9}, {"name": "server.state", "value": 2}, {"histograms": {}}]}`
	certsJSON     = `{"certificates": [{"ca_cert": [{"path": "/etc/ca.pem", "serial_number": "01", "days_until_expiration": "3650", "valid_from": "2026-01-01T00:00:00Z", "expiration_time": "2036-01-01T00:00:00Z"}],
		"cert_chain": [{"path": "\u003cinline\u003e", "serial_number": "02", "subject_alt_names": [{"uri": "spiffe://p.svc.id.goog/ns/a/sa/b"}, {"dns": "a.b"}], "days_until_expiration": "0", "valid_from": "2026-01-01T00:00:00Z", "expiration_time": "2026-01-02T00:00:00Z"}]}]}`
	initDumpJSON = `{"unready_targets_dumps": [{"name": "init manager Server", "target_names": ["target Listener-init-target l", "shared target SdsApi default"]}]}`
)

func TestAdmin(t *testing.T) {
	s, err := ParseServerInfo([]byte(serverInfoJSON))
	if err != nil || s.State != "INITIALIZING" || s.Node.ID != "projects/1/networks/default/nodes/a" || s.Node.Version != "1.34.1" || s.Node.Metadata["n"] != "3" || s.Node.Metadata["o"] != `{"k": [1]}` {
		t.Errorf("%+v %v", s, err)
	}
	if s, _ := ParseServerInfo([]byte(`{"version": "x"}`)); s.State != "LIVE" {
		t.Errorf("no state is %q", s.State)
	}
	text, err := ParseHosts([]byte(clustersText))
	if err != nil {
		t.Fatal(err)
	}
	asJSON, err := ParseHosts([]byte(clustersJSON))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(text.Clusters, asJSON.Clusters) {
		t.Errorf("text and JSON differ:\n%+v\n%+v", text.Clusters, asJSON.Clusters)
	}
	web := text.cluster("web")
	if len(web.Hosts) != 3 || !web.Hosts[0].Healthy() || web.Hosts[1].Healthy() || !web.Hosts[2].Healthy() || web.Hosts[0].Weight != 3 || text.cluster("empty") == nil {
		t.Errorf("%+v", text)
	}
	a, err := ParseListening([]byte(listenersText))
	if err != nil {
		t.Fatal(err)
	}
	b, err := ParseListening([]byte(listenersJSON))
	if err != nil || !reflect.DeepEqual(a, b) || a[1].Name != "name::with::colons" || a[1].Addresses[0].String() != "[::]:80" {
		t.Errorf("%+v %+v %v", a, b, err)
	}
	x, err := ParseStats([]byte(statsText))
	if err != nil {
		t.Fatal(err)
	}
	y, err := ParseStats([]byte(statsJSON))
	if err != nil || !reflect.DeepEqual(x, y) || len(x) != 5 || x["cluster_manager.cds.update_rejected"] != 2 {
		t.Errorf("%v %v %v", x, y, err)
	}
	certs, err := ParseCerts([]byte(certsJSON))
	if err != nil || len(certs) != 2 || !certs[0].CA || certs[1].CA || certs[1].Path != "<inline>" || len(certs[1].Names) != 2 || certs[1].NotAfter.Year() != 2026 || certs[0].DaysToLive != 3650 {
		t.Errorf("%+v %v", certs, err)
	}
	waits, err := ParseInitDump([]byte(initDumpJSON))
	if err != nil || len(waits) != 1 || len(waits[0].Targets) != 2 {
		t.Errorf("%+v %v", waits, err)
	}
	if waits, err := ParseInitDump([]byte(" { }\n")); err != nil || waits != nil {
		t.Errorf("an empty init dump: %v %v", waits, err)
	}
}

var samples = map[string]Kind{
	serverInfoJSON: ServerInfoOut, clustersText: ClustersOut, clustersJSON: ClustersOut, listenersText: ListenersOut, listenersJSON: ListenersOut,
	statsText: StatsOut, statsJSON: StatsOut, certsJSON: CertsOut, initDumpJSON: InitDumpOut,
}

func TestRecognise(t *testing.T) {
	for in, want := range samples {
		if got := Recognise([]byte("\n" + in)); got != want {
			t.Errorf("%.40q: %q, want %q", in, got, want)
		}
	}
	for in, want := range map[string]Kind{
		configs(active()): ConfigDump, configs(`{"bootstrap": {}}`): ConfigDump,
		`[{"name": "l", "filterChains": []}]`: ConfigDump,
		`[{"name": "r", "virtualHosts": []}]`: ConfigDump,
		`[{"name": "c", "hostStatuses": []}]`: ClustersOut,
		`{"configs": []}`:                     Unrecognised, `{"config": [{"node": {}}]}`: Unrecognised, `{}`: Unrecognised, `[]`: Unrecognised, ``: Unrecognised, `null`: Unrecognised,
		`{"version": "1.2", "state": "x"}`: Unrecognised, "a::b\n": Unrecognised, "level: 3\n": Unrecognised, "key: value\n": Unrecognised,
		`{"certificates": [{"name": "a"}]}`: Unrecognised, `{"stats": {}}`: Unrecognised, "[2026-01-01 00:00:00.000][1][info] starting": Unrecognised,
		"\x00\x01": Unrecognised,
	} {
		if got := Recognise([]byte(in)); got != want {
			t.Errorf("%.60q: %q, want %q", in, got, want)
		}
	}
}

func TestAdminErrors(t *testing.T) {
	parsers := map[string]func([]byte) error{
		"/server_info":         func(b []byte) error { _, err := ParseServerInfo(b); return err },
		"/clusters":            func(b []byte) error { _, err := ParseHosts(b); return err },
		"/listeners":           func(b []byte) error { _, err := ParseListening(b); return err },
		"/stats":               func(b []byte) error { _, err := ParseStats(b); return err },
		"/certs":               func(b []byte) error { _, err := ParseCerts(b); return err },
		"/init_dump":           func(b []byte) error { _, err := ParseInitDump(b); return err },
		"a configuration dump": func(b []byte) error { _, err := ParseDump(b); return err },
	}
	for what, parse := range parsers {
		for _, in := range []string{"", "x", "{", "[", `{"x": 1}`, `{"configs": 3`, "null", "\xff\xfe", "{]}", `{"a" 1}`, `{"a": 1 "b": 2}`, `{"a": tru}`} {
			err := parse([]byte(in))
			if err == nil || !strings.HasPrefix(err.Error(), "reading "+what+": ") || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s of %q: %v", what, in, err)
			}
		}
	}
	for in, kind := range samples {
		if firstByte([]byte(in)) != '{' {
			continue
		}
		for i := range 9 {
			cut := []byte(in)[:len(in)*(i+1)/10]
			var err error
			switch kind {
			case ServerInfoOut:
				_, err = ParseServerInfo(cut)
			case ClustersOut:
				_, err = ParseHosts(cut)
			case ListenersOut:
				_, err = ParseListening(cut)
			case StatsOut:
				_, err = ParseStats(cut)
			case CertsOut:
				_, err = ParseCerts(cut)
			case InitDumpOut:
				_, err = ParseInitDump(cut)
			}
			if err == nil || !strings.Contains(err.Error(), "cut off at byte ") {
				t.Errorf("%s cut at %d/10: %v", kind, i+1, err)
			}
		}
	}
}
