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
	// slotCount is for the lines that are found at once: several times what a proxy in trouble writes on its many threads.
	slotCount = 1 << 10
	// wordLen is how many bytes are compared at a time where digits may differ.
	wordLen = 8
	// hashMul64 is 2^64 divided by the golden ratio.
	hashMul64 = 0x9E3779B97F4A7C15
)

// memory holds lines that hold an anchor, and what they say. A line is the same as another if only the times that they carry
// differ: a log in which every line is a hit mustn't cost a regular expression each.
type memory struct {
	seed   maphash.Seed
	lines  map[uint64]*remembered
	size   int
	masked []byte

	// slots holds lines by a hash that leaves out the digits that times had in the line before, shape. Lines of one log have
	// their times in the same places as a rule; one that hasn't is found by its mask.
	slots [slotCount]*remembered
	shape []pattern8
}

func newMemory() memory {
	return memory{seed: maphash.MakeSeed(), lines: map[uint64]*remembered{}}
}

func (m *memory) full() bool { return m.size > maxMemory }

// remembered is a line.
type remembered struct {
	text    []byte // its times masked
	hits    []hit
	watched bool // it is to be shown to the watch
	when    moment
	words   []pattern8 // of the text's start, up to the last digit of a time
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

// find gives a remembered line, nil if it isn't one. line may be any, but isn't shorter than a word.
func (m *memory) find(line []byte) *remembered {
	if r := m.atOnce(line); r != nil || len(line) > maxRemembered {
		return r
	}
	masked, _ := m.mask(line)
	r := m.lines[maphash.Bytes(m.seed, masked)]
	if r == nil || !bytes.Equal(r.text, masked) {
		return nil
	}
	m.place(r, line)
	return r
}

// atOnce gives a remembered line if it is found without masking it.
func (m *memory) atOnce(line []byte) *remembered {
	if len(line) < wordLen {
		return nil
	}
	if r := m.slots[m.hash(line)]; r != nil && r.fits(line) {
		return r
	}
	return nil
}

// place makes a line found at once.
func (m *memory) place(r *remembered, line []byte) {
	if len(r.words) > 0 {
		m.shape = r.words
	}
	m.slots[m.hash(line)] = r
}

// hash gives the slot of a line of at least a word. Behind the shape it takes some words of the line, not all: lines that are
// the same there share a slot, and the last of them has it.
func (m *memory) hash(line []byte) uint64 {
	var h uint64
	at := 0
	for _, p := range m.shape {
		if at+wordLen > len(line) {
			break
		}
		h = (h ^ binary.LittleEndian.Uint64(line[at:])&^p.digits) * hashMul64
		at += wordLen
	}
	last := len(line) - wordLen
	for _, i := range [...]int{min(at, last), (at + last) / 2, last} {
		h = (h ^ binary.LittleEndian.Uint64(line[min(i, last):])) * hashMul64
		h ^= h >> 32
	}
	return (h + uint64(len(line))) % slotCount
}

// mask gives a line with its times masked, until the next call, and says whether it has any.
func (m *memory) mask(line []byte) ([]byte, bool) {
	m.masked = append(m.masked[:0], line...)
	return m.masked, mask(m.masked, '0')
}

// keep remembers a line.
func (m *memory) keep(line, masked []byte, timed, watched bool, hits []hit) {
	r := &remembered{text: bytes.Clone(masked), hits: append([]hit(nil), hits...), watched: watched, when: findTime(line[:min(len(line), timeReach)], line)}
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
	m.place(r, line)
}
