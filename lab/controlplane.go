package lab

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	statusv3 "github.com/envoyproxy/go-control-plane/envoy/service/status/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/sotw/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"
)

// controlPlane plays Traffic Director: an aggregated discovery service that refuses whom Traffic Director refuses,
// and a client status discovery service that tells what became of each response.
type controlPlane struct {
	scenario *Scenario
	tokens   *tokens
	upstream map[string]hostPort // where the endpoints of services are, by what they are
	latency  time.Duration
	cache    cache.SnapshotCache
	grpc     *grpc.Server
	cancel   context.CancelFunc // ends the streams that go-control-plane holds

	mu      sync.Mutex
	streams map[int64]*xdsStream
	changed chan struct{} // closed and replaced whenever a stream's state changes
}

// hostPort is an address inside the lab.
type hostPort struct {
	host string
	port int
}

func (a hostPort) String() string { return fmt.Sprintf("%s:%d", a.host, a.port) }

// xdsStream is one client's ADS stream.
type xdsStream struct {
	ctx      context.Context
	node     *corev3.Node
	accepted bool // refused clients are never listed
	types    map[string]*typeState
}

// typeState is what a client was sent of one resource type, and what it made of it.
type typeState struct {
	subscribed []string
	sent       *sentResponse
	status     statusv3.ConfigStatus
	reason     string // of a NACK
	answeredAt time.Time
}

type sentResponse struct {
	version, nonce string
	resources      []*anypb.Any
	names          []string
	at             time.Time
}

func newControlPlane(s *Scenario, tok *tokens, upstream map[string]hostPort, latency time.Duration) *controlPlane {
	ctx, cancel := context.WithCancel(context.Background())
	c := &controlPlane{scenario: s, tokens: tok, upstream: upstream, latency: latency, cancel: cancel,
		streams: map[int64]*xdsStream{}, changed: make(chan struct{})}
	// ads=false: in ADS mode the cache holds an answer back until a client asks for every resource of the snapshot,
	// which a gRPC client never does. The order that ADS promises comes from WithOrderedADS.
	c.cache = cache.NewSnapshotCache(false, cache.IDHash{}, nil)
	xds := server.NewServer(ctx, holdOnNACK{c.cache, s.Fault.Withhold}, server.CallbackFuncs{
		StreamOpenFunc:     c.onOpen,
		StreamClosedFunc:   c.onClosed,
		StreamRequestFunc:  c.onRequest,
		StreamResponseFunc: c.onResponse,
	}, sotw.WithOrderedADS())
	c.grpc = grpc.NewServer()
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(c.grpc, xds)
	statusv3.RegisterClientStatusDiscoveryServiceServer(c.grpc, &clientStatus{cp: c})
	return c
}

// ServeHTTP serves gRPC and REST on one port, as trafficdirector.googleapis.com does.
func (c *controlPlane) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if d, err := time.ParseDuration(c.scenario.Fault.Clock); err == nil {
		w.Header().Set("Date", time.Now().Add(d).UTC().Format(http.TimeFormat))
	}
	if r.ProtoMajor == 2 && strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") {
		c.grpc.ServeHTTP(w, r)
		return
	}
	if r.Method == http.MethodPost && r.URL.Path == clientStatusPath {
		(&clientStatus{cp: c}).serveREST(w, r)
		return
	}
	writeStatus(w, status.Error(codes.NotFound, "Method not found."))
}

func (c *controlPlane) close() {
	c.cancel()
	c.grpc.Stop()
}

// holdOnNACK keeps the cache from answering a NACK with the version just rejected, at once and for ever: it says to
// the cache that the client has what it refused, so that only another version is sent. What the scenario withholds it never
// sends.
type holdOnNACK struct {
	cache.SnapshotCache
	withhold string
}

func (h holdOnNACK) CreateWatch(r *cache.Request, sub cache.Subscription, ch chan cache.Response) (func(), error) {
	if h.withhold != "" && r.GetTypeUrl() == withheldType(h.withhold) {
		return func() {}, nil
	}
	if r.GetErrorDetail() != nil {
		if snap, err := h.GetSnapshot(r.GetNode().GetId()); err == nil {
			r.VersionInfo = snap.GetVersion(r.GetTypeUrl())
		}
	}
	return h.SnapshotCache.CreateWatch(r, sub, ch)
}

func (c *controlPlane) onOpen(ctx context.Context, id int64, _ string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.streams[id] = &xdsStream{ctx: ctx, types: map[string]*typeState{}}
	return nil
}

func (c *controlPlane) onClosed(id int64, _ *corev3.Node) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.streams, id)
	c.notify()
}

// onRequest admits the client with its first request, and afterwards notes its ACKs and NACKs.
func (c *controlPlane) onRequest(id int64, r *discoveryv3.DiscoveryRequest) error {
	c.mu.Lock()
	st := c.streams[id]
	c.mu.Unlock()
	if !st.accepted {
		if err := c.admit(st.ctx, r.GetNode()); err != nil {
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	st.accepted = true
	if st.node == nil {
		st.node = r.GetNode()
	}
	t := st.types[r.GetTypeUrl()]
	if t == nil {
		t = &typeState{status: statusv3.ConfigStatus_NOT_SENT}
		st.types[r.GetTypeUrl()] = t
	}
	t.subscribed = r.GetResourceNames()
	if t.sent != nil && r.GetResponseNonce() == t.sent.nonce && t.status == statusv3.ConfigStatus_STALE {
		t.answeredAt = time.Now()
		t.status = statusv3.ConfigStatus_SYNCED
		if e := r.GetErrorDetail(); e != nil {
			t.status, t.reason = statusv3.ConfigStatus_ERROR, e.GetMessage()
		}
	}
	c.notify()
	return nil
}

func (c *controlPlane) onResponse(_ context.Context, id int64, q *discoveryv3.DiscoveryRequest, r *discoveryv3.DiscoveryResponse) {
	names := make([]string, len(r.GetResources()))
	for i, a := range r.GetResources() {
		if m, err := a.UnmarshalNew(); err == nil {
			names[i] = cache.GetResourceName(m)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.streams[id].types[q.GetTypeUrl()]
	t.sent = &sentResponse{r.GetVersionInfo(), r.GetNonce(), r.GetResources(), names, time.Now()}
	t.status, t.reason = statusv3.ConfigStatus_STALE, ""
	c.notify()
}

// notify wakes every await; the caller holds mu.
func (c *controlPlane) notify() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// await returns when done holds of the stream of that node (nil while there is none), or with the context's error.
func (c *controlPlane) await(ctx context.Context, nodeID string, done func(*xdsStream) bool) error {
	for {
		c.mu.Lock()
		var st *xdsStream
		for _, s := range c.streams {
			if s.accepted && s.node.GetId() == nodeID {
				st = s
			}
		}
		ok, changed := done(st), c.changed
		c.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s to settle: %w", nodeID, ctx.Err())
		}
	}
}

// answered says that nothing sent waits for an ACK or NACK.
func (st *xdsStream) answered() bool { return st.answeredBut() }

// answeredBut is answered for a client that is silent on some types.
func (st *xdsStream) answeredBut(silent ...string) bool {
	if st == nil {
		return true
	}
	for url, t := range st.types {
		if t.status == statusv3.ConfigStatus_STALE && !slices.Contains(silent, url) {
			return false
		}
	}
	return true
}

// admit does what Traffic Director does before it serves a stream: who is it, may it, and is there anything for it.
func (c *controlPlane) admit(ctx context.Context, node *corev3.Node) error {
	id, err := c.caller(ctx, adsMethod)
	if err != nil {
		return err
	}
	number, network, err := parseNodeID(node.GetId())
	if err != nil {
		return err
	}
	// A number that is not the project's belongs to somebody else's project or to none: nothing is configured there.
	if number == c.scenario.Project.Number {
		if err := c.permit(id, number, network); err != nil {
			return err
		}
	}
	served := c.scenario.servedTo(node, number, network)
	if len(served) == 0 {
		return notFound(number, network)
	}
	snap, err := c.snapshot(node, number, network, served)
	if err != nil {
		return status.Errorf(codes.Internal, "building the configuration: %v", err)
	}
	if err := c.cache.SetSnapshot(ctx, node.GetId(), snap); err != nil {
		return status.Errorf(codes.Internal, "serving the configuration: %v", err)
	}
	return nil
}

// caller authenticates a gRPC call by its OAuth token.
func (c *controlPlane) caller(ctx context.Context, method string) (identity, error) {
	if c.scenario.Fault.ControlPlane == "unavailable" {
		return identity{}, errUnavailable()
	}
	if method == adsMethod {
		switch c.scenario.Fault.ControlPlane {
		case "quota":
			return identity{}, errQuota(c.scenario.Project.Number)
		case "internal":
			return identity{}, status.Error(codes.Internal, "Internal error encountered.")
		}
	}
	md, _ := metadata.FromIncomingContext(ctx)
	var id identity
	ok := false
	if a := md.Get("authorization"); len(a) > 0 {
		id, ok = c.tokens.check(a[0])
	}
	var quotaProject string
	if v := md.Get("x-goog-user-project"); len(v) > 0 {
		quotaProject = v[0]
	}
	return id, c.authorize(id, ok, quotaProject, method)
}

func (c *controlPlane) authorize(id identity, authenticated bool, quotaProject, method string) error {
	if !authenticated || id.Account == "" {
		return errUnauthenticated(trafficDirectorHost, method)
	}
	if !id.hasScope(scopeCloudPlatform) {
		return errInsufficientScopes(trafficDirectorHost, method)
	}
	return c.scenario.checkQuotaProject(id, quotaProject, trafficDirectorHost)
}

// permit checks the API and the permission on the networks resource that a node id names.
func (c *controlPlane) permit(id identity, number, network string) error {
	if c.scenario.apiDisabled(trafficDirectorHost) {
		return errServiceDisabled(trafficDirectorHost, number)
	}
	const permission = "trafficdirector.networks.getConfigs"
	if number != c.scenario.Project.Number || !c.scenario.holds(id.Account, permission) {
		return errPermission(permission, fmt.Sprintf("//%s/projects/%s/networks/%s", trafficDirectorHost, number, network))
	}
	return nil
}

// adsMethod is what a proxy calls.
const adsMethod = "envoy.service.discovery.v3.AggregatedDiscoveryService.StreamAggregatedResources"

// parseNodeID splits projects/<number>/networks/<network, mesh:NAME or scope:NAME>/nodes/<node>.
func parseNodeID(id string) (number, network string, err error) {
	p := strings.Split(id, "/")
	if len(p) != 6 || p[0] != "projects" || p[2] != "networks" || p[4] != "nodes" || p[3] == "" || p[5] == "" || !isNumber(p[1]) {
		return "", "", status.Errorf(codes.InvalidArgument,
			"Invalid node id %q: it must have the form projects/{project_number}/networks/{network_name}/nodes/{node_id}.", id)
	}
	return p[1], p[3], nil
}

func isNumber(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// notFound is the answer to a client for which no configuration exists.
func notFound(number, network string) error {
	kind, name := "network", network
	if k, n, ok := strings.Cut(network, ":"); ok {
		kind, name = k, n
	}
	return status.Errorf(codes.NotFound,
		"Requested entity was not found. Cloud Service Mesh configuration was not found for %s %q in project %q.", kind, name, number)
}

// withheldType is the type URL of what a scenario withholds.
func withheldType(name string) string {
	return map[string]string{"listener": resource.ListenerType, "route": resource.RouteType}[name]
}
