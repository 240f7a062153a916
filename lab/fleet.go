package lab

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/xds"
)

// proxy is one running client of the mesh.
type proxy interface {
	// settle returns once the client is connected and has answered what it was sent, or has been refused.
	settle(ctx context.Context) error
	close()
}

// surroundings is what a client needs to know of the world.
type surroundings struct {
	scenario     *Scenario
	controlPlane *controlPlane
	tokens       *tokens
	ca           *authority
	caFile       string
	target       string // gRPC target of the control plane, the way the client's machine reaches it
	dir          string // scratch folder
}

// startBackend serves the endpoints of every service: a gRPC server with nothing but health checks.
func startBackend() (*backend, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("starting the backend: %w", err)
	}
	b := &backend{server: grpc.NewServer(), addr: hostPort{"127.0.0.1", l.Addr().(*net.TCPAddr).Port}}
	healthpb.RegisterHealthServer(b.server, health.NewServer())
	b.done.Go(func() { _ = b.server.Serve(l) }) // ends with Stop
	return b, nil
}

type backend struct {
	server *grpc.Server
	addr   hostPort
	done   sync.WaitGroup
}

func (b *backend) close() {
	b.server.Stop()
	b.done.Wait()
}

// artifacts are the files of a client that an operator could hand over.
type artifacts struct{ bootstrap, log string }

func (s *surroundings) artifactsOf(c *Client) artifacts {
	name := "bootstrap.json"
	if c.Kind == "envoy" {
		name = "bootstrap.yaml"
	}
	dir := filepath.Join(s.dir, c.Name)
	return artifacts{bootstrap: filepath.Join(dir, name), log: filepath.Join(dir, "client.log")}
}

// grpcClient is a real grpc-go channel with an xDS client of its own.
type grpcClient struct {
	*surroundings
	client *Client
	conn   *grpc.ClientConn
}

func (s *surroundings) startGRPC(c *Client) (proxy, error) {
	files := s.artifactsOf(c)
	dir := filepath.Dir(files.bootstrap)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the folder of client %s: %w", c.Name, err)
	}
	creds := channelCredsConfig{CAFile: s.caFile, TokenFile: filepath.Join(dir, "token")}
	bootstrap, err := s.scenario.grpcBootstrap(c, s.target, creds)
	if err != nil {
		return nil, fmt.Errorf("writing the bootstrap of %s: %w", c.Name, err)
	}
	for name, b := range map[string][]byte{creds.TokenFile: []byte(s.tokenOf(c)), files.bootstrap: bootstrap, files.log: nil} {
		if err := os.WriteFile(name, b, 0o600); err != nil {
			return nil, fmt.Errorf("writing the files of client %s: %w", c.Name, err)
		}
	}
	if c.Down {
		return stopped{}, nil
	}
	registerChannelCreds()
	resolver, err := xds.NewXDSResolverWithConfigForTesting(bootstrap)
	if err != nil {
		return nil, fmt.Errorf("client %s: %w", c.Name, err)
	}
	// An idle channel would drop its xDS client, and with it the stream that CSDS tells about.
	conn, err := grpc.NewClient("xds:///"+c.Dial, grpc.WithResolvers(resolver), grpc.WithIdleTimeout(0),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, fmt.Errorf("client %s: %w", c.Name, err)
	}
	conn.Connect()
	return &grpcClient{s, c, conn}, nil
}

func (g *grpcClient) settle(ctx context.Context) error {
	for state := g.conn.GetState(); state != connectivity.Ready && state != connectivity.TransientFailure; state = g.conn.GetState() {
		if !g.conn.WaitForStateChange(ctx, state) {
			return fmt.Errorf("client %s stays in %s: %w", g.client.Name, state, ctx.Err())
		}
	}
	// The channel may know before the control plane has read the last ACK.
	if err := g.controlPlane.await(ctx, g.client.nodeID(), (*xdsStream).answered); err != nil {
		return err
	}
	// What the application logs: the error of its first call, if there is one.
	if _, err := healthpb.NewHealthClient(g.conn).Check(ctx, &healthpb.HealthCheckRequest{}); err != nil {
		return appendLog(g.artifactsOf(g.client).log, fmt.Sprintf("%s ERROR: calling %s: %v",
			time.Now().Format("2006/01/02 15:04:05"), g.client.Dial, err))
	}
	return nil
}

func (g *grpcClient) close() { _ = g.conn.Close() }

// stopped is a client whose machine is off.
type stopped struct{}

func (stopped) settle(context.Context) error { return nil }
func (stopped) close()                       {}

func appendLog(file, line string) error {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("writing a client's log: %w", err)
	}
	_, err = io.WriteString(f, strings.ReplaceAll(line, "\n", " ")+"\n")
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("writing a client's log: %w", err)
	}
	return nil
}
