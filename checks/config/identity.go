package config

import (
	"errors"
	"slices"
	"strings"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// Node metadata by which a proxy names a Mesh or a Gateway scope where its node id doesn't, and the variables of the
// manual VM package's sidecar.env.
// https://docs.cloud.google.com/service-mesh/docs/per-proxy-config
// https://cloud.google.com/service-mesh/legacy/gateway/set-up-envoy-gke-mesh
const (
	metadataPrefix = "TRAFFICDIRECTOR_"
	metadataMesh2  = "TRAFFICDIRECTOR_MESH_NAME"
	metadataScope  = "TRAFFICDIRECTOR_SCOPE_NAME"
	envProject     = "GCP_PROJECT_NUMBER"
	envNetwork     = "VPC_NETWORK_NAME"
	envMesh        = "MESH_NAME"
	envScope       = "SCOPE_NAME"
)

// claim is one value that a proxy gives for itself, and the field that holds it.
type claim struct{ Value, Field string }

// placeKind tells apart what the network segment of a node id can name.
type placeKind string

const (
	vpcPlace   placeKind = "network"
	meshPlace  placeKind = "mesh"
	scopePlace placeKind = "scope"
)

// place is where a proxy looks for its configuration: a VPC network, a Mesh or a Gateway scope.
type place struct {
	Kind placeKind
	claim
}

// identity is what one proxy says it is, and where it says so.
type identity struct {
	Subject  string // how a report calls it: "bootstrap envoy.yaml", "node projects/…"
	Key      string // the causes' key
	Fact     evidence.Name
	Source   evidence.Source
	Kind     evidence.BootstrapKind // empty for a node id
	File     string
	NodeID   string
	Projects []claim // as written, node.id first; empty values left out
	Places   []place // likewise; the first is the one that counts
	Metadata map[string]string
}

// where gives the place the proxy asks the control plane for.
func (p identity) where() (place, bool) {
	if len(p.Places) == 0 {
		return place{}, false
	}
	return p.Places[0], true
}

// vpc gives the VPC network that the proxy asks for; ok is false where it names none, or a Mesh or a scope.
func (p identity) vpc() (claim, bool) {
	at, ok := p.where()
	if !ok || at.Kind != vpcPlace {
		return claim{}, false
	}
	return at.claim, true
}

// about names the proxy, and where it looks for its configuration.
func (p identity) about() diagnose.About {
	a := diagnose.About{diagnose.AboutNode: {p.NodeID}}
	if at, ok := p.where(); ok {
		a[placeAspects[at.Kind]] = []string{at.Value}
	}
	return a
}

// placeAspects are the names of places as causes give them.
var placeAspects = map[placeKind]diagnose.Aspect{
	vpcPlace: diagnose.AboutNetwork, meshPlace: diagnose.AboutMesh, scopePlace: diagnose.AboutScope,
}

// params are the parameters that a remedy takes from the proxy.
func (p identity) params() map[string]string {
	m := map[string]string{"file": p.File, "node_id": p.NodeID}
	switch p.Kind {
	case evidence.SidecarEnvFile:
		m["sidecar_env"] = p.File
	case evidence.EnvoyBootstrap:
		m["envoy"] = p.File
	case evidence.GRPCBootstrap:
		m["grpc"] = p.File
	}
	return m
}

// fromNodeID is the proxy that a bare node id stands for; ok is false where the id isn't Traffic Director's.
func fromNodeID(id, field string) (p identity, ok bool) {
	n, err := evidence.ParseNodeID(id)
	if err != nil {
		return identity{}, false
	}
	return identity{
		Subject: "node " + id, NodeID: id,
		Projects: []claim{{n.Project, field}},
		Places:   []place{placeOf(n.Network, field)},
	}, true
}

// placeOf reads the network segment of a node id, or a field that holds one.
func placeOf(segment, field string) place {
	if m, ok := strings.CutPrefix(segment, evidence.MeshPrefix); ok {
		return place{meshPlace, claim{m, field}}
	}
	if s, ok := strings.CutPrefix(segment, evidence.ScopePrefix); ok {
		return place{scopePlace, claim{s, field}}
	}
	return place{vpcPlace, claim{evidence.LastSegment(segment), field}}
}

// fromBootstrap reads what a bootstrap says. A Mesh or scope named anywhere goes before a VPC network: bootstraps of a Mesh
// made by Google's generator carry the VPC network in their metadata too. Among VPC networks the node id goes first, for it
// is what xDS v3 asks with.
func fromBootstrap(b evidence.Bootstrap) identity {
	p := identity{Subject: "bootstrap " + b.File, Kind: b.Kind, File: b.File, Fact: evidence.Bootstraps.Name(), Source: b.Source, Metadata: b.Metadata}
	if id, ok := fromNodeID(b.NodeID, "node.id"); ok {
		p.NodeID, p.Projects, p.Places = b.NodeID, id.Projects, id.Places
	}
	project, network := evidence.MetadataProject, evidence.MetadataNetwork
	meshes, scopes := []string{evidence.MetadataMesh, metadataMesh2}, []string{metadataScope}
	if b.Kind == evidence.SidecarEnvFile {
		project, network = envProject, envNetwork
		meshes, scopes = append(meshes, envMesh), append(scopes, envScope)
	}
	if v := strings.TrimSpace(b.Metadata[project]); v != "" {
		p.Projects = append(p.Projects, claim{v, key(b.Kind, project)})
	}
	for _, k := range meshes {
		if v := strings.TrimSpace(b.Metadata[k]); v != "" {
			p.Places = append(p.Places, place{meshPlace, claim{strings.TrimPrefix(v, evidence.MeshPrefix), key(b.Kind, k)}})
		}
	}
	for _, k := range scopes {
		if v := strings.TrimSpace(b.Metadata[k]); v != "" {
			p.Places = append(p.Places, place{scopePlace, claim{strings.TrimPrefix(v, evidence.ScopePrefix), key(b.Kind, k)}})
		}
	}
	if v := strings.TrimSpace(b.Metadata[network]); v != "" {
		p.Places = append(p.Places, placeOf(v, key(b.Kind, network)))
	}
	slices.SortStableFunc(p.Places, func(a, c place) int {
		rank := func(k placeKind) int {
			if k == vpcPlace {
				return 1
			}
			return 0
		}
		return rank(a.Kind) - rank(c.Kind)
	})
	return p
}

func key(k evidence.BootstrapKind, name string) string {
	if k == evidence.SidecarEnvFile {
		return name
	}
	return "node.metadata." + name
}

// ofTrafficDirector says whether a bootstrap is for Traffic Director, as against istiod or another control plane: it names
// the server, or one of its metadata keys, or has its form of node id; or it was handed in together with a live target,
// names some control plane, and nothing in it speaks for Istio.
func ofTrafficDirector(req diagnose.Request, b evidence.Bootstrap) bool {
	if b.Kind == evidence.SidecarEnvFile {
		return true
	}
	if slices.ContainsFunc(b.Servers, func(s string) bool { return strings.Contains(s, "trafficdirector.") }) {
		return true
	}
	for k := range b.Metadata {
		if strings.HasPrefix(k, metadataPrefix) {
			return true
		}
	}
	if _, err := evidence.ParseNodeID(b.NodeID); err == nil {
		return true
	}
	return req.Target.Live() && len(b.Servers) > 0 && !ofIstio(b)
}

// ofIstio says whether a bootstrap is an Istio agent's: its node id is type~ip~id~domain, its server istiod or the agent.
func ofIstio(b evidence.Bootstrap) bool {
	if strings.Count(b.NodeID, "~") == 3 {
		return true
	}
	return slices.ContainsFunc(b.Servers, func(s string) bool {
		return strings.Contains(s, "istiod") || strings.Contains(s, "istio-") || strings.HasPrefix(s, "unix:")
	})
}

// bootstraps gives Traffic Director's bootstraps with what they say. The error is why bootstraps aren't known.
func bootstraps(req diagnose.Request, v *evidence.View) (out []evidence.Bootstrap, said []identity, err error) {
	all, err := evidence.Get(v, evidence.Bootstraps)
	if err != nil {
		return nil, nil, err
	}
	for _, b := range all {
		if ofTrafficDirector(req, b) {
			out = append(out, b)
			said = append(said, fromBootstrap(b))
		}
	}
	if len(said) > 1 {
		for i := range said {
			said[i].Key = "files/" + said[i].File
		}
	}
	return out, said, nil
}

// proxies gives every proxy that the request or its files name: the node asked about, and the bootstraps. The error is why
// bootstraps aren't known, where they were asked for and none could be read.
func proxies(req diagnose.Request, v *evidence.View) ([]identity, error) {
	_, said, err := bootstraps(req, v)
	same := func(p identity) bool { return p.NodeID == req.Target.NodeID } // its bootstrap tells more
	if p, ok := fromNodeID(req.Target.NodeID, "node id"); ok && !slices.ContainsFunc(said, same) {
		p.Fact = requestFact
		p.Source = requestSource
		said = append([]identity{p}, said...)
	}
	return said, failed(err)
}

// failed drops the error of a fact that was never asked for, and keeps that of one that was and isn't known.
func failed(err error) error {
	var m *evidence.Missing
	if errors.As(err, &m) && m.Why == evidence.NotAsked {
		return nil
	}
	return err
}

// requestFact is how exhibits name what the request itself says.
const requestFact evidence.Name = "request"

var requestSource = evidence.Source{Collector: "request", Detail: "target"}

// exhibit shows what a proxy says in one field.
func (p identity) exhibit(c claim) diagnose.Exhibit {
	return diagnose.Exhibit{Fact: p.Fact, Excerpt: c.Field + ": " + quote(c.Value), Source: p.Source}
}
