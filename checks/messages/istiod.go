package messages

import "github.com/meshdiag/meshdiag/diagnose"

// ReadForbidden is the API server's word that a service account may not read a kind of object, as a client's own log repeats it.
// Every controller of a cluster prints it of its own account: whose it is, the account tells.
//
// Fields: namespace and account (of the service account), verb ("get", "list", "watch"), resource ("wasmplugins"), group
// ("extensions.istio.io"; empty for the core group), scope (the namespace, where it isn't the whole cluster), rbac (what the
// API server adds where a role that is bound isn't there).
// https://github.com/kubernetes/apiserver/blob/master/pkg/endpoints/handlers/responsewriters/errors.go
var ReadForbidden = diagnose.Signature{
	ID:      "read-forbidden",
	Anchors: []string{" cannot get resource ", " cannot list resource ", " cannot watch resource "},
	Pattern: `is forbidden: User ` + quotes + `system:serviceaccount:(?P<namespace>[a-z0-9-]+):(?P<account>[a-z0-9.-]+)` + quotes +
		` cannot (?P<verb>get|list|watch) resource ` + quotes + `(?P<resource>[\w./-]+)` + quotes + ` in API group \\*"(?P<group>[\w.-]*)\\*"` +
		`(?: at the cluster scope| in the namespace \\*"(?P<scope>[a-z0-9-]+)\\*")?(?:: RBAC: (?P<rbac>[^\n]*))?`,
	Meaning: "a service account may not read a kind of object",
	Examples: []string{
		"2023-03-21T11:58:09.887472Z\terror\twatch error in cluster Kubernetes: failed to list *v1alpha1.WasmPlugin: wasmplugins.extensions.istio.io is forbidden: User \"system:serviceaccount:istio-system:istiod-service-account\" cannot list resource \"wasmplugins\" in API group \"extensions.istio.io\" at the cluster scope",
		`2019-12-10T00:45:02.327604Z     error   k8s.io/client-go@v11.0.1-0.20190409021438-1a26190bd76a+incompatible/tools/cache/reflector.go:96: Failed to list *crd.Sidecar: sidecars.networking.istio.io is forbidden: User "system:serviceaccount:istio-system:istio-pilot-service-account" cannot list resource "sidecars" in API group "networking.istio.io" at the cluster scope`,
		`{"level":"error","time":"2023-03-05T16:33:05.966311Z","scope":"klog","msg":"k8s.io/client-go@v0.25.2/tools/cache/reflector.go:169: Failed to watch *v1.Deployment: failed to list *v1.Deployment: deployments.apps is forbidden: User \"system:serviceaccount:istio-system:istiod\" cannot list resource \"deployments\" in API group \"apps\" at the cluster scope"}`,
		"2026-03-24T03:29:50.516980Z\terror\twatch error in cluster Kubernetes: failed to list *v1.ConfigMap: configmaps \"istio-env-1\" is forbidden: User \"system:serviceaccount:istio-ns-scope:istiod-env-1\" cannot list resource \"configmaps\" in API group \"\" in the namespace \"istio-ns-scope\"",
	},
}
