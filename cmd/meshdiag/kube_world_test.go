package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"

	"github.com/meshdiag/meshdiag/internal/kubetest"
)

// This file makes clusters as istioctl install and Google's managed control plane leave them, in a real API server. What a
// kubelet and controllers would write is written here.

// kubeContext is the context of the kubeconfigs of these tests.
const kubeContext = "prod"

// plane is a revision of istiod: "default" for the one without a name.
type plane struct {
	revision string
	name     string // of its Service and Deployment
	ca       *kubetest.CA
	bundle   []byte // the caBundle of its webhooks
	names    []string
	handler  http.Handler
	at       netip.AddrPort
	started  string            // when its pod did
	edit     *strings.Replacer // of the manifests, if not nil
}

// admission is what istiod serves: the injector, which leaves pods on their node's network alone, and a validator that has nothing
// against anything.
func admission(patch string) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/inject", kubetest.Review(func(r *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		var p struct {
			Spec struct{ HostNetwork bool }
		}
		answer := &admissionv1.AdmissionResponse{Allowed: true}
		if err := json.Unmarshal(r.Object.Raw, &p); err == nil && !p.Spec.HostNetwork {
			kind := admissionv1.PatchTypeJSONPatch
			answer.PatchType, answer.Patch = &kind, []byte(patch)
		}
		return answer
	}))
	mux.Handle("/", kubetest.Allow())
	return mux
}

const (
	proxyContainer = `{"name":"istio-proxy","image":"docker.io/istio/proxyv2:1.28.1","args":["proxy","sidecar","--domain","$(POD_NAMESPACE).svc.cluster.local"],
		"readinessProbe":{"httpGet":{"path":"/healthz/ready","port":15021},"failureThreshold":4,"periodSeconds":15}%s}`
	initContainer = `{"name":"istio-init","image":"docker.io/istio/proxyv2:1.28.1","args":["istio-iptables","-p","15001","-z","15006","-u","1337","-m","REDIRECT","-i","*","-x","","-b","*","-d","15090,15021,15020"]}`
)

// sidecarPatch is what an injector does to a pod that has labels and annotations; native puts the proxy beside the init containers.
func sidecarPatch(revision string, native bool) string {
	status := fmt.Sprintf(`{"initContainers":["istio-init"],"containers":["istio-proxy"],"revision":%q}`, revision)
	var ops []any
	add := func(path, value string) {
		ops = append(ops, map[string]any{"op": "add", "path": path, "value": json.RawMessage(value)})
	}
	quoted, _ := json.Marshal(status)
	add("/metadata/annotations/sidecar.istio.io~1status", string(quoted))
	add("/metadata/labels/security.istio.io~1tlsMode", `"istio"`)
	if native {
		add("/spec/initContainers", "["+initContainer+","+fmt.Sprintf(proxyContainer, `,"restartPolicy":"Always"`)+"]")
	} else {
		add("/spec/initContainers", "["+initContainer+"]")
		add("/spec/containers/-", fmt.Sprintf(proxyContainer, ""))
	}
	b, _ := json.Marshal(ops)
	return string(b)
}

// compact is JSON as an encoder writes it.
func compact(s string) string {
	var b bytes.Buffer
	if err := json.Compact(&b, []byte(s)); err != nil {
		panic(err) // it's this file's own
	}
	return b.String()
}

// newPlane is a revision that works, before it is started.
func newPlane(t *testing.T, revision string) *plane {
	t.Helper()
	p := &plane{revision: revision, name: "istiod", ca: kubetest.NewRSACA(t, "cluster.local"), handler: admission(sidecarPatch(revision, false)), started: ago(time.Hour)}
	if revision != "default" {
		p.name += "-" + revision
	}
	p.bundle = p.ca.PEM()
	p.names = []string{p.name + ".istio-system.svc", "istiod.istio-system.svc"}
	return p
}

// start serves its webhooks, unless something else is where they are said to be.
func (p *plane) start(t *testing.T, c *kubetest.Cluster) *plane {
	t.Helper()
	if !p.at.IsValid() {
		cert := p.ca.Issue(t, kubetest.Certificate{Names: p.names, RSA: true})
		p.at = c.Serve(t, kubetest.Server{Certificate: cert, Handler: p.handler})
	}
	return p
}

// control gives the objects of a revision besides its webhooks.
func (p *plane) control() string {
	suffix := ""
	if p.revision != "default" {
		suffix = "-" + p.revision
	}
	r := strings.NewReplacer("NAME", p.name, "SUFFIX", suffix, "REVISION", p.revision, "ADDRESS", p.at.Addr().String(), "PORT", fmt.Sprint(p.at.Port()),
		"STARTED", p.started)
	return r.Replace(istiodObjects)
}

func ago(d time.Duration) string { return time.Now().Add(-d).UTC().Format(time.RFC3339) }

const istiodObjects = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: NAME, namespace: istio-system, labels: {app: istiod, istio.io/rev: REVISION, istio: pilot}}
spec:
  replicas: 1
  selector: {matchLabels: {app: istiod, istio.io/rev: REVISION}}
  template:
    metadata: {labels: {app: istiod, istio.io/rev: REVISION}}
    spec:
      containers: [{name: discovery, image: "docker.io/istio/pilot:1.28.1", args: [discovery, --monitoringAddr=:15014]}]
status:
  observedGeneration: 1
  replicas: 1
  readyReplicas: 1
  updatedReplicas: 1
  availableReplicas: 1
  conditions: [{type: Available, status: "True", reason: MinimumReplicasAvailable, message: Deployment has minimum availability.}]
---
apiVersion: v1
kind: Pod
metadata:
  name: NAME-5d8f9c7b6d-q7x2p
  namespace: istio-system
  labels: {app: istiod, istio.io/rev: REVISION, pod-template-hash: 5d8f9c7b6d, sidecar.istio.io/inject: "false"}
  ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: NAME-5d8f9c7b6d, uid: 00000000-0000-0000-0000-000000000001, controller: true}]
spec: {nodeName: node-1, containers: [{name: discovery, image: "docker.io/istio/pilot:1.28.1"}]}
status:
  phase: Running
  podIP: 10.4.0.9
  startTime: STARTED
  conditions: [{type: Ready, status: "True", lastTransitionTime: STARTED}, {type: PodScheduled, status: "True", lastTransitionTime: STARTED}]
  containerStatuses: [{name: discovery, image: pilot, imageID: "", ready: true, started: true, restartCount: 0, state: {running: {startedAt: STARTED}}}]
---
apiVersion: v1
kind: Service
metadata: {name: NAME, namespace: istio-system, labels: {app: istiod, istio.io/rev: REVISION}}
spec:
  selector: {app: istiod, istio.io/rev: REVISION}
  ports:
  - {name: grpc-xds, port: 15010}
  - {name: https-dns, port: 15012}
  - {name: https-webhook, port: 443, targetPort: PORT}
  - {name: http-monitoring, port: 15014}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: NAME-x7k2p, namespace: istio-system, labels: {kubernetes.io/service-name: NAME}}
addressType: IPv4
endpoints: [{addresses: [ADDRESS], conditions: {ready: true, serving: true, terminating: false}}]
ports:
- {name: grpc-xds, port: 15010}
- {name: https-dns, port: 15012}
- {name: https-webhook, port: PORT}
- {name: http-monitoring, port: 15014}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: istioSUFFIX, namespace: istio-system, labels: {istio.io/rev: REVISION}}
data:
  mesh: |
    accessLogFile: /dev/stdout
    defaultConfig: {discoveryAddress: "NAME.istio-system.svc:15012"}
    rootNamespace: istio-system
    trustDomain: cluster.local
  meshNetworks: 'networks: {}'
---
apiVersion: v1
kind: ConfigMap
metadata: {name: istio-sidecar-injectorSUFFIX, namespace: istio-system, labels: {istio.io/rev: REVISION}}
data:
  config: |
    policy: enabled
    defaultTemplates: [sidecar]
  values: '{"global":{"proxy":{"image":"proxyv2"}},"revision":"","sidecarInjectorWebhook":{"neverInjectSelector":[],"alwaysInjectSelector":[]}}'
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: istiod-clusterroleSUFFIX-istio-system, labels: {app: istiod}}
rules:
- {apiGroups: [admissionregistration.k8s.io], resources: [mutatingwebhookconfigurations], verbs: [get, list, watch, update, patch]}
- {apiGroups: [admissionregistration.k8s.io], resources: [validatingwebhookconfigurations], verbs: [get, list, watch, update]}
- {apiGroups: [config.istio.io, security.istio.io, networking.istio.io, authentication.istio.io, rbac.istio.io, telemetry.istio.io, extensions.istio.io], resources: ["*"], verbs: [get, watch, list]}
- {apiGroups: [networking.istio.io], resources: [workloadentries], verbs: [get, watch, list, update, patch, create, delete]}
- {apiGroups: [apiextensions.k8s.io], resources: [customresourcedefinitions], verbs: [get, watch, list]}
- {apiGroups: [""], resources: [pods, nodes, services, namespaces, endpoints], verbs: [get, list, watch]}
- {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [get, list, watch]}
- {apiGroups: [networking.k8s.io], resources: [ingresses, ingressclasses], verbs: [get, list, watch]}
- {apiGroups: [networking.k8s.io], resources: [ingresses/status], verbs: ["*"]}
- {apiGroups: [""], resources: [configmaps], verbs: [create, get, list, watch, update]}
- {apiGroups: [authentication.k8s.io], resources: [tokenreviews], verbs: [create]}
- {apiGroups: [authorization.k8s.io], resources: [subjectaccessreviews], verbs: [create]}
- {apiGroups: [gateway.networking.k8s.io, gateway.networking.x-k8s.io], resources: ["*"], verbs: [get, watch, list]}
- {apiGroups: [""], resources: [secrets], verbs: [get, watch, list]}
- {apiGroups: [multicluster.x-k8s.io], resources: [serviceexports, serviceimports], verbs: [get, watch, list, create, delete]}
`

// target is where the API server finds a webhook: {"service": …} or {"url": …}, with a caBundle.
func (p *plane) target(path string) string {
	return fmt.Sprintf(`{"service":{"namespace":"istio-system","name":%q,"path":%q,"port":443},"caBundle":%q}`, p.name, path, base64Of(p.bundle))
}

const webhookRest = `"sideEffects":"None","admissionReviewVersions":["v1","v1beta1"],"reinvocationPolicy":"Never","failurePolicy":"Fail",
	"rules":[{"apiGroups":[""],"apiVersions":["v1"],"operations":["CREATE"],"resources":["pods"]}]`

// injector gives a MutatingWebhookConfiguration as Istio makes it for a revision or, under another name, for a tag of it.
func injector(name, revision, tag, client string) string {
	asked := revision
	labels := map[string]string{"app": "sidecar-injector", "istio.io/rev": revision}
	if tag != "" {
		asked, labels["istio.io/tag"] = tag, tag
	}
	l, _ := json.Marshal(labels)
	hook := func(name, namespaces, objects string) string {
		return fmt.Sprintf(`{"name":"%s.sidecar-injector.istio.io","clientConfig":%s,"namespaceSelector":{"matchExpressions":[%s]},"objectSelector":{"matchExpressions":[%s]},%s}`,
			name, client, namespaces, objects, webhookRest)
	}
	const unlabelled, noRev, notOff = `{"key":"istio-injection","operator":"DoesNotExist"}`, `{"key":"istio.io/rev","operator":"DoesNotExist"}`, `{"key":"sidecar.istio.io/inject","operator":"NotIn","values":["false"]}`
	rev := fmt.Sprintf(`{"key":"istio.io/rev","operator":"In","values":[%q]}`, asked)
	hooks := []string{hook("rev.namespace", rev+","+unlabelled, notOff), hook("rev.object", noRev+","+unlabelled, notOff+","+rev)}
	if asked == "default" {
		hooks = append(hooks,
			hook("namespace", `{"key":"istio-injection","operator":"In","values":["enabled"]}`, notOff),
			hook("object", unlabelled+","+noRev, `{"key":"sidecar.istio.io/inject","operator":"In","values":["true"]},`+noRev))
	}
	return fmt.Sprintf(`{"apiVersion":"admissionregistration.k8s.io/v1","kind":"MutatingWebhookConfiguration","metadata":{"name":%q,"labels":%s},"webhooks":[%s]}`, name, l, strings.Join(hooks, ","))
}

// validator gives the ValidatingWebhookConfiguration of a revision, as istiod leaves it once it works.
func (p *plane) validator() string {
	name := "istio-validator-istio-system"
	if p.revision != "default" {
		name = "istio-validator-" + p.revision + "-istio-system"
	}
	return fmt.Sprintf(`{"apiVersion":"admissionregistration.k8s.io/v1","kind":"ValidatingWebhookConfiguration","metadata":{"name":%q,"labels":{"app":"istiod","istio":"istiod","istio.io/rev":%q}},
	"webhooks":[{"name":"rev.validation.istio.io","clientConfig":%s,"sideEffects":"None","admissionReviewVersions":["v1"],"failurePolicy":"Fail",
	"rules":[{"apiGroups":["security.istio.io","networking.istio.io","telemetry.istio.io","extensions.istio.io"],"apiVersions":["*"],"operations":["CREATE","UPDATE"],"resources":["*"]}],
	"objectSelector":{"matchExpressions":[{"key":"istio.io/rev","operator":"In","values":[%q]}]}}]}`, name, p.revision, p.target("/validate"), p.revision)
}

// install is `istioctl install`: the revision without a name. Some of it may be changed before.
func install(t *testing.T, c *kubetest.Cluster, change ...func(*plane)) *plane {
	t.Helper()
	p := newPlane(t, "default")
	for _, f := range change {
		f(p)
	}
	p.start(t, c)
	objects := []string{p.control(), injector("istio-sidecar-injector", "default", "", p.target("/inject")), p.validator()}
	if p.edit != nil {
		before := slices.Clone(objects)
		for i := range objects {
			objects[i] = p.edit.Replace(objects[i])
		}
		if slices.Equal(before, objects) {
			t.Fatal("the manifests have nothing of what is to be changed")
		}
	}
	c.Apply(t, objects...)
	return p
}

// meshNamespace makes a namespace with labels, and returns when admission knows it and the webhooks that there are.
func meshNamespace(t *testing.T, c *kubetest.Cluster, labels map[string]string) {
	t.Helper()
	c.Namespace(t, "shop", labels)
	c.Settle(t)
}

// pod is one of Deployment checkout, as its ReplicaSet makes it.
type pod struct {
	name          string // checkout-7d9c5b8f64-a unless set
	labels        string // more of them, as JSON members that end in a comma
	spec          string // of the pod, likewise
	containers    string // those that have a status, as containerStatuses; running unless set
	init          string // as initContainerStatuses
	ready         string // "True" unless set
	phase         string // Running unless set
	startedBefore time.Duration
}

const (
	appRuns   = `{"name":"app","image":"shop/checkout:1.4","imageID":"","ready":true,"started":true,"restartCount":0,"state":{"running":{"startedAt":"STARTED"}}}`
	proxyRuns = `{"name":"istio-proxy","image":"proxyv2","imageID":"","ready":true,"started":true,"restartCount":0,"state":{"running":{"startedAt":"STARTED"}}}`
	initRan   = `{"name":"istio-init","image":"proxyv2","imageID":"","ready":true,"restartCount":0,"state":{"terminated":{"exitCode":0,"reason":"Completed","startedAt":"STARTED","finishedAt":"STARTED"}}}`
	hash      = "7d9c5b8f64"
	waiting   = `[{"name":"app","image":"shop/checkout:1.4","imageID":"","ready":false,"started":false,"restartCount":0,"state":{"waiting":{"reason":"PodInitializing"}}},
		{"name":"istio-proxy","image":"proxyv2","imageID":"","ready":false,"started":false,"restartCount":0,"state":{"waiting":{"reason":"PodInitializing"}}}]`
	withSidecar  = "[" + appRuns + "," + proxyRuns + "]"
	withoutOne   = "[" + appRuns + "]"
	nativeInit   = "[" + initRan + "," + proxyRuns + "]"
	conditionsOf = `[{"type":"PodReadyToStartContainers","status":"True"},{"type":"Initialized","status":"True"},{"type":"Ready","status":"READY","lastTransitionTime":"STARTED"},{"type":"ContainersReady","status":"READY","lastTransitionTime":"STARTED"},{"type":"PodScheduled","status":"True","lastTransitionTime":"STARTED"}]`
)

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func (p pod) manifest() string {
	started := p.startedBefore
	if started == 0 {
		started = 20 * time.Second
	}
	r := strings.NewReplacer("NAME", or(p.name, "checkout-"+hash+"-aaaaa"), "LABELS", p.labels, "HASH", hash, "SPEC", p.spec,
		"CONDITIONS", conditionsOf, "PHASE", or(p.phase, "Running"), "CONTAINERS", or(p.containers, withSidecar), "INIT", or(p.init, "["+initRan+"]"))
	s := r.Replace(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"NAME","generateName":"checkout-HASH-","namespace":"shop",
	"labels":{LABELS"app":"checkout","pod-template-hash":"HASH"},"annotations":{"prometheus.io/scrape":"true"},
	"ownerReferences":[{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"checkout-HASH","uid":"00000000-0000-0000-0000-000000000007","controller":true}]},
	"spec":{SPEC"nodeName":"node-1","containers":[{"name":"app","image":"shop/checkout:1.4","ports":[{"containerPort":8080}]}]},
	"status":{"phase":"PHASE","podIP":"10.4.0.21","startTime":"STARTED","conditions":CONDITIONS,"initContainerStatuses":INIT,"containerStatuses":CONTAINERS}}`)
	return strings.NewReplacer("STARTED", ago(started), "READY", or(p.ready, "True")).Replace(s)
}

// checkout is the Deployment and ReplicaSet of the pods; labels are more of the template's, as JSON members that end in a comma.
func checkout(ready int, labels string) string {
	r := strings.NewReplacer("LABELS", labels, "READY", fmt.Sprint(ready), "HASH", hash)
	return r.Replace(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: checkout, namespace: shop}
spec:
  replicas: 2
  selector: {matchLabels: {app: checkout}}
  template: {metadata: {labels: {LABELS"app": checkout}}, spec: {containers: [{name: app, image: "shop/checkout:1.4"}]}}
status: {observedGeneration: 1, replicas: READY, readyReplicas: READY, updatedReplicas: READY}
---
apiVersion: apps/v1
kind: ReplicaSet
metadata:
  name: checkout-HASH
  namespace: shop
  labels: {app: checkout, pod-template-hash: HASH}
  ownerReferences: [{apiVersion: apps/v1, kind: Deployment, name: checkout, uid: 00000000-0000-0000-0000-000000000006, controller: true}]
spec:
  replicas: 2
  selector: {matchLabels: {app: checkout, pod-template-hash: HASH}}
  template: {metadata: {labels: {LABELS"app": checkout, "pod-template-hash": HASH}}, spec: {containers: [{name: app, image: "shop/checkout:1.4"}]}}
status: {observedGeneration: 1, replicas: READY, readyReplicas: READY}
`)
}

// shop is Deployment checkout with two pods that are well.
func shop(t *testing.T, c *kubetest.Cluster) {
	t.Helper()
	c.Apply(t, checkout(2, ""), pod{}.manifest(), pod{name: "checkout-" + hash + "-bbbbb"}.manifest())
}

// wellLogs are the last words of containers that are well.
var wellLogs = []kubetest.Log{
	{Namespace: "istio-system", Pod: "istiod-5d8f9c7b6d-q7x2p", Container: "discovery", Text: "2026-05-04T11:58:00.000000Z\tinfo\tads\tPush debounce stable[1] 1 for config ServiceEntry/shop/checkout\n"},
	{Namespace: "shop", Pod: "checkout-" + hash + "-aaaaa", Container: "istio-proxy", Text: "2026-05-04T11:58:00.000000Z\tinfo\tReadiness succeeded in 1.2s\n"},
	{Namespace: "shop", Pod: "checkout-" + hash + "-bbbbb", Container: "istio-proxy", Text: "2026-05-04T11:58:00.000000Z\tinfo\tReadiness succeeded in 1.2s\n"},
}

func base64Of(b []byte) string { return base64.StdEncoding.EncodeToString(b) }
