package xds

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/envoy"
)

// walkNeeds are the facts that a walk reads.
var walkNeeds = []evidence.Name{evidence.EnvoyDumps.Name(), evidence.EnvoyHosts.Name()}

// walk is one destination followed through one proxy's configuration.
type walk struct {
	dump    evidence.EnvoyDump
	query   envoy.Query
	result  envoy.Result
	assumed string // what was assumed where the question left it open
}

// asksForWay says whether the request names something to follow.
func asksForWay(r diagnose.Request) bool {
	return r.Target.Destination != "" || r.Target.ServingPort != 0
}

// walks follows the destination, and the serving port, through the dump of every proxy but those to compare with. open is why
// a walk could not be decided.
func walks(req diagnose.Request, v *evidence.View) (list []walk, open, err error) {
	dumps, err := evidence.Get(v, evidence.EnvoyDumps)
	if err != nil {
		return nil, nil, err
	}
	states, herr := evidence.Get(v, evidence.EnvoyHosts)
	var own []evidence.EnvoyDump
	for _, d := range dumps {
		if !d.Baseline {
			own = append(own, d)
		}
	}
	if len(own) == 0 {
		return nil, nil, diagnose.Skip("the only config dump is one to compare with")
	}
	// A /clusters names no proxy: it is taken for the dump's own where there is one of each.
	var hosts *envoy.Hosts
	if herr == nil && len(own) == 1 && len(states) == 1 {
		hosts = states[0].Hosts
	}
	for _, d := range own {
		for _, q := range queries(req.Target) {
			w := follow(d, hosts, q)
			if u := w.result.Unknown; u != nil && open == nil {
				why := fmt.Sprintf("where %s leads in %s can't be told at the %s: %s", destination(q), place(d), u.At, u.Why)
				if len(u.Needs) > 0 {
					why += " (needed: " + strings.Join(u.Needs, ", ") + ")"
				}
				open = &evidence.Missing{Name: evidence.EnvoyDumps.Name(), Why: evidence.Failed, Err: errors.New(why), Source: d.Source}
			}
			list = append(list, w)
		}
	}
	return list, open, nil
}

func queries(t diagnose.Target) []envoy.Query {
	var out []envoy.Query
	if t.Destination != "" {
		if q, err := envoy.ParseDestination(t.Destination); err == nil { // the service refuses others
			out = append(out, q)
		}
	}
	if t.ServingPort != 0 {
		out = append(out, envoy.Query{Direction: envoy.Inbound, Port: t.ServingPort})
	}
	return out
}

// httpsPort is where a client speaks TLS, as a rule: plaintext is assumed on others, where it decides.
const httpsPort = 443

func follow(d evidence.EnvoyDump, hosts *envoy.Hosts, q envoy.Query) walk {
	w := walk{dump: d, query: q, result: envoy.Walk(d.Dump, hosts, q)}
	if w.result.Unknown != nil && q.Port != httpsPort {
		if r := envoy.Walk(d.Dump, hosts, q.PlainHTTP()); r.Unknown == nil {
			w.result, w.assumed = r, "a plaintext HTTP/1.1 request was assumed"
		}
	}
	return w
}

func destination(q envoy.Query) string {
	if q.Direction == envoy.Inbound {
		return "serving port " + strconv.Itoa(q.Port)
	}
	name := q.Name
	if q.IP.IsValid() {
		name = q.IP.String()
		if q.IP.Is6() && q.Port != 0 {
			name = "[" + name + "]"
		}
	}
	if q.Port == 0 {
		return name
	}
	return name + ":" + strconv.Itoa(q.Port)
}

func place(d evidence.EnvoyDump) string {
	return cmp.Or(d.File, d.Dump.NodeID, "the proxy's config dump")
}

// pathKey places a cause about one proxy.
func pathKey(req diagnose.Request, d evidence.EnvoyDump) string {
	switch id := d.Dump.NodeID; {
	case id != "" && id != req.Target.NodeID:
		return "nodes/" + id
	case id == "" && d.File != "":
		return "files/" + d.File
	}
	return ""
}

// aboutDump names the proxy that a dump is of.
func aboutDump(d evidence.EnvoyDump) diagnose.About {
	return diagnose.About{diagnose.AboutNode: {d.Dump.NodeID}}
}

// about names the proxy, the destination, and the clusters that it led to.
func (w walk) about() diagnose.About {
	a := aboutDump(w.dump)
	a[diagnose.AboutFailure] = []string{destination(w.query)}
	if w.query.Direction != envoy.Inbound {
		host := w.query.Name
		if w.query.IP.IsValid() {
			host = w.query.IP.String()
		}
		a[diagnose.AboutHost] = []string{host}
	}
	path := w.result.Path
	if m := w.result.Missing; m != nil {
		path = append(slices.Clone(path), *m)
	}
	for _, h := range path {
		if h.Kind == envoy.ClusterHop {
			a[diagnose.AboutCluster] = append(a[diagnose.AboutCluster], h.Name)
		}
	}
	return a
}

// cause tells of a walk that ended too early, or led nowhere useful, with the path as far as it goes.
func (w walk) cause(req diagnose.Request, summary string, params map[string]string) diagnose.Cause {
	var lines []string
	for _, h := range w.result.Path {
		l := string(h.Kind) + " " + brief(h.Name, maxNameSize)
		if h.How != "" {
			l += " (" + h.How + ")"
		}
		lines = append(lines, l)
	}
	if m := w.result.Missing; m != nil {
		l := "missing: " + string(m.Kind)
		if m.Name != "" {
			l += " " + brief(m.Name, maxNameSize)
		}
		if m.Why != "" {
			l += " (" + m.Why + ")"
		}
		lines = append(lines, l)
	}
	lines = append(lines, w.result.Notes...)
	if w.assumed != "" {
		lines = append(lines, w.assumed)
	}
	p := map[string]string{"destination": destination(w.query), "node_id": w.dump.Dump.NodeID}
	if w.query.Port != 0 {
		p["port"] = strconv.Itoa(w.query.Port)
	}
	for k, v := range params {
		p[k] = v
	}
	return diagnose.Cause{
		Subject: destination(w.query) + " at " + cmp.Or(w.dump.Dump.NodeID, place(w.dump)), Key: pathKey(req, w.dump), About: w.about(), Summary: summary,
		Confidence: diagnose.Confirmed, Params: p,
		Evidence: []diagnose.Exhibit{{Fact: evidence.EnvoyDumps.Name(), Excerpt: strings.Join(lines, "\n"), Source: w.dump.Source}},
	}
}

// atHop makes the Evaluate of a check that finds walks whose first missing hop is of some kinds.
func atHop(direction envoy.Direction, say func(walk, envoy.Hop) (string, map[string]string), kinds ...envoy.HopKind) func(diagnose.Request, *evidence.View) ([]diagnose.Cause, error) {
	return func(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
		list, open, err := walks(req, v)
		if err != nil {
			return nil, err
		}
		var causes []diagnose.Cause
		for _, w := range list {
			m := w.result.Missing
			if m == nil || (direction != "" && directionOf(w.query) != direction) {
				continue
			}
			for _, k := range kinds {
				if m.Kind == k {
					summary, params := say(w, *m)
					causes = append(causes, w.cause(req, summary, params))
				}
			}
		}
		if len(causes) > 0 {
			return causes, nil
		}
		return nil, open
	}
}

func directionOf(q envoy.Query) envoy.Direction { return cmp.Or(q.Direction, envoy.Outbound) }

// dumpTime is when a dump was taken: for a live one when it was asked, for a file no later than the newest thing in it.
func dumpTime(d evidence.EnvoyDump) time.Time {
	if !d.Source.Pasted {
		return d.Source.Time
	}
	var newest time.Time
	look := func(r envoy.Resource) {
		if r.LastUpdated.After(newest) {
			newest = r.LastUpdated
		}
	}
	for i := range d.Dump.Listeners {
		look(d.Dump.Listeners[i].Resource)
	}
	for i := range d.Dump.Clusters {
		look(d.Dump.Clusters[i].Resource)
	}
	for i := range d.Dump.RouteConfigs {
		look(d.Dump.RouteConfigs[i].Resource)
	}
	for i := range d.Dump.Endpoints {
		look(d.Dump.Endpoints[i].Resource)
	}
	return newest
}
