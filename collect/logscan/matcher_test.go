package logscan

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// naive is the matcher as anyone would write it.
func naive(anchors [][]byte, line []byte) []int {
	var out []int
	for i, a := range anchors {
		if bytes.Contains(line, a) {
			out = append(out, i)
		}
	}
	return out
}

// found gives, a line with an occurrence, the line's start and the anchors in it, as the matcher says.
func found(m *matcher, b []byte) map[int][]int {
	out := map[int][]int{}
	for from := 0; from < len(b); {
		pos := m.next(b, from)
		if pos < 0 {
			break
		}
		start := bytes.LastIndexByte(b[:pos], '\n') + 1
		end := len(b)
		if i := bytes.IndexByte(b[pos:], '\n'); i >= 0 {
			end = pos + i
		}
		var hits []int
		m.all(b[start:end], func(_, a int) { hits = append(hits, a) })
		slices.Sort(hits)
		out[start] = slices.Compact(hits)
		from = end + 1
	}
	return out
}

func compare(t *testing.T, anchors [][]byte, b []byte) {
	t.Helper()
	want := map[int][]int{}
	start := 0
	for line := range bytes.SplitSeq(b, []byte("\n")) {
		if hits := naive(anchors, line); hits != nil {
			want[start] = hits
		}
		start += len(line) + 1
	}
	for _, counts := range [][]uint32{nil, gramCounts(b)} {
		if got := found(newMatcher(anchors, counts), b); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("anchors %q in %q: lines and anchors %v, want %v", anchors, b, got, want)
		}
	}
}

func TestMatcherAgreesWithNaive(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	word := func(n, letters int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte('a' + r.IntN(letters))
		}
		return b
	}
	for range 800 {
		letters := 1 + r.IntN(5)
		var anchors [][]byte
		for range 1 + r.IntN(6) {
			anchors = append(anchors, word(MinAnchor+r.IntN(20), letters))
		}
		var b []byte
		for range r.IntN(30) {
			b = append(b, word(r.IntN(60), letters)...)
			if r.IntN(4) == 0 {
				b = append(b, anchors[r.IntN(len(anchors))]...)
				b = append(b, word(r.IntN(20), letters)...)
			}
			b = append(b, '\n')
		}
		if r.IntN(3) == 0 && len(b) > 0 {
			b = b[:r.IntN(len(b))]
		}
		compare(t, anchors, b)
	}
}

func TestMatcherWithoutAnchors(t *testing.T) {
	if got := newMatcher(nil, nil).next([]byte("anything at all"), 0); got != -1 {
		t.Errorf("next = %d, want -1", got)
	}
}

func TestFilterStaysSparse(t *testing.T) {
	var anchors [][]byte
	for i := range 100 {
		anchors = append(anchors, []byte(fmt.Sprintf("anchor number %d of the test", i*7919)))
	}
	anchors = append(anchors, []byte("8 bytes!"))
	set := 0
	for _, w := range newMatcher(anchors, nil).table {
		set += int(w)
	}
	if most := 1 << tableBits / 50; set > most {
		t.Errorf("%d entries of the filter are set with 101 anchors, want at most %d", set, most)
	}
}

func FuzzMatcher(f *testing.F) {
	f.Add("config stream\nconnection\n", "x\n[warning] gRPC config stream closed: 5, \nno connection\n")
	f.Add("aaaaaaaa", strings.Repeat("a", 30))
	f.Add("abcdefgh\nbcdefghi", "abcdefghi")
	f.Fuzz(func(t *testing.T, list, text string) {
		var anchors [][]byte
		for a := range strings.SplitSeq(list, "\n") {
			if len(a) >= MinAnchor {
				anchors = append(anchors, []byte(a))
			}
		}
		compare(t, anchors, []byte(text))
	})
}
