package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	statusv3 "github.com/envoyproxy/go-control-plane/envoy/service/status/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/resolver"
)

// target is what the client dials.
func (c *Client) target() string { return "xds://" + c.Authority + "/" + c.Dial }

// servedAs gives the service that a client's network has under the name that it dials, nil where there is none.
func (s *Scenario) servedAs(c *Client) *Service {
	if c.ProjectNumber != s.Project.Number {
		return nil
	}
	// Metadata filters don't matter: a client that they shut out is refused as a whole.
	list := s.servedTo(nil, c.ProjectNumber, c.Network)
	if i := slices.IndexFunc(list, func(v served) bool { return v.host == c.Dial }); i >= 0 {
		return list[i].service
	}
	return nil
}

// drained says that a client dials a service whose endpoints it may not use.
func (s *Scenario) drained(c *Client) bool {
	v := s.servedAs(c)
	return v != nil && v.Draining
}

// serves says whether the control plane has a listener for what a client dials, or refuses the client as a whole.
func (s *Scenario) serves(c *Client) bool {
	return s.servedAs(c) != nil || slices.ContainsFunc(s.Services, func(v Service) bool { return len(v.Filters) > 0 }) ||
		c.ProjectNumber != s.Project.Number || len(s.servedTo(nil, c.ProjectNumber, c.Network)) == 0
}

// failingClient is a client whose calls fail, and which logs what gRPC says of it.
type failingClient struct{ grpcClient }

func (f *failingClient) settle(ctx context.Context) error {
	_, failure := healthpb.NewHealthClient(f.conn).Check(ctx, &healthpb.HealthCheckRequest{})
	if failure == nil {
		return fmt.Errorf("client %s: its call of %s went well", f.client.Name, f.client.target())
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("client %s waits for its call: %w", f.client.Name, err)
	}
	line := fmt.Sprintf("%s could not call %s: %v", time.Now().Format("2006/01/02 15:04:05"), f.client.target(), failure)
	if err := appendLog(f.artifactsOf(f.client).log, line); err != nil {
		return err
	}
	return f.controlPlane.await(ctx, f.client.nodeID(), (*xdsStream).answered)
}

// startWithoutBootstrap starts a client with gRPC's own resolver, which looks for its bootstrap in the environment of the
// process, and finds none. The file that other clients would have is taken away.
func (s *surroundings) startWithoutBootstrap(c *Client, files artifacts) (proxy, error) {
	for _, name := range []string{"GRPC_XDS_BOOTSTRAP", "GRPC_XDS_BOOTSTRAP_CONFIG"} {
		if os.Getenv(name) != "" {
			return nil, fmt.Errorf("client %s shall have no bootstrap, and %s is set: unset it", c.Name, name)
		}
	}
	if err := os.Remove(files.bootstrap); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("client %s: %w", c.Name, err)
	}
	conn, err := grpc.NewClient(c.target(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, fmt.Errorf("client %s: %w", c.Name, err)
	}
	return &failingClient{grpcClient{surroundings: s, client: c, conn: conn}}, nil
}

// unservedClient is a client for whose target the control plane has nothing. gRPC waits for it: it is settled once it has
// been told of the listeners there are.
type unservedClient struct{ grpcClient }

func (u *unservedClient) settle(ctx context.Context) error {
	return u.controlPlane.await(ctx, u.client.nodeID(), func(st *xdsStream) bool {
		if st == nil {
			return false
		}
		t := st.types[resource.ListenerType]
		return t != nil && t.status == statusv3.ConfigStatus_SYNCED
	})
}

// startWithoutServers starts a client whose bootstrap gRPC refuses: it ends before it has a stream, and logs what gRPC says.
func (s *surroundings) startWithoutServers(c *Client, files artifacts, builder resolver.Builder) (proxy, error) {
	conn, err := grpc.NewClient(c.target(), grpc.WithResolvers(builder), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, fmt.Errorf("client %s: %w", c.Name, err)
	}
	return &failingClient{grpcClient{surroundings: s, client: c, conn: conn}}, nil
}
