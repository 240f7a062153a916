package xdsclient

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	adsv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/xds" // and with it the xds:/// resolver
	"google.golang.org/grpc/xds/csds"
	"google.golang.org/protobuf/types/known/anypb"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	statusv3 "github.com/envoyproxy/go-control-plane/envoy/service/status/v3"
)

// controlPlane is as little of an xDS server as a client needs: it answers for listeners, "good" and "bad", of which the
// second is not valid.
type controlPlane struct {
	adsv3.UnimplementedAggregatedDiscoveryServiceServer
	listeners map[string]*listenerv3.Listener

	mu      sync.Mutex
	settled func(name string) // told of each client that has answered an answer
}

func (c *controlPlane) StreamAggregatedResources(stream adsv3.AggregatedDiscoveryService_StreamAggregatedResourcesServer) error {
	for {
		req, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if req.GetResponseNonce() != "" {
			c.mu.Lock()
			for _, name := range req.GetResourceNames() {
				c.settled(name)
			}
			c.mu.Unlock()
			continue
		}
		resp := &adsv3.DiscoveryResponse{VersionInfo: "1", Nonce: "1", TypeUrl: req.GetTypeUrl()}
		for _, name := range req.GetResourceNames() {
			l, ok := c.listeners[name]
			if !ok {
				continue
			}
			a, err := anypb.New(l)
			if err != nil {
				return err
			}
			resp.Resources = append(resp.Resources, a)
		}
		if len(resp.Resources) > 0 {
			if err := stream.Send(resp); err != nil {
				return err
			}
		}
	}
}

// apiListener is a valid listener for gRPC clients; without a router, it is one that they reject.
func apiListener(name string, router bool) (*listenerv3.Listener, error) {
	m := &hcmv3.HttpConnectionManager{RouteSpecifier: &hcmv3.HttpConnectionManager_RouteConfig{
		RouteConfig: &routev3.RouteConfiguration{Name: name, VirtualHosts: []*routev3.VirtualHost{{Name: name, Domains: []string{"*"}}}}}}
	if router {
		r, err := anypb.New(&routerv3.Router{})
		if err != nil {
			return nil, err
		}
		m.HttpFilters = []*hcmv3.HttpFilter{{Name: "router", ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: r}}}
	}
	a, err := anypb.New(m)
	if err != nil {
		return nil, err
	}
	return &listenerv3.Listener{Name: name, ApiListener: &listenerv3.ApiListener{ApiListener: a}}, nil
}

// adminChild is a process with two xDS clients, whose own CSDS endpoint it serves. Its bootstrap is in the environment, as
// grpc-go reads it when the process starts. It runs until its input ends.
func adminChild() {
	dial := func(target string) {
		cc, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			childFail(err)
		}
		cc.Connect()
	}
	dial("xds:///good")
	dial("xds:///bad")
	server, err := csds.NewClientStatusDiscoveryServer()
	if err != nil {
		childFail(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		childFail(err)
	}
	s := grpc.NewServer()
	statusv3.RegisterClientStatusDiscoveryServiceServer(s, server)
	go func() { _ = s.Serve(l) }()
	fmt.Println(l.Addr())
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

var _ = xds.NewGRPCServer // registers the resolver

// TestGRPCAdmin asks the CSDS server that grpc-go ships, in a process with two xDS clients.
func TestGRPCAdmin(t *testing.T) {
	settled := make(chan string, 100)
	cp := &controlPlane{listeners: map[string]*listenerv3.Listener{}, settled: func(name string) {
		select {
		case settled <- name:
		default: // nobody waits any more
		}
	}}
	for _, name := range []string{"good", "bad"} {
		l, err := apiListener(name, name == "good")
		if err != nil {
			t.Fatal(err)
		}
		cp.listeners[name] = l
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	adsv3.RegisterAggregatedDiscoveryServiceServer(s, cp)
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }()
	t.Cleanup(func() { s.Stop(); <-done })
	bootstrap, err := json.Marshal(map[string]any{
		"node": map[string]any{"id": "projects/1/networks/default/nodes/a", "metadata": map[string]any{"k": "v"},
			"locality": map[string]any{"zone": "z"}},
		"xds_servers": []any{map[string]any{"server_uri": l.Addr().String(),
			"channel_creds": []any{map[string]any{"type": "insecure"}}, "server_features": []string{"xds_v3"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	addr := startChild(t, "admin", "GRPC_XDS_BOOTSTRAP_CONFIG="+string(bootstrap), "GRPC_XDS_BOOTSTRAP=")
	for want := map[string]bool{"good": true, "bad": true}; len(want) > 0; {
		select {
		case name := <-settled:
			delete(want, name)
		case <-t.Context().Done():
			t.Fatal("the clients never answered")
		}
	}
	c, err := New(Config{Endpoint: addr, Insecure: true, KeepContents: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	clients, err := c.Local(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	byScope := map[string]ClientConfig{}
	for _, c := range clients {
		byScope[c.ClientScope] = c
	}
	if len(byScope) != 2 {
		t.Fatalf("clients %+v: want two scopes", clients)
	}
	for scope, want := range map[string]ClientStatus{"xds:///good": ClientStatusAcked, "xds:///bad": ClientStatusNacked} {
		c := byScope[scope]
		if n := c.Node; n.ID != "projects/1/networks/default/nodes/a" || n.Metadata["k"] != "v" || n.Locality.Zone != "z" ||
			n.UserAgentName != "gRPC Go" || n.UserAgentVersion != grpc.Version {
			t.Errorf("%s: node %+v", scope, n)
		}
		if len(c.Resources) != 1 {
			t.Fatalf("%s: resources %+v", scope, c.Resources)
		}
		r := c.Resources[0]
		if r.TypeURL != resourceTypes+"listener.v3.Listener" || r.ClientStatus != want || r.ConfigStatus != ConfigStatusAbsent {
			t.Errorf("%s: %+v", scope, r)
		}
		switch want {
		case ClientStatusAcked:
			if r.Version != "1" || r.LastUpdated.IsZero() || r.Contents == nil || r.Error != nil {
				t.Errorf("%s: %+v", scope, r)
			}
		case ClientStatusNacked: // the first NACK: nothing was accepted before, and grpc-go sends the year 1
			if !r.LastUpdated.IsZero() || r.Error == nil || r.Error.Details == "" || r.Error.LastAttempt.IsZero() {
				t.Errorf("%s: %+v, error %+v", scope, r, r.Error)
			}
		}
	}
	_, err = c.List(context.Background(), Scope{ProjectNumber: "1", Network: "default"})
	if e := new(Error); !errors.As(err, &e) || e.Code != codes.InvalidArgument || !strings.Contains(e.Message, "node_matchers are not supported") {
		t.Errorf("with matchers: %v", err)
	}
}
