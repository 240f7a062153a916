package xds

import (
	"fmt"
	"strings"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// ConfigNotSent finds clients that the control plane has sent no listeners or no clusters.
var ConfigNotSent = diagnose.Check{
	ID:       "xds/config-not-sent",
	Severity: diagnose.Blocking,
	Layer:    diagnose.LayerConfig,
	Symptoms: []diagnose.Symptom{diagnose.SymptomNoConfig, diagnose.SymptomRequestsFail},
	Doc: diagnose.Doc{
		Title: "The control plane sent no listeners or clusters",
		Explanation: "NOT_SENT says that the client asked and the control plane had nothing to send: it knows no listener or cluster " +
			"of that name for this client, or is not done making its configuration. Routes and endpoints are asked for by " +
			"name after listeners and clusters, so theirs may rightly be unsent.",
		Quiet: "For other types; and where the whole type is unsent at a client that asks for resources by name (gRPC): it " +
			"has then not asked at all. Envoy asks for all listeners and clusters.",
		Remedy: []diagnose.Step{
			{If: "network", Text: "See whether a forwarding rule for Traffic Director is on the client's network:",
				Command: "gcloud compute forwarding-rules list --project={{project}} --filter='loadBalancingScheme=INTERNAL_SELF_MANAGED' --format='table(name,IPAddress,portRange,network.basename(),target.basename())'"},
			{If: "mesh", Text: "See which routes are attached to the Mesh:",
				Command: "gcloud network-services http-routes list --project={{project}} --location=global --format='table(name,meshes,hostnames)'"},
			{If: "mesh", Text: "And the gRPC ones:",
				Command: "gcloud network-services grpc-routes list --project={{project}} --location=global --format='table(name,meshes,hostnames)'"},
			{If: "resource", Text: "The client asks for {{type}} {{resource}}: its host and port must be those of a forwarding rule and host rule, or of a route."},
			{Text: "After a change of the configuration, wait two minutes and ask again."},
		},
		References: []string{
			"https://cloud.google.com/traffic-director/docs/client-status",
			"https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/status/v3/csds.proto",
		},
	},
	Needs:    []evidence.Name{evidence.ClientStatuses.Name()},
	Evaluate: configNotSent,
}

func configNotSent(_ diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	list, err, open := statuses(v)
	if err != nil {
		return nil, err
	}
	var f findings
	each(list, func(s *evidence.ClientStatus, r seen) {
		if r.Server != evidence.NotSent || (r.Type() != "Listener" && r.Type() != "Cluster") {
			return
		}
		if has(r.Client) {
			return // the client itself has it: the control plane's view is behind
		}
		if r.Name == "" && (!asksForAll(s.Client) || hasNamed(s, r.Type())) {
			return
		}
		sure := diagnose.Likely // the client may have connected this moment
		if r.Samples >= 2 {
			sure = diagnose.Confirmed
		}
		f.add("NOT_SENT", sure, r)
	})
	f.join()
	total := clientCount(list)
	causes := f.causes(total, func(x finding) string {
		return fmt.Sprintf("The control plane has not sent %s to %s.", x.what(), x.by(total))
	})
	if len(causes) > 0 {
		return causes, nil
	}
	return nil, open
}

// has says whether the client itself shows that the resource reached it.
func has(s evidence.ResourceStatus) bool { return s == evidence.Acked || s == evidence.Nacked }

// asksForAll says whether a client subscribes to every listener and cluster, as Envoy does. gRPC asks by name. One that
// doesn't say what it is counts as Envoy only where its metadata is a sidecar's.
func asksForAll(c evidence.Client) bool {
	if c.UserAgentName != "" {
		return strings.EqualFold(c.UserAgentName, "envoy")
	}
	for _, k := range []string{evidence.MetadataIntercept, "ISTIO_VERSION"} {
		if _, ok := c.Metadata[k]; ok {
			return true
		}
	}
	return false
}

// hasNamed says whether the same answer holds resources of the type by name: then the status for the whole type says nothing
// that they don't.
func hasNamed(s *evidence.ClientStatus, typ string) bool {
	for _, r := range s.Resources {
		if r.Name != "" && !r.Static && r.Type() == typ {
			return true
		}
	}
	return false
}
