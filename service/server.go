package service

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"golang.org/x/net/netutil"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/admin"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/test/bufconn"
)

// Where a server listens by default: on loopback alone.
const (
	DefaultListen      = "127.0.0.1:7443"
	DefaultAdminListen = "127.0.0.1:7444"
)

// noDeadline takes a deadline away.
var noDeadline time.Time

// ServerConfig makes a [Server].
type ServerConfig struct {
	Service *Service
	// Listen is HOST:PORT for gRPC and REST; DefaultListen where empty. An address that isn't loopback needs TLS or Insecure.
	Listen string
	// TLSCert and TLSKey are PEM files; both or neither.
	TLSCert, TLSKey string
	// Insecure allows plaintext beyond loopback.
	Insecure bool
	// AdminListen is HOST:PORT for metrics, profiles and channelz; DefaultAdminListen where empty. It must be loopback: what it
	// shows is never public.
	AdminListen string
	// Limits bounds connections and bodies.
	Limits Limits
	// DrainTimeout is how long running requests may take once Run's context ended; DefaultDrain where 0.
	DrainTimeout time.Duration
	// Version is shown in the metrics.
	Version string
}

// Server speaks gRPC and REST on one port.
//
// Both come through one net/http server, which hands gRPC requests to grpc-go's ServeHTTP. Telling connections apart and giving
// gRPC's to grpc-go's own transport would be a little faster, but a connection doesn't say what it is for: curl and load
// balancers speak HTTP/2 for REST too, and proxies mix both on one. Here limits, pings and timeouts are net/http's and hold
// for both. Two things are then ours to do: the drain goes through net/http, which waits for running requests
// (grpc.Server.GracefulStop would cut them off on this way), and bodies are bounded before gRPC reads them.
//
// The gateway calls the same gRPC server through memory, so that interceptors see every request once.
type Server struct {
	cfg           ServerConfig
	log           *slog.Logger
	health        *health.Server
	grpc          *grpc.Server
	admin         *grpc.Server
	adminCleanup  func()
	inside        *bufconn.Listener
	insideConn    *grpc.ClientConn
	public        *http.Server
	private       *http.Server
	listener      net.Listener
	adminListener net.Listener
	tls           bool
	local         bool // on loopback, in plaintext
	// stopAll and stopWatches end requests during the drain.
	stopAll, stopWatches context.CancelFunc
}

// NewServer checks the configuration, and begins to listen. Requests are answered from [Server.Run] on; without Run, Close
// gives the ports back.
func NewServer(cfg ServerConfig) (_ *Server, err error) {
	if cfg.Service == nil {
		return nil, errors.New("serving: ServerConfig.Service is needed")
	}
	if cfg.Listen == "" {
		cfg.Listen = DefaultListen
	}
	if cfg.AdminListen == "" {
		cfg.AdminListen = DefaultAdminListen
	}
	or(&cfg.DrainTimeout, DefaultDrain)
	cfg.Limits = cfg.Limits.withDefaults()
	s := &Server{cfg: cfg, log: cfg.Service.log, tls: cfg.TLSCert != ""}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	tlsConfig, err := loadTLS(cfg.TLSCert, cfg.TLSKey)
	if err != nil {
		return nil, err
	}
	if err := s.listen(); err != nil {
		return nil, err
	}
	if err := s.register(); err != nil {
		return nil, err
	}
	rest, err := newGateway(context.Background(), cfg.Service, s.insideConn)
	if err != nil {
		return nil, err
	}
	protocols := &http.Protocols{}
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	l := cfg.Limits
	s.public = &http.Server{
		Handler:   &front{svc: cfg.Service, grpc: s.grpc, rest: rest, limits: l, local: s.local},
		TLSConfig: tlsConfig, Protocols: protocols,
		ReadHeaderTimeout: l.ReadHeader, ReadTimeout: l.Read, WriteTimeout: l.Write, IdleTimeout: l.Idle, MaxHeaderBytes: l.HeaderBytes,
		// WriteByteTimeout closes a connection that takes nothing at all any more.
		HTTP2:    &http.HTTP2Config{MaxConcurrentStreams: l.Streams, SendPingTimeout: l.Ping, WriteByteTimeout: l.Ping},
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug), // broken handshakes and the like: of callers' making
	}
	s.private = &http.Server{
		Handler: adminHandler(cfg.Service.registry, s.admin), Protocols: protocols,
		ReadHeaderTimeout: l.ReadHeader, ReadTimeout: l.Read, IdleTimeout: l.Idle, MaxHeaderBytes: l.HeaderBytes,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	cfg.Service.metrics.build.WithLabelValues(cfg.Version).Set(1)
	return s, nil
}

func loadTLS(cert, key string) (*tls.Config, error) {
	switch {
	case cert == "" && key == "":
		return nil, nil
	case cert == "" || key == "":
		return nil, errors.New("serving: a TLS certificate and its key are needed together")
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("serving: reading the TLS certificate %s and its key %s: %w", cert, key, err)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}, nil
}

// listen opens both ports, after refusing those that must not be.
func (s *Server) listen() error {
	addr, err := net.ResolveTCPAddr("tcp", s.cfg.Listen)
	switch {
	case err != nil:
		return fmt.Errorf("serving: the address %q must be HOST:PORT: %w", s.cfg.Listen, err)
	case !addr.IP.IsLoopback() && !s.tls && !s.cfg.Insecure:
		return fmt.Errorf("serving: %s is not a loopback address: give a TLS certificate and key, or allow plaintext with --insecure", s.cfg.Listen)
	}
	adminAddr, err := net.ResolveTCPAddr("tcp", s.cfg.AdminListen)
	switch {
	case err != nil:
		return fmt.Errorf("serving: the admin address %q must be HOST:PORT: %w", s.cfg.AdminListen, err)
	case !adminAddr.IP.IsLoopback():
		return fmt.Errorf("serving: the admin address %s is not a loopback address; metrics and profiles are never public", s.cfg.AdminListen)
	}
	s.local = addr.IP.IsLoopback() && !s.tls
	if s.listener, err = net.Listen("tcp", addr.String()); err != nil {
		return fmt.Errorf("serving: %w", err)
	}
	s.listener = netutil.LimitListener(s.listener, s.cfg.Limits.Connections)
	if s.adminListener, err = net.Listen("tcp", adminAddr.String()); err != nil {
		return fmt.Errorf("serving: the admin address: %w", err)
	}
	return nil
}

// register makes the gRPC servers and the connection from the gateway to the public one.
func (s *Server) register() error {
	svc := s.cfg.Service
	in := &interceptors{svc: svc, known: map[string]bool{}}
	in.stop, s.stopAll = context.WithCancel(context.Background())
	in.stopWatches, s.stopWatches = context.WithCancel(context.Background())
	s.grpc = svc.grpcServer(in, grpc.StatsHandler(otelgrpc.NewServerHandler()))
	s.health = health.NewServer()
	healthpb.RegisterHealthServer(s.grpc, s.health)
	reflection.Register(s.grpc)
	for name := range s.grpc.GetServiceInfo() {
		s.health.SetServingStatus(name, healthpb.HealthCheckResponse_SERVING)
	}
	in.learn(s.grpc)

	s.admin = grpc.NewServer()
	cleanup, err := admin.Register(s.admin)
	if err != nil {
		return fmt.Errorf("serving: registering the admin services: %w", err)
	}
	s.adminCleanup = sync.OnceFunc(cleanup)
	reflection.Register(s.admin)

	s.inside = bufconn.Listen(pipeBytes)
	if s.insideConn, err = dialPipe(s.inside); err != nil {
		return fmt.Errorf("serving: connecting the gateway: %w", err)
	}
	return nil
}

// Addr gives the address that gRPC and REST are served on.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// AdminAddr gives the admin listener's address.
func (s *Server) AdminAddr() net.Addr { return s.adminListener.Addr() }

// Run serves until ctx ends, then drains: health says NOT_SERVING, no connection is taken any more, running requests have
// DrainTimeout to end, and those that don't are told UNAVAILABLE. It returns nil after a drain, complete or not, and an error
// where serving failed. It may be called once.
func (s *Server) Run(ctx context.Context) error {
	defer s.Close()
	s.log.Info("serving", "address", s.Addr().String(), "tls", s.tls, "admin", s.AdminAddr().String(), "version", s.cfg.Version)
	group, gctx := errgroup.WithContext(ctx)
	serve := func(what string, f func() error) {
		group.Go(func() error {
			err := f()
			switch closed := errors.Is(err, http.ErrServerClosed) || errors.Is(err, grpc.ErrServerStopped); {
			case gctx.Err() != nil && (err == nil || closed):
				return nil // the drain ended it
			case err == nil:
				err = net.ErrClosed
			}
			return fmt.Errorf("serving %s: %w", what, err)
		})
	}
	serve("the gateway's connection", func() error { return s.grpc.Serve(s.inside) })
	serve("the admin address", func() error { return s.private.Serve(s.adminListener) })
	serve(s.Addr().String(), func() error {
		if s.tls {
			return s.public.ServeTLS(s.listener, "", "")
		}
		return s.public.Serve(s.listener)
	})
	group.Go(func() error {
		<-gctx.Done()
		s.drain()
		return nil
	})
	return group.Wait()
}

// drain ends serving. Requests under way come first.
func (s *Server) drain() {
	s.log.Info("draining", "timeout", s.cfg.DrainTimeout)
	s.health.Shutdown() // tells every watcher NOT_SERVING
	watches := time.AfterFunc(watchNotice, s.stopWatches)
	defer watches.Stop()
	ctx, cancel := context.WithTimeout(context.Background(), s.cfg.DrainTimeout)
	defer cancel()
	if err := s.public.Shutdown(ctx); err != nil {
		s.log.Warn("requests were still running when the drain's time was up", "timeout", s.cfg.DrainTimeout)
		s.stopWatches()
		s.stopAll()
		last, cancelLast := context.WithTimeout(context.Background(), farewell)
		defer cancelLast()
		_ = s.public.Shutdown(last) // what is left is cut off by Close
	}
	s.log.Info("drained")
	s.Close()
}

// Close cuts off whatever runs, and gives the ports back. Run does it by itself; a server that was never run needs it.
func (s *Server) Close() {
	for _, stop := range []context.CancelFunc{s.stopWatches, s.stopAll} {
		if stop != nil {
			stop()
		}
	}
	closers := []io.Closer{}
	if s.public != nil {
		closers = append(closers, s.public)
	}
	if s.private != nil {
		closers = append(closers, s.private)
	}
	for _, l := range []net.Listener{s.listener, s.adminListener} {
		if l != nil {
			closers = append(closers, l)
		}
	}
	if s.insideConn != nil {
		closers = append(closers, s.insideConn)
	}
	for _, c := range closers {
		_ = c.Close() // closing twice fails, and harms nothing
	}
	if s.grpc != nil {
		s.grpc.Stop()
	}
	if s.admin != nil {
		s.admin.Stop()
	}
	if s.inside != nil {
		_ = s.inside.Close()
	}
	if s.adminCleanup != nil {
		s.adminCleanup()
	}
}
