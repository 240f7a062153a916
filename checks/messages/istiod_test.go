package messages_test

import (
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
)

func TestIstiodSignatures(t *testing.T) {
	checkstest.Signatures(t, []diagnose.Signature{messages.ReadForbidden})
	for _, tc := range []struct {
		line string
		want map[string]string
	}{
		{messages.ReadForbidden.Examples[0], map[string]string{"namespace": "istio-system", "account": "istiod-service-account", "verb": "list", "resource": "wasmplugins", "group": "extensions.istio.io", "scope": ""}},
		{messages.ReadForbidden.Examples[2], map[string]string{"account": "istiod", "resource": "deployments", "group": "apps"}},
		{messages.ReadForbidden.Examples[3], map[string]string{"account": "istiod-env-1", "resource": "configmaps", "group": "", "scope": "istio-ns-scope"}},
		{
			`pods is forbidden: User "system:serviceaccount:istio-system:istiod" cannot watch resource "pods" in API group "" at the cluster scope: RBAC: clusterrole.rbac.authorization.k8s.io "istiod-clusterrole-istio-system" not found`,
			map[string]string{"verb": "watch", "resource": "pods", "rbac": `clusterrole.rbac.authorization.k8s.io "istiod-clusterrole-istio-system" not found`},
		},
	} {
		got := fields(messages.ReadForbidden, tc.line)
		for k, v := range tc.want {
			if got[k] != v {
				t.Errorf("%s\n\t%s is %q, want %q", tc.line, k, got[k], v)
			}
		}
	}
}
