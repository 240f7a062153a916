package logscan

import (
	"bytes"
	"io"

	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"
)

const esc = 0x1b

// newText gives the text of r as UTF-8 without a byte order mark and without terminal control sequences (ECMA-48: colours,
// titles). Without a byte order mark the bytes are taken as they are.
func newText(r io.Reader) io.Reader {
	return &stripper{r: transform.NewReader(r, unicode.BOMOverride(transform.Nop))}
}

// stripper drops terminal control sequences.
type stripper struct {
	r  io.Reader
	in sequence
}

// sequence says which part of a control sequence comes next.
type sequence int

const (
	none     sequence = iota
	afterESC          // the byte after ESC
	inCSI             // parameters of ESC [ … up to a byte of 0x40 to 0x7e
	inOSC             // ESC ] … up to BEL or ESC \
	inOSCEnd          // the byte after an ESC in an OSC
)

func (s *stripper) Read(p []byte) (int, error) {
	for {
		n, err := s.r.Read(p)
		if n > 0 && (s.in != none || bytes.IndexByte(p[:n], esc) >= 0) {
			n = s.strip(p[:n])
		}
		if n > 0 || err != nil || len(p) == 0 {
			return n, err
		}
	}
}

// strip drops the sequences in b, in place, and gives the length of what is left. A line feed ends any sequence: what looks
// like one in a broken log swallows the rest of its line at most.
func (s *stripper) strip(b []byte) int {
	out := 0
	keep := func(c byte) { b[out] = c; out++ }
	for _, c := range b {
		if c == '\n' {
			s.in = none
		}
		switch s.in {
		case none:
			if c == esc {
				s.in = afterESC
			} else {
				keep(c)
			}
		case afterESC:
			switch c {
			case '[':
				s.in = inCSI
			case ']':
				s.in = inOSC
			default:
				s.in = none
			}
		case inCSI:
			if c >= 0x40 && c <= 0x7e {
				s.in = none
			}
		case inOSC:
			switch c {
			case '\a':
				s.in = none
			case esc:
				s.in = inOSCEnd
			}
		case inOSCEnd:
			s.in = none
		}
	}
	return out
}
