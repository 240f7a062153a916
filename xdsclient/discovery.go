package xdsclient

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	statusv3 "github.com/envoyproxy/go-control-plane/envoy/service/status/v3"
	"google.golang.org/grpc/codes"
)

const (
	// maxAttempts bounds how often one request is sent: servers cut streams after a time of their own, which costs one
	// more, and one is spare.
	maxAttempts = 3
	// retryPause is the wait before the second repetition, with up to as much again at random, so that the streams of one
	// client do not come back together. The first is sent at once, as a cut stream is routine.
	retryPause = 200 * time.Millisecond
	// maxSpelled bounds the remembered spellings; a client serves few scopes.
	maxSpelled = 1024
)

// asker sends requests one at a time. Errors are *Error.
type asker interface {
	once(op string, req *statusv3.ClientStatusRequest) ([]ClientConfig, error)
	close()
}

// discovery is the protocol of two steps, over any transport.
type discovery struct {
	open       func(ctx context.Context, nodesOnly bool) asker
	id         string // the node part of the asking node's id
	streams    int
	askTimeout time.Duration
	spelling   MeshSpelling
	limit      chan struct{} // one token for every stream

	*spelled
}

// spelled remembers which spelling of a mesh gave clients.
type spelled struct {
	mu sync.Mutex
	by map[Scope]string
}

func newDiscovery(streams int, askTimeout time.Duration, m MeshSpelling) (discovery, error) {
	if streams < 0 || streams > MaxStreams {
		return discovery{}, invalid("Streams %d: want 1 to %d", streams, MaxStreams)
	}
	if askTimeout < 0 {
		return discovery{}, invalid("AskTimeout %v: want a positive duration", askTimeout)
	}
	if streams == 0 {
		streams = DefaultStreams
	}
	if askTimeout == 0 {
		askTimeout = DefaultAskTimeout
	}
	return discovery{id: randomUUID(), streams: streams, askTimeout: askTimeout, spelling: m,
		limit: make(chan struct{}, streams), spelled: &spelled{by: map[Scope]string{}}}, nil
}

// session is an asker that holds a token of the limit, and repeats what may be repeated.
type session struct {
	asker
	d       *discovery
	ctx     context.Context
	op      string
	answers int
}

func (d *discovery) begin(ctx context.Context, op string, nodesOnly bool) (*session, error) {
	if err := ctx.Err(); err != nil { // a select would choose at random
		return nil, grpcError(op, err)
	}
	select {
	case d.limit <- struct{}{}:
	case <-ctx.Done():
		return nil, grpcError(op, ctx.Err())
	}
	return &session{asker: d.open(ctx, nodesOnly), d: d, ctx: ctx, op: op}, nil
}

func (s *session) end() {
	s.close()
	<-s.d.limit
}

// ask sends a request until it is answered, as long as the failure is that of a stream that had worked: all requests of
// CSDS only read.
func (s *session) ask(op string, req *statusv3.ClientStatusRequest) ([]ClientConfig, error) {
	for attempt := 1; ; attempt++ {
		clients, err := s.once(op, req)
		if err == nil {
			s.answers++
			return clients, nil
		}
		if attempt == maxAttempts || s.ctx.Err() != nil || !wasCut(err, s.answers > 0) {
			return nil, err
		}
		if attempt == 1 {
			continue
		}
		select {
		case <-time.After(retryPause + rand.N(retryPause)):
		case <-s.ctx.Done():
			return nil, err
		}
	}
}

// wasCut says whether a stream broke for a reason that another one may not meet. Traffic Director ends streams after a
// limit of its own, and the reference client, envoyproxy/envoy-tools csds-client, connects again where the text holds
// RpcSecurityPolicy. Anything else must have come after an answer: a server that never gave one is not asked thrice.
func wasCut(err error, answered bool) bool {
	var e *Error
	if !errors.As(err, &e) {
		return false
	}
	if strings.Contains(e.Message, "RpcSecurityPolicy") {
		return true
	}
	if !answered {
		return false
	}
	switch e.Code {
	case codes.Unavailable, codes.Aborted, codes.Canceled, codes.Unknown:
		return true
	case codes.DeadlineExceeded: // the server's own: ours is wrapped, or the context's
		return e.cause == nil
	case codes.Internal:
		return e.Reason == "" || e.Reason == ReasonNoAnswer
	}
	return false
}

// spellingsOf gives how to write the scope's name: all ways to try, or the one that is known to work.
func (d *discovery) spellingsOf(s Scope) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if v, ok := d.by[s]; ok {
		return []string{v}
	}
	return d.spelling.spellings(s)
}

func (d *discovery) remember(s Scope, v string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.by) < maxSpelled {
		d.by[s] = v
	}
}

// eachSpelling calls try with the ways to write the scope's name until one finds something. Where none does, what is
// returned is the most careful answer: a refusal that may be meant for the right spelling hides an empty answer.
func (d *discovery) eachSpelling(s Scope, try func(spelled string) (found bool, err error)) error {
	var denied, unknown error
	empty := false
	for _, v := range d.spellingsOf(s) {
		found, err := try(v)
		if found {
			d.remember(s, v)
			return nil
		}
		var e *Error
		switch {
		case err == nil:
			empty = true
		case !errors.As(err, &e):
			return err
		case e.Code == codes.NotFound, e.Code == codes.InvalidArgument:
			if unknown == nil {
				unknown = err
			}
		case e.Code == codes.PermissionDenied && !e.ServiceDisabled() && !e.InsufficientScopes():
			if denied == nil { // permissions are checked on the network that node.id names: it may be the spelling
				denied = err
			}
		default:
			return err
		}
	}
	if denied != nil {
		return denied
	}
	if empty {
		return nil
	}
	return unknown
}

func (d *discovery) list(ctx context.Context, s Scope) ([]Node, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	a, err := d.begin(ctx, "listing the clients of "+s.String(), true)
	if err != nil {
		return nil, err
	}
	defer a.end()
	nodes := []Node{}
	err = d.eachSpelling(s, func(v string) (bool, error) {
		clients, err := a.ask(a.op, request(s, v, d.id, ""))
		seen := make(map[string]bool, len(clients))
		for _, c := range clients {
			if c.Node.ID != "" && seen[c.Node.ID] { // a client may hold several streams
				continue
			}
			seen[c.Node.ID] = true
			nodes = append(nodes, c.Node)
		}
		return len(nodes) > 0, err
	})
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(nodes, func(a, b Node) int { return strings.Compare(a.ID, b.ID) })
	return nodes, nil
}

func (d *discovery) status(ctx context.Context, s Scope, nodeID string) (ClientConfig, error) {
	unknown := ClientConfig{Node: Node{ID: nodeID}}
	if err := s.Validate(); err != nil {
		return unknown, err
	}
	a, err := d.begin(ctx, "asking for the status of "+nodeID, false)
	if err != nil {
		return unknown, err
	}
	defer a.end()
	return a.status(s, nodeID)
}

// status asks about one node.
func (a *session) status(s Scope, nodeID string) (ClientConfig, error) {
	unknown := ClientConfig{Node: Node{ID: nodeID}}
	if nodeID == "" {
		return unknown, invalid("node id: it is missing, and without one no status is given")
	}
	op := "asking for the status of " + nodeID
	var out ClientConfig
	found := false
	err := a.d.eachSpelling(s, func(v string) (bool, error) {
		clients, err := a.ask(op, request(s, v, a.d.id, nodeID))
		if err != nil {
			return false, err
		}
		for _, c := range clients {
			if c.Node.ID != nodeID {
				continue
			}
			if found { // another stream of the same client
				out.Resources = append(out.Resources, c.Resources...)
				continue
			}
			out, found = c, true
		}
		if !found && len(clients) > 0 {
			return false, &Error{Op: op, Code: codes.Internal, Reason: ReasonWrongNode,
				Message: "the server answered about another node: " + clients[0].Node.ID}
		}
		return found, nil
	})
	if err != nil {
		return unknown, err
	}
	if !found {
		return unknown, &Error{Op: op, Code: codes.NotFound, Reason: ReasonNotConnected,
			Message: "the control plane knows no client with this node id in " + s.String()}
	}
	return out, nil
}

// statuses asks about many nodes: every stream takes the next id when it has had its answer.
func (d *discovery) statuses(ctx context.Context, s Scope, ids []string, each func(ClientConfig, error)) error {
	if err := s.Validate(); err != nil {
		return err
	}
	if len(ids) == 0 {
		return nil
	}
	op := "asking for the status of the clients of " + s.String()
	q := &queue{ids: ids, each: each, patience: 2 * d.streams}
	var wg sync.WaitGroup
	for range min(d.streams, len(ids)) {
		wg.Go(func() {
			a, err := d.begin(ctx, op, false)
			if err != nil {
				q.stop(err)
				return
			}
			defer a.end()
			for id, ok := q.next(); ok; id, ok = q.next() {
				if err := ctx.Err(); err != nil {
					err := grpcError(op, err)
					q.stop(err)
					q.done(notAsked(id, err))
					return
				}
				q.done(a.status(s, id))
			}
		})
	}
	wg.Wait()
	for id, ok := q.rest(); ok; id, ok = q.rest() {
		each(notAsked(id, q.stopped))
	}
	return q.stopped
}

func notAsked(id string, why error) (ClientConfig, error) {
	e := grpcError("asking for the status of "+id, why)
	e.Reason, e.Message, e.cause = ReasonNotAsked, "not asked, because: "+e.Message, why
	return ClientConfig{Node: Node{ID: id}}, e
}

// queue hands out ids, and stops when failures that are not about a node come one after another, without an answer in
// between: the ten thousandth refusal says no more than the first.
type queue struct {
	mu       sync.Mutex
	ids      []string
	each     func(ClientConfig, error)
	patience int // failures in a row
	failures int
	stopped  error
}

func (q *queue) next() (string, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.stopped != nil {
		return "", false
	}
	return q.rest()
}

// rest is next without the lock, after a stop too.
func (q *queue) rest() (string, bool) {
	if len(q.ids) == 0 {
		return "", false
	}
	id := q.ids[0]
	q.ids = q.ids[1:]
	return id, true
}

func (q *queue) stop(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.stopped == nil && len(q.ids) > 0 {
		q.stopped = err
	}
}

func (q *queue) done(c ClientConfig, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.each(c, err)
	var e *Error
	if !errors.As(err, &e) {
		q.failures = 0
		return
	}
	switch e.Code {
	case codes.Unauthenticated, codes.PermissionDenied, codes.Unavailable, codes.Unimplemented, codes.DeadlineExceeded,
		codes.ResourceExhausted:
		q.failures++
	default:
		q.failures = 0
	}
	if q.failures >= q.patience && q.stopped == nil && len(q.ids) > 0 {
		q.stopped = err
	}
}
