package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/meshdiag/meshdiag/internal/kubetest"
)

// managed is what Google's managed control plane leaves in a cluster: webhooks that are URLs, of which the validating one has no
// caBundle, ControlPlaneRevisions, and no istiod.
func managed(t *testing.T, c *kubetest.Cluster) *plane {
	t.Helper()
	p := &plane{revision: "asm-managed", ca: kubetest.NewCA(t, "managed")}
	cert := p.ca.Issue(t, kubetest.Certificate{Names: []string{c.Address.String()}})
	p.bundle = p.ca.PEM()
	p.at = c.Serve(t, kubetest.Server{Certificate: cert, Handler: admission(sidecarPatch(p.revision, false))})
	url := fmt.Sprintf(`{"url":"https://%s/inject","caBundle":%q}`, p.at, base64Of(p.bundle))
	c.CustomResource(t, "mesh.cloud.google.com", "v1beta1", "ControlPlaneRevision", "controlplanerevisions", true)
	c.Apply(t, injector("istiod-asm-managed", "asm-managed", "", url), `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: istiod-istio-system-mcp, labels: {app: istiod, istio.io/rev: asm-managed}}
webhooks:
- name: rev.validation.istio.io
  clientConfig: {url: "https://meshconfig.googleapis.com:443/v1internal/projects/mesh-prod/locations/us-central1-c/clusters/prod/channels/regular/targets/validate"}
  failurePolicy: Ignore
  sideEffects: None
  admissionReviewVersions: [v1]
  objectSelector: {matchExpressions: [{key: istio.io/rev, operator: In, values: [asm-managed]}]}
  rules: [{apiGroups: [networking.istio.io], apiVersions: ["*"], operations: [CREATE, UPDATE], resources: ["*"]}]
`, `
apiVersion: mesh.cloud.google.com/v1beta1
kind: ControlPlaneRevision
metadata: {name: asm-managed, namespace: istio-system, labels: {app.kubernetes.io/created-by: mesh.googleapis.com, mesh.cloud.google.com/managed-cni-enabled: "true"}}
spec: {type: managed_service, channel: regular}
status:
  conditions:
  - {type: Reconciled, status: "True", reason: Reconciled, message: "The provisioning process has completed successfully", lastTransitionTime: "2026-05-04T09:00:00Z"}
  - {type: Stalled, status: "False", reason: Reconciled, message: "The provisioning process has not stalled", lastTransitionTime: "2026-05-04T09:00:00Z"}
  - {type: ProvisioningFinished, status: "True", reason: Reconciled, message: "", lastTransitionTime: "2026-05-04T09:00:00Z"}
`, `{apiVersion: v1, kind: ConfigMap, metadata: {name: istio-asm-managed, namespace: istio-system}, data: {mesh: ""}}`)
	return p
}

// TestKubeHealthy asks about meshes that are well, and look in one thing as others do that aren't.
func TestKubeHealthy(t *testing.T) {
	enabled := map[string]string{"istio-injection": "enabled"}
	for name, build := range map[string]func(*testing.T, *kubetest.Cluster){
		// The namespace names a tag, which is no revision: the tag's injector leads to one.
		"revision tag": func(t *testing.T, c *kubetest.Cluster) {
			p := newPlane(t, "asm-1254-6").start(t, c)
			c.Apply(t, p.control(), injector("istio-sidecar-injector-asm-1254-6", p.revision, "", p.target("/inject")),
				injector("istio-revision-tag-prod-stable", p.revision, "prod-stable", p.target("/inject")), p.validator())
			meshNamespace(t, c, map[string]string{"istio.io/rev": "prod-stable"})
			shop(t, c)
		},
		// istioctl sets the default injector aside where a tag "default" took over.
		"default tag": func(t *testing.T, c *kubetest.Cluster) {
			p := newPlane(t, "1-28-1").start(t, c)
			aside := strings.NewReplacer(`"namespaceSelector":{"matchExpressions":[`, `"namespaceSelector":{"matchLabels":{"istio.io/deactivated":"never-match"},"matchExpressions":[`,
				`"objectSelector":{"matchExpressions":[`, `"objectSelector":{"matchLabels":{"istio.io/deactivated":"never-match"},"matchExpressions":[`)
			c.Apply(t, p.control(), aside.Replace(injector("istio-sidecar-injector", "default", "", p.target("/inject"))),
				injector("istio-sidecar-injector-1-28-1", p.revision, "", p.target("/inject")),
				injector("istio-revision-tag-default", p.revision, "default", p.target("/inject")), p.validator())
			meshNamespace(t, c, enabled)
			shop(t, c)
		},
		"native sidecars": func(t *testing.T, c *kubetest.Cluster) {
			install(t, c, func(p *plane) { p.handler = admission(sidecarPatch("default", true)) })
			meshNamespace(t, c, enabled)
			c.Apply(t, checkout(2, ""), pod{init: nativeInit, containers: withoutOne}.manifest(), pod{name: "checkout-" + hash + "-bbbbb", init: nativeInit, containers: withoutOne}.manifest())
		},
		"managed": func(t *testing.T, c *kubetest.Cluster) {
			managed(t, c)
			meshNamespace(t, c, map[string]string{"istio.io/rev": "asm-managed"})
			shop(t, c)
		},
		// On the node's network there can be no sidecar, and who says no wants none.
		"left out on purpose": func(t *testing.T, c *kubetest.Cluster) {
			install(t, c)
			meshNamespace(t, c, enabled)
			shop(t, c)
			c.Apply(t, strings.ReplaceAll(pod{name: "agent-x", spec: `"hostNetwork":true,`, containers: withoutOne, init: "[]"}.manifest(), `"app":"checkout"`, `"app":"agent"`),
				strings.ReplaceAll(pod{name: "report-x", labels: `"sidecar.istio.io/inject":"false",`, containers: withoutOne, init: "[]"}.manifest(), `"app":"checkout"`, `"app":"report"`))
		},
		// A namespace without pods.
		"empty": func(t *testing.T, c *kubetest.Cluster) {
			install(t, c)
			meshNamespace(t, c, enabled)
		},
		// Between two revisions: the old one is scaled to nothing, and nobody asks for it any more.
		"after an upgrade": func(t *testing.T, c *kubetest.Cluster) {
			old, p := newPlane(t, "1-27-4").start(t, c), newPlane(t, "1-28-1").start(t, c)
			c.Apply(t, p.control(), injector("istio-sidecar-injector-1-28-1", p.revision, "", p.target("/inject")), p.validator())
			scaled := strings.NewReplacer("replicas: 1\n  selector", "replicas: 0\n  selector", "\n  replicas: 1\n  readyReplicas: 1\n  updatedReplicas: 1\n  availableReplicas: 1", "")
			deployment, _, _ := strings.Cut(scaled.Replace(old.control()), "---")
			c.Apply(t, deployment)
			meshNamespace(t, c, map[string]string{"istio.io/rev": "1-28-1"})
			shop(t, c)
		},
		// A pod that starts now, whose first probes fail as they do everywhere.
		"starting": func(t *testing.T, c *kubetest.Cluster) {
			install(t, c)
			meshNamespace(t, c, enabled)
			shop(t, c)
			name := "checkout-" + hash + "-ccccc"
			c.Apply(t, pod{name: name, ready: "False", containers: "[" + appRuns + "," + strings.Replace(proxyRuns, `"ready":true`, `"ready":false`, 1) + "]", startedBefore: 3 * time.Second}.manifest())
			c.Event(t, kubetest.Event{Namespace: "shop", Kind: "Pod", Name: name, Type: "Warning", Reason: "Unhealthy", Component: "kubelet",
				Message: "Startup probe failed: Get \"http://10.4.0.21:15021/healthz/ready\": dial tcp 10.4.0.21:15021: connect: connection refused"})
		},
		// What happened is over: the ReplicaSet was refused pods for a while an hour ago, and has them all since.
		"old events": func(t *testing.T, c *kubetest.Cluster) {
			install(t, c)
			meshNamespace(t, c, enabled)
			shop(t, c)
			c.Event(t, kubetest.Event{Namespace: "shop", Kind: "ReplicaSet", Name: "checkout-" + hash, Type: "Warning", Reason: "FailedCreate", Component: "replicaset-controller", Count: 9,
				First: time.Now().Add(-55 * time.Minute), Last: time.Now().Add(-50 * time.Minute),
				Message: `Error creating: Internal error occurred: failed calling webhook "namespace.sidecar-injector.istio.io": failed to call webhook: Post "https://istiod.istio-system.svc:443/inject?timeout=10s": no endpoints available for service "istiod"`})
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := kube.Start(t)
			kubelet(t, c, wellLogs...)
			build(t, c)
			config := c.Kubeconfig(t, c.Admin, kubeContext)
			if got := askCluster(t, config, "--namespace", "shop"); !got.equal(expect()) {
				t.Errorf("got %+v\n%s%s", got.outcome, got.stdout, got.stderr)
			}
		})
	}
}
