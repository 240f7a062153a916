package netfilter

import (
	"net/netip"
	"slices"
)

// Direction says where a packet comes from.
type Direction uint8

// The two directions.
const (
	Outbound Direction = iota + 1 // sent by a process on this host
	Inbound                       // arriving on an interface
)

func (d Direction) String() string {
	if d == Inbound {
		return "inbound"
	}
	return "outbound"
}

// State is a packet's state in connection tracking, as -m conntrack --ctstate names it.
type State string

// The states. The zero State is that of a connection's first packet, the only one that nat is asked about.
const (
	New         State = "NEW"
	Established State = "ESTABLISHED"
	Related     State = "RELATED"
	Invalid     State = "INVALID"
)

// NoID is a user or group that is not known. Mind that the zero UID is root's.
const NoID = -1

// Packet is what is asked about.
type Packet struct {
	// Source may be left out: that of a packet sent is then the kernel's choice.
	Source, Destination netip.Addr
	Protocol            uint8  // 0 is TCP
	SourcePort          uint16 // 0 is one of those that the kernel picks
	DestinationPort     uint16
	InInterface         string // Inbound; empty is one that isn't lo
	OutInterface        string // Outbound; empty is lo for an address of the Host, else one that isn't lo
	UID, GID            int    // Outbound: of the process that sends it; NoID where not known
	Mark                uint32
	State               State // empty is New
}

// Host is what is known of the host beside its rules.
type Host struct {
	// Interfaces and their addresses, all of them, in the kernel's order; lo needn't be among them. Without any, a packet sent goes
	// elsewhere unless its destination is a loopback address, and one arriving is for this host.
	Interfaces []Interface
	// Users and Groups give the numbers of names that rules speak of.
	Users, Groups map[string]int
}

// Interface is a network interface.
type Interface struct {
	Name  string
	Addrs []netip.Addr
}

func (h *Host) local(a netip.Addr) bool {
	return a.IsLoopback() || slices.ContainsFunc(h.Interfaces, func(i Interface) bool { return slices.Contains(i.Addrs, a) })
}

// first gives an interface's first address of a family: where REDIRECT in PREROUTING sends.
func (h *Host) first(name string, f Family) netip.Addr {
	for _, i := range h.Interfaces {
		for _, a := range i.Addrs {
			if i.Name == name && FamilyOf(a) == f && !a.IsLinkLocalUnicast() {
				return a
			}
		}
	}
	return netip.Addr{}
}

// addrs gives the addresses that the host may send from to another.
func (h *Host) addrs(f Family) []netip.Addr {
	var out []netip.Addr
	for _, i := range h.Interfaces {
		for _, a := range i.Addrs {
			if FamilyOf(a) == f && !a.IsLoopback() && !a.IsLinkLocalUnicast() {
				out = append(out, a.Unmap())
			}
		}
	}
	return out
}

// place is an address, or what is known of it.
type place struct {
	netip.Addr
	sure   bool
	remote bool // not sure, but not a loopback address
	own    bool // not sure, but one of this host's
}

// every answers a question about an address that must have one answer for all that it may be.
func (p *packet) every(a place, holds func(netip.Addr) bool) answer {
	if a.sure {
		return is(holds(a.Addr))
	}
	out := maybe
	if !a.own {
		return out
	}
	for i, a := range p.host.addrs(p.family) {
		if this := is(holds(a)); i == 0 {
			out = this
		} else if this != out {
			return maybe
		}
	}
	return out
}

// link is an interface, or what is known of it.
type link struct {
	name     string
	external bool // without a name: one that isn't lo
}

// packet is a packet on its way.
type packet struct {
	host             *Host
	family           Family
	protocol         uint8
	src, dst         place
	sport, dport     span
	orig             netip.Addr // what was asked for
	origPort         uint16
	in, out          link
	socket           bool // a process of this host sends it
	uid, gid         int
	mark, connmark   uint32
	markSure         bool
	connSure         bool
	state            State
	untracked, reply bool
	dnat, snat       bool // rewritten
	flags            uint8
	inbound          bool // has come in from outside
}

// ephemeral is the ports that Linux picks from by default, net.ipv4.ip_local_port_range.
var ephemeral = span{32768, 60999}

func newPacket(h *Host, d Direction, p Packet) *packet {
	out := &packet{
		host: h, family: FamilyOf(p.Destination), protocol: p.Protocol,
		dst: place{Addr: p.Destination.Unmap(), sure: true}, dport: span{p.DestinationPort, p.DestinationPort},
		src: place{Addr: p.Source.Unmap(), sure: p.Source.IsValid()}, sport: span{p.SourcePort, p.SourcePort},
		orig: p.Destination.Unmap(), origPort: p.DestinationPort,
		uid: p.UID, gid: p.GID, mark: p.Mark, markSure: true, state: p.State, flags: flagSYN,
	}
	if out.protocol == 0 {
		out.protocol = TCP
	}
	if out.state == "" {
		out.state = New
	}
	if out.connSure = out.state == New; !out.connSure {
		out.flags = flagACK
	}
	if p.SourcePort == 0 {
		out.sport = ephemeral
	}
	if d == Inbound {
		out.inbound = true
		out.in = link{p.InInterface, p.InInterface == ""}
		out.src.remote = p.InInterface != "lo"
		return out
	}
	out.socket = true
	out.route(p.OutInterface)
	if !out.src.sure {
		out.src = out.source()
	}
	return out
}

// route finds the interface that a packet sent leaves by.
func (p *packet) route(name string) {
	switch {
	case name != "":
		p.out = link{name: name}
	case p.host.local(p.dst.Addr):
		p.out = link{name: "lo"}
	default:
		p.out = link{external: true}
	}
}

// source is the address that the kernel picks for a packet sent without one.
func (p *packet) source() place {
	switch {
	case p.dst.IsLoopback() && p.family == IPv4:
		return place{Addr: netip.AddrFrom4([4]byte{127, 0, 0, 1}), sure: true}
	case p.host.local(p.dst.Addr):
		return place{Addr: p.dst.Addr, sure: true}
	}
	if a := p.host.first(p.out.name, p.family); a.IsValid() {
		return place{Addr: a, sure: true}
	}
	return place{remote: p.out.name != "lo", own: p.out.name != "lo"}
}

// here says whether a packet is for this host, as routing would.
func (p *packet) here() bool {
	if p.host.local(p.dst.Addr) {
		return true
	}
	return p.inbound && len(p.host.Interfaces) == 0 && !p.dst.IsMulticast()
}

// typeIs answers -m addrtype.
func (p *packet) typeIs(a place, want string) answer {
	if a.own {
		return is(want == "LOCAL")
	}
	if !a.sure {
		return maybe
	}
	local := p.host.local(a.Addr)
	if a == p.dst {
		local = p.here()
	} else if a == p.src && p.socket {
		local = true
	}
	broadcast := a.Addr == netip.AddrFrom4([4]byte{255, 255, 255, 255})
	multicast := a.IsMulticast()
	switch want {
	case "LOCAL":
		return is(local && !multicast && !broadcast)
	case "MULTICAST":
		return is(multicast)
	case "UNSPEC":
		return is(a.IsUnspecified())
	case "BROADCAST":
		return is(broadcast) // subnets, whose last address is one too, aren't known
	case "UNICAST":
		return is(!local && !multicast && !broadcast)
	case "ANYCAST", "BLACKHOLE", "UNREACHABLE", "PROHIBIT", "THROW", "NAT", "XRESOLVE":
		return maybe
	}
	return maybe
}
