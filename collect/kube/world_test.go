package kube

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/meshdiag/meshdiag/collect/logscan"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// testSignatures are two messages that the tests' logs and events hold.
var testSignatures = []diagnose.Signature{
	{ID: "not-ready", Anchors: []string{"Envoy proxy is NOT ready"}, Pattern: `Envoy proxy is NOT ready: (?P<why>.*)`},
	{ID: "webhook-failed", Anchors: []string{"failed calling webhook"}, Pattern: `failed calling webhook "(?P<webhook>[^"]+)"`},
}

func withScanner(t *testing.T) func(*Config) {
	t.Helper()
	s, err := logscan.New(testSignatures)
	if err != nil {
		t.Fatal(err)
	}
	return func(c *Config) { c.Scanner = s }
}

// everyFact are all facts that the collectors tell.
func everyFact(a *API) (out []evidence.Name) {
	for _, c := range a.Collectors() {
		for _, n := range c.Provides {
			if !slices.Contains(out, n) {
				out = append(out, n)
			}
		}
	}
	return out
}

const template = `"template":{"metadata":{"labels":{"app":"x"},"annotations":{"sidecar.istio.io/inject":"true"}},"spec":{"containers":[{"name":"app","image":"shop/app:1"}]}}`

func workload(name, replicas, ownerKind, owner string) string {
	owners := ""
	if owner != "" {
		owners = fmt.Sprintf(`,"ownerReferences":[{"kind":%q,"name":%q,"controller":true}]`, ownerKind, owner)
	}
	return fmt.Sprintf(`{"metadata":{"name":%q,"namespace":"shop","annotations":{%q:"everything again"}%s},"spec":{"replicas":%s,%s},"status":{"replicas":%s}}`,
		name, lastApplied, owners, replicas, template, replicas)
}

// shopWorld is a cluster with a mesh, and a namespace whose pods don't start.
func shopWorld(t *testing.T) *apiServer {
	t.Helper()
	s := newServer(t)
	s.serve("networking.istio.io/v1/envoyfilters", "networking.istio.io/v1alpha3/envoyfilters", "networking.istio.io/v1/destinationrules",
		"security.istio.io/v1/peerauthentications", "security.istio.io/v1/authorizationpolicies")
	s.add(t, "/v1/namespaces", `{"metadata":{"name":"shop","labels":{"istio.io/rev":"asm-1"}}}`, `{"metadata":{"name":"istio-system"}}`, `{"metadata":{"name":"other"}}`)
	s.add(t, "/v1/pods",
		`{"metadata":{"name":"checkout-7d9-aaaaa","generateName":"checkout-7d9-","namespace":"shop","labels":{"pod-template-hash":"7d9"},"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"x"},
		  "ownerReferences":[{"kind":"ReplicaSet","name":"checkout-7d9","uid":"1","controller":true}]},
		  "spec":{"containers":[{"name":"app","image":"shop/app:1"},{"name":"istio-proxy"}]},
		  "status":{"phase":"Running","conditions":[{"type":"Ready","status":"False"}],
		    "initContainerStatuses":[{"name":"istio-init","state":{"terminated":{"exitCode":0}}}],
		    "containerStatuses":[{"name":"app","restartCount":0,"state":{"running":{}}},{"name":"istio-proxy","restartCount":2,"state":{"running":{}}}]}}`,
		`{"metadata":{"name":"checkout-7d9-bbbbb","generateName":"checkout-7d9-","namespace":"shop","labels":{"pod-template-hash":"7d9"},
		  "ownerReferences":[{"kind":"ReplicaSet","name":"checkout-7d9","uid":"1","controller":true}]},
		  "spec":{"containers":[{"name":"app","image":"shop/app:1"}]},"status":{"conditions":[{"type":"Ready","status":"False"}]}}`,
		`{"metadata":{"name":"istiod-0","namespace":"istio-system","labels":{"app":"istiod"}},"spec":{},"status":{"containerStatuses":[{"name":"discovery","state":{"running":{}}}]}}`,
		`{"metadata":{"name":"grafana","namespace":"istio-system"},"spec":{}}`)
	s.add(t, "apps/v1/deployments", workload("checkout", "2", "", ""), `{"metadata":{"name":"istiod","namespace":"istio-system","labels":{"app":"istiod"}},"spec":{}}`)
	s.add(t, "apps/v1/replicasets", workload("checkout-7d9", "2", "Deployment", "checkout"), workload("checkout-old", "0", "Deployment", "checkout"),
		workload("checkout-refused", "0", "Deployment", "checkout"), workload("bare", "1", "", ""))
	s.add(t, "apps/v1/statefulsets", workload("db", "1", "", ""))
	s.add(t, "apps/v1/daemonsets", workload("agent", "1", "", ""))
	s.add(t, "batch/v1/jobs", workload("migrate", "1", "", ""))
	s.add(t, "batch/v1/cronjobs", fmt.Sprintf(`{"metadata":{"name":"nightly","namespace":"shop"},"spec":{"jobTemplate":{"spec":{%s}}}}`, template))
	s.add(t, "/v1/events",
		`{"metadata":{"name":"e1","namespace":"shop"},"type":"Warning","reason":"FailedCreate","count":4,"involvedObject":{"kind":"ReplicaSet","namespace":"shop","name":"checkout-refused"},
		  "message":"Error creating: Internal error occurred: failed calling webhook \"rev.namespace.sidecar-injector.istio.io\": no endpoints","lastTimestamp":"2026-05-04T11:00:00Z"}`,
		`{"metadata":{"name":"e2","namespace":"shop"},"type":"Normal","reason":"Started","involvedObject":{"kind":"Pod","namespace":"shop","name":"checkout-7d9-aaaaa"},"message":"Started container app"}`,
		`{"metadata":{"name":"e3","namespace":"shop"},"type":"Warning","reason":"Unhealthy","involvedObject":{"kind":"Pod","namespace":"shop","name":"checkout-7d9-aaaaa"},"message":"Readiness probe failed"}`,
		`{"metadata":{"name":"e4","namespace":"shop"},"type":"Normal","reason":"Pulled","involvedObject":{"kind":"Pod","namespace":"shop","name":"checkout-7d9-bbbbb"},"message":"Pulled"}`)
	hook := func(name, conditions string) string {
		return fmt.Sprintf(`{"metadata":{"name":%q},"webhooks":[{"name":"rev.namespace.sidecar-injector.istio.io","clientConfig":{"service":{"namespace":"istio-system","name":"istiod"}},
		  "rules":[{"operations":["CREATE"],"apiGroups":[""],"apiVersions":["v1"],"resources":["pods"]}],"matchConditions":[%s]}]}`, name, conditions)
	}
	s.add(t, "admissionregistration.k8s.io/v1/mutatingwebhookconfigurations", hook("istio-sidecar-injector",
		`{"name":"one-app","expression":"object.spec.containers.exists(c, c.name == 'app')"},{"name":"humans","expression":"request.userInfo.username != 'robot'"}`))
	s.add(t, "admissionregistration.k8s.io/v1/validatingwebhookconfigurations",
		`{"metadata":{"name":"certs"},"webhooks":[{"name":"w","clientConfig":{"service":{"namespace":"cert-manager","name":"cert-manager"}}}]}`,
		`{"metadata":{"name":"managed"},"webhooks":[{"name":"m","clientConfig":{"url":"https://example.com/"}}]}`)
	for _, ns := range []string{"shop", "istio-system", "cert-manager", "other"} {
		s.add(t, "/v1/services", fmt.Sprintf(`{"metadata":{"name":"istiod","namespace":%q},"spec":{"ports":[{"name":"https","port":443}]}}`, ns))
		s.add(t, "discovery.k8s.io/v1/endpointslices", fmt.Sprintf(
			`{"metadata":{"name":"istiod-1","namespace":%q,"labels":{"kubernetes.io/service-name":"istiod"}},"endpoints":[{"addresses":["127.0.0.1"]}],"ports":[{"name":"https","port":1}]}`, ns))
	}
	s.add(t, "rbac.authorization.k8s.io/v1/clusterroles", `{"metadata":{"name":"istiod-clusterrole-istio-system"},"rules":[{"verbs":["get"]}]}`, `{"metadata":{"name":"admin"}}`)
	s.add(t, "/v1/configmaps", `{"metadata":{"name":"istio","namespace":"istio-system"},"data":{"mesh":"x"}}`, `{"metadata":{"name":"dashboards","namespace":"istio-system"}}`)
	s.add(t, "networking.istio.io/v1/envoyfilters", `{"metadata":{"name":"root","namespace":"istio-system"},"spec":{}}`, `{"metadata":{"name":"own","namespace":"shop"},"spec":{}}`,
		`{"metadata":{"name":"others","namespace":"other"},"spec":{}}`)
	s.add(t, "security.istio.io/v1/peerauthentications", `{"metadata":{"name":"default","namespace":"istio-system"},"spec":{"mtls":{"mode":"STRICT"}}}`)
	s.logs["shop/checkout-7d9-aaaaa/istio-proxy"] = "2026-05-04T11:59:00.000000Z\twarning\tEnvoy proxy is NOT ready: config not received\n"
	s.logs["shop/checkout-7d9-aaaaa/istio-init"] = "iptables done\n"
	s.logs["istio-system/istiod-0/discovery"] = "2026-05-04T11:58:00.000000Z\terror\tfailed calling webhook \"own\"\n"
	return s
}

func names[T any](t *testing.T, v *evidence.View, key evidence.Key[[]evidence.Objects[T]], ref func(*T) string) []string {
	t.Helper()
	var out []string
	for _, b := range get(t, v, key) {
		for i := range b.Items {
			out = append(out, ref(&b.Items[i]))
		}
	}
	slices.Sort(out)
	return out
}

func same(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

func hasMessage(list []evidence.LogMessage, signature, detail string) bool {
	return slices.ContainsFunc(list, func(m evidence.LogMessage) bool {
		return m.Signature == signature && strings.Contains(m.Source.Detail, detail)
	})
}

func secretTLS(t *testing.T, s *apiServer) {
	t.Helper()
	s.add(t, "/v1/secrets", fmt.Sprintf(`{"metadata":{"name":"istiod-tls","namespace":"istio-system"},"data":{"tls.crt":%q}}`,
		base64.StdEncoding.EncodeToString(pemOf(s.Certificate().Raw))))
}

// denyNamespaces is an API server that lets nobody list namespaces.
func denyNamespaces(w http.ResponseWriter, _ *http.Request, a asked) bool {
	if a.resource != "namespaces" || a.verb != "list" {
		return false
	}
	status(w, http.StatusForbidden, "Forbidden", `namespaces is forbidden: User "eve" cannot list resource "namespaces"`)
	return true
}
