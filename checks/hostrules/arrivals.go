package hostrules

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/netfilter"
)

// network notes the host's interfaces. One that is down takes and sends nothing.
func (h *Host) network(l evidence.InterfaceList) {
	for _, i := range l.List {
		if !i.Up {
			continue
		}
		k := netfilter.Interface{Name: i.Name}
		for _, a := range i.Addresses {
			k.Addrs = append(k.Addrs, a.Addr().Unmap())
		}
		h.Kernel.Interfaces = append(h.Kernel.Interfaces, k)
		if !i.Loopback && i.Name != "lo" {
			h.interfaces = append(h.interfaces, i)
		}
	}
	if len(h.interfaces) == 0 {
		h.Kernel.Interfaces = nil // nothing comes in or leaves: more than the rules is missing
	}
}

// Arrival is the answer for connections that come to a port of the host from outside.
type Arrival struct {
	Packet  netfilter.Packet
	Result  netfilter.Result
	Outcome netfilter.Outcome // that Settle gives
	Sure    bool
	// Assumed says by which interface they come, where there are several; "" otherwise.
	Assumed string
}

// Excerpt shows the rules that took part, and what was assumed.
func (a Arrival) Excerpt() string {
	if a.Assumed == "" {
		return Excerpt(a.Result)
	}
	return Excerpt(a.Result) + "\n" + a.Assumed
}

// Arrive asks what becomes of connections to a port from outside: ask is Evaluate or Connect of the host's set.
//
// Where the host's interfaces are known, they come by the one that holds its primary address: what the proxy's node id names,
// or else what the metadata server told. Where that isn't known, all interfaces are asked, and the error is an
// *evidence.Missing where their answers differ.
func (h Host) Arrive(port int, ask func(netfilter.Host, netfilter.Direction, netfilter.Packet) netfilter.Result) (Arrival, error) {
	ways, assumed, err := h.ways(port)
	if err != nil {
		return Arrival{}, err
	}
	var first Arrival
	for i, p := range ways {
		a := Arrival{Packet: p, Result: ask(h.Kernel, netfilter.Inbound, p), Assumed: assumed}
		if a.Outcome, a.Sure, err = h.Settle(a.Result); err != nil {
			return a, err
		}
		switch {
		case i == 0:
			first = a
		case !alike(first.Outcome, a.Outcome):
			return a, h.Missing("a connection to port %d that arrives on %s is %s, and on %s %s; by which of them clients come isn't known",
				port, first.Packet.InInterface, first.Outcome, p.InInterface, a.Outcome)
		}
		first.Sure = first.Sure && a.Sure
	}
	return first, nil
}

// alike says whether two outcomes are the same but for the address of the interface.
func alike(a, b netfilter.Outcome) bool {
	return a.Verdict == b.Verdict && a.To.Port() == b.To.Port() && a.Rewritten == b.Rewritten && a.Forwarded == b.Forwarded && a.Reply == b.Reply
}

// ways gives the packets by which a client may come: one for each interface that is possible.
func (h Host) ways(port int) (out []netfilter.Packet, assumed string, err error) {
	p := netfilter.Packet{Destination: h.Address, DestinationPort: uint16(port), UID: netfilter.NoID, GID: netfilter.NoID} // #nosec G115 -- the service takes ports of 16 bits alone
	if len(h.interfaces) == 0 {
		return []netfilter.Packet{p}, "", nil
	}
	var names []string
	for _, family := range []netfilter.Family{netfilter.FamilyOf(h.Address), netfilter.IPv4, netfilter.IPv6} {
		if len(out) > 0 {
			break
		}
		for _, i := range h.interfaces {
			if a := global(i, family); a.IsValid() {
				p.InInterface, p.Destination = i.Name, a
				out, names = append(out, p), append(names, i.Name)
			}
		}
	}
	if len(out) == 0 {
		return nil, "", h.Missing("no interface of the host has an address, so nothing can arrive")
	}
	if len(out) == 1 {
		return out, "", nil
	}
	for _, primary := range []netip.Addr{h.Address, h.primary} {
		for _, i := range h.interfaces {
			if !holds(i, primary) {
				continue
			}
			p.InInterface, p.Destination = i.Name, primary.Unmap()
			others := slices.DeleteFunc(names, func(n string) bool { return n == i.Name })
			return []netfilter.Packet{p}, fmt.Sprintf("assumed: clients come by %s, which has the host's primary address %s, and not by %s", i.Name, primary, few(others)), nil
		}
	}
	return out, "asked for every interface: " + few(names), nil
}

// few lists some names.
func few(names []string) string {
	const most = 6
	if len(names) > most {
		return strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more", len(names)-most)
	}
	return strings.Join(names, ", ")
}

// global gives an interface's first address of a family that others reach it by; invalid if it has none.
func global(i evidence.Interface, f netfilter.Family) netip.Addr {
	for _, a := range i.Addresses {
		if x := a.Addr().Unmap(); netfilter.FamilyOf(x) == f && !x.IsLoopback() && !x.IsLinkLocalUnicast() {
			return x
		}
	}
	return netip.Addr{}
}

func holds(i evidence.Interface, a netip.Addr) bool {
	return a.IsValid() && slices.ContainsFunc(i.Addresses, func(p netip.Prefix) bool { return p.Addr().Unmap() == a.Unmap() })
}
