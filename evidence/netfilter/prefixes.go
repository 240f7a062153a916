package netfilter

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// maxEdges bounds the work of Intercepted, which grows with the square of the prefixes that rules speak of.
const maxEdges = 4000

// edges gives the addresses at which what rules do with a destination may change, sorted, the lowest address first.
func (s *Set) edges(h Host, f Family) ([]netip.Addr, error) {
	if f == 0 {
		return nil, errors.New("the packet has no destination")
	}
	zero, whole := netip.IPv4Unspecified(), netip.MustParsePrefix("127.0.0.0/8")
	if f == IPv6 {
		zero, whole = netip.IPv6Unspecified(), netip.MustParsePrefix("::1/128")
	}
	out := []netip.Addr{zero}
	add := func(p netip.Prefix) {
		out = append(out, p.Masked().Addr())
		if next := lastOf(p).Next(); next.IsValid() {
			out = append(out, next)
		}
	}
	add(whole)
	for _, i := range h.Interfaces {
		for _, a := range i.Addrs {
			if FamilyOf(a) == f {
				add(netip.PrefixFrom(a.Unmap().WithZone(""), a.Unmap().BitLen()))
			}
		}
	}
	for _, t := range s.Tables {
		if t.Family != f {
			continue
		}
		for _, c := range t.Chains {
			for _, r := range c.Rules {
				for _, cond := range r.conditions {
					var err error
					switch q := cond.test.(type) {
					case address:
						err = q.edges(add)
					case addressRange:
						out = append(out, q.from)
						if next := q.to.Next(); next.IsValid() {
							out = append(out, next)
						}
					}
					if err != nil {
						return nil, fmt.Errorf("rule in line %d: %w", r.Line, err)
					}
				}
			}
		}
		if len(out) > 4*maxEdges {
			break
		}
	}
	out = slices.DeleteFunc(out, func(a netip.Addr) bool { return FamilyOf(a) != f })
	slices.SortFunc(out, netip.Addr.Compare)
	out = slices.Compact(out)
	if len(out) > maxEdges {
		return nil, fmt.Errorf("the rules speak of more than %d addresses and prefixes", maxEdges/2)
	}
	return out, nil
}

func (t address) edges(add func(netip.Prefix)) error {
	if t.source {
		return nil
	}
	for _, n := range t.nets {
		ones := 0
		for _, b := range n.mask {
			for ; b&0x80 != 0; b <<= 1 {
				ones++
			}
		}
		a, _ := netip.AddrFromSlice(n.addr)
		p := netip.PrefixFrom(a, ones)
		if !bytes.Equal(prefix(p).mask, n.mask) {
			return errors.New("its mask isn't a prefix")
		}
		add(p)
	}
	return nil
}

func lastOf(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < 8*len(b); i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// cover gives the fewest prefixes that hold the addresses from one to another.
func cover(from, last netip.Addr) []netip.Prefix {
	var out []netip.Prefix
	for from.IsValid() && from.Compare(last) <= 0 {
		bits := from.BitLen()
		for bits > 0 {
			p := netip.PrefixFrom(from, bits-1)
			if p.Masked().Addr() != from || lastOf(p).Compare(last) > 0 {
				break
			}
			bits--
		}
		p := netip.PrefixFrom(from, bits)
		out = append(out, p)
		from = lastOf(p).Next()
	}
	return out
}
