package startup

import (
	"cmp"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

// line is a message with where it was logged.
type line struct {
	evidence.LogMessage
	namespace, name string // the pod; "" where it isn't told
	container       string // "" where it isn't told
	previous        bool   // of the container before the one that runs
	// sure says that the source itself names the pod.
	sure bool
}

var (
	// liveLog are the logs that the API server gives: "log of container app of pod shop/checkout-1", "log of the container before, …".
	liveLog = regexp.MustCompile(`^log of (?:container |(the container before), )([\w.-]+) of pod ([\w.-]+)/([\w.-]+)$`)
	// cloudLog are those of Cloud Logging: "shop/checkout-1/app".
	cloudLog = regexp.MustCompile(`^([a-z0-9-]+)/([a-z0-9.-]+)/([a-z0-9-]+)$`)
	// object is what a pod's own status says, in the place of a file or behind it: "Pod shop/checkout-1, container app".
	object = regexp.MustCompile(`(?:^|\()Pod (?:([a-z0-9-]+)/)?([a-z0-9.-]+)(?:, container ([a-z0-9-]+))?(?:, condition \w+)?\)?$`)
	// eventOf is an event. Events are read for themselves.
	eventOf = regexp.MustCompile(`(?:^|\()event \w* ?of `)
	// agentLine begins a line of Istio's agent.
	agentLine = regexp.MustCompile(`(?:^|\s)\d{4}-\d\d-\d\dT[\d:.]+Z\s+(?:debug|info|warn|warning|error|fatal)\s`)
)

// place tells where a message was logged; ok is false for what events say, which are read for themselves.
func place(m evidence.LogMessage) (l line, ok bool) {
	l.LogMessage = m
	for _, at := range []string{m.File, m.Source.Detail} {
		if f := liveLog.FindStringSubmatch(at); f != nil {
			l.previous, l.container, l.namespace, l.name, l.sure = f[1] != "", f[2], f[3], f[4], true
			return l, true
		}
		if f := object.FindStringSubmatch(at); f != nil {
			l.namespace, l.name, l.container, l.sure = f[1], f[2], f[3], true
			return l, true
		}
		if eventOf.MatchString(at) {
			return l, false
		}
	}
	if f := cloudLog.FindStringSubmatch(m.File); f != nil && !m.Source.Pasted {
		l.namespace, l.name, l.container, l.sure = f[1], f[2], f[3], true
		return l, true
	}
	for _, c := range []string{kube.ProxyContainer, kube.InitContainer, kube.ValidationContainer} {
		if strings.Contains(m.File, c) {
			l.container = c
		}
	}
	return l, true
}

// ofProxy says whether the proxy's container wrote the line, or the line can be of nobody else.
func (l line) ofProxy() bool {
	if l.container != "" {
		return l.container == kube.ProxyContainer
	}
	switch l.Signature {
	case messages.ProxyReady.ID, messages.ProxyNotReady.ID, messages.ProxyWaitFailed.ID:
		return true
	}
	return l.Fields["stream"] != "" || agentLine.MatchString(l.Text)
}

// where names what wrote the line, for the time line.
func (l line) where() string {
	switch {
	case l.container == "":
		return "log " + cut(l.File, maxWhere)
	case l.previous:
		return "log of " + l.container + " before"
	default:
		return "log of " + l.container
	}
}

// maxWhere bounds a file's name in a time line.
const maxWhere = 24

// refusal is a connection that an application was refused.
type refusal struct {
	line
	host, port string // "" where the line doesn't tell
	dns        bool   // it was a query of a name
	// at is when; bound says that it was then or earlier: the end of the run that logged it.
	at    time.Time
	bound bool
}

// ownPorts are those of the mesh itself.
var ownPorts = []string{"15000", "15001", "15004", "15006", "15008", "15010", "15012", "15014", "15017", "15020", "15021", "15053", "15090"}

// refused gives the connection that a line tells of; ok is false where it is none of an application's, or one that never goes to
// the proxy whatever the pod.
func refused(l line) (refusal, bool) {
	r := refusal{line: l}
	if l.Signature != messages.ConnectionRefused.ID || l.Fields["stream"] != "" || l.ofProxy() || mesh(l.container) {
		return r, false
	}
	f := l.Fields
	address := cmp.Or(f["address"], f["node"])
	switch {
	case address != "":
		r.host, r.port = split(address)
	case f["resolver"] != "" || f["name"] != "":
		r.host, r.port = split(f["resolver"])
		r.dns = true
	default:
		r.host, r.port = cmp.Or(f["host"], f["curl_host"]), cmp.Or(f["port"], f["curl_port"])
	}
	if ip, err := netip.ParseAddr(r.host); err == nil && (ip.IsLoopback() || ip.IsUnspecified()) {
		return r, false
	}
	if r.host == "localhost" || slices.Contains(ownPorts, r.port) || strings.HasPrefix(r.host, "istiod") {
		return r, false
	}
	r.at = l.First
	return r, true
}

// split takes HOST:PORT apart.
func split(s string) (host, port string) {
	if a, err := netip.ParseAddrPort(s); err == nil {
		return a.Addr().Unmap().String(), s[strings.LastIndexByte(s, ':')+1:]
	}
	if i := strings.LastIndexByte(s, ':'); i >= 0 && strings.Count(s, ":") == 1 {
		return s[:i], s[i+1:]
	}
	return strings.Trim(s, "[]"), ""
}

// target names what the connection was to: "10.84.12.7:6379", "catalog", or "" where the line doesn't tell.
func (r refusal) target() string {
	switch {
	case r.host == "":
		return ""
	case r.port == "":
		return r.host
	case strings.Contains(r.host, ":"):
		return "[" + r.host + "]:" + r.port
	default:
		return r.host + ":" + r.port
	}
}

// toward says what was refused: "10.84.12.7:6379", "the query of vault", "a connection".
func (r refusal) toward() string {
	switch {
	case r.dns && r.Fields["name"] != "":
		return "the query of " + cut(r.Fields["name"], maxName)
	case r.target() != "":
		return cut(r.target(), maxName)
	default:
		return "a connection"
	}
}

// maxName bounds a host's name in a sentence.
const maxName = 60

// goes says whether the connection goes to the proxy.
type goes int

const (
	goesThere goes = iota
	goesBy
	goesUnknown
)

// goesTo says whether a connection of a container's is sent to the proxy.
func (x *start) goesTo(r refusal) goes {
	if !x.seen {
		return goesUnknown
	}
	if c, _ := x.pod.Container(r.container); x.bypasses(c) {
		return goesBy
	}
	if r.dns {
		if x.capturesDNS() {
			return goesThere
		}
		return goesBy
	}
	c := x.captured()
	ip, err := netip.ParseAddr(r.host)
	known := err == nil
	within := func(ranges []string) bool {
		return slices.ContainsFunc(ranges, func(s string) bool {
			if s == "*" {
				return true
			}
			if p, err := netip.ParsePrefix(s); err == nil {
				return p.Contains(ip)
			}
			a, err := netip.ParseAddr(s)
			return err == nil && a == ip
		})
	}
	all := slices.Contains(c.include, "*")
	switch {
	case r.host == x.pod.Status.PodIP && r.host != "",
		r.port != "" && slices.Contains(c.excludePorts, r.port),
		known && within(c.exclude):
		return goesBy
	case r.port != "" && slices.Contains(c.includePorts, r.port),
		known && within(c.include):
		return goesThere
	case known:
		return goesBy
	case r.host != "" && all && len(c.exclude) == 0 && (r.port != "" || len(c.excludePorts) == 0):
		return goesThere
	case len(c.include) == 0 && len(c.includePorts) == 0:
		return goesBy
	default:
		return goesUnknown
	}
}
