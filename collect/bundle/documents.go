package bundle

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/meshdiag/meshdiag/evidence"
)

// Limits on what a document may list. A document beyond them wasn't made by a recorder.
const (
	maxEntries   = 10_000 // processes, sockets and modules of one host
	maxAddresses = 64     // of one resolver's answer, and of an endpoint
)

// Head is the start of every document.
type Head struct {
	Kind    Kind `json:"kind"`
	Version int  `json:"version"`
}

// Processes are the processes of one host, or of one container where Whole is false.
type Processes struct {
	Head
	Whole     bool      `json:"whole"`
	Network   uint64    `json:"network,omitempty"` // the recorder's network namespace, of which the sockets and rules are
	Processes []Process `json:"processes"`
}

// Process is one process, as ps -eo pid,uid,gid,user,lstart,comm,args shows it.
type Process struct {
	PID     int       `json:"pid"`
	UID     int       `json:"uid"` // effective
	GID     int       `json:"gid"`
	User    string    `json:"user"`
	Started time.Time `json:"started,omitzero"`
	Command string    `json:"command"`
	Args    string    `json:"args"`
	// Network is the inode of its network namespace; 0 where only root may read it.
	Network uint64 `json:"network,omitempty"`
}

// Fact gives the document as a fact.
func (d Processes) Fact(src evidence.Source) (evidence.ProcessList, error) {
	out := evidence.ProcessList{Whole: d.Whole, Network: d.Network, Source: src}
	if len(d.Processes) > maxEntries {
		return out, fmt.Errorf("lists %d processes; at most %d are taken", len(d.Processes), maxEntries)
	}
	for _, p := range d.Processes {
		out.List = append(out.List, evidence.Process{PID: p.PID, User: p.User, UID: p.UID, GID: p.GID, Command: p.Command, Args: p.Args, Started: p.Started, Network: p.Network})
	}
	return out, nil
}

// Sockets are the listening TCP sockets of one network namespace, as ss -ltnp shows them.
type Sockets struct {
	Head
	Whole   bool     `json:"whole"`
	Sockets []Socket `json:"sockets"`
}

// Socket is one listening TCP socket.
type Socket struct {
	Address string `json:"address"`
	Port    int    `json:"port"`
	UID     int    `json:"uid"`           // of its owner; -1 where not known
	PID     int    `json:"pid,omitempty"` // absent where not known: only root sees other users'
	Process string `json:"process,omitempty"`
}

// Fact gives the document as a fact.
func (d Sockets) Fact(src evidence.Source) (evidence.SocketList, error) {
	out := evidence.SocketList{Whole: d.Whole, Source: src}
	if len(d.Sockets) > maxEntries {
		return out, fmt.Errorf("lists %d sockets; at most %d are taken", len(d.Sockets), maxEntries)
	}
	for _, s := range d.Sockets {
		if _, err := netip.ParseAddr(s.Address); err != nil {
			return out, fmt.Errorf("sockets: %.80q is no IP address", s.Address)
		}
		if s.Port < 1 || s.Port > 65535 {
			return out, fmt.Errorf("sockets: %d is no port", s.Port)
		}
		out.List = append(out.List, evidence.Socket{Address: s.Address, Port: s.Port, PID: s.PID, Process: s.Process, UID: s.UID})
	}
	return out, nil
}

// Interfaces are the network interfaces of one network namespace, as ip address shows them, in the kernel's order.
type Interfaces struct {
	Head
	Interfaces []Interface `json:"interfaces"`
}

// Interface is one network interface.
type Interface struct {
	Name      string         `json:"name"`
	Up        bool           `json:"up"` // and running
	Loopback  bool           `json:"loopback,omitempty"`
	Addresses []netip.Prefix `json:"addresses,omitempty"`
}

// Fact gives the document as a fact.
func (d Interfaces) Fact(src evidence.Source) (evidence.InterfaceList, error) {
	out := evidence.InterfaceList{Source: src}
	if len(d.Interfaces) > maxEntries {
		return out, fmt.Errorf("lists %d interfaces; at most %d are taken", len(d.Interfaces), maxEntries)
	}
	for _, i := range d.Interfaces {
		switch {
		case i.Name == "":
			return out, errors.New("interfaces: one has no name")
		case len(i.Addresses) > maxEntries:
			return out, fmt.Errorf("interface %.40q has %d addresses; at most %d are taken", i.Name, len(i.Addresses), maxEntries)
		case slices.ContainsFunc(i.Addresses, func(a netip.Prefix) bool { return !a.IsValid() }):
			return out, fmt.Errorf("interface %.40q: an address is missing", i.Name)
		}
		out.List = append(out.List, evidence.Interface{Name: i.Name, Up: i.Up, Loopback: i.Loopback, Addresses: i.Addresses})
	}
	return out, nil
}

// Modules are the kernel modules of one host.
type Modules struct {
	Head
	Loaded  []string `json:"loaded"`            // loaded or built in
	Missing []string `json:"missing,omitempty"` // of those that interception needs: neither loaded nor on disk
}

// Fact gives the document as a fact.
func (d Modules) Fact(src evidence.Source) (evidence.ModuleList, error) {
	if len(d.Loaded)+len(d.Missing) > maxEntries {
		return evidence.ModuleList{}, fmt.Errorf("lists %d modules; at most %d are taken", len(d.Loaded)+len(d.Missing), maxEntries)
	}
	return evidence.ModuleList{Loaded: d.Loaded, Missing: d.Missing, Source: src}, nil
}

// Paths says whether the proxy's user can write some paths.
type Paths struct {
	Head
	Paths []Path `json:"paths"`
}

// Path says whether a user can write one path.
type Path struct {
	Path     string `json:"path"`
	User     string `json:"user"`
	Writable bool   `json:"writable"`
	Unknown  bool   `json:"unknown,omitempty"`
	Reason   string `json:"reason,omitempty"`
}

// Fact gives the document as facts.
func (d Paths) Fact(src evidence.Source) ([]evidence.PathAccess, error) {
	if len(d.Paths) > maxEntries {
		return nil, fmt.Errorf("lists %d paths; at most %d are taken", len(d.Paths), maxEntries)
	}
	out := make([]evidence.PathAccess, 0, len(d.Paths))
	for _, p := range d.Paths {
		out = append(out, evidence.PathAccess{Path: p.Path, User: p.User, Writable: p.Writable, Unknown: p.Unknown, Reason: p.Reason, Source: src})
	}
	return out, nil
}

// Identity is what the metadata server tells the workload of itself.
type Identity struct {
	Head
	Email   string   `json:"email"` // empty where the VM has no service account
	Scopes  []string `json:"scopes,omitempty"`
	Project string   `json:"project,omitempty"`
	Number  string   `json:"project_number,omitempty"`
	Zone    string   `json:"zone,omitempty"` // "us-central1-b"
	// Instance and InstanceID are the VM's name and number.
	Instance   string     `json:"instance,omitempty"`
	InstanceID string     `json:"instance_id,omitempty"`
	Address    netip.Addr `json:"address,omitzero"` // of the VM's first network interface
}

// Fact gives the document as a fact.
func (d Identity) Fact(src evidence.Source) (evidence.WorkloadIdentity, error) {
	return evidence.WorkloadIdentity{
		Email: d.Email, Scopes: d.Scopes, Project: d.Project, Number: d.Number, Zone: d.Zone, Instance: d.Instance, InstanceID: d.InstanceID, Address: d.Address, Source: src,
	}, nil
}

// Probes are what the workload saw of the control plane.
type Probes struct {
	Head
	Endpoint string  `json:"endpoint"`
	DNS      []DNS   `json:"dns,omitempty"`
	TCP      []TCP   `json:"tcp,omitempty"`
	TLS      []TLS   `json:"tls,omitempty"`
	REST     []Call  `json:"rest,omitempty"`
	GRPC     []Call  `json:"grpc,omitempty"`
	Clock    []Clock `json:"clock,omitempty"`
	// Failed says, by the fact's name, why a probe could not be made.
	Failed map[evidence.Name]string `json:"failed,omitempty"`
}

// DNS is one resolver's answer.
type DNS struct {
	Host      string         `json:"host"`
	Resolver  string         `json:"resolver"`
	RCode     string         `json:"rcode,omitempty"`
	Addresses []netip.Addr   `json:"addresses,omitempty"`
	Error     string         `json:"error,omitempty"`
	Expected  []netip.Prefix `json:"expected,omitempty"`
}

// TCP is one connection attempt.
type TCP struct {
	Host    string              `json:"host"`
	Address string              `json:"address"`
	Outcome evidence.TCPOutcome `json:"outcome"`
	Error   string              `json:"error,omitempty"`
	Micros  int64               `json:"took_us"`
}

// TLS is one handshake.
type TLS struct {
	Host     string            `json:"host"`
	Address  string            `json:"address"`
	Fault    evidence.TLSFault `json:"fault,omitempty"`
	Error    string            `json:"error,omitempty"`
	Protocol string            `json:"protocol,omitempty"`
	Chain    []Certificate     `json:"chain,omitempty"`
}

// Certificate is one certificate of a chain, leaf first.
type Certificate struct {
	Subject   string    `json:"subject"`
	Issuer    string    `json:"issuer"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	DNSNames  []string  `json:"dns_names,omitempty"`
}

// Call is one call.
type Call struct {
	Host     string `json:"host"`
	Address  string `json:"address"`
	Answered bool   `json:"answered"`
	Code     string `json:"code,omitempty"`
	Reason   string `json:"reason,omitempty"`
	Message  string `json:"message,omitempty"`
}

// Clock is how far the clock is ahead.
type Clock struct {
	AheadMicros  int64 `json:"ahead_us"`
	WithinMicros int64 `json:"within_us"`
}

// NewProbes takes the probes' results out of a set.
func NewProbes(endpoint string, set *evidence.Set) Probes {
	d := Probes{Head: Head{KindProbes, Version}, Endpoint: endpoint, Failed: map[evidence.Name]string{}}
	v := evidence.NewView(set)
	for _, r := range probed(d, v, evidence.DNSProbe) {
		d.DNS = append(d.DNS, DNS{r.Host, r.Resolver, r.RCode, r.Addresses, r.Err, r.Expected})
	}
	for _, r := range probed(d, v, evidence.TCPProbe) {
		d.TCP = append(d.TCP, TCP{r.Host, r.Address, r.Outcome, r.Err, r.Took.Microseconds()})
	}
	for _, r := range probed(d, v, evidence.TLSProbe) {
		var chain []Certificate
		for _, c := range r.Chain {
			chain = append(chain, Certificate(c))
		}
		d.TLS = append(d.TLS, TLS{r.Host, r.Address, r.Fault, r.Err, r.Protocol, chain})
	}
	for _, r := range probed(d, v, evidence.RESTProbe) {
		d.REST = append(d.REST, Call{r.Host, r.Address, r.Answered, r.Code, r.Reason, r.Message})
	}
	for _, r := range probed(d, v, evidence.GRPCProbe) {
		d.GRPC = append(d.GRPC, Call{r.Host, r.Address, r.Answered, r.Code, r.Reason, r.Message})
	}
	for _, r := range probed(d, v, evidence.ClockFact) {
		d.Clock = append(d.Clock, Clock{r.Offset.Microseconds(), r.Within.Microseconds()})
	}
	return d
}

// probed gives the results of one probe, and notes why there are none.
func probed[T any](d Probes, v *evidence.View, k evidence.Key[[]T]) []T {
	list, err := evidence.Get(v, k)
	var m *evidence.Missing
	if errors.As(err, &m) && m.Why != evidence.NotAsked {
		d.Failed[k.Name()] = m.Err.Error()
	}
	return list
}

// Put writes the document's results as facts: those that are there as known, those that failed as failed.
func (d Probes) Put(set *evidence.Set, src evidence.Source) error {
	if n := max(len(d.DNS), len(d.TCP), len(d.TLS), len(d.REST), len(d.GRPC), len(d.Clock)); n > maxAddresses {
		return fmt.Errorf("lists %d results of one probe; at most %d are taken", n, maxAddresses)
	}
	var dns []evidence.DNSResult
	for _, r := range d.DNS {
		if len(r.Addresses) > maxAddresses {
			return fmt.Errorf("lists %d addresses; at most %d are taken", len(r.Addresses), maxAddresses)
		}
		dns = append(dns, evidence.DNSResult{Host: r.Host, Resolver: r.Resolver, RCode: r.RCode, Addresses: r.Addresses, Err: r.Error, Expected: r.Expected, Source: src})
	}
	var tcp []evidence.TCPResult
	for _, r := range d.TCP {
		tcp = append(tcp, evidence.TCPResult{Host: r.Host, Address: r.Address, Outcome: r.Outcome, Err: r.Error, Took: micros(r.Micros), Source: src})
	}
	var tls []evidence.TLSResult
	for _, r := range d.TLS {
		var chain []evidence.Certificate
		for _, c := range r.Chain {
			chain = append(chain, evidence.Certificate(c))
		}
		tls = append(tls, evidence.TLSResult{Host: r.Host, Address: r.Address, Fault: r.Fault, Err: r.Error, Protocol: r.Protocol, Chain: chain, Source: src})
	}
	var clock []evidence.ClockOffset
	for _, r := range d.Clock {
		clock = append(clock, evidence.ClockOffset{Offset: micros(r.AheadMicros), Within: micros(r.WithinMicros), Source: src})
	}
	put(d, set, evidence.DNSProbe, dns, src)
	put(d, set, evidence.TCPProbe, tcp, src)
	put(d, set, evidence.TLSProbe, tls, src)
	put(d, set, evidence.RESTProbe, calls(d.REST, src), src)
	put(d, set, evidence.GRPCProbe, calls(d.GRPC, src), src)
	put(d, set, evidence.ClockFact, clock, src)
	return nil
}

func put[T any](d Probes, set *evidence.Set, k evidence.Key[[]T], list []T, src evidence.Source) {
	if len(list) > 0 {
		evidence.Put(set, k, list, src)
	}
	if why, failed := d.Failed[k.Name()]; failed {
		set.Fail(k.Name(), src, errors.New(why))
	}
}

func calls(list []Call, src evidence.Source) []evidence.CallResult {
	var out []evidence.CallResult
	for _, r := range list {
		out = append(out, evidence.CallResult{Host: r.Host, Address: r.Address, Answered: r.Answered, Code: r.Code, Reason: r.Reason, Message: r.Message, Source: src})
	}
	return out
}

func micros(n int64) time.Duration { return time.Duration(n) * time.Microsecond }
