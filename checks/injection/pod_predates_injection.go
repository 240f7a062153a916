package injection

import (
	"fmt"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// PodPredatesInjection finds pods that are older than what makes an injector select them.
var PodPredatesInjection = diagnose.Check{
	ID:       "injection/pod-predates-injection",
	Severity: diagnose.Blocking,
	Layer:    diagnose.LayerCluster,
	Symptoms: noSidecar,
	Needs:    needs,
	Doc: diagnose.Doc{
		Title: "The pod is older than the injection",
		Explanation: "Injection happens when a pod is made, and never later. An injector selects the pod by the labels that are there now, and the pod was made before the label, or before the " +
			"webhook. Kubernetes keeps no time of a label: managedFields only tell when their manager last changed something, so this is likely, and not certain.",
		Quiet:      "The pod was made after the label and the webhook. Nothing tells which of them was first.",
		Remedy:     steps(remakeSteps, []diagnose.Step{checkStep}),
		References: []string{refInjection, refIstio},
	},
	Evaluate: podPredatesInjection,
}

func podPredatesInjection(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	s := look(req, v)
	var out []diagnose.Cause
	for _, b := range s.byPod(idPredates) {
		out = append(out, s.cause(b, fmt.Sprintf("%s %s older than the injection: %s%s; %s would be injected now.", sentence(b.title), b.verb("is", "are"), b.firstOf(), b.word, b.verb("it", "they"))))
	}
	return out, s.ifNone(out, true)
}
