package diagnose

import (
	"fmt"
	"slices"
	"strings"

	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

// likeIt is how many names that are there are told beside one that isn't.
const likeIt = 3

// absent says that what a request asks about isn't in the cluster, nil where it is, or may be. Nothing can be well that isn't there.
func absent(req Request, v *evidence.View) *Unseen {
	t := req.Target
	if t.Namespace == "" {
		return nil
	}
	where := "in namespace " + t.Namespace
	if u := missing(v, evidence.Namespaces, "namespace", t.Namespace, "in the cluster", "", func(n *kube.Namespace) string { return n.Name }); u != nil {
		return u
	}
	if t.Pod != "" {
		u := missing(v, evidence.Pods, "pod", t.Pod, where, t.Namespace, func(p *kube.Pod) string { return named(&p.Meta, t.Namespace, p.Name) })
		if u != nil {
			return u
		}
	}
	if t.Workload != "" {
		kind, name, _ := strings.Cut(t.Workload, "/")
		return missing(v, evidence.Workloads, kind, name, where, t.Namespace, func(w *kube.Workload) string {
			if w.Kind != kind {
				return ""
			}
			return named(&w.Meta, t.Namespace, w.Name)
		})
	}
	return nil
}

// named gives the name of an object of a namespace, "" for one of another.
func named(m *kube.Meta, namespace, name string) string {
	if m.Namespace != "" && m.Namespace != namespace {
		return ""
	}
	return name
}

// missing looks for a name among the objects of a kind. Only where a live source told all of them can one be missing.
func missing[T any](v *evidence.View, key evidence.Key[[]evidence.Objects[T]], kind, name, where, namespace string, nameOf func(*T) string) *Unseen {
	batches, err := evidence.Get(v, key)
	if err != nil {
		return nil
	}
	var names []string
	var source evidence.Source
	whole := false
	for _, b := range batches {
		for i := range b.Items {
			if n := nameOf(&b.Items[i]); n != "" {
				names = append(names, n)
			}
		}
		if b.Whole && !b.Source.Pasted && (b.Namespace == "" || b.Namespace == namespace || b.Namespace == name) {
			source, whole = b.Source, true
		}
	}
	if !whole || slices.Contains(names, name) {
		return nil
	}
	slices.Sort(names)
	names = slices.Compact(names)
	slices.SortStableFunc(names, func(a, b string) int { return evidence.Edits(name, a) - evidence.Edits(name, b) })
	there := "" // who may look at one namespace alone knows of no other
	switch n := len(names); {
	case n > likeIt:
		there = fmt.Sprintf(": of the %d that there are, the most alike are %s", n, strings.Join(names[:likeIt], ", "))
	case n > 0:
		there = ": there is " + strings.Join(names, ", ")
	}
	return &Unseen{
		Fact: key.Name(), Mandatory: true, Source: source,
		Reason: fmt.Sprintf("there is no %s %s %s%s", kind, name, where, there),
	}
}
