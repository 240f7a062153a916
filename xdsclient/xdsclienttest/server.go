// Package xdsclienttest is a CSDS server for tests. It is a real server on loopback, over gRPC and over REST, and keeps
// the rules that Traffic Director is documented to have: a request must say who asks, and must match a project number and
// either a network or a mesh; it gets a list of nodes, and their configuration only with an exact node id.
//
// A test programs what is connected, and what goes wrong: refusals, silence, streams that are cut or end without an
// answer, answers that are late, huge or malformed.
package xdsclienttest

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	statusv3 "github.com/envoyproxy/go-control-plane/envoy/service/status/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/encoding"
	protocodec "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// Config is how the server is set up.
type Config struct {
	// TLS serves both forms with these certificates; nil serves plain text.
	TLS *tls.Config
	// Token, unless empty, is the bearer token without which every call is UNAUTHENTICATED.
	Token string
	// Local makes it a client's own endpoint: it refuses node matchers, and answers with every client.
	Local bool
}

// Client is a connected xDS client, as the server knows it.
type Client struct {
	ProjectNumber string
	Network       string // of Network and Mesh, one
	Mesh          string // spelled as this server wants it: NAME, mesh:NAME or scope:NAME
	Config        *statusv3.ClientConfig
}

// Behaviour is what goes wrong, or slowly. The zero value is a server that works.
type Behaviour struct {
	// Refuse, if not nil, sees each request that kept the rules, and may refuse it with the error that it returns.
	Refuse func(*statusv3.ClientStatusRequest) error
	// Change, if not nil, may change an answer before it is sent, but not the clients in it.
	Change func(*statusv3.ClientStatusRequest, *statusv3.ClientStatusResponse)
	// Answer, if not nil, is sent instead of the answer that it is given: wire format over gRPC, a body over REST.
	Answer func(*statusv3.ClientStatusRequest, *statusv3.ClientStatusResponse) []byte
	// CutAfter ends every stream with CutWith after so many answers; 0 never does. A nil CutWith ends it with OK.
	CutAfter int
	CutWith  error
	// EndFirst ends every stream with OK in place of its first answer.
	EndFirst bool
	// Silent never answers.
	Silent bool
	// Latency passes before each answer.
	Latency time.Duration
}

// Request is what the server was asked.
type Request struct {
	*statusv3.ClientStatusRequest
	Header metadata.MD // names in lower case; for REST too
}

// Stats count what happened so far.
type Stats struct {
	Requests       int
	Streams        int // opened
	MaxOutstanding int // the most requests that any stream had before their answers; a client of ours keeps it at 1
	MaxConcurrent  int // the most streams open at once
}

// Server is a running fake. Its methods are safe for concurrent use.
type Server struct {
	// Addr is HOST:PORT of the gRPC form; URL is the base URL of the REST form.
	Addr, URL string

	config Config
	done   chan struct{} // closed when the server stops, to end what is silent

	mu        sync.Mutex
	clients   []Client
	byID      map[string][]Client
	behaviour Behaviour
	requests  []Request
	stats     Stats
	open      int
}

// Start runs a server until the test ends.
func Start(tb testing.TB, c Config) *Server {
	tb.Helper()
	s, stop, err := Run(c)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(stop)
	return s
}

// Run runs a server until stop is called, for programs that are no tests.
func Run(c Config) (s *Server, stop func(), err error) {
	s = &Server{config: c, done: make(chan struct{}), byID: map[string][]Client{}}
	rpc, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, fmt.Errorf("listening for gRPC: %w", err)
	}
	rest, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		_ = rpc.Close()
		return nil, nil, fmt.Errorf("listening for REST: %w", err)
	}
	s.Addr, s.URL = rpc.Addr().String(), "http://"+rest.Addr().String()
	opts := []grpc.ServerOption{
		grpc.ForceServerCodecV2(rawCodec{encoding.GetCodecV2(protocodec.Name)}),
		grpc.MaxSendMsgSize(1 << 30), grpc.WriteBufferSize(256 << 10),
	}
	if c.TLS != nil {
		opts = append(opts, grpc.Creds(credentials.NewTLS(c.TLS)))
		s.URL = "https://" + rest.Addr().String()
		rest = tls.NewListener(rest, c.TLS)
	}
	g := grpc.NewServer(opts...)
	g.RegisterService(&grpc.ServiceDesc{
		ServiceName: "envoy.service.status.v3.ClientStatusDiscoveryService", HandlerType: (*any)(nil),
		Streams: []grpc.StreamDesc{{StreamName: "StreamClientStatus", ServerStreams: true, ClientStreams: true,
			Handler: func(_ any, stream grpc.ServerStream) error { return s.stream(stream) }}},
	}, struct{}{})
	h := &http.Server{Handler: http.HandlerFunc(s.serveREST), ReadHeaderTimeout: 10 * time.Second}
	var wg sync.WaitGroup
	wg.Go(func() { _ = g.Serve(rpc) })
	wg.Go(func() { _ = h.Serve(rest) })
	return s, func() {
		close(s.done)
		g.Stop()
		_ = h.Close()
		wg.Wait()
	}, nil
}

// Connect adds connected clients.
func (s *Server) Connect(clients ...Client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clients = append(s.clients, clients...)
	for _, c := range clients {
		s.byID[c.Config.GetNode().GetId()] = append(s.byID[c.Config.GetNode().GetId()], c)
	}
}

// Behave replaces the behaviour, from the next request on.
func (s *Server) Behave(b Behaviour) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.behaviour = b
}

// Requests gives the requests so far.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Request(nil), s.requests...)
}

// Stats gives the counts so far.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

// raw is a message that is sent as it is.
type raw []byte

type rawCodec struct{ encoding.CodecV2 }

func (c rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	if b, ok := v.(raw); ok {
		return mem.BufferSlice{mem.SliceBuffer(b)}, nil
	}
	return c.CodecV2.Marshal(v)
}

// stream answers one stream in order, and reads ahead to count what is outstanding.
func (s *Server) stream(stream grpc.ServerStream) error {
	s.mu.Lock()
	s.stats.Streams++
	s.open++
	s.stats.MaxConcurrent = max(s.stats.MaxConcurrent, s.open)
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.open--
		s.mu.Unlock()
	}()
	ctx := stream.Context()
	header, _ := metadata.FromIncomingContext(ctx)
	requests := make(chan *statusv3.ClientStatusRequest, 1000) // the bound of reading ahead
	outstanding := 0
	go func() {
		defer close(requests)
		for {
			req := &statusv3.ClientStatusRequest{}
			if stream.RecvMsg(req) != nil {
				return
			}
			s.mu.Lock()
			outstanding++
			s.stats.MaxOutstanding = max(s.stats.MaxOutstanding, outstanding)
			s.mu.Unlock()
			select {
			case requests <- req:
			case <-ctx.Done():
				return
			}
		}
	}()
	answers := 0
	for req := range requests {
		answer, err := s.answer(ctx, req, header, func(r *statusv3.ClientStatusResponse) ([]byte, error) {
			return proto.Marshal(r)
		})
		if err != nil {
			return err
		}
		b := s.current()
		if b.EndFirst {
			return nil
		}
		s.mu.Lock()
		outstanding--
		s.mu.Unlock()
		if err := stream.SendMsg(raw(answer)); err != nil {
			return err
		}
		if answers++; answers == b.CutAfter {
			return b.CutWith
		}
	}
	return nil
}

func (s *Server) current() Behaviour {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.behaviour
}

// answer gives the bytes to send, or why there are none.
func (s *Server) answer(ctx context.Context, req *statusv3.ClientStatusRequest, header metadata.MD,
	marshal func(*statusv3.ClientStatusResponse) ([]byte, error)) ([]byte, error) {
	s.mu.Lock()
	s.stats.Requests++
	s.requests = append(s.requests, Request{req, header})
	s.mu.Unlock()
	b := s.current()
	if b.Silent {
		select {
		case <-ctx.Done():
			return nil, status.FromContextError(ctx.Err()).Err()
		case <-s.done:
			return nil, status.Error(codes.Unavailable, "the server stops")
		}
	}
	if b.Latency > 0 {
		select {
		case <-time.After(b.Latency):
		case <-ctx.Done():
			return nil, status.FromContextError(ctx.Err()).Err()
		}
	}
	if want := s.config.Token; want != "" && strings.Join(header.Get("authorization"), ",") != "Bearer "+want {
		return nil, status.Error(codes.Unauthenticated, "Request had invalid authentication credentials.")
	}
	resp, err := s.respond(req)
	if err != nil {
		return nil, err
	}
	if b.Refuse != nil {
		if err := b.Refuse(req); err != nil {
			return nil, err
		}
	}
	if b.Change != nil {
		b.Change(req, resp)
	}
	if b.Answer != nil {
		return b.Answer(req, resp), nil
	}
	return marshal(resp)
}

// respond applies the rules.
func (s *Server) respond(req *statusv3.ClientStatusRequest) (*statusv3.ClientStatusResponse, error) {
	s.mu.Lock()
	clients := s.clients
	s.mu.Unlock()
	resp := &statusv3.ClientStatusResponse{}
	if s.config.Local {
		if len(req.GetNodeMatchers()) > 0 {
			return nil, status.Errorf(codes.InvalidArgument,
				"node_matchers are not supported, request contains node_matchers: %v", req.GetNodeMatchers())
		}
		for _, c := range clients {
			resp.Config = append(resp.Config, c.Config)
		}
		return resp, nil
	}
	if len(req.GetNodeMatchers()) == 0 {
		return nil, status.Error(codes.InvalidArgument, "node_matchers must not be empty")
	}
	for _, m := range req.GetNodeMatchers() { // any of them may match
		want, err := parseMatcher(m)
		if err != nil {
			return nil, err
		}
		if err := checkAsker(req.GetNode().GetId(), want); err != nil {
			return nil, err
		}
		if want.nodeID != "" {
			s.mu.Lock()
			clients = s.byID[want.nodeID]
			s.mu.Unlock()
		}
		for _, c := range clients {
			if c.ProjectNumber != want.project || c.Network != want.network || c.Mesh != want.mesh {
				continue
			}
			if want.nodeID == "" {
				resp.Config = append(resp.Config, &statusv3.ClientConfig{Node: c.Config.GetNode()})
				continue
			}
			resp.Config = append(resp.Config, c.Config)
		}
	}
	return resp, nil
}
