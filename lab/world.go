package lab

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
)

// lateHandler is a handler that is set after its server runs, because it must know the server's address.
type lateHandler struct{ h atomic.Pointer[http.Handler] }

func (l *lateHandler) set(h http.Handler) { l.h.Store(&h) }

func (l *lateHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h := l.h.Load(); h != nil {
		(*h).ServeHTTP(w, r)
		return
	}
	writeStatus(w, errUnavailable())
}

// path puts what the scenario says between the world and the control plane, and returns the port at which the
// control plane is to be looked for.
func (w *World) path(cp *webServer, ca *authority, log *slog.Logger) (int, error) {
	switch w.scenario.Fault.Path {
	case "blackhole":
		b, err := startBlackhole()
		if err != nil {
			return 0, err
		}
		w.onClose(b.close)
		return b.port, nil
	case "intercept-tls":
		corp, err := newAuthority("Corp Inspection CA", "Example Corp IT Security")
		if err != nil {
			return 0, err
		}
		cert, err := corp.server()
		if err != nil {
			return 0, err
		}
		box, stop, err := startMiddlebox(cp.addr.String(), cert, ca, log)
		if err != nil {
			return 0, err
		}
		w.onClose(stop)
		return box.addr.Port, nil
	case "break-grpc":
		cert, err := ca.server()
		if err != nil {
			return 0, err
		}
		box, stop, err := startMiddlebox(cp.addr.String(), cert, ca, log)
		if err != nil {
			return 0, err
		}
		w.onClose(stop)
		return box.addr.Port, nil
	}
	return cp.addr.Port, nil
}

func (w *World) fleet(ctx context.Context, around *surroundings) error {
	var fleet []proxy
	envoys := map[string]*envoyClient{}
	for i := range w.scenario.Clients {
		c := &w.scenario.Clients[i]
		start := around.startGRPC
		if c.Kind == "envoy" {
			start = around.startEnvoy
		}
		p, err := start(c)
		if err != nil {
			return err
		}
		w.onClose(p.close)
		fleet = append(fleet, p)
		if e, ok := p.(*envoyClient); ok {
			envoys[c.Name] = e
		}
	}
	if w.scenario.Fault.unreachable() {
		return nil
	}
	if err := settleAll(ctx, fleet); err != nil {
		return err
	}
	return w.admin(envoys)
}

// admin hands over the pages of admin interfaces that the scenario asks for, as files or over HTTP.
func (w *World) admin(envoys map[string]*envoyClient) error {
	ask := w.scenario.Ask
	if e := envoys[ask.Baseline]; e != nil {
		if err := e.writePages(configDumpPage); err != nil {
			return err
		}
	}
	e := envoys[ask.Client]
	if e == nil {
		return nil
	}
	if err := e.writePages(ask.Files...); err != nil {
		return err
	}
	if !ask.EnvoyAdmin {
		return nil
	}
	a, err := startAdmin(e)
	if err != nil {
		return err
	}
	w.onClose(a.close)
	w.connection.EnvoyAdmin = a.addr
	return nil
}

// documents writes those of the scenario, and gives what to ask about.
func (s *surroundings) documents() (Target, error) {
	t := Target{Symptom: s.scenario.Ask.Symptom}
	for _, d := range s.scenario.Ask.Documents {
		file := filepath.Join(s.dir, d.Name)
		if err := os.WriteFile(file, []byte(d.Text), 0o600); err != nil {
			return Target{}, fmt.Errorf("writing the lab's files: %w", err)
		}
		t.Files = append(t.Files, file)
	}
	return t, nil
}

func (s *surroundings) targetOf() Target {
	ask := s.scenario.Ask
	t := Target{Project: s.scenario.Project.ID, Network: ask.Network, Mesh: ask.Mesh, Symptom: ask.Symptom, Destination: ask.Destination,
		ServingPort: ask.ServingPort}
	if ask.ProjectAsNumber {
		t.Project = s.scenario.Project.Number
	}
	if b := s.scenario.client(ask.Baseline); b != nil {
		t.Baseline = append(t.Baseline, s.artifactsOf(b).page(configDumpPage))
	}
	c := s.scenario.client(ask.Client)
	if c == nil {
		return t
	}
	if ask.NodeID {
		t.NodeID = c.nodeID()
	}
	if ask.Instance {
		t.Zone, t.Instance = s.scenario.Zone, c.Instance
	}
	files := s.artifactsOf(c)
	for _, f := range ask.Files {
		t.Files = append(t.Files, files.page(f))
	}
	return t
}

// Scenario is the one the world was made from.
func (w *World) Scenario() Scenario { return w.scenario }

// Connection says how to reach the world.
func (w *World) Connection() Connection { return w.connection }

// Target says what to ask a diagnosis about.
func (w *World) Target() Target { return w.target }

// Flags are the command line flags for Target and Connection, in the order a person would type them.
func (w *World) Flags() []string {
	t, c := w.target, w.connection
	var flags []string
	add := func(flag, value string) {
		if value != "" {
			flags = append(flags, flag, value)
		}
	}
	add("--project", t.Project)
	add("--network", t.Network)
	add("--mesh", t.Mesh)
	add("--node-id", t.NodeID)
	add("--zone", t.Zone)
	add("--instance", t.Instance)
	add("--destination", t.Destination)
	add("--symptom", t.Symptom)
	if t.ServingPort != 0 {
		add("--serving-port", strconv.Itoa(t.ServingPort))
	}
	for _, f := range t.Files {
		add("-f", f)
	}
	for _, f := range t.Baseline {
		add("--baseline", f)
	}
	add("--traffic-director-endpoint", c.TrafficDirectorEndpoint)
	add("--gcp-endpoint", c.GCPEndpoint)
	add("--dns-server", c.DNSServer)
	add("--ca-file", c.CAFile)
	add("--credentials-file", c.CredentialsFile)
	add("--envoy-admin", c.EnvoyAdmin)
	for _, r := range c.ControlPlaneRanges {
		add("--control-plane-range", r)
	}
	return flags
}

// String names the world in messages.
func (w *World) String() string {
	return fmt.Sprintf("lab world of scenario %s at %s", w.scenario.Name, w.connection.TrafficDirectorEndpoint)
}
