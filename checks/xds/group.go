package xds

import (
	"cmp"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// sort is a special case of a rejection, which has a check of its own.
type sort int

const (
	otherReason sort = iota
	fileDenial
	portDenial
	addressTaken
)

// kind is a reason that a check of its own knows more of.
type kind struct {
	sort    sort
	key     string // tells two reasons of that kind apart
	path    string
	address string // as printed
	port    string // decimal
	twice   string // a listener that is sent twice
}

// privilegedBelow is the first port that an ordinary user may bind on Linux, unless net.ipv4.ip_unprivileged_port_start
// says otherwise. https://docs.kernel.org/networking/ip-sysctl.html
const privilegedBelow = 1024

var (
	fileDenied = regexp.MustCompile(`unable to open file '([^']+)': Permission denied`)
	bindFailed = regexp.MustCompile(`cannot bind '([^']+)': (Permission denied|Address already in use)`)
	sameAddr   = regexp.MustCompile(`has duplicate address '([^']+)'`)
	sameName   = regexp.MustCompile(`duplicate listener (\S+) found`)
)

// kindOf says which special case a reason is.
func kindOf(reason string) kind {
	if m := fileDenied.FindStringSubmatch(reason); m != nil {
		return kind{sort: fileDenial, key: "file " + m[1], path: m[1]}
	}
	if m := bindFailed.FindStringSubmatch(reason); m != nil {
		port := portOf(m[1])
		n, err := strconv.Atoi(port)
		switch {
		case m[2] != "Permission denied":
			return kind{sort: addressTaken, key: "in use " + m[1], address: m[1], port: port}
		case err == nil && n > 0 && n < privilegedBelow:
			return kind{sort: portDenial, key: "port " + port, address: m[1], port: port}
		}
		return kind{}
	}
	if m := sameAddr.FindStringSubmatch(reason); m != nil {
		// A listener with several addresses shows them all, separated by commas.
		first, _, _ := strings.Cut(m[1], ",")
		return kind{sort: addressTaken, key: "duplicate address " + m[1], address: m[1], port: portOf(first), twice: "address"}
	}
	if m := sameName.FindStringSubmatch(reason); m != nil {
		return kind{sort: addressTaken, key: "duplicate listener " + m[1], twice: m[1]}
	}
	return kind{}
}

// portOf gives the port of host:port, "" where there is none, as with a pipe's path.
func portOf(address string) string {
	port := address[strings.LastIndexByte(address, ':')+1:]
	if port == address || !evidence.Numeric(port) {
		return ""
	}
	return port
}

// group is a reason with every client that gave it.
type group struct {
	rejection          // of the first client; names and others are everyone's
	clients   []string // sorted; empty where it comes from a log that names none
	several   int      // more reasons than this one, where the rest is told as one
}

// grouped puts rejections of one type and reason together, whichever client they come from. The logs of one file stay
// apart from those of another, as nobody knows whose they are. The order is fixed: what concerns most clients first.
func grouped(list []rejection) []group {
	type id struct{ file, typ, reason string }
	var out []group
	at := map[id]int{}
	for _, r := range list {
		k := id{"", r.typ, r.norm}
		if r.client == "" {
			k.file = "file " + r.file
		}
		i, ok := at[k]
		if !ok {
			at[k] = len(out)
			g := group{rejection: r}
			if r.client != "" {
				g.clients = []string{r.client}
			}
			out = append(out, g)
			continue
		}
		g := &out[i]
		g.kept = g.kept && r.kept
		g.bare = g.bare && r.bare
		g.log = g.log && r.log
		if g.agent != r.agent {
			g.agent = ""
		}
		g.names = union(g.names, r.names)
		g.others = union(g.others, r.others)
		if r.client != "" && !slices.Contains(g.clients, r.client) {
			g.clients = append(g.clients, r.client)
			slices.Sort(g.clients)
		}
		if len(g.shown) < maxShown {
			g.shown = append(g.shown, r.shown[:min(len(r.shown), maxShown-len(g.shown))]...)
		}
		if r.when.After(g.when) {
			g.when = r.when
		}
	}
	for i := range out {
		g := &out[i]
		g.others = slices.DeleteFunc(g.others, func(n string) bool { return slices.Contains(g.names, n) })
	}
	slices.SortStableFunc(out, func(a, b group) int {
		return cmp.Or(cmp.Compare(len(b.clients), len(a.clients)), strings.Compare(a.typ, b.typ),
			strings.Compare(a.reason, b.reason), strings.Compare(a.file, b.file))
	})
	return out
}

// bounded makes one group of what is beyond maxGroups, so that a fleet with a hundred troubles still gives a report.
func bounded(l []group) []group {
	if len(l) <= maxGroups {
		return l
	}
	rest := l[maxGroups-1]
	for _, g := range l[maxGroups:] {
		rest.several++
		rest.clients = union(rest.clients, g.clients)
		rest.names = union(rest.names, g.names)
		if rest.agent != g.agent {
			rest.agent = ""
		}
	}
	return append(slices.Clone(l[:maxGroups-1]), rest)
}

func union(a, b []string) []string {
	out := append(slices.Clone(a), b...)
	slices.Sort(out)
	return slices.Compact(out)
}

func first(l []string) string {
	if len(l) == 0 {
		return ""
	}
	return l[0]
}

// key places the cause: see the package's comment.
func (g group) key() string {
	what := url.PathEscape(g.norm)
	if what == "" {
		what = "reason-not-told"
	}
	return placed(g.clients, g.file, g.typ) + "/" + what
}

// placed gives the start of a key: one client, several, or a file.
func placed(clients []string, file, typ string) string {
	switch len(clients) {
	case 0:
		return "files/" + file + "/" + typ
	case 1:
		return "nodes/" + clients[0] + "/" + typ
	default:
		return "clients/" + typ
	}
}

// subject names who is concerned: a node id, "3 of 12 clients", or the client behind a log.
func subject(clients []string, total int, file string) string {
	switch {
	case len(clients) == 1:
		return clients[0]
	case len(clients) > 1:
		return fmt.Sprintf("%d of %s: %s", len(clients), plural(max(total, len(clients)), "client"), some(clients, maxNameSize))
	case file != "":
		return "the client that wrote " + file
	default:
		return "the client that wrote the log"
	}
}

// who is the start of a sentence about them.
func who(clients []string, total int) string {
	if len(clients) > 1 {
		return fmt.Sprintf("%d of %s", len(clients), plural(max(total, len(clients)), "client"))
	}
	return "The client"
}

// confidence: a status is a fact; a log's line is somebody's word from an earlier time.
func (g group) confidence() diagnose.Confidence {
	if g.log {
		return diagnose.Likely
	}
	return diagnose.Confirmed
}

// about names the clients, and what they refused.
func (g group) about() diagnose.About {
	return diagnose.About{
		diagnose.AboutNode: g.clients, diagnose.AboutType: {g.typ}, diagnose.AboutResource: union(g.names, g.others), diagnose.AboutReason: {g.norm},
	}
}

// params are what the remedies may name.
func (g group) params() map[string]string {
	p := map[string]string{
		"type": g.typ, "resource": first(g.names), "reason": clip(oneLine(g.reason), maxBrief), "origin": origins[g.typ],
	}
	if len(g.clients) > 0 {
		p["node_id"] = g.clients[0]
	}
	if g.reason == "" { // it is asked of the client itself: Envoy's way, gRPC's, or both where the client doesn't say what it is
		if !strings.HasPrefix(g.agent, "gRPC") {
			p["ask_envoy"] = "yes"
		}
		if !strings.EqualFold(g.agent, "envoy") {
			p["ask_grpc"] = "yes"
		}
	}
	if p["origin"] == "" {
		p["origin"] = "the configuration that it comes from"
	}
	return p
}

// origins say what the control plane makes a resource type of.
var origins = map[string]string{
	"Listener":                 "the forwarding rule and target proxy, or the Mesh or Gateway, that it comes from",
	"RouteConfiguration":       "the URL map or route that it comes from",
	"ScopedRouteConfiguration": "the URL map or route that it comes from",
	"Cluster":                  "the backend service that it comes from",
	"ClusterLoadAssignment":    "the backends of the backend service that it belongs to",
	"Secret":                   "the client or server TLS policy that it comes from",
}
