package kube

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Selector is a label selector. The zero value matches everything, as an empty selector does; a nil *Selector is for the caller
// to decide: a webhook's matches everything, a Service's nothing.
type Selector struct {
	MatchLabels      map[string]string `json:"matchLabels,omitempty"`
	MatchExpressions []Requirement     `json:"matchExpressions,omitempty"`
}

// Requirement is one term of a selector.
type Requirement struct {
	Key      string   `json:"key"`
	Operator string   `json:"operator"` // In, NotIn, Exists, DoesNotExist
	Values   []string `json:"values,omitempty"`
}

// String gives the term as kubectl writes it: "istio.io/rev in (default)", "!istio-injection".
func (r Requirement) String() string {
	switch r.Operator {
	case "Exists":
		return r.Key
	case "DoesNotExist":
		return "!" + r.Key
	case "In":
		if len(r.Values) == 1 {
			return r.Key + "=" + r.Values[0]
		}
		return fmt.Sprintf("%s in (%s)", r.Key, strings.Join(r.Values, ","))
	case "NotIn":
		if len(r.Values) == 1 {
			return r.Key + "!=" + r.Values[0]
		}
		return fmt.Sprintf("%s notin (%s)", r.Key, strings.Join(r.Values, ","))
	default:
		return fmt.Sprintf("%s %s (%s)", r.Key, r.Operator, strings.Join(r.Values, ","))
	}
}

// Requirements gives all terms: those of matchLabels, sorted by key, then the expressions in their order. All have to hold.
func (s *Selector) Requirements() []Requirement {
	if s == nil {
		return nil
	}
	var out []Requirement
	for _, k := range slices.Sorted(maps.Keys(s.MatchLabels)) {
		out = append(out, Requirement{Key: k, Operator: "In", Values: []string{s.MatchLabels[k]}})
	}
	return append(out, s.MatchExpressions...)
}

// Failing gives the first term that labels don't satisfy; nil where all are. A NotIn holds where the key is absent, as in the
// API server. The error names an operator that isn't known: then nothing can be said.
func (s *Selector) Failing(labels map[string]string) (*Requirement, error) {
	for _, r := range s.Requirements() {
		ok, err := r.Matches(labels)
		if err != nil {
			return nil, err
		}
		if !ok {
			return &r, nil
		}
	}
	return nil, nil
}

// AllFailing gives every term that labels don't satisfy.
func (s *Selector) AllFailing(labels map[string]string) ([]Requirement, error) {
	var out []Requirement
	for _, r := range s.Requirements() {
		ok, err := r.Matches(labels)
		if err != nil {
			return nil, err
		}
		if !ok {
			out = append(out, r)
		}
	}
	return out, nil
}

// Matches says whether labels satisfy the term.
func (r Requirement) Matches(labels map[string]string) (bool, error) {
	v, has := labels[r.Key]
	switch r.Operator {
	case "In":
		return has && slices.Contains(r.Values, v), nil
	case "NotIn":
		return !has || !slices.Contains(r.Values, v), nil
	case "Exists":
		return has, nil
	case "DoesNotExist":
		return !has, nil
	default:
		return false, fmt.Errorf("the operator %q is none of In, NotIn, Exists, DoesNotExist", r.Operator)
	}
}

// Empty says whether the selector matches everything.
func (s *Selector) Empty() bool { return len(s.Requirements()) == 0 }
