package accesslog

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meshdiag/meshdiag/evidence"
)

const (
	denied  = `[2026-10-09T11:12:59.536Z] "GET /api/v1/products HTTP/1.1" 403 - rbac_access_denied_matched_policy[ns[istio-ingress]-policy[office-only]-rule[0]] - "-" 0 19 0 - "10.1.2.3,10.244.0.18" "curl/8.7.1" "12a6498f-79e9-4c95-9452-76720468a51b" "shop.example.com" "-" outbound|9080||bridge.shop.svc.cluster.local - 127.0.0.1:80 10.1.2.3:0 - -`
	refused = `[2024-05-28T15:12:57.143Z] "POST /plugins/x HTTP/1.1" 503 UF upstream_reset_before_response_started{remote_connection_failure,delayed_connect_error:_111} - "delayed_connect_error:_111" 398 152 7 - "-" "Apache-HttpClient/4.5.14 (Java/17.0.10)" "87383523-4754" "cart.shop:8080" "100.72.2.83:8080" inbound|8080|| - 100.72.2.83:8080 100.72.9.85:44759 - default`
	tcp     = `[2024-08-27T20:00:10.142Z] "- - -" 0 UF,URX - - "delayed_connect_error:_Connection_refused" 0 0 0 - "-" "-" "-" "-" "10.244.0.17:15008" connect_originate - 10.244.0.17:80 envoy://internal_client_address/ - -`
	hole    = `[2026-02-01T08:00:00.000Z] "- - -" 0 UH - - "-" 0 0 0 - "-" "-" "-" "-" "-" BlackHoleCluster - 169.254.169.254:80 10.8.1.7:51514 - -`
	// Istio 1.3 to 1.8: Mixer's status and the failure reason, both quoted.
	oldIstio = `[2020-11-25T21:26:18.409Z] "GET /status/418 HTTP/1.1" 418 - "-" "-" 0 135 2 1 "-" "curl/7.73.0-DEV" "84961386" "httpbin:8000" "127.0.0.1:80" inbound|8000|http|httpbin.foo.svc.cluster.local 127.0.0.1:45980 10.44.1.23:80 10.44.1.27:45154 outbound_.8000_._.httpbin.foo.svc.cluster.local default`
	// Istio 1.9 to 1.11, whose Envoys left the blanks in.
	blanks = `[2021-03-02T10:00:00.000Z] "GET / HTTP/2" 503 UF,URX upstream_reset_before_response_started{connection failure,TLS error: 268435703:SSL routines:OPENSSL_internal:WRONG_VERSION_NUMBER} - "TLS error: 268435703:SSL routines:OPENSSL_internal:WRONG_VERSION_NUMBER" 0 91 44 - "-" "agent "quoted" name" "id" "reviews:9080" "10.8.2.4:9080" outbound|9080|v1|reviews.shop.svc.cluster.local - 10.4.1.2:9080 10.8.1.7:3456 - default`
	plainE = `[2016-04-15T20:17:00.310Z] "POST /api/v1/locations HTTP/2" 204 - 154 0 226 100 "10.0.35.28" "nsq2http" "cc21d9b0-cf5c-432b-8c7e-98aeb7988cd2" "locations" "tcp://10.0.2.1:80"`
	jsonE  = `{"response_code":503,"upstream_service_time":null,"upstream_host":"10.8.2.4:9080","bytes_sent":0,"upstream_cluster":"outbound|9080||reviews.shop.svc.cluster.local","upstream_transport_failure_reason":null,"authority":"reviews:9080","duration":15000,"response_code_details":"response_timeout","response_flags":"UT","connection_termination_details":null,"method":"GET","route_name":"default","requested_server_name":null,"start_time":"2021-06-04T14:35:50.462Z"}`
)

func at(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		panic(err)
	}
	return t
}

func TestParse(t *testing.T) {
	deniedEntry := Entry{Time: at("2026-10-09T11:12:59.536Z"), Code: 403, Details: "rbac_access_denied_matched_policy[ns[istio-ingress]-policy[office-only]-rule[0]]",
		Cluster: "outbound|9080||bridge.shop.svc.cluster.local", Authority: "shop.example.com"}
	timeout := Entry{Time: at("2021-06-04T14:35:50.462Z"), Code: 503, Flags: []string{"UT"}, Details: "response_timeout", Upstream: "10.8.2.4:9080",
		Cluster: "outbound|9080||reviews.shop.svc.cluster.local", Authority: "reviews:9080", Duration: 15 * time.Second, Route: "default"}
	for _, tc := range []struct {
		name, line string
		want       Entry
	}{
		{"Istio", denied, deniedEntry},
		{"containerd's prefix", "2026-10-09T11:12:59.9Z stdout F " + denied, deniedEntry},
		{"kubectl's prefix", "[pod/shop-6f/istio-proxy] " + denied, deniedEntry},
		{"Docker's JSON", `{"log":` + quote(denied+"\n") + `,"stream":"stdout","time":"2026-10-09T11:12:59.9Z"}`, deniedEntry},
		{"Cloud Logging's textPayload", `{"timestamp":"2026-10-09T11:13:00Z","logName":"projects/p/logs/stdout","textPayload":` + quote(denied) + `}`, deniedEntry},
		{"named fields", `ts=2021-06-04T14:35:50.462Z level=info method=GET response_code=503 response_flags=UT response_code_details=response_timeout upstream_host=10.8.2.4:9080 upstream_cluster="outbound|9080||reviews.shop.svc.cluster.local" authority=reviews:9080 duration=15000 route_name=default`, timeout},
		{"named fields behind a prefix", `2026-10-09T11:12:59.9Z stdout F envoy: responseCode=503, responseFlags="UF,URX", upstreamCluster=c1, userAgent="a b=c"`, Entry{Code: 503, Flags: []string{"UF", "URX"}, Cluster: "c1"}},
		{"Istio inbound", refused, Entry{Time: at("2024-05-28T15:12:57.143Z"), Code: 503, Flags: []string{"UF"}, Details: "upstream_reset_before_response_started{remote_connection_failure,delayed_connect_error:_111}",
			Transport: "delayed_connect_error:_111", Cluster: "inbound|8080||", Upstream: "100.72.2.83:8080", Authority: "cart.shop:8080", Route: "default", Duration: 7 * time.Millisecond}},
		{"TCP", tcp, Entry{Time: at("2024-08-27T20:00:10.142Z"), Flags: []string{"UF", "URX"}, Transport: "delayed_connect_error:_Connection_refused",
			Cluster: "connect_originate", Upstream: "10.244.0.17:15008", Authority: "10.244.0.17:80"}},
		{"TCP into the black hole", hole, Entry{Time: at("2026-02-01T08:00:00Z"), Flags: []string{"UH"}, Cluster: "BlackHoleCluster", Authority: "169.254.169.254:80"}},
		{"Istio 1.6", oldIstio, Entry{Time: at("2020-11-25T21:26:18.409Z"), Code: 418, Cluster: "inbound|8000|http|httpbin.foo.svc.cluster.local", Upstream: "127.0.0.1:80",
			Authority: "httpbin:8000", Route: "default", Duration: 2 * time.Millisecond}},
		{"blanks in the details, quotation marks in the agent", blanks, Entry{Time: at("2021-03-02T10:00:00Z"), Code: 503, Flags: []string{"UF", "URX"},
			Details:   "upstream_reset_before_response_started{connection_failure,TLS_error:_268435703:SSL_routines:OPENSSL_internal:WRONG_VERSION_NUMBER}",
			Transport: "TLS error: 268435703:SSL routines:OPENSSL_internal:WRONG_VERSION_NUMBER", Cluster: "outbound|9080|v1|reviews.shop.svc.cluster.local",
			Upstream: "10.8.2.4:9080", Authority: "reviews:9080", Route: "default", Duration: 44 * time.Millisecond}},
		{"Envoy", plainE, Entry{Time: at("2016-04-15T20:17:00.310Z"), Code: 204, Upstream: "tcp://10.0.2.1:80", Authority: "locations", Duration: 226 * time.Millisecond}},
		{"long flags", strings.Replace(plainE, "204 -", "503 NoHealthyUpstream,UpstreamRetryLimitExceeded", 1),
			Entry{Time: at("2016-04-15T20:17:00.310Z"), Code: 503, Flags: []string{"UH", "URX"}, Upstream: "tcp://10.0.2.1:80", Authority: "locations", Duration: 226 * time.Millisecond}},
		{"a format of the user's own", `[2024-05-28T15:12:57.143Z] "GET /x HTTP/1.1" 404 NR route_not_found outbound|80||x.svc 12ms trace=abc`,
			Entry{Time: at("2024-05-28T15:12:57.143Z"), Code: 404, Flags: []string{"NR"}, Details: "route_not_found", Cluster: "outbound|80||x.svc"}},
		{"JSON", jsonE, timeout},
		{"JSON behind a prefix", "2021-06-04T14:35:50.5Z stdout F " + jsonE, timeout},
		{"JSON in Cloud Logging", `{"timestamp":"2021-06-04T14:35:51Z","jsonPayload":` + jsonE + `}`, timeout},
		{"JSON in a string", `{"message":` + quote(jsonE) + `}`, timeout},
		{"JSON with other names", `{"responseCode":"503","responseFlags":"NoHealthyUpstream","upstreamCluster":"c","durationMs":"1.5","Response-Code-Details":"no_healthy_upstream","ts":"2024-01-02T03:04:05Z"}`,
			Entry{Time: at("2024-01-02T03:04:05Z"), Code: 503, Flags: []string{"UH"}, Cluster: "c", Duration: 1500 * time.Microsecond, Details: "no_healthy_upstream"}},
		{"JSON of Istio 1.9 into the black hole", `{"response_code":0,"upstream_host":null,"upstream_cluster":null,"authority":null,"duration":8,"response_code_details":null,"response_flags":"UH","downstream_local_address":"13.249.75.75:443","requested_server_name":null,"start_time":"2021-06-04T14:35:50.462Z"}`,
			Entry{Time: at("2021-06-04T14:35:50.462Z"), Flags: []string{"UH"}, Authority: "13.249.75.75:443", Duration: 8 * time.Millisecond}},
		{"traffic log", `{"timestamp":"2020-11-19T20:09:21.721815Z","logName":"projects/p/logs/client-accesslog-stackdriver","httpRequest":{"requestMethod":"GET","requestUrl":"http://app.shop/","status":503,"latency":"0.5s"},"labels":{"response_flag":"UF,URX","route_name":"default","upstream_cluster":"outbound|80||app.shop.svc.cluster.local","upstream_host":"10.48.0.18:8080","destination_service_host":"app.shop.svc.cluster.local"}}`,
			Entry{Time: at("2020-11-19T20:09:21.721815Z"), Code: 503, Flags: []string{"UF", "URX"}, Route: "default", Cluster: "outbound|80||app.shop.svc.cluster.local", Upstream: "10.48.0.18:8080",
				Authority: "app.shop.svc.cluster.local", Reporter: "client", Duration: 500 * time.Millisecond}},
		{"traffic log of a denial", `{"timestamp":"2020-11-19T20:09:21Z","logName":"projects/p/logs/server-accesslog-stackdriver","httpRequest":{"requestUrl":"http://app.shop/","status":"403"},"labels":{"response_flag":"-","response_details":"AuthzDenied","policy_name":"shop.deny-all","policy_rule":"0"}}`,
			Entry{Time: at("2020-11-19T20:09:21Z"), Code: 403, Details: "AuthzDenied[policy[shop.deny-all]-rule[0]]", Authority: "app.shop", Reporter: "server"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			line := []byte(tc.line)
			got, ok := Parse(line)
			clear(line) // an entry is good without its line
			if !ok || !reflect.DeepEqual(got, tc.want) {
				t.Errorf("%v\n got %+v\nwant %+v", ok, got, tc.want)
			}
			if !anchored(tc.line) {
				t.Error("no anchor is in it")
			}
		})
	}
}

func TestNoAccessLog(t *testing.T) {
	for _, line := range []string{
		"", "{", "-", `{}`, `[]`, `{"response_code":200}`, `{"response_flags":"x y"}`, `{"response_flags":{}}`, `{"response_flags":"UF"}`, `{"status":500,"message":"response_flags were bad"}`,
		`[2026-02-11 08:00:01.324][12][warning][config] [source/x.cc:138] gRPC config for x rejected: y`,
		`[2026-02-11T08:00:01.324Z] "quoted" 200 -`, `[2026-02-11T08:00:01.324Z] "GET / HTTP/1.1" 2000 - 1`, `[2026-02-11T08:00:01.324Z] "GET / HTTP/1.1" 200 ok 1`,
		`[yesterdayZ] "GET / HTTP/1.1" 200 - 1`, `Z] "GET / HTTP/1.1" 200 - 1`, `[2026-02-11T08:00:01.324Z] "GET / HTTP/1.1"`,
		"2020-06-29T23:37:27.523826Z\twarning\tenvoy config\tgRPC config stream closed: 14, no healthy upstream",
		`level=error msg="request failed" response_code=500 path=/cart`, `level=warn response_flags=bad status=500`, `response_flags= = ==`, `response_code=500`,
		`{"logName":"projects/p/logs/server-accesslog-stackdriver"}`, `{"message":{"message":{"message":{"message":{"message":` + jsonE + `}}}}}`,
	} {
		if e, ok := Parse([]byte(line)); ok {
			t.Errorf("%s was taken for %+v", line, e)
		}
	}
}

func quote(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func anchored(line string) bool {
	return slices.ContainsFunc(Anchors(), func(a string) bool { return strings.Contains(line, a) })
}

// TestAnchorsInWraps holds that an entry is found however often it is wrapped.
func TestAnchorsInWraps(t *testing.T) {
	for _, line := range []string{denied, refused, tcp, hole, oldIstio, blanks, plainE, jsonE} {
		for range 3 {
			line = `{"log":` + quote(line+"\n") + `,"stream":"stdout"}`
			if _, ok := Parse([]byte(line)); !ok || !anchored(line) {
				t.Errorf("read: %v, an anchor in it: %v: %s", ok, anchored(line), line)
			}
		}
	}
}

// count counts the entries of a log, in blocks of some lines.
func count(log string, lines int) *Groups {
	g := New("a.log", evidence.Source{Collector: "file"})
	before := 0
	for block := range slices.Chunk(strings.Split(log, "\n"), lines) {
		line, done := g.Block()
		for i, l := range block {
			if anchored(l) {
				text := []byte(l)
				line(text, i)
				clear(text)
			}
		}
		done(before)
		before += len(block)
	}
	return g
}

func TestGroups(t *testing.T) {
	log := "2026-10-09T11:00:00Z\tinfo\tEnvoy proxy is ready\n" + denied + "\n" + strings.Replace(denied, "11:12:59", "11:12:57", 1) + "\n" +
		strings.Replace(denied, "19 0 -", "19 90 -", 1) + "\n" + plainE + "\n" + strings.Replace(plainE, `"locations"`, `"places"`, 1) + "\n\n" + refused
	for _, step := range []int{1, 2, 3, 100} {
		g := count(log, step)
		l := g.List()
		if len(l) != 3 || g.Entries() != 6 || g.Dropped() != 0 {
			t.Fatalf("in steps of %d: %d groups, %d entries: %+v", step, len(l), g.Entries(), l)
		}
		if d := l[0]; d.Count != 3 || !d.First.Equal(at("2026-10-09T11:12:57.536Z")) || !d.Last.Equal(at("2026-10-09T11:12:59.536Z")) || d.Duration != 90*time.Millisecond || d.Sample != denied || d.File != "a.log" || d.Source.Detail != "a.log line 2" {
			t.Errorf("%+v", d)
		}
		if w := l[1]; w.Count != 2 || w.Code != 204 || w.Authority != "" {
			t.Errorf("requests that went well: %+v", w)
		}
		if r := l[2]; r.Count != 1 || r.Cluster != "inbound|8080||" || r.Source.Detail != "a.log line 8" {
			t.Errorf("the last line: %+v", r)
		}
	}
}

func TestBounds(t *testing.T) {
	const n = 5000
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "%s\n", strings.Replace(refused, "cart.shop", fmt.Sprintf("host-%d", i), 1))
		fmt.Fprintf(&b, "%s\n", strings.Replace(refused, "503 UF", fmt.Sprintf("%d UF", i%1000), 1))
	}
	g := count(b.String(), 700)
	if one := count(b.String(), 2*n); !reflect.DeepEqual(one.List(), g.List()) || one.Dropped() != g.Dropped() {
		t.Error("the same log counts differently in one block")
	}
	l := g.List()
	total := g.Dropped()
	for _, x := range l {
		total += x.Count
	}
	if len(l) > maxGroups+maxCoarse || total != 2*n || g.Entries() != 2*n || g.Dropped() == 0 {
		t.Errorf("%d groups, %d of %d entries, %d dropped", len(l), total, 2*n, g.Dropped())
	}
}

func TestCorpus(t *testing.T) {
	for dir := "."; ; dir = filepath.Join("..", dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			b, err := os.ReadFile(filepath.Join(dir, "../shared/corpus/logs/istio-ingress-gateway.log"))
			if err != nil {
				t.Skipf("no corpus: %v", err)
			}
			if l := count(string(b), 10).List(); len(l) > 0 {
				t.Errorf("an agent's log holds requests: %+v", l)
			}
			return
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{denied, refused, tcp, hole, oldIstio, blanks, plainE, jsonE, `{"log":` + quote(denied) + `}`, `{"logName":"x/server-accesslog-stackdriver","labels":{}}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		e, ok := Parse(b)
		if !ok {
			return
		}
		for _, s := range []string{e.Details, e.Termination, e.Transport, e.Cluster, e.Upstream, e.Route, e.Authority} {
			if len(s) > maxField {
				t.Errorf("a field of %d bytes", len(s))
			}
		}
		if e.Code < 0 || e.Code > 999 || e.Duration < 0 || len(e.Flags) > maxFlags {
			t.Errorf("%+v", e)
		}
		line, done := New("f", evidence.Source{}).Block()
		line(b, 0)
		done(0)
	})
}

func BenchmarkGroups(b *testing.B) {
	b.SetBytes(int64(len(denied) + len(refused) + 2))
	line, _ := New("x", evidence.Source{}).Block()
	for b.Loop() {
		line([]byte(denied), 0)
		line([]byte(refused), 1)
	}
}
