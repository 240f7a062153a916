package gcp

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	compute "google.golang.org/api/compute/v1"

	"github.com/meshdiag/meshdiag/collect/gcp/convert"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

const (
	// maxGroups bounds the groups that are looked into, and the questions about their health: beyond, what matters has been
	// seen, and a person waits.
	maxGroups = 100
	// maxParallel bounds the calls under way at once, well below compute's rate limits.
	maxParallel = 8
	// maxEndpoints bounds the endpoints read of one group: they are read for their ports, which are few.
	maxEndpoints = 5000
)

func (a *API) collectHealthChecks(ctx context.Context, req diagnose.Request, _ *evidence.View, set *evidence.Set) error {
	acc := computeList(req.Target.Project, "health checks", "healthChecks")
	acc.method = "compute.healthChecks.aggregatedList"
	var (
		out       []evidence.HealthCheck
		unreached []string
	)
	err := a.pages(ctx, acc, func(ctx context.Context, token string) (string, error) {
		c, err := a.compute()
		if err != nil {
			return "", err
		}
		l, err := c.HealthChecks.AggregatedList(req.Target.Project).MaxResults(pageSize).PageToken(token).Context(ctx).Do()
		if err != nil {
			return "", err
		}
		unreached = append(unreached, l.Unreachables...)
		if l.Warning != nil && !harmless(l.Warning.Code) {
			unreached = append(unreached, l.Warning.Code)
		}
		for _, scope := range slices.Sorted(maps.Keys(l.Items)) {
			s := l.Items[scope]
			if s.Warning != nil && !harmless(s.Warning.Code) {
				unreached = append(unreached, scope+": "+s.Warning.Code)
			}
			for _, h := range s.HealthChecks {
				check := convert.HealthCheck(h)
				check.Source = a.source(acc.method)
				out = append(out, check)
			}
		}
		return l.NextPageToken, nil
	})
	putList(ctx, a, set, evidence.HealthChecks, out, acc, unreached, err)
	return nil
}

// selfManaged gives the mesh's own backend services.
func selfManaged(view *evidence.View) ([]evidence.BackendService, error) {
	all, err := evidence.Get(view, evidence.BackendServices)
	if err != nil {
		return nil, fmt.Errorf("the backend services aren't known: %w", err)
	}
	var out []evidence.BackendService
	for _, s := range all {
		if s.Scheme == evidence.SelfManaged {
			out = append(out, s)
		}
	}
	return out, nil
}

// group is where a backend's group is.
type group struct {
	url, project string
	scope        string // "zones", "regions" or "global"
	location     string // the zone's or region's name
	collection   string // "instanceGroups" or "networkEndpointGroups"
	name         string
}

// parseGroup reads the URL of a backend's group: …/projects/p/zones/z/instanceGroups/n.
func parseGroup(url string) (group, error) {
	_, path, ok := strings.Cut(url, "/projects/")
	p := strings.Split(path, "/")
	switch {
	case ok && len(p) == 5 && (p[1] == "zones" || p[1] == "regions"):
		return group{url, p[0], p[1], p[2], p[3], p[4]}, nil
	case ok && len(p) == 4 && p[1] == "global":
		return group{url, p[0], p[1], "", p[2], p[3]}, nil
	}
	return group{}, fmt.Errorf("%.200q is no URL of an instance group or a network endpoint group", url)
}

// collectEndpointGroups looks into the groups behind the mesh's backend services.
func (a *API) collectEndpointGroups(ctx context.Context, _ diagnose.Request, view *evidence.View, set *evidence.Set) error {
	name := evidence.EndpointGroups.Name()
	const method = "compute.networkEndpointGroups.get"
	services, err := selfManaged(view)
	if err != nil {
		a.fail(ctx, set, name, method, err)
		return nil
	}
	ports := map[string][]string{} // the named ports that are used of a group
	urls := map[string]string{}
	for _, s := range services {
		for _, b := range s.Backends {
			id := resourcePath(b.Group)
			urls[id] = b.Group
			ports[id] = append(ports[id], s.PortName)
		}
	}
	ids := slices.Sorted(maps.Keys(urls))
	var problem error
	if len(ids) > maxGroups {
		problem = &partialError{"the groups behind the backend services", fmt.Sprintf("%d of %d were looked into", maxGroups, len(ids))}
		ids = ids[:maxGroups]
	}
	found := make([]*evidence.EndpointGroup, len(ids))
	errs := make([]error, len(ids))
	var g errgroup.Group
	g.SetLimit(maxParallel)
	for i, id := range ids {
		g.Go(func() error {
			found[i], errs[i] = a.endpointGroup(ctx, urls[id], ports[id])
			return nil
		})
	}
	_ = g.Wait() // the errors are in errs
	out := []evidence.EndpointGroup{}
	for i := range ids {
		if found[i] != nil {
			out = append(out, *found[i])
		}
		problem = cmp.Or(problem, errs[i])
	}
	if len(out) > 0 || problem == nil {
		evidence.Put(set, evidence.EndpointGroups, out, a.source(method))
	}
	if problem != nil {
		a.fail(ctx, set, name, method, problem)
	}
	return nil
}

// endpointGroup looks into one group. With an error, the group is told as far as it is known.
func (a *API) endpointGroup(ctx context.Context, url string, used []string) (*evidence.EndpointGroup, error) {
	g, err := parseGroup(url)
	if err != nil {
		return nil, err
	}
	switch g.collection {
	case "instanceGroups":
		return a.instanceGroup(ctx, g, used)
	case "networkEndpointGroups":
		return a.networkEndpointGroup(ctx, g)
	}
	return nil, fmt.Errorf("%.200q is no URL of an instance group or a network endpoint group", url)
}

func groupAccess(g group, method string) access {
	return access{
		what: g.collection + " " + g.name + " of project " + g.project, method: "compute." + g.collection + "." + method, project: g.project,
		permission: "compute." + g.collection + ".get", role: networkViewer,
	}
}

// instanceGroup reads an instance group. Its ports are those of the names that backend services use, all where none is used.
func (a *API) instanceGroup(ctx context.Context, g group, used []string) (*evidence.EndpointGroup, error) {
	var got *compute.InstanceGroup
	err := a.call(ctx, groupAccess(g, "get"), func(ctx context.Context) error {
		c, err := a.compute()
		if err != nil {
			return err
		}
		if g.scope == "regions" {
			got, err = c.RegionInstanceGroups.Get(g.project, g.location, g.name).Context(ctx).Do()
		} else {
			got, err = c.InstanceGroups.Get(g.project, g.location, g.name).Context(ctx).Do()
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	out := &evidence.EndpointGroup{
		URL: g.url, Kind: "instance-group", Zone: g.location, Endpoints: int(got.Size),
		Network: evidence.LastSegment(got.Network), NetworkProject: networkProject(got.Network),
	}
	any := !slices.ContainsFunc(used, func(n string) bool { return n != "" })
	for _, p := range got.NamedPorts {
		if p != nil && (any || slices.Contains(used, p.Name)) {
			out.Ports = append(out.Ports, int(p.Port))
		}
	}
	out.Ports = sortedPorts(out.Ports)
	return out, nil
}

// networkEndpointGroup reads a NEG, and its endpoints where it is of a type that has any of its own.
func (a *API) networkEndpointGroup(ctx context.Context, g group) (*evidence.EndpointGroup, error) {
	var neg *compute.NetworkEndpointGroup
	err := a.call(ctx, groupAccess(g, "get"), func(ctx context.Context) error {
		c, err := a.compute()
		if err != nil {
			return err
		}
		switch g.scope {
		case "global":
			neg, err = c.GlobalNetworkEndpointGroups.Get(g.project, g.name).Context(ctx).Do()
		case "regions":
			neg, err = c.RegionNetworkEndpointGroups.Get(g.project, g.location, g.name).Context(ctx).Do()
		default:
			neg, err = c.NetworkEndpointGroups.Get(g.project, g.location, g.name).Context(ctx).Do()
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	out := &evidence.EndpointGroup{
		URL: g.url, Kind: "neg", Type: neg.NetworkEndpointType, Zone: g.location, Endpoints: int(neg.Size),
		Network: evidence.LastSegment(neg.Network), NetworkProject: networkProject(neg.Network),
	}
	if neg.DefaultPort != 0 {
		out.Ports = []int{int(neg.DefaultPort)}
	}
	if neg.NetworkEndpointType == "SERVERLESS" || neg.NetworkEndpointType == "PRIVATE_SERVICE_CONNECT" {
		out.Endpoints = -1 // such a group names a service, and lists no endpoints
		return out, nil
	}
	n, ports, whole, err := a.endpoints(ctx, g, int(neg.DefaultPort))
	if err != nil {
		return out, err
	}
	if whole {
		out.Endpoints, out.Ports = n, sortedPorts(ports)
		if n == 0 && neg.DefaultPort != 0 {
			out.Ports = []int{int(neg.DefaultPort)}
		}
	} else {
		out.Ports = sortedPorts(append(out.Ports, ports...))
	}
	return out, nil
}

// endpoints counts a NEG's endpoints and gives their ports. whole says that none was left out.
func (a *API) endpoints(ctx context.Context, g group, defaultPort int) (n int, ports []int, whole bool, err error) {
	seen := map[int]bool{}
	whole = true
	err = a.pages(ctx, groupAccess(g, "listNetworkEndpoints"), func(ctx context.Context, token string) (string, error) {
		c, err := a.compute()
		if err != nil {
			return "", err
		}
		var l *compute.NetworkEndpointGroupsListNetworkEndpoints
		switch g.scope {
		case "global":
			l, err = c.GlobalNetworkEndpointGroups.ListNetworkEndpoints(g.project, g.name).MaxResults(pageSize).PageToken(token).Context(ctx).Do()
		case "regions":
			l, err = c.RegionNetworkEndpointGroups.ListNetworkEndpoints(g.project, g.location, g.name).MaxResults(pageSize).PageToken(token).Context(ctx).Do()
		default:
			// The endpoints' health isn't asked for here: backend services have it.
			l, err = c.NetworkEndpointGroups.ListNetworkEndpoints(g.project, g.location, g.name, &compute.NetworkEndpointGroupsListEndpointsRequest{HealthStatus: "SKIP"}).
				MaxResults(pageSize).PageToken(token).Context(ctx).Do()
		}
		if err != nil {
			return "", err
		}
		for _, e := range l.Items {
			if e == nil || e.NetworkEndpoint == nil {
				continue
			}
			n++
			port := cmp.Or(int(e.NetworkEndpoint.Port), defaultPort)
			if port != 0 && !seen[port] {
				seen[port] = true
				ports = append(ports, port)
			}
		}
		if n >= maxEndpoints && l.NextPageToken != "" {
			whole = false
			return "", nil
		}
		return l.NextPageToken, nil
	})
	return n, ports, whole, err
}

func sortedPorts(p []int) []int {
	slices.Sort(p)
	return slices.Compact(p)
}

// networkProject gives the project in a network's URL.
func networkProject(url string) string {
	p := strings.Split(url, "/")
	if i := slices.Index(p, "projects"); i >= 0 && i+1 < len(p) {
		return p[i+1]
	}
	return ""
}

// collectBackendHealth asks for the health of each group behind the mesh's backend services. Groups whose endpoints the
// proxies themselves check are left out: Google's probers know nothing of them.
// https://cloud.google.com/traffic-director/docs/internet-negs
func (a *API) collectBackendHealth(ctx context.Context, req diagnose.Request, view *evidence.View, set *evidence.Set) error {
	const method = "compute.backendServices.getHealth"
	name := evidence.BackendHealth.Name()
	services, err := selfManaged(view)
	if err != nil {
		a.fail(ctx, set, name, method, err)
		return nil
	}
	checkedByProxy := map[string]bool{}
	if groups, err := evidence.Get(view, evidence.EndpointGroups); err == nil { // where they aren't known, all are asked about
		for _, g := range groups {
			checkedByProxy[resourcePath(g.URL)] = g.CheckedByProxy()
		}
	}
	type question struct{ service, group string }
	var ask []question
	for _, s := range services {
		for _, b := range s.Backends {
			if !checkedByProxy[resourcePath(b.Group)] {
				ask = append(ask, question{s.Name, b.Group})
			}
		}
	}
	var problem error
	if len(ask) > maxGroups {
		problem = &partialError{"the health of the backend services' groups", fmt.Sprintf("%d of %d were asked about", maxGroups, len(ask))}
		ask = ask[:maxGroups]
	}
	found := make([][]evidence.EndpointHealth, len(ask))
	errs := make([]error, len(ask))
	var g errgroup.Group
	g.SetLimit(maxParallel)
	for i, q := range ask {
		g.Go(func() error {
			found[i], errs[i] = a.groupHealth(ctx, req.Target.Project, q.service, q.group)
			return nil
		})
	}
	_ = g.Wait() // the errors are in errs
	known := problem == nil && len(ask) == 0
	for _, err := range errs {
		known = known || err == nil
		problem = cmp.Or(problem, err)
	}
	if known {
		evidence.Put(set, evidence.BackendHealth, slices.Concat(found...), a.source(method))
	}
	if problem != nil {
		a.fail(ctx, set, name, method, problem)
	}
	return nil
}

// groupHealth asks for the health of one group of a backend service.
func (a *API) groupHealth(ctx context.Context, project, service, url string) ([]evidence.EndpointHealth, error) {
	acc := access{
		what: fmt.Sprintf("the health of group %s of backend service %s of project %s", evidence.LastSegment(url), service, project),
		// It takes what reading the backend service takes:
		// https://docs.cloud.google.com/compute/docs/reference/rest/v1/backendServices/getHealth
		method: "compute.backendServices.getHealth", permission: "compute.backendServices.get", role: networkViewer, project: project,
	}
	var out []evidence.EndpointHealth
	err := a.call(ctx, acc, func(ctx context.Context) error {
		c, err := a.compute()
		if err != nil {
			return err
		}
		h, err := c.BackendServices.GetHealth(project, service, &compute.ResourceGroupReference{Group: url}).Context(ctx).Do()
		if err != nil {
			return err
		}
		out = convert.Health(h, a.source(acc.method))
		return nil
	})
	zone := ""
	if g, err := parseGroup(url); err == nil {
		zone = g.location
	}
	for i := range out {
		out[i].Service, out[i].Group, out[i].Zone = service, url, zone
	}
	return out, err
}
