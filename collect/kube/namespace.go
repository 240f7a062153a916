package kube

import (
	"context"
	"errors"
	"net/http"

	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

// namespaces reads all namespaces: a revision may be asked for by any. Where that isn't allowed, it reads the one asked
// about alone, which who may only read in that namespace is often allowed to.
func (s *step) namespaces(ctx context.Context) error {
	acc := access{what: "the namespaces", verb: "list", version: "v1", resource: "namespaces"}
	items, err := list[kube.Namespace](ctx, s.cluster, acc, selectors{}, nil)
	putObjects(ctx, s, evidence.Namespaces, acc, items, err)
	var denied *evidence.Denied
	if !errors.As(err, &denied) || s.req.Target.Namespace == "" {
		return nil
	}
	name := s.req.Target.Namespace
	one := access{what: "namespace " + name, verb: "get", version: "v1", resource: "namespaces", name: name}
	var ns kube.Namespace
	err = s.object(ctx, one, &ns)
	var found []kube.Namespace
	switch {
	case err == nil:
		found = []kube.Namespace{ns}
	case hasReason(err, http.StatusNotFound, "NotFound"):
	default:
		return nil // why the list can't be read is told
	}
	src := s.source(one)
	evidence.Put(s.set, evidence.Namespaces, []evidence.Objects[kube.Namespace]{{Items: found, Namespace: name, Whole: true, Source: src}}, src)
	return nil
}

// pods reads the pods of the namespace.
func (s *step) pods(ctx context.Context) error {
	acc := s.in(access{what: "the pods", verb: "list", version: "v1", resource: "pods"})
	items, err := list(ctx, s.cluster, acc, selectors{}, newPodStore().keep)
	putObjects(ctx, s, evidence.Pods, acc, items, err)
	return nil
}

// in makes an access one in the namespace asked about.
func (s *step) in(acc access) access { return within(acc, s.req.Target.Namespace) }

func within(acc access, namespace string) access {
	acc.namespace = namespace
	acc.what += " of namespace " + namespace
	return acc
}

// hasReason says whether the API server itself answered with a code and a reason.
func hasReason(err error, code int, reason string) bool {
	var se *statusError
	return errors.As(err, &se) && se.code == code && se.status && se.reason == reason
}
