package istiod

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/meshdiag/meshdiag/checks/cluster"
	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

// proxyLog is what the agent of one proxy says of its readiness, where it isn't over.
type proxyLog struct {
	file  string
	live  bool
	ns    string    // of the pod, where the log's name tells it
	name  string    // likewise
	pod   *kube.Pod // nil where it isn't known
	gone  bool      // the pod isn't there any more
	lines []evidence.LogMessage
	last  evidence.LogMessage // the latest line about the configuration
	count int
	from  time.Time // of the first, zero where the lines carry no time
	to    time.Time
	// agent is the agent's last word on its connection to the control plane, where that failed; nil for none.
	agent *evidence.LogMessage
	// upstream is the address that the agent dialled, as far as it says so.
	upstream string
}

// podLog finds the pod in the name of a log that was read from the cluster ("log of container istio-proxy of pod shop/a", "event
// Unhealthy of Pod shop/a"), and logging finds it in the name of one from Cloud Logging.
var (
	podLog  = regexp.MustCompile(`\b[Pp]od ([a-z0-9-]+)/([a-z0-9][a-z0-9.-]*)`)
	logging = regexp.MustCompile(`^([a-z0-9-]+)/([a-z0-9][a-z0-9.-]*)/[a-z0-9-]+$`)
)

// proxyLogs gives the logs in which a proxy waits for its configuration, or has rejected it, and doesn't get ready after it.
func proxyLogs(req diagnose.Request, v *evidence.View) ([]proxyLog, error) {
	logs, err := evidence.Get(v, evidence.LogMessages)
	if err != nil {
		return nil, err
	}
	pods, _ := evidence.Get(v, evidence.Pods)
	var files []string
	by := map[string][]evidence.LogMessage{}
	for _, m := range logs {
		if by[m.File] == nil {
			files = append(files, m.File)
		}
		by[m.File] = append(by[m.File], m)
	}
	slices.Sort(files)
	var out []proxyLog
	for _, f := range files {
		if l, ok := readLog(f, by[f], pods); ok {
			out = append(out, l)
		}
	}
	return out, nil
}

// readLog reads one log; ok is false where nothing waits in it.
func readLog(file string, list []evidence.LogMessage, pods []evidence.Objects[kube.Pod]) (l proxyLog, ok bool) {
	l.file = file
	for i, m := range list {
		switch m.Signature {
		case messages.ProxyNotReady.ID:
			if m.Fields["config"] == "" {
				continue
			}
			if len(l.lines) == 0 || after(m, l.last) {
				l.last = m
			}
			l.lines = append(l.lines, m)
		case messages.AgentUpstreamFailed.ID:
			if l.agent == nil || after(m, *l.agent) {
				l.agent = &list[i]
			}
			l.upstream = cmp.Or(m.Fields["address"], m.Fields["agent_address"], l.upstream)
		case messages.AgentUpstreamConnected.ID:
			l.upstream = cmp.Or(m.Fields["address"], l.upstream)
		}
	}
	if len(l.lines) == 0 {
		return l, false
	}
	var ready *evidence.LogMessage
	for i, m := range list {
		switch {
		case m.Signature == messages.ProxyReady.ID && after(m, l.last):
			return l, false
		case m.Signature == messages.ProxyReady.ID && (ready == nil || after(m, *ready)):
			ready = &list[i]
		case m.Signature == messages.AgentUpstreamConnected.ID && l.agent != nil && after(m, *l.agent):
			l.agent = nil
		}
	}
	for _, m := range l.lines {
		if ready != nil && !after(m, *ready) {
			continue // of a start before
		}
		l.count += max(1, m.Count)
		from := m.First
		if ready != nil && from.Before(ready.Last) {
			from = ready.Last
		}
		if !from.IsZero() && (l.from.IsZero() || from.Before(l.from)) {
			l.from = from
		}
		if m.Last.After(l.to) {
			l.to = m.Last
		}
	}
	l.live = !l.last.Source.Pasted
	l.findPod(pods)
	return l, true
}

// findPod finds the pod whose proxy wrote the log.
func (l *proxyLog) findPod(pods []evidence.Objects[kube.Pod]) {
	if !l.live {
		return // a file is named as it pleases
	}
	g := podLog.FindStringSubmatch(l.file)
	if g == nil {
		g = logging.FindStringSubmatch(l.file)
	}
	if g == nil {
		return
	}
	l.ns, l.name = g[1], g[2]
	for _, b := range pods {
		for i := range b.Items {
			if p := &b.Items[i]; p.Namespace == l.ns && p.Name == l.name {
				l.pod = p
				return
			}
		}
	}
	l.gone = evidence.Covers(pods, l.ns)
}

// settled says whether the pod's proxy is ready by now, whatever its log says, or the pod has had its day.
func (l *proxyLog) settled() bool {
	switch {
	case l.pod == nil:
		return l.gone
	case l.pod.Ended(), !l.pod.Deleted.IsZero():
		return true
	}
	s := l.pod.StatusOf(kube.ProxyContainer)
	return s != nil && s.Ready
}

// early says whether the proxy may have just begun: by its container's start, or by its lines, which cover less than a minute. Of
// one line alone in a file nobody knows; see [proxyLog.confidence].
func (l *proxyLog) early() bool {
	now := l.last.Source.Time
	if l.pod != nil {
		if s := l.pod.StatusOf(kube.ProxyContainer); s != nil && s.State.Running != nil && !s.State.Running.Started.IsZero() {
			return now.Sub(s.State.Running.Started) < starting
		}
	}
	switch {
	case l.from.IsZero():
		return false
	case l.live:
		return now.Sub(l.from) < starting
	default:
		return l.count > 1 && l.to.Sub(l.from) < starting
	}
}

// confidence says how sure it is that the proxy doesn't get out of it by itself: its lines cover a minute, or are as many as come
// in one, since the kubelet asks every other second.
func (l *proxyLog) confidence() diagnose.Confidence {
	const aMinute = 30
	if l.live || l.count >= aMinute || !l.from.IsZero() && l.to.Sub(l.from) >= starting {
		return diagnose.Likely
	}
	return diagnose.Possible
}

// ofGoogle says whether the proxy's control plane is one of Google's, as far as the log, the pod or the mesh tells it.
func (l *proxyLog) ofGoogle(set []address) bool {
	if l.upstream != "" {
		return ofGoogle(l.upstream)
	}
	if l.pod != nil {
		if a := discoveryIn(l.pod.Annotations[kube.AnnotationProxyConfig]); a != "" {
			return ofGoogle(a)
		}
		if a := environment(l.pod); a != "" {
			return ofGoogle(a)
		}
	}
	return len(set) > 0 && !slices.ContainsFunc(set, func(a address) bool { return !ofGoogle(a.value) })
}

// counts are the updates that the proxy took and rejected since it started; known says whether the line gives them.
type counts struct {
	known                        bool
	clusters, clustersRejected   int
	listeners, listenersRejected int
}

func (l *proxyLog) counts() (c counts) {
	n := func(field string) int {
		i, err := strconv.Atoi(l.last.Fields[field])
		c.known = c.known || err == nil
		return i
	}
	c.clusters, c.clustersRejected, c.listeners, c.listenersRejected = n("cds_successful"), n("cds_rejected"), n("lds_successful"), n("lds_rejected")
	return c
}

// rejected says whether the proxy's last word is that it rejected something. Before Istio 1.12 the line reads the same as where
// nothing came: the counts alone tell.
func (l *proxyLog) rejected() bool {
	c := l.counts()
	return l.last.Fields["config"] == "received" || c.clustersRejected > 0 || c.listenersRejected > 0
}

// cause makes what both checks' causes have in common.
func (l *proxyLog) cause(req diagnose.Request, logs int) diagnose.Cause {
	c := diagnose.Cause{Subject: "the proxy that wrote " + logName(l.last), Confidence: l.confidence(), Params: map[string]string{}}
	if logs > 1 {
		c.Key = "files/" + l.file
	}
	if l.name != "" {
		p := kube.Pod{Meta: kube.Meta{Namespace: l.ns, Name: l.name}}
		if l.pod != nil {
			p = *l.pod
		}
		g := cluster.Group{Namespace: l.ns, Maker: cluster.Maker(&p), Pods: []kube.Pod{p}}
		c.Subject, c.Key = "the proxy of pod "+l.ns+"/"+l.name, g.Key(req)
		for k, s := range g.Params() {
			c.Params[k] = s
		}
	} else {
		c.Params["namespace"], c.Params["pod"] = req.Target.Namespace, req.Target.Pod
	}
	if c.Params["pod"] != "" {
		c.Params["known_pod"] = "yes"
	}
	for _, m := range l.lines[:min(len(l.lines), maxExhibits)] {
		c.Evidence = append(c.Evidence, diagnose.Exhibit{Fact: evidence.LogMessages.Name(), Excerpt: clip(m.Text, maxExcerpt), Source: m.Source})
	}
	return c
}

// how says how often and how long the proxy said it.
func (l *proxyLog) how() string {
	s := ""
	if l.count > 1 {
		s = fmt.Sprintf(", said %d times", l.count)
	}
	if d := l.to.Sub(l.from); !l.from.IsZero() && d >= time.Second {
		s += " over " + d.Round(time.Second).String()
	}
	return s
}

// handedOver are the logs that other checks tell of: those of proxies of Google's control planes.
func handedOver(req diagnose.Request, v *evidence.View, list []proxyLog) (own []proxyLog, err error) {
	set := addresses(req, v)
	whose, _ := cluster.ControlPlane(v)
	google := 0
	for _, l := range list {
		if whose.Managed() || l.ofGoogle(set) {
			google++
			continue
		}
		own = append(own, l)
	}
	if google > 0 && len(own) == 0 {
		return nil, diagnose.Skip("the proxy's control plane is Google's: the checks of controlplane and config tell why it gets nothing")
	}
	return own, nil
}

// readinessNeeds are the facts that checks of proxies' readiness read.
var readinessNeeds = append([]evidence.Name{
	evidence.LogMessages.Name(), evidence.Pods.Name(), evidence.Workloads.Name(), evidence.Namespaces.Name(), evidence.ConfigMaps.Name(),
}, planeNeeds...)

var readinessSignatures = []diagnose.Signature{messages.ProxyNotReady, messages.ProxyReady, messages.AgentUpstreamFailed, messages.AgentUpstreamConnected}
