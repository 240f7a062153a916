package accesslog

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const (
	// maxTokens bounds the fields of a line: Istio's format has twenty-five, a user's own some more.
	maxTokens = 80
	// fewTokens are tried first: a default format has its numbers, and the first quoted field behind them, among these.
	fewTokens = 16
	// maxPairs bounds where the first of Envoy's fields stands in a line of named ones, so that long lines of others cost little.
	maxPairs = 4 << 10
	// tailTokens is how far the fields behind the upstream host are read: the sixth is the route.
	tailTokens = 6
	// maxStamp is the length of the longest time: [2024-05-01T10:11:12.123456789Z].
	maxStamp = 40
)

// between is what stands between two quoted fields.
const between = `" "`

// lastBetween gives where between stands last; -1 where nowhere.
func lastBetween(s string) int {
	for end := len(s); ; {
		i := strings.LastIndexByte(s[:end], '"')
		if i < len(between)-1 {
			return -1
		}
		if s[i-1] == ' ' && s[i-2] == '"' {
			return i - 2
		}
		end = i
	}
}

// token is one blank-separated field of a line.
type token struct {
	text   string
	quoted bool
	rest   string // the line from here on
}

// text reads a line of a default format, with anything before its time:
//
//	[time] "METHOD PATH PROTOCOL" code flags … received sent duration service-time "xff" "agent" "id" "authority" "upstream" …
//
// Between the flags and the four numbers Istio has, since 1.9, the response code details, the connection termination details
// and the quoted transport failure reason, and before that two quoted fields of which the second is that reason. Behind the
// upstream host Istio has the cluster, three addresses, the server name and the route.
func (p *parser) text(line []byte) (Entry, bool) {
	at, rest, ok := startTime(line)
	if !ok {
		return Entry{}, false
	}
	p.fields = tokens(p.fields[:0], view(rest), fewTokens)
	t := p.fields
	if len(t) < 3 || !t[0].quoted || !isRequest(t[0].text) || t[1].quoted || t[2].quoted {
		return Entry{}, false
	}
	code, err := strconv.Atoi(t[1].text)
	flags, isFlags := parseFlags(t[2].text)
	if err != nil || code < 0 || code > 999 || !isFlags {
		return Entry{}, false
	}
	e := Entry{Time: at, Code: code, Flags: flags}
	t = t[3:]
	k := numbers(t)
	if k < 0 {
		p.fields = tokens(p.fields[:0], view(rest), maxTokens)
		t = p.fields[3:]
		k = numbers(t)
	}
	if k < 0 {
		e.custom(t)
		return e, true
	}
	e.before(t[:k])
	if ms, err := strconv.ParseInt(t[k+2].text, 10, 32); err == nil {
		e.Duration = time.Duration(ms) * time.Millisecond
	}
	// An agent may hold quotation marks: the last two of the quoted fields are counted from behind.
	quoted := t[k+4].rest
	last := lastBetween(quoted)
	upstream, tail, _ := strings.Cut(quoted[last+len(between):], `"`)
	quoted = quoted[:last]
	e.Authority, e.Upstream = field(quoted[lastBetween(quoted)+len(between):]), field(upstream)
	p.tail = tokens(p.tail[:0], tail, tailTokens)
	if t = p.tail; len(t) > 0 {
		e.Cluster = field(t[0].text)
	}
	local, name := "", ""
	if len(t) > 2 {
		local = field(t[2].text)
	}
	if len(t) > 4 {
		name = field(t[4].text)
	}
	if len(t) > 5 {
		e.Route = field(t[5].text)
	}
	if e.Authority == "" && !inbound(e.Cluster) {
		if e.Authority = name; name == "" {
			e.Authority = local
		}
	}
	return e, true
}

// inbound says whether a cluster is of traffic that comes in: what it was dialled as is the proxy's own address.
func inbound(cluster string) bool {
	return strings.HasPrefix(cluster, "inbound") || strings.HasPrefix(cluster, "InboundPassthrough")
}

// startTime finds the time in brackets that a default format begins with, and what follows it.
func startTime(line []byte) (at time.Time, rest []byte, ok bool) {
	for off := 0; ; {
		i := bytes.Index(line[off:], []byte(`Z] "`))
		if i < 0 {
			return time.Time{}, nil, false
		}
		end := off + i + 1
		if open := bytes.LastIndexByte(line[max(0, end-maxStamp):end], '['); open >= 0 {
			stamp := view(line[max(0, end-maxStamp)+open+1 : end])
			if t, err := time.Parse(time.RFC3339Nano, stamp); err == nil {
				return t, line[end+2:], true
			}
		}
		off = end
	}
}

// tokens splits a line, and adds up to most fields to out. Envoy doesn't escape quotation marks, so that one ends a field only before a blank.
func tokens(out []token, s string, most int) []token {
	for len(out) < most {
		s = strings.TrimLeft(s, " ")
		if s == "" {
			break
		}
		whole := s
		if s[0] == '"' {
			text, rest, found := strings.Cut(s[1:], `" `)
			if !found {
				text, rest = strings.TrimSuffix(s[1:], `"`), ""
			}
			out = append(out, token{text, true, whole})
			s = rest
			continue
		}
		text, rest, _ := strings.Cut(s, " ")
		out = append(out, token{text, false, whole})
		s = rest
	}
	return out
}

// isRequest says whether a quoted field is "METHOD PATH PROTOCOL", each of which may be "-".
func isRequest(s string) bool {
	method, rest, ok := strings.Cut(s, " ")
	i := strings.LastIndexByte(rest, ' ')
	if !ok || i < 0 || method == "" {
		return false
	}
	protocol := rest[i+1:]
	return protocol == "-" || strings.HasPrefix(protocol, "HTTP/")
}

// numbers finds where the four numbers stand that five quoted fields follow; -1 where nowhere.
func numbers(t []token) int {
	for k := 0; k+4 < len(t); k++ {
		fits := t[k+4].quoted
		for i, x := range t[k : k+4] {
			fits = fits && !x.quoted && (i == 3 && x.text == "-" || isNumber(x.text))
		}
		if fits && strings.Count(t[k+4].rest, between) >= 4 {
			return k
		}
	}
	return -1
}

// isNumber says whether a field is a number that fits 63 bits.
func isNumber(s string) bool {
	if s == "" || !digit(s[0]) {
		return false // most fields: an error costs more to make
	}
	_, err := strconv.ParseUint(s, 10, 63)
	return err == nil
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

// before reads what stands between the flags and the numbers.
func (e *Entry) before(t []token) {
	var bare []string
	for _, x := range t {
		if x.quoted {
			e.Transport = field(x.text) // of two the second counts
			continue
		}
		bare = append(bare, x.text)
	}
	e.details(bare)
}

// details reads the response code details, which in older releases hold blanks within braces, and the termination details.
func (e *Entry) details(bare []string) {
	if len(bare) == 0 {
		return
	}
	d, n := bare[0], 1
	for ; n < len(bare) && strings.Count(d, "{") > strings.Count(d, "}"); n++ {
		d += "_" + bare[n]
	}
	e.Details = field(d)
	e.Termination = field(strings.Join(bare[n:], "_"))
}

// custom reads what it recognises of a format of the user's own: details behind the flags, and a cluster by its name.
func (e *Entry) custom(t []token) {
	if len(t) > 0 && !t[0].quoted && isDetails(t[0].text) {
		n := 0
		var bare []string
		for n < len(t) && !t[n].quoted {
			bare = append(bare, t[n].text)
			n++
		}
		e.details(bare)
		e.Termination = ""
	}
	for _, x := range t {
		if isCluster(x.text) {
			e.Cluster = field(x.text)
			return
		}
	}
}

// pairOfEnvoys finds a field without which [named] takes nothing.
var pairOfEnvoys = regexp.MustCompile(`[Rr]esponse[_.-]?(?:[Ff]lag|[Cc]ode)[\w.-]*=`)

// pairs reads a line of a format whose fields are named: key=value, separated by blanks, the values quoted or not.
func (p *parser) pairs(line []byte) (Entry, bool) {
	if !pairOfEnvoys.Match(line[:min(len(line), maxPairs)]) {
		return Entry{}, false
	}
	o := object{}
	for s, n := view(line), 0; s != "" && n < maxTokens; n++ {
		s = strings.TrimLeft(s, " \t,")
		end := strings.IndexAny(s, "= \t")
		if end < 0 {
			break
		}
		key, rest := s[:end], s[end+1:]
		if s[end] != '=' {
			s = rest // a word without a value: a logger's prefix
			continue
		}
		value, after, _ := strings.Cut(rest, " ")
		if strings.HasPrefix(rest, `"`) {
			value, after, _ = strings.Cut(rest[1:], `"`)
		} else {
			value = strings.TrimSuffix(value, ",")
		}
		if quoted, err := json.Marshal(value); err == nil {
			o[plain(key)] = quoted
		}
		s = after
	}
	return named(o)
}

// isDetails says whether a field looks like response code details: a word of lower-case letters and underscores, with
// something in braces or brackets behind it or nothing.
// https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/response_code_details
func isDetails(s string) bool {
	name, _, _ := strings.Cut(s, "{")
	name, _, _ = strings.Cut(name, "[")
	return strings.Contains(name, "_") && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_.") == ""
}

// isCluster says whether a field is a cluster's name as Istio and Cloud Service Mesh form them.
func isCluster(s string) bool {
	for _, prefix := range []string{"outbound|", "inbound|", "outbound_.", "cloud-internal-istio:", "BlackHoleCluster", "PassthroughCluster", "InboundPassthroughCluster"} {
		if strings.HasPrefix(s, prefix) {
			return true
		}
	}
	return false
}
