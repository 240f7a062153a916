package kube

import (
	"context"
	"errors"
	"strings"

	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

// events reads the namespace's warnings, and all events of the pod or workload asked about. A batch that is whole holds every
// warning that there still is; API servers keep events for an hour.
func (s *step) events(ctx context.Context) error {
	acc := s.in(access{what: "the events", verb: "list", version: "v1", resource: "events"})
	fields := []string{"type=Warning"}
	if t := s.req.Target; t.Pod != "" {
		fields = append(fields, "involvedObject.name="+t.Pod)
	} else if _, name, ok := strings.Cut(t.Workload, "/"); ok {
		fields = append(fields, "involvedObject.name="+name)
	}
	var all []kube.Event
	var failed error
	seen := map[string]bool{}
	known := false
	for _, f := range fields {
		items, err := list(ctx, s.cluster, acc, selectors{field: f}, func(e *kube.Event) bool {
			e.Managed, e.Annotations = nil, nil
			fresh := !seen[e.Ref()]
			seen[e.Ref()] = true
			return fresh
		})
		var part *partialError
		if err == nil || errors.As(err, &part) {
			known = true
			all = append(all, items...)
		}
		if err != nil && failed == nil {
			failed = err
		}
	}
	src := s.source(acc)
	if known {
		evidence.Put(s.set, evidence.ClusterEvents, []evidence.Objects[kube.Event]{{Items: all, Namespace: acc.namespace, Whole: failed == nil, Source: src}}, src)
	}
	if failed != nil {
		s.fail(ctx, evidence.ClusterEvents.Name(), src, failed)
	}
	return nil
}
