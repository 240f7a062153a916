package istiod

import (
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

var (
	noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

	api    = evidence.Source{Collector: "kube", Detail: "list", Vantage: evidence.FromAPI, Time: noon}
	pasted = evidence.Source{Collector: "artifact", Detail: "istiod.yaml", Vantage: evidence.FromAPI, Time: noon, Pasted: true}

	// What is asked.
	ofPod       = diagnose.Request{Target: diagnose.Target{Namespace: "shop", Pod: "checkout-6d5f-x2x9k"}}
	ofNamespace = diagnose.Request{Target: diagnose.Target{Namespace: "shop"}}
	ofCanary    = diagnose.Request{Target: diagnose.Target{Revision: "asm-1260-11"}}
	ofFiles     = diagnose.Request{}
)

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

// names gives the names of the Deployment and of what carries its revision.
func istiodName(rev string) string {
	if rev == "default" {
		return "istiod"
	}
	return "istiod-" + rev
}

// deployment is istiod of a revision as Istio's chart makes it, with one pod wanted and one ready.
func deployment(rev string, change ...func(*kube.Workload)) kube.Workload {
	one := 1
	w := kube.Workload{
		Kind: "Deployment",
		Meta: kube.Meta{Name: istiodName(rev), Namespace: "istio-system", UID: "d-" + rev, Labels: map[string]string{"app": "istiod", "istio.io/rev": rev}, Created: noon.Add(-90 * time.Hour)},
		Spec: kube.WorkloadSpec{
			Replicas: &one, Selector: &kube.Selector{MatchLabels: map[string]string{"app": "istiod", "istio.io/rev": rev}},
			Template: kube.Pod{Meta: kube.Meta{Labels: map[string]string{"app": "istiod", "istio.io/rev": rev}}, Spec: kube.PodSpec{Containers: []kube.Container{{Name: "discovery", Image: "gcr.io/istio-release/pilot:1.20.3"}}}},
		},
		Status: kube.WorkloadStatus{Replicas: 1, Ready: 1},
	}
	for _, f := range change {
		f(&w)
	}
	return w
}

func noneReady(w *kube.Workload) { w.Status.Ready = 0 }

func scaledTo(n int) func(*kube.Workload) {
	return func(w *kube.Workload) {
		w.Spec.Replicas = &n
		w.Status = kube.WorkloadStatus{}
	}
}

// istiod is a ready pod of it.
func istiod(rev string, change ...func(*kube.Pod)) kube.Pod {
	p := kube.Pod{
		Meta: kube.Meta{
			Name: istiodName(rev) + "-7d9c-2b4kx", Namespace: "istio-system", UID: "p-" + rev, Created: noon.Add(-80 * time.Hour),
			Labels: map[string]string{"app": "istiod", "istio.io/rev": rev, "pod-template-hash": "7d9c"},
			Owners: []kube.Owner{{Kind: "ReplicaSet", Name: istiodName(rev) + "-7d9c", Controller: true}},
		},
		Spec: kube.PodSpec{NodeName: "node-1", Containers: []kube.Container{{Name: "discovery", Image: "gcr.io/istio-release/pilot:1.20.3"}}},
		Status: kube.PodStatus{
			Phase: "Running", Conditions: []kube.Condition{{Type: "Ready", Status: "True"}},
			Containers: []kube.ContainerStatus{{Name: "discovery", Ready: true}},
		},
	}
	for _, f := range change {
		f(&p)
	}
	return p
}

// inState makes a pod one whose container isn't ready, in a state.
func inState(s kube.ContainerState, last *kube.Terminated) func(*kube.Pod) {
	return func(p *kube.Pod) {
		unready(p)
		c := &p.Status.Containers[0]
		c.State, c.Last.Terminated = s, last
		if last != nil {
			c.Restarts = 12
		}
		if s.Running == nil {
			p.Status.Phase = "Pending"
		}
	}
}

func unready(p *kube.Pod) {
	p.Status.Conditions = []kube.Condition{{Type: "Ready", Status: "False", Reason: "ContainersNotReady"}}
	p.Status.Containers[0].Ready = false
}

func waits(reason, message string) kube.ContainerState {
	s := kube.ContainerState{}
	s.Waiting = &struct {
		Reason  string `json:"reason,omitempty"`
		Message string `json:"message,omitempty"`
	}{reason, message}
	return s
}

func runs() kube.ContainerState {
	s := kube.ContainerState{}
	s.Running = &struct {
		Started time.Time `json:"startedAt,omitzero"`
	}{noon.Add(-time.Hour)}
	return s
}

func pending(message string) func(*kube.Pod) {
	return func(p *kube.Pod) {
		p.Spec.NodeName = ""
		p.Status = kube.PodStatus{Phase: "Pending", Conditions: []kube.Condition{{Type: "PodScheduled", Status: "False", Reason: "Unschedulable", Message: message}}}
	}
}

func made(ago time.Duration) func(*kube.Pod) { return func(p *kube.Pod) { p.Created = noon.Add(-ago) } }

func named(name string) func(*kube.Pod) { return func(p *kube.Pod) { p.Name = name } }

// app is a pod of the Deployment checkout with a sidecar.
func app(change ...func(*kube.Pod)) kube.Pod {
	p := kube.Pod{
		Meta: kube.Meta{
			Name: "checkout-6d5f-x2x9k", Namespace: "shop", UID: "a", Created: noon.Add(-time.Hour), Labels: map[string]string{"app": "checkout", "pod-template-hash": "6d5f"},
			Owners: []kube.Owner{{Kind: "ReplicaSet", Name: "checkout-6d5f", Controller: true}},
		},
		Spec:   kube.PodSpec{Containers: []kube.Container{{Name: "server", Image: "checkout:1"}, {Name: "istio-proxy", Image: "proxyv2:1.20.3"}}},
		Status: kube.PodStatus{Phase: "Running", Containers: []kube.ContainerStatus{{Name: "server", Ready: true, State: runs()}, {Name: "istio-proxy", State: runs()}}},
	}
	for _, f := range change {
		f(&p)
	}
	return p
}

func annotation(kv ...string) func(*kube.Pod) {
	return func(p *kube.Pod) {
		p.Annotations = map[string]string{}
		for i := 0; i < len(kv); i += 2 {
			p.Annotations[kv[i]] = kv[i+1]
		}
	}
}

func proxyReady(p *kube.Pod) { p.Status.Containers[1].Ready = true }

// injector is the webhook configuration of a revision: it selects the namespaces with its label.
func injector(rev string) kube.WebhookConfiguration {
	c := kube.WebhookConfiguration{Kind: "MutatingWebhookConfiguration", Meta: kube.Meta{Name: "istio-sidecar-injector-" + rev, Labels: map[string]string{"app": "sidecar-injector", "istio.io/rev": rev}}}
	c.Webhooks = []kube.Webhook{{
		Name: "rev.namespace.sidecar-injector.istio.io", Client: kube.ClientConfig{Service: &kube.ServiceReference{Namespace: "istio-system", Name: istiodName(rev)}},
		NamespaceSelector: &kube.Selector{MatchLabels: map[string]string{"istio.io/rev": rev}},
		Rules:             []kube.Rule{{Operations: []string{"CREATE"}, APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}}},
	}}
	return c
}

func managedInjector() kube.WebhookConfiguration {
	c := injector("asm-managed")
	c.Webhooks[0].Client = kube.ClientConfig{URL: "https://meshconfig.googleapis.com/v1alpha1/inject"}
	return c
}

func space(name, rev string) kube.Namespace {
	return kube.Namespace{Meta: kube.Meta{Name: name, Labels: map[string]string{"istio.io/rev": rev}}}
}

func event(kind, name, reason, message string) kube.Event {
	return kube.Event{Meta: kube.Meta{Namespace: "istio-system", Name: name + "." + reason}, Involved: kube.Ref{Kind: kind, Namespace: "istio-system", Name: name}, Type: "Warning", Reason: reason, Message: message, Count: 3, Last: noon}
}

func service(name string, ports ...int) kube.Service {
	s := kube.Service{Meta: kube.Meta{Name: name, Namespace: "istio-system"}}
	for _, p := range ports {
		s.Spec.Ports = append(s.Spec.Ports, kube.ServicePort{Port: p})
	}
	return s
}

// said is a message of a log as the scan of that log gives it.
func said(sig diagnose.Signature, log, text string, change ...func(*evidence.LogMessage)) evidence.LogMessage {
	m := evidence.LogMessage{
		Signature: sig.ID, Fields: fieldsOf(sig, text), File: log, Line: 7, LastLine: 7, Text: text, Count: 1,
		Source: evidence.Source{Collector: "artifact", Detail: log, Vantage: evidence.FromWorkload, Time: noon, Pasted: true},
	}
	for _, f := range change {
		f(&m)
	}
	return m
}

// liveLog makes a message one of the log of a pod's proxy, read now.
func liveLog(m *evidence.LogMessage) {
	m.File = "log of container istio-proxy of pod shop/checkout-6d5f-x2x9k"
	m.Source = evidence.Source{Collector: "kube", Detail: m.File, Vantage: evidence.FromWorkload, Time: noon}
}

func times(n int) func(*evidence.LogMessage) { return func(m *evidence.LogMessage) { m.Count = n } }

// span gives a message the time of its first and last occurrence, before noon.
func span(from, to time.Duration) func(*evidence.LogMessage) {
	return func(m *evidence.LogMessage) { m.First, m.Last = noon.Add(-from), noon.Add(-to) }
}

func at(first, last int) func(*evidence.LogMessage) {
	return func(m *evidence.LogMessage) { m.Line, m.LastLine = first, last }
}

func logs(list ...evidence.LogMessage) put {
	return func(s *evidence.Set) {
		src := pasted
		if len(list) > 0 {
			src = list[0].Source
		}
		evidence.Put(s, evidence.LogMessages, list, src)
	}
}

// found gives the roots of a report, shortly: "not-ready Deployment istio-system/istiod +config-not-received".
func found(r *diagnose.Report) []string {
	var out []string
	for _, c := range r.Causes {
		s := strings.TrimPrefix(string(c.Check), "istiod/") + " " + c.Subject
		for _, x := range c.Symptoms {
			s += " +" + strings.TrimPrefix(string(x), "istiod/")
		}
		out = append(out, s)
	}
	slices.Sort(out)
	return out
}

// fieldsOf reads a text by a signature.
func fieldsOf(sig diagnose.Signature, text string) map[string]string {
	re := regexp.MustCompile(sig.Pattern)
	g := re.FindStringSubmatch(text)
	out := map[string]string{}
	for i, name := range re.SubexpNames() {
		if name != "" && g != nil && g[i] != "" {
			out[name] = g[i]
		}
	}
	return out
}
