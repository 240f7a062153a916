package injection

import (
	"fmt"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// ImageAuto finds containers whose image the injector was to fill in, and didn't.
var ImageAuto = diagnose.Check{
	ID:       "injection/image-auto",
	Severity: diagnose.Blocking,
	Layer:    diagnose.LayerCluster,
	Symptoms: []diagnose.Symptom{diagnose.SymptomNoSidecar, diagnose.SymptomPodNotStarting},
	Needs:    needs,
	Doc: diagnose.Doc{
		Title: "A container's image is still \"auto\": no injector filled it in",
		Explanation: "Manifests of gateways give auto as the image of istio-proxy, for the injector to fill in, with the rest of the proxy's settings. A pod that no injector selected is made as it " +
			"stands, and then pulls an image of that name, which there is none of (ErrImagePull, ImagePullBackOff), or runs somebody else's.",
		Quiet: "A template with auto that an injector selects: that is how gateways are written.",
		Remedy: steps(relabelSteps, podLabelSteps, remakeSteps, []diagnose.Step{
			{Text: "See that the new pods' image is that of a proxy", Command: "kubectl -n {{namespace}} get pods -o 'custom-columns=NAME:.metadata.name,IMAGES:.spec.containers[*].image'"},
		}),
		References: []string{"https://docs.cloud.google.com/service-mesh/docs/operate-and-maintain/gateways", "https://istio.io/latest/docs/setup/additional-setup/gateway/", refProblems},
	},
	Evaluate: imageIsAuto,
}

func imageIsAuto(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	s := look(req, v)
	var out []diagnose.Cause
	for _, b := range s.bunches(func(x *subject) bool { return x.image && x.check != "" }) {
		c := s.cause(b, "")
		switch now := b.params["now"]; {
		case now != "":
			c.Summary = fmt.Sprintf("%s %s the image \"auto\": it was made when no injector selected it, and %s selects it now.", sentence(b.title), b.verb("has", "have"), now)
		default:
			c.Summary = fmt.Sprintf("%s %s the image \"auto\" and nothing fills it in: %s selects %s%s.", sentence(b.title), b.verb("has", "have"), s.none(), b.verb("it", "them"), then(s.advise(&c, b)))
		}
		out = append(out, c)
	}
	return out, s.ifNone(out, true)
}
