package injection

import (
	"fmt"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// LabelTypo finds labels that are nearly those of injection.
var LabelTypo = diagnose.Check{
	ID:       "injection/label-typo",
	Severity: diagnose.Blocking,
	Layer:    diagnose.LayerCluster,
	Symptoms: noSidecar,
	Needs:    needs,
	Explains: []diagnose.CheckID{idImage},
	Doc: diagnose.Doc{
		Title: "The label of injection is misspelt, or on the wrong kind of object",
		Explanation: "Selectors compare keys and values letter by letter. On namespaces the labels are istio-injection=enabled, or istio.io/rev with the name of a revision or tag; on pods they are " +
			"sidecar.istio.io/inject=\"true\", or istio.io/rev. A label that is a letter off, such as istio-inject=enabled, which an edition of a guide prints, or one of pods on a namespace, is " +
			"looked at by nobody. Where the injectors are known, the right label was tried, and one of them selects the pods with it.",
		Quiet:      "Some injector does look at the label. An injector selects the pods all the same. The right label would not help either. Other labels of the mesh, such as istio.io/use-waypoint.",
		Remedy:     steps(relabelSteps, podLabelSteps, remakeSteps, []diagnose.Step{checkStep}),
		References: []string{refInjection, refIstio, refProblems},
	},
	Evaluate: labelTypo,
}

func labelTypo(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	s := look(req, v)
	var out []diagnose.Cause
	for _, b := range s.bySpace(idTypo) {
		out = append(out, s.cause(b, sentence(b.word)+b.affected()+"."))
	}
	for _, b := range s.byPod(idTypo) {
		c := s.cause(b, fmt.Sprintf("%s %s no sidecar: %s.", sentence(b.title), b.verb("gets", "get"), b.word))
		if !b.wide {
			relabel(&c, b, b.params["pod_key"], b.params["pod_value"], b.params["pod_remove"], false)
		}
		out = append(out, c)
	}
	return out, s.ifNone(out, true)
}
