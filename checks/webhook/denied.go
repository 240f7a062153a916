package webhook

import (
	"strings"

	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// Denied finds webhooks that work, and refuse.
var Denied = diagnose.Check{
	ID:         "webhook/denied",
	Severity:   diagnose.Blocking,
	Layer:      diagnose.LayerConfig,
	Symptoms:   []diagnose.Symptom{diagnose.SymptomPodNotStarting},
	Needs:      needs,
	Explains:   []diagnose.CheckID{"startup/replicaset-create-failed"},
	Signatures: []diagnose.Signature{messages.WebhookDenied},
	Doc: diagnose.Doc{
		Title: "An admission webhook refused an object",
		Explanation: "The webhook was called, and said no: it works. What it was shown is wrong by its rules; its words say what. Istio's validating webhook refuses configuration that can't be right; " +
			"others enforce a policy of the cluster.",
		Quiet: "The sidecar injector could not inject (injection/injector-failed). A webhook that couldn't be called (the other checks of this area).",
		Remedy: []diagnose.Step{
			{If: "reason", Text: "Correct what it names, and apply the object again: {{reason}}"},
			{Unless: "reason", Text: "It gives no reason: its server's log may tell more."},
			{If: "istio", Text: "Check the configuration before it is applied.", Command: "istioctl validate -f FILE.yaml"},
			{If: "net_admin", Text: "GKE Autopilot, and policies for pods' security, refuse the capabilities NET_ADMIN and NET_RAW that istio-init needs. On Autopilot allow NET_ADMIN for the cluster, or use the managed data plane, whose CNI plugin needs none. Set CLUSTER and LOCATION.",
				Command: `gcloud container clusters update "${CLUSTER:?}" --location="${LOCATION:?}" --workload-policies=allow-net-admin`},
			{If: "foreign", Text: "The webhook isn't the mesh's: it enforces a policy of whoever installed {{webhook}}. Change the object, or ask its owner for an exception."},
		},
		References: []string{refGuide, refValidation, refAdmission},
	},
	Evaluate: webhookDenied,
}

func webhookDenied(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	s := look(req, v)
	return s.report(func(u *server) *diagnose.Cause {
		t := s.told(u, denied)
		if len(t.list) == 0 {
			return nil
		}
		verdict := "refused an object"
		if t.list[0].reason == "" {
			verdict += ", and gave no reason"
		}
		c := s.ofMessages(u, t, verdict)
		for _, m := range t.list {
			if strings.Contains(m.reason, "NET_ADMIN") {
				c.Params["net_admin"] = "yes"
			}
		}
		if strings.HasSuffix(t.list[0].webhook, validatorSuffix) {
			c.Params["istio"] = "yes"
			c.Severity = diagnose.Degrading // what was there before goes on working
		}
		return c
	}, s.openMessages)
}
