package webhook

import (
	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// CABundleInvalid finds webhooks whose caBundle can't be used, or doesn't verify what is served.
var CABundleInvalid = diagnose.Check{
	ID:         "webhook/ca-bundle-invalid",
	Severity:   diagnose.Blocking,
	Layer:      diagnose.LayerCluster,
	Symptoms:   symptoms,
	Needs:      needs,
	Explains:   follows,
	Signatures: []diagnose.Signature{messages.WebhookCallFailed},
	Doc: diagnose.Doc{
		Title: "A webhook's caBundle does not verify its server",
		Explanation: "The caBundle of a webhook's entry is base64 of PEM certificates, with which the API server verifies what the webhook's server presents. Where it can't be read, has expired, or is of another " +
			"authority than the one that signed the server's certificate, every call fails. istiod writes its own authority there when it starts; another value comes from a tool that applies an old manifest, from " +
			"an authority that was renewed without a restart, or from a second control plane that claims the same configuration.",
		Quiet: "One of several certificates in it is valid, and verifies the server. The webhook is a URL. An expiry within 60 days is advice, no fault.",
		Remedy: []diagnose.Step{
			{If: "configuration", Text: "See what is in it, entry by entry.", Command: "kubectl get {{configuration_kind}} {{configuration}} -o jsonpath='{range .webhooks[*]}{.name}{\"\\t\"}{.clientConfig.caBundle}{\"\\n\"}{end}'"},
			{If: "expires", Text: "It expires on {{expires}}. Renew the authority before that, with the old and the new certificate in the bundle for a while; where istiod made the authority itself, follow Istio's page on rotating it."},
			{If: "deployment", Unless: "expires", Text: "Let istiod write its own authority again. Where the authority itself has expired, renew it first.", Command: "kubectl -n {{service_namespace}} rollout restart deployment/{{deployment}}"},
			{If: "deployment", Text: "Compare with the authority that istiod gives to proxies.", Command: "kubectl -n {{service_namespace}} get configmap istio-ca-root-cert -o jsonpath='{.data.root-cert\\.pem}'"},
			{If: "mesh_webhook", Text: "If it comes back, something else writes it: a tool that applies a manifest with a fixed caBundle, or a second control plane of the same revision."},
			{If: "foreign", Text: "The webhook isn't the mesh's: its owner has to write the authority of Service {{service}} into it."},
		},
		References: []string{refGuide, refProblems, "https://istio.io/latest/docs/tasks/security/cert-management/plugin-ca-cert/", refAdmission},
	},
	Evaluate: caBundleInvalid,
}

func caBundleInvalid(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	s := look(req, v)
	return s.report(func(u *server) *diagnose.Cause {
		switch {
		case u.invalid != nil:
			return s.ofFault(u, u.invalid)
		case u.expiring != nil:
			return s.ofFault(u, u.expiring)
		}
		return s.ofMessages(u, s.told(u, badBundle), "has a caBundle that can't be read")
	}, s.openObjects(func(*server) error { return nil }))
}
