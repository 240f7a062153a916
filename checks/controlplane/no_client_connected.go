package controlplane

import (
	"errors"
	"fmt"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// NoClientConnected finds that the control plane lists no client at all for the network, Mesh or scope asked about.
//
// Source of the rule: the Client Status Discovery Service lists the clients that are connected.
var NoClientConnected = diagnose.Check{
	ID:       "controlplane/no-client-connected",
	Severity: diagnose.Blocking,
	Layer:    diagnose.LayerNetwork,
	Symptoms: []diagnose.Symptom{diagnose.SymptomNotConnected, diagnose.SymptomNoConfig, diagnose.SymptomRequestsFail},
	Needs:    []evidence.Name{evidence.Clients.Name(), evidence.Meshes.Name()},
	Explains: unserved,
	Applies:  func(r diagnose.Request) bool { return r.Target.Live() },
	Doc: diagnose.Doc{
		Title: "No client is connected to the control plane",
		Explanation: "The control plane answered, and lists no proxy and no proxyless gRPC client for this project number and network or Mesh. " +
			"Either none is running, or none reaches the control plane, or they introduce themselves with another project number, network or Mesh name: " +
			"the control plane knows a client by its node id alone, projects/NUMBER/networks/NETWORK/nodes/ID, with mesh:NAME or scope:NAME in NETWORK's place " +
			"where a Mesh or a Gateway is meant.",
		Quiet: "The control plane could not be asked (inconclusive); the network asked about has Meshes beside it, whose clients are listed under the Mesh: ask for those first.",
		Remedy: []diagnose.Step{
			{Text: "On a VM or pod that should be connected, read node.id (and node.metadata) in the bootstrap of its proxy: it must begin with projects/NUMBER/networks/{{expected}}/nodes/, with the project's number, not its id."},
			{Text: "See the project's number.", Command: "gcloud projects describe {{project}} --format='value(projectNumber)'"},
			{If: "instance", Text: "Hand the VM's bootstrap and proxy log to meshdiag with -f; this prints the log.",
				Command: "gcloud compute ssh {{instance}} --zone={{zone}} --project={{project}} --command='sudo tail -n 500 /var/log/envoy/envoy.err.log'"},
			{Unless: "instance", Text: "Hand a proxy's bootstrap and log to meshdiag with -f: the log says why the control plane closes the stream (on a VM, /var/log/envoy/envoy.err.log)."},
			{Text: "From there, see whether the control plane can be reached.", Command: "curl -sv --max-time 10 https://trafficdirector.googleapis.com/ -o /dev/null"},
		},
		References: []string{
			"https://docs.cloud.google.com/service-mesh/docs/service-routing/xds-control-plane-apis",
			"https://cloud.google.com/traffic-director/docs/troubleshooting",
		},
	},
	Evaluate: noClientConnected,
}

func noClientConnected(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	list, err := evidence.Whole(v, evidence.Clients)
	if err != nil {
		return nil, err
	}
	if len(list.Clients) > 0 {
		return nil, nil
	}
	// A pasted answer that holds nobody doesn't say for whom it was asked.
	if src, ok := v.SourceOf(evidence.Clients.Name()); ok && src.Pasted {
		return nil, diagnose.Skip("the list of clients comes from a file, and an empty one does not say what was asked for")
	}
	confidence := diagnose.Likely
	note := ""
	if req.Target.Network != "" {
		meshes, err := evidence.Whole(v, evidence.Meshes)
		switch {
		case err != nil:
			confidence, note = diagnose.Possible, " (whether the project has Meshes, whose clients are listed apart, could not be seen)"
		case len(meshes) > 0:
			names := make([]string, 0, len(meshes))
			for _, m := range meshes {
				names = append(names, m.Name)
			}
			return nil, &evidence.Missing{
				Name: evidence.Clients.Name(), Why: evidence.Failed,
				Err: errors.New("nobody is listed for the network, but the project has Meshes, whose clients are listed under the Mesh: ask for " + listed(names)),
			}
		}
	}
	project := list.ProjectNumber
	if project == "" {
		project = req.Target.Project
	}
	return []diagnose.Cause{{
		Subject:    fmt.Sprintf("%s of project %s", scopeOf(req.Target), project),
		Summary:    fmt.Sprintf("The control plane lists no client for %s in project %s%s.", scopeOf(req.Target), project, note),
		Confidence: confidence,
		Params:     map[string]string{"expected": req.Target.Scope()},
		Evidence: []diagnose.Exhibit{{
			Fact:    evidence.Clients.Name(),
			Excerpt: fmt.Sprintf("clients of projects/%s/networks/%s: none", project, req.Target.Scope()),
		}},
	}}, nil
}
