package evidence

import (
	"crypto/x509"
	"time"

	"github.com/meshdiag/meshdiag/evidence/kube"
)

// What is seen of a Kubernetes cluster. Each fact is a list of [Objects], one batch a source: the API server's answer, or one
// file. Kinds are facts of their own, so that what RBAC denies of one hides no other.
var (
	Namespaces            = NewListKey[Objects[kube.Namespace]]("namespaces")
	Pods                  = NewListKey[Objects[kube.Pod]]("pods")
	PodRows               = NewListKey[Objects[kube.PodRow]]("pod-rows")
	Workloads             = NewListKey[Objects[kube.Workload]]("workloads") // Deployments, ReplicaSets, StatefulSets, DaemonSets, Jobs, CronJobs
	ClusterEvents         = NewListKey[Objects[kube.Event]]("events")
	MutatingWebhooks      = NewListKey[Objects[kube.WebhookConfiguration]]("mutating-webhooks")
	ValidatingWebhooks    = NewListKey[Objects[kube.WebhookConfiguration]]("validating-webhooks")
	ClusterServices       = NewListKey[Objects[kube.Service]]("cluster-services")
	EndpointSlices        = NewListKey[Objects[kube.EndpointSlice]]("endpoint-slices")
	ConfigMaps            = NewListKey[Objects[kube.ConfigMap]]("mesh-config-maps") // the mesh's own alone
	ClusterRoles          = NewListKey[Objects[kube.ClusterRole]]("istiod-cluster-roles")
	ControlPlaneRevisions = NewListKey[Objects[kube.ControlPlaneRevision]]("control-plane-revisions")
	DataPlaneControls     = NewListKey[Objects[kube.DataPlaneControl]]("data-plane-controls")
	EnvoyFilters          = NewListKey[Objects[kube.EnvoyFilter]]("envoy-filters")
	PeerAuthentications   = NewListKey[Objects[kube.PeerAuthentication]]("peer-authentications")
	DestinationRules      = NewListKey[Objects[kube.DestinationRule]]("destination-rules")
	AuthorizationPolicies = NewListKey[Objects[kube.AuthorizationPolicy]]("authorization-policies")

	// ControlPlanePods are the pods of istiod, and ControlPlaneWorkloads their Deployments, in whatever namespace.
	ControlPlanePods      = NewListKey[Objects[kube.Pod]]("istiod-pods")
	ControlPlaneWorkloads = NewListKey[Objects[kube.Workload]]("istiod-deployments")

	// ServingCertificates are those that webhooks' servers really serve, or are to serve.
	ServingCertificates = NewListKey[ServingCertificate]("webhook-serving-certificates")
	// MatchConditions are what webhooks' CEL conditions say of pods.
	MatchConditions = NewListKey[MatchConditionResult]("webhook-match-conditions")
	// ProxySyncs is which proxies istiod knows, and what they have of its configuration.
	ProxySyncs = NewListKey[ProxySync]("istiod-proxy-status")
	// FleetMesh is what the fleet says of the managed mesh of a cluster.
	FleetMesh = NewListKey[FleetMembership]("fleet-mesh")
)

// Objects is what one source tells of one kind of object.
type Objects[T any] struct {
	Items []T
	// Namespace is the one that was asked about, "" for all of them (and for kinds that are in none).
	Namespace string
	// Whole says that Items are all there are in that namespace, or in the cluster: the API server was asked for all. A file
	// never is whole: it may be a part of a list.
	Whole bool
	// NoSuchKind says that the cluster doesn't know the kind at all: its CRD isn't installed.
	NoSuchKind bool
	Source     Source
}

// ServingCertificate is the certificate behind a webhook's Service or URL.
type ServingCertificate struct {
	Namespace, Service string // the Service; "" for a URL
	URL                string
	Port               int
	Chain              []*x509.Certificate // the server's own first
	From               string              // "TLS handshake with 10.0.0.7:15017", "secret istio-system/istiod-tls"
	Source             Source
}

// MatchConditionResult is what one CEL condition says of the creation of one pod.
type MatchConditionResult struct {
	Configuration, Webhook string // the webhook configuration's name, and the entry's
	Condition              string // the condition's name
	Pod                    string // namespace/name, as Pod.Title gives it
	True                   bool
	Problem                string // why it can't be said; "" where it can
	Source                 Source
}

// ProxySync is one proxy as istiod sees it: a line of istioctl proxy-status, or an entry of /debug/syncz.
type ProxySync struct {
	Proxy   string // "checkout-1.shop"
	Cluster string
	Istiod  string
	Version string
	// Types gives the state by type: "LDS" → "SYNCED", "STALE", "NOT SENT", "ERROR", "IGNORED"; as istiod writes them.
	Types  map[string]string
	File   string // "" for a live one
	Source Source
}

// FleetMembership is the state of the managed mesh for one cluster, of the fleet's servicemesh feature.
type FleetMembership struct {
	Membership     string // projects/…/locations/…/memberships/NAME
	Management     string // AUTOMATIC, MANUAL, or "" where none was set
	ControlPlane   string // state: ACTIVE, PROVISIONING, STALLED …
	Implementation string // ISTIOD, TRAFFIC_DIRECTOR, UPDATING
	DataPlane      string // state
	Details        []FleetDetail
	Conditions     []FleetCondition
	Updated        time.Time
	Source         Source
}

// FleetDetail is a line of the state's details.
type FleetDetail struct{ Code, Text string }

// FleetCondition is a condition that the fleet reports, with its code and Google's page about it.
type FleetCondition struct {
	Code, Severity, Details, Link string
}

// All gives the items of every batch.
func All[T any](batches []Objects[T]) []T {
	if len(batches) == 1 {
		return batches[0].Items
	}
	var out []T
	for _, b := range batches {
		out = append(out, b.Items...)
	}
	return out
}

// Covers says whether some batch holds all objects of a namespace ("" for all namespaces): only then is one that isn't in
// them not there.
func Covers[T any](batches []Objects[T], namespace string) bool {
	for _, b := range batches {
		if b.Whole && (b.Namespace == "" || b.Namespace == namespace) {
			return true
		}
	}
	return false
}
