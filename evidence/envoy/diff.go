package envoy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// maxDifferences bounds a diff: past so many the two proxies aren't of one kind, and no one reads on.
const maxDifferences = 200

// DifferenceKind says what of a difference the reader has before them. Lower ones mean more.
type DifferenceKind uint8

// The kinds, the most meaningful first.
const (
	WasRejected    DifferenceKind = iota // an update that the broken proxy refused
	Lacks                                // the broken proxy hasn't got it
	NotServing                           // it has it, warming or draining
	NoEndpoints                          // it has the cluster without endpoints, or with unhealthy ones alone
	LeadsElsewhere                       // a filter chain or a route leads to another cluster
	Differs                              // it has it otherwise
	NotCompared                          // one of the dumps doesn't hold it
)

func (k DifferenceKind) String() string {
	return [...]string{"rejected", "lacks", "not serving", "no endpoints", "leads elsewhere", "differs", "not compared"}[k]
}

// Difference is something that a working proxy has and a broken one lacks, or has otherwise.
type Difference struct {
	Kind   DifferenceKind
	Of     HopKind
	Name   string // the resource: "reviews.default (domain) of 9080"
	Good   string // what the working one has; may be empty
	Bad    string // what the broken one has; may be empty
	Place  string // in the working one's dump, or the broken one's for a rejection
	weight int
}

// Diff compares a working proxy's dump with a broken one's. Versions, times, order, node ids and the proxies' own
// addresses don't count, nor does what the broken one has on top. The list is sorted, the most meaningful first, and
// bounded; more is how many were left out.
func Diff(baseline, broken *Dump) (ds []Difference, more int) {
	d := &differ{good: baseline, bad: broken}
	d.goodSelf, d.badSelf = selfNames(baseline), selfNames(broken)
	d.rejections()
	d.listeners()
	d.routes()
	d.clusters()
	d.endpoints()
	slices.SortStableFunc(d.out, func(a, b Difference) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.weight, b.weight), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Good, b.Good))
	})
	if len(d.out) > maxDifferences {
		d.more += len(d.out) - maxDifferences
		d.out = d.out[:maxDifferences]
	}
	return d.out, d.more
}

type differ struct {
	good, bad         *Dump
	goodSelf, badSelf *strings.Replacer
	out               []Difference
	more              int
}

// maxCollected bounds what's kept before sorting, so that two dumps with nothing in common stay cheap.
const maxCollected = 20_000

var hopOrder = []HopKind{ListenerHop, FilterChainHop, RouteHop, VirtualHostHop, RouteEntryHop, ClusterHop, EndpointsHop}

func (d *differ) add(x Difference) {
	if len(d.out) >= maxCollected {
		d.more++
		return
	}
	x.weight = slices.Index(hopOrder, x.Of)
	x.Good, x.Bad = clip(x.Good), clip(x.Bad)
	d.out = append(d.out, x)
}

func clip(s string) string {
	if len(s) > 400 {
		return strings.ToValidUTF8(s[:400], "") + "…"
	}
	return s
}

// selfNames replaces a proxy's own addresses, which stand in names of inbound listeners and clusters.
func selfNames(d *Dump) *strings.Replacer {
	var pairs []string
	for _, ip := range selfIPs(d) {
		pairs = append(pairs, ip.String()+":", "SELF:", ip.String()+"_", "SELF_", ip.String()+"/", "SELF/", ip.String()+"|", "SELF|")
	}
	return strings.NewReplacer(pairs...)
}

// index keys what serves, and apart from it what doesn't.
func index[T any](all []T, res func(*T) *Resource, key func(*T) string) (serving, waiting map[string]*T) {
	serving, waiting = map[string]*T{}, map[string]*T{}
	for i := range all {
		x := &all[i]
		to := serving
		if !res(x).State.Serves() {
			to = waiting
		}
		if k := key(x); to[k] == nil {
			to[k] = x
		}
	}
	return serving, waiting
}

func sorted[T any](m map[string]*T) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// skipped says that a section can't be compared. A section that neither has isn't worth a word.
func (d *differ) skipped(s Section, of HopKind) bool {
	switch {
	case !d.good.Has(s):
		return true
	case d.bad.Knows(s):
		return false
	}
	d.add(Difference{Kind: NotCompared, Of: of, Name: string(s), Bad: "the broken proxy's dump has no whole " + string(s) + " section"})
	return true
}

func (d *differ) rejections() {
	one := func(of HopKind, r *Resource) {
		if r.Error != nil {
			d.add(Difference{Kind: WasRejected, Of: of, Name: label(r.Name), Bad: firstLine(r.Error.Details), Place: r.Place})
		}
	}
	seen := map[string]bool{}
	for i := range d.bad.Listeners {
		if r := &d.bad.Listeners[i].Resource; !seen[r.Name] {
			seen[r.Name] = r.Error != nil
			one(ListenerHop, r)
		}
	}
	for i := range d.bad.RouteConfigs {
		one(RouteHop, &d.bad.RouteConfigs[i].Resource)
	}
	for i := range d.bad.Clusters {
		one(ClusterHop, &d.bad.Clusters[i].Resource)
	}
	for i := range d.bad.Endpoints {
		one(EndpointsHop, &d.bad.Endpoints[i].Resource)
	}
}

// lacks reports what isn't among the broken one's, or waits.
func (d *differ) lacks(of HopKind, name string, good *Resource, waiting *Resource) {
	x := Difference{Kind: Lacks, Of: of, Name: name, Place: good.Place}
	if waiting != nil {
		if waiting.Error != nil {
			return // among the rejections
		}
		x.Kind, x.Bad = NotServing, pending(*waiting)
	}
	d.add(x)
}

func addresses(l *Listener, self *strings.Replacer) string {
	var s []string
	for _, a := range l.Addresses {
		s = append(s, self.Replace(a.String()))
	}
	slices.Sort(s)
	return strings.Join(s, ", ")
}

func listenerKey(l *Listener, self *strings.Replacer) string {
	if l.Name != "" {
		return self.Replace(l.Name)
	}
	return addresses(l, self)
}

func (d *differ) listeners() {
	if d.skipped(ListenerSection, ListenerHop) {
		return
	}
	res := func(l *Listener) *Resource { return &l.Resource }
	good, _ := index(d.good.Listeners, res, func(l *Listener) string { return listenerKey(l, d.goodSelf) })
	bad, waiting := index(d.bad.Listeners, res, func(l *Listener) string { return listenerKey(l, d.badSelf) })
	for _, k := range sorted(good) {
		g, b := good[k], bad[k]
		if b == nil {
			var w *Resource
			if waiting[k] != nil {
				w = &waiting[k].Resource
			}
			d.lacks(ListenerHop, k, &g.Resource, w)
			continue
		}
		differs := func(what, x, y string) {
			if x != y {
				d.add(Difference{Kind: Differs, Of: ListenerHop, Name: k + ": " + what, Good: x, Bad: y, Place: g.Place})
			}
		}
		differs("address", addresses(g, d.goodSelf), addresses(b, d.badSelf))
		differs("traffic direction", g.Direction, b.Direction)
		differs("use_original_dst", fmt.Sprint(g.UseOriginalDst), fmt.Sprint(b.UseOriginalDst))
		differs("bind_to_port", fmt.Sprint(!g.Unbound), fmt.Sprint(!b.Unbound))
		differs("listener filters", strings.Join(g.Filters, ", "), strings.Join(b.Filters, ", "))
		d.chains(k, g, b)
	}
}

func chainKey(f *FilterChain, self *strings.Replacer, byName bool) string {
	m := f.Match
	if byName {
		return f.Name
	}
	return self.Replace(fmt.Sprintf("port %d, addresses %v/, server names %v, transport %q, protocols %v, source %s %v %v %v", m.DestinationPort, m.Prefixes,
		m.ServerNames, m.Transport, m.ALPN, m.SourceType, m.Source, m.DirectSource, m.SourcePorts))
}

func (d *differ) chains(listener string, g, b *Listener) {
	all := func(l *Listener, self *strings.Replacer) map[string]*FilterChain {
		m := map[string]*FilterChain{}
		for i := range l.Chains {
			m[chainKey(&l.Chains[i], self, l.matcher != nil)] = &l.Chains[i]
		}
		if l.Default != nil {
			m["default_filter_chain"] = l.Default
		}
		return m
	}
	good, bad := all(g, d.goodSelf), all(b, d.badSelf)
	for _, k := range sorted(good) {
		x, y := good[k], bad[k]
		_, how := x.Match.closeness()
		name := fmt.Sprintf("%s of listener %s (%s)", label(x.Name), listener, how)
		if y == nil {
			d.add(Difference{Kind: Lacks, Of: FilterChainHop, Name: name, Place: g.Place})
			continue
		}
		if a, b := d.goodSelf.Replace(x.leads()), d.badSelf.Replace(y.leads()); a != b {
			if x.inline() != nil && y.inline() != nil {
				d.virtualHosts(name, x.inline(), y.inline())
			} else {
				d.add(Difference{Kind: LeadsElsewhere, Of: FilterChainHop, Name: name, Good: a, Bad: b, Place: g.Place})
			}
		}
		if a, b := x.filterNames(), y.filterNames(); a != b {
			d.add(Difference{Kind: Differs, Of: FilterChainHop, Name: name + ": network filters", Good: a, Bad: b, Place: g.Place})
		}
		if x.Transport != y.Transport {
			d.add(Difference{Kind: Differs, Of: FilterChainHop, Name: name + ": transport socket", Good: plain(x.Transport), Bad: plain(y.Transport), Place: g.Place})
		}
		if h, i := x.http(), y.http(); h != nil && i != nil {
			if a, b := strings.Join(h.Filters, ", "), strings.Join(i.Filters, ", "); a != b {
				d.add(Difference{Kind: Differs, Of: FilterChainHop, Name: name + ": HTTP filters", Good: a, Bad: b, Place: g.Place})
			}
		}
	}
}

func plain(transport string) string {
	if transport == "" {
		return "none: plaintext"
	}
	return transport
}

func (f *FilterChain) http() *HTTP {
	for _, x := range f.Filters {
		if x.HTTP != nil {
			return x.HTTP
		}
	}
	return nil
}

func (f *FilterChain) inline() *RouteConfig {
	if h := f.http(); h != nil {
		return h.Inline
	}
	return nil
}

func (d *differ) routes() {
	if d.skipped(RouteSection, RouteHop) {
		return
	}
	res := func(r *RouteConfig) *Resource { return &r.Resource }
	good, _ := index(d.good.RouteConfigs, res, func(r *RouteConfig) string { return d.goodSelf.Replace(r.Name) })
	bad, waiting := index(d.bad.RouteConfigs, res, func(r *RouteConfig) string { return d.badSelf.Replace(r.Name) })
	for _, k := range sorted(good) {
		g, b := good[k], bad[k]
		switch {
		case g.State == StaticState:
			// Inline ones are compared with their filter chains.
		case b == nil:
			var w *Resource
			if waiting[k] != nil {
				w = &waiting[k].Resource
			}
			d.lacks(RouteHop, k, &g.Resource, w)
		default:
			d.virtualHosts("route configuration "+k, g, b)
		}
	}
}

// virtualHosts compares domain by domain: how domains are grouped doesn't matter.
func (d *differ) virtualHosts(of string, g, b *RouteConfig) {
	byDomain := func(rc *RouteConfig, self *strings.Replacer) map[string]*VirtualHost {
		m := map[string]*VirtualHost{}
		for i := range rc.VirtualHosts {
			for _, x := range rc.VirtualHosts[i].Domains {
				m[strings.TrimSuffix(self.Replace(strings.ToLower(x)+"/"), "/")] = &rc.VirtualHosts[i]
			}
		}
		return m
	}
	good, bad := byDomain(g, d.goodSelf), byDomain(b, d.badSelf)
	type pair struct{ x, y *VirtualHost }
	done := map[pair]bool{}
	absent := map[*VirtualHost][]string{}
	for _, k := range sorted(good) {
		x, y := good[k], bad[k]
		if y == nil {
			absent[x] = append(absent[x], k)
			continue
		}
		if p := (pair{x, y}); !done[p] {
			done[p] = true
			d.entries(fmt.Sprintf("virtual host %s of %s", label(x.Name), of), g.Place, x, y)
		}
	}
	for i := range g.VirtualHosts {
		v := &g.VirtualHosts[i]
		if ds := absent[v]; len(ds) > 0 {
			d.add(Difference{Kind: Lacks, Of: VirtualHostHop, Name: fmt.Sprintf("virtual host %s of %s", label(v.Name), of), Good: "domains " + strings.Join(ds, ", "), Place: g.Place})
		}
	}
}

// entries compares two virtual hosts' routes: their order counts, as it does to Envoy.
func (d *differ) entries(of, place string, g, b *VirtualHost) {
	list := func(v *VirtualHost, self *strings.Replacer) (keys []string, to map[string]string) {
		to = map[string]string{}
		for _, r := range v.Routes {
			k := fmt.Sprintf("%s %v %v %v", r.Match.describe(), r.Match.Headers, r.Match.Query, r.Match.Fraction)
			if _, twice := to[k]; !twice {
				keys = append(keys, k)
				to[k] = self.Replace(r.Action.leads())
			}
		}
		return keys, to
	}
	goodKeys, good := list(g, d.goodSelf)
	badKeys, bad := list(b, d.badSelf)
	for _, k := range goodKeys {
		what, _, _ := strings.Cut(k, " [")
		name := fmt.Sprintf("route %s of %s", what, of)
		to, ok := bad[k]
		switch {
		case !ok:
			d.add(Difference{Kind: Lacks, Of: RouteEntryHop, Name: name, Good: good[k], Place: place})
		case to != good[k]:
			d.add(Difference{Kind: LeadsElsewhere, Of: RouteEntryHop, Name: name, Good: good[k], Bad: to, Place: place})
		}
	}
	common := func(keys []string, other map[string]string) string {
		var out []string
		for _, k := range keys {
			if _, ok := other[k]; ok {
				out = append(out, k)
			}
		}
		return strings.Join(out, "; ")
	}
	if x, y := common(goodKeys, bad), common(badKeys, good); x != y {
		d.add(Difference{Kind: Differs, Of: RouteEntryHop, Name: "order of the routes of " + of, Good: x, Bad: y, Place: place})
	}
}
