package logscan

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"strings"
	"testing"
	"testing/iotest"
	"time"
	"unicode/utf16"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

var closed = diagnose.Signature{
	ID:      "stream-closed",
	Anchors: []string{"gRPC config stream"},
	Pattern: `gRPC config stream(?: to (?P<target>\S+))? closed(?: since \d+s ago)?: (?P<code>\d+), ?(?P<text>.*)`,
}

var notFound = diagnose.Signature{
	ID:      "not-found",
	Anchors: []string{`configuration was not found for network "`},
	Pattern: `configuration was not found for network "(?P<network>[^"]*)" in project "(?P<project>[^"]*)"`,
}

func scanner(t testing.TB, sigs ...diagnose.Signature) *Scanner {
	t.Helper()
	if sigs == nil {
		sigs = []diagnose.Signature{closed, notFound}
	}
	s, err := New(sigs)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// want is what a row expects of one message.
type want struct {
	sig         string
	fields      map[string]string
	line, last  int
	count       int
	first, then string // RFC 3339
}

const missing = `Cloud Service Mesh configuration was not found for network "default" in project "123456".`

func TestScan(t *testing.T) {
	nf := map[string]string{"network": "default", "project": "123456"}
	quoted := strings.ReplaceAll(missing, `"`, `\"`)
	for _, tc := range []struct {
		name, text string
		want       []want
		lines      int
	}{
		{"empty", "", nil, 0},
		{"nothing known", "a line\nanother\n", nil, 2},
		{"no line feed at the end", "x\ngRPC config stream closed: 13, ",
			[]want{{"stream-closed", map[string]string{"code": "13", "text": ""}, 2, 2, 1, "", ""}}, 2},
		{"Envoy, two signatures in a line, repeated",
			"[2024-05-01 10:11:12.345][12][warning][config] [./source/common/config/grpc_stream.h:160] StreamAggregatedResources gRPC config stream to xds closed: 5, " + missing + "\n" +
				"[2024-05-01 10:11:13.000][12][info] nothing\n" +
				"[2024-05-01 10:12:12.345][12][warning][config] [./source/common/config/grpc_stream.h:160] StreamAggregatedResources gRPC config stream to xds closed: 5, " + missing + "\n",
			[]want{
				{"not-found", nf, 1, 3, 2, "2024-05-01T10:11:12.345Z", "2024-05-01T10:12:12.345Z"},
				{"stream-closed", map[string]string{"target": "xds", "code": "5", "text": missing}, 1, 3, 2, "2024-05-01T10:11:12.345Z", "2024-05-01T10:12:12.345Z"},
			}, 3},
		{"different fields are different messages, and orders are told by lines",
			"gRPC config stream closed: 14, no healthy upstream\ngRPC config stream closed: 13, \ngRPC config stream closed: 14, no healthy upstream\n",
			[]want{
				{"stream-closed", map[string]string{"code": "14", "text": "no healthy upstream"}, 1, 3, 2, "", ""},
				{"stream-closed", map[string]string{"code": "13", "text": ""}, 2, 2, 1, "", ""},
			}, 3},
		{"CRLF", "2024-05-01T10:11:12.345678Z\twarn\tgRPC config stream closed: 14, no healthy upstream\r\n",
			[]want{{"stream-closed", map[string]string{"code": "14", "text": "no healthy upstream"}, 1, 1, 1, "2024-05-01T10:11:12.345678Z", "2024-05-01T10:11:12.345678Z"}}, 1},
		{"colours, within the anchor too", "\x1b[33mgRPC config\x1b[0m stream closed: \x1b[1;31m14\x1b[m, no\x1b]0;title\a route\n",
			[]want{{"stream-closed", map[string]string{"code": "14", "text": "no route"}, 1, 1, 1, "", ""}}, 1},
		{"a JSON line", `{"severity":"WARNING","time":"2024-05-01T10:11:12Z","message":"gRPC config stream closed: 5, ` + quoted + `","pid":1}` + "\n",
			[]want{
				{"not-found", nf, 1, 1, 1, "2024-05-01T10:11:12Z", "2024-05-01T10:11:12Z"},
				{"stream-closed", map[string]string{"code": "5", "text": missing}, 1, 1, 1, "2024-05-01T10:11:12Z", "2024-05-01T10:11:12Z"},
			}, 1},
		{"a JSON line within a JSON line", `{"log":"{\"message\":\"gRPC config stream closed: 14, x\"}","ts":1714558272.5}` + "\n",
			[]want{{"stream-closed", map[string]string{"code": "14", "text": `x"}`}, 1, 1, 1, "2024-05-01T10:11:12.5Z", "2024-05-01T10:11:12.5Z"}}, 1},
		{"quotes escaped in plain text", `E0501 10:11:12.000000 1 x.go:1] "failed" err="rpc error: desc = ` + quoted + `"` + "\n",
			[]want{{"not-found", nf, 1, 1, 1, "", ""}}, 1},
		{"an anchor, and no match", "gRPC config stream is a fine thing\n", nil, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, r := range map[string]io.Reader{"at once": strings.NewReader(tc.text), "bytewise": iotest.OneByteReader(strings.NewReader(tc.text))} {
				got, stats, err := scanner(t).Scan(r, "envoy.log", evidence.Source{Collector: "file", Pasted: true})
				if err != nil {
					t.Fatal(err)
				}
				if stats.Lines != tc.lines {
					t.Errorf("%d lines, want %d", stats.Lines, tc.lines)
				}
				compareMessages(t, got, tc.want)
			}
		})
	}
}

func compareMessages(t *testing.T, got []evidence.LogMessage, wants []want) {
	t.Helper()
	if len(got) != len(wants) {
		t.Fatalf("%d messages, want %d: %+v", len(got), len(wants), got)
	}
	for i, w := range wants {
		g := got[i]
		if g.Signature != w.sig || g.Line != w.line || g.LastLine != w.last || g.Count != w.count {
			t.Errorf("message %d is %s at lines %d to %d, %d times; want %s at %d to %d, %d times", i, g.Signature, g.Line, g.LastLine, g.Count, w.sig, w.line, w.last, w.count)
		}
		if !maps.Equal(g.Fields, w.fields) {
			t.Errorf("message %d has fields %q, want %q", i, g.Fields, w.fields)
		}
		for _, x := range []struct {
			got  time.Time
			want string
		}{{g.First, w.first}, {g.Last, w.then}} {
			if s := rfc3339(x.got); s != x.want {
				t.Errorf("message %d has time %q, want %q", i, s, x.want)
			}
		}
		if g.File != "envoy.log" || g.Source.Detail != fmt.Sprintf("envoy.log line %d", w.line) || !g.Source.Pasted {
			t.Errorf("message %d has file %q and source %+v", i, g.File, g.Source)
		}
	}
}

func rfc3339(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format(time.RFC3339Nano)
}

func TestScanUTF16(t *testing.T) {
	text := "a line\r\ngRPC config stream closed: 14, no ünï\r\n"
	for name, order := range map[string]func(b []byte, v uint16) []byte{
		"little": func(b []byte, v uint16) []byte { return append(b, byte(v), byte(v>>8)) },
		"big":    func(b []byte, v uint16) []byte { return append(b, byte(v>>8), byte(v)) },
	} {
		b := order(nil, 0xfeff)
		for _, u := range utf16.Encode([]rune(text)) {
			b = order(b, u)
		}
		got, _, err := scanner(t).Scan(bytes.NewReader(b), "envoy.log", evidence.Source{Pasted: true})
		if err != nil {
			t.Fatal(name, err)
		}
		compareMessages(t, got, []want{{"stream-closed", map[string]string{"code": "14", "text": "no ünï"}, 2, 2, 1, "", ""}})
	}
}

// TestScanLongLines puts a message at places around the buffer's and the windows' ends, in one line that is longer than any
// buffer, between two short ones.
func TestScanLongLines(t *testing.T) {
	s := scanner(t)
	msg := `gRPC config stream closed: 5, "`
	block := s.sizes.block
	for _, at := range []int{0, 1, reach - 10, reach, hop - 5, block - reach - 7, block - reach, block - 12, block, 2*block - reach + 3, 5 * block, 5*block + 4321} {
		long := bytes.Repeat([]byte("x"), 6*block)
		copy(long[at:], msg)
		text := "[2024-05-01 10:00:00.000] gRPC config stream closed: 1, \n" + "[2024-05-01 11:00:00.000] " + string(long) + "\ngRPC config stream closed: 2, \n"
		got, stats, err := s.Scan(strings.NewReader(text), "f", evidence.Source{})
		if err != nil || len(got) != 3 || stats.Lines != 3 || stats.Matched != 3 || stats.Bytes != int64(len(text)) {
			t.Fatalf("at %d: %d messages, %+v, %v", at, len(got), stats, err)
		}
		m := got[1]
		if m.Line != 2 || m.Count != 1 || m.Fields["code"] != "5" || len(m.Text) > maxText+10 || !strings.Contains(m.Text, "stream closed") || rfc3339(m.First) != "2024-05-01T11:00:00Z" {
			t.Errorf("at %d: %+v", at, m)
		}
		if len(m.Fields["text"]) > maxField+10 {
			t.Errorf("at %d: field of %d bytes", at, len(m.Fields["text"]))
		}
	}
}

// TestScanLineFullOfAnchors is the costliest line there is: it ends, and the message counts once.
func TestScanLineFullOfAnchors(t *testing.T) {
	text := strings.Repeat("gRPC config stream closed: 5, x ", 1<<16)
	got, stats, err := scanner(t, diagnose.Signature{ID: "s", Anchors: []string{"gRPC config stream"}, Pattern: `gRPC config stream closed: (?P<code>\d+)`}).
		Scan(strings.NewReader(text), "f", evidence.Source{})
	if err != nil || len(got) != 1 || got[0].Count != 1 || stats.Matched != 1 || stats.Lines != 1 {
		t.Fatalf("%+v, %+v, %v", got, stats, err)
	}
}

func TestScanBoundsDistinctMessages(t *testing.T) {
	var b strings.Builder
	for i := range maxPerSignature + 500 {
		fmt.Fprintf(&b, "gRPC config stream closed: %d, \n", i)
	}
	b.WriteString(missing + "\n")
	got, stats, err := scanner(t).Scan(strings.NewReader(b.String()), "f", evidence.Source{})
	if err != nil || len(got) != maxPerSignature+1 || stats.Dropped != 500 || stats.Matched != maxPerSignature+501 {
		t.Fatalf("%d messages, %+v, %v", len(got), stats, err)
	}
}

func TestScanShowsNoControlCharacters(t *testing.T) {
	got, _, err := scanner(t).Scan(strings.NewReader("gRPC config stream closed: 5, a\x00b\x07c\x80\xffd\u009be\n"), "f", evidence.Source{})
	if err != nil || len(got) != 1 {
		t.Fatal(got, err)
	}
	if s := got[0].Fields["text"]; s != "a\ufffdb\ufffdc\ufffdd\ufffde" {
		t.Errorf("%q", s)
	}
}

func TestScanReadError(t *testing.T) {
	r := io.MultiReader(strings.NewReader("gRPC config stream closed: 5, x\n"), iotest.ErrReader(io.ErrClosedPipe))
	_, _, err := scanner(t).Scan(r, "envoy.log", evidence.Source{})
	if err == nil || err.Error() != "reading envoy.log: "+io.ErrClosedPipe.Error() {
		t.Errorf("error %v", err)
	}
}

func TestNewRefuses(t *testing.T) {
	ok := diagnose.Signature{ID: "s", Anchors: []string{"long enough"}, Pattern: "x"}
	for name, tc := range map[string]struct {
		change func(*diagnose.Signature)
		want   string
	}{
		"short anchor": {func(s *diagnose.Signature) { s.Anchors = []string{"long enough", "closed:"} }, `signature "s": anchor "closed:" has 7 bytes, needs at least 8`},
		"bad pattern":  {func(s *diagnose.Signature) { s.Pattern = "(" }, `signature "s": pattern: error parsing regexp: missing closing ): ` + "`(`"},
		"no pattern":   {func(s *diagnose.Signature) { s.Pattern = "" }, `signature "s": has no pattern`},
		"no anchor":    {func(s *diagnose.Signature) { s.Anchors = nil }, `signature "s": has no anchor`},
		"no id":        {func(s *diagnose.Signature) { s.ID = "" }, `signature "": has no id`},
		"two lines":    {func(s *diagnose.Signature) { s.Anchors = []string{"long\nenough"} }, `signature "s": anchor "long\nenough" holds a line break`},
	} {
		s := ok
		tc.change(&s)
		if _, err := New([]diagnose.Signature{s}); err == nil || err.Error() != tc.want {
			t.Errorf("%s: error %v, want %s", name, err, tc.want)
		}
	}
	if _, err := New([]diagnose.Signature{ok, ok}); err != nil {
		t.Errorf("the same signature twice: %v", err)
	}
	other := ok
	other.Pattern = "y"
	if _, err := New([]diagnose.Signature{ok, other}); err == nil {
		t.Error("one id with two patterns is accepted")
	}
}

func TestLineTime(t *testing.T) {
	for line, want := range map[string]string{
		"[2024-05-01 10:11:12.345][12][warning] x":                                        "2024-05-01T10:11:12.345Z",
		"2024-05-01T10:11:12.345678Z\twarn\tx":                                            "2024-05-01T10:11:12.345678Z",
		"2024-05-01T10:11:12+09:00 x":                                                     "2024-05-01T01:11:12Z",
		"2024-05-01T10:11:12.123456789-0330 stderr F [2020-01-01 00:00:00.000]":           "2024-05-01T13:41:12.123456789Z",
		"2024/05/01 10:11:12 WARNING: [xds] x":                                            "2024-05-01T10:11:12Z",
		"2024-05-01 10:11:12,345 ERROR x":                                                 "2024-05-01T10:11:12.345Z",
		"W0501 10:11:12.345678       1 x.go:1] x":                                         "",
		"May  1 10:11:12 host envoy[12]: x":                                               "",
		"2024-13-01T10:11:12Z x":                                                          "",
		"0000-01-01T10:11:12Z x":                                                          "",
		`{"level":"warn","time":"2024-05-01T10:11:12.5Z","msg":"at 2020-01-01 00:00:00"}`: "2024-05-01T10:11:12.5Z",
		`{"level":"warn","ts":1714558272.25}`:                                             "2024-05-01T10:11:12.25Z",
		`{"level":40,"time":1714558272250}`:                                               "2024-05-01T10:11:12.25Z",
		`{"msg":"at 2020-01-01 00:00:00"}`:                                                "",
		"":                                                                                "",
	} {
		if got := rfc3339(lineTime([]byte(line[:min(len(line), timeReach)]), []byte(line), new(stampReader))); got != want {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
}

func FuzzScan(f *testing.F) {
	f.Add("[2024-05-01 10:11:12.345][12][warning] gRPC config stream closed: 5, "+missing+"\n", 7)
	f.Add(`{"message":"gRPC config stream closed: 5, \u0022","ts":1714558272.25}`, 1)
	f.Add("\xff\xfeg\x00R\x00", 3)
	f.Add("\x1b[31mgRPC\x1b]0;x\x1b\\ config stream closed: 1, \r\n\n\x1b[", 2)
	s, err := New([]diagnose.Signature{closed, notFound})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string, piece int) {
		src := evidence.Source{Collector: "file"}
		got, stats, err := s.Scan(strings.NewReader(text), "f", src)
		if err != nil {
			t.Fatal(err)
		}
		// However the text comes in, the messages are the same.
		again, statsAgain, err := s.Scan(&pieces{text, max(1, piece%1000)}, "f", src)
		if err != nil || stats != statsAgain || fmt.Sprint(got) != fmt.Sprint(again) {
			t.Fatalf("at once %v %+v, in pieces %v %+v (%v)", got, stats, again, statsAgain, err)
		}
		for _, m := range got {
			if m.Line < 1 || m.LastLine < m.Line || m.LastLine > stats.Lines || m.Count < 1 || m.Count > stats.Lines {
				t.Fatalf("%+v in %d lines", m, stats.Lines)
			}
		}
	})
}

func BenchmarkScan(b *testing.B) {
	text := []byte(strings.Repeat("[2024-05-01 10:11:12.345][12][info][upstream] [source/common/upstream/cds_api_helper.cc:32] cds: add 3 cluster(s), remove 0 cluster(s)\n", 1<<16))
	s := scanner(b)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, _, err := s.Scan(bytes.NewReader(text), "f", evidence.Source{}); err != nil {
			b.Fatal(err)
		}
	}
}
