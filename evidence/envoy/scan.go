package envoy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unsafe"
)

const (
	// MaxInput bounds one file: larger than any real dump (a proxy with 20,000 clusters prints about 100 MB).
	MaxInput = 512 << 20

	// maxDepth bounds nesting. Envoy's own JSON parser stops at 100.
	maxDepth = 128

	// maxProblems bounds the list of values that had the wrong type.
	maxProblems = 50

	// keptFactor bounds the memory of what's kept to so many times the file's size, plus keptFloor: a file of empty
	// objects would otherwise grow fifty times.
	keptFactor = 8
	keptFloor  = 1 << 20

	// maxInterned bounds the table of strings that occur again and again.
	maxInterned = 1 << 16
)

// SyntaxError says that a file isn't whole JSON: cut off, or broken.
type SyntaxError struct {
	Truncated bool
	Offset    int    // in bytes, from 0
	Place     string // the value being read: "configs[2].dynamic_listeners[4].active_state"
	Reason    string // empty where Truncated
}

func (e *SyntaxError) Error() string {
	at := ""
	if e.Place != "" {
		at = ", in " + e.Place
	}
	if e.Truncated {
		return fmt.Sprintf("cut off at byte %d%s", e.Offset, at)
	}
	return fmt.Sprintf("not JSON at byte %d%s: %s", e.Offset, at, e.Reason)
}

// Problem is a value that was passed over because it isn't what the field holds.
type Problem struct {
	Place  string
	Reason string // "expected an object, found a number"
}

// cursor reads JSON in one pass over the bytes: no tree is built, and a value nobody asks for costs a scan.
// Its error is sticky: after it every reader gives zero values, so that decoders need no error handling of their own.
type cursor struct {
	b        []byte
	i        int
	err      *SyntaxError
	place    []step
	problems []Problem
	interned map[string]string
	budget   int  // bytes of memory that what's kept may still take
	full     bool // the budget is spent, something was left out
	nesting  []byte
	scratch  []byte
	camel    bool // a field's name was in camelCase
	wrong    int  // values passed over for their type
}

type step struct {
	key   string
	index int // with key "": an array's element
}

func newCursor(b []byte) *cursor {
	b = bytes.TrimPrefix(b, []byte("\xef\xbb\xbf"))
	return &cursor{b: b, interned: map[string]string{}, budget: keptFactor*len(b) + keptFloor}
}

func (c *cursor) where() string {
	var s strings.Builder
	for i, p := range c.place {
		switch {
		case s.Len() > 400:
			s.WriteString("…")
			return s.String()
		case p.key == "":
			fmt.Fprintf(&s, "[%d]", p.index)
		case strings.ContainsAny(p.key, ".[] \n") || len(p.key) > 80:
			fmt.Fprintf(&s, "[%.80q]", p.key)
		default:
			if i > 0 {
				s.WriteByte('.')
			}
			s.WriteString(p.key)
		}
	}
	return s.String()
}

func (c *cursor) fail(reason string) {
	if c.err == nil {
		c.err = &SyntaxError{Offset: min(c.i, len(c.b)), Place: c.where(), Reason: reason, Truncated: c.i >= len(c.b)}
	}
}

func (c *cursor) problem(reason string) {
	if len(c.problems) < maxProblems {
		c.problems = append(c.problems, Problem{Place: c.where(), Reason: reason})
	}
}

// room takes n bytes from the budget and says whether there were as many.
func (c *cursor) room(n uintptr) bool {
	c.budget -= int(n)
	if c.budget < 0 && !c.full {
		c.full = true
		c.problem("too many small values for a file of this size: the rest of its kind was left out")
	}
	return c.budget >= 0
}

// keep appends v to s if the budget has room for it.
func keep[T any](c *cursor, s []T, v T) []T {
	if c.err != nil || !c.room(unsafe.Sizeof(v)) {
		return s
	}
	return append(s, v)
}

func (c *cursor) space() {
	for c.i < len(c.b) {
		switch c.b[c.i] {
		case ' ', '\n', '\t', '\r':
			c.i++
		default:
			return
		}
	}
}

// peek gives the next value's first byte, or 0 at an error or the end.
func (c *cursor) peek() byte {
	if c.err != nil {
		return 0
	}
	if c.space(); c.i >= len(c.b) {
		c.fail("")
		return 0
	}
	return c.b[c.i]
}

// expects passes over a value of another type. A null is the absence of a value, and no problem.
func (c *cursor) expects(what string) {
	k := c.peek()
	found := map[byte]string{'{': "an object", '[': "an array", '"': "a string", 't': "a boolean", 'f': "a boolean"}[k]
	if found == "" {
		found = "a number"
	}
	if k != 'n' && c.err == nil {
		c.wrong++
		c.problem("expected " + what + ", found " + found)
	}
	c.skip()
}

// object calls f for each member, its name in snake_case; f may read the value or leave it.
func (c *cursor) object(f func(key string)) bool { return c.members(true, f) }

// dict is object for members whose names are data.
func (c *cursor) dict(f func(key string)) bool { return c.members(false, f) }

func (c *cursor) members(fields bool, f func(key string)) bool {
	if c.peek() != '{' {
		c.expects("an object")
		return false
	}
	if !c.deeper() {
		return false
	}
	c.i++
	for first := true; ; first = false {
		k := c.peek()
		if k == '}' {
			c.i++
			return true
		}
		if !first {
			if k != ',' {
				c.fail("expected , or } after a member")
				return false
			}
			c.i++
			k = c.peek()
		}
		if k != '"' {
			c.fail("expected a member's name in quotes")
			return false
		}
		raw, ok := c.quoted()
		if !ok {
			return false
		}
		key := c.name(raw, fields)
		if c.peek() != ':' {
			c.fail("expected : after a member's name")
			return false
		}
		c.i++
		c.place = append(c.place, step{key: key})
		c.space()
		at := c.i
		f(key)
		if c.err == nil && c.i == at {
			c.skip()
		}
		if c.err != nil {
			return false
		}
		c.place = c.place[:len(c.place)-1]
	}
}

// array calls f for each element; f may read it or leave it.
func (c *cursor) array(f func(i int)) bool {
	if c.peek() != '[' {
		c.expects("an array")
		return false
	}
	if !c.deeper() {
		return false
	}
	c.i++
	for n := 0; ; n++ {
		k := c.peek()
		if k == ']' {
			c.i++
			return true
		}
		if n > 0 {
			if k != ',' {
				c.fail("expected , or ] after an element")
				return false
			}
			c.i++
		}
		c.place = append(c.place, step{index: n})
		c.peek()
		at := c.i
		f(n)
		if c.err == nil && c.i == at {
			c.skip()
		}
		if c.err != nil {
			return false
		}
		c.place = c.place[:len(c.place)-1]
	}
}

func (c *cursor) deeper() bool {
	if c.err == nil && len(c.place) >= maxDepth {
		c.fail(fmt.Sprintf("nested deeper than %d levels", maxDepth))
	}
	return c.err == nil
}

// quoted passes over a string and gives what's between its quotes, escapes as written.
func (c *cursor) quoted() ([]byte, bool) {
	for i := c.i + 1; i < len(c.b); i++ {
		switch c.b[i] {
		case '"':
			s := c.b[c.i+1 : i]
			c.i = i + 1
			return s, true
		case '\\':
			i++
		}
	}
	c.i = len(c.b)
	c.fail("")
	return nil, false
}

// name interns a member's name; a field's is turned to snake_case.
func (c *cursor) name(raw []byte, field bool) string {
	if field {
		s := c.scratch[:0]
		for i, x := range raw {
			// "@type" and names of constants stay as they are.
			if x >= 'A' && x <= 'Z' && i > 0 && raw[0] >= 'a' && raw[0] <= 'z' {
				s, c.camel = append(s, '_', x+'a'-'A'), true
			} else {
				s = append(s, x)
			}
		}
		c.scratch, raw = s, s
	}
	if !field && bytes.IndexByte(raw, '\\') >= 0 {
		return unescape(raw)
	}
	return c.intern(raw)
}

func (c *cursor) intern(raw []byte) string {
	if s, ok := c.interned[string(raw)]; ok {
		return s
	}
	s := string(raw)
	if len(s) <= 256 && len(c.interned) < maxInterned {
		c.interned[s] = s
	}
	return s
}

func unescape(raw []byte) string {
	q := make([]byte, 0, len(raw)+2)
	q = append(append(append(q, '"'), raw...), '"')
	var s string
	if err := json.Unmarshal(q, &s); err != nil {
		return string(raw)
	}
	return s
}

// str reads a string; any scalar is taken as its text, since proto JSON writes enums and 64-bit numbers either way.
func (c *cursor) str() string {
	switch k := c.peek(); k {
	case '"':
		raw, ok := c.quoted()
		if !ok {
			return ""
		}
		if bytes.IndexByte(raw, '\\') >= 0 {
			return unescape(raw)
		}
		return c.intern(raw)
	case '{', '[':
		c.expects("a string")
		return ""
	default:
		return c.scalar()
	}
}

// scalar reads a number, true or false as its text, and null as "".
func (c *cursor) scalar() string {
	at := c.i
	c.skip()
	if s := string(c.b[at:c.i]); c.err == nil && s != "null" {
		return s
	}
	return ""
}

// num reads a whole number, quoted or not.
func (c *cursor) num() int {
	k := c.peek()
	if k == '{' || k == '[' {
		c.expects("a number")
		return 0
	}
	s := c.str()
	if s == "" || c.err != nil {
		return 0
	}
	n, err := strconv.ParseFloat(s, 64)
	if err != nil || n != n || n > 1<<53 || n < -(1<<53) {
		c.problem(fmt.Sprintf("expected a number, found %.40q", s))
		return 0
	}
	return int(n)
}

func (c *cursor) boolean() bool {
	switch c.peek() {
	case 't', 'f':
		return c.scalar() == "true"
	default:
		c.expects("true or false")
		return false
	}
}

// wrapped reads a scalar that proto JSON writes bare, and some tools as {"value": …}.
func (c *cursor) wrapped(f func()) {
	if c.peek() != '{' {
		f()
		return
	}
	c.object(func(key string) {
		if key == "value" {
			f()
		}
	})
}

func (c *cursor) strs() []string {
	var out []string
	c.array(func(int) {
		if s := c.str(); c.err == nil {
			out = keep(c, out, s)
		}
	})
	return out
}

// skip passes over one value of any kind.
func (c *cursor) skip() {
	if c.err != nil {
		return
	}
	c.nesting = c.nesting[:0]
	for {
		if c.space(); c.i >= len(c.b) {
			c.fail("")
			return
		}
		switch k := c.b[c.i]; k {
		case '"':
			if _, ok := c.quoted(); !ok {
				return
			}
		case '{', '[':
			if len(c.nesting)+len(c.place) >= maxDepth {
				c.fail(fmt.Sprintf("nested deeper than %d levels", maxDepth))
				return
			}
			c.nesting = append(c.nesting, k+2) // '{'+2 is '}', '['+2 is ']'
			c.i++
			continue
		case '}', ']':
			if len(c.nesting) == 0 || c.nesting[len(c.nesting)-1] != k {
				c.fail(fmt.Sprintf("unexpected %c", k))
				return
			}
			c.nesting = c.nesting[:len(c.nesting)-1]
			c.i++
		case ',', ':':
			if len(c.nesting) == 0 {
				c.fail(fmt.Sprintf("unexpected %c", k))
				return
			}
			c.i++
			continue
		default:
			if !c.literal() {
				return
			}
		}
		if len(c.nesting) == 0 {
			return
		}
	}
}

// literal passes over a number, true, false or null.
func (c *cursor) literal() bool {
	at := c.i
	for c.i < len(c.b) {
		k := c.b[c.i]
		if k >= '0' && k <= '9' || k >= 'a' && k <= 'z' || k == 'E' || k == '-' || k == '+' || k == '.' {
			c.i++
			continue
		}
		break
	}
	if c.i == at {
		c.fail(fmt.Sprintf("unexpected character %q", c.b[at]))
		return false
	}
	if c.i == len(c.b) && len(c.nesting)+len(c.place) > 0 {
		c.fail("") // the number may go on
		return false
	}
	switch s := c.b[at:c.i]; {
	case s[0] == '-' || s[0] >= '0' && s[0] <= '9', string(s) == "true", string(s) == "false", string(s) == "null":
		return true
	}
	c.i = at
	c.fail(fmt.Sprintf("unexpected %.20q", c.b[at:]))
	return false
}
