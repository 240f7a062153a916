package kube

import (
	"context"
	"errors"
	"strings"

	"github.com/meshdiag/meshdiag/collect/kubefacts"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

const (
	// istiodLabel selects istiod's pods and Deployments, of every revision and in whatever namespace.
	istiodLabel = "app=istiod"
	// injectorNamespace is where the sidecar injector that Traffic Director had for GKE is installed.
	// https://docs.cloud.google.com/traffic-director/docs/set-up-gke-pods-auto
	injectorNamespace = "istio-control"
)

func (s *step) istiodPods(ctx context.Context) error {
	acc := access{what: "the pods of istiod", verb: "list", version: "v1", resource: "pods"}
	return ofIstiod(ctx, s, evidence.ControlPlanePods, acc, newPodStore().keep)
}

func (s *step) istiodDeployments(ctx context.Context) error {
	acc := access{what: "the Deployments of istiod", verb: "list", group: "apps", version: "v1", resource: "deployments"}
	return ofIstiod(ctx, s, evidence.ControlPlaneWorkloads, acc, func(w *kube.Workload) bool {
		w.Kind = "Deployment"
		tidy(&w.Meta)
		return true
	})
}

// ofIstiod reads what carries istiod's label: in the whole cluster, or where that isn't allowed, in the mesh's namespace and in
// those of webhooks' servers, where an istiod that matters is.
func ofIstiod[T any](ctx context.Context, s *step, key evidence.Key[[]evidence.Objects[T]], acc access, keep func(*T) bool) error {
	items, err := list(ctx, s.cluster, acc, selectors{label: istiodLabel}, keep)
	var denied *evidence.Denied
	if !errors.As(err, &denied) {
		putObjects(ctx, s, key, acc, items, err)
		return nil
	}
	names, missing := s.serviceNamespaces()
	all := true
	for _, ns := range names {
		in := within(acc, ns)
		items, nsErr := list(ctx, s.cluster, in, selectors{label: istiodLabel}, keep)
		if errors.As(nsErr, &denied) {
			all = false // the right to the whole cluster is what is missing
			continue
		}
		putObjects(ctx, s, key, in, items, nsErr)
	}
	if missing != nil || !all {
		s.fail(ctx, key.Name(), s.source(acc), err) // where they are told, they needn't be looked for in the whole cluster
	}
	return nil
}

// clusterRoles reads the ClusterRoles of istiod. Their names have the revision in them, so the list is read and theirs kept.
func (s *step) clusterRoles(ctx context.Context) error {
	acc := access{what: "the ClusterRoles of istiod", verb: "list", group: "rbac.authorization.k8s.io", version: "v1", resource: "clusterroles"}
	items, err := list(ctx, s.cluster, acc, selectors{}, func(r *kube.ClusterRole) bool {
		tidy(&r.Meta)
		return kubefacts.ControlPlaneRole(&r.Meta)
	})
	putObjects(ctx, s, evidence.ClusterRoles, acc, items, err)
	return nil
}

// configMaps reads the mesh's ConfigMaps, by the names that Istio, the managed control plane and Traffic Director's injector give
// them. Others are let go as they come.
func (s *step) configMaps(ctx context.Context) error {
	namespaces, err := evidence.Get(s.view, evidence.Namespaces)
	there := func(name string) bool {
		if err != nil || !evidence.Covers(namespaces, name) {
			return true // for all that is known
		}
		for _, ns := range evidence.All(namespaces) {
			if ns.Name == name {
				return true
			}
		}
		return false
	}
	for _, ns := range []string{rootNamespace, injectorNamespace} {
		acc := within(access{what: "the ConfigMaps", verb: "list", version: "v1", resource: "configmaps", role: roleConfig}, ns)
		if !there(ns) {
			putObjects[kube.ConfigMap](ctx, s, evidence.ConfigMaps, acc, nil, nil)
			continue
		}
		items, err := list(ctx, s.cluster, acc, selectors{}, func(m *kube.ConfigMap) bool {
			tidy(&m.Meta)
			return kubefacts.MeshConfigMap(m.Name) || ns == injectorNamespace && strings.Contains(m.Name, "inject")
		})
		putObjects(ctx, s, evidence.ConfigMaps, acc, items, err)
	}
	return nil
}
