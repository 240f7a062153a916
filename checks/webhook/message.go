package webhook

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/meshdiag/meshdiag/checks/cluster"
	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

// kind is what a message says of a webhook.
type kind int

const (
	callUnknown     kind = iota // it can't be called, and the line ends before the reason
	serviceMissing              // no Service, or none that can be called
	noEndpoints                 // nothing ready behind it
	unreachable                 // no answer in time
	broken                      // a connection that breaks, or an answer that is none
	untrusted                   // its certificate isn't signed by the caBundle, or is out of date
	wrongName                   // its certificate is for another name
	badBundle                   // the caBundle can't be read
	denied                      // it works, and refuses
	patchForbidden              // istiod may not write the caBundle
	handshakeBroken             // a client of istiod's broke the handshake off
)

// words that tell the kind of a failed call, in order: the first that the reason holds decides. They are those of Kubernetes'
// webhook dispatcher and service resolver, and of Go's net, net/http, crypto/tls and crypto/x509.
// https://github.com/kubernetes/apiserver/blob/master/pkg/util/proxy/proxy.go
var words = []struct {
	kind  kind
	words []string
}{
	{badBundle, []string{"could not get REST client", "unable to load root certificates", "unable to parse bytes as PEM"}},
	{wrongName, []string{
		"x509: certificate is valid for ", "not valid for any names", "legacy Common Name", "cannot validate certificate for ", "x509: certificate is not valid for ",
	}},
	{untrusted, []string{"x509:", "failed to verify certificate"}},
	{noEndpoints, []string{"no endpoints available", "endpoints \""}},
	{serviceMissing, []string{"service \"", "Service \"", "ervice 'istiod", "ervice istiod", "no service port", "unsupported service type", "services \""}},
	{unreachable, []string{
		"deadline exceeded", "Client.Timeout", "request canceled", "context canceled", "i/o timeout", "timed out", "handshake timeout", "Timeout: ", "no route to host",
		"network is unreachable", "host is down", "no such host", "server misbehaving",
	}},
}

// kindOf tells what a failed call failed for. Whatever isn't known broke somewhere between the API server and an answer.
func kindOf(reason string) kind {
	if reason == "" {
		return callUnknown
	}
	for _, w := range words {
		if slices.ContainsFunc(w.words, func(x string) bool { return strings.Contains(reason, x) }) {
			return w.kind
		}
	}
	return broken
}

// said is one message, with everything that was the same counted once.
type said struct {
	kind               kind
	webhook            string // the entry's name
	url                string // what was called; "" where it isn't told
	service, namespace string // where that is a Service
	configuration      string // where istiod names one
	reason             string
	open               bool // the API server went on without the webhook
	alone              bool // the reason, without the call that failed
	anyones            bool // and one that doesn't name istiod: another program may have said it
	text               string
	objects            []kube.Ref // what events are about
	inTarget           bool       // it's an event of the namespace asked about
	count, fromEvents  int
	first, last        time.Time
	fact               evidence.Name
	source             evidence.Source
	pasted             bool
	file               string
}

// same is what makes two messages one.
type same struct {
	kind                                kind
	webhook, url, configuration, reason string
	open                                bool
}

func (m said) same() same { return same{m.kind, m.webhook, m.url, m.configuration, m.reason, m.open} }

// callPattern and deniedPattern read events' messages as the scan of logs would.
var (
	callPattern   = regexp.MustCompile(messages.WebhookCallFailed.Pattern)
	deniedPattern = regexp.MustCompile(messages.WebhookDenied.Pattern)
	patchPattern  = regexp.MustCompile(messages.WebhookPatchUnusable.Pattern)
)

// serviceName finds the name of istiod's Service in a reason that stands alone.
var serviceName = regexp.MustCompile(`\bistiod[\w-]*`)

// fieldsOf gives the named groups of a pattern in a text; nil where it isn't there.
func fieldsOf(p *regexp.Regexp, text string) map[string]string {
	m := p.FindStringSubmatch(text)
	if m == nil {
		return nil
	}
	out := map[string]string{}
	for i, n := range p.SubexpNames() {
		if n != "" && m[i] != "" {
			out[n] = m[i]
		}
	}
	return out
}

// fromFields makes a message of a signature's fields; ok is false for those that tell nothing of a webhook's server.
func fromFields(signature string, f map[string]string) (m said, ok bool) {
	// Where a line quotes the error as a whole, quotes within it are escaped.
	clean := func(s string) string {
		return strings.Trim(strings.TrimSpace(strings.ReplaceAll(s, `\"`, `"`)), ",")
	}
	m = said{webhook: f["webhook"], url: f["url"], service: f["service"], namespace: f["namespace"], reason: clean(f["reason"]), configuration: f["configuration"]}
	switch signature {
	case messages.WebhookCallFailed.ID:
		if f["trial"] != "" {
			return m, false // istiod's own trial, which fails while istiod starts: webhook/cannot-switch-to-fail-closed looks at it
		}
		if m.reason == "Post" || m.reason == "Get" {
			m.reason = "" // the line was broken after it
		}
		m.kind, m.open = kindOf(m.reason), f["mode"] == "open"
	case messages.WebhookCallReason.ID:
		m.alone, m.anyones, m.reason = true, f["named"] == "", clean(cmp.Or(f["named"], f["reason"]))
		m.kind = kindOf(m.reason)
		if n := serviceName.FindString(m.reason); n != "" {
			m.service, m.namespace = n, "istio-system" // where Cloud Service Mesh installs it
		}
	case messages.WebhookDenied.ID:
		m.kind = denied
		if cluster.InjectorRefused(m.webhook, m.reason) {
			return m, false // injection/injector-failed
		}
	case messages.WebhookPatchUnusable.ID:
		m.kind = broken
	case messages.WebhookPatchFailed.ID:
		if !strings.Contains(m.reason, "is forbidden") {
			return m, false // it tries again
		}
		m.kind = patchForbidden
	case messages.TLSRejectedByClient.ID:
		m.kind, m.reason = handshakeBroken, f["alert"]
	default:
		return m, false
	}
	return m, true
}

// readMessages gives what logs and events say of webhooks' servers. An event is read itself, whether or not the scan of logs read
// it too: it says what it is about.
func readMessages(req diagnose.Request, logs []evidence.LogMessage, events []evidence.Objects[kube.Event]) []said {
	var out []said
	at := map[same]int{}
	add := func(m said) {
		i, ok := at[m.same()]
		if !ok {
			at[m.same()] = len(out)
			out = append(out, m)
			return
		}
		o := &out[i]
		if m.fact == evidence.ClusterEvents.Name() {
			o.fromEvents += m.fromEvents
		}
		o.count = max(o.count, o.fromEvents, m.count)
		o.inTarget, o.pasted = o.inTarget || m.inTarget, o.pasted && m.pasted
		if len(m.objects) > 0 && !slices.Contains(o.objects, m.objects[0]) {
			o.objects = append(o.objects, m.objects[0])
		}
		if !m.first.IsZero() && (o.first.IsZero() || m.first.Before(o.first)) {
			o.first = m.first
		}
		if m.last.After(o.last) {
			o.last = m.last
		}
	}
	for _, b := range events {
		for i := range b.Items {
			e := &b.Items[i]
			m, ok := fromEvent(e)
			if !ok {
				continue
			}
			m.text, m.objects, m.first, m.last, m.fact, m.source, m.pasted = e.Message, []kube.Ref{e.Involved}, e.First, e.Last, evidence.ClusterEvents.Name(), b.Source, b.Source.Pasted
			m.count, m.fromEvents = e.Count, e.Count
			m.inTarget = req.Target.Namespace != "" && (e.Involved.Namespace == req.Target.Namespace || e.Namespace == req.Target.Namespace)
			add(m)
		}
	}
	for _, l := range logs {
		m, ok := fromFields(l.Signature, l.Fields)
		if !ok {
			continue
		}
		m.text, m.count, m.first, m.last, m.fact, m.source, m.pasted = l.Text, l.Count, l.First, l.Last, evidence.LogMessages.Name(), l.Source, l.Source.Pasted
		m.file = l.File
		if m.kind == handshakeBroken {
			m.configuration = l.File // one server a log
		}
		add(m)
	}
	return out
}

func fromEvent(e *kube.Event) (said, bool) {
	for _, p := range []struct {
		signature diagnose.Signature
		pattern   *regexp.Regexp
	}{{messages.WebhookCallFailed, callPattern}, {messages.WebhookDenied, deniedPattern}, {messages.WebhookPatchUnusable, patchPattern}} {
		if !slices.ContainsFunc(p.signature.Anchors, func(a string) bool { return strings.Contains(e.Message, a) }) {
			continue
		}
		if f := fieldsOf(p.pattern, e.Message); f != nil {
			return fromFields(p.signature.ID, f)
		}
	}
	return said{}, false
}

// withReasons puts reasons that stand alone to the calls that failed for them: where a line was broken, the call ends before its
// reason. Those that are left tell of istiod's webhooks where a person pasted them, and nothing better is at hand.
func (s *survey) withReasons(list []said) []said {
	var calls, out []said
	for _, m := range list {
		if !m.alone {
			calls = append(calls, m)
		}
	}
	for _, m := range list {
		if !m.alone {
			continue
		}
		i := slices.IndexFunc(calls, func(c said) bool { return c.kind == callUnknown && c.file == m.file && c.file != "" })
		switch {
		case i >= 0:
			calls[i].kind, calls[i].reason, calls[i].text = m.kind, m.reason, calls[i].text+"\n"+m.text
		case m.pasted && len(calls) == 0 && len(s.servers) == 0 && !s.plane.Managed():
			out = append(out, m)
		}
	}
	return append(calls, out...)
}

// vague orders messages by how little they say of the server: 0 for its address, 1 for the webhook's name, 2 for neither.
func (m said) vague() int {
	switch {
	case m.service != "" || m.url != "":
		return 0
	case m.webhook != "":
		return 1
	default:
		return 2
	}
}

// over says whether a message of the live cluster would have been repeated by now, were it still so.
func (m said) over() bool {
	return !m.pasted && !m.last.IsZero() && !m.source.Time.IsZero() && m.source.Time.Sub(m.last) > repeats
}

// exhibit shows the message.
func (m said) exhibit() diagnose.Exhibit {
	text := clip(strings.TrimSpace(m.text), maxExcerpt)
	if len(m.objects) > 0 {
		text = m.objects[0].String() + ": " + text
	}
	if m.count > 1 {
		text += fmt.Sprintf("\n%d times", m.count)
	}
	if !m.last.IsZero() {
		text += "\nlast seen " + m.last.UTC().Format(time.RFC3339)
	}
	return diagnose.Exhibit{Fact: m.fact, Excerpt: text, Source: m.source}
}

// clip cuts a text, between characters.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xc0 == 0x80 {
		n--
	}
	return s[:n] + "…"
}
