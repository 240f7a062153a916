package injection

import (
	"fmt"
	"strings"

	"github.com/meshdiag/meshdiag/checks/cluster"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// RevisionNotInstalled finds labels that name a revision or tag that isn't there.
var RevisionNotInstalled = diagnose.Check{
	ID:       "injection/revision-not-installed",
	Severity: diagnose.Blocking,
	Layer:    diagnose.LayerCluster,
	Symptoms: noSidecar,
	Needs:    needs,
	Explains: []diagnose.CheckID{idImage},
	Doc: diagnose.Doc{
		Title: "The label names a revision that is not installed",
		Explanation: "istio.io/rev names a revision of the control plane, or a revision tag. No injecting webhook asks for the value that is set, and no control plane of that revision runs, so nothing " +
			"injects the pods. This is what is left after an upgrade that took the old revision away, or of a letter that is off.",
		Quiet: "A tag's webhook asks for the value. The value is a channel of the managed control plane, which has no revisions of its own. A control plane of that revision runs: then its " +
			"webhook is missing. istio-injection stands beside the label and hides it. The webhooks aren't known.",
		Remedy: steps([]diagnose.Step{
			{If: "revisions", Text: "Served are: {{revisions}}"},
		}, relabelSteps, podLabelSteps, []diagnose.Step{
			{Unless: "managed", Text: "Or install the revision, or point a tag of that name at one that is installed; see the tags", Command: "istioctl tag list"},
		}, remakeSteps, []diagnose.Step{checkStep}),
		References: []string{refRevisions, refInjection, "https://istio.io/latest/docs/setup/upgrade/canary/"},
	},
	Evaluate: revisionNotInstalled,
}

func revisionNotInstalled(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	s := look(req, v)
	var out []diagnose.Cause
	for _, b := range s.bySpace(idRevision) {
		out = append(out, s.unserved(b, sentence(b.word)+b.affected()))
	}
	for _, b := range s.byPod(idRevision) {
		out = append(out, s.unserved(b, fmt.Sprintf("%s %s not injected: %s", sentence(b.title), b.verb("is", "are"), b.word)))
	}
	if c, ok := s.askedRevision(); ok && len(out) == 0 {
		out = append(out, c)
	}
	return out, s.ifNone(out, true)
}

// unserved finishes a cause with the revisions that there are.
func (s *survey) unserved(b bunch, summary string) diagnose.Cause {
	served := s.offered()
	switch near := b.params["nearest"]; {
	case near != "":
		summary += "; the nearest that is served is " + near
	case len(served) > 0:
		summary += "; served are " + some(served)
	}
	c := s.cause(b, summary+".")
	near := b.params["nearest"]
	switch {
	case near != "" && b.wide && s.labelled(b.space, "istio.io/rev", near, ""):
		c.Params["ns_label"] = "istio.io/rev=" + near
	case near != "" && !b.wide:
		relabel(&c, b, "istio.io/rev", near, "", false)
	default:
		s.advise(&c, b)
	}
	return c
}

// askedRevision judges the revision that the request itself names.
func (s *survey) askedRevision() (c diagnose.Cause, found bool) {
	rev := s.req.Target.Revision
	if rev == "" || !s.whole || s.hooksErr != nil || s.partial != nil || s.served(rev) || s.revisions[rev] != "" || (cluster.ManagedRevision(rev) && s.plane != cluster.InCluster) {
		return c, false
	}
	served := s.offered()
	c = diagnose.Cause{
		Subject: "revision " + rev, Confidence: diagnose.Confirmed, Params: map[string]string{"rev": rev, "revisions": strings.Join(served, ", "), "nearest": nearest(rev, served)},
		Summary: fmt.Sprintf("No injector serves revision %s, and no control plane of it runs.", rev),
	}
	if s.plane.Managed() {
		c.Params["managed"] = s.planeWhy
	}
	for _, in := range s.injectors {
		c.Evidence = append(c.Evidence, diagnose.Exhibit{Fact: evidence.MutatingWebhooks.Name(), Excerpt: in.Title() + ": serves " + strings.Join(in.Revisions(), ", "), Source: in.Source})
	}
	if len(c.Evidence) == 0 {
		c.Evidence = []diagnose.Exhibit{{Fact: evidence.MutatingWebhooks.Name(), Excerpt: "no injecting webhook"}}
	}
	return c, true
}
