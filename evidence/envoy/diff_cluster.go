package envoy

import (
	"fmt"
	"slices"
	"strings"
)

func (d *differ) clusters() {
	if d.skipped(ClusterSection, ClusterHop) {
		return
	}
	res := func(c *Cluster) *Resource { return &c.Resource }
	good, _ := index(d.good.Clusters, res, func(c *Cluster) string { return d.goodSelf.Replace(c.Name) })
	bad, waiting := index(d.bad.Clusters, res, func(c *Cluster) string { return d.badSelf.Replace(c.Name) })
	for _, k := range sorted(good) {
		g, b := good[k], bad[k]
		if b == nil {
			var w *Resource
			if waiting[k] != nil {
				w = &waiting[k].Resource
			}
			d.lacks(ClusterHop, k, &g.Resource, w)
			continue
		}
		said := map[string]bool{}
		differs := func(what, x, y string, fields ...string) {
			if x != y {
				for _, f := range fields {
					said[f] = true
				}
				d.add(Difference{Kind: Differs, Of: ClusterHop, Name: k + ": " + what, Good: x, Bad: y, Place: g.Place})
			}
		}
		differs("type", g.Type, b.Type, "type", "cluster_type", "eds_cluster_config", "lb_policy")
		differs("EDS service name", d.goodSelf.Replace(g.ServiceName), d.badSelf.Replace(b.ServiceName), "eds_cluster_config")
		differs("transport socket", plain(g.Transport), plain(b.Transport), "transport_socket", "tls_context")
		differs("clusters of the aggregate", strings.Join(g.Aggregate, ", "), strings.Join(b.Aggregate, ", "), "cluster_type")
		differs("Traffic Director backend service", g.BackendService, b.BackendService)
		// An inbound cluster's fields hold the workload's own address.
		if d.good.camel == d.bad.camel && !strings.HasPrefix(k, "inbound|") {
			if fields := differing(g, b, said); len(fields) > 0 {
				d.add(Difference{Kind: Differs, Of: ClusterHop, Name: k + ": other fields", Good: strings.Join(fields, ", "), Place: g.Place})
			}
		}
		if g.Inline != nil && b.Inline != nil && g.Type != "EDS" {
			d.hosts(k, g.Place, g.Inline.hosts(), b.Inline.hosts())
		}
	}
}

// differing names the fields that two clusters have otherwise, apart from those that were told of already.
func differing(g, b *Cluster, said map[string]bool) []string {
	at := map[string]uint64{}
	for _, f := range b.fields {
		at[f.name] = f.hash
	}
	var out []string
	for _, f := range g.fields {
		if h, ok := at[f.name]; (!ok || h != f.hash) && !said[f.name] {
			out = append(out, f.name)
		}
		delete(at, f.name)
	}
	for name := range at {
		if !said[name] {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

func (d *differ) endpoints() {
	if d.skipped(EndpointSection, EndpointsHop) {
		return
	}
	res := func(a *Assignment) *Resource { return &a.Resource }
	good, _ := index(d.good.Endpoints, res, func(a *Assignment) string { return d.goodSelf.Replace(a.Name) })
	bad, waiting := index(d.bad.Endpoints, res, func(a *Assignment) string { return d.badSelf.Replace(a.Name) })
	for _, k := range sorted(good) {
		g, b := good[k], bad[k]
		switch {
		case b != nil:
			d.hosts(k, g.Place, g.hosts(), b.hosts())
		case waiting[k] != nil:
			d.lacks(EndpointsHop, k, &g.Resource, &waiting[k].Resource)
		default:
			d.lacks(EndpointsHop, k, &g.Resource, nil)
		}
	}
}

// hosts compares a cluster's endpoints. Which of many endpoints two proxies get may differ by their zones: only having
// none, having none that's healthy, and lacking some are told, in this order of weight.
func (d *differ) hosts(name, place string, g, b []Host) {
	usable := func(hs []Host) (n int) {
		for _, h := range hs {
			if h.Healthy() {
				n++
			}
		}
		return n
	}
	x, y := usable(g), usable(b)
	has := map[string]bool{}
	for _, h := range b {
		has[d.badSelf.Replace(h.Address.String())] = true
	}
	var lacking []string
	for _, h := range g {
		if a := d.goodSelf.Replace(h.Address.String()); !has[a] {
			lacking = append(lacking, a)
		}
	}
	slices.Sort(lacking)
	switch {
	case len(g) > 0 && len(b) == 0:
		d.add(Difference{Kind: NoEndpoints, Of: EndpointsHop, Name: name, Good: fmt.Sprintf("%d endpoints", len(g)), Bad: "none", Place: place})
	case x > 0 && y == 0:
		d.add(Difference{Kind: NoEndpoints, Of: EndpointsHop, Name: name, Good: fmt.Sprintf("%d of %d healthy", x, len(g)), Bad: fmt.Sprintf("0 of %d healthy", len(b)), Place: place})
	case len(lacking) > 0:
		d.add(Difference{Kind: Differs, Of: EndpointsHop, Name: name, Good: fmt.Sprintf("%d endpoints", len(g)),
			Bad: fmt.Sprintf("%d endpoints, without %s", len(b), strings.Join(lacking[:min(len(lacking), 8)], ", ")), Place: place})
	case x != y:
		d.add(Difference{Kind: Differs, Of: EndpointsHop, Name: name, Good: fmt.Sprintf("%d of %d healthy", x, len(g)), Bad: fmt.Sprintf("%d of %d healthy", y, len(b)), Place: place})
	}
}
