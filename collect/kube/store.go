package kube

import (
	"reflect"

	"github.com/meshdiag/meshdiag/evidence/kube"
)

// lastApplied is kubectl's copy of the whole object.
const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// tidy drops what nobody reads and is large.
func tidy(m *kube.Meta) {
	delete(m.Annotations, lastApplied)
}

// podStore makes pods share what they have in common: the thousands that one workload makes differ in name, address and status.
// What is shared must not be changed.
type podStore struct {
	makers  map[string]*kube.Pod // the last pod of each maker
	strings map[string]string
}

func newPodStore() *podStore {
	return &podStore{makers: map[string]*kube.Pod{}, strings: map[string]string{}}
}

// keep is for [list]: it keeps every pod.
func (s *podStore) keep(p *kube.Pod) bool {
	tidy(&p.Meta)
	s.status(p.Status.Containers)
	s.status(p.Status.InitContainers)
	for i := range p.Status.Conditions {
		c := &p.Status.Conditions[i]
		c.Type, c.Status, c.Reason, c.Message = s.intern(c.Type), s.intern(c.Status), s.intern(c.Reason), s.intern(c.Message)
	}
	for i := range p.Managed {
		m := &p.Managed[i]
		m.Manager, m.Operation, m.Subresource = s.intern(m.Manager), s.intern(m.Operation), s.intern(m.Subresource)
		for j, l := range m.Labels {
			m.Labels[j] = s.intern(l)
		}
		for j, l := range m.Annotations {
			m.Annotations[j] = s.intern(l)
		}
	}
	p.Namespace, p.Spec.NodeName, p.Spec.ServiceAccount = s.intern(p.Namespace), s.intern(p.Spec.NodeName), s.intern(p.Spec.ServiceAccount)
	p.Status.HostIP, p.Status.Phase, p.Status.Reason = s.intern(p.Status.HostIP), s.intern(p.Status.Phase), s.intern(p.Status.Reason)
	o := p.Controller()
	if o == nil {
		return true
	}
	key := o.Kind + "/" + o.UID + "/" + o.Name
	like := s.makers[key]
	if like == nil {
		like = &kube.Pod{}
		s.makers[key] = like
	}
	share(&p.Labels, &like.Labels)
	share(&p.Annotations, &like.Annotations)
	share(&p.Owners, &like.Owners)
	share(&p.Spec.Containers, &like.Spec.Containers)
	share(&p.Spec.InitContainers, &like.Spec.InitContainers)
	share(&p.Spec.ReadinessGates, &like.Spec.ReadinessGates)
	share(&p.Spec.SecurityContext, &like.Spec.SecurityContext)
	return true
}

func (s *podStore) status(list []kube.ContainerStatus) {
	for i := range list {
		list[i].Name, list[i].Image = s.intern(list[i].Name), s.intern(list[i].Image)
	}
}

func (s *podStore) intern(t string) string {
	if t == "" {
		return ""
	}
	if got, ok := s.strings[t]; ok {
		return got
	}
	s.strings[t] = t
	return t
}

// share makes v the value that was seen last, where it is equal.
func share[T any](v, last *T) {
	if reflect.DeepEqual(*v, *last) {
		*v = *last
		return
	}
	*last = *v
}
