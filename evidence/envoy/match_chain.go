package envoy

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// conn is what a listener knows of a connection; a zero is unknown, but for sni and alpn, which have a flag.
type conn struct {
	ip        netip.Addr
	port      int
	sni       string
	sniKnown  bool
	transport string
	alpn      []string
	alpnKnown bool
	src       netip.AddrPort
}

// connOf makes the connection as this listener's inspectors see it. A listener without a TLS inspector takes every
// connection for raw_buffer; Envoy adds the inspector by itself where a chain needs it.
func connOf(l *Listener, q Query) conn {
	c := conn{ip: q.IP, port: q.Port, src: q.Source, transport: q.Transport}
	c.sni, c.sniKnown = strings.ToLower(q.SNI), q.SNI != ""
	c.alpn, c.alpnKnown = q.ALPN, q.ALPN != nil
	if c.transport == "" && c.sniKnown {
		c.transport = "tls"
	}
	if !l.tlsInspected() {
		c.transport, c.sni, c.sniKnown = "raw_buffer", "", true
		if !l.hasFilter("http_inspector") {
			c.alpn, c.alpnKnown = nil, true
		}
	} else if c.transport == "raw_buffer" {
		c.sni, c.sniKnown = "", true
		if !l.hasFilter("http_inspector") {
			c.alpn, c.alpnKnown = nil, true
		}
	}
	return c
}

func (l *Listener) hasFilter(name string) bool {
	return slices.ContainsFunc(l.Filters, func(f string) bool { return strings.HasSuffix(f, name) })
}

func (l *Listener) tlsInspected() bool {
	return l.hasFilter("tls_inspector") || slices.ContainsFunc(l.Chains, func(f FilterChain) bool {
		m := f.Match
		return m.Transport == "tls" || m.Transport == "" && (len(m.ServerNames) > 0 || len(m.ALPN) > 0)
	})
}

const (
	// maxCandidates bounds the ways that are followed where an input is unknown.
	maxCandidates = 64

	// maxSteps bounds the entries looked at on those ways: a chain with a thousand server names, protocols and source
	// ranges has 10⁹ of them.
	maxSteps = 20_000
)

// chainSearch finds the filter chains that a connection may meet.
//
// The order and the lack of backtracking are FilterChainManagerImpl's: each criterion in turn picks its most specific
// entry, among the chains that are left, that fits the connection; a chain that fails a later criterion isn't replaced by
// one that is less specific in an earlier one.
// https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/listener/v3/listener_components.proto#config-listener-v3-filterchainmatch
type chainSearch struct {
	l      *Listener
	in     conn
	needs  []string
	hits   map[int]bool // index of the chain; none is -1
	failed string       // the criterion at which the last search found nothing
	steps  int
}

// capped says whether not all ways were followed.
func (s *chainSearch) capped() bool { return len(s.hits) >= maxCandidates || s.steps >= maxSteps }

const none = -1

// findChains gives the indexes of the chains that may take the connection, sorted; none is among them where no chain may.
func findChains(l *Listener, in conn) *chainSearch {
	s := &chainSearch{l: l, in: in, hits: map[int]bool{}}
	all := make([]int, len(l.Chains))
	for i := range all {
		all[i] = i
	}
	s.port(all)
	return s
}

func (s *chainSearch) miss(criterion string) {
	s.failed = criterion
	s.hits[none] = true
}

func (s *chainSearch) need(what string) {
	if !slices.Contains(s.needs, what) {
		s.needs = append(s.needs, what)
	}
}

func (s *chainSearch) match(i int) *ChainMatch { return &s.l.Chains[i].Match }

// group is the chains that have one value of a criterion.
type group[K comparable] struct {
	key    K
	chains []int
}

func groups[K comparable](chains []int, keys func(i int) []K) []group[K] {
	var out []group[K]
	at := map[K]int{}
	for _, i := range chains {
		for _, k := range keys(i) {
			n, ok := at[k]
			if !ok {
				n = len(out)
				at[k] = n
				out = append(out, group[K]{key: k})
			}
			if g := &out[n]; len(g.chains) == 0 || g.chains[len(g.chains)-1] != i {
				g.chains = append(g.chains, i)
			}
		}
	}
	return out
}

// criterion goes on with the group of one criterion that fits, where the input is known, or else with all of them.
type criterion[K comparable] struct {
	what   string
	groups []group[K]
	known  bool
	fits   func() (K, bool)
	covers func() bool // whether the groups leave no connection out
	next   func([]int)
}

func (c criterion[K]) in(s *chainSearch) {
	if c.known {
		if k, ok := c.fits(); ok {
			for _, g := range c.groups {
				if g.key == k {
					c.next(g.chains)
					return
				}
			}
		}
		s.miss(c.what)
		return
	}
	covered := c.covers()
	if len(c.groups) == 1 && covered {
		c.next(c.groups[0].chains)
		return
	}
	s.need(c.what)
	for _, g := range c.groups {
		if s.steps++; !s.capped() {
			c.next(g.chains)
		}
	}
	if !covered {
		s.miss(c.what)
	}
}

func has[K comparable](gs []group[K], k K) bool {
	return slices.ContainsFunc(gs, func(g group[K]) bool { return g.key == k })
}

func (s *chainSearch) port(chains []int) {
	gs := groups(chains, func(i int) []int { return []int{s.match(i).DestinationPort} })
	criterion[int]{"the destination port", gs, s.in.port != 0, func() (int, bool) {
		// A port that has chains of its own never falls back to the chains for any port.
		if has(gs, s.in.port) {
			return s.in.port, true
		}
		return 0, has(gs, 0)
	}, func() bool { return has(gs, 0) }, s.prefix}.in(s)
}

// everywhere stands for no prefix at all, which Envoy holds as 0.0.0.0/0 and ::/0.
var everywhere = netip.Prefix{}

func prefixKeys(ps []netip.Prefix) []netip.Prefix {
	if len(ps) == 0 {
		return []netip.Prefix{everywhere}
	}
	var out []netip.Prefix
	for _, p := range ps {
		if p.IsValid() {
			out = append(out, p)
		}
	}
	return out
}

// coversAll says whether the prefixes take every address of both families.
func coversAll(gs []group[netip.Prefix]) bool {
	return has(gs, everywhere) || has(gs, netip.MustParsePrefix("0.0.0.0/0")) && has(gs, netip.MustParsePrefix("::/0"))
}

func longest(gs []group[netip.Prefix], ip netip.Addr) (netip.Prefix, bool) {
	best, found := everywhere, has(gs, everywhere)
	for _, g := range gs {
		if g.key.IsValid() && g.key.Contains(ip) && (!best.IsValid() || g.key.Bits() > best.Bits()) {
			best, found = g.key, true
		}
	}
	return best, found
}

func (s *chainSearch) prefix(chains []int) {
	gs := groups(chains, func(i int) []netip.Prefix { return prefixKeys(s.match(i).Prefixes) })
	criterion[netip.Prefix]{"the destination address", gs, s.in.ip.IsValid(), func() (netip.Prefix, bool) { return longest(gs, s.in.ip) },
		func() bool { return coversAll(gs) }, s.serverName}.in(s)
}

func orAny(names []string) []string {
	if len(names) == 0 {
		return []string{""}
	}
	return names
}

func (s *chainSearch) serverName(chains []int) {
	gs := groups(chains, func(i int) []string { return orAny(s.match(i).ServerNames) })
	criterion[string]{"the server name (SNI)", gs, s.in.sniKnown, func() (string, bool) {
		if has(gs, s.in.sni) {
			return s.in.sni, true
		}
		// *.example.com, then *.com, each standing for one label or more.
		for name := s.in.sni; ; {
			_, rest, ok := strings.Cut(name, ".")
			if !ok || rest == "" {
				break
			}
			if has(gs, "*."+rest) {
				return "*." + rest, true
			}
			name = rest
		}
		return "", has(gs, "")
	}, func() bool { return has(gs, "") }, s.transport}.in(s)
}

func (s *chainSearch) transport(chains []int) {
	gs := groups(chains, func(i int) []string { return []string{s.match(i).Transport} })
	criterion[string]{"whether the connection is TLS", gs, s.in.transport != "", func() (string, bool) {
		if has(gs, s.in.transport) {
			return s.in.transport, true
		}
		return "", has(gs, "")
	}, func() bool { return has(gs, "") || has(gs, "tls") && has(gs, "raw_buffer") }, s.protocol}.in(s)
}

func (s *chainSearch) protocol(chains []int) {
	gs := groups(chains, func(i int) []string { return orAny(s.match(i).ALPN) })
	criterion[string]{"the application protocol (ALPN)", gs, s.in.alpnKnown, func() (string, bool) {
		for _, a := range s.in.alpn {
			if has(gs, a) {
				return a, true
			}
		}
		return "", has(gs, "")
	}, func() bool { return has(gs, "") }, s.directSource}.in(s)
}

func (s *chainSearch) directSource(chains []int) {
	gs := groups(chains, func(i int) []netip.Prefix { return prefixKeys(s.match(i).DirectSource) })
	criterion[netip.Prefix]{"the source address", gs, s.in.src.IsValid(), func() (netip.Prefix, bool) { return longest(gs, s.in.src.Addr().Unmap()) },
		func() bool { return coversAll(gs) }, s.sourceType}.in(s)
}

func (s *chainSearch) sourceType(chains []int) {
	gs := groups(chains, func(i int) []string { return []string{s.match(i).SourceType} })
	src := s.in.src.Addr().Unmap()
	criterion[string]{"the source address", gs, s.in.src.IsValid() && (s.in.ip.IsValid() || src.IsLoopback()), func() (string, bool) {
		k := "EXTERNAL"
		if src.IsLoopback() || src == s.in.ip {
			k = "SAME_IP_OR_LOOPBACK"
		}
		if has(gs, k) {
			return k, true
		}
		return "", has(gs, "")
	}, func() bool { return has(gs, "") || has(gs, "EXTERNAL") && has(gs, "SAME_IP_OR_LOOPBACK") }, s.source}.in(s)
}

func (s *chainSearch) source(chains []int) {
	gs := groups(chains, func(i int) []netip.Prefix { return prefixKeys(s.match(i).Source) })
	criterion[netip.Prefix]{"the source address", gs, s.in.src.IsValid(), func() (netip.Prefix, bool) { return longest(gs, s.in.src.Addr().Unmap()) },
		func() bool { return coversAll(gs) }, s.sourcePort}.in(s)
}

func (s *chainSearch) sourcePort(chains []int) {
	gs := groups(chains, func(i int) []int {
		if ports := s.match(i).SourcePorts; len(ports) > 0 {
			return ports
		}
		return []int{0}
	})
	port := int(s.in.src.Port())
	criterion[int]{"the source port", gs, port != 0, func() (int, bool) {
		if has(gs, port) {
			return port, true
		}
		return 0, has(gs, 0)
	}, func() bool { return has(gs, 0) }, func(left []int) {
		// Envoy refuses two chains that match alike: there's but one left.
		s.hits[left[0]] = true
	}}.in(s)
}

// closeness says how a chain that was found fits, for a reader.
func (m *ChainMatch) closeness() (Match, string) {
	var by []string
	match := Wildcard
	if m.DestinationPort != 0 {
		match = Exact
		by = append(by, "destination port "+strconv.Itoa(m.DestinationPort))
	}
	for i, p := range m.Prefixes {
		if p.Bits() > 0 {
			match = Exact
		}
		if i < 3 {
			by = append(by, "address "+p.String())
		}
	}
	if len(m.ServerNames) > 0 {
		match = Exact
		by = append(by, "server name "+strings.Join(m.ServerNames[:min(3, len(m.ServerNames))], ", "))
	}
	if m.Transport != "" {
		by = append(by, "transport "+m.Transport)
	}
	if len(m.ALPN) > 0 {
		by = append(by, "application protocol "+strings.Join(m.ALPN[:min(3, len(m.ALPN))], ", "))
	}
	if m.SourceType != "" || len(m.Source) > 0 || len(m.DirectSource) > 0 || len(m.SourcePorts) > 0 {
		by = append(by, "source")
	}
	if len(by) == 0 {
		return match, "it takes any connection"
	}
	return match, "matched by " + strings.Join(by, ", ")
}
