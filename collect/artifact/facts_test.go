package artifact

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestClientStatuses(t *testing.T) {
	set, _ := collect(t, file(`{"config":[`+client+`,{"node":{"id":"projects/1/networks/default/nodes/b"}}]}`))
	got := get(t, set, evidence.ClientStatuses)
	at := time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC)
	if len(got) != 1 || got[0].Client.NodeID != "projects/1/networks/default/nodes/a" || got[0].Resources[0].Server != evidence.Synced || !got[0].Asked.Equal(at) || !got[0].Source.Pasted || got[0].Source.Vantage != evidence.FromAPI {
		t.Errorf("%+v", got)
	}
	if set.Has(evidence.Clients.Name()) {
		t.Error("an answer about one client became the list of everyone connected")
	}
}

func TestClientList(t *testing.T) {
	node := func(network, n string) string {
		return `{"node":{"id":"projects/1/networks/` + network + `/nodes/` + n + `","userAgentName":"envoy","userAgentVersion":"1.30.1","metadata":{"k":"v"}}}`
	}
	for _, tc := range []struct{ scope, want string }{{"default", "1 network default"}, {"mesh:m", "1 mesh m"}, {"scope:g", "1 scope g"}} {
		set, _ := collect(t, file(`{"config":[`+node(tc.scope, "b")+","+node(tc.scope, "a")+`]}`))
		l := get(t, set, evidence.Clients)
		if got := l.ProjectNumber + " " + l.Scope + " " + l.ScopeName; got != tc.want || len(l.Clients) != 2 || !strings.HasSuffix(l.Clients[0].NodeID, "/a") || l.Clients[0].UserAgentVersion != "1.30.1" {
			t.Errorf("%s: %+v", got, l)
		}
		if set.Has(evidence.ClientStatuses.Name()) {
			t.Error("a list without statuses became a status")
		}
	}
	set, files := collect(t, file(`{"config":[`+node("n", "b")+","+node("m", "a")+`]}`))
	if files[0].Used || set.Has(evidence.Clients.Name()) {
		t.Errorf("clients of two networks became one list: %+v", files[0])
	}
}

func TestForwardingRules(t *testing.T) {
	set, _ := collect(t, file("["+rule+"]"))
	r := get(t, set, evidence.ForwardingRules)
	if len(r) != 1 || r[0].Name != "td" || r[0].Scheme != evidence.SelfManaged || r[0].Network != "default" || r[0].NetworkProject != "p" || r[0].Project != "p" || r[0].PortRange != "80-80" || r[0].Source.Vantage != evidence.FromAPI {
		t.Errorf("%+v", r)
	}
	for text, whole := range map[string]bool{
		"[" + rule + "]": true,
		rule:             false,
		`{"kind":"compute#forwardingRuleList","nextPageToken":"t","items":[` + rule + `]}`:  false,
		`{"kind":"compute#forwardingRuleList","items":[` + rule + `]}`:                      true,
		`{"kind":"compute#forwardingRuleList","id":"projects/p/regions/r/forwardingRules"}`: false,
	} {
		set, _ := collect(t, file(text))
		failed := false
		for _, o := range set.Observations() {
			failed = failed || o.Name == evidence.ForwardingRules.Name() && !o.Known()
		}
		if failed == whole {
			t.Errorf("%s: told as whole %v, want %v", text, !failed, whole)
		}
	}
}

func TestInstancesServicesHealth(t *testing.T) {
	set, _ := collect(t, file("["+vm+"]"), file(`{"services":[{"name":"projects/1/services/trafficdirector.googleapis.com","state":"DISABLED"}]}`),
		file(`[{"backend":"g","status":{"healthStatus":[{"ipAddress":"10.0.0.2","port":80,"healthState":"UNHEALTHY"}]}}]`))
	if i := get(t, set, evidence.Instances); len(i) != 1 || i[0].Name != "vm" || i[0].ID != "123" || i[0].Networks[0] != "default" || i[0].Addresses[0] != "10.0.0.2" {
		t.Errorf("%+v", i)
	}
	if s := get(t, set, evidence.Services); len(s) != 1 || s[0].Name != "trafficdirector.googleapis.com" || s[0].State != "DISABLED" {
		t.Errorf("%+v", s)
	}
	if h := get(t, set, evidence.BackendHealth); len(h) != 1 || h[0].State != "UNHEALTHY" || h[0].Port != 80 {
		t.Errorf("%+v", h)
	}
}

func TestLogMessages(t *testing.T) {
	set, _ := collect(t,
		file("x\n[2024-05-01 10:11:12.345][1][warning] gRPC config stream closed: 5, \n"),
		file(`[{"insertId":"b","logName":"l","receiveTimestamp":"2024-05-01T10:00:09Z","timestamp":"2024-05-01T10:00:02Z","textPayload":"gRPC config stream closed: 6, x"},
		{"insertId":"a","logName":"l","timestamp":"2024-05-01T10:00:01Z","jsonPayload":{"time":"2020-01-01T00:00:00Z","message":"gRPC config stream closed: 7, x"}}]`),
		file("nothing"))
	var got []string
	for _, m := range get(t, set, evidence.LogMessages) {
		got = append(got, fmt.Sprintf("%s line %d at %s", m.Fields["code"], m.Line, m.First.Format(time.TimeOnly)))
	}
	if want := "[5 line 2 at 10:11:12 7 line 1 at 10:00:01 6 line 2 at 10:00:02]"; fmt.Sprint(got) != want {
		t.Errorf("%v, want %s", got, want)
	}
}

// TestCutOff cuts files of each kind at every tenth: none is taken for a whole one, and none panics.
func TestCutOff(t *testing.T) {
	for _, name := range []string{"bootstrap/grpc-mesh.json", "csds/grpc-java-client-against-traffic-director.json", "gcp/forwardingRules-aggregated.json", "gcp/instances-list.json", "gcp/services-list.json"} {
		t.Run(name, func(t *testing.T) {
			a := corpus(t, name)
			for i := 1; i < 10; i++ {
				_, files := collect(t, diagnose.Artifact{Name: a.Name, Data: a.Data[:len(a.Data)*i/10]})
				if f := files[0]; f.Used || !strings.Contains(f.Note, "ends in the middle at byte") {
					t.Errorf("at %d/10: %+v", i, f)
				}
			}
		})
	}
}

// TestCutOffDump cuts a config dump at every tenth: what is before the cut is used, and is never the whole.
func TestCutOffDump(t *testing.T) {
	a := corpus(t, "envoy/istio-sidecar-config_dump.json")
	for i := 1; i < 10; i++ {
		set, files := collect(t, diagnose.Artifact{Name: a.Name, Data: a.Data[:len(a.Data)*i/10]})
		if f := files[0]; !strings.Contains(f.Note, "cut off at byte") {
			t.Errorf("at %d/10: %+v", i, f)
		}
		if _, err := evidence.Whole(evidence.NewView(set), evidence.EnvoyDumps); err == nil {
			t.Errorf("at %d/10 the dump is taken for a whole one", i)
		}
	}
}

func TestHuge(t *testing.T) {
	const size = 100 << 20
	for _, tc := range []struct{ name, unit, start, note string }{
		{"JSON", `{"name":"x","kind":"compute#forwardingRule"},`, "[", "JSON of 100 MiB: at most 64 MiB are read"},
		{"NUL bytes", "\x00\x00\x00\x00", "", "not recognised: binary"},
		{"log", "[2024-05-01 10:11:12.345][1][info] a line\n", "", "no known message in 2496610 lines"},
		{"YAML", "a: b\n", "", "no known message in 20971520 lines"},
		{"one line", "x", "", "no known message in 1 line"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			data := []byte(tc.start + strings.Repeat(tc.unit, size/len(tc.unit)+1))[:size]
			_, files := collect(t, diagnose.Artifact{Name: "big", Data: data})
			if files[0].Note != tc.note {
				t.Errorf("%+v, want note %q", files[0], tc.note)
			}
		})
	}
}

func TestLargeBootstrap(t *testing.T) {
	_, files := collect(t, file(`{"static_resources":{},"x":[`+strings.Repeat("1,", maxBootstrap/2)+"1]}"))
	if want := "Envoy bootstrap: of 8 MiB: at most 8 MiB are read"; files[0].Note != want {
		t.Errorf("%q, want %q", files[0].Note, want)
	}
}

func TestEnded(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	set := evidence.NewSet()
	err := reader(t).Collector().Collect(ctx, diagnose.Request{Artifacts: []diagnose.Artifact{file("x")}}, evidence.NewView(set), set)
	if !errors.Is(err, context.Canceled) || get(t, set, evidence.Artifacts)[0].Note != "not read in time" {
		t.Errorf("error %v", err)
	}
}

func TestTooManyFiles(t *testing.T) {
	_, files := collect(t, make([]diagnose.Artifact, maxFiles+2)...)
	if got := files[maxFiles+1].Note; got != "not read: at most 1000 files are" {
		t.Errorf("%q", got)
	}
}

func TestNewNamesTheSignature(t *testing.T) {
	_, err := New(Config{Signatures: []diagnose.Signature{{ID: "bad", Anchors: []string{"short"}, Pattern: "x"}}})
	if err == nil || !strings.Contains(err.Error(), `"bad"`) {
		t.Errorf("error %v", err)
	}
}

func FuzzRecognise(f *testing.F) {
	for _, s := range []string{envoyYAML, rule, "[" + vm + "]", `{"config":[` + client + `]}`, "VPC_NETWORK_NAME='x'\nGCP_PROJECT_NUMBER=\"$VPC_NETWORK_NAME\"\n",
		`{"xds_servers":[{"server_uri":"x"}],"node":{"id":"x"}}`, "a: &a [1]\nb: [*a, *a]\n<<: *a\n", `{"configs":[{"@type":"type.googleapis.com/envoy.admin.v3.BootstrapConfigDump","bootstrap":{"node":{}}}]}`,
		"{\"a\":1}\n{\"b\":2}\n", "[2024-05-01 10:11:12.345][1][info] x\n", `{"error":{"code":403,"message":"m"}}`, "\xff\xfe{\x00}\x00", "\x1f\x8b\x08", `{"port": ${PORT}, "a": {{x}}}`,
		`[{"logName":"l","timestamp":7}]`, "*nat\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -p tcp -j REDIRECT --to-ports 15001\nCOMMIT\n", "table ip nat {\n}\n",
		"Cannot initialize: Permission denied (you must be root)\n", "---\n---\na: b\n--- \n- c\n", "{a: b, node: {}}",
		podYAML + "---\n" + podYAML, "[" + podJSON + "]", "apiVersion: v1\nkind: List\nitems:\n- " + strings.ReplaceAll(podYAML, "\n", "\n  ") + "\n", "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n" + bomb(),
		"apiVersion: v1\nkind: Pod\nmetadata:\n  <<: [{name: a}, {name: b}]\n", "{{- if .Values.x }}\napiVersion: v1\nkind: Pod\n", eventEntry,
		"NAME   READY   STATUS    RESTARTS     AGE   LABELS\na-1    1/1     Running   3 (2m ago)   5m    app=a,b=c\n",
		"LAST SEEN   TYPE      REASON         OBJECT                   MESSAGE\n8s          Warning   FailedCreate   replicaset/checkout-5d   Error creating: x\nand more\n",
		`[{"proxy":"a-1.shop","istio_version":"1.10-dev","statuses":{"CDS":{"nonce_sent":"1"}}}]`} {
		f.Add([]byte(s))
	}
	for _, name := range []string{"describe-pod.txt", "describe-replicaset.txt", "describe-webhook.txt", "session.txt"} {
		f.Add(printed(f, name).Data)
	}
	r := reader(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		set := evidence.NewSet()
		left := int64(1 << 20)
		for _, got := range r.file(t.Context(), diagnose.Artifact{Name: "f", Data: data}, set, &left, nil) {
			if got.Note == "" || strings.HasPrefix(got.Note, "internal") || got.Used != (got.Kind != "") || len(got.Note) > 2000 {
				t.Fatalf("%+v", got)
			}
		}
	})
}

// The same content under two names is one file: told twice it would look like two proxies that say the same.
func TestTheSameFileTwiceIsReadOnce(t *testing.T) {
	text := []byte("gRPC config stream closed: 7, denied\n")
	set, got := collect(t, diagnose.Artifact{Name: "a.log", Data: text}, diagnose.Artifact{Name: "b.log", Data: append(text, '\n')},
		diagnose.Artifact{Name: "copy.log", Data: text}, diagnose.Artifact{Name: "text", Data: text, Text: true})
	if got[2].Note != "the same as a.log, and read once" || got[2].Kind != got[0].Kind {
		t.Errorf("the copy is told as %+v", got[2])
	}
	var from []string
	for _, m := range get(t, set, evidence.LogMessages) {
		from = append(from, m.File)
	}
	if want := []string{"a.log", "b.log", "text"}; !slices.Equal(from, want) {
		t.Errorf("messages from %v, want %v", from, want)
	}
}
