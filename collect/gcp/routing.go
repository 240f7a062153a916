package gcp

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	networkservices "google.golang.org/api/networkservices/v1"

	"github.com/meshdiag/meshdiag/collect/gcp/convert"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

const (
	// anyLocation lists over all locations (https://google.aip.dev/159).
	anyLocation = "-"
	// globalLocation is where meshes and their routes usually are.
	globalLocation = "global"
	// routingPage is as many as the service routing API is asked for at once.
	routingPage = 500
)

// page is what one page of a list of the service routing API says besides its items.
type page struct {
	next        string
	unreachable []string
}

func routingList(project, what, resource string) access {
	return access{
		what: "the " + what + " of project " + project, method: "networkservices." + resource + ".list", project: project,
		permission: "networkservices." + resource + ".list", role: networkViewer,
	}
}

// everywhere reads a list of all locations; where the API doesn't know that form, of the global one. reset empties what
// get gathered.
func (a *API) everywhere(ctx context.Context, acc access, reset func(), get func(ctx context.Context, c *networkservices.Service, parent, token string) (page, error)) (unreachable []string, err error) {
	read := func(location string) error {
		return a.pages(ctx, acc, func(ctx context.Context, token string) (string, error) {
			c, err := a.networkServices()
			if err != nil {
				return "", err
			}
			p, err := get(ctx, c, "projects/"+acc.project+"/locations/"+location, token)
			unreachable = append(unreachable, p.unreachable...)
			return p.next, err
		})
	}
	err = read(anyLocation)
	if hasCode(err, http.StatusBadRequest, http.StatusNotFound, http.StatusNotImplemented) {
		reset()
		unreachable = nil
		err = read(globalLocation)
	}
	return unreachable, err
}

// putList records a list that may be known only in part.
func putList[E any](ctx context.Context, a *API, set *evidence.Set, k evidence.Key[[]E], v []E, acc access, unreachable []string, err error) {
	put(ctx, a, set, k, v, acc.method, err)
	if err == nil && len(unreachable) > 0 {
		a.fail(ctx, set, k.Name(), acc.method, &partialError{acc.what, "unreachable: " + strings.Join(unreachable, ", ")})
	}
}

func (a *API) collectMeshes(ctx context.Context, req diagnose.Request, _ *evidence.View, set *evidence.Set) error {
	acc := routingList(req.Target.Project, "meshes", "meshes")
	out, unreachable, err := a.meshes(ctx, acc)
	putList(ctx, a, set, evidence.Meshes, out, acc, unreachable, err)
	return nil
}

func (a *API) meshes(ctx context.Context, acc access) (out []evidence.Mesh, unreachable []string, err error) {
	unreachable, err = a.everywhere(ctx, acc, func() { out = nil }, func(ctx context.Context, c *networkservices.Service, parent, token string) (page, error) {
		l, err := c.Projects.Locations.Meshes.List(parent).PageSize(routingPage).ReturnPartialSuccess(true).PageToken(token).Context(ctx).Do()
		if err != nil {
			return page{}, err
		}
		for _, m := range l.Meshes {
			out = append(out, convert.Mesh(m))
		}
		return page{l.NextPageToken, l.Unreachable}, nil
	})
	return out, unreachable, err
}

func (a *API) collectGateways(ctx context.Context, req diagnose.Request, _ *evidence.View, set *evidence.Set) error {
	acc := routingList(req.Target.Project, "gateways", "gateways")
	out, unreachable, err := a.gateways(ctx, acc)
	putList(ctx, a, set, evidence.Gateways, out, acc, unreachable, err)
	return nil
}

func (a *API) gateways(ctx context.Context, acc access) (out []evidence.Gateway, unreachable []string, err error) {
	unreachable, err = a.everywhere(ctx, acc, func() { out = nil }, func(ctx context.Context, c *networkservices.Service, parent, token string) (page, error) {
		l, err := c.Projects.Locations.Gateways.List(parent).PageSize(routingPage).PageToken(token).Context(ctx).Do()
		if err != nil {
			return page{}, err
		}
		for _, g := range l.Gateways {
			out = append(out, convert.Gateway(g))
		}
		return page{l.NextPageToken, l.Unreachable}, nil
	})
	return out, unreachable, err
}

// collectRoutes reads the project's routes, and the routes that other projects attached to the target's Mesh or Gateways.
func (a *API) collectRoutes(ctx context.Context, req diagnose.Request, _ *evidence.View, set *evidence.Set) error {
	project := req.Target.Project
	kinds := []struct {
		what, resource string
		get            func(context.Context, *networkservices.Service, string, string) ([]evidence.Route, page, error)
	}{
		{"HTTP routes", "httpRoutes", func(ctx context.Context, c *networkservices.Service, parent, token string) (out []evidence.Route, _ page, _ error) {
			l, err := c.Projects.Locations.HttpRoutes.List(parent).PageSize(routingPage).ReturnPartialSuccess(true).PageToken(token).Context(ctx).Do()
			if err != nil {
				return nil, page{}, err
			}
			for _, r := range l.HttpRoutes {
				out = append(out, convert.HTTPRoute(r))
			}
			return out, page{l.NextPageToken, l.Unreachable}, nil
		}},
		{"gRPC routes", "grpcRoutes", func(ctx context.Context, c *networkservices.Service, parent, token string) (out []evidence.Route, _ page, _ error) {
			l, err := c.Projects.Locations.GrpcRoutes.List(parent).PageSize(routingPage).ReturnPartialSuccess(true).PageToken(token).Context(ctx).Do()
			if err != nil {
				return nil, page{}, err
			}
			for _, r := range l.GrpcRoutes {
				out = append(out, convert.GRPCRoute(r))
			}
			return out, page{l.NextPageToken, l.Unreachable}, nil
		}},
		{"TCP routes", "tcpRoutes", func(ctx context.Context, c *networkservices.Service, parent, token string) (out []evidence.Route, _ page, _ error) {
			l, err := c.Projects.Locations.TcpRoutes.List(parent).PageSize(routingPage).ReturnPartialSuccess(true).PageToken(token).Context(ctx).Do()
			if err != nil {
				return nil, page{}, err
			}
			for _, r := range l.TcpRoutes {
				out = append(out, convert.TCPRoute(r))
			}
			return out, page{l.NextPageToken, l.Unreachable}, nil
		}},
		{"TLS routes", "tlsRoutes", func(ctx context.Context, c *networkservices.Service, parent, token string) (out []evidence.Route, _ page, _ error) {
			l, err := c.Projects.Locations.TlsRoutes.List(parent).PageSize(routingPage).ReturnPartialSuccess(true).PageToken(token).Context(ctx).Do()
			if err != nil {
				return nil, page{}, err
			}
			for _, r := range l.TlsRoutes {
				out = append(out, convert.TLSRoute(r))
			}
			return out, page{l.NextPageToken, l.Unreachable}, nil
		}},
	}
	found := make([][]evidence.Route, len(kinds))
	lost := make([][]string, len(kinds))
	errs := make([]error, len(kinds))
	var (
		views   []evidence.Route
		viewErr error
		g       errgroup.Group
	)
	for i, k := range kinds {
		g.Go(func() error {
			acc := routingList(project, k.what, k.resource)
			lost[i], errs[i] = a.everywhere(ctx, acc, func() { found[i] = nil },
				func(ctx context.Context, c *networkservices.Service, parent, token string) (page, error) {
					routes, p, err := k.get(ctx, c, parent, token)
					if err == nil {
						found[i] = append(found[i], routes...)
					}
					return p, err
				})
			return nil
		})
	}
	g.Go(func() error {
		views, viewErr = a.routeViews(ctx, req.Target)
		return nil
	})
	_ = g.Wait() // the errors are in errs and viewErr
	name := evidence.Routes.Name()
	for i, err := range errs {
		if err != nil {
			a.fail(ctx, set, name, "networkservices."+kinds[i].resource+".list", err)
			return nil
		}
	}
	routes := slices.Concat(found...)
	known := attachedTo(routes, req.Target, views)
	if viewErr != nil && !known {
		// Routes of other projects may be all that the mesh has: none seen isn't none there.
		a.fail(ctx, set, name, viewsMethod(req.Target), viewErr)
		return nil
	}
	for _, v := range views {
		same := func(r evidence.Route) bool { return r.Kind == v.Kind && r.Name == v.Name && r.Location == v.Location }
		if !slices.ContainsFunc(routes, same) {
			routes = append(routes, v)
		}
	}
	evidence.Put(set, evidence.Routes, routes, a.source("networkservices.*Routes.list"))
	if viewErr != nil {
		a.fail(ctx, set, name, viewsMethod(req.Target), viewErr)
	}
	if missing := slices.Concat(lost...); len(missing) > 0 {
		a.fail(ctx, set, name, "networkservices.*Routes.list", &partialError{"the routes of project " + project, "unreachable: " + strings.Join(missing, ", ")})
	}
	return nil
}

// attachedTo says whether a route of the project itself is attached to the target, or the target isn't a Mesh or scope.
func attachedTo(routes []evidence.Route, t diagnose.Target, views []evidence.Route) bool {
	if t.Mesh == "" || len(views) > 0 {
		return true
	}
	return t.MeshName() != "" && slices.ContainsFunc(routes, func(r evidence.Route) bool { return slices.Contains(r.Meshes, t.MeshName()) })
}

func viewsMethod(t diagnose.Target) string {
	if t.GatewayScope() != "" {
		return "networkservices.gateways.routeViews.list"
	}
	return "networkservices.meshes.routeViews.list"
}

// routeViews lists the routes attached to the target's Mesh or Gateways, whatever project they are in. A Mesh that doesn't
// exist has none.
func (a *API) routeViews(ctx context.Context, t diagnose.Target) ([]evidence.Route, error) {
	switch {
	case t.MeshName() != "":
		views, err := a.meshRouteViews(ctx, t.Project, globalLocation, t.MeshName())
		if !notFound(err) {
			return views, err
		}
		meshes, _, lerr := a.meshes(ctx, routingList(t.Project, "meshes", "meshes"))
		if lerr != nil {
			return nil, lerr
		}
		for _, m := range meshes {
			switch {
			case m.Name != t.MeshName():
			case m.Location == globalLocation:
				return nil, err
			default:
				return a.meshRouteViews(ctx, t.Project, m.Location, m.Name)
			}
		}
		return nil, nil
	case t.GatewayScope() != "":
		gateways, _, err := a.gateways(ctx, routingList(t.Project, "gateways", "gateways"))
		if err != nil {
			return nil, err
		}
		var out []evidence.Route
		var failed error
		for _, g := range gateways {
			if g.Scope != t.GatewayScope() {
				continue
			}
			views, err := a.gatewayRouteViews(ctx, t.Project, g)
			out, failed = append(out, views...), cmp.Or(failed, err)
		}
		return out, failed
	}
	return nil, nil
}

func viewAccess(project, what, method string) access {
	return access{what: "the routes attached to " + what, method: method, project: project, permission: "networkservices.route_views.list", role: networkViewer}
}

func (a *API) meshRouteViews(ctx context.Context, project, location, mesh string) (out []evidence.Route, err error) {
	acc := viewAccess(project, "mesh "+mesh, "networkservices.meshes.routeViews.list")
	err = a.pages(ctx, acc, func(ctx context.Context, token string) (string, error) {
		c, err := a.networkServices()
		if err != nil {
			return "", err
		}
		l, err := c.Projects.Locations.Meshes.RouteViews.List(fmt.Sprintf("projects/%s/locations/%s/meshes/%s", project, location, mesh)).
			PageSize(routingPage).PageToken(token).Context(ctx).Do()
		if err != nil {
			return "", err
		}
		for _, v := range l.MeshRouteViews {
			out = append(out, evidence.Route{Kind: routeKind(v.RouteType), Name: v.RouteId, Location: v.RouteLocation, Meshes: []string{mesh}})
		}
		return l.NextPageToken, nil
	})
	return out, err
}

func (a *API) gatewayRouteViews(ctx context.Context, project string, g evidence.Gateway) (out []evidence.Route, err error) {
	acc := viewAccess(project, "gateway "+g.Name, "networkservices.gateways.routeViews.list")
	err = a.pages(ctx, acc, func(ctx context.Context, token string) (string, error) {
		c, err := a.networkServices()
		if err != nil {
			return "", err
		}
		l, err := c.Projects.Locations.Gateways.RouteViews.List(fmt.Sprintf("projects/%s/locations/%s/gateways/%s", project, g.Location, g.Name)).
			PageSize(routingPage).PageToken(token).Context(ctx).Do()
		if err != nil {
			return "", err
		}
		for _, v := range l.GatewayRouteViews {
			out = append(out, evidence.Route{Kind: routeKind(v.RouteType), Name: v.RouteId, Location: v.RouteLocation, Gateways: []string{g.Name}})
		}
		return l.NextPageToken, nil
	})
	return out, err
}

// routeKind turns a view's "HttpRoute", "GRPC_ROUTE" or the like into the kind of evidence.Route.
func routeKind(s string) string {
	s = strings.ToLower(s)
	for _, k := range []string{"grpc", "http", "tcp", "tls"} {
		if strings.HasPrefix(s, k) {
			return k
		}
	}
	return s
}
