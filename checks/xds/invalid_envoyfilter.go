package xds

import (
	"fmt"
	"slices"
	"strings"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

// InvalidEnvoyFilter finds a rejected resource of a proxy whose configuration EnvoyFilters patch.
var InvalidEnvoyFilter = diagnose.Check{
	ID:       "xds/invalid-envoyfilter",
	Severity: diagnose.Blocking,
	Layer:    diagnose.LayerConfig,
	Symptoms: []diagnose.Symptom{diagnose.SymptomConfigRejected, diagnose.SymptomNoConfig, diagnose.SymptomRequestsFail},
	Doc: diagnose.Doc{
		Title: "An EnvoyFilter makes configuration that proxies reject",
		Explanation: "An EnvoyFilter patches the listeners, routes or clusters that the control plane has made. Nothing checks what comes of it before proxies get it: a field that their version of Envoy doesn't know, " +
			"a filter that isn't compiled in, or a patch in a place that has changed with an upgrade makes them reject the resource, and stay with what they had. One that patches the resource's type, and applies to the proxy " +
			"by its namespace and selector, is the first to suspect; where the reason names what it adds, it is likely.",
		Quiet: "No EnvoyFilter applies to the proxy that rejected, or those that do patch other types. The reason is one of its own: a file that can't be opened, a port that can't be bound.",
		Remedy: []diagnose.Step{
			{Text: "See what it patches, and compare it with the reason ({{reason}})", Command: "kubectl -n {{filter_namespace}} get envoyfilter {{filter}} -o yaml"},
			{Text: "Keep a copy, so that it can be brought back", Command: "kubectl -n {{filter_namespace}} get envoyfilter {{filter}} -o yaml > {{filter}}.yaml"},
			{Text: "Correct it for the version of the proxies. To see whether it is the one, delete it for as long as it takes them to accept the configuration: that takes away what it adds, which may be protection", Command: "kubectl -n {{filter_namespace}} delete envoyfilter {{filter}}"},
			{If: "others", Text: "Then the others that apply: {{others}}"},
		},
		References: []string{"https://istio.io/latest/docs/reference/config/networking/envoy-filter/", "https://istio.io/latest/docs/ops/diagnostic-tools/proxy-cmd/"},
	},
	Needs:      append([]evidence.Name{evidence.EnvoyFilters.Name(), evidence.Pods.Name()}, rejectionNeeds...),
	Signatures: rejectionSignatures,
	Explains:   []diagnose.CheckID{"xds/config-rejected", "istiod/config-rejected", "istiod/unsynced-proxies"},
	Evaluate:   invalidEnvoyFilter,
}

func invalidEnvoyFilter(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	list, total, err := rejections(req, v)
	batches, ferr := evidence.Get(v, evidence.EnvoyFilters)
	podBatches, _ := evidence.Get(v, evidence.Pods)
	statuses, _ := evidence.Get(v, evidence.ClientStatuses)
	var groups []group
	for _, g := range grouped(list) {
		if !g.bare && kindOf(g.reason).sort == otherReason && len(patched[g.typ]) > 0 {
			groups = append(groups, g)
		}
	}
	if len(groups) == 0 {
		if err == nil && ferr != nil && len(list) == 0 {
			return nil, diagnose.Skip("nothing was rejected")
		}
		return nil, err
	}
	if ferr != nil {
		return nil, ferr
	}
	filters := distinct(batches)
	var out []diagnose.Cause
	for _, g := range bounded(groups) {
		if c, ok := g.filtered(req, filters, statuses, evidence.All(podBatches), total); ok {
			out = append(out, c)
		}
	}
	if len(out) > 0 {
		return out, nil
	}
	_, ferr = evidence.Whole(v, evidence.EnvoyFilters)
	return nil, ferr
}

// distinct gives the filters of all sources, each once: the live one comes first.
func distinct(batches []evidence.Objects[kube.EnvoyFilter]) (out []kube.EnvoyFilter) {
	seen := map[string]bool{}
	for _, f := range evidence.All(batches) {
		if !seen[f.Ref()] {
			seen[f.Ref()] = true
			out = append(out, f)
		}
	}
	slices.SortStableFunc(out, func(a, b kube.EnvoyFilter) int { return strings.Compare(a.Ref(), b.Ref()) })
	return out
}

// suspect is a filter that applies to clients which rejected.
type suspect struct {
	filter    *kube.EnvoyFilter
	sure      bool // it applies to all of them
	mentioned bool // the reason has a word of it
}

// filtered gives the cause for one reason, where filters apply to a client that gave it.
func (g group) filtered(req diagnose.Request, filters []kube.EnvoyFilter, statuses []evidence.ClientStatus, pods []kube.Pod, total int) (c diagnose.Cause, ok bool) {
	clients := g.clients
	if len(clients) == 0 {
		clients = []string{""}
	}
	var found []suspect
	for i := range filters {
		x := suspect{filter: &filters[i], sure: true, mentioned: mentioned(&filters[i], g.reason)}
		any := false
		for _, id := range clients {
			p, istio := istioProxy(req, id, g.file, statuses, pods)
			how := not
			if istio {
				how = applies(&filters[i], p, g.typ)
			}
			any = any || how != not
			x.sure = x.sure && how == surely
		}
		if any {
			found = append(found, x)
		}
	}
	if len(found) == 0 {
		return c, false
	}
	slices.SortStableFunc(found, func(a, b suspect) int { return b.rank() - a.rank() })
	worst := found[0]
	var names []string
	for _, x := range found {
		if x.mentioned || !worst.mentioned { // where one is mentioned, the others aren't suspected
			names = append(names, x.filter.Ref())
		}
	}
	p := g.params()
	p["filter"], p["filter_namespace"], p["others"] = worst.filter.Name, worst.filter.Namespace, some(names[1:], maxNameSize/maxNamed)
	if p["reason"] == "" {
		p["reason"] = "which nobody told"
	}
	c = diagnose.Cause{
		Subject: subject(g.clients, total, g.file), Key: g.key(), About: g.about(), Params: p, Confidence: diagnose.Possible,
		Evidence: append(slices.Clone(g.shown), shownFilters(found)...),
	}
	if worst.mentioned || worst.sure && g.reason != "" {
		c.Confidence = diagnose.Likely
	}
	if g.kept {
		c.Severity = diagnose.Degrading
	}
	verb := "patches"
	if len(names) > 1 {
		verb = "patch"
	}
	if !worst.sure {
		verb = "may patch"
		if len(names) == 1 && worst.mentioned {
			verb = "adds what it names, and may patch"
		}
	}
	kinds := map[string]string{"Listener": "listeners", "RouteConfiguration": "routes", "Cluster": "clusters", "TypedExtensionConfig": "extension configurations"}
	c.Summary = fmt.Sprintf("%s EnvoyFilter %s %s its %s.", g.rejected(total), some(names, maxNameSize/maxNamed), verb, kinds[g.typ])
	return c, true
}

// rank puts what the reason mentions first, then what applies for sure.
func (x suspect) rank() int {
	n := 0
	if x.mentioned {
		n += 2
	}
	if x.sure {
		n++
	}
	return n
}

// shownFilters tells what filters patch.
func shownFilters(list []suspect) (out []diagnose.Exhibit) {
	for _, x := range list[:min(len(list), maxShown)] {
		var patches []string
		for _, p := range x.filter.Spec.Patches[:min(len(x.filter.Spec.Patches), maxNamed)] {
			s := p.ApplyTo
			if p.Match.Context != "" {
				s += " " + p.Match.Context
			}
			patches = append(patches, strings.TrimSpace(s+" "+p.Patch.Operation))
		}
		if n := len(x.filter.Spec.Patches) - maxNamed; n > 0 {
			patches = append(patches, fmt.Sprintf("%d more", n))
		}
		text := "EnvoyFilter " + x.filter.Ref() + ": " + strings.Join(patches, ", ")
		if s := x.filter.Spec.Selector; s != nil {
			text += "; workloadSelector " + selectorText(s)
		}
		out = append(out, diagnose.Exhibit{Fact: evidence.EnvoyFilters.Name(), Excerpt: clip(text, maxExcerpt)})
	}
	return out
}

func selectorText(s *kube.WorkloadSelector) string {
	var out []string
	for _, m := range []map[string]string{s.Labels, s.MatchLabels} {
		for k, v := range m {
			out = append(out, k+"="+v)
		}
	}
	slices.Sort(out)
	return strings.Join(out, ",")
}
