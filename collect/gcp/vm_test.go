package gcp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	logging "google.golang.org/api/logging/v2"

	"github.com/meshdiag/meshdiag/collect/logscan"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

const vm1 = "GET compute/v1/projects/mesh-prod/zones/us-central1-a/instances/vm-1"

// outcomeOf says how a fact came out: known, and what failed.
func outcomeOf(t *testing.T, set *evidence.Set, n evidence.Name, known bool, fails string) {
	t.Helper()
	got := false
	for _, o := range set.Observations() {
		got = got || o.Name == n && o.Known()
	}
	if got != known {
		t.Errorf("%s known: %v, want %v", n, got, known)
	}
	err := failure(set, n)
	if (err == nil) != (fails == "") || err != nil && !strings.Contains(err.Error(), fails) {
		t.Errorf("%s failed with %v, want %q", n, err, fails)
	}
}

func TestGuestAttributes(t *testing.T) {
	const get = vm1 + "/getGuestAttributes"
	for _, tt := range []struct {
		name   string
		answer http.HandlerFunc
		zone   string
		want   map[string]string
		known  bool
		fails  string
	}{
		{"values", func(w http.ResponseWriter, r *http.Request) {
			if q := r.URL.Query().Get("queryPath"); q != "gce-service-proxy/" {
				refuse(400, "INVALID_ARGUMENT", "queryPath "+q, "", nil)(w, r)
				return
			}
			say(`{"queryValue":{"items":[{"namespace":"gce-service-proxy","key":"bootstrap-status","value":"FAILED"},{"namespace":"guestInventory","key":"bootstrap-status","value":"x"},null]}}`)(w, r)
		}, "us-central1-a", map[string]string{"bootstrap-status": "FAILED"}, true, ""},
		{"namespace without keys", say(`{"queryValue":{}}`), "us-central1-a", map[string]string{}, true, ""},
		{"disabled, or none", refuse(404, "NOT_FOUND", "The resource 'gce-service-proxy/' of type 'Guest Attribute' was not found.", "", nil), "us-central1-a", nil, true, ""},
		{"no such VM", refuse(404, "NOT_FOUND", "The resource 'projects/mesh-prod/zones/us-central1-a/instances/vm-1' was not found", "", nil), "us-central1-a", nil, false, "there is no VM vm-1"},
		{"denied", denied("compute.instances.getGuestAttributes"), "us-central1-a", nil, false, "needs compute.instances.getGuestAttributes"},
		{"empty answer", say(`{}`), "us-central1-a", nil, false, "no queryValue"},
		{"malformed", say(`{"queryValue":7}`), "us-central1-a", nil, false, "cannot unmarshal"},
		{"no zone", nil, "", nil, false, "target.zone"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			req := onVM
			req.Target.Zone = tt.zone
			view, set := run(t, newGoogle(t, map[string]http.HandlerFunc{get: tt.answer}).api(nil), req, "guest-attributes")
			outcomeOf(t, set, "guest-attributes", tt.known, tt.fails)
			got, _ := evidence.Get(view, evidence.GuestAttributes)
			if fmt.Sprint(got.Values) != fmt.Sprint(tt.want) || (got.Values == nil) != (tt.want == nil) {
				t.Errorf("got %v, want %v", got.Values, tt.want)
			}
			if tt.known && (got.Instance != "vm-1" || got.Zone != "us-central1-a" || got.Source.Detail != "compute.instances.getGuestAttributes") {
				t.Errorf("got %+v", got)
			}
		})
	}
	_, set := run(t, newGoogle(t, map[string]http.HandlerFunc{get: denied("compute.instances.getGuestAttributes")}).api(nil), onVM, "guest-attributes")
	var d *evidence.Denied
	if !errors.As(failure(set, "guest-attributes"), &d) || d.Role != "roles/compute.viewer" || !strings.Contains(d.Command, "--role=roles/compute.viewer") {
		t.Errorf("got %+v", d)
	}
}

func TestProjectMetadata(t *testing.T) {
	const get = "GET compute/v1/projects/mesh-prod"
	for _, tt := range []struct {
		name   string
		answer http.HandlerFunc
		want   string
		known  bool
		fails  string
	}{
		{"values", say(`{"name":"mesh-prod","commonInstanceMetadata":{"items":[{"key":"enable-guest-attributes","value":"TRUE"},{"key":"bare"},null]}}`), "map[bare: enable-guest-attributes:TRUE]", true, ""},
		{"none", say(`{"name":"mesh-prod"}`), "map[]", true, ""},
		{"denied", denied("compute.projects.get"), "map[]", false, "needs compute.projects.get"},
		{"empty answer", say(`{}`), "map[]", false, "names no project"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			view, set := run(t, newGoogle(t, map[string]http.HandlerFunc{get: tt.answer}).api(nil), onVM, "project-metadata")
			outcomeOf(t, set, "project-metadata", tt.known, tt.fails)
			if got, _ := evidence.Get(view, evidence.ProjectMetadata); fmt.Sprint(got) != tt.want {
				t.Errorf("got %v, want %s", got, tt.want)
			}
		})
	}
}

var streamClosed = diagnose.Signature{ID: "stream-closed", Anchors: []string{"config stream closed"}, Pattern: `gRPC config stream closed: (?P<code>\d+), ?(?P<text>.*)`}

func withScanner(t *testing.T) func(*Config) {
	t.Helper()
	s, err := logscan.New([]diagnose.Signature{streamClosed})
	if err != nil {
		t.Fatal(err)
	}
	return func(c *Config) {
		c.Scanner = s
		c.Now = func() time.Time { return time.Date(2026, 3, 4, 10, 0, 0, 0, time.UTC) }
	}
}

func TestSerialPort(t *testing.T) {
	const get = vm1 + "/serialPort"
	quoted := func(s string) string { b, _ := json.Marshal(s); return string(b) }
	long := strings.Repeat("0123456789 0123456789\n", maxSerial/22+2)
	for _, tt := range []struct {
		name     string
		answer   http.HandlerFunc
		text     string // its beginning
		cut      bool
		known    bool
		fails    string
		messages int
	}{
		{"whole", func(w http.ResponseWriter, r *http.Request) {
			q := r.URL.Query()
			if q.Get("port") != "1" || q.Get("start") != "-65536" {
				refuse(400, "INVALID_ARGUMENT", r.URL.RawQuery, "", nil)(w, r)
				return
			}
			say(`{"contents":"boot\ngRPC config stream closed: 7, denied\n","start":"0","next":"41"}`)(w, r)
		}, "boot\n", false, true, "", 1},
		{"the end of more", say(`{"contents":"of a line\nboot\n","start":"9000"}`), "boot\n", true, true, "", 0},
		{"more than was asked for", say(`{"contents":` + quoted(long) + `,"start":"0"}`), "0123456789 0123456789\n", true, true, "", 0},
		{"nothing written", say(`{"contents":"","start":"0"}`), "", false, true, "", 0},
		{"denied", denied("compute.instances.getSerialPortOutput"), "", false, false, "needs compute.instances.getSerialPortOutput", 0},
		{"malformed", say(`{"contents":[]}`), "", false, false, "cannot unmarshal", 0},
		{"no such VM", nil, "", false, false, "HTTP 404", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			view, set := run(t, newGoogle(t, map[string]http.HandlerFunc{get: tt.answer}).api(withScanner(t)), onVM, "serial-port")
			outcomeOf(t, set, "serial-port", tt.known, tt.fails)
			outcomeOf(t, set, "log-messages", tt.messages > 0, "")
			found, _ := evidence.Get(view, evidence.LogMessages)
			if len(found) != tt.messages || tt.messages > 0 && (found[0].Fields["code"] != "7" || found[0].File != "serial port 1 of VM vm-1") {
				t.Errorf("messages %+v", found)
			}
			got, err := evidence.Get(view, evidence.SerialPorts)
			if err != nil {
				return
			}
			if len(got) != 1 || !strings.HasPrefix(got[0].Text, tt.text) || got[0].Cut != tt.cut || len(got[0].Text) > maxSerial || got[0].Port != 1 {
				t.Errorf("got %+v", got)
			}
		})
	}
	view, _ := run(t, newGoogle(t, map[string]http.HandlerFunc{get: say(`{"contents":"gRPC config stream closed: 7, x"}`)}).api(nil), onVM, "serial-port")
	if got, err := evidence.Get(view, evidence.SerialPorts); err != nil || len(got) != 1 {
		t.Errorf("without a scanner: %+v, %v", got, err)
	}
}

// entries answers entries.list: pages by token.
func entries(t *testing.T, asked *[]logging.ListLogEntriesRequest, pages map[string]string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		var q logging.ListLogEntriesRequest
		if err := json.Unmarshal(b, &q); err != nil {
			t.Error(err)
		}
		*asked = append(*asked, q)
		say(pages[q.PageToken])(w, r)
	}
}

func entry(at, message string) string {
	return `{"timestamp":"` + at + `","logName":"projects/mesh-prod/logs/service-proxy-agent","jsonPayload":{"message":"` + message + `"}}`
}

func TestLog(t *testing.T) {
	const list = "POST v2/entries:list"
	vm := say(`{"name":"vm-1","id":"77","zone":"x/zones/us-central1-a"}`)
	var asked []logging.ListLogEntriesRequest
	g := newGoogle(t, map[string]http.HandlerFunc{vm1: vm, list: entries(t, &asked, map[string]string{
		"":  `{"entries":[` + entry("2026-03-04T09:58:00.5Z", "gRPC config stream closed: 7, denied") + `,null],"nextPageToken":"2"}`,
		"2": `{"entries":[` + entry("2026-03-04T09:30:00Z", `gRPC config stream closed: 7, denied\n`) + `,{"timestamp":"2026-03-04T09:40:00Z","textPayload":"gRPC config stream closed: 14, no"},{"jsonPayload":{"x":"gRPC config stream closed: 16, who"}}]}`,
	})})
	view, set := run(t, g.api(withScanner(t)), onVM, "instances", "logging")
	outcomeOf(t, set, "log-messages", true, "")
	if len(asked) != 2 || asked[0].OrderBy != "timestamp desc" || len(asked[0].ResourceNames) != 1 || asked[0].ResourceNames[0] != "projects/mesh-prod" {
		t.Fatalf("asked %+v", asked)
	}
	for _, want := range []string{`resource.labels.instance_id="77"`, `timestamp>="2026-03-04T09:00:00Z"`, `logName="projects/mesh-prod/logs/service-proxy-agent"`} {
		if !strings.Contains(asked[0].Filter, want) {
			t.Errorf("filter %s lacks %s", asked[0].Filter, want)
		}
	}
	got, err := evidence.Get(view, evidence.LogMessages)
	if err != nil || len(got) != 3 {
		t.Fatalf("got %+v, %v", got, err)
	}
	var codes []string
	for _, m := range got {
		codes = append(codes, m.Fields["code"])
		if m.Source.String() != "gcp logging.entries.list" {
			t.Errorf("source %s", m.Source)
		}
	}
	if fmt.Sprint(codes) != "[16 7 14]" || got[1].Count != 2 || got[1].First.Format(time.RFC3339) != "2026-03-04T09:30:00Z" || got[1].Line >= got[1].LastLine {
		t.Errorf("codes %v, %+v", codes, got[1])
	}
}

func TestLogUnknown(t *testing.T) {
	const list = "POST v2/entries:list"
	vm := say(`{"name":"vm-1","id":"77"}`)
	for _, tt := range []struct {
		name    string
		answers map[string]http.HandlerFunc
		known   bool
		fails   string
	}{
		{"nothing logged", map[string]http.HandlerFunc{vm1: vm, list: say(`{}`)}, true, ""},
		{"denied", map[string]http.HandlerFunc{vm1: vm, list: refuse(403, "PERMISSION_DENIED", "no", "", nil)}, false, "needs logging.logEntries.list"},
		{"API off", map[string]http.HandlerFunc{vm1: vm, list: refuse(403, "PERMISSION_DENIED", "off", "SERVICE_DISABLED", map[string]string{"service": "logging.googleapis.com", "consumer": "projects/1"})}, false, "logging.googleapis.com is not enabled"},
		{"malformed", map[string]http.HandlerFunc{vm1: vm, list: say(`{"entries":{}}`)}, false, "cannot unmarshal"},
		{"the same page for ever", map[string]http.HandlerFunc{vm1: vm, list: say(`{"nextPageToken":"x"}`)}, false, "same page twice"},
		{"VM unknown", map[string]http.HandlerFunc{vm1: denied("compute.instances.get")}, false, "the id of VM vm-1 isn't known"},
		{"VM without id", map[string]http.HandlerFunc{vm1: say(`{"name":"vm-1"}`)}, false, "the id of VM vm-1 isn't known"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, set := run(t, newGoogle(t, tt.answers).api(withScanner(t)), onVM, "instances", "logging")
			outcomeOf(t, set, "log-messages", tt.known, tt.fails)
		})
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	view, _ := runIn(ctx, t, newGoogle(t, map[string]http.HandlerFunc{vm1: vm, list: func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // a server sees its caller go away once it has read the request
		hang(w, r)
	}}).api(withScanner(t)), onVM, "instances", "logging")
	_, err := evidence.Get(view, evidence.LogMessages)
	var m *evidence.Missing
	if !errors.As(err, &m) || m.Why != evidence.Late {
		t.Errorf("late: %v", err)
	}
}

func TestLogIsBounded(t *testing.T) {
	asked := 0
	g := newGoogle(t, map[string]http.HandlerFunc{vm1: say(`{"name":"vm-1","id":"77"}`), "POST v2/entries:list": func(w http.ResponseWriter, r *http.Request) {
		asked++
		say(`{"entries":[`+strings.TrimSuffix(strings.Repeat(entry("2026-03-04T09:30:00Z", "gRPC config stream closed: 7, x")+",", 200), ",")+fmt.Sprintf(`],"nextPageToken":"%d"}`, asked))(w, r)
	}})
	view, _ := run(t, g.api(withScanner(t)), onVM, "instances", "logging")
	got, err := evidence.Get(view, evidence.LogMessages)
	if err != nil || asked != 3 || len(got) != 1 || got[0].Count != maxEntries {
		t.Errorf("asked %d times, got %+v, %v", asked, got, err)
	}
}

func TestWithoutScannerNoLogIsRead(t *testing.T) {
	for _, c := range newGoogle(t, nil).api(nil).Collectors() {
		for _, n := range c.Provides {
			if n == evidence.LogMessages.Name() {
				t.Errorf("%s provides log messages", c.Name)
			}
		}
	}
}
