package kubetest

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/netip"
	"strconv"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Webhook is one admission webhook, called for the creation of pods.
type Webhook struct {
	Validating bool   // mutating, if not
	Config     string // the configuration's name
	Name       string // the webhook's, such as rev.namespace.sidecar-injector.istio.io
	Labels     map[string]string

	Namespace, Service, Path string // the service it's called at; Port 443 if zero
	Port                     int32
	URL                      string // instead of a service
	CABundle                 []byte

	TimeoutSeconds int32  // the API's default, 10, if zero
	FailurePolicy  string // Fail, if empty
	// NamespaceSelector and ObjectSelector are as in a manifest; everything is selected without them.
	NamespaceSelector, ObjectSelector map[string]any
}

// Register creates webhook configurations, one for each Config of one sort, with its webhooks in order, and returns when the API
// server calls them: at once after it, a pod's creation gives the final answer.
func (c *Cluster) Register(t testing.TB, webhooks ...Webhook) {
	t.Helper()
	var order []*unstructured.Unstructured
	byName := map[string]*unstructured.Unstructured{}
	for _, w := range webhooks {
		kind := w.kind()
		o := byName[kind+w.Config]
		if o == nil {
			o = object("admissionregistration.k8s.io/v1", kind, "", w.Config, map[string]any{"webhooks": []any{}})
			o.SetLabels(w.Labels)
			byName[kind+w.Config] = o
			order = append(order, o)
		}
		o.Object["webhooks"] = append(o.Object["webhooks"].([]any), w.entry("pods"))
	}
	for _, o := range order {
		if _, err := c.apply(t.Context(), o); err != nil {
			t.Fatalf("%s %s: %v", o.GetKind(), o.GetName(), err)
		}
	}
	c.Settle(t)
}

func (w Webhook) kind() string {
	if w.Validating {
		return "ValidatingWebhookConfiguration"
	}
	return "MutatingWebhookConfiguration"
}

func (w Webhook) entry(resource string) map[string]any {
	client := map[string]any{}
	if w.URL != "" {
		client["url"] = w.URL
	} else {
		ref := map[string]any{"namespace": w.Namespace, "name": w.Service, "path": w.Path}
		if w.Port != 0 {
			ref["port"] = int64(w.Port)
		}
		client["service"] = ref
	}
	if w.CABundle != nil {
		client["caBundle"] = base64.StdEncoding.EncodeToString(w.CABundle)
	}
	e := map[string]any{
		"name": w.Name, "clientConfig": client, "sideEffects": "None", "admissionReviewVersions": []any{"v1"},
		"rules": []any{map[string]any{"apiGroups": []any{""}, "apiVersions": []any{"v1"}, "operations": []any{"CREATE"}, "resources": []any{resource}}},
	}
	if w.TimeoutSeconds != 0 {
		e["timeoutSeconds"] = int64(w.TimeoutSeconds)
	}
	if w.FailurePolicy != "" {
		e["failurePolicy"] = w.FailurePolicy
	}
	if w.NamespaceSelector != nil {
		e["namespaceSelector"] = w.NamespaceSelector
	}
	if w.ObjectSelector != nil {
		e["objectSelector"] = w.ObjectSelector
	}
	return e
}

// Route makes a service with one port, and an endpoint slice for each address, ready. Without an address the service has no
// endpoints.
func (c *Cluster) Route(t testing.TB, namespace, service string, port int32, to ...netip.AddrPort) {
	t.Helper()
	if err := c.route(t.Context(), namespace, service, port, to...); err != nil {
		t.Fatal(err)
	}
}

func (c *Cluster) route(ctx context.Context, namespace, service string, port int32, to ...netip.AddrPort) error {
	const name = "https-webhook" // as istiod's service calls it
	ports := map[string]any{"name": name, "port": int64(port), "protocol": "TCP"}
	if len(to) > 0 {
		ports["targetPort"] = int64(to[0].Port())
	}
	objects := []*unstructured.Unstructured{
		object("v1", "Service", namespace, service, map[string]any{"spec": map[string]any{"ports": []any{ports}}}),
	}
	for i, a := range to {
		s := object("discovery.k8s.io/v1", "EndpointSlice", namespace, service+"-"+strconv.Itoa(i), map[string]any{
			"addressType": "IPv4",
			"endpoints":   []any{map[string]any{"addresses": []any{a.Addr().String()}, "conditions": map[string]any{"ready": true, "serving": true}}},
			"ports":       []any{map[string]any{"name": name, "port": int64(a.Port()), "protocol": "TCP"}},
		})
		s.SetLabels(map[string]string{"kubernetes.io/service-name": service})
		objects = append(objects, s)
	}
	for _, o := range objects {
		if _, err := c.apply(ctx, o); err != nil {
			return fmt.Errorf("%s %s/%s: %w", o.GetKind(), namespace, o.GetName(), err)
		}
	}
	return nil
}
