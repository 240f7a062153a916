package logscan

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// The bounds of a scan.
const (
	// MinAnchor is the least length of an anchor: a shorter one is in too many lines, and the matcher's stride would shrink.
	MinAnchor = 8
	// maxAnchor keeps an anchor well within what is kept on either side of a position in a long line.
	maxAnchor = 1 << 10
	// bufferSize is what is read at a time: enough to make the calls negligible, little enough for the second level cache.
	bufferSize = 256 << 10
	// reach is how much of a long line is kept before and after an anchor for the pattern to look at. Envoy's longest
	// rejections quote a whole resource, some tens of kilobytes.
	reach = 32 << 10
	// hop is how far the windows of a long line are apart; each is looked at once a signature, so a line costs its length a few
	// times over, whatever is in it.
	hop = 32 << 10
	// maxPerSignature bounds the distinct messages kept of one signature. A person reads a handful; a thousand nodes may well
	// be named.
	maxPerSignature = 1000
	// maxText bounds the excerpt of a line: a screenful.
	maxText = 2000
	// maxField bounds one field's value: resource names and reasons are shorter by far.
	maxField = 1000
)

// Scanner looks for the messages of its signatures. It may be used by several goroutines.
type Scanner struct {
	signatures []signature
	anchors    [][]byte
	owner      []int // the signature of each anchor
	matcher    *matcher
}

type signature struct {
	id      string
	pattern *regexp.Regexp
	names   []string
}

// Stats says what a scan went through.
type Stats struct {
	Bytes   int64 // of text, byte order marks and colours left out
	Lines   int
	Matched int // lines with a known message
	Dropped int // occurrences of distinct messages beyond the thousandth of their signature, which aren't told
}

// New makes a scanner. Checks may share a signature; it is looked for once. The error names the signature that is wrong: an
// anchor of less than [MinAnchor] bytes, a pattern that isn't a regular expression (RE2), or one id with two meanings.
func New(sigs []diagnose.Signature) (*Scanner, error) {
	s := &Scanner{}
	seen := map[string]diagnose.Signature{}
	for _, sig := range sigs {
		if old, ok := seen[sig.ID]; ok {
			if old.Pattern != sig.Pattern || !slices.Equal(old.Anchors, sig.Anchors) {
				return nil, fmt.Errorf("signature %q is given twice, with different anchors or patterns", sig.ID)
			}
			continue
		}
		seen[sig.ID] = sig
		if err := s.add(sig); err != nil {
			return nil, fmt.Errorf("signature %q: %w", sig.ID, err)
		}
	}
	s.matcher = newMatcher(s.anchors)
	return s, nil
}

func (s *Scanner) add(sig diagnose.Signature) error {
	switch {
	case sig.ID == "":
		return errors.New("has no id")
	case len(sig.Anchors) == 0:
		return errors.New("has no anchor")
	case sig.Pattern == "":
		return errors.New("has no pattern")
	}
	re, err := regexp.Compile(sig.Pattern)
	if err != nil {
		return fmt.Errorf("pattern: %w", err)
	}
	for _, a := range sig.Anchors {
		switch {
		case len(a) < MinAnchor:
			return fmt.Errorf("anchor %q has %d bytes, needs at least %d", a, len(a), MinAnchor)
		case len(a) > maxAnchor:
			return fmt.Errorf("anchor %.40q… has %d bytes, may have %d", a, len(a), maxAnchor)
		case strings.ContainsAny(a, "\n\r"):
			return fmt.Errorf("anchor %q holds a line break", a)
		}
		for _, sp := range spellings(a) {
			s.anchors = append(s.anchors, []byte(sp))
			s.owner = append(s.owner, len(s.signatures))
		}
	}
	s.signatures = append(s.signatures, signature{id: sig.ID, pattern: re, names: re.SubexpNames()})
	return nil
}

// Scan reads a log to its end and gives its known messages, in the order of their first lines. file and src are what the
// messages will name. Where reading fails, what was found so far comes with the error.
func (s *Scanner) Scan(r io.Reader, file string, src evidence.Source) ([]evidence.LogMessage, Stats, error) {
	c := &scan{Scanner: s, file: file, src: src, line: 1, groups: map[string]*evidence.LogMessage{},
		kept: make([]int, len(s.signatures)), first: map[int]int{}}
	err := c.read(newText(r))
	out := make([]evidence.LogMessage, 0, len(c.groups))
	for _, g := range c.groups {
		out = append(out, *g)
	}
	slices.SortFunc(out, func(a, b evidence.LogMessage) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Signature, b.Signature), cmp.Compare(key(a.Fields), key(b.Fields)))
	})
	if err != nil {
		return out, c.stats, fmt.Errorf("reading %s: %w", file, err)
	}
	return out, c.stats, nil
}

// scan is one scan under way.
type scan struct {
	*Scanner
	file   string
	src    evidence.Source
	stats  Stats
	line   int // number of the line at the start of the buffer
	groups map[string]*evidence.LogMessage
	kept   []int // distinct messages, by signature

	matchedLine int         // the last line counted in stats.Matched
	first       map[int]int // of one window, by signature: the position of its first anchor
}

// read goes through the text, a buffer at a time. What is kept from one to the next is the unfinished line; of a line
// longer than the buffer, its head and the bytes within reach.
func (c *scan) read(r io.Reader) error {
	buf := make([]byte, bufferSize)
	var head []byte // the start of the line that the buffer begins within; nil where it begins with a line
	n, done := 0, 0 // filled; of the first line, up to where it was looked at
	for {
		m, err := io.ReadFull(r, buf[n:])
		n += m
		c.stats.Bytes += int64(m)
		end := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !end {
			return err
		}
		b := buf[:n]
		whole := bytes.LastIndexByte(b, '\n') + 1
		if end {
			whole = n
		}
		if whole == 0 && !end {
			// A line longer than the buffer. Look at what has its full reach behind it, and keep what the rest needs before it.
			if head == nil {
				head = bytes.Clone(b[:min(n, timeReach)])
			}
			c.window(b, done, n-reach, head)
			copy(buf, b[n-2*reach:])
			n, done = 2*reach, reach
			continue
		}
		c.lines(b[:whole], done, head)
		n, done, head = copy(buf, b[whole:]), 0, nil
		if end {
			return nil
		}
	}
}

// lines looks at whole lines. Of the first, what comes before done was looked at, and head is its start, if not b's.
func (c *scan) lines(b []byte, done int, head []byte) {
	from, counted := 0, 0
	if done > 0 {
		first := len(b)
		if i := bytes.IndexByte(b, '\n'); i >= 0 {
			first = i
		}
		c.window(b[:first], done, first, head)
		from = min(first+1, len(b))
	}
	for from < len(b) {
		pos := c.matcher.next(b, from)
		if pos < 0 {
			break
		}
		start := bytes.LastIndexByte(b[:pos], '\n') + 1
		stop := len(b)
		if i := bytes.IndexByte(b[pos:], '\n'); i >= 0 {
			stop = pos + i
		}
		c.line += bytes.Count(b[counted:start], []byte{'\n'})
		counted = start
		line := bytes.TrimSuffix(b[start:stop], []byte{'\r'})
		c.window(line, 0, len(line), line[:min(len(line), timeReach)])
		from = stop + 1
	}
	c.line += bytes.Count(b[counted:], []byte{'\n'})
	c.stats.Lines = c.line - 1
	if len(b) > 0 && b[len(b)-1] != '\n' {
		c.stats.Lines++
	}
}

// window looks at the anchors that begin in line[from:to]. head is the start of the whole line.
func (c *scan) window(line []byte, from, to int, head []byte) {
	for ; from < to; from += hop {
		stop, first := min(from+hop, to), c.first
		clear(first)
		span := line[from:min(stop+c.matcher.longest-1, len(line))]
		if c.matcher.next(span, 0) < 0 {
			continue
		}
		c.matcher.all(span, func(pos, anchor int) {
			if pos += from; pos >= stop {
				return
			}
			sig := c.owner[anchor]
			if p, ok := first[sig]; !ok || pos < p {
				first[sig] = pos
			}
		})
		if len(first) == 0 {
			continue
		}
		start, end := max(0, from-reach), min(len(line), stop+reach)
		for sig := range c.signatures {
			if pos, ok := first[sig]; ok {
				c.try(sig, line[start:end], pos-start, head)
			}
		}
	}
}

// try runs a signature's pattern where one of its anchors stands at pos.
func (c *scan) try(sig int, text []byte, pos int, head []byte) {
	s := c.signatures[sig]
	for _, t := range texts(text, pos) {
		m := s.pattern.FindSubmatchIndex(t)
		if m == nil {
			continue
		}
		fields := map[string]string{}
		for i, name := range s.names {
			if name != "" && m[2*i] >= 0 {
				fields[name] = clean(t[m[2*i]:m[2*i+1]], maxField)
			}
		}
		c.add(sig, fields, t, m[0], head, text)
		return
	}
}

// add counts a message.
func (c *scan) add(sig int, fields map[string]string, text []byte, at int, head, line []byte) {
	if c.matchedLine != c.line {
		c.matchedLine = c.line
		c.stats.Matched++
	}
	id := c.signatures[sig].id
	k := id + "\x00" + key(fields)
	g := c.groups[k]
	if g == nil {
		if c.kept[sig] >= maxPerSignature {
			c.stats.Dropped++
			return
		}
		c.kept[sig]++
		g = &evidence.LogMessage{Signature: id, Fields: fields, File: c.file, Line: c.line, Source: c.src}
		g.Source.Detail = fmt.Sprintf("%s line %d", c.file, c.line)
		// The excerpt begins with the line where the message is near its start, else a little before the message.
		if at > maxText/2 {
			text = text[at-maxText/4:]
		}
		g.Text = clean(text, maxText)
		c.groups[k] = g
	}
	if g.LastLine == c.line {
		return // one line says a thing once, however often a long one repeats it
	}
	g.Count++
	g.LastLine = c.line
	if t := lineTime(head, line); !t.IsZero() {
		if g.First.IsZero() || t.Before(g.First) {
			g.First = t
		}
		if t.After(g.Last) {
			g.Last = t
		}
	}
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
