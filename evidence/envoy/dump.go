package envoy

import (
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// State is where a resource is in its life in the proxy.
type State string

// The states. Only StaticState and Active serve.
const (
	StaticState State = "static"
	Active      State = "active"
	Warming     State = "warming"  // waits for something: a route, a secret, endpoints
	Draining    State = "draining" // on its way out
	Rejected    State = "rejected" // never accepted; Error says why
)

// Serves says whether new connections meet a resource in this state.
func (s State) Serves() bool { return s == StaticState || s == Active }

// Section is a kind of resource in a dump.
type Section string

// The sections.
const (
	ListenerSection Section = "listeners"
	ClusterSection  Section = "clusters"
	RouteSection    Section = "routes"
	ScopedSection   Section = "scoped routes"
	EndpointSection Section = "endpoints"
	SecretSection   Section = "secrets"
	ECDSSection     Section = "extension configurations"
)

// Dump is what a configuration dump says.
type Dump struct {
	NodeID       string
	NodeCluster  string
	Metadata     map[string]string // of the node: values that aren't strings are JSON
	Version      string            // of Envoy: "1.34.1"; may be absent
	AdminAddress Address

	Listeners    []Listener
	RouteConfigs []RouteConfig
	ScopedRoutes []ScopedRoute
	Clusters     []Cluster
	Endpoints    []Assignment
	Secrets      []Resource // names and states alone
	Extensions   []Resource // ECDS

	Problems []Problem // values passed over for their type

	sections map[Section]bool // present: true where it was read whole
	camel    bool             // written in camelCase: hashes of its fields compare with such alone
}

// Knows says whether the dump has this section whole, so that what isn't in it isn't in the proxy. A dump taken with
// ?resource=, without ?include_eds, cut off, or with values of wrong types doesn't.
func (d *Dump) Knows(s Section) bool { return d.sections[s] }

// Has says whether the dump has anything of this section.
func (d *Dump) Has(s Section) bool { _, ok := d.sections[s]; return ok }

// Resource is what every resource of a dump has.
type Resource struct {
	Name         string
	State        State
	Version      string
	LastUpdated  time.Time // zero where not given
	ClientStatus string    // "ACKED", "NACKED", "REQUESTED", "DOES_NOT_EXIST" …; Envoy 1.19 and later
	Error        *UpdateFailure
	Place        string // in the file: "configs[3].dynamic_listeners[0].active_state"
}

// UpdateFailure is the last update of a resource that the proxy rejected. (envoy.admin.v3.UpdateFailureState)
type UpdateFailure struct {
	Details     string
	LastAttempt time.Time
	Version     string // the rejected one
}

// Address is where a listener listens or an endpoint is.
type Address struct {
	Host   string // an IP address or a DNS name
	Port   int
	Other  string // "pipe:/run/x.sock", "internal:connect_originate" where there's no host
	Compat bool   // ipv4_compat: [::] takes IPv4 too
}

func (a Address) String() string {
	switch {
	case a.Other != "":
		return a.Other
	case strings.Contains(a.Host, ":"):
		return "[" + a.Host + "]:" + strconv.Itoa(a.Port)
	case a.Host == "":
		return ""
	}
	return a.Host + ":" + strconv.Itoa(a.Port)
}

func (a Address) ip() netip.Addr {
	ip, _ := netip.ParseAddr(a.Host)
	return ip
}

// Listener is one listener in one state: a listener that's active with an update warming gives two.
type Listener struct {
	Resource
	Addresses      []Address
	Direction      string // "INBOUND", "OUTBOUND" or ""
	UseOriginalDst bool
	Unbound        bool // bind_to_port false: reached by original destination only
	Internal       bool // reached from another listener of the same proxy
	Filters        []string
	Chains         []FilterChain
	Default        *FilterChain
	API            *Filter // api_listener: a proxyless client's

	matcher *matchNode // filter_chain_matcher
}

// FilterChain is one filter chain of a listener.
type FilterChain struct {
	Name      string
	Match     ChainMatch
	Filters   []Filter
	Transport string // the transport socket's name; empty is plaintext
}

// ChainMatch is a filter_chain_match. An empty list or a zero matches anything.
type ChainMatch struct {
	DestinationPort int
	Prefixes        []netip.Prefix
	ServerNames     []string // in lower case
	Transport       string   // "tls" or "raw_buffer"
	ALPN            []string
	DirectSource    []netip.Prefix
	SourceType      string // "SAME_IP_OR_LOOPBACK", "EXTERNAL", or "" for any
	Source          []netip.Prefix
	SourcePorts     []int
}

// Filter is a network filter. What it's of a type this package doesn't read has its names alone.
type Filter struct {
	Name, TypeURL string
	HTTP          *HTTP
	TCP           *TCP
}

// HTTP is an HttpConnectionManager. One of Inline, RDS and Scoped is set.
type HTTP struct {
	Inline       *RouteConfig
	RDS          string
	Scoped       string // name of the scoped routes
	StripAnyPort bool
	StripPort    bool // only where it's the listener's
	StripHostDot bool
	Filters      []string
	StatPrefix   string
}

// TCP is a tcp_proxy.
type TCP struct {
	Clusters   []WeightedCluster
	StatPrefix string
}

// WeightedCluster is a cluster with its share; a single one has weight 0.
type WeightedCluster struct {
	Name   string
	Weight int
	Header string // cluster_header: the request header that names the cluster
}

// RouteConfig is a RouteConfiguration.
type RouteConfig struct {
	Resource
	VirtualHosts []VirtualHost
	VHDS         bool   // more virtual hosts are asked for on demand
	IgnorePort   bool   // ignore_port_in_host_matching
	HostHeader   string // vhost_header: matched instead of :authority
}

// VirtualHost is one virtual host.
type VirtualHost struct {
	Name       string
	Domains    []string
	Routes     []Route
	HasMatcher bool // routes are in a matcher tree, which isn't followed
	RequireTLS string
}

// Route is one route of a virtual host.
type Route struct {
	Name   string
	Match  RouteMatch
	Action Action
}

// PathKind is how a route matches the path.
type PathKind uint8

// The ways.
const (
	PathAbsent PathKind = iota // the route has none: Envoy would refuse it
	PathPrefix
	PathExact
	PathSeparatedPrefix
	PathRegex
	PathConnect
	PathOther
)

// RouteMatch is a route's match.
type RouteMatch struct {
	Kind       PathKind
	Path       string
	IgnoreCase bool
	GRPC       bool
	Fraction   float64 // runtime_fraction's default: the share of requests it takes, 1 where there's none
	Headers    []HeaderMatch
	Query      []HeaderMatch
	Other      []string // criteria that aren't followed: "tls_context", "dynamic_metadata" …
}

// HeaderMatch is a header or query parameter matcher.
type HeaderMatch struct {
	Name           string
	Kind           string // "exact", "prefix", "suffix", "contains", "regex", "range", "present"; "other" isn't followed
	Value          string // a range is "start,end", present "true" or "false"
	Invert         bool
	IgnoreCase     bool
	MissingIsEmpty bool
}

// Action is what a route does.
type Action struct {
	Kind     string // "cluster", "redirect", "direct_response", "non_forwarding_action", or another field's name
	Clusters []WeightedCluster
	Status   int // of a direct response
}

// ScopedRoute is one scope: its name and the route configuration it stands for.
type ScopedRoute struct {
	Resource
	Set         string // the scoped routes' name
	RouteConfig string
	Key         []string
}

// Cluster is one cluster in one state.
type Cluster struct {
	Resource
	Type           string // "EDS", "STATIC", "STRICT_DNS", "LOGICAL_DNS", "ORIGINAL_DST", or a custom type's name
	ServiceName    string // EDS: the name its endpoints go by; empty for the cluster's own
	Inline         *Assignment
	Aggregate      []string // an aggregate cluster's, in order
	BackendService string   // of Traffic Director, from metadata com.google.trafficdirector
	AltStatName    string
	Transport      string // the transport socket's name; empty is plaintext

	fields []fieldHash
}

// Assignment is a ClusterLoadAssignment. Its Name is the cluster's, or its EDS service name.
type Assignment struct {
	Resource
	Endpoints []Endpoint
	LEDS      bool // some localities' endpoints come from LEDS and aren't in it
}

// Endpoint is one endpoint.
type Endpoint struct {
	Address  Address
	Hostname string
	Health   string // "HEALTHY", "UNHEALTHY", "DRAINING", "TIMEOUT", "DEGRADED"; empty is UNKNOWN, which Envoy uses
	Priority int
	Weight   int
	Zone     string
}
