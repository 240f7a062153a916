package injection

import (
	"fmt"
	"slices"
	"time"

	"github.com/meshdiag/meshdiag/checks/cluster"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

// judge puts a pod down to a check, where it lacks a sidecar that it was meant to have, or that is asked about.
func (s *survey) judge(x *subject) {
	p, sp := x.pod, x.space
	if s.hooksErr == nil {
		x.list = s.decide(p, sp)
	}
	switch {
	case controlPlane(p), mirror(p):
		return
	case hasProxy(p):
		if sp.check == idConflict && !sp.inAmbient() {
			sp.hit = append(sp.hit, x) // by the revision that wasn't meant
		} else if s.hooksErr == nil && fromCluster(p) {
			x.fault = s.hidden(x, injectedBy(p))
		}
		return
	case proxyless(p) && !s.named:
		return
	}
	sw, by, value := cluster.PodSwitch(&p.Meta)
	switch {
	case onHost(p):
		x.fault = s.onHost(x, sw == cluster.SwitchOn)
		return
	case sw == cluster.SwitchOff:
		x.fault = s.switchedOff(x, by, value)
		return
	case s.hooksErr != nil:
		x.take(sp, s.asked || sp.check == idTypo)
		return
	}
	yes, unknown := cluster.Called(x.list)
	switch {
	case len(yes) > 0:
		x.fault = s.selected(x, yes)
	case unknown != nil:
		s.doubt(unknown.Match.Why)
	case s.partial != nil:
		s.doubt(s.partial.Error())
		s.undecided = s.partial
	default:
		x.image = leftForInjector(p)
		s.notSelected(x, sw == cluster.SwitchOn, by)
	}
}

// take puts the pod down to what is wrong with its namespace.
func (x *subject) take(sp *space, really bool) {
	if really && sp.check != "" {
		x.fault = sp.fault
		sp.hit = append(sp.hit, x)
	}
}

// onHost judges a pod on its node's network.
func (s *survey) onHost(x *subject, meant bool) fault {
	f := fault{check: idHost, severity: diagnose.Blocking, confidence: diagnose.Confirmed, word: "hostNetwork"}
	_, rev := x.pod.Labels[kube.LabelRevision]
	switch {
	case s.named, meant, rev:
		return f
	case s.asked:
		f.severity = diagnose.Advice // agents of the platform are on the host's network on purpose
		return f
	}
	return fault{}
}

// switchedOff judges a pod that itself says no. That is a choice: it is told to those who ask.
func (s *survey) switchedOff(x *subject, by, value string) fault {
	if s.hooksErr == nil && by == "label" {
		if f := s.podTypo(x); f.check != "" && f.params["pod_key"] == kube.LabelInject && f.params["pod_remove"] == "" {
			return f // "enabled", "ture": meant as a yes
		}
	}
	if !s.asked {
		return fault{}
	}
	f := fault{
		check: idDisabled, severity: diagnose.Blocking, confidence: diagnose.Confirmed, params: map[string]string{"by": by, "value": value},
		word: fmt.Sprintf("%s sidecar.istio.io/inject=%s", by, value),
	}
	if note, ok := x.pod.Annotations[kube.LabelInject]; ok && by == "label" && note != value {
		f.word += fmt.Sprintf(" (the annotation %s doesn't count beside the label)", note)
	}
	if !s.named {
		f.severity = diagnose.Advice
	}
	return f
}

// selected judges a pod without a sidecar that injectors are called for.
func (s *survey) selected(x *subject, yes []cluster.Decision) fault {
	p, sp := x.pod, x.space
	if slices.Contains(ignoredByInjector, p.Namespace) {
		if !s.asked {
			return fault{}
		}
		return fault{check: idSelected, severity: diagnose.Blocking, confidence: diagnose.Confirmed, word: "the injector leaves every pod of namespace " + p.Namespace + " alone", params: map[string]string{"ignored": p.Namespace}}
	}
	if _, own := p.Labels[kube.LabelInject]; !own && sp.check == idConflict && !sp.inAmbient() {
		sp.hit = append(sp.hit, x)
	}
	for _, d := range yes {
		if f := s.refused(x, d); f.check != "" {
			return f
		}
	}
	if p.TemplateOf != "" {
		return s.hidden(x, yes[0].Revision) // the pods that it makes will have one
	}
	if sp.inAmbient() && !s.asked {
		return fault{}
	}
	if !fromCluster(p) {
		if !sp.shown {
			return fault{} // a manifest is as it is before injection
		}
		return fault{check: idMissing, severity: diagnose.Blocking, confidence: diagnose.Possible, params: map[string]string{"injector": yes[0].Title()},
			word: "nothing tells when it was made, and a pod that is older than the label has to be made anew"}
	}
	when, why, sureness := s.age(p, sp, yes[0])
	if leftForInjector(p) {
		x.image = true
		return fault{check: idImage, severity: diagnose.Blocking, confidence: diagnose.Confirmed, word: yes[0].Title() + " selects it now", params: map[string]string{"now": yes[0].Title()}}
	}
	f := fault{check: idMissing, severity: diagnose.Blocking, confidence: sureness, word: why, kind: sureness.String(), params: map[string]string{"injector": yes[0].Title()}}
	if yes[0].Managed {
		f.params["by_url"] = "true"
	}
	if !yes[0].Hook.FailsClosed() {
		f.word += "; the webhook's failurePolicy is Ignore, so that a call that fails lets the pod pass without one"
	}
	if when == before {
		f.check = idPredates
	}
	if p.Described {
		f.confidence = min(f.confidence, diagnose.Likely) // what kubectl describe leaves out may be the reason
	}
	return f
}

// hidden finds a pod, or template, whose label istio.io/rev has no effect, since its namespace has a label of injection: another
// revision injects it. by is that revision.
func (s *survey) hidden(x *subject, by string) fault {
	rev := x.pod.Labels[kube.LabelRevision]
	if rev == "" || by == "" || by == rev || !x.space.hasLabel() || x.space.inAmbient() || !s.served(rev) {
		return fault{}
	}
	for _, d := range x.list {
		if d.Match.Answer == kube.Yes && d.Serves(rev) {
			return fault{}
		}
	}
	return fault{
		check: idConflict, severity: diagnose.Degrading, confidence: diagnose.Confirmed, params: map[string]string{"rev": rev, "pod_rev": rev},
		word: fmt.Sprintf("has the label istio.io/rev=%s, which a label of namespace %s hides: revision %s injects", rev, x.space.name, by),
	}
}

// refused judges a pod that its injector's own settings leave alone.
func (s *survey) refused(x *subject, d cluster.Decision) fault {
	set, ok := cluster.SettingsOf(d.Injector, s.settings)
	if !ok {
		return fault{}
	}
	why, refuses := set.Refuses(x.pod)
	if !refuses {
		return fault{}
	}
	ref := set.ConfigMap.Ref()
	f := fault{
		check: idDisabled, severity: diagnose.Blocking, confidence: diagnose.Confirmed,
		params: map[string]string{"config_map": set.ConfigMap.Name, "config_namespace": set.ConfigMap.Namespace},
	}
	if why == cluster.PolicyWord {
		f.word = fmt.Sprintf("policy %s of ConfigMap %s", set.Policy, ref)
		f.excerpt = fmt.Sprintf("ConfigMap %s: policy: %s", ref, set.Policy)
		f.params["policy"] = set.Policy
		return f
	}
	if !s.asked {
		return fault{} // a selector that names pods is a choice
	}
	f.word = fmt.Sprintf("neverInjectSelector %s of ConfigMap %s", why, ref)
	f.excerpt = fmt.Sprintf("ConfigMap %s: neverInjectSelector: %s", ref, why)
	return f
}

// When a pod was made, beside what makes its injector select it.
const (
	unknownAge = iota
	before
	after
)

// labelSlack is how long after its creation a pod's own labels may be set and yet have been there from the start: the API server
// notes whole seconds.
const labelSlack = 2 * time.Second

// age compares when a pod was made with when its injector began to select it. Labels carry no time: managedFields tell when
// their manager last changed something, so that the label is no younger than that.
func (s *survey) age(p *kube.Pod, sp *space, d cluster.Decision) (when int, why string, c diagnose.Confidence) {
	if p.Created.IsZero() {
		return unknownAge, "nothing tells when it was made, and a pod that is older than the label has to be made anew", diagnose.Possible
	}
	made := p.Created.UTC().Format(time.RFC3339)
	if c := d.Config.Created; p.Created.Before(c) {
		return before, fmt.Sprintf("made at %s, and the webhook configuration %s at %s", made, d.Config.Name, c.UTC().Format(time.RFC3339)), diagnose.Likely
	}
	for _, key := range chooses(d.Hook.ObjectSelector) {
		if at, ok := p.LabelSetBy(key); ok && at.After(p.Created.Add(labelSlack)) {
			return before, fmt.Sprintf("made at %s, and its labels were changed at %s: an injector looks at a pod only when it is made", made, at.UTC().Format(time.RFC3339)), diagnose.Likely
		}
	}
	keys := chooses(d.Hook.NamespaceSelector)
	if len(keys) == 0 || sp.ns == nil {
		return after, fmt.Sprintf("made at %s, after the webhook configuration %s", made, d.Config.Name), diagnose.Confirmed
	}
	var set time.Time
	for _, key := range keys {
		if at, ok := sp.ns.LabelSetBy(key); ok && at.After(set) {
			set = at
		}
	}
	older := sp.first
	if !set.IsZero() {
		older = sp.sure
	}
	fromStart := !set.IsZero() && !sp.ns.Created.IsZero() && !set.After(sp.ns.Created.Add(labelSlack))
	switch {
	case fromStart:
		return after, fmt.Sprintf("made at %s, and namespace %s has its label from the start", made, sp.name), diagnose.Confirmed
	case !set.IsZero() && !p.Created.Before(set):
		return after, fmt.Sprintf("made at %s, after the namespace got its label (%s)", made, set.UTC().Format(time.RFC3339)), diagnose.Confirmed
	case !older.IsZero() && older.Before(p.Created):
		return after, fmt.Sprintf("made at %s, and an older pod, of %s, has one", made, older.UTC().Format(time.RFC3339)), diagnose.Likely
	case !set.IsZero():
		return before, fmt.Sprintf("made at %s, and the labels of namespace %s were last changed at %s", made, sp.name, set.UTC().Format(time.RFC3339)), diagnose.Likely
	case sp.last.After(p.Created):
		return before, fmt.Sprintf("made at %s, and only pods made later have a sidecar", made), diagnose.Likely
	}
	return unknownAge, fmt.Sprintf("made at %s; when namespace %s got its label isn't known, and a pod that is older has to be made anew", made, sp.name), diagnose.Possible
}

// chooses gives the keys of the labels that have to be there for a selector to match.
func chooses(sel *kube.Selector) []string {
	var out []string
	for _, r := range sel.Requirements() {
		if (r.Operator == "In" || r.Operator == "Exists") && r.Key != "kubernetes.io/metadata.name" {
			out = append(out, r.Key)
		}
	}
	return out
}

// notSelected judges a pod that no injector is called for.
func (s *survey) notSelected(x *subject, on bool, by string) {
	p, sp := x.pod, x.space
	_, hasRev := p.Labels[kube.LabelRevision]
	meant := on || hasRev || x.image
	switch {
	case sp.inAmbient():
		if s.named {
			x.fault = fault{check: idSelected, severity: diagnose.Advice, confidence: diagnose.Confirmed, params: map[string]string{"ambient": "true"},
				word: "namespace " + sp.name + " is in ambient mode (istio.io/dataplane-mode=ambient): its pods are in the mesh without sidecars"}
		}
		return
	case sp.check != "":
		x.take(sp, true)
		return
	case s.active == 0:
		x.fault = s.noInjector(meant || s.asked || s.makers[p.Namespace+"/"+cluster.Maker(p)] || (len(s.revisions) > 0 && s.req.Target.Kubernetes()))
		if x.check == "" && !s.whole {
			s.doubt("none of the injecting webhooks in the files given is active")
		}
		return
	}
	if hasRev && !sp.hasLabel() {
		if f := s.badRevision(p.Labels[kube.LabelRevision], "labelled istio.io/rev="+p.Labels[kube.LabelRevision]); f.check != idSelected {
			x.fault = f
			return
		}
	}
	if f := s.podTypo(x); f.check != "" {
		x.fault = f
		return
	}
	switch {
	case on && by == "annotation":
		x.fault = fault{check: idAnnotation, severity: diagnose.Blocking, confidence: s.sure(),
			word: fmt.Sprintf("the annotation sidecar.istio.io/inject=%s selects nothing", p.Annotations[kube.LabelInject])}
	case x.image:
		x.fault = fault{check: idImage, severity: diagnose.Blocking, confidence: s.sure(), word: s.none() + " selects it"}
	case meant, s.named, s.makers[p.Namespace+"/"+cluster.Maker(p)]:
		x.fault = fault{check: idSelected, severity: diagnose.Blocking, confidence: s.sure(), word: s.reason(x, on)}
	default:
		sp.unlabelled = append(sp.unlabelled, x)
	}
}

// reason says in a few words why no injector selects a pod.
func (s *survey) reason(x *subject, on bool) string {
	p, sp := x.pod, x.space
	switch {
	case sp.ns == nil:
		return "no selector of an injector matches it"
	case sp.ns.Labels[kube.LabelInjection] == disabled:
		return fmt.Sprintf("namespace %s is labelled istio-injection=disabled", sp.name)
	case sp.hasLabel() && (on || p.Labels[kube.LabelRevision] != ""):
		return fmt.Sprintf("namespace %s has a label of injection itself, which hides that of the pod", sp.name)
	case on && !s.asksFor(kube.LabelInject, false, "In"):
		return "the label sidecar.istio.io/inject=true is looked at by the injector of a default revision alone, and none is installed"
	case !sp.hasLabel():
		return fmt.Sprintf("neither namespace %s nor the pod has a label that an injector asks for", sp.name)
	}
	return "no selector of an injector matches it"
}

// judgeUnlabelled takes up a namespace of which nothing says that it is to be in the mesh: where somebody says that sidecars are
// missing; and, as advice, where it is asked about by name and has no sidecar at all. Files with several namespaces aren't such
// a question.
func (s *survey) judgeUnlabelled() {
	for _, sp := range s.spaces {
		if sp.ns == nil || sp.check != "" || len(sp.unlabelled) == 0 {
			continue
		}
		f := fault{check: idSelected, severity: diagnose.Advice, confidence: s.sure(), word: "neither namespace " + sp.name + " nor its pods have a label that an injector asks for"}
		switch off := sp.ns.Labels[kube.LabelInjection] == disabled; {
		case s.asked && off:
			f.word = "namespace " + sp.name + " is labelled istio-injection=disabled"
		case s.asked:
			f.severity = diagnose.Blocking
		case !s.advisable(sp):
			continue
		}
		sp.fault = f
		for _, x := range sp.unlabelled {
			x.take(sp, true)
		}
	}
}

// advisable says whether it is worth a word that a namespace isn't in the mesh.
func (s *survey) advisable(sp *space) bool {
	if s.req.Target.Namespace != sp.name || sp.injected > 0 || !s.whole || sp.hasLabel() || sp.inAmbient() || cluster.System(sp.name) {
		return false
	}
	fix, _ := cluster.Fixes(&sp.plain, sp.ns, s.injectors, s.results, s.req.Target.Revision)
	return fix != nil
}
