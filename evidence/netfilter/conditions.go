package netfilter

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"
)

// answer is that of a condition: it holds, doesn't, or can't be known from here.
type answer uint8

const (
	no answer = iota
	yes
	maybe
)

func is(b bool) answer {
	if b {
		return yes
	}
	return no
}

// condition is one match of a rule. All of a rule's must hold.
type condition struct {
	neg  bool
	text string // without the negation
	test test
}

func (c condition) String() string {
	if c.neg {
		return "! " + c.text
	}
	return c.text
}

// test is a condition's question, before negation.
type test interface {
	ask(p *packet) answer
}

// protocol is -p.
type protocol uint8

func (t protocol) ask(p *packet) answer { return is(t == 0 || uint8(t) == p.protocol) }

// network is an address and a mask, which needn't be a prefix.
type network struct{ addr, mask []byte }

func prefix(p netip.Prefix) network {
	n := network{addr: p.Masked().Addr().AsSlice()}
	n.mask = make([]byte, len(n.addr))
	for i := range p.Bits() {
		n.mask[i/8] |= 0x80 >> (i % 8)
	}
	return n
}

func (n network) contains(a netip.Addr) bool {
	b := a.AsSlice()
	if len(b) != len(n.addr) {
		return false
	}
	for i := range b {
		if b[i]&n.mask[i] != n.addr[i]&n.mask[i] {
			return false
		}
	}
	return true
}

func (n network) all() bool { return len(bytes.Trim(n.mask, "\x00")) == 0 }

// address is -s or -d. A host name stands for no network.
type address struct {
	source bool
	nets   []network
}

func (t address) ask(p *packet) answer {
	a := p.dst
	if t.source {
		a = p.src
	}
	if len(t.nets) == 0 {
		return maybe
	}
	if slices.ContainsFunc(t.nets, network.all) {
		return yes
	}
	if a.remote && !slices.ContainsFunc(t.nets, func(n network) bool { return !loopback(n) }) {
		return no
	}
	return p.every(a, func(a netip.Addr) bool {
		return slices.ContainsFunc(t.nets, func(n network) bool { return n.contains(a) })
	})
}

// loopback says that a network is within 127.0.0.0/8, or is ::1, from which nothing leaves a host.
func loopback(n network) bool {
	if len(n.addr) == 4 {
		return n.mask[0] == 0xff && n.addr[0] == 127
	}
	return bytes.Equal(n.addr, netip.IPv6Loopback().AsSlice()) && len(bytes.Trim(n.mask, "\xff")) == 0
}

// addressRange is -m iprange.
type addressRange struct {
	source   bool
	from, to netip.Addr
}

func (t addressRange) ask(p *packet) answer {
	a := p.dst
	if t.source {
		a = p.src
	}
	return p.every(a, func(a netip.Addr) bool { return t.from.Compare(a) <= 0 && a.Compare(t.to) <= 0 })
}

// span is a range of ports, both ends included.
type span struct{ from, to uint16 }

// ports is --dport, --sport and multiport's lists. A port by a name that isn't known stands for no span.
type ports struct {
	source, destination bool
	spans               []span
	unknown             bool // one of the ports is a name that isn't known
}

func (t ports) ask(p *packet) answer {
	out := no
	if t.unknown {
		out = maybe
	}
	in := func(have span) {
		for _, s := range t.spans {
			switch {
			case s.from <= have.from && have.to <= s.to:
				out = yes
			case s.from <= have.to && have.from <= s.to && out == no:
				out = maybe
			}
		}
	}
	if t.destination {
		in(p.dport)
	}
	if t.source {
		in(p.sport)
	}
	return out
}

// device is -i or -o: a name, or the beginning of one and a plus sign.
type device struct {
	out     bool
	pattern string
}

func (t device) ask(p *packet) answer {
	d := p.in
	if t.out {
		d = p.out
	}
	switch {
	case t.pattern == "" || t.pattern == "+":
		return yes
	case !d.external:
		return t.is(d.name)
	case t.pattern == "lo":
		return no
	}
	// One of the host's interfaces, but lo.
	first, out := true, maybe
	for _, i := range p.host.Interfaces {
		if i.Name == "lo" || i.Name == "" {
			continue
		}
		if a := t.is(i.Name); first {
			first, out = false, a
		} else if a != out {
			return maybe
		}
	}
	return out
}

func (t device) is(name string) answer {
	if begin, wild := strings.CutSuffix(t.pattern, "+"); wild {
		return is(strings.HasPrefix(name, begin))
	}
	return is(name == t.pattern)
}

// owner is -m owner.
type owner struct {
	group    bool
	from, to uint32
	name     string // instead of a number
	others   bool   // --suppl-groups: the process's further groups count too
}

func (t owner) ask(p *packet) answer {
	if !p.socket {
		return no
	}
	id, names := p.uid, p.host.Users
	if t.group {
		id, names = p.gid, p.host.Groups
	}
	from, to := t.from, t.to
	if t.name != "" {
		n, ok := names[t.name]
		if !ok || n < 0 {
			return maybe
		}
		from, to = uint32(n), uint32(n)
	}
	switch {
	case id < 0:
		return maybe
	case int64(from) <= int64(id) && int64(id) <= int64(to):
		return yes
	case t.others:
		return maybe
	}
	return no
}

// socketExists is -m owner --socket-exists.
type socketExists struct{}

func (socketExists) ask(p *packet) answer { return is(p.socket) }

// flags is --tcp-flags and --syn.
type flags struct{ mask, set uint8 }

func (t flags) ask(p *packet) answer { return is(p.protocol == TCP && p.flags&t.mask == t.set) }

// The TCP header's flags, RFC 9293 section 3.1.
const (
	flagFIN = 1 << iota
	flagSYN
	flagRST
	flagPSH
	flagACK
	flagURG
)

// states is -m conntrack --ctstate and -m state --state.
type states []string

func (t states) ask(p *packet) answer {
	state := string(p.state)
	if p.untracked {
		state = "UNTRACKED"
	}
	return is(slices.Contains(t, state) || p.dnat && slices.Contains(t, "DNAT") || p.snat && slices.Contains(t, "SNAT"))
}

// original is -m conntrack --ctorigdst and --ctorigdstport: what was asked for, before any rewriting.
type original struct {
	nets  []network
	spans []span
}

func (t original) ask(p *packet) answer {
	if p.untracked {
		return no
	}
	if len(t.spans) > 0 {
		return is(slices.ContainsFunc(t.spans, func(s span) bool { return s.from <= p.origPort && p.origPort <= s.to }))
	}
	return is(slices.ContainsFunc(t.nets, func(n network) bool { return n.contains(p.orig) }))
}

// direction is -m conntrack --ctdir.
type direction struct{ reply bool }

func (t direction) ask(p *packet) answer { return is(!p.untracked && t.reply == p.reply) }

// mark is -m mark and -m connmark.
type mark struct {
	conn        bool
	value, mask uint32
}

func (t mark) ask(p *packet) answer {
	if !t.conn {
		if !p.markSure {
			return maybe
		}
		return is(p.mark&t.mask == t.value)
	}
	switch {
	case p.untracked:
		return no
	case !p.connSure:
		return maybe
	}
	return is(p.connmark&t.mask == t.value)
}

// addrType is -m addrtype.
type addrType struct {
	source bool
	types  []string
}

func (t addrType) ask(p *packet) answer {
	a := p.dst
	if t.source {
		a = p.src
	}
	out := no
	for _, want := range t.types {
		switch got := p.typeIs(a, want); got {
		case yes:
			return yes
		case maybe:
			out = maybe
		}
	}
	return out
}

// openSocket is -m socket: is there an open socket for this packet? None for a connection that is only being asked for,
// but for a listener bound to the one address: those are treated as none.
type openSocket struct{}

func (openSocket) ask(p *packet) answer {
	if p.state == New {
		return no
	}
	return maybe
}

// anything is a match that isn't known.
type anything struct {
	volatile bool // answers differently from one packet to the next: limits, chance
}

func (anything) ask(*packet) answer { return maybe }
