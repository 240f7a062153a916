package xdsclient

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	statusv3 "github.com/envoyproxy/go-control-plane/envoy/service/status/v3"
	"golang.org/x/oauth2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
)

// DefaultEndpoint is Traffic Director's xDS server.
const DefaultEndpoint = "trafficdirector.googleapis.com:443"

const (
	// DefaultStreams is how many streams ask at once where Config.Streams is 0: well below the 100 concurrent streams that
	// HTTP/2 servers commonly allow a connection, and kind to a shared control plane.
	DefaultStreams = 8
	// MaxStreams leaves some of those 100 to other calls.
	MaxStreams = 64
	// DefaultAskTimeout bounds one request and its answer where Config.AskTimeout is 0. The largest answers take a while.
	DefaultAskTimeout = 60 * time.Second
	// maxAnswer bounds one answer. grpc-go's own limit of 4 MiB is passed by a few hundred clients with their resources;
	// without any limit a broken server could take all memory.
	maxAnswer = 1 << 30
	// connectTimeout bounds one attempt to connect; grpc-go's own 20 s would eat most callers' deadlines.
	connectTimeout = 10 * time.Second
	// window is the HTTP/2 flow control window: large answers arrive without waiting for window updates.
	window = 16 << 20
	// readBuffer is how much is read from the connection at once; 256 KiB halves the time of a large answer.
	readBuffer = 256 << 10
)

// Config says whom to ask and how. The zero value asks Traffic Director without credentials.
type Config struct {
	// Endpoint is HOST:PORT; "" is DefaultEndpoint.
	Endpoint string
	// TokenSource gives the access tokens; nil sends none. See FindCredentials. Not allowed with Insecure.
	TokenSource oauth2.TokenSource
	// TLS is for instance from TLSConfig; nil is the system's roots.
	TLS *tls.Config
	// Insecure speaks plain text, as a client's own endpoint does.
	Insecure bool
	// QuotaProject is sent as x-goog-user-project. Whoever asks needs serviceusage.services.use on it.
	QuotaProject string
	// Dial connects to HOST:PORT, and so decides how the host's name is resolved. Nil leaves both to gRPC.
	Dial func(ctx context.Context, address string) (net.Conn, error)
	// Streams is how many streams ask at once, over all calls of the client: 1 to MaxStreams; 0 is DefaultStreams.
	Streams int
	// AskTimeout bounds one request and its answer; 0 is DefaultAskTimeout. A context's earlier deadline holds as well.
	AskTimeout time.Duration
	// MeshSpelling is how bare mesh names are sent.
	MeshSpelling MeshSpelling
	// KeepContents keeps the contents of resources.
	KeepContents bool
	// StatsHandler observes the calls; nil for none.
	StatsHandler stats.Handler
	// UserAgent goes before grpc-go's own.
	UserAgent string
}

// Client speaks CSDS over gRPC, with StreamClientStatus, the only method that Traffic Director documents. It is safe for
// concurrent use.
type Client struct {
	discovery
	conn         *grpc.ClientConn
	quotaProject string
}

// New makes a client. It connects when it is first used. Errors are about the Config.
func New(c Config) (*Client, error) {
	if c.Endpoint == "" {
		c.Endpoint = DefaultEndpoint
	}
	host, _, err := net.SplitHostPort(c.Endpoint)
	if err != nil || host == "" {
		return nil, invalid("Endpoint %q: want HOST:PORT", c.Endpoint)
	}
	d, err := newDiscovery(c.Streams, c.AskTimeout, c.MeshSpelling)
	if err != nil {
		return nil, err
	}
	creds := credentials.NewTLS(c.TLS)
	if c.Insecure {
		if c.TLS != nil {
			return nil, invalid("TLS and Insecure: only one of the two is allowed")
		}
		if c.TokenSource != nil {
			return nil, invalid("TokenSource and Insecure: an access token must not travel in plain text")
		}
		creds = insecure.NewCredentials()
	}
	opts := []grpc.DialOption{
		grpc.WithTransportCredentials(creds),
		grpc.WithInitialWindowSize(window), grpc.WithInitialConnWindowSize(window), grpc.WithReadBufferSize(readBuffer),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer)),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.DefaultConfig, MinConnectTimeout: connectTimeout}),
		grpc.WithDisableServiceConfig(), // a TXT record must not change how we ask
	}
	if c.TokenSource != nil {
		opts = append(opts, grpc.WithPerRPCCredentials(tokenCredentials{c.TokenSource}))
	}
	if c.StatsHandler != nil {
		opts = append(opts, grpc.WithStatsHandler(c.StatsHandler))
	}
	if c.UserAgent != "" {
		opts = append(opts, grpc.WithUserAgent(c.UserAgent))
	}
	target := c.Endpoint
	if c.Dial != nil {
		target = "passthrough:///" + c.Endpoint // the dialer gets the name as it is
		opts = append(opts, grpc.WithContextDialer(c.Dial))
	}
	conn, err := grpc.NewClient(target, opts...)
	if err != nil {
		return nil, invalid("Endpoint %q: %v", c.Endpoint, err)
	}
	client := &Client{discovery: d, conn: conn, quotaProject: c.QuotaProject}
	client.open = func(ctx context.Context, nodesOnly bool) asker {
		dec := newDecoder(DecodeOptions{KeepContents: c.KeepContents})
		dec.nodesOnly = nodesOnly
		return &streamAsker{client: client, ctx: ctx, decoder: dec}
	}
	return client, nil
}

// Close ends the connection, and with it every call under way.
func (c *Client) Close() error { return c.conn.Close() }

// List gives the clients of a scope that are connected to the control plane, sorted by id, without their resources. None
// connected is an empty list. Errors are *Error.
func (c *Client) List(ctx context.Context, s Scope) ([]Node, error) { return c.list(ctx, s) }

// Status gives the configuration of one client, whose full node id is asked for exactly. Errors are *Error: NOT_FOUND with
// ReasonNotConnected where the control plane knows no such client, INTERNAL with ReasonWrongNode where it answers about
// others.
func (c *Client) Status(ctx context.Context, s Scope, nodeID string) (ClientConfig, error) {
	return c.status(ctx, s, nodeID)
}

// Statuses gives the configuration of many clients, over up to Config.Streams streams. each is called once for every id,
// in no particular order but never twice at a time; its ClientConfig has at least the id. Errors given to each are
// *Error. Statuses returns an error when ids were left unasked, which each is told with ReasonNotAsked: the context ended,
// or ask after ask failed for a reason that is the server's or the caller's and not the node's.
func (c *Client) Statuses(ctx context.Context, s Scope, ids []string, each func(ClientConfig, error)) error {
	return c.statuses(ctx, s, ids, each)
}

// Local asks an xDS client's own endpoint, such as grpc-go's admin service or Envoy, for the configuration of all clients
// in that process. It sends no node matcher, which such endpoints refuse. A process with several xDS clients gives one
// ClientConfig for each, told apart by ClientScope; a process without any gives none.
func (c *Client) Local(ctx context.Context) ([]ClientConfig, error) {
	a, err := c.begin(ctx, "asking the client's own CSDS endpoint", false)
	if err != nil {
		return nil, err
	}
	defer a.end()
	return a.ask(a.op, &statusv3.ClientStatusRequest{})
}

// streamAsker asks over one stream at a time, and opens another after it broke.
type streamAsker struct {
	client  *Client
	ctx     context.Context
	decoder *decoder

	stream    grpc.ClientStream
	streamCtx context.Context
	cancel    context.CancelCauseFunc
}

const streamMethod = "/envoy.service.status.v3.ClientStatusDiscoveryService/StreamClientStatus"

var errAskTimeout = errors.New("no answer in time")

func (a *streamAsker) once(op string, req *statusv3.ClientStatusRequest) ([]ClientConfig, error) {
	if a.stream == nil {
		ctx := a.ctx
		if a.client.quotaProject != "" {
			ctx = metadata.AppendToOutgoingContext(ctx, "x-goog-user-project", a.client.quotaProject)
		}
		a.streamCtx, a.cancel = context.WithCancelCause(ctx)
	}
	// The timer cancels the stream and not only this ask, which is all that is under way on it.
	cancel := a.cancel
	timer := time.AfterFunc(a.client.askTimeout, func() { cancel(errAskTimeout) })
	defer timer.Stop()
	answer := &answer{decoder: a.decoder}
	err := a.exchange(req, answer)
	if err == nil {
		return answer.clients, nil
	}
	late := errors.Is(context.Cause(a.streamCtx), errAskTimeout)
	a.drop()
	switch {
	case answer.err != nil:
		return nil, malformed(op, answer.err)
	case errors.Is(err, io.EOF):
		return nil, &Error{Op: op, Code: codes.Internal, Reason: ReasonNoAnswer,
			Message: "the server ended the stream without an answer", cause: io.ErrUnexpectedEOF}
	case late && a.ctx.Err() == nil:
		return nil, &Error{Op: op, Code: codes.DeadlineExceeded, cause: context.DeadlineExceeded,
			Message: fmt.Sprintf("no answer within %v", a.client.askTimeout)}
	}
	out := grpcError(op, err)
	if ctxErr := a.ctx.Err(); ctxErr != nil { // whatever it led to
		out.Code, out.cause = status.FromContextError(ctxErr).Code(), ctxErr
	}
	return nil, out
}

func (a *streamAsker) exchange(req *statusv3.ClientStatusRequest, to *answer) error {
	if a.stream == nil {
		var err error
		a.stream, err = a.client.conn.NewStream(a.streamCtx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true},
			streamMethod, grpc.ForceCodecV2(answerCodec{encoding.GetCodecV2(proto.Name)}))
		if err != nil {
			return err
		}
	}
	// An io.EOF here says that the stream is broken, and RecvMsg says why.
	if err := a.stream.SendMsg(req); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return a.stream.RecvMsg(to)
}

// drop gives up the stream.
func (a *streamAsker) drop() {
	if a.cancel != nil {
		a.cancel(nil)
	}
	a.stream, a.cancel = nil, nil
}

func (a *streamAsker) close() {
	if a.stream != nil {
		_ = a.stream.CloseSend() // lets the server end its handler without an error; the stream goes either way
	}
	a.drop()
}

// answer is what a stream's messages are decoded into.
type answer struct {
	decoder *decoder
	clients []ClientConfig
	err     error
}

// answerCodec reads answers while they are in the transport's buffers.
type answerCodec struct{ proto encoding.CodecV2 }

func (answerCodec) Name() string { return proto.Name }

func (c answerCodec) Marshal(v any) (mem.BufferSlice, error) { return c.proto.Marshal(v) }

func (c answerCodec) Unmarshal(b mem.BufferSlice, v any) error {
	to, ok := v.(*answer)
	if !ok {
		return c.proto.Unmarshal(b, v)
	}
	to.clients, to.err = to.decoder.response(b)
	return to.err
}
