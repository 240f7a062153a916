package kube

import (
	"context"
	"errors"

	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

// workloadKinds are what makes pods.
var workloadKinds = []struct{ kind, group, version, resource string }{
	{"Deployment", "apps", "v1", "deployments"},
	{"ReplicaSet", "apps", "v1", "replicasets"},
	{"StatefulSet", "apps", "v1", "statefulsets"},
	{"DaemonSet", "apps", "v1", "daemonsets"},
	{"Job", "batch", "v1", "jobs"},
	{"CronJob", "batch", "v1", "cronjobs"},
}

// workloads reads what makes the namespace's pods. Of a Deployment's ReplicaSets those that have or want no pods, and of which
// neither the request nor an event speaks, are left out: ten old ones of each Deployment are kept by default.
func (s *step) workloads(ctx context.Context) error {
	spoken := map[string]bool{}
	events, _ := evidence.Get(s.view, evidence.ClusterEvents) // without them those with pods are enough
	for _, e := range evidence.All(events) {
		if e.Involved.Kind == "ReplicaSet" {
			spoken[e.Involved.Name] = true
		}
	}
	var all []kube.Workload
	var failed []error
	whole := s.in(access{what: "the workloads", verb: "list", group: "apps", version: "v1", resource: "deployments"})
	for _, k := range workloadKinds {
		acc := s.in(access{what: "the " + k.resource, verb: "list", group: k.group, version: k.version, resource: k.resource})
		items, err := list(ctx, s.cluster, acc, selectors{}, func(w *kube.Workload) bool {
			w.Kind = k.kind
			tidy(&w.Meta)
			used := w.Status.Replicas > 0 || w.Spec.Replicas == nil || *w.Spec.Replicas > 0 || spoken[w.Name] || s.req.Target.Workload == "ReplicaSet/"+w.Name
			return k.kind != "ReplicaSet" || used
		})
		var part *partialError
		if err == nil || errors.As(err, &part) {
			all = append(all, items...)
		}
		if err != nil {
			failed = append(failed, err)
			s.fail(ctx, evidence.Workloads.Name(), s.source(acc), err)
		}
	}
	if len(failed) < len(workloadKinds) {
		src := s.source(whole)
		evidence.Put(s.set, evidence.Workloads, []evidence.Objects[kube.Workload]{{Items: all, Namespace: whole.namespace, Whole: len(failed) == 0, Source: src}}, src)
	}
	return nil
}
