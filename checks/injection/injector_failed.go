package injection

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/meshdiag/meshdiag/checks/cluster"
	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// InjectorFailed finds messages of an injector that was called and could not inject.
var InjectorFailed = diagnose.Check{
	ID:       "injection/injector-failed",
	Severity: diagnose.Blocking,
	Layer:    diagnose.LayerCluster,
	Symptoms: []diagnose.Symptom{diagnose.SymptomNoSidecar, diagnose.SymptomPodNotStarting},
	Needs: []evidence.Name{
		evidence.LogMessages.Name(), evidence.MutatingWebhooks.Name(), evidence.ControlPlaneWorkloads.Name(), evidence.ControlPlaneRevisions.Name(), evidence.FleetMesh.Name(),
	},
	Explains:   []diagnose.CheckID{idMissing, "startup/replicaset-create-failed"},
	Signatures: []diagnose.Signature{messages.PodInjectionFailed, messages.WebhookDenied},
	Doc: diagnose.Doc{
		Title: "The injector was called and could not inject",
		Explanation: "The webhook works: it was reached, looked at the pod, and failed while it made the sidecar. What it makes comes from the templates and values of its ConfigMap and from annotations of " +
			"the pod, and one of these is wrong. The message says at which stage it failed.",
		Quiet: "Another webhook than the mesh's injector refused the pod.",
		Remedy: []diagnose.Step{
			{If: "annotation", Text: "Correct the annotation {{annotation}} of the pod, in the template of its workload"},
			{If: "template", Text: "The pod asks for the template {{template}} (annotation inject.istio.io/templates), which the injector doesn't have: correct the name, or add the template to its ConfigMap"},
			{If: "of_config", Unless: "managed", Text: "Look at the template and the values that it names; the installation makes the ConfigMap, so correct the installation's values", Command: "kubectl -n istio-system get configmaps -l app=sidecar-injector -o yaml"},
			{If: "of_config", Unless: "managed", Text: "Older installations don't label it: it is called istio-sidecar-injector, with the revision at the end", Command: "kubectl -n istio-system get configmaps"},
			{Unless: "managed", Text: "See what the injector says when the next pod is made", Command: "kubectl -n istio-system logs -l app=istiod --tail=500 --prefix"},
			{If: "managed", Text: "The control plane is managed ({{managed}}): its templates are Google's. Where none of the pod's annotations is the reason, ask Google's support, with the message"},
		},
		References: []string{refIstio, refProblems, "https://istio.io/latest/docs/reference/config/annotations/"},
	},
	Evaluate: injectorFailed,
}

var (
	// templateWord finds the name of a template that isn't there, badAnnotation an annotation that a message names.
	templateWord  = regexp.MustCompile(`requested template \\?"([^"\\]+)\\?" not found`)
	badAnnotation = regexp.MustCompile(`\b((?:[a-z]+\.)*istio\.io/[\w./-]+)`)
)

func injectorFailed(_ diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	list, err := evidence.Get(v, evidence.LogMessages)
	plane, why := cluster.ControlPlane(v)
	if err != nil {
		return nil, err
	}
	type place struct {
		file string
		line int
	}
	told, others := map[place]bool{}, map[place]bool{} // lines with the injector's own words, and those in which another webhook refused
	for _, m := range list {
		switch at := (place{m.File, m.Line}); {
		case m.Signature == messages.PodInjectionFailed.ID:
			told[at] = true
		case m.Signature == messages.WebhookDenied.ID && !cluster.InjectorRefused(m.Fields["webhook"], m.Fields["reason"]):
			others[at] = true
		}
	}
	type kind struct{ stage, reason string }
	by := map[kind][]evidence.LogMessage{}
	for _, m := range list {
		at := place{m.File, m.Line}
		k := kind{m.Fields["stage"], cmp.Or(m.Fields["reason"], m.Fields["text"])}
		own := m.Signature == messages.PodInjectionFailed.ID && !others[at]
		denial := m.Signature == messages.WebhookDenied.ID && !told[at] && !others[at]
		if own || denial {
			by[k] = append(by[k], m)
		}
	}
	var out []diagnose.Cause
	for k, l := range by {
		c := diagnose.Cause{Subject: "the sidecar injector: " + cut(cmp.Or(k.reason, k.stage, "no reason given")), Confidence: diagnose.Likely, Params: map[string]string{}}
		what := cut(cmp.Or(k.reason, "it gives no reason"))
		if k.stage != "" {
			what = k.stage + ": " + what
		}
		c.Summary = "The sidecar injector was called and could not inject: " + what
		if m := templateWord.FindStringSubmatch(k.reason); m != nil {
			c.Params["template"] = m[1]
		} else if m := badAnnotation.FindStringSubmatch(k.reason); m != nil {
			c.Params["annotation"] = m[1]
		} else {
			c.Params["of_config"] = "true"
		}
		if plane.Managed() {
			c.Params["managed"] = why
		}
		for _, m := range l[:min(len(l), maxNames)] {
			c.Evidence = append(c.Evidence, diagnose.Exhibit{Fact: evidence.LogMessages.Name(), Excerpt: m.Text, Source: m.Source})
		}
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b diagnose.Cause) int { return strings.Compare(a.Summary, b.Summary) })
	if len(out) > maxGroups {
		last := &out[maxGroups-1]
		last.Summary += fmt.Sprintf(" (and %d more messages like these)", len(out)-maxGroups)
		out = out[:maxGroups]
	}
	return out, nil
}

// maxText bounds what a sentence quotes of a message.
const maxText = 160

// cut shortens a quoted message.
func cut(s string) string {
	if r := []rune(s); len(r) > maxText {
		return string(r[:maxText]) + "…"
	}
	return s
}
