package gcp

import (
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

// networkViewer is the narrowest predefined role that may list the load balancing and the service routing resources.
// https://docs.cloud.google.com/iam/docs/roles-permissions/compute#compute.networkViewer
const networkViewer = "roles/compute.networkViewer"

func computeList(project, what, resource string) access {
	return access{
		what: "the " + what + " of project " + project, method: "compute." + resource + ".list", project: project,
		permission: "compute." + resource + ".list", role: networkViewer,
	}
}

// collectForwardingRules reads the global and the aggregated list: the rules of a mesh are global, the others tell what
// was made by mistake. Both must be read to their end.
func (a *API) collectForwardingRules(ctx context.Context, req diagnose.Request, _ *evidence.View, set *evidence.Set) error {
	project := req.Target.Project
	global := computeList(project, "global forwarding rules", "globalForwardingRules")
	all := computeList(project, "forwarding rules", "forwardingRules")
	all.method = "compute.forwardingRules.aggregatedList"
	var (
		fromGlobal, fromAll []evidence.ForwardingRule
		missing             []string
		globalErr, allErr   error
		g                   errgroup.Group
	)
	g.Go(func() error {
		globalErr = a.pages(ctx, global, func(ctx context.Context, token string) (string, error) {
			c, err := a.compute()
			if err != nil {
				return "", err
			}
			l, err := c.GlobalForwardingRules.List(project).MaxResults(pageSize).PageToken(token).Context(ctx).Do()
			if err != nil {
				return "", err
			}
			if l.Warning != nil && !harmless(l.Warning.Code) {
				missing = append(missing, "global: "+l.Warning.Code)
			}
			fromGlobal = appendRules(fromGlobal, l.Items, a.source(global.method))
			return l.NextPageToken, nil
		})
		return nil
	})
	var unreached []string
	g.Go(func() error {
		allErr = a.pages(ctx, all, func(ctx context.Context, token string) (string, error) {
			c, err := a.compute()
			if err != nil {
				return "", err
			}
			l, err := c.ForwardingRules.AggregatedList(project).MaxResults(pageSize).PageToken(token).Context(ctx).Do()
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
				fromAll = appendRules(fromAll, s.ForwardingRules, a.source(all.method))
			}
			return l.NextPageToken, nil
		})
		return nil
	})
	_ = g.Wait() // the errors are in globalErr and allErr
	name := evidence.ForwardingRules.Name()
	switch {
	case globalErr != nil:
		a.fail(ctx, set, name, global.method, globalErr)
		return nil
	case allErr != nil:
		a.fail(ctx, set, name, all.method, allErr)
		return nil
	}
	evidence.Put(set, evidence.ForwardingRules, mergeRules(fromGlobal, fromAll), a.source(global.method))
	if missing = append(missing, unreached...); len(missing) > 0 {
		a.fail(ctx, set, name, all.method, &partialError{all.what, strings.Join(missing, ", ")})
	}
	return nil
}

// harmless says whether a list's warning leaves nothing out.
func harmless(code string) bool { return code == "NO_RESULTS_ON_PAGE" }

func appendRules(out []evidence.ForwardingRule, in []*compute.ForwardingRule, src evidence.Source) []evidence.ForwardingRule {
	for _, r := range in {
		if r != nil {
			out = append(out, convert.ForwardingRule(r, src))
		}
	}
	return out
}

// mergeRules joins lists, each rule once.
func mergeRules(lists ...[]evidence.ForwardingRule) []evidence.ForwardingRule {
	out := []evidence.ForwardingRule{}
	seen := map[string]bool{}
	for _, r := range slices.Concat(lists...) {
		id := resourcePath(r.SelfLink)
		if id == "" {
			id = r.Region + "/" + r.Name
		}
		if !seen[id] {
			seen[id] = true
			out = append(out, r)
		}
	}
	return out
}

// resourcePath takes the host and version from a self link: www.googleapis.com/compute/v1/ and compute.googleapis.com/compute/v1/
// both occur for one resource.
func resourcePath(link string) string {
	if i := strings.Index(link, "/projects/"); i >= 0 {
		return link[i:]
	}
	return link
}

// collectTargetProxies reads the target proxies that a forwarding rule of a mesh can point at. All kinds, or none: with one
// kind missing a rule's proxy might be missed.
func (a *API) collectTargetProxies(ctx context.Context, req diagnose.Request, _ *evidence.View, set *evidence.Set) error {
	project := req.Target.Project
	kinds := []struct {
		what, resource string
		get            func(context.Context, *compute.Service, string, evidence.Source) ([]evidence.TargetProxy, string, error)
	}{
		{"target gRPC proxies", "targetGrpcProxies", func(ctx context.Context, c *compute.Service, token string, src evidence.Source) (out []evidence.TargetProxy, _ string, _ error) {
			l, err := c.TargetGrpcProxies.List(project).MaxResults(pageSize).PageToken(token).Context(ctx).Do()
			if err != nil {
				return nil, "", err
			}
			for _, p := range l.Items {
				out = append(out, convert.TargetGRPCProxy(p, src))
			}
			return out, l.NextPageToken, nil
		}},
		{"target HTTP proxies", "targetHttpProxies", func(ctx context.Context, c *compute.Service, token string, src evidence.Source) (out []evidence.TargetProxy, _ string, _ error) {
			l, err := c.TargetHttpProxies.List(project).MaxResults(pageSize).PageToken(token).Context(ctx).Do()
			if err != nil {
				return nil, "", err
			}
			for _, p := range l.Items {
				out = append(out, convert.TargetHTTPProxy(p, src))
			}
			return out, l.NextPageToken, nil
		}},
		{"target HTTPS proxies", "targetHttpsProxies", func(ctx context.Context, c *compute.Service, token string, src evidence.Source) (out []evidence.TargetProxy, _ string, _ error) {
			l, err := c.TargetHttpsProxies.List(project).MaxResults(pageSize).PageToken(token).Context(ctx).Do()
			if err != nil {
				return nil, "", err
			}
			for _, p := range l.Items {
				out = append(out, convert.TargetHTTPSProxy(p, src))
			}
			return out, l.NextPageToken, nil
		}},
		{"target TCP proxies", "targetTcpProxies", func(ctx context.Context, c *compute.Service, token string, src evidence.Source) (out []evidence.TargetProxy, _ string, _ error) {
			l, err := c.TargetTcpProxies.List(project).MaxResults(pageSize).PageToken(token).Context(ctx).Do()
			if err != nil {
				return nil, "", err
			}
			for _, p := range l.Items {
				out = append(out, convert.TargetTCPProxy(p, src))
			}
			return out, l.NextPageToken, nil
		}},
	}
	found := make([][]evidence.TargetProxy, len(kinds))
	errs := make([]error, len(kinds))
	var g errgroup.Group
	for i, k := range kinds {
		acc := computeList(project, k.what, k.resource)
		g.Go(func() error {
			errs[i] = a.pages(ctx, acc, func(ctx context.Context, token string) (string, error) {
				c, err := a.compute()
				if err != nil {
					return "", err
				}
				page, next, err := k.get(ctx, c, token, a.source(acc.method))
				if err == nil {
					found[i] = append(found[i], page...)
				}
				return next, err
			})
			return nil
		})
	}
	_ = g.Wait() // the errors are in errs
	for i, err := range errs {
		if err != nil {
			a.fail(ctx, set, evidence.TargetProxies.Name(), "compute."+kinds[i].resource+".list", err)
			return nil
		}
	}
	evidence.Put(set, evidence.TargetProxies, slices.Concat(found...), a.source("compute.target*Proxies.list"))
	return nil
}

func (a *API) collectURLMaps(ctx context.Context, req diagnose.Request, _ *evidence.View, set *evidence.Set) error {
	acc := computeList(req.Target.Project, "URL maps", "urlMaps")
	var out []evidence.URLMap
	err := a.pages(ctx, acc, func(ctx context.Context, token string) (string, error) {
		c, err := a.compute()
		if err != nil {
			return "", err
		}
		l, err := c.UrlMaps.List(req.Target.Project).MaxResults(pageSize).PageToken(token).Context(ctx).Do()
		if err != nil {
			return "", err
		}
		for _, m := range l.Items {
			out = append(out, convert.URLMap(m))
		}
		return l.NextPageToken, nil
	})
	put(ctx, a, set, evidence.URLMaps, out, acc.method, err)
	return nil
}

func (a *API) collectBackendServices(ctx context.Context, req diagnose.Request, _ *evidence.View, set *evidence.Set) error {
	acc := computeList(req.Target.Project, "backend services", "backendServices")
	var out []evidence.BackendService
	err := a.pages(ctx, acc, func(ctx context.Context, token string) (string, error) {
		c, err := a.compute()
		if err != nil {
			return "", err
		}
		l, err := c.BackendServices.List(req.Target.Project).MaxResults(pageSize).PageToken(token).Context(ctx).Do()
		if err != nil {
			return "", err
		}
		for _, b := range l.Items {
			service := convert.BackendService(b)
			service.Source = a.source(acc.method)
			out = append(out, service)
		}
		return l.NextPageToken, nil
	})
	put(ctx, a, set, evidence.BackendServices, out, acc.method, err)
	return nil
}

// put records what a call told, or why it told nothing.
func put[T any](ctx context.Context, a *API, set *evidence.Set, k evidence.Key[T], v T, method string, err error) {
	if err != nil {
		a.fail(ctx, set, k.Name(), method, err)
		return
	}
	evidence.Put(set, k, v, a.source(method))
}

// collectInstance reads the VM asked about.
func (a *API) collectInstance(ctx context.Context, req diagnose.Request, _ *evidence.View, set *evidence.Set) error {
	t := req.Target
	if t.Zone == "" {
		return fmt.Errorf("target.zone: the zone of VM %s is needed", t.Instance)
	}
	acc := access{
		what: fmt.Sprintf("VM %s/%s of project %s", t.Zone, t.Instance, t.Project), method: "compute.instances.get", project: t.Project,
		permission: "compute.instances.get", role: networkViewer,
	}
	var out []evidence.Instance
	err := a.call(ctx, acc, func(ctx context.Context) error {
		c, err := a.compute()
		if err != nil {
			return err
		}
		i, err := c.Instances.Get(t.Project, t.Zone, t.Instance).Context(ctx).Do()
		if err != nil {
			return err
		}
		if i.Name != t.Instance {
			return fmt.Errorf("the answer is about VM %.100q", i.Name)
		}
		got := convert.Instance(i, a.source(acc.method))
		if got.Zone == "" {
			got.Zone = t.Zone
		}
		out = []evidence.Instance{got}
		return nil
	})
	if notFound(err) {
		err = fmt.Errorf("there is no VM %s in zone %s of project %s: %w", t.Instance, t.Zone, t.Project, err)
	}
	put(ctx, a, set, evidence.Instances, out, acc.method, err)
	return nil
}
