package webhook

import (
	"cmp"

	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// UntrustedCertificate finds webhooks whose certificate the API server doesn't accept.
var UntrustedCertificate = diagnose.Check{
	ID:         "webhook/untrusted-certificate",
	Severity:   diagnose.Blocking,
	Layer:      diagnose.LayerCluster,
	Symptoms:   symptoms,
	Needs:      needs,
	Explains:   follows,
	Signatures: []diagnose.Signature{messages.WebhookCallFailed, messages.WebhookCallReason, messages.TLSRejectedByClient},
	Doc: diagnose.Doc{
		Title: "The API server does not trust a webhook's certificate",
		Explanation: "The API server reached the webhook's server, and broke the handshake off: the certificate isn't signed by an authority in the webhook's caBundle, or is out of date. Most often the caBundle is " +
			"empty or old; then istiod was reinstalled, its authority was renewed, or a manifest was applied again. A wrong clock on a node looks the same, and so does something between the two that presents a " +
			"certificate of its own.",
		Quiet: "The caBundle itself is seen to be empty or unfit (webhook/ca-bundle-missing, webhook/ca-bundle-invalid): then this is a sign of it. By now the caBundle verifies what is served. Names that don't fit are webhook/certificate-name-mismatch.",
		Remedy: []diagnose.Step{
			{If: "configuration", Text: "See whether every entry has a caBundle.", Command: "kubectl get {{configuration_kind}} {{configuration}} -o jsonpath='{range .webhooks[*]}{.name}{\"\\t\"}{.clientConfig.caBundle}{\"\\n\"}{end}'"},
			{Unless: "configuration", Text: "See whether every entry of every configuration has a caBundle.", Command: "kubectl get mutatingwebhookconfigurations,validatingwebhookconfigurations -o jsonpath='{range .items[*]}{.metadata.name}{\"\\t\"}{.webhooks[*].clientConfig.caBundle}{\"\\n\"}{end}'"},
			{If: "deployment", Text: "Let istiod write its authority into them again, and serve a fresh certificate.", Command: "kubectl -n {{service_namespace}} rollout restart deployment/{{deployment}}"},
			{If: "alone", Unless: "deployment", Text: "Let istiod write its authority into them again, and serve a fresh certificate. On a managed control plane there is no istiod to restart.", Command: "kubectl -n istio-system rollout restart deployment -l app=istiod"},
			{If: "dated", Text: "A certificate is out of date: compare the clock of the nodes with the time in the message; if it is right, renew the certificate."},
			{Unless: "namespace", Text: "If it goes on, let meshdiag look at the cluster itself (diagnose --namespace): it compares the caBundle with what is served."},
			{If: "foreign", Text: "The webhook isn't the mesh's: its owner has to write the authority that signed its server's certificate into the caBundle."},
		},
		References: []string{refGuide, refProblems, refAdmission},
	},
	Evaluate: untrustedCertificate,
}

func untrustedCertificate(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	s := look(req, v)
	return s.report(func(u *server) *diagnose.Cause {
		if u.outdated != nil && u.invalid == nil {
			c := s.ofFault(u, u.outdated)
			c.Params["dated"] = "yes"
			return c
		}
		if t := s.told(u, untrusted); len(t.list) > 0 {
			c := s.ofMessages(u, t, "presents a certificate that the API server doesn't accept")
			if isDated(t.list[0].reason) {
				c.Params["dated"] = "yes"
			}
			return c
		}
		t := s.told(u, handshakeBroken)
		c := s.ofMessages(u, t, "has its certificate refused by a client")
		if c == nil {
			return nil
		}
		c.Confidence, c.Severity = diagnose.Possible, diagnose.Degrading
		c.Summary = "A client refused the certificate of the server whose log this is (" + t.list[0].reason + "): if it is istiod's, the caBundle of its webhooks may not verify it."
		c.Subject = "the certificate of the webhooks' server whose log is " + cmp.Or(t.list[0].file, "pasted")
		return c
	}, s.openMessages)
}
