// Package lab is a simulated service mesh with real parts, on loopback: a control plane that behaves as the documents
// say Traffic Director does, the Google REST APIs that describe the mesh, an OAuth token endpoint, a DNS server, and
// real grpc-go xDS clients as the fleet. A scenario (one YAML file) says what the mesh is, what is broken in it, and
// what a diagnosis must find. Nothing here knows how a diagnosis is made: the lab is the world outside.
package lab

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Options are what a caller may decide about a world. The zero value is fine.
type Options struct {
	// Dir is the scratch folder for the CA, credentials, bootstraps and logs; it is made if it does not exist. When
	// empty, a temporary one is made, and removed by Close.
	Dir    string
	Logger *slog.Logger // nothing is logged when nil
	// Latency is added to every answer of the Google APIs and of CSDS, for benchmarks. Token requests and the
	// clients' own streams are not held back.
	Latency time.Duration
	// Clients, when above zero, is how many clients there shall be: the scenario's first is repeated up to it.
	Clients int
	Observe Observer // told of every REST exchange, if set
}

// World is a running lab.
type World struct {
	scenario   Scenario
	connection Connection
	target     Target
	closers    []func() // run last to first
}

// Connection is how a program is pointed at the lab instead of at Google.
type Connection struct {
	TrafficDirectorEndpoint string // host:port
	GCPEndpoint             string // base URL of all Google REST APIs
	DNSServer               string // ip:port
	CAFile                  string
	CredentialsFile         string
	EnvoyAdmin              string   // host:port of the admin interface that may be asked; empty for none
	ControlPlaneRanges      []string // CIDRs in which the control plane may be: the lab's DNS answers 127.0.0.1
}

// Target is what a diagnosis of the scenario is asked about.
type Target struct {
	Project  string
	Network  string // or Mesh
	Mesh     string
	NodeID   string
	Zone     string // with Instance
	Instance string
	Files    []string // artifacts
	Symptom  string
	// Destination is what a client can't reach, as it dials it.
	Destination string
	ServingPort int      // that the client's own application serves on; 0 for none
	Baseline    []string // config dumps to compare with
}

// Start brings a scenario's world up, and returns when its clients are settled: connected with their configuration
// answered, or refused. Cancelling the context later does not end the world; Close does.
func Start(ctx context.Context, s Scenario, o Options) (*World, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s.fillDefaults()
	if err := s.validate(); err != nil {
		return nil, fmt.Errorf("scenario %s: %w", s.Name, err)
	}
	w := &World{scenario: s.withClients(o.Clients)}
	if err := w.start(ctx, o); err != nil {
		return nil, errors.Join(fmt.Errorf("starting scenario %s: %w", s.Name, err), w.Close())
	}
	return w, nil
}

// withClients repeats the first client until there are n.
func (s Scenario) withClients(n int) Scenario {
	if n <= 0 || len(s.Clients) == 0 {
		return s
	}
	first := s.Clients[0]
	clients := append([]Client(nil), s.Clients[:min(n, len(s.Clients))]...)
	for len(clients) < n {
		c := first
		c.Name = fmt.Sprintf("%s-copy-%d", first.Name, len(clients))
		c.Node = nodeSuffix(c.Name)
		if _, ip, ok := strings.Cut(first.Node, "~"); ok {
			c.Node += "~" + ip
		}
		clients = append(clients, c)
	}
	s.Clients = clients
	return s
}

func (w *World) onClose(f func()) { w.closers = append(w.closers, f) }

// Close stops everything that Start started.
func (w *World) Close() error {
	for i := len(w.closers) - 1; i >= 0; i-- {
		w.closers[i]()
	}
	w.closers = nil
	return nil
}

func (w *World) start(ctx context.Context, o Options) error {
	s := &w.scenario
	dir, err := w.scratch(o.Dir)
	if err != nil {
		return err
	}
	ca, err := newAuthority("Lab Root CA", "Google Trust Services LLC")
	if err != nil {
		return err
	}
	cert, err := ca.server()
	if err != nil {
		return err
	}
	tok := &tokens{}
	names, err := startNameServer(s.Fault.DNS)
	if err != nil {
		return err
	}
	w.onClose(names.close)
	back, err := startBackend()
	if err != nil {
		return err
	}
	w.onClose(back.close)

	hosts, err := w.upstreams(back.addr)
	if err != nil {
		return err
	}
	cp := newControlPlane(s, tok, hosts, o.Latency)
	cpServer, err := startWebServer(observed(cp, o.Observe), serverTLS(cert), o.Logger)
	if err != nil {
		return err
	}
	w.onClose(func() { cp.close(); cpServer.close() })
	port, err := w.path(cpServer, ca, o.Logger)
	if err != nil {
		return err
	}

	apis := &lateHandler{}
	apiServer, err := startWebServer(apis, serverTLS(cert), o.Logger)
	if err != nil {
		return err
	}
	w.onClose(apiServer.close)
	base := "https://" + apiServer.addr.String()
	oauth, err := newTokenServer(s, tok, base+tokenPath)
	if err != nil {
		return err
	}
	google := newGoogleAPIs(s, tok, o.Latency)
	google.mux.Handle(tokenPath, oauth)
	google.mux.Handle("POST "+clientStatusPath, cp)
	apis.set(observed(google, o.Observe))

	w.connection = Connection{
		TrafficDirectorEndpoint: fmt.Sprintf("%s:%d", trafficDirectorHost, port),
		GCPEndpoint:             base,
		DNSServer:               names.addr,
		CAFile:                  filepath.Join(dir, "ca.pem"),
		CredentialsFile:         filepath.Join(dir, "credentials.json"),
		ControlPlaneRanges:      []string{"127.0.0.0/8"},
	}
	if s.Fault.DNS == "unexpected" {
		w.connection.ControlPlaneRanges = []string{"127.0.0.1/32"}
	}
	credentials, err := oauth.credentialsFile(s.Project.ID)
	if err != nil {
		return fmt.Errorf("encoding the credentials file: %w", err)
	}
	for name, b := range map[string][]byte{w.connection.CAFile: ca.pem(), w.connection.CredentialsFile: credentials} {
		if err := os.WriteFile(name, b, 0o600); err != nil {
			return fmt.Errorf("writing the lab's files: %w", err)
		}
	}
	around := &surroundings{scenario: s, controlPlane: cp, tokens: tok, ca: ca, caFile: w.connection.CAFile, dir: dir,
		upstreams: hosts, target: fmt.Sprintf("127.0.0.1:%d", port)}
	if s.Fault.DNS != "" {
		// The name is looked up only where that is what fails: with a name as target, gRPC would go through an
		// HTTPS_PROXY of the machine the lab runs on.
		around.target = fmt.Sprintf("dns://%s/%s:%d", names.addr, trafficDirectorHost, port)
	}
	if err := w.fleet(ctx, around); err != nil {
		return err
	}
	if len(s.Ask.Documents) > 0 {
		w.target, err = around.documents()
		return err
	}
	w.target = around.targetOf()
	return nil
}

func (w *World) scratch(dir string) (string, error) {
	if dir != "" {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return "", fmt.Errorf("making the scratch folder: %w", err)
		}
		return filepath.Abs(dir)
	}
	dir, err := os.MkdirTemp("", "meshdiag-lab-")
	if err != nil {
		return "", fmt.Errorf("making the scratch folder: %w", err)
	}
	w.onClose(func() { _ = os.RemoveAll(dir) })
	return dir, nil
}
