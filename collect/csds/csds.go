// Package csds collects what the control plane knows of its xDS clients: who is connected for a network or a mesh, and what
// each accepted or rejected.
package csds

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/meshdiag/meshdiag/collect/csdsconv"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/xdsclient"
)

const (
	// DefaultMaxStatus is how many clients of a whole network or mesh are asked for their status: enough to see what is
	// wrong with a fleet, few enough to be answered within seconds.
	DefaultMaxStatus = 50
	// DefaultSampleInterval is the time between two samples of a client whose first leaves open whether it is stuck:
	// an xDS client that is alive answers an update within milliseconds.
	DefaultSampleInterval = 2 * time.Second
	// listTimeout and statusTimeout are each step's share of the deadline.
	listTimeout   = 10 * time.Second
	statusTimeout = 15 * time.Second
	// collector is the name that reports know this source by.
	collector = "csds"
	method    = "StreamClientStatus"
)

// Asker asks the control plane: *xdsclient.Client over gRPC, *xdsclient.RESTClient over REST.
type Asker interface {
	List(context.Context, xdsclient.Scope) ([]xdsclient.Node, error)
	Statuses(ctx context.Context, s xdsclient.Scope, ids []string, each func(xdsclient.ClientConfig, error)) error
}

// Config makes a [Source].
type Config struct {
	Asker          Asker
	Principal      string        // who meshdiag asks as, for the commands that grant access: "serviceAccount:x@y"; may be empty
	MaxStatus      int           // 0 takes DefaultMaxStatus
	SampleInterval time.Duration // 0 takes DefaultSampleInterval
	Now            func() time.Time
}

// Source collects over CSDS.
type Source struct{ cfg Config }

// New makes a source.
func New(cfg Config) *Source {
	if cfg.MaxStatus <= 0 {
		cfg.MaxStatus = DefaultMaxStatus
	}
	if cfg.SampleInterval <= 0 {
		cfg.SampleInterval = DefaultSampleInterval
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Source{cfg: cfg}
}

// Collectors gives the two steps of CSDS: the list of clients, then the status of each.
func (s *Source) Collectors() []diagnose.Collector {
	live := func(r diagnose.Request) bool { return r.Target.Live() }
	return []diagnose.Collector{
		{
			Name: "csds-clients", Provides: []evidence.Name{evidence.Clients.Name()}, Needs: []evidence.Name{evidence.ProjectFact.Name()},
			Await: await(evidence.ProjectFact.Name()), Timeout: listTimeout, Applies: live, Collect: s.clients,
		},
		{
			Name: "csds-status", Provides: []evidence.Name{evidence.ClientStatuses.Name()},
			Needs: []evidence.Name{evidence.ProjectFact.Name(), evidence.Clients.Name()},
			Await: await(evidence.ProjectFact.Name(), evidence.Clients.Name()), Timeout: statusTimeout, Applies: live, Collect: s.statuses,
		},
	}
}

// await leaves out what the request tells itself: a project's number, and the one client to ask about. A diagnosis is then as
// fast as the slowest question, not their sum.
func await(needs ...evidence.Name) func(diagnose.Request) []evidence.Name {
	return func(r diagnose.Request) []evidence.Name {
		return slices.DeleteFunc(slices.Clone(needs), func(n evidence.Name) bool {
			return (n == evidence.ProjectFact.Name() && evidence.Numeric(r.Target.Project)) || (n == evidence.Clients.Name() && r.Target.NodeID != "")
		})
	}
}

// Scope gives the scope to ask for: CSDS knows projects by their number alone.
func Scope(t diagnose.Target, number string) xdsclient.Scope {
	return xdsclient.Scope{ProjectNumber: number, Network: t.Network, Mesh: t.Mesh}
}

func (s *Source) source(detail string) evidence.Source {
	return evidence.Source{Collector: collector, Detail: method + " " + detail, Vantage: evidence.FromAPI, Time: s.cfg.Now()}
}

func (s *Source) scope(r diagnose.Request, v *evidence.View) (xdsclient.Scope, error) {
	if evidence.Numeric(r.Target.Project) {
		return Scope(r.Target, r.Target.Project), nil
	}
	p, err := evidence.Get(v, evidence.ProjectFact)
	if err != nil {
		return xdsclient.Scope{}, errors.New("the control plane is asked by project number, and the project could not be read")
	}
	return Scope(r.Target, p.Number), nil
}

func (s *Source) clients(ctx context.Context, r diagnose.Request, v *evidence.View, out *evidence.Set) error {
	scope, err := s.scope(r, v)
	if err != nil {
		return err
	}
	nodes, err := s.cfg.Asker.List(ctx, scope)
	if err != nil {
		out.Fail(evidence.Clients.Name(), s.source(scope.String()), s.explain(err, scope))
		return nil
	}
	evidence.Put(out, evidence.Clients, clientList(r.Target, scope, nodes), s.source(scope.String()))
	return nil
}

func clientList(t diagnose.Target, scope xdsclient.Scope, nodes []xdsclient.Node) evidence.ClientList {
	l := evidence.ClientList{ProjectNumber: scope.ProjectNumber, Scope: "network", ScopeName: t.Network}
	switch {
	case t.GatewayScope() != "":
		l.Scope, l.ScopeName = "scope", t.GatewayScope()
	case t.Mesh != "":
		l.Scope, l.ScopeName = "mesh", t.MeshName()
	}
	for _, n := range nodes {
		l.Clients = append(l.Clients, csdsconv.Client(n))
	}
	slices.SortFunc(l.Clients, func(a, b evidence.Client) int { return strings.Compare(a.NodeID, b.NodeID) })
	return l
}

// statuses asks for the status of the client that the request names, or of the first MaxStatus listed ones. What was left
// out, or came without a status, is recorded as a failure beside what is known: no clean bill rests on part of a fleet.
func (s *Source) statuses(ctx context.Context, r diagnose.Request, v *evidence.View, out *evidence.Set) error {
	scope, err := s.scope(r, v)
	if err != nil {
		return err
	}
	name := evidence.ClientStatuses.Name()
	ids := []string{r.Target.NodeID}
	if r.Target.NodeID == "" {
		list, err := evidence.Get(v, evidence.Clients)
		if err != nil {
			return errors.New("the clients to ask about could not be listed")
		}
		ids = ids[:0]
		for _, c := range list.Clients {
			ids = append(ids, c.NodeID)
		}
	}
	if left := len(ids) - s.cfg.MaxStatus; left > 0 {
		out.Fail(name, s.source(scope.String()), fmt.Errorf("%d of %d clients were not asked for their status; name one by its node id", left, len(ids)))
		ids = ids[:s.cfg.MaxStatus]
	}
	first := s.sample(ctx, scope, ids)
	var again []string
	for _, id := range ids {
		if slices.ContainsFunc(first[id].found, undecided) {
			again = append(again, id)
		}
	}
	if len(again) > 0 {
		t := time.NewTimer(s.cfg.SampleInterval)
		defer t.Stop()
		select {
		case <-t.C:
			second := s.sample(ctx, scope, again)
			for _, id := range again {
				if second[id].err == nil {
					first[id] = answer{found: compare(first[id].found, second[id].found)}
				}
			}
		case <-ctx.Done(): // what one sample shows is kept
		}
	}
	var known []evidence.ClientStatus
	for _, id := range ids {
		known = s.keep(id, scope, first[id], known, out)
	}
	if len(known) > 0 || len(ids) == 0 { // of nobody connected, every status is known
		evidence.Put(out, evidence.ClientStatuses, known, s.source(scope.String()))
	}
	return nil
}

// keep adds one client's answer to those known, or records why it isn't.
func (s *Source) keep(id string, scope xdsclient.Scope, a answer, known []evidence.ClientStatus, out *evidence.Set) []evidence.ClientStatus {
	name, src := evidence.ClientStatuses.Name(), s.source(id)
	var e *xdsclient.Error
	switch {
	case errors.As(a.err, &e) && e.Reason == xdsclient.ReasonNotConnected:
		out.Fail(name, src, fmt.Errorf("the control plane knows no connected client with the node id %s", id))
		return known
	case a.err != nil:
		out.Fail(name, src, s.explain(a.err, scope))
		return known
	}
	told := 0
	for _, c := range a.found {
		for _, r := range c.Resources {
			if r.Server > evidence.ServerUnknown || r.Client > evidence.ClientUnknown {
				told++
			}
		}
	}
	if told == 0 {
		out.Fail(name, src, fmt.Errorf("the control plane tells no status of any resource of client %s", id))
	}
	return append(known, a.found...)
}

// answer is what one client's question brought.
type answer struct {
	found []evidence.ClientStatus
	err   error
}

func (s *Source) sample(ctx context.Context, scope xdsclient.Scope, ids []string) map[string]answer {
	out := make(map[string]answer, len(ids))
	var mu sync.Mutex
	err := s.cfg.Asker.Statuses(ctx, scope, ids, func(c xdsclient.ClientConfig, err error) {
		mu.Lock()
		defer mu.Unlock()
		a := out[c.Node.ID]
		if err != nil {
			a.err = err
		} else {
			st := csdsconv.ClientStatus(c, s.source(c.Node.ID))
			st.Asked = s.cfg.Now()
			a.found = append(a.found, st)
		}
		out[c.Node.ID] = a
	})
	mu.Lock()
	defer mu.Unlock()
	for _, id := range ids {
		if _, ok := out[id]; !ok {
			if err == nil {
				err = errors.New("the control plane gave no answer")
			}
			out[id] = answer{err: err}
		}
	}
	return out
}

// undecided says whether one sample leaves open if the client is stuck: an update in flight looks the same.
func undecided(c evidence.ClientStatus) bool {
	return slices.ContainsFunc(c.Resources, func(r evidence.Resource) bool {
		return (r.Server == evidence.Stale && r.LastUpdated.IsZero()) || r.Client == evidence.Requested
	})
}

// compare counts, in the second sample, the resources that stand as they stood in the first.
func compare(first, second []evidence.ClientStatus) []evidence.ClientStatus {
	type id struct{ scope, url, name string }
	was := map[id]evidence.Resource{}
	at := map[string]time.Time{}
	for _, c := range first {
		at[c.ClientScope] = c.Asked
		for _, r := range c.Resources {
			was[id{c.ClientScope, r.TypeURL, r.Name}] = r
		}
	}
	for i := range second {
		c := &second[i]
		for j := range c.Resources {
			r := &c.Resources[j]
			old, ok := was[id{c.ClientScope, r.TypeURL, r.Name}]
			if ok && old.Server == r.Server && old.Client == r.Client && old.Version == r.Version {
				r.Samples, r.SampleSpan = 2, c.Asked.Sub(at[c.ClientScope])
			}
		}
	}
	return second
}

// explain turns a refusal into one that says how to be let in.
func (s *Source) explain(err error, scope xdsclient.Scope) error {
	var e *xdsclient.Error
	if !errors.As(err, &e) || e.Code != codes.PermissionDenied {
		return err
	}
	d := &evidence.Denied{What: "the xDS clients of " + scope.String(), Err: err}
	switch {
	case e.ServiceDisabled():
		d.Command = "gcloud services enable trafficdirector.googleapis.com --project=" + scope.ProjectNumber
	case e.InsufficientScopes():
		d.Permission = "the OAuth scope https://www.googleapis.com/auth/cloud-platform"
	default:
		d.Permission, d.Role = "trafficdirector.networks.getConfigs", "roles/trafficdirector.viewer"
		member := s.cfg.Principal
		if member == "" {
			member = "user:EMAIL"
		}
		d.Command = fmt.Sprintf("gcloud projects add-iam-policy-binding %s --member=%s --role=%s --condition=None", scope.ProjectNumber, member, d.Role)
	}
	return d
}
