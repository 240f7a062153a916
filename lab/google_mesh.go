package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	cloudresourcemanager "google.golang.org/api/cloudresourcemanager/v3"
	networkservices "google.golang.org/api/networkservices/v1"
	policytroubleshooter "google.golang.org/api/policytroubleshooter/v1"
	serviceusage "google.golang.org/api/serviceusage/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// creationTimeUTC is creationTime in the form of the newer APIs.
const creationTimeUTC = "2025-03-04T17:12:45.318204Z"

// routeLocation is where every mesh, gateway and route of the lab is.
const routeLocation = "global"

func (g *googleAPIs) networkServices() {
	call := func(permission string) api {
		return api{host: networkServicesHost, permission: "networkservices." + permission}
	}
	const at = "GET /v1/projects/{project}/locations/{location}/"
	g.handle(at+"meshes", call("meshes.list"), func(_ identity, r *http.Request) (any, error) {
		items, next, err := page(r, "pageSize", located(r, g.meshes()))
		return &networkservices.ListMeshesResponse{Meshes: items, NextPageToken: next}, err
	})
	g.handle(at+"meshes/{name}", call("meshes.get"), func(_ identity, r *http.Request) (any, error) {
		return getNamed(r, "meshes", located(r, g.meshes()), func(m *networkservices.Mesh) string { return m.Name })
	})
	g.handle(at+"meshes/{name}/routeViews", call("meshRouteViews.list"), func(_ identity, r *http.Request) (any, error) {
		if _, err := getNamed(r, "meshes", located(r, g.meshes()), func(m *networkservices.Mesh) string { return m.Name }); err != nil {
			return nil, err
		}
		m := find(g.scenario.Meshes, func(m *Mesh) bool { return m.Name == r.PathValue("name") })
		var views []*networkservices.MeshRouteView
		for _, v := range g.routeViews("meshes/"+m.Name, m.Routes) {
			views = append(views, &networkservices.MeshRouteView{Name: v.name, RouteId: v.id, RouteType: v.kind,
				RouteLocation: routeLocation, RouteProjectNumber: v.projectNumber})
		}
		items, next, err := page(r, "pageSize", views)
		return &networkservices.ListMeshRouteViewsResponse{MeshRouteViews: items, NextPageToken: next}, err
	})
	g.handle(at+"gateways", call("gateways.list"), func(_ identity, r *http.Request) (any, error) {
		items, next, err := page(r, "pageSize", located(r, g.gateways()))
		return &networkservices.ListGatewaysResponse{Gateways: items, NextPageToken: next}, err
	})
	g.handle(at+"gateways/{name}", call("gateways.get"), func(_ identity, r *http.Request) (any, error) {
		return getNamed(r, "gateways", located(r, g.gateways()), func(m *networkservices.Gateway) string { return m.Name })
	})
	g.handle(at+"gateways/{name}/routeViews", call("gatewayRouteViews.list"), func(_ identity, r *http.Request) (any, error) {
		if _, err := getNamed(r, "gateways", located(r, g.gateways()), func(m *networkservices.Gateway) string { return m.Name }); err != nil {
			return nil, err
		}
		w := find(g.scenario.Gateways, func(m *Gateway) bool { return m.Name == r.PathValue("name") })
		var views []*networkservices.GatewayRouteView
		for _, v := range g.routeViews("gateways/"+w.Name, w.Routes) {
			views = append(views, &networkservices.GatewayRouteView{Name: v.name, RouteId: v.id, RouteType: v.kind,
				RouteLocation: routeLocation, RouteProjectNumber: v.projectNumber})
		}
		items, next, err := page(r, "pageSize", views)
		return &networkservices.ListGatewayRouteViewsResponse{GatewayRouteViews: items, NextPageToken: next}, err
	})
	g.handle(at+"grpcRoutes", call("grpcRoutes.list"), func(_ identity, r *http.Request) (any, error) {
		items, next, err := page(r, "pageSize", routesOf(g, r, "grpc", func(a attached) *networkservices.GrpcRoute {
			return &networkservices.GrpcRoute{Name: a.name, SelfLink: a.link, CreateTime: creationTimeUTC, UpdateTime: creationTimeUTC,
				Hostnames: []string{a.route.Hostname}, Meshes: a.meshes, Gateways: a.gateways,
				Rules: []*networkservices.GrpcRouteRouteRule{{Action: &networkservices.GrpcRouteRouteAction{
					Destinations: []*networkservices.GrpcRouteDestination{{ServiceName: a.service}}}}}}
		}))
		return &networkservices.ListGrpcRoutesResponse{GrpcRoutes: items, NextPageToken: next}, err
	})
	g.handle(at+"httpRoutes", call("httpRoutes.list"), func(_ identity, r *http.Request) (any, error) {
		items, next, err := page(r, "pageSize", routesOf(g, r, "http", func(a attached) *networkservices.HttpRoute {
			return &networkservices.HttpRoute{Name: a.name, SelfLink: a.link, CreateTime: creationTimeUTC, UpdateTime: creationTimeUTC,
				Hostnames: []string{a.route.Hostname}, Meshes: a.meshes, Gateways: a.gateways,
				Rules: []*networkservices.HttpRouteRouteRule{{Action: &networkservices.HttpRouteRouteAction{
					Destinations: []*networkservices.HttpRouteDestination{{ServiceName: a.service}}}}}}
		}))
		return &networkservices.ListHttpRoutesResponse{HttpRoutes: items, NextPageToken: next}, err
	})
	g.handle(at+"tcpRoutes", call("tcpRoutes.list"), func(_ identity, r *http.Request) (any, error) {
		items, next, err := page(r, "pageSize", routesOf(g, r, "tcp", func(a attached) *networkservices.TcpRoute {
			return &networkservices.TcpRoute{Name: a.name, SelfLink: a.link, CreateTime: creationTimeUTC, UpdateTime: creationTimeUTC,
				Meshes: a.meshes, Gateways: a.gateways,
				Rules: []*networkservices.TcpRouteRouteRule{{Action: &networkservices.TcpRouteRouteAction{
					Destinations: []*networkservices.TcpRouteRouteDestination{{ServiceName: a.service}}}}}}
		}))
		return &networkservices.ListTcpRoutesResponse{TcpRoutes: items, NextPageToken: next}, err
	})
	g.handle(at+"tlsRoutes", call("tlsRoutes.list"), func(_ identity, r *http.Request) (any, error) {
		items, next, err := page(r, "pageSize", routesOf(g, r, "tls", func(a attached) *networkservices.TlsRoute {
			return &networkservices.TlsRoute{Name: a.name, SelfLink: a.link, CreateTime: creationTimeUTC, UpdateTime: creationTimeUTC,
				Meshes: a.meshes, Gateways: a.gateways,
				Rules: []*networkservices.TlsRouteRouteRule{{
					Matches: []*networkservices.TlsRouteRouteMatch{{SniHost: []string{a.route.Hostname}}},
					Action: &networkservices.TlsRouteRouteAction{
						Destinations: []*networkservices.TlsRouteRouteDestination{{ServiceName: a.service}}}}}}
		}))
		return &networkservices.ListTlsRoutesResponse{TlsRoutes: items, NextPageToken: next}, err
	})
}

// located gives the list where the request asks for its location, or for all of them with "-".
func located[T any](r *http.Request, all []T) []T {
	if l := r.PathValue("location"); l == routeLocation || l == "-" {
		return all
	}
	return nil
}

func getNamed[T any](r *http.Request, collection string, all []*T, name func(*T) string) (any, error) {
	want := fmt.Sprintf("/locations/%s/%s/%s", r.PathValue("location"), collection, r.PathValue("name"))
	if i := slices.IndexFunc(all, func(v *T) bool { return strings.HasSuffix(name(v), want) }); i >= 0 {
		return all[i], nil
	}
	return nil, status.Errorf(codes.NotFound, "Resource 'projects/%s%s' was not found", r.PathValue("project"), want)
}

func (g *googleAPIs) routing(path string) string {
	return "projects/" + g.scenario.Project.ID + "/locations/" + routeLocation + "/" + path
}

func (g *googleAPIs) meshes() []*networkservices.Mesh {
	var out []*networkservices.Mesh
	for _, m := range g.scenario.Meshes {
		name := g.routing("meshes/" + m.Name)
		out = append(out, &networkservices.Mesh{Name: name, SelfLink: routingLink(name), InterceptionPort: interceptionPort,
			CreateTime: creationTimeUTC, UpdateTime: creationTimeUTC})
	}
	return out
}

func (g *googleAPIs) gateways() []*networkservices.Gateway {
	var out []*networkservices.Gateway
	for _, w := range g.scenario.Gateways {
		name := g.routing("gateways/" + w.Name)
		out = append(out, &networkservices.Gateway{Name: name, SelfLink: routingLink(name), Scope: w.Scope, Type: "OPEN_MESH",
			Ports: []int64{80}, CreateTime: creationTimeUTC, UpdateTime: creationTimeUTC})
	}
	return out
}

func routingLink(name string) string { return "https://networkservices.googleapis.com/v1/" + name }

type routeView struct {
	name, id, kind string
	projectNumber  int64
}

func (g *googleAPIs) routeViews(parent string, routes []Route) []routeView {
	number, err := strconv.ParseInt(g.scenario.Project.Number, 10, 64)
	if err != nil {
		number = 0 // longer than a project number can be
	}
	var out []routeView
	for _, r := range routes {
		kind := map[string]string{"grpc": "GRPC_ROUTE", "http": "HTTP_ROUTE", "tcp": "TCP_ROUTE", "tls": "TLS_ROUTE"}[r.Kind]
		out = append(out, routeView{g.routing(parent + "/routeViews/" + strings.ToLower(kind) + "-" + r.Name), r.Name, kind, number})
	}
	return out
}

// attached is a route with the meshes and gateways it is attached to.
type attached struct {
	route               Route
	name, link, service string
	meshes, gateways    []string
}

func routesOf[T any](g *googleAPIs, r *http.Request, kind string, build func(attached) *T) []*T {
	var order []string
	byName := map[string]*attached{}
	add := func(routes []Route, parent string, list func(*attached) *[]string) {
		for _, rt := range routes {
			if rt.Kind != kind {
				continue
			}
			a := byName[rt.Name]
			if a == nil {
				name := g.routing(kind + "Routes/" + rt.Name)
				a = &attached{route: rt, name: name, link: routingLink(name),
					service: g.routing("backendServices/" + rt.Service)}
				byName[rt.Name] = a
				order = append(order, rt.Name)
			}
			*list(a) = append(*list(a), g.routing(parent))
		}
	}
	for _, m := range g.scenario.Meshes {
		add(m.Routes, "meshes/"+m.Name, func(a *attached) *[]string { return &a.meshes })
	}
	for _, w := range g.scenario.Gateways {
		add(w.Routes, "gateways/"+w.Name, func(a *attached) *[]string { return &a.gateways })
	}
	slices.Sort(order)
	var out []*T
	for _, n := range order {
		out = append(out, build(*byName[n]))
	}
	return located(r, out)
}

func (g *googleAPIs) projects() {
	g.handle("GET /v3/projects/{project}", api{host: resourceManagerHost, permission: "resourcemanager.projects.get",
		scopes: []string{"cloud-platform.read-only"}}, func(identity, *http.Request) (any, error) {
		p := g.scenario.Project
		return &cloudresourcemanager.Project{Name: "projects/" + p.Number, ProjectId: p.ID, DisplayName: p.ID, State: "ACTIVE",
			Parent: "organizations/735410285519", CreateTime: creationTimeUTC, UpdateTime: creationTimeUTC, Etag: `W/"5d0b1c2f7a9e4d38"`}, nil
	})
	// ServeMux has no pattern for a custom method behind a wildcard, so one handler takes both.
	g.handle("POST /v3/projects/{call}", api{host: resourceManagerHost, scopes: []string{"cloud-platform.read-only"}}, g.projectMethod)
	usage := api{host: serviceUsageHost, permission: "serviceusage.services.get", scopes: []string{"cloud-platform.read-only"}}
	g.handle("GET /v1/projects/{project}/services/{service}", usage, func(_ identity, r *http.Request) (any, error) {
		return g.service(r.PathValue("service")), nil
	})
	g.handle("GET /v1/projects/{project}/services:batchGet", usage, func(_ identity, r *http.Request) (any, error) {
		out := &serviceusage.BatchGetServicesResponse{}
		for _, n := range r.URL.Query()["names"] {
			parent, service, ok := strings.Cut(n, "/services/")
			if !ok || !g.scenario.isProject(strings.TrimPrefix(parent, "projects/")) {
				return nil, status.Errorf(codes.InvalidArgument, "names: %q is not a service of the parent", n)
			}
			out.Services = append(out.Services, g.service(service))
		}
		return out, nil
	})
	g.handle("POST /v1/iam:troubleshoot", api{host: troubleshooterHost}, g.troubleshoot)
}

func (g *googleAPIs) service(name string) *serviceusage.GoogleApiServiceusageV1Service {
	state := "ENABLED"
	if g.scenario.apiDisabled(name) {
		state = "DISABLED"
	}
	parent := "projects/" + g.scenario.Project.Number
	return &serviceusage.GoogleApiServiceusageV1Service{Name: parent + "/services/" + name, Parent: parent, State: state,
		Config: &serviceusage.GoogleApiServiceusageV1ServiceConfig{Name: name, Title: apiTitle(name)}}
}

func readBody(r *http.Request, v any) error {
	dec := json.NewDecoder(r.Body)
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil && !errors.Is(err, io.EOF) {
		return status.Errorf(codes.InvalidArgument, "Invalid JSON payload received. %v", err)
	}
	return nil
}

func (g *googleAPIs) projectMethod(id identity, r *http.Request) (any, error) {
	project, method, _ := strings.Cut(r.PathValue("call"), ":")
	if !g.scenario.isProject(project) || !g.scenario.holds(id.Account, "resourcemanager.projects.get") {
		return nil, errPermission("resourcemanager.projects.get", "//"+resourceManagerHost+"/projects/"+project)
	}
	switch method {
	case "getIamPolicy":
		const permission = "resourcemanager.projects.getIamPolicy"
		if !g.scenario.holds(id.Account, permission) {
			return nil, errPermission(permission, "//"+resourceManagerHost+"/projects/"+project)
		}
		var req cloudresourcemanager.GetIamPolicyRequest
		if err := readBody(r, &req); err != nil {
			return nil, err
		}
		policy := &cloudresourcemanager.Policy{Version: 1, Etag: "BwYwZ3kQx9E="}
		for _, b := range g.scenario.bindings() {
			policy.Bindings = append(policy.Bindings, &cloudresourcemanager.Binding{Role: b.role, Members: b.members})
		}
		return policy, nil
	case "testIamPermissions":
		var req cloudresourcemanager.TestIamPermissionsRequest
		if err := readBody(r, &req); err != nil {
			return nil, err
		}
		out := &cloudresourcemanager.TestIamPermissionsResponse{}
		for _, p := range req.Permissions {
			if g.scenario.holds(id.Account, p) {
				out.Permissions = append(out.Permissions, p)
			}
		}
		return out, nil
	}
	return nil, status.Error(codes.NotFound, "Method not found.")
}

type binding struct {
	role    string
	members []string
}

// bindings is the project's IAM policy.
func (s *Scenario) bindings() []binding {
	members := map[string][]string{"roles/owner": {"user:mesh-admin@example.com"}}
	for _, a := range s.Accounts {
		for _, r := range a.Roles {
			members[r] = append(members[r], "serviceAccount:"+s.email(a.Name))
		}
	}
	var out []binding
	for _, role := range sortedKeys(members) {
		out = append(out, binding{role, members[role]})
	}
	return out
}

// troubleshoot answers what the Policy Troubleshooter would: whether the principal holds the permission, binding by
// binding. A caller who may not read the policy learns that it may not, instead of a no.
func (g *googleAPIs) troubleshoot(id identity, r *http.Request) (any, error) {
	s := g.scenario
	var req policytroubleshooter.GoogleCloudPolicytroubleshooterV1TroubleshootIamPolicyRequest
	if err := readBody(r, &req); err != nil {
		return nil, err
	}
	t := req.AccessTuple
	if t == nil || t.Principal == "" || t.FullResourceName == "" || t.Permission == "" {
		return nil, status.Error(codes.InvalidArgument, "access_tuple needs principal, full_resource_name and permission.")
	}
	if !s.holds(id.Account, "resourcemanager.projects.get") {
		return nil, errPermission("resourcemanager.projects.get", "//"+resourceManagerHost+"/projects/"+s.Project.ID)
	}
	resource := "//" + resourceManagerHost + "/projects/"
	project, ok := strings.CutPrefix(t.FullResourceName, resource)
	out := &policytroubleshooter.GoogleCloudPolicytroubleshooterV1TroubleshootIamPolicyResponse{Access: "UNKNOWN_INFO_DENIED"}
	if !ok || !s.isProject(project) || !s.holds(id.Account, "resourcemanager.projects.getIamPolicy") {
		return out, nil
	}
	access := func(granted bool) string {
		if granted {
			return "GRANTED"
		}
		return "NOT_GRANTED"
	}
	account, _ := s.accountOf(t.Principal)
	member := "serviceAccount:" + t.Principal
	granted := account != "" && s.holds(account, t.Permission)
	policy := &policytroubleshooter.GoogleCloudPolicytroubleshooterV1ExplainedPolicy{Access: access(granted),
		FullResourceName: resource + s.Project.ID, Relevance: "HIGH"}
	for _, b := range s.bindings() {
		has, is := slices.Contains(rolePermissions()[b.role], t.Permission), slices.Contains(b.members, member)
		e := &policytroubleshooter.GoogleCloudPolicytroubleshooterV1BindingExplanation{Access: access(has && is), Role: b.role,
			RolePermission: "ROLE_PERMISSION_NOT_INCLUDED", Relevance: "NORMAL"}
		if has {
			e.RolePermission = "ROLE_PERMISSION_INCLUDED"
		}
		policy.BindingExplanations = append(policy.BindingExplanations, e)
	}
	out.Access, out.ExplainedPolicies = access(granted),
		[]*policytroubleshooter.GoogleCloudPolicytroubleshooterV1ExplainedPolicy{policy}
	return out, nil
}

func sortedKeys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
