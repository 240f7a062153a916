package lab

import (
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

func TestScenariosAreSorted(t *testing.T) {
	all, err := Scenarios()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.IsSortedFunc(all, func(a, b Scenario) int { return strings.Compare(a.Name, b.Name) }) {
		t.Error("scenarios are not sorted by name")
	}
	for _, s := range all {
		if len(s.Summary) > 100 {
			t.Errorf("%s: the summary is %d characters long, too long for a line", s.Name, len(s.Summary))
		}
	}
}

func TestScenarioByName(t *testing.T) {
	s, err := ScenarioByName("healthy")
	if err != nil || s.Name != "healthy" {
		t.Errorf("healthy: %q, %v", s.Name, err)
	}
	for _, name := range []string{"heathy", "", "../lab", "no forwarding rule"} {
		_, err := ScenarioByName(name)
		if err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v", name, err)
		}
	}
	if _, err := ScenarioByName("heathy"); !strings.Contains(err.Error(), "closest are healthy,") {
		t.Errorf("no hint: %v", err)
	}
}

func TestMalformedScenarios(t *testing.T) {
	const good = "name: x\nsummary: s\nexpect: {verdict: HEALTHY, exit: 0}\n"
	if _, err := parseScenario("scenarios/x.yaml", []byte(good)); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ name, yaml, want string }{
		{"empty", "", "empty scenario"},
		{"not YAML", "name: [", "did not find"},
		{"unknown field", good + "servces: []\n", "servces"},
		{"unknown field below", good + "services: [{name: a, prot: 1}]\n", "prot"},
		{"wrong type", good + "services: 7\n", "cannot unmarshal"},
		{"two documents", good + "---\nname: y\n", "more than one"},
		{"other name", "name: y\nsummary: s\nexpect: {verdict: HEALTHY, exit: 0}\n", `expected "x"`},
		{"no summary", "name: x\nexpect: {verdict: HEALTHY, exit: 0}\n", "summary"},
		{"verdict", "name: x\nsummary: s\nexpect: {verdict: FINE, exit: 0}\n", "expect.verdict"},
		{"exit", "name: x\nsummary: s\nexpect: {verdict: HEALTHY, exit: 1}\n", "expect.exit"},
		{"causes", "name: x\nsummary: s\nexpect: {verdict: HEALTHY, causes: [a/b], exit: 0}\n", "expect.causes"},
		{"no causes", "name: x\nsummary: s\nexpect: {verdict: CAUSES_FOUND, exit: 1}\n", "expect.causes"},
		{"network and mesh", good + "ask: {network: a, mesh: b}\n", "both network and mesh"},
		{"ask for nobody", good + "ask: {client: a, node_id: true}\n", `no client "a"`},
		{"ask for no file", good + "clients: [{name: a, dial: x}]\nask: {client: a, files: [core]}\n", "ask.files"},
		{"client kind", good + "clients: [{name: a, kind: nginx}]\n", "clients.a.kind"},
		{"client without dial", good + "clients: [{name: a}]\n", "clients.a.dial"},
		{"silent gRPC", good + "clients: [{name: a, dial: x, silent: [listener]}]\n", "clients.a"},
		{"silent type", good + "clients: [{name: a, kind: envoy, silent: [route]}]\n", "clients.a.silent"},
		{"sent ago", good + "clients: [{name: a, kind: envoy, silent: [listener], sent_ago: ten}]\n", "sent_ago"},
		{"envoy version", good + "clients: [{name: a, kind: envoy, version: new}]\n", "clients.a.version"},
		{"instance", good + "clients: [{name: a, dial: x, instance: b}]\n", `no instance "b"`},
		{"route", good + "meshes: [{name: m, routes: [{service: s}]}]\n", `no service "s"`},
		{"role", good + "accounts: [{name: a, roles: [roles/king]}]\n", "roles/king"},
		{"fault", good + "fault: {dns: broken}\n", "fault.dns"},
		{"bad for nobody", good + "services: [{name: s, invalid_listener_for_clients: [a]}]\n", `no client "a"`},
		{"health check", good + "services: [{name: s, health_check: {type: PING}}]\n", "services.s.health_check.type"},
		{"backend kind", good + "services: [{name: s, backends: [{kind: bucket}]}]\n", "services.s.backends.kind"},
		{"backend type", good + "services: [{name: s, backends: [{type: SERVERLESS}]}]\n", "services.s.backends.type"},
		{"type of an instance group", good + "services: [{name: s, backends: [{kind: instance-group, type: x}]}]\n", "only with kind neg"},
		{"endpoints", good + "services: [{name: s, backends: [{endpoints: 201}]}]\n", "services.s.backends.endpoints"},
		{"unhealthy", good + "services: [{name: s, backends: [{endpoints: 1, unhealthy: 2}]}]\n", "services.s.backends.unhealthy"},
		{"backends and none", good + "services: [{name: s, no_backends: true, backends: [{}]}]\n", "both backends and no_backends"},
		{"firewall action", good + "firewalls: [{name: f, action: goto_next}]\n", "firewalls.action"},
		{"firewall direction", good + "firewalls: [{name: f, direction: UP}]\n", "firewalls.direction"},
		{"firewall range", good + "firewalls: [{name: f, ranges: [x]}]\n", "firewalls.ranges"},
		{"firewall protocol", good + "firewalls: [{name: f, protocols: [\":80\"]}]\n", "firewalls.protocols"},
		{"policy type", good + "firewall_policies: [{name: p, type: X}]\n", "firewall_policies.p.type"},
		{"request counts", good + "api_requests: {OK: 1}\n", "api_requests"},
		{"VM status", good + "instances: [{name: v, status: UP}]\n", "instances.v.status"},
		{"heartbeat", good + "instances: [{name: v, heartbeat_ago: long}]\n", "instances.v.heartbeat_ago"},
		{"heartbeat twice", good + "instances: [{name: v, guest_attributes: {agent-heartbeat: now}}]\n", "instances.v.guest_attributes"},
		{"log time", good + "instances: [{name: v, log: [{ago: x, text: y}]}]\n", "instances.v.log.ago"},
		{"withheld from a service", good + "services: [{name: s, withhold: [secret]}]\n", "services.s.withhold"},
		{"upstream", good + "services: [{name: s, upstream: slow}]\n", "services.s.upstream"},
		{"timeout", good + "services: [{name: s, timeout: soon}]\n", "services.s.timeout"},
		{"clock", good + "fault: {clock: slow}\n", "fault.clock"},
		{"withheld from all", good + "fault: {withhold: secret}\n", "fault.withhold"},
		{"requests of gRPC", good + "clients: [{name: a, dial: x, requests: [x]}]\n", "clients.a: sent_ago, rejects and requests"},
		{"no servers of an Envoy", good + "clients: [{name: a, kind: envoy, no_servers: true}]\n", "clients.a"},
		{"page of no Envoy", good + "clients: [{name: a, dial: x}]\nask: {client: a, files: [config_dump]}\n", "has no config_dump"},
		{"admin of no Envoy", good + "clients: [{name: a, dial: x}]\nask: {client: a, envoy_admin: true}\n", "ask.envoy_admin"},
		{"baseline of nobody", good + "ask: {baseline: a}\n", "ask.baseline"},
		{"symptoms alone", "name: x\nsummary: s\nexpect: {verdict: HEALTHY, symptoms: [a/b], exit: 0}\n", "expect.symptoms"},
		{"project number", "project: {number: abc}\n" + good, "project.number"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := loadScenarios(fstest.MapFS{"scenarios/x.yaml": {Data: []byte(tc.yaml)}}, "scenarios")
			if err == nil {
				t.Fatal("accepted")
			}
			if msg := err.Error(); !strings.HasPrefix(msg, "scenarios/x.yaml: ") || !strings.Contains(msg, tc.want) || strings.Contains(msg, "\n") {
				t.Errorf("error %q, expected one line naming the file, with %q", msg, tc.want)
			}
		})
	}
}
