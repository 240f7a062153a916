package artifact

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/meshdiag/meshdiag/collect/kubefacts"
)

const (
	// maxDepth bounds the nesting of JSON and YAML. The deepest Envoy configurations have some forty levels.
	maxDepth = 200
	// maxDocuments bounds the documents of one file: grpcurl prints one an answer, kubectl one an object.
	maxDocuments = 1000
	// maxKeys bounds the keys shown of a document that isn't recognised.
	maxKeys = 6
	// maxKeysSeen bounds the keys that are looked at to name what a cut-off document was.
	maxKeysSeen = 10_000
)

// json reads a file that begins like JSON: a document, several one after the other, structured log lines; or text that only
// looks like it, as Envoy's log lines do with their bracket.
func (in *input) json(data []byte) outcome {
	if heads := nftHeads(data); heads != nil {
		if o, ok := in.packetRules(heads); ok {
			return o
		}
	}
	first := firstLine(data)
	oneLine := len(bytes.TrimSpace(data)) == len(first)
	if !oneLine && first[0] == '{' && json.Valid(first) && !kubernetesLine(first) {
		if k := identify(first); k == "" || k == kindLogEntries {
			return in.log(bytes.NewReader(data)) // a JSON object a line
		}
	}
	if len(data) > maxStructured {
		if !plausible(first) {
			return in.log(bytes.NewReader(data))
		}
		return unused("JSON of %d MiB: at most %d MiB are read", len(data)>>20, maxStructured>>20)
	}
	raw, err := documents(data)
	if err == nil {
		if o, ok := in.document(raw, ""); ok {
			return o
		}
		if oneLine && raw[0] == '{' {
			if o, ok := in.logIfKnown(data); ok || logLike(raw) {
				return o
			}
		}
		return unused("not recognised: %s", describe(raw))
	}
	if !plausible(first) {
		return in.text(data)
	}
	if filled := fillIn(data); filled != nil {
		if raw, again := documents(filled); again == nil {
			if o, ok := in.document(raw, ""); ok {
				return o
			}
		}
	}
	if k, ok := recordedStart(data); ok {
		return in.broken(k, err)
	}
	keys := partialKeys(data)
	if k, ok := kindByKeys(keys); ok {
		return in.broken(k, err)
	}
	if o, ok := in.logIfKnown(data); ok {
		return o // an API's error, cut off or with words around it
	}
	if len(keys) > 0 {
		return unused("not recognised: %v (object with keys %s)", err, keyList(keys))
	}
	return unused("not recognised: %v", err)
}

// firstLine gives the first line that isn't blank.
func firstLine(data []byte) []byte {
	line := bytes.TrimSpace(data)
	if i := bytes.IndexByte(line, '\n'); i >= 0 {
		line = line[:i]
	}
	return bytes.TrimSpace(line)
}

// plausible says whether a line that begins with a bracket may begin a JSON document: what follows is a JSON value, a
// closing bracket or nothing.
func plausible(line []byte) bool {
	rest := bytes.TrimSpace(line[1:])
	if len(rest) == 0 {
		return true
	}
	if line[0] == '{' {
		return rest[0] == '"' || rest[0] == '}'
	}
	return bytes.IndexByte([]byte(`{["]`), rest[0]) >= 0
}

// documents gives the JSON document in data; of several, one after the other, an array of them. The error says what is wrong
// where.
func documents(data []byte) (json.RawMessage, error) {
	if at := tooDeep(data); at >= 0 {
		return nil, fmt.Errorf("nested deeper than %d levels at byte %d", maxDepth, at)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	var docs []json.RawMessage
	for len(docs) <= maxDocuments {
		var raw json.RawMessage
		err := d.Decode(&raw)
		var syntax *json.SyntaxError
		switch {
		case errors.Is(err, io.EOF):
			return joined(docs), nil
		case errors.Is(err, io.ErrUnexpectedEOF):
			return nil, fmt.Errorf("JSON ends in the middle at byte %d (cut off?)", len(data))
		case errors.As(err, &syntax):
			at := min(max(int(syntax.Offset), 1), len(data))
			return nil, fmt.Errorf("not JSON from byte %d (line %d) on: %w", at, 1+bytes.Count(data[:at-1], []byte{'\n'}), err)
		case err != nil:
			return nil, fmt.Errorf("not readable as JSON: %w", err)
		}
		docs = append(docs, raw)
	}
	return nil, fmt.Errorf("more than %d JSON documents in one file", maxDocuments)
}

func joined(docs []json.RawMessage) json.RawMessage {
	if len(docs) == 1 {
		return docs[0]
	}
	out := []byte{'['}
	for i, d := range docs {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, d...)
	}
	return append(out, ']')
}

// tooDeep gives the place where JSON nests beyond maxDepth, -1 where it doesn't.
func tooDeep(data []byte) int {
	depth, quoted := 0, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return i
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return -1
}

// partialKeys gives the keys, up to the third level, of a JSON document as far as it can be read.
func partialKeys(data []byte) []string {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	type level struct{ object, key bool }
	var stack []level
	var keys []string
	for range maxKeysSeen {
		t, err := d.Token()
		if err != nil {
			break
		}
		top := len(stack) - 1
		if delim, ok := t.(json.Delim); ok && (delim == '}' || delim == ']') {
			stack = stack[:top]
			continue
		}
		if top >= 0 && stack[top].object {
			stack[top].key = !stack[top].key
			if s, ok := t.(string); ok && stack[top].key {
				if len(stack) <= 3 && !slices.Contains(keys, s) && len(keys) < 100 {
					keys = append(keys, s)
				}
				continue
			}
		}
		if delim, ok := t.(json.Delim); ok {
			stack = append(stack, level{object: delim == '{'})
		}
	}
	return keys
}

// describe tells what a JSON document that isn't recognised looks like.
func describe(raw json.RawMessage) string {
	var m map[string]json.RawMessage
	if json.Unmarshal(raw, &m) == nil && m != nil {
		if k := kubernetesKind(m); k != "" {
			return "Kubernetes " + k
		}
		if len(m) == 0 {
			return "empty JSON object"
		}
		keys := make([]string, 0, len(m))
		for k := range m {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		return "JSON object with keys " + keyList(keys)
	}
	var l []json.RawMessage
	if json.Unmarshal(raw, &l) == nil && l != nil {
		if len(l) == 0 {
			return "empty JSON array"
		}
		if first := bytes.TrimSpace(l[0]); first[0] == '{' {
			return fmt.Sprintf("JSON array of %d, the first a %s", len(l), describe(first))
		}
		return fmt.Sprintf("JSON array of %d", len(l))
	}
	return fmt.Sprintf("JSON %.40s", raw)
}

func keyList(keys []string) string {
	var b strings.Builder
	for i, k := range keys {
		if i == maxKeys {
			fmt.Fprintf(&b, " and %d more", len(keys)-i)
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		if plainKey.MatchString(k) {
			b.WriteString(k)
		} else {
			fmt.Fprintf(&b, "%.40q", k)
		}
	}
	return b.String()
}

// kubernetesLine says whether a line is a Kubernetes object of a kind that is read. The API server's audit log has others.
func kubernetesLine(line []byte) bool {
	var h kubeHead
	return json.Unmarshal(line, &h) == nil && kubefacts.Facts(h.APIVersion, h.Kind) != nil && h.APIVersion != ""
}

// kubernetesKind gives the kind of a Kubernetes object, "" for what is none.
func kubernetesKind(m map[string]json.RawMessage) string {
	var kind, version string
	if json.Unmarshal(m["kind"], &kind) != nil || json.Unmarshal(m["apiVersion"], &version) != nil || version == "" || !plainKey.MatchString(kind) {
		return ""
	}
	return kind
}
