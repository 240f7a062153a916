package logscan

import (
	"bytes"
	"encoding/json"
)

// texts gives what a pattern is tried on, best first, where line holds an anchor at pos: in JSON the string around the
// anchor, unescaped; then the line itself; then the line with its escaped quotes unescaped, as %q and structured logs write
// a message within a message.
func texts(line []byte, pos int) [][]byte {
	var out [][]byte
	if t := bytes.TrimLeft(line, " \t[,"); len(t) > 0 && (t[0] == '{' || t[0] == '"') {
		if s, ok := jsonString(line, pos); ok {
			out = append(out, s)
		}
	}
	out = append(out, line)
	if bytes.Contains(line, []byte(`\"`)) {
		out = append(out, bytes.ReplaceAll(line, []byte(`\"`), []byte(`"`)))
	}
	return out
}

// jsonString gives the JSON string around pos, unescaped.
func jsonString(line []byte, pos int) ([]byte, bool) {
	open := -1
	for i := pos; i >= 0; i-- {
		if line[i] == '"' && !escaped(line, i) {
			open = i
			break
		}
	}
	if open < 0 {
		return nil, false
	}
	for i := pos; i < len(line); i++ {
		// An anchor that itself begins with the opening quote doesn't close it.
		if i > open && line[i] == '"' && !escaped(line, i) {
			var s string
			if err := json.Unmarshal(line[open:i+1], &s); err != nil {
				return nil, false
			}
			return []byte(s), true
		}
	}
	return nil, false
}

// escaped says whether an odd number of backslashes stands before i.
func escaped(b []byte, i int) bool {
	n := 0
	for i--; i >= 0 && b[i] == '\\'; i-- {
		n++
	}
	return n%2 == 1
}

// spellings gives the ways in which a literal may stand in a log: itself, and as JSON writes it within a string, with and
// without the escapes for HTML that Go's encoder adds.
func spellings(s string) []string {
	out := []string{s}
	for _, html := range []bool{false, true} {
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(html)
		if err := e.Encode(s); err != nil {
			continue // a string always encodes
		}
		q := bytes.TrimSuffix(b.Bytes(), []byte("\n"))
		if t := string(q[1 : len(q)-1]); t != out[len(out)-1] {
			out = append(out, t)
		}
	}
	return out
}
