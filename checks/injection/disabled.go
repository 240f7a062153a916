package injection

import (
	"fmt"

	"github.com/meshdiag/meshdiag/checks/cluster"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

// Disabled finds pods that refuse injection themselves, or that the injector's settings leave alone.
var Disabled = diagnose.Check{
	ID:       "injection/disabled",
	Severity: diagnose.Blocking,
	Layer:    diagnose.LayerCluster,
	Symptoms: noSidecar,
	Needs:    needs,
	Explains: []diagnose.CheckID{idImage},
	Doc: diagnose.Doc{
		Title: "Injection is switched off for the pod",
		Explanation: "The label sidecar.istio.io/inject on the pod, or where it has none the annotation of that name, says no: whatever isn't a yes counts as a no, and where both are there only the label " +
			"counts. Or the injector's own ConfigMap says so: its policy is disabled, which leaves every pod alone that doesn't ask by itself, or a neverInjectSelector matches.",
		Quiet: "Nobody asks about a pod that refuses itself: that is a choice. The policy is disabled, and the pod asks for its sidecar itself.",
		Remedy: steps(relabelSteps, podLabelSteps, []diagnose.Step{
			{If: "policy", Text: "Set policy: enabled in the key config of the ConfigMap, best through the installation's values (sidecarInjectorWebhook, global.proxy.autoInject), so that the next upgrade keeps it",
				Command: "kubectl -n {{config_namespace}} edit configmap {{config_map}}"},
			{If: "config_map", Unless: "policy", Text: "Change the selector in the installation's values (sidecarInjectorWebhook.neverInjectSelector), or the pod's labels", Command: "kubectl -n {{config_namespace}} get configmap {{config_map}} -o yaml"},
		}, []diagnose.Step{
			{If: "config_map", Text: "Then make the pods anew"},
			checkStep,
		}),
		References: []string{refIstio, refProblems, refInjection},
	},
	Evaluate: disabledPods,
}

func disabledPods(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	s := look(req, v)
	var out []diagnose.Cause
	for _, b := range s.byPod(idDisabled) {
		c := s.cause(b, fmt.Sprintf("Injection is switched off for %s: %s.", b.title, b.word))
		if b.params["by"] != "" && !b.wide {
			s.switchOn(&c, b)
		}
		out = append(out, c)
	}
	return out, s.ifNone(out, true)
}

// switchOn advises the label "true", where an injector selects the pod with it; where none does, the namespace's label has to
// change besides.
func (s *survey) switchOn(c *diagnose.Cause, b bunch) {
	pod := *b.first.pod
	pod.Labels = cluster.Relabelled(pod.Labels, kube.LabelInject, "true", "")
	relabel(c, b, kube.LabelInject, "true", "", false)
	if s.hooksErr != nil || b.space.ns == nil {
		return
	}
	if yes, _ := cluster.Called(cluster.Decide(&pod, b.space.ns, s.injectors, s.results)); len(yes) > 0 {
		return
	}
	if fix, _ := cluster.Fixes(&pod, b.space.ns, s.injectors, s.results, s.req.Target.Revision); fix != nil && fix.Key != "" {
		c.Params["ns_label"], c.Params["ns_remove"] = fix.Key+"="+fix.Value, fix.Remove
	}
}
