package webhook

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

// told are the messages of some kinds that no fault of the objects explains, and that aren't over.
type told struct {
	list []said
	// doubt is what the objects say to the contrary now; "" for nothing.
	doubt string
}

// told gives the messages of a server that a check is to tell.
func (s *survey) told(u *server, kinds ...kind) told {
	var out told
	sure := false
	for _, m := range u.said {
		if !slices.Contains(kinds, m.kind) || m.over() || u.explainer(m) != nil || s.outrun(u, m) {
			continue
		}
		doubt := s.contradicted(u, m)
		if doubt != "" && !m.pasted && !m.last.IsZero() && m.source.Time.Sub(m.last) > fresh {
			continue
		}
		out.list = append(out.list, m)
		sure = sure || doubt == ""
		out.doubt = cmp.Or(out.doubt, doubt)
	}
	if sure {
		out.doubt = ""
	}
	slices.SortStableFunc(out.list, func(a, b said) int { return b.last.Compare(a.last) })
	return out
}

// fresh is how long a message that objects contradict may still be news: what it tells may come and go.
const fresh = 5 * time.Minute

// explainer gives the fault of the objects that a message is a mere sign of, nil for none.
func (u *server) explainer(m said) *fault {
	concerns := func(f *fault) bool {
		return f != nil && (m.webhook == "" || slices.ContainsFunc(f.hooks, func(h hook) bool { return h.hook.Name == m.webhook }))
	}
	switch m.kind {
	case serviceMissing, noEndpoints, unreachable, broken, callUnknown:
		for _, f := range []*fault{u.gone, u.missing, u.idle} {
			if f != nil {
				return f
			}
		}
	}
	switch m.kind {
	case untrusted, badBundle, handshakeBroken, patchForbidden, callUnknown:
		for _, f := range []*fault{u.gone, u.missing, u.empty, u.invalid, u.outdated} {
			if concerns(f) && (m.kind != patchForbidden || f == u.empty) {
				return f
			}
		}
	case wrongName:
		for _, f := range []*fault{u.gone, u.missing, u.misnamed} {
			if concerns(f) {
				return f
			}
		}
	}
	return nil
}

// outrun says whether another message about the same server tells the root of this one: a Service without endpoints also refuses
// connections, and leaves calls without an answer, as its last pod goes.
func (s *survey) outrun(u *server, m said) bool {
	var roots []kind
	switch m.kind {
	case unreachable, broken, callUnknown:
		roots = []kind{serviceMissing, noEndpoints}
	case noEndpoints:
		roots = []kind{serviceMissing}
	case handshakeBroken:
		roots = []kind{untrusted, wrongName, badBundle}
	}
	return slices.ContainsFunc(u.said, func(o said) bool {
		return slices.Contains(roots, o.kind) && !o.over() && s.contradicted(u, o) == "" && (m.last.IsZero() || o.last.IsZero() || !o.last.Before(m.first))
	})
}

// contradicted says what the cluster's objects say against a message by now, "" for nothing.
func (s *survey) contradicted(u *server, m said) string {
	if s.whole && m.webhook != "" && !slices.ContainsFunc(s.servers, func(x *server) bool {
		return slices.ContainsFunc(x.hooks, func(h hook) bool { return h.hook.Name == m.webhook })
	}) {
		return "the cluster has no webhook " + m.webhook + " by now"
	}
	if s.made(m) {
		return "what the message is about has all its pods by now"
	}
	switch m.kind {
	case serviceMissing:
		if u.exists {
			return "the Service is there by now"
		}
	case noEndpoints:
		if u.ready != "" {
			return "it has " + u.ready + " by now"
		}
	case untrusted, badBundle, handshakeBroken:
		if u.verified {
			return "the caBundle verifies what is served by now"
		}
	case wrongName:
		if u.named {
			return "what is served is for the right name by now"
		}
	case patchForbidden:
		if len(u.hooks) > 0 && u.empty == nil {
			return "no caBundle is empty by now"
		}
	}
	return ""
}

// made says whether everything that a message is about has got its pods since.
func (s *survey) made(m said) bool {
	for _, ref := range m.objects {
		i := slices.IndexFunc(s.workloads, func(w kube.Workload) bool {
			return w.Kind == ref.Kind && w.Name == ref.Name && w.Namespace == ref.Namespace && w.Origin == ""
		})
		if i < 0 || s.workloads[i].Spec.Replicas == nil || s.workloads[i].Status.Replicas < *s.workloads[i].Spec.Replicas {
			return false
		}
	}
	return len(m.objects) > 0
}

// report asks every server for the cause of one check, those of the mesh first. open says why none found isn't a clean bill.
func (s *survey) report(cause func(u *server) *diagnose.Cause, open func() error) ([]diagnose.Cause, error) {
	var out []diagnose.Cause
	for _, u := range s.servers {
		if c := cause(u); c != nil && len(out) < maxCauses {
			out = append(out, *c)
		}
	}
	if len(out) > 0 {
		return out, nil
	}
	return nil, open()
}

// openObjects says why a fault of the objects can't be excluded: webhooks that aren't known, and what pick gives of each server's.
// Where the messages alone were asked for, they are all there is to go by.
func (s *survey) openObjects(pick func(u *server) error) func() error {
	return func() error {
		if err := firstFailure(s.hooksErr, s.messagesErr); err != nil {
			return err
		}
		if s.hooksErr != nil {
			return s.messagesErr
		}
		for _, u := range s.servers {
			if u.ref != nil && slices.ContainsFunc(u.hooks, func(h hook) bool { return s.matters(u, h) }) {
				if err := pick(u); err != nil {
					return err
				}
			}
		}
		return nil
	}
}

// openMessages says why messages can't be excluded.
func (s *survey) openMessages() error { return s.messagesErr }

// ofFault makes a cause of a fault, with the messages that it explains.
func (s *survey) ofFault(u *server, f *fault) *diagnose.Cause {
	var list []said
	for _, m := range u.said {
		if !m.over() && u.explainer(m) == f {
			list = append(list, m)
		}
	}
	c := s.cause(u, f.hooks, list)
	c.Confidence, c.Evidence = f.confidence, f.shown
	switch {
	case f.params["manifest"] == "":
		if f.severity != diagnose.SeverityUnset {
			c.Severity = f.severity
		}
	case len(list) > 0:
		c.Confidence = diagnose.Likely // the manifest alone says little, a failed call besides much
	default:
		c.Severity, c.Key = f.severity, "webhooks/"+c.Params["configuration"] // and so little explains nothing
	}
	c.Summary = sentence(f.summary + s.foreign(u))
	for k, v := range f.params {
		c.Params[k] = v
	}
	c.Evidence = append(c.Evidence, exhibits(list)...)
	return &c
}

// ofMessages makes a cause of messages; verdict goes on after the webhook's name: "can't be called: …".
func (s *survey) ofMessages(u *server, t told, verdict string) *diagnose.Cause {
	if len(t.list) == 0 {
		return nil
	}
	c := s.cause(u, s.named(u, t.list), t.list)
	c.Confidence = diagnose.Likely
	m := t.list[0]
	if m.reason != "" {
		verdict += fmt.Sprintf(": %s", quote(m.reason))
	}
	c.Summary = sentence(upper(s.subject(u, m.webhook)) + " " + verdict + s.foreign(u))
	if t.doubt != "" {
		c.Confidence, c.Severity = diagnose.Possible, min(c.Severity, diagnose.Degrading)
		c.Summary = sentence(upper(s.subject(u, m.webhook)) + " " + verdict + "; but " + t.doubt)
	}
	if m.alone {
		c.Params["alone"] = "yes"
	}
	if m.anyones {
		c.Confidence, c.Severity = diagnose.Possible, diagnose.Degrading
		c.Subject = "the webhooks of istiod"
		c.Summary = sentence("If the API server said this of a webhook of istiod's: it " + verdict)
	}
	c.Params["reason"] = clip(m.reason, maxReason)
	c.Evidence = exhibits(t.list)
	return &c
}

func exhibits(list []said) []diagnose.Exhibit {
	var out []diagnose.Exhibit
	for _, m := range list[:min(len(list), maxExhibits)] {
		out = append(out, m.exhibit())
	}
	if n := len(list) - maxExhibits; n > 0 {
		out[len(out)-1].Excerpt += fmt.Sprintf("\n(%s more like it)", plural(n, "message", "messages"))
	}
	return out
}

func quote(s string) string { return `"` + clip(s, maxReason) + `"` }

func upper(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

func sentence(s string) string { return strings.TrimRight(s, ". ") + "." }

// foreign says of a server that isn't the mesh's that it isn't.
func (s *survey) foreign(u *server) string {
	if u.mesh {
		return ""
	}
	return "; that webhook is not the mesh's"
}

// named gives the entries that messages name; all of the server's where they name none.
func (s *survey) named(u *server, list []said) []hook {
	var out []hook
	for _, h := range u.hooks {
		if slices.ContainsFunc(list, func(m said) bool { return m.webhook == h.hook.Name }) {
			out = append(out, h)
		}
	}
	if len(out) == 0 {
		return u.hooks
	}
	return out
}

// subject names a server by one of its webhooks: "webhook rev.namespace.sidecar-injector.istio.io of service istio-system/istiod".
func (s *survey) subject(u *server, webhook string) string {
	switch {
	case u.ref != nil && webhook != "":
		return "webhook " + webhook + " of service " + u.service()
	case u.ref != nil:
		return "a webhook of service " + u.service()
	case u.url != "" && webhook != "":
		return "webhook " + webhook + " at " + u.url
	default:
		return "webhook " + cmp.Or(webhook, u.name)
	}
}

// cause makes what is the same in every check's cause: whose it is, how bad, and the names for the remedy. hooks are the entries
// concerned, list the messages.
func (s *survey) cause(u *server, hooks []hook, list []said) diagnose.Cause {
	p := map[string]string{}
	if u.mesh {
		p["mesh_webhook"] = "yes"
	} else {
		p["foreign"] = "yes"
	}
	webhook, called := "", false
	for _, m := range list {
		webhook = cmp.Or(webhook, m.webhook)
		set(p, "url", m.url)
		called = called || m.inTarget
	}
	h := s.first(u, hooks, webhook)
	if h != nil {
		webhook = cmp.Or(webhook, h.hook.Name)
		p["configuration"], p["configuration_kind"] = h.config.Name, h.kind()
		called = called || slices.ContainsFunc(hooks, s.calls)
	} else {
		called = called || len(list) > 0 && !strings.HasSuffix(webhook, validatorSuffix)
	}
	p["webhook"] = webhook
	key := ""
	if s.req.Target.Kubernetes() && !called && h != nil {
		key = "webhooks/" + h.config.Name
	}
	if u.ref != nil {
		p["service"], p["service_namespace"] = u.ref.Name, u.ref.Namespace
		p["host"] = u.ref.Host()
		if u.mesh {
			p["deployment"] = u.ref.Name // istiod's Deployment has the name of its Service
			if w := s.deploymentOf(u, s.findService(u.ref)); w != nil {
				p["deployment"] = w.Name
			}
		}
	} else if u.url != "" {
		set(p, "url", u.url)
	}
	return diagnose.Cause{Subject: s.subject(u, webhook), Key: key, Severity: s.severity(u, hooks, list, called), Params: p}
}

func set(p map[string]string, key, value string) {
	if value != "" && p[key] == "" {
		p[key] = value
	}
}

// first gives the entry to name: the one that messages name, else one that is called for what is asked about.
func (s *survey) first(u *server, hooks []hook, webhook string) *hook {
	if len(hooks) == 0 {
		return nil
	}
	best := 0
	rank := func(h hook) int {
		n := 0
		if h.hook.Name == webhook && webhook != "" {
			n += 4
		}
		if s.calls(h) {
			n += 2
		}
		if h.injector {
			n++
		}
		return n
	}
	for i, h := range hooks {
		if rank(h) > rank(hooks[best]) {
			best = i
		}
	}
	return &hooks[best]
}

// severity says how bad it is that entries can't be called: it blocks where pods aren't made for it. called says that one of them is
// called for what is asked about, as far as it is known.
func (s *survey) severity(u *server, hooks []hook, list []said, called bool) diagnose.Severity {
	switch {
	case len(hooks) == 0 && called && slices.ContainsFunc(list, func(m said) bool { return !m.open }):
		return diagnose.Blocking
	case len(hooks) == 0:
		return diagnose.Degrading
	}
	worst := diagnose.Advice // of another revision, or of a validator whose failures are ignored
	for _, h := range hooks {
		spoken := slices.ContainsFunc(list, func(m said) bool { return m.webhook == h.hook.Name && (m.inTarget || !u.mesh) })
		switch {
		case h.hook.FailsClosed() && (spoken || s.calls(h) && podHook(h)):
			return diagnose.Blocking
		case spoken || s.calls(h), h.hook.FailsClosed() && !h.injector:
			worst = diagnose.Degrading // pods come without a sidecar; or no configuration of the mesh can be changed
		}
	}
	return worst
}

// podHook says whether an entry is for pods.
func podHook(h hook) bool {
	pod := kube.Pod{Meta: kube.Meta{Namespace: "any"}}
	return h.injector || h.hook.Calls(kube.CreatePod(&pod, nil), nil).On != "rules"
}
