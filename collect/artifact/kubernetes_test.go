package artifact

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

const podYAML = `apiVersion: v1
kind: Pod
metadata:
  name: checkout-7d9c-x2x4l
  namespace: shop
  labels: {app: checkout}
spec:
  containers:
  - name: app
    image: example.com/app:1
`

const podJSON = `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"checkout-7d9c-x2x4l","namespace":"shop"},"spec":{"containers":[{"name":"app"}]}}`

// items gives the objects of all batches of a fact.
func items[T any](t *testing.T, set *evidence.Set, k evidence.Key[[]evidence.Objects[T]]) []T {
	t.Helper()
	batches := get(t, set, k)
	for _, b := range batches {
		if b.Whole || b.Source.Detail == "" || !b.Source.Pasted || b.Source.Vantage != evidence.FromAPI {
			t.Errorf("batch of %s: %+v", k.Name(), b)
		}
	}
	return evidence.All(batches)
}

func TestCorpusKubernetes(t *testing.T) {
	set, _ := collect(t, corpus(t, "kubernetes/namespaces-and-pods-injection.yaml"), corpus(t, "kubernetes/mutating-webhook-default.yaml"), corpus(t, "kubernetes/managed-control-plane-webhooks.yaml"))
	namespaces, pods := items(t, set, evidence.Namespaces), items(t, set, evidence.Pods)
	if len(namespaces) != 12 || len(pods) != 7 {
		t.Fatalf("%d namespaces, %d pods", len(namespaces), len(pods))
	}
	if n := namespaces[6]; n.Name != "busted" || n.Labels["istio.io/rev"] != "canary" || n.Labels["istio-injection"] != "enabled" || n.Origin != "namespaces-and-pods-injection.yaml, document 7" {
		t.Errorf("%+v", n)
	}
	if c, _ := pods[0].Sidecar(); pods[0].Name != "injectedpod" || c == nil {
		t.Errorf("%+v", pods[0])
	}
	if p := pods[6]; !p.Spec.HostNetwork {
		t.Errorf("%+v", p)
	}
	if istiod := items(t, set, evidence.ControlPlanePods); len(istiod) != 1 || istiod[0].Labels["istio.io/rev"] != "canary" {
		t.Errorf("istiod %+v", istiod)
	}
	mutating := items(t, set, evidence.MutatingWebhooks)
	if len(mutating) != 1 || len(mutating[0].Webhooks) != 4 || !mutating[0].Mutating() || mutating[0].Webhooks[0].Client.Service.Host() != "istiod.istio-system.svc" {
		t.Errorf("%+v", mutating)
	}
	validating := items(t, set, evidence.ValidatingWebhooks)
	if len(validating) != 1 || len(validating[0].Webhooks) != 1 || validating[0].Mutating() {
		t.Fatalf("%+v", validating)
	}
	if w := validating[0].Webhooks[0]; w.Client.URL != "VALIDATION_URL" || !w.Client.CABundle.Empty() || w.FailurePolicy != "Ignore" {
		t.Errorf("%+v", w)
	}
}

func TestManifests(t *testing.T) {
	for _, tc := range []struct{ name, text, note string }{
		{"a pod", podYAML, "1 Pod"},
		{"a pod in JSON", podJSON, "1 Pod"},
		{"JSON objects one after the other", podJSON + "\n{\n" + podJSON[1:], "2 Pods"},
		{"JSON objects one a line", podJSON + "\n" + podJSON + "\n", "2 Pods"},
		{"a JSON array", "[" + podJSON + "]", "1 Pod"},
		{"List", `{"apiVersion":"v1","kind":"List","items":[` + podJSON + `,` + podJSON + `],"metadata":{"resourceVersion":""}}`, "2 Pods"},
		{"PodList of the API", `{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"7"},"items":[{"metadata":{"name":"a","namespace":"n"},"spec":{}}]}`, "1 Pod"},
		{"List in YAML", "apiVersion: v1\nitems:\n- apiVersion: v1\n  kind: Pod\n  metadata: {name: a}\n- apiVersion: apps/v1\n  kind: Deployment\n  metadata: {name: istiod, labels: {app: istiod}}\nkind: List\nmetadata:\n  resourceVersion: \"\"\n", "1 Pod, 1 Deployment"},
		{"a YAML sequence", "- apiVersion: v1\n  kind: Pod\n  metadata: {name: a}\n", "1 Pod"},
		{"Helm's output", "---\n# Source: app/templates/empty.yaml\n---\n# Source: app/templates/pod.yaml\n" + podYAML, "1 Pod"},
		{"with others", podYAML + "---\napiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: g}\n---\napiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: h}\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: s}\n",
			"1 Pod; not used: 2 Gateways, Secret"},
		{"same kinds of other groups", podYAML + "---\napiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {name: s}\n", "1 Pod; not used: Service"},
		{"the mesh's ConfigMap beside another", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio-sidecar-injector-asm-1260-11}\ndata: {config: \"{{ .Values.x }}\"}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: app}\ndata: {a: 1}\n",
			"1 ConfigMap; not used: ConfigMap"},
		{"a broken document", podYAML + "---\napiVersion: v1\nkind: Namespace\nmetadata:\n  name: a\n  labels: [\n---\n" + podYAML,
			"2 Pods; document 2 (line 11): not YAML: line 16: did not find expected node content"},
		{"a broken first document", "apiVersion: v1\nkind: Pod\nmetadata: {name: x\n---\n" + podYAML, "1 Pod; document 1 (line 1): not YAML: line 2: did not find expected ',' or '}'"},
		{"a field of the wrong type", podYAML + "---\napiVersion: v1\nkind: Pod\nmetadata: {name: b, annotations: {sidecar.istio.io/inject: false}}\n", "1 Pod; document 2: Pod: metadata.annotations: bool stands where a string is expected"},
		{"Helm's template", podYAML + "---\n{{- if .Values.enabled }}\napiVersion: v1\nkind: Pod\nmetadata:\n  name: {{ .Release.Name }}\n{{- end }}\n",
			"1 Pod; document 2 (line 11): a Helm template ({{- if .Values.enabled), not a manifest: hand in what helm template or helm get manifest prints"},
		{"Helm's template that parses", podYAML + "---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: \"{{ .Release.Name }}\"\n", "1 Pod; document 2: a Helm template ({{ .Release.Name), not a manifest: hand in what helm template or helm get manifest prints"},
		{"Vault's annotations", "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  annotations:\n    vault.hashicorp.com/agent-inject-template-a: |\n      {{- with secret \"x\" -}}\n      {{ .Data.y }}\n      {{- end }}\n", "1 Pod"},
		{"with a bootstrap", podYAML + "---\nnode: {id: projects/1/networks/n/nodes/x}\ndynamic_resources: {}\n", "1 Pod; envoy-bootstrap: node id in the file"},
		{"events", `{"apiVersion":"v1","kind":"List","items":[{"apiVersion":"v1","kind":"Event","metadata":{"name":"a.1","namespace":"shop"},"involvedObject":{"kind":"ReplicaSet","namespace":"shop","name":"checkout-7d9c"},"reason":"FailedCreate","message":"it has not been used in project 12","count":3,"type":"Warning"}]}`,
			"1 Event; 1 known message"},
		{"with merge keys", "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  labels:\n    <<: &l {app: istiod}\n    x: \"1\"\nspec: {}\n", "1 Pod"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, files := collect(t, file(tc.text))
			if f := files[0]; f.Kind != "kubernetes" || f.Note != tc.note {
				t.Errorf("%+v, want note %q", f, tc.note)
			}
		})
	}
}

func TestManifestsNotUsed(t *testing.T) {
	for _, tc := range []struct{ name, text, note string }{
		{"a broken document", "apiVersion: v1\nkind: Pod\nmetadata:\n  name: [\n", "Kubernetes objects: the document (line 1): not YAML: line 4: did not find expected node content"},
		{"a template", "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: {{ include \"app.name\" . }}\n  labels:\n    {{- include \"app.labels\" . | nindent 4 }}\n",
			"Kubernetes objects: the document (line 1): a Helm template ({{ include \"app.name\" .), not a manifest: hand in what helm template or helm get manifest prints"},
		{"an alias bomb", "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n" + bomb(), "Kubernetes objects: the document (line 1): line 9: its aliases add more than 200000 nodes or 64 MiB"},
		{"a merge bomb", "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n" + mergeBomb(), "Kubernetes objects: the document (line 1): line 4: merges too much"},
		{"an alias of itself", "apiVersion: v1\nkind: Pod\nmetadata: &m {name: a, x: *m}\n", "Kubernetes objects: the document (line 1): line 3: nested deeper than 200 levels"},
		{"deep", "apiVersion: v1\nkind: Pod\nspec: " + strings.Repeat("[", 100_000), "Kubernetes objects: the document (line 1): not YAML: line 3: exceeded max depth of 10000"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			set, files := collect(t, file(tc.text))
			if f := files[0]; f.Used || f.Note != tc.note || f.Broken != "kubernetes" {
				t.Errorf("%+v, want note %q", f, tc.note)
			}
			fact := evidence.Pods.Name()
			if tc.name == "a template" {
				fact = evidence.Workloads.Name()
			}
			if !set.Has(fact) {
				t.Errorf("%s isn't known to have failed", fact)
			}
		})
	}
}

// bomb gives YAML whose aliases stand for 10^9 nodes.
func bomb() string {
	s := "a: &a [x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c < 'k'; c++ {
		s += string(c) + ": &" + string(c) + " [" + strings.TrimSuffix(strings.Repeat("*"+string(c-1)+",", 9), ",") + "]\n"
	}
	return s
}

// mergeBomb does the same with merge keys.
func mergeBomb() string {
	s := "a: &a {x: 1}\n"
	for c := 'b'; c < 'k'; c++ {
		s += string(c) + ": &" + string(c) + " {<<: [" + strings.TrimSuffix(strings.Repeat("*"+string(c-1)+",", 9), ",") + "]}\n"
	}
	return s
}

func TestManifestBrokenDocumentIsNotAbsent(t *testing.T) {
	set, _ := collect(t, file(podYAML+"---\napiVersion: v1\nkind: Pod\nmetadata: [\n"))
	v := evidence.NewView(set)
	if _, err := evidence.Get(v, evidence.Pods); err != nil {
		t.Error(err)
	}
	if _, err := evidence.Whole(v, evidence.Pods); err == nil {
		t.Error("the pods are taken for whole")
	}
}

func TestManifestLarge(t *testing.T) {
	pod := "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n"
	for _, tc := range []struct {
		name, text, note string
	}{
		{"one document", pod + strings.Repeat("  - name: x\n", 9<<20/12), "Kubernetes objects: the document (line 1): a YAML document of 9 MiB: at most 8 MiB are read, as JSON 64 MiB"},
		{"YAML of 50 MB", pod + strings.Repeat("  - name: x\n", 50<<20/12), "Kubernetes objects: YAML of 50 MiB: at most 16 MiB are read, as JSON (-o json) 64 MiB"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			set, files := collect(t, file(tc.text))
			if files[0].Note != tc.note || !set.Has(evidence.Pods.Name()) {
				t.Errorf("%q", files[0].Note)
			}
		})
	}
	t.Run("a list", func(t *testing.T) {
		// Items of 3 KB as kubectl prints them.
		var b strings.Builder
		b.WriteString("apiVersion: v1\nitems:\n")
		for i := range 400 {
			fmt.Fprintf(&b, "- apiVersion: v1\n  kind: Pod\n  metadata:\n    name: p-%d\n    annotations:\n      note: |\n        - %s\n", i, strings.Repeat("x", 1000))
		}
		b.WriteString("kind: List\nmetadata:\n  resourceVersion: \"\"\n")
		set, files := collect(t, file(b.String()))
		if files[0].Note != "400 Pods" {
			t.Errorf("%+v", files[0])
		}
		if p := items(t, set, evidence.Pods)[399]; p.Name != "p-399" || p.Origin != "f, item 400" || !strings.HasPrefix(p.Annotations["note"], "- x") {
			t.Errorf("%s %s", p.Name, p.Origin)
		}
		broken := strings.Replace(b.String(), "name: p-7\n", "name: [\n", 1)
		_, files = collect(t, file(broken))
		if want := "399 Pods; item 8 (line 52): not YAML: line 57: found character that cannot start any token"; files[0].Note != want {
			t.Errorf("%q, want %q", files[0].Note, want)
		}
	})
}

func TestManifestKinds(t *testing.T) {
	set, files := collect(t, file(strings.Join([]string{
		`{"apiVersion":"admissionregistration.k8s.io/v1beta1","kind":"MutatingWebhookConfiguration","metadata":{"name":"old"},"webhooks":[{"name":"x","clientConfig":{"caBundle":"${CA}"}}]}`,
		`{"apiVersion":"v1","kind":"ReplicationController","metadata":{"name":"rc"},"spec":{"selector":{"app":"x"}}}`,
		`{"apiVersion":"batch/v1","kind":"CronJob","metadata":{"name":"c","namespace":"n"},"spec":{"jobTemplate":{"spec":{"template":{"metadata":{"labels":{"a":"b"}}}}}}}`,
		`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"istiod-asm","namespace":"istio-system","labels":{"app":"istiod"}}}`,
		`{"apiVersion":"v1","kind":"Endpoints","metadata":{"name":"istiod","namespace":"istio-system"},"subsets":[{"addresses":[{"ip":"10.0.0.1"}],"notReadyAddresses":[{"ip":"10.0.0.2","targetRef":{"kind":"Pod","name":"p"}}],"ports":[{"name":"https-webhook","port":15017}]}]}`,
		`{"apiVersion":"v1","kind":"Endpoints","metadata":{"name":"none","namespace":"n"}}`,
		`{"apiVersion":"events.k8s.io/v1","kind":"Event","metadata":{"name":"e"},"regarding":{"kind":"Pod","name":"p","namespace":"n"},"note":"api has not been used in project 1","series":{"count":9,"lastObservedTime":"2024-05-01T11:00:00.000000Z"},"eventTime":"2024-05-01T10:00:00.000000Z"}`,
		`{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRole","metadata":{"name":"istiod-clusterrole-istio-system"},"rules":[{"verbs":["get"]}]}`,
		`{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRole","metadata":{"name":"admin"}}`,
		`{"apiVersion":"mesh.cloud.google.com/v1beta1","kind":"ControlPlaneRevision","metadata":{"name":"asm-managed","namespace":"istio-system"},"status":{"conditions":[{"type":"Stalled","status":"True","reason":"PreconditionFailed","message":"m"}]}}`,
		`{"apiVersion":"mesh.cloud.google.com/v1alpha1","kind":"DataPlaneControl","metadata":{"name":"d"},"status":{"state":"Failed","errorDetails":[{"code":"1","message":"x"},"y"]}}`,
		`{"apiVersion":"networking.istio.io/v1alpha3","kind":"EnvoyFilter","metadata":{"name":"f"},"spec":{}}`,
		`{"apiVersion":"security.istio.io/v1","kind":"PeerAuthentication","metadata":{"name":"d"},"spec":{"mtls":{"mode":"STRICT"}}}`,
		`{"apiVersion":"networking.istio.io/v1","kind":"DestinationRule","metadata":{"name":"d"},"spec":{"host":"x"}}`,
		`{"apiVersion":"security.istio.io/v1","kind":"AuthorizationPolicy","metadata":{"name":"d"}}`,
		`{"apiVersion":"v1","kind":"Service","metadata":{"name":"s"},"spec":{"ports":[{"port":443,"targetPort":"https-webhook"}]}}`,
		`{"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice","metadata":{"name":"s-1"}}`,
	}, "\n")))
	want := "1 Deployment, 1 CronJob, 1 ReplicationController, 1 Event, 1 MutatingWebhookConfiguration, 1 Service, 3 EndpointSlices, 1 ClusterRole, 1 ControlPlaneRevision, " +
		"1 DataPlaneControl, 1 EnvoyFilter, 1 PeerAuthentication, 1 DestinationRule, 1 AuthorizationPolicy; 1 known message; not used: ClusterRole"
	if files[0].Note != want {
		t.Errorf("%s", files[0].Note)
	}
	if w := items(t, set, evidence.MutatingWebhooks)[0].Webhooks[0]; w.FailurePolicy != "Ignore" || w.MatchPolicy != "Exact" || *w.TimeoutSeconds != 30 || w.Client.CABundle.Raw != "${CA}" {
		t.Errorf("v1beta1: %+v", w)
	}
	w := items(t, set, evidence.Workloads)
	if p := w[1].Pod(); w[0].Spec.Selector.MatchLabels["app"] != "x" || p.Labels["a"] != "b" || p.Title() != "the template of CronJob n/c" {
		t.Errorf("workloads %+v", w)
	}
	if d := items(t, set, evidence.ControlPlaneWorkloads); len(d) != 1 || d[0].Name != "istiod-asm" {
		t.Errorf("istiod %+v", d)
	}
	s := items(t, set, evidence.EndpointSlices)
	if s[0].Service() != "istiod" || len(s[0].Endpoints) != 2 || !s[0].Endpoints[0].IsReady() || s[0].Endpoints[1].IsReady() || s[0].Ports[0].Port != 15017 || s[1].Service() != "none" || len(s[1].Endpoints) != 0 {
		t.Errorf("slices %+v", s)
	}
	m := get(t, set, evidence.LogMessages)
	if len(m) != 1 || m[0].Count != 9 || m[0].Fields["project"] != "1" || m[0].Source.Detail != "f (event of Pod n/p)" || m[0].Last.Format(time.TimeOnly) != "11:00:00" || m[0].File != "f" {
		t.Errorf("messages %+v", m)
	}
	if r := items(t, set, evidence.ControlPlaneRevisions)[0]; kube.FindCondition(r.Status.Conditions, "Stalled") == nil {
		t.Errorf("revision %+v", r)
	}
}

func TestEmptyListProvesNothing(t *testing.T) {
	set, files := collect(t, file(`{"apiVersion":"v1","kind":"List","items":[],"metadata":{"resourceVersion":""}}`), file(`{"apiVersion":"v1","kind":"PodList","items":[]}`))
	if files[0].Used || files[1].Used || files[1].Note != "an empty list of Kubernetes objects (PodList)" || set.Has(evidence.Pods.Name()) {
		t.Errorf("%+v", files)
	}
}

// TestManifestStaysALog holds that logs of the API server, which are JSON with kind and apiVersion, stay logs.
func TestManifestStaysALog(t *testing.T) {
	line := `{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"x","responseStatus":{"message":"it has not been used in project 12"}}`
	if !json.Valid([]byte(line)) {
		t.Fatal("not JSON")
	}
	_, files := collect(t, file(line+"\n"+line+"\n"), diagnose.Artifact{Name: "g", Data: []byte("The manifest\napiVersion: v1\nkind: Pod\nhas not been used in project 7\n")})
	if files[0].Kind != "log" || files[1].Kind != "log" {
		t.Errorf("%+v", files)
	}
}
