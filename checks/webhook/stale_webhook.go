package webhook

import (
	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// StaleWebhook finds webhooks that a control plane left behind.
var StaleWebhook = diagnose.Check{
	ID:         "webhook/stale-webhook",
	Severity:   diagnose.Blocking,
	Layer:      diagnose.LayerCluster,
	Symptoms:   symptoms,
	Needs:      needs,
	Explains:   append([]diagnose.CheckID{"webhook/update-conflict"}, follows...),
	Signatures: []diagnose.Signature{messages.WebhookCallFailed},
	Doc: diagnose.Doc{
		Title: "A webhook is left of a control plane that is gone",
		Explanation: "Each revision of the control plane has webhooks of its own, which name that revision's Service. Where the revision was removed without them, the API server goes on calling a Service that isn't there: " +
			"pods that the old webhook selects can't be made, or come without a sidecar, and with an old validating webhook no configuration of the mesh can be changed.",
		Quiet: "The revision's Deployment or Service is there. A revision tag's webhook that points at a revision that runs. A webhook that is a URL. The namespace of the control plane couldn't be read.",
		Remedy: []diagnose.Step{
			{Text: "Make sure that nothing is to be served by revision {{plane_revision}} any more: no namespace, and no pod, has it as istio.io/rev.", Command: "kubectl get namespaces,pods --all-namespaces -l istio.io/rev={{plane_revision}}"},
			{Text: "If it is still wanted, install that revision again instead of going on; or label its namespaces for a revision that runs."},
			{Text: "Keep a copy.", Command: "kubectl get {{configuration_kind}} {{configuration}} -o yaml"},
			{Text: "Then delete the webhook. It is not made again by itself, and pods that it selects come without a sidecar until another webhook selects them.", Command: "kubectl delete {{configuration_kind}} {{configuration}}"},
			{If: "more", Text: "The same goes for {{more}}."},
			{Text: "Verify that pods are made: the newest events of a namespace say no FailedCreate.", Command: "kubectl get events --all-namespaces --field-selector reason=FailedCreate"},
		},
		References: []string{refGuide, "https://istio.io/latest/docs/setup/upgrade/canary/", "https://docs.cloud.google.com/service-mesh/docs/revisions-overview"},
	},
	Evaluate: staleWebhook,
}

func staleWebhook(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	s := look(req, v)
	return s.report(func(u *server) *diagnose.Cause {
		if u.gone == nil {
			return nil
		}
		c := s.ofFault(u, u.gone)
		for _, h := range u.gone.hooks {
			if h.config.Name != c.Params["configuration"] || h.kind() != c.Params["configuration_kind"] {
				c.Params["more"] = h.kind() + " " + h.config.Name
			}
		}
		return c
	}, func() error {
		if s.hooksErr != nil {
			return s.hooksErr
		}
		return s.openObjects(func(u *server) error {
			if u.exists || u.ready != "" || !u.mesh {
				return nil
			}
			if u.openService != nil {
				return u.openService
			}
			return u.openControlPlane
		})()
	})
}
