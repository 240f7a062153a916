package lab

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// What a scenario gets that does not say otherwise: a small gRPC shop in one project and one VPC network.
const (
	defaultProjectID     = "mesh-prod-4f2a"
	defaultProjectNumber = "482915067713"
	defaultNetwork       = "mesh-vpc"
	defaultZone          = "us-central1-a"
	defaultAccount       = "mesh-proxy"
	defaultEnvoyVersion  = "1.32.3"
	// diagnosticAccount is the identity of the credentials file that the lab hands out.
	diagnosticAccount = "meshdiag"
)

// Scopes are written by their last path segment.
const (
	scopePrefix        = "https://www.googleapis.com/auth/"
	scopeCloudPlatform = "cloud-platform"
)

// fillDefaults writes only what is unset, so that it leaves a scenario that has been through it alone.
func (s *Scenario) fillDefaults() {
	setDefault(&s.Project.ID, defaultProjectID)
	setDefault(&s.Project.Number, defaultProjectNumber)
	setDefault(&s.Network, defaultNetwork)
	setDefault(&s.Zone, defaultZone)
	s.addAccount(Account{Name: defaultAccount, Roles: []string{"roles/trafficdirector.client"}})
	// What an operator who looks into a mesh usually holds: read everything, explain every policy, and use the
	// project for quota.
	s.addAccount(Account{Name: diagnosticAccount, Roles: []string{
		"roles/iam.securityReviewer", "roles/serviceusage.serviceUsageConsumer", "roles/viewer"}})
	for i := range s.Services {
		v := &s.Services[i]
		setDefault(&v.Scheme, schemeSelfManaged)
		setDefault(&v.Network, s.Network)
		setDefault(&v.Proxy, "grpc")
		setDefault(&v.Protocol, "GRPC")
		setDefault(&v.Address, "0.0.0.0")
		if v.Port == 0 {
			v.Port = 50051
		}
	}
	for i := range s.Instances {
		if s.Instances[i].Scopes == nil {
			s.Instances[i].Scopes = []string{scopeCloudPlatform}
		}
	}
	for _, routes := range s.routeLists() {
		for i := range routes {
			setDefault(&routes[i].Kind, "grpc")
			setDefault(&routes[i].Hostname, routes[i].Service)
			setDefault(&routes[i].Name, routes[i].Service+"-route")
		}
	}
	for i := range s.Clients {
		c := &s.Clients[i]
		setDefault(&c.Kind, "grpc")
		setDefault(&c.ProjectNumber, s.Project.Number)
		setDefault(&c.Network, s.Network)
		if c.Node == "" {
			c.Node = nodeSuffix(c.Name)
			if c.Kind == "envoy" {
				c.Node += "~" + s.clientIP(c) // as the VM package's run.sh makes it
			}
		}
		if c.Instance == "" {
			setDefault(&c.Account, defaultAccount)
		}
		if c.Kind == "envoy" {
			setDefault(&c.Version, defaultEnvoyVersion)
			setDefault(&c.Transport, "V3")
		}
		if c.Attempts == 0 {
			c.Attempts = 1
		}
	}
	if s.Ask.Network == "" && s.Ask.Mesh == "" && len(s.Ask.Documents) == 0 {
		s.Ask.Network = s.Network
	}
	s.fillBackends()
	s.fillVMs()
	setDefault(&s.Expect.Verdict, VerdictCausesFound)
}

func setDefault(p *string, v string) {
	if *p == "" {
		*p = v
	}
}

func (s *Scenario) addAccount(a Account) {
	if !slices.ContainsFunc(s.Accounts, func(b Account) bool { return b.Name == a.Name }) {
		s.Accounts = append(s.Accounts, a)
	}
}

func (s *Scenario) routeLists() [][]Route {
	var out [][]Route
	for _, m := range s.Meshes {
		out = append(out, m.Routes)
	}
	for _, g := range s.Gateways {
		out = append(out, g.Routes)
	}
	return out
}

// validate finds what would make the world contradict its own description. Each error names the field.
func (s *Scenario) validate() error {
	if s.Summary == "" || strings.ContainsRune(s.Summary, '\n') {
		return fmt.Errorf("summary: must be one line")
	}
	exit, ok := map[string]int{VerdictHealthy: 0, VerdictCausesFound: 1, VerdictInconclusive: 3}[s.Expect.Verdict]
	switch {
	case !ok:
		return fmt.Errorf("expect.verdict: %q, expected HEALTHY, CAUSES_FOUND or INCONCLUSIVE", s.Expect.Verdict)
	case s.Expect.Exit != exit:
		return fmt.Errorf("expect.exit: %d, expected %d for %s", s.Expect.Exit, exit, s.Expect.Verdict)
	case (len(s.Expect.Causes) > 0) != (s.Expect.Verdict == VerdictCausesFound):
		return fmt.Errorf("expect.causes: %d given for verdict %s", len(s.Expect.Causes), s.Expect.Verdict)
	case len(s.Expect.Symptoms) > 0 && len(s.Expect.Causes) == 0:
		return fmt.Errorf("expect.symptoms: given without causes")
	case !isNumber(s.Project.Number):
		return fmt.Errorf("project.number: %q, expected digits", s.Project.Number)
	case s.Ask.Network != "" && s.Ask.Mesh != "":
		return fmt.Errorf("ask: both network and mesh")
	}
	for _, v := range s.Services {
		if v.Name == "" {
			return fmt.Errorf("services: name is empty")
		}
		if err := oneOf("services."+v.Name+".proxy", v.Proxy, "grpc", "http", "tcp"); err != nil {
			return err
		}
		for _, w := range v.Withhold {
			if err := oneOf("services."+v.Name+".withhold", w, "route", "cluster", "endpoints"); err != nil {
				return err
			}
		}
		if err := oneOf("services."+v.Name+".upstream", v.Upstream, "", upstreamClosed, upstreamMute, upstreamUnreachable); err != nil {
			return err
		}
		if d, err := time.ParseDuration(v.Timeout); v.Timeout != "" && (err != nil || d <= 0) {
			return fmt.Errorf("services.%s.timeout: %q, expected a duration such as 50ms", v.Name, v.Timeout)
		}
		for _, f := range v.Filters {
			if err := oneOf("services."+v.Name+".metadata_filters.match", f.Match, "MATCH_ALL", "MATCH_ANY"); err != nil {
				return err
			}
		}
		for _, c := range v.BadFor {
			if s.client(c) == nil {
				return fmt.Errorf("services.%s.invalid_listener_for_clients: no client %q", v.Name, c)
			}
		}
	}
	for _, routes := range s.routeLists() {
		for _, r := range routes {
			if s.service(r.Service) == nil {
				return fmt.Errorf("routes.%s.service: no service %q", r.Name, r.Service)
			}
			if err := oneOf("routes."+r.Name+".kind", r.Kind, "grpc", "http", "tcp", "tls"); err != nil {
				return err
			}
		}
	}
	for _, i := range s.Instances {
		if i.Account != "" && s.account(i.Account) == nil {
			return fmt.Errorf("instances.%s.account: no account %q", i.Name, i.Account)
		}
	}
	for _, a := range s.Accounts {
		for _, r := range a.Roles {
			if _, ok := rolePermissions()[r]; !ok {
				return fmt.Errorf("accounts.%s.roles: the lab does not know %q", a.Name, r)
			}
		}
	}
	for _, check := range []func() error{s.validateClients, s.validateBackends, s.validateVMs} {
		if err := check(); err != nil {
			return err
		}
	}
	if err := oneOf("fault.dns", s.Fault.DNS, "", "nxdomain", "servfail", "timeout", "unexpected"); err != nil {
		return err
	}
	if err := oneOf("fault.path", s.Fault.Path, "", "blackhole", "intercept-tls", "break-grpc"); err != nil {
		return err
	}
	if _, err := time.ParseDuration(s.Fault.Clock); s.Fault.Clock != "" && err != nil {
		return fmt.Errorf("fault.clock: %q, expected a duration such as -10m", s.Fault.Clock)
	}
	if err := oneOf("fault.withhold", s.Fault.Withhold, "", "listener", "route"); err != nil {
		return err
	}
	return oneOf("fault.control_plane", s.Fault.ControlPlane, "", "unavailable", "quota", "internal")
}

var documentName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]*$`)

var envoyVersion = regexp.MustCompile(`^\d+\.\d+\.\d+$`)

func (s *Scenario) validateClients() error {
	for _, c := range s.Clients {
		at := "clients." + c.Name
		if err := oneOf(at+".kind", c.Kind, "grpc", "envoy"); err != nil {
			return err
		}
		switch {
		case c.Name == "":
			return fmt.Errorf("clients: name is empty")
		case c.Kind == "grpc" && c.Dial == "" && !c.Down:
			return fmt.Errorf("%s.dial: a gRPC client needs a host:port to dial", at)
		case c.Kind == "grpc" && (len(c.Silent) > 0 || c.Version != "" || len(c.Omit) > 0):
			return fmt.Errorf("%s: silent, version and omit are for kind envoy", at)
		case c.Kind == "envoy" && !envoyVersion.MatchString(c.Version):
			return fmt.Errorf("%s.version: %q, expected a version such as 1.32.3", at, c.Version)
		case c.Instance != "" && s.instance(c.Instance) == nil:
			return fmt.Errorf("%s.instance: no instance %q", at, c.Instance)
		case c.Account != "" && s.account(c.Account) == nil:
			return fmt.Errorf("%s.account: no account %q", at, c.Account)
		case c.Kind != "grpc" && (c.Authority != "" || c.NoBootstrap || c.NoServers):
			return fmt.Errorf("%s: authority, no_bootstrap and no_servers are for kind grpc", at)
		case c.Kind != "envoy" && (c.SentAgo != "" || c.Rejects != "" || len(c.Requests) > 0):
			return fmt.Errorf("%s: sent_ago, rejects and requests are for kind envoy", at)
		}
		if c.SentAgo != "" {
			if d, err := time.ParseDuration(c.SentAgo); err != nil || d <= 0 {
				return fmt.Errorf("%s.sent_ago: %q, expected a duration such as 10m", at, c.SentAgo)
			}
		}
		for _, o := range c.Silent {
			if err := oneOf(at+".silent", o, "cluster", "listener"); err != nil {
				return err
			}
		}
		for _, o := range c.Omit {
			if err := oneOf(at+".omit", o, "network", "project_number"); err != nil {
				return err
			}
		}
	}
	a := s.Ask
	for _, d := range a.Documents {
		if !documentName.MatchString(d.Name) || d.Text == "" {
			return fmt.Errorf("ask.documents: %q, expected a file name and a text", d.Name)
		}
	}
	if len(a.Documents) > 0 && (a.Network != "" || a.Mesh != "" || a.Client != "" || a.Baseline != "") {
		return fmt.Errorf("ask.documents: nothing else can be asked about beside them")
	}
	if (a.NodeID || a.Instance || a.EnvoyAdmin || len(a.Files) > 0) && s.client(a.Client) == nil {
		return fmt.Errorf("ask.client: no client %q", a.Client)
	}
	if a.EnvoyAdmin && s.client(a.Client).Kind != "envoy" {
		return fmt.Errorf("ask.envoy_admin: client %q is no Envoy", a.Client)
	}
	if c := s.client(a.Baseline); a.Baseline != "" && (c == nil || c.Kind != "envoy") {
		return fmt.Errorf("ask.baseline: no client %q of kind envoy", a.Baseline)
	}
	if a.Instance && s.client(a.Client).Instance == "" {
		return fmt.Errorf("ask.instance: client %q runs on no instance", a.Client)
	}
	for _, f := range a.Files {
		if err := oneOf("ask.files", f, "bootstrap", "log", "access_log", configDumpPage, clustersPage, listenersPage, serverInfoPage, statsPage, initDumpPage); err != nil {
			return err
		}
		if f != "bootstrap" && f != "log" && s.client(a.Client).Kind != "envoy" {
			return fmt.Errorf("ask.files: client %q has no %s", a.Client, f)
		}
	}
	return nil
}

func oneOf(field, v string, allowed ...string) error {
	if slices.Contains(allowed, v) {
		return nil
	}
	return fmt.Errorf("%s: %q, expected one of %q", field, v, allowed)
}

func find[T any](list []T, match func(*T) bool) *T {
	for i := range list {
		if match(&list[i]) {
			return &list[i]
		}
	}
	return nil
}

func (s *Scenario) client(name string) *Client {
	return find(s.Clients, func(c *Client) bool { return c.Name == name })
}

func (s *Scenario) service(name string) *Service {
	return find(s.Services, func(v *Service) bool { return v.Name == name })
}

func (s *Scenario) instance(name string) *Instance {
	return find(s.Instances, func(i *Instance) bool { return i.Name == name })
}

func (s *Scenario) account(name string) *Account {
	return find(s.Accounts, func(a *Account) bool { return a.Name == name })
}

// identityOf says as whom a client calls: its VM's service account and scopes, or the account given.
func (s *Scenario) identityOf(c *Client) identity {
	if i := s.instance(c.Instance); i != nil {
		return identity{Account: i.Account, Scopes: i.Scopes}
	}
	return identity{Account: c.Account, Scopes: []string{scopeCloudPlatform}}
}

// nodeID is the id in the client's bootstrap. Who leaves out network or project number has nothing to build the
// whole form from.
func (c *Client) nodeID() string {
	if len(c.Omit) > 0 {
		return c.Node
	}
	return "projects/" + c.ProjectNumber + "/networks/" + c.Network + "/nodes/" + c.Node
}
