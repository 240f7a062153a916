package report

import (
	"fmt"
	"strings"
	"unicode"
)

// unsafe says whether a character could drive a terminal, or make text look other than it is: control characters, and
// those that change direction or don't show.
func unsafe(r rune) bool {
	return unicode.Is(unicode.C, r) || r == '\u2028' || r == '\u2029'
}

// escaped shows a character that isn't to be obeyed.
func escaped(r rune) string {
	switch {
	case r < 0x80:
		return fmt.Sprintf(`\x%02x`, r)
	case r > 0xffff:
		return fmt.Sprintf(`\U%08x`, r)
	default:
		return fmt.Sprintf(`\u%04x`, r)
	}
}

// lines takes quoted text apart, each line safe to show. A tab is widened, and a carriage return before a line's end dropped.
func lines(s string) []string {
	var out []string
	for _, l := range strings.Split(strings.TrimRight(s, "\r\n"), "\n") {
		out = append(out, safe(strings.TrimSuffix(l, "\r")))
	}
	return out
}

// safe makes one line of text safe to show.
func safe(s string) string {
	var b strings.Builder
	for _, r := range strings.ToValidUTF8(s, "\uFFFD") {
		switch {
		case r == '\t':
			b.WriteString("    ")
		case unsafe(r):
			b.WriteString(escaped(r))
		case r != ' ' && unicode.IsSpace(r):
			b.WriteByte(' ')
		default:
			b.WriteRune(r)
		}
	}
	return strings.TrimRight(b.String(), " ")
}

// sentence puts text on one line, safe to show.
func sentence(s string) string {
	return safe(strings.Join(strings.Fields(strings.ToValidUTF8(s, "\uFFFD")), " "))
}

// shell makes a command safe to show: as [safe], but other spaces than the plain one are shown, as they'd be part of a word.
func shell(s string) string {
	var b strings.Builder
	for _, r := range strings.ToValidUTF8(s, "\uFFFD") {
		switch {
		case r == '\n':
			b.WriteByte('\n')
		case r == '\t':
			b.WriteByte(' ')
		case unsafe(r), r != ' ' && unicode.IsSpace(r):
			b.WriteString(escaped(r))
		default:
			b.WriteRune(r)
		}
	}
	return strings.Trim(b.String(), "\n ")
}
