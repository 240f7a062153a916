package kubetest

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
)

// pageSize is how many objects one list of the clearing asks for.
const pageSize = 1000

// snapshot is what a cluster holds: the uids of its objects, and the labels of its namespaces.
type snapshot struct {
	objects map[types.UID]bool
	labels  map[string]map[string]string
}

// resourceList is one resource that can be listed and deleted.
type resourceList struct {
	schema.GroupVersionResource
	namespaced, collection bool
}

// turns orders the clearing. A webhook could refuse what follows; a definition goes after its objects, and what the API server makes
// of it (an APIService) follows on its own; namespaces can only go when they are empty. All else has turn 1.
var turns = map[string]int{
	"mutatingwebhookconfigurations": 0, "validatingwebhookconfigurations": 0, "validatingadmissionpolicybindings": 0,
	"customresourcedefinitions": 2, "apiservices": 3, "namespaces": 4,
}

func turn(r resourceList) int {
	if n, ok := turns[r.Resource]; ok {
		return n
	}
	return 1
}

func (c *Cluster) resources() ([]resourceList, error) {
	c.discovery.Invalidate()
	lists, err := c.discovery.ServerPreferredResources()
	if err != nil {
		return nil, err
	}
	lists = discovery.FilteredBy(discovery.SupportsAllVerbs{Verbs: []string{"list", "delete"}}, lists)
	var all []resourceList
	for _, l := range lists {
		gv, err := schema.ParseGroupVersion(l.GroupVersion)
		if err != nil {
			return nil, err
		}
		for _, r := range l.APIResources {
			if gv.Group == "events.k8s.io" {
				continue // the same objects as the core group's
			}
			all = append(all, resourceList{gv.WithResource(r.Name), r.Namespaced, slices.Contains(r.Verbs, "deletecollection")})
		}
	}
	slices.SortStableFunc(all, func(a, b resourceList) int { return turn(a) - turn(b) })
	return all, nil
}

func (c *Cluster) snapshot(ctx context.Context) (snapshot, error) {
	s := snapshot{objects: map[types.UID]bool{}, labels: map[string]map[string]string{}}
	resources, err := c.resources()
	if err != nil {
		return s, err
	}
	for _, r := range resources {
		items, err := c.list(ctx, r)
		if err != nil {
			return s, err
		}
		for _, o := range items {
			s.objects[o.UID] = true
			if r.GroupVersionResource == namespaces {
				s.labels[o.Name] = o.Labels
			}
		}
	}
	return s, nil
}

func (c *Cluster) list(ctx context.Context, r resourceList) ([]metav1.PartialObjectMetadata, error) {
	var all []metav1.PartialObjectMetadata
	opts := metav1.ListOptions{Limit: pageSize}
	for {
		page, err := c.metadata.Resource(r.GroupVersionResource).List(ctx, opts)
		if apierrors.IsNotFound(err) {
			return all, nil // a kind whose definition was just deleted
		}
		if err != nil {
			return nil, fmt.Errorf("listing %s: %w", r.Resource, err)
		}
		all = append(all, page.Items...)
		if opts.Continue = page.Continue; opts.Continue == "" {
			return all, nil
		}
	}
}

// reset deletes what wasn't there when the cluster was new, and waits until the API server no longer calls deleted webhooks.
func (c *Cluster) reset() error {
	ctx, cancel := context.WithTimeout(context.Background(), startDeadline)
	defer cancel()
	var resources []resourceList
	err := poll(ctx, "the list of resources", func(context.Context) (err error) {
		resources, err = c.resources() // fails while a kind goes away
		return err
	})
	if err != nil {
		return err
	}
	for _, r := range resources {
		// A webhook that was deleted a moment ago may still refuse, and some objects go in their own time: so it's asked again.
		if err := poll(ctx, "the end of "+r.Resource, func(ctx context.Context) error { return c.clear(ctx, r) }); err != nil {
			return err
		}
	}
	c.mapper.Reset()
	return c.settle(ctx)
}

// clear deletes what is new of one resource, and is nil when there was nothing to delete.
func (c *Cluster) clear(ctx context.Context, r resourceList) error {
	items, err := c.list(ctx, r)
	if err != nil {
		return err
	}
	var left error
	emptied := map[string]bool{}
	for _, o := range items {
		switch {
		case c.asNew.objects[o.UID]:
			if err := c.relabel(ctx, r, o); err != nil {
				return err
			}
			continue
		case !emptied[o.Namespace] || len(o.Finalizers) > 0:
			if err := c.remove(ctx, r, o, emptied); err != nil {
				return err
			}
		}
		left = fmt.Errorf("%s %s/%s is still there", r.Resource, o.Namespace, o.Name)
	}
	return left
}

// remove deletes an object, or where no object of its namespace was there at first, all of its kind beside it.
func (c *Cluster) remove(ctx context.Context, r resourceList, o metav1.PartialObjectMetadata, emptied map[string]bool) error {
	all := c.metadata.Resource(r.GroupVersionResource)
	var err error
	switch _, old := c.asNew.labels[o.Namespace]; {
	case r.Resource == "apiservices":
		return nil // goes by itself
	case len(o.Finalizers) > 0 && r.Resource != "customresourcedefinitions": // whose finalizer is the API server's own
		if _, err = all.Namespace(o.Namespace).Patch(ctx, o.Name, types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), patchOptions); err == nil {
			err = all.Namespace(o.Namespace).Delete(ctx, o.Name, deleteNow())
		}
	case r.namespaced && r.collection && !old:
		if err = all.Namespace(o.Namespace).DeleteCollection(ctx, deleteNow(), metav1.ListOptions{}); err == nil {
			emptied[o.Namespace] = true
		}
	default:
		err = all.Namespace(o.Namespace).Delete(ctx, o.Name, deleteNow())
	}
	if err == nil && r.GroupVersionResource == namespaces {
		err = c.finalize(ctx, o.Name)
	}
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// finalize ends a deleted namespace, which the namespace controller would do once it's empty.
func (c *Cluster) finalize(ctx context.Context, name string) error {
	client := c.Dynamic.Resource(namespaces)
	o, err := client.Get(ctx, name, getOptions)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := unstructured.SetNestedSlice(o.Object, nil, "spec", "finalizers"); err != nil {
		return err
	}
	_, err = client.Update(ctx, o, metav1.UpdateOptions{}, "finalize")
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// relabel gives a namespace of a new cluster the labels that it had.
func (c *Cluster) relabel(ctx context.Context, r resourceList, o metav1.PartialObjectMetadata) error {
	if r.GroupVersionResource != namespaces {
		return nil
	}
	labels := map[string]any{}
	for k := range o.Labels {
		if _, had := c.asNew.labels[o.Name][k]; !had {
			labels[k] = nil
		}
	}
	if len(labels) == 0 {
		return nil
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": labels}})
	if err != nil {
		return err
	}
	_, err = c.Dynamic.Resource(namespaces).Patch(ctx, o.Name, types.MergePatchType, patch, patchOptions)
	return err
}
