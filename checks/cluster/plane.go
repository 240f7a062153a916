package cluster

import (
	"slices"
	"strings"

	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

// Plane says whose control plane a cluster's mesh has.
type Plane int

// The control planes.
const (
	PlaneUnknown     Plane = iota
	InCluster              // istiod runs in the cluster
	ManagedIstiod          // Google runs istiod for it
	TrafficDirector        // Google's multi-tenant control plane; it has no revisions of its own
	managedUncertain       // managed, and not known which
)

// Managed says whether Google runs the control plane: then nothing in the cluster is to be restarted or patched.
func (p Plane) Managed() bool {
	return p == ManagedIstiod || p == TrafficDirector || p == managedUncertain
}

// managedRevisions are the names of the managed control plane's revisions, one a release channel.
var managedRevisions = []string{"asm-managed", "asm-managed-rapid", "asm-managed-stable"}

// ManagedRevision says whether a value of istio.io/rev is one of the managed control plane's.
func ManagedRevision(rev string) bool { return slices.Contains(managedRevisions, rev) }

// ControlPlane tells whose the control plane is, and in a few words what shows it. It reads [evidence.FleetMesh],
// [evidence.ControlPlaneRevisions], [evidence.MutatingWebhooks] and [evidence.ControlPlaneWorkloads], each as far as it is known:
// what the fleet says wins, then ControlPlaneRevisions, then webhooks that are URLs, then a Deployment of istiod.
func ControlPlane(v *evidence.View) (Plane, string) {
	fleet, _ := evidence.Get(v, evidence.FleetMesh)
	revisions, _ := evidence.Get(v, evidence.ControlPlaneRevisions)
	hooks, _ := evidence.Get(v, evidence.MutatingWebhooks)
	workloads, _ := evidence.Get(v, evidence.ControlPlaneWorkloads)
	for _, m := range fleet {
		switch {
		case m.ControlPlane == "" || m.ControlPlane == "DISABLED":
		case m.Implementation == "TRAFFIC_DIRECTOR":
			return TrafficDirector, "the fleet says that the control plane is TRAFFIC_DIRECTOR"
		case m.Implementation == "ISTIOD":
			return ManagedIstiod, "the fleet says that the control plane is a managed ISTIOD"
		default:
			return managedUncertain, "the fleet manages the control plane"
		}
	}
	if list := evidence.All(revisions); len(list) > 0 {
		return managedUncertain, "the cluster has the ControlPlaneRevision " + list[0].Name
	}
	inCluster := ""
	for _, in := range Injectors(hooks) {
		switch {
		case in.Deactivated:
		case in.Managed:
			return managedUncertain, "the injector " + in.Config.Name + " is a URL"
		case inCluster == "" && in.Hook.Client.Service != nil:
			inCluster = "the injector " + in.Config.Name + " is a Service of the cluster"
		}
	}
	if i := slices.IndexFunc(evidence.All(workloads), func(w kube.Workload) bool { return strings.HasPrefix(w.Name, "istiod") }); i >= 0 {
		w := evidence.All(workloads)[i]
		return InCluster, "the cluster has the " + w.Title()
	}
	if inCluster != "" {
		return InCluster, inCluster
	}
	return PlaneUnknown, "nothing that was seen shows it"
}
