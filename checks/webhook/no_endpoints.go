package webhook

import (
	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// NoEndpoints finds webhooks whose Service has nothing ready behind it.
var NoEndpoints = diagnose.Check{
	ID:         "webhook/no-endpoints",
	Severity:   diagnose.Blocking,
	Layer:      diagnose.LayerCluster,
	Symptoms:   symptoms,
	Needs:      needs,
	Explains:   follows,
	Signatures: []diagnose.Signature{messages.WebhookCallFailed, messages.WebhookCallReason},
	Doc: diagnose.Doc{
		Title: "Nothing is ready behind a webhook's Service",
		Explanation: "The API server calls an endpoint of the webhook's Service that is ready, at the port that has the Service's port name. Where there is none every call fails: the pods behind the Service " +
			"don't run, aren't ready, or its selector or port doesn't fit them. istiod's pods are ready once they serve configuration.",
		Quiet: "The webhook is a URL. One endpoint of several is ready. A message says so, and the cluster has ready endpoints since then.",
		Remedy: []diagnose.Step{
			{If: "service", Text: "See the pods behind the Service, its selector, and its endpoints.", Command: "kubectl -n {{service_namespace}} get pods,endpointslices -o wide"},
			{If: "service", Text: "See what the Service selects.", Command: "kubectl -n {{service_namespace}} describe service {{service}}"},
			{If: "port_name", Text: "The Service's port is called {{port_name}}, and no endpoint has a port of that name: correct the Service's port name and targetPort (istiod's own: https-webhook, 443 to 15017)."},
			{If: "deployment", Unless: "port_name", Text: "See why its pods aren't ready: scheduling, image, crashes.", Command: "kubectl -n {{service_namespace}} describe deployment/{{deployment}}"},
			{If: "deployment", Unless: "port_name", Text: "And what they say.", Command: "kubectl -n {{service_namespace}} logs deployment/{{deployment}} --all-containers --tail=200"},
			{If: "foreign", Text: "The webhook isn't the mesh's: its Service's owner has to bring its pods up."},
			{If: "mesh_webhook", Text: "Nothing has to be done to the webhook itself: calls work again as soon as a pod is ready, and controllers make the pods that are missing within some minutes."},
		},
		References: []string{refGuide, refProblems, refAdmission},
	},
	Evaluate: noEndpointsReady,
}

func noEndpointsReady(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	s := look(req, v)
	return s.report(func(u *server) *diagnose.Cause {
		if u.idle != nil {
			return s.ofFault(u, u.idle)
		}
		return s.ofMessages(u, s.told(u, noEndpoints), "has nothing ready behind it")
	}, s.openObjects(func(u *server) error {
		if u.missing != nil || u.gone != nil {
			return nil
		}
		return u.openEndpoints
	}))
}
