// Package istiod finds out why an in-cluster control plane, istiod, does not serve the proxies: it doesn't run, it may not read its
// configuration, proxies look for it at another place, or they don't have what it sent.
//
// Nothing here is said of a control plane that Google runs: there is no istiod in such a cluster to look at, and nothing in it to
// restart. The area injection tells of that one, and controlplane and config tell of proxies that talk to Google's servers.
package istiod

import (
	"time"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// planeNeeds are the facts from which cluster.ControlPlane tells whose the control plane is.
var planeNeeds = []evidence.Name{
	evidence.FleetMesh.Name(), evidence.ControlPlaneRevisions.Name(), evidence.MutatingWebhooks.Name(), evidence.ControlPlaneWorkloads.Name(),
}

// unserved are what comes of an istiod that doesn't answer proxies.
var unserved = []diagnose.CheckID{"istiod/config-not-received", "startup/proxy-readiness-timeout", "controlplane/stream-errors"}

// Pages that several checks refer to.
const (
	refProxyCommands = "https://istio.io/latest/docs/ops/diagnostic-tools/proxy-cmd/"
	refProxyIssues   = "https://docs.cloud.google.com/service-mesh/docs/troubleshooting/troubleshoot-proxy"
	refMeshConfig    = "https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/"
	refResources     = "https://docs.cloud.google.com/service-mesh/docs/troubleshooting/troubleshoot-resources"
)

const (
	// starting is how long a pod of istiod, or a proxy, may take to begin to serve: an image is pulled in seconds, istiod reads
	// the cluster's objects in some more, and the agent's first readiness probes fail in any case.
	starting = time.Minute
	// maxNames bounds the names in one sentence.
	maxNames = 3
	// maxExhibits bounds the pieces of evidence of one sort that a cause shows.
	maxExhibits = 3
	// maxWords bounds a quoted message in a sentence, and maxExcerpt one that is shown as evidence.
	maxWords, maxExcerpt = 140, 400
	// maxCauses bounds the causes of one check.
	maxCauses = 10
)
