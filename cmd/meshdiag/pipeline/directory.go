package pipeline

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"

	"github.com/meshdiag/meshdiag/collect/csds"
	"github.com/meshdiag/meshdiag/collect/csdsconv"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/xdsclient"
)

// ListClients lists the clients that the control plane knows for a target.
func (p *Pipeline) ListClients(ctx context.Context, t diagnose.Target) ([]evidence.Client, error) {
	scope, err := p.scope(ctx, t)
	if err != nil {
		return nil, err
	}
	nodes, err := p.csds.List(ctx, scope)
	if err != nil {
		return nil, err
	}
	out := make([]evidence.Client, len(nodes))
	for i, n := range nodes {
		out[i] = csdsconv.Client(n)
	}
	return out, nil
}

// ClientStatus gives the state of the client that the target's NodeID names; none where it isn't connected.
func (p *Pipeline) ClientStatus(ctx context.Context, t diagnose.Target) ([]evidence.ClientStatus, error) {
	scope, err := p.scope(ctx, t)
	if err != nil {
		return nil, err
	}
	c, err := p.csds.Status(ctx, scope, t.NodeID)
	var e *xdsclient.Error
	switch {
	case errors.As(err, &e) && e.Code == codes.NotFound && e.Reason == xdsclient.ReasonNotConnected:
		return nil, nil
	case err != nil:
		return nil, err
	}
	return []evidence.ClientStatus{csdsconv.ClientStatus(c, evidence.Source{Collector: "csds", Vantage: evidence.FromAPI})}, nil
}

// scope finds the project's number, by which alone the control plane knows it.
func (p *Pipeline) scope(ctx context.Context, t diagnose.Target) (xdsclient.Scope, error) {
	if evidence.Numeric(t.Project) {
		return csds.Scope(t, t.Project), nil
	}
	set := evidence.NewSet()
	for _, c := range p.gcp.Collectors() {
		if len(c.Provides) != 1 || c.Provides[0] != evidence.ProjectFact.Name() {
			continue
		}
		if err := c.Collect(ctx, diagnose.Request{Target: t}, evidence.NewView(set), set); err != nil {
			return xdsclient.Scope{}, fmt.Errorf("finding the number of project %s: %w", t.Project, err)
		}
	}
	project, err := evidence.Get(evidence.NewView(set), evidence.ProjectFact)
	if err != nil {
		return xdsclient.Scope{}, fmt.Errorf("finding the number of project %s: %w", t.Project, err)
	}
	return csds.Scope(t, project.Number), nil
}
