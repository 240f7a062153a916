package startup

import (
	"slices"
	"strings"
	"time"

	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

// readiness is when a proxy wasn't ready, and since when it is.
type readiness struct {
	started time.Time // of its first run; zero where that isn't known
	// ready is when it said that it is; zero where it didn't, or the log is lost.
	ready time.Time
	// not are instants at which it wasn't, in order.
	not []time.Time
}

// readiness puts together what tells of the proxy: its status, its log, and the kubelet's probes.
func (x *start) readiness() readiness {
	r := readiness{started: firstStart(x.pod.StatusOf(kube.ProxyContainer))}
	for _, e := range x.events {
		c := containerOf(e)
		switch {
		case e.Reason == "Started" && c == kube.ProxyContainer && r.started.IsZero() && e.Count <= 1:
			r.started = e.First
		case e.Reason == "Unhealthy" && x.proxyProbe(c, e.Message):
			r.not = append(r.not, e.First, e.Last)
		}
	}
	for _, l := range x.lines {
		switch {
		case l.Signature == messages.ProxyReady.ID && !l.First.IsZero() && (r.ready.IsZero() || l.First.Before(r.ready)):
			r.ready = l.First
		case l.Signature == messages.ProxyNotReady.ID && l.Fields["terminated"] == "",
			l.Signature == messages.ProbeFailed.ID && x.proxyProbe(l.Fields["container"], l.Text):
			r.not = append(r.not, l.First, l.Last)
		}
	}
	r.not = slices.DeleteFunc(r.not, time.Time.IsZero)
	slices.SortFunc(r.not, time.Time.Compare)
	return r
}

// readyURLs are where a proxy answers the kubelet's probe, of one release or another.
var readyURLs = []string{":15021/healthz/ready", ":15020/healthz/ready", ":15090/healthz/ready"}

// proxyProbe says whether a failed probe is the proxy's.
func (x *start) proxyProbe(container, text string) bool {
	if strings.Contains(text, "Liveness") {
		return false
	}
	if container != "" {
		return container == kube.ProxyContainer
	}
	if strings.Contains(text, kube.ProxyContainer) || slices.ContainsFunc(readyURLs, func(u string) bool { return strings.Contains(text, u) }) {
		return true
	}
	// Without a name it is the proxy's where nothing else has such a probe.
	others := slices.ContainsFunc(x.pod.Spec.Containers, func(c kube.Container) bool {
		return c.Name != kube.ProxyContainer && (c.ReadinessProbe != nil || c.StartupProbe != nil)
	})
	return x.proxy != nil && !others && strings.Contains(text, "statuscode: 503")
}

// order is whether something came before the proxy was ready.
type order int

const (
	unknown order = iota
	before        // times of the status or of the proxy's own log say so
	likely        // the kubelet's probes failed after it
	after
)

// compare says whether the application was refused before the proxy was ready. An instant that is only an upper bound can't be
// after anything. by says what it was before.
func (r readiness) compare(x *start, at time.Time, bound bool) (o order, by time.Time) {
	if at.IsZero() {
		return unknown, by
	}
	if !r.started.IsZero() && at.Before(r.started) {
		return before, r.started
	}
	notAfter := func() (time.Time, bool) {
		i := slices.IndexFunc(r.not, func(n time.Time) bool { return !n.Before(at) && n.Sub(at) <= startWindow })
		if i < 0 {
			return time.Time{}, false
		}
		return r.not[i], true
	}
	if ready := r.ready; !ready.IsZero() {
		from := r.started
		if from.IsZero() {
			from = at
		}
		_, corroborated := notAfter()
		switch {
		case !at.Before(ready) && bound:
			return unknown, by
		case !at.Before(ready):
			return after, by
		case ready.Sub(from) <= startWindow || corroborated:
			return before, ready
		}
		return unknown, by // the log begins later: an earlier "ready" may be lost
	}
	if c := kube.FindCondition(x.pod.Status.Conditions, "Ready"); c != nil && c.Status == "True" && !c.Changed.IsZero() && at.After(c.Changed) && !bound {
		return after, by
	}
	if n, ok := notAfter(); ok && (r.started.IsZero() || at.Sub(r.started) <= startWindow) {
		return likely, n
	}
	return unknown, by
}
