package kubefacts

import (
	"io"
	"strings"

	"github.com/meshdiag/meshdiag/evidence"
)

// Scanner looks for known messages in a text; *logscan.Scanner's Scan, without its statistics.
type Scanner func(text io.Reader, file string, src evidence.Source) ([]evidence.LogMessage, error)

// Scan looks for known messages in what objects say. Each message found names, behind the source's detail, the object that said
// it first, and has the times and the count of what was said; it is of no line of the file.
func Scan(scan Scanner, list []Message, file string, src evidence.Source) ([]evidence.LogMessage, error) {
	var text strings.Builder
	var of []int // the message of each line
	at := map[string]int{}
	var distinct []Message
	for _, m := range list {
		m.Text = strings.TrimRight(m.Text, "\r\n")
		if i, ok := at[m.Text]; ok {
			distinct[i].again(m)
			continue
		}
		at[m.Text] = len(distinct)
		distinct = append(distinct, m)
		for range 1 + strings.Count(m.Text, "\n") {
			of = append(of, len(distinct)-1)
		}
		text.WriteString(m.Text + "\n")
	}
	if len(distinct) == 0 {
		return nil, nil
	}
	found, err := scan(strings.NewReader(text.String()), file, src)
	if err != nil {
		return nil, err
	}
	for i := range found {
		f := &found[i]
		if f.Line < 1 || f.Line > len(of) {
			continue
		}
		m := distinct[of[f.Line-1]]
		object := m.Object
		if last := min(max(f.Line, f.LastLine), len(of)); of[last-1] != of[f.Line-1] {
			m.again(distinct[of[last-1]])
		}
		f.Count = max(f.Count, m.Count)
		if f.First.IsZero() {
			f.First, f.Last = m.First, m.Last
		}
		f.Line, f.LastLine = 0, 0
		f.Source = src
		f.Source.Detail = strings.TrimSpace(src.Detail + " (" + object + ")")
	}
	return found, nil
}

// again counts another that says the same.
func (m *Message) again(o Message) {
	m.Count += o.Count
	if m.First.IsZero() || !o.First.IsZero() && o.First.Before(m.First) {
		m.First = o.First
	}
	if o.Last.After(m.Last) {
		m.Last = o.Last
	}
	if m.First.IsZero() {
		m.First = m.Last
	}
}
