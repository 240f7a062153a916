package backend

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// Pages that several checks refer to.
const (
	refTroubleshooting = "https://cloud.google.com/traffic-director/docs/troubleshooting"
	refBackends        = "https://cloud.google.com/load-balancing/docs/backend-service"
	refHealthChecks    = "https://cloud.google.com/load-balancing/docs/health-check-concepts"
)

// showHealth is the command that shows a backend service's health.
const showHealth = "gcloud compute backend-services get-health {{backend_service}} --global --project={{project}}"

// seeHealth shows the endpoints' health.
var seeHealth = []diagnose.Step{
	{If: "backend_service", Text: "See which endpoints are unhealthy.", Command: showHealth},
	{Unless: "backend_service", Text: "See which endpoints are unhealthy: gcloud compute backend-services get-health SERVICE --global."},
}

// service is a backend service with the health of its endpoints.
type service struct {
	name      string // "" where the evidence doesn't tell
	file      string // where it doesn't: what told the health
	def       evidence.BackendService
	defined   bool // def is known
	endpoints []evidence.EndpointHealth
	several   bool // others are known beside it
}

// The states of an endpoint's health; others, and none, say nothing. Some endpoints' health can't be read at all.
const (
	healthy   = "HEALTHY"
	unhealthy = "UNHEALTHY"
)

func (s service) String() string {
	if s.name == "" {
		return "the backend service of " + s.file
	}
	return "backend service " + s.name
}

// subject names what the endpoints are of, after a preposition in a summary.
func (s service) of() string {
	if s.name == "" {
		return "in " + s.file
	}
	return "of backend service " + s.name
}

func (s service) count(state string) int {
	n := 0
	for _, e := range s.endpoints {
		if e.State == state {
			n++
		}
	}
	return n
}

// failsOpen says whether so many endpoints are unhealthy that Cloud Service Mesh ignores health.
func (s service) failsOpen() bool {
	bad := s.count(unhealthy)
	return bad > 0 && bad*100 >= len(s.endpoints)*failOpenPercent
}

// covered says whether the health of all endpoints is known: of each of its groups something is, or there is nothing in it.
// Groups that proxies check themselves are never told.
func (s service) covered(groups []evidence.EndpointGroup) bool {
	for _, b := range s.def.Backends {
		told := slices.ContainsFunc(s.endpoints, func(e evidence.EndpointHealth) bool { return evidence.SameResource(e.Group, b.Group) })
		empty := slices.ContainsFunc(groups, func(g evidence.EndpointGroup) bool { return evidence.SameResource(g.URL, b.Group) && g.Endpoints == 0 })
		if !told && !empty {
			return false
		}
	}
	return true
}

// cause begins a cause about the service.
func (s service) cause(req diagnose.Request) diagnose.Cause {
	c := diagnose.Cause{Subject: s.String(), About: diagnose.About{diagnose.AboutService: {s.name}}, Confidence: diagnose.Confirmed, Params: map[string]string{"backend_service": s.name}}
	if p := project(s.def.SelfLink); p != "" {
		c.Params["project"] = p
	}
	if s.several {
		c.Key = "backends/" + cmp.Or(s.name, s.file)
	}
	return c
}

// sickVMs names the VMs of the endpoints that are unhealthy; nil where not every one is told.
func (s service) sickVMs() []string {
	var out []string
	for _, e := range s.endpoints {
		if e.State != unhealthy {
			continue
		}
		_, rest, ok := strings.Cut(e.Instance, "/zones/")
		if !ok {
			return nil
		}
		zone, _, _ := strings.Cut(rest, "/")
		out = append(out, zone+"/"+evidence.LastSegment(e.Instance))
	}
	return out
}

// maxEndpoints bounds the endpoints that an exhibit names.
const maxEndpoints = 5

// sick shows the endpoints that are unhealthy.
func (s service) sick() diagnose.Exhibit {
	x := diagnose.Exhibit{Fact: evidence.BackendHealth.Name()}
	var names []string
	bad := 0
	for _, e := range s.endpoints {
		if e.State != unhealthy {
			continue
		}
		if bad++; bad > maxEndpoints {
			continue
		}
		if bad == 1 {
			x.Source = e.Source
		}
		name := fmt.Sprintf("%s:%d", cmp.Or(e.Address, "?"), e.Port)
		if i := evidence.LastSegment(e.Instance); i != "" {
			name += " (" + i + ")"
		}
		names = append(names, name)
	}
	x.Excerpt = "UNHEALTHY: " + strings.Join(names, ", ")
	if n := bad - maxEndpoints; n > 0 {
		x.Excerpt += fmt.Sprintf(" and %d more", n)
	}
	return x
}

// meshServices groups the endpoints' health by backend service. Those of services that aren't the mesh's are left out.
func meshServices(health []evidence.EndpointHealth, defs []evidence.BackendService) []service {
	at := map[string]int{}
	var out []service
	seen := map[string]int{} // endpoints, by place: one that several forwarding rules lead to is told several times
	for _, e := range health {
		def, ok := definition(e, defs)
		if ok && def.Scheme != "" && def.Scheme != evidence.SelfManaged {
			continue
		}
		name := cmp.Or(e.Service, def.Name)
		id := "service\n" + name
		if name == "" {
			id = "file\n" + e.Source.Detail
		}
		i, known := at[id]
		if !known {
			i = len(out)
			at[id] = i
			out = append(out, service{name: name, file: cmp.Or(e.Source.Detail, "the answer"), def: def, defined: ok})
		}
		place := fmt.Sprintf("%s\n%s\n%s\n%d\n%s", id, evidence.ResourcePath(e.Group), e.Address, e.Port, e.Instance)
		if j, again := seen[place]; again {
			if old := &out[i].endpoints[j]; e.State == healthy || old.State == "" {
				old.State = e.State // a probe that came through shows that it can
			}
			continue
		}
		seen[place] = len(out[i].endpoints)
		out[i].endpoints = append(out[i].endpoints, e)
	}
	for i := range out {
		out[i].several = len(out) > 1
	}
	slices.SortStableFunc(out, func(a, b service) int { return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.file, b.file)) })
	return out
}

// definition finds the backend service that an endpoint is behind: by its name, else by its group where one service alone has
// that.
func definition(e evidence.EndpointHealth, defs []evidence.BackendService) (evidence.BackendService, bool) {
	var found []evidence.BackendService
	for _, d := range defs {
		switch {
		case e.Service != "" && e.Service == d.Name:
			return d, true
		case e.Service == "" && e.Group != "" && slices.ContainsFunc(d.Backends, func(b evidence.Backend) bool { return evidence.SameResource(b.Group, e.Group) }):
			found = append(found, d)
		}
	}
	if len(found) == 1 {
		return found[0], true
	}
	return evidence.BackendService{}, false
}

// project gives the project that a resource's URL names.
func project(url string) string {
	rest, ok := strings.CutPrefix(evidence.ResourcePath(url), "projects/")
	if !ok {
		return ""
	}
	p, _, _ := strings.Cut(rest, "/")
	return p
}

// region gives the region of a zone; what is a region already stays as it is.
func region(zone string) string {
	if i := strings.LastIndexByte(zone, '-'); i >= 0 && len(zone) == i+2 {
		return zone[:i]
	}
	return zone
}

// listed joins words for a sentence.
func listed(words []string) string {
	switch n := len(words); {
	case n == 0:
		return ""
	case n == 1:
		return words[0]
	default:
		return strings.Join(words[:n-1], ", ") + " and " + words[n-1]
	}
}
