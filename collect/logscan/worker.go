package logscan

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// maxKinds bounds the messages that a worker remembers.
const maxKinds = 1 << 12

// kind is one distinct message.
type kind struct {
	sig    int
	fields map[string]string
	key    string // signature and fields

	turn int // the worker's turn in which at is valid
	at   int // the place of its record in the result
}

// record counts one kind in the lines of one result.
type record struct {
	kind       *kind
	count      int
	line, last int // from 0
	from, to   time.Time
	text       string
}

// hit is one message in a line.
type hit struct {
	kind    *kind
	pos     int  // of the anchor
	variant int  // of the line's texts, which one the pattern matched
	at      int  // where in that
	timed   bool // a field holds one of the times that the line carries: another line has another
}

// worker looks at lines. It is used by one goroutine.
type worker struct {
	*Scanner
	matchers
	res  *result
	turn int

	kinds map[string]*kind
	memory
	clock stampReader
	hits  []hit // of the line
	first []int // by signature, the position of its first anchor in a window, -1 for none
	tried []int // by signature, the windows of the line that it was tried on
}

func newWorker(s *Scanner, m matchers) *worker {
	w := &worker{Scanner: s, matchers: m, kinds: map[string]*kind{}, memory: newMemory(),
		first: make([]int, len(s.signatures)), tried: make([]int, len(s.signatures))}
	w.begin()
	return w
}

// begin begins a new result.
func (w *worker) begin() *result {
	w.res = &result{}
	w.turn++
	if w.memory.full() || len(w.kinds) > maxKinds {
		clear(w.kinds)
		w.memory = newMemory()
	}
	return w.res
}

// block looks at whole lines, in place.
func (w *worker) block(b []byte) {
	if bytes.IndexByte(b, esc) >= 0 {
		b = new(stripper).strip(b)
	}
	w.res.bytes += int64(len(b))
	n, from := w.res.lines, 0 // n is the number of the line that begins at from
	dense := false            // lines that hold anchors follow each other
	for from < len(b) {
		if dense {
			// A proxy in trouble repeats itself: the line after one with an anchor is often one that is known.
			if i := bytes.IndexByte(b[from:], '\n'); i >= 0 {
				line := bytes.TrimSuffix(b[from:from+i], []byte{'\r'})
				if known := w.memory.atOnce(line); known != nil {
					if known.watched {
						w.show(line, n)
					}
					w.repeat(known, line, n)
					from += i + 1
					n++
					continue
				}
			}
		}
		pos := w.any.next(b, from)
		if pos < 0 {
			break
		}
		start, stop := from, len(b)
		dense = true
		if skipped := bytes.Count(b[from:pos], []byte{'\n'}); skipped > 0 {
			n += skipped
			start = from + lastLine(b[from:pos])
			dense = false
		}
		if i := bytes.IndexByte(b[pos:], '\n'); i >= 0 {
			stop = pos + i
		}
		w.line(bytes.TrimSuffix(b[start:stop], []byte{'\r'}), n)
		from = stop + 1
		n++
	}
	if from < len(b) {
		n += bytes.Count(b[from:], []byte{'\n'})
		if b[len(b)-1] != '\n' {
			n++
		}
	}
	w.res.lines = n
}

// lastLine gives where the last line of b begins, which holds a line feed. It does what bytes.LastIndexByte does, eight bytes
// at a time.
func lastLine(b []byte) int {
	const feeds, low, high = 0x0a0a0a0a0a0a0a0a, 0x7f7f7f7f7f7f7f7f, 0x8080808080808080
	end := len(b)
	for ; end >= wordLen; end -= wordLen {
		x := binary.LittleEndian.Uint64(b[end-wordLen:]) ^ feeds
		if zero := ^(x&low + low | x) & high; zero != 0 {
			return end - bits.LeadingZeros64(zero)/8
		}
	}
	return bytes.LastIndexByte(b[:end], '\n') + 1
}

// watches says whether a line is to be shown to the watch.
func (w *worker) watches(line []byte) bool {
	return w.watch != nil && len(line) <= maxWatched && w.watching.next(line, 0) >= 0
}

// show shows a line to the watch; n is its number.
func (w *worker) show(line []byte, n int) {
	if w.res.watched == nil {
		w.res.watched, w.res.done = w.watch()
	}
	w.res.watched(line, n)
}

// line looks at a line that is there as a whole, and holds an anchor; n is its number.
func (w *worker) line(line []byte, n int) {
	watched := w.watches(line)
	if watched {
		w.show(line, n)
		if w.own.next(line, 0) < 0 {
			return // such lines are rarely repeated: they aren't worth remembering
		}
	}
	known := w.memory.find(line)
	if known != nil {
		w.repeat(known, line, n)
		return
	}
	clear(w.tried)
	w.hits = w.hits[:0]
	head := line[:min(len(line), timeReach)]
	if len(line) <= maxRemembered {
		masked, timed := w.memory.mask(line)
		if timed {
			w.window(line, masked, 0, head, n)
		} else {
			w.window(line, nil, 0, head, n)
		}
		if !slices.ContainsFunc(w.hits, func(h hit) bool { return h.timed }) {
			w.memory.keep(line, masked, timed, watched, w.hits)
		}
	} else {
		for from := 0; from < len(line); from += hop {
			start := max(0, from-reach)
			w.window(line[start:min(from+hop+reach, len(line))], nil, from-start, head, n)
		}
	}
	if len(w.hits) > 0 {
		w.res.matched++
	}
}

// repeat counts what line n says, which is known but for the time that it carries.
func (w *worker) repeat(known *remembered, line []byte, n int) {
	if len(known.hits) == 0 {
		return
	}
	w.res.matched++
	at := known.when.read(line, &w.clock)
	for _, h := range known.hits {
		w.tell(h, line, at, n)
	}
}

// window looks at the anchors that begin in text[from:from+hop]. text is what of a line the patterns are given, masked the
// same without the times that it carries (nil where it carries none), head the line's start and n its number.
func (w *worker) window(text, masked []byte, from int, head []byte, n int) {
	stop := min(from+hop, len(text))
	span := text[from:min(stop+w.own.longest-1, len(text))]
	if w.own.next(span, 0) < 0 {
		return
	}
	for i := range w.first {
		w.first[i] = -1
	}
	w.own.all(span, func(pos, anchor int) {
		if pos += from; pos >= stop {
			return
		}
		if p := &w.first[w.owner[anchor]]; *p < 0 || pos < *p {
			*p = pos
		}
	})
	for sig, pos := range w.first {
		if pos < 0 {
			continue
		}
		if w.tried[sig]++; w.tried[sig] > maxWindows {
			w.res.dropped++
			continue
		}
		if h, ok := w.try(sig, text, masked, pos); ok {
			w.hits = append(w.hits, h)
			w.tell(h, text, lineTime(head, text, &w.clock), n)
		}
	}
}

// try runs a signature's pattern where one of its anchors stands at pos: on the text without its times, so that what it
// finds is true of each line that differs there alone. The fields are taken from the text itself.
func (w *worker) try(sig int, text, masked []byte, pos int) (hit, bool) {
	s := w.signatures[sig]
	plain := texts(text, pos)
	look, other := plain, [][]byte(nil)
	if masked != nil {
		nines := bytes.Clone(text)
		mask(nines, '9')
		zeros := texts(masked, pos)
		if other = texts(nines, pos); sameLengths(plain, zeros) && sameLengths(plain, other) {
			look = zeros
		} else {
			other = plain // which differs from itself nowhere: see timed below
		}
	}
	for v, t := range look {
		m := s.pattern.FindSubmatchIndex(t)
		if m == nil {
			continue
		}
		h := hit{variant: v, pos: pos, at: m[0]}
		fields := map[string]string{}
		for i, name := range s.names {
			if name == "" || m[2*i] < 0 {
				continue
			}
			fields[name] = clean(plain[v][m[2*i]:m[2*i+1]], maxField)
			if other != nil && !bytes.Equal(t[m[2*i]:m[2*i+1]], other[v][m[2*i]:m[2*i+1]]) {
				h.timed = true
			}
		}
		h.kind = w.kind(sig, fields)
		return h, true
	}
	return hit{}, false
}

func sameLengths(a, b [][]byte) bool {
	return slices.EqualFunc(a, b, func(x, y []byte) bool { return len(x) == len(y) })
}

// kind gives the one of a signature with these fields.
func (w *worker) kind(sig int, fields map[string]string) *kind {
	key := w.signatures[sig].id + "\x00" + key(fields)
	k := w.kinds[key]
	if k == nil {
		k = &kind{sig: sig, fields: fields, key: key}
		w.kinds[key] = k
	}
	return k
}

// tell counts a message of line n, which carries the time at.
func (w *worker) tell(h hit, text []byte, at time.Time, n int) {
	k := h.kind
	if k.turn != w.turn {
		k.turn, k.at = w.turn, len(w.res.records)
		w.res.records = append(w.res.records, record{kind: k, line: n, last: -1, text: excerpt(texts(text, h.pos)[h.variant], h.at)})
	}
	r := &w.res.records[k.at]
	if r.last == n {
		return // one line says a thing once, however often a long one repeats it
	}
	r.count++
	r.last = n
	if at.IsZero() {
		return
	}
	if r.from.IsZero() || at.Before(r.from) {
		r.from = at
	}
	if at.After(r.to) {
		r.to = at
	}
}

// excerpt shows a message that begins at a place of a text: with the line's start where that is near, else with a little of
// what stands before the message.
func excerpt(text []byte, at int) string {
	if at > maxText/2 {
		text = text[at-maxText/4:]
	}
	return clean(text, maxText)
}

// key writes fields so that equal ones are equal strings.
func key(fields map[string]string) string {
	if len(fields) == 0 {
		return ""
	}
	names := make([]string, 0, len(fields))
	for n := range fields {
		names = append(names, n)
	}
	slices.Sort(names)
	var b strings.Builder
	for _, n := range names {
		fmt.Fprintf(&b, "%s\x00%s\x00", n, fields[n])
	}
	return b.String()
}

// clean makes text safe to show: valid UTF-8, without control characters (a log must not drive the terminal it is shown on),
// cut to a length.
func clean(b []byte, most int) string {
	cut := len(b) > most
	if cut {
		b = b[:most]
		for len(b) > 0 && !utf8.RuneStart(b[len(b)-1]) {
			b = b[:len(b)-1]
		}
		if len(b) > 0 && b[len(b)-1] >= utf8.RuneSelf {
			b = b[:len(b)-1]
		}
	}
	s := strings.Map(func(r rune) rune {
		switch {
		case r == '\t' || r == '\n':
			return r
		case r < ' ' || r >= 0x7f && r < 0xa0:
			return utf8.RuneError
		}
		return r
	}, strings.ToValidUTF8(string(b), string(utf8.RuneError)))
	s = strings.TrimSpace(s)
	if cut {
		s += "…"
	}
	return s
}
