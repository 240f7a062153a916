package request

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

const (
	// maxCauses bounds the causes of one check: who reads more than ten clusters fixes the first and looks again.
	maxCauses = 10
	// maxExhibits bounds the lines shown of one cause.
	maxExhibits = 3
	// maxHosts bounds the hosts named in one sentence.
	maxHosts = 3
	// maxExcerpt bounds a line shown.
	maxExcerpt = 400
)

// Pages that several checks refer to.
const (
	refFlags    = "https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage"
	refDetails  = "https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/response_code_details"
	refLogs     = "https://docs.cloud.google.com/service-mesh/docs/observability/access-logs"
	refProblems = "https://istio.io/latest/docs/ops/common-problems/network-issues/"
)

// bunch is the requests that failed alike on the way to one place.
type bunch struct {
	place  string // the cluster; where the log names none, the host asked for
	groups []evidence.AccessGroup
	count  int
	// all are the requests to the place that are in the same logs, these included; 0 where the log names no cluster.
	all         int
	first, last time.Time
	longest     time.Duration
	hosts       []string // asked for, the most frequent first
	codes       []int
}

// bunches gathers the groups that match by their place, those with the most requests first. Places beyond maxCauses are
// left out; more says how many.
func bunches(groups []evidence.AccessGroup, match func(evidence.AccessGroup) bool) (out []bunch, more int) {
	by := map[string]*bunch{}
	for _, g := range groups {
		if !match(g) {
			continue
		}
		p := cmp.Or(g.Cluster, g.Authority, g.Upstream, unnamed)
		b := by[p]
		if b == nil {
			b = &bunch{place: p}
			by[p] = b
		}
		b.add(g)
	}
	for _, b := range by {
		b.finish(groups)
		out = append(out, *b)
	}
	slices.SortFunc(out, func(a, b bunch) int {
		return cmp.Or(cmp.Compare(b.count, a.count), cmp.Compare(a.place, b.place))
	})
	n := min(len(out), maxCauses)
	return out[:n], len(out) - n
}

// unnamed is the place of requests of which the log tells neither cluster nor host.
const unnamed = "a place that the log does not name"

func (b *bunch) add(g evidence.AccessGroup) {
	b.groups = append(b.groups, g)
	b.count += g.Count
	b.longest = max(b.longest, g.Duration)
	if !g.First.IsZero() && (b.first.IsZero() || g.First.Before(b.first)) {
		b.first = g.First
	}
	if g.Last.After(b.last) {
		b.last = g.Last
	}
	if !slices.Contains(b.codes, g.Code) {
		b.codes = append(b.codes, g.Code)
	}
}

func (b *bunch) finish(groups []evidence.AccessGroup) {
	hosts := map[string]int{}
	for _, g := range b.groups {
		if g.Authority != "" {
			hosts[g.Authority] += g.Count
		}
	}
	for h := range hosts {
		b.hosts = append(b.hosts, h)
	}
	slices.SortFunc(b.hosts, func(x, y string) int { return cmp.Or(cmp.Compare(hosts[y], hosts[x]), cmp.Compare(x, y)) })
	slices.Sort(b.codes)
	slices.SortStableFunc(b.groups, func(x, y evidence.AccessGroup) int { return cmp.Compare(y.Count, x.Count) })
	for _, g := range groups {
		if g.Cluster == b.place && slices.ContainsFunc(b.groups, func(x evidence.AccessGroup) bool { return x.File == g.File }) {
			b.all += g.Count
		}
	}
}

// key places a cause of the bunch for folding: a proxy's shutdown folds the refusals of the same cluster.
func (b bunch) key() string { return "requests/" + strings.ReplaceAll(b.place, "/", "%2F") }

// share says how many of how many: "12 of 340 requests to cluster …".
func (b bunch) share() string {
	n := plural(b.count, "request", "requests")
	if b.all > b.count {
		n = fmt.Sprintf("%d of %d requests", b.count, b.all)
	}
	return n + " to " + b.where()
}

// where names the place, with the host asked for where there is one.
func (b bunch) where() string {
	if b.place == unnamed {
		return unnamed
	}
	s := b.place
	if len(b.hosts) == 1 && !strings.Contains(s, b.hosts[0]) {
		s += " (" + b.hosts[0] + ")"
	}
	return shorten(s, 120)
}

// someHosts names the hosts asked for.
func (b bunch) someHosts() string {
	s := strings.Join(b.hosts[:min(len(b.hosts), maxHosts)], ", ")
	if n := len(b.hosts) - maxHosts; n > 0 {
		s += fmt.Sprintf(" and %d more", n)
	}
	return shorten(s, 160)
}

// upstream gives the address of an upstream host and its port; "" where the log has none.
func (b bunch) upstream() (address, port string) {
	for _, g := range b.groups {
		if i := strings.LastIndexByte(g.Upstream, ':'); i > 0 {
			return g.Upstream, g.Upstream[i+1:]
		}
	}
	return "", ""
}

// exhibits shows the first line of each group.
func (b bunch) exhibits() []diagnose.Exhibit {
	var out []diagnose.Exhibit
	for _, g := range b.groups[:min(len(b.groups), maxExhibits)] {
		text := shorten(g.Sample, maxExcerpt)
		if g.Count > 1 {
			text += fmt.Sprintf("\n%d like it", g.Count)
			if !g.First.IsZero() {
				text += fmt.Sprintf(", %s to %s", g.First.UTC().Format(time.RFC3339), g.Last.UTC().Format(time.RFC3339))
			}
		}
		out = append(out, diagnose.Exhibit{Fact: evidence.AccessLogs.Name(), Excerpt: text, Source: g.Source})
	}
	return out
}

// cause makes what is the same in every check's.
func (b bunch) cause(confidence diagnose.Confidence, summary string) diagnose.Cause {
	c := diagnose.Cause{Subject: "requests to " + b.where(), Key: b.key(), About: b.about(), Summary: summary, Confidence: confidence, Params: map[string]string{}, Evidence: b.exhibits()}
	if len(b.hosts) > 0 {
		c.Params["host"] = b.hosts[0]
	}
	if service, namespace, ok := kubernetesService(b.place); ok {
		c.Params["service"], c.Params["namespace"] = service, namespace
	}
	if address, port := b.upstream(); address != "" {
		c.Params["upstream"], c.Params["port"] = address, port
	}
	return c
}

// about names the cluster and the hosts asked for.
func (b bunch) about() diagnose.About {
	a := diagnose.About{diagnose.AboutFailure: {b.place}}
	for _, g := range b.groups {
		a[diagnose.AboutCluster] = append(a[diagnose.AboutCluster], g.Cluster)
	}
	for _, h := range b.hosts {
		if i := strings.LastIndexByte(h, ':'); i > 0 && evidence.Numeric(h[i+1:]) && (h[i-1] == ']' || !strings.Contains(h[:i], ":")) {
			h = strings.Trim(h[:i], "[]")
		}
		a[diagnose.AboutHost] = append(a[diagnose.AboutHost], h)
	}
	return a
}

// leftOut says in the last cause how many places are not told.
func leftOut(causes []diagnose.Cause, more int) []diagnose.Cause {
	if n := len(causes); n > 0 && more > 0 {
		e := &causes[n-1].Evidence[0]
		e.Excerpt += fmt.Sprintf("\n(%s more with the same failure, not listed)", plural(more, "place", "places"))
	}
	return causes
}

// kubernetesService reads the service out of a cluster's name: outbound|80|v1|cart.shop.svc.cluster.local.
func kubernetesService(cluster string) (service, namespace string, ok bool) {
	p := strings.Split(cluster, "|")
	if len(p) != 4 {
		return "", "", false
	}
	host := strings.Split(p[3], ".")
	if len(host) < 3 || host[2] != "svc" || host[0] == "" || host[1] == "" {
		return "", "", false
	}
	return host[0], host[1], true
}

// inbound says whether a cluster is of traffic that comes in to the proxy's own application.
func inbound(g evidence.AccessGroup) bool {
	return strings.HasPrefix(g.Cluster, "inbound") || strings.HasPrefix(g.Cluster, "InboundPassthrough")
}

func flagged(g evidence.AccessGroup, flags ...string) bool {
	return slices.ContainsFunc(flags, func(f string) bool { return slices.Contains(g.Flags, f) })
}

// reasons gives what a line says of why, in the one spelling that newer releases use: blanks are underscores.
func reasons(g evidence.AccessGroup) string {
	return strings.ReplaceAll(g.Details+"\n"+g.Transport+"\n"+g.Termination, " ", "_")
}

func contains(s string, any ...string) bool {
	return slices.ContainsFunc(any, func(a string) bool { return strings.Contains(s, a) })
}

func were(n int) string {
	if n == 1 {
		return "was"
	}
	return "were"
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

func shorten(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xc0 == 0x80 {
		n--
	}
	return s[:n] + "…"
}

// messageExhibit shows a log message.
func messageExhibit(m evidence.LogMessage) diagnose.Exhibit {
	text := shorten(m.Text, maxExcerpt)
	if m.Count > 1 {
		text += fmt.Sprintf("\n%d like it", m.Count)
	}
	return diagnose.Exhibit{Fact: evidence.LogMessages.Name(), Excerpt: text, Source: m.Source}
}
