package envoy

import (
	"fmt"
	"slices"
	"strings"
)

const (
	// maxAggregate bounds how deep aggregate clusters are followed into each other: real ones hold plain clusters.
	maxAggregate = 8

	// maxFollowed bounds how many clusters are followed in all.
	maxFollowed = 2000
)

// leg is where one cluster leads.
type leg struct {
	hops    []Hop
	missing *Hop
	unknown *Undecided
	hosts   []HostState
	notes   []string
	dead    bool // it has hosts, and none is healthy
}

// clusters follows one cluster, or a weighted list. A list's path ends only where every cluster of it does.
func (w *walker) clusters(list []WeightedCluster, how string) {
	total := 0
	for _, c := range list {
		total += c.Weight
	}
	var legs []leg
	var names []string
	for _, c := range list {
		if len(list) > 1 && total > 0 && c.Weight <= 0 {
			continue // takes no traffic
		}
		name, by := c.Name, how
		if c.Header != "" {
			var known bool
			if name, known = w.q.Headers[strings.ToLower(c.Header)], w.q.Headers != nil; !known {
				w.unknown(Undecided{At: ClusterHop, Why: "the route takes its cluster from a header", Needs: []string{"the request header " + c.Header}})
				return
			}
			by = "named by header " + c.Header
		}
		if len(list) > 1 {
			by = fmt.Sprintf("%s, weight %d of %d", by, c.Weight, total)
		}
		legs = append(legs, w.cluster(name, by, nil))
		names = append(names, name)
	}
	if len(legs) == 0 {
		w.missing("", Hop{Kind: ClusterHop, Name: "(unnamed)", Why: "the " + how + " names no cluster"})
		return
	}
	dead := 0
	for i, l := range legs {
		w.r.Path = append(w.r.Path, l.hops...)
		w.r.Hosts = append(w.r.Hosts, l.hosts...)
		w.r.Notes = append(w.r.Notes, l.notes...)
		switch {
		case l.missing != nil:
			dead++
			if len(legs) > 1 {
				w.note("cluster %s: %s %s: %s", label(names[i]), l.missing.Kind, label(l.missing.Name), l.missing.Why)
			}
		case l.dead && len(legs) > 1:
			w.note("cluster %s: none of its %d endpoints is healthy", label(names[i]), len(l.hosts))
		}
	}
	if dead == len(legs) {
		h := *legs[0].missing
		if len(legs) > 1 {
			h.Why += fmt.Sprintf(" (and so with all %d weighted clusters)", len(legs))
		}
		w.r.Missing = &h
		return
	}
	for _, l := range legs {
		if l.unknown != nil && w.r.Unknown == nil {
			w.unknown(*l.unknown)
		}
	}
}

func (w *walker) findCluster(name string) (serving, other *Cluster) {
	i, ok := w.clusterAt[name]
	if !ok {
		return nil, nil
	}
	if k := &w.d.Clusters[i]; !k.State.Serves() {
		return nil, k
	}
	return &w.d.Clusters[i], nil
}

// absent makes a leg's end of a hop that isn't there, or isn't known to be there.
func (w *walker) absent(l leg, s Section, h Hop) leg {
	if s != "" && !w.d.Knows(s) {
		why := fmt.Sprintf("the dump has no whole %s section", s)
		if s == EndpointSection {
			why = "the dump doesn't hold all endpoints (it takes ?include_eds), and /clusters isn't given"
		}
		l.unknown = &Undecided{At: h.Kind, Why: label(h.Name) + ": " + why}
		return l
	}
	l.missing = &h
	return l
}

func (w *walker) cluster(name, how string, above []string) leg {
	var l leg
	if w.followed++; w.followed > maxFollowed {
		l.unknown = &Undecided{At: ClusterHop, Why: fmt.Sprintf("it leads to more than %d clusters", maxFollowed)}
		return l
	}
	k, other := w.findCluster(name)
	if k == nil {
		h := Hop{Kind: ClusterHop, Name: name, Why: "the proxy has no cluster of that name"}
		if other != nil {
			h.Place, h.Why = other.Place, pending(other.Resource)
			if other.State == Warming && other.Error == nil {
				h.Why += ": it waits for its endpoints or secrets"
			}
			l.missing = &h
			return l
		}
		return w.absent(l, ClusterSection, h)
	}
	l.hops = []Hop{{Kind: ClusterHop, Name: k.Name, How: how + ", type " + k.Type, Place: k.Place}}
	if k.Error != nil {
		l.notes = append(l.notes, fmt.Sprintf("the last update of cluster %s was rejected: %s", k.Name, firstLine(k.Error.Details)))
	}
	if k.aggregate() {
		return w.aggregate(l, k, above)
	}
	return w.endpoints(l, k)
}

// aggregate takes the first cluster of the list that has a healthy endpoint, as Envoy does.
// https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/aggregate_cluster
func (w *walker) aggregate(l leg, k *Cluster, above []string) leg {
	if len(above) >= maxAggregate || slices.Contains(above, k.Name) {
		l.unknown = &Undecided{At: ClusterHop, Why: fmt.Sprintf("aggregate cluster %s leads into itself, or more than %d deep", k.Name, maxAggregate)}
		return l
	}
	if len(k.Aggregate) == 0 {
		l.missing = &Hop{Kind: ClusterHop, Name: k.Name, Place: k.Place, Why: "the aggregate cluster has no clusters"}
		return l
	}
	above = append(slices.Clone(above), k.Name)
	var spare *leg
	var first *Hop
	for i, name := range k.Aggregate {
		if i >= maxCandidates {
			break
		}
		x := w.cluster(name, fmt.Sprintf("number %d of %d of aggregate cluster %s", i+1, len(k.Aggregate), k.Name), above)
		switch {
		case x.unknown != nil, x.missing == nil && !x.dead:
			x.hops, x.notes = append(l.hops, x.hops...), append(l.notes, x.notes...)
			return x
		case x.missing == nil && spare == nil:
			spare = &x
		}
		why := fmt.Sprintf("none of its %d endpoints is healthy", len(x.hosts))
		if x.missing != nil {
			if why = x.missing.Why; first == nil {
				first = x.missing
			}
		}
		l.notes = append(l.notes, fmt.Sprintf("aggregate cluster %s passes over %s: %s", k.Name, name, why))
	}
	if spare != nil {
		spare.hops, spare.notes = append(l.hops, spare.hops...), append(l.notes, spare.notes...)
		return *spare
	}
	l.missing = first
	return l
}

// endpoints adds a cluster's endpoints and their health.
func (w *walker) endpoints(l leg, k *Cluster) leg {
	h := Hop{Kind: EndpointsHop, Name: k.Name, Place: k.Place}
	if live := w.hosts.cluster(k.Name); live != nil && k.Type != "ORIGINAL_DST" {
		h.How = "as /clusters tells"
		return w.count(l, h, k, live.Hosts)
	}
	switch k.Type {
	case "ORIGINAL_DST":
		h.Name, h.How = w.q.destination(), "the original destination"
		l.hops = append(l.hops, h)
		return l
	case "EDS":
		name := k.ServiceName
		if name == "" {
			name = k.Name
		}
		h.Name = name
		a := w.assignment(name)
		if a == nil && name != k.Name {
			a = w.assignment(k.Name)
		}
		switch {
		case a == nil:
			h.Why = "EDS gave no endpoints for it"
			return w.absent(l, EndpointSection, h)
		case !a.State.Serves():
			h.Place, h.Why = a.Place, pending(a.Resource)
			l.missing = &h
			return l
		case a.LEDS && len(a.Endpoints) == 0:
			l.unknown = &Undecided{At: EndpointsHop, Why: label(name) + ": its endpoints come from LEDS, which the dump doesn't hold"}
			return l
		}
		h.How, h.Place = "by EDS", a.Place
		return w.count(l, h, k, a.hosts())
	}
	if k.Inline != nil {
		h.How = "in the cluster itself"
		if strings.HasSuffix(k.Type, "_DNS") {
			h.How = "names that Envoy resolves; what they resolve to is in /clusters"
		}
		return w.count(l, h, k, k.Inline.hosts())
	}
	if strings.Contains(k.Type, ".") { // a custom type: dynamic_forward_proxy, redis …
		h.How = "found by " + k.Type + " for each request"
		l.hops = append(l.hops, h)
		return l
	}
	return w.count(l, h, k, nil)
}

func (w *walker) count(l leg, h Hop, k *Cluster, hosts []Host) leg {
	if len(hosts) == 0 {
		h.Why = "the cluster has no endpoints"
		if k.Name == "BlackHoleCluster" {
			h.Why = "Istio's BlackHoleCluster never has any: the mesh allows only known destinations (REGISTRY_ONLY), or the port is the proxy's own"
		}
		l.missing = &h
		return l
	}
	healthy := 0
	for _, x := range hosts {
		s := HostState{Cluster: k.Name, Address: x.Address.String(), Healthy: x.Healthy()}
		if s.Healthy {
			healthy++
		} else {
			s.Why = strings.Join(x.Flags, ", ")
		}
		l.hosts = append(l.hosts, s)
	}
	h.How += fmt.Sprintf(": %d of %d healthy", healthy, len(hosts))
	l.dead = healthy == 0
	l.hops = append(l.hops, h)
	return l
}

func (w *walker) assignment(name string) *Assignment {
	if i, ok := w.assignments[name]; ok {
		return &w.d.Endpoints[i]
	}
	return nil
}

// hosts gives an assignment's endpoints with the health that EDS gave them. Envoy sends to UNKNOWN as to HEALTHY, and to
// DEGRADED when it must. (config.core.v3.HealthStatus)
func (a *Assignment) hosts() []Host {
	var out []Host
	for _, e := range a.Endpoints {
		h := Host{Address: e.Address, Priority: e.Priority, Weight: e.Weight}
		switch e.Health {
		case "", "HEALTHY":
		case "DEGRADED":
			h.Flags = []string{"degraded_eds_health"}
		default:
			h.Flags = []string{e.Health}
		}
		out = append(out, h)
	}
	return out
}
