// Package cluster is what the checks of a Kubernetes cluster have in common: which pods a request asks about, what makes them,
// which webhooks inject the mesh's sidecar, and whose the control plane is.
package cluster

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

// RootNamespace is where the mesh's control plane and its configuration live unless told otherwise.
const RootNamespace = "istio-system"

// systemNamespaces are never injected: the injector itself leaves the first three out, and the others are the platform's.
var systemNamespaces = []string{"kube-system", "kube-public", "kube-node-lease", "local-path-storage", RootNamespace, "istio-control", "asm-system", "gke-system", "gmp-system", "gke-managed-system"}

// System says whether a namespace is the platform's own.
func System(namespace string) bool { return slices.Contains(systemNamespaces, namespace) }

// Asked says whether the request asks about one pod or workload, or says that pods lack sidecars: then a pod without one is a
// fault even where nothing else shows that it was meant to have one.
func Asked(req diagnose.Request) bool {
	return req.Target.Pod != "" || req.Target.Workload != "" || req.Symptom == diagnose.SymptomNoSidecar
}

// Pods gives the pods that the request asks about: the target's pod, the pods of its workload, those of its namespace; of a
// request without one, all that the files hold outside the platform's own namespaces. Pods that have ended or are being
// deleted are left out, unless one is named. It reads [evidence.Pods] and [evidence.Workloads]; the error is that of the pods.
func Pods(req diagnose.Request, v *evidence.View) ([]kube.Pod, error) {
	batches, err := evidence.Get(v, evidence.Pods)
	workloads, werr := evidence.Get(v, evidence.Workloads)
	if err != nil {
		return nil, err
	}
	if werr != nil {
		workloads = nil // the names of ReplicaSets tell their Deployment well enough
	}
	t := req.Target
	sets := replicaSets(t, evidence.All(workloads))
	var out []kube.Pod
	seen := map[string]bool{}
	for _, p := range evidence.All(batches) {
		if p.Namespace == "" {
			p.Namespace = t.Namespace // a manifest without one goes where it is applied to
		}
		if ref := p.Ref(); p.Name != "" && len(batches) > 1 {
			if seen[ref] {
				continue // the live one came first
			}
			seen[ref] = true
		}
		switch {
		case t.Namespace != "" && p.Namespace != t.Namespace:
		case t.Namespace == "" && System(p.Namespace):
		case t.Pod != "":
			if p.Name == t.Pod {
				out = append(out, p)
			}
		case p.Ended() || !p.Deleted.IsZero():
		case t.Workload != "" && !madeBy(&p, t.Workload, sets):
		default:
			out = append(out, p)
		}
	}
	return out, nil
}

// Templates gives the pods that the workloads which the request asks about would make. Workloads that a controller owns are
// left out: their owner's template says it. It reads [evidence.Workloads].
func Templates(req diagnose.Request, v *evidence.View) ([]kube.Pod, error) {
	list, err := Workloads(req, v)
	if err != nil {
		return nil, err
	}
	var out []kube.Pod
	for _, w := range list {
		if w.Controller() == nil {
			out = append(out, w.Pod())
		}
	}
	return out, nil
}

// Workloads gives the workloads that the request asks about, with those that they make (the ReplicaSets of a Deployment). It
// reads [evidence.Workloads].
func Workloads(req diagnose.Request, v *evidence.View) ([]kube.Workload, error) {
	batches, err := evidence.Get(v, evidence.Workloads)
	if err != nil {
		return nil, err
	}
	t := req.Target
	all := evidence.All(batches)
	sets := replicaSets(t, all)
	var out []kube.Workload
	for _, w := range all {
		if w.Namespace == "" {
			w.Namespace = t.Namespace
		}
		switch {
		case t.Namespace != "" && w.Namespace != t.Namespace:
		case t.Namespace == "" && System(w.Namespace):
		case t.Workload != "" && w.Kind+"/"+w.Name != t.Workload && !slices.Contains(sets, w.Kind+"/"+w.Name):
		case t.Pod != "" && !makes(w, t.Pod):
		default:
			out = append(out, w)
		}
	}
	return out, nil
}

// replicaSets gives what the target's workload makes that makes pods in turn: a Deployment's ReplicaSets, a CronJob's Jobs.
func replicaSets(t diagnose.Target, all []kube.Workload) []string {
	var out []string
	for _, w := range all {
		if o := w.Controller(); o != nil && o.Kind+"/"+o.Name == t.Workload && (w.Namespace == t.Namespace || w.Namespace == "") {
			out = append(out, w.Kind+"/"+w.Name)
		}
	}
	return out
}

// madeBy says whether a pod is of a workload, or of one of what that made.
func madeBy(p *kube.Pod, workload string, sets []string) bool {
	o := p.Controller()
	if o == nil {
		return false
	}
	own := o.Kind + "/" + o.Name
	return own == workload || slices.Contains(sets, own) || Maker(p) == workload
}

// makes says whether a pod's name is one that the workload could have given.
func makes(w kube.Workload, pod string) bool {
	rest, ok := strings.CutPrefix(pod, w.Name+"-")
	if !ok {
		return false
	}
	// Deployments add a hash and five letters, all others one part.
	return strings.Count(rest, "-") <= 1
}

// Maker gives what people call the maker of a pod, as "Kind/name": of a Deployment's pod the Deployment, of a template the workload
// that it is of. "" for a pod of its own.
func Maker(p *kube.Pod) string {
	if kind, ref, ok := strings.Cut(p.TemplateOf, " "); ok {
		return kind + "/" + ref[strings.LastIndex(ref, "/")+1:]
	}
	o := p.Controller()
	if o == nil {
		return ""
	}
	// A Deployment names its ReplicaSets after itself and the template's hash, which is on the pods as a label.
	if hash := p.Labels["pod-template-hash"]; o.Kind == "ReplicaSet" && hash != "" {
		if name, ok := strings.CutSuffix(o.Name, "-"+hash); ok {
			return "Deployment/" + name
		}
	}
	return o.Kind + "/" + o.Name
}

// Group is the pods of one maker for which the same holds.
type Group struct {
	Namespace string
	Maker     string // "Deployment/checkout"; "" for a single pod
	Pods      []kube.Pod
}

// ByMaker groups pods by what makes them, and by a word of the caller's: those of one maker with different words are in different
// groups. The order is by namespace, maker, word and name.
func ByMaker(pods []kube.Pod, word func(*kube.Pod) string) []Group {
	type id struct{ ns, maker, name, word string }
	at := map[id]*Group{}
	var ids []id
	for _, p := range pods {
		k := id{ns: p.Namespace, maker: Maker(&p)}
		if k.maker == "" {
			k.name = p.TemplateOf + p.Name
		}
		if word != nil {
			k.word = word(&p)
		}
		if at[k] == nil {
			at[k] = &Group{Namespace: p.Namespace, Maker: k.maker}
			ids = append(ids, k)
		}
		at[k].Pods = append(at[k].Pods, p)
	}
	slices.SortFunc(ids, func(a, b id) int {
		return cmp.Or(strings.Compare(a.ns, b.ns), strings.Compare(a.maker, b.maker), strings.Compare(a.word, b.word), strings.Compare(a.name, b.name))
	})
	out := make([]Group, len(ids))
	for i, k := range ids {
		slices.SortFunc(at[k].Pods, func(a, b kube.Pod) int { return strings.Compare(a.Name, b.Name) })
		out[i] = *at[k]
	}
	return out
}

// Title names the group: "pod shop/checkout-1", "3 pods of Deployment shop/checkout", "the template of Deployment shop/checkout".
func (g Group) Title() string {
	if len(g.Pods) == 1 {
		return g.Pods[0].Title()
	}
	kind, name, ok := strings.Cut(g.Maker, "/")
	if !ok {
		return fmt.Sprintf("%d pods of namespace %s", len(g.Pods), g.Namespace)
	}
	return fmt.Sprintf("%d pods of %s %s/%s", len(g.Pods), kind, g.Namespace, name)
}

// Key gives the path of the group for [diagnose.Cause]: "" where it is what the request asks about.
func (g Group) Key(req diagnose.Request) string {
	t := req.Target
	switch {
	case t.Pod != "" && len(g.Pods) == 1 && g.Pods[0].Name == t.Pod && g.Namespace == t.Namespace,
		t.Workload != "" && g.Maker == t.Workload && g.Namespace == t.Namespace:
		return ""
	case g.Maker != "":
		return NamespaceKey(req, g.Namespace) + "workloads/" + g.Maker
	default:
		return NamespaceKey(req, g.Namespace) + "pods/" + g.Pods[0].Name
	}
}

// NamespaceKey gives the start of the keys of what is in a namespace, with a slash at its end: "" where the target is in it, so
// that what is wrong with the target's namespace explains what is wrong in it.
func NamespaceKey(req diagnose.Request, namespace string) string {
	if namespace == "" || namespace == req.Target.Namespace {
		return ""
	}
	return "namespaces/" + namespace + "/"
}

// Params gives the parameters for remedies that the group tells: namespace, pod, and workload (as kubectl takes it:
// "deployment/checkout").
func (g Group) Params() map[string]string {
	p := map[string]string{"namespace": g.Namespace, "pod": g.Pods[0].Name}
	if g.Pods[0].TemplateOf != "" {
		p["pod"] = ""
	}
	if kind, name, ok := strings.Cut(g.Maker, "/"); ok {
		p["workload"] = strings.ToLower(kind) + "/" + name
	}
	return p
}

// FindNamespace gives a namespace by name; known says whether a nil one isn't there, rather than not seen.
func FindNamespace(batches []evidence.Objects[kube.Namespace], name string) (ns *kube.Namespace, known bool) {
	for _, b := range batches {
		for i := range b.Items {
			if b.Items[i].Name == name {
				return &b.Items[i], true
			}
		}
	}
	return nil, evidence.Covers(batches, name)
}
