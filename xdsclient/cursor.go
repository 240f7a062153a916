package xdsclient

import (
	"errors"
	"fmt"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
)

// ErrMalformed is wrapped by every error about an answer that is not what the protocol allows.
var ErrMalformed = errors.New("malformed CSDS answer")

// Reasons for which wire data is refused; each is wrapped with the place it was found at.
var (
	errTruncated = fmt.Errorf("%w: a length runs past the end", ErrMalformed)
	errVarint    = fmt.Errorf("%w: a varint does not end", ErrMalformed)
	errTag       = fmt.Errorf("%w: an impossible field number or wire type", ErrMalformed)
	errGroup     = fmt.Errorf("%w: a group does not end", ErrMalformed)
	errUTF8      = fmt.Errorf("%w: a string is not UTF-8", ErrMalformed)
)

// maxGroups bounds how deep groups nest, as protobuf's own decoder does.
const maxGroups = 10000

// reader goes through the fields of one message that lies in one slice.
type reader struct {
	b   []byte
	err error

	num protowire.Number
	typ protowire.Type
	n   uint64 // value of a varint field
	v   []byte // value of a bytes field; valid as long as b
}

// next reads a field, and gives false at the end and on an error.
func (r *reader) next() bool {
	b := r.b
	if len(b) == 0 {
		return false
	}
	t, i := uint64(b[0]), 1
	if t >= 0x80 {
		if t, i = uvarint(b, 0); i < 0 {
			return r.fail(errVarint)
		}
	}
	r.num, r.typ = protowire.Number(t>>3), protowire.Type(t&7)
	if t>>3 == 0 || t>>3 > uint64(protowire.MaxValidNumber) {
		return r.fail(errTag)
	}
	switch r.typ {
	case protowire.BytesType:
		var n uint64
		if i < len(b) && b[i] < 0x80 {
			n, i = uint64(b[i]), i+1
		} else if n, i = uvarint(b, i); i < 0 {
			return r.fail(errVarint)
		}
		if n > uint64(len(b)-i) {
			return r.fail(errTruncated)
		}
		end := i + int(n)
		r.v, r.b = b[i:end:end], b[end:]
		return true
	case protowire.VarintType:
		if r.n, i = uvarint(b, i); i < 0 {
			return r.fail(errVarint)
		}
	case protowire.Fixed32Type:
		i += 4
	case protowire.Fixed64Type:
		i += 8
	case protowire.StartGroupType:
		n := protowire.ConsumeFieldValue(r.num, r.typ, b[i:])
		if n < 0 {
			return r.fail(errGroup)
		}
		i += n
	default:
		return r.fail(errTag)
	}
	if i > len(b) {
		return r.fail(errTruncated)
	}
	r.b = b[i:]
	return true
}

func (r *reader) fail(err error) bool {
	r.err = err
	return false
}

// bytes says whether the field is number num and of the wire type of strings and messages. A known field of another wire
// type is an unknown field, and skipped.
func (r *reader) bytes(num protowire.Number) bool {
	return r.num == num && r.typ == protowire.BytesType
}

// varint is bytes for the wire type of integers, booleans and enums.
func (r *reader) varint(num protowire.Number) bool {
	return r.num == num && r.typ == protowire.VarintType
}

// uvarint reads the varint at b[i:], and gives where the next byte is, or -1.
func uvarint(b []byte, i int) (uint64, int) {
	if i+1 < len(b) { // most lengths and small numbers
		if b[i] < 0x80 {
			return uint64(b[i]), i + 1
		}
		if b[i+1] < 0x80 {
			return uint64(b[i]&0x7f) | uint64(b[i+1])<<7, i + 2
		}
	}
	v, n := protowire.ConsumeVarint(b[i:])
	if n < 0 {
		return 0, -1
	}
	return v, i + n
}

// cursor goes through the buffers of a message as the transport left them, so that the message as a whole is never copied.
type cursor struct {
	bufs    mem.BufferSlice
	i       int
	b       []byte // what is left of the current buffer
	left    int    // bytes left in all
	scratch []byte // for values that cross buffers
}

func newCursor(s mem.BufferSlice, scratch []byte) *cursor {
	c := &cursor{bufs: s, i: -1, left: s.Len(), scratch: scratch}
	c.advance()
	return c
}

func (c *cursor) advance() {
	for c.i+1 < len(c.bufs) {
		c.i++
		if c.b = c.bufs[c.i].ReadOnlyData(); len(c.b) > 0 {
			return
		}
	}
	c.b = nil
}

func (c *cursor) skip(n uint64) error {
	if n > uint64(c.left) {
		return errTruncated
	}
	c.left -= int(n)
	for n > uint64(len(c.b)) {
		n -= uint64(len(c.b))
		c.advance()
	}
	if c.b = c.b[n:]; len(c.b) == 0 {
		c.advance()
	}
	return nil
}

// take gives the next n bytes: as they lie where they are in one buffer, otherwise in scratch, until the next take.
func (c *cursor) take(n uint64) ([]byte, error) {
	if n <= uint64(len(c.b)) {
		v := c.b[:n:n]
		return v, c.skip(n)
	}
	if n > uint64(c.left) {
		return nil, errTruncated
	}
	out := c.scratch[:0]
	for n > 0 {
		k := min(n, uint64(len(c.b)))
		out = append(out, c.b[:k]...)
		if err := c.skip(k); err != nil {
			return nil, err
		}
		n -= k
	}
	c.scratch = out
	return out, nil
}

func (c *cursor) varint() (uint64, error) {
	if len(c.b) > 0 && c.b[0] < 0x80 {
		v := uint64(c.b[0])
		return v, c.skip(1)
	}
	if len(c.b) >= 10 { // the longest varint
		v, n := protowire.ConsumeVarint(c.b)
		if n < 0 {
			return 0, errVarint
		}
		return v, c.skip(uint64(n))
	}
	var v uint64
	for shift := uint(0); shift < 70; shift += 7 {
		if c.left == 0 {
			return 0, errVarint
		}
		x := c.b[0]
		if shift == 63 && x > 1 { // 64 bits are full
			return 0, errVarint
		}
		if err := c.skip(1); err != nil {
			return 0, err
		}
		if v |= uint64(x&0x7f) << shift; x < 0x80 {
			return v, nil
		}
	}
	return 0, errVarint
}

func (c *cursor) tag() (protowire.Number, protowire.Type, error) {
	t, err := c.varint()
	if err != nil {
		return 0, 0, err
	}
	if t>>3 == 0 || t>>3 > uint64(protowire.MaxValidNumber) {
		return 0, 0, errTag
	}
	return protowire.Number(t >> 3), protowire.Type(t & 7), nil
}

// skipField skips the value of a field whose tag was read.
func (c *cursor) skipField(num protowire.Number, typ protowire.Type) error {
	var open []protowire.Number // groups begun, innermost last
	for {
		switch typ {
		case protowire.VarintType:
			if _, err := c.varint(); err != nil {
				return err
			}
		case protowire.Fixed32Type:
			if err := c.skip(4); err != nil {
				return err
			}
		case protowire.Fixed64Type:
			if err := c.skip(8); err != nil {
				return err
			}
		case protowire.BytesType:
			n, err := c.varint()
			if err != nil {
				return err
			}
			if err := c.skip(n); err != nil {
				return err
			}
		case protowire.StartGroupType:
			if len(open) == maxGroups {
				return errGroup
			}
			open = append(open, num)
		case protowire.EndGroupType:
			if len(open) == 0 || open[len(open)-1] != num {
				return errTag
			}
			open = open[:len(open)-1]
		default:
			return errTag
		}
		if len(open) == 0 {
			return nil
		}
		if c.left == 0 {
			return errGroup
		}
		var err error
		if num, typ, err = c.tag(); err != nil {
			return err
		}
	}
}
