package artifact

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/meshdiag/meshdiag/evidence"
)

const (
	guestTableText = `NAMESPACE          KEY               VALUE
gce-service-proxy  agent-heartbeat   2026-03-02T12:00:00Z
gce-service-proxy  bootstrap-status  FAILED
gce-service-proxy  bootstrap-last-failure  iptables-restore: line 3 failed
and a second line
gce-service-proxy  agent-last-failure
hostkeys           ssh-ed25519       AAAAC3Nz
`
	guestJSON = `[{"key":"agent-heartbeat","namespace":"gce-service-proxy","value":"1772452770"},{"key":"bootstrap-status","namespace":"gce-service-proxy","value":"FINISHED"}]`
	guestAPI  = `{"kind":"compute#guestAttributes","queryPath":"gce-service-proxy/","queryValue":{"items":[{"namespace":"gce-service-proxy","key":"bootstrap-status","value":"IN PROGRESS"}]},
 "selfLink":"https://www.googleapis.com/compute/v1/projects/p/zones/europe-west1-b/instances/web-1/guestAttributes/gce-service-proxy/"}`
	serialText = `SeaBIOS (version 1.8.2-google)
Booting from Hard Disk 0...
[    0.000000] Linux version 5.10.0-28-cloud-amd64 (debian-kernel@lists.debian.org)
[    1.234567] systemd[1]: Started Journal Service.
Mar  2 12:01:07 web-1 startup-script: gRPC config stream closed: 7, x
`
	psAuxText = `USER         PID %CPU %MEM    VSZ   RSS TTY      STAT START   TIME COMMAND
root           1  0.0  0.1 167400 11520 ?        Ss   11:58   0:01 /sbin/init
root           2  0.0  0.0      0     0 ?        S    11:58   0:00 [kthreadd]
root         412  0.0  0.4 1234567 9000 ?        Ssl  11:58   0:00 /usr/bin/google_osconfig_agent
1006        4242  1.5  2.0 987654 80000 ?        Sl   Mar02  12:34 /usr/local/bin/envoy --config-path /etc/envoy/envoy.yaml --log-level info
www-data    5001  0.0  0.1  10000  5000 ?        S    11:59   0:00 nginx: worker process
`
	psEfText = `UID          PID    PPID  C STIME TTY          TIME CMD
root           1       0  0 11:58 ?        00:00:01 /lib/systemd/systemd --system
envoy       4242       1  1 Mar02 ?        1-12:34:56 /usr/local/bin/envoy -c /etc/envoy.yaml
root        4300       1  0 11:58 ?        00:00:00 -bash
root        4301       1  0 11:58 ?        00:00:00 /usr/sbin/cron -f
root        4302    4300  0 12:00 pts/0    00:00:00 ps -ef
`
	lsmodText = `Module                  Size  Used by
ip6table_nat           16384  1
nf_nat                 57344  2 ip6table_nat,iptable_nat
binfmt_misc            24576  1
`
	backendServiceJSON = `{"kind":"compute#backendService","name":"web","protocol":"HTTP","loadBalancingScheme":"INTERNAL_SELF_MANAGED","portName":"http","sessionAffinity":"NONE",
 "healthChecks":["https://www.googleapis.com/compute/v1/projects/p/global/healthChecks/hc"],"selfLink":"https://www.googleapis.com/compute/v1/projects/p/global/backendServices/web",
 "backends":[{"balancingMode":"RATE","capacityScaler":1.0,"group":"https://www.googleapis.com/compute/v1/projects/p/zones/z/networkEndpointGroups/n","maxRatePerEndpoint":100.0}]}`
	healthCheckJSON = `{"kind":"compute#healthCheck","name":"hc","type":"HTTP","checkIntervalSec":5,"healthyThreshold":2,"httpHealthCheck":{"port":8080,"portSpecification":"USE_FIXED_PORT","requestPath":"/"},
 "selfLink":"https://www.googleapis.com/compute/v1/projects/p/global/healthChecks/hc"}`
)

func TestVMRecognised(t *testing.T) {
	for _, tc := range []struct{ name, text, kind, note string }{
		{"guest attributes, table", guestTableText, "guest-attributes", "4 guest attributes of gce-service-proxy"},
		{"guest attributes, below the command", "$ gcloud compute instances get-guest-attributes web-1 \\\n    --query-path=gce-service-proxy/ \\\n    --zone=z\n" + guestTableText, "guest-attributes", "4 guest attributes of gce-service-proxy"},
		{"guest attributes, one line", "NAMESPACE KEY VALUE gce-service-proxy proxy-version dc78069b10cc94fa07bb974b7101dd1b42e2e7bf/1.15.1-dev/Clean/RELEASE/BoringSSL", "guest-attributes", "1 guest attribute of gce-service-proxy"},
		{"guest attributes of others", "NAMESPACE  KEY  VALUE\nhostkeys  ssh-rsa  AAAA\n", "guest-attributes", "1 guest attribute, none of them of gce-service-proxy"},
		{"guest attributes, gcloud JSON", guestJSON, "guest-attributes", "2 guest attributes of gce-service-proxy"},
		{"guest attributes, gcloud YAML", "---\nkey: bootstrap-status\nnamespace: gce-service-proxy\nvalue: FINISHED\n---\nkey: agent-heartbeat\nnamespace: gce-service-proxy\nvalue: '1772452770'\n", "guest-attributes", "2 guest attributes of gce-service-proxy"},
		{"guest attributes, gcloud YAML of one", "key: bootstrap-status\nnamespace: gce-service-proxy\nvalue: FINISHED\n", "guest-attributes", "1 guest attribute of gce-service-proxy"},
		{"guest attributes, API", guestAPI, "guest-attributes", "1 guest attribute of gce-service-proxy"},
		{"guest attributes, API, one key", `{"kind":"compute#guestAttributes","variableKey":"gce-service-proxy/proxy-version","variableValue":"x"}`, "guest-attributes", "1 guest attribute of gce-service-proxy"},
		{"guest attributes, API, none", `{"kind":"compute#guestAttributes","queryPath":"gce-service-proxy/","queryValue":{}}`, "guest-attributes", "0 guest attributes of gce-service-proxy"},
		{"serial port, text", serialText, "serial-port", "5 lines of a serial port; 1 line with a known message, of 5"},
		{"serial port, kernel lines alone", strings.Repeat("[    1.234567] systemd[1]: Started Journal Service.\n", 5), "serial-port", "5 lines of a serial port"},
		{"serial port, API", fmt.Sprintf(`{"kind":"compute#serialPortOutput","contents":%q,"start":"0","next":"123","selfLink":"https://x/projects/p/zones/z/instances/web-1/serialPort?port=1"}`, serialText), "serial-port", "5 lines of a serial port; 1 line with a known message, of 5"},
		{"serial port, gcloud YAML", "contents: |\n  [    0.000000] Linux version 5.10\nkind: compute#serialPortOutput\nnext: 34\nstart: 0\n", "serial-port", "1 line of a serial port"},
		{"ps aux", psAuxText, "processes", "5 processes"},
		{"ps -ef", psEfText, "processes", "5 processes"},
		{"ps -eo", "    PID USER     UID  GID COMMAND         COMMAND\n      1 root       0    0 systemd         /sbin/init splash\n   4242 envoy   1006 1006 envoy           /usr/local/bin/envoy -c x\n", "processes", "2 processes, not all of a host's"},
		{"ps with start times", "  PID                  STARTED CMD\n    1 Mon Mar  2 11:58:01 2026 /sbin/init\n    2   Mar 02 /usr/bin/x --y\n", "processes", "2 processes, not all of a host's"},
		{"ps aux | grep envoy", "1006        4242  1.5  2.0 987654 80000 ?        Sl   Mar02  12:34 /usr/local/bin/envoy -c x\nroot        4711  0.0  0.0   6300   720 pts/0    S+   12:00   0:00 grep envoy\n", "processes", "2 processes, not all of a host's"},
		{"ps aux | grep envoy, below the command", "user@web-1:~$ ps aux | grep envoy\nroot        4711  0.0  0.0   6300   720 pts/0    S+   12:00   0:00 grep envoy\n", "processes", "1 process, not all of a host's"},
		{"ps -ef | grep envoy", "root      4711  4300  0 12:00 pts/0    00:00:00 grep envoy\n", "processes", "1 process, not all of a host's"},
		{"lsmod", lsmodText, "kernel-modules", "3 kernel modules"},
		{"/proc/modules", "ip6_tables 32768 1 ip6table_filter, Live 0x0000000000000000\nnf_nat 57344 2 ip6table_nat,iptable_nat, Live 0xffffffffc0a00000 (E)\n", "kernel-modules", "2 kernel modules"},
		{"modinfo, missing", "modinfo: ERROR: Module ip6_tables not found.\nmodinfo: ERROR: Module ip6table_nat not found.\n", "kernel-modules", "0 kernel modules, missing ip6_tables, ip6table_nat"},
		{"modinfo, on disk", "filename:       /lib/modules/5.10.0/kernel/net/ipv6/netfilter/ip6_tables.ko.xz\ndescription:    IPv6 packet filter\nalias:          ip6t_icmp6\nname:           ip6_tables\n", "kernel-modules", "0 kernel modules"},
		{"modinfo, built in", "name:           ip6_tables\nfilename:       (builtin)\nlicense:        GPL\n", "kernel-modules", "1 kernel module"},
		{"backend services, list", `{"kind":"compute#backendServiceList","items":[` + backendServiceJSON + `]}`, "backend-services", "1 backend service"},
		{"backend services, aggregated", `{"kind":"compute#backendServiceAggregatedList","items":{"global":{"backendServices":[` + backendServiceJSON + `]}}}`, "backend-services", "1 backend service"},
		{"backend services, gcloud list", "[" + backendServiceJSON + "]", "backend-services", "1 backend service"},
		{"backend services, gcloud describe", backendServiceJSON, "backend-services", "1 backend service, a single one"},
		{"backend services, YAML with few fields", "loadBalancingScheme: INTERNAL_SELF_MANAGED\nname: web\nsessionAffinity: NONE\n", "backend-services", "1 backend service, a single one"},
		{"health checks, list", `{"kind":"compute#healthCheckList","items":[` + healthCheckJSON + `]}`, "health-checks", "1 health check"},
		{"health checks, gcloud", "[" + healthCheckJSON + "]", "health-checks", "1 health check"},

		{"a log that quotes ps", "12:00 looking\nroot        4711  0.0  0.0   6300   720 pts/0    S+   12:00   0:00 grep envoy\n", "log", "no known message in 2 lines"},
		{"prose that begins in capitals", "PID 1 IS THE INIT\nit runs\n", "log", "no known message in 2 lines"},
		{"modprobe's error", "modprobe: FATAL: Module ip6_tables not found in directory /lib/modules/5.10\n", "log", "no known message in 1 line"},
		{"a chart", "name: web\nversion: 1.2.3\ndescription: x\ndepends:\n- a\n", "", "not recognised: JSON object with keys depends, description, name, version"},
		{"a table of something else", "NAMESPACE  NAME  READY\nshop  web  1/1\n", "log", "no known message in 2 lines"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, files := collect(t, file(tc.text))
			if f := files[0]; f.Kind != tc.kind || f.Note != tc.note || f.Used != (tc.kind != "") {
				t.Errorf("%+v, want kind %q, note %q", f, tc.kind, tc.note)
			}
		})
	}
}

func TestVMBroken(t *testing.T) {
	for _, tc := range []struct{ name, text, note string }{
		{"guest attributes cut off", guestAPI[:120], "guest attributes: JSON ends in the middle at byte 120 (cut off?)"},
		{"a value that is a number", `[{"key":"k","namespace":"gce-service-proxy","value":7}]`, "guest attributes: item 1: value is of type number, expected string"},
		{"backend services cut off", backendServiceJSON[:200], "backend services: JSON ends in the middle at byte 200 (cut off?)"},
		{"health check with a text for a port", strings.Replace(healthCheckJSON, "8080", `"x"`, 1), "health checks: item 1: httpHealthCheck.port is of type string, expected int64"},
		{"serial port with a list", `{"kind":"compute#serialPortOutput","contents":[]}`, "serial port output: answer: contents is of type array, expected string"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, files := collect(t, file(tc.text))
			if f := files[0]; f.Used || f.Note != tc.note {
				t.Errorf("%+v, want note %q", f, tc.note)
			}
		})
	}
}

func TestGuestAttributes(t *testing.T) {
	set, _ := collect(t, file(guestTableText))
	g := get(t, set, evidence.GuestAttributes)
	if g.Values["bootstrap-last-failure"] != "iptables-restore: line 3 failed\nand a second line" || g.Values["bootstrap-status"] != "FAILED" || g.Partial || g.Instance != "" || !g.Source.Pasted || g.Source.Time.IsZero() {
		t.Errorf("%+v", g)
	}
	if v, ok := g.Values["agent-last-failure"]; !ok || v != "" {
		t.Errorf("an empty value: %q, %v", v, ok)
	}
	set, _ = collect(t, file(guestAPI))
	if g := get(t, set, evidence.GuestAttributes); g.Instance != "web-1" || g.Zone != "europe-west1-b" || g.Partial || g.Values["bootstrap-status"] != "IN PROGRESS" {
		t.Errorf("%+v", g)
	}
	// Two queries of one key each add up.
	set, _ = collect(t, file("NAMESPACE  KEY  VALUE\ngce-service-proxy  proxy-version  x\n"), file("NAMESPACE  KEY  VALUE\ngce-service-proxy  bootstrap-status  FINISHED\n"))
	if g := get(t, set, evidence.GuestAttributes); !g.Partial || len(g.Values) != 2 {
		t.Errorf("%+v", g)
	}
	set, _ = collect(t, file("NAMESPACE  KEY  VALUE\nhostkeys  ssh-rsa  AAAA\n"))
	if set.Has(evidence.GuestAttributes.Name()) {
		t.Error("other programs' attributes were taken for a service proxy's")
	}
}

func TestSerialPort(t *testing.T) {
	long := serialText + strings.Repeat("[    9.000000] a line of the kernel's, to fill the port\n", 10_000) + "[   10.000000] the end \xff\n"
	set, _ := collect(t, file(long))
	p := get(t, set, evidence.SerialPorts)[0]
	if !p.Cut || len(p.Text) > maxSerial+8 || !strings.HasPrefix(p.Text, "[    9.000000]") || !strings.HasSuffix(p.Text, "the end \uFFFD\n") || p.Port != 1 {
		t.Errorf("cut %v, %d bytes, %.40q … %q", p.Cut, len(p.Text), p.Text, p.Text[len(p.Text)-20:])
	}
	m := get(t, set, evidence.LogMessages)
	if len(m) != 1 || m[0].Line != 5 || !strings.HasPrefix(m[0].Source.Detail, p.Source.Detail) {
		t.Errorf("%+v", m)
	}
	set, _ = collect(t, file(`{"contents":"x\n","kind":"compute#serialPortOutput","next":"9","start":"4","selfLink":"https://x/projects/p/zones/z/instances/web-1/serialPort?port=2"}`))
	if p := get(t, set, evidence.SerialPorts)[0]; !p.Cut || p.Instance != "web-1" || p.Port != 2 || p.Text != "x\n" {
		t.Errorf("%+v", p)
	}
}

func TestProcesses(t *testing.T) {
	list := func(text string) evidence.ProcessList {
		set, _ := collect(t, file(text))
		return get(t, set, evidence.Processes)[0]
	}
	l := list(psAuxText)
	e := l.List[3]
	if !l.Whole || e.PID != 4242 || e.UID != 1006 || e.User != "1006" || e.GID != -1 || e.Command != "envoy" || e.Args != "/usr/local/bin/envoy --config-path /etc/envoy/envoy.yaml --log-level info" {
		t.Errorf("%+v", l)
	}
	if p := l.List[0]; p.UID != 0 || p.User != "root" || p.Command != "init" {
		t.Errorf("%+v", p)
	}
	if p := l.List[1]; p.Command != "[kthreadd]" {
		t.Errorf("%+v", p)
	}
	if p := l.List[4]; p.Command != "nginx" || p.UID != -1 {
		t.Errorf("%+v", p)
	}
	l = list(psEfText)
	if e := l.List[1]; !l.Whole || e.User != "envoy" || e.UID != -1 || e.PID != 4242 || l.List[2].Command != "bash" {
		t.Errorf("%+v", l)
	}
	l = list("    PID USER     UID  GID COMMAND         COMMAND\n   4242 envoy   1006 1007 envoy           /opt/x/start -c x\n")
	if e := l.List[0]; l.Whole || e.User != "envoy" || e.UID != 1006 || e.GID != 1007 || e.Command != "envoy" || e.Args != "/opt/x/start -c x" {
		t.Errorf("%+v", l)
	}
	l = list("  PID                  STARTED CMD\n    1 Mon Mar  2 11:58:01 2026 /sbin/init\n    2   Mar 02 /usr/bin/x --y\n")
	if l.List[0].Args != "/sbin/init" || l.List[1].Args != "/usr/bin/x --y" {
		t.Errorf("%+v", l)
	}
	l = list("root        4711  0.0  0.0   6300   720 pts/0    S+   12:00   0:00 grep envoy\n")
	if e := l.List[0]; l.Whole || e.Command != "grep" || e.Args != "grep envoy" {
		t.Errorf("%+v", l)
	}
	// A container's first process is its application.
	if l = list(strings.Replace(psAuxText, "/sbin/init", "/app", 1)); l.Whole {
		t.Error("a container's processes were taken for a host's")
	}
}

func TestModules(t *testing.T) {
	list := func(text string) evidence.ModuleList {
		set, _ := collect(t, file(text))
		return get(t, set, evidence.KernelModules)[0]
	}
	if l := list(lsmodText); !slices.Equal(l.Loaded, []string{"ip6table_nat", "nf_nat", "binfmt_misc"}) || len(l.Missing) != 0 {
		t.Errorf("%+v", l)
	}
	if l := list(lsmodText + "modinfo: ERROR: Module ip6_tables not found.\n"); !slices.Equal(l.Missing, []string{"ip6_tables"}) {
		t.Errorf("%+v", l)
	}
	if l := list("name:           ip6_tables\nfilename:       (builtin)\n"); !slices.Equal(l.Loaded, []string{"ip6_tables"}) {
		t.Errorf("%+v", l)
	}
}

func TestBackends(t *testing.T) {
	set, _ := collect(t, file(backendServiceJSON), file(healthCheckJSON),
		file(`[{"backend":"https://x/v1/projects/p/regions/us-east1/instanceGroups/g","status":{"healthStatus":[{"ipAddress":"10.0.0.2","port":80,"healthState":"UNHEALTHY","instance":"https://x/projects/p/zones/us-east1-c/instances/i"},{"ipAddress":"10.0.0.3","port":80}]}}]`))
	s := get(t, set, evidence.BackendServices)[0]
	if s.Name != "web" || s.Cut || s.PortName != "http" || len(s.Backends) != 1 || s.Backends[0].Capacity != 1 || len(s.HealthChecks) != 1 || !s.Source.Pasted {
		t.Errorf("%+v", s)
	}
	h := get(t, set, evidence.HealthChecks)[0]
	if h.Name != "hc" || h.Type != "HTTP" || h.Port != 8080 || h.PortSpec != "USE_FIXED_PORT" || !h.Source.Pasted {
		t.Errorf("%+v", h)
	}
	e := get(t, set, evidence.BackendHealth)
	if len(e) != 2 || e[0].Zone != "us-east1-c" || e[1].Zone != "us-east1" || !strings.HasSuffix(e[0].Group, "/instanceGroups/g") || e[1].State != "" {
		t.Errorf("%+v", e)
	}
	set, _ = collect(t, file("loadBalancingScheme: INTERNAL_SELF_MANAGED\nname: web\nsessionAffinity: NONE\n"))
	if s := get(t, set, evidence.BackendServices)[0]; !s.Cut {
		t.Errorf("%+v", s)
	}
	set, _ = collect(t, file(strings.Replace(vm, `"status":"RUNNING"`, `"status":"RUNNING","tags":{"items":["web"],"fingerprint":"x"}`, 1)))
	if i := get(t, set, evidence.Instances)[0]; !slices.Equal(i.Tags, []string{"web"}) {
		t.Errorf("%+v", i)
	}
}
