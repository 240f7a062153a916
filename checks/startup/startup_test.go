package startup

import (
	"encoding/json"
	"fmt"
	"regexp"
	"testing"
	"time"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

var (
	noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	now  = noon.Add(10 * time.Minute)

	api    = evidence.Source{Collector: "kube", Detail: "list pods in namespace shop", Vantage: evidence.FromAPI, Time: now}
	pasted = evidence.Source{Collector: "file", Detail: "shop.yaml", Vantage: evidence.FromAPI, Time: now, Pasted: true}

	// What is asked.
	ofPod       = diagnose.Request{Target: diagnose.Target{Namespace: "shop", Pod: podName}}
	ofWorkload  = diagnose.Request{Target: diagnose.Target{Namespace: "shop", Workload: "Deployment/checkout"}}
	ofNamespace = diagnose.Request{Target: diagnose.Target{Namespace: "shop"}}
	ofFiles     = diagnose.Request{}
)

const (
	podName = "checkout-6d5f4c8b9-x2x9k"
	redis   = "10.84.12.7:6379"
	vaultAt = "10.84.3.9:8200"
)

func at(seconds float64) time.Time { return noon.Add(time.Duration(seconds * float64(time.Second))) }

type put = checkstest.Put

func all(list ...put) put { return checkstest.All(list...) }

// live puts all objects of a kind as the API server lists them, file those that a file holds.
func live[T any](k evidence.Key[[]evidence.Objects[T]], items ...T) put {
	return checkstest.Objects(api, k, items...)
}

func file[T any](k evidence.Key[[]evidence.Objects[T]], items ...T) put {
	return checkstest.Objects(pasted, k, items...)
}

func deny(n evidence.Name) put { return checkstest.Deny(api, n) }

func late(n evidence.Name) put { return checkstest.Late(api, n) }

// cluster puts pods with events and messages as a live cluster tells them.
func inCluster(p []kube.Pod, e []kube.Event, m []evidence.LogMessage) put {
	return all(live(evidence.Pods, p...), live(evidence.Workloads, deployment()), live(evidence.ClusterEvents, e...), logged(m...))
}

func logged(m ...evidence.LogMessage) put {
	return func(s *evidence.Set) { evidence.Put(s, evidence.LogMessages, m, api) }
}

// byIstiod and byGoogle say whose the control plane is.
var (
	byIstiod = live(evidence.ControlPlaneWorkloads, kube.Workload{Kind: "Deployment", Meta: kube.Meta{Name: "istiod", Namespace: "istio-system"}})
	byGoogle = live(evidence.ControlPlaneRevisions, kube.ControlPlaneRevision{Meta: kube.Meta{Name: "asm-managed", Namespace: "istio-system"}})
)

func deployment(change ...func(*kube.Workload)) kube.Workload {
	w := kube.Workload{Kind: "Deployment", Meta: kube.Meta{Name: "checkout", Namespace: "shop"}}
	for _, f := range change {
		f(&w)
	}
	return w
}

// running and terminated are states.
func running(since float64) kube.ContainerState {
	var s kube.ContainerState
	mustDecode(fmt.Sprintf(`{"running":{"startedAt":%q}}`, at(since).Format(time.RFC3339)), &s)
	return s
}

func waiting(reason string) kube.ContainerState {
	var s kube.ContainerState
	mustDecode(fmt.Sprintf(`{"waiting":{"reason":%q}}`, reason), &s)
	return s
}

func terminated(from, to float64, code int, reason string) kube.ContainerState {
	return kube.ContainerState{Terminated: &kube.Terminated{ExitCode: code, Reason: reason, Started: at(from).Truncate(time.Second), Finished: at(to).Truncate(time.Second)}}
}

func mustDecode(s string, v any) {
	if err := json.Unmarshal([]byte(s), v); err != nil {
		panic(err)
	}
}

// pod is one that started well: istio-init ended after 2 s, both containers started after 3 s.
func pod(change ...func(*kube.Pod)) kube.Pod {
	p := kube.Pod{
		Meta: kube.Meta{
			Name: podName, Namespace: "shop", Labels: map[string]string{"pod-template-hash": "6d5f4c8b9"}, Annotations: map[string]string{}, Created: noon.Add(-time.Second),
			Owners: []kube.Owner{{Kind: "ReplicaSet", Name: "checkout-6d5f4c8b9", Controller: true}},
		},
		Spec: kube.PodSpec{
			NodeName: "node-1",
			InitContainers: []kube.Container{{
				Name: "istio-init", Args: []string{"istio-iptables", "-p", "15001", "-z", "15006", "-u", "1337", "-m", "REDIRECT", "-i", "*", "-x", "", "-b", "*", "-d", "15090,15021,15020"},
			}},
			Containers: []kube.Container{{Name: "app"}, {Name: "istio-proxy"}},
		},
	}
	p.Status.Phase, p.Status.Started, p.Status.PodIP = "Running", noon, "10.60.1.5"
	p.Status.InitContainers = []kube.ContainerStatus{{Name: "istio-init", Ready: true, State: terminated(1, 2, 0, "Completed")}}
	p.Status.Containers = []kube.ContainerStatus{{Name: "app", Ready: true, State: running(3)}, {Name: "istio-proxy", Ready: true, State: running(3)}}
	p.Status.Conditions = []kube.Condition{{Type: "Ready", Status: "True", Changed: at(20)}}
	for _, f := range change {
		f(&p)
	}
	return p
}

func named(name string) func(*kube.Pod) { return func(p *kube.Pod) { p.Name = name } }

func unreadyPod(p *kube.Pod) {
	p.Status.Conditions = []kube.Condition{{Type: "Ready", Status: "False", Changed: at(0)}}
}

func annotated(key, value string) func(*kube.Pod) {
	return func(p *kube.Pod) { p.Annotations[key] = value }
}

// status sets a container's state.
func status(name string, state kube.ContainerState, change ...func(*kube.ContainerStatus)) func(*kube.Pod) {
	return func(p *kube.Pod) {
		s := p.StatusOf(name)
		s.State = state
		s.Ready = state.Running != nil
		for _, f := range change {
			f(s)
		}
	}
}

func restarted(n int, last kube.ContainerState) func(*kube.ContainerStatus) {
	return func(s *kube.ContainerStatus) { s.Restarts, s.Last = n, last }
}

func notReady(s *kube.ContainerStatus) { s.Ready = false }

// held makes the proxy hold the application.
func held(p *kube.Pod) {
	p.Annotations[kube.AnnotationProxyConfig] = `{"holdApplicationUntilProxyStarts": true}`
	proxy := kube.Container{Name: "istio-proxy", Lifecycle: &kube.Lifecycle{PostStart: &kube.Handler{Exec: &kube.Exec{Command: []string{"pilot-agent", "wait"}}}}}
	p.Spec.Containers = []kube.Container{proxy, {Name: "app"}}
}

// native makes the proxy a native sidecar.
func native(probe bool) func(*kube.Pod) {
	return func(p *kube.Pod) {
		proxy := kube.Container{Name: "istio-proxy", RestartPolicy: "Always"}
		if probe {
			proxy.StartupProbe = &kube.Probe{}
		}
		p.Spec.InitContainers = append(p.Spec.InitContainers, proxy)
		p.Spec.Containers = p.Spec.Containers[:1]
		p.Status.InitContainers = append(p.Status.InitContainers, p.Status.Containers[1])
		p.Status.Containers = p.Status.Containers[:1]
	}
}

// withCNI is a pod whose rules the CNI plugin makes.
func withCNI(p *kube.Pod) {
	p.Spec.InitContainers[0].Name, p.Status.InitContainers[0].Name = "istio-validation", "istio-validation"
}

// say makes a message of a line as the scan of logs would.
func say(sig diagnose.Signature, file, text string, first, last float64, src evidence.Source) evidence.LogMessage {
	m := evidence.LogMessage{Signature: sig.ID, Fields: map[string]string{}, File: file, Line: 1, Text: text, Count: 1, Source: src}
	re := regexp.MustCompile(sig.Pattern)
	groups := re.FindStringSubmatch(text)
	if groups == nil {
		panic(sig.ID + " does not recognise " + text)
	}
	for i, n := range re.SubexpNames() {
		if n != "" && groups[i] != "" {
			m.Fields[n] = groups[i]
		}
	}
	if first >= 0 {
		m.First, m.Last = at(first), at(last)
	}
	if last > first {
		m.Count = 5
	}
	m.Source.Detail = file
	return m
}

func logOf(container string) string {
	return "log of container " + container + " of pod shop/" + podName
}

func logBefore(container string) string {
	return "log of the container before, " + container + " of pod shop/" + podName
}

func refusedAt(container string, first, last float64) evidence.LogMessage {
	return say(messages.ConnectionRefused, logOf(container), "panic: dial tcp "+redis+": connect: connection refused", first, last, api)
}

func readyAt(t float64) evidence.LogMessage {
	return say(messages.ProxyReady, logOf("istio-proxy"), "2026-03-02T12:00:00Z\tinfo\tEnvoy proxy is ready", t, t, api)
}

const notReceived = "2026-03-02T12:00:00Z\twarn\tEnvoy proxy is NOT ready: config not received from XDS server (is Istiod running?): cds updates: 0 successful, 0 rejected; lds updates: 0 successful, 0 rejected"

func notReadyAt(first, last float64) evidence.LogMessage {
	return say(messages.ProxyNotReady, logOf("istio-proxy"), notReceived, first, last, api)
}

// event is one of the pod's.
func event(reason, container, message string, first, last float64, count int) kube.Event {
	e := kube.Event{Involved: kube.Ref{Kind: "Pod", Namespace: "shop", Name: podName}, Type: "Warning", Reason: reason, Message: message, Count: count, First: at(first), Last: at(last), Reporter: "kubelet"}
	e.Namespace = "shop"
	if container != "" {
		e.Involved.FieldPath = "spec.containers{" + container + "}"
	}
	return e
}

func probeFailed(first, last float64, count int) kube.Event {
	return event("Unhealthy", "istio-proxy", "Readiness probe failed: HTTP probe failed with statuscode: 503", first, last, count)
}

// failedCreate is an event of the Deployment's ReplicaSet.
func failedCreate(message string, last float64) kube.Event {
	e := kube.Event{Involved: kube.Ref{Kind: "ReplicaSet", Namespace: "shop", Name: "checkout-6d5f4c8b9"}, Type: "Warning", Reason: "FailedCreate", Message: "Error creating: " + message, Count: 14, First: at(0), Last: at(last)}
	e.Namespace = "shop"
	return e
}

func has(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s:\n%s\nwant:\n%s", what, got, want)
	}
}
