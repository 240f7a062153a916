package evidence

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
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
	Interfaces    = NewListKey[InterfaceList]("network-interfaces")
	Identities    = NewListKey[WorkloadIdentity]("workload-identity")
	// Recordings are the bundles that were handed in.
	Recordings = NewListKey[Recording]("recordings")

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

// Doubt says why rules that weren't read, or aren't evaluated, may decide otherwise than those that were; "" if none can.
func (h HostRules) Doubt() string {
	switch {
	case h.Unread != "":
		return "the rules were not read wholly: " + h.Unread
	case h.Set.UnreadLegacy:
		return "iptables-legacy tables were not read: run iptables-legacy-save as root"
	case len(h.Set.NFTTables) > 0:
		return fmt.Sprintf("nftables' own rules (table %s) are not evaluated", h.Set.NFTTables[0])
	case h.Problem != "":
		return "lines of the rules could not be read: " + h.Problem
	}
	return ""
}

// ProcessList is the processes of one host.
type ProcessList struct {
	List  []Process
	Whole bool // every process of the host is in it
	// Network is the network namespace of which rules, sockets and interfaces were recorded beside the list, by the inode of
	// its link in /proc (namespaces(7)); 0 where nothing tells it, as of a list that ps printed.
	Network uint64
	Source  Source
}

// Belonging says whether a process has the network that was looked at.
type Belonging int

// What can be told of a process's network. Where a list says nothing of networks, all its processes are taken for Here.
const (
	Here      Belonging = iota
	Elsewhere           // it has a network of its own, as a container has
	Unclear             // its link couldn't be read, for want of root
)

// Belongs says whether a process of the list has the network that was looked at.
func (l ProcessList) Belongs(p Process) Belonging {
	switch {
	case l.Network == 0 || p.Network == l.Network:
		return Here
	case p.Network == 0:
		return Unclear
	}
	return Elsewhere
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
	Network uint64 // its network namespace, as ProcessList.Network; 0 where not known
}

// InterfaceList is the network interfaces of one host or network namespace, in the kernel's order.
type InterfaceList struct {
	List   []Interface
	Source Source
}

// Interface is one network interface.
type Interface struct {
	Name      string
	Addresses []netip.Prefix // each with the length of its network, the first one first
	Up        bool           // and its link is
	Loopback  bool
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

// WorkloadIdentity is what the metadata server tells the workload of itself. What it doesn't tell is empty.
type WorkloadIdentity struct {
	Email      string
	Scopes     []string
	Project    string // ID
	Number     string
	Zone       string // "us-central1-b"
	Instance   string // the VM's name
	InstanceID string
	Address    netip.Addr // the VM's primary internal address: of its first network interface
	Source     Source
}

// Recording is one bundle: of which VM it is, and when it was made.
type Recording struct {
	File     string // the bundle's name; the sources of its facts have it as their Recording
	Hostname string
	// Identity is what the metadata server told the recorder.
	Identity WorkloadIdentity
	// NodeIDs are those of the bootstraps and proxies in it.
	NodeIDs []string
	Taken   time.Time // by the recorded machine's clock
	// Ahead is how far that clock was ahead of the control plane's, where ClockKnown.
	Ahead      time.Duration
	ClockKnown bool
	Source     Source
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
