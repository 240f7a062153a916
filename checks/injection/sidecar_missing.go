package injection

import (
	"fmt"
	"strings"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// SidecarMissing finds pods that an injector selects and that have no sidecar all the same.
var SidecarMissing = diagnose.Check{
	ID:       "injection/sidecar-missing",
	Severity: diagnose.Blocking,
	Layer:    diagnose.LayerCluster,
	Symptoms: noSidecar,
	Needs:    needs,
	Doc: diagnose.Doc{
		Title: "An injector selects the pod, and it has no sidecar",
		Explanation: "The selectors of an injecting webhook match the pod's labels and its namespace's, the pod doesn't refuse, and yet istio-proxy is neither among its containers nor among its " +
			"initContainers. Where the pod is younger than the label, the webhook was not called, failed with failurePolicy Ignore, or another webhook took the sidecar out again. Where it " +
			"isn't known which is older, making the pod anew tells.",
		Quiet: "The sidecar is a native one, in initContainers with restartPolicy Always. The pod is a manifest that is yet to be applied. Another check says why it has none.",
		Remedy: steps(remakeSteps, []diagnose.Step{
			checkStep,
			{Text: "If it still has none, see what the API server says when the pod is made", Command: "kubectl -n {{namespace}} get events --field-selector reason=FailedCreate"},
			{Unless: "managed", Text: "and whether the injector was called", Command: "kubectl -n istio-system logs -l app=istiod --tail=500 --prefix"},
			{If: "managed", Text: "The control plane is managed ({{managed}}): see what the fleet says of it", Command: "gcloud container fleet mesh describe"},
			{Text: "See which other webhooks change pods", Command: "kubectl get mutatingwebhookconfigurations"},
		}),
		References: []string{refProblems, refIstio, refManaged},
	},
	Evaluate: sidecarMissing,
}

func sidecarMissing(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	s := look(req, v)
	var out []diagnose.Cause
	for _, b := range s.byPod(idMissing) {
		by := b.params["injector"]
		if by == "" {
			by = "an injector"
		}
		first := b.firstOf()
		if !strings.HasPrefix(b.word, "made") {
			first = ""
		}
		c := s.cause(b, fmt.Sprintf("%s %s no sidecar, and %s selects %s: %s%s.", sentence(b.title), b.verb("has", "have"), by, b.verb("it", "them"), first, b.word))
		if b.params["by_url"] != "" {
			c.Key = managedKey(c.Key)
		}
		out = append(out, c)
	}
	return out, s.ifNone(out, true)
}
