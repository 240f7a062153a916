package evidence

import (
	"fmt"
	"strings"
)

// NodeID is the xDS v3 node id by which Traffic Director knows a proxy:
// projects/<project number>/networks/<VPC network, mesh:NAME or scope:NAME>/nodes/<unique part>.
// https://docs.cloud.google.com/service-mesh/docs/service-routing/xds-control-plane-apis
type NodeID struct {
	Project string // should be a number; as written
	Network string // as written, prefix included
	Node    string
}

// The prefixes of a network segment that isn't a VPC network.
const (
	MeshPrefix  = "mesh:"
	ScopePrefix = "scope:"
)

// ParseNodeID takes a node id apart. The error says what was expected.
func ParseNodeID(s string) (NodeID, error) {
	p := strings.SplitN(s, "/", 6)
	if len(p) != 6 || p[0] != "projects" || p[2] != "networks" || p[4] != "nodes" || p[1] == "" || p[3] == "" || p[5] == "" {
		return NodeID{}, fmt.Errorf("node id %.200q is not of the form projects/NUMBER/networks/NETWORK/nodes/ID", s)
	}
	return NodeID{Project: p[1], Network: p[3], Node: p[5]}, nil
}

func (n NodeID) String() string {
	return "projects/" + n.Project + "/networks/" + n.Network + "/nodes/" + n.Node
}

// VPC gives the VPC network, or "" where the segment names a Mesh or a Gateway scope.
func (n NodeID) VPC() string {
	if n.Mesh() != "" || n.Scope() != "" {
		return ""
	}
	return n.Network
}

// Mesh gives the Mesh's name, or "".
func (n NodeID) Mesh() string { return after(n.Network, MeshPrefix) }

// Scope gives the Gateway scope, or "".
func (n NodeID) Scope() string { return after(n.Network, ScopePrefix) }

func after(s, prefix string) string {
	r, ok := strings.CutPrefix(s, prefix)
	if !ok {
		return ""
	}
	return r
}

// Numeric says whether s is a project number: decimal digits alone.
func Numeric(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// LastSegment gives what stands behind the last slash of a resource's URL, the whole where there is none.
func LastSegment(url string) string { return url[strings.LastIndexByte(url, '/')+1:] }

// ResourcePath gives a resource's URL from its project on: several hosts and API versions name the same one.
func ResourcePath(url string) string {
	if i := strings.Index(url, "projects/"); i >= 0 {
		return url[i:]
	}
	return url
}

// SameResource says whether two URLs name one resource.
func SameResource(a, b string) bool { return a != "" && ResourcePath(a) == ResourcePath(b) }
