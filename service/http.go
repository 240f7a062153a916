package service

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"

	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

var (
	errBodyTooLarge = errors.New("the request is too large")
	errBodiesFull   = errors.New("the requests under way are too large together")
)

// front is what net/http calls for every request, of gRPC and REST alike. It gives each request its ID and bounds its body.
type front struct {
	svc    *Service
	grpc   *grpc.Server
	rest   http.Handler
	limits Limits
	// local says that the server is for this machine alone, in plaintext: a web page must not reach it under a name of its own
	// that it made resolve to loopback (DNS rebinding).
	local  bool
	bodies atomic.Int64 // bytes of the bodies of requests under way
}

// namesThisMachine says whether a Host header is an address, or the name that means this machine.
func namesThisMachine(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return strings.EqualFold(host, "localhost") || net.ParseIP(strings.Trim(host, "[]")) != nil
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := r.Header.Get(requestIDHeader)
	if len(r.Header.Values(requestIDHeader)) != 1 || !saneRequestID(id) {
		id = newRequestID()
	}
	r.Header.Set(requestIDHeader, id)
	w.Header().Set(requestIDHeader, id)
	body := &boundedBody{ReadCloser: r.Body, limit: f.limits.BodyBytes, pending: &f.bodies, most: f.limits.PendingBytes}
	r.Body = body
	defer body.release()
	if r.ProtoMajor == 2 && r.Method == http.MethodPost && strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") {
		f.serveGRPC(w, r, body)
		return
	}
	if f.local && !namesThisMachine(r.Host) {
		writeError(w, failure(codes.PermissionDenied, reasonHost,
			fmt.Sprintf("this server is for its own machine: call it localhost or by its address, not %.100q", r.Host)), http.StatusForbidden)
		return
	}
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		if p == http.ErrAbortHandler { //nolint:errorlint // net/http's own way to say it
			panic(p)
		}
		f.svc.log.ErrorContext(r.Context(), "panic", "request_id", id, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		writeError(w, internalError(id), http.StatusInternalServerError)
	}()
	f.rest.ServeHTTP(w, r)
}

// serveGRPC hands a request to gRPC. What grpc-go refuses by itself, before any interceptor (a message that is too large, or
// isn't one), comes back without an ErrorInfo: it is added to the trailers here.
func (f *front) serveGRPC(w http.ResponseWriter, r *http.Request, body *boundedBody) {
	if watching(r.URL.Path) {
		// Open for as long as the caller likes; pings find out whether the caller still lives.
		rc := http.NewResponseController(w)
		_ = rc.SetReadDeadline(noDeadline)
		_ = rc.SetWriteDeadline(noDeadline)
	}
	f.grpc.ServeHTTP(w, r)
	h := w.Header()
	code, err := strconv.ParseUint(h.Get("Grpc-Status"), 10, 32)
	if err != nil || code == uint64(codes.OK) || h.Get("Grpc-Status-Details-Bin") != "" {
		return
	}
	message, err := url.PathUnescape(h.Get("Grpc-Message")) // percent-encoded on the wire
	if err != nil {
		message = h.Get("Grpc-Message")
	}
	st := complete(status.New(codes.Code(code), utf8Text(message)))
	switch {
	case body.failed != nil:
		st = bodyStatus(body)
		h.Set("Grpc-Status", strconv.Itoa(int(st.Code())))
		h.Set("Grpc-Message", st.Message())
	case codes.Code(code) == codes.ResourceExhausted: // a message above MaxRecvMsgSize, by what its length says
		st = failure(codes.ResourceExhausted, reasonBodyTooLarge, message)
	}
	raw, err := proto.Marshal(st.Proto())
	if err != nil {
		return
	}
	// Metadata that ends in -bin is base64 without padding on the wire.
	h.Set("Grpc-Status-Details-Bin", base64.RawStdEncoding.EncodeToString(raw))
}

// boundedBody stops reading a body that is too large by itself, or together with the others under way. gRPC's reader of an
// http.Request knows no bound of its own.
type boundedBody struct {
	io.ReadCloser
	limit, n int64
	pending  *atomic.Int64
	most     int64
	failed   error
}

func (b *boundedBody) Read(p []byte) (int, error) {
	if b.failed != nil {
		return 0, b.failed
	}
	n, err := b.ReadCloser.Read(p)
	b.n += int64(n)
	switch now := b.pending.Add(int64(n)); {
	case b.n > b.limit:
		b.failed = errBodyTooLarge
	case now > b.most:
		b.failed = errBodiesFull
	default:
		return n, err
	}
	return 0, b.failed
}

func (b *boundedBody) release() { b.pending.Add(-b.n) }

// bodyStatus says why a body wasn't read to its end.
func bodyStatus(b *boundedBody) *status.Status {
	switch {
	case errors.Is(b.failed, errBodyTooLarge):
		return failure(codes.ResourceExhausted, reasonBodyTooLarge, fmt.Sprintf("the request is larger than %d bytes; hand in fewer artifacts, or only their last part", b.limit))
	default:
		return failure(codes.ResourceExhausted, reasonBodiesPending, "the requests under way are too large together: try again in a moment", retrySoon())
	}
}

// errorBody is the one shape of REST errors, as Google's APIs have it: https://google.aip.dev/193#http11json-representation.
func errorBody(st *spb.Status, httpCode int) map[string]any {
	details := []any{}
	for _, d := range st.GetDetails() {
		if raw, err := marshalJSON(d); err == nil {
			details = append(details, rawJSON(raw))
		}
	}
	return map[string]any{"error": map[string]any{
		"code": httpCode, "status": codeName(codes.Code(st.GetCode())), "message": st.GetMessage(), "details": details,
	}}
}
