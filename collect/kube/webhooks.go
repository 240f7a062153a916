package kube

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

// maxNamespaces bounds the namespaces whose Services are read: those of webhooks, of which a cluster with many add-ons has some
// twenty.
const maxNamespaces = 30

func (s *step) webhooks(ctx context.Context, key evidence.Key[[]evidence.Objects[kube.WebhookConfiguration]], resource, kind string) error {
	acc := access{what: "the " + kind + "s", verb: "list", group: "admissionregistration.k8s.io", version: "v1", resource: resource}
	items, err := list(ctx, s.cluster, acc, selectors{}, func(c *kube.WebhookConfiguration) bool {
		c.Kind = kind // a list's objects don't say
		tidy(&c.Meta)
		return true
	})
	putObjects(ctx, s, key, acc, items, err)
	return nil
}

func (s *step) mutating(ctx context.Context) error {
	return s.webhooks(ctx, evidence.MutatingWebhooks, "mutatingwebhookconfigurations", "MutatingWebhookConfiguration")
}

func (s *step) validating(ctx context.Context) error {
	return s.webhooks(ctx, evidence.ValidatingWebhooks, "validatingwebhookconfigurations", "ValidatingWebhookConfiguration")
}

// hooks gives the configurations that are known, mutating and validating; missing says which aren't.
func (s *step) hooks() (all []kube.WebhookConfiguration, missing error) {
	for _, key := range []evidence.Key[[]evidence.Objects[kube.WebhookConfiguration]]{evidence.MutatingWebhooks, evidence.ValidatingWebhooks} {
		batches, err := evidence.Whole(s.view, key)
		all = append(all, evidence.All(batches)...)
		missing = errors.Join(missing, err)
	}
	return all, missing
}

// serviceNamespaces gives the namespaces whose Services matter: the one asked about, the mesh's, and those of webhooks' servers.
// The error says why some may be missing.
func (s *step) serviceNamespaces() ([]string, error) {
	out := []string{rootNamespace}
	if ns := s.req.Target.Namespace; ns != "" {
		out = append(out, ns)
	}
	all, missing := s.hooks()
	var more []string
	for _, c := range all {
		for _, w := range c.Webhooks {
			if r := w.Client.Service; r != nil && dnsName.MatchString(r.Namespace) {
				more = append(more, r.Namespace)
			}
		}
	}
	slices.Sort(more)
	for _, ns := range slices.Compact(more) {
		if !slices.Contains(out, ns) {
			out = append(out, ns)
		}
	}
	if n := len(out) - maxNamespaces; n > 0 {
		return out[:maxNamespaces], fmt.Errorf("%d namespaces of webhooks' Services were not looked at", n)
	}
	if missing != nil {
		return out, without("where webhooks' Services are", missing)
	}
	return out, nil
}

func (s *step) services(ctx context.Context) error {
	acc := access{what: "the Services", verb: "list", version: "v1", resource: "services"}
	return perNamespace(ctx, s, evidence.ClusterServices, acc, func(x *kube.Service) bool {
		tidy(&x.Meta)
		return true
	})
}

func (s *step) slices(ctx context.Context) error {
	acc := access{what: "the EndpointSlices", verb: "list", group: "discovery.k8s.io", version: "v1", resource: "endpointslices"}
	return perNamespace[kube.EndpointSlice](ctx, s, evidence.EndpointSlices, acc, nil)
}

// perNamespace reads a list of each namespace whose Services matter.
func perNamespace[T any](ctx context.Context, s *step, key evidence.Key[[]evidence.Objects[T]], acc access, keep func(*T) bool) error {
	names, missing := s.serviceNamespaces()
	for _, ns := range names {
		in := within(acc, ns)
		items, err := list(ctx, s.cluster, in, selectors{}, keep)
		putObjects(ctx, s, key, in, items, err)
	}
	if missing != nil {
		s.fail(ctx, key.Name(), s.source(acc), missing)
	}
	return nil
}
