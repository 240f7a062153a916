package webhook

import (
	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// CABundleMissing finds webhooks of which the API server isn't told whose certificate to believe.
var CABundleMissing = diagnose.Check{
	ID:         "webhook/ca-bundle-missing",
	Severity:   diagnose.Blocking,
	Layer:      diagnose.LayerCluster,
	Symptoms:   symptoms,
	Needs:      needs,
	Explains:   follows,
	Signatures: []diagnose.Signature{messages.WebhookCallFailed, messages.WebhookPatchFailed},
	Doc: diagnose.Doc{
		Title: "A webhook's caBundle is empty",
		Explanation: "The API server verifies a webhook's certificate with the caBundle of the webhook's entry; without one it trusts public authorities alone, and no public authority signs names like " +
			"istiod.istio-system.svc. Manifests and charts leave the field empty: istiod fills it in when it starts, and watches it, in every entry of the configurations that carry its own revision in the label " +
			"istio.io/rev. It stays empty where no istiod of that revision runs, where istiod lacks the right to write it, or where somebody applies the manifest again.",
		Quiet: "The webhook is a URL, as those of a managed control plane are. Its failurePolicy is Ignore, and it was installed minutes ago, or nobody knows when. Nothing is ready behind its Service (webhook/no-endpoints): " +
			"istiod fills it in once it runs. It is in a manifest, beside that of the istiod which fills it in, and no call failed. Webhooks of others that keep no pod from being made.",
		Remedy: []diagnose.Step{
			{If: "manifest", Text: "This is a manifest, not what the cluster has. See whether it is filled in there, in every entry:", Command: "kubectl get {{configuration_kind}} {{configuration}} -o jsonpath='{range .webhooks[*]}{.name}{\"\\t\"}{.clientConfig.caBundle}{\"\\n\"}{end}'"},
			{If: "label", Text: "istiod fills in the configurations of its own revision alone, and this one's label istio.io/rev is {{label}}, while istiod runs of {{running}}. Where that revision is to be there, install it again. Where the label is wrong, set it to the revision that this webhook's Service belongs to."},
			{If: "lacks", Text: "istiod may not write it: ClusterRole {{role}} has to allow get, list, watch, update and patch of {{configuration_kind}}s in the group admissionregistration.k8s.io. The installation makes that role: install it again with its tool, or add the rule.",
				Command: "kubectl describe clusterrole {{role}}"},
			{If: "forbidden", Text: "istiod may not write it, says its log: its ClusterRole has to allow get, list, watch, update and patch of mutatingwebhookconfigurations and validatingwebhookconfigurations in the group admissionregistration.k8s.io. The installation makes that role: install it again with its tool, or add the rule.",
				Command: "kubectl get clusterroles -l app=istiod -o yaml"},
			{If: "deployment", Unless: "manifest", Text: "Let istiod fill it in again. It serves on while it is restarted where it has two replicas.", Command: "kubectl -n {{service_namespace}} rollout restart deployment/{{deployment}}"},
			{If: "deployment", Unless: "manifest", Text: "If it stays empty, see what istiod says of it.", Command: "kubectl -n {{service_namespace}} logs deployment/{{deployment}} --tail=1000"},
			{If: "mesh_webhook", Text: "If something empties it again and again, it is a tool that applies the manifest (GitOps): tell it to leave clientConfig.caBundle alone."},
			{If: "foreign", Text: "The webhook isn't the mesh's: its owner fills the caBundle in (cert-manager's does so with cainjector)."},
		},
		References: []string{refGuide, refProblems, "https://istio.io/latest/docs/ops/configuration/mesh/webhook/"},
	},
	Evaluate: caBundleMissing,
}

func caBundleMissing(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	s := look(req, v)
	return s.report(func(u *server) *diagnose.Cause {
		if u.empty != nil {
			return s.ofFault(u, u.empty)
		}
		c := s.ofMessages(u, s.told(u, patchForbidden), "can't be given its caBundle by istiod")
		if c != nil {
			c.Params["forbidden"] = "yes"
		}
		return c
	}, s.openObjects(func(*server) error { return nil }))
}
