package artifact

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/meshdiag/meshdiag/evidence"
)

const (
	// maxKubectl bounds text that is looked at as what kubectl prints: the events of the largest clusters.
	maxKubectl = 16 << 20
	// maxRows bounds the rows of tables in one file.
	maxRows = 100_000
)

var (
	// describeStart is the first line of an object that kubectl describe prints.
	describeStart = regexp.MustCompile(`^Name:\s{2,}(\S+)\s*$`)
	// promptLine is a command within a pasted session.
	promptLine = regexp.MustCompile(`^\S{0,80}(?:\s\S{0,80})?[$#%>❯]\s+(?:sudo )?(?:kubectl|k|oc|istioctl|gcloud|curl)\s`)
)

// kubectlText reads what kubectl and istioctl print for people: described objects, tables of pods and of events, the status of
// proxies; one or several of them, with or without the commands that printed them. Other lines are read as a log's. ok is false
// where the text holds none of them.
func (in *input) kubectlText(data []byte) (outcome, bool) {
	if len(data) > maxKubectl || !mayBeKubectl(data) {
		return outcome{}, false
	}
	lines := strings.Split(string(data), "\n")
	for i, l := range lines {
		lines[i] = strings.TrimSuffix(l, "\r")
	}
	m := &kubeFile{in: in, others: map[string]int{}}
	rest := slices.Clone(lines) // what isn't of any
	take := func(from, to int) {
		for i := from; i < to; i++ {
			rest[i] = ""
		}
	}
	found := false
	for i := 0; i < len(lines); {
		if in.ctx.Err() != nil {
			return unused(notInTime), true
		}
		if end := describedBlock(lines, i); end > i {
			m.described(lines[i:end], i+1)
			take(i, end)
			i, found = end, true
			continue
		}
		if t := tableHeader(lines[i]); t != nil {
			end := i + 1
			for end < len(lines) && t.takes(lines[end]) {
				end++
			}
			if m.table(t, lines[i+1:end], i+2) {
				take(i, end)
				i, found = end, true
				continue
			}
		}
		if promptLine.MatchString(lines[i]) {
			rest[i] = ""
		}
		i++
	}
	if !found {
		return outcome{}, false
	}
	o, ok := m.done()
	if !ok {
		// Nothing but kinds that aren't used: their text may hold a message.
		return in.logIfKnown(data)
	}
	text := strings.Join(rest, "\n")
	if strings.TrimSpace(text) != "" {
		if log, ok := in.logIfKnown([]byte(text)); ok {
			o.note = andThen(o.note, "besides: "+log.note)
		}
	}
	return o, true
}

// withoutPrompt blanks the first line where it is the command that printed what follows.
func withoutPrompt(data []byte) []byte {
	line := firstLine(data)
	if len(line) > maxKeyLine || !promptLine.Match(line) {
		return data
	}
	at := bytes.Index(data, line)
	return append(bytes.Repeat([]byte{' '}, at+len(line)), data[at+len(line):]...)
}

// mayBeKubectl says whether a text may hold what kubectl prints: most logs don't.
func mayBeKubectl(data []byte) bool {
	if bytes.HasPrefix(data, []byte("Name:")) || bytes.Contains(data, []byte("\nName:")) {
		return true
	}
	for _, w := range []string{"RESTARTS", "LAST SEEN", "ISTIOD", "PILOT", "LABELS"} {
		if bytes.Contains(data, []byte(w)) {
			return true
		}
	}
	return false
}

// table is a table with its columns.
type table struct {
	names  []string
	starts []int // in characters
	kind   string
}

// The tables that are read.
const (
	tablePods       = "pods"
	tableNamespaces = "namespaces" // with their labels
	tableEvents     = "events"
	tableSyncs      = "proxy-status"
)

// tableHeader reads a header; nil where the line is none of a table that is read.
func tableHeader(line string) *table {
	if len(line) > 1000 || !strings.Contains(line, " ") || strings.ToUpper(line) != line {
		return nil
	}
	t := &table{}
	for i := 0; i < len(line); {
		if line[i] == ' ' || line[i] == '\t' {
			i++
			continue
		}
		end := i
		for end < len(line) && line[end] != ' ' && line[end] != '\t' {
			end++
		}
		word := line[i:end]
		if n := len(t.names); n > 0 && i == t.starts[n-1]+len(t.names[n-1])+1 && twoWords(t.names[n-1], word) {
			t.names[n-1] += " " + word
		} else {
			t.names, t.starts = append(t.names, word), append(t.starts, i)
		}
		i = end
	}
	has := func(names ...string) bool {
		return !slices.ContainsFunc(names, func(n string) bool { return !slices.Contains(t.names, n) })
	}
	switch {
	case t.starts == nil || t.starts[0] != 0:
		return nil
	case has("NAME", "READY", "STATUS", "RESTARTS"):
		t.kind = tablePods
	case has("NAME", "STATUS", "AGE", "LABELS") && len(t.names) == 4:
		t.kind = tableNamespaces
	case has("LAST SEEN", "TYPE", "REASON", "MESSAGE") && (has("OBJECT") || has("KIND", "NAME")):
		t.kind = tableEvents
	case (has("NAME") || has("PROXY")) && (has("CDS", "LDS") || has("SUBSCRIBED TYPES")) && (has("ISTIOD") || has("PILOT")):
		t.kind = tableSyncs
	default:
		return nil
	}
	return t
}

// twoWords says whether two words are one column's name.
func twoWords(a, b string) bool {
	return slices.Contains([]string{"LAST SEEN", "FIRST SEEN", "NOMINATED NODE", "READINESS GATES", "SUBSCRIBED TYPES"}, a+" "+b)
}

// takes says whether a line may be a row, or an event's message going on.
func (t *table) takes(line string) bool {
	return strings.TrimSpace(line) != "" && !promptLine.MatchString(line) && !describeStart.MatchString(line) && tableHeader(line) == nil
}

// spacedCell are cells that hold blanks: "3 (2m ago)", "5m (x4 over 7m)", "STALE (Never Acknowledged) (0%)", "NOT SENT".
var spacedCell = regexp.MustCompile(` \((?:[^()]* ago|x\d+ over [^()]*|Never Acknowledged|\d+%|\d+[smhd][^()]*|[A-Z,/0-9]+)\)|\bNOT SENT\b|, [a-z]`)

// row takes a line apart; nil where it can't be.
func (t *table) row(line string) map[string]string {
	out := make(map[string]string, len(t.names))
	runes := []rune(line)
	aligned := true
	for i, s := range t.starts {
		// A cell begins where its column does, after a blank.
		if i > 0 && s <= len(runes) && (runes[s-1] != ' ' || i+1 < len(t.starts) && s < len(runes) && runes[s] == ' ' && !t.mayBeEmpty(i)) {
			aligned = false
			break
		}
	}
	if aligned && len(runes) > t.starts[len(t.starts)-1]-1 {
		for i, s := range t.starts {
			end := len(runes)
			if i+1 < len(t.starts) {
				end = min(end, t.starts[i+1])
			}
			out[t.names[i]] = strings.TrimSpace(string(runes[min(s, len(runes)):end]))
		}
		return out
	}
	const blank = "\u00a0"
	joined := spacedCell.ReplaceAllStringFunc(line, func(s string) string { return strings.ReplaceAll(s, " ", blank) })
	var cells []string
	rest := joined
	for len(cells) < len(t.names)-1 {
		rest = strings.TrimLeft(rest, " \t")
		i := strings.IndexAny(rest, " \t")
		if i < 0 {
			break
		}
		cells = append(cells, rest[:i])
		rest = rest[i:]
	}
	if rest = strings.TrimSpace(rest); rest != "" {
		cells = append(cells, rest)
	}
	if len(cells) != len(t.names) {
		return nil
	}
	if last := t.names[len(t.names)-1]; last != "MESSAGE" && last != "LABELS" && strings.ContainsAny(cells[len(cells)-1], " \t") {
		return nil
	}
	for i, n := range t.names {
		out[n] = strings.ReplaceAll(cells[i], blank, " ")
	}
	return out
}

// mayBeEmpty says whether a column's cell may be empty.
func (t *table) mayBeEmpty(i int) bool {
	return slices.Contains([]string{"SUBOBJECT", "SOURCE", "CLUSTER", "CDS", "LDS", "EDS", "RDS", "ECDS", "NDS", "FIRST SEEN", "COUNT"}, t.names[i])
}

// table reads the rows of a table; first is the number of the first row's line. It says whether there were any.
func (m *kubeFile) table(t *table, rows []string, first int) bool {
	n := 0
	for i, line := range rows {
		if m.rows >= maxRows {
			m.problem("", anyKind, fmt.Errorf("more than %d rows in one file", maxRows))
			break
		}
		at := fmt.Sprintf("%s, line %d", m.in.name, first+i)
		ok := false
		if r := t.row(line); r != nil {
			switch t.kind {
			case tablePods:
				ok = m.podRow(r, at)
			case tableNamespaces:
				ok = m.namespaceRow(r, at)
			case tableEvents:
				ok = m.eventRow(r, at)
			case tableSyncs:
				ok = m.syncRow(r)
			}
		}
		switch {
		case ok:
			n++
			m.rows++
		case t.kind == tableEvents && n > 0 && len(m.objects.Events) > 0:
			goOn(&m.objects.Events[len(m.objects.Events)-1].Message, strings.TrimSpace(line))
		default:
			m.badRows++
		}
	}
	if t.kind == tableEvents {
		m.orderEvents(n)
	}
	return n > 0
}

// putSyncs records the states of proxies.
func (m *kubeFile) putSyncs(src evidence.Source) {
	for i := range m.syncs {
		m.syncs[i].File, m.syncs[i].Source = m.in.name, src
	}
	if len(m.syncs) > 0 {
		evidence.Put(m.in.set, evidence.ProxySyncs, m.syncs, src)
	}
}
