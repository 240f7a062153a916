package logscan

import (
	"bytes"
	"encoding/binary"
)

const (
	// gramLen is the length of a gram. Four bytes are one load, and rare enough in logs to be worth a look each.
	gramLen = 4
	// stride is how far the positions are apart that are looked at: every occurrence of an anchor of stride+3 bytes, the
	// least that is taken, holds a gram at one of them.
	stride = MinAnchor - gramLen + 1
	// batch is how many positions are tested before the answer is looked at: their loads don't wait for each other.
	batch = 8
	// tableBits is the size of the gram filter, in bits of index. A hundred anchors of stride five set one entry in a hundred. An
	// entry is a byte, which takes half the instructions that a bit would: of the 64 KiB a log touches the few that its own grams
	// fall on, and those stay in the first level cache.
	tableBits = 16
	// slotBits is the size of the table of grams behind the filter.
	slotBits = 12
	// hashMul spreads grams over both (Knuth's multiplicative hash: 2^32 divided by the golden ratio).
	hashMul = 0x9E3779B1
)

// matcher finds lines that hold one of many literal anchors.
//
// Every occurrence of an anchor of at least stride+3 bytes holds a gram of four bytes at some multiple of the stride,
// wherever the count begins. So only those positions are looked at: one load, one multiplication and one look into a table each.
// The few that pass are compared with the anchors themselves.
type matcher struct {
	anchors [][]byte
	longest int
	table   [1 << tableBits]byte // 1 where a gram of some anchor falls
	slots   [1 << slotBits]int32 // the last of refs whose gram falls here, -1 for none
	refs    []gramRef
}

// gramRef says that a gram stands at offset off of an anchor.
type gramRef struct {
	gram   uint32
	anchor int32
	off    int32
	prev   int32 // the next one to look at in the same slot, -1 for none
}

// gramCounts counts a text's grams by the filter's entry that they fall on.
func gramCounts(text []byte) []uint32 {
	seen := make([]uint32, 1<<tableBits)
	for i := 0; i+gramLen <= len(text); i++ {
		seen[filterBit(binary.LittleEndian.Uint32(text[i:]))]++
	}
	return seen
}

// newMatcher makes a matcher. Each anchor must have at least MinAnchor bytes and no line feed. seen, which may be nil, counts
// the grams of text like that to be searched: of an anchor those are taken that are rare in it.
func newMatcher(anchors [][]byte, seen []uint32) *matcher {
	m := &matcher{anchors: anchors}
	for i := range m.slots {
		m.slots[i] = -1
	}
	for i, a := range anchors {
		m.longest = max(m.longest, len(a))
		first := rarest(a, seen)
		for off := first; off < first+stride; off++ {
			g := binary.LittleEndian.Uint32(a[off:])
			h, s := filterBit(g), slot(g)
			m.table[h] = 1
			m.refs = append(m.refs, gramRef{g, int32(i), int32(off), m.slots[s]})
			m.slots[s] = int32(len(m.refs) - 1)
		}
	}
	return m
}

// rarest gives where in an anchor the run of stride grams begins that pass the filter most seldom. Of equals it takes the
// last: messages begin alike.
func rarest(a []byte, seen []uint32) int {
	if seen == nil {
		return len(a) - (stride + gramLen - 1)
	}
	best, at := ^uint32(0), 0
	for first := 0; first+stride+gramLen-1 <= len(a); first++ {
		n := uint32(0)
		for off := first; off < first+stride; off++ {
			n += seen[filterBit(binary.LittleEndian.Uint32(a[off:]))]
		}
		if n <= best {
			best, at = n, first
		}
	}
	return at
}

func filterBit(g uint32) uint32 { return g * hashMul >> (32 - tableBits) }

func slot(g uint32) uint32 { return g * hashMul >> (32 - slotBits) }

// next gives the start of an anchor's occurrence in b at or after from, -1 if there is none. No line before the one that
// holds the occurrence, and after from, holds any. from must be the start of a line.
func (m *matcher) next(b []byte, from int) int {
	if len(m.anchors) == 0 {
		return -1
	}
	for i := from; i+gramLen <= len(b); {
		i += m.skip(b[i:])
		for range batch {
			if i+gramLen > len(b) {
				break
			}
			if g := binary.LittleEndian.Uint32(b[i:]); m.bit(g) != 0 {
				if start := m.at(b, i, from, g); start >= 0 {
					return start
				}
			}
			i += stride
		}
	}
	return -1
}

// skip gives a number of bytes at the start of b in which no gram of an anchor stands at a position that is looked at: a
// multiple of the stride.
func (m *matcher) skip(b []byte) int {
	p := b
	for len(p) > batch*stride {
		w := (*[batch * stride]byte)(p)
		x := m.bit(binary.LittleEndian.Uint32(w[0:])) | m.bit(binary.LittleEndian.Uint32(w[stride:])) |
			m.bit(binary.LittleEndian.Uint32(w[2*stride:])) | m.bit(binary.LittleEndian.Uint32(w[3*stride:])) |
			m.bit(binary.LittleEndian.Uint32(w[4*stride:])) | m.bit(binary.LittleEndian.Uint32(w[5*stride:])) |
			m.bit(binary.LittleEndian.Uint32(w[6*stride:])) | m.bit(binary.LittleEndian.Uint32(w[7*stride:]))
		if x != 0 {
			break
		}
		p = p[batch*stride:]
	}
	return len(b) - len(p)
}

// all calls hit for every occurrence of every anchor in b, in no set order; an occurrence may be told more than once.
func (m *matcher) all(b []byte, hit func(pos, anchor int)) {
	if len(m.anchors) == 0 {
		return
	}
	for i := 0; i+gramLen <= len(b); i++ {
		g := binary.LittleEndian.Uint32(b[i:])
		if m.bit(g) == 0 {
			continue
		}
		for k := m.slots[slot(g)]; k >= 0; k = m.refs[k].prev {
			r := m.refs[k]
			if s := i - int(r.off); r.gram == g && s >= 0 && bytes.HasPrefix(b[s:], m.anchors[r.anchor]) {
				hit(s, int(r.anchor))
			}
		}
	}
}

// bit gives the filter's entry of a gram.
func (m *matcher) bit(g uint32) byte { return m.table[filterBit(g)] }

// at gives an occurrence, no earlier than from, whose gram g stands at i.
func (m *matcher) at(b []byte, i, from int, g uint32) int {
	for k := m.slots[slot(g)]; k >= 0; k = m.refs[k].prev {
		r := m.refs[k]
		if s := i - int(r.off); r.gram == g && s >= from && bytes.HasPrefix(b[s:], m.anchors[r.anchor]) {
			return s
		}
	}
	return -1
}
