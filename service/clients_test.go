package service_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	statusv3 "github.com/envoyproxy/go-control-plane/envoy/service/status/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/meshdiag/meshdiag/collect/csds"
	"github.com/meshdiag/meshdiag/collect/csdsconv"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	pb "github.com/meshdiag/meshdiag/gen/meshdiag/v1"
	"github.com/meshdiag/meshdiag/service"
	"github.com/meshdiag/meshdiag/xdsclient"
	"github.com/meshdiag/meshdiag/xdsclient/xdsclienttest"
)

// directory asks a real CSDS server.
type directory struct{ client *xdsclient.Client }

func (d directory) ListClients(ctx context.Context, t diagnose.Target) ([]evidence.Client, error) {
	nodes, err := d.client.List(ctx, csds.Scope(t, t.Project))
	if err != nil {
		return nil, err
	}
	var out []evidence.Client
	for _, n := range nodes {
		out = append(out, csdsconv.Client(n))
	}
	return out, nil
}

func (d directory) ClientStatus(ctx context.Context, t diagnose.Target) ([]evidence.ClientStatus, error) {
	c, err := d.client.Status(ctx, csds.Scope(t, t.Project), t.NodeID)
	var x *xdsclient.Error
	switch {
	case errors.As(err, &x) && x.Reason == xdsclient.ReasonNotConnected:
		return nil, nil
	case err != nil:
		return nil, err
	}
	return []evidence.ClientStatus{csdsconv.ClientStatus(c, evidence.Source{Collector: "csds"})}, nil
}

const number = "123456789"

func proxyID(i int) string {
	return fmt.Sprintf("projects/%s/networks/default/nodes/proxy-%02d", number, i)
}

// withFleet serves clients from a CSDS server of seven proxies, one of whose node ids holds what URLs quote.
func withFleet(t *testing.T) (*xdsclienttest.Server, option) {
	t.Helper()
	s := xdsclienttest.Start(t, xdsclienttest.Config{})
	ids := []string{"projects/" + number + "/networks/default/nodes/odd %2F?#:é+~"}
	for i := range 6 {
		ids = append(ids, proxyID(5-i))
	}
	for _, id := range ids {
		s.Connect(xdsclienttest.Client{ProjectNumber: number, Network: "default", Config: &statusv3.ClientConfig{
			Node: &corev3.Node{Id: id, UserAgentName: "envoy", Locality: &corev3.Locality{Region: "us-central1", Zone: "us-central1-a"}},
			GenericXdsConfigs: []*statusv3.ClientConfig_GenericXdsConfig{{
				TypeUrl: "type.googleapis.com/envoy.config.listener.v3.Listener", Name: "l", VersionInfo: "7",
				ConfigStatus: statusv3.ConfigStatus_ERROR, ClientStatus: adminv3.ClientResourceStatus_NACKED,
				ErrorState: &adminv3.UpdateFailureState{Details: "no such file"},
			}},
		}})
	}
	c, err := xdsclient.New(xdsclient.Config{Endpoint: s.Addr, Insecure: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return s, func(cfg *service.Config, _ *service.ServerConfig) { cfg.Directory = directory{c} }
}

func TestListClients(t *testing.T) {
	_, opt := withFleet(t)
	r := start(t, opt)
	c := pb.NewClientServiceClient(r.conn)
	parent := "projects/" + number + "/networks/default"
	var ids []string
	pages := 0
	for token := ""; ; pages++ {
		resp, err := c.ListClients(t.Context(), &pb.ListClientsRequest{Parent: parent, PageSize: 3, PageToken: token})
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range resp.GetClients() {
			ids = append(ids, x.GetNodeId())
			if x.GetName() != parent+"/clients/"+url.PathEscape(x.GetNodeId()) || len(x.GetResources()) != 0 || x.GetZone() != "us-central1-a" {
				t.Errorf("%v", x)
			}
		}
		if token = resp.GetNextPageToken(); token == "" {
			break
		}
		_, err = c.ListClients(t.Context(), &pb.ListClientsRequest{Parent: "projects/1/networks/default", PageToken: token})
		if _, fields := reasonOf(t, err); status.Code(err) != codes.InvalidArgument || fields[0] != "page_token" {
			t.Errorf("a token of another list: %v", err)
		}
	}
	if pages != 2 || len(ids) != 7 || ids[1] != proxyID(0) || ids[6] != proxyID(5) {
		t.Errorf("%d pages more, ids %q", pages, ids)
	}
	// No client is an empty list, since the control plane said so.
	resp, err := c.ListClients(t.Context(), &pb.ListClientsRequest{Parent: "projects/" + number + "/networks/other"})
	if err != nil || len(resp.GetClients()) != 0 {
		t.Errorf("%v %v", resp, err)
	}
}

func TestGetClient(t *testing.T) {
	_, opt := withFleet(t)
	r := start(t, opt)
	a := r.do(t, "GET", "/v1/projects/"+number+"/networks/default/clients", "")
	var list struct {
		Clients []struct{ Name, NodeID string }
	}
	if err := json.Unmarshal([]byte(a.body), &list); err != nil || len(list.Clients) != 7 {
		t.Fatalf("%d %s: %v", a.code, a.body, err)
	}
	// Each name of the list is a path, whatever the node id holds, and a name to ask gRPC for.
	for _, x := range list.Clients {
		a := r.do(t, "GET", "/v1/"+x.Name, "")
		var got struct {
			Name, NodeID string
			Resources    []struct{ TypeURL, ResourceName, ConfigStatus, ClientStatus, ErrorDetail, Version string }
		}
		if err := json.Unmarshal([]byte(a.body), &got); err != nil || a.code != 200 {
			t.Errorf("%s: %d %s: %v", x.Name, a.code, a.body, err)
			continue
		}
		if got.Name != x.Name || got.NodeID != x.NodeID || len(got.Resources) != 1 {
			t.Errorf("%s gives %s", x.Name, a.body)
			continue
		}
		if res := got.Resources[0]; res.ConfigStatus != "ERROR" || res.ClientStatus != "NACKED" || res.ErrorDetail != "no such file" || res.Version != "7" {
			t.Errorf("%+v", res)
		}
		m, err := pb.NewClientServiceClient(r.conn).GetClient(t.Context(), &pb.GetClientRequest{Name: x.Name})
		if err != nil || m.GetNodeId() != x.NodeID {
			t.Errorf("gRPC: %v %v", m, err)
		}
	}
	a = r.do(t, "GET", "/v1/projects/"+number+"/networks/default/clients/"+url.PathEscape(proxyID(77)), "")
	if _, reason := parseError(t, a); a.code != 404 || reason != "CLIENT_NOT_CONNECTED" {
		t.Errorf("%d %s", a.code, a.body)
	}
}

// A control plane that refuses or fails is an error with its words, never an empty list.
func TestClientsUpstreamFails(t *testing.T) {
	s, opt := withFleet(t)
	r := start(t, opt)
	c := pb.NewClientServiceClient(r.conn)
	for _, row := range []struct {
		upstream, want codes.Code
		reason         string
	}{
		{codes.PermissionDenied, codes.PermissionDenied, "CONTROL_PLANE_DENIED"},
		{codes.Unauthenticated, codes.PermissionDenied, "CONTROL_PLANE_DENIED"},
		{codes.NotFound, codes.NotFound, "CONTROL_PLANE_NOT_FOUND"},
		{codes.InvalidArgument, codes.InvalidArgument, "CONTROL_PLANE_REFUSED"},
		{codes.ResourceExhausted, codes.ResourceExhausted, "CONTROL_PLANE_QUOTA_EXCEEDED"},
		{codes.DeadlineExceeded, codes.DeadlineExceeded, "CONTROL_PLANE_TOO_SLOW"},
		{codes.Internal, codes.Unavailable, "CONTROL_PLANE_UNAVAILABLE"},
		{codes.Unavailable, codes.Unavailable, "CONTROL_PLANE_UNAVAILABLE"},
	} {
		t.Run(row.upstream.String(), func(t *testing.T) {
			s.Behave(xdsclienttest.Behaviour{Refuse: func(*statusv3.ClientStatusRequest) error { return status.Error(row.upstream, "its own words") }})
			_, err := c.ListClients(t.Context(), &pb.ListClientsRequest{Parent: "projects/" + number + "/networks/default"})
			if reason, _ := reasonOf(t, err); status.Code(err) != row.want || reason != row.reason || !strings.Contains(err.Error(), "its own words") {
				t.Errorf("list: %v", err)
			}
			_, err = c.GetClient(t.Context(), &pb.GetClientRequest{Name: "projects/" + number + "/networks/default/clients/" + url.PathEscape(proxyID(1))})
			if reason, _ := reasonOf(t, err); status.Code(err) != row.want || reason != row.reason {
				t.Errorf("get: %v", err)
			}
		})
	}
	// The caller's own hanging up is that, and not the control plane's fault.
	s.Behave(xdsclienttest.Behaviour{Silent: true})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := c.ListClients(ctx, &pb.ListClientsRequest{Parent: "projects/" + number + "/networks/default"})
		done <- err
	}()
	cancel()
	if err := <-done; status.Code(err) != codes.Canceled {
		t.Errorf("%v", err)
	}
}
