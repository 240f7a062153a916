package startup

import (
	"errors"
	"slices"
	"strings"

	"github.com/meshdiag/meshdiag/checks/cluster"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

// survey is what is known of the starts of the pods asked about.
type survey struct {
	req       diagnose.Request
	plane     cluster.Plane
	planeWhy  string
	workloads []kube.Workload
	batches   []evidence.Objects[kube.Event]

	// starts are those of pods that were read, by their names; gone those of pods that events or logs alone tell of; logs those of
	// messages that name no pod.
	starts, gone, logs []*start

	podsErr, eventsErr, logsErr error
	// wholeLogs says why not all messages are known.
	wholeLogs error
}

// look reads the evidence.
func look(req diagnose.Request, v *evidence.View) *survey {
	s := &survey{req: req}
	s.plane, s.planeWhy = cluster.ControlPlane(v)
	batches, _ := evidence.Get(v, evidence.Pods)
	pods, err := cluster.Pods(req, v)
	s.podsErr = err
	s.workloads, _ = cluster.Workloads(req, v)
	s.batches, s.eventsErr = evidence.Get(v, evidence.ClusterEvents)
	log, err := evidence.Get(v, evidence.LogMessages)
	s.logsErr = err
	_, s.wholeLogs = evidence.Whole(v, evidence.LogMessages)

	by := map[string]*start{}
	sources := sourcesOf(batches)
	for i := range pods {
		x := newStart(&pods[i])
		x.seen = true
		x.source = sources[[2]string{pods[i].Name, pods[i].Origin}]
		if !x.source.Pasted {
			x.now = x.source.Time
		}
		s.starts = append(s.starts, x)
		by[x.pod.Ref()] = x
	}
	s.readEvents(by, evidence.Covers(batches, req.Target.Namespace))
	s.readLines(log, by)
	return s
}

// sourcesOf gives where pods were read, by name and origin.
func sourcesOf(batches []evidence.Objects[kube.Pod]) map[[2]string]evidence.Source {
	out := map[[2]string]evidence.Source{}
	for _, b := range batches {
		for i := range b.Items {
			k := [2]string{b.Items[i].Name, b.Items[i].Origin}
			if _, known := out[k]; !known {
				out[k] = b.Source
			}
		}
	}
	return out
}

// asked says whether a pod that is known by its name alone is one that the request asks about. One that a live list lacks is gone:
// it counts only where it is named.
func (s *survey) asked(namespace, name string, listed bool) bool {
	t := s.req.Target
	switch {
	case t.Namespace != "" && namespace != "" && namespace != t.Namespace:
		return false
	case t.Namespace == "" && cluster.System(namespace):
		return false
	case t.Pod != "":
		return name == t.Pod
	case listed:
		return false
	case t.Workload != "":
		_, w, _ := strings.Cut(t.Workload, "/")
		return strings.HasPrefix(name, w+"-")
	}
	return true
}

// other gives the start of a pod known by its name alone.
func (s *survey) other(namespace, name string, by map[string]*start) *start {
	p := &kube.Pod{Meta: kube.Meta{Namespace: namespace, Name: name}}
	if x := by[p.Ref()]; x != nil {
		return x
	}
	if len(s.gone) == maxGone {
		return nil
	}
	x := newStart(p)
	s.gone = append(s.gone, x)
	by[p.Ref()] = x
	return x
}

func (s *survey) readEvents(by map[string]*start, listed bool) {
	for _, b := range s.batches {
		for _, e := range b.Items {
			if e.Involved.Kind != "Pod" || e.Involved.Name == "" {
				continue
			}
			ns := e.Involved.Namespace
			if ns == "" {
				ns = e.Namespace
			}
			if ns == "" {
				ns = s.req.Target.Namespace
			}
			x := by[ref(ns, e.Involved.Name)]
			if x == nil && s.asked(ns, e.Involved.Name, listed) {
				x = s.other(ns, e.Involved.Name, by)
			}
			if x != nil && (x.pod.UID == "" || e.Involved.UID == "" || x.pod.UID == e.Involved.UID) {
				x.events, x.eventSource = append(x.events, e), b.Source
			}
		}
	}
}

func ref(namespace, name string) string {
	if namespace == "" {
		return name
	}
	return namespace + "/" + name
}

// readLines gives each message to the pod that logged it. A file that names none belongs to the one pod there is, if there is one.
func (s *survey) readLines(log []evidence.LogMessage, by map[string]*start) {
	var loose []line
	for _, m := range log {
		l, ok := place(m)
		switch {
		case !ok:
		case l.name != "":
			if x := by[ref(l.namespace, l.name)]; x != nil {
				x.lines = append(x.lines, l)
			} else if s.asked(l.namespace, l.name, s.podsErr == nil && !m.Source.Pasted) {
				if x := s.other(l.namespace, l.name, by); x != nil {
					x.lines = append(x.lines, l)
				}
			}
		case m.Source.Pasted:
			if x := byFile(m.File, s.starts, s.gone); x != nil {
				l.sure = true
				x.lines = append(x.lines, l)
			} else {
				loose = append(loose, l)
			}
		}
	}
	if only := slices.Concat(s.starts, s.gone); len(only) == 1 {
		only[0].lines = append(only[0].lines, loose...)
		return
	}
	files := map[string]*start{}
	for _, l := range loose {
		x := files[l.File]
		if x == nil {
			x = newStart(&kube.Pod{})
			x.file = l.File
			files[l.File] = x
			s.logs = append(s.logs, x)
		}
		x.lines = append(x.lines, l)
	}
}

// byFile gives the pod whose name a file's name holds.
func byFile(file string, lists ...[]*start) *start {
	for _, l := range lists {
		for _, x := range l {
			if x.pod.Name != "" && strings.Contains(file, x.pod.Name) {
				return x
			}
		}
	}
	return nil
}

// all gives every start.
func (s *survey) all() []*start { return slices.Concat(s.starts, s.gone, s.logs) }

// open says why nothing found is no clean bill: pods, or else what stands in for them, aren't known.
func (s *survey) open() error {
	switch {
	case s.podsErr == nil:
		return nil
	case !notAsked(s.podsErr):
		return s.podsErr
	case s.eventsErr != nil && !notAsked(s.eventsErr):
		return s.eventsErr
	case s.logsErr != nil && !notAsked(s.logsErr):
		return s.logsErr
	case s.eventsErr != nil && s.logsErr != nil:
		return s.podsErr
	}
	return nil
}

// openLogs is open for a check that needs logs too; only where some start may be what it looks for.
func (s *survey) openLogs(suspect bool) error {
	if err := s.open(); err != nil {
		return err
	}
	if suspect && s.wholeLogs != nil {
		return s.wholeLogs
	}
	return nil
}

func notAsked(err error) bool {
	var m *evidence.Missing
	return errors.As(err, &m) && m.Why == evidence.NotAsked
}

// workload gives the workload that made a start's pod; nil where it isn't known.
func (s *survey) workload(x *start) *kube.Workload {
	maker := cluster.Maker(x.pod)
	for i := range s.workloads {
		if w := &s.workloads[i]; w.Kind+"/"+w.Name == maker && w.Namespace == x.pod.Namespace {
			return w
		}
	}
	return nil
}
