package proxyless

import (
	"fmt"

	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// ProducedZeroAddresses finds gRPC clients that the mesh gave no address to send calls to.
var ProducedZeroAddresses = diagnose.Check{
	ID:       "proxyless/produced-zero-addresses",
	Severity: diagnose.Blocking,
	Layer:    diagnose.LayerBackend,
	Symptoms: []diagnose.Symptom{diagnose.SymptomRequestsFail},
	Doc: diagnose.Doc{
		Title: "The gRPC client has no address to send calls to",
		Explanation: "The client resolved what it dials, and no endpoint that it may use was left: the backend service has no endpoint, or all are unhealthy or draining; " +
			"in grpc-java before 1.49 also where the listener or the virtual host doesn't exist.",
		Quiet: "When the message is about the way to the control plane itself (controlplane/dns-failure). Where backends are known, a check of theirs says why, and this is its symptom.",
		Remedy: []diagnose.Step{
			{If: "project", Text: "Which backend services are there, and what are their backends?", Command: "gcloud compute backend-services list --global --project={{project}} --format='yaml(name,protocol,backends)'"},
			{If: "project", Text: "Are their endpoints healthy?", Command: `for s in $(gcloud compute backend-services list --global --project={{project}} --format="value(name)"); do gcloud compute backend-services get-health "$s" --global --project={{project}}; done`},
			{Unless: "project", Text: "Are there endpoints behind the service, and are they healthy? Ask again with --project and --network, and meshdiag looks"},
			{Text: "To see which resource is empty, start the client with gRPC's log switched on (Go)", Command: "export GRPC_GO_LOG_VERBOSITY_LEVEL=99 GRPC_GO_LOG_SEVERITY_LEVEL=info"},
		},
		References: []string{refTrouble, "https://github.com/grpc/grpc-go/issues/7625", "https://github.com/grpc/grpc-java/issues/8890"},
	},
	Needs:      []evidence.Name{evidence.LogMessages.Name(), evidence.Bootstraps.Name()},
	Signatures: []diagnose.Signature{messages.GRPCNoAddresses},
	Evaluate:   producedZeroAddresses,
}

func producedZeroAddresses(_ diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	log, err := evidence.Get(v, evidence.LogMessages)
	if err != nil {
		return nil, err
	}
	bootstraps, _ := evidence.Get(v, evidence.Bootstraps) // it only tells a client of the mesh from others
	confidence := diagnose.Possible                       // any name resolver of gRPC's says so
	if len(grpcBootstraps(bootstraps)) > 0 {
		confidence = diagnose.Likely
	}
	var list []evidence.LogMessage
	for _, m := range of(log, messages.GRPCNoAddresses) {
		if m.Fields["stream"] != "" {
			continue
		}
		if first(m, "xds", "java", "endpoint", "policy") != "" {
			confidence = diagnose.Likely
		}
		list = append(list, m)
	}
	if len(list) == 0 {
		return nil, nil
	}
	return []diagnose.Cause{{
		Subject: "the service that the gRPC client dials", Key: "requests/xds", Confidence: confidence, Params: map[string]string{}, Evidence: shown(list),
		Summary: fmt.Sprintf("A gRPC client said %s that there is no address to send its calls to.", times(total(list))),
	}}, nil
}
