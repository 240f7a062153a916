package kubetest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"

	"golang.org/x/sync/errgroup"
)

var (
	namespaces      = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
	serviceAccounts = schema.GroupVersionResource{Version: "v1", Resource: "serviceaccounts"}
	services        = schema.GroupVersionResource{Version: "v1", Resource: "services"}
	configMaps      = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}

	getOptions    metav1.GetOptions
	createOptions metav1.CreateOptions
	patchOptions  metav1.PatchOptions
)

// parallel is how many objects ApplyMany writes at a time: more doesn't help an API server that has two cores.
const parallel = 16

// yamlBuffer is how far a manifest is read to tell JSON from YAML.
const yamlBuffer = 4096

// Apply creates the objects of manifests (YAML or JSON; documents, lists, what kubectl get -o prints), changes those that are
// there, and writes their status where they have one, which kubelet and controllers do elsewhere. Namespaces and service
// accounts that are named but missing are made. It returns what the API server stored.
func (c *Cluster) Apply(t testing.TB, manifests ...string) []*unstructured.Unstructured {
	t.Helper()
	var stored []*unstructured.Unstructured
	for _, m := range manifests {
		objects, err := parse(m)
		if err != nil {
			t.Fatalf("manifest: %v", err)
		}
		for _, o := range objects {
			got, err := c.apply(t.Context(), o)
			if err != nil {
				t.Fatalf("%s %s/%s: %v", o.GetKind(), o.GetNamespace(), o.GetName(), err)
			}
			stored = append(stored, got)
		}
	}
	return stored
}

// TryCreate creates one object and returns the API server's answer, which may be an error in its own words. It makes the
// namespace and the service account that the object needs.
func (c *Cluster) TryCreate(t testing.TB, manifest string) (*unstructured.Unstructured, error) {
	t.Helper()
	objects, err := parse(manifest)
	if err != nil || len(objects) != 1 {
		t.Fatalf("want a manifest of one object, got %d (%v)", len(objects), err)
	}
	client, err := c.resource(t.Context(), objects[0].GroupVersionKind(), objects[0].GetNamespace())
	if err != nil {
		t.Fatal(err)
	}
	return c.create(t.Context(), client, objects[0])
}

// ApplyMany applies many manifests at a time, for tests of thousands of objects.
func (c *Cluster) ApplyMany(t testing.TB, manifests []string) {
	t.Helper()
	g, ctx := errgroup.WithContext(t.Context())
	g.SetLimit(parallel)
	for i, m := range manifests {
		g.Go(func() error {
			objects, err := parse(m)
			if err != nil {
				return fmt.Errorf("manifest %d: %w", i, err)
			}
			for _, o := range objects {
				if _, err := c.apply(ctx, o); err != nil {
					return fmt.Errorf("%s %s/%s: %w", o.GetKind(), o.GetNamespace(), o.GetName(), err)
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
}

// Delete deletes an object at once, without the grace that a kubelet would be given. kind is as in a manifest ("Pod"), apiVersion
// too; namespace is empty for objects of the cluster.
func (c *Cluster) Delete(t testing.TB, apiVersion, kind, namespace, name string) {
	t.Helper()
	o := &unstructured.Unstructured{}
	o.SetAPIVersion(apiVersion)
	o.SetKind(kind)
	client, err := c.resource(t.Context(), o.GroupVersionKind(), namespace)
	if err == nil {
		err = client.Delete(t.Context(), name, deleteNow())
	}
	if err == nil && kind == "Namespace" {
		err = c.finalize(t.Context(), name)
	}
	if err != nil {
		t.Fatalf("deleting %s %s/%s: %v", kind, namespace, name, err)
	}
}

// Namespace makes a namespace with labels, and the service account "default" in it.
func (c *Cluster) Namespace(t testing.TB, name string, labels map[string]string) {
	t.Helper()
	o := object("v1", "Namespace", "", name, nil)
	o.SetLabels(labels)
	if _, err := c.apply(t.Context(), o); err != nil {
		t.Fatalf("namespace %s: %v", name, err)
	}
}

// CustomResource defines a kind that takes any fields, as the CRDs of Istio and of Google do for those who only read them, and
// waits until the API server serves it.
func (c *Cluster) CustomResource(t testing.TB, group, version, kind, plural string, namespaced bool) {
	t.Helper()
	scope := "Cluster"
	if namespaced {
		scope = "Namespaced"
	}
	o := object("apiextensions.k8s.io/v1", "CustomResourceDefinition", "", plural+"."+group, map[string]any{
		"spec": map[string]any{
			"group": group, "scope": scope,
			"names": map[string]any{"kind": kind, "plural": plural, "singular": strings.ToLower(kind)},
			"versions": []any{map[string]any{
				"name": version, "served": true, "storage": true,
				"schema": map[string]any{"openAPIV3Schema": map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
			}},
		},
	})
	if _, err := c.apply(t.Context(), o); err != nil {
		t.Fatalf("kind %s: %v", kind, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), stepDeadline)
	defer cancel()
	list := c.Dynamic.Resource(schema.GroupVersionResource{Group: group, Version: version, Resource: plural})
	err := poll(ctx, "kind "+kind, func(ctx context.Context) error {
		_, err := list.List(ctx, metav1.ListOptions{Limit: 1})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Event is what a controller or kubelet reports about an object, an hour long.
type Event struct {
	Namespace, Kind, Name string // the object it's about
	UID                   string // its uid; may be empty
	Type, Reason, Message string // Type is Normal or Warning
	Component             string // such as replicaset-controller or kubelet
	Count                 int32
	First, Last           time.Time // now, if zero
}

// Event writes an event, as client-go's recorder does.
func (c *Cluster) Event(t testing.TB, e Event) {
	t.Helper()
	if e.Last.IsZero() {
		e.Last = time.Now()
	}
	if e.First.IsZero() {
		e.First = e.Last
	}
	o := object("v1", "Event", e.Namespace, "", map[string]any{
		"involvedObject": map[string]any{"kind": e.Kind, "namespace": e.Namespace, "name": e.Name, "uid": e.UID},
		"type":           e.Type, "reason": e.Reason, "message": e.Message, "count": int64(max(1, e.Count)),
		"source":         map[string]any{"component": e.Component},
		"firstTimestamp": e.First.UTC().Format(time.RFC3339), "lastTimestamp": e.Last.UTC().Format(time.RFC3339),
	})
	o.SetGenerateName(e.Name + ".")
	client, err := c.resource(t.Context(), o.GroupVersionKind(), e.Namespace)
	if err == nil {
		_, err = c.create(t.Context(), client, o)
	}
	if err != nil {
		t.Fatalf("event about %s %s: %v", e.Kind, e.Name, err)
	}
}

// object is a manifest with its metadata set.
func object(apiVersion, kind, namespace, name string, fields map[string]any) *unstructured.Unstructured {
	o := &unstructured.Unstructured{Object: map[string]any{}}
	for k, v := range fields {
		o.Object[k] = v
	}
	o.SetAPIVersion(apiVersion)
	o.SetKind(kind)
	if namespace != "" {
		o.SetNamespace(namespace)
	}
	if name != "" {
		o.SetName(name)
	}
	return o
}

func parse(manifest string) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	dec := yaml.NewYAMLOrJSONDecoder(bytes.NewReader([]byte(manifest)), yamlBuffer)
	for {
		o := &unstructured.Unstructured{}
		if err := dec.Decode(&o.Object); errors.Is(err, io.EOF) {
			return objects, nil
		} else if err != nil {
			return nil, err
		}
		if len(o.Object) == 0 {
			continue // a document of comments
		}
		if !o.IsList() {
			objects = append(objects, o)
			continue
		}
		err := o.EachListItem(func(item runtime.Object) error {
			objects = append(objects, item.(*unstructured.Unstructured))
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
}

func (c *Cluster) apply(ctx context.Context, o *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	for _, f := range []string{"uid", "resourceVersion", "creationTimestamp", "deletionTimestamp", "managedFields", "generation", "selfLink"} {
		unstructured.RemoveNestedField(o.Object, "metadata", f) // the server's to set
	}
	client, err := c.resource(ctx, o.GroupVersionKind(), o.GetNamespace())
	if err != nil {
		return nil, err
	}
	got, err := c.create(ctx, client, o)
	if apierrors.IsAlreadyExists(err) {
		var patch []byte
		if patch, err = json.Marshal(o.Object); err != nil {
			return nil, err
		}
		got, err = client.Patch(ctx, o.GetName(), types.MergePatchType, patch, patchOptions)
	}
	if err != nil {
		return nil, err
	}
	if o.GetKind() == "Namespace" && o.GetAPIVersion() == "v1" {
		if err := c.ensureAccount(ctx, o.GetName(), "default"); err != nil {
			return nil, err
		}
	}
	status, has := o.Object["status"]
	if !has {
		return got, nil
	}
	patch, err := json.Marshal(map[string]any{"status": status})
	if err != nil {
		return nil, err
	}
	written, err := client.Patch(ctx, got.GetName(), types.MergePatchType, patch, patchOptions, "status")
	if apierrors.IsNotFound(err) {
		return got, nil // a kind without the subresource: its status was stored with the rest
	}
	return written, err
}

// create makes an object, and first what it needs if that's missing: its namespace, and the account that a pod runs as.
func (c *Cluster) create(ctx context.Context, client dynamic.ResourceInterface, o *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	got, err := client.Create(ctx, o, createOptions)
	if err == nil || o.GetNamespace() == "" {
		return got, err
	}
	noAccount := o.GetKind() == "Pod" && apierrors.IsForbidden(err) && strings.Contains(err.Error(), "error looking up service account")
	if !apierrors.IsNotFound(err) && !noAccount {
		return nil, err
	}
	if err := c.ensureNamespace(ctx, o.GetNamespace()); err != nil {
		return nil, err
	}
	if account, _, _ := unstructured.NestedString(o.Object, "spec", "serviceAccountName"); o.GetKind() == "Pod" && account != "" {
		if err := c.ensureAccount(ctx, o.GetNamespace(), account); err != nil {
			return nil, err
		}
	}
	return client.Create(ctx, o, createOptions)
}

func (c *Cluster) resource(ctx context.Context, kind schema.GroupVersionKind, namespace string) (dynamic.ResourceInterface, error) {
	mapping, err := c.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if meta.IsNoMatchError(err) { // a kind that was defined since
		ctx, cancel := context.WithTimeout(ctx, stepDeadline)
		defer cancel()
		err = poll(ctx, kind.String(), func(context.Context) error {
			c.mapper.Reset()
			mapping, err = c.mapper.RESTMapping(kind.GroupKind(), kind.Version)
			return err
		})
	}
	if err != nil {
		return nil, err
	}
	r := c.Dynamic.Resource(mapping.Resource)
	if mapping.Scope.Name() == meta.RESTScopeNameRoot {
		return r, nil
	}
	if namespace == "" {
		return nil, fmt.Errorf("a %s needs a namespace", kind.Kind)
	}
	return r.Namespace(namespace), nil
}

func (c *Cluster) ensureNamespace(ctx context.Context, name string) error {
	_, err := c.Dynamic.Resource(namespaces).Create(ctx, object("v1", "Namespace", "", name, nil), createOptions)
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("namespace %s: %w", name, err)
	}
	return c.ensureAccount(ctx, name, "default")
}

// ensureAccount makes a service account whose pods get no token, so that they stay as their manifest has them.
func (c *Cluster) ensureAccount(ctx context.Context, namespace, name string) error {
	o := object("v1", "ServiceAccount", namespace, name, map[string]any{"automountServiceAccountToken": false})
	_, err := c.Dynamic.Resource(serviceAccounts).Namespace(namespace).Create(ctx, o, createOptions)
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("service account %s/%s: %w", namespace, name, err)
	}
	return nil
}

func deleteNow() metav1.DeleteOptions {
	none, background := int64(0), metav1.DeletePropagationBackground
	return metav1.DeleteOptions{GracePeriodSeconds: &none, PropagationPolicy: &background}
}
