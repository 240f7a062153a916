package artifact

import (
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/meshdiag/meshdiag/evidence"
)

const (
	kindProcesses = "processes"
	// maxProcesses bounds the processes read of one list; a busy host has some thousands.
	maxProcesses = 50_000
	// maxArgs bounds a command line that is kept: what tells a program stands at its start.
	maxArgs = 4 << 10
	// leastWhole is how many processes a list of a whole host has at the least: init, and what it starts.
	leastWhole = 5
)

var (
	// psAux and psEf are lines of "ps aux" and "ps -ef" that lost their header, as behind a grep.
	psAux = regexp.MustCompile(`^(\S+)\s+(\d+)\s+\d+\.\d+\s+\d+\.\d+\s+\d+\s+\d+\s+\S+\s+[A-Za-z][A-Za-z<+]*\s+\S+\s+\d+:\d+\s+(\S.*)$`)
	psEf  = regexp.MustCompile(`^(\S+)\s+(\d+)\s+\d+\s+\d+\s+\S+\s+\S+\s+(?:\d+-)?\d\d:\d\d:\d\d\s+(\S.*)$`)

	commandColumns = []string{"COMMAND", "CMD", "ARGS"}
	userColumns    = []string{"USER", "EUSER", "RUSER", "UID", "EUID", "RUID"}
	groupColumns   = []string{"GID", "EGID", "RGID"}
	months         = []string{"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"}
	weekdays       = []string{"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"}
	inits          = []string{"systemd", "init", "busybox", "openrc-init", "runit"}
)

// processes reads what ps prints: aux, -ef, or columns of one's own (-eo pid,user,args), with its header or, behind a grep,
// without. ok is false where the text is none.
func (in *input) processes(data []byte) (o outcome, ok bool) {
	if len(data) > maxHostText {
		return outcome{}, false
	}
	text := string(data)
	list, header := psTable(text)
	if !header {
		if list = psLines(text); list == nil {
			return outcome{}, false
		}
	}
	src := in.source(evidence.FromWorkload, "")
	l := evidence.ProcessList{List: list, Whole: header && wholeHost(list), Source: src}
	evidence.Put(in.set, evidence.Processes, []evidence.ProcessList{l}, src)
	note := ""
	if !l.Whole {
		note = ", not all of a host's"
	}
	return used(kindProcesses, "%s%s", plural(len(list), "process", "processes"), note), true
}

// wholeHost says whether a list holds every process of a host: the first one, which is an init, is among them. Behind a grep
// it isn't, and within a container the first one is the application.
func wholeHost(list []evidence.Process) bool {
	return len(list) >= leastWhole && slices.ContainsFunc(list, func(p evidence.Process) bool { return p.PID == 1 && slices.Contains(inits, p.Command) })
}

// psTable reads a list with its header. header says whether there is one.
func psTable(text string) (list []evidence.Process, header bool) {
	var columns []string
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n \t")
		switch {
		case strings.TrimSpace(line) == "":
		case columns == nil:
			columns = strings.Fields(line)
			last := columns[len(columns)-1]
			if !slices.Contains(columns, "PID") || !slices.Contains(commandColumns, last) || !upper(columns) {
				return nil, false
			}
		case len(list) >= maxProcesses:
			return list, true
		default:
			if p, ok := psRow(columns, line); ok {
				list = append(list, p)
			}
		}
	}
	return list, columns != nil
}

// upper says whether all words are in capitals, as ps's headers are.
func upper(words []string) bool {
	return !slices.ContainsFunc(words, func(w string) bool { return w != strings.ToUpper(w) })
}

// psRow reads a line. The last column takes its rest; a start time may be of several words.
func psRow(columns []string, line string) (evidence.Process, bool) {
	p := evidence.Process{PID: -1, UID: -1, GID: -1}
	rest := line
	for i, c := range columns {
		rest = strings.TrimLeft(rest, " \t")
		if i == len(columns)-1 {
			p.Args = clipArgs(rest)
			break
		}
		word := cutWord(&rest)
		switch {
		case c == "PID":
			n, err := strconv.Atoi(word)
			if err != nil || n < 0 {
				return p, false
			}
			p.PID = n
		case slices.Contains(userColumns, c):
			setUser(&p, word)
		case slices.Contains(groupColumns, c):
			if n, err := strconv.Atoi(word); err == nil {
				p.GID = n
			}
		case slices.Contains(commandColumns, c):
			p.Command = path.Base(word) // comm before args
		case c == "STARTED" || c == "START":
			switch {
			case slices.Contains(weekdays, word): // Mon Mar  2 12:00:00 2026
				for range 4 {
					cutWord(&rest)
				}
			case slices.Contains(months, word): // Mar 02
				cutWord(&rest)
			}
		}
	}
	if p.Command == "" {
		p.Command = program(p.Args)
	}
	return p, p.PID >= 0 && p.Args != ""
}

// cutWord takes the first word off a text.
func cutWord(rest *string) string {
	s := strings.TrimLeft(*rest, " \t")
	i := strings.IndexAny(s, " \t")
	if i < 0 {
		*rest = ""
		return s
	}
	*rest = s[i:]
	return s[:i]
}

// setUser notes a user, by number or by name. A column of names after one of numbers, or the other way round, adds to it.
func setUser(p *evidence.Process, word string) {
	n, err := strconv.Atoi(word)
	switch {
	case err == nil:
		p.UID = n
		if p.User == "" {
			p.User = word
		}
	default:
		p.User = word
		if word == "root" {
			p.UID = 0
		}
	}
}

// program gives the base name of what a command line runs.
func program(args string) string {
	word, _, _ := strings.Cut(args, " ")
	if strings.HasPrefix(word, "[") {
		return word // a kernel thread
	}
	// "nginx: worker process", "-bash"
	return strings.TrimPrefix(strings.TrimSuffix(path.Base(word), ":"), "-")
}

func clipArgs(s string) string {
	if len(s) <= maxArgs {
		return s
	}
	return strings.ToValidUTF8(s[:maxArgs], "")
}

// psLines reads lines of "ps aux" or "ps -ef" without their header; nil where the text holds anything else but a prompt with
// the command.
func psLines(text string) []evidence.Process {
	var list []evidence.Process
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || len(list) == 0 && (strings.Contains(line, "ps aux") || strings.Contains(line, "ps -ef")) && !psAux.MatchString(line) && !psEf.MatchString(line) {
			continue
		}
		m := psAux.FindStringSubmatch(line)
		if m == nil {
			m = psEf.FindStringSubmatch(line)
		}
		if m == nil || len(list) >= maxProcesses {
			return nil
		}
		p := evidence.Process{UID: -1, GID: -1, Args: clipArgs(m[3]), Command: program(m[3])}
		p.PID, _ = strconv.Atoi(m[2]) // digits; one beyond any number is none
		setUser(&p, m[1])
		list = append(list, p)
	}
	return list
}
