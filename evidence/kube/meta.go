// Package kube holds what meshdiag reads of Kubernetes objects, and decides as the API server decides: which labels a selector
// matches, and which webhook is called for a pod.
//
// The types are the parts of the Kubernetes API that the checks read, under the API's own JSON names, so that an answer of the
// API server, a manifest, and what kubectl prints decode alike. What isn't read isn't kept: a namespace of thousands of pods
// has to fit in memory. Field names and meanings are those of https://kubernetes.io/docs/reference/kubernetes-api/.
package kube

import (
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// Meta is an object's metadata.
type Meta struct {
	Name            string            `json:"name,omitempty"`
	GenerateName    string            `json:"generateName,omitempty"`
	Namespace       string            `json:"namespace,omitempty"`
	UID             string            `json:"uid,omitempty"`
	Labels          map[string]string `json:"labels,omitempty"`
	Annotations     map[string]string `json:"annotations,omitempty"`
	Created         time.Time         `json:"creationTimestamp,omitzero"`
	Deleted         time.Time         `json:"deletionTimestamp,omitzero"`
	Generation      int64             `json:"generation,omitempty"`
	ResourceVersion string            `json:"resourceVersion,omitempty"`
	Owners          []Owner           `json:"ownerReferences,omitempty"`
	Managed         []Managed         `json:"managedFields,omitempty"`
	// Origin says where the object was read, where that isn't the API server: "pods.yaml, document 3".
	Origin string `json:"-"`
}

// Metadata gives the metadata itself: every object of this package has it.
func (m *Meta) Metadata() *Meta { return m }

// Ref gives "namespace/name", or the name alone of an object that is in no namespace.
func (m *Meta) Ref() string {
	name := m.Name
	if name == "" && m.GenerateName != "" {
		name = m.GenerateName + "*"
	}
	if m.Namespace == "" {
		return name
	}
	return m.Namespace + "/" + name
}

// Controller gives the owner that manages the object, nil for none.
func (m *Meta) Controller() *Owner {
	for i, o := range m.Owners {
		if o.Controller {
			return &m.Owners[i]
		}
	}
	return nil
}

// Owner is an owner reference.
type Owner struct {
	Kind       string `json:"kind,omitempty"`
	Name       string `json:"name,omitempty"`
	UID        string `json:"uid,omitempty"`
	Controller bool   `json:"controller,omitempty"`
}

// Managed says who set what last, and when: an entry of metadata.managedFields. The API server notes there when a field manager
// last changed any of the fields it owns, so the time of one label is known only to be no later than it.
type Managed struct {
	Manager     string
	Operation   string
	Time        time.Time // zero where not recorded
	Subresource string
	Labels      []string // the label keys that the manager owns, sorted
	Annotations []string
}

// UnmarshalJSON reads an entry of managedFields; of fieldsV1 it keeps the labels' and annotations' keys.
func (m *Managed) UnmarshalJSON(b []byte) error {
	var raw struct {
		Manager     string    `json:"manager"`
		Operation   string    `json:"operation"`
		Time        time.Time `json:"time"`
		Subresource string    `json:"subresource"`
		Fields      struct {
			Metadata struct {
				Labels      map[string]json.RawMessage `json:"f:labels"`
				Annotations map[string]json.RawMessage `json:"f:annotations"`
			} `json:"f:metadata"`
		} `json:"fieldsV1"`
	}
	if err := json.Unmarshal(b, &raw); err != nil {
		return err
	}
	*m = Managed{
		Manager: raw.Manager, Operation: raw.Operation, Time: raw.Time, Subresource: raw.Subresource,
		Labels: fieldKeys(raw.Fields.Metadata.Labels), Annotations: fieldKeys(raw.Fields.Metadata.Annotations),
	}
	return nil
}

// fieldKeys gives the names of fieldsV1's "f:NAME" keys.
func fieldKeys(m map[string]json.RawMessage) []string {
	var out []string
	for k := range m {
		if name, ok := strings.CutPrefix(k, "f:"); ok {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// LabelSetBy gives the latest time at which the label can have got its value, as managedFields tell it; false where they don't.
func (m *Meta) LabelSetBy(key string) (time.Time, bool) {
	var at time.Time
	for _, f := range m.Managed {
		if slices.Contains(f.Labels, key) && f.Time.After(at) {
			at = f.Time
		}
	}
	return at, !at.IsZero()
}

// Condition is an entry of a status's conditions.
type Condition struct {
	Type    string    `json:"type"`
	Status  string    `json:"status"` // "True", "False", "Unknown"
	Reason  string    `json:"reason,omitempty"`
	Message string    `json:"message,omitempty"`
	Changed time.Time `json:"lastTransitionTime,omitzero"`
}

// FindCondition gives the condition of a type, nil for none.
func FindCondition(list []Condition, typ string) *Condition {
	for i, c := range list {
		if c.Type == typ {
			return &list[i]
		}
	}
	return nil
}
