package envoy

import (
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// answer is a match that may be undecidable.
type answer uint8

const (
	no answer = iota
	maybe
	yes
)

// request is what a route configuration matches on.
type request struct {
	q         Query
	authority string
	regexps   map[string]*regexp.Regexp // nil: RE2 takes it and Go doesn't
	needs     []string
}

func (r *request) need(what string) answer {
	if !slices.Contains(r.needs, what) {
		r.needs = append(r.needs, what)
	}
	return maybe
}

func decide(b bool) answer {
	if b {
		return yes
	}
	return no
}

// maxRegex bounds a pattern: Envoy's RE2 refuses programs that large.
const maxRegex = 16 << 10

// full matches the whole of s, as Envoy does. Envoy's engine is RE2, whose syntax Go's shares.
func (r *request) full(pattern, s string) answer {
	re, ok := r.regexps[pattern]
	if !ok {
		if len(pattern) <= maxRegex {
			re, _ = regexp.Compile(`^(?:` + pattern + `)$`)
		}
		r.regexps[pattern] = re
	}
	if re == nil {
		return r.need("an answer to the regular expression " + strconv.Quote(pattern[:min(len(pattern), 60)]))
	}
	return decide(re.MatchString(s))
}

// anything says whether a pattern takes every path or value.
func anything(pattern string) bool {
	switch strings.Trim(pattern, "^$") {
	case ".*", "/.*", "(.*)", "/(.*)":
		return true
	}
	return false
}

// findVirtualHost gives the virtual host for a host name, and the domain that matched: an exact one, else the longest
// suffix wildcard (*.foo.com, *-bar.foo.com), else the longest prefix wildcard (foo.*), else *. A wildcard stands for one
// character at least, and case doesn't matter.
// https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/route/v3/route_components.proto#config-route-v3-virtualhost
func findVirtualHost(rc *RouteConfig, host string) (*VirtualHost, string) {
	host = strings.ToLower(host)
	var best *VirtualHost
	var domain string
	rank, length := 0, -1
	for i := range rc.VirtualHosts {
		v := &rc.VirtualHosts[i]
		for _, raw := range v.Domains {
			d := strings.ToLower(raw)
			r, n := 0, len(d)-1
			switch {
			case d == "":
			case d == "*":
				r = 1
			case d[0] == '*':
				if len(host) > n && strings.HasSuffix(host, d[1:]) {
					r = 3
				}
			case d[n] == '*':
				if len(host) > n && strings.HasPrefix(host, d[:n]) {
					r = 2
				}
			case d == host:
				r = 4
			}
			if r > rank || r == rank && r > 0 && n > length {
				best, domain, rank, length = v, raw, r, n
			}
		}
	}
	return best, domain
}

// hostFor makes of an authority what the connection manager and the route configuration match on.
func hostFor(h *HTTP, rc *RouteConfig, authority string, port int) string {
	if h.StripHostDot {
		name, p, _ := cutPort(authority)
		authority = strings.TrimSuffix(name, ".") + p
	}
	if name, p, ok := cutPort(authority); ok {
		n, err := strconv.Atoi(p[1:])
		if rc.IgnorePort || err == nil && (h.StripAnyPort || h.StripPort && n == port) {
			return name
		}
	}
	return authority
}

// cutPort parts "host:80" into "host" and ":80"; an IPv6 address stands in brackets.
func cutPort(host string) (name, port string, ok bool) {
	i := strings.LastIndexByte(host, ':')
	if i < 0 || strings.LastIndexByte(host, ']') > i || i == len(host)-1 {
		return host, "", false
	}
	return host[:i], host[i:], true
}

// match says whether a route takes the request: its path, and every header, query parameter and other criterion.
func (r *request) match(m *RouteMatch) answer {
	result := r.path(m)
	and := func(a answer) { result = min(result, a) }
	for i := range m.Headers {
		if result == no {
			return no
		}
		and(r.header(&m.Headers[i]))
	}
	for i := range m.Query {
		if result == no {
			return no
		}
		and(r.parameter(&m.Query[i]))
	}
	if m.GRPC && result != no {
		and(r.header(&HeaderMatch{Name: "content-type", Kind: "prefix", Value: "application/grpc"}))
	}
	if result != no {
		switch {
		case m.Fraction <= 0:
			return no
		case m.Fraction < 1:
			and(r.need("chance: a route takes a share of the requests (runtime_fraction)"))
		}
		for _, o := range m.Other {
			and(r.need("the request's " + strings.ReplaceAll(o, "_", " ")))
		}
	}
	return result
}

func (r *request) path(m *RouteMatch) answer {
	path, want := r.q.Path, m.Path
	if i := strings.IndexAny(path, "?#"); i >= 0 {
		path = path[:i]
	}
	if path == "" {
		switch {
		case m.Kind == PathPrefix && (want == "/" || want == ""), m.Kind == PathRegex && anything(want):
			return yes
		case m.Kind == PathConnect:
			return decide(r.q.Method == "CONNECT")
		case m.Kind == PathAbsent:
			return no
		}
		return r.need("the path")
	}
	if m.IgnoreCase && m.Kind != PathRegex {
		path, want = strings.ToLower(path), strings.ToLower(want)
	}
	switch m.Kind {
	case PathPrefix:
		return decide(strings.HasPrefix(path, want))
	case PathExact:
		return decide(path == want)
	case PathSeparatedPrefix:
		rest, ok := strings.CutPrefix(path, want)
		return decide(ok && (rest == "" || rest[0] == '/'))
	case PathRegex:
		return r.full(want, path)
	case PathConnect:
		return decide(r.q.Method == "CONNECT")
	case PathOther:
		return r.need("an answer to a path_match_policy, which isn't followed")
	}
	return no
}

// header says whether a request's header matches. Every request has :authority, :path, :method and :scheme.
func (r *request) header(m *HeaderMatch) answer {
	name := strings.ToLower(m.Name)
	var value string
	known, present := r.q.Headers != nil, false
	if value, present = r.q.Headers[name]; present {
		known = true
	}
	switch name {
	case ":authority", "host":
		value, known, present = r.authority, r.authority != "", true
	case ":path":
		value, known, present = r.q.Path, r.q.Path != "", true
	case ":method":
		value, known, present = r.q.Method, r.q.Method != "", true
	case ":scheme":
		present = true
		known = value != ""
	}
	if !known {
		if present && !m.Invert && (m.Kind == "regex" && anything(m.Value) || m.Kind == "present" && m.Value == "true") {
			return yes
		}
		return r.need("the request header " + name)
	}
	if !present {
		if !m.MissingIsEmpty {
			// Absent, a matcher fails even if inverted, except one that asks for absence.
			return decide(m.Kind == "present" && (m.Value == "true") == m.Invert)
		}
		value = ""
	}
	return r.value(m, value)
}

func (r *request) value(m *HeaderMatch, value string) answer {
	want := m.Value
	if m.IgnoreCase {
		value, want = strings.ToLower(value), strings.ToLower(want)
	}
	var a answer
	switch m.Kind {
	case "exact":
		a = decide(value == want)
	case "prefix":
		a = decide(strings.HasPrefix(value, want))
	case "suffix":
		a = decide(strings.HasSuffix(value, want))
	case "contains":
		a = decide(strings.Contains(value, want))
	case "regex":
		a = r.full(m.Value, value)
	case "present":
		a = decide(m.Value == "true")
	case "range":
		from, to, _ := strings.Cut(m.Value, ",")
		lo, _ := strconv.ParseInt(from, 10, 64)
		hi, _ := strconv.ParseInt(to, 10, 64)
		n, err := strconv.ParseInt(value, 10, 64)
		a = decide(err == nil && n >= lo && n < hi)
	default:
		return r.need("an answer to a matcher of " + m.Name + ", which isn't followed")
	}
	if m.Invert && a != maybe {
		return yes - a
	}
	return a
}

func (r *request) parameter(m *HeaderMatch) answer {
	if r.q.Path == "" {
		return r.need("the path's query string")
	}
	_, query, _ := strings.Cut(r.q.Path, "?")
	query, _, _ = strings.Cut(query, "#")
	values, _ := url.ParseQuery(query)
	if !values.Has(m.Name) {
		return decide(m.Kind == "present" && m.Value == "false")
	}
	return r.value(m, values.Get(m.Name))
}
