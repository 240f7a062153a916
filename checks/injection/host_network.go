package injection

import (
	"fmt"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// HostNetwork finds pods that can't have a sidecar, since they are on their node's network.
var HostNetwork = diagnose.Check{
	ID:       "injection/host-network",
	Severity: diagnose.Blocking,
	Layer:    diagnose.LayerCluster,
	Symptoms: noSidecar,
	Needs:    needs,
	Explains: []diagnose.CheckID{idImage},
	Doc: diagnose.Doc{
		Title: "The pod is on its node's network, and such pods are never injected",
		Explanation: "The sidecar takes a pod's traffic by packet rules in the pod's own network. With hostNetwork: true that is the node's network, where the rules would take the traffic of everything " +
			"on the node, so the injector leaves such pods alone whatever their labels are.",
		Quiet: "Nobody asks about the pod, and neither its labels nor its annotation ask for a sidecar: agents of nodes are on the host's network on purpose.",
		Remedy: []diagnose.Step{
			{If: "workload", Text: "Take hostNetwork: true out of the pod template, where the application can do without; the workload rolls out", Command: "kubectl -n {{namespace}} edit {{workload}}"},
			{Unless: "workload", Text: "Take hostNetwork: true out of the pod's manifest, where the application can do without, and make the pod anew"},
			{Text: "Where it can't, leave it out of the mesh: clients with sidecars reach it without mutual TLS, which a DestinationRule or PeerAuthentication in STRICT mode must not ask for"},
		},
		References: []string{refIstio, "https://docs.cloud.google.com/service-mesh/docs/supported-features-managed", refProblems},
	},
	Evaluate: hostNetwork,
}

func hostNetwork(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	s := look(req, v)
	var out []diagnose.Cause
	for _, b := range s.byPod(idHost) {
		out = append(out, s.cause(b, fmt.Sprintf("%s %s on the node's network (hostNetwork: true), and such pods are never injected.", sentence(b.title), b.verb("is", "are"))))
	}
	return out, s.ifNone(out, false)
}
