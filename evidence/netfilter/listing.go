package netfilter

import (
	"errors"
	"slices"
	"strconv"
	"strings"
)

// hookOrder is the order in which a listing shows the built-in chains of a table.
func hookOrder(chain string) int {
	return slices.Index([]string{"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"}, chain)
}

// listed begins a chain of iptables -L. A built-in chain behind one of the user's, or again, begins another table.
func (p *parser) listed(line string) {
	m := listedChain.FindStringSubmatch(line)
	name, builtin := m[1], m[2] != ""
	s := p.cur
	if s == nil || s.table.Form >= Commands || builtin && (s.behind || s.table.Chain(name) != nil || s.otherTable(name)) {
		p.end()
		p.begin(Listing)
		s = p.cur
	}
	c := s.table.chain(name)
	if c.declared {
		p.bad(line, errors.New("the chain was listed before"))
	}
	c.declared = true
	c.Policy = m[2]
	s.chain = c
	s.behind = s.behind || !builtin
	s.verbose = s.verbose || strings.Contains(line, " packets, ")
}

// otherTable says that a built-in chain can't follow those already listed: raw's two are followed by filter's first.
func (s *section) otherTable(name string) bool {
	last := s.table.Chains[len(s.table.Chains)-1].Name
	return name == "INPUT" && last == "OUTPUT" || name == "INPUT" && last == "POSTROUTING" || name == "PREROUTING"
}

// listedRule reads a rule of iptables -L, and tells whether the line is one.
func (p *parser) listedRule(raw string) bool {
	f := strings.Fields(raw)
	r := &Rule{Line: p.n, Text: strings.Join(f, " "), hidden: !p.cur.verbose}
	f = numbers(f, p.cur.verbose, r)
	// A rule without a target has an empty column there.
	proto := func(i int) bool {
		if i >= len(f) {
			return false
		}
		_, err := parseProtocol(strings.TrimPrefix(f[i], "!"))
		return err == nil
	}
	column := func(i int) bool { return i < len(f) && (f[i] == "--" || f[i] == "-f" || f[i] == "!f") }
	switch {
	case proto(0) && column(1):
	case len(f) > 0 && proto(1):
		r.Target = f[0]
		f = f[1:]
	default:
		return false
	}
	words := option("-p", f[0])
	f = f[1:]
	if column(0) { // ip6tables before 1.8.9 leaves it blank
		switch f[0] {
		case "-f":
			words = append(words, "-f")
		case "!f":
			words = append(words, "!", "-f")
		}
		f = f[1:]
	}
	if p.cur.verbose && len(f) >= 2 {
		for i, opt := range []string{"-i", "-o"} {
			if f[i] != "*" && f[i] != "any" {
				words = append(words, option(opt, f[i])...)
			}
		}
		f = f[2:]
	}
	if len(f) < 2 {
		return false
	}
	for i, opt := range []string{"-s", "-d"} {
		if v := listedAddress(f[i]); v != "" {
			words = append(words, option(opt, v)...)
		}
	}
	if strings.Contains(f[0]+f[1], ":") {
		p.cur.family = IPv6
	} else if strings.Contains(f[0]+f[1], "0.0.0.0/0") {
		p.cur.family = IPv4
	}
	p.listedEnd(r, words, f[2:])
	return true
}

func (p *parser) listedEnd(r *Rule, words, rest []string) {
	if p.rules++; p.rules > MaxRules {
		return
	}
	l := &listing{in: rest, target: r.Target}
	l.run()
	if r.Target != "" {
		jump := "-j"
		if l.jumps {
			jump = "-g"
		}
		words = append(words, l.out...)
		words = append(words, jump, r.Target)
		words = append(words, l.options...)
		r.Target = ""
	} else {
		words = append(words, l.out...)
	}
	var quoted []word
	for _, w := range words {
		quoted = append(quoted, word{w, len(w) == 0 || w[0] != '-' && w != "!"})
	}
	c := p.cur.chain
	c.Rules = append(c.Rules, r)
	if err := decode(quoted, r); err != nil {
		p.bad(r.Text, err)
	}
}

// numbers takes the columns of --line-numbers and -v.
func numbers(f []string, verbose bool, r *Rule) []string {
	digits := func(s string) bool {
		_, err := strconv.ParseUint(strings.TrimRight(s, "KMGT"), 10, 64)
		return err == nil
	}
	n := 0
	for n < len(f) && digits(f[n]) {
		n++
	}
	switch {
	case verbose && n >= 2:
		n = min(n, 3)
		// Without a target the numeric protocol follows: its options column tells.
		if n == 3 && len(f) > 3 && (f[3] == "--" || f[3] == "-f" || f[3] == "!f") {
			n = 2
		}
		r.Packets, r.Counted = magnitude(f[n-2]), true
	case n == 2 && len(f) > 2 && strings.HasPrefix(f[2], "-"):
		n = 1
	case n == 1 && len(f) > 1 && strings.HasPrefix(f[1], "-"):
		n = 0
	case n > 1:
		n = 1
	}
	return f[n:]
}

// magnitude reads a count as -v shortens it: 12K.
func magnitude(s string) uint64 {
	unit := uint64(1)
	for i, c := range "KMGT" {
		if strings.HasSuffix(s, string(c)) {
			s = s[:len(s)-1]
			for range i + 1 {
				unit *= 1000
			}
			break
		}
	}
	n, _ := strconv.ParseUint(s, 10, 64)
	return n * unit
}

// option writes a value that may begin with an exclamation mark as an option.
func option(opt, value string) []string {
	if v, neg := strings.CutPrefix(value, "!"); neg {
		return []string{"!", opt, v}
	}
	return []string{opt, value}
}

// listedAddress gives the address of a column, empty for any. Without -n names are printed: those that stand for the same
// address everywhere are known.
func listedAddress(v string) string {
	neg := ""
	if strings.HasPrefix(v, "!") {
		neg, v = "!", v[1:]
	}
	switch v {
	case "anywhere", "default", "0.0.0.0/0", "::/0":
		if neg == "" {
			return ""
		}
		return "!0.0.0.0/0"
	case "localhost", "localhost.localdomain":
		return neg + "127.0.0.1"
	case "ip6-localhost", "localhost6":
		return neg + "::1"
	case "loopback/8", "localhost/8":
		return neg + "127.0.0.0/8"
	case "link-local/16":
		return neg + "169.254.0.0/16"
	case "metadata.google.internal":
		return neg + "169.254.169.254"
	}
	return neg + v
}

// listing turns the last column of a listed rule into options.
type listing struct {
	in      []string
	i       int
	target  string
	out     []string // matches
	options []string // of the target
	strange []string // words of a match that isn't known
	jumps   bool     // [goto]
}

func (l *listing) next() string {
	if l.i >= len(l.in) {
		return ""
	}
	l.i++
	return l.in[l.i-1]
}

// skip passes over words that are there.
func (l *listing) skip(words ...string) bool {
	if l.i+len(words) > len(l.in) || !slices.Equal(l.in[l.i:l.i+len(words)], words) {
		return false
	}
	l.i += len(words)
	return true
}

func (l *listing) flush() {
	if len(l.strange) > 0 {
		l.out = append(l.out, "-m", strings.Join(l.strange, " "))
		l.strange = nil
	}
}

func (l *listing) match(words ...string) {
	l.flush()
	l.out = append(l.out, words...)
}

// value takes the next word as the value of an option, which may be negated before, apart or within.
func (l *listing) value(neg bool, opt string) {
	if l.skip("!") {
		neg = !neg
	}
	o := option(opt, l.next())
	if neg && o[0] != "!" {
		o = append([]string{"!"}, o...)
	}
	l.match(o...)
}

func (l *listing) run() {
	for l.i < len(l.in) {
		if l.targetWords() {
			l.flush()
			return
		}
		neg := l.skip("!")
		w := l.next()
		if v, ok := strings.CutPrefix(w, "!"); ok && v != "" && !neg {
			neg, w = true, v
		}
		if name, v, ok := strings.Cut(w, ":"); ok && l.colon(name, v) {
			continue
		}
		switch {
		case w == "[goto]":
			l.jumps = true
		case w == "tcp" || w == "udp":
			l.match("-m", w)
		case w == "multiport" && l.i < len(l.in):
			l.value(neg, "--"+l.next())
		case w == "owner" && l.skip("UID", "match"):
			l.value(neg, "--uid-owner")
		case w == "owner" && l.skip("GID", "match"):
			l.value(neg, "--gid-owner")
		case w == "owner" && l.skip("socket", "exists"):
			l.match("--socket-exists")
		case w == "incl." && l.skip("suppl.", "groups"):
			l.match("--suppl-groups")
		case w == "ctstate" || w == "state" || w == "ctorigdst" || w == "ctorigdstport" || w == "ctproto":
			l.value(neg, "--"+w)
		case w == "mark" && l.skip("match"):
			l.match("-m", "mark")
			l.value(neg, "--mark")
		case w == "connmark" && l.skip("match"):
			l.match("-m", "connmark")
			l.value(neg, "--mark")
		case w == "ADDRTYPE" && l.skip("match"):
			for _, side := range []string{"src-type", "dst-type"} {
				if l.skip(side) {
					l.value(false, "--"+side)
				}
			}
		case w == "source" && l.skip("IP", "range"):
			l.value(neg, "--src-range")
		case w == "destination" && l.skip("IP", "range"):
			l.value(neg, "--dst-range")
		case w == "socket":
			l.match("-m", "socket")
			for l.i < len(l.in) && strings.HasPrefix(l.in[l.i], "--") {
				l.match(l.next())
			}
		case w == "/*":
			for l.i < len(l.in) && l.next() != "*/" {
			}
		default:
			l.strange = append(l.strange, w)
		}
	}
	l.flush()
}

// colon reads dpt:80, dpts:1000:2000, flags:0x17/0x02.
func (l *listing) colon(name, v string) bool {
	switch name {
	case "dpt", "dpts":
		l.match(option("--dport", v)...)
	case "spt", "spts":
		l.match(option("--sport", v)...)
	case "flags":
		o := option("--tcp-flags", v)
		mask, set, ok := strings.Cut(o[len(o)-1], "/")
		if !ok {
			return false
		}
		l.match(append(o[:len(o)-1], mask, set)...)
	default:
		return false
	}
	return true
}

// targetWords reads what the rule's target adds at the end, if the rest of the line is that.
func (l *listing) targetWords() bool {
	at := l.i
	switch l.target {
	case "REDIRECT":
		if l.skip("redir", "ports") || l.skip("redir", "port") {
			l.options = []string{"--to-ports", l.next()}
			if l.skip("random") || l.skip("random-fully") {
				l.options = append(l.options, "--random")
			}
			return true
		}
	case "DNAT":
		if v, ok := strings.CutPrefix(l.in[l.i], "to:"); ok {
			l.options = []string{"--to-destination", v}
			l.i = len(l.in)
			return true
		}
	case "REJECT":
		if l.skip("reject-with") {
			l.options = []string{"--reject-with", l.next()}
			return true
		}
	case "MARK", "CONNMARK":
		if l.skip(l.target) && l.markWords() {
			return true
		}
	case "TPROXY":
		if l.skip("TPROXY", "redirect") {
			a := l.next()
			colon := strings.LastIndexByte(a, ':')
			if colon < 0 || !l.skip("mark") {
				break
			}
			l.options = []string{"--on-ip", strings.Trim(a[:colon], "[]"), "--on-port", a[colon+1:], "--tproxy-mark", l.next()}
			return true
		}
	case "CT", "NOTRACK":
		if l.skip("CT", "notrack") || l.skip("NOTRACK") {
			if l.target == "CT" {
				l.options = []string{"--notrack"}
			}
			return true
		}
	}
	l.i = at
	return false
}

func (l *listing) markWords() bool {
	verb := l.next()
	switch verb {
	case "set", "and", "or", "xor":
		l.options = []string{"--" + verb + "-mark", l.next()}
	case "xset":
		l.options = []string{"--set-xmark", l.next()}
	case "save", "restore":
		l.options = []string{"--" + verb + "-mark"}
		for l.i < len(l.in) {
			switch w := l.next(); w {
			case "mask", "ctmask", "nfmask":
				l.options = append(l.options, "--"+w, l.next())
			}
		}
	default:
		return false
	}
	return true
}

// mustBeLimited says whether a rule is limited to an interface though its listing, without -v, doesn't show one. Istio's set-up
// has such rules for what its host sends to itself by another address than 127.0.0.1, and lets pass by lo what isn't the
// proxy's. And what ends the way of every packet with rules behind it, as -A INPUT -i lo -j ACCEPT seems to, would leave these
// nothing to do.
func mustBeLimited(p *packet, c *Chain, r *Rule) bool {
	everything := true
	for _, cond := range r.conditions {
		switch t := cond.test.(type) {
		case protocol:
			everything = everything && t == 0
			continue
		case address:
			if cond.neg && p.socket && !t.source && len(t.nets) > 0 && !slices.ContainsFunc(t.nets, func(n network) bool { return !loopback(n) }) {
				return true
			}
		case owner:
			if cond.neg && p.socket && r.action.kind == actReturn {
				return true
			}
		}
		everything = false
	}
	switch r.action.kind {
	case actAccept, actDrop, actReject, actReturn:
		return everything && r.Number < len(c.Rules)
	}
	return false
}
