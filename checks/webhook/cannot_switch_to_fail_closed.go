package webhook

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// CannotSwitchToFailClosed finds validating webhooks that istiod doesn't dare to enforce.
var CannotSwitchToFailClosed = diagnose.Check{
	ID:         "webhook/cannot-switch-to-fail-closed",
	Severity:   diagnose.Degrading,
	Layer:      diagnose.LayerCluster,
	Needs:      needs,
	Signatures: []diagnose.Signature{messages.ValidationNotSwitched, messages.ValidationSwitched},
	Doc: diagnose.Doc{
		Title: "istiod does not see its validating webhook at work",
		Explanation: "istiod installs its validating webhook with failurePolicy Ignore, writes an invalid object on trial, and sets the policy to Fail once that is refused. As long as it says that the object was not " +
			"rejected, the API server doesn't reach the webhook: configuration of the mesh is taken unchecked. Where the object was rejected for the wrong reason, the message says what refused it in the webhook's place.",
		Quiet: "The trial succeeded later in the same log (\"Endpoint successfully rejected invalid config\"): while istiod starts a few such lines are normal.",
		Remedy: []diagnose.Step{
			{If: "reason", Text: "The trial was refused by something else: {{reason}}"},
			{If: "blocked", Text: "The API server can't reach the validating webhook, nor, then, the injector, which has the same server. See its Service and endpoints.", Command: "kubectl -n istio-system get services,endpointslices,pods -o wide"},
			{If: "blocked", Text: "On a private cluster the firewall has to let the control plane reach the nodes at tcp:15017: add a new rule for it, as webhook/unreachable says."},
			{Text: "See the webhook's failurePolicy and caBundle.", Command: "kubectl get validatingwebhookconfigurations -o custom-columns=NAME:.metadata.name,POLICY:.webhooks[*].failurePolicy,SERVICE:.webhooks[*].clientConfig.service.name"},
			{Text: "See whether istiod goes on saying so.", Command: "kubectl -n istio-system logs -l app=istiod --tail=1000 --prefix"},
		},
		References: []string{refValidation, refPort, refGuide},
	},
	Evaluate: cannotSwitchToFailClosed,
}

const (
	// lasting is how long istiod has to go on saying it: it tries every second or so after a start, and its pod's own endpoint may take a
	// minute to be known everywhere.
	lasting = 2 * time.Minute
	// repeated is how often, where the lines carry no time.
	repeated = 10
)

func cannotSwitchToFailClosed(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	s := look(req, v)
	type log struct {
		list     []evidence.LogMessage
		switched bool
		count    int
		first    time.Time
		last     time.Time
		line     int
		live     bool
	}
	by := map[string]*log{}
	var files []string
	of := func(m evidence.LogMessage) *log {
		k := cmp.Or(m.File, m.Source.Detail) // where the scan names a file, Detail also has the line
		if by[k] == nil {
			by[k] = &log{}
			files = append(files, k)
		}
		return by[k]
	}
	for _, m := range s.logs {
		if m.Signature != messages.ValidationNotSwitched.ID {
			continue
		}
		l := of(m)
		l.list = append(l.list, m)
		l.count += max(1, m.Count)
		l.live = l.live || !m.Source.Pasted
		if !m.First.IsZero() && (l.first.IsZero() || m.First.Before(l.first)) {
			l.first = m.First
		}
		if m.Last.After(l.last) {
			l.last = m.Last
		}
		l.line = max(l.line, m.Line, m.LastLine)
	}
	for _, m := range s.logs {
		if m.Signature != messages.ValidationSwitched.ID {
			continue
		}
		if l := of(m); max(m.Line, m.LastLine) > l.line || m.Last.After(l.last) {
			l.switched = true
		}
	}
	var out []diagnose.Cause
	for _, k := range files {
		l := by[k]
		if len(l.list) == 0 || l.switched {
			continue
		}
		span := l.last.Sub(l.first)
		if l.live && span < lasting && l.count < repeated {
			continue // it started just now, and will try again
		}
		slices.SortStableFunc(l.list, func(a, b evidence.LogMessage) int { return b.Last.Compare(a.Last) })
		c := s.notSwitched(l.list[0])
		if span < lasting && l.count < repeated {
			c.Confidence = diagnose.Possible
		}
		for _, m := range l.list[:min(len(l.list), maxExhibits)] {
			text := clip(strings.TrimSpace(m.Text), maxExcerpt)
			if m.Count > 1 {
				text += fmt.Sprintf("\n%d times", m.Count)
			}
			c.Evidence = append(c.Evidence, diagnose.Exhibit{Fact: evidence.LogMessages.Name(), Excerpt: text, Source: m.Source})
		}
		if len(out) < maxCauses {
			out = append(out, c)
		}
	}
	if len(out) == 0 {
		out = s.neverSwitched()
	}
	if len(out) > 0 {
		return out, nil
	}
	return nil, s.messagesErr
}

// neverSwitched finds validating webhooks of the live cluster that are left at Ignore long after they were installed.
func (s *survey) neverSwitched() []diagnose.Cause {
	var out []diagnose.Cause
	for _, u := range s.servers {
		for _, h := range u.hooks {
			if h.config.Mutating() || !u.mesh || u.ref == nil || !h.live() || h.hook.FailsClosed() || !s.settled(h) || len(out) == maxCauses {
				continue
			}
			c := s.cause(u, []hook{h}, nil)
			if c.Key != "" && slices.ContainsFunc(u.hooks, s.calls) {
				c.Key = ""
			}
			c.Severity, c.Confidence = diagnose.Advice, diagnose.Likely
			c.Summary = fmt.Sprintf("%s of %s is still at failurePolicy Ignore, %s after it was written last: istiod has not seen it at work.",
				h.hook.Name, h.config.Name, h.source.Time.Sub(written(h)).Round(time.Minute))
			c.Evidence = []diagnose.Exhibit{bundleless(h)}
			out = append(out, c)
			break
		}
	}
	return out
}

func bundleless(h hook) diagnose.Exhibit {
	return diagnose.Exhibit{Fact: h.fact(), Excerpt: fmt.Sprintf("%s, %s: %s, written %s", h.config.Name, h.hook.Name, policy(h), written(h).UTC().Format(time.RFC3339)), Source: h.source}
}

// notSwitched makes the cause: of the validating webhook of the mesh where it is known.
func (s *survey) notSwitched(m evidence.LogMessage) diagnose.Cause {
	reason := strings.ReplaceAll(cmp.Or(m.Fields["reason"], m.Fields["other"]), `\"`, `"`)
	c := diagnose.Cause{Subject: "the validating webhook of istiod", Confidence: diagnose.Likely, Params: map[string]string{}}
	if s.req.Target.Kubernetes() {
		c.Key = "webhooks"
	}
	call := fieldsOf(callPattern, reason)
	for _, u := range s.servers {
		for _, h := range u.hooks {
			if h.config.Mutating() || !u.mesh || u.ref == nil || call != nil && call["webhook"] != "" && call["webhook"] != h.hook.Name {
				continue
			}
			own := s.cause(u, []hook{h}, nil)
			c.Subject, c.Key, c.Params = own.Subject, own.Key, own.Params
			if len(u.hooks) > 1 && c.Key != "" && slices.ContainsFunc(u.hooks, s.calls) {
				c.Key = "" // what ails its server is told with the injector
			}
		}
	}
	switch {
	case call != nil:
		c.Params["blocked"] = "yes"
		c.Summary = sentence("istiod leaves its validating webhook at failurePolicy Ignore: the API server can't call it: " + quote(clip(cmp.Or(call["reason"], reason), maxReason)))
	case reason != "":
		c.Params["reason"] = clip(reason, maxReason)
		c.Summary = sentence("istiod leaves its validating webhook at failurePolicy Ignore: something else refused the trial: " + quote(reason))
	default:
		c.Params["blocked"] = "yes"
		c.Summary = "istiod leaves its validating webhook at failurePolicy Ignore: the invalid object that it wrote on trial was not refused, so the API server does not reach the webhook."
	}
	return c
}
