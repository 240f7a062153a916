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
		if len(s.Summary) > 110 {
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
