package startup

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/meshdiag/meshdiag/checks/cluster"
	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

// ProxyNotReady finds applications that were refused connections because their proxy wasn't ready yet.
var ProxyNotReady = diagnose.Check{
	ID:         "startup/proxy-not-ready",
	Severity:   diagnose.Degrading,
	Layer:      diagnose.LayerCluster,
	Symptoms:   []diagnose.Symptom{diagnose.SymptomPodNotStarting, diagnose.SymptomRequestsFail},
	Needs:      needs,
	Signatures: []diagnose.Signature{messages.ConnectionRefused, messages.ProxyReady, messages.ProxyNotReady, messages.ProbeFailed},
	Doc: diagnose.Doc{
		Title: "The application connected before its proxy was ready",
		Explanation: "Once istio-init has run, or the CNI plugin has, every connection of the pod goes to its proxy. The containers of a pod start at about the same time, and the proxy first has to get " +
			"its certificate and its configuration: until then nothing listens where the connections are sent to, and they are refused whatever they are for. The destination itself is not to blame.",
		Quiet: "The connection was refused when the proxy was ready, or goes past it (an excluded address or port, a container that runs as user 1337, loopback); the application is held until the proxy is " +
			"ready, by a hook of this very pod or as a native sidecar with a startup probe; or nothing tells when the proxy became ready.",
		Remedy: []diagnose.Step{
			{If: "misplaced", Text: "The annotation proxy.istio.io/config of {{misplaced}} stands at the workload itself, where the injector doesn't look. It belongs to the pod template, as the next step sets it"},
			{If: "restart", Text: "The pod template asks for the hold already, and this pod was made before it did, or by an injector that doesn't know it: restart the workload", Command: "kubectl -n {{namespace}} rollout restart {{workload}}"},
			{If: "overridden", Text: "This pod asks for the hold, and its proxy has other lifecycle hooks in its place. They come from values.global.proxy.lifecycle of the installation, or a custom injection template, which goes before the hold: " +
				"take them out there, or add a postStart hook that runs pilot-agent wait"},
			{If: "unheeded", Text: "This pod asks for the hold (proxy.istio.io/config) and its proxy does not wait: the annotation was set after the pod was made, can't be read as YAML, or its injector is older than Istio 1.7. Make the pod anew and look again"},
			{If: "probeless", Text: "The proxy is a native sidecar without a startup probe, so that the application doesn't wait for it. The hold has no effect on native sidecars: in the installation set values.global.proxy.startupProbe.enabled to true, and restart the workload"},
			{If: "hold", Text: "Hold the application until the proxy is ready: set the annotation in the pod template (this restarts the pods)", Command: "kubectl -n {{namespace}} patch {{workload}} --type=merge -p {{hold}}"},
			{If: "hold_by_hand", Text: "Hold the application until the proxy is ready: add holdApplicationUntilProxyStarts: true to the annotation proxy.istio.io/config of the pod template, spec.template.metadata.annotations, not of the workload itself, and make the pods anew"},
			{If: "hold_everywhere", Text: "The control plane runs in the cluster ({{hold_everywhere}}): there meshConfig.defaultConfig.holdApplicationUntilProxyStarts: true holds every application of the mesh, from its next restart on"},
			{Text: "Or let the application itself wait before it connects; a container's command can begin with: until curl -fsS http://localhost:15020/healthz/ready; do sleep 1; done"},
			{Text: "In any case let it try again when a connection is refused: proxies restart, too"},
		},
		References: []string{refGuide, refStartup, refAnnotations, refSidecars},
	},
	Evaluate: proxyNotReady,
}

func proxyNotReady(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	s := look(req, v)
	var list []found
	suspect := false
	for _, x := range s.all() {
		if f, ok := s.raced(x); ok {
			list = append(list, f)
		}
		suspect = suspect || x.seen && x.proxy != nil && !x.ready()
	}
	if len(list) == 0 && len(s.starts) == 0 && len(s.gone) == 0 {
		if f, ok := s.acrossLogs(); ok {
			list = append(list, f)
		}
	}
	if len(list) > 0 {
		return s.causes(list), nil
	}
	if err := s.openLogs(suspect); err != nil {
		return nil, err
	}
	if len(s.starts) == 0 && len(s.gone) == 0 && len(s.logs) > 0 {
		return nil, diagnose.Skip("the logs given don't tell when a proxy became ready beside a refused connection")
	}
	return nil, nil
}

// early is a refused connection that came before the proxy was ready.
type early struct {
	refusal
	order order
	by    time.Time
	goes  goes
}

// raced says whether a pod's application was refused before its proxy was ready.
func (s *survey) raced(x *start) (found, bool) {
	if x.held() {
		return found{}, false
	}
	from, on := x.interceptedFrom()
	if x.seen && (x.proxy == nil || !on) {
		return found{}, false
	}
	r := x.readiness()
	if !x.seen && r.ready.IsZero() && len(r.not) == 0 {
		return found{}, false
	}
	var first *early
	persists := map[string]bool{} // what is refused with the proxy ready, too
	var all []early
	for _, l := range x.lines {
		c, ok := refused(l)
		if !ok || x.ofInit(c.container) {
			continue
		}
		way := x.goesTo(c)
		if way == goesBy {
			continue
		}
		c.at, c.bound = x.whenLogged(l)
		if !r.ready.IsZero() && l.Last.After(r.ready.Add(slack)) {
			persists[c.target()] = true
		}
		if !x.plausible(c) || c.at.Before(from) && !c.bound && from.Sub(c.at) > time.Second {
			continue
		}
		e := early{refusal: c, goes: way}
		e.order, e.by = r.compare(x, c.at, c.bound)
		all = append(all, e)
	}
	for i, e := range all {
		if e.order == after {
			persists[e.target()] = true
		}
		if (e.order == before || e.order == likely) && (first == nil || e.at.Before(first.at)) {
			first = &all[i]
		}
	}
	if first == nil || persists[first.target()] {
		return found{}, false
	}
	return s.race(x, *first, r), true
}

// ofInit says whether a container is an init container that ends.
func (x *start) ofInit(name string) bool {
	c, init := x.pod.Container(name)
	return init && !c.Native()
}

// whenLogged gives when a message was logged; where its line tells no time, the end of the run that logged it, which is no earlier.
func (x *start) whenLogged(l line) (at time.Time, bound bool) {
	if !l.First.IsZero() {
		return l.First, false
	}
	s := x.pod.StatusOf(l.container)
	if s == nil || !l.sure || s.Restarts > 1 && l.previous {
		return at, false
	}
	t := s.State.Terminated
	if l.previous || t == nil && s.Restarts == 1 && l.object() {
		t = s.Last.Terminated
	}
	if t == nil {
		return at, false
	}
	return t.Finished, true
}

// object says whether the pod's own status holds the message: why a container ended.
func (l line) object() bool { return object.MatchString(l.File) || object.MatchString(l.Source.Detail) }

// plausible says whether a refusal's time can be right: an application's own times may be of another zone.
func (x *start) plausible(c refusal) bool {
	if c.at.IsZero() {
		return false
	}
	begin := firstStart(x.pod.StatusOf(c.container))
	if begin.IsZero() {
		begin = x.pod.Status.Started
	}
	if begin.IsZero() {
		begin = x.pod.Created
	}
	return begin.IsZero() || !c.at.Before(begin.Add(-time.Second))
}

// race describes it.
func (s *survey) race(x *start, e early, r readiness) found {
	f := found{x: x, word: e.container, params: map[string]string{}, severity: diagnose.Degrading, confidence: diagnose.Likely}
	if st := x.pod.StatusOf(e.container); st != nil && (whyWaiting(st) == "CrashLoopBackOff" || st.State.Terminated != nil) {
		f.severity = diagnose.Blocking // it doesn't try again by itself
	}
	who := "The application"
	if e.container != "" {
		who = "Container " + e.container
	}
	if !x.seen && x.file != "" {
		who = "An application"
	}
	var what string
	switch ahead := e.by.Sub(e.at); {
	case e.order == likely:
		what = fmt.Sprintf("and %s later the proxy's readiness probe still failed", seconds(ahead))
	case !r.started.IsZero() && e.by.Equal(r.started):
		what = fmt.Sprintf("%s before container istio-proxy started", about(ahead, e.bound))
	default:
		what = fmt.Sprintf("%s before its proxy was ready", about(ahead, e.bound))
	}
	f.summary = fmt.Sprintf("%s of %s was refused %s %s.", who, x.title(), e.toward(), what)
	if x.seen {
		f.summary = strings.TrimSuffix(f.summary, ".") + "; its traffic went to the proxy by then."
	}
	if x.seen && e.sure && e.order == before && e.goes == goesThere {
		f.confidence = diagnose.Confirmed
	}
	f.lines = []line{e.line}
	s.hold(x, f.params)
	return f
}

// about writes by how much something was earlier, which may be more.
func about(d time.Duration, bound bool) string {
	if bound {
		return "at least " + seconds(d)
	}
	return seconds(d)
}

// hold fills in what is to be done that the application waits.
func (s *survey) hold(x *start, p map[string]string) {
	maker := cluster.Maker(x.pod)
	config, own := s.annotation(x, kube.AnnotationProxyConfig)
	asks := wantsHold(&x.pod.Meta)
	template := holdPattern.MatchString(config)
	if s.plane == cluster.InCluster && !x.native {
		p["hold_everywhere"] = s.planeWhy
	}
	switch {
	case x.native:
		p["probeless"] = "true"
		return
	case asks && x.proxy != nil && x.proxy.Lifecycle != nil:
		p["overridden"] = "true"
		delete(p, "hold_everywhere")
		return
	case asks:
		p["unheeded"] = "true"
		return
	case template && templatePaths[strings.SplitN(maker, "/", 2)[0]] != nil && !strings.HasPrefix(maker, "CronJob/"):
		p["restart"] = "true"
		return
	case holdPattern.MatchString(own):
		p["misplaced"] = maker
	}
	if with, ok := withHold(config); ok {
		p["hold"] = patch(maker, one(kube.AnnotationProxyConfig, with))
	}
	if p["hold"] == "" {
		p["hold_by_hand"] = "true"
	}
}

// acrossLogs looks at logs of several files, none of which names its pod, as if they were of one: an application's and its proxy's.
// That is a guess.
func (s *survey) acrossLogs() (found, bool) {
	if len(s.logs) < 2 {
		return found{}, false
	}
	x := newStart(&kube.Pod{})
	var files []string
	for _, l := range s.logs {
		x.lines = append(x.lines, l.lines...)
		files = append(files, l.file)
	}
	slices.Sort(files)
	x.file = cut(strings.Join(files, " and "), maxQuote)
	f, ok := s.raced(x)
	f.confidence = diagnose.Possible
	return f, ok
}
