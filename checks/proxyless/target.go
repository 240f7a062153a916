package proxyless

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"github.com/meshdiag/meshdiag/evidence"
)

// defaultPort is the port of a target that gives none.
// https://cloud.google.com/traffic-director/docs/proxyless-overview (name resolution scheme)
const defaultPort = 80

// target is what is dialled behind xds:///.
type target struct {
	text string // HOST or HOST:PORT, as dialled
	host string
	port int
}

// hostText is a host's name, with or without a port.
var hostText = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?(:[0-9]{1,5})?$`)

// parseTarget reads HOST, HOST:PORT or the same behind xds:///. ok is false for an address, which nobody resolves by xDS.
func parseTarget(s string) (t target, ok bool) {
	if rest, found := strings.CutPrefix(s, "xds:"); found {
		s = strings.TrimLeft(rest, "/")
		if strings.HasPrefix(rest, "//") && !strings.HasPrefix(rest, "///") {
			if _, s, ok = strings.Cut(s, "/"); !ok {
				return target{}, false
			}
		}
	}
	if !hostText.MatchString(s) {
		return target{}, false
	}
	t = target{text: s, host: s, port: defaultPort}
	if host, port, found := strings.Cut(s, ":"); found {
		n, err := strconv.Atoi(port)
		if err != nil || n < 1 || n > 65535 {
			return target{}, false
		}
		t.host, t.port = host, n
	}
	if _, err := netip.ParseAddr(t.host); err == nil {
		return target{}, false
	}
	return t, true
}

// byDefault says that the port wasn't given.
func (t target) byDefault() string {
	if strings.Contains(t.text, ":") {
		return ""
	}
	return ", which is meant where none is given"
}

// matches says whether a host of a host rule or a route is for the target, or may be: wildcards count.
func (t target) matches(host string) bool {
	return strings.EqualFold(host, t.text) || strings.Contains(host, "*")
}

// forGRPC says whether gRPC clients on a network are served through a rule. One that doesn't say where it leads may be.
func forGRPC(r evidence.ForwardingRule, network string) bool {
	return (r.Scheme == evidence.SelfManaged || r.Scheme == "") && evidence.LastSegment(r.Network) == network &&
		(r.Target == "" || strings.Contains(r.Target, "/targetGrpcProxies/"))
}

// hasPort says whether a rule has a port. One that shows no ports may.
func hasPort(r evidence.ForwardingRule, port int) bool {
	from, to, found := strings.Cut(r.PortRange, "-")
	if !found {
		to = from
	}
	lo, err1 := strconv.Atoi(from)
	hi, err2 := strconv.Atoi(to)
	return err1 != nil || err2 != nil || lo <= port && port <= hi
}

// portText gives a rule's ports, "80" for "80-80".
func portText(r evidence.ForwardingRule) string {
	if from, to, found := strings.Cut(r.PortRange, "-"); found && from == to {
		return from
	}
	return r.PortRange
}

// same says whether a resource is the one that a reference names. References may be whole URLs or the ends of them; a name
// alone is enough where the resource doesn't give its own link.
func same(selfLink, name, ref string) bool {
	if ref == "" {
		return false
	}
	if selfLink == "" {
		return name == evidence.LastSegment(ref)
	}
	return tail(selfLink) == tail(ref)
}

// tail gives a URL from its project on: APIs spell the beginning in several ways.
func tail(link string) string {
	if i := strings.Index(link, "/projects/"); i >= 0 {
		return link[i:]
	}
	return fmt.Sprint("/", strings.TrimPrefix(link, "/"))
}

func missing(err error) bool {
	var m *evidence.Missing
	return errors.As(err, &m) && m.Why != evidence.NotAsked
}
