package main

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/meshdiag/meshdiag/cmd/meshdiag/pipeline"
	pb "github.com/meshdiag/meshdiag/gen/meshdiag/v1"
	"github.com/meshdiag/meshdiag/service"
	"github.com/meshdiag/meshdiag/xdsclient"
)

const (
	// connectGrace is what a call may take beyond the diagnosis itself: connecting, and sending files of 16 MiB at 25 Mbit/s.
	connectGrace = 5 * time.Second
	// maxAnswer is the largest report that is taken from a server: with 64 files and thousands of observations it stays far
	// below.
	maxAnswer = 64 << 20
)

// connected is a service that can be asked.
type connected struct {
	client  pb.DiagnosisServiceClient
	catalog pb.CatalogServiceClient
	close   func()
}

// inProcess makes a service of this process, and asks it as one would ask a remote one.
func inProcess(_ context.Context, c pipeline.Connection) (*connected, error) {
	p, err := pipeline.New(pipeline.Config{Connection: c, Timeout: service.MaxTimeout})
	if err != nil {
		return nil, err
	}
	svc, err := service.New(service.Config{Engine: p.Engine, Directory: p})
	if err != nil {
		p.Close()
		return nil, failed(err)
	}
	conn, stop, err := svc.InProcess()
	if err != nil {
		p.Close()
		return nil, failed(err)
	}
	return &connected{client: pb.NewDiagnosisServiceClient(conn), catalog: pb.NewCatalogServiceClient(conn), close: func() { stop(); p.Close() }}, nil
}

// serverFlags name a running meshdiag.
type serverFlags struct {
	name        string // of the flag that holds the address
	address, ca string
	plaintext   bool
}

func (f *serverFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.address, "server", "", "ask the meshdiag at `HOST:PORT` instead of diagnosing in this process")
	f.name = "server"
	f.addTLS(cmd)
}

// addTLS adds the flags besides the address.
func (f *serverFlags) addTLS(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.ca, "server-ca-file", "", "PEM `FILE` of CA certificates to trust for the server besides the system's")
	cmd.Flags().BoolVar(&f.plaintext, "server-plaintext", false, "speak plaintext to the server even where it isn't on loopback")
}

// connectionFlagNames lists the flags of connectionFlags.
func connectionFlagNames() []string {
	var c connectionFlags
	cmd := &cobra.Command{}
	c.add(cmd)
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	return names
}

// connect reaches a running meshdiag: over TLS, or in plaintext where it is on loopback.
func (f *serverFlags) connect(ctx context.Context) (*connected, error) {
	address := strings.TrimPrefix(strings.TrimPrefix(f.address, "https://"), "http://")
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, usage("--%s %q is not of the form HOST:PORT", f.name, f.address)
	}
	loopback := host == "localhost"
	if ip := net.ParseIP(host); ip != nil {
		loopback = ip.IsLoopback()
	}
	tlsConfig, err := xdsclient.TLSConfig(f.ca)
	if err != nil {
		return nil, usage("--server-ca-file: %v", err)
	}
	creds := credentials.NewTLS(tlsConfig)
	if f.plaintext || (loopback && f.ca == "" && !strings.HasPrefix(f.address, "https://")) {
		creds = insecure.NewCredentials()
	}
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(creds), grpc.WithUserAgent("meshdiag"),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer), grpc.MaxCallSendMsgSize(service.MaxMessageBytes)))
	if err != nil {
		return nil, failed(fmt.Errorf("connecting to %s: %w", address, err))
	}
	return &connected{client: pb.NewDiagnosisServiceClient(conn), catalog: pb.NewCatalogServiceClient(conn), close: func() { _ = conn.Close() }}, nil
}
