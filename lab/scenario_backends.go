package lab

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Backend is one backend of a backend service: a group of endpoints.
type Backend struct {
	Zone      string `yaml:"zone"`      // the scenario's unless set
	Kind      string `yaml:"kind"`      // neg (default) or instance-group
	Type      string `yaml:"type"`      // of a NEG; GCE_VM_IP_PORT unless set
	Endpoints *int   `yaml:"endpoints"` // how many; 3 unless set
	Unhealthy int    `yaml:"unhealthy"` // how many of them fail their health checks
}

// HealthCheck is the health check of a backend service.
type HealthCheck struct {
	Type string `yaml:"type"` // GRPC, HTTP, HTTPS, HTTP2 or TCP; the protocol of the backend service unless set
	Port int    `yaml:"port"` // a fixed one; the serving port unless set
}

// Firewall is a VPC firewall rule of the scenario's network, or a rule of a firewall policy.
type Firewall struct {
	Name      string   `yaml:"name"`      // of a VPC rule
	Direction string   `yaml:"direction"` // INGRESS (default) or EGRESS
	Action    string   `yaml:"action"`    // allow (default), deny, or goto_next in a policy
	Ranges    []string `yaml:"ranges"`    // CIDRs: sources of INGRESS, destinations of EGRESS
	Protocols []string `yaml:"protocols"` // "tcp", "tcp:80,8000-9000"; all unless set
	Priority  int64    `yaml:"priority"`  // 1000 unless set
	Tags      []string `yaml:"tags"`      // network tags of the VMs that a VPC rule is for
}

// FirewallPolicy is a firewall policy that applies to the scenario's network.
type FirewallPolicy struct {
	Name  string     `yaml:"name"`
	Type  string     `yaml:"type"` // HIERARCHY (default) or NETWORK
	Rules []Firewall `yaml:"rules"`
}

// The sources of Google's health checks.
// https://docs.cloud.google.com/load-balancing/docs/health-check-concepts#ip-ranges
func healthCheckRanges() []string { return []string{"35.191.0.0/16", "130.211.0.0/22"} }

// endpointsOf is how many endpoints a backend has that doesn't say.
const endpointsOf = 3

func (s *Scenario) fillBackends() {
	for i := range s.Services {
		v := &s.Services[i]
		if len(v.Backends) == 0 && !v.NoBackends {
			v.Backends = []Backend{{}}
		}
		for j := range v.Backends {
			b := &v.Backends[j]
			setDefault(&b.Zone, s.Zone)
			setDefault(&b.Kind, "neg")
			if b.Kind == "neg" {
				setDefault(&b.Type, "GCE_VM_IP_PORT")
			}
			if b.Endpoints == nil {
				n := endpointsOf
				b.Endpoints = &n
			}
		}
		setDefault(&v.HealthCheck.Type, v.Protocol)
	}
	if s.Firewalls == nil {
		s.Firewalls = []Firewall{
			{Name: s.Network + "-allow-internal", Ranges: []string{"10.128.0.0/9"}, Priority: 65534},
			{Name: s.Network + "-allow-health-checks", Ranges: healthCheckRanges(), Protocols: []string{"tcp"}},
		}
	}
	fill := func(rules []Firewall) {
		for i := range rules {
			setDefault(&rules[i].Direction, "INGRESS")
			setDefault(&rules[i].Action, "allow")
			if rules[i].Priority == 0 {
				rules[i].Priority = 1000 // as Compute Engine has it
			}
		}
	}
	fill(s.Firewalls)
	for i := range s.FirewallPolicies {
		setDefault(&s.FirewallPolicies[i].Type, "HIERARCHY")
		fill(s.FirewallPolicies[i].Rules)
	}
	if s.Requests == nil {
		s.Requests = map[string]int64{"200": 12}
	}
}

func (s *Scenario) validateBackends() error {
	for _, v := range s.Services {
		at := "services." + v.Name
		if v.NoBackends && len(v.Backends) > 0 {
			return fmt.Errorf("%s: both backends and no_backends", at)
		}
		if err := oneOf(at+".health_check.type", v.HealthCheck.Type, "GRPC", "HTTP", "HTTPS", "HTTP2", "TCP"); err != nil {
			return err
		}
		for _, b := range v.Backends {
			if err := oneOf(at+".backends.kind", b.Kind, "neg", "instance-group"); err != nil {
				return err
			}
			switch {
			case b.Kind != "neg" && b.Type != "":
				return fmt.Errorf("%s.backends.type: only with kind neg", at)
			case *b.Endpoints < 0 || *b.Endpoints > 200: // the last byte of their addresses
				return fmt.Errorf("%s.backends.endpoints: %d, expected 0 to 200", at, *b.Endpoints)
			case b.Unhealthy < 0 || b.Unhealthy > *b.Endpoints:
				return fmt.Errorf("%s.backends.unhealthy: %d of %d endpoints", at, b.Unhealthy, *b.Endpoints)
			}
			if b.Kind == "neg" {
				if err := oneOf(at+".backends.type", b.Type, "GCE_VM_IP_PORT", "NON_GCP_PRIVATE_IP_PORT"); err != nil {
					return err
				}
			}
		}
	}
	if err := validateFirewalls("firewalls", s.Firewalls, "allow", "deny"); err != nil {
		return err
	}
	for _, p := range s.FirewallPolicies {
		at := "firewall_policies." + p.Name
		if err := oneOf(at+".type", p.Type, "HIERARCHY", "NETWORK"); err != nil {
			return err
		}
		if err := validateFirewalls(at+".rules", p.Rules, "allow", "deny", "goto_next"); err != nil {
			return err
		}
	}
	for code, n := range s.Requests {
		if n < 0 || !isNumber(code) {
			return fmt.Errorf("api_requests: %q: %d, expected an HTTP status and a count", code, n)
		}
	}
	return nil
}

func validateFirewalls(at string, rules []Firewall, actions ...string) error {
	for _, f := range rules {
		if err := oneOf(at+".action", f.Action, actions...); err != nil {
			return err
		}
		if err := oneOf(at+".direction", f.Direction, "INGRESS", "EGRESS"); err != nil {
			return err
		}
		for _, r := range f.Ranges {
			if _, err := netip.ParsePrefix(r); err != nil {
				return fmt.Errorf("%s.ranges: %q is no CIDR", at, r)
			}
		}
		for _, p := range f.Protocols {
			if name, _ := splitProtocol(p); name == "" {
				return fmt.Errorf("%s.protocols: %q, expected one such as tcp:80", at, p)
			}
		}
	}
	return nil
}

// splitProtocol takes "tcp:80,8000-9000" apart.
func splitProtocol(s string) (name string, ports []string) {
	name, list, ok := strings.Cut(s, ":")
	if ok {
		ports = strings.Split(list, ",")
	}
	return name, ports
}

// groupName is the name of a service's backend number i.
func (v *Service) groupName(i int) string {
	suffix := "-neg"
	if v.Backends[i].Kind == "instance-group" {
		suffix = "-group"
	}
	if i > 0 {
		suffix += "-" + strconv.Itoa(i+1)
	}
	return v.Name + suffix
}

// groupCollection is the collection that a backend's group lives in.
func (b *Backend) groupCollection() string {
	if b.Kind == "instance-group" {
		return "instanceGroups"
	}
	return "networkEndpointGroups"
}

// group finds a service's backend by its zone, collection and name.
func (s *Scenario) group(zone, collection, name string) (*Service, int) {
	for i := range s.Services {
		v := &s.Services[i]
		for j := range v.Backends {
			if b := &v.Backends[j]; b.Zone == zone && b.groupCollection() == collection && v.groupName(j) == name {
				return v, j
			}
		}
	}
	return nil, 0
}
