package envoy

import (
	"fmt"
	"slices"
	"strings"
)

// routeConfig gives the serving route configuration of that name, or nil.
func (w *walker) routeConfig(name string) *RouteConfig {
	if i, ok := w.routes[name]; ok && w.d.RouteConfigs[i].State.Serves() {
		return &w.d.RouteConfigs[i]
	}
	return nil
}

// http follows an HTTP connection manager.
func (w *walker) http(h *HTTP, place string) {
	rc := h.Inline
	how := "in the filter itself"
	switch {
	case rc != nil:
	case h.Scoped != "":
		name, ok := w.scope(h.Scoped)
		if !ok {
			return
		}
		rc, how = w.rds(name), "by the only scope of "+h.Scoped
	case h.RDS == "":
		w.missing("", Hop{Kind: RouteHop, Name: "(unnamed)", Place: place, Why: "the HTTP connection manager names no route configuration"})
		return
	default:
		rc, how = w.rds(h.RDS), "by RDS"
	}
	if rc == nil {
		return
	}
	w.hop(Hop{Kind: RouteHop, Name: label(rc.Name), How: how, Place: rc.Place})
	if rc.Error != nil {
		w.note("the last update of route configuration %s was rejected: %s", label(rc.Name), firstLine(rc.Error.Details))
	}
	v := w.virtualHost(h, rc)
	if v == nil {
		return
	}
	w.route(rc, v)
}

func (w *walker) rds(name string) *RouteConfig {
	if rc := w.routeConfig(name); rc != nil {
		return rc
	}
	h := Hop{Kind: RouteHop, Name: name, Why: "the listener asks for it by RDS, and the proxy doesn't have it"}
	if i, ok := w.routes[name]; ok {
		r := &w.d.RouteConfigs[i]
		h.Place, h.Why = r.Place, pending(r.Resource)
	}
	w.missing(RouteSection, h)
	return nil
}

// pending tells of a resource that the proxy knows of and doesn't serve.
func pending(r Resource) string {
	switch {
	case r.Error != nil:
		return "it was rejected: " + firstLine(r.Error.Details)
	case r.ClientStatus != "" && r.ClientStatus != "ACKED":
		return "its state is " + r.ClientStatus
	}
	return "it is " + string(r.State)
}

// scope picks the route configuration of scoped routes, where there's but one.
func (w *walker) scope(set string) (string, bool) {
	var names []string
	for _, s := range w.d.ScopedRoutes {
		if s.Set == set || set == "(unnamed)" {
			names = append(names, s.RouteConfig)
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	switch len(names) {
	case 0:
		w.missing(ScopedSection, Hop{Kind: RouteHop, Name: set, Why: "the scoped routes have no scope"})
		return "", false
	case 1:
		return names[0], true
	}
	w.unknown(Undecided{At: RouteHop, Why: "scoped routes " + set + " pick by a request's headers", Needs: []string{"the scope's key"}, Candidates: names})
	return "", false
}

func (w *walker) virtualHost(h *HTTP, rc *RouteConfig) *VirtualHost {
	hosts := w.q.authorities()
	if rc.HostHeader != "" {
		if hosts = nil; w.q.Headers[strings.ToLower(rc.HostHeader)] != "" {
			hosts = []string{w.q.Headers[strings.ToLower(rc.HostHeader)]}
		}
	}
	if len(hosts) == 0 {
		return w.anyHost(rc)
	}
	type hit struct {
		v            *VirtualHost
		domain, host string
	}
	var hits []hit
	for _, a := range hosts {
		if v, d := findVirtualHost(rc, hostFor(h, rc, a, w.q.Port)); v != nil {
			hits = append(hits, hit{v, d, a})
		}
	}
	// Of the Host headers that a client may send, take the one that's matched by name; say what the other one meets.
	best := slices.IndexFunc(hits, func(x hit) bool { return x.domain != "*" })
	if best < 0 && len(hits) > 0 {
		best = 0
	}
	if best < 0 {
		hop := Hop{Kind: VirtualHostHop, Name: hosts[0], Place: rc.Place, Why: fmt.Sprintf("none of the %d virtual hosts of route configuration %s has a domain for Host %s: Envoy answers 404", len(rc.VirtualHosts), label(rc.Name), strings.Join(hosts, " or "))}
		if rc.VHDS {
			w.unknown(Undecided{At: VirtualHostHop, Why: hop.Why + ", unless VHDS gives one on demand"})
			return nil
		}
		w.missing("", hop)
		return nil
	}
	x := hits[best]
	if len(hosts) > 1 {
		for _, a := range hosts {
			if v, _ := findVirtualHost(rc, hostFor(h, rc, a, w.q.Port)); v != x.v {
				what := "no virtual host"
				if v != nil {
					what = "virtual host " + label(v.Name)
				}
				w.note("taken for Host %s; Host %s meets %s", x.host, a, what)
			}
		}
	}
	w.q.Authority = x.host
	match := Exact
	if strings.HasPrefix(x.domain, "*") || strings.HasSuffix(x.domain, "*") {
		match = Wildcard
	}
	w.hop(Hop{Kind: VirtualHostHop, Name: label(x.v.Name), Match: match, How: fmt.Sprintf("Host %s by domain %s", x.host, x.domain), Place: rc.Place})
	return x.v
}

// anyHost goes on without a Host header where all virtual hosts lead to the same place.
func (w *walker) anyHost(rc *RouteConfig) *VirtualHost {
	need := "the Host or :authority header"
	if rc.HostHeader != "" {
		need = "the request header " + rc.HostHeader
	}
	if len(rc.VirtualHosts) == 0 {
		w.missing("", Hop{Kind: VirtualHostHop, Name: w.q.destination(), Place: rc.Place, Why: "route configuration " + label(rc.Name) + " has no virtual hosts: Envoy answers 404"})
		return nil
	}
	if len(rc.VirtualHosts) == 1 && slices.Contains(rc.VirtualHosts[0].Domains, "*") {
		v := &rc.VirtualHosts[0]
		w.hop(Hop{Kind: VirtualHostHop, Name: label(v.Name), Match: Wildcard, How: "any Host by domain *", Place: rc.Place})
		return v
	}
	u := Undecided{At: VirtualHostHop, Needs: []string{need}, Why: fmt.Sprintf("route configuration %s has %d virtual hosts", label(rc.Name), len(rc.VirtualHosts))}
	for i := range rc.VirtualHosts {
		if len(u.Candidates) < maxCandidates {
			u.Candidates = append(u.Candidates, label(rc.VirtualHosts[i].Name))
		}
	}
	w.unknown(u)
	return nil
}

// route picks the first route that takes the request.
func (w *walker) route(rc *RouteConfig, v *VirtualHost) {
	if v.HasMatcher {
		w.unknown(Undecided{At: RouteEntryHop, Why: "virtual host " + label(v.Name) + " picks its route by a matcher tree, which isn't followed"})
		return
	}
	if v.RequireTLS != "" {
		w.note("virtual host %s redirects plaintext requests to https (require_tls %s)", label(v.Name), v.RequireTLS)
	}
	r := &request{q: w.q, authority: w.q.Authority, regexps: w.regexps}
	var may []int
	sure := false
	for i := range v.Routes {
		a := r.match(&v.Routes[i].Match)
		if a != no {
			may = append(may, i)
		}
		if sure = a == yes; sure {
			break
		}
	}
	name := func(i int) string {
		x := &v.Routes[i]
		if x.Name != "" {
			return x.Name
		}
		return x.Match.describe()
	}
	if len(may) == 0 {
		w.missing("", Hop{Kind: RouteEntryHop, Name: w.what(), Place: rc.Place, Why: fmt.Sprintf("none of the %d routes of virtual host %s takes it: Envoy answers 404", len(v.Routes), label(v.Name))})
		return
	}
	same := true
	for _, i := range may[1:] {
		same = same && v.Routes[i].Action.leads() == v.Routes[may[0]].Action.leads()
	}
	if !same || !sure {
		u := Undecided{At: RouteEntryHop, Needs: r.needs, Why: "several routes of virtual host " + label(v.Name) + " may take the request"}
		if same && len(may) == 1 {
			u.Why = "a route of virtual host " + label(v.Name) + " may take the request, or none"
		}
		for _, i := range may {
			u.Candidates = append(u.Candidates, name(i))
		}
		w.unknown(u)
		return
	}
	x := &v.Routes[may[0]]
	if len(may) > 1 {
		w.note("%d routes of virtual host %s may take the request, and lead to the same place", len(may), label(v.Name))
	}
	w.hop(Hop{Kind: RouteEntryHop, Name: name(may[0]), How: x.Match.describe(), Place: rc.Place})
	w.action(x)
}

func (w *walker) what() string {
	s := w.q.Authority
	if s == "" {
		s = w.q.destination()
	}
	return s + w.q.Path
}

func (m *RouteMatch) describe() string {
	kind := map[PathKind]string{PathPrefix: "prefix ", PathExact: "path ", PathSeparatedPrefix: "path_separated_prefix ", PathRegex: "regex ", PathConnect: "CONNECT", PathOther: "path_match_policy"}[m.Kind]
	s := kind + m.Path
	if n := len(m.Headers) + len(m.Query); n > 0 {
		s += fmt.Sprintf(" and %d headers or parameters", n)
	}
	return s
}

func (w *walker) action(r *Route) {
	switch a := r.Action; {
	case len(a.Clusters) > 0:
		w.clusters(a.Clusters, "route")
	case a.Kind == "direct_response":
		w.note("the route answers %d by itself (direct_response)", a.Status)
	case a.Kind == "redirect":
		w.note("the route redirects")
	case a.Kind == "non_forwarding_action":
		w.note("the workload's gRPC server serves it (non_forwarding_action)")
	case a.Kind == "":
		w.unknown(Undecided{At: RouteEntryHop, Why: "the route has no action that the dump shows"})
	default:
		w.unknown(Undecided{At: ClusterHop, Why: "the route's " + a.Kind + " isn't followed"})
	}
}
