package logscan

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
)

// What a worker remembers of lines that it has seen.
const (
	// maxRemembered is the longest line that is remembered. Longer ones are rarely repeated, and cost more to compare.
	maxRemembered = 4 << 10
	// maxMemory bounds the text of the lines remembered; a proxy in trouble repeats a few dozen.
	maxMemory = 1 << 20
	// recentLines are those that the next line may be like; buckets are for those that come between others.
	recentLines = 8
	buckets     = 128
	// wordLen is how many bytes are compared at a time where digits may differ.
	wordLen = 8
)

// memory holds lines that hold an anchor, and what they say. A line is the same as another if only the times that they carry
// differ: a log in which every line is a hit mustn't cost a regular expression each.
type memory struct {
	seed   maphash.Seed
	lines  map[uint64]*remembered
	size   int
	masked []byte

	bucket [buckets]*remembered // the last line that fell there
	recent [recentLines]*remembered
	oldest int
}

func newMemory() memory {
	return memory{seed: maphash.MakeSeed(), lines: map[uint64]*remembered{}}
}

func (m *memory) full() bool { return m.size > maxMemory }

// remembered is a line.
type remembered struct {
	text  []byte // its times masked
	hits  []hit
	when  moment
	words []pattern8 // of the text's start, up to the last digit of a time
}

// pattern8 is eight bytes of a line, with digits left open: those where digits has 0xf, and want '0'.
type pattern8 struct{ want, digits uint64 }

// The low and the high nibble of each byte, as far as comparing digits takes them.
const (
	sixes = 0x0606060606060606 // what makes a nibble above nine overflow
	tens  = 0x1010101010101010 // where it does
)

// fits says whether a line is this one, but for its times. Where a time stands in a line depends on which bytes are digits,
// not on their values, so this is the same as to mask the line and compare.
func (r *remembered) fits(line []byte) bool {
	if len(line) != len(r.text) {
		return false
	}
	at := 0
	for _, p := range r.words {
		at = min(at, len(line)-wordLen)
		x := binary.LittleEndian.Uint64(line[at:])
		if (x^p.want)&^p.digits != 0 || (x&p.digits+p.digits&sixes)&tens != 0 {
			return false
		}
		at += wordLen
	}
	return bytes.Equal(line[at:], r.text[at:])
}

// atStart gives the remembered line that b begins with, and how long it is with its end; nil if that isn't quickly found.
func (m *memory) atStart(b []byte) (*remembered, int) {
	for _, r := range m.recent {
		if r == nil {
			break
		}
		n := len(r.text)
		switch {
		case n < len(b) && b[n] == '\n':
			n++
		case n+1 < len(b) && b[n] == '\r' && b[n+1] == '\n':
			n += 2
		default:
			continue
		}
		if r.fits(b[:len(r.text)]) {
			return r, n
		}
	}
	return nil, 0
}

// find gives a remembered line, nil if it isn't one.
func (m *memory) find(line []byte) *remembered {
	if len(line) > maxRemembered {
		return nil
	}
	slot := m.slot(line)
	if r := *slot; r != nil && r.fits(line) {
		m.touch(r)
		return r
	}
	masked, _ := m.mask(line)
	r := m.lines[maphash.Bytes(m.seed, masked)]
	if r == nil || !bytes.Equal(r.text, masked) {
		return nil
	}
	*slot = r
	m.touch(r)
	return r
}

// slot gives the bucket of a line, which holds an anchor and so isn't empty. The bytes looked at are seldom those of a time.
func (m *memory) slot(line []byte) **remembered {
	n := len(line)
	return &m.bucket[(n+31*int(line[n-1])+7*int(line[n*3/4]))%buckets]
}

// touch makes a line one of the recent ones.
func (m *memory) touch(r *remembered) {
	for _, x := range m.recent {
		if x == r {
			return
		}
	}
	m.recent[m.oldest] = r
	m.oldest = (m.oldest + 1) % recentLines
}

// mask gives a line with its times masked, until the next call, and says whether it has any.
func (m *memory) mask(line []byte) ([]byte, bool) {
	m.masked = append(m.masked[:0], line...)
	return m.masked, mask(m.masked, '0')
}

// keep remembers a line.
func (m *memory) keep(line, masked []byte, timed bool, hits []hit) {
	r := &remembered{text: bytes.Clone(masked), hits: append([]hit(nil), hits...), when: findTime(line[:min(len(line), timeReach)], line)}
	if timed {
		nines := bytes.Clone(line)
		mask(nines, '9')
		last := 0
		for i := range nines {
			if nines[i] != masked[i] {
				last = i + 1
			}
		}
		for at := 0; at < last; at += wordLen {
			from := min(at, len(line)-wordLen)
			var p pattern8
			p.want = binary.LittleEndian.Uint64(masked[from:])
			for i := range wordLen {
				if nines[from+i] != masked[from+i] {
					p.digits |= 0xf << (8 * i)
				}
			}
			r.words = append(r.words, p)
		}
	}
	h := maphash.Bytes(m.seed, masked)
	if m.lines[h] != nil {
		return // two lines of one hash: the other was first
	}
	m.lines[h] = r
	m.size += len(masked)
	*m.slot(line) = r
	m.touch(r)
}
