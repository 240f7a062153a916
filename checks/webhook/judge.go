package webhook

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

// faults are what the cluster's objects say is wrong with a server, nil for what isn't; and what they say is right.
type faults struct {
	gone     *fault // its revision of the control plane isn't there any more
	missing  *fault // the Service isn't there, or can't be called
	idle     *fault // nothing ready behind it
	empty    *fault // a caBundle is empty
	invalid  *fault // a caBundle can't be used, or doesn't verify what is served
	expiring *fault // a caBundle goes out of date soon
	misnamed *fault // what is served is for another name
	outdated *fault // what is served is out of date

	exists   bool   // the Service is there, with its port
	ready    string // "2 ready endpoints", "" where none was seen
	verified bool   // what is served is verified by every caBundle
	named    bool   // what is served is for the right name

	openService, openEndpoints, openControlPlane error // why the one and the other can't be decided
}

// fault is one of them.
type fault struct {
	hooks      []hook // the entries concerned
	summary    string
	confidence diagnose.Confidence
	severity   diagnose.Severity // where it differs from what the hooks give
	params     map[string]string
	shown      []diagnose.Exhibit
}

// judge finds what objects say of a server. In-cluster faults are those of Services: what a URL leads to isn't in the cluster.
func (s *survey) judge(u *server) {
	if u.ref == nil {
		return
	}
	hooks := slices.DeleteFunc(slices.Clone(u.hooks), func(h hook) bool { return !s.matters(u, h) })
	if len(hooks) == 0 {
		// Of others' webhooks those are looked at whose calls fail.
		failed := slices.DeleteFunc(slices.Clone(u.said), func(m said) bool { return m.kind == denied || m.over() })
		if len(failed) == 0 {
			return
		}
		hooks = s.named(u, failed)
	}
	s.judgeService(u, hooks)
	s.judgeEndpoints(u, hooks)
	s.judgeControlPlane(u, hooks)
	s.judgeBundles(u, hooks)
	s.judgeServing(u, hooks)
}

// matters says whether a fault of an entry is told though no message speaks of it: of the mesh's own, and of another one that keeps
// the pods that are asked about from being made.
func (s *survey) matters(u *server, h hook) bool {
	return u.mesh && !h.inert || s.req.Target.Namespace != "" && h.hook.FailsClosed() && s.calls(h)
}

func (s *survey) findService(r *kube.ServiceReference) *kube.Service {
	for _, b := range s.services {
		for i := range b.Items {
			if x := &b.Items[i]; x.Name == r.Name && x.Namespace == r.Namespace {
				return x
			}
		}
	}
	return nil
}

func (s *survey) judgeService(u *server, hooks []hook) {
	svc := s.findService(u.ref)
	at := fault{hooks: hooks, confidence: diagnose.Confirmed, params: map[string]string{}}
	if svc == nil {
		if !evidence.Covers(s.services, u.ref.Namespace) {
			u.openService = s.notRead(s.servicesErr, evidence.ClusterServices.Name(), "the Services of namespace "+u.ref.Namespace)
			return
		}
		at.summary = fmt.Sprintf("Service %s does not exist", u.service())
		at.shown = []diagnose.Exhibit{{Fact: evidence.ClusterServices.Name(), Excerpt: "Services of namespace " + u.ref.Namespace + ": " + s.serviceNames(u.ref.Namespace)}}
		u.missing = &at
		return
	}
	i := slices.IndexFunc(svc.Spec.Ports, func(p kube.ServicePort) bool { return p.Port == u.ref.PortNumber() })
	switch {
	case svc.Spec.Type == "ExternalName":
		at.summary = fmt.Sprintf("Service %s is an ExternalName (%s), which the API server does not call", u.service(), svc.Spec.ExternalName)
		at.shown = []diagnose.Exhibit{{Fact: evidence.ClusterServices.Name(), Excerpt: "Service " + svc.Ref() + ": type ExternalName, externalName " + svc.Spec.ExternalName}}
	case i < 0 && len(svc.Spec.Ports) > 0:
		var ports []string
		for _, p := range svc.Spec.Ports {
			ports = append(ports, strings.TrimSpace(fmt.Sprintf("%d %s", p.Port, p.Name)))
		}
		at.summary = fmt.Sprintf("Service %s has no port %d", svc.Ref(), u.ref.PortNumber())
		at.shown = []diagnose.Exhibit{{Fact: evidence.ClusterServices.Name(), Excerpt: "Service " + svc.Ref() + ": ports " + strings.Join(ports, ", ")}}
	default:
		u.exists = true
		return
	}
	at.params["unusable"] = "yes"
	u.missing = &at
}

// serviceNames lists the Services of a namespace.
func (s *survey) serviceNames(namespace string) string {
	var names []string
	for _, x := range evidence.All(s.services) {
		if x.Namespace == namespace {
			names = append(names, x.Name)
		}
	}
	if len(names) == 0 {
		return "none"
	}
	slices.Sort(names)
	return some(slices.Compact(names), 2*maxNames)
}

// some joins names, and says how many more there are than fit.
func some(names []string, most int) string {
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

func (s *survey) judgeEndpoints(u *server, hooks []hook) {
	svc := s.findService(u.ref)
	if u.missing != nil {
		return
	}
	port, named := "", false
	if svc != nil {
		if i := slices.IndexFunc(svc.Spec.Ports, func(p kube.ServicePort) bool { return p.Port == u.ref.PortNumber() }); i >= 0 {
			port, named = svc.Spec.Ports[i].Name, true
		}
	}
	seen, ready, otherPort, notReady := 0, 0, 0, 0
	for _, x := range evidence.All(s.endpoints) {
		if x.Namespace != u.ref.Namespace || x.Service() != u.ref.Name {
			continue
		}
		seen++
		serves := !named || slices.ContainsFunc(x.Ports, func(p struct {
			Name     string `json:"name,omitempty"`
			Port     int    `json:"port,omitempty"`
			Protocol string `json:"protocol,omitempty"`
		}) bool {
			return p.Name == port
		})
		for i := range x.Endpoints {
			switch {
			case !x.Endpoints[i].IsReady():
				notReady++
			case !serves:
				otherPort++
			default:
				ready++
			}
		}
	}
	covered := evidence.Covers(s.endpoints, u.ref.Namespace)
	switch {
	case ready > 0:
		u.ready = plural(ready, "ready endpoint", "ready endpoints")
		return
	case seen == 0 && !covered:
		u.openEndpoints = s.notRead(s.slicesErr, evidence.EndpointSlices.Name(), "the EndpointSlices of namespace "+u.ref.Namespace)
		return
	}
	at := fault{hooks: hooks, confidence: diagnose.Confirmed, params: map[string]string{}}
	if !covered {
		at.confidence = diagnose.Likely // a file may leave out others of the Service's slices
	}
	excerpt := fmt.Sprintf("Service %s: no EndpointSlice", u.service())
	if seen > 0 {
		excerpt = fmt.Sprintf("EndpointSlices of Service %s: %d ready, %d not ready", u.service(), otherPort, notReady)
	}
	at.summary = fmt.Sprintf("Service %s has no ready endpoint", u.service())
	if otherPort > 0 {
		at.summary = fmt.Sprintf("Service %s has %s, but none with its port %q", u.service(), plural(otherPort, "ready endpoint", "ready endpoints"), port)
		excerpt += fmt.Sprintf("; none with the port %q that the Service has for %d", port, u.ref.PortNumber())
		at.params["port_name"] = port
	}
	at.shown = []diagnose.Exhibit{{Fact: evidence.EndpointSlices.Name(), Excerpt: excerpt}}
	if doing, shown := s.doing(u, svc); doing != "" && otherPort == 0 {
		at.summary += ": " + doing
		at.shown = append(at.shown, shown...)
	}
	u.idle = &at
}

func (s *survey) judgeControlPlane(u *server, hooks []hook) {
	unusable := u.missing != nil && u.missing.params["unusable"] != ""
	if !u.mesh || len(hooks) == 0 || u.exists || u.ready != "" || unusable {
		return
	}
	rev := cluster.Revision(&hooks[0].config.Meta)
	var there []string // revisions that run in the Service's namespace
	for _, w := range evidence.All(s.deployments) {
		if w.Namespace != u.ref.Namespace {
			continue
		}
		if revisionOf(&w) == rev || w.Name == u.ref.Name {
			return
		}
		there = append(there, fmt.Sprintf("%s (revision %s)", w.Name, revisionOf(&w)))
	}
	at := fault{hooks: hooks, confidence: diagnose.Confirmed, params: map[string]string{"plane_revision": rev}}
	slices.Sort(there)
	runs := "what runs there is " + some(there, maxNames)
	if len(there) == 0 {
		runs = "the control plane of the cluster is a managed one"
	}
	covered := evidence.Covers(s.deployments, u.ref.Namespace)
	switch {
	case u.missing != nil && covered && len(there) == 0 && !s.plane.Managed():
		// There is no control plane at all: nobody can say whether it was lost, or its webhooks were left over.
		u.missing.summary += ", and no control plane runs in its namespace"
		return
	case u.missing != nil && covered:
	case u.missing != nil:
		u.openControlPlane = s.notRead(s.deploymentsErr, evidence.ControlPlaneWorkloads.Name(), "the Deployments of istiod in namespace "+u.ref.Namespace)
		return
	case len(there) > 0 && s.planeServices(u.ref.Namespace) && !s.req.Target.Kubernetes():
		// Files that show another control plane, and its Service, and not this one's.
		at.confidence, at.severity = diagnose.Possible, diagnose.Advice
		runs += ", in the files given"
	default:
		return
	}
	at.summary = fmt.Sprintf("%s is left of revision %s of the control plane, which is gone: Service %s does not exist, and %s",
		configurations(hooks), rev, u.service(), runs)
	if at.confidence != diagnose.Confirmed {
		at.summary = fmt.Sprintf("%s may be left of revision %s of the control plane: neither Service %s nor its Deployment is there, %s",
			configurations(hooks), rev, u.service(), runs)
	}
	at.shown = []diagnose.Exhibit{
		{Fact: hooks[0].fact(), Excerpt: fmt.Sprintf("%s: label istio.io/rev=%s, service %s", configurations(hooks), rev, u.service()), Source: hooks[0].source},
		{Fact: evidence.ControlPlaneWorkloads.Name(), Excerpt: "Deployments of istiod in namespace " + u.ref.Namespace + ": " + orNone(some(there, maxNames))},
	}
	u.gone, u.missing = &at, nil
}

// planeServices says whether a Service of a control plane is known in a namespace.
func (s *survey) planeServices(namespace string) bool {
	return slices.ContainsFunc(evidence.All(s.services), func(x kube.Service) bool {
		return x.Namespace == namespace && meshNames("", &kube.ServiceReference{Name: x.Name})
	})
}

// revisionOf gives the revision of a Deployment of istiod: its own label, or its pods'.
func revisionOf(w *kube.Workload) string {
	if w.Labels[kube.LabelRevision] == "" && w.Spec.Template.Labels[kube.LabelRevision] != "" {
		return w.Spec.Template.Labels[kube.LabelRevision]
	}
	return cluster.Revision(&w.Meta)
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// configurations names the configurations of entries: "MutatingWebhookConfiguration istio-sidecar-injector-asm-1234-1".
func configurations(hooks []hook) string {
	var out []string
	for _, h := range hooks {
		if n := h.config.Kind + " " + h.config.Name; !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return some(out, 2)
}

func (h hook) fact() evidence.Name {
	if h.config.Mutating() {
		return evidence.MutatingWebhooks.Name()
	}
	return evidence.ValidatingWebhooks.Name()
}

// notRead is the error for what would have to be known to say that something isn't there: in a live request it couldn't be read, or
// wasn't; files just may not have it.
func (s *survey) notRead(err error, name evidence.Name, what string) error {
	switch {
	case err != nil && !notAsked(err):
		return err
	case s.req.Target.Kubernetes() && err == nil:
		return &evidence.Missing{Name: name, Why: evidence.Failed, Err: errors.New(what + " were not all read")}
	case err != nil:
		return err
	default:
		return diagnose.Skip("%s are not all in the files given", what)
	}
}

func (s *survey) judgeBundles(u *server, hooks []hook) {
	var empty, bad, ending []hook
	var why, until string
	fresh := false
	for _, h := range hooks {
		c := h.hook.Client
		if c.CABundle.Empty() {
			if h.hook.FailsClosed() || s.settled(h) {
				empty = append(empty, h)
				fresh = fresh || !h.stored()
			}
			continue
		}
		b := readBundle(c.CABundle, h.source.Time)
		switch {
		case b.problem != "":
			bad, why = append(bad, h), b.problem
		case b.ends(h.source.Time):
			ending, until = append(ending, h), b.until.UTC().Format(time.DateOnly)
		}
	}
	if fresh && s.rendered(u) && len(u.said) == 0 {
		empty = nil // the installation itself, which istiod fills in when it starts
	}
	if len(empty) > 0 && (!u.mesh || u.idle == nil && u.missing == nil && u.gone == nil) {
		u.empty = s.emptyBundle(u, empty, fresh)
	}
	if len(bad) > 0 {
		u.invalid = &fault{
			hooks: bad, confidence: diagnose.Confirmed, params: map[string]string{"bundle_problem": why},
			summary: fmt.Sprintf("The caBundle of %s %s", entries(bad), why),
			shown:   []diagnose.Exhibit{bundleExhibit(bad[0], why)},
		}
	}
	if len(ending) > 0 {
		u.expiring = &fault{
			hooks: ending, confidence: diagnose.Confirmed, severity: diagnose.Advice, params: map[string]string{"expires": until},
			summary: fmt.Sprintf("The caBundle of %s expires on %s", entries(ending), until),
			shown:   []diagnose.Exhibit{bundleExhibit(ending[0], "holds no certificate that is valid after "+until)},
		}
	}
}

// settled says whether an installation has had the time to fill in the caBundle of a webhook whose failures are ignored meanwhile.
func (s *survey) settled(h hook) bool {
	from := written(h)
	return !from.IsZero() && !h.source.Time.IsZero() && h.source.Time.Sub(from) > settling
}

// written gives when a configuration was written last, as far as it tells: zero where it doesn't.
func written(h hook) time.Time {
	from := h.config.Created
	for _, m := range h.config.Managed {
		if m.Time.After(from) {
			from = m.Time
		}
	}
	return from
}

func bundleExhibit(h hook, what string) diagnose.Exhibit {
	where := h.config.Name
	if h.config.Origin != "" {
		where += " (" + h.config.Origin + ")"
	}
	return diagnose.Exhibit{Fact: h.fact(), Excerpt: fmt.Sprintf("%s, %s: caBundle %s", where, h.hook.Name, what), Source: h.source}
}

// entries names entries with their configuration: "rev.namespace.sidecar-injector.istio.io of istio-sidecar-injector and 3 more".
func entries(hooks []hook) string {
	s := hooks[0].hook.Name + " of " + hooks[0].config.Name
	if n := len(hooks) - 1; n > 0 {
		s += fmt.Sprintf(" and of %s more", plural(n, "entry", "entries"))
	}
	return s
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// rendered says whether the files hold the server's Deployment as it was written to be applied: what helm template prints.
func (s *survey) rendered(u *server) bool {
	return slices.ContainsFunc(evidence.All(s.deployments), func(w kube.Workload) bool {
		return w.Namespace == u.ref.Namespace && w.Name == u.ref.Name && w.Origin != "" && w.UID == "" && w.ResourceVersion == "" && w.Created.IsZero()
	})
}

// emptyBundle tells of an empty caBundle, and why istiod doesn't fill it in, as far as it is known.
func (s *survey) emptyBundle(u *server, hooks []hook, fresh bool) *fault {
	at := &fault{hooks: hooks, confidence: diagnose.Confirmed, params: map[string]string{}}
	at.summary = fmt.Sprintf("The caBundle of %s is empty, so the API server can't verify Service %s", entries(hooks), u.service())
	for i, h := range hooks {
		if i == maxExhibits {
			break
		}
		at.shown = append(at.shown, bundleExhibit(h, "is empty; "+policy(h)))
	}
	if fresh {
		at.confidence, at.severity = diagnose.Possible, diagnose.Advice
		at.summary = fmt.Sprintf("The manifest of %s leaves caBundle empty: istiod fills it in, and applying the manifest again empties it", entries(hooks))
		at.params["manifest"] = "yes"
		return at
	}
	if !u.mesh {
		return at
	}
	rev := hooks[0].config.Labels[kube.LabelRevision]
	var running []string
	for _, w := range evidence.All(s.deployments) {
		if w.Namespace == u.ref.Namespace && !slices.Contains(running, revisionOf(&w)) {
			running = append(running, revisionOf(&w))
		}
	}
	slices.Sort(running)
	if len(running) > 0 && !slices.Contains(running, rev) {
		at.params["label"] = orNone(rev)
		at.params["running"] = strings.Join(running, ", ")
		at.summary += fmt.Sprintf("; its label istio.io/rev is %s, and istiod runs of %s", orNone(rev), at.params["running"])
		at.shown = append(at.shown, diagnose.Exhibit{Fact: evidence.ControlPlaneWorkloads.Name(), Excerpt: "revisions of istiod in namespace " + u.ref.Namespace + ": " + at.params["running"]})
		return at
	}
	if role, lacks := s.mayNotPatch(hooks[0]); lacks != "" {
		at.params["role"], at.params["lacks"] = role, lacks
		at.summary += fmt.Sprintf("; ClusterRole %s does not let istiod %s it", role, lacks)
		at.shown = append(at.shown, diagnose.Exhibit{Fact: evidence.ClusterRoles.Name(), Excerpt: "ClusterRole " + role + ": no " + lacks + " of " + resourceOf(hooks[0])})
	}
	return at
}

func policy(h hook) string {
	if h.hook.FailurePolicy == "" {
		return "failurePolicy Fail (unset)"
	}
	return "failurePolicy " + h.hook.FailurePolicy
}

func resourceOf(h hook) string { return h.kind() + "s" }

// mayNotPatch names the ClusterRole of istiod that is for the entry's revision and gives no right to write webhook configurations,
// and the verb that it lacks; "" where one does, or where none is known.
func (s *survey) mayNotPatch(h hook) (role, lacks string) {
	var names []string
	for _, r := range evidence.All(s.roles) {
		if !strings.HasPrefix(r.Name, "istiod") || strings.Contains(r.Name, "gateway") {
			continue
		}
		if rev := r.Labels[kube.LabelRevision]; rev != "" && rev != cluster.Revision(&h.config.Meta) {
			continue
		}
		for _, p := range r.Rules {
			if grants(p.APIGroups, "admissionregistration.k8s.io") && grants(p.Resources, resourceOf(h)) && (grants(p.Verbs, "patch") || grants(p.Verbs, "update")) {
				return "", ""
			}
		}
		names = append(names, r.Name)
	}
	if len(names) == 0 {
		return "", ""
	}
	slices.Sort(names)
	return names[0], "patch"
}

func grants(list []string, x string) bool {
	return slices.Contains(list, "*") || slices.Contains(list, x)
}
