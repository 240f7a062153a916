package logscan

import (
	"bytes"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestScanLineOf50MB has messages at the start, in the middle and at the end of a line of 50 MB, in a file and in a stream.
func TestScanLineOf50MB(t *testing.T) {
	line := bytes.Repeat([]byte("0123456 "), 50<<20/8)
	for i, at := range []int{0, len(line) / 2, len(line) - 40} {
		copy(line[at:], fmt.Sprintf("gRPC config stream closed: %d, x ", i+1))
	}
	text := bytes.Join([][]byte{[]byte("gRPC config stream closed: 7, x"), line, []byte("gRPC config stream closed: 9, x")}, []byte("\n"))
	s := scanner(t, diagnose.Signature{ID: "s", Anchors: closed.Anchors, Pattern: `gRPC config stream closed: (?P<code>\d+)`})
	for name, scan := range map[string]func() ([]evidence.LogMessage, Stats, error){
		"file": func() ([]evidence.LogMessage, Stats, error) {
			return s.ScanFile(t.Context(), bytes.NewReader(text), int64(len(text)), "f", evidence.Source{})
		},
		"stream": func() ([]evidence.LogMessage, Stats, error) {
			return s.Scan(io.MultiReader(bytes.NewReader(text)), "f", evidence.Source{})
		},
	} {
		got, stats, err := scan()
		if err != nil || len(got) != 5 || stats.Lines != 3 || stats.Matched != 3 || stats.Bytes != int64(len(text)) {
			t.Fatalf("%s: %d messages, %+v, %v", name, len(got), stats, err)
		}
		for _, m := range got {
			if want := map[string]int{"7": 1, "1": 2, "2": 2, "3": 2, "9": 3}[m.Fields["code"]]; m.Line != want {
				t.Errorf("%s: code %s on line %d, want %d", name, m.Fields["code"], m.Line, want)
			}
		}
	}
}

// TestScanBoundsTriesOnOneLine has anchors in more windows of a line than a pattern is tried on.
func TestScanBoundsTriesOnOneLine(t *testing.T) {
	line := bytes.Repeat([]byte("x"), (maxWindows+10)*hop)
	for i := range maxWindows + 10 {
		copy(line[i*hop+100:], "gRPC config stream")
	}
	_, stats, err := scanner(t).Scan(bytes.NewReader(line), "f", evidence.Source{})
	if err != nil || stats.Dropped != 10 {
		t.Errorf("%+v, %v; want 10 dropped", stats, err)
	}
}

// TestScansAgreeBeyondTheBound has more distinct messages than are kept, in many blocks.
func TestScansAgreeBeyondTheBound(t *testing.T) {
	var b bytes.Buffer
	for i := range maxPerSignature + 300 {
		fmt.Fprintf(&b, "StreamX gRPC config stream closed: %d, x\nTraffic Director configuration was not found\ngRPC config stream closed: %d, x\n", i, i%7)
	}
	for _, block := range []int{500, 5000, 1 << 20} {
		compareScans(t, b.Bytes(), block, 200, 3)
	}
}

// endless gives a text of lines, none like another but for what they are, up to a size.
type endless struct {
	left, line int
	rest       []byte
}

func (e *endless) Read(p []byte) (int, error) {
	if e.left <= 0 {
		return 0, io.EOF
	}
	n := 0
	for n < len(p) {
		if len(e.rest) == 0 {
			e.line++
			e.rest = fmt.Appendf(nil, "[2024-05-01 10:11:12.345][%d][warning] gRPC config stream closed since %ds ago: 14, no healthy upstream %d\n", e.line, e.line, e.line%5000)
		}
		m := copy(p[n:], e.rest)
		e.rest = e.rest[m:]
		n += m
	}
	e.left -= n
	return n, nil
}

// TestScanMemoryIsConstant holds what is in use at the end of a scan to a bound that doesn't depend on the log's length,
// where no line is like another and there are more messages than are kept.
func TestScanMemoryIsConstant(t *testing.T) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	s := scanner(t)
	got, stats, err := s.Scan(&endless{left: 3 << 20}, "f", evidence.Source{})
	runtime.GC()
	runtime.ReadMemStats(&after)
	if err != nil || len(got) != maxPerSignature || stats.Dropped == 0 {
		t.Fatalf("%d messages, %+v, %v", len(got), stats, err)
	}
	if used := int64(after.HeapAlloc) - int64(before.HeapAlloc); used > 8<<20 {
		t.Errorf("%d bytes are in use after the scan", used)
	}
	runtime.KeepAlive(got)
}

func TestScanSurvivesNULs(t *testing.T) {
	text := strings.Repeat("\x00", 300) + "gRPC config stream closed: 5, a\x00b\n" + strings.Repeat("\x00\n", 500)
	compareScans(t, []byte(text), 64, 10, 2)
}
