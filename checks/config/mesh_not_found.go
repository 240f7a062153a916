package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// MeshNotFound finds a proxy of a Mesh or a Gateway scope that doesn't exist.
var MeshNotFound = diagnose.Check{
	ID: "config/mesh-not-found",
	Doc: diagnose.Doc{
		Title: "The Mesh or Gateway scope that the proxy names does not exist",
		Explanation: "A proxy that names mesh:NAME or scope:NAME in its node id gets the routes of the Mesh of that name, or of the Gateway with that scope. " +
			"The project has none of that name, so that the control plane answers with NOT_FOUND.",
		Quiet: "A Mesh of the name in any location counts. Names made by managed Cloud Service Mesh (gsmmesh-…) aren't looked for: their Meshes aren't the project's own.",
		Remedy: []diagnose.Step{
			{
				If: "mesh", Text: "See which Meshes the project has",
				Command: "gcloud network-services meshes list --location=global --project={{project}}",
			},
			{
				If: "scope", Text: "See which Gateways the project has, and their scopes",
				Command: `gcloud network-services gateways list --location=global --project={{project}} --format="table(name.basename(),scope,type)"`,
			},
			{If: "near", Text: "{{near}} was probably meant: name it so in the request, or in the bootstrap"},
			{
				If: "envoy", Text: "In {{envoy}}, correct the networks/ part of node.id, and restart Envoy",
				Command: "grep -nE '/networks/|TRAFFICDIRECTOR_' {{envoy}}",
			},
			{
				If: "grpc", Text: "In {{grpc}}, correct the networks/ part of node.id (the generator's --config-mesh), and restart the client",
				Command: "grep -n '/networks/' {{grpc}}",
			},
			{
				If: "mesh", Text: "Or, if it was never made, make it (and attach routes to it)",
				Command: "printf 'name: %s\\n' {{mesh}} > mesh.yaml && gcloud network-services meshes import {{mesh}} --source=mesh.yaml --location=global --project={{project}}",
			},
		},
		References: []string{refMeshSetup},
	},
	Severity: diagnose.Blocking,
	Layer:    diagnose.LayerConfig,
	Symptoms: []diagnose.Symptom{diagnose.SymptomNoConfig, diagnose.SymptomRequestsFail},
	Needs:    []evidence.Name{evidence.Meshes.Name(), evidence.Gateways.Name(), evidence.Bootstraps.Name()},
	Explains: append([]diagnose.CheckID{"config/mesh-has-no-routes", "xds/config-not-sent", "xds/resource-missing"}, explainedByConfig...),
	Applies:  namesMesh,
	Evaluate: meshNotFound,
}

// namesMesh says whether a request may be about proxies of a Mesh or a Gateway scope: it names one, or has files that may.
func namesMesh(req diagnose.Request) bool {
	if req.Target.Mesh != "" || len(req.Artifacts) > 0 || !req.Target.Live() {
		return true
	}
	p, ok := fromNodeID(req.Target.NodeID, "node id")
	_, vpc := p.vpc()
	return ok && !vpc
}

// managedMesh is how managed Cloud Service Mesh begins the names of its Meshes.
// https://github.com/GoogleCloudPlatform/traffic-director-grpc-bootstrap, package csmnamer
const managedMesh = "gsmmesh-"

// namedMesh is a Mesh or scope that something names.
type namedMesh struct {
	place
	Who identity // zero for the request itself
}

// about names it, and the proxy that names it.
func (n namedMesh) about() diagnose.About {
	return diagnose.About{placeAspects[n.Kind]: {n.Value}, diagnose.AboutNode: {n.Who.NodeID}}
}

// namedMeshes gives each Mesh and scope that the request, the node asked about or a bootstrap names, once.
func namedMeshes(req diagnose.Request, v *evidence.View) ([]namedMesh, error) {
	var out []namedMesh
	add := func(n namedMesh) {
		for _, o := range out {
			if o.Kind == n.Kind && o.Value == n.Value {
				return
			}
		}
		out = append(out, n)
	}
	who, err := proxies(req, v)
	if req.Target.Mesh != "" {
		at := place{meshPlace, claim{req.Target.MeshName(), "the Mesh asked about"}}
		if s := req.Target.GatewayScope(); s != "" {
			at = place{scopePlace, claim{s, "the scope asked about"}}
		}
		add(namedMesh{place: at})
	}
	for _, p := range who {
		if at, ok := p.where(); ok && at.Kind != vpcPlace {
			add(namedMesh{at, p})
		}
	}
	if len(out) == 0 {
		if err == nil {
			err = diagnose.Skip("nothing names a Mesh or a Gateway scope")
		}
		return nil, err
	}
	return out, nil
}

func meshNotFound(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	named, err := namedMeshes(req, v)
	if err != nil {
		return nil, err
	}
	var causes []diagnose.Cause
	var open error
	managed := 0
	for _, n := range named {
		if n.Kind == meshPlace && strings.HasPrefix(n.Value, managedMesh) {
			managed++
			continue
		}
		fact, what, list := evidence.Meshes.Name(), "Mesh", []string(nil)
		if n.Kind == meshPlace {
			var all []evidence.Mesh
			all, err = evidence.Whole(v, evidence.Meshes)
			for _, m := range all {
				list = append(list, evidence.LastSegment(m.Name))
			}
		} else {
			var all []evidence.Gateway
			fact, what = evidence.Gateways.Name(), "Gateway scope"
			all, err = evidence.Whole(v, evidence.Gateways)
			for _, g := range all {
				if g.Scope != "" {
					list = append(list, g.Scope)
				}
			}
		}
		if slices.Contains(list, n.Value) {
			continue
		}
		if err != nil {
			open = err
			continue
		}
		causes = append(causes, notThere(req, n, what, fact, list))
	}
	switch {
	case len(causes) > 0:
		return causes, nil
	case open != nil:
		return nil, open
	case managed == len(named):
		return nil, diagnose.Skip("the Mesh is one of managed Cloud Service Mesh, which the project doesn't list")
	}
	return nil, nil
}

// notThere makes the cause for a name that isn't in the list.
func notThere(req diagnose.Request, n namedMesh, what string, fact evidence.Name, list []string) diagnose.Cause {
	params := n.Who.params()
	params[string(n.Kind)] = n.Value
	c := diagnose.Cause{Key: n.Who.Key, About: n.about(), Confidence: diagnose.Confirmed, Params: params, Subject: what + " " + n.Value}
	if params["project"] = projectParam(req, nil, []identity{n.Who}); params["project"] != "" {
		c.Subject += " of project " + params["project"]
	}
	plurals := map[string]string{"Mesh": "Meshes", "Gateway scope": "Gateway scopes"}
	has := "the project has no " + what
	if len(list) > 0 {
		has = "the project has " + few(quoted(list))
	}
	if n.Who.Subject == "" {
		c.Summary = fmt.Sprintf("No %s is called %s: %s.", what, quote(n.Value), has)
	} else {
		c.Summary = fmt.Sprintf("%s names %s %s, which does not exist: %s.", n.Who.Subject, what, quote(n.Value), has)
		c.Evidence = append(c.Evidence, n.Who.exhibit(n.claim))
	}
	if near, ok := nearest(n.Value, list); ok {
		params["near"] = near
		if len(list) > 1 {
			c.Summary += fmt.Sprintf(" The closest name is %s.", quote(near))
		}
	}
	c.Evidence = append(c.Evidence, diagnose.Exhibit{Fact: fact, Excerpt: fmt.Sprintf("%d %s: %s", len(list), plurals[what], few(quoted(list)))})
	return c
}
