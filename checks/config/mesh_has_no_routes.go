package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// MeshHasNoRoutes finds a Mesh or a Gateway scope that no route is attached to.
var MeshHasNoRoutes = diagnose.Check{
	ID: "config/mesh-has-no-routes",
	Doc: diagnose.Doc{
		Title: "No route is attached to the Mesh or Gateway",
		Explanation: "A Mesh or a Gateway says nothing of traffic by itself: HTTPRoutes, GRPCRoutes, TCPRoutes and TLSRoutes that name it do. " +
			"Without one, its proxies get no listener that leads anywhere.",
		Quiet: "One route of any kind is enough. Whether its host names are the right ones is another question.",
		Remedy: []diagnose.Step{
			{
				If: "mesh", Text: "See what is attached to the Mesh, and which routes the project has",
				Command: "gcloud network-services meshes describe {{mesh}} --location={{location}} --project={{project}} && gcloud network-services http-routes list --location=global --project={{project}} && gcloud network-services grpc-routes list --location=global --project={{project}}",
			},
			{
				If: "gateway", Text: "See the Gateway, and which routes the project has",
				Command: "gcloud network-services gateways describe {{gateway}} --location={{location}} --project={{project}} && gcloud network-services http-routes list --location=global --project={{project}} && gcloud network-services tcp-routes list --location=global --project={{project}}",
			},
			{If: "elsewhere", Text: "The project's routes are attached to {{elsewhere}}: if that is a slip, correct the route"},
			{
				If: "route", Text: "Write a route to a file, add the Mesh or Gateway under its meshes: or gateways:, and import it again",
				Command: "gcloud network-services {{route_kind}}-routes export {{route}} --destination=route.yaml --location=global --project={{project}}",
			},
			{
				If: "mesh", Text: "Or write a route.yaml whose meshes: holds projects/{{project}}/locations/{{location}}/meshes/{{mesh}}, and import it",
				Command: "gcloud network-services http-routes import {{mesh}}-route --source=route.yaml --location=global --project={{project}}",
			},
			{
				If: "gateway", Text: "Or write a route.yaml whose gateways: holds projects/{{project}}/locations/{{location}}/gateways/{{gateway}}, and import it",
				Command: "gcloud network-services http-routes import {{gateway}}-route --source=route.yaml --location=global --project={{project}}",
			},
		},
		References: []string{refMeshSetup, "https://cloud.google.com/sdk/gcloud/reference/network-services/http-routes/import"},
	},
	Severity: diagnose.Blocking,
	Layer:    diagnose.LayerConfig,
	Symptoms: []diagnose.Symptom{diagnose.SymptomNoConfig, diagnose.SymptomRequestsFail},
	Needs:    []evidence.Name{evidence.Meshes.Name(), evidence.Gateways.Name(), evidence.Routes.Name(), evidence.Bootstraps.Name()},
	Explains: append([]diagnose.CheckID{"xds/config-not-sent", "xds/resource-missing"}, explainedByConfig...),
	Applies:  namesMesh,
	Evaluate: meshHasNoRoutes,
}

func meshHasNoRoutes(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	named, err := namedMeshes(req, v)
	if err != nil {
		return nil, err
	}
	var causes []diagnose.Cause
	var open error
	for _, n := range named {
		var names []string // of the Mesh, or of the Gateways that share the scope
		location := "global"
		switch n.Kind {
		case meshPlace:
			all, err := evidence.Get(v, evidence.Meshes)
			if err != nil {
				open = err
				continue
			}
			for _, m := range all {
				if evidence.LastSegment(m.Name) == n.Value {
					names, location = []string{n.Value}, cmp.Or(m.Location, location)
				}
			}
		default:
			all, err := evidence.Whole(v, evidence.Gateways) // a Gateway unseen may have the route
			if err != nil {
				open = err
				continue
			}
			for _, g := range all {
				if g.Scope == n.Value {
					names, location = append(names, evidence.LastSegment(g.Name)), cmp.Or(g.Location, location)
				}
			}
		}
		if len(names) == 0 {
			continue // no such Mesh is another condition
		}
		routes, err := evidence.Whole(v, evidence.Routes)
		if attached(routes, n.Kind, names) {
			continue
		}
		if err != nil {
			open = err
			continue
		}
		causes = append(causes, unrouted(req, n, names, location, routes))
	}
	if len(causes) > 0 {
		return causes, nil
	}
	return nil, open
}

// parents gives what a route is attached to, by the kind asked for.
func parents(r evidence.Route, k placeKind) []string {
	list := r.Gateways
	if k == meshPlace {
		list = r.Meshes
	}
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = evidence.LastSegment(s)
	}
	return out
}

func attached(routes []evidence.Route, k placeKind, names []string) bool {
	return slices.ContainsFunc(routes, func(r evidence.Route) bool {
		return slices.ContainsFunc(parents(r, k), func(p string) bool { return slices.Contains(names, p) })
	})
}

func unrouted(req diagnose.Request, n namedMesh, names []string, location string, routes []evidence.Route) diagnose.Cause {
	params := n.Who.params()
	params["location"] = location
	params["project"] = projectParam(req, nil, []identity{n.Who})
	subject, what := "Mesh "+n.Value, "the Mesh"
	if n.Kind == meshPlace {
		params["mesh"] = n.Value
	} else {
		params["gateway"] = names[0]
		subject, what = "Gateway scope "+n.Value, "a Gateway with the scope ("+few(quoted(names))+")"
	}
	c := diagnose.Cause{Subject: subject, Key: n.Who.Key, About: n.about(), Confidence: diagnose.Confirmed, Params: params}
	var elsewhere []string
	for _, r := range routes {
		elsewhere = append(elsewhere, parents(r, n.Kind)...)
	}
	slices.Sort(elsewhere)
	elsewhere = slices.Compact(elsewhere)
	excerpt := "routes of any kind: 0"
	switch {
	case len(routes) == 0:
		c.Summary = fmt.Sprintf("%s exists, and the project has no route of any kind.", subject)
	case len(elsewhere) > 0:
		params["elsewhere"] = strings.Join(elsewhere[:min(len(elsewhere), 3)], ", ")
		c.Summary = fmt.Sprintf("%s exists, and none of the project's %s names %s: they name %s.", subject, plural(len(routes), "route", "routes"), what, few(quoted(elsewhere)))
	default:
		c.Summary = fmt.Sprintf("%s exists, and none of the project's %s names %s.", subject, plural(len(routes), "route", "routes"), what)
	}
	if len(routes) > 0 {
		r := routes[0]
		params["route"], params["route_kind"] = evidence.LastSegment(r.Name), r.Kind
		var lines []string
		for _, r := range routes[:min(len(routes), 3)] {
			lines = append(lines, fmt.Sprintf("%s route %s: %s %s", r.Kind, quote(evidence.LastSegment(r.Name)), n.Kind, few(quoted(parents(r, n.Kind)))))
		}
		excerpt = strings.Join(lines, "\n")
	}
	c.Evidence = []diagnose.Exhibit{{Fact: evidence.Routes.Name(), Excerpt: excerpt}}
	if n.Who.Subject != "" {
		c.Evidence = append(c.Evidence, n.Who.exhibit(n.claim))
	}
	return c
}
