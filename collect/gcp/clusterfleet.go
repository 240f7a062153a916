package gcp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"

	gkehub "google.golang.org/api/gkehub/v1"
	"google.golang.org/api/googleapi"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

const fleetMethod = "gkehub.projects.locations.features.get"

// collectFleetMesh reads what the fleet says of the managed mesh of the target's cluster: the servicemesh feature of GKE Hub.
// https://docs.cloud.google.com/kubernetes-engine/fleet-management/docs/reference/rest/v1/projects.locations.features
func (a *API) collectFleetMesh(ctx context.Context, req diagnose.Request, _ *evidence.View, set *evidence.Set) error {
	acc := access{
		what: "the fleet's servicemesh feature of project " + req.Target.Project, method: fleetMethod, project: req.Target.Project,
		permission: "gkehub.features.get", role: "roles/gkehub.viewer",
	}
	var feature *gkehub.Feature
	err := a.call(ctx, acc, func(ctx context.Context) error {
		c, err := a.gkeHub()
		if err != nil {
			return err
		}
		feature, err = c.Projects.Locations.Features.Get("projects/" + req.Target.Project + "/locations/global/features/servicemesh").
			ReturnPartialSuccess(true).Context(ctx).Do()
		return err
	})
	var ge *googleapi.Error
	if errors.As(err, &ge) && ge.Code == http.StatusNotFound {
		// The feature was never switched on: no control plane is managed by this fleet.
		evidence.Put(set, evidence.FleetMesh, nil, a.source(acc.method))
		return nil
	}
	if err != nil {
		a.fail(ctx, set, evidence.FleetMesh.Name(), acc.method, err)
		return nil
	}
	list, err := a.memberships(feature, req.Target.Cluster)
	if err != nil {
		a.fail(ctx, set, evidence.FleetMesh.Name(), acc.method, fmt.Errorf("reading %s: %w", acc.what, err))
		return nil
	}
	evidence.Put(set, evidence.FleetMesh, list, a.source(acc.method))
	if len(feature.Unreachable) > 0 {
		a.fail(ctx, set, evidence.FleetMesh.Name(), acc.method, &partialError{acc.what, strings.Join(feature.Unreachable, ", ")})
	}
	return nil
}

// memberships gives the state of the target's cluster. The fleet knows clusters by membership, which gcloud and the console name
// after the cluster; gcloud names contexts gke_PROJECT_LOCATION_CLUSTER. With one membership there is nothing to choose.
func (a *API) memberships(f *gkehub.Feature, cluster string) ([]evidence.FleetMembership, error) {
	var names []string
	for name, s := range f.MembershipStates {
		if s.Servicemesh != nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	if len(names) > 1 {
		own := cluster
		if p := strings.SplitN(cluster, "_", 4); len(p) == 4 && p[0] == "gke" {
			own = p[3]
		}
		chosen := slices.DeleteFunc(slices.Clone(names), func(n string) bool { return path.Base(n) != own })
		if len(chosen) != 1 {
			const most = 5
			shown := make([]string, 0, most)
			for _, n := range names[:min(most, len(names))] {
				shown = append(shown, path.Base(n))
			}
			return nil, fmt.Errorf("which of the fleet's %d memberships the cluster %s is isn't known (%s)",
				len(names), cmp.Or(cluster, "asked about"), strings.Join(shown, ", "))
		}
		names = chosen
	}
	out := make([]evidence.FleetMembership, 0, len(names))
	for _, name := range names {
		s := f.MembershipStates[name]
		m := evidence.FleetMembership{Membership: name, Source: a.source(fleetMethod)}
		if spec, ok := f.MembershipSpecs[name]; ok && spec.Mesh != nil {
			m.Management = strings.TrimPrefix(spec.Mesh.Management, "MANAGEMENT_")
		}
		if s.State != nil {
			m.Updated, _ = time.Parse(time.RFC3339Nano, s.State.UpdateTime)
		}
		details := func(list []*gkehub.ServiceMeshStatusDetails) {
			for _, d := range list {
				if d != nil {
					m.Details = append(m.Details, evidence.FleetDetail{Code: d.Code, Text: d.Details})
				}
			}
		}
		if cp := s.Servicemesh.ControlPlaneManagement; cp != nil {
			m.ControlPlane, m.Implementation = cp.State, cp.Implementation
			details(cp.Details)
		}
		if dp := s.Servicemesh.DataPlaneManagement; dp != nil {
			m.DataPlane = dp.State
			details(dp.Details)
		}
		for _, c := range s.Servicemesh.Conditions {
			if c != nil {
				m.Conditions = append(m.Conditions, evidence.FleetCondition{Code: c.Code, Severity: c.Severity, Details: c.Details, Link: c.DocumentationLink})
			}
		}
		out = append(out, m)
	}
	return out, nil
}
