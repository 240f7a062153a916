// Package webhook finds out why the API server can't call an admission webhook, or why the webhook refuses: from the cluster's
// objects, from manifests, from events, and from the API server's own words alone.
//
// What is seen is put together by the server that webhooks are called at, a Service or a URL: its Service, endpoints and pods, the
// caBundles that are to verify it, and every message about it. The checks share that work, and each fault of a server is told by
// the one check that is nearest to its root; messages that a fault of the objects explains are shown as its evidence.
package webhook

import (
	"time"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// needs are the facts that tell how webhooks' servers fare.
var needs = []evidence.Name{
	evidence.MutatingWebhooks.Name(), evidence.ValidatingWebhooks.Name(), evidence.ClusterServices.Name(), evidence.EndpointSlices.Name(),
	evidence.ServingCertificates.Name(), evidence.ControlPlanePods.Name(), evidence.ControlPlaneWorkloads.Name(), evidence.ClusterRoles.Name(),
	evidence.Namespaces.Name(), evidence.Pods.Name(), evidence.Workloads.Name(), evidence.MatchConditions.Name(),
	evidence.ClusterEvents.Name(), evidence.LogMessages.Name(), evidence.FleetMesh.Name(), evidence.ControlPlaneRevisions.Name(),
}

// symptoms are what a person sees whose pods go through a webhook that can't be called: with failurePolicy Fail there are no pods,
// with Ignore they come without a sidecar.
var symptoms = []diagnose.Symptom{diagnose.SymptomPodNotStarting, diagnose.SymptomNoSidecar}

// follows are what comes of a webhook that can't be called. Faults of two servers mustn't hide each other, so that no check of this
// package explains another one's call that failed.
var follows = []diagnose.CheckID{"startup/replicaset-create-failed", "injection/sidecar-missing", "webhook/cannot-switch-to-fail-closed"}

// Pages that several checks refer to.
const (
	refGuide      = "https://docs.cloud.google.com/service-mesh/docs/troubleshooting/troubleshoot-webhook"
	refProblems   = "https://istio.io/latest/docs/ops/common-problems/injection/"
	refValidation = "https://istio.io/latest/docs/ops/common-problems/validation/"
	refAdmission  = "https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/"
	refPort       = "https://docs.cloud.google.com/service-mesh/docs/private-cluster-open-port"
)

const (
	// maxCauses bounds the causes of one check: a cluster has some twenty webhooks' servers, and who reads of ten fixes the first.
	maxCauses = 10
	// maxExhibits bounds the pieces of evidence of one sort that a cause shows.
	maxExhibits = 3
	// maxNames bounds the names in one sentence.
	maxNames = 3
	// maxReason bounds a reason in a sentence, and maxExcerpt one that is shown as evidence.
	maxReason, maxExcerpt = 150, 400

	// repeats is within what time a controller that can't create a pod tries again: the work queues of Kubernetes' controllers wait
	// 1,000 seconds at most. An event that is older wasn't repeated: what it tells is over.
	// https://github.com/kubernetes/client-go/blob/master/util/workqueue/default_rate_limiters.go
	repeats = 20 * time.Minute
	// settling is how long an installation may take until istiod has filled in the caBundle, tried its validating webhook, and set
	// its failurePolicy to Fail: it takes a minute or two once a pod of istiod is ready.
	settling = 10 * time.Minute
	// soon is when a caBundle that expires is worth a word; of one that lives no longer than shortLived, and so is renewed by a
	// program, only when less than a third of its time is left.
	soon, shortLived = 60 * 24 * time.Hour, 7 * 24 * time.Hour
)
