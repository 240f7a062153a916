package evidence

import (
	"net/netip"
	"time"
)

// The facts, by the source that usually tells them. List keys add up over sources, the others hold one value.
var (
	// Google Cloud APIs, or their answers as files.
	ProjectFact      = NewKey[Project]("project")
	Services         = NewListKey[APIService]("services")
	ForwardingRules  = NewListKey[ForwardingRule]("forwarding-rules")
	TargetProxies    = NewListKey[TargetProxy]("target-proxies")
	URLMaps          = NewListKey[URLMap]("url-maps")
	BackendServices  = NewListKey[BackendService]("backend-services")
	Meshes           = NewListKey[Mesh]("meshes")
	Gateways         = NewListKey[Gateway]("gateways")
	Routes           = NewListKey[Route]("routes")
	Instances        = NewListKey[Instance]("instances")
	ProxyPermissions = NewListKey[PermissionState]("proxy-permissions")

	// CSDS.
	Clients        = NewKey[ClientList]("clients")
	ClientStatuses = NewListKey[ClientStatus]("client-status")

	// Probes of the control plane.
	DNSProbe  = NewListKey[DNSResult]("dns-probe")
	TCPProbe  = NewListKey[TCPResult]("tcp-probe")
	TLSProbe  = NewListKey[TLSResult]("tls-probe")
	RESTProbe = NewListKey[CallResult]("rest-probe")
	GRPCProbe = NewListKey[CallResult]("grpc-probe")
	ClockFact = NewListKey[ClockOffset]("clock-offset")

	// Files and text.
	Bootstraps  = NewListKey[Bootstrap]("bootstraps")
	LogMessages = NewListKey[LogMessage]("log-messages")
	Artifacts   = NewListKey[ArtifactFile]("artifacts")

	// Kept for the reader: no mandatory fact rests on it.
	BackendHealth = NewListKey[EndpointHealth]("backend-health")
)

// ArtifactFile says what became of one file handed in.
type ArtifactFile struct {
	Name string
	Kind string // "envoy-bootstrap", "csds", "log", …; empty where it wasn't recognised or can't be read
	Note string // what was made of it ("3 clients"), or why it couldn't be used
	Used bool
	// Broken is the kind that it clearly is of where it can't be read.
	Broken string
}

// EndpointHealth is one endpoint's health as a backend service's getHealth tells it.
type EndpointHealth struct {
	Service  string // the backend service's name; "" where the answer doesn't tell
	Group    string // URL
	Zone     string // of the group
	Address  string
	Port     int
	Instance string // URL; empty for endpoints that aren't VMs
	State    string // "HEALTHY" or "UNHEALTHY"; may be absent
	Source   Source
}

// Project is a Google Cloud project.
type Project struct {
	ID     string // "mesh-prod"; empty where only the number is known
	Number string // decimal digits; Traffic Director knows projects by number alone
}

// APIService is one API's state in a project, as Service Usage tells it.
type APIService struct {
	Name  string // "trafficdirector.googleapis.com"
	State string // "ENABLED", "DISABLED" or "STATE_UNSPECIFIED"
}

// ForwardingRule is a forwarding rule of Compute Engine.
// https://docs.cloud.google.com/compute/docs/reference/rest/v1/globalForwardingRules
type ForwardingRule struct {
	Name, Project, Region string // Region is "" or "global" for a global one; Project as in the self link
	Scheme                string // loadBalancingScheme; may be absent
	Network               string // last segment of the network's URL; may be absent
	NetworkProject        string // the project in the network's URL: the host project of a Shared VPC
	IPAddress             string
	IPProtocol            string
	PortRange             string // "80-80"
	Target                string // URL of the target proxy
	MetadataFilters       []MetadataFilter
	SelfLink              string
	Source                Source
}

// SelfManaged is the load balancing scheme of Traffic Director's rules.
const SelfManaged = "INTERNAL_SELF_MANAGED"

// MetadataFilter limits a forwarding rule to the proxies whose node metadata has the labels.
type MetadataFilter struct {
	Match  string // "MATCH_ALL" or "MATCH_ANY"
	Labels []Label
}

// Label is a name and a value.
type Label struct{ Name, Value string }

// TargetProxy is a target proxy of any kind.
type TargetProxy struct {
	Kind                 string // "grpc", "http", "https" or "tcp"
	Name, SelfLink       string
	URLMap               string // URL; empty for tcp
	Service              string // URL of the backend service; tcp only
	ValidateForProxyless bool   // grpc only: clients dial xds:///
	ProxyBind            bool   // a middle proxy or gateway binds the rule's address itself
	Source               Source
}

// URLMap is a URL map, as far as needed to know which backend services stand behind it.
type URLMap struct {
	Name, SelfLink string
	Services       []string // URLs of every backend service it names, sorted, each once
	Hosts          []string // hosts of its host rules
}

// BackendService is a backend service, as far as needed to compare its protocol and scheme.
type BackendService struct {
	Name, SelfLink   string
	Protocol, Scheme string // "GRPC", "HTTP2", …; loadBalancingScheme
	PortName         string
	HealthChecks     []string  // URLs
	Backends         []Backend // what it sends to
	// Cut says that it is from a file that leaves fields out: what isn't in it may be there all the same.
	Cut    bool
	Source Source
}

// Backend is one backend of a backend service.
type Backend struct {
	Group    string  // URL of the instance group or NEG
	Capacity float64 // capacityScaler: 0 takes no traffic
}

// Mesh is a Mesh of the service routing APIs.
type Mesh struct {
	Name, Location, Project string
	InterceptionPort        int // 0 where the default, 15001, holds
}

// Gateway is a Gateway of the service routing APIs.
type Gateway struct {
	Name, Location, Scope, Type string
}

// Route is a route of the service routing APIs. Meshes and Gateways name what it is attached to, by last URL segment.
type Route struct {
	Kind             string // "http", "grpc", "tcp" or "tls"
	Name, Location   string
	Meshes, Gateways []string
	Hostnames        []string
}

// Instance is a Compute Engine VM.
type Instance struct {
	Name, Zone, Project, ID string
	Status                  string // "RUNNING", "TERMINATED", …
	ServiceAccounts         []ServiceAccount
	Networks                []string          // last URL segment, one an interface
	Addresses               []string          // internal addresses
	Metadata                map[string]string // instance metadata, not the project's
	Labels                  map[string]string
	Tags                    []string // network tags, by which firewall rules choose their targets
	Created                 time.Time
	Source                  Source
}

// ServiceAccount is a VM's service account with its OAuth scopes.
type ServiceAccount struct {
	Email  string
	Scopes []string // full URLs
}

// ServiceProxyKey is the instance metadata key that VMs made with --service-proxy carry; its value is JSON.
const ServiceProxyKey = "gce-service-proxy"

// Access says whether a principal holds a permission.
type Access int

// What is known of a permission.
const (
	AccessUnknown Access = iota
	AccessGranted
	AccessDenied      // a full evaluation says no
	AccessNotInPolicy // the project's own policy grants it to nobody that the principal is; folders and groups weren't seen
)

// PermissionState is what is known of one permission of one principal.
type PermissionState struct {
	Principal  string // service account email
	Permission string // "trafficdirector.networks.getConfigs"
	Project    string
	Access     Access
	Method     string // "policy-troubleshooter" or "project-policy"
	Source     Source
}

// ClientList is CSDS's list of the clients connected for one scope.
type ClientList struct {
	ProjectNumber string
	Scope         string // "network", "mesh" or "scope"
	ScopeName     string
	Clients       []Client // sorted by NodeID
}

// Client is an xDS client as the control plane lists it: the Node it introduced itself with.
type Client struct {
	NodeID           string
	Cluster          string
	UserAgentName    string            // "envoy", "gRPC Go", …
	UserAgentVersion string            // "1.30.1", "1.71.0-dev"; empty where it didn't say
	Metadata         map[string]string // top-level keys; nested values as JSON
	Region, Zone     string
}

// ConfigStatus is the control plane's view of a resource (envoy.service.status.v3.ConfigStatus).
type ConfigStatus int

// The control plane's view. ServerViewAbsent says that the answer held no such view, which is not UNKNOWN.
const (
	ServerViewAbsent ConfigStatus = iota
	ServerUnknown
	Synced
	NotSent
	Stale
	Error
)

func (s ConfigStatus) String() string {
	return [...]string{"", "UNKNOWN", "SYNCED", "NOT_SENT", "STALE", "ERROR"}[s]
}

// ResourceStatus is a client's own view of a resource (envoy.admin.v3.ClientResourceStatus).
type ResourceStatus int

// The client's view. ClientViewAbsent says that the answer held no such view, which is not UNKNOWN.
const (
	ClientViewAbsent ResourceStatus = iota
	ClientUnknown
	Requested
	DoesNotExist
	Acked
	Nacked
	ReceivedError
	TimedOut
)

func (s ResourceStatus) String() string {
	return [...]string{"", "UNKNOWN", "REQUESTED", "DOES_NOT_EXIST", "ACKED", "NACKED", "RECEIVED_ERROR", "TIMEOUT"}[s]
}

// ClientStatus is what CSDS says of one client's resources. There is one a client scope, where a client has several.
type ClientStatus struct {
	Client      Client
	ClientScope string // a gRPC client's target; empty from the control plane
	Resources   []Resource
	Asked       time.Time // when the (last) sample was taken
	Source      Source
}

// Resource is the state of one xDS resource at one client.
type Resource struct {
	TypeURL     string // "type.googleapis.com/envoy.config.listener.v3.Listener"
	Name        string // may be empty: a status for a whole type, or a NACK before any resource was known
	Version     string
	Server      ConfigStatus
	Client      ResourceStatus
	LastUpdated time.Time // zero where absent
	Reason      string    // error_state.details: why it was rejected; often absent in the control plane's view
	ReasonTime  time.Time // error_state.last_update_attempt; zero where absent
	Static      bool
	// Samples is how many samples in a row, SampleSpan apart from first to last, showed this same status and version.
	Samples    int
	SampleSpan time.Duration
}

// Type gives the last part of the type URL: "Listener", "Cluster", "RouteConfiguration", "ClusterLoadAssignment".
func (r Resource) Type() string {
	for i := len(r.TypeURL) - 1; i >= 0; i-- {
		if r.TypeURL[i] == '.' || r.TypeURL[i] == '/' {
			return r.TypeURL[i+1:]
		}
	}
	return r.TypeURL
}

// DNSResult is one resolver's answer for the control plane's name.
type DNSResult struct {
	Host      string
	Resolver  string // "10.0.0.2:53"
	RCode     string // "NOERROR", "NXDOMAIN", "SERVFAIL", "REFUSED"; empty where none came
	Addresses []netip.Addr
	Err       string // "timeout", or what went wrong on the way; empty where an answer came
	Source    Source
	// Expected are the ranges, besides public ones and Google's private and restricted VIPs, that the operator declared.
	Expected []netip.Prefix
}

// TCPOutcome is how a connection attempt ended.
type TCPOutcome string

// How a connection attempt ends.
const (
	TCPConnected   TCPOutcome = "connected"
	TCPRefused     TCPOutcome = "refused"
	TCPTimeout     TCPOutcome = "timed out"
	TCPUnreachable TCPOutcome = "unreachable" // no route to host or network
	TCPFailed      TCPOutcome = "failed"
)

// TCPResult is one connection attempt to one address.
type TCPResult struct {
	Host, Address string // "trafficdirector.googleapis.com", "142.250.1.95:443"
	Outcome       TCPOutcome
	Err           string
	Took          time.Duration
	Source        Source
}

// TLSFault says what was wrong with a handshake.
type TLSFault string

// What can be wrong with a handshake.
const (
	TLSOk               TLSFault = ""
	TLSUnknownAuthority TLSFault = "unknown-authority"
	TLSWrongHost        TLSFault = "wrong-host"
	TLSExpired          TLSFault = "expired"
	TLSNotYetValid      TLSFault = "not-yet-valid"
	TLSNoHTTP2          TLSFault = "no-h2" // the handshake succeeded, and ALPN didn't agree on h2
	TLSNotTLS           TLSFault = "not-tls"
	TLSBroken           TLSFault = "broken" // reset, EOF, timeout, alert
)

// TLSResult is one handshake with one address. A chain that doesn't verify is still recorded.
type TLSResult struct {
	Host, Address string
	Fault         TLSFault
	Err           string
	Protocol      string // ALPN result
	Chain         []Certificate
	Source        Source
}

// Certificate is one certificate of a chain, leaf first.
type Certificate struct {
	Subject, Issuer     string
	NotBefore, NotAfter time.Time
	DNSNames            []string
}

// CallResult is one call of the control plane, by REST or by gRPC. A refusal by the control plane (say PERMISSION_DENIED)
// is an answer: the way there works.
type CallResult struct {
	Host, Address string
	Answered      bool   // the control plane itself answered, whatever it said
	Code          string // "OK", "PERMISSION_DENIED", …, or the HTTP status where it was no control plane's answer
	Reason        string // ErrorInfo reason: "SERVICE_DISABLED", "ACCESS_TOKEN_SCOPE_INSUFFICIENT"
	Message       string
	Source        Source
}

// ClockOffset is how far a clock is ahead of the control plane's Date header; negative where it is behind.
type ClockOffset struct {
	Offset time.Duration
	Within time.Duration // how far off the measurement may be: the round trip, and the header's whole second
	Source Source
}

// BootstrapKind is the kind of a bootstrap file.
type BootstrapKind string

// The kinds of bootstrap.
const (
	EnvoyBootstrap    BootstrapKind = "envoy"
	GRPCBootstrap     BootstrapKind = "grpc"
	SidecarEnvFile    BootstrapKind = "sidecar.env"
	TransportV2                     = "V2"
	TransportV3                     = "V3"
	MetadataProject                 = "TRAFFICDIRECTOR_GCP_PROJECT_NUMBER"
	MetadataNetwork                 = "TRAFFICDIRECTOR_NETWORK_NAME"
	MetadataMesh                    = "TRAFFICDIRECTOR_MESH_SCOPE_NAME"
	MetadataIntercept               = "TRAFFICDIRECTOR_INTERCEPTION_PORT"
)

// Bootstrap is what a proxy or a gRPC client starts from.
type Bootstrap struct {
	Kind      BootstrapKind
	File      string
	NodeID    string            // as written
	Metadata  map[string]string // node.metadata, or sidecar.env's variables; a key that is there may hold ""
	Transport string            // "V2", "V3"; empty where the file doesn't say
	V2Places  []string          // fields that name the v2 transport or v2 type URLs: "dynamic_resources.ads_config.transport_api_version"
	Servers   []string          // control planes it names, host:port
	UserAgent string            // user_agent_version or the like, where it says one
	// Authorities are those that a gRPC bootstrap names, sorted.
	Authorities []string
	// Problems are why a gRPC client can't start from it, "xds_servers is missing"; none where it can.
	Problems []string
	// Placeholders are fields that still hold a template's text.
	Placeholders []Placeholder
	Source       Source
}

// Placeholder is a field that still holds a template's text.
type Placeholder struct{ Field, Value string }

// LogMessage is one kind of known message in one log: every occurrence of one signature with the same fields.
type LogMessage struct {
	Signature   string            // the signature that recognised it: "envoy-stream-closed"
	Fields      map[string]string // the signature's named fields
	File        string
	Line        int    // of the first occurrence, from 1
	Text        string // the first occurrence, cut to a sane length
	Count       int
	First, Last time.Time // zero where the lines carry no time
	LastLine    int       // of the last occurrence: with Line it orders messages within a file
	// Of is how many lines the whole text has that was handed in, by itself, to be explained; 0 where the message is of a log
	// among other things, or of a live one: what is pasted by itself is the failure, a log's line may be of the past.
	Of     int
	Source Source
}
