package artifact

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/meshdiag/meshdiag/evidence/kube"
)

var (
	httpProbe    = regexp.MustCompile(`^http-get https?://[^:/]*:([^/\s]*)(/\S*)?`)
	tcpProbe     = regexp.MustCompile(`^tcp-socket [^:\s]*:(\S+)`)
	execProbe    = regexp.MustCompile(`^exec \[(.*?)\] delay=`)
	probeTimes   = regexp.MustCompile(`(delay|timeout|period|#failure)=(\d+)`)
	envFrom      = regexp.MustCompile(`^(.*?)\s*(?:\((?:v1:[^()]*|limits\.[^()]*|requests\.[^()]*)\)|<set to the key .*>.*)$`)
	envName      = regexp.MustCompile(`^([A-Za-z_.-][A-Za-z0-9_.-]*):(?:\s+(.*))?$`)
	portCell     = regexp.MustCompile(`^(\d+)/([A-Z]+)(?: \(([a-z0-9-]+)\))?$`)
	replicaWords = regexp.MustCompile(`(\d+) (desired|updated|total|available|unavailable|current)`)
	podStatuses  = regexp.MustCompile(`(\d+) (?:Active|Running)[^/]*/ (\d+) (?:Succeeded|Waiting)[^/]*/ (\d+) (?:Failed|Succeeded)`)
)

// pod gives a described pod, or, without its status, a template.
func (o describedObject) pod(meta kube.Meta) kube.Pod {
	p := kube.Pod{Meta: meta, Described: true}
	p.Spec.ServiceAccount = o.text("Service Account")
	p.Spec.RuntimeClassName = o.text("Runtime Class Name")
	node, address, _ := strings.Cut(o.text("Node"), "/")
	p.Spec.NodeName, p.Status.HostIP, p.Status.PodIP = node, address, o.text("IP")
	// A pod has its node's address where it is in its network, and never else.
	p.Spec.HostNetwork = address != "" && address == p.Status.PodIP
	p.Status.Phase, _, _ = strings.Cut(o.text("Status"), " ")
	p.Status.Reason, p.Status.Message = o.text("Reason"), o.text("Message")
	if t, ok := describedTime(o.text("Start Time")); ok {
		p.Status.Started = t
	}
	p.Status.Conditions = o.conditions()
	p.Spec.Containers, p.Status.Containers = describedContainers(o.get("Containers"))
	p.Spec.InitContainers, p.Status.InitContainers = describedContainers(o.get("Init Containers"))
	for i := range p.Spec.InitContainers {
		c := &p.Spec.InitContainers[i]
		// An init container may have probes only where it goes on running, and counts as ready while it runs only then too.
		// https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/
		running := i < len(p.Status.InitContainers) && p.Status.InitContainers[i].State.Running != nil && p.Status.InitContainers[i].Ready
		if c.RestartPolicy == "" && (running || c.ReadinessProbe != nil || c.LivenessProbe != nil || c.StartupProbe != nil) {
			c.RestartPolicy = kube.RestartAlways
		}
	}
	return p
}

// workload gives a described workload.
func (o describedObject) workload(kind string, meta kube.Meta) kube.Workload {
	w := kube.Workload{Kind: kind, Meta: meta}
	w.Spec.Selector = describedSelector(o.text("Selector"))
	w.Status.Conditions = o.conditions()
	n := map[string]int{}
	for _, m := range replicaWords.FindAllStringSubmatch(o.text("Replicas"), -1) {
		n[m[2]] = number(m[1])
	}
	if d, ok := n["desired"]; ok {
		w.Spec.Replicas = &d
	}
	w.Status.Replicas = max(n["total"], n["current"])
	// How many are ready isn't told; those that are available are, and as a rule no others.
	w.Status.Available, w.Status.Ready = n["available"], n["available"]
	w.Status.Desired = number(o.text("Desired Number of Nodes Scheduled"))
	if m := podStatuses.FindStringSubmatch(o.text("Pods Statuses")); m != nil {
		w.Status.Active, w.Status.Succeeded, w.Status.Failed = number(m[1]), number(m[2]), number(m[3])
	}
	if t := o.get("Pod Template"); t != nil {
		inner := make([]string, len(t.body))
		for i, l := range t.body {
			inner[i] = strings.TrimPrefix(l, "  ")
		}
		x := parseDescribed(inner, t.line+1)
		w.Spec.Template = x.pod(kube.Meta{Labels: x.labels(), Annotations: x.annotations()})
	}
	if kind == "CronJob" {
		w.Spec.JobTemplate = &struct {
			Spec struct {
				Template kube.Pod `json:"template"`
			} `json:"spec"`
		}{}
		w.Spec.JobTemplate.Spec.Template, w.Spec.Template = w.Spec.Template, kube.Pod{}
	}
	return w
}

// describedSelector reads a selector as kubectl writes it: "app=a,tier in (b,c),!d". nil where it says something else.
func describedSelector(s string) *kube.Selector {
	if s == "" {
		return nil
	}
	sel := &kube.Selector{}
	depth, start := 0, 0
	var terms []string
	for i, c := range s + "," {
		switch {
		case c == '(':
			depth++
		case c == ')':
			depth--
		case c == ',' && depth == 0:
			terms = append(terms, s[start:i])
			start = i + 1
		}
	}
	for _, t := range terms {
		key, op, _ := strings.Cut(t, " ")
		switch k, v, eq := strings.Cut(t, "="); {
		case strings.Contains(op, "("):
			op, list, _ := strings.Cut(op, "(")
			r := kube.Requirement{Key: key, Operator: "In", Values: strings.Split(strings.TrimSuffix(list, ")"), ",")}
			if strings.TrimSpace(op) == "notin" {
				r.Operator = "NotIn"
			}
			sel.MatchExpressions = append(sel.MatchExpressions, r)
		case eq && strings.HasSuffix(k, "!"):
			sel.MatchExpressions = append(sel.MatchExpressions, kube.Requirement{Key: strings.TrimSuffix(k, "!"), Operator: "NotIn", Values: []string{v}})
		case eq:
			if sel.MatchLabels == nil {
				sel.MatchLabels = map[string]string{}
			}
			sel.MatchLabels[k] = strings.TrimPrefix(v, "=")
		case strings.HasPrefix(t, "!"):
			sel.MatchExpressions = append(sel.MatchExpressions, kube.Requirement{Key: t[1:], Operator: "DoesNotExist"})
		default:
			sel.MatchExpressions = append(sel.MatchExpressions, kube.Requirement{Key: t, Operator: "Exists"})
		}
	}
	return sel
}

// node is a line with those beneath it, by indentation.
type node struct {
	key, value string
	text       string // the line without its indentation
	kids       []*node
}

// get gives a child by its key, nil for none.
func (n *node) get(key string) *node {
	if n == nil {
		return nil
	}
	if i := slices.IndexFunc(n.kids, func(k *node) bool { return k.key == key }); i >= 0 {
		return n.kids[i]
	}
	return nil
}

// str gives a child's value, "" for none and for "<none>".
func (n *node) str(key string) string {
	k := n.get(key)
	if k == nil || k.value == "<none>" {
		return ""
	}
	return k.value
}

// maxIndent bounds the levels of indentation.
const maxIndent = 100

// tree builds nodes of indented lines. A line that isn't indented goes on the one before: a message of several lines.
func tree(lines []string) *node {
	type open struct {
		n      *node
		indent int
	}
	root := &node{}
	stack := []open{{root, -1}}
	for _, l := range lines {
		text := strings.TrimSpace(l)
		if text == "" {
			continue
		}
		indent := blanksAt(l)
		top := stack[len(stack)-1].n
		if indent == 0 && top != root {
			goOn(&top.value, text)
			continue
		}
		for len(stack) > 1 && stack[len(stack)-1].indent >= indent {
			stack = stack[:len(stack)-1]
		}
		n := &node{text: text}
		if k, v, ok := strings.Cut(text, ":"); ok && (v == "" || v[0] == ' ' || v[0] == '\t') {
			n.key, n.value = k, strings.TrimSpace(v)
		}
		parent := stack[len(stack)-1].n
		parent.kids = append(parent.kids, n)
		if len(stack) < maxIndent {
			stack = append(stack, open{n, indent})
		}
	}
	return root
}

// describedContainers reads a list of containers and how they fare. A template's have no state.
func describedContainers(f *field) ([]kube.Container, []kube.ContainerStatus) {
	if f == nil {
		return nil, nil
	}
	var specs []kube.Container
	var states []kube.ContainerStatus
	for _, n := range tree(f.body).kids {
		if n.key == "" || n.value != "" || strings.Contains(n.key, " ") {
			continue
		}
		c := kube.Container{Name: n.key, Image: n.str("Image"), RestartPolicy: n.str("Restart Policy")}
		c.Command, c.Args = n.get("Command").lines(), n.get("Args").lines()
		ports := n.str("Port")
		if ports == "" {
			ports = n.str("Ports")
		}
		for _, s := range strings.Split(ports, ", ") {
			if m := portCell.FindStringSubmatch(s); m != nil {
				c.Ports = append(c.Ports, kube.ContainerPort{Name: m[3], Port: number(m[1]), Protocol: m[2]})
			}
		}
		c.ReadinessProbe, c.LivenessProbe, c.StartupProbe = describedProbe(n.str("Readiness")), describedProbe(n.str("Liveness")), describedProbe(n.str("Startup"))
		c.Resources.Limits, c.Resources.Requests = n.get("Limits").quantities(), n.get("Requests").quantities()
		c.Env = n.get("Environment").env()
		specs = append(specs, c)
		state := n.get("State")
		if state == nil {
			continue
		}
		s := kube.ContainerStatus{Name: c.Name, Image: c.Image, Ready: n.str("Ready") == "True", Restarts: number(n.str("Restart Count"))}
		s.State, s.Last = state.containerState(), n.get("Last State").containerState()
		states = append(states, s)
	}
	return specs, states
}

// lines gives the text of the lines beneath.
func (n *node) lines() []string {
	if n == nil {
		return nil
	}
	var out []string
	for _, k := range n.kids {
		out = append(out, k.text)
		out = append(out, k.lines()...)
	}
	return out
}

func (n *node) quantities() map[string]kube.Text {
	if n == nil || len(n.kids) == 0 {
		return nil
	}
	out := map[string]kube.Text{}
	for _, k := range n.kids {
		if k.key != "" {
			out[k.key] = kube.Text(k.value)
		}
	}
	return out
}

// env reads variables. Where a value comes from elsewhere, kubectl says from where instead of it, or behind it.
func (n *node) env() []kube.EnvVar {
	if n == nil {
		return nil
	}
	var out []kube.EnvVar
	for _, line := range n.lines() {
		m := envName.FindStringSubmatch(line)
		switch {
		case m != nil:
			v := kube.EnvVar{Name: m[1], Value: strings.TrimSpace(m[2])}
			if f := envFrom.FindStringSubmatch(v.Value); f != nil {
				v.Value, v.From = f[1], json.RawMessage(`{}`)
			}
			out = append(out, v)
		case len(out) > 0:
			goOn(&out[len(out)-1].Value, line)
		}
	}
	return out
}

// containerState reads a state; of none it is zero.
func (n *node) containerState() kube.ContainerState {
	var s kube.ContainerState
	if n == nil {
		return s
	}
	started, _ := describedTime(n.str("Started"))
	switch n.value {
	case "Running":
		s.Running = &struct {
			Started time.Time `json:"startedAt,omitzero"`
		}{started}
	case "Terminated":
		finished, _ := describedTime(n.str("Finished"))
		s.Terminated = &kube.Terminated{
			ExitCode: number(n.str("Exit Code")), Signal: number(n.str("Signal")), Reason: n.str("Reason"), Message: n.str("Message"), Started: started, Finished: finished,
		}
	case "Waiting":
		s.Waiting = &struct {
			Reason  string `json:"reason,omitempty"`
			Message string `json:"message,omitempty"`
		}{n.str("Reason"), n.str("Message")}
	}
	return s
}

// describedProbe reads a probe: "http-get http://:15021/healthz/ready delay=1s timeout=3s period=2s #success=1 #failure=30".
func describedProbe(s string) *kube.Probe {
	if s == "" {
		return nil
	}
	p := &kube.Probe{}
	if m := httpProbe.FindStringSubmatch(s); m != nil {
		p.HTTPGet = &struct {
			Path string    `json:"path,omitempty"`
			Port kube.Text `json:"port,omitempty"`
		}{m[2], kube.Text(m[1])}
	} else if m := tcpProbe.FindStringSubmatch(s); m != nil {
		p.TCPSocket = &struct {
			Port kube.Text `json:"port,omitempty"`
		}{kube.Text(m[1])}
	} else if m := execProbe.FindStringSubmatch(s); m != nil {
		p.Exec = &kube.Exec{Command: strings.Fields(m[1])}
	}
	for _, m := range probeTimes.FindAllStringSubmatch(s, -1) {
		n := number(m[2])
		switch m[1] {
		case "delay":
			p.InitialDelay = n
		case "timeout":
			p.Timeout = n
		case "period":
			p.Period = n
		case "#failure":
			p.FailureThreshold = n
		}
	}
	return p
}
