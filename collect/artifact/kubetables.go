package artifact

import (
	"bytes"
	"cmp"
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

var (
	readyCell    = regexp.MustCompile(`^(\d+)/(\d+)$`)
	restartsCell = regexp.MustCompile(`^(\d+)(?: \(.*)?$`)
	ageCell      = regexp.MustCompile(`^(\d+[smhdy](?:\d+[smhdy])*|<unknown>|<invalid>)(?: \(x(\d+) over [^()]*\))?$`)
	agePart      = regexp.MustCompile(`(\d+)([smhdy])`)
	eventObject  = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9.]*)/(\S+)$`)
	syncNote     = regexp.MustCompile(`\s*\([^()]*\)`)
	subscribed   = regexp.MustCompile(`^\d+ \(([A-Za-z,]+)\)$`)
	podName      = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]*$`)
)

// podRow reads a row of kubectl get pods.
func (m *kubeFile) podRow(r map[string]string, at string) bool {
	ready, restarts := readyCell.FindStringSubmatch(r["READY"]), restartsCell.FindStringSubmatch(r["RESTARTS"])
	name := strings.TrimPrefix(r["NAME"], "pod/") // kubectl get all
	if ready == nil || restarts == nil || !podName.MatchString(name) || r["STATUS"] == "" {
		return false
	}
	p := kube.PodRow{Status: r["STATUS"]}
	p.Name, p.Namespace, p.Origin = name, r["NAMESPACE"], at
	p.Ready, p.Total, p.Restarts = number(ready[1]), number(ready[2]), number(restarts[1])
	p.Labels = labelsCell(r["LABELS"])
	if n := r["NODE"]; n != "<none>" {
		p.Node = n
	}
	m.objects.PodRows = append(m.objects.PodRows, p)
	return true
}

// namespaceRow reads a row of kubectl get namespaces --show-labels.
func (m *kubeFile) namespaceRow(r map[string]string, at string) bool {
	if r["STATUS"] != "Active" && r["STATUS"] != "Terminating" || !podName.MatchString(r["NAME"]) {
		return false
	}
	n := kube.Namespace{Meta: kube.Meta{Name: r["NAME"], Labels: labelsCell(r["LABELS"]), Origin: at}}
	n.Status.Phase = r["STATUS"]
	m.objects.Namespaces = append(m.objects.Namespaces, n)
	return true
}

// labelsCell reads the labels of a row: "app=a,b=c".
func labelsCell(s string) map[string]string {
	var out map[string]string
	for _, l := range strings.Split(s, ",") {
		if k, v, ok := strings.Cut(l, "="); ok {
			if out == nil {
				out = map[string]string{}
			}
			out[k] = v
		}
	}
	return out
}

// eventRow reads a row of kubectl get events, or of kubectl events. Ages are relative to a time that the file doesn't tell, so
// that the event's times stay unknown.
func (m *kubeFile) eventRow(r map[string]string, at string) bool {
	age := ageCell.FindStringSubmatch(r["LAST SEEN"])
	if age == nil || r["TYPE"] != "Normal" && r["TYPE"] != "Warning" {
		return false
	}
	e := kube.Event{Type: r["TYPE"], Reason: r["REASON"], Message: r["MESSAGE"], Count: max(1, number(age[2]), number(r["COUNT"]))}
	e.Namespace, e.Origin = r["NAMESPACE"], at
	e.Involved = kube.Ref{Namespace: r["NAMESPACE"], FieldPath: r["SUBOBJECT"]}
	if o := eventObject.FindStringSubmatch(r["OBJECT"]); o != nil {
		e.Involved.Kind, e.Involved.Name = kindWord(o[1]), o[2]
	} else if r["KIND"] != "" {
		// Until Kubernetes 1.13: NAME is the event's own, which is the object's and a number.
		e.Involved.Kind = r["KIND"]
		e.Involved.Name, _, _ = cutLast(r["NAME"], ".")
	}
	e.Reporter, _, _ = strings.Cut(r["SOURCE"], ",")
	m.objects.Events = append(m.objects.Events, e)
	m.ages = append(m.ages, age[1])
	return true
}

// orderEvents puts the last n events into the order of their ages, the oldest first, where all of them tell it.
func (m *kubeFile) orderEvents(n int) {
	all := m.objects.Events
	if n > len(all) || len(m.ages) != n {
		m.ages = nil
		return
	}
	part := all[len(all)-n:]
	type aged struct {
		age time.Duration
		e   kube.Event
	}
	list := make([]aged, n)
	for i, a := range m.ages {
		d, ok := parseAge(a)
		if !ok {
			m.ages = nil
			return
		}
		list[i] = aged{d, part[i]}
	}
	slices.SortStableFunc(list, func(a, b aged) int { return cmp.Compare(b.age, a.age) })
	for i, a := range list {
		part[i] = a.e
	}
	m.ages = nil
}

// parseAge reads kubectl's ages: 5m, 2d3h.
func parseAge(s string) (time.Duration, bool) {
	var d time.Duration
	parts := agePart.FindAllStringSubmatch(s, -1)
	for _, p := range parts {
		unit := map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour, "y": 365 * 24 * time.Hour}[p[2]]
		d += time.Duration(min(number(p[1]), 1<<20)) * unit
	}
	return d, len(parts) > 0
}

// kindWord gives a kind as manifests write it, of kubectl's word for it.
func kindWord(s string) string {
	if kind, _, ok := kube.SplitWorkload(s + "/x"); ok {
		return kind
	}
	switch strings.ToLower(s) {
	case "pod":
		return "Pod"
	case "node":
		return "Node"
	case "namespace":
		return "Namespace"
	case "service":
		return "Service"
	case "horizontalpodautoscaler":
		return "HorizontalPodAutoscaler"
	case "controlplanerevision":
		return "ControlPlaneRevision"
	}
	return s
}

// syncRow reads a row of istioctl proxy-status. Its columns changed: one a type with its state; lately the types that a proxy
// subscribes to, without states.
func (m *kubeFile) syncRow(r map[string]string) bool {
	s := evidence.ProxySync{
		Proxy: cmp.Or(r["NAME"], r["PROXY"]), Cluster: r["CLUSTER"], Istiod: cmp.Or(r["ISTIOD"], r["PILOT"]), Version: r["VERSION"], Types: map[string]string{},
	}
	for name, v := range r {
		if strings.HasSuffix(name, "DS") && v != "" {
			s.Types[name] = syncState(v)
		}
	}
	if t := subscribed.FindStringSubmatch(r["SUBSCRIBED TYPES"]); t != nil {
		for _, name := range strings.Split(t[1], ",") {
			s.Types[name] = syncSubscribed
		}
	}
	if !strings.Contains(s.Proxy, ".") || len(s.Types) == 0 && s.Version == "" {
		return false
	}
	m.syncs = append(m.syncs, s)
	return true
}

// syncSubscribed is the state of a type of which istioctl says only that the proxy subscribes to it.
const syncSubscribed = "SUBSCRIBED"

// syncState gives the state without what istioctl adds: "STALE (Never Acknowledged) (0%)", "SYNCED (1m)".
func syncState(v string) string {
	v = strings.TrimSpace(syncNote.ReplaceAllString(v, ""))
	return strings.ToUpper(strings.ReplaceAll(v, "_", " "))
}

// syncz reads what istiod's /debug/syncz answers: for each proxy the nonces last sent and acknowledged, by type. ok is false
// where the document is something else.
// https://github.com/istio/istio/blob/master/pilot/pkg/xds/debug.go, SyncStatus
func (in *input) syncz(raw json.RawMessage) (outcome, bool) {
	var list []struct {
		Cluster  string `json:"cluster_id"`
		Proxy    string `json:"proxy"`
		Version  string `json:"istio_version"`
		Version2 string `json:"proxy_version"`

		ClusterSent    string `json:"cluster_sent"`
		ClusterAcked   string `json:"cluster_acked"`
		ListenerSent   string `json:"listener_sent"`
		ListenerAcked  string `json:"listener_acked"`
		RouteSent      string `json:"route_sent"`
		RouteAcked     string `json:"route_acked"`
		EndpointSent   string `json:"endpoint_sent"`
		EndpointAcked  string `json:"endpoint_acked"`
		ExtensionSent  string `json:"extensionconfig_sent"`
		ExtensionAcked string `json:"extensionconfig_acked"`

		// Statuses is how some versions told it.
		Statuses map[string]struct {
			Sent  string `json:"nonce_sent"`
			Acked string `json:"nonce_acked"`
		} `json:"statuses"`
	}
	if raw[0] != '[' || !bytes.Contains(raw, []byte(`"proxy"`)) || json.Unmarshal(raw, &list) != nil || len(list) == 0 {
		return outcome{}, false
	}
	state := func(sent, acked string) string {
		switch {
		case sent == "":
			return "NOT SENT"
		case sent == acked:
			return "SYNCED"
		}
		return "STALE"
	}
	m := &kubeFile{in: in, others: map[string]int{}}
	told := false
	for _, x := range list {
		if x.Proxy == "" {
			return outcome{}, false
		}
		// /debug/config_distribution looks alike, and has what was acknowledged alone.
		told = told || x.Version != "" || x.Version2 != "" || x.ClusterSent != "" || x.ListenerSent != "" || len(x.Statuses) > 0
		s := evidence.ProxySync{Proxy: x.Proxy, Cluster: x.Cluster, Version: cmp.Or(x.Version, x.Version2), Types: map[string]string{
			"CDS": state(x.ClusterSent, x.ClusterAcked), "LDS": state(x.ListenerSent, x.ListenerAcked),
			"RDS": state(x.RouteSent, x.RouteAcked), "EDS": state(x.EndpointSent, x.EndpointAcked),
		}}
		if x.ExtensionSent != "" {
			s.Types["ECDS"] = state(x.ExtensionSent, x.ExtensionAcked)
		}
		for t, v := range x.Statuses {
			s.Types[strings.ToUpper(t)] = state(v.Sent, v.Acked)
		}
		m.syncs = append(m.syncs, s)
	}
	if !told {
		return outcome{}, false
	}
	return m.done()
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0
	}
	return n
}

// cutLast cuts at the last separator.
func cutLast(s, sep string) (before, after string, ok bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}
