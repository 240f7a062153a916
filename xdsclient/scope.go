package xdsclient

import (
	"crypto/rand"
	"encoding/hex"
	"regexp"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	statusv3 "github.com/envoyproxy/go-control-plane/envoy/service/status/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
)

// Scope says whose clients are meant: those of a network (load balancing APIs), or those of a mesh (service routing
// APIs). It has exactly one of the two.
type Scope struct {
	// ProjectNumber is the number, not the id, of the project that owns the network or mesh.
	ProjectNumber string
	// Network is the VPC network's name, as in the global forwarding rule.
	Network string
	// Mesh is the name of a Mesh. A name without prefix is spelled as the client's MeshSpelling says; "mesh:NAME" is sent
	// as it is, and so is "scope:NAME", which is the scope of a Gateway.
	Mesh string
}

// String gives the scope in words, for error messages.
func (s Scope) String() string {
	kind, name := "network", s.Network
	if s.Mesh != "" {
		kind, name = "mesh", s.Mesh
		if rest, ok := strings.CutPrefix(name, scopePrefix); ok {
			kind, name = "gateway scope", rest
		}
	}
	return kind + " " + strings.TrimPrefix(name, meshPrefix) + " of project " + s.ProjectNumber
}

// Prefixes of the networks segment of a node id, as traffic-director-grpc-bootstrap writes them with --config-mesh and
// for Gateways.
const (
	meshPrefix  = "mesh:"
	scopePrefix = "scope:"
)

// Project numbers are decimal, network names are RFC 1035 labels, and mesh names are what
// traffic-director-grpc-bootstrap's --config-mesh takes; a Gateway's scope may hold dots and underscores as well.
const (
	projectNumberPattern = `^[1-9][0-9]{0,18}$`
	networkPattern       = `^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$`
	meshPattern          = `^[a-zA-Z][a-zA-Z0-9-]{0,63}$`
	scopePattern         = `^[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}$`
)

func matches(pattern, s string) bool {
	ok, err := regexp.MatchString(pattern, s)
	return err == nil && ok
}

// Validate checks that the control plane can be asked about the scope. The error is an *Error with INVALID_ARGUMENT, and
// names the field as ProjectNumber, Network or Mesh.
func (s Scope) Validate() error {
	switch {
	case s.ProjectNumber == "":
		return invalid("ProjectNumber is missing: the project's number, as in gcloud projects describe")
	case !matches(projectNumberPattern, s.ProjectNumber):
		return invalid("ProjectNumber %q: want the project's number, not its id", s.ProjectNumber)
	case s.Network == "" && s.Mesh == "":
		return invalid("Network or Mesh: one of the two is required")
	case s.Network != "" && s.Mesh != "":
		return invalid("Network and Mesh: only one of the two is allowed")
	case s.Network != "" && !matches(networkPattern, s.Network):
		return invalid("Network %q: want the name of a VPC network (lower case letters, digits, dashes)", s.Network)
	}
	if s.Mesh == "" {
		return nil
	}
	if name, ok := strings.CutPrefix(s.Mesh, scopePrefix); ok {
		if !matches(scopePattern, name) {
			return invalid("Mesh %q: want scope: and the scope of a Gateway", s.Mesh)
		}
	} else if !matches(meshPattern, strings.TrimPrefix(s.Mesh, meshPrefix)) {
		return invalid("Mesh %q: want the name of a Mesh (a letter, then letters, digits, dashes)", s.Mesh)
	}
	return nil
}

// MeshSpelling says how the name of a mesh is written in node.id and in the matcher. Public sources disagree: the
// reference client, envoyproxy/envoy-tools csds-client, sends the name as it is given, while the ids of clients of a Mesh
// hold "mesh:NAME".
type MeshSpelling int

// How to spell a mesh that is given by its bare name.
const (
	// MeshAuto asks with the bare name first, and where that gives no client, or is refused as unknown, with "mesh:NAME".
	// The spelling that gave clients is remembered for each scope.
	MeshAuto     MeshSpelling = iota
	MeshBare                  // NAME only
	MeshPrefixed              // mesh:NAME only
)

// spellings gives the values to try for the scope's network or mesh, in order.
func (m MeshSpelling) spellings(s Scope) []string {
	switch {
	case s.Network != "":
		return []string{s.Network}
	case strings.Contains(s.Mesh, ":"), m == MeshBare:
		return []string{s.Mesh}
	case m == MeshPrefixed:
		return []string{meshPrefix + s.Mesh}
	}
	return []string{s.Mesh, meshPrefix + s.Mesh}
}

// Keys of node metadata that Traffic Director's CSDS matches on.
const (
	keyProject = "TRAFFICDIRECTOR_GCP_PROJECT_NUMBER"
	keyNetwork = "TRAFFICDIRECTOR_NETWORK_NAME"
	keyMesh    = "TRAFFICDIRECTOR_MESH_SCOPE_NAME"
)

// request builds what Traffic Director accepts: the shape is that of envoyproxy/envoy-tools csds-client. The id of the
// asking node matters although the matcher has the same values: permissions are checked on the network that it names.
// nodeID "" asks for the list of clients.
func request(s Scope, spelled, asker, nodeID string) *statusv3.ClientStatusRequest {
	key := keyNetwork
	if s.Mesh != "" {
		key = keyMesh
	}
	m := &matcherv3.NodeMatcher{NodeMetadatas: []*matcherv3.StructMatcher{
		structMatcher(keyProject, s.ProjectNumber), structMatcher(key, spelled)}}
	if nodeID != "" {
		m.NodeId = exact(nodeID)
	}
	return &statusv3.ClientStatusRequest{
		Node:         &corev3.Node{Id: "projects/" + s.ProjectNumber + "/networks/" + spelled + "/nodes/" + asker},
		NodeMatchers: []*matcherv3.NodeMatcher{m},
	}
}

func structMatcher(key, value string) *matcherv3.StructMatcher {
	return &matcherv3.StructMatcher{
		Path:  []*matcherv3.StructMatcher_PathSegment{{Segment: &matcherv3.StructMatcher_PathSegment_Key{Key: key}}},
		Value: &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_StringMatch{StringMatch: exact(value)}},
	}
}

func exact(s string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: s}}
}

// randomUUID gives a version 4 UUID (RFC 9562).
func randomUUID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails, as of Go 1.24
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}
