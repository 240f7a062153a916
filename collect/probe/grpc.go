package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"sync/atomic"

	corepb "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	statuspb "github.com/envoyproxy/go-control-plane/envoy/service/status/v3"
	codepb "google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// collectGRPC asks the control plane an empty question by gRPC, the way that proxies take. Any status that the control
// plane itself sent is an answer.
func (p *Prober) collectGRPC(ctx context.Context, _ diagnose.Request, view *evidence.View, set *evidence.Set) error {
	addresses, err := p.connected(view)
	if err != nil {
		return err
	}
	src := p.source("StreamClientStatus " + p.cfg.Endpoint)
	tctx, cancel := context.WithTimeout(ctx, p.cfg.CallTimeout)
	defer cancel()
	result, err := p.streamStatus(tctx, addresses)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("calling %s by gRPC: %w", p.cfg.Endpoint, err)
	}
	result.Source = src
	evidence.Put(set, evidence.GRPCProbe, []evidence.CallResult{result}, src)
	return nil
}

// trailers notices whether a call ended with trailers from the other side. A status without them was made up by this side:
// UNAVAILABLE for a broken connection looks like a server's own otherwise.
type trailers struct{ seen atomic.Bool }

func (t *trailers) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (t *trailers) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (t *trailers) HandleConn(context.Context, stats.ConnStats)                       {}
func (t *trailers) HandleRPC(_ context.Context, s stats.RPCStats) {
	if _, ok := s.(*stats.InTrailer); ok {
		t.seen.Store(true)
	}
}

func (p *Prober) streamStatus(ctx context.Context, addresses []string) (evidence.CallResult, error) {
	out := evidence.CallResult{Host: p.host, Address: addresses[0]}
	var end trailers
	cc, err := grpc.NewClient("passthrough:///"+p.cfg.Endpoint,
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return dial(ctx, addresses) }),
		grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{
			RootCAs: p.cfg.RootCAs, ServerName: p.host, MinVersion: tls.VersionTLS12, Time: p.cfg.Now,
		})),
		grpc.WithNoProxy(), grpc.WithDisableRetry(), grpc.WithDisableServiceConfig(), grpc.WithStatsHandler(&end),
	)
	if err != nil {
		return out, fmt.Errorf("making the gRPC client: %w", err)
	}
	defer func() { _ = cc.Close() }() // the call is over
	if t := p.token(ctx); t != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+t)
		if p.cfg.QuotaProject != "" {
			ctx = metadata.AppendToOutgoingContext(ctx, "x-goog-user-project", p.cfg.QuotaProject)
		}
	}
	var from peer.Peer
	got, err := ask(ctx, cc, &from)
	if from.Addr != nil {
		out.Address = from.Addr.String()
	}
	if got {
		out.Answered, out.Code = true, codepb.Code_OK.String()
		return out, nil
	}
	st := status.Convert(err)
	out.Code, out.Message = codepb.Code(st.Code()).String(), line(st.Message())
	out.Answered = end.seen.Load() && !(st.Code() == codes.Unknown && st.Message() == "") // UNKNOWN alone stands for a missing grpc-status
	if !out.Answered {
		if m := httpStatus.FindStringSubmatch(st.Message()); m != nil {
			out.Code = m[1]
		}
		if ctx.Err() != nil {
			out.Message = fmt.Sprintf("no answer within %s", p.cfg.CallTimeout)
		}
		return out, nil
	}
	for _, d := range st.Details() {
		if i, ok := d.(*errdetails.ErrorInfo); ok {
			out.Reason = i.GetReason()
			break
		}
	}
	return out, nil
}

// httpStatus finds what grpc-go says of an HTTP answer that isn't gRPC's.
var httpStatus = regexp.MustCompile(`unexpected HTTP status code received from server: (\d{3})`)

// ask puts one empty question and says whether a message came back, or how the call ended.
func ask(ctx context.Context, cc *grpc.ClientConn, from *peer.Peer) (bool, error) {
	stream, err := statuspb.NewClientStatusDiscoveryServiceClient(cc).StreamClientStatus(ctx, grpc.Peer(from))
	if err != nil {
		return false, err
	}
	// A failed Send shows in Recv, with the reason.
	if err := stream.Send(&statuspb.ClientStatusRequest{Node: &corepb.Node{}}); err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	if err := stream.CloseSend(); err != nil {
		return false, err
	}
	_, err = stream.Recv()
	if errors.Is(err, io.EOF) {
		return true, nil
	}
	return err == nil, err
}
