package diagnose

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

const (
	// comesUp is how long a pod may take to get ready, and a workload to have its first pod, without a word being said of it: an image
	// is pulled, an application starts.
	comesUp = 2 * time.Minute
	// maxUnready is how many of those that aren't ready are named.
	maxUnready = 3
)

// unready says that pods asked about don't get ready, or that a workload has none, nil where that isn't so. No check having found why,
// it may have nothing to do with the mesh; but nobody who asked calls it healthy.
func unready(req Request, v *evidence.View) *Unseen {
	t := req.Target
	files := !t.Live() && !t.Kubernetes() // then every pod of theirs counts, and their times are of some other day
	if t.Namespace == "" && !files {
		return nil
	}
	pods, _ := evidence.Get(v, evidence.Pods)
	workloads, _ := evidence.Get(v, evidence.Workloads)
	of := makers(t, evidence.All(workloads))
	var list []string
	var source evidence.Source
	key := evidence.Pods.Name()
	for _, b := range pods {
		for i := range b.Items {
			p := &b.Items[i]
			if !files && p.Namespace != t.Namespace || t.Pod != "" && p.Name != t.Pod || t.Workload != "" && !slices.Contains(of, owner(&p.Meta)) {
				continue
			}
			seen, name := b.Source.Time, p.Name
			if files {
				seen, name = time.Time{}, p.Ref()
			}
			if why := stuck(p, seen); why != "" {
				list, source = append(list, "pod "+name+" is not ready: "+why), b.Source
			}
		}
	}
	for _, b := range workloads {
		for i := range b.Items {
			w := &b.Items[i]
			if files || len(list) > 0 || t.Pod != "" || w.Namespace != t.Namespace || t.Workload != "" && !slices.Contains(of, w.Kind+"/"+w.Name) || !podless(w, b.Source.Time) {
				continue
			}
			list, source, key = append(list, w.Kind+" "+w.Name+" has no pods"), b.Source, evidence.Workloads.Name()
		}
	}
	if len(list) == 0 {
		return nil
	}
	slices.Sort(list)
	reason := strings.Join(list[:min(len(list), maxUnready)], "; ")
	if n := len(list) - maxUnready; n > 0 {
		reason += fmt.Sprintf("; and %d more", n)
	}
	return &Unseen{Fact: key, Mandatory: true, Source: source, Reason: reason + ". Nothing that was seen of the mesh tells why"}
}

// makers gives the target's workload, and what it makes that makes pods in turn.
func makers(t Target, all []kube.Workload) []string {
	out := []string{t.Workload}
	for i := range all {
		if w := &all[i]; t.Workload != "" && w.Namespace == t.Namespace && owner(&w.Meta) == t.Workload {
			out = append(out, w.Kind+"/"+w.Name)
		}
	}
	return out
}

func owner(m *kube.Meta) string {
	if o := m.Controller(); o != nil {
		return o.Kind + "/" + o.Name
	}
	return ""
}

// stuck says why a pod isn't ready that ought to be, "" where it is, or may get so yet.
func stuck(p *kube.Pod, seen time.Time) string {
	ready := kube.FindCondition(p.Status.Conditions, "Ready")
	if p.Ended() || !p.Deleted.IsZero() || ready == nil && p.Status.Phase != "Pending" || ready != nil && ready.Status == "True" {
		return ""
	}
	for _, s := range slices.Concat(p.Status.InitContainers, p.Status.Containers) {
		if w := s.State.Waiting; w != nil && (strings.HasSuffix(w.Reason, "BackOff") || strings.HasSuffix(w.Reason, "Error")) {
			return fmt.Sprintf("container %s is in %s", s.Name, w.Reason)
		}
	}
	since := p.Created
	if ready != nil && !ready.Changed.IsZero() {
		since = ready.Changed
	}
	if since.IsZero() || seen.Sub(since) < comesUp {
		return ""
	}
	if c := kube.FindCondition(p.Status.Conditions, "PodScheduled"); c != nil && c.Status == "False" {
		return cmp.Or(c.Reason, "it is on no node")
	}
	for _, s := range p.Status.Containers {
		if !s.Ready {
			return "container " + s.Name + " is not"
		}
	}
	return cmp.Or(p.Status.Reason, p.Status.Phase)
}

// podless says whether a workload that wants pods has had time to make one, and has none.
func podless(w *kube.Workload, seen time.Time) bool {
	switch w.Kind {
	case "Deployment", "StatefulSet", "ReplicaSet":
	default:
		return false // the others want pods where there are nodes for them, or when it's time
	}
	wants := w.Spec.Replicas == nil || *w.Spec.Replicas > 0
	return wants && w.Controller() == nil && w.Status.Replicas == 0 && !w.Created.IsZero() && seen.Sub(w.Created) >= comesUp
}
