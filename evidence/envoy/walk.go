package envoy

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Walk follows a destination through a dump: listener, filter chain, network filter, route configuration, virtual host,
// route, cluster, endpoints. hosts may be nil; given, it's what the same proxy's /clusters told, and its health flags
// count. Walk reads both and changes neither.
//
// A resource that isn't in the dump is missing only where the dump has that section whole (Dump.Knows); otherwise the
// result is Unknown.
func Walk(d *Dump, hosts *Hosts, q Query) Result {
	if q.Direction == "" {
		q.Direction = Outbound
	}
	if q.IP = q.IP.Unmap(); q.Direction == Inbound && !q.IP.IsValid() {
		q.IP = selfIP(d)
	}
	w := &walker{d: d, hosts: hosts, q: q, regexps: map[string]*regexp.Regexp{}, routes: map[string]int{}, clusterAt: map[string]int{}, assignments: map[string]int{}}
	w.index()
	w.start()
	return w.r
}

type walker struct {
	d       *Dump
	hosts   *Hosts
	q       Query
	regexps map[string]*regexp.Regexp
	r       Result

	// By name, as indexes: a serving one where there is one, else any.
	routes, clusterAt, assignments map[string]int

	followed int // clusters, as aggregate clusters may name each other over and over
}

func (w *walker) index() {
	put := func(m map[string]int, name string, i int, serves bool, served func(int) bool) {
		if at, ok := m[name]; !ok || serves && !served(at) {
			m[name] = i
		}
	}
	for i, x := range w.d.RouteConfigs {
		put(w.routes, x.Name, i, x.State.Serves(), func(i int) bool { return w.d.RouteConfigs[i].State.Serves() })
	}
	for i, x := range w.d.Clusters {
		put(w.clusterAt, x.Name, i, x.State.Serves(), func(i int) bool { return w.d.Clusters[i].State.Serves() })
	}
	for i, x := range w.d.Endpoints {
		put(w.assignments, x.Name, i, x.State.Serves(), func(i int) bool { return w.d.Endpoints[i].State.Serves() })
	}
}

func (w *walker) hop(h Hop) { w.r.Path = append(w.r.Path, h) }

// missing ends the walk at a hop that isn't there, or can't be told to be, where the section isn't whole.
func (w *walker) missing(s Section, h Hop) {
	if s != "" && !w.d.Knows(s) {
		why := fmt.Sprintf("the dump has no whole %s section", s)
		if s == EndpointSection {
			why = "the dump was taken without ?include_eds"
		}
		w.unknown(Undecided{At: h.Kind, Why: fmt.Sprintf("%s: %s", label(h.Name), why)})
		return
	}
	w.r.Missing = &h
}

func (w *walker) unknown(u Undecided) {
	slices.Sort(u.Candidates)
	u.Candidates = slices.Compact(u.Candidates)
	if len(u.Candidates) > maxCandidates {
		u.Candidates = u.Candidates[:maxCandidates]
	}
	w.r.Unknown = &u
}

func (w *walker) note(format string, a ...any) {
	w.r.Notes = append(w.r.Notes, fmt.Sprintf(format, a...))
}

func label(name string) string {
	if name == "" {
		return "(unnamed)"
	}
	return name
}

func (w *walker) start() {
	if w.q.Name != "" && w.q.Direction == Outbound {
		if l := w.apiListener(); l != nil {
			w.hop(Hop{Kind: ListenerHop, Name: l.Name, Match: Exact, How: "a gRPC client's listener, by the target's name", Place: l.Place})
			w.filters(l.Place+".listener.api_listener", []Filter{*l.API})
			return
		}
		if !w.q.IP.IsValid() {
			w.byName()
			return
		}
	}
	l := w.listener()
	if l == nil {
		return
	}
	f, place := w.chain(l)
	if f == nil {
		return
	}
	w.filters(place, f.Filters)
}

// apiListener gives the listener of a proxyless client for the target's name: gRPC asks for a listener named HOST:PORT,
// or, with an authority, xdstp://…/HOST:PORT.
func (w *walker) apiListener() *Listener {
	names := []string{w.q.Name}
	if w.q.Port != 0 {
		names[0] = fmt.Sprintf("%s:%d", w.q.Name, w.q.Port)
	}
	for i := range w.d.Listeners {
		l := &w.d.Listeners[i]
		if l.API == nil || !l.State.Serves() {
			continue
		}
		last := l.Name[strings.LastIndexByte(l.Name, '/')+1:]
		if slices.Contains(names, strings.ToLower(last)) {
			return l
		}
	}
	return nil
}

// chain finds the filter chain that takes the connection, and adds its hop.
func (w *walker) chain(l *Listener) (*FilterChain, string) {
	at := l.Place + ".listener"
	if l.Place == "" || strings.HasPrefix(l.Place, "[") { // a list of listeners alone
		at = l.Place
	}
	in := connOf(l, w.q)
	var index int
	if l.matcher != nil {
		name, need := l.matcher.find(in)
		if need != "" {
			w.unknown(Undecided{At: FilterChainHop, Why: "listener " + label(l.Name) + " picks its filter chain by more than the query tells", Needs: []string{need}})
			return nil, ""
		}
		index = slices.IndexFunc(l.Chains, func(f FilterChain) bool { return name != "" && f.Name == name })
		if index >= 0 {
			place := fmt.Sprintf("%s.filter_chains[%d]", at, index)
			w.hop(Hop{Kind: FilterChainHop, Name: l.Chains[index].Name, Match: Exact, How: "picked by filter_chain_matcher", Place: place})
			return &l.Chains[index], place
		}
	} else {
		s := findChains(l, in)
		var ok bool
		if index, ok = w.oneChain(l, s); !ok {
			return nil, ""
		}
		if index >= 0 {
			f := &l.Chains[index]
			place := fmt.Sprintf("%s.filter_chains[%d]", at, index)
			match, how := f.Match.closeness()
			w.hop(Hop{Kind: FilterChainHop, Name: label(f.Name), Match: match, How: how, Place: place})
			return f, place
		}
		if l.Default == nil {
			w.missing("", Hop{Kind: FilterChainHop, Name: w.q.destination(), Place: at, Why: fmt.Sprintf(
				"listener %s has no filter chain for it (of %d, none fits %s) and no default_filter_chain: Envoy closes the connection",
				label(l.Name), len(l.Chains), s.failed)})
			return nil, ""
		}
	}
	if l.Default == nil {
		w.missing("", Hop{Kind: FilterChainHop, Name: w.q.destination(), Place: at,
			Why: "listener " + label(l.Name) + "'s filter_chain_matcher names no chain of it, and there's no default_filter_chain: Envoy closes the connection"})
		return nil, ""
	}
	place := at + ".default_filter_chain"
	w.hop(Hop{Kind: FilterChainHop, Name: label(l.Default.Name), Match: Fallback, How: "no other filter chain fits", Place: place})
	return l.Default, place
}

// oneChain gives the chain found; several count as one where they lead to the same place.
func (w *walker) oneChain(l *Listener, s *chainSearch) (int, bool) {
	found := make([]int, 0, len(s.hits))
	for i := range s.hits {
		found = append(found, i)
	}
	slices.Sort(found)
	end := func(i int) string {
		if i == none {
			if l.Default == nil {
				return "closed"
			}
			return l.Default.leads()
		}
		return l.Chains[i].leads()
	}
	first := found[len(found)-1]
	for _, i := range found {
		if i >= 0 {
			first = i
			break
		}
	}
	where := end(first)
	for _, i := range found {
		if s.capped() || end(i) != where {
			var names []string
			for _, i := range found {
				switch {
				case i >= 0:
					names = append(names, label(l.Chains[i].Name))
				case l.Default != nil:
					names = append(names, "default_filter_chain")
				default:
					names = append(names, "none: closed")
				}
			}
			w.unknown(Undecided{At: FilterChainHop, Needs: s.needs, Candidates: names,
				Why: fmt.Sprintf("several filter chains of listener %s may take the connection", label(l.Name))})
			return 0, false
		}
	}
	if len(found) > 1 {
		w.note("filter chain %s stands for %d that lead to the same place", label(l.Chains[first].Name), len(found))
	}
	return first, true
}

// leads says where a chain leads, such that two chains with the same answer needn't be told apart.
func (f *FilterChain) leads() string {
	for _, x := range f.Filters {
		switch {
		case x.TCP != nil:
			return clusterKey(x.TCP.Clusters)
		case x.HTTP != nil && x.HTTP.Inline != nil:
			return x.HTTP.Inline.leads()
		case x.HTTP != nil:
			return "rds:" + x.HTTP.RDS + " scoped:" + x.HTTP.Scoped
		}
	}
	return "filters:" + f.filterNames()
}

func (f *FilterChain) filterNames() string {
	var names []string
	for _, x := range f.Filters {
		names = append(names, x.Name)
	}
	return strings.Join(names, ",")
}

// leads gives the one cluster that every route of any host has, or all that's in it.
func (rc *RouteConfig) leads() string {
	var all strings.Builder
	only := ""
	single := len(rc.VirtualHosts) == 1 && slices.Equal(rc.VirtualHosts[0].Domains, []string{"*"})
	for i := range rc.VirtualHosts {
		v := &rc.VirtualHosts[i]
		fmt.Fprintf(&all, "%q", v.Domains)
		for _, r := range v.Routes {
			k := r.Action.leads()
			fmt.Fprintf(&all, "%v>%s;", r.Match, k)
			switch {
			case only == "":
				only = k
			case only != k:
				single = false
			}
		}
	}
	if single && only != "" {
		return only
	}
	return all.String()
}

func (a Action) leads() string {
	if len(a.Clusters) > 0 {
		return clusterKey(a.Clusters)
	}
	return fmt.Sprintf("%s:%d", a.Kind, a.Status)
}

func clusterKey(cs []WeightedCluster) string {
	var s strings.Builder
	s.WriteString("clusters:")
	for _, c := range cs {
		fmt.Fprintf(&s, "%s%s=%d;", c.Name, c.Header, c.Weight)
	}
	return s.String()
}

// filters follows a chain's network filters to the one that ends it.
func (w *walker) filters(place string, fs []Filter) {
	for i, f := range fs {
		at := fmt.Sprintf("%s.filters[%d]", place, i)
		if len(fs) == 1 && strings.HasSuffix(place, "api_listener") {
			at = place
		}
		switch {
		case f.HTTP != nil:
			w.hop(Hop{Kind: FilterHop, Name: label(f.Name), How: "HTTP", Place: at})
			w.http(f.HTTP, at)
			return
		case f.TCP != nil:
			w.hop(Hop{Kind: FilterHop, Name: label(f.Name), How: "TCP", Place: at})
			w.clusters(f.TCP.Clusters, "tcp_proxy")
			return
		}
	}
	if len(fs) == 0 {
		w.missing("", Hop{Kind: FilterChainHop, Name: w.q.destination(), Place: place, Why: "the filter chain has no network filters: Envoy closes the connection"})
		return
	}
	last := fs[len(fs)-1]
	w.hop(Hop{Kind: FilterHop, Name: label(last.Name), How: last.TypeURL, Place: place})
	w.unknown(Undecided{At: FilterHop, Why: fmt.Sprintf("network filter %s (%s) isn't followed", label(last.Name), label(last.TypeURL))})
}
