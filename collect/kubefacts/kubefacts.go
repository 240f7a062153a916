// Package kubefacts sorts objects of the Kubernetes API into facts.
package kubefacts

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

// Objects gathers objects of one source.
type Objects struct {
	Namespaces            []kube.Namespace
	Pods                  []kube.Pod
	PodRows               []kube.PodRow
	Workloads             []kube.Workload
	Events                []kube.Event
	Mutating, Validating  []kube.WebhookConfiguration
	Services              []kube.Service
	EndpointSlices        []kube.EndpointSlice
	ConfigMaps            []kube.ConfigMap
	ClusterRoles          []kube.ClusterRole
	Revisions             []kube.ControlPlaneRevision
	DataPlanes            []kube.DataPlaneControl
	EnvoyFilters          []kube.EnvoyFilter
	PeerAuthentications   []kube.PeerAuthentication
	DestinationRules      []kube.DestinationRule
	AuthorizationPolicies []kube.AuthorizationPolicy
}

// ErrNotTheMesh is what [Objects.Add] answers for a ConfigMap or ClusterRole that isn't the mesh's: those of others are none of
// meshdiag's business.
var ErrNotTheMesh = errors.New("not the mesh's")

// class is a kind of object that is kept.
type class struct {
	groups []string // the API groups that it is in; "" is the core's
	facts  []evidence.Name
	add    func(o *Objects, x object) error
}

// object is one to be added.
type object struct {
	group, version, kind string
	raw                  []byte
	origin               string
}

// classOf gives the class of a kind.
func classOf(kind string) (class, bool) {
	one := func(group string, fact evidence.Name, add func(o *Objects, x object) error) (class, bool) {
		return class{[]string{group}, []evidence.Name{fact}, add}, true
	}
	workload := func(groups ...string) (class, bool) {
		return class{groups, []evidence.Name{evidence.Workloads.Name()}, addWorkload}, true
	}
	const istioNetworking, istioSecurity, google = "networking.istio.io", "security.istio.io", "mesh.cloud.google.com"
	switch kind {
	case "Namespace":
		return one("", evidence.Namespaces.Name(), func(o *Objects, x object) error { return add(&o.Namespaces, x) })
	case "Pod":
		return class{[]string{""}, []evidence.Name{evidence.Pods.Name()}, func(o *Objects, x object) error { return add(&o.Pods, x) }}, true
	case "Deployment", "ReplicaSet", "DaemonSet":
		return workload("apps", "extensions") // extensions/v1beta1 until Kubernetes 1.16
	case "StatefulSet":
		return workload("apps")
	case "Job", "CronJob":
		return workload("batch")
	case "ReplicationController":
		return workload("")
	case "Event":
		return class{[]string{"", "events.k8s.io"}, []evidence.Name{evidence.ClusterEvents.Name()}, func(o *Objects, x object) error { return add(&o.Events, x) }}, true
	case "MutatingWebhookConfiguration":
		return one("admissionregistration.k8s.io", evidence.MutatingWebhooks.Name(), addWebhooks)
	case "ValidatingWebhookConfiguration":
		return one("admissionregistration.k8s.io", evidence.ValidatingWebhooks.Name(), addWebhooks)
	case "Service":
		return one("", evidence.ClusterServices.Name(), func(o *Objects, x object) error { return add(&o.Services, x) })
	case "EndpointSlice":
		return one("discovery.k8s.io", evidence.EndpointSlices.Name(), func(o *Objects, x object) error { return add(&o.EndpointSlices, x) })
	case "Endpoints":
		return one("", evidence.EndpointSlices.Name(), addEndpoints)
	case "ConfigMap":
		return one("", evidence.ConfigMaps.Name(), addConfigMap)
	case "ClusterRole":
		return one("rbac.authorization.k8s.io", evidence.ClusterRoles.Name(), addClusterRole)
	case "ControlPlaneRevision":
		return one(google, evidence.ControlPlaneRevisions.Name(), func(o *Objects, x object) error { return add(&o.Revisions, x) })
	case "DataPlaneControl":
		return one(google, evidence.DataPlaneControls.Name(), func(o *Objects, x object) error { return add(&o.DataPlanes, x) })
	case "EnvoyFilter":
		return one(istioNetworking, evidence.EnvoyFilters.Name(), func(o *Objects, x object) error { return add(&o.EnvoyFilters, x) })
	case "DestinationRule":
		return one(istioNetworking, evidence.DestinationRules.Name(), func(o *Objects, x object) error { return add(&o.DestinationRules, x) })
	case "PeerAuthentication":
		return one(istioSecurity, evidence.PeerAuthentications.Name(), func(o *Objects, x object) error { return add(&o.PeerAuthentications, x) })
	case "AuthorizationPolicy":
		return one(istioSecurity, evidence.AuthorizationPolicies.Name(), func(o *Objects, x object) error { return add(&o.AuthorizationPolicies, x) })
	}
	return class{}, false
}

// Kinds gives the kinds that are kept.
func Kinds() []string {
	return []string{
		"Namespace", "Pod", "Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Job", "CronJob", "ReplicationController", "Event",
		"MutatingWebhookConfiguration", "ValidatingWebhookConfiguration", "Service", "EndpointSlice", "Endpoints", "ConfigMap", "ClusterRole",
		"ControlPlaneRevision", "DataPlaneControl", "EnvoyFilter", "PeerAuthentication", "DestinationRule", "AuthorizationPolicy",
	}
}

// Provides gives the facts that [Objects.Put] may record.
func Provides() []evidence.Name {
	out := []evidence.Name{evidence.PodRows.Name(), evidence.ControlPlanePods.Name(), evidence.ControlPlaneWorkloads.Name()}
	for _, k := range Kinds() {
		c, _ := classOf(k)
		for _, f := range c.facts {
			if !slices.Contains(out, f) {
				out = append(out, f)
			}
		}
	}
	return out
}

// Facts gives the facts that objects of a kind go to; nil for a kind that isn't kept. apiVersion may be "", where it isn't known:
// then the kind alone decides.
func Facts(apiVersion, kind string) []evidence.Name {
	c, ok := classOf(kind)
	if !ok || apiVersion != "" && !slices.Contains(c.groups, group(apiVersion)) {
		return nil
	}
	return c.facts
}

// group gives the API group of an apiVersion: "apps" of "apps/v1", "" of "v1".
func group(apiVersion string) string {
	g, _, ok := strings.Cut(apiVersion, "/")
	if !ok {
		return ""
	}
	return g
}

// Add decodes an object, as JSON, and keeps it. The error says which field isn't of its type; it is [ErrNotTheMesh] for an
// object of somebody else's. A kind that isn't kept is an error too: ask [Facts] first.
func (o *Objects) Add(apiVersion, kind string, raw []byte, origin string) error {
	c, ok := classOf(kind)
	if !ok || !slices.Contains(c.groups, group(apiVersion)) {
		return fmt.Errorf("objects of kind %s (%s) aren't read", kind, apiVersion)
	}
	_, version, ok := strings.Cut(apiVersion, "/")
	if !ok {
		version = apiVersion
	}
	return c.add(o, object{group(apiVersion), version, kind, raw, origin})
}

// thing is a type of package kube.
type thing[T any] interface {
	*T
	Metadata() *kube.Meta
}

// read decodes an object.
func read[T any, P thing[T]](x object) (T, error) {
	var t T
	err := json.Unmarshal(x.raw, &t)
	m := P(&t).Metadata()
	var typ *json.UnmarshalTypeError
	switch {
	case errors.As(err, &typ):
		return t, fmt.Errorf("%s: %s stands where %s is expected", fieldPath(typ.Field), typ.Value, expected(typ.Type))
	case err != nil:
		return t, fmt.Errorf("not readable: %w", err)
	case m.Name == "" && m.GenerateName == "" && x.kind != "Event":
		return t, errors.New("has no metadata.name")
	}
	m.Origin = x.origin
	return t, nil
}

// fieldPath takes the names of embedded Go structs out of a path.
func fieldPath(s string) string {
	if s == "" {
		return "a field"
	}
	return strings.ReplaceAll(s, "Meta.", "")
}

// expected names a type as the API does.
func expected(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Slice:
		return "an array"
	case reflect.Struct, reflect.Map, reflect.Pointer:
		return "an object"
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	}
	return "a number"
}

func add[T any, P thing[T]](list *[]T, x object) error {
	t, err := read[T, P](x)
	if err == nil {
		*list = append(*list, t)
	}
	return err
}

func addWorkload(o *Objects, x object) error {
	w, err := read[kube.Workload](x)
	if err != nil {
		return err
	}
	w.Kind = x.kind
	if x.kind == "ReplicationController" {
		// Its selector is a plain map of labels.
		var rc struct {
			Spec struct {
				Selector map[string]string `json:"selector"`
			} `json:"spec"`
		}
		if err := json.Unmarshal(x.raw, &rc); err != nil {
			return fmt.Errorf("spec.selector: %w", err)
		}
		w.Spec.Selector = &kube.Selector{MatchLabels: rc.Spec.Selector}
	}
	o.Workloads = append(o.Workloads, w)
	return nil
}

func addWebhooks(o *Objects, x object) error {
	c, err := read[kube.WebhookConfiguration](x)
	if err != nil {
		return err
	}
	c.Kind = x.kind
	if x.version == "v1beta1" {
		// Its defaults were others: https://v1-21.docs.kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/
		const timeout = 30
		for i := range c.Webhooks {
			w := &c.Webhooks[i]
			if w.FailurePolicy == "" {
				w.FailurePolicy = "Ignore"
			}
			if w.MatchPolicy == "" {
				w.MatchPolicy = "Exact"
			}
			if w.TimeoutSeconds == nil {
				t := timeout
				w.TimeoutSeconds = &t
			}
		}
	}
	if c.Mutating() {
		o.Mutating = append(o.Mutating, c)
	} else {
		o.Validating = append(o.Validating, c)
	}
	return nil
}

// addEndpoints keeps an Endpoints as the slices that the API server would make of it.
func addEndpoints(o *Objects, x object) error {
	type address struct {
		IP     string    `json:"ip"`
		Target *kube.Ref `json:"targetRef"`
	}
	var e struct {
		Meta    kube.Meta `json:"metadata"`
		Subsets []struct {
			Addresses []address       `json:"addresses"`
			NotReady  []address       `json:"notReadyAddresses"`
			Ports     json.RawMessage `json:"ports"`
		} `json:"subsets"`
	}
	if _, err := read[kube.Namespace](x); err != nil { // the metadata alone
		return err
	}
	if err := json.Unmarshal(x.raw, &e); err != nil {
		return fmt.Errorf("subsets: %w", err)
	}
	slice := func() kube.EndpointSlice {
		s := kube.EndpointSlice{Meta: e.Meta}
		s.Labels = map[string]string{"kubernetes.io/service-name": e.Meta.Name}
		s.Origin = x.origin
		return s
	}
	if len(e.Subsets) == 0 {
		o.EndpointSlices = append(o.EndpointSlices, slice())
	}
	for _, sub := range e.Subsets {
		s := slice()
		if len(sub.Ports) > 0 {
			if err := json.Unmarshal(sub.Ports, &s.Ports); err != nil {
				return fmt.Errorf("subsets.ports: %w", err)
			}
		}
		add := func(list []address, ready bool) {
			for _, a := range list {
				ep := kube.Endpoint{Addresses: []string{a.IP}, Target: a.Target}
				ep.Conditions.Ready = &ready
				s.Endpoints = append(s.Endpoints, ep)
			}
		}
		add(sub.Addresses, true)
		add(sub.NotReady, false)
		o.EndpointSlices = append(o.EndpointSlices, s)
	}
	return nil
}

func addConfigMap(o *Objects, x object) error {
	if m := metadata(x); m != nil && !MeshConfigMap(m.Name) {
		return ErrNotTheMesh
	}
	return add(&o.ConfigMaps, x)
}

func addClusterRole(o *Objects, x object) error {
	if m := metadata(x); m != nil && !ControlPlaneRole(m) {
		return ErrNotTheMesh
	}
	return add(&o.ClusterRoles, x)
}

// metadata gives an object's metadata alone, nil where it can't be read.
func metadata(x object) *kube.Meta {
	var h struct {
		Meta kube.Meta `json:"metadata"`
	}
	if json.Unmarshal(x.raw, &h) != nil {
		return nil
	}
	return &h.Meta
}
