package envoy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// way is an HTTP filter by which a name may be reached, and the Host header with which it is.
type way struct {
	l      *Listener
	f      *FilterChain
	place  string
	h      *HTTP
	filter string
	host   string
}

// nameSearch looks for the virtual hosts that name a destination.
type nameSearch struct {
	w       *walker
	first   way
	hosts   map[string]bool // "route configuration\x00virtual host" of those that name it
	general bool            // some virtual host takes any host
	unread  bool            // some filter's route configuration isn't in the dump
	known   map[string]foundHost
}

type foundHost struct {
	v      *VirtualHost
	domain string
}

// byName follows a destination whose address isn't known: by the virtual hosts that name it, over every listener and
// filter chain that could take its port, or else by the cluster that stands for the service.
func (w *walker) byName() {
	s := &nameSearch{w: w, hosts: map[string]bool{}, known: map[string]foundHost{}}
	port := w.q.Port
	for i := range w.d.Listeners {
		l := &w.d.Listeners[i]
		if !l.State.Serves() || l.inbound() || l.API != nil {
			continue
		}
		if port != 0 && !l.restores() && !slices.ContainsFunc(l.Addresses, func(a Address) bool { return a.Port == port }) {
			continue
		}
		for j := range l.Chains {
			if p := l.Chains[j].Match.DestinationPort; p == 0 || port == 0 || p == port {
				s.consider(l, &l.Chains[j], fmt.Sprintf("%s.listener.filter_chains[%d]", l.Place, j))
			}
		}
		if l.Default != nil {
			s.consider(l, l.Default, l.Place+".listener.default_filter_chain")
		}
	}
	switch len(s.hosts) {
	case 0:
		w.byService(s.general, s.unread)
	case 1:
		y := s.first
		w.hop(Hop{Kind: ListenerHop, Name: y.l.Name, How: "it leads to a virtual host for " + w.q.Name + "; its address isn't known", Place: y.l.Place})
		match, how := y.f.Match.closeness()
		w.hop(Hop{Kind: FilterChainHop, Name: label(y.f.Name), Match: match, How: how, Place: y.place})
		w.hop(Hop{Kind: FilterHop, Name: y.filter, How: "HTTP", Place: y.place})
		w.q.Authority = y.host
		w.http(y.h, y.place)
	default:
		u := Undecided{At: ListenerHop, Why: "several virtual hosts are for " + w.q.destination(), Needs: []string{"the destination address of " + w.q.Name}}
		for k := range s.hosts {
			rc, v, _ := strings.Cut(k, "\x00")
			u.Candidates = append(u.Candidates, label(v)+" of "+label(rc))
		}
		w.unknown(u)
	}
}

func (s *nameSearch) consider(l *Listener, f *FilterChain, place string) {
	for _, x := range f.Filters {
		if x.HTTP == nil {
			continue
		}
		rc, id := x.HTTP.Inline, ""
		if rc == nil {
			id = x.HTTP.RDS
			if rc = s.w.routeConfig(id); rc == nil {
				s.unread = true
				continue
			}
		}
		for _, a := range s.w.q.authorities() {
			y := s.find(rc, id, hostFor(x.HTTP, rc, a, s.w.q.Port))
			if y.v == nil {
				continue
			}
			if y.domain == "*" {
				s.general = true
				continue
			}
			if len(s.hosts) == 0 {
				s.first = way{l: l, f: f, place: place, h: x.HTTP, filter: label(x.Name), host: a}
			}
			if len(s.hosts) <= maxCandidates {
				s.hosts[rc.Name+"\x00"+y.v.Name] = true
			}
			break
		}
	}
}

// find remembers what RDS's route configurations gave: many filter chains share one.
func (s *nameSearch) find(rc *RouteConfig, id, host string) foundHost {
	key := id + "\x00" + host
	y, ok := s.known[key]
	if !ok || id == "" {
		y.v, y.domain = findVirtualHost(rc, host)
		s.known[key] = y
	}
	return y
}

// byService starts at the cluster that stands for a service: Traffic Director's clusters carry the backend service's name,
// Istio's are called outbound|PORT|SUBSET|HOST.
func (w *walker) byService(general, unread bool) {
	var found []*Cluster
	for i := range w.d.Clusters {
		k := &w.d.Clusters[i]
		if k.State.Serves() && k.serves(w.q.Name, w.q.Port) {
			found = append(found, k)
		}
	}
	switch {
	case len(found) == 1:
		w.note("the path starts at the cluster: no virtual host is for %s, and its address isn't known", w.q.Name)
		w.clusters([]WeightedCluster{{Name: found[0].Name}}, "by the service's name")
	case len(found) > 1:
		u := Undecided{At: ClusterHop, Why: "several clusters stand for service " + w.q.Name, Needs: []string{"the destination's address and port"}}
		for _, k := range found {
			u.Candidates = append(u.Candidates, k.Name)
		}
		w.unknown(u)
	case general:
		w.unknown(Undecided{At: VirtualHostHop, Why: "no virtual host names " + w.q.Name + ", but some take any host", Needs: []string{"the destination address of " + w.q.Name}})
	default:
		// Whichever isn't whole may hold it.
		s := ListenerSection
		if w.d.Knows(s) {
			s = ClusterSection
		}
		if w.d.Knows(s) && unread {
			s = RouteSection
		}
		w.missing(s, Hop{Kind: VirtualHostHop, Name: w.q.destination(), Why: "no listener leads to a virtual host for it, and no cluster stands for a service of that name"})
	}
}

// serves says whether a cluster stands for a service.
func (k *Cluster) serves(name string, port int) bool {
	if k.BackendService != "" && strings.EqualFold(k.BackendService, name) {
		return true
	}
	p := strings.Split(k.Name, "|")
	if len(p) != 4 || p[0] != "outbound" || p[2] != "" || port != 0 && p[1] != strconv.Itoa(port) {
		return false
	}
	host := p[3]
	return host == name || strings.HasPrefix(host, name+".") && strings.Contains(host, ".svc.")
}
