package cluster

import (
	"fmt"
	"slices"
	"strings"

	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

// Injector is a webhook that puts the mesh's sidecar into pods.
type Injector struct {
	Config *kube.WebhookConfiguration
	Hook   *kube.Webhook
	// Revision is what it serves: the value of the configuration's label istio.io/rev; "default" for the revision without a name.
	Revision string
	// Tag is the revision tag that the configuration is for, "" for none.
	Tag string
	// Managed says that the webhook is a URL: Google's control plane, not a Service of the cluster.
	Managed bool
	// Deactivated says that its selectors are made never to match, as istioctl does with the default injector where a default
	// tag took over.
	Deactivated bool
	Source      evidence.Source
}

// Title names the webhook: `rev.namespace.sidecar-injector.istio.io of istio-sidecar-injector-asm-1234-7`.
func (i Injector) Title() string { return i.Hook.Name + " of " + i.Config.Name }

// Serves says whether the injector answers to a value of the label istio.io/rev: whether one of its selectors asks for it. Only
// of selectors that ask for no revision its own labels are believed.
func (i Injector) Serves(rev string) bool {
	if rev == "" || i.Deactivated {
		return false
	}
	asked := i.Revisions()
	if len(asked) > 0 {
		return slices.Contains(asked, rev)
	}
	return i.Tag == rev || (i.Tag == "" && i.Revision == rev)
}

// Revisions gives the values of istio.io/rev that the injector's selectors ask for, sorted; of a tag's injector that is the tag.
func (i Injector) Revisions() []string {
	var out []string
	for _, s := range []*kube.Selector{i.Hook.NamespaceSelector, i.Hook.ObjectSelector} {
		for _, r := range s.Requirements() {
			if r.Key == kube.LabelRevision && r.Operator == "In" {
				out = append(out, r.Values...)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// ServedRevisions gives every value of istio.io/rev that an injector asks for, sorted.
func ServedRevisions(injectors []Injector) []string {
	var out []string
	for _, i := range injectors {
		if !i.Deactivated {
			out = append(out, i.Revisions()...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

const (
	injectorSuffix = "sidecar-injector.istio.io" // ends the names of all of Istio's injecting webhooks, of every release
	injectorApp    = "sidecar-injector"
	deactivated    = "istio.io/deactivated" // a label that no object has; selectors ask for it
)

// IsInjector says whether an entry of a mutating configuration injects the mesh's sidecar.
func IsInjector(c *kube.WebhookConfiguration, w *kube.Webhook) bool {
	if !c.Mutating() {
		return false
	}
	return strings.HasSuffix(w.Name, injectorSuffix) || c.Labels["app"] == injectorApp
}

// Injectors gives the injecting webhooks of all configurations, in order. A configuration that several sources tell is taken from
// the first, which is the live one.
func Injectors(batches []evidence.Objects[kube.WebhookConfiguration]) []Injector {
	var out []Injector
	from := map[string]int{} // the batch of each configuration
	for n, b := range batches {
		for i := range b.Items {
			c := &b.Items[i]
			if first, ok := from[c.Name]; ok && first != n {
				continue
			}
			from[c.Name] = n
			for j := range c.Webhooks {
				w := &c.Webhooks[j]
				if !IsInjector(c, w) {
					continue
				}
				out = append(out, Injector{
					Config: c, Hook: w, Revision: Revision(&c.Meta), Tag: c.Labels[kube.LabelTag],
					Managed: w.Client.URL != "", Deactivated: never(w.NamespaceSelector) || never(w.ObjectSelector), Source: b.Source,
				})
			}
		}
	}
	return out
}

// Revision gives the revision that an object of the control plane belongs to, "default" where it carries none.
func Revision(m *kube.Meta) string {
	if r := m.Labels[kube.LabelRevision]; r != "" {
		return r
	}
	return "default"
}

// never says whether a selector asks for the label that no object has.
func never(s *kube.Selector) bool {
	return slices.ContainsFunc(s.Requirements(), func(r kube.Requirement) bool {
		return r.Key == deactivated && (r.Operator == "In" || r.Operator == "Exists")
	})
}

// Decision is what one injector says of a pod.
type Decision struct {
	Injector
	Match kube.Match
}

// unnamed stands for the namespace of a manifest that names none: pods are always in one.
const unnamed = "(not named)"

// Decide asks every injector whether it is called when the pod is made. ns is the pod's namespace, nil where it isn't known;
// results are what match conditions say.
func Decide(p *kube.Pod, ns *kube.Namespace, injectors []Injector, results []evidence.MatchConditionResult) []Decision {
	out := make([]Decision, len(injectors))
	q := kube.CreatePod(p, ns)
	if q.NamespaceName == "" {
		q.NamespaceName = unnamed
	}
	for i, in := range injectors {
		out[i] = Decision{Injector: in, Match: in.Hook.Calls(q, Conditions(p, in.Config, in.Hook, results))}
	}
	return out
}

// Explain says in a line what the injector says of the pod, and the terms that decided:
// "namespace.sidecar-injector.istio.io: namespaceSelector wants istio-injection=enabled; namespace shop has no istio-injection".
func (d Decision) Explain(p *kube.Pod, ns *kube.Namespace) string {
	name := d.Hook.Name + ": "
	switch {
	case d.Deactivated:
		return name + "is deactivated: its selectors ask for a label that nothing has"
	case d.Match.Answer == kube.Yes:
		return name + "selects it"
	case d.Match.Answer == kube.Unknown:
		return name + "can't be told: " + d.Match.Why
	case d.Match.On == "rules":
		return name + "its rules don't cover the creation of pods"
	case d.Match.On == "matchConditions":
		return name + d.Match.Why
	}
	labels, whose := p.Labels, "the pod"
	if d.Match.On == "namespaceSelector" {
		labels, whose = nil, "namespace "+p.Namespace
		if ns != nil {
			labels = ns.Labels
		}
	}
	var wants, has []string
	for _, r := range d.Match.Terms {
		w, h := term(r, labels)
		wants, has = append(wants, w), append(has, h)
	}
	return fmt.Sprintf("%s%s wants %s; %s has %s", name, d.Match.On, strings.Join(wants, " and "), whose, strings.Join(has, " and "))
}

// term says what a term wants, and what is there in its place.
func term(r kube.Requirement, labels map[string]string) (wants, has string) {
	has = "no " + r.Key
	if v, ok := labels[r.Key]; ok {
		has = r.Key + "=" + v
	}
	switch r.Operator {
	case "DoesNotExist":
		return "no " + r.Key, has
	case "NotIn":
		return fmt.Sprintf("%s other than %s", r.Key, strings.Join(r.Values, " or ")), has
	case "In":
		return r.Key + "=" + strings.Join(r.Values, " or "), has
	default:
		return r.String(), has
	}
}

// Conditions gives what is known of a webhook's match conditions for a pod.
func Conditions(p *kube.Pod, c *kube.WebhookConfiguration, w *kube.Webhook, results []evidence.MatchConditionResult) kube.ConditionResult {
	return func(mc kube.MatchCondition) (bool, error) {
		for _, r := range results {
			if r.Configuration == c.Name && r.Webhook == w.Name && r.Condition == mc.Name && r.Pod == p.Title() {
				if r.Problem != "" {
					return false, errProblem(r.Problem)
				}
				return r.True, nil
			}
		}
		return false, errProblem("nobody evaluated it")
	}
}

type errProblem string

func (e errProblem) Error() string { return string(e) }

// Called gives those decisions that say yes, and whether some can't be told.
func Called(list []Decision) (yes []Decision, unknown *Decision) {
	for i, d := range list {
		switch d.Match.Answer {
		case kube.Yes:
			yes = append(yes, d)
		case kube.Unknown:
			unknown = &list[i]
		}
	}
	return yes, unknown
}
