package webhook

import (
	"strings"

	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// CertificateNameMismatch finds webhooks whose certificate is for another name than the one they are called by.
var CertificateNameMismatch = diagnose.Check{
	ID:         "webhook/certificate-name-mismatch",
	Severity:   diagnose.Blocking,
	Layer:      diagnose.LayerCluster,
	Symptoms:   symptoms,
	Needs:      needs,
	Explains:   follows,
	Signatures: []diagnose.Signature{messages.WebhookCallFailed},
	Doc: diagnose.Doc{
		Title: "A webhook's certificate is for another name",
		Explanation: "The API server calls a webhook's Service by the name SERVICE.NAMESPACE.svc, and the certificate that is served has to have that name among its DNS names; a common name doesn't count. istiod makes " +
			"its certificate for the Services of its own revision: a webhook that names the Service of another revision, a Service whose selector leads to another revision's pods, and a certificate made by hand or " +
			"by a certificate manager for other names all end here.",
		Quiet: "By now what is served is for the right name. An authority that isn't known is webhook/untrusted-certificate.",
		Remedy: []diagnose.Step{
			{If: "configuration", Text: "See which Service each entry names.", Command: "kubectl get {{configuration_kind}} {{configuration}} -o jsonpath='{range .webhooks[*]}{.name}{\"\\t\"}{.clientConfig.service.namespace}/{.clientConfig.service.name}{\"\\n\"}{end}'"},
			{If: "service", Text: "See which pods the Service leads to: they have to be those of its own revision.", Command: "kubectl -n {{service_namespace}} get service {{service}} -o jsonpath='{.spec.selector}'"},
			{If: "service_namespace", Text: "Where the certificate comes from a Secret (istiod-tls, cacerts, or a certificate manager's), make it for the name that is asked for: {{host}}.", Command: "kubectl -n {{service_namespace}} get secrets"},
			{If: "deployment", Text: "Where istiod makes its certificate itself, a restart makes it anew, for the names of its own revision's Services.", Command: "kubectl -n {{service_namespace}} rollout restart deployment/{{deployment}}"},
			{If: "foreign", Text: "The webhook isn't the mesh's: its owner has to serve a certificate for the name that is asked for."},
			{Unless: "service", Text: "Make the certificate for the name that the message says it is to match."},
		},
		References: []string{refGuide, refProblems, "https://istio.io/latest/docs/ops/integrations/certmanager/", refAdmission},
	},
	Evaluate: certificateNameMismatch,
}

func certificateNameMismatch(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	s := look(req, v)
	return s.report(func(u *server) *diagnose.Cause {
		if u.misnamed != nil {
			return s.ofFault(u, u.misnamed)
		}
		return s.ofMessages(u, s.told(u, wrongName), "presents a certificate for another name")
	}, s.openMessages)
}

// isDated says whether a certificate was refused for its dates.
func isDated(reason string) bool { return strings.Contains(reason, "expired or is not yet valid") }
