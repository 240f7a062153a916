package kube

import (
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
	"github.com/meshdiag/meshdiag/internal/kubetest"
)

// live makes the collectors of a real API server.
func live(t *testing.T, c *kubetest.Cluster, cfg *rest.Config, change func(*Config)) *API {
	t.Helper()
	k := Config{Kubeconfig: c.Kubeconfig(t, cfg, "live"), RetryDelay: time.Millisecond}
	if change != nil {
		change(&k)
	}
	a, err := New(k)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a
}

const liveWorld = `
{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {istio.io/rev: asm-1}}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: istio-asm-1, namespace: istio-system}, data: {mesh: "x"}}
---
apiVersion: v1
kind: Pod
metadata: {name: istiod-0, namespace: istio-system, labels: {app: istiod}}
spec: {nodeName: node-1, containers: [{name: discovery, image: pilot}]}
status: {phase: Running, containerStatuses: [{name: discovery, image: pilot, imageID: "", ready: true, restartCount: 0, state: {running: {}}}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: checkout, namespace: shop}
spec:
  selector: {matchLabels: {app: checkout}}
  template: {metadata: {labels: {app: checkout}}, spec: {containers: [{name: app, image: "shop/app:1"}]}}
---
apiVersion: v1
kind: Pod
metadata: {name: checkout-1, namespace: shop, labels: {app: checkout}}
spec: {nodeName: node-1, containers: [{name: app, image: "shop/app:1"}, {name: istio-proxy, image: proxyv2}]}
status:
  phase: Running
  conditions: [{type: Ready, status: "False"}]
  containerStatuses:
  - {name: app, image: app, imageID: "", ready: true, restartCount: 0, state: {running: {}}}
  - {name: istio-proxy, image: proxyv2, imageID: "", ready: false, restartCount: 1, state: {running: {}}}
`

func TestKubeEveryFact(t *testing.T) {
	c := realKube.Start(t)
	serverInfo := `{"version":"x/1.30/Clean/RELEASE/BoringSSL","state":"LIVE","uptime_current_epoch":"5s"}`
	c.Node(t, "node-1", kubetest.Kubelet{
		Logs: []kubetest.Log{
			{Namespace: "shop", Pod: "checkout-1", Container: "istio-proxy", Text: "Envoy proxy is NOT ready: now\n"},
			{Namespace: "shop", Pod: "checkout-1", Container: "istio-proxy", Previous: true, Text: "Envoy proxy is NOT ready: before\n"},
			{Namespace: "istio-system", Pod: "istiod-0", Container: "discovery", Text: "failed calling webhook \"x\"\n"},
		},
		Exec: func(_, _, container string, command []string) (string, string, int) {
			if container != "istio-proxy" || strings.Join(command[:3], " ") != "pilot-agent request GET" {
				return "", "no such command", 127
			}
			switch path, _, _ := strings.Cut(command[3], "?"); path {
			case "server_info":
				return serverInfo, "", 0
			case "config_dump":
				return `{"configs":[{"@type":"type.googleapis.com/envoy.admin.v3.BootstrapConfigDump","bootstrap":{"node":{"id":"sidecar~10.4.0.9~checkout-1.shop~shop.svc.cluster.local"}}}]}`, "", 0
			}
			return "", "Error: command failed", 1
		},
	})
	c.Apply(t, liveWorld)
	ca := kubetest.NewCA(t, "istiod")
	cert := ca.Issue(t, kubetest.Certificate{Names: []string{"istiod.istio-system.svc"}})
	addr := c.Serve(t, kubetest.Server{Certificate: cert, Handler: kubetest.Allow()})
	c.Route(t, "istio-system", "istiod", 443, addr)
	wrong := c.Serve(t, kubetest.Server{Certificate: ca.Issue(t, kubetest.Certificate{Names: []string{"other.example"}}), Handler: kubetest.Allow()})
	c.Route(t, "istio-system", "wrong", 443, wrong)
	c.Route(t, "istio-system", "silent", 443, c.Blackhole(t, 0))
	c.Apply(t, fmt.Sprintf(webhookWith, "istio-sidecar-injector", "istiod"), fmt.Sprintf(webhookWith, "b", "wrong"), fmt.Sprintf(webhookWith, "c", "silent"))
	c.CustomResource(t, "networking.istio.io", "v1alpha3", "EnvoyFilter", "envoyfilters", true)
	c.Apply(t, `{apiVersion: networking.istio.io/v1alpha3, kind: EnvoyFilter, metadata: {name: f, namespace: istio-system}, spec: {configPatches: []}}`)
	c.Event(t, kubetest.Event{Namespace: "shop", Kind: "ReplicaSet", Name: "checkout-x", Type: "Warning", Reason: "FailedCreate", Message: `Error creating: failed calling webhook "w": x`, Component: "replicaset-controller", Count: 3})

	scan := withScanner(t)
	a := live(t, c, c.Admin, func(k *Config) { scan(k); k.PodExec = true })
	v, rep := run(t, a, diagnose.Target{Namespace: "shop", Pod: "checkout-1"}, everyFact(a)...)
	for _, o := range rep.Observations {
		if !o.Known() && o.Name != evidence.ServingCertificates.Name() && !strings.HasPrefix(string(o.Name), "envoy-") {
			t.Errorf("%s: %v", o.Name, o.Err)
		}
	}
	same(t, "pods", names(t, v, evidence.Pods, func(x *kube.Pod) string { return x.Ref() }), "shop/checkout-1")
	same(t, "config maps", names(t, v, evidence.ConfigMaps, func(x *kube.ConfigMap) string { return x.Ref() }), "istio-system/istio-asm-1")
	same(t, "filters", names(t, v, evidence.EnvoyFilters, func(x *kube.EnvoyFilter) string { return x.Ref() }), "istio-system/f")
	same(t, "events", names(t, v, evidence.ClusterEvents, func(x *kube.Event) string { return x.Reason }), "FailedCreate")
	for _, b := range get(t, v, evidence.DestinationRules) {
		if !b.NoSuchKind {
			t.Errorf("a kind that isn't installed: %+v", b)
		}
	}
	log, err := evidence.Whole(v, evidence.LogMessages)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []struct{ signature, detail string }{
		{"not-ready", "log of container istio-proxy"}, {"not-ready", "the container before"}, {"webhook-failed", "discovery"}, {"webhook-failed", "FailedCreate"},
	} {
		if !hasMessage(log, want.signature, want.detail) {
			t.Errorf("no message %s of %q in %+v", want.signature, want.detail, log)
		}
	}
	served, err := evidence.Get(v, evidence.ServingCertificates)
	if err != nil || len(served) != 1 || served[0].Service != "istiod" || served[0].Chain[0].DNSNames[0] != "istiod.istio-system.svc" {
		t.Errorf("certificates: %+v, %v", served, err)
	}
	// Another name's, seen from outside the cluster, may be another machine's; the third server says nothing.
	for _, want := range []string{"istio-system/wrong", "istio-system/silent"} {
		found := false
		for _, o := range rep.Observations {
			found = found || o.Err != nil && strings.Contains(o.Err.Error(), want)
		}
		if !found {
			t.Errorf("nothing is said of Service %s", want)
		}
	}
	infos, err := evidence.Get(v, evidence.EnvoyInfos)
	if err != nil || len(infos) != 1 || infos[0].Info.State != "LIVE" || infos[0].Source.Vantage != evidence.FromWorkload {
		t.Errorf("server_info: %+v, %v", infos, err)
	}
	if _, err := evidence.Get(v, evidence.EnvoyStats); err == nil || !strings.Contains(err.Error(), "command failed") {
		t.Errorf("a command that fails: %v", err)
	}
	conditions, err := evidence.Whole(v, evidence.MatchConditions)
	if err != nil || len(conditions) == 0 || !conditions[0].True || conditions[0].Pod != "pod shop/checkout-1" {
		t.Errorf("conditions: %+v, %v", conditions, err)
	}
}

const webhookWith = `
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: {name: %s}
webhooks:
- name: rev.namespace.sidecar-injector.istio.io
  clientConfig: {service: {namespace: istio-system, name: %s, path: /}}
  sideEffects: None
  admissionReviewVersions: [v1]
  failurePolicy: Ignore
  namespaceSelector: {matchLabels: {istio.io/rev: asm-1}}
  rules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods]}]
  matchConditions: [{name: c, expression: "!has(object.spec.hostNetwork) || !object.spec.hostNetwork"}]
`

// A client that may do nothing is told so of every fact, in the API server's words; one whose token isn't known too.
func TestKubeDenied(t *testing.T) {
	c := realKube.Start(t)
	for name, cfg := range map[string]*rest.Config{"nothing allowed": c.User(t, "eve"), "unknown token": c.Token("nobody")} {
		t.Run(name, func(t *testing.T) {
			a := live(t, c, cfg, withScanner(t))
			_, rep := run(t, a, shop, everyFact(a)...)
			for _, o := range rep.Observations {
				if o.Known() && o.Name != evidence.ControlPlaneRevisions.Name() && !strings.Contains(o.Source.Detail, "mesh.cloud.google.com") && !strings.Contains(o.Source.Detail, "istio.io") && o.Name != evidence.LogMessages.Name() && o.Name != evidence.Artifacts.Name() {
					t.Errorf("%s is known", o.Name)
				}
			}
			if rep.Verdict != diagnose.Inconclusive {
				t.Errorf("the verdict is %s", rep.Verdict)
			}
			denied := 0
			for _, u := range rep.Unseen {
				if u.Mandatory && !strings.Contains(u.Reason, "not allowed") && !strings.Contains(u.Reason, "isn't known without mutating-webhooks and validating-webhooks") {
					t.Errorf("%s: %s", u.Fact, u.Reason)
				}
				if strings.Contains(u.Command, "--user=eve") && strings.Contains(u.Role, "meshdiag-reader") {
					denied++
				}
			}
			if name == "nothing allowed" && denied < 8 {
				t.Errorf("the way out is told of %d facts", denied)
			}
		})
	}
}

// The API server goes away in the middle, or cuts what it says.
func TestKubeGoesAway(t *testing.T) {
	c := realKube.Start(t)
	c.Apply(t, liveWorld)
	cfg := c.Through(t, func(pass http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/pods") {
				w.Header().Set("Content-Type", "application/json")
				fmt.Fprint(w, `{"kind":"PodList","apiVersion":"v1","items":[{"metadata":`)
				_ = http.NewResponseController(w).Flush()
				panic(http.ErrAbortHandler)
			}
			pass.ServeHTTP(w, r)
		})
	})
	a := live(t, c, cfg, nil)
	v, rep := run(t, a, shop, evidence.Pods.Name(), evidence.Workloads.Name())
	if _, err := evidence.Get(v, evidence.Pods); err == nil || rep.Verdict == diagnose.Healthy {
		t.Errorf("got %v, %s", err, rep.Verdict)
	}
	if _, err := evidence.Whole(v, evidence.Workloads); err != nil {
		t.Errorf("what was answered is lost: %v", err)
	}
}

// A namespace whose pods come in several pages. What it takes is printed, not held: machines differ.
func TestKubeManyPods(t *testing.T) {
	c := realKube.Start(t)
	c.Namespace(t, "shop", map[string]string{"istio.io/rev": "asm-1"})
	const n, sets = 1200, 25
	var manifests []string
	for i := range n {
		set := i % sets
		manifests = append(manifests, bigPod(set, i))
	}
	c.ApplyMany(t, manifests)
	a := live(t, c, c.Admin, nil)
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	peak := watchHeap()
	start := time.Now()
	v, _ := run(t, a, shop, evidence.Pods.Name(), evidence.Workloads.Name(), evidence.MutatingWebhooks.Name())
	took := time.Since(start)
	high := peak()
	runtime.GC()
	runtime.ReadMemStats(&after)
	b := get(t, v, evidence.Pods)
	if got := len(evidence.All(b)); got != n || !evidence.Covers(b, "shop") {
		t.Errorf("%d pods", got)
	}
	t.Logf("%d pods: %v, heap %d MiB at most, %d MiB kept", n, took.Round(time.Millisecond), high>>20, (after.HeapAlloc-before.HeapAlloc)>>20)
	runtime.KeepAlive(v)
}

// bigPod is a pod as an injected one is: some 10 KiB, most of it the proxy's.
func bigPod(set, i int) string {
	var env, volumes strings.Builder
	for j := range 40 {
		fmt.Fprintf(&env, `{"name":"ISTIO_META_SETTING_%d","value":"the value of setting %d, which is as long as such values are"},`, j, j)
	}
	for j := range 8 {
		fmt.Fprintf(&volumes, `{"name":"volume-%d","configMap":{"name":"config-of-volume-%d","items":[{"key":"mesh","path":"mesh"}]}},`, j, j)
	}
	return fmt.Sprintf(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"app%d-7d9c5b8f64-%05d","namespace":"shop","labels":{"app":"app%d","pod-template-hash":"7d9c5b8f64","security.istio.io/tlsMode":"istio"},
	 "annotations":{"sidecar.istio.io/status":"{\"initContainers\":[\"istio-init\"],\"containers\":[\"istio-proxy\"]}","prometheus.io/port":"15020"},
	 "ownerReferences":[{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"app%d-7d9c5b8f64","uid":"00000000-0000-0000-0000-%012d","controller":true}]},
	 "spec":{"nodeName":"node-%d","containers":[{"name":"app","image":"shop/app:%d"},{"name":"istio-proxy","image":"proxyv2:1.30","args":["proxy","sidecar"],"env":[%s{"name":"LAST","value":"x"}]}],
	  "initContainers":[{"name":"istio-init","image":"proxyv2:1.30"}],"volumes":[%s{"name":"last","emptyDir":{}}]},
	 "status":{"phase":"Running","podIP":"10.4.%d.%d","conditions":[{"type":"Ready","status":"True"},{"type":"Initialized","status":"True"},{"type":"PodScheduled","status":"True"}],
	  "containerStatuses":[{"name":"app","image":"shop/app:%d","imageID":"sha256:%064d","ready":true,"restartCount":0,"state":{"running":{"startedAt":"2026-05-04T11:00:00Z"}}},
	   {"name":"istio-proxy","image":"proxyv2:1.30","imageID":"sha256:%064d","ready":true,"restartCount":0,"state":{"running":{"startedAt":"2026-05-04T11:00:00Z"}}}]}}`,
		set, i, set, set, set, i%100, set, env.String(), volumes.String(), i/250, i%250, set, set, 7)
}

// watchHeap looks at the heap until it is asked for the highest value seen.
func watchHeap() func() uint64 {
	stop, done := make(chan struct{}), make(chan uint64)
	go func() {
		var high uint64
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			high = max(high, m.HeapAlloc)
			select {
			case <-tick.C:
			case <-stop:
				done <- high
				return
			}
		}
	}()
	return func() uint64 { close(stop); return <-done }
}
