package webhook

import (
	"fmt"

	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// UpdateConflict finds conflicts over webhook configurations that a left-over webhook goes with.
var UpdateConflict = diagnose.Check{
	ID:         "webhook/update-conflict",
	Severity:   diagnose.Advice,
	Layer:      diagnose.LayerCluster,
	Needs:      needs,
	Signatures: []diagnose.Signature{messages.WebhookUpdateConflict},
	Doc: diagnose.Doc{
		Title: "Two writers change a webhook configuration at the same time",
		Explanation: "Two replicas of istiod, or two revisions, write the same webhook configuration; one is told \"the object has been modified\", reads it again and writes again. By itself that is harmless, and every " +
			"start of an istiod with several replicas prints it. It is worth a word only where a webhook of a revision that is gone is found besides.",
		Quiet: "No left-over webhook is found: then the message says nothing.",
		Remedy: []diagnose.Step{
			{If: "configuration", Text: "Remove the left-over {{configuration}} as webhook/stale-webhook says. The messages themselves need nothing."},
			{Text: "Where they go on without end, two control planes claim the same revision: there must be one Deployment of istiod for each.", Command: "kubectl get deployments --all-namespaces -l app=istiod -L istio.io/rev"},
		},
		References: []string{refGuide, "https://github.com/istio/istio/issues/41769"},
	},
	Evaluate: updateConflict,
}

func updateConflict(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	s := look(req, v)
	var list []evidence.LogMessage
	for _, m := range s.logs {
		if m.Signature == messages.WebhookUpdateConflict.ID {
			list = append(list, m)
		}
	}
	if len(list) == 0 {
		return nil, s.messagesErr
	}
	m := list[0]
	name := m.Fields["configuration"]
	return s.report(func(u *server) *diagnose.Cause {
		if u.gone == nil {
			return nil
		}
		c := s.cause(u, u.gone.hooks, nil)
		c.Severity, c.Confidence = diagnose.Advice, diagnose.Likely
		c.Subject = "webhook configuration " + name
		c.Summary = fmt.Sprintf("istiod reports conflicts over the configuration %s, and %s is left of a revision that is gone.", name, configurations(u.gone.hooks))
		c.Evidence = []diagnose.Exhibit{{Fact: evidence.LogMessages.Name(), Excerpt: clip(m.Text, maxExcerpt), Source: m.Source}}
		return &c
	}, func() error { return nil })
}
