package envoy

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// matchNode is a filter_chain_matcher (xds.type.matcher.v3.Matcher), as far as it's a tree over the connection's
// addresses, server name or protocols, which is what Istio's waypoints use. Anything else is kept as unreadable.
type matchNode struct {
	chain   string // an action: the name of a filter chain
	input   string // the last part of the input's type: "DestinationIPInput"
	exact   map[string]*matchNode
	prefix  map[string]*matchNode
	ranges  []matchRange
	noMatch *matchNode
	foreign string // what isn't read
}

type matchRange struct {
	prefixes  []netip.Prefix
	exclusive bool
	then      *matchNode
}

// matcher reads a Matcher.
func (p *parser) matcher() *matchNode {
	n := &matchNode{}
	p.room(160)
	p.object(func(key string) {
		switch key {
		case "matcher_tree":
			p.matchTree(n)
		case "on_no_match":
			n.noMatch = p.onMatch()
		case "matcher_list":
			n.foreign = key
		}
	})
	if n.input == "" && n.foreign == "" && n.noMatch == nil {
		n.foreign = "an empty matcher"
	}
	return n
}

func (p *parser) onMatch() *matchNode {
	n := &matchNode{foreign: "an empty action"}
	p.room(160)
	p.object(func(key string) {
		switch key {
		case "matcher":
			n = p.matcher()
		case "action":
			p.object(func(key string) {
				switch key {
				case "name":
					n.foreign = "action " + p.str()
				case "typed_config":
					var typ, value string
					p.object(func(key string) {
						switch key {
						case "@type":
							typ = p.str()
						case "value":
							value = p.str()
						}
					})
					if strings.HasSuffix(typ, "google.protobuf.StringValue") {
						n.chain, n.foreign = value, ""
					}
				}
			})
			if n.chain != "" {
				n.foreign = ""
			}
		}
	})
	return n
}

func (p *parser) matchTree(n *matchNode) {
	p.object(func(key string) {
		switch key {
		case "input":
			p.object(func(key string) {
				if key == "typed_config" {
					p.object(func(key string) {
						if key == "@type" {
							t := p.str()
							n.input = t[strings.LastIndexByte(t, '.')+1:]
						}
					})
				}
			})
		case "exact_match_map":
			n.exact = p.matchMap()
		case "prefix_match_map":
			n.prefix = p.matchMap()
		case "custom_match":
			n.foreign = "a custom match"
			p.object(func(key string) {
				if key == "typed_config" {
					p.object(func(key string) {
						if key == "range_matchers" {
							n.foreign = ""
							p.array(func(int) { n.ranges = keep(p.cursor, n.ranges, p.matchRange()) })
						}
					})
				}
			})
		}
	})
}

func (p *parser) matchMap() map[string]*matchNode {
	m := map[string]*matchNode{}
	p.object(func(key string) {
		if key == "map" {
			p.dict(func(key string) { m[key] = p.onMatch() })
		}
	})
	return m
}

func (p *parser) matchRange() matchRange {
	var r matchRange
	p.object(func(key string) {
		switch key {
		case "ranges":
			r.prefixes = p.prefixes()
		case "exclusive":
			r.exclusive = p.boolean()
		case "on_match":
			r.then = p.onMatch()
		}
	})
	return r
}

// find walks the tree for a connection. It gives the chain's name ("" for none), and what it would need to know.
func (n *matchNode) find(in conn) (chain string, need string) {
	if n == nil {
		return "", ""
	}
	if n.foreign != "" {
		return "", "filter_chain_matcher holds " + n.foreign + ", which isn't followed"
	}
	if n.chain != "" {
		return n.chain, ""
	}
	if n.input != "" {
		value, known := n.value(in)
		if !known {
			return "", n.input
		}
		for _, next := range n.branches(value) {
			if chain, need = next.find(in); chain != "" || need != "" {
				return chain, need
			}
		}
	}
	return n.noMatch.find(in)
}

// branches gives the entries that match, the most specific first.
func (n *matchNode) branches(value string) []*matchNode {
	if n.exact != nil {
		if next := n.exact[value]; next != nil {
			return []*matchNode{next}
		}
		return nil
	}
	if n.prefix != nil {
		for i := len(value); i >= 0; i-- {
			if next := n.prefix[value[:i]]; next != nil {
				return []*matchNode{next}
			}
		}
		return nil
	}
	ip, err := netip.ParseAddr(value)
	if err != nil {
		return nil
	}
	type hit struct {
		bits int
		r    *matchRange
	}
	var hits []hit
	for i := range n.ranges {
		// Once for each range, by its longest prefix: what a prefix leads to is walked no more often than it's there.
		best := -1
		for _, x := range n.ranges[i].prefixes {
			if x.IsValid() && x.Contains(ip) {
				best = max(best, x.Bits())
			}
		}
		if best >= 0 {
			hits = append(hits, hit{best, &n.ranges[i]})
		}
	}
	slices.SortStableFunc(hits, func(a, b hit) int { return b.bits - a.bits })
	var out []*matchNode
	for i, h := range hits {
		if i == 0 || !h.r.exclusive {
			out = append(out, h.r.then)
		}
	}
	return out
}

func (n *matchNode) value(in conn) (string, bool) {
	switch n.input {
	case "DestinationIPInput":
		return in.ip.String(), in.ip.IsValid()
	case "DestinationPortInput":
		return strconv.Itoa(in.port), in.port != 0
	case "SourceIPInput", "DirectSourceIPInput":
		return in.src.Addr().String(), in.src.IsValid()
	case "SourcePortInput":
		return strconv.Itoa(int(in.src.Port())), in.src.Port() != 0
	case "ServerNameInput":
		return in.sni, in.sniKnown
	case "TransportProtocolInput":
		return in.transport, in.transport != ""
	case "ApplicationProtocolInput":
		q := make([]string, len(in.alpn))
		for i, a := range in.alpn {
			q[i] = "'" + a + "'"
		}
		return strings.Join(q, ","), in.alpnKnown
	}
	return "", false
}
