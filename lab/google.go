package lab

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
)

const jsonContentType = "application/json; charset=UTF-8"

// Observer is told of every REST exchange: the request's method, path with query and body, and what was answered.
// The lab's own tests hold both against Google's discovery documents. It is called from many goroutines.
type Observer func(method, pathAndQuery string, request []byte, status int, response []byte)

// googleAPIs serves the Google REST APIs on one base URL; their paths do not clash. Every answer is derived from the
// scenario.
type googleAPIs struct {
	scenario *Scenario
	tokens   *tokens
	latency  time.Duration
	mux      *http.ServeMux
}

// api is what one method needs of its caller.
type api struct {
	host       string   // service name, which must be enabled
	permission string   // that the caller's account must hold; empty where the handler decides
	scopes     []string // any of these besides cloud-platform
}

func newGoogleAPIs(s *Scenario, tok *tokens, latency time.Duration) *googleAPIs {
	g := &googleAPIs{scenario: s, tokens: tok, latency: latency, mux: http.NewServeMux()}
	g.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		writeStatus(w, status.Errorf(codes.NotFound, "The requested URL %s was not found on this server.", r.URL.Path))
	})
	g.compute()
	g.backends()
	g.firewalls()
	g.vms()
	g.operations()
	g.networkServices()
	g.projects()
	return g
}

func (g *googleAPIs) ServeHTTP(w http.ResponseWriter, r *http.Request) { g.mux.ServeHTTP(w, r) }

// handle registers one method. The handler's answer is written as JSON; its error as Google writes errors.
func (g *googleAPIs) handle(pattern string, a api, answer func(id identity, r *http.Request) (any, error)) {
	g.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		if err := wait(r.Context(), g.latency); err != nil {
			return // the caller has gone away
		}
		id, err := g.admit(r, a)
		var out any
		if err == nil {
			r.Body = http.MaxBytesReader(w, r.Body, maxRequestBytes)
			out, err = answer(id, r)
		}
		if err != nil {
			writeStatus(w, err)
			return
		}
		writeJSON(w, http.StatusOK, out)
	})
}

func (g *googleAPIs) admit(r *http.Request, a api) (identity, error) {
	id, ok := g.tokens.check(r.Header.Get("Authorization"))
	if !ok {
		return id, errUnauthenticated(a.host, r.Method+" "+r.URL.Path)
	}
	if !id.hasScope(append([]string{scopeCloudPlatform}, a.scopes...)...) {
		return id, errInsufficientScopes(a.host, r.Method+" "+r.URL.Path)
	}
	if err := g.scenario.checkQuotaProject(id, r.Header.Get("X-Goog-User-Project"), a.host); err != nil {
		return id, err
	}
	project := r.PathValue("project")
	if g.scenario.apiDisabled(a.host) {
		return id, errServiceDisabled(a.host, g.scenario.Project.Number)
	}
	if project != "" && !g.scenario.isProject(project) {
		return id, g.denied(a, project)
	}
	if a.permission != "" && !g.scenario.holds(id.Account, a.permission) {
		return id, g.denied(a, project)
	}
	return id, nil
}

// denied is a refusal in the words of the API: Compute Engine has its own.
func (g *googleAPIs) denied(a api, project string) error {
	if a.host == computeHost {
		return refusal(codes.PermissionDenied, fmt.Sprintf("Required '%s' permission for 'projects/%s'", a.permission, project),
			"IAM_PERMISSION_DENIED", map[string]string{"permission": a.permission, "resource": "projects/" + project, "service": a.host})
	}
	return errPermission(a.permission, "//"+a.host+"/projects/"+project)
}

// writeJSON writes v; the encoding of what the lab builds cannot fail but for a mistake in it, which is then a 500.
func writeJSON(w http.ResponseWriter, code int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		code, b = http.StatusInternalServerError, []byte(`{"error":{"code":500,"status":"INTERNAL"}}`)
	}
	w.Header().Set("Content-Type", jsonContentType)
	w.WriteHeader(code)
	w.Write(append(b, '\n')) //nolint:errcheck // the caller has gone away
}

// writeStatus writes an error the way Google's REST APIs do (https://google.aip.dev/193), with the errors list that
// the older of them, Compute Engine among them, add.
func writeStatus(w http.ResponseWriter, err error) {
	st := status.Convert(err)
	code, reason := httpStatus(st.Code())
	writeJSON(w, code, map[string]any{"error": map[string]any{
		"code":    code,
		"message": st.Message(),
		"status":  statusName(st.Code()),
		"errors":  []map[string]string{{"message": st.Message(), "domain": "global", "reason": reason}},
		"details": detailsJSON(st.Proto()),
	}})
}

func detailsJSON(st *spb.Status) []json.RawMessage {
	out := []json.RawMessage{}
	for _, d := range st.GetDetails() {
		if b, err := protojson.Marshal(d); err == nil {
			var compact bytes.Buffer
			if json.Compact(&compact, b) == nil {
				out = append(out, compact.Bytes())
			}
		}
	}
	return out
}

// httpStatus is the mapping of google.rpc.Code, for the codes that the lab answers with.
func httpStatus(c codes.Code) (code int, reason string) {
	switch c {
	case codes.InvalidArgument, codes.FailedPrecondition:
		return http.StatusBadRequest, "badRequest"
	case codes.Unauthenticated:
		return http.StatusUnauthorized, "authError"
	case codes.PermissionDenied:
		return http.StatusForbidden, "forbidden"
	case codes.NotFound:
		return http.StatusNotFound, "notFound"
	case codes.Unavailable:
		return http.StatusServiceUnavailable, "backendError"
	case codes.DeadlineExceeded:
		return http.StatusGatewayTimeout, "backendError"
	}
	return http.StatusInternalServerError, "backendError"
}

func statusName(c codes.Code) string {
	switch c {
	case codes.InvalidArgument:
		return "INVALID_ARGUMENT"
	case codes.FailedPrecondition:
		return "FAILED_PRECONDITION"
	case codes.Unauthenticated:
		return "UNAUTHENTICATED"
	case codes.PermissionDenied:
		return "PERMISSION_DENIED"
	case codes.NotFound:
		return "NOT_FOUND"
	case codes.Unavailable:
		return "UNAVAILABLE"
	case codes.DeadlineExceeded:
		return "DEADLINE_EXCEEDED"
	}
	return "INTERNAL"
}

// maxPageSize is far below what Google allows, so that a caller who forgets to page is found out.
const maxPageSize = 2

// page cuts one page out of a list. sizeParam is maxResults for Compute Engine and pageSize elsewhere.
func page[T any](r *http.Request, sizeParam string, all []T) (items []T, next string, err error) {
	size := maxPageSize
	if v := r.URL.Query().Get(sizeParam); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 0 {
			return nil, "", status.Errorf(codes.InvalidArgument, "Invalid value for field '%s': '%s'.", sizeParam, v)
		}
		if n > 0 {
			size = min(n, maxPageSize)
		}
	}
	return cut(all, size, r.URL.Query().Get("pageToken"))
}

// cut gives the items of the page that a token stands for, and the next one's token.
func cut[T any](all []T, size int, token string) (items []T, next string, err error) {
	start := 0
	if token != "" {
		n, err := strconv.Atoi(strings.TrimPrefix(token, pageTokenPrefix))
		if err != nil || n < 0 || n > len(all) || !strings.HasPrefix(token, pageTokenPrefix) {
			return nil, "", status.Errorf(codes.InvalidArgument, "Invalid value for field 'pageToken': '%s'.", token)
		}
		start = n
	}
	end := min(start+size, len(all))
	if end < len(all) {
		next = pageTokenPrefix + strconv.Itoa(end)
	}
	return all[start:end], next, nil
}

const pageTokenPrefix = "lab-page-"

// observed passes REST exchanges to an Observer. gRPC calls and the token endpoint go by unobserved.
func observed(h http.Handler, observe Observer) http.Handler {
	if observe == nil {
		return h
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") || r.URL.Path == tokenPath {
			h.ServeHTTP(w, r)
			return
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequestBytes))
		if err != nil {
			writeStatus(w, status.Errorf(codes.InvalidArgument, "reading the request: %v", err))
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		rec := &recorder{ResponseWriter: w, code: http.StatusOK}
		h.ServeHTTP(rec, r)
		observe(r.Method, r.URL.RequestURI(), body, rec.code, rec.body.Bytes())
	})
}

type recorder struct {
	http.ResponseWriter
	code int
	body bytes.Buffer
}

func (r *recorder) WriteHeader(code int) {
	r.code = code
	r.ResponseWriter.WriteHeader(code)
}

func (r *recorder) Write(b []byte) (int, error) {
	r.body.Write(b)
	return r.ResponseWriter.Write(b)
}
