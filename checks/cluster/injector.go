package cluster

import (
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

// Serves says whether the injector answers to a value of the label istio.io/rev.
func (i Injector) Serves(rev string) bool { return rev != "" && (rev == i.Revision || rev == i.Tag) }

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

// Injectors gives the injecting webhooks of all configurations, in order.
func Injectors(batches []evidence.Objects[kube.WebhookConfiguration]) []Injector {
	var out []Injector
	for _, b := range batches {
		for i := range b.Items {
			c := &b.Items[i]
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

func never(s *kube.Selector) bool {
	return slices.ContainsFunc(s.Requirements(), func(r kube.Requirement) bool { return r.Key == deactivated })
}

// Decision is what one injector says of a pod.
type Decision struct {
	Injector
	Match kube.Match
}

// Decide asks every injector whether it is called when the pod is made. ns is the pod's namespace, nil where it isn't known;
// results are what match conditions say.
func Decide(p *kube.Pod, ns *kube.Namespace, injectors []Injector, results []evidence.MatchConditionResult) []Decision {
	out := make([]Decision, len(injectors))
	for i, in := range injectors {
		out[i] = Decision{Injector: in, Match: in.Hook.Calls(kube.CreatePod(p, ns), Conditions(p, in.Config, in.Hook, results))}
	}
	return out
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
