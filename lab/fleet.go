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
	"google.golang.org/grpc/resolver"
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
	upstreams    map[string]hostPort
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
type artifacts struct{ dir, bootstrap, log string }

// page gives the file of an artifact by the name that scenarios ask for it by.
func (a artifacts) page(name string) string {
	switch name {
	case "bootstrap":
		return a.bootstrap
	case "log":
		return a.log
	case "access_log":
		return filepath.Join(a.dir, "access.log")
	case clustersPage, listenersPage, initDumpPage, configDumpPage, serverInfoPage:
		return filepath.Join(a.dir, name+".json")
	}
	return filepath.Join(a.dir, name+".txt")
}

func (s *surroundings) artifactsOf(c *Client) artifacts {
	name := "bootstrap.json"
	if c.Kind == "envoy" {
		name = "bootstrap.yaml"
	}
	dir := filepath.Join(s.dir, c.Name)
	return artifacts{dir: dir, bootstrap: filepath.Join(dir, name), log: filepath.Join(dir, "client.log")}
}

// grpcClient is a real grpc-go channel with an xDS client of its own.
type grpcClient struct {
	*surroundings
	client *Client
	conn   *grpc.ClientConn
	errors *resolverErrors
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
	if c.NoBootstrap {
		return s.startWithoutBootstrap(c, files)
	}
	registerChannelCreds()
	builder, err := xds.NewXDSResolverWithConfigForTesting(bootstrap)
	if err != nil {
		return nil, fmt.Errorf("client %s: %w", c.Name, err)
	}
	if c.NoServers {
		return s.startWithoutServers(c, files, builder)
	}
	// An idle channel would drop its xDS client, and with it the stream that CSDS tells about.
	errs := &resolverErrors{Builder: builder, first: make(chan error, 1)}
	conn, err := grpc.NewClient(c.target(), grpc.WithResolvers(errs), grpc.WithIdleTimeout(0),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, fmt.Errorf("client %s: %w", c.Name, err)
	}
	conn.Connect()
	client := grpcClient{s, c, conn, errs}
	switch {
	case c.Authority != "" || s.scenario.drained(c):
		return &failingClient{client}, nil
	case !s.scenario.serves(c):
		return &unservedClient{client}, nil
	}
	return &client, nil
}

func (g *grpcClient) settle(ctx context.Context) error {
	until, cancel := context.WithCancel(ctx)
	defer cancel()
	ready := make(chan struct{})
	go func() {
		defer close(ready)
		for state := g.conn.GetState(); state != connectivity.Ready; state = g.conn.GetState() {
			if !g.conn.WaitForStateChange(until, state) {
				return
			}
		}
	}()
	select {
	case <-ready:
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("client %s stays in %s: %w", g.client.Name, g.conn.GetState(), err)
		}
	case failure := <-g.errors.first:
		cancel()
		<-ready
		// The line that grpc-go's logger prints at this point; the logger itself is one for the whole process.
		line := fmt.Sprintf("%s WARNING: [core] [Channel #1]ccResolverWrapper: reporting error to cc: %v",
			time.Now().Format("2006/01/02 15:04:05"), failure)
		if err := appendLog(g.artifactsOf(g.client).log, line); err != nil {
			return err
		}
	}
	// The client may be done before the control plane has read its last ACK or NACK.
	return g.controlPlane.await(ctx, g.client.nodeID(), (*xdsStream).answered)
}

// resolverErrors is an xDS resolver whose first error is kept: it tells why a client was refused.
type resolverErrors struct {
	resolver.Builder
	first chan error
}

func (r *resolverErrors) Build(target resolver.Target, cc resolver.ClientConn, opts resolver.BuildOptions) (resolver.Resolver, error) {
	return r.Builder.Build(target, &errorTap{cc, r.first}, opts)
}

type errorTap struct {
	resolver.ClientConn
	first chan error
}

func (t *errorTap) ReportError(err error) {
	select {
	case t.first <- err:
	default: // only the first counts: the others repeat it
	}
	t.ClientConn.ReportError(err)
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
