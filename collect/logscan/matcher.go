package logscan

import (
	"bytes"
	"encoding/binary"
)

// gramLen is the length of a gram. Four bytes are one load, and rare enough in logs to be worth a look each.
const gramLen = 4

// tableBits is the size of the gram filter, in bits of index: 2^16 bits are 8 KiB, which stay in the first level cache, and
// a hundred anchors of stride five set under one bit in a hundred.
const tableBits = 16

// hashMul spreads grams over the filter (Knuth's multiplicative hash: 2^32 divided by the golden ratio).
const hashMul = 0x9E3779B1

// matcher finds lines that hold one of many literal anchors.
//
// Every occurrence of an anchor of at least stride+3 bytes holds a gram of four bytes at some multiple of the stride,
// wherever the count begins. So only those positions are looked at: one load, one multiplication and one bit test each.
// The few that pass are compared with the anchors themselves.
type matcher struct {
	anchors [][]byte
	stride  int
	longest int
	table   [1 << tableBits / 64]uint64
	grams   map[uint32][]gramRef
}

// gramRef says that a gram stands at offset off of an anchor.
type gramRef struct{ anchor, off int }

// newMatcher makes a matcher. Each anchor must have at least MinAnchor bytes and no line feed.
func newMatcher(anchors [][]byte) *matcher {
	m := &matcher{anchors: anchors, grams: map[uint32][]gramRef{}}
	if len(anchors) == 0 {
		return m
	}
	shortest := len(anchors[0])
	for _, a := range anchors {
		shortest = min(shortest, len(a))
		m.longest = max(m.longest, len(a))
	}
	m.stride = shortest - gramLen + 1
	for i, a := range anchors {
		// Any run of stride grams will do. The last one of an anchor is usually rarer than the first: messages begin alike.
		first := len(a) - gramLen + 1 - m.stride
		for off := first; off < first+m.stride; off++ {
			g := binary.LittleEndian.Uint32(a[off:])
			m.grams[g] = append(m.grams[g], gramRef{i, off})
			h := g * hashMul >> (32 - tableBits)
			m.table[h>>6] |= 1 << (h & 63)
		}
	}
	return m
}

// next gives the start of an anchor's occurrence in b at or after from, -1 if there is none. No line before the one that
// holds the occurrence, and after from, holds any. from must be the start of a line.
func (m *matcher) next(b []byte, from int) int {
	if m.stride == 0 {
		return -1
	}
	for i := from; i+gramLen <= len(b); i += m.stride {
		if !m.maybe(binary.LittleEndian.Uint32(b[i:])) {
			continue
		}
		if start, _ := m.at(b, i, from); start >= 0 {
			return start
		}
	}
	return -1
}

// all calls hit for every occurrence of every anchor in b, in no set order; an occurrence may be told more than once.
func (m *matcher) all(b []byte, hit func(pos, anchor int)) {
	for i := 0; i+gramLen <= len(b); i++ {
		g := binary.LittleEndian.Uint32(b[i:])
		if !m.maybe(g) {
			continue
		}
		for _, r := range m.grams[g] {
			if s := i - r.off; s >= 0 && bytes.HasPrefix(b[s:], m.anchors[r.anchor]) {
				hit(s, r.anchor)
			}
		}
	}
}

// maybe says whether a gram may be one of the anchors'.
func (m *matcher) maybe(g uint32) bool {
	h := g * hashMul >> (32 - tableBits)
	return m.table[h>>6]&(1<<(h&63)) != 0
}

// at gives an occurrence, no earlier than from, whose gram stands at i.
func (m *matcher) at(b []byte, i, from int) (start, anchor int) {
	for _, r := range m.grams[binary.LittleEndian.Uint32(b[i:])] {
		if s := i - r.off; s >= from && bytes.HasPrefix(b[s:], m.anchors[r.anchor]) {
			return s, r.anchor
		}
	}
	return -1, -1
}
