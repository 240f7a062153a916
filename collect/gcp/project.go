package gcp

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	serviceusage "google.golang.org/api/serviceusage/v1"

	"github.com/meshdiag/meshdiag/collect/gcp/convert"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// The APIs whose state a mesh hangs on.
const (
	trafficDirectorAPI = "trafficdirector.googleapis.com"
	networkServicesAPI = "networkservices.googleapis.com"
	computeAPI         = "compute.googleapis.com"
)

// collectProject learns the project's number and id. Traffic Director knows projects by number alone.
func (a *API) collectProject(ctx context.Context, req diagnose.Request, _ *evidence.View, set *evidence.Set) error {
	asked := req.Target.Project
	acc := access{
		what: "project " + asked, method: "cloudresourcemanager.projects.get", project: asked,
		permission: "resourcemanager.projects.get", role: "roles/browser",
	}
	var p evidence.Project
	err := a.call(ctx, acc, func(ctx context.Context) error {
		c, err := a.resourceManager()
		if err != nil {
			return err
		}
		got, err := c.Projects.Get("projects/" + asked).Context(ctx).Do()
		if err != nil {
			return err
		}
		p = evidence.Project{ID: got.ProjectId, Number: strings.TrimPrefix(got.Name, "projects/")}
		if !evidence.Numeric(p.Number) || (p.ID != asked && p.Number != asked) {
			return fmt.Errorf("the answer names project %q with number %.40q", p.ID, p.Number)
		}
		return nil
	})
	if err == nil {
		evidence.Put(set, evidence.ProjectFact, p, a.source(acc.method))
		return nil
	}
	if evidence.Numeric(asked) {
		// The number is enough to go on with; that it names a project wasn't seen.
		evidence.Put(set, evidence.ProjectFact, evidence.Project{Number: asked}, a.source("as given in the request"))
		a.fail(ctx, set, evidence.ProjectFact.Name(), acc.method, err)
		return nil
	}
	// Service Usage names a service by the project's number, whatever it was asked by.
	sacc := serviceAccess(asked, trafficDirectorAPI)
	s, serr := a.service(ctx, sacc, asked, trafficDirectorAPI)
	if number := convert.ServiceProject(s); serr == nil && number != "" {
		evidence.Put(set, evidence.ProjectFact, evidence.Project{ID: asked, Number: number}, a.source(sacc.method))
		return nil
	}
	a.fail(ctx, set, evidence.ProjectFact.Name(), acc.method, err)
	return nil
}

// collectServices learns the state of the APIs that a mesh hangs on.
func (a *API) collectServices(ctx context.Context, req diagnose.Request, _ *evidence.View, set *evidence.Set) error {
	names := []string{trafficDirectorAPI, computeAPI}
	if req.Target.Mesh != "" {
		names = append(names, networkServicesAPI)
	}
	var (
		mu   sync.Mutex
		out  []evidence.APIService
		errs []error
		g    errgroup.Group
	)
	for _, n := range names {
		g.Go(func() error {
			s, err := a.service(ctx, serviceAccess(req.Target.Project, n), req.Target.Project, n)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, err)
				return nil
			}
			out = append(out, convert.Service(s))
			return nil
		})
	}
	_ = g.Wait() // its functions give their errors to errs
	method := "serviceusage.services.get"
	slices.SortFunc(out, func(a, b evidence.APIService) int { return strings.Compare(a.Name, b.Name) })
	if len(out) > 0 {
		evidence.Put(set, evidence.Services, out, a.source(method))
	}
	if len(errs) > 0 {
		slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
		a.fail(ctx, set, evidence.Services.Name(), method, errs[0])
	}
	return nil
}

func serviceAccess(project, api string) access {
	return access{
		what: "the state of " + api + " in project " + project, method: "serviceusage.services.get", project: project,
		permission: "serviceusage.services.get", role: "roles/serviceusage.serviceUsageViewer",
	}
}

func (a *API) service(ctx context.Context, acc access, project, api string) (*serviceusage.GoogleApiServiceusageV1Service, error) {
	var out *serviceusage.GoogleApiServiceusageV1Service
	err := a.call(ctx, acc, func(ctx context.Context) error {
		c, err := a.serviceUsage()
		if err != nil {
			return err
		}
		got, err := c.Services.Get("projects/" + project + "/services/" + api).Context(ctx).Do()
		if err != nil {
			return err
		}
		if s := convert.Service(got); s.Name != api || s.State == "" {
			return errors.New("the answer doesn't tell its state")
		}
		out = got
		return nil
	})
	return out, err
}
