package xdsclienttest

import (
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"strings"

	statusv3 "github.com/envoyproxy/go-control-plane/envoy/service/status/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
)

// matcher is what Traffic Director reads of a NodeMatcher.
type matcher struct {
	project, network, mesh, nodeID string
}

// parseMatcher reads a matcher. The messages are those of the reference client, envoyproxy/envoy-tools csds-client, which
// checks the same before it asks.
func parseMatcher(m *matcherv3.NodeMatcher) (matcher, error) {
	var out matcher
	out.nodeID = m.GetNodeId().GetExact()
	if m.GetNodeId() != nil && out.nodeID == "" {
		return out, status.Error(codes.InvalidArgument, "node_id: only exact matches are supported")
	}
	for _, meta := range m.GetNodeMetadatas() {
		if len(meta.GetPath()) != 1 {
			continue
		}
		value := meta.GetValue().GetStringMatch().GetExact()
		switch meta.GetPath()[0].GetKey() {
		case "TRAFFICDIRECTOR_GCP_PROJECT_NUMBER":
			out.project = value
		case "TRAFFICDIRECTOR_NETWORK_NAME":
			out.network = value
		case "TRAFFICDIRECTOR_MESH_SCOPE_NAME":
			out.mesh = value
		}
	}
	switch {
	case out.project == "":
		return out, status.Error(codes.InvalidArgument, "missing field TRAFFICDIRECTOR_GCP_PROJECT_NUMBER in NodeMatcher")
	case out.network == "" && out.mesh == "":
		return out, status.Error(codes.InvalidArgument,
			"must set either TRAFFICDIRECTOR_NETWORK_NAME or TRAFFICDIRECTOR_MESH_SCOPE_NAME in NodeMatcher")
	case out.network != "" && out.mesh != "":
		return out, status.Error(codes.InvalidArgument,
			"cannot set both TRAFFICDIRECTOR_NETWORK_NAME and TRAFFICDIRECTOR_MESH_SCOPE_NAME in NodeMatcher")
	}
	return out, nil
}

// checkAsker checks who asks: permissions are those on the network or mesh that the asking node's id names.
func checkAsker(id string, want matcher) error {
	parts := regexp.MustCompile(`^projects/([0-9]+)/networks/([^/]+)/nodes/.+$`).FindStringSubmatch(id)
	if parts == nil {
		return status.Errorf(codes.PermissionDenied,
			"node.id %q: want projects/<number>/networks/<network or mesh>/nodes/<id>", id)
	}
	if parts[1] != want.project || parts[2] != want.network+want.mesh {
		return status.Errorf(codes.PermissionDenied,
			"Permission 'trafficdirector.networks.getConfigs' denied on resource 'projects/%s/networks/%s'", parts[1], parts[2])
	}
	return nil
}

// maxBody bounds a request over REST.
const maxBody = 1 << 20

// serveREST is POST /v3/discovery:client_status.
func (s *Server) serveREST(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost || r.URL.Path != "/v3/discovery:client_status" {
		writeError(w, status.New(codes.NotFound, "Method not found."))
		return
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
	if err != nil {
		writeError(w, status.New(codes.InvalidArgument, err.Error()))
		return
	}
	req := &statusv3.ClientStatusRequest{}
	if err := protojson.Unmarshal(body, req); err != nil {
		writeError(w, status.New(codes.InvalidArgument, err.Error()))
		return
	}
	header := metadata.MD{}
	for name, values := range r.Header {
		header.Append(strings.ToLower(name), values...)
	}
	b, err := s.answer(r.Context(), req, header, func(resp *statusv3.ClientStatusResponse) ([]byte, error) {
		return protojson.Marshal(resp)
	})
	if err != nil {
		st, _ := status.FromError(err)
		writeError(w, st)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	if !s.current().EndFirst {
		_, _ = w.Write(b)
	}
}

// writeError writes the error body of Google's APIs (https://google.aip.dev/193).
func writeError(w http.ResponseWriter, st *status.Status) {
	code := httpStatus(st.Code())
	details := []json.RawMessage{}
	if b, err := protojson.Marshal(st.Proto()); err == nil {
		var p struct{ Details []json.RawMessage }
		if json.Unmarshal(b, &p) == nil && p.Details != nil {
			details = p.Details
		}
	}
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{
		"code": code, "message": st.Message(), "status": codeName(st.Code()), "details": details}})
}

// codeName gives google.rpc.Code's name.
func codeName(c codes.Code) string {
	if c == codes.Canceled {
		return "CANCELLED"
	}
	return strings.ToUpper(regexp.MustCompile(`([a-z])([A-Z])`).ReplaceAllString(c.String(), "${1}_$2"))
}

// httpStatus is the mapping in google.rpc.Code's comments.
func httpStatus(c codes.Code) int {
	switch c {
	case codes.InvalidArgument, codes.FailedPrecondition, codes.OutOfRange:
		return http.StatusBadRequest
	case codes.Unauthenticated:
		return http.StatusUnauthorized
	case codes.PermissionDenied:
		return http.StatusForbidden
	case codes.NotFound:
		return http.StatusNotFound
	case codes.Aborted, codes.AlreadyExists:
		return http.StatusConflict
	case codes.ResourceExhausted:
		return http.StatusTooManyRequests
	case codes.Unimplemented:
		return http.StatusNotImplemented
	case codes.Unavailable:
		return http.StatusServiceUnavailable
	case codes.DeadlineExceeded:
		return http.StatusGatewayTimeout
	}
	return http.StatusInternalServerError
}
