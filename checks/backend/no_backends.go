package backend

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// NoBackends finds a service that has nothing to send requests to.
var NoBackends = diagnose.Check{
	ID:       "backend/no-backends",
	Severity: diagnose.Blocking,
	Layer:    diagnose.LayerBackend,
	Symptoms: []diagnose.Symptom{diagnose.SymptomRequestsFail},
	Needs: []evidence.Name{
		evidence.BackendServices.Name(), evidence.EndpointGroups.Name(), evidence.URLMaps.Name(), evidence.TargetProxies.Name(),
	},
	Explains: []diagnose.CheckID{"xds/no-endpoints", "request/no-healthy-upstream", "proxyless/produced-zero-addresses"},
	Doc: diagnose.Doc{
		Title: "A service has no backends",
		Explanation: "A backend service sends requests to the endpoints of its backends: instance groups and network endpoint groups (NEGs). This one has no backends, or " +
			"there is no endpoint in any of them, so that its proxies get an empty cluster and fail every request to it (\"no healthy upstream\").",
		Quiet: "Nothing leads to the backend service; it isn't of the mesh (load balancing scheme other than INTERNAL_SELF_MANAGED); one of its groups has endpoints, or isn't known; a file that leaves fields out.",
		Remedy: []diagnose.Step{
			{If: "backend_service", Text: "See what backends it has.", Command: "gcloud compute backend-services describe {{backend_service}} --global --project={{project}} --format='yaml(backends,healthChecks,loadBalancingScheme)'"},
			{If: "empty", Text: "Its groups have no endpoints. A managed instance group of size 0 wants resizing; a NEG of GKE is filled from a Service whose annotation cloud.google.com/neg names it, and whose selector must match ready pods."},
			{Unless: "empty", Text: "Add a NEG (or an instance group: --instance-group, --instance-group-zone) as its backend, under your own names.",
				Command: "gcloud compute backend-services add-backend {{backend_service}} --global --project={{project}} --network-endpoint-group=NEG --network-endpoint-group-zone=ZONE --balancing-mode=RATE --max-rate-per-endpoint=100"},
		},
		References: []string{refBackends, "https://cloud.google.com/load-balancing/docs/negs"},
	},
	Evaluate: noBackends,
}

func noBackends(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	all, err := evidence.Get(v, evidence.BackendServices)
	groups, groupsErr := evidence.Get(v, evidence.EndpointGroups)
	maps, mapsErr := evidence.Get(v, evidence.URLMaps)
	proxies, proxiesErr := evidence.Get(v, evidence.TargetProxies)
	if err != nil {
		return nil, err
	}
	var mesh []evidence.BackendService
	for _, s := range all {
		if s.Scheme == evidence.SelfManaged {
			mesh = append(mesh, s)
		}
	}
	used := func(s evidence.BackendService) bool {
		in := func(url string) bool {
			return evidence.SameResource(url, s.SelfLink) || evidence.LastSegment(url) == s.Name
		}
		return slices.ContainsFunc(maps, func(m evidence.URLMap) bool { return slices.ContainsFunc(m.Services, in) }) ||
			slices.ContainsFunc(proxies, func(p evidence.TargetProxy) bool { return p.Service != "" && in(p.Service) })
	}
	certain := true
	switch {
	case len(all) == 1:
		// The one that was handed in, or that there is, is meant.
	case req.Target.Mesh != "":
		certain = false // which ones the routes lead to isn't known
	case mapsErr != nil:
		return nil, mapsErr
	case proxiesErr != nil:
		return nil, proxiesErr
	default:
		mesh = slices.DeleteFunc(mesh, func(s evidence.BackendService) bool { return !used(s) })
	}
	var causes []diagnose.Cause
	var open error
	for _, s := range mesh {
		whole := service{name: s.Name, def: s, several: len(mesh) > 1}
		c := whole.cause(req)
		if !certain {
			c.Confidence, c.Severity = diagnose.Possible, diagnose.Advice
		}
		switch {
		case len(s.Backends) == 0 && s.Cut:
			open = diagnose.Skip("the file leaves out what the backend services' backends are")
			continue
		case len(s.Backends) == 0:
			c.Summary = fmt.Sprintf("Backend service %s has no backends, so every request to it fails.", s.Name)
			c.Evidence = []diagnose.Exhibit{{Fact: evidence.BackendServices.Name(), Excerpt: "backend service " + s.Name + ": backends: none", Source: s.Source}}
		default:
			names, err := empty(s, groups, groupsErr)
			if err != nil {
				open = err
			}
			if len(names) == 0 {
				continue
			}
			c.Params["empty"] = "yes"
			c.Summary = fmt.Sprintf("Backend service %s has no endpoints: there is none in %s.", s.Name, listed(names))
			c.Evidence = []diagnose.Exhibit{{Fact: evidence.EndpointGroups.Name(), Excerpt: "endpoints: 0 in " + strings.Join(names, ", ")}}
		}
		causes = append(causes, c)
	}
	if len(causes) > 0 {
		return causes, nil
	}
	return nil, open
}

// maxGroups bounds the groups that are named.
const maxGroups = 4

// empty names the groups of a service where all of them are known to hold no endpoint. The error says that one isn't known.
func empty(s evidence.BackendService, groups []evidence.EndpointGroup, groupsErr error) ([]string, error) {
	var names []string
	for _, b := range s.Backends {
		i := slices.IndexFunc(groups, func(g evidence.EndpointGroup) bool { return evidence.SameResource(g.URL, b.Group) })
		switch {
		case i < 0 && groupsErr != nil:
			return nil, groupsErr
		case i < 0:
			return nil, &evidence.Missing{
				Name: evidence.EndpointGroups.Name(), Why: evidence.Failed, Err: errors.New("group " + evidence.LastSegment(b.Group) + " is not among those read"),
			}
		case groups[i].Endpoints != 0:
			return nil, nil // some, or nobody knows how many
		}
		names = append(names, evidence.LastSegment(b.Group))
	}
	slices.Sort(names)
	if n := len(names) - maxGroups; n > 0 {
		names = append(names[:maxGroups], fmt.Sprintf("%d groups more", n))
	}
	return names, nil
}
