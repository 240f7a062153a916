package lab

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	compute "google.golang.org/api/compute/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// backends registers what tells about the endpoints of backend services and their health.
func (g *googleAPIs) backends() {
	call := func(permission string) api {
		return api{host: computeHost, permission: "compute." + permission, scopes: []string{"compute", "compute.readonly"}}
	}
	const project = "/compute/v1/projects/{project}/"
	g.handle("GET "+project+"aggregated/healthChecks", call("healthChecks.list"), g.healthChecks)
	g.handle("POST "+project+"global/backendServices/{name}/getHealth", call("backendServices.get"), g.health)
	g.handle("GET "+project+"zones/{zone}/networkEndpointGroups/{name}", call("networkEndpointGroups.get"), g.networkEndpointGroup)
	g.handle("POST "+project+"zones/{zone}/networkEndpointGroups/{name}/listNetworkEndpoints", call("networkEndpointGroups.get"), g.networkEndpoints)
	g.handle("GET "+project+"zones/{zone}/instanceGroups/{name}", call("instanceGroups.get"), g.instanceGroup)
}

func (g *googleAPIs) groupLink(v *Service, i int) string {
	return g.link("zones/" + v.Backends[i].Zone + "/" + v.Backends[i].groupCollection() + "/" + v.groupName(i))
}

func (g *googleAPIs) backendsOf(v *Service) []*compute.Backend {
	var out []*compute.Backend
	for i, b := range v.Backends {
		backend := &compute.Backend{Group: g.groupLink(v, i), CapacityScaler: 1, BalancingMode: "RATE", MaxRatePerEndpoint: 100}
		if b.Kind == "instance-group" {
			backend.BalancingMode, backend.MaxRatePerEndpoint, backend.MaxUtilization = "UTILIZATION", 0, 0.8
		}
		out = append(out, backend)
	}
	return out
}

func (g *googleAPIs) healthChecks(_ identity, r *http.Request) (any, error) {
	var all []*compute.HealthCheck
	for _, v := range g.scenario.Services {
		all = append(all, g.healthCheck(&v))
	}
	items, next, err := page(r, "maxResults", all)
	if err != nil {
		return nil, err
	}
	out := &compute.HealthChecksAggregatedList{Kind: "compute#healthChecksAggregatedList", NextPageToken: next,
		Id: g.listID("aggregated/healthChecks"), SelfLink: g.link("aggregated/healthChecks"), Items: map[string]compute.HealthChecksScopedList{}}
	for _, scope := range append(regionScopes(), "global") {
		out.Items[scope] = compute.HealthChecksScopedList{Warning: &compute.HealthChecksScopedListWarning{Code: "NO_RESULTS_ON_PAGE",
			Message: fmt.Sprintf("There are no results for scope '%s' on this page.", scope)}}
	}
	if len(items) > 0 {
		out.Items["global"] = compute.HealthChecksScopedList{HealthChecks: items}
	}
	return out, nil
}

func regionScopes() []string {
	var out []string
	for _, r := range regions() {
		out = append(out, "regions/"+r)
	}
	return out
}

func (g *googleAPIs) healthCheck(v *Service) *compute.HealthCheck {
	name := v.Name + "-health-check"
	out := &compute.HealthCheck{Kind: "compute#healthCheck", Id: resourceID("healthChecks/" + name), Name: name, CreationTimestamp: creationTime,
		SelfLink: g.link("global/healthChecks/" + name), Type: v.HealthCheck.Type, CheckIntervalSec: 5, TimeoutSec: 5,
		HealthyThreshold: 2, UnhealthyThreshold: 2}
	spec, port := "USE_SERVING_PORT", int64(v.HealthCheck.Port)
	if port != 0 {
		spec = "USE_FIXED_PORT"
	}
	switch v.HealthCheck.Type {
	case "HTTP":
		out.HttpHealthCheck = &compute.HTTPHealthCheck{PortSpecification: spec, Port: port, RequestPath: "/", ProxyHeader: "NONE"}
	case "HTTPS":
		out.HttpsHealthCheck = &compute.HTTPSHealthCheck{PortSpecification: spec, Port: port, RequestPath: "/", ProxyHeader: "NONE"}
	case "HTTP2":
		out.Http2HealthCheck = &compute.HTTP2HealthCheck{PortSpecification: spec, Port: port, RequestPath: "/", ProxyHeader: "NONE"}
	case "TCP":
		out.TcpHealthCheck = &compute.TCPHealthCheck{PortSpecification: spec, Port: port, ProxyHeader: "NONE"}
	default:
		out.GrpcHealthCheck = &compute.GRPCHealthCheck{PortSpecification: spec, Port: port}
	}
	return out
}

// endpoint is endpoint number n of a service's backend number i.
func (g *googleAPIs) endpoint(v *Service, i, n int) *compute.NetworkEndpoint {
	const perService, firstHost = 8, 10 // a scenario has few services, and a service few backends
	place := slices.IndexFunc(g.scenario.Services, func(o Service) bool { return o.Name == v.Name })
	e := &compute.NetworkEndpoint{IpAddress: fmt.Sprintf("10.132.%d.%d", place*perService+i, firstHost+n), Port: int64(v.Port)}
	if v.Backends[i].Type != "NON_GCP_PRIVATE_IP_PORT" {
		e.Instance = fmt.Sprintf("%s-vm-%d-%d", v.Name, i+1, n+1)
	}
	return e
}

// health answers for one group; Google's probers know nothing of endpoints that the proxies check themselves.
func (g *googleAPIs) health(_ identity, r *http.Request) (any, error) {
	v := g.scenario.service(r.PathValue("name"))
	if v == nil {
		return nil, computeNotFound(r.PathValue("project"), "global/backendServices/"+r.PathValue("name"))
	}
	var req compute.ResourceGroupReference
	if err := readBody(r, &req); err != nil {
		return nil, err
	}
	path := func(link string) string { _, p, _ := strings.Cut(link, "/projects/"); return p }
	i := slices.IndexFunc(g.backendsOf(v), func(b *compute.Backend) bool { return path(b.Group) == path(req.Group) })
	if i < 0 {
		return nil, status.Errorf(codes.InvalidArgument, "Invalid value for field 'resource.group': '%s'. Group is not in the backend service.", req.Group)
	}
	out := &compute.BackendServiceGroupHealth{Kind: "compute#backendServiceGroupHealth"}
	b := v.Backends[i]
	if b.Type == "NON_GCP_PRIVATE_IP_PORT" {
		return out, nil
	}
	for n := range *b.Endpoints {
		e := g.endpoint(v, i, n)
		s := &compute.HealthStatus{HealthState: "HEALTHY", IpAddress: e.IpAddress, Port: e.Port, Instance: g.link("zones/" + b.Zone + "/instances/" + e.Instance)}
		if n < b.Unhealthy {
			s.HealthState = "UNHEALTHY"
		}
		out.HealthStatus = append(out.HealthStatus, s)
	}
	return out, nil
}

// groupAt gives the backend that a request names.
func (g *googleAPIs) groupAt(r *http.Request, collection string) (*Service, int, error) {
	zone, name := r.PathValue("zone"), r.PathValue("name")
	v, i := g.scenario.group(zone, collection, name)
	if v == nil {
		return nil, 0, computeNotFound(r.PathValue("project"), "zones/"+zone+"/"+collection+"/"+name)
	}
	return v, i, nil
}

func (g *googleAPIs) networkEndpointGroup(_ identity, r *http.Request) (any, error) {
	v, i, err := g.groupAt(r, "networkEndpointGroups")
	if err != nil {
		return nil, err
	}
	b, name := v.Backends[i], v.groupName(i)
	return &compute.NetworkEndpointGroup{Kind: "compute#networkEndpointGroup", Id: resourceID("networkEndpointGroups/" + name), Name: name,
		CreationTimestamp: creationTime, SelfLink: g.groupLink(v, i), Zone: g.link("zones/" + b.Zone), NetworkEndpointType: b.Type,
		Network: g.link("global/networks/" + g.scenario.Network), DefaultPort: int64(v.Port), Size: int64(*b.Endpoints),
		ForceSendFields: []string{"Size"}}, nil
}

func (g *googleAPIs) networkEndpoints(_ identity, r *http.Request) (any, error) {
	v, i, err := g.groupAt(r, "networkEndpointGroups")
	if err != nil {
		return nil, err
	}
	var req compute.NetworkEndpointGroupsListEndpointsRequest
	if err := readBody(r, &req); err != nil {
		return nil, err
	}
	var all []*compute.NetworkEndpointWithHealthStatus
	for n := range *v.Backends[i].Endpoints {
		all = append(all, &compute.NetworkEndpointWithHealthStatus{NetworkEndpoint: g.endpoint(v, i, n)})
	}
	items, next, err := page(r, "maxResults", all)
	return &compute.NetworkEndpointGroupsListNetworkEndpoints{Kind: "compute#networkEndpointGroupsListNetworkEndpoints",
		Id: g.listID("zones/" + v.Backends[i].Zone + "/networkEndpointGroups/" + v.groupName(i)), Items: items, NextPageToken: next}, err
}

func (g *googleAPIs) instanceGroup(_ identity, r *http.Request) (any, error) {
	v, i, err := g.groupAt(r, "instanceGroups")
	if err != nil {
		return nil, err
	}
	b, name := v.Backends[i], v.groupName(i)
	return &compute.InstanceGroup{Kind: "compute#instanceGroup", Id: resourceID("instanceGroups/" + name), Name: name,
		CreationTimestamp: creationTime, SelfLink: g.groupLink(v, i), Zone: g.link("zones/" + b.Zone), Size: int64(*b.Endpoints),
		Network: g.link("global/networks/" + g.scenario.Network), Fingerprint: "42WmSpB8rSM=",
		NamedPorts: []*compute.NamedPort{{Name: "grpc", Port: int64(v.Port)}}, ForceSendFields: []string{"Size"}}, nil
}
