package main

import (
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"google.golang.org/grpc/grpclog"

	"github.com/meshdiag/meshdiag/cmd/meshdiag/pipeline"
	"github.com/meshdiag/meshdiag/service"
)

func newServe() *cobra.Command {
	var conn connectionFlags
	var listen, admin, cert, key, level, format string
	var plaintext bool
	var drain time.Duration
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve the gRPC and REST API",
		Long: `serve answers gRPC and REST on one port until it is told to stop, then drains. It asks Google's APIs and Kubernetes
clusters with its own credentials: whoever reaches it sees what they may see. It listens on loopback alone unless it has
TLS files or is told --insecure.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, err := newLogger(cmd.ErrOrStderr(), level, format)
			if err != nil {
				return err
			}
			grpclog.SetLoggerV2(service.GRPCLog(log)) // once, before anything of gRPC's is used
			c, err := conn.connection()
			if err != nil {
				return err
			}
			registry := prometheus.NewRegistry()
			upstream := prometheus.NewCounterVec(prometheus.CounterOpts{
				Name: "meshdiag_upstream_exchanges_total", Help: "Exchanges with Google APIs and Kubernetes API servers, by API and how they ended: an HTTP status, or error.",
			}, []string{"api", "code"})
			registry.MustRegister(upstream)
			p, err := pipeline.New(pipeline.Config{Connection: c, Timeout: service.MaxTimeout, Logger: log,
				ObserveAPI: func(api, code string) { upstream.WithLabelValues(api, code).Inc() }})
			if err != nil {
				return asExit(err)
			}
			defer p.Close()
			svc, err := service.New(service.Config{Engine: p.Engine, Directory: p, Logger: log, Registry: registry})
			if err != nil {
				return failed(err)
			}
			server, err := service.NewServer(service.ServerConfig{
				Service: svc, Listen: listen, AdminListen: admin, TLSCert: cert, TLSKey: key, Insecure: plaintext, DrainTimeout: drain, Version: version(),
			})
			if err != nil {
				return &exitError{code: exitUsage, err: err}
			}
			if err := server.Run(cmd.Context()); err != nil {
				return failed(err)
			}
			return nil
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&listen, "listen", service.DefaultListen, "`HOST:PORT` for gRPC and REST")
	fs.StringVar(&admin, "admin-listen", service.DefaultAdminListen, "loopback `HOST:PORT` for metrics, profiles and channelz")
	fs.StringVar(&cert, "tls-cert", "", "PEM `FILE` of the server's certificate")
	fs.StringVar(&key, "tls-key", "", "PEM `FILE` of its key")
	fs.BoolVar(&plaintext, "insecure", false, "listen in plaintext beyond loopback")
	fs.DurationVar(&drain, "drain-timeout", service.DefaultDrain, "how long running requests may take after SIGTERM")
	fs.StringVar(&level, "log-level", "info", "debug, info, warn or error")
	fs.StringVar(&format, "log-format", "json", "json or text")
	conn.add(cmd)
	return cmd
}

func newLogger(w io.Writer, level, format string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, usage("--log-level %q is not one of debug, info, warn, error", level)
	}
	opts := &slog.HandlerOptions{Level: l}
	switch format {
	case "json":
		return slog.New(slog.NewJSONHandler(w, opts)), nil
	case "text":
		return slog.New(slog.NewTextHandler(w, opts)), nil
	default:
		return nil, usage("%s", fmt.Sprintf("--log-format %q is not one of json, text", format))
	}
}
