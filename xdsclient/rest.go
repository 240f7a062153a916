package xdsclient

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	statusv3 "github.com/envoyproxy/go-control-plane/envoy/service/status/v3"
	"golang.org/x/oauth2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
)

// DefaultRESTBase is Traffic Director's REST API.
const DefaultRESTBase = "https://trafficdirector.googleapis.com"

const (
	// maxJSONAnswer bounds one answer over REST. JSON is decoded as a whole, so the bound is below that of gRPC.
	maxJSONAnswer = 256 << 20
	// maxErrorBody bounds what is read of an error; Google's are a few kilobytes.
	maxErrorBody = 1 << 20
)

// RESTConfig says whom to ask and how. The zero value asks Traffic Director without credentials.
type RESTConfig struct {
	BaseURL      string             // what "/v3/discovery:client_status" is appended to; "" is DefaultRESTBase
	HTTPClient   *http.Client       // holds TLS and the dialer; nil is http.DefaultClient. Redirects are not followed.
	TokenSource  oauth2.TokenSource // nil sends no token; not allowed with an http:// BaseURL
	QuotaProject string             // as in Config
	Streams      int                // requests at once, as in Config
	AskTimeout   time.Duration      // as in Config
	MeshSpelling MeshSpelling       // as in Config
	KeepContents bool               // as in Config
	UserAgent    string             // "" is Go's
}

// RESTClient speaks CSDS over POST /v3/discovery:client_status of the Traffic Director API. It is safe for concurrent use.
type RESTClient struct {
	discovery
	config RESTConfig
	http   *http.Client
	url    string
}

// NewREST makes a client. Errors are about the RESTConfig.
func NewREST(c RESTConfig) (*RESTClient, error) {
	if c.BaseURL == "" {
		c.BaseURL = DefaultRESTBase
	}
	u, err := url.Parse(c.BaseURL)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.RawQuery != "" || u.Fragment != "" {
		return nil, invalid("BaseURL %q: want https://HOST[:PORT]", c.BaseURL)
	}
	if u.Scheme == "http" && c.TokenSource != nil {
		return nil, invalid("TokenSource and BaseURL %q: an access token must not travel in plain text", c.BaseURL)
	}
	d, err := newDiscovery(c.Streams, c.AskTimeout, c.MeshSpelling)
	if err != nil {
		return nil, err
	}
	h := http.Client{}
	if c.HTTPClient != nil {
		h = *c.HTTPClient
	}
	h.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse } // an API does not redirect
	r := &RESTClient{discovery: d, config: c, http: &h, url: strings.TrimSuffix(c.BaseURL, "/") + "/v3/discovery:client_status"}
	r.open = func(ctx context.Context, nodesOnly bool) asker { return &restAsker{r, ctx, nodesOnly} }
	return r, nil
}

// List is Client.List.
func (c *RESTClient) List(ctx context.Context, s Scope) ([]Node, error) { return c.list(ctx, s) }

// Status is Client.Status.
func (c *RESTClient) Status(ctx context.Context, s Scope, nodeID string) (ClientConfig, error) {
	return c.status(ctx, s, nodeID)
}

// Statuses is Client.Statuses.
func (c *RESTClient) Statuses(ctx context.Context, s Scope, ids []string, each func(ClientConfig, error)) error {
	return c.statuses(ctx, s, ids, each)
}

type restAsker struct {
	client    *RESTClient
	ctx       context.Context
	nodesOnly bool
}

func (a *restAsker) close() {}

func (a *restAsker) once(op string, req *statusv3.ClientStatusRequest) ([]ClientConfig, error) {
	ctx, cancel := context.WithTimeout(a.ctx, a.client.askTimeout)
	defer cancel()
	clients, err := a.exchange(ctx, op, req)
	if err == nil {
		return clients, nil
	}
	if e := new(Error); errors.As(err, &e) {
		return nil, e
	}
	e := &Error{Op: op, Code: codes.Unavailable, Message: oneLine(err), cause: err}
	if u := new(url.Error); errors.As(err, &u) {
		e.Message = oneLine(u.Err)
	}
	if ctx.Err() != nil {
		e.Code = status.FromContextError(ctx.Err()).Code()
		e.Message = fmt.Sprintf("no answer in time: %s", e.Message)
	}
	return nil, e
}

func (a *restAsker) exchange(ctx context.Context, op string, req *statusv3.ClientStatusRequest) ([]ClientConfig, error) {
	body, err := protojson.Marshal(req)
	if err != nil {
		return nil, fmt.Errorf("writing the request: %w", err)
	}
	c := a.client.config
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, a.client.url, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("making the request: %w", err)
	}
	r.Header.Set("Content-Type", "application/json")
	if c.QuotaProject != "" {
		r.Header.Set("X-Goog-User-Project", c.QuotaProject)
	}
	if c.UserAgent != "" {
		r.Header.Set("User-Agent", c.UserAgent)
	}
	if c.TokenSource != nil {
		token, err := fetchToken(ctx, c.TokenSource)
		if err != nil && ctx.Err() == nil {
			return nil, &Error{Op: op, Code: codes.Unauthenticated, Message: err.Error(), Reason: ReasonTokenUnavailable, cause: err}
		}
		if err != nil {
			return nil, err
		}
		token.SetAuthHeader(r)
	}
	resp, err := a.client.http.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		b, err := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
		if err != nil && ctx.Err() != nil {
			return nil, err
		}
		return nil, httpError(op, resp.StatusCode, b)
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxJSONAnswer+1))
	if err != nil {
		return nil, fmt.Errorf("reading the answer: %w", err)
	}
	if len(b) > maxJSONAnswer {
		return nil, &Error{Op: op, Code: codes.ResourceExhausted, Reason: ReasonAnswerTooLarge,
			Message: fmt.Sprintf("the answer is larger than %d bytes", maxJSONAnswer)}
	}
	if len(bytes.TrimSpace(b)) == 0 {
		return nil, &Error{Op: op, Code: codes.Internal, Reason: ReasonNoAnswer,
			Message: "the server sent an empty body", cause: io.ErrUnexpectedEOF}
	}
	clients, err := decodeJSONResponse(b, DecodeOptions{KeepContents: c.KeepContents})
	if err != nil {
		return nil, malformed(op, err)
	}
	if a.nodesOnly {
		for i := range clients {
			clients[i].Resources = nil
		}
	}
	return clients, nil
}

// httpError gives the Error of a Google API's error body, {"error": {"code", "status", "message", "details"}}
// (https://google.aip.dev/193), or of one that is no such thing.
func httpError(op string, httpStatus int, body []byte) *Error {
	type answer struct {
		Error *struct {
			Status  string            `json:"status"`
			Message string            `json:"message"`
			Details []json.RawMessage `json:"details"`
		} `json:"error"`
	}
	out := &Error{Op: op, Code: codeOfHTTP(httpStatus)}
	var a answer
	if err := json.Unmarshal(body, &a); err != nil || a.Error == nil {
		var many []answer // how a streamed answer has it
		if err := json.Unmarshal(body, &many); err == nil && len(many) > 0 {
			a = many[0]
		}
	}
	if a.Error == nil {
		out.Message = fmt.Sprintf("HTTP %d %s", httpStatus, http.StatusText(httpStatus))
		if text := oneLineOf(string(body)); text != "" {
			out.Message += ": " + text
		}
		return out
	}
	var code codes.Code
	if name, err := json.Marshal(a.Error.Status); err == nil && code.UnmarshalJSON(name) == nil && code != codes.OK {
		out.Code = code
	}
	out.Message = a.Error.Message
	for _, d := range a.Error.Details {
		out.addJSONDetail(d)
	}
	return out
}

// codeOfHTTP is the mapping of google.rpc.Code's comments, read backwards.
func codeOfHTTP(s int) codes.Code {
	switch s {
	case http.StatusBadRequest:
		return codes.InvalidArgument
	case http.StatusUnauthorized:
		return codes.Unauthenticated
	case http.StatusForbidden:
		return codes.PermissionDenied
	case http.StatusNotFound:
		return codes.NotFound
	case http.StatusConflict:
		return codes.Aborted
	case http.StatusTooManyRequests:
		return codes.ResourceExhausted
	case 499: // client closed request
		return codes.Canceled
	case http.StatusInternalServerError:
		return codes.Internal
	case http.StatusNotImplemented:
		return codes.Unimplemented
	case http.StatusBadGateway, http.StatusServiceUnavailable:
		return codes.Unavailable
	case http.StatusGatewayTimeout:
		return codes.DeadlineExceeded
	}
	return codes.Unknown
}
