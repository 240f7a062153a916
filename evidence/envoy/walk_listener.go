package envoy

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// The names of the listeners that take redirected connections.
const (
	interceptionListener = "TRAFFICDIRECTOR_INTERCEPTION_LISTENER"
	virtualOutbound      = "virtualOutbound"
	virtualInbound       = "virtualInbound"
	inboundCapturePort   = 15006 // Istio's, since 1.3
)

// selfIP gives the workload's own address, from Istio's node id or metadata; invalid where there's none.
func selfIP(d *Dump) netip.Addr {
	for _, ip := range selfIPs(d) {
		return ip
	}
	return netip.Addr{}
}

func selfIPs(d *Dump) []netip.Addr {
	var out []netip.Addr
	add := func(s string) {
		if ip, err := netip.ParseAddr(strings.TrimSpace(s)); err == nil && !slices.Contains(out, ip.Unmap()) {
			out = append(out, ip.Unmap())
		}
	}
	for _, s := range strings.Split(d.Metadata["INSTANCE_IPS"], ",") {
		add(s)
	}
	add(d.Metadata["INSTANCE_IP"])
	if p := strings.Split(d.NodeID, "~"); len(p) == 4 { // sidecar~10.0.0.1~pod.namespace~domain
		add(p[1])
	}
	return out
}

// restores says whether a listener sees the address that a redirected connection was made to.
func (l *Listener) restores() bool {
	return l.UseOriginalDst || l.hasFilter("original_dst") || strings.HasPrefix(l.Name, interceptionListener)
}

func (l *Listener) inbound() bool {
	if l.Direction != "" {
		return l.Direction == string(Inbound)
	}
	return l.Name == virtualInbound || slices.ContainsFunc(l.Addresses, func(a Address) bool { return a.Port == inboundCapturePort })
}

// capture gives the listener that redirected connections of the query's direction arrive at, or nil. It must be bound.
func (w *walker) capture() *Listener {
	var found []*Listener
	for i := range w.d.Listeners {
		l := &w.d.Listeners[i]
		if l.State.Serves() && l.restores() && !l.Unbound && !l.Internal && len(l.Addresses) > 0 && l.inbound() == (w.q.Direction == Inbound) {
			found = append(found, l)
		}
	}
	if len(found) == 0 && w.q.Direction == Inbound {
		// A proxy with one interception listener takes both directions by it: Traffic Director's on a VM, and Istio's before 1.3.
		for i := range w.d.Listeners {
			l := &w.d.Listeners[i]
			if l.State.Serves() && l.restores() && !l.Unbound && !l.Internal && len(l.Addresses) > 0 && l.Direction == "" {
				found = append(found, l)
			}
		}
	}
	port := w.d.Metadata["TRAFFICDIRECTOR_INTERCEPTION_PORT"]
	rank := func(l *Listener) int {
		n := 0
		if l.UseOriginalDst {
			n++
		}
		if l.Name == virtualOutbound || l.Name == virtualInbound || strings.HasPrefix(l.Name, interceptionListener) {
			n += 2
		}
		if port != "" && strconv.Itoa(l.Addresses[0].Port) == port {
			n += 4
		}
		return n
	}
	var best *Listener
	for _, l := range found {
		if best == nil || rank(l) > rank(best) {
			best = l
		}
	}
	return best
}

// byAddress gives the serving listener for an address: the one with that very address, else the one for any address and
// that port, as ConnectionHandlerImpl::getBalancedHandlerByAddress does. An invalid ip stands for any.
func (w *walker) byAddress(ip netip.Addr, port int, may func(*Listener) bool) (*Listener, Address, Match) {
	var wild *Listener
	var at Address
	wildRank := 0
	for i := range w.d.Listeners {
		l := &w.d.Listeners[i]
		if !l.State.Serves() || l.Internal || !may(l) {
			continue
		}
		for _, a := range l.Addresses {
			own := a.ip().Unmap()
			if a.Port != port || a.Other != "" || !own.IsValid() {
				continue
			}
			if own == ip {
				return l, a, Exact
			}
			rank := 0
			switch {
			case !ip.IsValid():
				rank = 1
			case own == netip.IPv4Unspecified() && ip.Is4(), own == netip.IPv6Unspecified() && ip.Is6():
				rank = 3
			case own == netip.IPv6Unspecified() && ip.Is4() && a.Compat:
				rank = 2
			}
			if rank > wildRank {
				wild, at, wildRank = l, a, rank
			}
		}
	}
	return wild, at, Wildcard
}

func anyListener(*Listener) bool { return true }

// listener finds the listener that a connection to the query's address ends up at, and adds its hops.
func (w *walker) listener() *Listener {
	q := w.q
	if q.Port == 0 && !q.IP.IsValid() {
		w.unknown(Undecided{At: ListenerHop, Why: "the destination isn't given", Needs: []string{"the destination's address and port"}})
		return nil
	}
	if q.Port == 0 {
		w.unknown(Undecided{At: ListenerHop, Why: "the destination's port isn't given", Needs: []string{"the destination port"}})
		return nil
	}
	if c := w.capture(); c != nil {
		w.hop(Hop{Kind: ListenerHop, Name: c.Name, Match: Wildcard, How: "takes redirected connections on " + c.Addresses[0].String(), Place: c.Place})
		if !c.UseOriginalDst {
			return c
		}
		l, a, match := w.byAddress(q.IP, q.Port, anyListener)
		if (l == nil || l == c || match != Exact) && !w.d.Knows(ListenerSection) {
			w.unknown(Undecided{At: ListenerHop, Why: "the dump doesn't hold all listeners, and one for " + q.destination() + " may be among the others"})
			return nil
		}
		if l == nil || l == c {
			return c // its own filter chains take what no other listener does
		}
		w.hop(Hop{Kind: ListenerHop, Name: l.Name, Match: match, How: "by original destination " + q.destination() + ", as " + a.String(), Place: l.Place})
		return l
	}
	bound := func(l *Listener) bool {
		return !l.Unbound && (q.Direction == Outbound || l.Direction != string(Outbound))
	}
	if l, a, match := w.byAddress(q.IP, q.Port, bound); l != nil {
		w.hop(Hop{Kind: ListenerHop, Name: l.Name, Match: match, How: "bound to " + a.String(), Place: l.Place})
		return l
	}
	// A waypoint's connections come through a tunnel: another listener sets the original destination.
	for i := range w.d.Listeners {
		if l := &w.d.Listeners[i]; l.Internal && l.State.Serves() && l.restores() && l.inbound() == (q.Direction == Inbound) {
			w.hop(Hop{Kind: ListenerHop, Name: l.Name, Match: Wildcard, How: "an internal listener: reached from another with the original destination", Place: l.Place})
			return l
		}
	}
	w.noListener()
	return nil
}

// noListener tells what the dump says of listeners that would have done.
func (w *walker) noListener() {
	q := w.q
	h := Hop{Kind: ListenerHop, Name: q.destination()}
	why := fmt.Sprintf("no listener is bound to %s or to any address with port %d, and none takes redirected connections", q.destination(), q.Port)
	if q.Direction == Inbound {
		why = fmt.Sprintf("no listener for inbound traffic takes port %d", q.Port)
	}
	for i := range w.d.Listeners {
		l := &w.d.Listeners[i]
		fits := l.restores() || slices.ContainsFunc(l.Addresses, func(a Address) bool { return a.Port == q.Port })
		switch {
		case l.State == Warming && fits:
			why += fmt.Sprintf("; listener %s is warming: it waits for its routes or secrets", label(l.Name))
			h.Place = l.Place
		case l.State == Draining && fits:
			why += fmt.Sprintf("; listener %s is draining", label(l.Name))
			h.Place = l.Place
		case l.Error != nil && !l.State.Serves():
			why += fmt.Sprintf("; listener %s was rejected: %s", label(l.Name), firstLine(l.Error.Details))
			h.Place = l.Place
		case l.Unbound && fits && l.State.Serves():
			why += fmt.Sprintf("; listener %s isn't bound to its port and can't be reached", label(l.Name))
			h.Place = l.Place
		}
		if len(why) > 1000 {
			break
		}
	}
	h.Why = why
	w.missing(ListenerSection, h)
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	if len(s) > 300 {
		s = strings.ToValidUTF8(s[:300], "") + "…"
	}
	return s
}
