package injection

import "strings"

// known is what is known of a condition that the fleet reports for a cluster's mesh.
type known struct {
	meaning string // goes on a sentence
	todo    string // a sentence
	agent   bool   // the mesh's service agent lacks its role
}

// fleetConditions explains the codes of conditions. Google's own page, which a condition mostly links, goes before what stands here.
// https://docs.cloud.google.com/kubernetes-engine/fleet-management/docs/reference/rpc/google.cloud.gkehub.servicemesh.v1
var fleetConditions = map[string]known{
	"MESH_IAM_PERMISSION_DENIED":                     {"the mesh's service agent may not do its work in the project", "", true},
	"MESH_IAM_CROSS_PROJECT_PERMISSION_DENIED":       {"the mesh's service agent may not do its work in the cluster's project, which isn't the fleet's", "", true},
	"SHARED_VPC_MISSING_PERMISSIONS":                 {"the mesh's service agent lacks permissions in the Shared VPC's host project", "Grant roles/anthosservicemesh.serviceAgent to the fleet's service agent in the host project of the Shared VPC too.", false},
	"NODEPOOL_WORKLOAD_IDENTITY_FEDERATION_REQUIRED": {"a node pool lacks Workload Identity Federation", "Switch Workload Identity Federation for GKE on for every node pool (gcloud container node-pools update POOL --workload-metadata=GKE_METADATA). This makes the nodes anew.", false},
	"WORKLOAD_IDENTITY_REQUIRED":                     {"the cluster lacks Workload Identity Federation", "Switch Workload Identity Federation for GKE on for the cluster (gcloud container clusters update CLUSTER --workload-pool=PROJECT.svc.id.goog) and for its node pools.", false},
	"CNI_CONFIG_UNSUPPORTED":                         {"the managed CNI plugin is switched off, and this control plane needs it", "Take the label mesh.cloud.google.com/managed-cni-enabled off the ControlPlaneRevision in istio-system where it isn't true, and the CNI entry out of the ConfigMap asm-options there where it isn't on.", false},
	"MANAGED_CNI_NOT_ENABLED":                        {"the managed CNI plugin is not enabled", "Enable the managed CNI plugin for the cluster; the control plane's current implementation needs it.", false},
	"CNI_INSTALLATION_FAILED":                        {"the managed CNI plugin could not be installed", "See what keeps the DaemonSet istio-cni-node of kube-system from running (kubectl -n kube-system describe daemonset istio-cni-node).", false},
	"CNI_POD_UNSCHEDULABLE":                          {"pods of the managed CNI plugin find no room on a node", "Make room for the pods of the DaemonSet istio-cni-node in kube-system: each asks for 100m CPU and 100Mi of memory on its node.", false},
	"GKE_SANDBOX_UNSUPPORTED":                        {"a node pool uses GKE Sandbox, which the managed CNI plugin doesn't support", "Run the mesh's workloads on node pools without GKE Sandbox.", false},
	"CLUSTER_HAS_ZERO_NODES":                         {"the cluster has no node", "Add a node: the parts of the mesh that run in the cluster have nowhere to run.", false},
	"UNSUPPORTED_MULTIPLE_CONTROL_PLANES":            {"another control plane runs in the cluster beside the managed one", "Uninstall the in-cluster control plane that is left (its istiod Deployment, webhooks and ConfigMaps), once no workload depends on it.", false},
	"CONFIG_APPLY_INTERNAL_ERROR":                    {"configuration could not be applied, for an error inside the mesh's service", "Ask Google's support.", false},
	"CONFIG_APPLY_BLOCKED":                           {"configuration is not applied, since the fleet is blocked", "See the fleet's other conditions: what blocks it is among them.", false},
	"CONFIG_VALIDATION_ERROR":                        {"configuration could not be applied, since it is invalid", "Read the status of the resources that are at fault, where the error is written (kubectl get RESOURCE -o yaml).", false},
	"CONFIG_VALIDATION_WARNING":                      {"configuration may not do what it was meant to", "Read the status of the resources that the warning is about.", false},
	"NON_STANDARD_BINARY_USAGE":                      {"a binary is used that the mesh doesn't support", "Use the images that come with the managed mesh for proxies.", false},
	"UNSUPPORTED_GATEWAY_CLASS":                      {"a Gateway has a class that this mesh doesn't serve", "Use a class of Gateways that the mesh supports, or leave the Gateway to another controller.", false},
	"MISSING_CONTROL_PLANE_CONFIG":                   {"the control plane's configuration isn't there", "See that the ControlPlaneRevision and the mesh's ConfigMap are in istio-system; switching management on again makes them.", false},
	"REQUIRED_ORG_POLICY_DISABLED":                   {"an organisation policy forbids what the mesh needs", "See which constraint it is, and allow it for the project (gcloud resource-manager org-policies list --project=PROJECT).", false},
	"CANONICAL_SERVICE_ERROR":                        {"canonical services could not be kept up to date", "See the canonical service controller's events and logs.", false},
	"LEGACY_MC_SECRETS":                              {"old secrets of other clusters are found", "Remove the Secrets of hand-made endpoint discovery, and use the declarative one of the managed mesh.", false},
}

// explainCondition gives what is known of a code; nothing for a code that isn't known.
func explainCondition(code string) known {
	if k, ok := fleetConditions[code]; ok {
		return k
	}
	if what, ok := strings.CutPrefix(code, "QUOTA_EXCEEDED_"); ok {
		return known{meaning: "the project's quota of " + words(what) + " is used up", todo: "Raise the quota of " + words(what) + " in the fleet's project, or remove what isn't used: https://docs.cloud.google.com/service-mesh/quotas"}
	}
	if what, ok := strings.CutPrefix(code, "MODERNIZATION_"); ok {
		return known{meaning: "the move of the fleet to the newer control plane: " + words(what), todo: "See what the move waits for: it is in the details of the condition, and on the page that it links."}
	}
	return known{}
}

// words makes words of a code: "BACKEND_SERVICES" is "backend services".
func words(code string) string { return strings.ToLower(strings.ReplaceAll(code, "_", " ")) }
