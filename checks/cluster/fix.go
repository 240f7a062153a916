package cluster

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

// Fix is a change of labels with which one injector selects a pod that none selects. It was tried: with it, that injector is
// called and no other.
type Fix struct {
	Injector    Injector
	OnNamespace bool   // the labels are the namespace's, else the pod's
	Key, Value  string // the label to set; no key where one has only to go
	Remove      string // the label to take away, "" for none
}

// String gives the change: "istio-injection=enabled", "istio.io/rev=asm-1234-7 in the place of istio-injection".
func (f Fix) String() string {
	switch {
	case f.Key == "":
		return "no label " + f.Remove
	case f.Remove == "":
		return f.Key + "=" + f.Value
	default:
		return fmt.Sprintf("%s=%s in the place of %s", f.Key, f.Value, f.Remove)
	}
}

// Where names what is to be labelled.
func (f Fix) Where(p *kube.Pod) string {
	switch {
	case f.OnNamespace:
		return "namespace " + p.Namespace
	case p.TemplateOf != "" || Maker(p) != "":
		return "the pod template"
	default:
		return "the pod"
	}
}

// Fixes gives the smallest changes of labels after which exactly one injector is called for the pod: of the namespace's labels,
// and of the pod's; nil where none of one label set and one taken away does it. An injector of the revision asked for goes
// first, then the label istio-injection, then the order of the injectors. A namespace that isn't known has no fixes.
func Fixes(p *kube.Pod, ns *kube.Namespace, injectors []Injector, results []evidence.MatchConditionResult, revision string) (onNamespace, onPod *Fix) {
	if ns == nil {
		return nil, nil
	}
	var found []Fix
	for _, in := range injectors {
		if in.Deactivated {
			continue
		}
		nsTerms, err1 := in.Hook.NamespaceSelector.AllFailing(withName(ns))
		podTerms, err2 := in.Hook.ObjectSelector.AllFailing(p.Labels)
		if err1 != nil || err2 != nil || (len(nsTerms) == 0) == (len(podTerms) == 0) {
			continue // both would have to change, or neither has to: then something else refuses
		}
		f, ok := change(append(nsTerms, podTerms...))
		if !ok {
			continue
		}
		f.Injector, f.OnNamespace = in, len(nsTerms) > 0
		if f.OnNamespace && f.Key == kube.LabelInjection && ns.Labels[kube.LabelRevision] != "" && f.Remove == "" {
			f.Remove = kube.LabelRevision // the two beside each other would leave one of them without effect
		}
		if works(f, p, ns, injectors, results) {
			found = append(found, f)
		}
	}
	slices.SortStableFunc(found, func(a, b Fix) int {
		return cmp.Or(cmp.Compare(a.rank(revision), b.rank(revision)), cmp.Compare(a.changes(), b.changes()), cmp.Compare(a.other(), b.other()))
	})
	for i, f := range found {
		switch {
		case f.OnNamespace && onNamespace == nil:
			onNamespace = &found[i]
		case !f.OnNamespace && onPod == nil:
			onPod = &found[i]
		}
	}
	return onNamespace, onPod
}

func (f Fix) rank(revision string) int {
	if revision == "" || f.Injector.Serves(revision) {
		return 0
	}
	return 1
}

func (f Fix) changes() int {
	n := 0
	if f.Key != "" {
		n++
	}
	if f.Remove != "" {
		n++
	}
	return n
}

func (f Fix) other() int {
	if f.Key == kube.LabelInjection || f.Key == kube.LabelInject {
		return 0
	}
	return 1
}

// change gives what makes failing terms hold, where one label to set and one to take away are enough.
func change(terms []kube.Requirement) (f Fix, ok bool) {
	for _, r := range terms {
		switch {
		case r.Key == nameLabel, r.Key == deactivated:
			return f, false
		case r.Operator == "In" && f.Key == "" && len(r.Values) > 0 && r.Values[0] != "":
			f.Key, f.Value = r.Key, r.Values[0]
		case r.Operator == "Exists" && f.Key == "":
			f.Key, f.Value = r.Key, "true"
		case (r.Operator == "DoesNotExist" || r.Operator == "NotIn") && f.Remove == "":
			f.Remove = r.Key
		default:
			return f, false
		}
	}
	return f, true
}

// nameLabel is the label with which the API server names every namespace; nobody can set it.
const nameLabel = "kubernetes.io/metadata.name"

func withName(ns *kube.Namespace) map[string]string {
	labels := maps.Clone(ns.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[nameLabel] = ns.Name
	return labels
}

// Relabelled gives a copy of labels with one set and one taken away; "" sets, and takes away, none.
func Relabelled(labels map[string]string, key, value, remove string) map[string]string {
	out := maps.Clone(labels)
	if out == nil {
		out = map[string]string{}
	}
	delete(out, remove)
	if key != "" {
		out[key] = value
	}
	return out
}

// works tries a change.
func works(f Fix, p *kube.Pod, ns *kube.Namespace, injectors []Injector, results []evidence.MatchConditionResult) bool {
	pod, space := *p, *ns
	if f.OnNamespace {
		space.Labels = Relabelled(ns.Labels, f.Key, f.Value, f.Remove)
	} else {
		pod.Labels = Relabelled(p.Labels, f.Key, f.Value, f.Remove)
	}
	yes, unknown := Called(Decide(&pod, &space, injectors, results))
	return unknown == nil && len(yes) == 1 && yes[0].Hook == f.Injector.Hook
}
