package request

import (
	"fmt"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// NoHealthyUpstream finds requests for which the proxy had no host that it could use.
var NoHealthyUpstream = diagnose.Check{
	ID:       "request/no-healthy-upstream",
	Severity: diagnose.Degrading,
	Layer:    diagnose.LayerBackend,
	Symptoms: []diagnose.Symptom{diagnose.SymptomRequestsFail},
	Doc: diagnose.Doc{
		Title: "The proxy has no healthy host to send requests to",
		Explanation: "Response flag UH: the cluster has no endpoint, or all of them fail health checks or are ejected by outlier detection. Envoy answers 503 with the body " +
			`"no healthy upstream". A subset of a DestinationRule whose labels no pod has is empty as well.`,
		Quiet: "For BlackHoleCluster, which never has a host (request/egress-blackholed). Where the backends are known, a check of theirs says why, and this is its symptom.",
		Remedy: []diagnose.Step{
			{If: "service", Text: "Has the service endpoints, and are their pods ready?", Command: "kubectl get endpointslices -n {{namespace}} -l kubernetes.io/service-name={{service}}"},
			{If: "service", Text: "Do pods carry the labels of the subset, if the cluster has one?", Command: "kubectl get destinationrules -n {{namespace}}"},
			{If: "project", Text: "With the Google Cloud APIs: is the backend service healthy?", Command: "gcloud compute backend-services list --global --project={{project}}"},
			{Text: "What does the proxy itself think of the hosts? (in its pod or on its VM)", Command: "curl -s http://localhost:15000/clusters | grep -E 'health_flags|rq_success'"},
		},
		References: []string{refFlags, "https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/outlier"},
	},
	Needs:    []evidence.Name{evidence.AccessLogs.Name()},
	Evaluate: noHealthyUpstream,
}

func noHealthyUpstream(_ diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	groups, err := evidence.Get(v, evidence.AccessLogs)
	if err != nil {
		return nil, err
	}
	list, more := bunches(groups, func(g evidence.AccessGroup) bool {
		return (flagged(g, "UH") || g.Details == "no_healthy_upstream") && !blackholed(g)
	})
	var causes []diagnose.Cause
	for _, b := range list {
		c := b.cause(diagnose.Likely, b.share()+" failed: the proxy had no healthy host for them.")
		if b.groups[0].Cluster == "" {
			c.Confidence = diagnose.Possible // releases of 2021 log no cluster where REGISTRY_ONLY closes a connection
			c.Summary = fmt.Sprintf("%s failed: the proxy had no healthy host. The log names no cluster: REGISTRY_ONLY looks the same.", b.share())
		}
		causes = append(causes, c)
	}
	return leftOut(causes, more), nil
}
