package logscan

import (
	"bytes"
	"errors"
	"io"

	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"
)

const esc = 0x1b

// decoded gives the text of r as UTF-8 without a byte order mark. Without a byte order mark the bytes are taken as they are.
func decoded(r io.Reader) (io.Reader, error) {
	var mark [3]byte
	n, err := io.ReadFull(r, mark[:])
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, err
	}
	start := bytes.Clone(mark[:n])
	if isUTF16(start) {
		return transform.NewReader(io.MultiReader(bytes.NewReader(start), r), unicode.BOMOverride(transform.Nop)), nil
	}
	start = bytes.TrimPrefix(start, []byte(utf8Mark))
	return &source{r: r, back: start}, nil
}

const utf8Mark = "\xef\xbb\xbf"

// isUTF16 says whether a text begins with one of UTF-16's byte order marks.
func isUTF16(b []byte) bool {
	return bytes.HasPrefix(b, []byte{0xff, 0xfe}) || bytes.HasPrefix(b, []byte{0xfe, 0xff})
}

// source reads what was put back, and then on.
type source struct {
	r    io.Reader
	back []byte
}

func (s *source) Read(p []byte) (int, error) {
	if len(s.back) > 0 {
		n := copy(p, s.back)
		s.back = s.back[n:]
		return n, nil
	}
	return s.r.Read(p)
}

// stripper drops terminal control sequences (ECMA-48: colours, titles) from text that comes in pieces.
type stripper struct{ in sequence }

// sequence says which part of a control sequence comes next.
type sequence int

const (
	none     sequence = iota
	afterESC          // the byte after ESC
	inCSI             // parameters of ESC [ … up to a byte of 0x40 to 0x7e
	inOSC             // ESC ] … up to BEL or ESC \
	inOSCEnd          // the byte after an ESC in an OSC
)

// strip drops the sequences in b, in place, and gives what is left. A line feed ends any sequence: what looks like one in a
// broken log swallows the rest of its line at most, and every line can be looked at for itself.
func (s *stripper) strip(b []byte) []byte {
	out := 0
	for i := 0; i < len(b); i++ {
		if s.in == none {
			n := bytes.IndexByte(b[i:], esc)
			if n < 0 {
				n = len(b) - i
			}
			if out != i {
				copy(b[out:], b[i:i+n])
			}
			out += n
			if i += n; i < len(b) {
				s.in = afterESC
			}
			continue
		}
		if b[i] == '\n' {
			s.in = none
			b[out] = '\n'
			out++
			continue
		}
		s.step(b[i])
	}
	return b[:out]
}

// step goes on by one byte within a sequence.
func (s *stripper) step(c byte) {
	switch s.in {
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
