package diagnose

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/meshdiag/meshdiag/evidence"
)

// member is a finding on its way into a report, with what its evidence tells of whom it is about.
type member struct {
	Finding
	stated About // what the check said; nil where it says nothing
	told   About // with what the evidence adds
	who    About // told, and what is taken for granted: nameless evidence is of the proxy that was asked about
	places []place
	wide   bool // seen from an API and about no proxy in particular: proxies share it
}

// join makes one finding of those of one check about the same thing: the same key and subject, or names that contradict
// each other nowhere. A nameless one joins only where there is a single thing that it can be about.
func (e *Engine) join(in []Finding, w world) []Finding {
	var order []CheckID
	by := map[CheckID][]member{}
	for _, f := range in {
		if by[f.Check] == nil {
			order = append(order, f.Check)
		}
		by[f.Check] = append(by[f.Check], w.member(f))
	}
	var out []Finding
	for _, id := range order {
		for _, group := range groups(by[id], w) {
			out = append(out, e.united(group))
		}
	}
	return out
}

// member reads what a finding's evidence tells.
func (w world) member(f Finding) member {
	m := member{Finding: f, stated: f.about, told: f.about, places: w.places(f)}
	if f.about == nil {
		return m
	}
	m.wide = !f.about.namesProxy() && !slices.ContainsFunc(f.Evidence, func(x Exhibit) bool {
		return x.Source.Vantage != evidence.FromAPI || x.Fact == evidence.LogMessages.Name() // a proxy's words, also where an API hands them out
	})
	if !m.wide && !f.about.namesProxy() {
		for _, p := range m.places {
			for k, v := range w.recorded[p.recording] {
				m.told = m.told.with(k, v...)
			}
		}
	}
	m.told = w.complete(m.told)
	m.who = m.told
	if w.oneProxy() && !m.told.namesProxy() {
		m.who = w.complete(m.told.with(AboutNode, w.target.NodeID).with(AboutVM, w.target.vm()))
	}
	m.about, m.keys = m.told, m.foldingKeys(w)
	return m
}

// places gives where a finding's evidence is from, each once.
func (w world) places(f Finding) []place {
	var out []place
	for _, x := range f.Evidence {
		if p := w.origin(x.Source); !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	return out
}

// foldingKeys gives the keys by which the finding takes part in folding: its own, and where that names no more than a file, that
// of the proxy whose file it is.
func (m member) foldingKeys(w world) []string {
	keys := []string{m.key}
	ofFile := func(p place) bool {
		return m.key == "files/"+p.file || m.key == "files/"+strings.ReplaceAll(p.file, "/", "%2F")
	}
	if !slices.ContainsFunc(m.places, ofFile) {
		return keys
	}
	for _, id := range m.told.values(AboutNode) {
		keys = append(keys, "nodes/"+id)
	}
	if w.oneProxy() && !m.who.contradicts(w.asked(), w) {
		keys = append(keys, "")
	}
	return keys
}

// groups sorts the findings of one check by what they are about. What several proxies share goes first, then what names most.
func groups(list []member, w world) [][]member {
	rank := func(m member) int {
		switch {
		case m.wide:
			return 0
		case m.told.namesProxy():
			return 1
		}
		return 2
	}
	order := slices.Clone(list)
	slices.SortStableFunc(order, func(a, b member) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(b.stated.precision(), a.stated.precision()), cmp.Compare(b.Confidence, a.Confidence))
	})
	var out [][]member
	for _, m := range order {
		if i := slices.IndexFunc(out, func(g []member) bool { return again(g, m, w) }); i >= 0 {
			out[i] = append(out[i], m)
			continue
		}
		fits, n := -1, 0
		for i, g := range out {
			if belongs(g, m, w) {
				fits = i
				n++
			}
		}
		if n == 1 {
			out[fits] = append(out[fits], m)
		} else {
			out = append(out, []member{m})
		}
	}
	return out
}

// again says whether a finding is one of the group's, told again.
func again(g []member, m member, w world) bool {
	return slices.ContainsFunc(g, func(o member) bool { return o.key == m.key && o.Subject == m.Subject }) &&
		!slices.ContainsFunc(g, func(o member) bool { return o.told.contradicts(m.told, w) })
}

// belongs says whether a finding may be about what a group is about.
func belongs(g []member, m member, w world) bool {
	if m.stated == nil {
		return false
	}
	known := false // some of the group isn't just more of the same kind, from elsewhere
	for i, o := range g {
		if o.stated == nil {
			return false
		}
		a, b := o.who, m.who
		if g[0].wide && i > 0 {
			a = a.without(proxyAspects...) // what proxies share may be told by several of them
		}
		if a.contradicts(b, w) || (i == 0 || !g[0].wide) && unlinked(a, b) {
			return false
		}
		known = known || !alike(o, m, w)
	}
	return known
}

// unlinked says whether one names a proxy by its node id alone, and the other by its VM alone: nothing tells that they are one.
func unlinked(a, b About) bool {
	node, vm := func(x About) bool { return len(x.values(AboutNode)) > 0 }, func(x About) bool { return len(x.values(AboutVM)) > 0 }
	return node(a) && !vm(a) && vm(b) && !node(b) || node(b) && !vm(b) && vm(a) && !node(a)
}

// alike says whether two findings rest on the same kind of evidence from different places, and nothing tells that it is of one
// proxy: two logs may well be of two.
func alike(a, b member, w world) bool {
	if a.who.namesProxy() && b.who.namesProxy() {
		return false // and they don't contradict each other
	}
	same := func(x, y place) bool { return x.file == y.file || x.recording != "" && x.recording == y.recording }
	if slices.ContainsFunc(a.places, func(x place) bool { return slices.ContainsFunc(b.places, func(y place) bool { return same(x, y) }) }) {
		return false
	}
	return slices.ContainsFunc(a.Evidence, func(x Exhibit) bool {
		return slices.ContainsFunc(b.Evidence, func(y Exhibit) bool { return x.Fact == y.Fact })
	})
}

// united makes one finding of a group: it speaks as the one that names most, and shows all evidence.
func (e *Engine) united(group []member) Finding {
	first := 0
	for i, m := range group {
		f := group[first]
		if cmp.Or(cmp.Compare(m.stated.precision(), f.stated.precision()), cmp.Compare(m.Confidence, f.Confidence)) > 0 {
			first = i
		}
	}
	out := group[first].Finding
	if group[0].wide {
		out.about = out.about.without(proxyAspects...)
	}
	out.Evidence = slices.Clone(out.Evidence)
	for i, m := range group {
		if i == first {
			continue
		}
		for _, x := range m.Evidence {
			if !slices.ContainsFunc(out.Evidence, func(o Exhibit) bool { return o == x }) {
				out.Evidence = append(out.Evidence, x)
			}
		}
		out.Severity = max(out.Severity, m.Severity)
		for _, k := range m.keys {
			if !slices.Contains(out.keys, k) {
				out.keys = append(out.keys, k)
			}
		}
		for k, v := range m.told {
			if !group[0].wide || !slices.Contains(proxyAspects, k) {
				out.about = out.about.with(k, v...)
			}
		}
		e.fillIn(&out, m.Params)
	}
	out.Confidence = agreed(group)
	return out
}

// fillIn renders the remedy again where another finding knows a parameter that its steps lack.
func (e *Engine) fillIn(f *Finding, known map[string]string) {
	p := maps.Clone(f.Params)
	for _, name := range f.unfilled {
		if v := known[name]; v != "" {
			p[name] = v
		}
	}
	if len(p) > len(f.Params) {
		f.Params = p
		f.Remedy, f.unfilled = render(e.byID[f.Check].Doc.Remedy, p)
	}
}

// agreed gives the confidence in what several say: what two witnesses say that don't know of each other is surer by a step
// than the less sure of them.
func agreed(group []member) Confidence {
	best := ConfidenceUnset
	for i, a := range group {
		best = max(best, a.Confidence)
		for _, b := range group[i+1:] {
			if independent(a, b) {
				best = max(best, min(a.Confidence, b.Confidence)+1)
			}
		}
	}
	return min(best, Confirmed)
}

// independent says whether no exhibit of one may be a repeat of an exhibit of the other: each is of another kind or vantage, and
// of another collector, call or file. The same text in two files isn't another kind.
func independent(a, b member) bool {
	for _, x := range a.Evidence {
		for _, y := range b.Evidence {
			if x.Fact == y.Fact && x.Source.Vantage == y.Source.Vantage {
				return false
			}
		}
	}
	if slices.ContainsFunc(a.places, func(p place) bool { return slices.Contains(b.places, p) }) {
		return false
	}
	return len(a.Evidence) > 0 && len(b.Evidence) > 0
}

// maxOfSymptoms bounds what a finding shows of its symptoms: two exhibits each, and six in all, are what a person reads through.
const (
	maxOfSymptom  = 2
	maxOfSymptoms = 6
)

// fold takes out the findings that another one explains, lists them under it with what they rest on, and notes the outcome of
// their checks.
func (e *Engine) fold(in []Finding, w world, results map[CheckID]Result) []Finding {
	in = slices.Clone(in)
	slices.SortStableFunc(in, func(a, b Finding) int {
		return cmp.Or(strings.Compare(string(a.Check), string(b.Check)), strings.Compare(a.key, b.key), strings.Compare(a.Subject, b.Subject))
	})
	explains := make([][]int, len(in)) // directly
	isSymptom := make([]bool, len(in))
	for j, f := range in {
		for i, s := range in {
			if slices.Contains(e.byID[f.Check].Explains, s.Check) && !f.about.without(AboutFailure).contradicts(s.about, w) && covers(f, s, w) {
				explains[j] = append(explains[j], i)
				isSymptom[i] = true
			}
		}
	}
	root := map[CheckID]bool{}
	under := make([][]int, len(in)) // what a root explains, by way of others as well
	causes := make([]int, len(in))  // how many roots explain it
	for j, f := range in {
		if isSymptom[j] {
			continue
		}
		root[f.Check] = true
		under[j] = reached(j, explains)
		for _, i := range under[j] {
			causes[i]++
		}
	}
	var roots []Finding
	for j, f := range in {
		if isSymptom[j] {
			continue
		}
		var symptoms []Finding
		for _, i := range under[j] {
			s := in[i]
			symptoms = append(symptoms, s)
			if r := results[s.Check]; !root[s.Check] && r.Outcome != OutcomeSymptom {
				results[s.Check] = Result{Check: s.Check, Outcome: OutcomeSymptom, Reason: "explained by " + string(f.Check)}
			}
			if causes[i] == 1 && f.about.sharesName(s.about, w) { // it speaks of the same thing, and for no other cause
				f.Confidence = max(f.Confidence, agreed([]member{{Finding: in[j], places: w.places(in[j])}, {Finding: s, places: w.places(s)}}))
			}
		}
		roots = append(roots, f.showing(symptoms))
	}
	return roots
}

// reached gives what edges lead to from one on, in order.
func reached(from int, edges [][]int) []int {
	var out []int
	for todo := slices.Clone(edges[from]); len(todo) > 0; todo = todo[1:] {
		if i := todo[0]; !slices.Contains(out, i) {
			out = append(out, i)
			todo = append(todo, edges[i]...)
		}
	}
	slices.Sort(out)
	return out
}

// showing lists a finding's symptoms under it, with what they rest on.
func (f Finding) showing(symptoms []Finding) Finding {
	f.Evidence = slices.Clone(f.Evidence)
	left := maxOfSymptoms
	for _, s := range symptoms {
		if !slices.Contains(f.Symptoms, s.Check) {
			f.Symptoms = append(f.Symptoms, s.Check)
		}
		for _, x := range s.Evidence[:min(len(s.Evidence), maxOfSymptom, left)] {
			if !slices.Contains(f.Evidence, x) {
				f.Evidence = append(f.Evidence, x)
				left--
			}
		}
	}
	return f
}

// covers says whether what b is about is a part of what a is about: by their keys, or, where b's key says no more than which
// file or request it is from, by a name that both have.
func covers(a, b Finding, w world) bool {
	for _, x := range a.allKeys() {
		for _, y := range b.allKeys() {
			if nests(x, y) {
				return true
			}
		}
	}
	return (b.key == "" || nests("files", b.key) || nests("requests", b.key)) && a.about.sharesName(b.about, w)
}

func (f Finding) allKeys() []string {
	if len(f.keys) == 0 {
		return []string{f.key}
	}
	return f.keys
}

// nests says whether outer is the start of inner, by whole path segments.
func nests(outer, inner string) bool {
	return outer == "" || outer == inner || strings.HasPrefix(inner, outer+"/")
}
