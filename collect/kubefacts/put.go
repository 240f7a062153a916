package kubefacts

import (
	"fmt"
	"strings"
	"time"

	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

// MeshConfigMap says whether a ConfigMap of this name is the mesh's: the mesh's configuration (istio, istio-REVISION), the
// injector's (istio-sidecar-injector…; injector-mesh of Traffic Director's for GKE), and those by which the managed control plane is told what to do (asm-options,
// env-asm-managed…).
func MeshConfigMap(name string) bool {
	return name == "istio" || name == "injector-mesh" || strings.HasPrefix(name, "istio-") || strings.HasPrefix(name, "asm-") || strings.HasPrefix(name, "env-asm-")
}

// ControlPlaneRole says whether a ClusterRole is istiod's: istiod-clusterrole-istio-system, istiod-istio-system, or labelled so.
func ControlPlaneRole(m *kube.Meta) bool {
	return strings.HasPrefix(m.Name, "istiod") || m.Labels["app"] == controlPlane
}

// controlPlane is the label app of istiod's pods and of its Deployment.
const controlPlane = "istiod"

// Put records what was gathered: for each kind one batch, which isn't whole.
func (o *Objects) Put(set *evidence.Set, src evidence.Source) {
	put(set, evidence.Namespaces, o.Namespaces, src)
	put(set, evidence.Pods, o.Pods, src)
	put(set, evidence.PodRows, o.PodRows, src)
	put(set, evidence.Workloads, o.Workloads, src)
	put(set, evidence.ClusterEvents, o.Events, src)
	put(set, evidence.MutatingWebhooks, o.Mutating, src)
	put(set, evidence.ValidatingWebhooks, o.Validating, src)
	put(set, evidence.ClusterServices, o.Services, src)
	put(set, evidence.EndpointSlices, o.EndpointSlices, src)
	put(set, evidence.ConfigMaps, o.ConfigMaps, src)
	put(set, evidence.ClusterRoles, o.ClusterRoles, src)
	put(set, evidence.ControlPlaneRevisions, o.Revisions, src)
	put(set, evidence.DataPlaneControls, o.DataPlanes, src)
	put(set, evidence.EnvoyFilters, o.EnvoyFilters, src)
	put(set, evidence.PeerAuthentications, o.PeerAuthentications, src)
	put(set, evidence.DestinationRules, o.DestinationRules, src)
	put(set, evidence.AuthorizationPolicies, o.AuthorizationPolicies, src)
	var pods []kube.Pod
	for _, p := range o.Pods {
		if p.Labels["app"] == controlPlane {
			pods = append(pods, p)
		}
	}
	put(set, evidence.ControlPlanePods, pods, src)
	var deployments []kube.Workload
	for _, w := range o.Workloads {
		if w.Kind == "Deployment" && (w.Labels["app"] == controlPlane || w.Spec.Template.Labels["app"] == controlPlane) {
			deployments = append(deployments, w)
		}
	}
	put(set, evidence.ControlPlaneWorkloads, deployments, src)
}

func put[T any](set *evidence.Set, k evidence.Key[[]evidence.Objects[T]], items []T, src evidence.Source) {
	if len(items) > 0 {
		evidence.Put(set, k, []evidence.Objects[T]{{Items: items, Source: src}}, src)
	}
}

// Count is how many objects there are of a kind.
type Count struct {
	Kind string
	N    int
}

// Counts gives how many objects of each kind were gathered, in a fixed order.
func (o *Objects) Counts() []Count {
	byKind := map[string]int{}
	for _, w := range o.Workloads {
		byKind[w.Kind]++
	}
	out := []Count{{"Namespace", len(o.Namespaces)}, {"Pod", len(o.Pods)}, {"row of a pod", len(o.PodRows)}}
	for _, k := range []string{"Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Job", "CronJob", "ReplicationController"} {
		out = append(out, Count{k, byKind[k]})
	}
	out = append(out, []Count{
		{"Event", len(o.Events)}, {"MutatingWebhookConfiguration", len(o.Mutating)}, {"ValidatingWebhookConfiguration", len(o.Validating)},
		{"Service", len(o.Services)}, {"EndpointSlice", len(o.EndpointSlices)}, {"ConfigMap", len(o.ConfigMaps)}, {"ClusterRole", len(o.ClusterRoles)},
		{"ControlPlaneRevision", len(o.Revisions)}, {"DataPlaneControl", len(o.DataPlanes)}, {"EnvoyFilter", len(o.EnvoyFilters)},
		{"PeerAuthentication", len(o.PeerAuthentications)}, {"DestinationRule", len(o.DestinationRules)}, {"AuthorizationPolicy", len(o.AuthorizationPolicies)},
	}...)
	n := 0
	for _, c := range out {
		if c.N > 0 {
			out[n] = c
			n++
		}
	}
	return out[:n]
}

// Message is what an object says in words.
type Message struct {
	Object      string // "event shop/checkout-1.17b (FailedCreate of ReplicaSet shop/checkout-5d)", "Pod shop/checkout-1, container istio-proxy"
	Text        string
	Count       int       // how often it was said, at least 1
	First, Last time.Time // zero where not known
}

// Messages gives what the objects say in words: events, conditions, and why containers wait or ended.
func (o *Objects) Messages() []Message {
	var out []Message
	say := func(m Message) {
		if strings.TrimSpace(m.Text) != "" {
			m.Count = max(1, m.Count)
			out = append(out, m)
		}
	}
	conditions := func(object string, list []kube.Condition) {
		for _, c := range list {
			say(Message{Object: fmt.Sprintf("%s, condition %s", object, c.Type), Text: c.Message, First: c.Changed, Last: c.Changed})
		}
	}
	for i := range o.Events {
		e := &o.Events[i]
		say(Message{Object: EventTitle(e), Text: e.Message, Count: e.Count, First: e.First, Last: e.Last})
	}
	for i := range o.Pods {
		p := &o.Pods[i]
		title := "Pod " + p.Ref()
		say(Message{Object: title, Text: p.Status.Message})
		conditions(title, p.Status.Conditions)
		for _, list := range [][]kube.ContainerStatus{p.Status.InitContainers, p.Status.Containers} {
			for _, c := range list {
				at := title + ", container " + c.Name
				for _, s := range []kube.ContainerState{c.Last, c.State} {
					if s.Waiting != nil {
						say(Message{Object: at, Text: s.Waiting.Message})
					}
					if t := s.Terminated; t != nil {
						say(Message{Object: at, Text: t.Message, First: t.Finished, Last: t.Finished})
					}
				}
			}
		}
	}
	for i := range o.Workloads {
		conditions(o.Workloads[i].Title(), o.Workloads[i].Status.Conditions)
	}
	for i := range o.Revisions {
		conditions("ControlPlaneRevision "+o.Revisions[i].Ref(), o.Revisions[i].Status.Conditions)
	}
	for i := range o.DataPlanes {
		d := &o.DataPlanes[i]
		title := "DataPlaneControl " + d.Ref()
		conditions(title, d.Status.Conditions)
		for _, e := range d.Status.ErrorDetails {
			say(Message{Object: title, Text: string(e)})
		}
	}
	return out
}

// EventTitle names an event for a source: "event FailedCreate of ReplicaSet shop/checkout-5d".
func EventTitle(e *kube.Event) string {
	s := "event"
	if e.Reason != "" {
		s += " " + e.Reason
	}
	if e.Involved.Name != "" {
		s += " of " + e.Involved.String()
	}
	return s
}
