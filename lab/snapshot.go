package lab

import (
	"fmt"
	"hash/fnv"
	"net/url"
	"slices"
	"strings"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	rbacfilterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const schemeSelfManaged = "INTERNAL_SELF_MANAGED"

// served is a service that a node gets configuration for, and the host:port under which its clients dial it.
type served struct {
	host    string
	service *Service
}

// servedTo says which services a node sees: on a VPC network those whose INTERNAL_SELF_MANAGED forwarding rule is on
// that network and whose metadataFilters the node's metadata satisfies; in a mesh or scope those that a route leads to.
func (s *Scenario) servedTo(node *corev3.Node, number, network string) []served {
	if number != s.Project.Number {
		return nil
	}
	var out []served
	kind, name, scoped := strings.Cut(network, ":")
	if !scoped {
		for i := range s.Services {
			v := &s.Services[i]
			if !v.NoRule && v.Scheme == schemeSelfManaged && v.Network == network && filtersMatch(v.Filters, node) {
				out = append(out, served{fmt.Sprintf("%s:%d", v.Name, v.Port), v})
			}
		}
		return out
	}
	var routes []Route
	for _, m := range s.Meshes {
		if kind == "mesh" && m.Name == name {
			routes = append(routes, m.Routes...)
		}
	}
	for _, g := range s.Gateways {
		if kind == "scope" && g.Scope == name {
			routes = append(routes, g.Routes...)
		}
	}
	for _, r := range routes {
		out = append(out, served{r.Hostname, s.service(r.Service)})
	}
	return out
}

// filtersMatch applies a forwarding rule's metadataFilters: every filter must match, each by all or any of its labels.
func filtersMatch(filters []MetadataFilter, node *corev3.Node) bool {
	fields := node.GetMetadata().GetFields()
	for _, f := range filters {
		matched := 0
		for k, v := range f.Labels {
			if got, ok := fields[k]; ok && got.GetStringValue() == v {
				matched++
			}
		}
		if f.Match == "MATCH_ALL" && matched < len(f.Labels) || f.Match == "MATCH_ANY" && matched == 0 {
			return false
		}
	}
	return true
}

// resourceID is a stable number for a named resource, in the range of Compute Engine's ids.
func resourceID(name string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(name))
	const nineteenDigits = 9_000_000_000_000_000_000
	return 1_000_000_000_000_000_000 + h.Sum64()%(nineteenDigits-1_000_000_000_000_000_000)
}

func (s *Scenario) clusterName(v *Service) string {
	return fmt.Sprintf("cloud-internal-istio:cloud_mp_%s_%d", s.Project.Number, resourceID("backendServices/"+v.Name))
}

// snapshot builds what Traffic Director would send the node. A gRPC client gets an API listener for each name it may
// dial; an Envoy gets one interception listener for everything.
func (c *controlPlane) snapshot(node *corev3.Node, number, network string, list []served) (*cache.Snapshot, error) {
	// A type of which there is nothing is answered all the same, once it is asked for.
	b := resources{scenario: c.scenario, upstream: c.upstream, out: map[resource.Type][]types.Resource{
		resource.ListenerType: {}, resource.RouteType: {}, resource.ClusterType: {}, resource.EndpointType: {}}}
	envoy := node.GetUserAgentName() == "envoy"
	var chains []*listenerv3.FilterChain
	seen := map[string]bool{}
	for _, v := range list {
		routeName := fmt.Sprintf("URL_MAP/%s.%s-url-map", number, v.service.Name)
		if !seen[v.service.Name] {
			seen[v.service.Name] = true
			if err := b.cluster(v.service); err != nil {
				return nil, err
			}
			b.route(routeName, v)
		}
		hcm, err := c.scenario.httpConnectionManager(routeName, v.service, !c.scenario.spoiltFor(node.GetId(), v.service))
		if err != nil {
			return nil, err
		}
		if envoy {
			chains = append(chains, &listenerv3.FilterChain{
				FilterChainMatch: &listenerv3.FilterChainMatch{DestinationPort: wrapperspb.UInt32(uint32(v.service.Port))},
				Filters: []*listenerv3.Filter{{Name: "envoy.filters.network.http_connection_manager",
					ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: hcm}}},
			})
			continue
		}
		b.add(resource.ListenerType, &listenerv3.Listener{Name: listenerName(number, network, v.host),
			ApiListener: &listenerv3.ApiListener{ApiListener: hcm}})
	}
	// Traffic Director makes no interception listener for who doesn't say on which port.
	if port, said := node.GetMetadata().GetFields()["TRAFFICDIRECTOR_INTERCEPTION_PORT"]; envoy && (!said || port.GetStringValue() != "") {
		b.add(resource.ListenerType, &listenerv3.Listener{Name: "TRAFFICDIRECTOR_INTERCEPTION_LISTENER",
			Address: address(hostPort{"127.0.0.1", interceptionPort}), FilterChains: chains,
			UseOriginalDst: wrapperspb.Bool(true), TrafficDirection: corev3.TrafficDirection_OUTBOUND})
	}
	return cache.NewSnapshot(fmt.Sprint(time.Now().UnixNano()), b.out)
}

// interceptionPort is where Traffic Director's proxies listen for redirected connections.
const interceptionPort = 15001

// spoiltFor says that the node is to be sent a listener of the service that it must reject.
func (s *Scenario) spoiltFor(nodeID string, v *Service) bool {
	return slices.ContainsFunc(v.BadFor, func(name string) bool {
		c := s.client(name) // absent where Options.Clients has left it out
		return c != nil && c.nodeID() == nodeID
	})
}

// listenerPrefix begins the names under which proxyless clients of Traffic Director ask for listeners (gRFC A47).
const listenerPrefix = "xdstp://" + xdsAuthority + "/envoy.config.listener.v3.Listener/"

const xdsAuthority = "traffic-director-global.xds.googleapis.com"

func listenerName(number, network, host string) string {
	return listenerPrefix + number + "/" + network + "/" + url.PathEscape(host)
}

type resources struct {
	scenario *Scenario
	upstream map[string]hostPort
	out      map[resource.Type][]types.Resource
}

func (b *resources) add(t resource.Type, r types.Resource) { b.out[t] = append(b.out[t], r) }

func (b *resources) cluster(v *Service) error {
	name := b.scenario.clusterName(v)
	c := &clusterv3.Cluster{
		Name:                 name,
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
		EdsClusterConfig:     &clusterv3.Cluster_EdsClusterConfig{EdsConfig: ads()},
		LbPolicy:             clusterv3.Cluster_ROUND_ROBIN,
	}
	if v.Upstream == upstreamUnreachable {
		c.ConnectTimeout = durationpb.New(shortConnectTimeout)
	}
	if v.TLS {
		a, err := anypb.New(&tlsv3.UpstreamTlsContext{Sni: v.Name})
		if err != nil {
			return fmt.Errorf("encoding the TLS settings of %s: %w", v.Name, err)
		}
		c.TransportSocket = &corev3.TransportSocket{Name: "envoy.transport_sockets.tls", ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: a}}
	}
	if !slices.Contains(v.Withhold, "cluster") {
		b.add(resource.ClusterType, c)
	}
	health := corev3.HealthStatus_HEALTHY
	if v.Draining {
		health = corev3.HealthStatus_DRAINING
	}
	list := &endpointv3.ClusterLoadAssignment{ClusterName: name}
	region := b.scenario.Zone[:max(strings.LastIndexByte(b.scenario.Zone, '-'), 0)]
	if !slices.Contains(v.Withhold, "endpoints") {
		in := &endpointv3.LocalityLbEndpoints{
			Locality:            &corev3.Locality{Region: region, Zone: b.scenario.Zone},
			LoadBalancingWeight: wrapperspb.UInt32(1),
		}
		for _, a := range b.scenario.endpointsOf(v, b.upstream) {
			in.LbEndpoints = append(in.LbEndpoints, &endpointv3.LbEndpoint{HealthStatus: health,
				HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: address(a)}}})
		}
		list.Endpoints = append(list.Endpoints, in)
	}
	b.add(resource.EndpointType, list)
	return nil
}

func (b *resources) route(name string, v served) {
	if slices.Contains(v.service.Withhold, "route") {
		return
	}
	action := &routev3.RouteAction{ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: b.scenario.clusterName(v.service)}}
	if d, err := time.ParseDuration(v.service.Timeout); err == nil {
		action.Timeout = durationpb.New(d)
	}
	b.add(resource.RouteType, &routev3.RouteConfiguration{Name: name, VirtualHosts: []*routev3.VirtualHost{{
		Name: v.service.Name, Domains: []string{v.host},
		Routes: []*routev3.Route{{
			Match:  &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: ""}},
			Action: &routev3.Route_Route{Route: action},
		}},
	}}})
}

// httpConnectionManager is the listener's one filter. Without a router as last HTTP filter it is invalid, for gRPC
// (gRFC A39) as for Envoy.
func (s *Scenario) httpConnectionManager(routeName string, v *Service, withRouter bool) (*anypb.Any, error) {
	source := ads()
	if s.Fault.Withhold == "route" {
		source.InitialFetchTimeout = durationpb.New(0) // for ever
	}
	hcm := &hcmv3.HttpConnectionManager{StatPrefix: "trafficdirector", RouteSpecifier: &hcmv3.HttpConnectionManager_Rds{
		Rds: &hcmv3.Rds{ConfigSource: source, RouteConfigName: routeName}}}
	add := func(name string, m proto.Message) error {
		a, err := anypb.New(m)
		if err != nil {
			return fmt.Errorf("encoding filter %s: %w", name, err)
		}
		hcm.HttpFilters = append(hcm.HttpFilters, &hcmv3.HttpFilter{Name: name, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: a}})
		return nil
	}
	if v.Deny {
		if err := add(rbacFilter, &rbacfilterv3.RBAC{Rules: &rbacv3.RBAC{Action: rbacv3.RBAC_ALLOW}}); err != nil {
			return nil, err
		}
	}
	if withRouter {
		if err := add("envoy.filters.http.router", &routerv3.Router{}); err != nil {
			return nil, err
		}
	}
	a, err := anypb.New(hcm)
	if err != nil {
		return nil, fmt.Errorf("encoding the connection manager: %w", err)
	}
	return a, nil
}

func ads() *corev3.ConfigSource {
	return &corev3.ConfigSource{ResourceApiVersion: corev3.ApiVersion_V3,
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}}}
}

func address(a hostPort) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: a.host, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(a.port)}}}}
}
