package logscan

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// equivalenceSignatures have in them what makes scans go wrong: anchors in each other, fields before the anchor, fields that
// may hold a time, quotes, and patterns for the start of a line.
var equivalenceSignatures = []diagnose.Signature{
	closed,
	notFound,
	{ID: "product", Anchors: []string{" configuration was not found"}, Pattern: `(?P<product>\w+ \w+) configuration was not found`},
	{ID: "inner", Anchors: []string{"aaaaaaaa", "aaaaaaaab"}, Pattern: `(?P<before>.?)(?P<run>a{8,9})(?P<after>.?)`},
	{ID: "expired", Anchors: []string{"certificate has expired"}, Pattern: `certificate has expired: current time (?P<now>\S+)(?: is after (?P<end>\S+))?`},
	{ID: "own-line", Anchors: []string{"Requested entity"}, Pattern: `^\s*(?:\d+, )?Requested entity (?P<what>\w+)`},
	{ID: "late", Anchors: []string{"warming listener"}, Pattern: `at (?P<at>\d\d:\d\d:\d\d)?.*warming listener (?P<name>[^ \n]*)`},
}

// tiny are sizes that put an edge of a block nearly everywhere.
func tiny(block, tail, workers int) sizes {
	return sizes{block: block, tail: tail, sample: max(len(utf8Mark), block), ahead: 3, workers: workers}
}

// pieces hands out a text n bytes at a time.
type pieces struct {
	text string
	n    int
}

func (p *pieces) Read(b []byte) (int, error) {
	if p.text == "" {
		return 0, io.EOF
	}
	n := copy(b, p.text[:min(p.n, len(p.text))])
	p.text = p.text[n:]
	return n, nil
}

// shown are lines that a watch was shown.
type shown struct {
	number int // from 1
	text   string
}

// watching gives a watch that keeps what it is shown.
func watching(into *[]shown) Watch {
	return func() (func([]byte, int), func(int)) {
		var part []shown
		return func(text []byte, n int) { part = append(part, shown{n, string(text)}) }, func(before int) {
			for _, s := range part {
				*into = append(*into, shown{before + s.number + 1, s.text})
			}
		}
	}
}

// equivalenceWatched share lines, and texts, with the signatures.
var equivalenceWatched = []string{"warming listener", "aaaaaaaab", "gRPC config stream closed: 13", `\"warming`, "10:11:12.345] "}

// compareScans holds every way to scan a text to the naive one.
func compareScans(t *testing.T, text []byte, block, tail, workers int) {
	t.Helper()
	compareScansOf(t, equivalenceSignatures, equivalenceWatched, text, block, tail, workers)
}

func compareScansOf(t *testing.T, signatures []diagnose.Signature, watched []string, text []byte, block, tail, workers int) {
	t.Helper()
	whole, err := New(signatures, watched...)
	if err != nil {
		t.Fatal(err)
	}
	var seen []shown
	whole = whole.Watched(watching(&seen))
	cut := *whole
	cut.sizes = tiny(max(1, block), max(0, tail), max(1, workers))
	want, wantStats, wantShown := naiveScan(whole, text, "f")
	for name, scan := range map[string]func() ([]evidence.LogMessage, Stats, error){
		"whole": func() ([]evidence.LogMessage, Stats, error) {
			return whole.Scan(bytes.NewReader(text), "f", evidence.Source{})
		},
		"stream": func() ([]evidence.LogMessage, Stats, error) {
			return cut.Scan(bytes.NewReader(text), "f", evidence.Source{})
		},
		"pieces": func() ([]evidence.LogMessage, Stats, error) {
			return cut.Scan(&pieces{string(text), max(1, tail)}, "f", evidence.Source{})
		},
		"file": func() ([]evidence.LogMessage, Stats, error) {
			return cut.ScanFile(t.Context(), bytes.NewReader(text), int64(len(text)), "f", evidence.Source{})
		},
	} {
		seen = nil
		got, stats, err := scan()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !slices.Equal(seen, wantShown) {
			t.Fatalf("%s, blocks of %d, tail %d: the watch was shown\n%+v, want\n%+v\nin %.2000q", name, block, tail, seen, wantShown, text)
		}
		if stats != wantStats {
			t.Errorf("%s, blocks of %d, tail %d: %+v, want %+v", name, block, tail, stats, wantStats)
		}
		if len(got) != len(want) {
			t.Fatalf("%s, blocks of %d, tail %d: %d messages, want %d\n%+v\n%+v", name, block, tail, len(got), len(want), got, want)
		}
		for i := range got {
			if !reflect.DeepEqual(got[i], want[i]) {
				t.Fatalf("%s, blocks of %d, tail %d: message %d is\n%+v, want\n%+v\nin %.2000q", name, block, tail, i, got[i], want[i], text)
			}
		}
	}
}

// fragments are what random texts are made of.
var fragments = []string{
	"[2024-05-01 10:11:12.345][12][warning] ", "[2024-05-01 10:11:13.345][12][warning] ", "2024-05-01T10:11:12.345678Z\twarn\t", "W0501 10:11:12.345678       1 x.go:1] ",
	"2024-05-01T10:11:12+09:00 stderr F ", "2023/01/31 23:59:59 ", "10:11:12 ", "12:34:56:78 ", "May  1 10:11:12 host envoy[12]: ",
	"gRPC config stream closed: 14, no healthy upstream", "gRPC config stream closed: 13, ", "gRPC config stream to xds closed since 52s ago: 5, ", "gRPC config stream",
	missing, strings.ReplaceAll(missing, `"`, `\"`), "Traffic Director configuration was not found", "aaaaaaaa", "aaaaaaaab", "a", "aaa",
	"certificate has expired: current time 2024-05-01T10:11:12Z is after 2024-04-30T00:00:00Z", "certificate has expired: current time 09:08:07", "5, Requested entity gone",
	"at 10:11:12 ", "warming listener x", "warming listener ",
	`{"ts":1714558272.25,"message":"`, `{"log":"[2024-05-01 10:11:12.345] `, `","time":"2024-05-01T10:11:12.5Z"}`, `{"time":"2024-05-01T10:11:14Z","message":"`, `"}`, `\u0022`, `\"`, `"`,
	"\n", "\n", "\n", "\r\n", "\r", "\x00", "\x1b[33m", "\x1b[", "\x1b]0;t", "\a", "\x1b\\", "\x1b", " ", "x", "ü", "\xff", "…",
}

func randomText(r *rand.Rand) []byte {
	var b bytes.Buffer
	for range r.IntN(60) {
		f := fragments[r.IntN(len(fragments))]
		if r.IntN(20) == 0 {
			f = f[:r.IntN(len(f)+1)]
		}
		b.WriteString(f)
	}
	if r.IntN(3) == 0 {
		again(&b, r)
	}
	switch r.IntN(20) {
	case 0:
		return append([]byte("\xef\xbb\xbf"), b.Bytes()...)
	case 1:
		return inUTF16(b.String(), binary.LittleEndian)
	case 2:
		return inUTF16(b.String(), binary.BigEndian)
	}
	return b.Bytes()
}

// again repeats a text's lines, with other digits here and there: those of times, and others.
func again(b *bytes.Buffer, r *rand.Rand) {
	lines := bytes.SplitAfter(bytes.Clone(b.Bytes()), []byte("\n"))
	for range r.IntN(30) {
		line := bytes.Clone(lines[r.IntN(len(lines))])
		for i, c := range line {
			if digit(c) && r.IntN(4) == 0 {
				line[i] = '0' + byte(r.IntN(10))
			}
		}
		if r.IntN(10) == 0 && len(line) > 0 {
			line[r.IntN(len(line))] = "x0:\n"[r.IntN(4)]
		}
		b.Write(line)
	}
}

func inUTF16(s string, order binary.AppendByteOrder) []byte {
	b := order.AppendUint16(nil, 0xfeff)
	for _, u := range utf16.Encode([]rune(s)) {
		b = order.AppendUint16(b, u)
	}
	return b
}

func TestScansAgreeWithNaive(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 500 {
		text := randomText(r)
		compareScans(t, text, 1+r.IntN(1+r.IntN(len(text)+200)), r.IntN(40), 1+r.IntN(3))
	}
}

func FuzzScanEquivalence(f *testing.F) {
	r := rand.New(rand.NewPCG(5, 6))
	for i := range 40 {
		f.Add(randomText(r), i, i%7, 2)
	}
	f.Add([]byte(strings.Repeat("x", 3*hop)+closed.Anchors[0]+" closed: 5, y\r\nz"), hop, 3, 2)
	f.Fuzz(func(t *testing.T, text []byte, block, tail, workers int) {
		compareScans(t, text, 1+(block&0xffff), tail&0xff, 1+(workers&3))
	})
}

// TestScansAgreeOnLongLines puts messages around the edges of the windows of lines that are longer than all that is kept.
func TestScansAgreeOnLongLines(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for range 6 {
		var b bytes.Buffer
		for range 1 + r.IntN(3) {
			line := bytes.Repeat([]byte("x "), r.IntN(4*hop))
			for range r.IntN(8) {
				f := fragments[r.IntN(len(fragments))]
				at := r.IntN(len(line) + 1)
				if r.IntN(2) == 0 {
					at = min(max(0, r.IntN(9)*hop/2-r.IntN(60)), len(line))
				}
				if !strings.ContainsAny(f, "\n\x1b") {
					copy(line[at:], f)
				}
			}
			b.WriteString("2024-05-01T10:11:12Z ")
			b.Write(line)
			b.WriteString([]string{"\n", "\r\n", "\r", ""}[r.IntN(4)])
		}
		compareScans(t, b.Bytes(), 1+r.IntN(2*hop), r.IntN(1000), 2)
	}
}

// TestScansAgreeOnEdges holds the smallest case of each edge.
func TestScansAgreeOnEdges(t *testing.T) {
	line := closed.Anchors[0] + " closed: 5, x"
	for _, text := range []string{
		"", "\n", "\r\n", "\n\n", line, line + "\n", line + "\r\n", line + "\r", "\n" + line, "a\n" + line + "\n" + line + "\nb",
		line + "\n\n" + line + "\n", "\xef\xbb\xbf" + line, "\xef\xbb\xbf", "\xff\xfe", "\xff", "\x1b", "\x1b[" + line, "\x1b[1m\n" + line,
	} {
		for block := 1; block <= len(text)+2; block++ {
			for _, tail := range []int{0, 50} {
				compareScans(t, []byte(text), block, tail, 2)
			}
		}
	}
}

// TestRepeatedLinesCount has one message at a thousand times, with others between, in many blocks.
func TestRepeatedLinesCount(t *testing.T) {
	var b bytes.Buffer
	for i := range 5000 {
		fmt.Fprintf(&b, "[2024-05-01 %02d:%02d:%02d.%03d][12][warning] StreamX gRPC config stream closed: %d, x\n", i/3600, i/60%60, i%60, i%1000, []int{13, 14, 14}[i%3])
		if i%7 == 0 {
			fmt.Fprintf(&b, "nothing at %d\n", i)
		}
	}
	for _, block := range []int{1 << 8, 1 << 12, 1 << 20} {
		compareScans(t, b.Bytes(), block, 200, 2)
	}
}

func TestScanFileStops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err := scanner(t).ScanFile(ctx, strings.NewReader("text"), 4, "envoy.log", evidence.Source{})
	if err == nil || err.Error() != "reading envoy.log: stopped: context canceled" {
		t.Errorf("error %v", err)
	}
}

func TestScanFileThatShrank(t *testing.T) {
	text := strings.Repeat("gRPC config stream closed: 5, x\n", 1000)
	s := scanner(t)
	s.sizes = tiny(1000, 100, 2)
	got, stats, err := s.ScanFile(t.Context(), strings.NewReader(text), int64(len(text))+5000, "envoy.log", evidence.Source{})
	if err == nil || err.Error() != "reading envoy.log: the file got shorter meanwhile" {
		t.Errorf("error %v", err)
	}
	if len(got) != 1 || got[0].Count != stats.Matched || stats.Matched < 900 {
		t.Errorf("what was read before is lost: %+v, %+v", got, stats)
	}
}

// panicking is a file that a worker breaks on.
type panicking struct{ io.ReaderAt }

func (p panicking) ReadAt(b []byte, at int64) (int, error) {
	if at > 5000 {
		panic("broken")
	}
	return p.ReaderAt.ReadAt(b, at)
}

// TestScanPanicsInTheCaller holds that a fault in a worker doesn't end the program behind its caller's back.
func TestScanPanicsInTheCaller(t *testing.T) {
	text := strings.Repeat("gRPC config stream closed: 5, x\n", 1000)
	s := scanner(t)
	s.sizes = tiny(1000, 100, 2)
	defer func() {
		if p := recover(); !strings.Contains(fmt.Sprint(p), "broken") {
			t.Errorf("recovered %v", p)
		}
	}()
	_, _, _ = s.ScanFile(t.Context(), panicking{strings.NewReader(text)}, int64(len(text)), "f", evidence.Source{})
	t.Error("no panic")
}

// FuzzLineTime holds the reading of times to regular expressions that say what they look like.
func FuzzLineTime(f *testing.F) {
	for _, s := range fragments {
		f.Add(s)
	}
	f.Add("[2024-05-01 10:11:12.1234567891Z")
	f.Add("12024-05-01 10:11:12 2024/05-01T10:11:12,5+0930")
	f.Add(`{"time" : "short", "ts":12345678, "@timestamp":	"2024-05-01T10:11:12-01:00"}`)
	f.Add(`"receiveTimestamp":17145582722501.`)
	f.Fuzz(func(t *testing.T, line string) {
		b := []byte(line)
		head := b[:min(len(b), timeReach)]
		if got, want := lineTime(head, b, new(stampReader)), naiveTime(head, b); !got.Equal(want) {
			t.Errorf("%q: %v, want %v", line, got, want)
		}
		masked := bytes.Clone(b)
		mask(masked, '0')
		if len(masked) != len(b) {
			t.Fatal("masking changes the length")
		}
		for i, c := range b {
			if masked[i] != c && (!digit(c) || masked[i] != '0') {
				t.Fatalf("%q is masked as %q", b, masked)
			}
		}
	})
}
