package istiod

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/meshdiag/meshdiag/checks/cluster"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// UnsyncedProxies finds proxies that don't have what istiod has for them.
var UnsyncedProxies = diagnose.Check{
	ID:       "istiod/unsynced-proxies",
	Severity: diagnose.Degrading,
	Layer:    diagnose.LayerConfig,
	Symptoms: []diagnose.Symptom{diagnose.SymptomNoConfig, diagnose.SymptomConfigRejected, diagnose.SymptomRequestsFail},
	Needs:    append([]evidence.Name{evidence.ProxySyncs.Name()}, planeNeeds...),
	Doc: diagnose.Doc{
		Title: "Proxies do not have what istiod sent, or were sent nothing",
		Explanation: "istiod keeps for each proxy, by type, what it sent last and what the proxy acknowledged. STALE says that an answer to the last is missing: the proxy is overloaded, or the way between is broken. " +
			"ERROR says that the proxy rejected it. NOT SENT says that istiod sent nothing of that type; every sidecar is sent listeners and clusters.",
		Quiet: "NOT SENT for routes, endpoints or extension configurations: a proxy is sent only what it asks for. NOT SENT for listeners to a gateway: one without a Gateway has none. Ambient's ztunnel and waypoints. " +
			"IGNORED. A later sample says SYNCED.",
		Remedy: []diagnose.Step{
			{Text: "Ask again: STALE is the rule for a moment while configuration is pushed, and a fault where it stays", Command: "istioctl proxy-status"},
			{If: "stale", Text: "See whether the proxy gets enough CPU, and what it says of its stream", Command: "kubectl -n {{namespace}} logs {{pod}} -c istio-proxy --tail=100"},
			{If: "stale", Text: "Compare what istiod has with what the proxy has", Command: "istioctl proxy-status {{pod}}.{{namespace}}"},
			{If: "error", Text: "Find what was rejected: istiod's log names the proxy and the reason", Command: "kubectl -n istio-system logs -l app=istiod --tail=-1 | grep 'ACK ERROR'"},
			{If: "not_sent", Text: "istiod has not answered the proxy: see whether it is ready, and what it says", Command: "kubectl -n istio-system logs -l app=istiod --tail=200"},
			{Text: "Where it stays, and a workload makes the pod anew, delete it: the new one connects anew", Command: "kubectl -n {{namespace}} delete pod {{pod}}"},
		},
		References: []string{refProxyCommands, refProxyIssues},
	},
	Evaluate: unsyncedProxies,
}

// state is what is wrong with a proxy's configuration, as types by their state.
type state struct{ failed, stale, unsent []string }

func (s state) fine() bool { return len(s.failed)+len(s.stale)+len(s.unsent) == 0 }

// words say it: "LDS ERROR, CDS STALE".
func (s state) words() string {
	var out []string
	for _, x := range []struct {
		types []string
		word  string
	}{{s.failed, "ERROR"}, {s.stale, "STALE"}, {s.unsent, "NOT SENT"}} {
		if len(x.types) > 0 {
			out = append(out, strings.Join(x.types, "/")+" "+x.word)
		}
	}
	return strings.Join(out, ", ")
}

// stateOf judges what istiod says of one proxy.
func stateOf(p evidence.ProxySync) (s state) {
	name, _, _ := strings.Cut(p.Proxy, ".")
	// They take other types, and istioctl shows these as not sent.
	partial := strings.HasPrefix(name, "ztunnel") || strings.Contains(name, "waypoint")
	for t, v := range p.Types {
		switch {
		case v == "ERROR":
			s.failed = append(s.failed, t)
		case v == "STALE":
			s.stale = append(s.stale, t)
		case v == "NOT SENT" && !partial && (t == "CDS" || t == "LDS" && !strings.Contains(name, "gateway")):
			s.unsent = append(s.unsent, t)
		}
	}
	slices.Sort(s.failed)
	slices.Sort(s.stale)
	slices.Sort(s.unsent)
	return s
}

// asked says whether a proxy is one that the request asks about, by its name: "POD.NAMESPACE".
func asked(t diagnose.Target, proxy string) bool {
	pod, namespace, _ := strings.Cut(proxy, ".")
	_, workload, _ := strings.Cut(t.Workload, "/")
	return (t.Namespace == "" || namespace == t.Namespace) && (t.Pod == "" || pod == t.Pod) && (workload == "" || strings.HasPrefix(pod, workload+"-"))
}

func unsyncedProxies(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	syncs, err := evidence.Get(v, evidence.ProxySyncs)
	if err != nil {
		return nil, err
	}
	whose, _ := cluster.ControlPlane(v)
	latest := map[string]evidence.ProxySync{}
	for _, s := range syncs {
		old, seen := latest[s.Proxy]
		if !seen || s.Source.Time.After(old.Source.Time) || s.Source.Time.Equal(old.Source.Time) && stateOf(old).fine() {
			latest[s.Proxy] = s
		}
	}
	by := map[string][]evidence.ProxySync{}
	total := 0
	for _, s := range latest {
		if !asked(req.Target, s.Proxy) {
			continue
		}
		total++
		if x := stateOf(s); !x.fine() {
			by[x.words()] = append(by[x.words()], s)
		}
	}
	var out []diagnose.Cause
	for words, list := range by {
		slices.SortFunc(list, func(a, b evidence.ProxySync) int { return strings.Compare(a.Proxy, b.Proxy) })
		out = append(out, unsynced(req, words, list, total, whose.Managed()))
	}
	slices.SortFunc(out, func(a, b diagnose.Cause) int {
		return cmp.Or(cmp.Compare(b.Confidence, a.Confidence), strings.Compare(a.Subject, b.Subject), strings.Compare(a.Summary, b.Summary))
	})
	if len(out) > 0 {
		return out[:min(len(out), maxCauses)], nil
	}
	_, err = evidence.Whole(v, evidence.ProxySyncs)
	return nil, err
}

// unsynced makes the cause of proxies that are in the same state.
func unsynced(req diagnose.Request, words string, list []evidence.ProxySync, total int, managed bool) diagnose.Cause {
	s := stateOf(list[0])
	pod, namespace, _ := strings.Cut(list[0].Proxy, ".")
	c := diagnose.Cause{
		Subject: "proxy " + list[0].Proxy, Confidence: diagnose.Likely, Key: "namespaces/" + namespace + "/pods/" + pod,
		Params: map[string]string{"namespace": namespace, "pod": pod},
	}
	plane := "istiod"
	if managed {
		plane = "the control plane"
	}
	c.Summary = fmt.Sprintf("Proxy %s is not in step with %s: %s.", list[0].Proxy, plane, words)
	if len(list) > 1 {
		var names []string
		for _, p := range list {
			names = append(names, p.Proxy)
		}
		c.Subject = fmt.Sprintf("%d of %s", len(list), plural(total, "proxy", "proxies"))
		c.Key = "proxies/" + strings.ReplaceAll(words, "/", "+")
		c.Summary = fmt.Sprintf("%d of %s (%s) are not in step with %s: %s.", len(list), plural(total, "proxy", "proxies"), some(names), plane, words)
	}
	if t := req.Target; t.Namespace == namespace && t.Pod == pod {
		c.Key = ""
	}
	switch {
	case len(s.failed) > 0:
		c.Confidence = diagnose.Confirmed
		if !managed {
			c.Params["error"] = "yes"
		}
	case len(s.stale) > 0:
		c.Params["stale"] = "yes"
		if len(list) == 1 && len(s.unsent) == 0 {
			c.Confidence = diagnose.Possible // one sample of one proxy may have met a push
		}
	}
	if len(s.unsent) > 0 && !managed {
		c.Params["not_sent"] = "yes"
	}
	for _, p := range list[:min(len(list), maxExhibits)] {
		var types []string
		for t, v := range p.Types {
			types = append(types, t+" "+v)
		}
		slices.Sort(types)
		text := p.Proxy + ": " + strings.Join(types, ", ")
		if p.Istiod != "" {
			text += ", of " + p.Istiod
		}
		c.Evidence = append(c.Evidence, diagnose.Exhibit{Fact: evidence.ProxySyncs.Name(), Excerpt: text, Source: p.Source})
	}
	return c
}
