package webhook

import (
	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// ServiceNotFound finds webhooks whose Service isn't there, or can't be called.
var ServiceNotFound = diagnose.Check{
	ID:         "webhook/service-not-found",
	Severity:   diagnose.Blocking,
	Layer:      diagnose.LayerCluster,
	Symptoms:   symptoms,
	Needs:      needs,
	Explains:   append([]diagnose.CheckID{"istiod/wrong-discovery-address"}, follows...), // sidecars look for istiod at the same Service
	Signatures: []diagnose.Signature{messages.WebhookCallFailed, messages.WebhookCallReason},
	Doc: diagnose.Doc{
		Title: "A webhook's Service does not exist",
		Explanation: "The API server calls a webhook at a Service of the cluster: it looks the Service up, then its port, then an endpoint. Where the Service, or the port that the webhook names, isn't " +
			"there, or the Service is of type ExternalName, every call fails. With failurePolicy Fail no object that the webhook is called for can be made; with Ignore pods come without a sidecar.",
		Quiet: "The webhook is a URL, as those of a managed control plane are. The Service's namespace couldn't be read. The revision of the control plane is gone as a whole (webhook/stale-webhook).",
		Remedy: []diagnose.Step{
			{If: "service", Text: "See what Services there are, and who calls this one.", Command: "kubectl -n {{service_namespace}} get services"},
			{If: "unusable", Text: "Give the Service back its port, and a type that has endpoints. istiod's own has the port 443, named https-webhook, with targetPort 15017."},
			{If: "mesh_webhook", Unless: "unusable", Text: "Where this revision is to be there, install it again, with the tool and the values it was installed with: the Service comes with it."},
			{If: "configuration", Text: "Where it was removed on purpose, its webhook is left over. Deleting the configuration is not undone by itself: pods that it injects come without a sidecar from then on. See what it is for first.",
				Command: "kubectl get {{configuration_kind}} {{configuration}} -o yaml"},
			{If: "configuration", Text: "Then, and only if nothing is to be injected by it any more:", Command: "kubectl delete {{configuration_kind}} {{configuration}}"},
			{Unless: "configuration", Text: "Find the configurations that call it.", Command: "kubectl get mutatingwebhookconfigurations,validatingwebhookconfigurations -o custom-columns=KIND:.kind,NAME:.metadata.name,SERVICE:.webhooks[*].clientConfig.service.name,NAMESPACE:.webhooks[*].clientConfig.service.namespace"},
			{If: "foreign", Text: "The webhook isn't the mesh's: its Service's owner has to bring it back, or to remove the webhook."},
		},
		References: []string{refGuide, refProblems, refAdmission},
	},
	Evaluate: serviceNotFound,
}

func serviceNotFound(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	s := look(req, v)
	return s.report(func(u *server) *diagnose.Cause {
		if u.missing != nil {
			return s.ofFault(u, u.missing)
		}
		return s.ofMessages(u, s.told(u, serviceMissing), "can't be called")
	}, s.openObjects(func(u *server) error { return u.openService }))
}
