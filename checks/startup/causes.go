package startup

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/meshdiag/meshdiag/checks/cluster"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

// found is one start that went wrong.
type found struct {
	x          *start
	word       string // what pods of one maker have to have in common to be told as one
	summary    string // of this pod
	confidence diagnose.Confidence
	severity   diagnose.Severity
	params     map[string]string
	lines      []line       // messages to be shown besides the time line
	events     []kube.Event // events to be shown besides it
	text       string       // what the pod's status says, to be shown besides it
}

// causes makes causes of starts that went wrong: pods of one maker of which the same is to be said are told as one.
func (s *survey) causes(list []found) []diagnose.Cause {
	var pods []kube.Pod
	by := map[string]*found{}
	var out []diagnose.Cause
	for i := range list {
		f := &list[i]
		if f.x.file != "" {
			out = append(out, s.cause(f, f.x.title(), "files/"+f.x.file, nil))
			continue
		}
		pods = append(pods, *f.x.pod)
		by[f.x.pod.Ref()] = f
	}
	groups := cluster.ByMaker(pods, func(p *kube.Pod) string { return by[p.Ref()].word })
	for _, g := range groups {
		first := by[g.Pods[0].Ref()]
		for i := range g.Pods {
			if f := by[g.Pods[i].Ref()]; f.confidence > first.confidence {
				first = f
			}
		}
		c := s.cause(first, g.Title(), g.Key(s.req), g.Params())
		c.Params["pod"] = first.x.pod.Name
		if n := len(g.Pods); n > 1 {
			c.Summary += fmt.Sprintf(" (%d pods alike)", n)
		}
		for i := range g.Pods {
			c.Severity = max(c.Severity, by[g.Pods[i].Ref()].severity)
		}
		out = append(out, c)
	}
	slices.SortStableFunc(out, func(a, b diagnose.Cause) int { return int(b.Confidence) - int(a.Confidence) })
	if n := len(out) - maxCauses; n > 0 {
		out = out[:maxCauses]
		out[maxCauses-1].Summary += fmt.Sprintf(" (%d more like it are not listed)", n)
	}
	return out
}

func (s *survey) cause(f *found, subject, key string, params map[string]string) diagnose.Cause {
	c := diagnose.Cause{
		Subject: subject, Key: key, Summary: f.summary, Confidence: f.confidence, Severity: f.severity, Params: map[string]string{},
	}
	if f.x.file != "" && s.req.Target.Namespace != "" {
		c.Key = "" // a log handed in with a question about a pod is that pod's
	}
	maps.Copy(c.Params, params)
	switch {
	case s.plane.Managed():
		c.Params["managed"] = s.planeWhy
	case s.plane == cluster.InCluster:
		c.Params["in_cluster"] = s.planeWhy
	}
	maps.Copy(c.Params, f.params)
	maps.DeleteFunc(c.Params, func(_, v string) bool { return v == "" })
	if f.text != "" {
		c.Evidence = append(c.Evidence, diagnose.Exhibit{Fact: evidence.Pods.Name(), Excerpt: f.text, Source: f.x.source})
	}
	if t := show(timeline(f.x.pod, f.x.events, f.x.lines)); t != "" {
		c.Evidence = append(c.Evidence, diagnose.Exhibit{Fact: f.x.fact(), Excerpt: t, Source: f.x.seenAt()})
	}
	for _, e := range f.events[:min(len(f.events), maxExhibits)] {
		text := e.Reason + ": " + cut(e.Message, maxExcerpt)
		if e.Count > 1 {
			text += fmt.Sprintf("\n%d times", e.Count)
		}
		c.Evidence = append(c.Evidence, diagnose.Exhibit{Fact: evidence.ClusterEvents.Name(), Excerpt: text, Source: f.x.eventSource})
	}
	for _, l := range f.lines[:min(len(f.lines), maxExhibits)] {
		text := cut(l.Text, maxExcerpt)
		if l.Count > 1 {
			text += fmt.Sprintf("\n%d like it", l.Count)
		}
		c.Evidence = append(c.Evidence, diagnose.Exhibit{Fact: evidence.LogMessages.Name(), Excerpt: text, Source: l.Source})
	}
	return c
}

// fact is what a start's time line is put down to.
func (x *start) fact() evidence.Name {
	switch {
	case x.seen:
		return evidence.Pods.Name()
	case len(x.events) > 0:
		return evidence.ClusterEvents.Name()
	default:
		return evidence.LogMessages.Name()
	}
}

func (x *start) seenAt() evidence.Source {
	switch {
	case x.seen:
		return x.source
	case len(x.events) > 0:
		return x.eventSource
	case len(x.lines) > 0:
		return x.lines[0].Source
	}
	return evidence.Source{}
}

// templatePaths are where the kinds of workloads have the template whose change makes new pods.
var templatePaths = map[string][]string{
	"Deployment":  {"spec", "template", "metadata", "annotations"},
	"StatefulSet": {"spec", "template", "metadata", "annotations"},
	"DaemonSet":   {"spec", "template", "metadata", "annotations"},
	"CronJob":     {"spec", "jobTemplate", "spec", "template", "metadata", "annotations"},
}

// patch gives a merge patch that sets annotations in the template of what made a pod; "" where there is no template that may be
// changed: a Job's may not, and a ReplicaSet's makes no new pods.
func patch(maker string, annotations map[string]string) string {
	kind, _, _ := strings.Cut(maker, "/")
	path := templatePaths[kind]
	if path == nil {
		return ""
	}
	var tree any = annotations
	for i := len(path) - 1; i >= 0; i-- {
		tree = map[string]any{path[i]: tree}
	}
	b, err := json.Marshal(tree)
	if err != nil {
		return ""
	}
	return string(b)
}

// one is a single annotation.
func one(key, value string) map[string]string { return map[string]string{key: value} }

// annotation gives an annotation as the template has it, or else the pod; own is what stands at the workload itself, where the
// injector doesn't look.
func (s *survey) annotation(x *start, key string) (value, own string) {
	w := s.workload(x)
	if w == nil {
		return x.pod.Annotations[key], ""
	}
	t := w.Pod()
	return cmp.Or(t.Annotations[key], x.pod.Annotations[key]), w.Annotations[key]
}
