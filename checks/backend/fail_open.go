package backend

import (
	"fmt"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// failOpenPercent is the share of unhealthy endpoints from which on Cloud Service Mesh ignores health. It isn't Envoy's panic
// threshold, which is 50 % by default, holds within one proxy, and is set apart from it.
// https://cloud.google.com/traffic-director/docs/troubleshooting
const failOpenPercent = 99

// FailOpen finds that nearly all endpoints of a service are unhealthy, so that their health no longer steers traffic.
var FailOpen = diagnose.Check{
	ID:       "backend/fail-open",
	Severity: diagnose.Degrading,
	Layer:    diagnose.LayerBackend,
	Symptoms: []diagnose.Symptom{diagnose.SymptomRequestsFail},
	Needs:    []evidence.Name{evidence.BackendHealth.Name(), evidence.BackendServices.Name(), evidence.EndpointGroups.Name()},
	Explains: []diagnose.CheckID{"xds/endpoints-unhealthy", "request/no-healthy-upstream", "proxyless/produced-zero-addresses"},
	Doc: diagnose.Doc{
		Title: "Nearly all endpoints are unhealthy, so health is ignored",
		Explanation: "Where 99 % or more of the endpoints of a service fail their health checks, Cloud Service Mesh takes the health checks for broken: it tells proxies to ignore " +
			"health, and they spread requests over all endpoints. Where the serving port works all the same, requests succeed; where it doesn't, they fail at random. " +
			"This is the control plane's own rule; Envoy's panic threshold, 50 % by default, is another thing.",
		Quiet: "Fewer are unhealthy; their health isn't told at all, as that of endpoints which the proxies check themselves; the backend service isn't of the mesh (load balancing scheme other than INTERNAL_SELF_MANAGED).",
		Remedy: append(append([]diagnose.Step{}, seeHealth...),
			diagnose.Step{Text: "See whether the application answers on an endpoint itself, on the port and path of the health check: if it does, health checks don't come through (firewall) or ask for the wrong thing (port, protocol, path, host)."},
			diagnose.Step{If: "health_check", Text: "See what the health check asks for.", Command: "gcloud compute health-checks describe {{health_check}} --project={{project}}"},
			diagnose.Step{Text: "Health checks must be let in from 35.191.0.0/16 and 130.211.0.0/22."},
		),
		References: []string{refTroubleshooting, refHealthChecks},
	},
	Evaluate: failOpen,
}

func failOpen(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	health, err := evidence.Whole(v, evidence.BackendHealth)
	defs, _ := evidence.Get(v, evidence.BackendServices)  // where they aren't known, the answers are taken for whole ones
	groups, _ := evidence.Get(v, evidence.EndpointGroups) // the same
	var causes []diagnose.Cause
	for _, s := range meshServices(health, defs) {
		if !s.failsOpen() || !s.covered(groups) {
			continue
		}
		c := s.cause(req)
		c.About[diagnose.AboutEndpoint] = s.sickVMs()
		share := "All"
		if bad := s.count(unhealthy); bad < len(s.endpoints) {
			share = fmt.Sprintf("%d of", bad)
		}
		if s.defined && err == nil {
			c.Summary = fmt.Sprintf("%s %d endpoints %s are unhealthy, so Cloud Service Mesh ignores health and spreads traffic over all of them.", share, len(s.endpoints), s.of())
		} else {
			c.Confidence = diagnose.Likely
			c.Summary = fmt.Sprintf("%s %d endpoints %s are unhealthy; unless the service has others, Cloud Service Mesh ignores health and spreads traffic over all.", share, len(s.endpoints), s.of())
		}
		if len(s.def.HealthChecks) > 0 {
			c.Params["health_check"] = evidence.LastSegment(s.def.HealthChecks[0])
		}
		c.Evidence = []diagnose.Exhibit{s.sick()}
		causes = append(causes, c)
	}
	if len(causes) > 0 {
		return causes, nil
	}
	return nil, err
}
