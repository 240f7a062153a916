package report

import (
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode"

	pb "github.com/meshdiag/meshdiag/gen/meshdiag/v1"
)

// Markdown writes a report to paste into a chat or a ticket: the verdict in bold on the first line, commands and evidence
// in fences, no tables. It is CommonMark, and keeps to what chats understand of it.
func Markdown(w io.Writer, r *pb.Report) error {
	m := &sheet{}
	m.para("**" + strings.ToUpper(word(verdictWords, r.GetVerdict())) + bolded(": ", r.GetHeadline()) + "**")
	m.para(escape(about(r)))
	for i, c := range r.GetCauses() {
		m.cause(i, c, r)
	}
	if l := r.GetUnseen(); len(l) > 0 {
		m.para("**Could not be seen**")
		for _, b := range blinds(l) {
			for _, x := range b.lacks {
				m.para("- " + escape(x.String()))
			}
			if n := b.needs(); n != "" {
				m.para(escape(n))
			}
			m.fence("sh", shell(b.command))
		}
	}
	if len(r.GetNotes()) > 0 {
		m.para("**Notes**")
		for _, n := range r.GetNotes() {
			m.para("- " + escape(n))
		}
	}
	if len(r.GetResults()) > 0 {
		m.para(escape(tally(r.GetResults())))
	}
	return write(w, []byte(m.b.String()))
}

// sheet is Markdown under way.
type sheet struct{ b strings.Builder }

// para writes one line as a paragraph. Steps are paragraphs, not list items with fences inside: chats don't nest.
func (m *sheet) para(text string) {
	if m.b.Len() > 0 {
		m.b.WriteByte('\n')
	}
	m.b.WriteString(text + "\n")
}

// fence writes a block that is shown as it is. The fence is longer than any run of backticks in the block, so that the
// block can't end early (CommonMark 0.31, 4.5).
func (m *sheet) fence(info, text string) {
	if text == "" {
		return
	}
	run, longest := 0, 0
	for _, r := range text {
		if r == '`' {
			run++
			longest = max(longest, run)
		} else {
			run = 0
		}
	}
	f := strings.Repeat("`", max(3, longest+1))
	m.b.WriteString("\n" + f + info + "\n" + text + "\n" + f + "\n")
}

func (m *sheet) cause(i int, c *pb.Cause, r *pb.Report) {
	m.para(fmt.Sprintf("**%d.%s**", i+1, bolded(" ", c.GetTitle())))
	m.para("_" + rating(c) + "_ · " + code(c.GetCheckId()))
	if c.GetSubject() != "" {
		m.para(escape(c.GetSubject()))
	}
	if c.GetSummary() != "" && !told(i, c, r) {
		m.para(escape(c.GetSummary()))
	}
	for _, e := range c.GetEvidence() {
		m.para("Evidence: " + escape(seenAt(e)))
		m.fence("text", strings.Trim(strings.Join(lines(e.GetExcerpt()), "\n"), "\n"))
	}
	for n, s := range c.GetRemediation() {
		text := fmt.Sprintf("%d.", n+1)
		if t := escape(s.GetText()); t != "" {
			text += " " + t
		}
		m.para(text)
		m.fence("sh", shell(s.GetCommand()))
	}
	if len(c.GetSymptoms()) > 0 {
		ids := make([]string, len(c.GetSymptoms()))
		for j, s := range c.GetSymptoms() {
			ids[j] = code(s)
		}
		m.para("Explains " + strings.Join(ids, ", "))
	}
	for _, u := range c.GetReferences() {
		m.para(link(u))
	}
}

// bolded gives text to stand within asterisks, after a separator; nothing where it is empty, as an empty bold shows its asterisks.
func bolded(sep, text string) string {
	if text = escape(text); text == "" {
		return ""
	}
	return sep + text
}

// special are the characters that mean something in CommonMark or in GitHub's dialect, wherever they stand.
const special = "\\`*[]<>|~&$#"

// atStart finds what begins a list, a heading or a rule at the start of a line.
var atStart = regexp.MustCompile(`^([-+=]|\d+[.)])`)

// escape puts text on one line and takes the meaning from its characters. Underscores between letters or digits mean
// nothing, and stay bare: chats show the backslash.
func escape(s string) string {
	r := []rune(sentence(s))
	var b strings.Builder
	word := func(i int) bool { return i >= 0 && i < len(r) && (unicode.IsLetter(r[i]) || unicode.IsDigit(r[i])) }
	for i := 0; i < len(r); i++ {
		if r[i] != '_' {
			if strings.ContainsRune(special, r[i]) {
				b.WriteByte('\\')
			}
			b.WriteRune(r[i])
			continue
		}
		end := i
		for end < len(r) && r[end] == '_' {
			end++
		}
		bare := word(i-1) && word(end)
		for ; i < end; i++ {
			if !bare {
				b.WriteByte('\\')
			}
			b.WriteByte('_')
		}
		i--
	}
	return atStart.ReplaceAllStringFunc(b.String(), func(m string) string { return m[:len(m)-1] + `\` + m[len(m)-1:] })
}

// code shows text as it is, within a line.
func code(s string) string {
	s = sentence(s)
	if s == "" {
		return ""
	}
	run, longest := 0, 0
	for _, r := range s {
		if r == '`' {
			run++
			longest = max(longest, run)
		} else {
			run = 0
		}
	}
	f := strings.Repeat("`", longest+1)
	if strings.HasPrefix(s, "`") || strings.HasSuffix(s, "`") {
		s = " " + s + " "
	}
	return f + s + f
}

var plainURL = regexp.MustCompile(`^https?://[A-Za-z0-9._~/?#=&%+:,-]+$`)

// link gives a URL as it is, where it is nothing but a URL: every chat makes a link of that.
func link(u string) string {
	if plainURL.MatchString(u) {
		return "<" + u + ">"
	}
	return escape(u)
}
