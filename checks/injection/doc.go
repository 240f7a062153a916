// Package injection finds out why pods have no sidecar: it asks every injecting webhook of the mesh, by its own selectors, about
// the real labels of namespaces, pods and workload templates, and says which term refused and which label would change it.
package injection

import (
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// The checks of this area. A pod without a sidecar is put down to one of them, the most particular that holds.
const (
	idAnnotation = diagnose.CheckID("injection/annotation-has-no-effect")
	idConflict   = diagnose.CheckID("injection/conflicting-labels")
	idDisabled   = diagnose.CheckID("injection/disabled")
	idHost       = diagnose.CheckID("injection/host-network")
	idImage      = diagnose.CheckID("injection/image-auto")
	idMissing    = diagnose.CheckID("injection/sidecar-missing")
	idNoWebhook  = diagnose.CheckID("injection/webhook-missing")
	idPredates   = diagnose.CheckID("injection/pod-predates-injection")
	idRevision   = diagnose.CheckID("injection/revision-not-installed")
	idSelected   = diagnose.CheckID("injection/not-selected")
	idTypo       = diagnose.CheckID("injection/label-typo")
)

// needs are the facts that tell which pod is injected by whom.
var needs = []evidence.Name{
	evidence.Pods.Name(), evidence.Workloads.Name(), evidence.Namespaces.Name(), evidence.MutatingWebhooks.Name(), evidence.MatchConditions.Name(),
	evidence.ConfigMaps.Name(), evidence.ControlPlanePods.Name(), evidence.ControlPlaneWorkloads.Name(), evidence.ControlPlaneRevisions.Name(),
	evidence.FleetMesh.Name(),
}

var noSidecar = []diagnose.Symptom{diagnose.SymptomNoSidecar}

// Pages that several checks refer to.
const (
	refInjection    = "https://docs.cloud.google.com/service-mesh/docs/anthos-service-mesh-proxy-injection"
	refIstio        = "https://istio.io/latest/docs/setup/additional-setup/sidecar-injection/"
	refProblems     = "https://istio.io/latest/docs/ops/common-problems/injection/"
	refRevisions    = "https://docs.cloud.google.com/service-mesh/docs/revisions-overview"
	refManaged      = "https://docs.cloud.google.com/service-mesh/docs/troubleshooting/troubleshoot-managed-service-mesh"
	refImplementing = "https://docs.cloud.google.com/service-mesh/docs/check-control-plane-implementation"
	refSelectors    = "https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/"
)

const (
	// maxGroups bounds the causes that one check gives of one namespace: beyond it the pods are told as one.
	maxGroups = 5
	// maxSpaces bounds the namespaces that a check gives a cause each.
	maxSpaces = 10
	// maxNames bounds the names in one sentence.
	maxNames = 3
	// maxConfigurations bounds the webhook configurations shown of one cause.
	maxConfigurations = 8
)
