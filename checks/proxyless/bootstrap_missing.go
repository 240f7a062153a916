package proxyless

import (
	"fmt"
	"strings"

	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// BootstrapMissing finds gRPC clients that were given no bootstrap, or one that they can't read.
var BootstrapMissing = diagnose.Check{
	ID:       "proxyless/bootstrap-missing",
	Severity: diagnose.Blocking,
	Layer:    diagnose.LayerVM,
	Symptoms: []diagnose.Symptom{diagnose.SymptomNotConnected, diagnose.SymptomNoConfig, diagnose.SymptomRequestsFail},
	Doc: diagnose.Doc{
		Title: "The gRPC client has no bootstrap",
		Explanation: "A gRPC client that dials xds:/// learns from its bootstrap where the control plane is and who it is itself. It looks for a file named by GRPC_XDS_BOOTSTRAP, " +
			"then for the text in GRPC_XDS_BOOTSTRAP_CONFIG (Java: also the system properties io.grpc.xds.bootstrap and io.grpc.xds.bootstrapConfig). Without either, or with a file " +
			"that isn't there or may not be read, every call fails and no control plane is ever asked. So it is where Google's generator, mostly in an init container, ended with an error and wrote none.",
		Quiet: "When the bootstrap was read and refused: that is proxyless/bootstrap-invalid.",
		Remedy: []diagnose.Step{
			{If: "unset", Text: "Is GRPC_XDS_BOOTSTRAP set where the client runs, and not just in a shell? Its own environment is in /proc/PID/environ; of the processes that have it:", Command: "sudo grep -lz '^GRPC_XDS_BOOTSTRAP' /proc/[0-9]*/environ"},
			{If: "file", Text: "Is the file there, and may the client's user read it? In a container, is the volume mounted?", Command: "ls -l {{file}}"},
			{If: "metadata", Text: "The generator asks the metadata server: does it answer where the generator runs? A pod may be kept from it by a network policy (169.254.169.254:80; with Workload Identity 169.254.169.252:988) and by the pod's own DNS.",
				Command: "curl -sS -H Metadata-Flavor:Google http://metadata.google.internal/computeMetadata/v1/project/numeric-project-id"},
			{If: "project_flag", Text: "Or tell it the project's number itself: ./td-grpc-bootstrap --gcp-project-number=NUMBER > bootstrap.json"},
			{If: "cluster_flag", Text: "Or tell it the cluster itself: ./td-grpc-bootstrap --gke-cluster-name=CLUSTER --gke-location=LOCATION > bootstrap.json (with --generate-mesh-id where the Mesh's name is made of them); --generate-mesh-id is for GKE alone, elsewhere name the Mesh with --config-mesh."},
			{If: "mesh_flag", Text: "Give the generator one of --config-mesh=NAME (the Mesh's short name: letters, digits and dashes) and --generate-mesh-id (GKE alone), and run it again."},
			{Unless: "mesh_flag", Text: "Make a bootstrap with Google's generator, which asks the metadata server (in GKE, as an init container that shares a volume with the client)", Command: generate},
			{Text: "Name it in the environment of the client, and start the client anew: the variable is read once: export GRPC_XDS_BOOTSTRAP=/absolute/path/bootstrap.json"},
		},
		References: []string{refTrouble, refGen, refA27},
	},
	Needs:      []evidence.Name{evidence.LogMessages.Name()},
	Explains:   []diagnose.CheckID{"controlplane/no-client-connected", "controlplane/client-not-connected"},
	Signatures: []diagnose.Signature{messages.GRPCBootstrapMissing, messages.GRPCBootstrapUnreadable, messages.GRPCGeneratorFailed},
	Evaluate:   bootstrapMissing,
}

func bootstrapMissing(_ diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	log, err := evidence.Get(v, evidence.LogMessages)
	if err != nil {
		return nil, err
	}
	var causes []diagnose.Cause
	if list := of(log, messages.GRPCBootstrapMissing); len(list) > 0 {
		causes = append(causes, diagnose.Cause{
			Subject: "the gRPC client's bootstrap", Confidence: diagnose.Likely, Params: map[string]string{"unset": "yes"}, Evidence: shown(list),
			Summary: fmt.Sprintf("A gRPC client said %s that neither GRPC_XDS_BOOTSTRAP nor GRPC_XDS_BOOTSTRAP_CONFIG is set.", times(total(list))),
		})
	}
	causes = append(causes, generatorFailed(of(log, messages.GRPCGeneratorFailed))...)
	by := map[string]int{}
	for _, m := range of(log, messages.GRPCBootstrapUnreadable) {
		file, why := first(m, "file", "path"), first(m, "error", "reason")
		why = strings.TrimSuffix(shorten(why, 120), ".")
		if i, ok := by[file]; ok {
			causes[i].Evidence = append(causes[i].Evidence, shown([]evidence.LogMessage{m})...)
			continue
		}
		by[file] = len(causes)
		c := diagnose.Cause{Subject: "the gRPC client's bootstrap", Confidence: diagnose.Likely, Params: map[string]string{}, Evidence: shown([]evidence.LogMessage{m})}
		c.Summary = "A gRPC client could not read the file of its bootstrap."
		if file == "" {
			c.Params["unset"] = "yes"
		} else {
			c.Subject, c.Params["file"] = "bootstrap "+file, file
			c.Summary = fmt.Sprintf("A gRPC client could not read its bootstrap %s.", file)
		}
		if why != "" {
			c.Summary = strings.TrimSuffix(c.Summary, ".") + ": " + why + "."
		}
		causes = append(causes, c)
	}
	return causes, nil
}

// generatorFailed gives a cause for each way in which the generator of bootstraps ended.
func generatorFailed(list []evidence.LogMessage) []diagnose.Cause {
	var causes []diagnose.Cause
	at := map[string]int{}
	for _, m := range list {
		what := first(m, "what", "doing", "flags", "name")
		if i, ok := at[what]; ok {
			if len(causes[i].Evidence) < maxExhibits {
				causes[i].Evidence = append(causes[i].Evidence, shown([]evidence.LogMessage{m})...)
			}
			continue
		}
		at[what] = len(causes)
		why := strings.TrimSuffix(shorten(first(m, "why", "reason"), 120), ".")
		c := diagnose.Cause{Subject: "the gRPC client's bootstrap", Confidence: diagnose.Likely, Params: map[string]string{}, Evidence: shown([]evidence.LogMessage{m})}
		switch what {
		case "failed to determine project id":
			c.Summary = "The bootstrap generator wrote none, as it found no project number: " + why + "."
			c.Params["metadata"], c.Params["project_flag"] = "yes", "yes"
		case "generating deployment info", "unable to generate mesh id":
			c.Summary = "The bootstrap generator wrote none, as it found no GKE cluster name or location: " + why + "."
			c.Params["metadata"], c.Params["cluster_flag"] = "yes", "yes"
		default:
			c.Summary = "The bootstrap generator wrote none: " + strings.TrimSuffix(what, ".") + "."
			c.Params["mesh_flag"] = "yes"
		}
		causes = append(causes, c)
	}
	return causes
}
