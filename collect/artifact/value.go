package artifact

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// value is a place in a JSON document. Reading something of the wrong type records one problem, which names the place, and
// goes on as if nothing stood there; a reader looks at the problem when it is done.
type value struct {
	v    any
	path string
	doc  *document
}

// document holds the first problem found in it.
type document struct{ err error }

// parse decodes a document, numbers as written.
func parse(raw json.RawMessage) (value, *document, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	doc := &document{}
	v := value{doc: doc}
	if err := d.Decode(&v.v); err != nil {
		return v, doc, fmt.Errorf("reading JSON: %w", err)
	}
	return v, doc, nil
}

// absent says that nothing stands there; protobuf's JSON form takes null for that too.
func (v value) absent() bool { return v.v == nil }

// wrong records a problem.
func (v value) wrong(want string) {
	if v.doc.err == nil {
		v.doc.err = fmt.Errorf("%s is %s, expected %s", v.where(), typeName(v.v), want)
	}
}

func (v value) where() string {
	if v.path == "" {
		return "the document"
	}
	return v.path
}

// get gives a field by its snake_case name, also where the document writes it in camelCase.
func (v value) get(name string) value {
	out := value{path: join(v.path, name), doc: v.doc}
	if v.absent() {
		return out
	}
	m, ok := v.v.(map[string]any)
	if !ok {
		v.wrong("an object")
		return out
	}
	if x, ok := m[name]; ok {
		out.v = x
		return out
	}
	if c := camel(name); c != name {
		if x, ok := m[c]; ok {
			out.v, out.path = x, join(v.path, c)
		}
	}
	return out
}

// list gives the elements of an array.
func (v value) list() []value {
	if v.absent() {
		return nil
	}
	l, ok := v.v.([]any)
	if !ok {
		v.wrong("an array")
		return nil
	}
	out := make([]value, len(l))
	for i, x := range l {
		out[i] = value{v: x, path: v.path + "[" + strconv.Itoa(i) + "]", doc: v.doc}
	}
	return out
}

// fields gives the fields of an object, by name.
func (v value) fields() []value {
	if v.absent() {
		return nil
	}
	m, ok := v.v.(map[string]any)
	if !ok {
		v.wrong("an object")
		return nil
	}
	names := slices.Sorted(maps.Keys(m))
	out := make([]value, len(names))
	for i, n := range names {
		out[i] = value{v: m[n], path: join(v.path, n), doc: v.doc}
	}
	return out
}

// name gives the last part of the path of a value that fields gave.
func (v value) name(parent value) string {
	return strings.TrimPrefix(strings.TrimPrefix(v.path, parent.path), ".")
}

// str gives a string; "" where nothing stands there.
func (v value) str() string {
	if v.absent() {
		return ""
	}
	s, ok := v.v.(string)
	if !ok {
		v.wrong("a string")
	}
	return s
}

// scalar gives a string, number or boolean as written.
func (v value) scalar() string {
	switch v.v.(type) {
	case map[string]any, []any:
		v.wrong("a string or number")
		return ""
	}
	return v.flat()
}

// flat gives any value as text: scalars as written, "" for null, the rest as compact JSON with sorted keys.
func (v value) flat() string {
	switch x := v.v.(type) {
	case nil:
		return ""
	case string:
		return x
	case json.Number:
		return x.String()
	case bool:
		return strconv.FormatBool(x)
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v.v); err != nil {
		return "" // what was decoded from JSON encodes
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// walk calls f for every value below v, v included, in the order of the names, until f says that it needn't go deeper.
func (v value) walk(f func(value) bool) {
	if !f(v) {
		return
	}
	switch v.v.(type) {
	case map[string]any:
		for _, x := range v.fields() {
			x.walk(f)
		}
	case []any:
		for _, x := range v.list() {
			x.walk(f)
		}
	}
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// camel gives the lowerCamelCase form of a snake_case name, as protobuf's JSON form does.
func camel(s string) string {
	var b strings.Builder
	up := false
	for _, c := range []byte(s) {
		switch {
		case c == '_':
			up = true
		case up && c >= 'a' && c <= 'z':
			b.WriteByte(c - 'a' + 'A')
			up = false
		default:
			b.WriteByte(c)
			up = false
		}
	}
	return b.String()
}

func typeName(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case string:
		return "a string"
	case json.Number:
		return "a number"
	case bool:
		return "a boolean"
	case []any:
		return "an array"
	}
	return "an object"
}
