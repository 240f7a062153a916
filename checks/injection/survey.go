package injection

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/meshdiag/meshdiag/checks/cluster"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

// survey is what became of every pod that a request asks about.
type survey struct {
	req diagnose.Request
	// named says that a pod or workload is asked about by name, asked that one without a sidecar is a fault in any case.
	named, asked bool

	injectors []cluster.Injector
	active    int                             // injectors that aren't deactivated
	results   []evidence.MatchConditionResult // of match conditions
	settings  []evidence.Objects[kube.ConfigMap]
	// whole says that all webhooks of the cluster are known. hooksErr says why none are, partial why it can't be said that one
	// isn't there.
	whole             bool
	hooksErr, partial error

	plane     cluster.Plane
	planeWhy  string
	planeErr  error             // why it can't be told whose the control plane is
	revisions map[string]string // revisions that a control plane runs of, with what shows it

	spaces   []*space // by name
	subjects []*subject
	// podsErr says why the pods aren't known, spacesErr the namespaces; undecided why injectors can't be told about some pod.
	podsErr, spacesErr, undecided error

	makers map[string]bool // "namespace/Kind/name" of those that have an injected pod
	keys   []string        // the label keys of pods that injectors look at
	cache  map[string][]cluster.Decision
	byName map[string]*space
}

// space is a namespace, and what becomes of a pod without labels in it.
type space struct {
	name  string
	ns    *kube.Namespace // nil where it isn't known
	plain kube.Pod
	list  []cluster.Decision
	fault

	injected    int       // pods with a sidecar
	first, last time.Time // when the first and the last pod was made that may have been injected for the namespace's labels
	sure        time.Time // when the first was made that no label of its own can have got injected
	shown       bool      // a file shows an injected pod: it tells of pods as they are, not as they are to be
	hit         []*subject
	unlabelled  []*subject // pods that nothing says were to be injected
}

// subject is one pod, or the template of one.
type subject struct {
	pod   *kube.Pod
	space *space
	list  []cluster.Decision
	fault
	image bool // the image of a container was left for the injector to fill in
}

// fault is what is wrong.
type fault struct {
	check      diagnose.CheckID // "" for nothing
	severity   diagnose.Severity
	confidence diagnose.Confidence
	word       string // why, as a sentence goes on
	kind       string // pods of different kinds are told apart; "" takes the word
	params     map[string]string
	excerpt    string
}

// look reads the evidence and puts every pod asked about down to a check.
func look(req diagnose.Request, v *evidence.View) *survey {
	s := &survey{
		req: req, asked: cluster.Asked(req), named: req.Target.Pod != "" || req.Target.Workload != "",
		makers: map[string]bool{}, cache: map[string][]cluster.Decision{}, byName: map[string]*space{}, revisions: map[string]string{},
	}
	s.plane, s.planeWhy = cluster.ControlPlane(v)
	if s.plane == cluster.PlaneUnknown {
		s.planeErr = unknownPlane(v)
	}
	s.readWebhooks(v)
	pods := s.readPods(v)
	s.readRevisions(v)
	s.judgeSpaces()
	for i := range pods {
		x := &subject{pod: &pods[i], space: s.spaceOf(pods[i].Namespace)}
		s.judge(x)
		s.subjects = append(s.subjects, x)
	}
	s.judgeUnlabelled()
	return s
}

// unknownPlane gives what kept the fleet or the cluster from saying that the control plane is managed; nil where both said that it
// isn't, or weren't asked.
func unknownPlane(v *evidence.View) error {
	if _, err := evidence.Get(v, evidence.FleetMesh); err != nil && !notAsked(err) {
		return err
	}
	if _, err := evidence.Get(v, evidence.ControlPlaneRevisions); err != nil && !notAsked(err) {
		return err
	}
	return nil
}

func (s *survey) readWebhooks(v *evidence.View) {
	s.results, _ = evidence.Get(v, evidence.MatchConditions)
	s.settings, _ = evidence.Get(v, evidence.ConfigMaps)
	hooks, err := evidence.Get(v, evidence.MutatingWebhooks)
	if err != nil {
		s.hooksErr = err
		return
	}
	s.injectors = cluster.Injectors(hooks)
	keys := map[string]bool{}
	for _, in := range s.injectors {
		if !in.Deactivated {
			s.active++
		}
		for _, r := range in.Hook.ObjectSelector.Requirements() {
			keys[r.Key] = true
		}
		if len(in.Hook.MatchConditions) > 0 {
			s.keys = nil // they may look at anything
		}
	}
	for k := range keys {
		s.keys = append(s.keys, k)
	}
	slices.Sort(s.keys)
	_, werr := evidence.Whole(v, evidence.MutatingWebhooks)
	switch {
	case werr != nil:
		s.partial = werr
	case evidence.Covers(hooks, ""):
		s.whole = true
	case len(s.injectors) == 0:
		s.hooksErr = diagnose.Skip("no injecting webhook of the mesh is in the files given, and files may leave some out")
	}
}

// readPods gives the pods and templates asked about, and notes what the others of their namespaces tell.
func (s *survey) readPods(v *evidence.View) []kube.Pod {
	t := s.req.Target
	pods, perr := cluster.Pods(s.req, v)
	templates, terr := cluster.Templates(s.req, v)
	batches, nerr := evidence.Get(v, evidence.Namespaces)
	s.spacesErr = nerr
	switch {
	case perr != nil && !notAsked(perr):
		s.podsErr = perr
	case perr != nil && terr != nil && !notAsked(terr):
		s.podsErr = terr
	case perr != nil && terr != nil && nerr != nil:
		s.podsErr = perr
		if !notAsked(nerr) {
			s.podsErr = nerr
		}
	}
	if t.Namespace != "" {
		if ns, known := cluster.FindNamespace(batches, t.Namespace); ns == nil && known {
			s.podsErr = fmt.Errorf("the cluster has no namespace %q", t.Namespace)
		}
		s.add(t.Namespace, batches)
	} else {
		for _, ns := range evidence.All(batches) {
			if !cluster.System(ns.Name) {
				s.add(ns.Name, batches)
			}
		}
	}
	all, _ := evidence.Get(v, evidence.Pods)
	for _, b := range all {
		for i := range b.Items {
			s.neighbour(&b.Items[i], batches)
		}
	}
	out := append(pods, s.unmade(templates, pods)...)
	for _, p := range out {
		s.add(p.Namespace, batches)
	}
	if s.named && len(out) == 0 && s.podsErr == nil {
		what := t.Workload
		if t.Pod != "" {
			what = "pod/" + t.Pod
		}
		s.podsErr = fmt.Errorf("%s isn't in namespace %s as far as it was seen", what, t.Namespace)
	}
	slices.SortFunc(s.spaces, func(a, b *space) int { return strings.Compare(a.name, b.name) })
	return out
}

func (s *survey) add(name string, batches []evidence.Objects[kube.Namespace]) *space {
	if sp := s.byName[name]; sp != nil || name == "" {
		return sp
	}
	sp := &space{name: name}
	sp.ns, _ = cluster.FindNamespace(batches, name)
	sp.plain = kube.Pod{Meta: kube.Meta{Namespace: name}}
	s.byName[name] = sp
	s.spaces = append(s.spaces, sp)
	return sp
}

// spaceOf gives the namespace of a pod; one that a manifest doesn't name is nowhere.
func (s *survey) spaceOf(name string) *space {
	if sp := s.byName[name]; sp != nil {
		return sp
	}
	return &space{}
}

// neighbour notes what a pod of any namespace tells about the others there: whether pods of its maker are injected, and since when
// the namespace's labels take effect.
func (s *survey) neighbour(p *kube.Pod, batches []evidence.Objects[kube.Namespace]) {
	if (s.req.Target.Namespace != "" && p.Namespace != s.req.Target.Namespace) || !hasProxy(p) {
		return
	}
	if s.req.Target.Namespace == "" && cluster.System(p.Namespace) {
		return
	}
	sp := s.add(p.Namespace, batches)
	if sp == nil {
		return
	}
	sp.injected++
	sp.shown = sp.shown || !fromCluster(p)
	if maker := cluster.Maker(p); maker != "" {
		s.makers[p.Namespace+"/"+maker] = true
	}
	if _, own := p.Labels[kube.LabelInject]; own || p.Created.IsZero() {
		return
	}
	// Some releases of the injector put istio.io/rev on the pods that they inject, so that it needn't have been there before.
	if _, own := p.Labels[kube.LabelRevision]; !own && (sp.sure.IsZero() || p.Created.Before(sp.sure)) {
		sp.sure = p.Created
	}
	if sp.first.IsZero() || p.Created.Before(sp.first) {
		sp.first = p.Created
	}
	if p.Created.After(sp.last) {
		sp.last = p.Created
	}
}

// unmade gives the templates that tell what pods don't: those of workloads without a pod, and those of files where the pods are
// from the cluster.
func (s *survey) unmade(templates, pods []kube.Pod) []kube.Pod {
	type made struct{ any, fromFile bool }
	by := map[string]made{}
	for i := range pods {
		k := pods[i].Namespace + "/" + cluster.Maker(&pods[i])
		m := by[k]
		by[k] = made{any: true, fromFile: m.fromFile || pods[i].Origin != ""}
	}
	var out []kube.Pod
	for i := range templates {
		m := by[templates[i].Namespace+"/"+cluster.Maker(&templates[i])]
		if !m.any || (templates[i].Origin != "" && !m.fromFile) {
			out = append(out, templates[i])
		}
	}
	return out
}

// readRevisions finds the revisions that a control plane runs of.
func (s *survey) readRevisions(v *evidence.View) {
	note := func(m *kube.Meta, title string) {
		if r := cluster.Revision(m); s.revisions[r] == "" {
			s.revisions[r] = title
		}
	}
	workloads, _ := evidence.Get(v, evidence.ControlPlaneWorkloads)
	for _, w := range evidence.All(workloads) {
		note(&w.Meta, "the "+w.Title())
	}
	pods, _ := evidence.Get(v, evidence.ControlPlanePods)
	others, _ := evidence.Get(v, evidence.Pods)
	for _, list := range [][]evidence.Objects[kube.Pod]{pods, others} {
		for _, b := range list {
			for i := range b.Items {
				if p := &b.Items[i]; controlPlane(p) && !p.Ended() {
					note(&p.Meta, p.Title())
				}
			}
		}
	}
	managed, _ := evidence.Get(v, evidence.ControlPlaneRevisions)
	for _, r := range evidence.All(managed) {
		if s.revisions[r.Name] == "" {
			s.revisions[r.Name] = "the ControlPlaneRevision " + r.Name
		}
	}
}

// decide asks the injectors, once for all pods that look alike to them.
func (s *survey) decide(p *kube.Pod, sp *space) []cluster.Decision {
	if slices.ContainsFunc(s.injectors, func(in cluster.Injector) bool { return len(in.Hook.MatchConditions) > 0 }) {
		return cluster.Decide(p, sp.ns, s.injectors, s.results)
	}
	var b strings.Builder
	b.WriteString(p.Namespace)
	for _, k := range s.keys {
		if v, ok := p.Labels[k]; ok {
			fmt.Fprintf(&b, "\x00%s=%s", k, v)
		}
	}
	list, ok := s.cache[b.String()]
	if !ok {
		list = cluster.Decide(p, sp.ns, s.injectors, s.results)
		s.cache[b.String()] = list
	}
	return list
}

// sure is how sure it is that no injector selects a pod, where none of those known does.
func (s *survey) sure() diagnose.Confidence {
	if s.whole {
		return diagnose.Confirmed
	}
	return diagnose.Likely
}

// none names the injectors of which none selects a pod.
func (s *survey) none() string {
	if s.whole {
		return "no injector"
	}
	return "no injector in the files given"
}

// open says why nothing found isn't a clean bill; webhooks says that the question hangs on them.
func (s *survey) open(webhooks bool) error {
	switch {
	case s.podsErr != nil:
		return s.podsErr
	case webhooks && s.hooksErr != nil:
		return s.hooksErr
	case webhooks && s.undecided != nil:
		return s.undecided
	}
	return nil
}

// doubt notes that injectors can't be told about a pod.
func (s *survey) doubt(why string) {
	switch {
	case s.undecided != nil:
	case s.spacesErr != nil && !notAsked(s.spacesErr):
		s.undecided = s.spacesErr
	case s.req.Target.Kubernetes():
		s.undecided = errors.New(why)
	default:
		s.undecided = diagnose.Skip("%s", why)
	}
}

func notAsked(err error) bool {
	var m *evidence.Missing
	return errors.As(err, &m) && m.Why == evidence.NotAsked
}
