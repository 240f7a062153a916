package injection

import (
	"fmt"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// NotSelected finds pods that no injector is called for, and the label that would change it.
var NotSelected = diagnose.Check{
	ID:       "injection/not-selected",
	Severity: diagnose.Blocking,
	Layer:    diagnose.LayerCluster,
	Symptoms: noSidecar,
	Needs:    needs,
	Doc: diagnose.Doc{
		Title: "No injector selects the pod",
		Explanation: "A pod gets its sidecar from a mutating webhook, which Kubernetes calls when the pod is made, and only where the webhook's selectors match the labels of the " +
			"namespace and of the pod. Every injecting webhook was evaluated as the API server does it, and none matches; the evidence shows for each the term that failed. The label " +
			"that is advised was tried in the same way: with it, one injector selects the pod and no other does.",
		Quiet: "Nothing says that the pod was to be in the mesh: neither a label of it or of its namespace, nor another pod of the same workload with a sidecar, nor the question. " +
			"The namespace has istio-injection=disabled or is in ambient mode, the pod refuses itself or is on the host's network, and nobody asks about it. The webhooks aren't known.",
		Remedy: steps([]diagnose.Step{
			{If: "ambient", Text: "Nothing is to be done where ambient is what you want. For a sidecar, take the namespace out of ambient mode and label it for injection"},
			{If: "ignored", Text: "Run the pod in another namespace: no label makes the injector touch {{ignored}}"},
			{If: "managed", Unless: "ns_label", Text: "The control plane is managed ({{managed}}): see what the fleet says of it", Command: "gcloud container fleet mesh describe"},
		}, relabelSteps, podLabelSteps, remakeSteps, []diagnose.Step{
			{Unless: "ignored", Text: "See the labels that each injector asks for", Command: "kubectl get mutatingwebhookconfigurations -l app=sidecar-injector -o yaml"},
			checkStep,
		}),
		References: []string{refInjection, refIstio, refSelectors},
	},
	Evaluate: notSelected,
}

func notSelected(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	s := look(req, v)
	var out []diagnose.Cause
	for _, b := range s.bySpace(idSelected) {
		c := s.cause(b, "")
		c.Summary = fmt.Sprintf("No injector selects the pods of %s%s: %s%s.", b.title, b.affected(), b.word, then(s.advise(&c, b)))
		if b.params["no_webhook"] != "" {
			c.Key = managedKey(c.Key)
		}
		out = append(out, c)
	}
	for _, b := range s.byPod(idSelected) {
		c := s.cause(b, "")
		switch {
		case b.params["ambient"] != "":
			c.Summary = fmt.Sprintf("%s %s no sidecar: %s.", sentence(b.title), b.verb("has", "have"), b.word)
		case b.params["ignored"] != "":
			c.Summary = fmt.Sprintf("%s %s not injected: %s.", sentence(b.title), b.verb("is", "are"), b.word)
		default:
			c.Summary = fmt.Sprintf("No injector selects %s: %s%s.", b.title, b.word, then(s.advise(&c, b)))
		}
		if b.params["no_webhook"] != "" {
			c.Key = managedKey(c.Key)
		}
		out = append(out, c)
	}
	return out, s.ifNone(out, true)
}

// then joins a further part to a sentence.
func then(s string) string {
	if s == "" {
		return ""
	}
	return "; " + s
}

// ifNone gives the error of a check that found nothing: nil where all was seen.
func (s *survey) ifNone(found []diagnose.Cause, webhooks bool) error {
	if len(found) > 0 {
		return nil
	}
	return s.open(webhooks)
}
