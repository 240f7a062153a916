package envoy

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// Direction is which way the traffic goes, seen from the proxy's workload.
type Direction string

// The directions.
const (
	Outbound Direction = "OUTBOUND"
	Inbound  Direction = "INBOUND"
)

// Query is the connection and the request to follow. What isn't given isn't guessed: where it decides, the walk's result
// says that it's needed.
type Query struct {
	Direction Direction  // empty is Outbound
	IP        netip.Addr // the destination as the client dials it; invalid where only a name is known
	Port      int        // the destination's, before interception; 0 is unknown
	Name      string     // host name, service name or gRPC target; empty where only the address is known

	SNI       string   // empty is unknown, unless Transport is raw_buffer
	Transport string   // "tls" or "raw_buffer"; empty is unknown, unless SNI is given
	ALPN      []string // nil is unknown
	Source    netip.AddrPort

	Authority string            // the Host or :authority header; empty is what a client makes of Name
	Path      string            // with its query string; empty is unknown
	Method    string            // empty is unknown
	Headers   map[string]string // in lower case; nil is unknown, otherwise these are all
}

// ParseDestination reads "10.0.0.1:80", "[fd00::1]:80", "host:80", "host" or "xds:///host:80". A gRPC target without a
// port has port 80, as Traffic Director takes it.
func ParseDestination(s string) (Query, error) {
	var q Query
	grpc := false
	if rest, ok := strings.CutPrefix(s, "xds://"); ok {
		grpc = true
		if _, s, ok = strings.Cut(rest, "/"); !ok {
			return q, fmt.Errorf("destination %.100q: expected xds:///HOST:PORT", rest)
		}
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		host, port = strings.Trim(s, "[]"), ""
		if strings.Contains(host, ":") {
			if _, err := netip.ParseAddr(host); err != nil {
				return q, fmt.Errorf("destination %.100q: expected IP:PORT, HOST:PORT or a service's name", s)
			}
		}
	}
	if port != "" {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return q, fmt.Errorf("destination %.100q: port %.20q isn't a number from 1 to 65535", s, port)
		}
		q.Port = int(n)
	} else if grpc {
		q.Port = 80
	}
	if host == "" {
		return q, fmt.Errorf("destination %.100q has no host", s)
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		q.IP = ip.Unmap().WithZone("")
	} else {
		q.Name = strings.ToLower(strings.TrimSuffix(host, "."))
	}
	return q, nil
}

// PlainHTTP gives the query for a plaintext HTTP/1.1 request, which is what an application sends to its sidecar.
func (q Query) PlainHTTP() Query {
	q.Transport, q.ALPN = "raw_buffer", []string{"http/1.1"}
	return q
}

func (q Query) destination() string {
	switch {
	case q.IP.IsValid() && q.Port != 0:
		return netip.AddrPortFrom(q.IP, uint16(q.Port)).String()
	case q.IP.IsValid():
		return q.IP.String()
	case q.Name != "" && q.Port != 0:
		return net.JoinHostPort(q.Name, strconv.Itoa(q.Port))
	case q.Name != "":
		return q.Name
	}
	return "port " + strconv.Itoa(q.Port)
}

// authorities gives what the Host header may be, the likelier first: a client leaves out its scheme's default port, which
// isn't known here, and gRPC clients never do.
func (q Query) authorities() []string {
	switch {
	case q.Authority != "":
		return []string{q.Authority}
	case q.Name == "":
		return nil
	case q.Port == 0:
		return []string{q.Name}
	}
	with := net.JoinHostPort(q.Name, strconv.Itoa(q.Port))
	if q.Port == 80 || q.Port == 443 {
		return []string{q.Name, with}
	}
	return []string{with, q.Name}
}

// HopKind is what a hop of the path is.
type HopKind string

// The kinds, in the order of a path.
const (
	ListenerHop    HopKind = "listener"
	FilterChainHop HopKind = "filter-chain"
	FilterHop      HopKind = "filter"
	RouteHop       HopKind = "route" // a route configuration
	VirtualHostHop HopKind = "virtual-host"
	RouteEntryHop  HopKind = "route-entry" // one route of a virtual host
	ClusterHop     HopKind = "cluster"
	EndpointsHop   HopKind = "endpoints"
)

// Match is how closely a hop was matched.
type Match string

// The ways.
const (
	Exact    Match = "exact"    // by the address, port, name or domain asked for
	Wildcard Match = "wildcard" // by something that takes others too: 0.0.0.0, *.example.com, *, a chain without criteria
	Fallback Match = "default"  // default_filter_chain
)

// Hop is one step of a path, or the one that's missing.
type Hop struct {
	Kind  HopKind
	Name  string
	Match Match  // of a listener, filter chain or virtual host
	How   string // how it was reached: "destination port 80 and address 10.0.0.1/32"
	Place string // in the dump
	Why   string // of a missing hop: what isn't there, and what the dump says of it
}

// Undecided says where a path forks in a way that the query doesn't decide.
type Undecided struct {
	At         HopKind
	Why        string
	Needs      []string // what would decide it: "the server name (SNI)"; empty where only another dump would
	Candidates []string // where it could go on, sorted; at most maxCandidates
}

// HostState is one endpoint at the path's end.
type HostState struct {
	Cluster string
	Address string
	Healthy bool   // Envoy sends to it: HEALTHY, UNKNOWN and DEGRADED
	Why     string // of an unhealthy one: "UNHEALTHY", "failed_active_hc, failed_outlier_check"
}

// Result is where a destination leads. Missing and Unknown are nil where the path reaches an end: endpoints, a redirect or
// a direct response, the original destination.
type Result struct {
	Path    []Hop
	Missing *Hop       // the first hop that isn't there
	Unknown *Undecided // where it can't be told
	Hosts   []HostState
	Notes   []string // what didn't stop the path: "cluster b (weight 10) has no endpoints"
}

// AllUnhealthy says whether there are endpoints and the proxy holds all of them for unhealthy.
func (r Result) AllUnhealthy() bool {
	for _, h := range r.Hosts {
		if h.Healthy {
			return false
		}
	}
	return len(r.Hosts) > 0
}
