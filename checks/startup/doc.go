// Package startup finds out why a pod with a sidecar starts wrongly: which of its containers ran when, when its traffic began to go to
// the proxy, when the proxy became ready, and what failed meanwhile. Every cause shows that on one time line, made of the pod's
// status, its events and its logs.
package startup

import (
	"time"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// The checks of this area.
const (
	idNotReady = diagnose.CheckID("startup/proxy-not-ready")
	idTimeout  = diagnose.CheckID("startup/proxy-readiness-timeout")
)

// needs are the facts that tell how a pod started.
var needs = []evidence.Name{
	evidence.Pods.Name(), evidence.Workloads.Name(), evidence.ClusterEvents.Name(), evidence.LogMessages.Name(),
	evidence.FleetMesh.Name(), evidence.ControlPlaneRevisions.Name(), evidence.MutatingWebhooks.Name(), evidence.ControlPlaneWorkloads.Name(),
}

var notStarting = []diagnose.Symptom{diagnose.SymptomPodNotStarting}

// Pages that several checks refer to.
const (
	refGuide       = "https://docs.cloud.google.com/service-mesh/docs/troubleshooting/troubleshoot-proxy"
	refStartup     = "https://docs.cloud.google.com/service-mesh/docs/troubleshooting/troubleshoot-pod-startup-time"
	refTraffic     = "https://docs.cloud.google.com/service-mesh/docs/troubleshooting/troubleshoot-traffic"
	refAnnotations = "https://istio.io/latest/docs/reference/config/annotations/"
	refCNI         = "https://istio.io/latest/docs/setup/additional-setup/cni/"
	refProblems    = "https://istio.io/latest/docs/ops/common-problems/injection/"
	refSidecars    = "https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/"
)

const (
	// patience is how long a proxy that isn't ready is waited for: it has to get its certificate and its configuration, and probes that
	// fail meanwhile are normal. pilot-agent wait, which holds the application meanwhile, gives up after it.
	patience = time.Minute
	// startWindow is how long after a start things still count as of that start. A log that is cut at its beginning may show a later
	// "ready" as the first; one that is further away than this isn't taken for the start's.
	startWindow = 5 * time.Minute
	// slack is by how much a message may come after the proxy was ready and still be of before: logs are written late.
	slack = 2 * time.Second

	// maxCauses bounds the causes of one check: who reads of ten workloads fixes the first and looks again.
	maxCauses = 10
	// maxExhibits bounds the messages that a cause shows besides its time line.
	maxExhibits = 3
	// maxQuote bounds what a sentence quotes of a message, maxExcerpt what is shown of one as evidence.
	maxQuote, maxExcerpt = 160, 400
	// maxGone bounds the pods that are known from events and logs alone.
	maxGone = 50
)
