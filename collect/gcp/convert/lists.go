package convert

import (
	"slices"

	compute "google.golang.org/api/compute/v1"
	networkservices "google.golang.org/api/networkservices/v1"

	"github.com/meshdiag/meshdiag/evidence"
)

// TargetGRPCProxy converts a target gRPC proxy.
func TargetGRPCProxy(p *compute.TargetGrpcProxy, src evidence.Source) evidence.TargetProxy {
	if p == nil {
		return evidence.TargetProxy{Kind: "grpc", Source: src}
	}
	return evidence.TargetProxy{Kind: "grpc", Name: p.Name, SelfLink: p.SelfLink, URLMap: p.UrlMap, ValidateForProxyless: p.ValidateForProxyless, Source: src}
}

// TargetHTTPProxy converts a target HTTP proxy.
func TargetHTTPProxy(p *compute.TargetHttpProxy, src evidence.Source) evidence.TargetProxy {
	if p == nil {
		return evidence.TargetProxy{Kind: "http", Source: src}
	}
	return evidence.TargetProxy{Kind: "http", Name: p.Name, SelfLink: p.SelfLink, URLMap: p.UrlMap, ProxyBind: p.ProxyBind, Source: src}
}

// TargetHTTPSProxy converts a target HTTPS proxy.
func TargetHTTPSProxy(p *compute.TargetHttpsProxy, src evidence.Source) evidence.TargetProxy {
	if p == nil {
		return evidence.TargetProxy{Kind: "https", Source: src}
	}
	return evidence.TargetProxy{Kind: "https", Name: p.Name, SelfLink: p.SelfLink, URLMap: p.UrlMap, ProxyBind: p.ProxyBind, Source: src}
}

// TargetTCPProxy converts a target TCP proxy, which has a backend service instead of a URL map.
func TargetTCPProxy(p *compute.TargetTcpProxy, src evidence.Source) evidence.TargetProxy {
	if p == nil {
		return evidence.TargetProxy{Kind: "tcp", Source: src}
	}
	return evidence.TargetProxy{Kind: "tcp", Name: p.Name, SelfLink: p.SelfLink, Service: p.Service, ProxyBind: p.ProxyBind, Source: src}
}

// URLMap converts a URL map: every backend service that traffic through it can reach, mirrored traffic included. Its tests
// name services too, and route nothing.
func URLMap(m *compute.UrlMap) evidence.URLMap {
	if m == nil {
		return evidence.URLMap{}
	}
	out := evidence.URLMap{Name: m.Name, SelfLink: m.SelfLink}
	add := func(service string) {
		if service != "" {
			out.Services = append(out.Services, service)
		}
	}
	action := func(a *compute.HttpRouteAction) {
		if a == nil {
			return
		}
		for _, w := range a.WeightedBackendServices {
			if w != nil {
				add(w.BackendService)
			}
		}
		if a.RequestMirrorPolicy != nil {
			add(a.RequestMirrorPolicy.BackendService)
		}
	}
	add(m.DefaultService)
	action(m.DefaultRouteAction)
	for _, p := range m.PathMatchers {
		if p == nil {
			continue
		}
		add(p.DefaultService)
		action(p.DefaultRouteAction)
		for _, r := range p.PathRules {
			if r != nil {
				add(r.Service)
				action(r.RouteAction)
			}
		}
		for _, r := range p.RouteRules {
			if r != nil {
				add(r.Service)
				action(r.RouteAction)
			}
		}
	}
	for _, h := range m.HostRules {
		if h != nil {
			out.Hosts = append(out.Hosts, h.Hosts...)
		}
	}
	slices.Sort(out.Services)
	out.Services = slices.Compact(out.Services)
	return out
}

// Mesh converts a Mesh.
func Mesh(m *networkservices.Mesh) evidence.Mesh {
	if m == nil {
		return evidence.Mesh{}
	}
	return evidence.Mesh{
		Name: evidence.LastSegment(m.Name), Location: segmentAfter(m.Name, "locations"), Project: segmentAfter(m.Name, "projects"),
		InterceptionPort: int(m.InterceptionPort),
	}
}

// Gateway converts a Gateway.
func Gateway(g *networkservices.Gateway) evidence.Gateway {
	if g == nil {
		return evidence.Gateway{}
	}
	return evidence.Gateway{Name: evidence.LastSegment(g.Name), Location: segmentAfter(g.Name, "locations"), Scope: g.Scope, Type: g.Type}
}

// HTTPRoute converts an HttpRoute.
func HTTPRoute(r *networkservices.HttpRoute) evidence.Route {
	if r == nil {
		return evidence.Route{Kind: "http"}
	}
	return route("http", r.Name, r.Meshes, r.Gateways, r.Hostnames)
}

// GRPCRoute converts a GrpcRoute.
func GRPCRoute(r *networkservices.GrpcRoute) evidence.Route {
	if r == nil {
		return evidence.Route{Kind: "grpc"}
	}
	return route("grpc", r.Name, r.Meshes, r.Gateways, r.Hostnames)
}

// TCPRoute converts a TcpRoute, which has no host names.
func TCPRoute(r *networkservices.TcpRoute) evidence.Route {
	if r == nil {
		return evidence.Route{Kind: "tcp"}
	}
	return route("tcp", r.Name, r.Meshes, r.Gateways, nil)
}

// TLSRoute converts a TlsRoute. Its host names are those that its rules match the SNI with.
func TLSRoute(r *networkservices.TlsRoute) evidence.Route {
	if r == nil {
		return evidence.Route{Kind: "tls"}
	}
	var hosts []string
	for _, rule := range r.Rules {
		if rule == nil {
			continue
		}
		for _, m := range rule.Matches {
			if m != nil {
				hosts = append(hosts, m.SniHost...)
			}
		}
	}
	return route("tls", r.Name, r.Meshes, r.Gateways, hosts)
}

func route(kind, name string, meshes, gateways, hosts []string) evidence.Route {
	out := evidence.Route{Kind: kind, Name: evidence.LastSegment(name), Location: segmentAfter(name, "locations"), Hostnames: hosts}
	for _, m := range meshes {
		out.Meshes = append(out.Meshes, evidence.LastSegment(m))
	}
	for _, g := range gateways {
		out.Gateways = append(out.Gateways, evidence.LastSegment(g))
	}
	return out
}
