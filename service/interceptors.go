package service

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"strings"
	"time"

	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/recovery"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/proto"
)

const (
	// requestIDHeader carries a request's ID, both ways, in gRPC and REST.
	requestIDHeader = "x-request-id"
	// maxRequestID bounds an ID from outside: a UUID has 36 characters, a trace ID 32.
	maxRequestID = 128
)

type requestIDKey struct{}

// requestID gives the ID of the request that ctx belongs to; a new one where ctx belongs to none.
func requestID(ctx context.Context) string {
	if id, ok := ctx.Value(requestIDKey{}).(string); ok {
		return id
	}
	return newRequestID()
}

func newRequestID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand.Read's own word
	return hex.EncodeToString(b[:])
}

// saneRequestID says whether an ID from outside may go into logs, names and headers.
func saneRequestID(id string) bool {
	return id != "" && len(id) <= maxRequestID && strings.Trim(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:") == "" && id[0] != '.'
}

// interceptors stand around every RPC, whether it came by gRPC or through the gateway.
type interceptors struct {
	svc *Service
	// stop ends RPCs that the drain could not wait for; stopWatches those that would never end by themselves.
	stop, stopWatches context.Context
	known             map[string]bool // full method names, for metrics
}

// learn notes the methods of a server, before it serves.
func (i *interceptors) learn(server *grpc.Server) {
	for name, info := range server.GetServiceInfo() {
		for _, m := range info.Methods {
			i.known["/"+name+"/"+m.Name] = true
		}
	}
}

// watching says whether a method's stream stays open for as long as its caller likes.
func watching(method string) bool {
	return method == "/grpc.health.v1.Health/Watch" || strings.HasPrefix(method, "/grpc.reflection.")
}

// begin gives an RPC its ID and its end; done turns its error into what the caller gets, and writes it down.
func (i *interceptors) begin(ctx context.Context, method string) (_ context.Context, done func(error) error) {
	md, _ := metadata.FromIncomingContext(ctx)
	id := ""
	if v := md.Get(requestIDHeader); len(v) == 1 && saneRequestID(v[0]) {
		id = v[0]
	} else {
		id = newRequestID()
	}
	ctx, cancel := context.WithCancelCause(context.WithValue(ctx, requestIDKey{}, id))
	until := i.stop
	if watching(method) {
		until = i.stopWatches
	}
	detach := context.AfterFunc(until, func() { cancel(errShutdown) })
	started := time.Now()
	return ctx, func(err error) error {
		detach()
		code := codes.OK
		if err != nil {
			st := i.svc.statusOf(ctx, err)
			code, err = st.Code(), st.Err()
		}
		cancel(nil)
		took := time.Since(started)
		label := method
		if !i.known[method] {
			label = "unknown" // a name from outside isn't for labels
		}
		i.svc.metrics.request(label, code, took)
		level := slog.LevelInfo
		attrs := []slog.Attr{
			slog.String("request_id", id), slog.String("method", method), slog.String("code", codeName(code)), slog.Duration("took", took),
			slog.String("peer", caller(ctx, md)),
		}
		if err != nil {
			attrs = append(attrs, slog.Any("error", err))
			if code == codes.Internal || code == codes.Unknown || code == codes.DataLoss {
				level = slog.LevelError
			}
		}
		i.svc.log.LogAttrs(ctx, level, "request", attrs...)
		return err
	}
}

// caller gives the address that a request came from; for one through the gateway, the one that the gateway saw.
func caller(ctx context.Context, md metadata.MD) string {
	p, ok := peer.FromContext(ctx)
	if !ok || p.Addr == nil {
		return ""
	}
	if v := md.Get("x-forwarded-for"); p.Addr.Network() == "bufconn" && len(v) > 0 {
		return "rest " + v[0][strings.LastIndex(v[0], " ")+1:]
	}
	if host, _, err := net.SplitHostPort(p.Addr.String()); err == nil {
		return "grpc " + host
	}
	return "grpc " + p.Addr.String()
}

func (i *interceptors) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	ctx, done := i.begin(ctx, info.FullMethod)
	resp, err := next(ctx, req)
	return resp, done(err)
}

func (i *interceptors) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	ctx, done := i.begin(ss.Context(), info.FullMethod)
	return done(next(srv, &checkedStream{ServerStream: ss, ctx: ctx, svc: i.svc}))
}

// validate holds a unary request against the API's rules.
func (i *interceptors) validate(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if err := i.svc.check(req); err != nil {
		return nil, err
	}
	return next(ctx, req)
}

// check holds a message against the rules written in the API.
func (s *Service) check(req any) error {
	if m, ok := req.(proto.Message); ok {
		if err := s.validator.Validate(m); err != nil {
			return fmt.Errorf("holding the request against the API's rules: %w", err)
		}
	}
	return nil
}

// checkedStream is a stream with a context of ours, whose requests are held against the API's rules.
type checkedStream struct {
	grpc.ServerStream
	ctx context.Context
	svc *Service
}

func (c *checkedStream) Context() context.Context { return c.ctx }

func (c *checkedStream) RecvMsg(m any) error {
	if err := c.ServerStream.RecvMsg(m); err != nil {
		return err
	}
	return c.svc.check(m)
}

// recovered logs a panic; the caller learns the ID alone.
func (i *interceptors) recovered(ctx context.Context, p any) error {
	id := requestID(ctx)
	i.svc.log.ErrorContext(ctx, "panic", "request_id", id, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
	return internalError(id).Err()
}

// unknown answers a method that isn't there.
func (i *interceptors) unknown(_ any, ss grpc.ServerStream) error {
	method, ok := grpc.MethodFromServerStream(ss)
	if !ok {
		return errors.New("a stream without a method")
	}
	return fail(codes.Unimplemented, reasonUnknownMethod, fmt.Sprintf("there is no method %.200q; reflection lists those that there are", method))
}

// options gives the interceptors in their order: what is written down is what the caller gets, and a panic anywhere below is
// an answer like any other.
func (i *interceptors) options() []grpc.ServerOption {
	rec := recovery.WithRecoveryHandlerContext(i.recovered)
	return []grpc.ServerOption{
		grpc.ChainUnaryInterceptor(i.unary, recovery.UnaryServerInterceptor(rec), i.validate),
		grpc.ChainStreamInterceptor(i.stream, recovery.StreamServerInterceptor(rec)),
		grpc.UnknownServiceHandler(i.unknown),
	}
}
