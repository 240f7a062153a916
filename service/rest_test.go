package service_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/meshdiag/meshdiag/service"
)

const good = `{"target":{"project":"plain-project","network":"default"}}`

func TestRESTRefusals(t *testing.T) {
	r := start(t)
	rows := []struct {
		name, method, path, body string
		headers                  []string
		code                     int
		status, reason           string
		says                     string // in the message
		field                    string // of a violation
	}{
		{name: "empty body", method: "POST", path: "/v1:diagnose", code: 400, status: "INVALID_ARGUMENT", reason: "EMPTY_BODY"},
		{name: "blank body", method: "POST", path: "/v1:diagnose", body: " \n", code: 400, status: "INVALID_ARGUMENT", reason: "EMPTY_BODY"},
		{name: "cut off", method: "POST", path: "/v1:diagnose", body: good[:20], code: 400, status: "INVALID_ARGUMENT", reason: "INVALID_JSON"},
		{name: "not an object", method: "POST", path: "/v1:diagnose", body: `[]`, code: 400, status: "INVALID_ARGUMENT", reason: "INVALID_JSON"},
		{name: "data after it", method: "POST", path: "/v1:diagnose", body: good + good, code: 400, status: "INVALID_ARGUMENT", reason: "INVALID_JSON"},
		{name: "a field twice", method: "POST", path: "/v1:diagnose", body: `{"timeout":"1s","timeout":"2s"}`, code: 400, status: "INVALID_ARGUMENT", reason: "INVALID_JSON", says: "duplicate", field: "timeout"},
		{name: "unknown field", method: "POST", path: "/v1:diagnose", body: `{"targte":{}}`, code: 400, status: "INVALID_ARGUMENT", reason: "INVALID_JSON", says: `unknown field "targte"`, field: "targte"},
		{name: "unknown field inside", method: "POST", path: "/v1:diagnose", body: `{"target":{"netwrok":"x"}}`, code: 400, status: "INVALID_ARGUMENT", reason: "INVALID_JSON", says: `unknown field "netwrok"`, field: "netwrok"},
		{name: "wrong type", method: "POST", path: "/v1:diagnose", body: `{"target":{"project":5}}`, code: 400, status: "INVALID_ARGUMENT", reason: "INVALID_JSON", says: "project", field: "project"},
		{name: "wrong enum", method: "POST", path: "/v1:diagnose", body: `{"symptom":"SLOW"}`, code: 400, status: "INVALID_ARGUMENT", reason: "INVALID_JSON", says: "symptom", field: "symptom"},
		{name: "bad base64", method: "POST", path: "/v1:diagnose", body: `{"artifacts":[{"data":"!"}]}`, code: 400, status: "INVALID_ARGUMENT", reason: "INVALID_JSON", says: "data", field: "data"},
		{name: "bad duration", method: "POST", path: "/v1:diagnose", body: `{"timeout":"soon"}`, code: 400, status: "INVALID_ARGUMENT", reason: "INVALID_JSON", says: "soon"},
		{name: "not UTF-8", method: "POST", path: "/v1:explain", body: "{\"text\":\"\xff\"}", code: 400, status: "INVALID_ARGUMENT", reason: "INVALID_JSON"},
		{name: "too deep", method: "POST", path: "/v1:diagnose", body: strings.Repeat("[", 20000), code: 400, status: "INVALID_ARGUMENT", reason: "JSON_TOO_DEEP"},
		{name: "deep in a string", method: "POST", path: "/v1:diagnose", body: `{"target":{"project":"` + strings.Repeat("[", 100) + `\"{","network":"x"}}`, code: 400, status: "INVALID_ARGUMENT", reason: "INVALID_FIELD", field: "target.project"},
		{name: "nothing named", method: "POST", path: "/v1:diagnose", body: `{}`, code: 400, status: "INVALID_ARGUMENT", reason: "INVALID_FIELD", says: "at least one artifact", field: "target"},
		{name: "no project", method: "POST", path: "/v1:diagnose", body: `{"target":{"network":"x"}}`, code: 400, status: "INVALID_ARGUMENT", reason: "INVALID_FIELD", says: "target.project: must be", field: "target.project"},
		{name: "network and mesh", method: "POST", path: "/v1:diagnose", body: `{"target":{"project":"plain-project","network":"x","mesh":"y"}}`, code: 400, status: "INVALID_ARGUMENT", reason: "INVALID_FIELD", says: "exclude each other", field: "target"},
		{name: "bad node id", method: "POST", path: "/v1:diagnose", body: `{"target":{"project":"plain-project","network":"x","nodeId":"x"}}`, code: 400, status: "INVALID_ARGUMENT", reason: "INVALID_FIELD", says: "projects/NUMBER/networks/NETWORK/nodes/ID", field: "target.node_id"},
		{name: "timeout too long", method: "POST", path: "/v1:diagnose", body: `{"timeout":"1000s","target":{"project":"plain-project","network":"x"}}`, code: 400, status: "INVALID_ARGUMENT", reason: "INVALID_FIELD", field: "timeout"},
		{name: "artifact without content", method: "POST", path: "/v1:diagnose", body: `{"artifacts":[{"name":"x"}]}`, code: 400, status: "INVALID_ARGUMENT", reason: "INVALID_FIELD", field: "artifacts[0]"},
		{name: "artifact of no known kind", method: "POST", path: "/v1:diagnose", body: `{"artifacts":[{"name":"x.bin","text":"nonsense"}]}`, code: 400, status: "INVALID_ARGUMENT", reason: "INVALID_FIELD", says: "x.bin", field: "artifacts[0]"},
		{name: "text of no known kind", method: "POST", path: "/v1:explain", body: `{"text":"nonsense"}`, code: 400, status: "INVALID_ARGUMENT", reason: "INVALID_FIELD", field: "text"},
		{name: "no text", method: "POST", path: "/v1:explain", body: `{}`, code: 400, status: "INVALID_ARGUMENT", reason: "INVALID_FIELD", field: "text"},
		{name: "stream without target", method: "POST", path: "/v1:streamDiagnose", body: `{}`, code: 400, status: "INVALID_ARGUMENT", reason: "INVALID_FIELD", says: "at least one artifact"},
		{name: "stream's field", method: "POST", path: "/v1:streamDiagnose", body: `{"target":{"network":"x"}}`, code: 400, status: "INVALID_ARGUMENT", reason: "INVALID_FIELD", field: "request.target.project"},
		{name: "stream's unknown field", method: "POST", path: "/v1:streamDiagnose", body: `{"request":{}}`, code: 400, status: "INVALID_ARGUMENT", reason: "INVALID_JSON", field: "request"},

		{name: "curl's default type", method: "POST", path: "/v1:diagnose", body: good, headers: []string{"Content-Type", "application/x-www-form-urlencoded"}, code: 415, status: "INVALID_ARGUMENT", reason: "UNSUPPORTED_CONTENT_TYPE", says: "-H 'Content-Type: application/json'"},
		{name: "no type", method: "POST", path: "/v1:diagnose", body: good, headers: []string{"Content-Type", "-"}, code: 415, status: "INVALID_ARGUMENT", reason: "UNSUPPORTED_CONTENT_TYPE", says: "none"},
		{name: "another charset", method: "POST", path: "/v1:diagnose", body: good, headers: []string{"Content-Type", "application/json; charset=latin1"}, code: 415, status: "INVALID_ARGUMENT", reason: "UNSUPPORTED_CONTENT_TYPE"},
		{name: "malformed type", method: "POST", path: "/v1:diagnose", body: good, headers: []string{"Content-Type", "application/json; charset"}, code: 415, status: "INVALID_ARGUMENT", reason: "UNSUPPORTED_CONTENT_TYPE"},
		{name: "packed", method: "POST", path: "/v1:diagnose", body: good, headers: []string{"Content-Encoding", "gzip"}, code: 415, status: "INVALID_ARGUMENT", reason: "UNSUPPORTED_CONTENT_TYPE", says: "gzip"},
		{name: "gRPC without HTTP/2", method: "POST", path: "/v1:diagnose", body: good, headers: []string{"Content-Type", "application/grpc"}, code: 415, status: "INVALID_ARGUMENT", reason: "UNSUPPORTED_CONTENT_TYPE", says: "HTTP/2"},

		{name: "no such path", method: "GET", path: "/nope", code: 404, status: "NOT_FOUND", reason: "ROUTE_NOT_FOUND", says: "/nope"},
		{name: "no such path, any type", method: "POST", path: "/nope", body: "x=1", headers: []string{"Content-Type", "text/plain"}, code: 404, status: "NOT_FOUND", reason: "ROUTE_NOT_FOUND"},
		{name: "root", method: "GET", path: "/", code: 404, status: "NOT_FOUND", reason: "ROUTE_NOT_FOUND"},
		{name: "no such verb", method: "POST", path: "/v1:nothing", body: `{}`, code: 404, status: "NOT_FOUND", reason: "ROUTE_NOT_FOUND"},
		{name: "a slash too many", method: "POST", path: "/v1:diagnose/", body: good, code: 404, status: "NOT_FOUND", reason: "ROUTE_NOT_FOUND"},
		{name: "GET of a POST", method: "GET", path: "/v1:diagnose", code: 405, status: "UNIMPLEMENTED", reason: "METHOD_NOT_ALLOWED", says: "takes POST"},
		{name: "POST of a GET", method: "POST", path: "/v1/checks", body: "{}", code: 405, status: "UNIMPLEMENTED", reason: "METHOD_NOT_ALLOWED", says: "takes GET"},
		{name: "DELETE", method: "DELETE", path: "/v1/checks/config/network-mismatch", code: 405, status: "UNIMPLEMENTED", reason: "METHOD_NOT_ALLOWED"},
		{name: "OPTIONS", method: "OPTIONS", path: "/v1:diagnose", code: 405, status: "UNIMPLEMENTED", reason: "METHOD_NOT_ALLOWED"},
		{name: "method override", method: "POST", path: "/v1/checks", body: "pageSize=1", headers: []string{"Content-Type", "application/x-www-form-urlencoded", "X-HTTP-Method-Override", "GET"}, code: 405, status: "UNIMPLEMENTED", reason: "METHOD_NOT_ALLOWED"},
		{name: "form for a long path", method: "POST", path: "/v1/checks", body: "pageSize=1", headers: []string{"Content-Type", "application/x-www-form-urlencoded"}, code: 405, status: "UNIMPLEMENTED", reason: "METHOD_NOT_ALLOWED"},

		{name: "unknown parameter", method: "GET", path: "/v1/checks?bogus=1", code: 400, status: "INVALID_ARGUMENT", reason: "INVALID_QUERY_PARAMETER", says: "bogus", field: "bogus"},
		{name: "unknown parameter of one", method: "GET", path: "/v1/checks/config/network-mismatch?pageSize=1", code: 400, status: "INVALID_ARGUMENT", reason: "INVALID_QUERY_PARAMETER", says: "takes none", field: "pageSize"},
		{name: "parameter of a POST", method: "POST", path: "/v1:diagnose?symptom=1", body: good, code: 400, status: "INVALID_ARGUMENT", reason: "INVALID_QUERY_PARAMETER", field: "symptom"},
		{name: "parameter twice", method: "GET", path: "/v1/checks?pageSize=1&pageSize=2", code: 400, status: "INVALID_ARGUMENT", reason: "INVALID_QUERY_PARAMETER", says: "twice"},
		{name: "parameter by both names", method: "GET", path: "/v1/checks?pageSize=1&page_size=2", code: 400, status: "INVALID_ARGUMENT", reason: "INVALID_QUERY_PARAMETER", says: "twice"},
		{name: "parameter of the wrong type", method: "GET", path: "/v1/checks?pageSize=many", code: 400, status: "INVALID_ARGUMENT", reason: "INVALID_QUERY_PARAMETER", says: "many", field: "page_size"},
		{name: "parameter out of range", method: "GET", path: "/v1/checks?pageSize=5000", code: 400, status: "INVALID_ARGUMENT", reason: "INVALID_FIELD", field: "page_size"},
		{name: "malformed query", method: "GET", path: "/v1/checks?pageSize=%zz", code: 400, status: "INVALID_ARGUMENT", reason: "INVALID_QUERY_PARAMETER"},
		{name: "body of a GET", method: "GET", path: "/v1/checks", body: "{}", code: 400, status: "INVALID_ARGUMENT", reason: "UNEXPECTED_BODY"},
		{name: "foreign page token", method: "GET", path: "/v1/checks?pageToken=xyz", code: 400, status: "INVALID_ARGUMENT", reason: "INVALID_FIELD", field: "page_token"},

		{name: "no such check", method: "GET", path: "/v1/checks/config/netwrk-mismatch", code: 404, status: "NOT_FOUND", reason: "CHECK_NOT_FOUND", says: "config/network-mismatch"},
		{name: "not a check's name", method: "GET", path: "/v1/checks/config/network-mismatch:x", code: 400, status: "INVALID_ARGUMENT", reason: "INVALID_FIELD", field: "name"},
		{name: "no control plane", method: "GET", path: "/v1/projects/plain-project/networks/default/clients", code: 400, status: "FAILED_PRECONDITION", reason: "NO_CONTROL_PLANE"},
		{name: "bad parent", method: "GET", path: "/v1/projects/X/networks/default/clients", code: 400, status: "INVALID_ARGUMENT", reason: "INVALID_FIELD", says: "project", field: "parent"},
		{name: "not a node id", method: "GET", path: "/v1/projects/plain-project/networks/default/clients/x", code: 400, status: "INVALID_ARGUMENT", reason: "INVALID_FIELD", says: "%2F", field: "name"},
		{name: "bad timeout header", method: "POST", path: "/v1:diagnose", body: good, headers: []string{"Grpc-Timeout", "soon"}, code: 400, status: "INVALID_ARGUMENT", reason: "INVALID_JSON"},

		{name: "a name that was made to mean this machine", method: "GET", path: "/v1/checks", headers: []string{"Host", "evil.example.com:7443"}, code: 403, status: "PERMISSION_DENIED", reason: "FOREIGN_HOST", says: "evil.example.com"},
		{name: "panic", method: "POST", path: "/v1:diagnose", body: `{"target":{"project":"panic-project","network":"x"}}`, code: 500, status: "INTERNAL", reason: "INTERNAL"},
		{name: "panic in a stream", method: "POST", path: "/v1:streamDiagnose", body: `{"target":{"project":"panic-project","network":"x"}}`, code: 500, status: "INTERNAL", reason: "INTERNAL"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			a := r.do(t, row.method, row.path, row.body, row.headers...)
			e, reason := parseError(t, a)
			if a.code != row.code || e.Error.Status != row.status || reason != row.reason {
				t.Errorf("got %d %s %s, want %d %s %s\n%s", a.code, e.Error.Status, reason, row.code, row.status, row.reason, a.body)
			}
			if !strings.Contains(e.Error.Message, row.says) || strings.Contains(e.Error.Message, "\n") || strings.Contains(e.Error.Message, "secret") {
				t.Errorf("message: %s", e.Error.Message)
			}
			var fields []string
			for _, d := range e.Error.Details {
				violations, _ := d["fieldViolations"].([]any)
				for _, v := range violations {
					fields = append(fields, v.(map[string]any)["field"].(string))
				}
			}
			if row.field != "" && (len(fields) == 0 || fields[0] != row.field) {
				t.Errorf("violations of %q, want %q: %s", fields, row.field, a.body)
			}
			if a.header.Get("X-Request-Id") == "" {
				t.Error("no request id")
			}
			if row.code == 405 && a.header.Get("Allow") == "" {
				t.Error("405 without Allow")
			}
		})
	}
	if logs := r.logs.String(); !strings.Contains(logs, "a secret of this program") {
		t.Error("the panic isn't in the logs")
	}
}

func TestRESTTooLarge(t *testing.T) {
	r := start(t, func(_ *service.Config, c *service.ServerConfig) { c.Limits.BodyBytes = 1000 })
	long := `{"text":"` + strings.Repeat("x", 2000) + `"}`
	for name, body := range map[string]io.Reader{
		"length told":     strings.NewReader(long),
		"length not told": io.MultiReader(strings.NewReader(long)),
	} {
		t.Run(name, func(t *testing.T) {
			resp, err := r.http.Post(r.base+"/v1:explain", "application/json", body)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = resp.Body.Close() }()
			raw, _ := io.ReadAll(resp.Body)
			e, reason := parseError(t, answer{resp.StatusCode, resp.Header, string(raw)})
			if resp.StatusCode != http.StatusRequestEntityTooLarge || reason != "REQUEST_TOO_LARGE" || e.Error.Status != "RESOURCE_EXHAUSTED" {
				t.Errorf("%d %s", resp.StatusCode, raw)
			}
		})
	}
	if a := r.do(t, "POST", "/v1:explain", `{"text":"wrong network"}`); a.code != 200 {
		t.Errorf("a small one: %d %s", a.code, a.body)
	}
}

func TestRESTTooManyBytesTogether(t *testing.T) {
	r := start(t, func(_ *service.Config, c *service.ServerConfig) { c.Limits.PendingBytes = 100 })
	a := r.do(t, "POST", "/v1:explain", `{"text":"`+strings.Repeat("x", 200)+`"}`)
	if _, reason := parseError(t, a); a.code != http.StatusTooManyRequests || reason != "TOO_MANY_REQUEST_BYTES" {
		t.Errorf("%d %s", a.code, a.body)
	}
	// What the refused request held is given back.
	if a := r.do(t, "POST", "/v1:explain", `{"text":"wrong network"}`); a.code != 200 {
		t.Errorf("a small one: %d %s", a.code, a.body)
	}
}

func TestRESTAccepts(t *testing.T) {
	r := start(t)
	for name, headers := range map[string][]string{
		"charset":            {"Content-Type", "application/json; charset=UTF-8"},
		"any Accept":         {"Accept", "text/html"},
		"foreign metadata":   {"Grpc-Metadata-X-Request-Id", "forged"},
		"foreign binary":     {"Grpc-Metadata-X-Bin", "!"},
		"malformed trace id": {"Traceparent", "nonsense"},
	} {
		t.Run(name, func(t *testing.T) {
			a := r.do(t, "POST", "/v1:diagnose", good, headers...)
			if a.code != 200 || a.header.Get("Content-Type") != "application/json" {
				t.Errorf("%d %s", a.code, a.body)
			}
			var got struct {
				Report struct{ Name, Verdict string }
			}
			if err := json.Unmarshal([]byte(a.body), &got); err != nil {
				t.Fatal(err)
			}
			if got.Report.Name != "reports/"+a.header.Get("X-Request-Id") || got.Report.Verdict != "VERDICT_CAUSES_FOUND" {
				t.Errorf("report %+v for request %s", got.Report, a.header.Get("X-Request-Id"))
			}
			for k := range a.header {
				if strings.HasPrefix(k, "Grpc-") {
					t.Errorf("header %s", k)
				}
			}
		})
	}
	if strings.Contains(r.logs.String(), "forged") {
		t.Error("a Grpc-Metadata header reached the RPC")
	}
}

func TestRequestIDs(t *testing.T) {
	r := start(t)
	for _, row := range []struct {
		give string
		keep bool
	}{{"abc-123", true}, {"0af7651916cd43dd8448eb211c80319c", true}, {"a b", false}, {"../x", false}, {strings.Repeat("x", 200), false}, {`"`, false}} {
		a := r.do(t, "GET", "/v1/checks", "", "X-Request-Id", row.give)
		if got := a.header.Get("X-Request-Id"); (got == row.give) != row.keep || got == "" {
			t.Errorf("%q gives %q", row.give, got)
		}
		if row.keep && !strings.Contains(r.logs.String(), `"request_id":"`+row.give+`"`) {
			t.Errorf("%s is not in the logs", row.give)
		}
	}
}

func TestRESTStream(t *testing.T) {
	r := start(t)
	a := r.do(t, "POST", "/v1:streamDiagnose", good)
	if a.code != 200 || a.header.Get("Content-Type") != "application/x-ndjson" {
		t.Fatalf("%d %v %s", a.code, a.header, a.body)
	}
	var kinds []string
	for line := range strings.Lines(a.body) {
		var m struct {
			Result map[string]any `json:"result"`
		}
		if err := json.Unmarshal([]byte(line), &m); err != nil || len(m.Result) != 1 {
			t.Fatalf("line %q: %v", line, err)
		}
		for k := range m.Result {
			kinds = append(kinds, k)
		}
	}
	want := map[string]int{"collectorStarted": 1, "collector": 1, "check": 2, "report": 1}
	got := map[string]int{}
	for _, k := range kinds {
		got[k]++
	}
	for k, n := range want {
		if got[k] != n {
			t.Errorf("%d lines of %s, want %d: %v", got[k], k, n, kinds)
		}
	}
	if kinds[len(kinds)-1] != "report" {
		t.Errorf("the last line is %s", kinds[len(kinds)-1])
	}
}

// An error after the first event comes as the last line, in the shape of every other error.
func TestRESTStreamErrorInside(t *testing.T) {
	r := start(t)
	a := r.do(t, "POST", "/v1:streamDiagnose", `{"artifacts":[{"name":"x.bin","text":"nonsense"}]}`)
	lines := strings.Split(strings.TrimSpace(a.body), "\n")
	if a.code != 200 || len(lines) < 2 {
		t.Fatalf("%d %s", a.code, a.body)
	}
	var e restError
	dec := json.NewDecoder(bytes.NewReader([]byte(lines[len(lines)-1])))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&e); err != nil || e.Error.Code != 400 || e.Error.Status != "INVALID_ARGUMENT" || len(e.Error.Details) != 2 {
		t.Errorf("last line %s: %v", lines[len(lines)-1], err)
	}
	if !strings.Contains(lines[len(lines)-1], `"field":"request.artifacts[0]"`) {
		t.Errorf("last line %s", lines[len(lines)-1])
	}
}

func TestRESTCatalog(t *testing.T) {
	r := start(t)
	var ids []string
	for page := "/v1/checks?pageSize=1"; ; {
		a := r.do(t, "GET", page, "")
		var got struct {
			Checks        []struct{ Name, CheckID string }
			NextPageToken string
		}
		if err := json.Unmarshal([]byte(a.body), &got); err != nil || a.code != 200 || len(got.Checks) != 1 {
			t.Fatalf("%d %s: %v", a.code, a.body, err)
		}
		ids = append(ids, got.Checks[0].Name)
		if got.NextPageToken == "" {
			break
		}
		page = "/v1/checks?page_size=1&page_token=" + got.NextPageToken
	}
	if strings.Join(ids, " ") != "checks/config/network-mismatch checks/xds/logged-network" {
		t.Errorf("pages gave %q", ids)
	}
	a := r.do(t, "GET", "/v1/checks/config/network-mismatch", "")
	for _, want := range []string{`"checkId":"config/network-mismatch"`, `--project=PROJECT`, `Or use the Mesh MESH.`, `"facts":["forwarding-rules"]`} {
		if !strings.Contains(a.body, want) {
			t.Errorf("no %s in %s", want, a.body)
		}
	}
}

// A header that never ends, and a body that never comes, are given up on: by the server, not by the caller.
func TestSlowCallers(t *testing.T) {
	r := start(t, func(_ *service.Config, c *service.ServerConfig) {
		c.Limits.ReadHeader, c.Limits.Read, c.Limits.Idle = 50*time.Millisecond, 50*time.Millisecond, 50*time.Millisecond
	})
	for name, sent := range map[string]string{
		"header": "POST /v1:diagnose HTTP/1.1\r\nHost: localhost\r\n",
		"body":   "POST /v1:diagnose HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{",
		"idle":   "",
	} {
		t.Run(name, func(t *testing.T) {
			c, err := net.Dial("tcp", r.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Close() }()
			if _, err := io.WriteString(c, sent); err != nil {
				t.Fatal(err)
			}
			got, _ := io.ReadAll(c) // ends because the server hangs up
			if name == "body" && !strings.Contains(string(got), "REQUEST_NOT_READ") {
				t.Errorf("got %q", got)
			}
		})
	}
}

func TestHeaderTooLarge(t *testing.T) {
	r := start(t)
	c, err := net.Dial("tcp", r.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if _, err := io.WriteString(c, "GET /v1/checks HTTP/1.1\r\nHost: localhost\r\nX-Long: "+strings.Repeat("x", 64<<10)+"\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	// The server doesn't read the rest, so the connection may end in a reset.
	if got, _ := io.ReadAll(c); !strings.HasPrefix(string(got), "HTTP/1.1 431 ") {
		t.Errorf("got %q", got)
	}
}
