package xds

import (
	"fmt"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// ResourceMissing finds resources that a client asked for and that the control plane doesn't have, or doesn't bring.
var ResourceMissing = diagnose.Check{
	ID:       "xds/resource-missing",
	Severity: diagnose.Blocking,
	Layer:    diagnose.LayerConfig,
	Symptoms: []diagnose.Symptom{diagnose.SymptomNoConfig, diagnose.SymptomRequestsFail},
	Doc: diagnose.Doc{
		Title: "A resource the client asked for does not exist",
		Explanation: "The client's own view says that a resource it needs was never delivered or was removed (DOES_NOT_EXIST), did " +
			"not come in time (TIMEOUT), or has been asked for and not come (REQUESTED). gRPC then fails every call that needs it; " +
			"Envoy answers 503 or closes the connection.",
		Quiet: "When the client asked just now: REQUESTED in one sample.",
		Remedy: []diagnose.Step{
			{If: "resource", Text: "{{type}} {{resource}} is made from {{origin}}: see that it exists under this very name, host and port."},
			{If: "listener", Text: "The client dials this name: it must equal a host of a route, or the host rule of a URL map whose rule has the port (80 where the client names none).",
				Command: "gcloud compute url-maps list --project={{project}} --format='yaml(name,hostRules)'"},
			{If: "listener", Text: "Or, with routes:",
				Command: "gcloud network-services grpc-routes list --project={{project}} --location=global --format='table(name,meshes,hostnames)'"},
			{If: "endpoints", Text: "See which backends the backend service has:",
				Command: "gcloud compute backend-services list --project={{project}} --filter=loadBalancingScheme=INTERNAL_SELF_MANAGED --format='table(name,protocol,backends[].group.basename())'"},
			{Text: "After a change of the configuration, wait two minutes and ask again."},
		},
		References: []string{
			"https://www.envoyproxy.io/docs/envoy/latest/api-v3/admin/v3/config_dump_shared.proto",
			"https://github.com/grpc/proposal/blob/master/A40-csds-support.md",
		},
	},
	Needs:    []evidence.Name{evidence.ClientStatuses.Name()},
	Evaluate: resourceMissing,
}

func resourceMissing(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	list, err, open := statuses(v)
	if err != nil {
		return nil, err
	}
	var f findings
	each(list, func(s *evidence.ClientStatus, r seen) {
		switch {
		case r.Client == evidence.DoesNotExist, r.Client == evidence.TimedOut:
			f.add(r.Client.String(), diagnose.Confirmed, r)
		case r.Client == evidence.Requested && r.Samples >= 2:
			f.add(r.Client.String(), diagnose.Likely, r)
		}
	})
	total := clientCount(list)
	causes := f.causes(total, func(x finding) string {
		verb := map[string]string{
			"DOES_NOT_EXIST": "the control plane has none of that name",
			"TIMEOUT":        "it did not come in time",
			"REQUESTED":      "it has not come, over several samples",
		}[x.state]
		asks := "The client asked for"
		if len(x.clients) > 1 {
			asks = x.by(total) + " asked for"
		}
		return fmt.Sprintf("%s %s: %s (%s).", asks, x.what(), verb, x.state)
	})
	for i, x := range f.list {
		p := causes[i].Params
		if req.Target.Project != "" {
			switch x.types[0] {
			case "Listener", "RouteConfiguration":
				p["listener"] = "yes"
			case "Cluster", "ClusterLoadAssignment":
				p["endpoints"] = "yes"
			}
		}
	}
	if len(causes) > 0 {
		return causes, nil
	}
	return nil, open
}
