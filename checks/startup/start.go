package startup

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

// start is how one pod started, as far as it was seen.
type start struct {
	pod *kube.Pod
	// seen says that the pod itself was read; else its name alone is known, from events or logs.
	seen bool
	// file names the log that tells of a pod whose name isn't known.
	file   string
	source evidence.Source // of the pod
	// now is when a live pod was read; zero where its file doesn't tell.
	now         time.Time
	events      []kube.Event
	eventSource evidence.Source
	lines       []line

	proxy  *kube.Container // nil for none
	native bool
	at     int // the proxy's place among its list
}

func newStart(p *kube.Pod) *start {
	x := &start{pod: p, at: -1}
	x.proxy, x.native = p.Sidecar()
	list := p.Spec.Containers
	if x.native {
		list = p.Spec.InitContainers
	}
	x.at = slices.IndexFunc(list, func(c kube.Container) bool { return c.Name == kube.ProxyContainer })
	return x
}

// title names the pod, or the log that tells of it.
func (x *start) title() string {
	if x.file != "" {
		return "the pod of " + x.file
	}
	return x.pod.Title()
}

// cni says whether the CNI plugin, not a container of the pod, makes the rules that send traffic to the proxy: then they are there
// before any container runs.
func (x *start) cni() bool {
	c, _ := x.pod.Container(kube.ValidationContainer)
	return c != nil
}

// initAt gives the place of istio-init among the init containers, -1 for none.
func (x *start) initAt() int {
	return slices.IndexFunc(x.pod.Spec.InitContainers, func(c kube.Container) bool { return c.Name == kube.InitContainer })
}

// interceptedFrom gives when the pod's traffic began to go to the proxy; ok is false where nothing shows that it ever did.
func (x *start) interceptedFrom() (at time.Time, ok bool) {
	if strings.EqualFold(x.pod.Annotations["sidecar.istio.io/interceptionMode"], "NONE") {
		return at, false
	}
	if x.cni() {
		return x.pod.Status.Started, true
	}
	s := x.pod.StatusOf(kube.InitContainer)
	if x.initAt() < 0 || s == nil || s.State.Terminated == nil || s.State.Terminated.ExitCode != 0 {
		return at, false
	}
	return s.State.Terminated.Finished, true
}

// mesh says whether a container is the mesh's own.
func mesh(name string) bool {
	return name == kube.ProxyContainer || name == kube.InitContainer || name == kube.ValidationContainer || name == "enable-core-dump"
}

// firstStart gives when a container first ran, as far as its status tells: of one that was started again more than once it's lost.
func firstStart(s *kube.ContainerStatus) time.Time {
	switch {
	case s == nil || s.Restarts > 1:
		return time.Time{}
	case s.Restarts == 1:
		if t := s.Last.Terminated; t != nil {
			return t.Started
		}
		return time.Time{}
	case s.State.Running != nil:
		return s.State.Running.Started
	case s.State.Terminated != nil:
		return s.State.Terminated.Started
	}
	return time.Time{}
}

// ended gives how a container ended the last time: now, or before it was started again.
func ended(s *kube.ContainerStatus) *kube.Terminated {
	if s == nil {
		return nil
	}
	if s.State.Terminated != nil {
		return s.State.Terminated
	}
	return s.Last.Terminated
}

// whyWaiting gives why a container waits, "" where it doesn't.
func whyWaiting(s *kube.ContainerStatus) string {
	if s == nil || s.State.Waiting == nil {
		return ""
	}
	return s.State.Waiting.Reason
}

// ready says whether the pod takes traffic.
func (x *start) ready() bool {
	c := kube.FindCondition(x.pod.Status.Conditions, "Ready")
	return c != nil && c.Status == "True"
}

// holdPattern finds the setting in the annotation proxy.istio.io/config, which is YAML.
var holdPattern = regexp.MustCompile(`holdApplicationUntilProxyStarts["']?\s*:\s*["']?true\b`)

// wantsHold says whether annotations ask to hold the application.
func wantsHold(m *kube.Meta) bool {
	return holdPattern.MatchString(m.Annotations[kube.AnnotationProxyConfig])
}

// waitsForProxy says whether a container's postStart hook waits for the proxy.
func waitsForProxy(c *kube.Container) bool {
	if c == nil || c.Lifecycle == nil || c.Lifecycle.PostStart == nil || c.Lifecycle.PostStart.Exec == nil {
		return false
	}
	words := strings.Join(c.Lifecycle.PostStart.Exec.Command, " ")
	return strings.Contains(words, "pilot-agent wait") || strings.Contains(words, "/healthz/ready")
}

// held says whether the pod's application starts only when its proxy is ready: the proxy is the first of the containers and its hook
// waits (kubelets start containers in their order, and wait for each one's hook), or it is a native sidecar with a startup probe.
func (x *start) held() bool {
	switch {
	case x.proxy == nil:
		return false
	case x.native:
		return x.proxy.StartupProbe != nil
	case x.pod.Described:
		return x.at == 0 // hooks aren't told; the injector puts a proxy first that holds, and else last
	}
	return x.at == 0 && waitsForProxy(x.proxy)
}

// capture is which of a pod's outbound traffic goes to the proxy.
type capture struct {
	include, exclude           []string // ranges; "*" for all
	includePorts, excludePorts []string
}

// The annotations that say what goes to the proxy.
const (
	excludeRanges = "traffic.sidecar.istio.io/excludeOutboundIPRanges"
	includeRanges = "traffic.sidecar.istio.io/includeOutboundIPRanges"
	excludePorts  = "traffic.sidecar.istio.io/excludeOutboundPorts"
	includePorts  = "traffic.sidecar.istio.io/includeOutboundPorts"
)

// captured reads what the injector told istio-init, or istio-validation, which holds the mesh-wide settings too, and the pod's
// annotations, which count where the arguments don't tell.
func (x *start) captured() capture {
	c := capture{include: []string{"*"}}
	for _, f := range []struct {
		key string
		to  *[]string
	}{{includeRanges, &c.include}, {excludeRanges, &c.exclude}, {includePorts, &c.includePorts}, {excludePorts, &c.excludePorts}} {
		if v, ok := x.pod.Annotations[f.key]; ok {
			*f.to = list(v)
		}
	}
	for _, name := range []string{kube.InitContainer, kube.ValidationContainer} {
		k, _ := x.pod.Container(name)
		if k == nil {
			continue
		}
		args := slices.Concat(k.Command, k.Args)
		for i, a := range args {
			v := ""
			if i+1 < len(args) && !strings.HasPrefix(args[i+1], "-") {
				v = args[i+1] // kubectl describe leaves empty ones out
			}
			switch a {
			case "-i":
				c.include = list(v)
			case "-x":
				c.exclude = append(c.exclude, list(v)...)
			case "-o":
				c.excludePorts = append(c.excludePorts, list(v)...)
			case "-q":
				c.includePorts = append(c.includePorts, list(v)...)
			}
		}
	}
	return c
}

func list(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
}

// bypasses says whether a container's traffic passes the proxy by: it runs as the proxy's user or group.
func (x *start) bypasses(c *kube.Container) bool {
	const proxyUser = 1337
	is := func(id *int64) bool { return id != nil && *id == proxyUser }
	if c == nil {
		return false
	}
	own, pod := c.SecurityContext, x.pod.Spec.SecurityContext
	user, group := (*int64)(nil), (*int64)(nil)
	if pod != nil {
		user, group = pod.RunAsUser, pod.RunAsGroup
	}
	if own != nil {
		if own.RunAsUser != nil {
			user = own.RunAsUser
		}
		if own.RunAsGroup != nil {
			group = own.RunAsGroup
		}
	}
	return is(user) || is(group)
}

// capturesDNS says whether the proxy answers the pod's queries of names.
func (x *start) capturesDNS() bool {
	if x.proxy == nil {
		return false
	}
	v, _ := x.proxy.EnvValue("ISTIO_META_DNS_CAPTURE")
	return v == "true"
}

// withHold gives an annotation proxy.istio.io/config with the hold, from the one that is there; ok is false where it can't be
// written in.
func withHold(config string) (out string, ok bool) {
	const setting = "holdApplicationUntilProxyStarts"
	switch t := strings.TrimSpace(config); {
	case t == "":
		return `{"` + setting + `":true}`, true
	case strings.HasPrefix(t, "{"):
		var m map[string]any
		if json.Unmarshal([]byte(t), &m) != nil {
			return "", false
		}
		m[setting] = true
		b, err := json.Marshal(m)
		return string(b), err == nil
	case strings.Contains(t, setting):
		return "", false
	default:
		return strings.TrimRight(config, "\n") + "\n" + setting + ": true", true
	}
}
