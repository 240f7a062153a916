package artifact

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// maxAliased bounds what a YAML document's aliases may add to it: a bomb of ten lines stands for 10^9 nodes. Configurations
// that use aliases at all repeat a cluster's settings some dozen times.
const maxAliased = 200_000

// maxKeyLine is how much of a line is looked at for a key: no line of a configuration needs more to show its own.
const maxKeyLine = 200

var (
	// plainKey is a key as configuration files have them; log lines that parse as YAML mostly have other ones.
	plainKey = regexp.MustCompile(`^[A-Za-z_@.][A-Za-z0-9_@./-]{0,80}$`)
	// yamlStart is how a YAML mapping, list or document begins.
	yamlStart = regexp.MustCompile(`^(---( |$)|%YAML|- |-$|\{|["']?[A-Za-z_@.][A-Za-z0-9_@./-]*["']?\s*:( |$))`)
	// jsonNumber is a number as JSON writes it. YAML has further forms (0x1F, 1_000), which are kept as strings.
	jsonNumber = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$`)
)

// looksLikeYAML says whether the first line that isn't a comment begins like YAML.
func looksLikeYAML(data []byte) bool {
	for line := range bytes.Lines(data) {
		line = bytes.TrimRight(line, " \t\r\n")
		if t := bytes.TrimLeft(line, " \t"); len(t) == 0 || t[0] == '#' {
			continue
		}
		return yamlStart.Match(line[:min(len(line), maxKeyLine)])
	}
	return false
}

// yamlDocuments gives each document of a YAML file as JSON, empty ones left out.
func yamlDocuments(data []byte) ([]json.RawMessage, error) {
	if len(data) > maxYAML {
		return nil, fmt.Errorf("YAML of %d MiB: at most %d MiB are read", len(data)>>20, maxYAML>>20)
	}
	d := yaml.NewDecoder(bytes.NewReader(data))
	var out []json.RawMessage
	for len(out) <= maxDocuments {
		var n yaml.Node
		err := d.Decode(&n)
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("not YAML: %w", err)
		}
		c := converter{}
		if err := c.node(&n, 0); err != nil {
			return nil, fmt.Errorf("YAML document %d: %w", len(out)+1, err)
		}
		if raw := c.out.Bytes(); len(raw) > 0 && !bytes.Equal(raw, []byte("null")) {
			out = append(out, raw)
		}
	}
	return nil, fmt.Errorf("more than %d YAML documents in one file", maxDocuments)
}

// converter writes a YAML node as JSON.
type converter struct {
	out     bytes.Buffer
	alias   int // how many aliases the current node is within
	line    int // of the outermost of them
	aliased int // nodes within aliases so far
}

func (c *converter) node(n *yaml.Node, depth int) error {
	if c.alias > 0 {
		c.aliased++
	}
	if c.aliased > maxAliased || c.out.Len() > maxStructured {
		return fmt.Errorf("line %d: its aliases add more than %d nodes or %d MiB", c.line, maxAliased, maxStructured>>20)
	}
	if depth > maxDepth {
		return fmt.Errorf("line %d: nested deeper than %d levels", n.Line, maxDepth)
	}
	switch n.Kind {
	case yaml.DocumentNode:
		return c.node(n.Content[0], depth)
	case yaml.AliasNode:
		if c.alias++; c.alias == 1 {
			c.line = n.Line
		}
		err := c.node(n.Alias, depth+1)
		c.alias--
		return err
	case yaml.SequenceNode:
		c.out.WriteByte('[')
		for i, e := range n.Content {
			if i > 0 {
				c.out.WriteByte(',')
			}
			if err := c.node(e, depth+1); err != nil {
				return err
			}
		}
		c.out.WriteByte(']')
	case yaml.MappingNode:
		return c.mapping(n, depth)
	case yaml.ScalarNode:
		return c.scalar(n)
	}
	return nil
}

func (c *converter) mapping(n *yaml.Node, depth int) error {
	c.out.WriteByte('{')
	if err := c.pairs(n, depth, nil); err != nil {
		return err
	}
	c.out.WriteByte('}')
	return nil
}

// pairs writes the keys and values of a mapping. own is nil for the mapping itself; what it merges ("<<: *other") is written
// without the keys that it has of its own, which count more.
func (c *converter) pairs(n *yaml.Node, depth int, own map[string]bool) error {
	var merged []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i]
		if k.Kind == yaml.AliasNode {
			k = k.Alias
		}
		if k.Kind != yaml.ScalarNode {
			return fmt.Errorf("line %d: a key is no plain value", k.Line)
		}
		if k.ShortTag() == "!!merge" {
			merged = append(merged, n.Content[i+1])
			continue
		}
		if own[k.Value] {
			continue
		}
		if b := c.out.Bytes(); b[len(b)-1] != '{' {
			c.out.WriteByte(',')
		}
		if err := c.str(k.Value); err != nil {
			return err
		}
		c.out.WriteByte(':')
		if err := c.node(n.Content[i+1], depth+1); err != nil {
			return err
		}
	}
	if len(merged) == 0 {
		return nil
	}
	keys := maps.Clone(own)
	if keys == nil {
		keys = map[string]bool{}
	}
	for i := 0; i < len(n.Content); i += 2 {
		keys[n.Content[i].Value] = true
	}
	for _, m := range merged {
		if err := c.merge(m, depth+1, keys); err != nil {
			return err
		}
	}
	return nil
}

// merge writes what a mapping merges: a mapping, or a list of them, of which the first that has a key counts.
func (c *converter) merge(n *yaml.Node, depth int, own map[string]bool) error {
	if c.alias > 0 {
		c.aliased++
	}
	if depth > maxDepth || c.aliased > maxAliased {
		return fmt.Errorf("line %d: merges too much", n.Line)
	}
	switch n.Kind {
	case yaml.AliasNode:
		if c.alias++; c.alias == 1 {
			c.line = n.Line
		}
		defer func() { c.alias-- }()
		return c.merge(n.Alias, depth+1, own)
	case yaml.MappingNode:
		return c.pairs(n, depth, own)
	case yaml.SequenceNode:
		for _, m := range n.Content {
			if err := c.merge(m, depth+1, own); err != nil {
				return err
			}
			if m.Kind == yaml.AliasNode {
				m = m.Alias
			}
			for i := 0; i < len(m.Content); i += 2 {
				own[m.Content[i].Value] = true
			}
		}
		return nil
	}
	return fmt.Errorf("line %d: what is merged is no mapping", n.Line)
}

func (c *converter) scalar(n *yaml.Node) error {
	switch n.ShortTag() {
	case "!!null":
		c.out.WriteString("null")
		return nil
	case "!!bool":
		if b, err := strconv.ParseBool(n.Value); err == nil {
			c.out.WriteString(strconv.FormatBool(b))
			return nil
		}
	case "!!int", "!!float":
		if jsonNumber.MatchString(n.Value) {
			c.out.WriteString(n.Value)
			return nil
		}
	}
	return c.str(n.Value)
}

func (c *converter) str(s string) error {
	b, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("writing a string as JSON: %w", err)
	}
	c.out.Write(b)
	return nil
}

var (
	// templateYAML finds values that are a template's action and nothing else: YAML takes the braces for a mapping.
	templateYAML = regexp.MustCompile(`(?m)^([^#\n'"]*[:-][ \t]+)(\{\{[^{}\n]*\}\})([ \t]*(?:#.*)?)$`)
	// templateJSON finds a JSON string, which is left alone, or a placeholder where JSON wants a value.
	templateJSON = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|(\{\{[^{}\n]*\}\}|\$\{[^{}\n]*\}|<[A-Z][A-Z0-9_ -]*>|\b[A-Z][A-Z0-9]*_[A-Z0-9_]+\b)`)
)

// fillIn puts quotes around the placeholders that keep a template from being JSON; nil where there are none.
func fillIn(data []byte) []byte {
	if len(data) > maxYAML {
		return nil
	}
	n := 0
	out := templateJSON.ReplaceAllFunc(data, func(m []byte) []byte {
		if m[0] == '"' {
			return m
		}
		n++
		q, err := json.Marshal(string(m))
		if err != nil {
			return m
		}
		return q
	})
	if n == 0 {
		return nil
	}
	return out
}

// fillInYAML does the same for YAML; nil where there are none, or the file is too large to be YAML.
func fillInYAML(data []byte) []byte {
	if len(data) > maxYAML || !templateYAML.Match(data) {
		return nil
	}
	return templateYAML.ReplaceAll(data, []byte(`$1"$2"$3`))
}
