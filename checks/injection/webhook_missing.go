package injection

import (
	"fmt"

	"github.com/meshdiag/meshdiag/checks/cluster"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// WebhookMissing finds a cluster without an injecting webhook, or without that of a revision that runs.
var WebhookMissing = diagnose.Check{
	ID:       "injection/webhook-missing",
	Severity: diagnose.Blocking,
	Layer:    diagnose.LayerCluster,
	Symptoms: noSidecar,
	Needs:    needs,
	Explains: []diagnose.CheckID{idImage},
	Doc: diagnose.Doc{
		Title: "The cluster has no injecting webhook",
		Explanation: "Without a MutatingWebhookConfiguration of the mesh nothing puts sidecars into pods, whatever their labels. The installation makes it (asmcli, Helm, istioctl); istiod only writes its " +
			"certificate authority into it, and doesn't make it anew when it is deleted.",
		Quiet: "The control plane is managed: Google makes its webhooks, and the control plane's state says why they aren't there. Nothing asks for sidecars and no control plane runs. Only files " +
			"were given, which may leave webhooks out.",
		Remedy: []diagnose.Step{
			{Unless: "in_cluster", Text: "If Google manages the mesh of this cluster, its webhooks are Google's to make: see what the fleet says, and leave the rest", Command: "gcloud container fleet mesh describe"},
			{Text: "See which control planes there are", Command: "kubectl get deployments --all-namespaces -l app=istiod --show-labels"},
			{If: "rev", Text: "Run the installation of revision {{rev}} again, with the tool and settings that it was made with (asmcli, Helm or istioctl): it brings the webhook"},
			{Unless: "rev", Text: "Install the control plane again, with the tool and settings that it was made with (asmcli, Helm or istioctl): it brings the webhook"},
			{If: "revisions", Text: "Or label for a revision that is served: {{revisions}}"},
			{Text: "See that it is there", Command: "kubectl get mutatingwebhookconfigurations -l app=sidecar-injector --show-labels"},
			{Text: "Then make the pods anew: an injector looks at a pod only when it is made"},
		},
		References: []string{refInjection, refProblems, refImplementing},
	},
	Evaluate: webhookMissing,
}

func webhookMissing(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	s := look(req, v)
	var out []diagnose.Cause
	at := map[string]int{}
	// The webhooks are the cluster's: whoever waits for one, there is one cause for it.
	for _, b := range append(s.bySpace(idNoWebhook), s.byPod(idNoWebhook)...) {
		if _, ok := at[b.params["rev"]]; ok {
			continue
		}
		at[b.params["rev"]] = len(out)
		c := s.cause(b, sentence(b.word)+": nothing is injected, neither "+b.title+" nor any other.")
		c.Subject, c.Key = "the injecting webhooks of the mesh", ""
		if rev := b.params["rev"]; rev != "" {
			c.Subject = "the injecting webhook of revision " + rev
			c.Summary = fmt.Sprintf("%s, so %s %s not injected.", sentence(b.word), b.title, b.verb("is", "are"))
		}
		if s.plane == cluster.InCluster {
			c.Params["in_cluster"] = "true"
		}
		if len(c.Evidence) == 0 || !shows(c, evidence.MutatingWebhooks.Name()) {
			c.Evidence = append(c.Evidence, diagnose.Exhibit{Fact: evidence.MutatingWebhooks.Name(), Excerpt: "no configuration of an injector is among the cluster's mutating webhooks"})
		}
		out = append(out, c)
	}
	return out, s.ifNone(out, true)
}

func shows(c diagnose.Cause, n evidence.Name) bool {
	for _, x := range c.Evidence {
		if x.Fact == n {
			return true
		}
	}
	return false
}
