package istiod

import (
	"slices"
	"strings"

	"github.com/meshdiag/meshdiag/checks/cluster"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

// plane is one control plane in the cluster: a Deployment of istiod and its pods, or pods whose Deployment isn't known.
type plane struct {
	deployment *kube.Workload // nil where it isn't known
	namespace  string
	revision   string // "default" for the one without a name
	pods       []kube.Pod
	source     evidence.Source
	// whole says that all its pods are known.
	whole bool
}

// planes puts the Deployments and pods of istiod together, by name. What several sources tell is taken from the first, the live one.
func planes(workloads []evidence.Objects[kube.Workload], pods []evidence.Objects[kube.Pod]) []plane {
	var left []kube.Pod
	seen := map[string]bool{}
	podSource := map[string]evidence.Source{}
	for _, b := range pods {
		for _, p := range b.Items {
			if ref := p.Ref(); !seen[ref] && p.Observed() {
				seen[ref] = true
				podSource[ref] = b.Source
				left = append(left, p)
			}
		}
	}
	var out []plane
	clear(seen)
	for _, b := range workloads {
		for i := range b.Items {
			w := &b.Items[i]
			if seen[w.Ref()] {
				continue
			}
			seen[w.Ref()] = true
			x := plane{deployment: w, namespace: w.Namespace, revision: revisionOf(w), source: b.Source, whole: evidence.Covers(pods, w.Namespace)}
			left = slices.DeleteFunc(left, func(p kube.Pod) bool {
				if !owns(w, &p) {
					return false
				}
				x.pods = append(x.pods, p)
				return true
			})
			out = append(out, x)
		}
	}
	for _, g := range cluster.ByMaker(left, nil) {
		p := &g.Pods[0]
		out = append(out, plane{namespace: g.Namespace, revision: cluster.Revision(&p.Meta), pods: g.Pods, source: podSource[p.Ref()], whole: evidence.Covers(pods, g.Namespace)})
	}
	slices.SortStableFunc(out, func(a, b plane) int { return strings.Compare(a.title(), b.title()) })
	return out
}

// owns says whether a pod is of a Deployment.
func owns(w *kube.Workload, p *kube.Pod) bool {
	if w.Namespace != p.Namespace {
		return false
	}
	if m := cluster.Maker(p); m != "" {
		return m == "Deployment/"+w.Name
	}
	if w.Spec.Selector.Empty() {
		return false
	}
	failing, err := w.Spec.Selector.Failing(p.Labels)
	return err == nil && failing == nil
}

// revisionOf gives the revision of a Deployment of istiod: its own label, or its pods'.
func revisionOf(w *kube.Workload) string {
	if w.Labels[kube.LabelRevision] == "" && w.Spec.Template.Labels[kube.LabelRevision] != "" {
		return w.Spec.Template.Labels[kube.LabelRevision]
	}
	return cluster.Revision(&w.Meta)
}

// title names the control plane: "Deployment istio-system/istiod".
func (x *plane) title() string {
	switch {
	case x.deployment != nil:
		return "Deployment " + x.deployment.Ref()
	case cluster.Maker(&x.pods[0]) != "":
		kind, name, _ := strings.Cut(cluster.Maker(&x.pods[0]), "/")
		return kind + " " + x.namespace + "/" + name
	default:
		return "pod " + x.pods[0].Ref()
	}
}

// wants gives how many pods there are to be.
func (x *plane) wants() int {
	switch {
	case x.deployment == nil:
		return len(x.pods)
	case x.deployment.Spec.Replicas == nil:
		return 1
	default:
		return *x.deployment.Spec.Replicas
	}
}

// serves says whether some pod is ready, as the Deployment or the pods tell it.
func (x *plane) serves() bool {
	return x.deployment != nil && x.deployment.Status.Ready > 0 || slices.ContainsFunc(x.pods, func(p kube.Pod) bool { return ready(&p) })
}

// ready says whether a pod takes traffic.
func ready(p *kube.Pod) bool {
	c := kube.FindCondition(p.Status.Conditions, "Ready")
	return c != nil && c.Status == "True" && p.Deleted.IsZero()
}

// applied says whether a Deployment is one of a cluster: a manifest that was never applied has no status to go by.
func applied(w *kube.Workload) bool {
	return w.UID != "" || w.Status.Replicas > 0 || len(w.Status.Conditions) > 0
}

// serving gives the revisions that serve what is asked about: by the revision asked for, by the injectors that a pod of the namespace
// without labels goes through, and by the labels of pods that were injected. Without any, nothing is known.
func serving(req diagnose.Request, v *evidence.View) map[string]bool {
	hooks, _ := evidence.Get(v, evidence.MutatingWebhooks)
	spaces, _ := evidence.Get(v, evidence.Namespaces)
	pods, _ := cluster.Pods(req, v)
	injectors := cluster.Injectors(hooks)
	out := map[string]bool{}
	for _, in := range injectors {
		if rev := req.Target.Revision; in.Serves(rev) {
			out[in.Revision] = true
		}
	}
	if rev := req.Target.Revision; rev != "" && len(out) == 0 {
		out[rev] = true
	}
	if name := req.Target.Namespace; name != "" {
		ns, _ := cluster.FindNamespace(spaces, name)
		plain := kube.Pod{Meta: kube.Meta{Namespace: name}}
		yes, _ := cluster.Called(cluster.Decide(&plain, ns, injectors, nil))
		for _, d := range yes {
			out[d.Revision] = true
		}
	}
	for _, p := range pods {
		if c, _ := p.Sidecar(); c != nil && p.Labels[kube.LabelRevision] != "" {
			out[p.Labels[kube.LabelRevision]] = true
		}
	}
	return out
}
