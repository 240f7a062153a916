package controlplane

import (
	"cmp"
	"encoding/json"
	"net/netip"
	"slices"
	"strings"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// identity is what tells one proxy from another besides its whole node id, which changes with each start: addresses, pod,
// VM.
type identity struct {
	addresses []string
	names     []string // the unique part's words: a UUID, POD.NAMESPACE
	vms       []string // names and numbers of VMs
}

// The parts of CSDS metadata that say where a client runs, as td-grpc-bootstrap and Envoy's bootstraps write them.
// https://github.com/GoogleCloudPlatform/traffic-director-grpc-bootstrap
var (
	addressKeys = []string{"INSTANCE_IP", "INSTANCE-IP", "INSTANCE_IPS"}
	podKeys     = []string{"GKE-POD", "POD_NAME"}
	vmKeys      = []string{"GCE-VM", "INSTANCE-ID", "GCE_VM_ID"}
)

// nodeIdentity reads a node id's unique part: UUID, UUID~IP, or sidecar~IP~POD.NAMESPACE~NAMESPACE.svc.cluster.local. A
// text that isn't a whole node id is taken for the unique part.
func nodeIdentity(id string) identity {
	if n, err := evidence.ParseNodeID(id); err == nil {
		id = n.Node
	}
	var out identity
	for _, w := range strings.Split(id, "~") {
		switch {
		case w == "sidecar" || w == "router" || strings.Contains(w, ".svc.") || len(w) < 4:
		case isAddress(w):
			out.addresses = append(out.addresses, w)
		default:
			out.names = append(out.names, w)
		}
	}
	return out
}

// clientIdentity reads the node id and the metadata of a client.
func clientIdentity(c evidence.Client) identity {
	out := nodeIdentity(c.NodeID)
	add := func(k, v string) {
		switch {
		case v == "":
		case slices.Contains(addressKeys, k):
			for _, a := range strings.Split(v, ",") {
				out.addresses = append(out.addresses, strings.TrimSpace(a))
			}
		case slices.Contains(podKeys, k):
			out.names = append(out.names, v)
		case slices.Contains(vmKeys, k):
			out.vms = append(out.vms, v)
		}
	}
	for k, v := range c.Metadata {
		add(k, v)
		var nested map[string]any
		if strings.HasPrefix(v, "{") && json.Unmarshal([]byte(v), &nested) == nil {
			for k, v := range nested {
				if s, ok := v.(string); ok {
					add(k, s)
				}
			}
		}
	}
	return out
}

// same says whether two identities are of one proxy.
func (i identity) same(o identity) bool {
	both := func(a, b []string) bool {
		return slices.ContainsFunc(a, func(s string) bool { return slices.Contains(b, s) })
	}
	return both(i.addresses, o.addresses) || both(i.vms, o.vms) || both(i.names, o.names) || both(i.pods(), o.pods())
}

// pods gives POD for POD.NAMESPACE, and what has no namespace as it is.
func (i identity) pods() []string {
	var out []string
	for _, n := range i.names {
		p, _, _ := strings.Cut(n, ".")
		out = append(out, p)
	}
	// Where both sides name a namespace, the whole names are compared already; a pod's name alone is unique enough, for it
	// carries its ReplicaSet's hash. A StatefulSet's doesn't: those are compared whole.
	return slices.DeleteFunc(out, func(p string) bool { return len(p) < minPodName })
}

// minPodName is the length from which a pod's name can be taken for unique: DEPLOYMENT-HASH-SUFFIX has 16 at least
// (a hash of 9 or 10 characters and a suffix of 5).
const minPodName = 16

func isAddress(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}

const (
	// maxCompared and maxCompareLen bound the search for node ids that look alike: it is quadratic in their length.
	maxCompared   = 2000
	maxCompareLen = 128
	// maxNearest is how many a person will look at.
	maxNearest = 3
)

// nearestNodes gives the node ids that look most like the one asked for, nearest first.
func nearestNodes(id string, clients []evidence.Client) []string {
	unique := func(id string) string {
		if n, err := evidence.ParseNodeID(id); err == nil {
			id = n.Node
		}
		return id[:min(len(id), maxCompareLen)]
	}
	type near struct {
		id       string
		distance int
	}
	var found []near
	for _, c := range clients[:min(len(clients), maxCompared)] {
		found = append(found, near{c.NodeID, evidence.Edits(unique(id), unique(c.NodeID))})
	}
	slices.SortFunc(found, func(a, b near) int { return cmp.Or(cmp.Compare(a.distance, b.distance), cmp.Compare(a.id, b.id)) })
	var out []string
	for _, n := range found[:min(len(found), maxNearest)] {
		out = append(out, n.id)
	}
	return out
}

// vmIdentity gives what a client on a VM would carry.
func vmIdentity(t diagnose.Target, i evidence.Instance) identity {
	out := identity{addresses: slices.Clone(i.Addresses), vms: []string{t.Instance}}
	if i.ID != "" {
		out.vms = append(out.vms, i.ID)
	}
	return out
}
