package kube

import (
	"slices"
	"strings"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

// askedPods gives the pods that the request asks about: the one named, those of the workload, or those of the namespace, without
// those that have ended or are being deleted.
func (s *step) askedPods() ([]kube.Pod, error) {
	batches, err := evidence.Get(s.view, evidence.Pods)
	if err != nil {
		return nil, err
	}
	workloads, _ := evidence.Get(s.view, evidence.Workloads) // without them a ReplicaSet's name tells its Deployment
	t := s.req.Target
	made := madeBy(t, evidence.All(workloads))
	var out []kube.Pod
	for _, p := range evidence.All(batches) {
		switch {
		case p.Namespace != t.Namespace:
		case t.Pod != "":
			if p.Name == t.Pod {
				out = append(out, p)
			}
		case p.Ended() || !p.Deleted.IsZero():
		case t.Workload != "" && maker(&p) != t.Workload && !slices.Contains(made, owner(&p.Meta)):
		default:
			out = append(out, p)
		}
	}
	return out, nil
}

// madeBy gives the workload asked about and what it makes that makes pods in turn: a Deployment's ReplicaSets, a CronJob's Jobs.
func madeBy(t diagnose.Target, all []kube.Workload) []string {
	out := []string{t.Workload}
	for _, w := range all {
		if owner(&w.Meta) == t.Workload && t.Workload != "" {
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

// maker gives what made a pod, of a ReplicaSet's its Deployment: that names the ReplicaSet after itself and the template's hash.
func maker(p *kube.Pod) string {
	o := owner(&p.Meta)
	if hash := p.Labels["pod-template-hash"]; hash != "" {
		if set, ok := strings.CutPrefix(o, "ReplicaSet/"); ok && strings.HasSuffix(set, "-"+hash) {
			return "Deployment/" + strings.TrimSuffix(set, "-"+hash)
		}
	}
	return o
}

// onePerMaker keeps the first pod of each maker, and all that have none.
func onePerMaker(pods []kube.Pod) []kube.Pod {
	seen := map[string]bool{}
	return slices.DeleteFunc(pods, func(p kube.Pod) bool {
		m := maker(&p)
		again := m != "" && seen[m]
		seen[m] = true
		return again
	})
}
