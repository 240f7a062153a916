package lab

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

//go:embed scenarios/*.yaml
var scenarioFiles embed.FS

// Verdicts a scenario may expect of a diagnosis.
const (
	VerdictHealthy      = "HEALTHY"
	VerdictCausesFound  = "CAUSES_FOUND"
	VerdictInconclusive = "INCONCLUSIVE"
)

// Scenario is one mesh, the fault in it, and what a diagnosis of it must find. It is read from a YAML file of
// scenarios/, where a field that is not listed here is an error.
type Scenario struct {
	Name    string `yaml:"name"`
	Summary string `yaml:"summary"` // one line

	Project   Project    `yaml:"project"`
	Network   string     `yaml:"network"` // the VPC network of the forwarding rules
	Zone      string     `yaml:"zone"`
	Accounts  []Account  `yaml:"accounts"`
	Services  []Service  `yaml:"services"`
	Meshes    []Mesh     `yaml:"meshes"`
	Gateways  []Gateway  `yaml:"gateways"`
	Instances []Instance `yaml:"instances"`
	Clients   []Client   `yaml:"clients"`
	Fault     Fault      `yaml:"fault"`
	Ask       Ask        `yaml:"ask"`
	Expect    Expect     `yaml:"expect"`

	// Firewalls are the VPC rules of the network; health checks and the network's own ranges are admitted unless set.
	Firewalls        []Firewall       `yaml:"firewalls"`
	FirewallPolicies []FirewallPolicy `yaml:"firewall_policies"`       // those of the organisation first
	PoliciesFirst    bool             `yaml:"firewall_policies_first"` // the network's policies are evaluated before its VPC rules
	// Requests is how many requests to Traffic Director's API Cloud Monitoring counted in each five minutes of the last
	// hour, by HTTP status; 12 with 200 unless set.
	Requests map[string]int64 `yaml:"api_requests"`
}

// Expect is what a diagnosis of the scenario must say.
type Expect struct {
	Verdict string   `yaml:"verdict"` // HEALTHY, CAUSES_FOUND or INCONCLUSIVE
	Causes  []string `yaml:"causes"`  // check IDs, first cause first, exactly these
	Exit    int      `yaml:"exit"`    // exit status of the command line
	// Symptoms are check IDs that must be told as symptoms of those causes; others may be besides.
	Symptoms []string `yaml:"symptoms"`
}

// Project is a Google Cloud project.
type Project struct {
	ID           string   `yaml:"id"`
	Number       string   `yaml:"number"`
	DisabledAPIs []string `yaml:"disabled_apis"` // service names that Service Usage reports as DISABLED

	Metadata map[string]string `yaml:"metadata"` // that all VMs share
}

// Account is a service account and the roles that the project's IAM policy grants it.
type Account struct {
	Name  string   `yaml:"name"` // the part of the e-mail address before @
	Roles []string `yaml:"roles"`
}

// Service is one backend service with, unless NoRule is set, the forwarding rule, target proxy and URL map that
// lead to it.
type Service struct {
	Name                     string           `yaml:"name"`
	Port                     int              `yaml:"port"`
	NoRule                   bool             `yaml:"no_rule"`                      // reached through Mesh or Gateway routes only
	Scheme                   string           `yaml:"load_balancing_scheme"`        // INTERNAL_SELF_MANAGED unless set
	Network                  string           `yaml:"network"`                      // the scenario's unless set
	Proxy                    string           `yaml:"proxy"`                        // grpc (default), http or tcp
	NotValidatedForProxyless bool             `yaml:"not_validated_for_proxyless"`  // a gRPC proxy for clients with a sidecar
	Protocol                 string           `yaml:"protocol"`                     // of the backend service; GRPC unless set
	Address                  string           `yaml:"address"`                      // of the rule; 0.0.0.0 unless set
	Filters                  []MetadataFilter `yaml:"metadata_filters"`             // of the rule
	BadFor                   []string         `yaml:"invalid_listener_for_clients"` // clients that are sent a listener they must reject
	Backends                 []Backend        `yaml:"backends"`                     // one NEG in the scenario's zone unless set
	NoBackends               bool             `yaml:"no_backends"`
	Draining                 bool             `yaml:"draining"` // its endpoints are being taken out: clients may not use them, though health checks still pass
	HealthCheck              HealthCheck      `yaml:"health_check"`
	Withhold                 []string         `yaml:"withhold"` // what the control plane doesn't send of it: route, cluster or endpoints
	Upstream                 string           `yaml:"upstream"` // what its endpoints are, if not well: closed, mute or unreachable
	TLS                      bool             `yaml:"tls"`      // clients are told to speak TLS to it; its endpoints don't
	Deny                     bool             `yaml:"deny"`     // an authorization policy admits nobody
	Timeout                  string           `yaml:"timeout"`  // of a request; Envoy's own, 15s, unless set
}

// MetadataFilter is one metadataFilters entry of a forwarding rule.
type MetadataFilter struct {
	Match  string            `yaml:"match"` // MATCH_ALL or MATCH_ANY
	Labels map[string]string `yaml:"labels"`
}

// Mesh is a networkservices Mesh with the gRPC routes attached to it.
type Mesh struct {
	Name   string  `yaml:"name"`
	Routes []Route `yaml:"routes"`
}

// Gateway is a networkservices Gateway of type OPEN_MESH with the routes attached to it.
type Gateway struct {
	Name   string  `yaml:"name"`
	Scope  string  `yaml:"scope"`
	Routes []Route `yaml:"routes"`
}

// Route is a route of a Mesh or Gateway to a service.
type Route struct {
	Name     string `yaml:"name"`
	Kind     string `yaml:"kind"`     // grpc (default), http, tcp or tls
	Hostname string `yaml:"hostname"` // with its port where clients dial one
	Service  string `yaml:"service"`
}

// Instance is a Compute Engine VM. Unless it says otherwise it was made with --service-proxy, and its agent is well.
type Instance struct {
	Name    string   `yaml:"name"`
	Account string   `yaml:"account"` // empty: no service account attached
	Scopes  []string `yaml:"scopes"`  // cloud-platform unless set; last path segment of the scope's URL
	Status  string   `yaml:"status"`  // RUNNING unless set
	Tags    []string `yaml:"tags"`    // network tags

	Metadata          map[string]string `yaml:"metadata"`            // over what gcloud writes for --service-proxy; "" takes a key away
	GuestAttributes   map[string]string `yaml:"guest_attributes"`    // in gce-service-proxy, over a healthy agent's; "" takes a key away
	NoGuestAttributes bool              `yaml:"no_guest_attributes"` // the agent never wrote any
	HeartbeatAgo      string            `yaml:"heartbeat_ago"`       // 20s unless set
	SerialPort        string            `yaml:"serial_port"`         // what was written to port 1
	Log               []LogEntry        `yaml:"log"`                 // in Cloud Logging
}

// Client is one proxy or proxyless gRPC client.
type Client struct {
	Name          string            `yaml:"name"`
	Kind          string            `yaml:"kind"`           // grpc (default): a real grpc-go xDS client; envoy: a raw ADS stream
	Node          string            `yaml:"node"`           // last part of the node id; derived from the name unless set
	Instance      string            `yaml:"instance"`       // the VM it runs on: gives account and scopes
	Account       string            `yaml:"account"`        // used when Instance is empty
	ProjectNumber string            `yaml:"project_number"` // as its bootstrap has it; the project's unless set
	Network       string            `yaml:"network"`        // as its bootstrap has it: a VPC, mesh:NAME or scope:NAME
	Metadata      map[string]string `yaml:"metadata"`       // further node metadata
	Dial          string            `yaml:"dial"`           // host:port of the service, for grpc
	Authority     string            `yaml:"authority"`      // of the dial target, for grpc: xds://AUTHORITY/DIAL
	NoBootstrap   bool              `yaml:"no_bootstrap"`   // for grpc: nothing tells it of its bootstrap
	NoServers     bool              `yaml:"no_servers"`     // for grpc: its bootstrap names no control plane
	Version       string            `yaml:"version"`        // Envoy version, for envoy
	Transport     string            `yaml:"transport"`      // xDS transport of its bootstrap, for envoy: V3 unless set
	Silent        []string          `yaml:"silent"`         // types it never answers: cluster, listener; for envoy
	SentAgo       string            `yaml:"sent_ago"`       // how long ago CSDS and its admin interface say that it was sent its configuration; for envoy
	BadToken      bool              `yaml:"bad_token"`      // presents a token that ran out
	Attempts      int               `yaml:"attempts"`       // times it connects when refused, for envoy; 1 unless set
	Omit          []string          `yaml:"omit"`           // "network", "project_number": left out of an Envoy bootstrap
	Down          bool              `yaml:"down"`           // it exists, and does not run
	Requests      []string          `yaml:"requests"`       // host:port of requests that its application makes, for envoy
	Rejects       string            `yaml:"rejects"`        // for which reason it rejects its listeners, in Envoy's words; for envoy
}

// Fault is what is broken between the mesh and whoever asks.
type Fault struct {
	DNS          string `yaml:"dns"`           // nxdomain, servfail or timeout; unexpected: an address where nobody said that the control plane is
	Path         string `yaml:"path"`          // blackhole, intercept-tls or break-grpc
	ControlPlane string `yaml:"control_plane"` // unavailable; quota or internal: how it ends its clients' streams
	Clock        string `yaml:"clock"`         // how far the control plane's clock is ahead of this machine's: 10m, -10m
	Withhold     string `yaml:"withhold"`      // the type that the control plane sends nobody: listener or route
	ErrorDetails bool   `yaml:"error_details"` // CSDS carries the reason of a NACK in error_state
}

// Ask is how the diagnosis of the scenario is asked for.
type Ask struct {
	ProjectAsNumber bool     `yaml:"project_as_number"`
	Network         string   `yaml:"network"`
	Mesh            string   `yaml:"mesh"`
	Client          string   `yaml:"client"`      // the client whose node id and artifacts are meant
	NodeID          bool     `yaml:"node_id"`     // give the client's node id
	Instance        bool     `yaml:"instance"`    // give the client's zone and instance
	Files           []string `yaml:"files"`       // artifacts of the client to hand over: bootstrap, log, access_log, or a page of its admin interface
	Baseline        string   `yaml:"baseline"`    // the client whose config dump is to be compared with
	EnvoyAdmin      bool     `yaml:"envoy_admin"` // let the client's admin interface be asked
	ServingPort     int      `yaml:"serving_port"`
	Destination     string   `yaml:"destination"` // what a client can't reach
	Symptom         string   `yaml:"symptom"`
	// Documents are handed over as they are, and nothing else is asked about: what people paste of a cluster that isn't played here.
	Documents []Document `yaml:"documents"`
}

// Document is a file by its name and content.
type Document struct {
	Name string `yaml:"name"`
	Text string `yaml:"text"`
}

// Scenarios returns every scenario that ships with the lab, sorted by name. A file that does not decode strictly, or
// that contradicts itself, is an error naming the file.
func Scenarios() ([]Scenario, error) {
	return loadScenarios(scenarioFiles, "scenarios")
}

// ScenarioByName returns the scenario of that name. The error for an unknown name is one line with the names closest
// to it.
func ScenarioByName(name string) (Scenario, error) {
	if !scenarioName.MatchString(name) {
		return Scenario{}, unknownScenario(name)
	}
	file := "scenarios/" + name + ".yaml"
	b, err := scenarioFiles.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return Scenario{}, unknownScenario(name)
	}
	if err != nil {
		return Scenario{}, fmt.Errorf("reading scenario: %w", err)
	}
	return parseScenario(file, b)
}

var scenarioName = regexp.MustCompile(`^[a-z][a-z0-9-]*$`)

func unknownScenario(name string) error {
	entries, err := scenarioFiles.ReadDir("scenarios")
	if err != nil {
		return fmt.Errorf("listing scenarios: %w", err)
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".yaml"))
	}
	slices.SortStableFunc(names, func(a, b string) int { return distance(name, a) - distance(name, b) })
	const suggestions = 3 // more would not be a hint any longer
	return fmt.Errorf("unknown scenario %q: closest are %s", name, strings.Join(names[:min(suggestions, len(names))], ", "))
}

func loadScenarios(fsys fs.FS, dir string) ([]Scenario, error) {
	entries, err := fs.ReadDir(fsys, dir)
	if err != nil {
		return nil, fmt.Errorf("listing scenarios: %w", err)
	}
	out := make([]Scenario, 0, len(entries))
	for _, e := range entries {
		file := path.Join(dir, e.Name())
		b, err := fs.ReadFile(fsys, file)
		if err != nil {
			return nil, fmt.Errorf("reading scenario: %w", err)
		}
		s, err := parseScenario(file, b)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b Scenario) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

func parseScenario(file string, b []byte) (Scenario, error) {
	var s Scenario
	dec := yaml.NewDecoder(bytes.NewReader(b))
	dec.KnownFields(true)
	if err := dec.Decode(&s); err != nil {
		if errors.Is(err, io.EOF) {
			return Scenario{}, fmt.Errorf("%s: empty scenario", file)
		}
		return Scenario{}, fmt.Errorf("%s: %s", file, oneLine(err.Error()))
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return Scenario{}, fmt.Errorf("%s: more than one YAML document", file)
	}
	if want := strings.TrimSuffix(path.Base(file), ".yaml"); s.Name != want {
		return Scenario{}, fmt.Errorf("%s: name: %q, expected %q like the file", file, s.Name, want)
	}
	s.fillDefaults()
	if err := s.validate(); err != nil {
		return Scenario{}, fmt.Errorf("%s: %w", file, err)
	}
	return s, nil
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// distance is the Levenshtein distance of two names.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diag := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diag
			if a[i] != b[j] {
				cost++
			}
			diag = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
