package webhook

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

// doing says what the pods behind a Service are doing, where none of them is ready: "istiod-7d9-x: ImagePullBackOff".
func (s *survey) doing(u *server, svc *kube.Service) (string, []diagnose.Exhibit) {
	if svc == nil || len(svc.Spec.Selector) == 0 {
		return "", nil
	}
	selector := kube.Selector{MatchLabels: svc.Spec.Selector}
	var found []*kube.Pod
	seen := map[string]bool{}
	for _, b := range s.pods {
		for i := range b.Items {
			p := &b.Items[i]
			if p.Namespace != u.ref.Namespace || seen[p.Name] || p.Ended() && p.Status.Reason != "Evicted" {
				continue
			}
			if failing, err := selector.Failing(p.Labels); err != nil || failing != nil {
				continue
			}
			seen[p.Name] = true
			found = append(found, p)
		}
	}
	if w := s.deploymentOf(u, svc); w != nil && w.Spec.Replicas != nil && *w.Spec.Replicas == 0 {
		return w.Title() + " is scaled to 0", []diagnose.Exhibit{{Fact: evidence.ControlPlaneWorkloads.Name(), Excerpt: w.Title() + ": replicas 0"}}
	}
	if len(found) == 0 {
		if !s.allPods(u.ref.Namespace, svc.Spec.Selector) {
			return "", nil
		}
		what := fmt.Sprintf("its selector %s matches no pod", selectorText(svc.Spec.Selector))
		return what, []diagnose.Exhibit{{Fact: evidence.ClusterServices.Name(), Excerpt: "Service " + svc.Ref() + ": selector " + selectorText(svc.Spec.Selector)}}
	}
	slices.SortFunc(found, func(a, b *kube.Pod) int { return strings.Compare(a.Name, b.Name) })
	var lines []string
	for _, p := range found {
		lines = append(lines, p.Name+" "+condition(p))
	}
	first := clip(lines[0], maxReason)
	if n := len(lines) - 1; n > 0 {
		first += fmt.Sprintf("; %s more", plural(n, "pod", "pods"))
	}
	return first, []diagnose.Exhibit{{Fact: evidence.ControlPlanePods.Name(), Excerpt: strings.Join(lines[:min(len(lines), maxExhibits)], "\n")}}
}

// allPods says whether every pod that a selector can match in a namespace is known.
func (s *survey) allPods(namespace string, selector map[string]string) bool {
	istiods, _ := evidence.Get(s.view, evidence.ControlPlanePods)
	pods, _ := evidence.Get(s.view, evidence.Pods)
	return selector["app"] == "istiod" && evidence.Covers(istiods, namespace) || evidence.Covers(pods, namespace)
}

// deploymentOf gives the Deployment of the control plane behind a Service: of its name, or whose pods its selector matches; nil where
// none is known.
func (s *survey) deploymentOf(u *server, svc *kube.Service) *kube.Workload {
	all := evidence.All(s.deployments)
	for i := range all {
		w := &all[i]
		if w.Namespace != u.ref.Namespace {
			continue
		}
		if svc != nil && len(svc.Spec.Selector) > 0 && len(w.Spec.Template.Labels) > 0 {
			selector := kube.Selector{MatchLabels: svc.Spec.Selector}
			if failing, err := selector.Failing(w.Spec.Template.Labels); err == nil && failing == nil {
				return w
			}
			continue
		}
		if w.Name == u.ref.Name {
			return w
		}
	}
	return nil
}

func selectorText(m map[string]string) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, k+"="+m[k])
	}
	return strings.Join(out, ",")
}

// condition says in what state a pod is that isn't ready.
func condition(p *kube.Pod) string {
	if !p.Deleted.IsZero() {
		return "is being deleted"
	}
	for _, list := range [][]kube.ContainerStatus{p.Status.InitContainers, p.Status.Containers} {
		for _, c := range list {
			w := c.State.Waiting
			if w == nil || w.Reason == "PodInitializing" || w.Reason == "ContainerCreating" || w.Reason == "" {
				continue
			}
			why := w.Message
			if t := c.Last.Terminated; t != nil {
				why = strings.TrimSpace(fmt.Sprintf("%s, exit code %d %s", cmp.Or(t.Reason, "ended"), t.ExitCode, clip(strings.TrimSpace(t.Message), 80)))
			}
			return tail(fmt.Sprintf("is in %s (container %s)", w.Reason, c.Name), why)
		}
	}
	if c := kube.FindCondition(p.Status.Conditions, "PodScheduled"); c != nil && c.Status == "False" {
		return tail("is not scheduled", c.Message)
	}
	if p.Status.Phase == "Running" {
		for _, c := range p.Status.Containers {
			if !c.Ready {
				return fmt.Sprintf("runs, and its container %s is not ready", c.Name)
			}
		}
		return "runs, and is not among the endpoints"
	}
	return tail("is "+cmp.Or(p.Status.Phase, "in no known state"), cmp.Or(p.Status.Reason, p.Status.Message))
}

func tail(s, more string) string {
	if more = strings.TrimSpace(more); more == "" {
		return s
	}
	return s + ": " + clip(more, maxReason)
}
