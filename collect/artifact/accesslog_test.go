package artifact

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

const (
	accessText = `[2024-05-28T15:12:57.143Z] "GET /x HTTP/1.1" 503 UH no_healthy_upstream - "-" 0 19 0 - "-" "curl" "id" "cart.shop:8080" "-" outbound|8080||cart.shop.svc.cluster.local - 10.1.2.3:8080 10.8.0.4:5000 - default`
	accessJSON = `{"start_time":"2024-05-28T15:12:57.143Z","response_code":503,"response_flags":"UH","response_code_details":"no_healthy_upstream","upstream_cluster":"outbound|8080||cart.shop.svc.cluster.local","duration":1}`
	traffic    = `{"insertId":"1","logName":"projects/p/logs/client-accesslog-stackdriver","timestamp":"2024-05-28T15:12:57.143Z","httpRequest":{"status":503,"latency":"0.001s"},"labels":{"response_flag":"UH","upstream_cluster":"outbound|8080||cart.shop.svc.cluster.local","response_details":"no_healthy_upstream"}}`
	trafficYML = `---
httpRequest:
  latency: 0.001s
  status: 503
insertId: a1
labels:
  response_details: no_healthy_upstream
  response_flag: UH
  upstream_cluster: outbound|8080||cart.shop.svc.cluster.local
logName: projects/p/logs/client-accesslog-stackdriver
timestamp: '2024-05-28T15:12:57.143Z'
`
)

func TestAccessLogs(t *testing.T) {
	message := "gRPC config stream closed: 14, no healthy upstream\n"
	entry, err := json.Marshal(map[string]string{"logName": "projects/p/logs/istio-proxy", "insertId": "2", "timestamp": "2024-05-28T15:13:00Z", "textPayload": accessText})
	if err != nil {
		t.Fatal(err)
	}
	wide := []byte{0xff, 0xfe}
	for _, u := range utf16.Encode([]rune(accessText + "\n")) {
		wide = append(wide, byte(u), byte(u>>8))
	}
	for _, tc := range []struct {
		name     string
		file     diagnose.Artifact
		requests int
		messages int
		note     string
	}{
		{"text", file(accessText + "\n" + accessText + "\n"), 2, 0, "no known message in 2 lines; 2 requests of an access log"},
		{"one line of JSON", file(accessJSON), 1, 0, "no known message in 1 line; 1 request of an access log"},
		{"lines of JSON", file(accessJSON + "\n" + accessJSON + "\n"), 2, 0, "no known message in 2 lines; 2 requests of an access log"},
		{"mixed with a proxy's own log", file(message + accessText + "\n" + message), 1, 1, "2 lines with a known message, of 3; 1 request of an access log"},
		{"UTF-16", diagnose.Artifact{Name: "f", Data: wide}, 1, 0, "no known message in 1 line; 1 request of an access log"},
		{"UTF-16 told to be text", diagnose.Artifact{Name: "f", Data: wide, Text: true}, 1, 0, "no known message in 1 line; 1 request of an access log"},
		{"Cloud Logging, an array", file("[\n " + traffic + ",\n " + string(entry) + "]"), 2, 0, "no known message in 2 lines; 2 requests of an access log"},
		{"Cloud Logging, entries.list", file(`{"entries":[` + traffic + `]}`), 1, 0, "no known message in 1 line; 1 request of an access log"},
		{"Cloud Logging, lines", file(traffic + "\n" + traffic + "\n"), 2, 0, "no known message in 2 lines; 2 requests of an access log"},
		{"Cloud Logging, YAML", file(trafficYML + strings.Replace(trafficYML, "a1", "a2", 1)), 2, 0, "no known message in 2 lines; 2 requests of an access log"},
		{"Cloud Logging, one YAML document", file(trafficYML), 1, 0, "no known message in 1 line; 1 request of an access log"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			set, files := collect(t, tc.file)
			if f := files[0]; f.Kind != "log" || f.Note != tc.note {
				t.Errorf("%+v, want note %q", f, tc.note)
			}
			n := 0
			for _, g := range get(t, set, evidence.AccessLogs) {
				n += g.Count
				if g.Details != "no_healthy_upstream" || strings.Join(g.Flags, ",") != "UH" || g.Cluster != "outbound|8080||cart.shop.svc.cluster.local" || g.Code != 503 || g.First.IsZero() || !g.Source.Pasted || g.File != "f" {
					t.Errorf("%+v", g)
				}
			}
			if n != tc.requests {
				t.Errorf("%d requests, want %d", n, tc.requests)
			}
			if m := get(t, set, evidence.LogMessages); len(m) != tc.messages {
				t.Errorf("messages %+v, want %d", m, tc.messages)
			}
		})
	}
}

func TestNoAccessLog(t *testing.T) {
	set, _ := collect(t, file("2024-05-01 started\ngRPC config stream closed: 14, x\n"), corpus(t, "logs/istio-ingress-gateway.log"))
	if set.Has(evidence.AccessLogs.Name()) {
		t.Error("logs without requests told of some")
	}
}
