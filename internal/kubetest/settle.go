package kubetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

// Settle returns when admission acts on all webhook configurations, services, endpoint slices and namespace labels that are stored.
// The API server learns of each kind by a watch of its own, in order: so it's asked until it acts on one more of each.
func (c *Cluster) Settle(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), stepDeadline)
	defer cancel()
	if err := c.settle(ctx); err != nil {
		t.Fatal(err)
	}
}

func (c *Cluster) settle(ctx context.Context) (err error) {
	c.settled++
	const namespace, label = "kube-public", "kubetest/settle"
	token := strconv.Itoa(c.settled)
	name, verdict := "kubetest-settle-"+token, "settled "+token+"."
	cert, err := c.ca.issue(Certificate{Names: []string{name + "." + namespace + ".svc"}})
	if err != nil {
		return err
	}
	addr, stop, err := c.serve(Server{Certificate: cert, Handler: Deny(verdict)})
	if err != nil {
		return err
	}
	defer stop()

	var made []*unstructured.Unstructured
	defer func() {
		for _, o := range made {
			client, e := c.resource(ctx, o.GroupVersionKind(), o.GetNamespace())
			if e == nil {
				e = client.Delete(ctx, o.GetName(), deleteNow())
			}
			if e != nil && !apierrors.IsNotFound(e) {
				err = errors.Join(err, e)
			}
		}
		err = errors.Join(err, c.setLabel(ctx, namespace, label, nil))
	}()
	made = append(made, object("v1", "Service", namespace, name, nil), object("discovery.k8s.io/v1", "EndpointSlice", namespace, name+"-0", nil))
	if err := c.route(ctx, namespace, name, 443, addr); err != nil {
		return err
	}
	if err := c.setLabel(ctx, namespace, label, token); err != nil {
		return err
	}
	for _, validating := range []bool{false, true} {
		w := Webhook{
			Validating: validating, Config: name, Namespace: namespace, Service: name, Path: "/", CABundle: c.ca.PEM(),
			NamespaceSelector: map[string]any{"matchLabels": map[string]any{label: token}},
		}
		w.Name = strings.ToLower(w.kind()) + ".kubetest.local"
		mark := token + "-" + w.kind() // the mutating one must let through what asks for the other
		w.ObjectSelector = map[string]any{"matchLabels": map[string]any{label: mark}}
		o := object("admissionregistration.k8s.io/v1", w.kind(), "", name, map[string]any{"webhooks": []any{w.entry("configmaps")}})
		made = append(made, o)
		if _, err := c.apply(ctx, o); err != nil {
			return err
		}
		probe := object("v1", "ConfigMap", namespace, name, nil)
		probe.SetLabels(map[string]string{label: mark})
		err := poll(ctx, "admission", func(ctx context.Context) error {
			_, err := c.Dynamic.Resource(configMaps).Namespace(namespace).Create(ctx, probe, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
			if err != nil && strings.Contains(err.Error(), verdict) {
				return nil
			}
			return fmt.Errorf("%s %s isn't called yet (%w)", w.kind(), name, err)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// setLabel sets a namespace's label, or takes it away if value is nil.
func (c *Cluster) setLabel(ctx context.Context, namespace, label string, value any) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": map[string]any{label: value}}})
	if err != nil {
		return err
	}
	_, err = c.Dynamic.Resource(namespaces).Patch(ctx, namespace, types.MergePatchType, patch, patchOptions)
	return err
}
