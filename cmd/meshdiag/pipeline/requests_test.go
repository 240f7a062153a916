package pipeline

import (
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/meshdiag/meshdiag/diagnose"
)

// unanswered is a request that no host of its cluster could take.
const unanswered = `[2024-05-28T15:12:57.143Z] "GET /x HTTP/1.1" 503 UH no_healthy_upstream - "-" 0 19 0 - "-" "curl" "id" "cart.shop:8080" "-" outbound|8080||cart.shop.svc.cluster.local - 10.1.2.3:8080 10.8.0.4:5000 - default` + "\n"

// TestExplainReadsAccessLogs holds that requests are counted wherever the log comes from.
func TestExplainReadsAccessLogs(t *testing.T) {
	log := strings.Repeat(unanswered, 12)
	path := filepath.Join(t.TempDir(), "access.log")
	if err := os.WriteFile(path, []byte(log), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for name, r := range map[string]io.Reader{
		"file": file, "reader": strings.NewReader(log), "packed": strings.NewReader(zipped(t, log)), "UTF-16": strings.NewReader(inUTF16(log, binary.LittleEndian)),
	} {
		rep, err := Explain(t.Context(), "access.log", r)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !slices.ContainsFunc(rep.Causes, func(c diagnose.Finding) bool { return c.Check == "request/no-healthy-upstream" }) {
			t.Errorf("%s: %s, causes %+v", name, rep.Verdict, rep.Causes)
		}
		if !slices.ContainsFunc(rep.Notes, func(n string) bool { return strings.Contains(n, "; 12 requests of an access log") }) {
			t.Errorf("%s: notes %q", name, rep.Notes)
		}
	}
}

// TestExplainReadsCloudLogging holds that entries are read however JSON has them, in the order of their times, and that JSON of
// another kind, or cut in the middle, is read by its lines.
func TestExplainReadsCloudLogging(t *testing.T) {
	const (
		later   = `{"timestamp": "2026-11-20T16:05:00Z", "logName": "projects/p/logs/client-accesslog-stackdriver", "httpRequest": {"status": 503}, "labels": {"response_flag": "UH", "destination_service_name": "shop"}}`
		earlier = `{"timestamp": "2026-11-20T16:01:00Z", "logName": "projects/p/logs/envoy", "resource": {"type": "gce_instance"}, "textPayload": "gRPC config stream closed: 7, Request had insufficient authentication scopes."}`
	)
	spread := strings.NewReplacer("{", "{\n", `, "`, ",\n\"").Replace
	for name, text := range map[string]string{
		"array": "[\n" + spread(later) + ",\n" + spread(earlier) + "\n]\n", "array in one line": "[" + later + "," + earlier + "]", "answer": "{\n\"entries\": [" + later + "," + earlier + "]}",
		"one after the other": spread(later) + "\n" + spread(earlier), "a line each": earlier + "\n" + later + "\n",
	} {
		path := filepath.Join(t.TempDir(), "entries.json")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		file, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		for from, r := range map[string]io.Reader{"file": file, "reader": strings.NewReader(text), "packed": strings.NewReader(zipped(t, text))} {
			rep, err := Explain(t.Context(), "entries.json", r)
			if err != nil {
				t.Fatalf("%s, %s: %v", name, from, err)
			}
			var got []string
			for _, c := range rep.Causes {
				got = append(got, string(c.Check))
			}
			if want := []string{"controlplane/missing-oauth-scope", "request/no-healthy-upstream"}; !slices.Equal(got, want) {
				t.Errorf("%s, %s: causes %q, want %q; notes %q", name, from, got, want, rep.Notes)
			} else if e := rep.Causes[0].Evidence[0].Excerpt; !strings.Contains(e, "line 1") {
				t.Errorf("%s, %s: the earlier entry isn't the first: %s", name, from, e)
			}
		}
	}
	for name, text := range map[string]string{
		"cut": "[\n" + spread(later) + ",\n" + earlier + ",\n{", "another kind": "{\n\"a\": 1,\n\"b\": \"gRPC config stream closed: 7, Request had insufficient authentication scopes.\"\n}\n",
	} {
		rep, err := Explain(t.Context(), "x.json", strings.NewReader(text))
		if err != nil || len(rep.Causes) != 1 || rep.Causes[0].Check != "controlplane/missing-oauth-scope" {
			t.Errorf("%s: %v, %+v", name, err, rep)
		}
	}
}

// TestExplainFindsRequestsAnywhere holds that requests far into a log are found.
func TestExplainFindsRequestsAnywhere(t *testing.T) {
	long := strings.Repeat("[2025-03-02 08:00:00.000][1][info][main] all is well\n", 1<<15)
	log := long + unanswered + long + unanswered
	path := filepath.Join(t.TempDir(), "envoy.log")
	if err := os.WriteFile(path, []byte(log), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for name, r := range map[string]io.Reader{"file": file, "reader": strings.NewReader(log)} {
		rep, err := Explain(t.Context(), "envoy.log", r)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !slices.ContainsFunc(rep.Notes, func(n string) bool { return strings.Contains(n, "; 2 requests of an access log") }) {
			t.Errorf("%s: notes %q", name, rep.Notes)
		}
	}
}
