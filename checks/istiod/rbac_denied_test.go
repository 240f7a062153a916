package istiod

import (
	"slices"
	"testing"
	"time"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

// refusal is a line of istiod's log.
func refusal(account, resource, group, more string, change ...func(*evidence.LogMessage)) evidence.LogMessage {
	text := `failed to list *v1.X: ` + kindOf(resource, group) + ` is forbidden: User "system:serviceaccount:istio-system:` + account + `" cannot list resource "` + resource + `" in API group "` + group + `" at the cluster scope` + more
	return said(messages.ReadForbidden, "istiod.log", "2023-03-21T11:58:09.887472Z\terror\twatch error in cluster Kubernetes: "+text, change...)
}

func liveIstiod(m *evidence.LogMessage) {
	m.File = "log of container discovery of pod istio-system/istiod-7d9c-2b4kx"
	m.Source = evidence.Source{Collector: "kube", Detail: m.File, Vantage: evidence.FromWorkload, Time: noon}
}

// role is a ClusterRole as Istio's chart makes it, without the groups given.
func role(name string, without ...string) kube.ClusterRole {
	r := kube.ClusterRole{Meta: kube.Meta{Name: name, Labels: map[string]string{"app": "istiod"}}}
	for _, g := range []struct {
		groups, resources []string
	}{
		{[]string{"config.istio.io"}, []string{"*"}}, {[]string{"security.istio.io"}, []string{"*"}}, {[]string{"networking.istio.io"}, []string{"*"}},
		{[]string{"telemetry.istio.io"}, []string{"*"}}, {[]string{"extensions.istio.io"}, []string{"*"}},
		{[]string{""}, []string{"pods", "nodes", "services", "namespaces", "endpoints"}}, {[]string{"discovery.k8s.io"}, []string{"endpointslices"}},
	} {
		if !slices.Contains(without, g.groups[0]) {
			r.Rules = append(r.Rules, kube.PolicyRule{Verbs: []string{"get", "list", "watch"}, APIGroups: g.groups, Resources: g.resources})
		}
	}
	return r
}

func TestRBACDenied(t *testing.T) {
	wasm := func(change ...func(*evidence.LogMessage)) evidence.LogMessage {
		return refusal("istiod-service-account", "wasmplugins", "extensions.istio.io", "", change...)
	}
	up, down := deployment("default"), deployment("default", noneReady)
	checkstest.Run(t, RBACDenied, []checkstest.Case{
		{
			Name: "a log", Request: ofFiles, Put: logs(wasm()),
			Want: []checkstest.Want{{Subject: "service account istio-system/istiod-service-account", Confidence: diagnose.Likely, Severity: diagnose.Blocking,
				Summary: "The API server refuses istiod (service account istio-system/istiod-service-account) to list wasmplugins.extensions.istio.io.",
				Params:  map[string]string{"workload": "deployment/istiod", "kind": "wasmplugins.extensions.istio.io"}}},
		},
		{
			Name: "live, and it runs", Request: ofPod, Put: all(live(evidence.ControlPlaneWorkloads, up), logs(wasm(liveIstiod, times(40), span(time.Hour, 20*time.Second)))),
			Want: []checkstest.Want{{Confidence: diagnose.Likely, Severity: diagnose.Degrading}},
		},
		{
			Name: "live, and it doesn't get ready", Request: ofPod, Put: all(live(evidence.ControlPlaneWorkloads, down), logs(wasm(liveIstiod, times(40), span(time.Hour, 20*time.Second)))),
			Want: []checkstest.Want{{Severity: diagnose.Blocking}},
		},
		{
			Name: "several kinds", Request: ofFiles, Put: logs(refusal("istiod", "sidecars", "networking.istio.io", ""), refusal("istiod", "pods", "", ""), refusal("istiod", "gateways", "gateway.networking.k8s.io", ""), refusal("istiod", "telemetries", "telemetry.istio.io", "")),
			Want: []checkstest.Want{{Summary: "to list gateways.gateway.networking.k8s.io, pods, sidecars.networking.istio.io and 1 more."}},
		},
		{
			Name: "its role is gone", Request: ofFiles, Put: logs(refusal("istiod-asm-1260-11", "pods", "", `: RBAC: clusterrole.rbac.authorization.k8s.io "istiod-clusterrole-asm-1260-11-istio-system" not found`)),
			Want: []checkstest.Want{{Summary: "istiod-clusterrole-asm-1260-11-istio-system", Params: map[string]string{"workload": "deployment/istiod-asm-1260-11"}}},
		},
		{
			Name: "the old Pilot", Request: ofFiles, Put: logs(refusal("istio-pilot-service-account", "sidecars", "networking.istio.io", "")),
			Want: []checkstest.Want{{Subject: "istio-pilot-service-account"}},
		},
		{
			Name: "once, live", Request: ofPod, Put: all(live(evidence.ControlPlaneWorkloads, up), logs(wasm(liveIstiod, span(time.Minute, time.Minute)))),
			Want: []checkstest.Want{{Confidence: diagnose.Possible, Severity: diagnose.Degrading}},
		},
		{
			Name: "a role of before 1.12", Request: ofPod, Put: all(live(evidence.ControlPlaneWorkloads, up), live(evidence.ClusterRoles, role("istiod-clusterrole-istio-system", "extensions.istio.io"), role("istiod-gateway-controller-istio-system", "", "discovery.k8s.io", "security.istio.io", "networking.istio.io", "telemetry.istio.io", "extensions.istio.io"))),
			Want: []checkstest.Want{{Subject: "Deployment istio-system/istiod", Confidence: diagnose.Likely, Severity: diagnose.Degrading,
				Summary: "The ClusterRoles of istiod 1.20.3 (istiod-clusterrole-istio-system, istiod-gateway-controller-istio-system) do not let it list wasmplugins.extensions.istio.io."}},
			Unfilled: []string{"account"},
		},
		{
			Name: "a role in a file", Request: ofFiles, Put: all(file(evidence.ControlPlaneWorkloads, up), file(evidence.ClusterRoles, role("istiod-clusterrole-istio-system", "telemetry.istio.io"))),
			Want: []checkstest.Want{{Confidence: diagnose.Possible, Summary: "list telemetries.telemetry.istio.io"}}, Unfilled: []string{"account"},
		},
		{
			Name: "the role of one revision", Request: ofPod,
			Put: all(live(evidence.ControlPlaneWorkloads, up, deployment("asm-1260-11", func(w *kube.Workload) {
				w.Spec.Template.Spec.Containers[0].Image = "gcr.io/gke-release/asm/pilot:1.26.0-asm.11"
			})), live(evidence.ClusterRoles, role("istiod-clusterrole-istio-system"), role("istiod-clusterrole-asm-1260-11-istio-system", "security.istio.io"))),
			Want: []checkstest.Want{{Subject: "Deployment istio-system/istiod-asm-1260-11", Summary: "istiod 1.26.0-asm.11"}}, Unfilled: []string{"account"},
		},

		{Name: "a kind that it makes no configuration of", Request: ofFiles, Put: logs(refusal("istiod", "deployments", "apps", ""))},
		{Name: "another account of the namespace", Request: ofFiles, Put: logs(refusal("kiali-service-account", "pods", "", ""))},
		{Name: "an operator", Request: ofFiles, Put: logs(refusal("pso-pulsar-operator-zookeeper-controller-manager", "peerauthentications", "security.istio.io", ""))},
		{Name: "over", Request: ofPod, Put: all(live(evidence.ControlPlaneWorkloads, up), logs(wasm(liveIstiod, times(4), span(time.Hour, 50*time.Minute))))},
		{Name: "its role has it all", Request: ofPod, Put: all(live(evidence.ControlPlaneWorkloads, up), live(evidence.ClusterRoles, role("istiod-clusterrole-istio-system")))},
		{Name: "an older istiod needs less", Request: ofPod, Put: all(live(evidence.ControlPlaneWorkloads, deployment("default", func(w *kube.Workload) { w.Spec.Template.Spec.Containers[0].Image = "istio/pilot:1.8.6" })),
			live(evidence.ClusterRoles, role("istiod-istio-system", "extensions.istio.io", "telemetry.istio.io", "discovery.k8s.io")))},
		{Name: "limited to namespaces", Request: ofPod, Put: all(live(evidence.ControlPlaneWorkloads, up), live(evidence.ClusterRoles, role("istiod-clusterrole-istio-system", "networking.istio.io", "security.istio.io", "")))},
		{Name: "a tag without a version", Request: ofPod, Put: all(live(evidence.ControlPlaneWorkloads, deployment("default", func(w *kube.Workload) { w.Spec.Template.Spec.Containers[0].Image = "pilot@sha256:00" })),
			live(evidence.ClusterRoles, role("istiod-clusterrole-istio-system", "telemetry.istio.io")))},
		{Name: "managed", Request: ofPod, Put: all(live(evidence.MutatingWebhooks, managedInjector()), logs(wasm())), Outcome: diagnose.OutcomeSkipped, Reason: "Google runs"},
		{Name: "not asked", Request: ofFiles, Outcome: diagnose.OutcomeSkipped},
		{Name: "denied", Request: ofPod, Put: all(deny(evidence.ClusterRoles.Name()), logs()), Outcome: diagnose.OutcomeInconclusive, Reason: "istiod-cluster-roles"},
		{Name: "late", Request: ofPod, Put: late(evidence.LogMessages.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "the pods' own", Request: ofPod, Put: all(live(evidence.ControlPlanePods, istiod("default")), live(evidence.ClusterRoles))},
	})
}
