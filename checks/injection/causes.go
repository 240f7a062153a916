package injection

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/meshdiag/meshdiag/checks/cluster"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

// bunch is pods that one cause is about: those of one maker, of one namespace, or of several.
type bunch struct {
	fault
	title string // "pod shop/checkout-1", "12 pods of Deployment shop/checkout", "namespace shop"
	key   string
	group cluster.Group // of the first; Pods may be empty for a namespace without pods
	first *subject
	space *space
	count int // pods
	// wide says that it is about a whole namespace, or more.
	wide bool
	one  bool // a single pod or template, so that a sentence says "it"
}

// byPod gathers the pods that were put down to a check for their own sake, not for their namespace's.
func (s *survey) byPod(check diagnose.CheckID) []bunch {
	return s.bunches(func(x *subject) bool { return x.check == check && x.space.check != check })
}

// bunches gathers pods by maker and reason; those of too many makers become one bunch of their namespace, and those of too many
// namespaces one.
func (s *survey) bunches(match func(*subject) bool) []bunch {
	type id struct{ ns, maker, name, word string }
	at := map[id]*bunch{}
	var order []id
	for _, x := range s.subjects {
		if !match(x) {
			continue
		}
		k := id{ns: x.pod.Namespace, maker: cluster.Maker(x.pod), word: cmp.Or(x.kind, x.word)}
		if k.maker == "" {
			k.name = x.pod.Name
		}
		b := at[k]
		if b == nil {
			b = &bunch{fault: x.fault, first: x, space: x.space, group: cluster.Group{Namespace: k.ns, Maker: k.maker}}
			at[k] = b
			order = append(order, k)
		}
		b.group.Pods = append(b.group.Pods, *x.pod)
		b.severity = max(b.severity, x.severity)
		b.confidence = min(b.confidence, x.confidence)
	}
	slices.SortFunc(order, func(a, b id) int {
		return cmp.Or(strings.Compare(a.ns, b.ns), strings.Compare(a.maker, b.maker), strings.Compare(a.name, b.name), strings.Compare(a.word, b.word))
	})
	makers := map[string]int{}
	for _, k := range order {
		makers[k.ns]++
	}
	var out []bunch
	whole := map[string]int{} // index in out of a namespace's one bunch
	for _, k := range order {
		b := at[k]
		b.count = len(b.group.Pods)
		if makers[k.ns] <= maxGroups {
			b.title, b.key, b.one = b.group.Title(), b.group.Key(s.req), b.count == 1
			out = append(out, *b)
			continue
		}
		i, ok := whole[k.ns]
		if !ok {
			whole[k.ns] = len(out)
			b.wide, b.key = true, spaceKey(s.req, k.ns)
			b.title = fmt.Sprintf("of %d workloads of namespace %s", makers[k.ns], k.ns)
			out = append(out, *b)
			continue
		}
		out[i].count += b.count
		out[i].severity, out[i].confidence = max(out[i].severity, b.severity), min(out[i].confidence, b.confidence)
	}
	for i := range out {
		if out[i].wide {
			out[i].title = fmt.Sprintf("%d pods %s", out[i].count, out[i].title)
		}
	}
	return s.few(out)
}

// spaceKey is the key of what is about a whole namespace.
func spaceKey(req diagnose.Request, ns string) string {
	return strings.TrimSuffix(cluster.NamespaceKey(req, ns), "/")
}

// bySpace gathers the namespaces that were put down to a check. Of a pod or workload asked about by name, a namespace matters
// where the pod is hit.
func (s *survey) bySpace(check diagnose.CheckID) []bunch {
	var out []bunch
	for _, sp := range s.spaces {
		if sp.check != check || (s.named && len(sp.hit) == 0 && len(s.subjects) > 0) {
			continue
		}
		b := bunch{fault: sp.fault, space: sp, key: spaceKey(s.req, sp.name), title: "namespace " + sp.name, count: len(sp.hit), wide: true}
		b.group = cluster.Group{Namespace: sp.name}
		if len(sp.hit) > 0 {
			b.first = sp.hit[0]
			maker := cluster.Maker(b.first.pod)
			if !slices.ContainsFunc(sp.hit, func(x *subject) bool { return cluster.Maker(x.pod) != maker }) {
				b.group = cluster.Group{Namespace: sp.name, Maker: maker, Pods: []kube.Pod{*b.first.pod}} // one workload to restart
			}
		}
		out = append(out, b)
	}
	return s.few(out)
}

// few makes one bunch of those of too many namespaces.
func (s *survey) few(list []bunch) []bunch {
	var names []string
	for _, b := range list {
		names = append(names, b.space.name)
	}
	names = slices.Compact(names)
	if len(names) <= maxSpaces {
		return list
	}
	one := list[0]
	one.wide, one.key, one.count = true, "namespaces", 0
	for _, b := range list {
		one.count += b.count
		one.severity, one.confidence = max(one.severity, b.severity), min(one.confidence, b.confidence)
	}
	one.title = fmt.Sprintf("%d namespaces (%s)", len(names), some(names))
	return []bunch{one}
}

// some names the first of a list, and counts the others.
func some(names []string) string {
	if len(names) <= maxNames {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:maxNames], ", "), len(names)-maxNames)
}

func podCount(n int) string {
	if n == 1 {
		return "1 pod"
	}
	return fmt.Sprintf("%d pods", n)
}

// sentence begins a text with a capital.
func sentence(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// affected says how many pods a namespace's fault hits: " (12 pods)".
func (b bunch) affected() string {
	switch {
	case b.count == 0:
		return ""
	case b.count == 1 && b.first != nil:
		return " (" + b.first.pod.Title() + ")"
	}
	return " (" + podCount(b.count) + ")"
}

// firstOf says that what follows is of the first of several pods.
func (b bunch) firstOf() string {
	if b.one {
		return ""
	}
	return "the first was "
}

// verb gives the form of a verb that goes with the title.
func (b bunch) verb(one, many string) string {
	if b.one || strings.HasPrefix(b.title, "namespace ") {
		return one
	}
	return many
}

// cause makes the cause of a bunch, with the exhibits of its selection and the parameters that say how to restart its pods.
func (s *survey) cause(b bunch, summary string) diagnose.Cause {
	c := diagnose.Cause{
		Subject: b.title, Key: b.key, Summary: summary, Confidence: b.confidence, Severity: b.severity, Params: s.params(b),
		Evidence: s.exhibits(b),
	}
	return c
}

// params are those of the fault, of the group, and of how its pods are made anew: restart, restart_all, delete_pod, bare_pod, or none
// for templates.
func (s *survey) params(b bunch) map[string]string {
	p := map[string]string{"namespace": b.space.name}
	alone := len(b.group.Pods) > 0 && (!b.wide || b.group.Maker != "")
	if alone {
		maps.Copy(p, b.group.Params())
	}
	maps.Copy(p, b.fault.params)
	if s.plane.Managed() {
		p["managed"] = cmp.Or(p["managed"], s.planeWhy)
	}
	p["revisions"] = strings.Join(s.offered(), ", ")
	if b.first == nil || b.first.pod.TemplateOf != "" {
		return p
	}
	kind, _, _ := strings.Cut(b.group.Maker, "/")
	switch {
	case !alone:
		p["restart_all"] = p["namespace"]
	case kind == "Deployment", kind == "StatefulSet", kind == "DaemonSet":
		p["restart"] = p["workload"]
	case kind == "ReplicaSet", kind == "ReplicationController":
		p["delete_pod"] = p["pod"]
	case kind == "":
		p["bare_pod"] = p["pod"]
	default:
		p["again"] = p["workload"]
	}
	return p
}

// advise adds to a cause the changes of labels that would make an injector select its pods. It says the best of them in a few
// words, "" where none was found.
func (s *survey) advise(c *diagnose.Cause, b bunch) string {
	p := &b.space.plain
	if b.first != nil {
		p = b.first.pod
	}
	onSpace, onPod := cluster.Fixes(p, b.space.ns, s.injectors, s.results, s.req.Target.Revision)
	if b.wide {
		onPod = nil
	}
	best := onSpace
	if best == nil {
		best = onPod
	}
	if onSpace != nil {
		if onSpace.Key != "" {
			c.Params["ns_label"] = onSpace.Key + "=" + onSpace.Value
		}
		c.Params["ns_remove"] = onSpace.Remove
		c.Params["injector"] = onSpace.Injector.Title()
	}
	if onPod != nil {
		c.Params["pod_injector"] = onPod.Injector.Title()
		relabel(c, b, onPod.Key, onPod.Value, onPod.Remove, onSpace != nil)
	}
	if best == nil {
		leaveRunning(c) // as long as nothing selects them, new pods are like the old
		return ""
	}
	return fmt.Sprintf("with %s on %s, %s would", best, best.Where(p), best.Injector.Config.Name)
}

// leaveRunning takes the steps that make pods anew out of a remedy: a change of the template does that by itself, or nothing would
// be different.
func leaveRunning(c *diagnose.Cause) {
	for _, name := range []string{"restart", "restart_all", "delete_pod", "bare_pod", "again"} {
		delete(c.Params, name)
	}
}

// relabel says how to change the labels of the pods' template: pod_label, and pod_patch where a workload can be patched; with or_
// before the names where it is one way of two.
func relabel(c *diagnose.Cause, b bunch, key, value, remove string, alternative bool) {
	var words []string
	labels := map[string]any{}
	if remove != "" {
		labels[remove] = nil
		words = append(words, "no "+remove)
	}
	if key != "" {
		labels[key] = value
		words = append(words, fmt.Sprintf("%s: %q", key, value))
	}
	name, patchName := "pod_label", "pod_patch"
	if alternative {
		name, patchName = "or_pod_label", "or_pod_patch"
	} else {
		leaveRunning(c)
	}
	c.Params[name] = strings.Join(words, ", ")
	kind, _, _ := strings.Cut(b.group.Maker, "/")
	patch := map[string]any{"spec": map[string]any{"template": map[string]any{"metadata": map[string]any{"labels": labels}}}}
	switch kind {
	case "Deployment", "StatefulSet", "DaemonSet":
	case "CronJob":
		patch = map[string]any{"spec": map[string]any{"jobTemplate": patch}}
	default:
		return // a pod of its own, or a Job, can't be changed; and another's ReplicaSet is not to be
	}
	if text, err := json.Marshal(patch); err == nil && b.group.Pods[0].Origin == "" {
		c.Params[patchName] = string(text)
	}
}

// exhibits show the labels, and what each injector says of them.
func (s *survey) exhibits(b bunch) []diagnose.Exhibit {
	var out []diagnose.Exhibit
	shown := ""
	if b.space.ns != nil {
		shown = s.labelsOf(b.space.ns.Labels, true)
	}
	if b.first != nil {
		shown += s.describe(b.first.pod)
	}
	if _, what, _ := strings.Cut(b.excerpt, ": "); b.excerpt != "" && !strings.Contains(shown, what) {
		fact := evidence.Namespaces.Name()
		switch {
		case strings.HasPrefix(b.excerpt, "ConfigMap "):
			fact = evidence.ConfigMaps.Name()
		case b.first != nil && strings.Contains(b.excerpt, b.first.pod.Title()):
			fact = factOf(b.first.pod)
		}
		out = append(out, diagnose.Exhibit{Fact: fact, Excerpt: b.excerpt})
	}
	if b.space.ns != nil {
		out = append(out, diagnose.Exhibit{Fact: evidence.Namespaces.Name(), Excerpt: fmt.Sprintf("namespace %s: %s%s", b.space.name, s.labelsOf(b.space.ns.Labels, true), origin(&b.space.ns.Meta))})
	}
	p, list := &b.space.plain, b.space.list
	if b.first != nil {
		p, list = b.first.pod, b.first.list
		out = append(out, diagnose.Exhibit{Fact: factOf(p), Excerpt: s.describe(p)})
	}
	return append(out, explain(p, b.space.ns, list)...)
}

func factOf(p *kube.Pod) evidence.Name {
	if p.TemplateOf != "" {
		return evidence.Workloads.Name()
	}
	return evidence.Pods.Name()
}

func origin(m *kube.Meta) string {
	if m.Origin == "" {
		return ""
	}
	return " (" + m.Origin + ")"
}

// describe shows of a pod what decides about injection.
func (s *survey) describe(p *kube.Pod) string {
	parts := []string{s.labelsOf(p.Labels, false)}
	if v, ok := p.Annotations[kube.LabelInject]; ok {
		parts = append(parts, "annotation sidecar.istio.io/inject="+v)
	}
	if p.Spec.HostNetwork {
		parts = append(parts, "hostNetwork: true")
	}
	if !p.Created.IsZero() {
		parts = append(parts, "made at "+p.Created.UTC().Format("2006-01-02T15:04:05Z"))
	}
	names := func(list []kube.Container) string {
		var out []string
		for _, c := range list {
			out = append(out, c.Name)
		}
		return some(out)
	}
	if len(p.Spec.Containers) > 0 {
		parts = append(parts, "containers "+names(p.Spec.Containers))
	}
	if len(p.Spec.InitContainers) > 0 {
		parts = append(parts, "initContainers "+names(p.Spec.InitContainers))
	}
	return p.Title() + ": " + strings.Join(parts, "; ") + origin(&p.Meta)
}

// labelsOf shows those labels that have to do with injection.
func (s *survey) labelsOf(labels map[string]string, ofNamespace bool) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		if strings.Contains(k, "istio") || s.asksFor(k, ofNamespace) {
			out = append(out, k+"="+labels[k])
		}
	}
	if len(out) == 0 {
		return "no label of the mesh"
	}
	return "labels " + strings.Join(out, ", ")
}

// explain shows what each injector says of a pod, one exhibit a configuration.
func explain(p *kube.Pod, ns *kube.Namespace, list []cluster.Decision) []diagnose.Exhibit {
	var out []diagnose.Exhibit
	last := ""
	for _, d := range list {
		line := d.Explain(p, ns)
		if len(out) > 0 && d.Config.Name == last {
			out[len(out)-1].Excerpt += "\n" + line
			continue
		}
		if len(out) == maxConfigurations {
			break
		}
		last = d.Config.Name
		out = append(out, diagnose.Exhibit{Fact: evidence.MutatingWebhooks.Name(), Excerpt: d.Config.Name + ":\n" + line, Source: d.Source})
	}
	return out
}

// The steps that several checks end with.
var (
	relabelSteps = []diagnose.Step{
		{If: "ns_remove", Text: "Take the label {{ns_remove}} off namespace {{namespace}}", Command: "kubectl label namespace {{namespace}} {{ns_remove}}-"},
		{If: "ns_label", Text: "Label namespace {{namespace}} with {{ns_label}}: from then on all its new pods are injected", Command: "kubectl label namespace {{namespace}} {{ns_label}} --overwrite"},
	}
	podLabelSteps = []diagnose.Step{
		{If: "pod_patch", Text: "Put {{pod_label}} into the labels of the pods' template; this rolls the workload out", Command: "kubectl -n {{namespace}} patch {{workload}} --type merge -p {{pod_patch}}"},
		{If: "pod_label", Unless: "pod_patch", Text: "Put {{pod_label}} into the labels of the pod or its template (not of the workload itself) in the manifest, and apply that"},
		{If: "or_pod_patch", Text: "Or, for these pods alone, put {{or_pod_label}} into the labels of their template, which {{pod_injector}} then selects; this rolls the workload out", Command: "kubectl -n {{namespace}} patch {{workload}} --type merge -p {{or_pod_patch}}"},
		{If: "or_pod_label", Unless: "or_pod_patch", Text: "Or, for these pods alone, put {{or_pod_label}} into the labels of the pod or its template (not of the workload itself) in the manifest, which {{pod_injector}} then selects, and apply that"},
	}
	remakeSteps = []diagnose.Step{
		{If: "restart", Text: "Make the pods anew: an injector looks at a pod only when it is made", Command: "kubectl -n {{namespace}} rollout restart {{restart}}"},
		{If: "restart_all", Text: "Make the pods anew, since an injector looks at a pod only when it is made; this restarts every Deployment of the namespace, in turns", Command: "kubectl -n {{namespace}} rollout restart deployment"},
		{If: "delete_pod", Text: "Delete the pod, for its owner to make it anew: an injector looks at a pod only when it is made", Command: "kubectl -n {{namespace}} delete pod {{delete_pod}}"},
		{If: "bare_pod", Text: "Nothing makes pod {{bare_pod}} anew: delete it and apply its manifest again. An injector looks at a pod only when it is made"},
		{If: "again", Text: "Run {{again}} again: an injector looks at a pod only when it is made"},
	}
	checkStep = diagnose.Step{Text: "See whether the new pods have istio-proxy, among the containers or the initContainers",
		Command: "kubectl -n {{namespace}} get pods -o 'custom-columns=NAME:.metadata.name,INIT:.spec.initContainers[*].name,CONTAINERS:.spec.containers[*].name'"}
)

// steps joins lists of steps.
func steps(lists ...[]diagnose.Step) []diagnose.Step { return slices.Concat(lists...) }
