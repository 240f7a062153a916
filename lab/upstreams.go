package lab

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
)

// What the endpoints of a service are that aren't well.
const (
	upstreamClosed      = "closed"      // nothing listens there
	upstreamMute        = "mute"        // connections are taken, and never answered
	upstreamUnreachable = "unreachable" // packets to them are dropped on the way
)

// closedPort is one on which nothing listens: TCPMUX (RFC 1078) is served by nobody, and it takes privileges to begin.
const closedPort = 1

// upstreams starts what the scenario's services need, and says where it is.
func (w *World) upstreams(well hostPort) (map[string]hostPort, error) {
	out := map[string]hostPort{"": well, upstreamClosed: {"127.0.0.1", closedPort}}
	wanted := func(kind string) bool {
		return slices.ContainsFunc(w.scenario.Services, func(v Service) bool { return v.Upstream == kind })
	}
	if wanted(upstreamMute) {
		m, err := startMute()
		if err != nil {
			return nil, err
		}
		w.onClose(m.close)
		out[upstreamMute] = m.addr
	}
	if wanted(upstreamUnreachable) {
		b, err := startBlackhole()
		if err != nil {
			return nil, err
		}
		w.onClose(b.close)
		out[upstreamUnreachable] = hostPort{"127.0.0.1", b.port}
	}
	return out, nil
}

// endpointsOf gives the endpoints that the control plane tells of a service: where in the lab they are, but for those that
// can't be reached, which have the addresses that Compute Engine tells.
func (s *Scenario) endpointsOf(v *Service, upstreams map[string]hostPort) []hostPort {
	if v.Upstream != upstreamUnreachable {
		return []hostPort{upstreams[v.Upstream]}
	}
	var out []hostPort
	g := googleAPIs{scenario: s}
	for i, b := range v.Backends {
		for n := range *b.Endpoints {
			e := g.endpoint(v, i, n)
			out = append(out, hostPort{e.IpAddress, int(e.Port)})
		}
	}
	return out
}

// wayTo is where in the lab an endpoint's address leads.
func (s *surroundings) wayTo(a hostPort) string {
	for i := range s.scenario.Services {
		if v := &s.scenario.Services[i]; v.Upstream == upstreamUnreachable && slices.Contains(s.scenario.endpointsOf(v, s.upstreams), a) {
			return s.upstreams[upstreamUnreachable].String()
		}
	}
	return net.JoinHostPort(a.host, strconv.Itoa(a.port))
}

// mute is a server that never says anything.
type mute struct {
	addr  hostPort
	lis   net.Listener
	done  sync.WaitGroup
	mu    sync.Mutex
	conns []net.Conn
}

func startMute() (*mute, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("starting a server that never answers: %w", err)
	}
	m := &mute{lis: l, addr: hostPort{"127.0.0.1", l.Addr().(*net.TCPAddr).Port}}
	m.done.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return // closed
			}
			m.mu.Lock()
			m.conns = append(m.conns, c)
			m.mu.Unlock()
		}
	})
	return m, nil
}

func (m *mute) close() {
	_ = m.lis.Close()
	m.done.Wait()
	for _, c := range m.conns {
		_ = c.Close()
	}
}
