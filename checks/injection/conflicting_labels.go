package injection

import (
	"fmt"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// ConflictingLabels finds labels of injection of which one hides the other.
var ConflictingLabels = diagnose.Check{
	ID:       "injection/conflicting-labels",
	Severity: diagnose.Blocking,
	Layer:    diagnose.LayerCluster,
	Symptoms: noSidecar,
	Needs:    needs,
	Explains: []diagnose.CheckID{idImage},
	Doc: diagnose.Doc{
		Title: "Two labels of injection contradict each other",
		Explanation: "Where a namespace has istio-injection, its istio.io/rev is not looked at: with istio-injection=enabled beside it, the default revision or tag injects, and where none is installed " +
			"nothing does. In the same way a pod's istio.io/rev counts only where its namespace has neither label. And a namespace that is in ambient mode and labelled for sidecars " +
			"gets sidecars, whose pods ambient then leaves out.",
		Quiet: "istio-injection=disabled beside a revision or ambient: it says that nothing is to be injected. Both labels lead to the same injector.",
		Remedy: steps([]diagnose.Step{
			{If: "ambient", Text: "Keep one of the two. For ambient, take the label of sidecars away", Command: "kubectl label namespace {{namespace}} {{sidecar_label}}-"},
			{If: "pod_rev", Text: "For the revision that the namespace names, take istio.io/rev={{pod_rev}} out of the labels of the pod or its template. For {{pod_rev}}, give the namespace that revision, which changes all its pods"},
			{If: "to_revision", Text: "For revision {{rev}}, take istio-injection away", Command: "kubectl label namespace {{namespace}} istio-injection-"},
			{If: "to_default", Text: "For the default revision, take istio.io/rev away instead", Command: "kubectl label namespace {{namespace}} istio.io/rev-"},
		}, relabelSteps, remakeSteps, []diagnose.Step{checkStep}),
		References: []string{refInjection, refIstio, "https://istio.io/latest/docs/reference/config/analysis/ist0123/"},
	},
	Evaluate: conflictingLabels,
}

func conflictingLabels(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	s := look(req, v)
	var out []diagnose.Cause
	for _, b := range s.bySpace(idConflict) {
		c := s.cause(b, fmt.Sprintf("%s%s %s.", sentence(b.title), b.affected(), b.word))
		switch {
		case b.params["ambient"] != "":
			leaveRunning(&c)
		case s.hooksErr != nil:
			c.Params["to_revision"], c.Params["to_default"] = "true", "true"
		default:
			// Each way out is offered only where it was tried and an injector selects the pods then.
			rev := b.params["rev"]
			if s.labelled(b.space, "istio.io/rev", rev, "istio-injection") {
				c.Params["to_revision"] = "true"
			}
			if s.labelled(b.space, "istio-injection", enabled, "istio.io/rev") {
				c.Params["to_default"] = "true"
			}
			if b.space.injected > 0 {
				c.Params["restart_all"], c.Params["restart"] = b.space.name, ""
			}
			if c.Params["to_revision"]+c.Params["to_default"] == "" {
				s.advise(&c, b)
			}
		}
		out = append(out, c)
	}
	for _, b := range s.bunches(func(x *subject) bool { return x.check == idConflict && x.params["pod_rev"] != "" }) {
		c := s.cause(b, fmt.Sprintf("%s %s.", sentence(b.title), b.word))
		leaveRunning(&c) // a change of the template, or of the namespace, has to come first
		out = append(out, c)
	}
	return out, s.ifNone(out, true)
}
