package artifact

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/meshdiag/meshdiag/collect/kubefacts"
	"github.com/meshdiag/meshdiag/evidence"
)

const (
	// maxManifest bounds a YAML file of Kubernetes objects: its parser reads one to three MiB a second. The same as JSON, which is
	// read tenfold as fast, may have [maxStructured].
	maxManifest = 16 << 20
	// maxManifests bounds the documents of a YAML file of Kubernetes objects: one an object.
	maxManifests = 50_000
	// largeList is the size from which the items of a list are parsed one by one: parsed at once they would take some fifty
	// times their size.
	largeList = 256 << 10
	// headSize is how much of a file is looked at to tell a manifest.
	headSize = 1 << 20
)

var (
	manifestVersion = regexp.MustCompile(`(?m)^(?:- )?["']?apiVersion["']?[ \t]*:[ \t]*["']?[a-z0-9.]`)
	manifestKind    = regexp.MustCompile(`(?m)^(?:- |  )?["']?kind["']?[ \t]*:[ \t]*["']?([A-Z][A-Za-z]*)`)
	yamlErrorLine   = regexp.MustCompile(`\bline (\d+)`)
)

// manifestYAML reads a YAML file of Kubernetes objects. ok is false where it is none, or has none of the kinds that are read.
//
// Each document is parsed alone, so that a broken one spoils no other, and memory is that of the largest.
func (in *input) manifestYAML(data []byte) (outcome, bool) {
	head := data[:min(len(data), headSize)]
	if !manifestVersion.Match(head) || !manifestKind.Match(data[:min(len(data), maxManifest)]) {
		return outcome{}, false
	}
	m := &kubeFile{in: in, others: map[string]int{}}
	if len(data) > maxManifest {
		m.problem("", kindOf(head), fmt.Errorf("YAML of %d MiB: at most %d MiB are read, as JSON (-o json) %d MiB", len(data)>>20, maxManifest>>20, maxStructured>>20))
		return m.done()
	}
	n := 0
	var rest outcome // of a document of another kind
	unknown := 0
	for doc, line := range chunks(data) {
		if blank(doc) {
			continue
		}
		if in.ctx.Err() != nil {
			return unused(notInTime), true
		}
		if n++; n > maxManifests {
			m.problem("", anyKind, fmt.Errorf("more than %d YAML documents in one file", maxManifests))
			break
		}
		where := ""
		if n > 1 || line > 1 || moreFollow(data, doc) {
			where = fmt.Sprintf("document %d", n)
		}
		if o := m.document(doc, where, line); o.note != "" {
			if rest.note == "" || !rest.used {
				rest = o
			}
			if !o.used {
				unknown++
			}
		}
	}
	o, ok := m.done()
	switch {
	case !ok && rest.used:
		return rest, true
	case !ok:
		return outcome{}, false
	case rest.used:
		o.note += "; " + rest.kind + ": " + rest.note
	}
	if unknown > 0 {
		o.note += fmt.Sprintf("; %s not recognised", plural(unknown, "document", "documents"))
	}
	return o, true
}

// moreFollow says whether there is more in data than doc.
func moreFollow(data, doc []byte) bool { return len(bytes.TrimSpace(data)) > len(bytes.TrimSpace(doc)) }

// document reads one document, which begins at a line of the file. What it gives is of a document of another kind.
func (m *kubeFile) document(doc []byte, where string, line int) outcome {
	if len(doc) > largeList {
		if items, ok := listItems(doc); ok {
			m.items(items, where, line)
			return outcome{}
		}
	}
	raw, err := yamlToJSON(doc, line)
	switch {
	case err != nil:
		if action := templateAction.Find(doc); action != nil {
			err = notRendered(string(action))
		}
		if where == "" {
			where = "the document"
		}
		m.problem(fmt.Sprintf("%s (line %d)", where, line), kindOf(doc), err)
		return outcome{}
	case raw == nil:
		return outcome{}
	}
	var fields map[string]json.RawMessage
	var list []json.RawMessage
	switch {
	case json.Unmarshal(raw, &fields) == nil && kubernetesKind(fields) != "":
		m.add(raw, kubeHead{}, where, 0)
		return outcome{}
	case json.Unmarshal(raw, &list) == nil && len(list) > 0 && allKubernetes(list):
		for i, x := range list {
			m.add(x, kubeHead{}, strings.TrimPrefix(fmt.Sprintf("%s, item %d", where, i+1), ", "), 0)
		}
		return outcome{}
	}
	o, ok := m.in.document(raw, where)
	if !ok {
		return unused("not recognised")
	}
	return o
}

// allKubernetes says whether all elements are Kubernetes objects.
func allKubernetes(list []json.RawMessage) bool {
	for _, x := range list {
		var f map[string]json.RawMessage
		if json.Unmarshal(x, &f) != nil || kubernetesKind(f) == "" {
			return false
		}
	}
	return true
}

// items reads the items of a long list.
func (m *kubeFile) items(items []item, where string, line int) {
	for i, it := range items {
		if m.in.ctx.Err() != nil {
			m.problem(where, kindOf(it.text), errors.New(notInTime))
			return
		}
		at := strings.TrimPrefix(fmt.Sprintf("%s, item %d", where, i+1), ", ")
		raw, err := yamlToJSON(it.text, line+it.line)
		var one []json.RawMessage
		if err == nil && (json.Unmarshal(raw, &one) != nil || len(one) != 1) {
			err = errors.New("not a list's item")
		}
		if err != nil {
			m.problem(fmt.Sprintf("%s (line %d)", at, line+it.line), kindOf(it.text), err)
			continue
		}
		m.add(one[0], kubeHead{}, at, 1)
	}
}

// yamlToJSON gives one YAML document as JSON, nil for an empty one. Errors tell lines of the file, in which the document begins
// at a line.
func yamlToJSON(doc []byte, line int) (json.RawMessage, error) {
	if len(doc) > maxYAML {
		return nil, fmt.Errorf("a YAML document of %d MiB: at most %d MiB are read, as JSON %d MiB", len(doc)>>20, maxYAML>>20, maxStructured>>20)
	}
	var n yaml.Node
	err := yaml.NewDecoder(bytes.NewReader(doc)).Decode(&n)
	if errors.Is(err, io.EOF) {
		return nil, nil
	}
	c := converter{}
	if err == nil {
		err = c.node(&n, 0)
	} else {
		err = fmt.Errorf("not YAML: %s", strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if err != nil {
		// The parser counts from the document's own start.
		return nil, errors.New(yamlErrorLine.ReplaceAllStringFunc(err.Error(), func(s string) string {
			l, convErr := strconv.Atoi(strings.TrimPrefix(s, "line "))
			if convErr != nil {
				return s
			}
			return fmt.Sprintf("line %d", l+line-1)
		}))
	}
	raw := c.out.Bytes()
	if len(raw) == 0 || bytes.Equal(raw, []byte("null")) {
		return nil, nil
	}
	return raw, nil
}

// chunks gives the documents of a YAML file as text, each with the number of the line that it begins in, its separator
// included.
func chunks(data []byte) func(yield func([]byte, int) bool) {
	return func(yield func([]byte, int) bool) {
		start, startLine := 0, 1
		for at, line := 0, 1; at < len(data); line++ {
			end := len(data)
			if i := bytes.IndexByte(data[at:], '\n'); i >= 0 {
				end = at + i + 1
			}
			if at > start && separator(data[at:end]) {
				if !yield(data[start:at], startLine) {
					return
				}
				start, startLine = at, line
			}
			at = end
		}
		if start < len(data) {
			yield(data[start:], startLine)
		}
	}
}

// separator says whether a line begins a YAML document.
func separator(line []byte) bool {
	rest, ok := bytes.CutPrefix(line, []byte("---"))
	return ok && (len(bytes.TrimSpace(rest)) == 0 || rest[0] == ' ' || rest[0] == '\t')
}

// blank says whether a document holds nothing but comments.
func blank(doc []byte) bool {
	first := true
	for line := range bytes.Lines(doc) {
		if first && separator(line) {
			line = line[3:]
		}
		first = false
		if line = bytes.TrimSpace(line); len(line) > 0 && line[0] != '#' {
			return false
		}
	}
	return true
}

// item is one item of a list as text, and how many lines are before it.
type item struct {
	text []byte
	line int
}

// listItems takes a list as kubectl prints it apart: "items:" and "- " stand at the start of lines.
func listItems(doc []byte) ([]item, bool) {
	var out []item
	state := 0 // before items:, within, behind
	start, startLine, n, at := 0, 0, 0, 0
	end := func(to int) {
		if state == 1 && start > 0 {
			out = append(out, item{doc[start:to], startLine})
		}
		start = 0
	}
	for line := range bytes.Lines(doc) {
		switch c := line[0]; {
		case state == 0 && bytes.Equal(bytes.TrimSpace(line), []byte("items:")) && c == 'i':
			state = 1
		case state == 1 && bytes.HasPrefix(line, []byte("- ")):
			end(at)
			start, startLine = at, n
		case state == 1 && c != ' ' && c != '\n' && c != '\r' && c != '#':
			end(at)
			state = 2
		}
		at += len(line)
		n++
	}
	end(len(doc))
	return out, len(out) > 0
}

// kindOf gives the kind that a document says it is of, as far as its text tells, the first of several.
func kindOf(doc []byte) string {
	for _, m := range manifestKind.FindAllSubmatch(doc[:min(len(doc), headSize)], maxKeysSeen) {
		if k := string(m[1]); k != "List" {
			return strings.TrimSuffix(k, "List")
		}
	}
	return ""
}

// kubernetesFacts are those that files of Kubernetes objects tell.
func kubernetesFacts() []evidence.Name {
	return append(kubefacts.Provides(), evidence.ProxySyncs.Name())
}
