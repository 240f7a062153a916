package injection

import (
	"fmt"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// AnnotationHasNoEffect finds annotations where labels are looked at.
var AnnotationHasNoEffect = diagnose.Check{
	ID:       "injection/annotation-has-no-effect",
	Severity: diagnose.Blocking,
	Layer:    diagnose.LayerCluster,
	Symptoms: noSidecar,
	Needs:    needs,
	Explains: []diagnose.CheckID{idImage},
	Doc: diagnose.Doc{
		Title: "An annotation asks for the sidecar, and only labels are looked at",
		Explanation: "Webhooks choose pods by labels. The annotation sidecar.istio.io/inject is read by the injector alone, once it is called: it can refuse a sidecar, and can't ask for one. " +
			"The same holds for istio-injection and istio.io/rev among a namespace's annotations.",
		Quiet:      "An injector selects the pod by its labels or its namespace's. The annotation refuses the sidecar.",
		Remedy:     steps(relabelSteps, podLabelSteps, remakeSteps, []diagnose.Step{checkStep}),
		References: []string{refIstio, refInjection},
	},
	Evaluate: annotationHasNoEffect,
}

func annotationHasNoEffect(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	s := look(req, v)
	var out []diagnose.Cause
	for _, b := range s.bySpace(idAnnotation) {
		out = append(out, s.cause(b, sentence(b.word)+b.affected()+"."))
	}
	for _, b := range s.byPod(idAnnotation) {
		c := s.cause(b, "")
		c.Summary = fmt.Sprintf("No injector selects %s: %s%s.", b.title, b.word, then(s.advise(&c, b)))
		out = append(out, c)
	}
	return out, s.ifNone(out, true)
}
