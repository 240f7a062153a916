package config

import (
	"fmt"
	"strings"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// BootstrapIncomplete finds a bootstrap that doesn't say which project or network the proxy belongs to.
var BootstrapIncomplete = diagnose.Check{
	ID: "config/bootstrap-incomplete",
	Doc: diagnose.Doc{
		Title: "The bootstrap does not name the project number or the network",
		Explanation: "With xDS v3 the control plane derives nothing from where a proxy connects from: the bootstrap must give the project's number and " +
			"the network (or Mesh, or Gateway scope), in node.id as projects/NUMBER/networks/NETWORK/nodes/ID or in the node's metadata. " +
			"The scripts of the manual deployment only warn where they are empty.",
		Quiet: "A v3 bootstrap that carries both in node.id alone is complete, as Google's gRPC bootstrap generator writes it; so is one that names a Mesh " +
			"or a scope in place of a network. Bootstraps of other control planes aren't judged.",
		Remedy: []diagnose.Step{
			{
				If:      "missing_project",
				Text:    "Find the number of the project that holds the forwarding rules or the Mesh",
				Command: `gcloud projects describe {{project}} --format="value(projectNumber)"`,
			},
			{
				If:      "missing_network",
				Text:    "Find the network: forwarding rules name it (proxies of a Mesh name mesh:NAME instead)",
				Command: listRules,
			},
			{
				If:      "envoy",
				Text:    "In {{envoy}}, set node.id to projects/NUMBER/networks/NETWORK/nodes/UNIQUE_ID, and {{missing}} in node.metadata; restart Envoy",
				Command: "grep -nE 'TRAFFICDIRECTOR_|id:|\"id\"' {{envoy}}",
			},
			{
				If:      "grpc",
				Text:    "Write {{grpc}} again with the bootstrap generator, which takes both from the metadata server or from --gcp-project-number and --vpc-network-name; restart the client",
				Command: "grep -n '\"id\"' {{grpc}}",
			},
			{
				If:      "sidecar_env",
				Text:    "In {{sidecar_env}}, set {{missing}}; restart the proxy with its run.sh",
				Command: "grep -nE '^(GCP_PROJECT_NUMBER|VPC_NETWORK_NAME)' {{sidecar_env}}",
			},
		},
		References: []string{refAttributes, refXDS},
	},
	Severity: diagnose.Blocking,
	Layer:    diagnose.LayerConfig,
	Symptoms: []diagnose.Symptom{diagnose.SymptomNoConfig, diagnose.SymptomNotConnected},
	Needs:    []evidence.Name{evidence.Bootstraps.Name()},
	Explains: explainedByConfig,
	Evaluate: bootstrapIncomplete,
}

func bootstrapIncomplete(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	list, who, err := bootstraps(req, v)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, errNoBootstrap
	}
	var causes []diagnose.Cause
	for i, b := range list {
		p := who[i]
		project, network := evidence.MetadataProject, evidence.MetadataNetwork
		if b.Kind == evidence.SidecarEnvFile {
			project, network = envProject, envNetwork
		}
		var words, missing []string
		params := p.params()
		if len(p.Projects) == 0 {
			words, missing = append(words, "the project number"), append(missing, project)
			params["missing_project"] = "yes"
		}
		if len(p.Places) == 0 {
			words, missing = append(words, "the network"), append(missing, network)
			params["missing_network"] = "yes"
		}
		if len(missing) == 0 {
			continue
		}
		params["missing"] = strings.Join(missing, " and ")
		var lines []string
		if b.Kind != evidence.SidecarEnvFile {
			lines = append(lines, "node.id: "+quote(b.NodeID))
		}
		for _, k := range missing {
			state := "not there"
			if _, ok := b.Metadata[k]; ok {
				state = "empty"
			}
			lines = append(lines, key(b.Kind, k)+": "+state)
		}
		summary := fmt.Sprintf("In %s, neither node.id nor node.metadata gives %s.", p.Subject, strings.Join(words, " or "))
		if b.Kind == evidence.SidecarEnvFile {
			summary = fmt.Sprintf("%s leaves %s empty: the proxy does not say %s.", p.Subject, strings.Join(missing, " and "), strings.Join(words, " or "))
		}
		causes = append(causes, diagnose.Cause{
			Subject: p.Subject, Key: p.Key, Confidence: diagnose.Confirmed, Summary: summary, Params: params,
			Evidence: []diagnose.Exhibit{{Fact: evidence.Bootstraps.Name(), Excerpt: strings.Join(lines, "\n"), Source: b.Source}},
		})
	}
	return causes, nil
}
