package kube

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
)

// WebhookConfiguration is a MutatingWebhookConfiguration or a ValidatingWebhookConfiguration.
type WebhookConfiguration struct {
	Kind     string `json:"kind"`
	Meta     `json:"metadata"`
	Webhooks []Webhook `json:"webhooks,omitempty"`
}

// Mutating says which of the two kinds it is.
func (c *WebhookConfiguration) Mutating() bool { return strings.HasPrefix(c.Kind, "Mutating") }

// Webhook is one entry of a configuration.
type Webhook struct {
	Name              string           `json:"name"`
	Client            ClientConfig     `json:"clientConfig"`
	NamespaceSelector *Selector        `json:"namespaceSelector,omitempty"`
	ObjectSelector    *Selector        `json:"objectSelector,omitempty"`
	Rules             []Rule           `json:"rules,omitempty"`
	FailurePolicy     string           `json:"failurePolicy,omitempty"` // "" is Fail in v1
	MatchPolicy       string           `json:"matchPolicy,omitempty"`   // "" is Equivalent in v1
	TimeoutSeconds    *int             `json:"timeoutSeconds,omitempty"`
	Reinvocation      string           `json:"reinvocationPolicy,omitempty"`
	SideEffects       string           `json:"sideEffects,omitempty"`
	MatchConditions   []MatchCondition `json:"matchConditions,omitempty"`
}

// FailsClosed says whether a call that fails refuses the request.
func (w *Webhook) FailsClosed() bool { return w.FailurePolicy == "" || w.FailurePolicy == "Fail" }

// MatchCondition is a CEL expression that has to be true for the webhook to be called.
type MatchCondition struct {
	Name       string `json:"name"`
	Expression string `json:"expression"`
}

// ClientConfig is where a webhook is.
type ClientConfig struct {
	URL      string            `json:"url,omitempty"`
	Service  *ServiceReference `json:"service,omitempty"`
	CABundle Bundle            `json:"caBundle,omitempty"`
}

// ServiceReference names a Service.
type ServiceReference struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Path      string `json:"path,omitempty"`
	Port      *int   `json:"port,omitempty"` // nil is 443
}

// PortNumber gives the port, 443 where none is set.
func (r *ServiceReference) PortNumber() int {
	if r.Port == nil {
		return 443
	}
	return *r.Port
}

// Host gives the name that the serving certificate has to be for: "istiod.istio-system.svc".
func (r *ServiceReference) Host() string { return r.Name + "." + r.Namespace + ".svc" }

// Bundle is a caBundle: base64 in JSON. What isn't base64 is kept as it stands, in Raw, for a check to quote.
type Bundle struct {
	PEM []byte // decoded; empty where none is set
	Raw string // the text, where it isn't base64
}

// UnmarshalText takes the field's text.
func (b *Bundle) UnmarshalText(t []byte) error {
	d, err := base64.StdEncoding.DecodeString(string(t))
	if err != nil {
		*b = Bundle{Raw: string(t)}
		return nil
	}
	*b = Bundle{PEM: d}
	return nil
}

// Empty says whether no bundle is set.
func (b Bundle) Empty() bool { return len(b.PEM) == 0 && b.Raw == "" }

// Rule says which requests a webhook is called for.
type Rule struct {
	Operations  []string `json:"operations,omitempty"`
	APIGroups   []string `json:"apiGroups,omitempty"`
	APIVersions []string `json:"apiVersions,omitempty"`
	Resources   []string `json:"resources,omitempty"`
	Scope       string   `json:"scope,omitempty"` // "" is "*"
}

// Request is one request to the API server, as far as webhooks' rules and selectors look at it.
type Request struct {
	Operation             string // CREATE, UPDATE, DELETE, CONNECT
	Group, Version        string
	Resource, Subresource string     // "pods", ""
	Namespace             *Namespace // nil where it isn't known
	NamespaceName         string     // "" for an object in no namespace
	Labels                map[string]string
}

// CreatePod gives the request that creates a pod.
func CreatePod(p *Pod, ns *Namespace) Request {
	return Request{Operation: "CREATE", Version: "v1", Resource: "pods", Namespace: ns, NamespaceName: p.Namespace, Labels: p.Labels}
}

// matches says whether a rule covers the request. Versions aren't compared where the policy is Equivalent: the API server
// converts, and pods have one version only.
func (r Rule) matches(q Request, equivalent bool) bool {
	has := func(list []string, v string) bool { return slices.Contains(list, "*") || slices.Contains(list, v) }
	resource := func() bool {
		for _, x := range r.Resources {
			res, sub, _ := strings.Cut(x, "/")
			if (res == "*" || res == q.Resource) && (sub == "*" || sub == q.Subresource) {
				return true
			}
		}
		return false
	}
	scope := r.Scope == "" || r.Scope == "*" || (r.Scope == "Namespaced") == (q.NamespaceName != "")
	return has(r.Operations, q.Operation) && has(r.APIGroups, q.Group) && (equivalent || has(r.APIVersions, q.Version)) && resource() && scope
}

// Answer says whether a webhook is called.
type Answer int

// The answers.
const (
	No Answer = iota
	Yes
	Unknown // something that decides isn't known
)

// Match is whether a webhook is called for a request, and what decided.
type Match struct {
	Answer Answer
	// On says what refused, or what couldn't be known: "rules", "namespaceSelector", "objectSelector", "matchConditions".
	On string
	// Terms are the terms of the selector that failed.
	Terms []Requirement
	// Why is a sentence for Unknown.
	Why string
}

// ConditionResult gives what a match condition says of the request's object: true or false; an error where that isn't known.
type ConditionResult func(MatchCondition) (bool, error)

// Calls decides as the API server does whether the webhook is called: its rules, the namespace's labels, the object's labels,
// then the match conditions, which conditions evaluates (nil: they can't be). A namespace that isn't known makes the answer
// Unknown where the namespace selector isn't empty; a namespace carries its name as the label kubernetes.io/metadata.name.
func (w *Webhook) Calls(q Request, conditions ConditionResult) Match {
	equivalent := w.MatchPolicy == "" || w.MatchPolicy == "Equivalent"
	if !slices.ContainsFunc(w.Rules, func(r Rule) bool { return r.matches(q, equivalent) }) {
		return Match{Answer: No, On: "rules"}
	}
	unknown := Match{}
	if q.NamespaceName != "" && !w.NamespaceSelector.Empty() {
		m := selects("namespaceSelector", w.NamespaceSelector, namespaceLabels(q))
		if q.Namespace == nil && !nameDecides(m, w.NamespaceSelector) {
			m = Match{Answer: Unknown, On: "namespaceSelector", Why: fmt.Sprintf("the labels of namespace %s aren't known", q.NamespaceName)}
		}
		switch m.Answer {
		case No:
			return m
		case Unknown:
			unknown = m
		}
	}
	if m := selects("objectSelector", w.ObjectSelector, q.Labels); m.Answer != Yes {
		if m.Answer == No {
			return m
		}
		unknown = m
	}
	for _, c := range w.MatchConditions {
		if conditions == nil {
			unknown = Match{Answer: Unknown, On: "matchConditions", Why: fmt.Sprintf("the match condition %q can't be evaluated here", c.Name)}
			continue
		}
		ok, err := conditions(c)
		if err != nil {
			unknown = Match{Answer: Unknown, On: "matchConditions", Why: fmt.Sprintf("the match condition %q can't be evaluated: %v", c.Name, err)}
			continue
		}
		if !ok {
			return Match{Answer: No, On: "matchConditions", Why: fmt.Sprintf("the match condition %q (%s) is false", c.Name, c.Expression)}
		}
	}
	if unknown.Answer == Unknown {
		return unknown
	}
	return Match{Answer: Yes}
}

// nameLabel is the label that the API server puts on every namespace.
const nameLabel = "kubernetes.io/metadata.name"

func namespaceLabels(q Request) map[string]string {
	labels := map[string]string{nameLabel: q.NamespaceName}
	if q.Namespace != nil {
		for k, v := range q.Namespace.Labels {
			labels[k] = v
		}
	}
	return labels
}

// nameDecides says whether what a selector says of a namespace holds whatever its other labels are.
func nameDecides(m Match, s *Selector) bool {
	byName := func(r Requirement) bool { return r.Key == nameLabel }
	if m.Answer == No {
		return slices.ContainsFunc(m.Terms, byName)
	}
	return !slices.ContainsFunc(s.Requirements(), func(r Requirement) bool { return !byName(r) })
}

func selects(on string, s *Selector, labels map[string]string) Match {
	failing, err := s.AllFailing(labels)
	switch {
	case err != nil:
		return Match{Answer: Unknown, On: on, Why: fmt.Sprintf("%s: %v", on, err)}
	case len(failing) > 0:
		return Match{Answer: No, On: on, Terms: failing}
	}
	return Match{Answer: Yes}
}
