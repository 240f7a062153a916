package service

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"reflect"
	"regexp"
	"strings"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	pb "github.com/meshdiag/meshdiag/gen/meshdiag/v1"
)

// gateway translates REST into RPCs, and refuses what is doubtful: grpc-gateway by itself takes an empty body, data after
// the JSON, any Content-Type and any query parameter.
type gateway struct{ svc *Service }

// newGateway makes the handler of REST requests over a connection to this process's own gRPC server.
func newGateway(ctx context.Context, svc *Service, conn *grpc.ClientConn) (http.Handler, error) {
	g := &gateway{svc: svc}
	mux := runtime.NewServeMux(
		runtime.WithDisableHTTPMethodOverride(),
		runtime.WithDisablePathLengthFallback(),
		runtime.WithUnescapingMode(runtime.UnescapingModeAllExceptReserved), // a node id holds slashes, as %2F
		runtime.WithMarshalerOption(runtime.MIMEWildcard, jsonMarshaler{}),
		runtime.WithMiddlewares(g.strict),
		runtime.WithIncomingHeaderMatcher(incomingHeader),
		runtime.WithOutgoingHeaderMatcher(noHeader),
		runtime.WithOutgoingTrailerMatcher(noHeader),
		runtime.WithErrorHandler(g.onError),
		runtime.WithRoutingErrorHandler(g.onRoutingError),
		runtime.WithWriteContentLength(),
	)
	for _, register := range []func(context.Context, *runtime.ServeMux, *grpc.ClientConn) error{
		pb.RegisterDiagnosisServiceHandler, pb.RegisterClientServiceHandler, pb.RegisterCatalogServiceHandler,
	} {
		if err := register(ctx, mux, conn); err != nil {
			return nil, fmt.Errorf("registering REST routes: %w", err)
		}
	}
	return mux, nil
}

// incomingHeader lets through the request's ID and its trace; nothing else of HTTP is of use to an RPC.
func incomingHeader(key string) (string, bool) {
	switch key = strings.ToLower(key); key {
	case requestIDHeader, "traceparent", "tracestate", "baggage":
		return key, true
	}
	return "", false
}

func noHeader(string) (string, bool) { return "", false }

// strict checks a request that has a route, before anything of it is used.
func (g *gateway) strict(next runtime.HandlerFunc) runtime.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request, params map[string]string) {
		refuse := func(httpCode int, err error) { g.refuse(w, r, status.Convert(err), httpCode) }
		if err := checkQuery(r); err != nil {
			refuse(http.StatusBadRequest, err)
			return
		}
		if r.Method != http.MethodPost {
			if n, _ := r.Body.Read(make([]byte, 1)); n > 0 || r.ContentLength > 0 {
				refuse(http.StatusBadRequest, fail(codes.InvalidArgument, reasonBody, r.Method+" takes no body"))
				return
			}
			// The name as the URL has it: the gateway leaves some characters encoded and not others.
			for _, k := range []string{"name", "parent"} {
				if _, ok := params[k]; ok {
					name := strings.TrimPrefix(r.URL.EscapedPath(), "/v1/")
					if k == "parent" {
						name = strings.TrimSuffix(name, "/clients")
					}
					params[k] = name
				}
			}
			next(w, r, params)
			return
		}
		if err := checkContentType(r); err != nil {
			refuse(http.StatusUnsupportedMediaType, err)
			return
		}
		body, httpCode, err := readBody(r)
		if err == nil {
			httpCode, err = http.StatusBadRequest, checkJSON(body)
		}
		if err != nil {
			refuse(httpCode, err)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		next(w, r, params)
	}
}

// checkQuery refuses parameters that the route doesn't have: the gateway would pass over them.
func checkQuery(r *http.Request) error {
	if r.URL.RawQuery == "" {
		return nil
	}
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return fail(codes.InvalidArgument, reasonQuery, fmt.Sprintf("the query is malformed: %v", err))
	}
	lists := r.Method == http.MethodGet && (strings.HasSuffix(r.URL.Path, "/checks") || strings.HasSuffix(r.URL.Path, "/clients"))
	seen := map[string]bool{}
	for name, values := range q {
		field, ok := map[string]string{"pageSize": "page_size", "page_size": "page_size", "pageToken": "page_token", "page_token": "page_token"}[name]
		switch {
		case !ok || !lists:
			hint := "this route takes none"
			if lists {
				hint = "this route takes pageSize and pageToken"
			}
			return fail(codes.InvalidArgument, reasonQuery, fmt.Sprintf("unknown query parameter %.200q: %s", name, hint), violation(name, "unknown query parameter"))
		case seen[field] || len(values) > 1:
			return fail(codes.InvalidArgument, reasonQuery, fmt.Sprintf("query parameter %q is given twice", name), violation(field, "given twice"))
		}
		seen[field] = true
	}
	return nil
}

func checkContentType(r *http.Request) error {
	got := r.Header.Get("Content-Type")
	media, params, err := mime.ParseMediaType(got)
	charset, hasCharset := params["charset"]
	switch {
	case err == nil && media == "application/json" && len(r.Header.Values("Content-Type")) == 1 && (!hasCharset || strings.EqualFold(charset, "utf-8")):
		if enc := r.Header.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "identity") {
			return fail(codes.InvalidArgument, reasonContentType, fmt.Sprintf("Content-Encoding %.100q is not understood: send the body as it is", enc))
		}
		return nil
	case strings.HasPrefix(media, "application/grpc"):
		return fail(codes.InvalidArgument, reasonContentType, "gRPC needs HTTP/2")
	case got == "":
		got = "none"
	}
	return fail(codes.InvalidArgument, reasonContentType,
		fmt.Sprintf("the Content-Type must be application/json, in UTF-8; it is %.200s (with curl: -H 'Content-Type: application/json')", got))
}

// readBody reads the body within its bound, and gives the HTTP status of a failure.
func readBody(r *http.Request) ([]byte, int, error) {
	bounded, _ := r.Body.(*boundedBody)
	if bounded != nil && r.ContentLength > bounded.limit {
		bounded.failed = errBodyTooLarge // as it says itself: there is no need to wait for it
	}
	data, err := io.ReadAll(r.Body)
	switch {
	case bounded != nil && errors.Is(bounded.failed, errBodyTooLarge):
		return nil, http.StatusRequestEntityTooLarge, bodyStatus(bounded).Err()
	case bounded != nil && bounded.failed != nil:
		return nil, http.StatusTooManyRequests, bodyStatus(bounded).Err()
	case err != nil:
		return nil, http.StatusRequestTimeout, fail(codes.DeadlineExceeded, reasonBodyBroken, "the request's body did not arrive whole, or not in time")
	}
	return data, 0, nil
}

// checkJSON refuses an empty body and one that nests too deep, before a parser recurses into it.
func checkJSON(body []byte) error {
	if len(bytes.TrimSpace(body)) == 0 {
		return fail(codes.InvalidArgument, reasonEmptyBody, "the body is empty; a JSON object is needed")
	}
	depth, inString := 0, false
	for i := 0; i < len(body); i++ {
		switch c := body[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			if depth++; depth > MaxJSONDepth {
				return fail(codes.InvalidArgument, reasonDepth, fmt.Sprintf("the JSON nests deeper than %d levels", MaxJSONDepth))
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return nil
}

// onError writes the error of an RPC, or of the gateway where it could not make one of the request.
func (g *gateway) onError(_ context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, r *http.Request, err error) {
	var withCode *runtime.HTTPStatusError
	if errors.As(err, &withCode) {
		g.refuse(w, r, failure(codes.InvalidArgument, reasonPath, "the path is not percent-encoded as it should be"), withCode.HTTPStatus)
		return
	}
	st := status.Convert(err)
	if hasErrorInfo(st) {
		writeError(w, st, runtime.HTTPStatusFromCode(st.Code()))
		return
	}
	// The gateway itself: a body or a parameter that doesn't fit. Or the connection inside this process.
	if st.Code() == codes.InvalidArgument {
		st = requestError(r.Method, st.Message())
	} else {
		st = complete(st)
	}
	g.refuse(w, r, st, runtime.HTTPStatusFromCode(st.Code()))
}

var (
	// protojson separates its prefix by a space or a no-break space, at random.
	jsonPrefix = regexp.MustCompile(`^proto:[\s\x{a0}]*`)
	// The ways in which protojson and the gateway name a field.
	namedField = regexp.MustCompile(`(?:unknown field|field|parsing field|parameter:|too many values for field) "?([A-Za-z0-9_.]+)"?`)
)

// requestError makes the error for a body or a parameter that can't become a message.
func requestError(method, message string) *status.Status {
	message = strings.ReplaceAll(jsonPrefix.ReplaceAllString(message, ""), "\u00a0", " ")
	reason := reasonQuery
	if method == http.MethodPost {
		reason, message = reasonJSON, "the body is not the JSON that this method takes: "+message
	}
	if m := namedField.FindStringSubmatch(message); m != nil {
		return failure(codes.InvalidArgument, reason, message, violation(m[1], message))
	}
	return failure(codes.InvalidArgument, reason, message)
}

func violation(field, what string) *errdetails.BadRequest {
	return &errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{{Field: utf8Text(field), Description: utf8Text(what)}}}
}

func (g *gateway) onRoutingError(_ context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, r *http.Request, httpCode int) {
	switch httpCode {
	case http.StatusMethodNotAllowed:
		allow := http.MethodGet
		if strings.HasPrefix(r.URL.Path, "/v1:") {
			allow = http.MethodPost
		}
		w.Header().Set("Allow", allow)
		g.refuse(w, r, failure(codes.Unimplemented, reasonMethod, fmt.Sprintf("%s takes %s, not %s", r.URL.Path, allow, r.Method)), httpCode)
	case http.StatusNotFound:
		g.refuse(w, r, failure(codes.NotFound, reasonNoRoute, fmt.Sprintf("there is nothing at %.500s", r.URL.Path)), httpCode)
	default:
		g.refuse(w, r, failure(codes.InvalidArgument, reasonPath, "the path must begin with a slash"), http.StatusBadRequest)
	}
}

// refuse answers a request that became no RPC, and writes it down: no interceptor does.
func (g *gateway) refuse(w http.ResponseWriter, r *http.Request, st *status.Status, httpCode int) {
	reason := reasonInternal
	for _, d := range st.Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			reason = info.GetReason()
		}
	}
	g.svc.metrics.refusals.WithLabelValues(reason).Inc()
	g.svc.log.InfoContext(r.Context(), "request refused", "request_id", r.Header.Get(requestIDHeader), "http_method", r.Method,
		"path", r.URL.Path, "http_status", httpCode, "reason", reason, "peer", "rest "+r.RemoteAddr)
	writeError(w, st, httpCode)
}

func writeError(w http.ResponseWriter, st *status.Status, httpCode int) {
	h := w.Header()
	for _, k := range []string{"Trailer", "Transfer-Encoding", "Content-Length"} {
		h.Del(k)
	}
	h.Set("Content-Type", "application/json")
	raw, err := json.Marshal(errorBody(st.Proto(), httpCode))
	if err != nil { // strings and numbers alone
		raw = []byte(`{"error":{"code":500,"status":"INTERNAL","message":"internal error","details":[]}}`)
	}
	w.WriteHeader(httpCode)
	_, _ = w.Write(append(raw, '\n')) // a caller who has gone needs no answer
}

// jsonMarshaler is the JSON of the API: lowerCamelCase names, one line a message, unknown fields refused, nothing after the
// message.
type jsonMarshaler struct{}

type rawJSON = json.RawMessage

// marshalJSON writes a message on one line. protojson puts spaces in at random so that nobody relies on them; they are taken
// out.
func marshalJSON(m proto.Message) ([]byte, error) {
	raw, err := protojson.Marshal(m)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// Marshal writes a message and a newline, or one line of a stream: {"result": …}, or {"error": …} in the shape of every
// other error.
func (jsonMarshaler) Marshal(v any) ([]byte, error) {
	switch v := v.(type) {
	case proto.Message:
		raw, err := marshalJSON(v)
		return append(raw, '\n'), err
	case map[string]any:
		m, ok := v["result"].(proto.Message)
		if !ok {
			return nil, fmt.Errorf("a stream's line holds %T", v["result"])
		}
		raw, err := marshalJSON(m)
		if err != nil {
			return nil, err
		}
		return json.Marshal(map[string]rawJSON{"result": raw})
	case map[string]proto.Message:
		st, ok := v["error"].(*spb.Status)
		if !ok {
			return nil, fmt.Errorf("a stream's error is %T", v["error"])
		}
		full := complete(status.FromProto(st)).Proto()
		return json.Marshal(errorBody(full, runtime.HTTPStatusFromCode(codes.Code(full.GetCode()))))
	default:
		return nil, fmt.Errorf("%T is not a message", v)
	}
}

func (jsonMarshaler) Unmarshal(data []byte, v any) error {
	if p := reflect.ValueOf(v); p.Kind() == reflect.Pointer && p.Elem().Kind() == reflect.Pointer && p.Elem().IsNil() {
		// A body that is one field of the request: the gateway hands in where that message is to be.
		p.Elem().Set(reflect.New(p.Elem().Type().Elem()))
		v = p.Elem().Interface()
	}
	m, ok := v.(proto.Message)
	if !ok {
		return fmt.Errorf("%T is not a message", v)
	}
	return protojson.UnmarshalOptions{RecursionLimit: MaxJSONDepth}.Unmarshal(data, m)
}

func (j jsonMarshaler) NewDecoder(r io.Reader) runtime.Decoder {
	return runtime.DecoderFunc(func(v any) error {
		data, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		return j.Unmarshal(data, v)
	})
}

func (j jsonMarshaler) NewEncoder(w io.Writer) runtime.Encoder {
	return runtime.EncoderFunc(func(v any) error {
		raw, err := j.Marshal(v)
		if err != nil {
			return err
		}
		_, err = w.Write(raw)
		return err
	})
}

func (jsonMarshaler) ContentType(any) string       { return "application/json" }
func (jsonMarshaler) StreamContentType(any) string { return "application/x-ndjson" }
func (jsonMarshaler) Delimiter() []byte            { return []byte("\n") }
