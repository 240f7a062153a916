package diagnose

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

var (
	clusterNow = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	apiSource  = evidence.Source{Collector: "kube", Vantage: evidence.FromAPI, Time: clusterNow}
	fileSource = evidence.Source{Collector: "file", Vantage: evidence.FromAPI, Time: clusterNow, Pasted: true}
)

// batch puts objects of a kind: all of a namespace ("" for the cluster's) as the API server lists them.
func batch[T any](key evidence.Key[[]evidence.Objects[T]], namespace string, items ...T) func(*evidence.Set) {
	return func(s *evidence.Set) {
		evidence.Put(s, key, []evidence.Objects[T]{{Items: items, Namespace: namespace, Whole: true, Source: apiSource}}, apiSource)
	}
}

// pasted puts objects as a file holds them.
func pastedObjects[T any](key evidence.Key[[]evidence.Objects[T]], items ...T) func(*evidence.Set) {
	return func(s *evidence.Set) {
		evidence.Put(s, key, []evidence.Objects[T]{{Items: items, Source: fileSource}}, fileSource)
	}
}

func namespaced(names ...string) (out []kube.Namespace) {
	for _, n := range names {
		out = append(out, kube.Namespace{Meta: kube.Meta{Name: n}})
	}
	return out
}

func podNamed(name string, change ...func(*kube.Pod)) kube.Pod {
	p := kube.Pod{Meta: kube.Meta{Name: name, Namespace: "shop", Created: clusterNow.Add(-time.Hour), Owners: []kube.Owner{{Kind: "ReplicaSet", Name: "checkout-7d9", Controller: true}}}}
	p.Status.Phase = "Running"
	p.Status.Conditions = []kube.Condition{{Type: "Ready", Status: "True"}}
	p.Status.Containers = []kube.ContainerStatus{{Name: "app", Ready: true}}
	for _, f := range change {
		f(&p)
	}
	return p
}

// notReady makes a pod not ready for some time.
func notReady(since time.Duration) func(*kube.Pod) {
	return func(p *kube.Pod) {
		p.Status.Conditions = []kube.Condition{{Type: "Ready", Status: "False", Changed: clusterNow.Add(-since)}}
		p.Status.Containers[0].Ready = false
	}
}

func waits(reason string) func(*kube.Pod) {
	return func(p *kube.Pod) {
		notReady(time.Second)(p)
		p.Status.Containers[0].State.Waiting = &struct {
			Reason  string `json:"reason,omitempty"`
			Message string `json:"message,omitempty"`
		}{Reason: reason}
	}
}

func deploymentNamed(name string, replicas int, age time.Duration) kube.Workload {
	w := kube.Workload{Kind: "Deployment", Meta: kube.Meta{Name: name, Namespace: "shop", Created: clusterNow.Add(-age)}}
	w.Status.Replicas = replicas
	return w
}

func replicaSetOf(deployment, name string) kube.Workload {
	return kube.Workload{Kind: "ReplicaSet", Meta: kube.Meta{Name: name, Namespace: "shop", Created: clusterNow.Add(-time.Hour), Owners: []kube.Owner{{Kind: "Deployment", Name: deployment, Controller: true}}}}
}

// TestAbsent holds when what is asked about counts as not there, and what is said of it.
func TestAbsent(t *testing.T) {
	shop := Target{Namespace: "shop"}
	pod := Target{Namespace: "shop", Pod: "checkout-1"}
	workload := Target{Namespace: "shop", Workload: "Deployment/checkout"}
	there := batch(evidence.Namespaces, "", namespaced("default", "shop")...)
	for _, tc := range []struct {
		name   string
		target Target
		put    []func(*evidence.Set)
		want   string // "" where it is there, or may be
	}{
		{"a namespace that isn't there", Target{Namespace: "shpo"}, []func(*evidence.Set){batch(evidence.Namespaces, "", namespaced("default", "istio-system", "kube-public", "shop")...)},
			"there is no namespace shpo in the cluster: of the 4 that there are, the most alike are shop, "},
		{"one that alone may be looked at", Target{Namespace: "shpo"}, []func(*evidence.Set){batch[kube.Namespace](evidence.Namespaces, "shpo")}, "there is no namespace shpo in the cluster"},
		{"a pod that isn't there", pod, []func(*evidence.Set){there, batch(evidence.Pods, "shop", podNamed("checkout-2"))}, "there is no pod checkout-1 in namespace shop: there is checkout-2"},
		{"a workload of another kind", workload, []func(*evidence.Set){there, batch(evidence.Workloads, "shop", kube.Workload{Kind: "StatefulSet", Meta: kube.Meta{Name: "checkout", Namespace: "shop"}})},
			"there is no Deployment checkout in namespace shop"},

		{"all there", pod, []func(*evidence.Set){there, batch(evidence.Pods, "shop", podNamed("checkout-1"))}, ""},
		{"the namespaces aren't known", shop, []func(*evidence.Set){func(s *evidence.Set) { s.Fail(evidence.Namespaces.Name(), apiSource, errors.New("403")) }}, ""},
		{"a file that has another", pod, []func(*evidence.Set){pastedObjects(evidence.Pods, podNamed("checkout-2"))}, ""},
		{"it is in a file", pod, []func(*evidence.Set){there, batch[kube.Pod](evidence.Pods, "shop"), pastedObjects(evidence.Pods, podNamed("checkout-1"))}, ""},
		{"another namespace's pods", pod, []func(*evidence.Set){there, batch[kube.Pod](evidence.Pods, "istio-system")}, ""},
		{"a revision", Target{Revision: "asm-1"}, []func(*evidence.Set){there}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			set := evidence.NewSet()
			for _, put := range tc.put {
				put(set)
			}
			hold(t, absent(Request{Target: tc.target}, evidence.NewView(set)), tc.want)
		})
	}
}

func hold(t *testing.T, got *Unseen, want string) {
	t.Helper()
	switch {
	case got == nil && want != "":
		t.Errorf("nothing is said, want %q", want)
	case got != nil && (want == "" || !strings.HasPrefix(got.Reason, want) || !got.Mandatory):
		t.Errorf("got %q (mandatory: %v), want %q", got.Reason, got.Mandatory, want)
	}
}

// TestUnready holds which pods forbid to call what is asked about healthy.
func TestUnready(t *testing.T) {
	shop := Target{Namespace: "shop"}
	deleted := func(p *kube.Pod) { p.Deleted = clusterNow }
	done := func(p *kube.Pod) { p.Status.Phase = "Succeeded" }
	elsewhere := func(p *kube.Pod) { p.Namespace = "other" }
	nowhere := deploymentNamed("checkout", 0, time.Hour)
	nowhere.Namespace = ""
	for _, tc := range []struct {
		name   string
		target Target
		put    []func(*evidence.Set)
		want   string
	}{
		{"crashes", shop, []func(*evidence.Set){batch(evidence.Pods, "shop", podNamed("checkout-1", waits("CrashLoopBackOff")))}, "pod checkout-1 is not ready: container app is in CrashLoopBackOff. Nothing"},
		{"crashes, in a file", Target{}, []func(*evidence.Set){batch(evidence.Pods, "", podNamed("checkout-1", waits("CrashLoopBackOff")))}, "pod shop/checkout-1 is not ready: container app is in CrashLoopBackOff. Nothing"},
		{"not ready on some day, in a file", Target{}, []func(*evidence.Set){batch(evidence.Pods, "", podNamed("checkout-1", notReady(5*time.Minute)))}, ""},
		{"no pods, in a file of some day", Target{}, []func(*evidence.Set){batch(evidence.Workloads, "", nowhere)}, ""},
		{"no image", shop, []func(*evidence.Set){batch(evidence.Pods, "shop", podNamed("checkout-1", waits("ImagePullBackOff")))}, "pod checkout-1 is not ready: container app is in ImagePullBackOff"},
		{"for minutes", shop, []func(*evidence.Set){batch(evidence.Pods, "shop", podNamed("checkout-1", notReady(5*time.Minute)))}, "pod checkout-1 is not ready: container app is not"},
		{"many", shop, []func(*evidence.Set){batch(evidence.Pods, "shop", podNamed("a", waits("CrashLoopBackOff")), podNamed("b", waits("CrashLoopBackOff")), podNamed("c", waits("CrashLoopBackOff")), podNamed("d", waits("CrashLoopBackOff")))},
			"pod a is not ready: container app is in CrashLoopBackOff; pod b is not ready: container app is in CrashLoopBackOff; pod c is not ready: container app is in CrashLoopBackOff; and 1 more."},
		{"of the workload", Target{Namespace: "shop", Workload: "Deployment/checkout"}, []func(*evidence.Set){
			batch(evidence.Workloads, "shop", deploymentNamed("checkout", 1, time.Hour), replicaSetOf("checkout", "checkout-7d9")), batch(evidence.Pods, "shop", podNamed("checkout-1", waits("CrashLoopBackOff")))}, "pod checkout-1"},
		{"no pods at all", shop, []func(*evidence.Set){batch[kube.Pod](evidence.Pods, "shop"), batch(evidence.Workloads, "shop", deploymentNamed("checkout", 0, time.Hour))}, "Deployment checkout has no pods"},

		{"ready", shop, []func(*evidence.Set){batch(evidence.Pods, "shop", podNamed("checkout-1")), batch(evidence.Workloads, "shop", deploymentNamed("checkout", 1, time.Hour))}, ""},
		{"starting", shop, []func(*evidence.Set){batch(evidence.Pods, "shop", podNamed("checkout-1", notReady(30*time.Second)))}, ""},
		{"a workload made just now", shop, []func(*evidence.Set){batch(evidence.Workloads, "shop", deploymentNamed("checkout", 0, time.Second))}, ""},
		{"done", shop, []func(*evidence.Set){batch(evidence.Pods, "shop", podNamed("checkout-1", notReady(time.Hour), done))}, ""},
		{"being deleted", shop, []func(*evidence.Set){batch(evidence.Pods, "shop", podNamed("checkout-1", notReady(time.Hour), deleted))}, ""},
		{"another pod", Target{Namespace: "shop", Pod: "checkout-2"}, []func(*evidence.Set){batch(evidence.Pods, "shop", podNamed("checkout-1", waits("CrashLoopBackOff")))}, ""},
		{"another workload's", Target{Namespace: "shop", Workload: "Deployment/cart"}, []func(*evidence.Set){batch(evidence.Pods, "shop", podNamed("checkout-1", waits("CrashLoopBackOff")))}, ""},
		{"another namespace's", shop, []func(*evidence.Set){batch(evidence.Pods, "", podNamed("checkout-1", waits("CrashLoopBackOff"), elsewhere))}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			set := evidence.NewSet()
			for _, put := range tc.put {
				put(set)
			}
			hold(t, unready(Request{Target: tc.target}, evidence.NewView(set)), tc.want)
		})
	}
}
