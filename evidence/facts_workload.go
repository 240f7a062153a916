package evidence

import (
	"cmp"
	"maps"
	"time"

	"github.com/meshdiag/meshdiag/evidence/envoy"
	"github.com/meshdiag/meshdiag/evidence/netfilter"
)

// What is seen of a proxy, and of the VM or pod that it runs on.
var (
	// The proxy's own admin interface, or what it printed.
	EnvoyDumps     = NewListKey[EnvoyDump]("envoy-config-dump")
	EnvoyInfos     = NewListKey[EnvoyInfo]("envoy-server-info")
	EnvoyHosts     = NewListKey[EnvoyHostStates]("envoy-clusters")
	EnvoyListeners = NewListKey[EnvoyListening]("envoy-listeners")
	EnvoyStats     = NewListKey[EnvoyCounters]("envoy-stats")
	EnvoyPending   = NewListKey[EnvoyInit]("envoy-init-dump")

	// The host.
	PacketRules   = NewListKey[HostRules]("packet-rules")
	Processes     = NewListKey[ProcessList]("processes")
	Sockets       = NewListKey[SocketList]("listening-sockets")
	KernelModules = NewListKey[ModuleList]("kernel-modules")
	PathAccesses  = NewListKey[PathAccess]("path-access")
	Identities    = NewListKey[WorkloadIdentity]("workload-identity")

	// The VM, as Compute Engine tells it.
	GuestAttributes = Key[GuestAttributeSet]{name: "guest-attributes", merge: mergeGuestAttributes}
	ProjectMetadata = NewKey[map[string]string]("project-metadata")
	SerialPorts     = NewListKey[SerialPort]("serial-port")

	// Requests.
	AccessLogs = NewListKey[AccessGroup]("access-log")
)

// EnvoyDump is a /config_dump.
type EnvoyDump struct {
	Dump     *envoy.Dump
	File     string // "" for a live one
	Baseline bool   // of a proxy that works, to compare with
	Problem  string // why it isn't whole: "ends in the middle at byte 1234"
	Source   Source
}

// EnvoyInfo is a /server_info.
type EnvoyInfo struct {
	Info   envoy.ServerInfo
	Uptime time.Duration // since this process began; 0 where it doesn't say
	File   string
	Source Source
}

// EnvoyHostStates is a /clusters: the proxy's own view of its endpoints. Nobody's name is in it.
type EnvoyHostStates struct {
	Hosts  *envoy.Hosts
	File   string
	Source Source
}

// EnvoyListening is a /listeners.
type EnvoyListening struct {
	List   []envoy.Listening
	File   string
	Source Source
}

// EnvoyCounters is a /stats.
type EnvoyCounters struct {
	Stats  envoy.Stats
	File   string
	Source Source
}

// EnvoyInit is an /init_dump: what the proxy still waits for.
type EnvoyInit struct {
	Unready []envoy.Unready
	File    string
	Source  Source
}

// HostRules are the packet filter rules of one host or network namespace.
type HostRules struct {
	Set     netfilter.Set
	Files   []string
	Unread  string // why some may be missing: "not root"; "" where all were read that there are
	Problem string // lines that could not be read
	Source  Source
}

// ProcessList is the processes of one host.
type ProcessList struct {
	List   []Process
	Whole  bool // every process of the host is in it
	Source Source
}

// Process is one process.
type Process struct {
	PID     int
	User    string // name, or the number where it has none
	UID     int    // -1 where the list doesn't tell
	GID     int    // -1 where the list doesn't tell
	Command string // the program's base name: "envoy"
	Args    string // the whole command line, as printed
	Started time.Time
}

// SocketList is the listening sockets of one host or network namespace.
type SocketList struct {
	List   []Socket
	Whole  bool
	Source Source
}

// Socket is one listening TCP socket.
type Socket struct {
	Address string // "0.0.0.0", "127.0.0.1", "::"
	Port    int
	PID     int    // 0 where not known
	Process string // "" where not known
	UID     int    // of the socket's owner; -1 where not known
}

// ModuleList is the kernel modules that are loaded or built in.
type ModuleList struct {
	Loaded []string
	// Missing are modules that the kernel has neither loaded nor on disk, of those that interception needs.
	Missing []string
	Source  Source
}

// PathAccess says whether a user can write a path.
type PathAccess struct {
	Path, User string
	Writable   bool
	Reason     string // why not, or why it isn't known
	Unknown    bool
	Source     Source
}

// WorkloadIdentity is what the metadata server tells the workload of itself.
type WorkloadIdentity struct {
	Email   string
	Scopes  []string
	Project string // ID
	Number  string
	Source  Source
}

// GuestAttributeSet is a VM's guest attributes in the namespace gce-service-proxy.
type GuestAttributeSet struct {
	Instance, Zone string
	// Values by key, without the namespace. Nil where the API answered 404: disabled or empty, which only the metadata
	// tells apart.
	Values map[string]string
	// Partial says that only some keys were asked for, as a file that holds a single one may be of a query for that one:
	// what isn't in Values may be set all the same.
	Partial bool
	Source  Source
}

// mergeGuestAttributes adds what a second file tells of the same VM: people ask for one key at a time. A live answer is
// whole, and stays as it is.
func mergeGuestAttributes(a, b GuestAttributeSet) GuestAttributeSet {
	if !a.Source.Pasted || (a.Instance != "" && b.Instance != "" && a.Instance != b.Instance) {
		return a
	}
	out := a
	out.Instance, out.Zone = cmp.Or(a.Instance, b.Instance), cmp.Or(a.Zone, b.Zone)
	out.Partial = a.Partial && b.Partial
	if a.Values != nil && b.Values != nil {
		out.Values = maps.Clone(b.Values)
		maps.Copy(out.Values, a.Values)
	} else if a.Values == nil {
		out.Values, out.Partial = b.Values, b.Partial
	}
	return out
}

// The keys of guest attributes in the namespace gce-service-proxy.
const (
	GuestBootstrapStatus  = "bootstrap-status"
	GuestBootstrapFailure = "bootstrap-last-failure"
	GuestAgentHeartbeat   = "agent-heartbeat"
	GuestAgentFailure     = "agent-last-failure"
	GuestProxyVersion     = "proxy-version"
	EnableGuestAttributes = "enable-guest-attributes" // of instance or project metadata
)

// SerialPort is the end of a VM's serial port output. Known messages in it are in LogMessages.
type SerialPort struct {
	Instance string
	Port     int
	Text     string // the last part, bounded
	Cut      bool   // there was more before it
	Source   Source
}

// AccessGroup is the access log entries that are alike in what decides.
type AccessGroup struct {
	File        string
	Flags       []string // response flags: "UF", "URX"; none for "-"
	Details     string   // response_code_details
	Code        int      // response code; 0 where none was sent
	Transport   string   // upstream_transport_failure_reason
	Termination string   // connection_termination_details
	Cluster     string   // upstream cluster
	Upstream    string   // upstream host; the first seen
	Route       string   // route name
	Authority   string
	Reporter    string        // "client" or "server" where the log tells
	Duration    time.Duration // the longest
	Count       int
	First, Last time.Time
	Sample      string // the first line, bounded
	Source      Source
}
