package backend

import (
	"fmt"
	"maps"
	"slices"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// SomeUnhealthy finds that some endpoints of a service are unhealthy, so that traffic goes to others.
var SomeUnhealthy = diagnose.Check{
	ID:       "backend/some-unhealthy",
	Severity: diagnose.Degrading,
	Layer:    diagnose.LayerBackend,
	Symptoms: []diagnose.Symptom{diagnose.SymptomRequestsFail},
	Needs:    []evidence.Name{evidence.BackendHealth.Name(), evidence.BackendServices.Name(), evidence.EndpointGroups.Name()},
	Doc: diagnose.Doc{
		Title: "Some endpoints are unhealthy, so traffic goes farther",
		Explanation: "Cloud Service Mesh sends requests to the nearest endpoints that are healthy. Where some fail their health checks, requests are still served, by fewer endpoints " +
			"and maybe in another region: slower, and at the price of traffic between regions.",
		Quiet: "All are healthy; nearly all are unhealthy (then health is ignored); the answer tells no health, as for endpoints that the proxies check themselves; the backend service isn't of the mesh.",
		Remedy: append(append([]diagnose.Step{}, seeHealth...),
			diagnose.Step{Text: "See on one of them whether the application runs, and what it answers on the health check's port and path."},
			diagnose.Step{Text: "If those of one region or network alone are unhealthy, see whether health checks come through there: they come from 35.191.0.0/16 and 130.211.0.0/22."},
		),
		References: []string{refTroubleshooting, refHealthChecks},
	},
	Evaluate: someUnhealthy,
}

func someUnhealthy(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	health, err := evidence.Get(v, evidence.BackendHealth)
	defs, _ := evidence.Get(v, evidence.BackendServices)
	groups, _ := evidence.Get(v, evidence.EndpointGroups)
	if err != nil {
		return nil, err
	}
	var causes []diagnose.Cause
	for _, s := range meshServices(health, defs) {
		bad := s.count(unhealthy)
		if bad == 0 || s.failsOpen() && s.covered(groups) {
			continue
		}
		c := s.cause(req)
		c.About[diagnose.AboutEndpoint] = s.sickVMs()
		perRegion := regions(s)
		where := ""
		if perRegion != "" {
			where = " (" + perRegion + ")"
		}
		c.Summary = fmt.Sprintf("%d of the %d endpoints known %s are unhealthy%s: traffic goes to the others, be they farther away.", bad, len(s.endpoints), s.of(), where)
		c.Evidence = []diagnose.Exhibit{s.sick()}
		causes = append(causes, c)
	}
	if len(causes) > 0 {
		return causes, nil
	}
	_, err = evidence.Whole(v, evidence.BackendHealth)
	return nil, err
}

// maxRegions bounds the regions that a summary counts.
const maxRegions = 3

// regions counts the unhealthy endpoints of each region, the worst ones first; "" where no region is known.
func regions(s service) string {
	bad, all := map[string]int{}, map[string]int{}
	for _, e := range s.endpoints {
		r := region(e.Zone)
		if r == "" {
			continue
		}
		all[r]++
		if e.State == unhealthy {
			bad[r]++
		}
	}
	names := slices.SortedFunc(maps.Keys(bad), func(a, b string) int {
		if d := bad[b]*all[a] - bad[a]*all[b]; d != 0 {
			return d
		}
		if a < b {
			return -1
		}
		return 1
	})
	var out []string
	for _, r := range names[:min(len(names), maxRegions)] {
		out = append(out, fmt.Sprintf("%s %d of %d", r, bad[r], all[r]))
	}
	if n := len(names) - maxRegions; n > 0 {
		out = append(out, fmt.Sprintf("%d regions more", n))
	}
	return listed(out)
}
