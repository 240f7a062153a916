package host

import (
	"net"
	"net/netip"

	"github.com/meshdiag/meshdiag/collect/bundle"
)

// maxInterfaces bounds the list: a VM has a handful, a host of containers one for each of them.
const maxInterfaces = 4096

// interfaces lists the network interfaces of this network: rules are limited to them by name, and to their addresses.
func (r *recording) interfaces() {
	list, err := net.Interfaces()
	if err != nil {
		r.unread(bundle.ItemInterfaces, "%s", why(err))
		return
	}
	d := bundle.Interfaces{Head: bundle.Head{Kind: bundle.KindInterfaces, Version: bundle.Version}}
	for _, i := range list {
		if len(d.Interfaces) == maxInterfaces {
			// Of a part of them nothing could be concluded.
			r.unread(bundle.ItemInterfaces, "there are more than %d", maxInterfaces)
			return
		}
		addrs, err := i.Addrs()
		if err != nil {
			r.unread(bundle.ItemInterfaces, "%s: %s", i.Name, why(err))
			return
		}
		// A bridge without members is up, and isn't running.
		out := bundle.Interface{Name: i.Name, Up: i.Flags&net.FlagUp != 0 && i.Flags&net.FlagRunning != 0, Loopback: i.Flags&net.FlagLoopback != 0}
		for _, a := range addrs {
			if n, ok := a.(*net.IPNet); ok {
				ip, ok := netip.AddrFromSlice(n.IP)
				if ones, bits := n.Mask.Size(); ok && bits > 0 {
					if ip = ip.Unmap(); ip.Is4() && bits == 128 {
						ones -= 96
					}
					out.Addresses = append(out.Addresses, netip.PrefixFrom(ip, ones))
				}
			}
		}
		d.Interfaces = append(d.Interfaces, out)
	}
	r.finish(bundle.Item{Name: bundle.ItemInterfaces, Status: bundle.Read}, "interfaces.json", d)
}
