package pipeline

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf16"

	"github.com/meshdiag/meshdiag/checks"
	"github.com/meshdiag/meshdiag/collect/logscan"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

const refused = "[2025-03-02 08:00:01.100][1][warning][config] StreamAggregatedResources gRPC config stream to trafficdirector.googleapis.com:443 closed: 7, Request had insufficient authentication scopes.\n"

func inUTF16(s string, order binary.AppendByteOrder) string {
	b := order.AppendUint16(nil, 0xfeff)
	for _, u := range utf16.Encode([]rune(s)) {
		b = order.AppendUint16(b, u)
	}
	return string(b)
}

func zipped(t *testing.T, s string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write([]byte(s)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func quoted(t *testing.T, s string) string {
	t.Helper()
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestSignaturesInEveryForm holds that each message is recognised however a log's path wrapped it.
func TestSignaturesInEveryForm(t *testing.T) {
	scanner, err := logscan.New(checks.Signatures())
	if err != nil {
		t.Fatal(err)
	}
	forms := map[string]func(string) string{
		"bare":     func(s string) string { return s },
		"CRLF":     func(s string) string { return s + "\r\n" },
		"indented": func(s string) string { return "    " + s + "\n" },
		"Docker's JSON": func(s string) string {
			return `{"log":` + quoted(t, s+"\n") + `,"stream":"stderr","time":"2025-03-02T08:00:01.1Z"}` + "\n"
		},
		"Cloud Logging": func(s string) string {
			return `{"insertId":"x","textPayload":` + quoted(t, s) + `,"timestamp":"2025-03-02T08:00:01.1Z","severity":"WARNING"}` + "\n"
		},
		"coloured":              func(s string) string { return "\x1b[33m" + s[:len(s)/2] + "\x1b[1m" + s[len(s)/2:] + "\x1b[0m\n" },
		"UTF-16, little endian": func(s string) string { return inUTF16("x\r\n"+s+"\r\n", binary.LittleEndian) },
		"UTF-16, big endian":    func(s string) string { return inUTF16("x\n"+s, binary.BigEndian) },
		"between other lines":   func(s string) string { return strings.Repeat("nothing here\n", 50000) + s + "\nnor here" },
	}
	for form, wrap := range forms {
		for _, s := range checks.Signatures() {
			for _, x := range s.Examples {
				got, _, err := scanner.Scan(strings.NewReader(wrap(x)), "f", evidence.Source{})
				if err != nil {
					t.Fatal(err)
				}
				if !slices.ContainsFunc(got, func(m evidence.LogMessage) bool { return m.Signature == s.ID }) {
					t.Errorf("%s: %s is not recognised in %s", form, s.ID, x)
				}
			}
		}
	}
}

// TestExplainIsTheSameFromEverySource reads one log as a file, a file from a place within, a pipe, a plain reader, and packed.
func TestExplainIsTheSameFromEverySource(t *testing.T) {
	log := strings.Repeat("[2025-03-02 08:00:00.000][1][info][main] all is well\n", 20000) + refused + refused
	path := filepath.Join(t.TempDir(), "envoy.log")
	within := path + ".within"
	if err := errors.Join(os.WriteFile(path, []byte(log), 0o600), os.WriteFile(within, []byte(refused+log), 0o600)); err != nil {
		t.Fatal(err)
	}
	open := func(name string, at int64) *os.File {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		if _, err := f.Seek(at, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		return f
	}
	pipe, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	written := make(chan error, 1)
	go func() {
		_, err := io.WriteString(w, log)
		written <- errors.Join(err, w.Close())
	}()
	packed := path + ".gz"
	if err := os.WriteFile(packed, []byte(zipped(t, log)), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]io.Reader{
		"file": open(path, 0), "file from a place": open(within, int64(len(refused))), "pipe": pipe, "reader": strings.NewReader(log),
		"packed file": open(packed, 0), "packed": iotest.OneByteReader(strings.NewReader(zipped(t, log))),
	} {
		rep, err := Explain(t.Context(), "envoy.log", r)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if rep.Verdict != diagnose.CausesFound || len(rep.Causes) != 1 || rep.Causes[0].Check != "controlplane/missing-oauth-scope" {
			t.Fatalf("%s: %s, %+v", name, rep.Verdict, rep.Causes)
		}
		if e := rep.Causes[0].Evidence[0].Excerpt; !strings.Contains(e, "line 20001 (2 times") {
			t.Errorf("%s: evidence %q", name, e)
		}
		if want := "envoy.log was read as log: 2 lines with a known message, of 20002"; !slices.Contains(rep.Notes, want) {
			t.Errorf("%s: notes %q lack %q", name, rep.Notes, want)
		}
	}
	if err := <-written; err != nil {
		t.Error(err)
	}
}

// TestExplainTellsHarmlessFromUnknown has a log of routine reconnects, and one of which nothing is known.
func TestExplainTellsHarmlessFromUnknown(t *testing.T) {
	routine := "2020-06-30T00:09:33.231051Z\twarning\tenvoy config\tStreamAggregatedResources gRPC config stream closed: 13, \nx\n" +
		"2020-06-30T00:38:40.846070Z\twarning\tenvoy config\tStreamAggregatedResources gRPC config stream closed: 13, \n"
	for _, tc := range []struct{ name, log, headline, note string }{
		{"harmless", routine, "What meshdiag knows in the 3 lines read tells no fault.",
			"known, and no fault as it stands here: an xDS stream to the control plane ended (envoy-stream-closed), 2 times, lines 1 to 3, 2020-06-30T00:09:33Z to 2020-06-30T00:38:40Z; first: "},
		{"unknown", "a\nb\n", "Nothing that meshdiag knows is in the 2 lines read.", "log was read as log: no known message in 2 lines"},
		{"one line", "a", "Nothing that meshdiag knows is in the line read.", "log was read as log: no known message in 1 line"},
	} {
		rep, err := Explain(t.Context(), "log", strings.NewReader(tc.log))
		if err != nil {
			t.Fatal(err)
		}
		if rep.Verdict != diagnose.Inconclusive || len(rep.Causes) > 0 || rep.Headline != tc.headline {
			t.Errorf("%s: %s, %q, %+v", tc.name, rep.Verdict, rep.Headline, rep.Causes)
		}
		if !slices.ContainsFunc(rep.Notes, func(n string) bool { return strings.HasPrefix(n, tc.note) }) {
			t.Errorf("%s: notes %q lack %q", tc.name, rep.Notes, tc.note)
		}
	}
}

// TestExplainCorpus holds that a real gateway's reconnects are no fault.
// TestExplainPasted holds that a failure pasted by itself has its cause, and that the same line within a log has none.
func TestExplainPasted(t *testing.T) {
	const stream = "StreamAggregatedResources gRPC config stream closed: "
	const dial = `14, connection error: desc = "transport: Error while dialing: dial tcp`
	for text, want := range map[string]diagnose.CheckID{
		stream + dial + `: lookup trafficdirector.googleapis.com: no such host"`:   "controlplane/stream-errors",
		stream + dial + ` 142.250.74.170:443: i/o timeout"`:                        "controlplane/stream-errors",
		stream + dial + ` 142.250.74.170:443: connect: connection refused"`:        "controlplane/stream-errors",
		stream + "8, Quota exceeded for quota metric 'Stream requests'":            "controlplane/quota-exhausted",
		stream + "3, Invalid node id":                                              "controlplane/stream-errors",
		"failed to connect to upstream istiod.istio-system.svc:15012: i/o timeout": "controlplane/stream-errors",
		stream + "13, ": "",
		stream + `14, closing transport due to: connection error: desc = "error reading from server: EOF", received prior goaway: code: NO_ERROR, debug data: `: "",
	} {
		rep, err := Explain(t.Context(), "pasted", strings.NewReader(text+"\n"))
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case want == "" && len(rep.Causes) > 0:
			t.Errorf("%s: found %s", text, rep.Causes[0].Check)
		case want != "" && (len(rep.Causes) != 1 || rep.Causes[0].Check != want || rep.Causes[0].Confidence != diagnose.Possible):
			t.Errorf("%s: found %+v, want %s, possible", text, rep.Causes, want)
		}
		rep, err = Explain(t.Context(), "log", strings.NewReader(text+strings.Repeat("\n[info] nothing of note", 20)+"\n"))
		if err != nil || len(rep.Causes) > 0 {
			t.Errorf("%s, in a log: found %v (%v)", text, rep.Causes, err)
		}
	}
}

// TestExplainArchive holds that an archive is told from a log, wherever it comes from.
func TestExplainArchive(t *testing.T) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: "envoy.log", Mode: 0o600, Size: int64(len(refused))}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, refused); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"bundle.tar": b.String(), "bundle.tar.gz": zipped(t, b.String())} {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for _, in := range []io.Reader{f, strings.NewReader(text)} {
			if _, err := Explain(t.Context(), name, in); !errors.Is(err, ErrArchive) || err.Error() != name+" "+ErrArchive.Error() {
				t.Errorf("%s: %v", name, err)
			}
		}
		if !IsArchive([]byte(text)) {
			t.Errorf("%s is not told from a text", name)
		}
	}
	for _, text := range []string{"", refused, zipped(t, refused), strings.Repeat("ustar ", 200)} {
		if IsArchive([]byte(text)) {
			t.Errorf("%.40q is told to be an archive", text)
		}
	}
}

func TestExplainCorpus(t *testing.T) {
	f, err := os.Open(filepath.Join("..", "..", "..", "..", "shared", "corpus", "logs", "istio-ingress-gateway.log"))
	if err != nil {
		t.Skipf("the corpus of real logs is not here: %v", err)
	}
	defer f.Close()
	rep, err := Explain(t.Context(), "gateway.log", f)
	if err != nil || len(rep.Causes) > 0 {
		t.Errorf("%+v, %v", rep.Causes, err)
	}
}

func TestExplainBadInput(t *testing.T) {
	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	packed := zipped(t, strings.Repeat("a line of a log\n", 10000))
	for _, tc := range []struct {
		name string
		r    io.Reader
		want string
	}{
		{"empty", strings.NewReader(""), "log is empty"},
		{"a byte order mark alone", strings.NewReader("\xef\xbb\xbf"), "log is empty"},
		{"folder", dir, "log is a folder; a file was expected"},
		{"packed and cut off", strings.NewReader(packed[:len(packed)-20]), "reading log: gzip: it ends in the middle (cut off?)"},
		{"packed and broken", strings.NewReader(packed[:3] + "xxxx"), "reading log: gzip: "},
		{"broken", iotest.ErrReader(io.ErrClosedPipe), "reading log: " + io.ErrClosedPipe.Error()},
	} {
		_, err := Explain(t.Context(), "log", tc.r)
		if err == nil || !strings.HasPrefix(err.Error(), tc.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %v, want %s", tc.name, err, tc.want)
		}
	}
}

// TestUnpackedIsBounded has a text that unpacks to more than it may.
func TestUnpackedIsBounded(t *testing.T) {
	_, err := io.Copy(io.Discard, &bounded{strings.NewReader("12345678"), 7})
	if err == nil || !strings.Contains(err.Error(), "unpacks to more than") {
		t.Errorf("error %v", err)
	}
}

// TestExplainStops holds that a read that never returns doesn't outlive its caller's patience.
func TestExplainStops(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := Explain(ctx, "log", r)
		ended <- err
	}()
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestHarmlessIsBounded(t *testing.T) {
	var l []evidence.LogMessage
	for i := range maxHarmless + 5 {
		l = append(l, evidence.LogMessage{Signature: fmt.Sprintf("s%d", i), Count: 1, Line: i + 1, LastLine: i + 1, Text: strings.Repeat("ü", maxQuote)})
	}
	notes := withoutCause(l, nil)
	if len(notes) != maxHarmless+1 || !strings.Contains(notes[maxHarmless], "more") || strings.ContainsRune(notes[0], '\ufffd') {
		t.Errorf("%d notes: %q", len(notes), notes)
	}
}
