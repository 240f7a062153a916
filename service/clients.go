package service

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"buf.build/go/protovalidate"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	pb "github.com/meshdiag/meshdiag/gen/meshdiag/v1"
)

// defaultClientPage is a page of clients where the request doesn't say.
const defaultClientPage = 100

// ListClients lists the clients connected for a network or a mesh, sorted by node id, each once.
func (s *Service) ListClients(ctx context.Context, r *pb.ListClientsRequest) (*pb.ListClientsResponse, error) {
	target, err := s.parseParent("parent", r.GetParent())
	if err != nil {
		return nil, err
	}
	after, err := pageAfter(r.GetPageToken(), r.GetParent())
	if err != nil {
		return nil, err
	}
	var clients []evidence.Client
	err = s.ask(ctx, "listing the clients of "+r.GetParent(), func(ctx context.Context) (err error) {
		clients, err = s.directory.ListClients(ctx, target)
		return err
	})
	if err != nil {
		return nil, err
	}
	clients = slices.Clone(clients)
	slices.SortStableFunc(clients, func(a, b evidence.Client) int { return strings.Compare(a.NodeID, b.NodeID) })
	clients = slices.CompactFunc(clients, func(a, b evidence.Client) bool { return a.NodeID == b.NodeID })
	page, next := paginate(clients, func(c evidence.Client) string { return c.NodeID }, after, int(r.GetPageSize()), defaultClientPage)
	out := &pb.ListClientsResponse{NextPageToken: pageToken(r.GetParent(), next)}
	for _, c := range page {
		out.Clients = append(out.Clients, clientToProto(r.GetParent(), c, nil))
	}
	return out, nil
}

// GetClient gives one client with the state of each of its resources.
func (s *Service) GetClient(ctx context.Context, r *pb.GetClientRequest) (*pb.Client, error) {
	parent, id, _ := strings.Cut(r.GetName(), "/clients/")
	target, err := s.parseParent("name", parent)
	if err != nil {
		return nil, err
	}
	if target.NodeID, err = url.PathUnescape(id); err != nil {
		return nil, badField("name", fmt.Sprintf("the client's id %.200q is not percent-encoded as it should be: %v", id, err))
	}
	if !strings.Contains(target.NodeID, "/") {
		return nil, badField("name", fmt.Sprintf("the client's id %.200q must be a node id, projects/NUMBER/networks/NETWORK/nodes/ID, with its slashes as %%2F", id))
	}
	var found []evidence.ClientStatus
	err = s.ask(ctx, "reading the client "+target.NodeID, func(ctx context.Context) (err error) {
		found, err = s.directory.ClientStatus(ctx, target)
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case len(found) == 0:
		return nil, fail(codes.NotFound, reasonNoClient, fmt.Sprintf("no client with the node id %s is connected for %s", target.NodeID, parent))
	}
	return clientToProto(parent, found[0].Client, found), nil
}

// ask calls the control plane within limits, and says who failed where it fails.
func (s *Service) ask(ctx context.Context, doing string, call func(context.Context) error) error {
	if s.directory == nil {
		return fail(codes.FailedPrecondition, reasonNoDirectory, "this server was started without a control plane to ask for clients")
	}
	release, err := s.acquire()
	if err != nil {
		return err
	}
	defer release()
	bounded, cancel := context.WithTimeout(ctx, DefaultTimeout)
	defer cancel()
	err = call(bounded)
	var denied *evidence.Denied
	var bad *diagnose.BadInput
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err() // the caller's own deadline or hanging up, whatever it was called further down
	case errors.As(err, &bad):
		return err
	case errors.As(err, &denied):
		return fail(codes.PermissionDenied, reasonUpstreamDenied, fmt.Sprintf("%s: %v", doing, denied))
	}
	code, reason := codes.Unavailable, reasonUpstreamFailed
	if row, ok := upstream[status.Code(err)]; ok {
		code, reason = row.code, row.reason
	}
	return fail(code, reason, fmt.Sprintf("%s: %v", doing, err))
}

// upstream says what a caller gets for the control plane's own code; for any other it is UNAVAILABLE. Bad credentials are this
// server's, not the caller's.
var upstream = map[codes.Code]struct {
	code   codes.Code
	reason string
}{
	codes.DeadlineExceeded:  {codes.DeadlineExceeded, reasonUpstreamSlow},
	codes.NotFound:          {codes.NotFound, reasonUpstreamNotFound},
	codes.PermissionDenied:  {codes.PermissionDenied, reasonUpstreamDenied},
	codes.Unauthenticated:   {codes.PermissionDenied, reasonUpstreamDenied},
	codes.InvalidArgument:   {codes.InvalidArgument, reasonUpstreamRefused},
	codes.ResourceExhausted: {codes.ResourceExhausted, reasonUpstreamQuota},
}

// parseParent takes projects/PROJECT/networks/NETWORK or projects/PROJECT/meshes/MESH apart; each part may be
// percent-encoded, as in a URL.
func (s *Service) parseParent(field, name string) (diagnose.Target, error) {
	p := strings.Split(name, "/")
	if len(p) != 4 {
		return diagnose.Target{}, badField(field, "must begin with projects/PROJECT/networks/NETWORK or projects/PROJECT/meshes/MESH")
	}
	for _, i := range []int{1, 3} {
		part, err := url.PathUnescape(p[i])
		if err != nil {
			return diagnose.Target{}, badField(field, fmt.Sprintf("%.200q is not percent-encoded as it should be", p[i]))
		}
		p[i] = part
	}
	t := &pb.Target{Project: p[1]}
	if p[2] == "meshes" {
		t.Mesh = p[3]
	} else {
		t.Network = p[3]
	}
	// The same rules hold as for a diagnosis's target.
	var invalid *protovalidate.ValidationError
	if err := s.validator.Validate(t); errors.As(err, &invalid) {
		var why []string
		for _, v := range violations(invalid) {
			why = append(why, v.GetField()+" "+v.GetDescription())
		}
		return diagnose.Target{}, badField(field, strings.Join(why, "; "))
	} else if err != nil {
		return diagnose.Target{}, fmt.Errorf("holding %s against the API's rules: %w", field, err)
	}
	return targetFromProto(t), nil
}

func clientToProto(parent string, c evidence.Client, states []evidence.ClientStatus) *pb.Client {
	m := &pb.Client{
		Name: parent + "/clients/" + url.PathEscape(c.NodeID), NodeId: c.NodeID, UserAgentName: c.UserAgentName,
		UserAgentVersion: c.UserAgentVersion, Metadata: map[string]string{}, Region: c.Region, Zone: c.Zone,
	}
	for k, v := range c.Metadata {
		m.Metadata[k] = v
	}
	for _, s := range states {
		for _, r := range s.Resources {
			m.Resources = append(m.Resources, &pb.ClientResource{
				TypeUrl: r.TypeURL, ResourceName: r.Name, Version: r.Version, ConfigStatus: r.Server.String(), ClientStatus: r.Client.String(),
				UpdateTime: timeToProto(r.LastUpdated), ErrorDetail: r.Reason, ClientScope: s.ClientScope,
			})
		}
	}
	return valid(m)
}
