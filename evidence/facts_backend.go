package evidence

import (
	"net/netip"
	"time"
)

// What is behind the mesh's services.
var (
	HealthChecks       = NewListKey[HealthCheck]("health-checks")
	EndpointGroups     = NewListKey[EndpointGroup]("endpoint-groups")
	EffectiveFirewalls = NewListKey[FirewallSet]("effective-firewalls")
	APIRequests        = NewKey[APIRequestCounts]("api-requests")
)

// HealthCheck is a health check of Compute Engine.
type HealthCheck struct {
	Name, SelfLink string
	Type           string // "HTTP", "GRPC", "TCP", …
	PortSpec       string // "USE_FIXED_PORT", "USE_NAMED_PORT" or "USE_SERVING_PORT"
	Port           int    // with USE_FIXED_PORT
	PortName       string
	Source         Source
}

// EndpointGroup is what a backend service sends to: an instance group or a network endpoint group.
type EndpointGroup struct {
	URL       string
	Kind      string // "instance-group" or "neg"
	Type      string // of a NEG: "GCE_VM_IP_PORT", "NON_GCP_PRIVATE_IP_PORT", "INTERNET_FQDN_PORT", …
	Zone      string
	Endpoints int // how many; -1 where not known
	Ports     []int
	Network   string // last URL segment
	// NetworkProject is the project in the network's URL: the host project of a Shared VPC; may be absent.
	NetworkProject string
}

// CheckedByProxy says whether Envoy itself checks the group's endpoints, and not Google's probers.
func (g EndpointGroup) CheckedByProxy() bool {
	return g.Type == "NON_GCP_PRIVATE_IP_PORT" || g.Type == "INTERNET_FQDN_PORT"
}

// FirewallSet is the firewall that is in force for one network interface of one VM: hierarchical and network policies and
// VPC rules, as getEffectiveFirewalls tells them.
type FirewallSet struct {
	Network  string
	Instance string // the VM; "" for the network alone, where tags and service accounts of targets aren't decided
	// Rules in the order of evaluation: policies of the organisation and folders, then by the network's own order.
	Rules  []FirewallRule
	Source Source
}

// FirewallRule is one rule.
type FirewallRule struct {
	Name           string
	Policy         string // the policy it is of; "" for a VPC rule
	Level          int    // policies of one level are evaluated before those of the next
	Priority       int    // lower first, within a level
	Direction      string // "INGRESS" or "EGRESS"
	Action         string // "allow", "deny", "goto_next", "apply_security_profile_group"
	Ranges         []netip.Prefix
	Opaque         []string // conditions that ranges don't show: FQDNs, regions, threat lists, secure tags
	Protocols      []ProtocolPorts
	TargetTags     []string
	TargetAccounts []string
	SourceTags     []string
	SourceAccounts []string
	Disabled       bool
}

// ProtocolPorts is a protocol with its ports.
type ProtocolPorts struct {
	Protocol string      // "tcp", "all", or a number
	Ports    [][2]uint16 // ranges, inclusive; none is all
}

// APIRequestCounts is how an API answered over a time, as Cloud Monitoring counts it.
type APIRequestCounts struct {
	API    string // "trafficdirector.googleapis.com"
	From   time.Time
	To     time.Time
	Points []APIRequestPoint
}

// APIRequestPoint counts the answers of one code in one interval.
type APIRequestPoint struct {
	Time   time.Time // the interval's end
	Method string
	Code   string // "OK", "PERMISSION_DENIED", "404" …, as the metric's label has it
	Count  int64
}
