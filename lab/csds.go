package lab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	statusv3 "github.com/envoyproxy/go-control-plane/envoy/service/status/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

const (
	clientStatusPath = "/v3/discovery:client_status"
	csdsService      = "envoy.service.status.v3.ClientStatusDiscoveryService"
	// maxRequestBytes is far above any request a client of these APIs has reason to send.
	maxRequestBytes = 1 << 20
)

// clientStatus is the client status discovery service the way Traffic Director offers it: in two steps. Without a
// node_id matcher the answer lists the nodes of a network or mesh and nothing else; with one it carries the status of
// each resource of that node.
type clientStatus struct {
	statusv3.UnimplementedClientStatusDiscoveryServiceServer
	cp *controlPlane
}

// StreamClientStatus answers each request of the stream in turn.
func (s *clientStatus) StreamClientStatus(st grpc.BidiStreamingServer[statusv3.ClientStatusRequest, statusv3.ClientStatusResponse]) error {
	for {
		r, err := st.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		out, err := s.answer(st.Context(), r, csdsService+".StreamClientStatus")
		if err != nil {
			return err
		}
		if err := st.Send(out); err != nil {
			return err
		}
	}
}

// FetchClientStatus answers one request.
func (s *clientStatus) FetchClientStatus(ctx context.Context, r *statusv3.ClientStatusRequest) (*statusv3.ClientStatusResponse, error) {
	return s.answer(ctx, r, csdsService+".FetchClientStatus")
}

func (s *clientStatus) answer(ctx context.Context, r *statusv3.ClientStatusRequest, method string) (*statusv3.ClientStatusResponse, error) {
	if err := wait(ctx, s.cp.latency); err != nil {
		return nil, status.FromContextError(err).Err()
	}
	id, err := s.cp.caller(ctx, method)
	if err != nil {
		return nil, err
	}
	return s.cp.clientStatus(id, r)
}

func (s *clientStatus) serveREST(w http.ResponseWriter, r *http.Request) {
	out, err := s.rest(r)
	if err != nil {
		writeStatus(w, err)
		return
	}
	b, err := protojson.Marshal(out)
	if err != nil {
		writeStatus(w, status.Errorf(codes.Internal, "encoding the answer: %v", err))
		return
	}
	w.Header().Set("Content-Type", jsonContentType)
	w.Write(b) //nolint:errcheck // the caller has gone away
}

func (s *clientStatus) rest(r *http.Request) (*statusv3.ClientStatusResponse, error) {
	if err := wait(r.Context(), s.cp.latency); err != nil {
		return nil, status.FromContextError(err).Err()
	}
	if s.cp.scenario.Fault.ControlPlane == "unavailable" {
		return nil, errUnavailable()
	}
	id, ok := s.cp.tokens.check(r.Header.Get("Authorization"))
	if err := s.cp.authorize(id, ok, r.Header.Get("X-Goog-User-Project"), csdsService+".FetchClientStatus"); err != nil {
		return nil, err
	}
	b, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxRequestBytes))
	if err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "reading the request: %v", err)
	}
	req := &statusv3.ClientStatusRequest{}
	if err := protojson.Unmarshal(b, req); err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "Invalid JSON payload received. %v", err)
	}
	return s.cp.clientStatus(id, req)
}

// wait holds an answer back for the latency that the lab is asked to have.
func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// question is what the matchers of a request ask for.
type question struct{ number, network, nodeID string }

func parseQuestion(r *statusv3.ClientStatusRequest) (question, error) {
	invalid := func(format string, a ...any) (question, error) {
		return question{}, status.Errorf(codes.InvalidArgument, format, a...)
	}
	var q question
	var network, mesh string
	for _, m := range r.GetNodeMatchers() {
		if m.GetNodeId() != nil {
			if q.nodeID = m.GetNodeId().GetExact(); q.nodeID == "" {
				return invalid("node_matchers.node_id: only exact matches are supported")
			}
		}
		for _, sm := range m.GetNodeMetadatas() {
			v := sm.GetValue().GetStringMatch().GetExact()
			if len(sm.GetPath()) != 1 || v == "" {
				return invalid("node_matchers.node_metadatas: one path segment and an exact string match are needed")
			}
			switch key := sm.GetPath()[0].GetKey(); key {
			case "TRAFFICDIRECTOR_GCP_PROJECT_NUMBER":
				q.number = v
			case "TRAFFICDIRECTOR_NETWORK_NAME":
				network = v
			case "TRAFFICDIRECTOR_MESH_SCOPE_NAME":
				mesh = v
			default:
				return invalid("node_matchers.node_metadatas: unknown key %q", key)
			}
		}
	}
	switch {
	case !isNumber(q.number):
		return invalid("missing field TRAFFICDIRECTOR_GCP_PROJECT_NUMBER in NodeMatcher")
	case network == "" && mesh == "":
		return invalid("must set either TRAFFICDIRECTOR_NETWORK_NAME or TRAFFICDIRECTOR_MESH_SCOPE_NAME in NodeMatcher")
	case network != "" && mesh != "":
		return invalid("cannot set both TRAFFICDIRECTOR_NETWORK_NAME and TRAFFICDIRECTOR_MESH_SCOPE_NAME in NodeMatcher")
	}
	q.network = network
	if mesh != "" {
		q.network = canonicalMesh(mesh)
	}
	// The caller's permission is looked up on the networks resource of the request's own node id.
	number, own, err := parseNodeID(r.GetNode().GetId())
	if err != nil {
		return question{}, err
	}
	if mesh != "" {
		own = canonicalMesh(own)
	}
	if number != q.number || own != q.network {
		return invalid("node.id %q is not of the project and network in NodeMatcher", r.GetNode().GetId())
	}
	return q, nil
}

// canonicalMesh spells a mesh the way node ids do. Public sources show it bare and with its prefix: both are taken.
func canonicalMesh(s string) string {
	if strings.HasPrefix(s, "mesh:") || strings.HasPrefix(s, "scope:") {
		return s
	}
	return "mesh:" + s
}

func (c *controlPlane) clientStatus(id identity, r *statusv3.ClientStatusRequest) (*statusv3.ClientStatusResponse, error) {
	q, err := parseQuestion(r)
	if err != nil {
		return nil, err
	}
	if err := c.permit(id, q.number, q.network); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	out := &statusv3.ClientStatusResponse{}
	prefix := fmt.Sprintf("projects/%s/networks/%s/nodes/", q.number, q.network)
	for _, st := range c.streams {
		if !st.accepted || !strings.HasPrefix(st.node.GetId(), prefix) || q.nodeID != "" && q.nodeID != st.node.GetId() {
			continue
		}
		cfg := &statusv3.ClientConfig{Node: listedNode(st.node)}
		if q.nodeID != "" {
			cfg.GenericXdsConfigs = c.configsOf(st, r.GetExcludeResourceContents())
		}
		out.Config = append(out.Config, cfg)
	}
	slices.SortFunc(out.Config, func(a, b *statusv3.ClientConfig) int { return cmp.Compare(a.GetNode().GetId(), b.GetNode().GetId()) })
	return out, nil
}

func listedNode(n *corev3.Node) *corev3.Node {
	n = proto.CloneOf(n)
	if n.Metadata == nil {
		n.Metadata = &structpb.Struct{}
	}
	if n.Metadata.Fields == nil {
		n.Metadata.Fields = map[string]*structpb.Value{}
	}
	n.Metadata.Fields["XDS_STREAM_TYPE"] = structpb.NewStringValue("ADS")
	return n
}

// configsOf lists the resources of a stream, sorted by type and name. ACK and NACK are per response, so an ERROR
// stands at every resource of it.
func (c *controlPlane) configsOf(st *xdsStream, withoutContents bool) []*statusv3.ClientConfig_GenericXdsConfig {
	var out []*statusv3.ClientConfig_GenericXdsConfig
	ago := c.scenario.sentAgo(st.node.GetId())
	for url, t := range st.types {
		seen := map[string]bool{}
		if t.sent != nil {
			for i, a := range t.sent.resources {
				seen[t.sent.names[i]] = true
				g := &statusv3.ClientConfig_GenericXdsConfig{TypeUrl: url, Name: t.sent.names[i], VersionInfo: t.sent.version,
					LastUpdated: timestamppb.New(t.sent.at.Add(-ago)), ConfigStatus: t.status}
				if !withoutContents {
					g.XdsConfig = a
				}
				if t.status == statusv3.ConfigStatus_ERROR && c.scenario.Fault.ErrorDetails {
					g.ErrorState = &adminv3.UpdateFailureState{Details: t.reason, VersionInfo: t.sent.version,
						LastUpdateAttempt: timestamppb.New(t.answeredAt)}
				}
				out = append(out, g)
			}
		}
		if t.sent == nil && len(t.subscribed) == 0 { // asked for as a whole
			out = append(out, &statusv3.ClientConfig_GenericXdsConfig{TypeUrl: url, ConfigStatus: statusv3.ConfigStatus_NOT_SENT})
		}
		for _, n := range t.subscribed {
			if !seen[n] && n != "*" {
				out = append(out, &statusv3.ClientConfig_GenericXdsConfig{TypeUrl: url, Name: n,
					ConfigStatus: statusv3.ConfigStatus_NOT_SENT})
			}
		}
	}
	slices.SortFunc(out, func(a, b *statusv3.ClientConfig_GenericXdsConfig) int {
		return cmp.Or(cmp.Compare(a.GetTypeUrl(), b.GetTypeUrl()), cmp.Compare(a.GetName(), b.GetName()))
	})
	return out
}

// sentAgo is how far back the scenario dates what that node was sent.
func (s *Scenario) sentAgo(nodeID string) time.Duration {
	c := find(s.Clients, func(c *Client) bool { return c.SentAgo != "" && c.nodeID() == nodeID })
	if c == nil {
		return 0
	}
	d, err := time.ParseDuration(c.SentAgo)
	if err != nil { // validate has parsed it before
		return 0
	}
	return d
}
