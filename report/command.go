package report

import "strings"

// hang is how far the lines after a command's first are set in.
const hang = 4

// command breaks a long command into lines that can be pasted as they are: before a flag, a pipe or "&&" that stands outside of
// quotes and parentheses, each line but the last ending in a backslash. What can't be broken so stays long. A command
// that has several lines already is left alone: a line's beginning may count in it.
func command(s string, width int) []string {
	s = shell(s)
	if strings.Contains(s, "\n") {
		return strings.Split(s, "\n")
	}
	if columns(s) <= width {
		return []string{s}
	}
	var out []string
	line, indent := "", 0
	next := func() {
		out = append(out, strings.Repeat(" ", indent)+line+` \`)
		line, indent = "", hang
	}
	// Two columns are kept for the backslash.
	fits := func(p string) bool { return line == "" || indent+columns(line)+1+columns(p) <= width-2 }
	all := parts(s)
	for i, p := range all {
		if hang+columns(p) > width-2 {
			for _, w := range words(p) { // a flag with too much behind it: between its words, then
				if !fits(w) {
					next()
				}
				line = joined(line, w)
			}
			continue
		}
		switch {
		case operator(p) && !fits(one(all[i:])):
			next() // what a pipe or && leads to stands together where it can
		case !fits(p):
			next()
		}
		line = joined(line, p)
	}
	return append(out, strings.Repeat(" ", indent)+line)
}

func joined(line, p string) string {
	if line == "" {
		return p
	}
	return line + " " + p
}

// operator says whether a part begins with a pipe, && or ||.
func operator(p string) bool { return strings.HasPrefix(p, "|") || strings.HasPrefix(p, "&") }

// one gives the first of several commands: up to the next operator.
func one(l []string) string {
	n := 1
	for n < len(l) && !operator(l[n]) {
		n++
	}
	return strings.Join(l[:n], " ")
}

// parts cuts a command where a line may end: it follows the shell's quotes, and $( ), ( ) and ${ } in them, and cuts only
// outside of all.
func parts(s string) []string { return cut(s, breaks) }

// words cuts between any two words.
func words(s string) []string {
	return cut(s, func(rest string) bool { return rest != "" && rest[0] != ' ' })
}

// cut cuts a command before what may begin a line.
func cut(s string, begins func(rest string) bool) []string {
	var out []string
	var open []byte // what is open: '"', '(' or '{'
	start := 0
	for i := 0; i < len(s); i++ {
		in := byte(0)
		if n := len(open); n > 0 {
			in = open[n-1]
		}
		switch c := s[i]; {
		case c == '\\':
			i++
		case c == '`':
			return append(out, s[start:]) // what is inside follows rules of its own
		case in == '"' && c == '"', in == '(' && c == ')', in == '{' && c == '}':
			open = open[:len(open)-1]
		case c == '$' && i+1 < len(s) && (s[i+1] == '(' || s[i+1] == '{'):
			open = append(open, s[i+1])
			i++
		case in == '"':
		case c == '\'':
			end := strings.IndexByte(s[i+1:], '\'')
			if end < 0 {
				return append(out, s[start:])
			}
			i += end + 1
		case c == '"' || c == '(' || c == '{':
			open = append(open, c)
		case c == '#' && i > 0 && s[i-1] == ' ':
			return append(out, s[start:]) // a comment goes to the line's end
		case c == ' ' && len(open) == 0 && i > start && begins(s[i+1:]):
			out = append(out, strings.TrimRight(s[start:i], " "))
			start = i + 1
		}
	}
	return append(out, s[start:])
}

// breaks says whether a line may begin with what follows: a flag with a name, a pipe, or another command after && or ||.
func breaks(rest string) bool {
	switch {
	case strings.HasPrefix(rest, "-"):
		return len(rest) > 1 && rest[1] != ' '
	case strings.HasPrefix(rest, "| "), strings.HasPrefix(rest, "&& "), strings.HasPrefix(rest, "|| "):
		return true
	}
	return false
}
