// Package report writes a diagnosis for people and for programs: as text for a terminal, as Markdown for a chat or a
// ticket, as JSON and as YAML.
//
// What a report quotes comes from logs and APIs, and may hold anything: nothing in it can drive the terminal, or leave the
// block of Markdown that it stands in.
package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode/utf16"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"sigs.k8s.io/yaml"

	pb "github.com/meshdiag/meshdiag/gen/meshdiag/v1"
)

// The formats of [Write].
const (
	FormatText     = "text"
	FormatJSON     = "json"
	FormatYAML     = "yaml"
	FormatMarkdown = "markdown"
)

// Formats lists the formats of [Write], the default first.
func Formats() []string { return []string{FormatText, FormatJSON, FormatYAML, FormatMarkdown} }

// Options say how text is written; the other formats don't depend on them.
type Options struct {
	Color   bool // with the terminal's colours
	Verbose bool // with explanations, every check and every collector
	Width   int  // columns; 0 takes DefaultWidth
}

// Write writes a report in one of [Formats]. An error is the writer's, or names an unknown format.
func Write(w io.Writer, format string, r *pb.Report, o Options) error {
	switch format {
	case FormatText:
		return Text(w, r, o)
	case FormatMarkdown:
		return Markdown(w, r)
	case FormatJSON:
		return JSON(w, r)
	case FormatYAML:
		return YAML(w, r)
	}
	return fmt.Errorf("output format %q: expected one of %s", format, strings.Join(Formats(), ", "))
}

// JSON writes a message as protobuf's JSON mapping has it, fields in the order of their definition, indented by two
// spaces. The same message gives the same bytes.
func JSON(w io.Writer, m proto.Message) error {
	b, err := toJSON(m)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	if err := json.Indent(&out, b, "", "  "); err != nil {
		return fmt.Errorf("indenting JSON: %w", err)
	}
	out.WriteByte('\n')
	return write(w, out.Bytes())
}

// YAML writes a message as [JSON] would, in YAML, fields sorted by name.
func YAML(w io.Writer, m proto.Message) error {
	c, err := compact(m)
	if err != nil {
		return err
	}
	// The YAML writer leaves characters as they are that a terminal may obey. A control character makes it quote a string
	// such that escapes count, so each such character goes through it as one, with a mark and its number behind.
	mark := "u"
	for strings.Contains(c, "x01"+mark) {
		mark += "u"
	}
	y, err := yaml.JSONToYAML([]byte(replaceUnsafe(c, func(r rune) string { return fmt.Sprintf(`\u0001%s%08x`, mark, r) })))
	if err != nil {
		return fmt.Errorf("turning JSON into YAML: %w", err)
	}
	marked := regexp.MustCompile(`\\x01` + mark + `([0-9a-f]{8})`)
	return write(w, marked.ReplaceAll(y, []byte(`\U$1`)))
}

// toJSON gives compact JSON in which characters that a terminal may obey are escaped: they can stand in strings alone.
func toJSON(m proto.Message) ([]byte, error) {
	c, err := compact(m)
	if err != nil {
		return nil, err
	}
	return []byte(replaceUnsafe(c, func(r rune) string {
		if r > 0xffff {
			high, low := utf16.EncodeRune(r)
			return fmt.Sprintf(`\u%04x\u%04x`, high, low)
		}
		return fmt.Sprintf(`\u%04x`, r)
	})), nil
}

// compact gives a message's JSON without spacing: protojson varies it from build to build, on purpose.
func compact(m proto.Message) (string, error) {
	b, err := protojson.Marshal(m)
	if err != nil {
		return "", fmt.Errorf("writing JSON: %w", err)
	}
	var c bytes.Buffer
	if err := json.Compact(&c, b); err != nil {
		return "", fmt.Errorf("compacting JSON: %w", err)
	}
	return c.String(), nil
}

func replaceUnsafe(s string, by func(rune) string) string {
	var b strings.Builder
	for _, r := range s {
		if unsafe(r) {
			b.WriteString(by(r))
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

func write(w io.Writer, b []byte) error {
	if _, err := w.Write(b); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	return nil
}
