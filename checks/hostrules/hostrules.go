// Package hostrules asks the packet filter rules of a proxy's host what becomes of its traffic, for the checks that need it.
package hostrules

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/envoy"
	"github.com/meshdiag/meshdiag/evidence/netfilter"
)

// AnyUser stands for a user, and a group, that no rule names: what holds for it holds for every application that has no rule
// of its own. Linux takes IDs up to 2³²-2, and nobody gives this one out.
const AnyUser = 1_999_999_993

// EnvoyProcess is the name of Envoy's program.
const EnvoyProcess = "envoy"

// someHost stands for the address of a host whose own isn't known: one for documentation, by RFC 5737.
const someHost = "192.0.2.1"

// Host is one host with what is known of its proxy.
type Host struct {
	evidence.HostRules
	Kernel netfilter.Host
	// Users are those that Envoy runs as; none where that isn't known.
	Users []User
	// Key places causes about the host among several: "" for the only one.
	Key string
	// Address is the host's, where the proxy's node id tells it; otherwise one that stands for it.
	Address netip.Addr
	// Elsewhere and Unclear are the Envoys among the processes that have a network of their own, as in a container, and those of
	// which that couldn't be read. Neither counts as the host's.
	Elsewhere, Unclear []evidence.Process

	primary    netip.Addr // of the VM, as its metadata server told; invalid where that isn't known
	interfaces []evidence.Interface
}

// User is one that the proxy runs as.
type User struct {
	UID, GID int // GID is netfilter.NoID where it isn't known
	Name     string
	Where    string // "process 812", "ENVOY_USER of sidecar.env"
	Fact     evidence.Name
	Source   evidence.Source
}

func (u User) String() string {
	s := "UID " + strconv.Itoa(u.UID)
	if u.Name != "" && u.Name != strconv.Itoa(u.UID) {
		s += " (" + u.Name + ")"
	}
	return s
}

// Needs are the facts that Hosts reads.
func Needs() []evidence.Name {
	return []evidence.Name{evidence.PacketRules.Name(), evidence.Processes.Name(), evidence.Bootstraps.Name(), evidence.Interfaces.Name(), evidence.Recordings.Name()}
}

// Hosts gives every host whose rules were read. The error is an [*evidence.Missing].
func Hosts(v *evidence.View) ([]Host, error) {
	rules, err := evidence.Get(v, evidence.PacketRules)
	lists, _ := evidence.Get(v, evidence.Processes) // whoever needs the user asks for it
	boots, _ := evidence.Get(v, evidence.Bootstraps)
	// Without the interfaces rules that name one are undecided, as they are where rules were pasted.
	interfaces, _ := evidence.Get(v, evidence.Interfaces)
	recordings, _ := evidence.Get(v, evidence.Recordings)
	if err != nil {
		return nil, err
	}
	var out []Host
	for _, r := range rules {
		h := Host{HostRules: r, Address: netip.MustParseAddr(someHost)}
		h.Kernel.Users = map[string]int{}
		if len(rules) > 1 {
			h.Key = "files/" + cmp.Or(strings.Join(r.Files, "+"), r.Source.Detail)
		}
		for _, l := range lists {
			if len(rules) > 1 && folder(l.Source) != folder(r.Source) || len(rules) == 1 && len(lists) > 1 && folder(l.Source) != folder(r.Source) {
				continue
			}
			h.processes(l)
		}
		if len(rules) == 1 {
			for _, b := range boots {
				h.bootstrap(b)
			}
		}
		for _, l := range interfaces {
			if r.Source.Recording != "" && l.Source.Recording == r.Source.Recording {
				h.network(l)
			}
		}
		for _, rec := range recordings {
			if r.Source.Recording != "" && rec.File == r.Source.Recording {
				h.primary = rec.Identity.Address
			}
		}
		out = append(out, h)
	}
	return out, nil
}

// folder gives the archive that a fact is from: those of one archive are of one host.
func folder(s evidence.Source) string {
	if i := strings.IndexByte(s.Detail, '/'); i > 0 {
		return s.Detail[:i]
	}
	return ""
}

func (h *Host) processes(l evidence.ProcessList) {
	for _, p := range l.List {
		if p.UID >= 0 && p.User != "" {
			h.Kernel.Users[p.User] = p.UID
		}
		if p.Command == EnvoyProcess {
			switch l.Belongs(p) {
			case evidence.Elsewhere:
				h.Elsewhere = append(h.Elsewhere, p)
				continue
			case evidence.Unclear:
				h.Unclear = append(h.Unclear, p)
				continue
			case evidence.Here:
			}
		}
		if p.Command != EnvoyProcess || p.UID < 0 || slices.ContainsFunc(h.Users, func(u User) bool { return u.UID == p.UID && u.GID == p.GID }) {
			continue
		}
		u := User{UID: p.UID, GID: p.GID, Name: p.User, Where: fmt.Sprintf("process %d", p.PID), Fact: evidence.Processes.Name(), Source: l.Source}
		if u.GID < 0 {
			u.GID = netfilter.NoID
		}
		h.Users = append(h.Users, u)
	}
}

func (h *Host) bootstrap(b evidence.Bootstrap) {
	// UUID~IP is how Traffic Director's packages make the last part of a node id.
	if n, err := evidence.ParseNodeID(b.NodeID); err == nil {
		if _, after, ok := strings.Cut(n.Node, "~"); ok {
			if a, err := netip.ParseAddr(after); err == nil {
				h.Address = a.Unmap()
			}
		}
	}
	name := b.Metadata["ENVOY_USER"]
	if b.Kind != evidence.SidecarEnvFile || name == "" || len(h.Users) > 0 {
		return
	}
	uid, known := h.Kernel.Users[name]
	if !known {
		n, err := strconv.ParseUint(name, 10, 31)
		if err != nil {
			return
		}
		uid = int(n)
	}
	h.Users = append(h.Users, User{UID: uid, GID: netfilter.NoID, Name: name, Where: "ENVOY_USER of " + cmp.Or(b.File, "sidecar.env"), Fact: evidence.Bootstraps.Name(), Source: b.Source})
}

// NoProxy says why no Envoy of the host's own is known, where some was seen: an *evidence.Missing where it may be the host's,
// a reason to skip where it isn't. It is nil where none was seen.
func (h Host) NoProxy() error {
	switch {
	case len(h.Unclear) > 0:
		return &evidence.Missing{Name: evidence.Processes.Name(), Why: evidence.Failed, Source: h.Source,
			Err: fmt.Errorf("whether Envoy (process %d) has the network of these rules could not be read: needs root", h.Unclear[0].PID)}
	case len(h.Elsewhere) > 0:
		return diagnose.Skip("Envoy (process %d) has a network of its own, with rules of its own", h.Elsewhere[0].PID)
	}
	return nil
}

// Name tells the host in a sentence.
func (h Host) Name() string {
	if len(h.Files) == 0 {
		return "the host"
	}
	return "the host of " + strings.Join(h.Files, ", ")
}

// Missing says that the rules can't answer, and why.
func (h Host) Missing(format string, a ...any) error {
	return &evidence.Missing{Name: evidence.PacketRules.Name(), Why: evidence.Failed, Err: fmt.Errorf(format, a...), Source: h.Source}
}

// Doubt is why rules that weren't read may decide otherwise, nil if none can.
func (h Host) Doubt() error {
	if why := h.HostRules.Doubt(); why != "" {
		return h.Missing("%s", why)
	}
	return nil
}

// OtherEngine names the one of the kernel's two engines whose tables of a family weren't looked at, "" where both were: both
// are in force at once. A recorder looks at both, and iptables-save of the nft engine warns where the other one has tables.
func (h Host) OtherEngine(f netfilter.Family) string {
	if h.Source.Recording != "" && h.Set.Complete[f] {
		return ""
	}
	var nft, warns, legacy bool
	for _, t := range h.Set.Tables {
		if t.Family == f {
			nft = nft || t.Backend == netfilter.NFT
			warns = warns || t.Backend == netfilter.NFT && t.Form == netfilter.Save
			legacy = legacy || t.Backend == netfilter.Legacy
		}
	}
	switch {
	case nft && legacy || warns && !h.Set.UnreadLegacy:
		return ""
	case legacy:
		return "nft"
	case nft:
		return "legacy"
	}
	return "other" // of the two, which the text doesn't tell apart
}

// Has says whether a table was read, or is known to be empty.
func (h Host) Has(f netfilter.Family, table string) bool {
	return h.Set.Complete[f] || len(h.Set.Find(f, table)) > 0
}

// KubernetesNode says whether the rules are those of a Kubernetes node: its pods have rules of their own elsewhere.
func (h Host) KubernetesNode() bool {
	for _, f := range []netfilter.Family{netfilter.IPv4, netfilter.IPv6} {
		for _, c := range h.Set.ReachableFrom(f, "nat", "PREROUTING") {
			if c == "KUBE-SERVICES" {
				return true
			}
		}
	}
	return false
}

// Mesh gives the chains of a mesh's set-up that a packet may come to from a built-in chain.
func (h Host) Mesh(f netfilter.Family, table, base string) []string {
	var out []string
	for _, c := range h.Set.ReachableFrom(f, table, base) {
		if strings.HasPrefix(c, "ISTIO_") || strings.HasPrefix(c, "SERVICE_PROXY_") {
			out = append(out, c)
		}
	}
	return out
}

// Rule finds the rule of a step, nil for a policy.
func (h Host) Rule(s netfilter.Step) (*netfilter.Rule, *netfilter.Chain) {
	for _, t := range h.Set.Find(s.Family, s.Table) {
		if t.Backend != s.Backend {
			continue
		}
		if c := t.Chain(s.Chain); c != nil && s.Number > 0 && s.Number <= len(c.Rules) {
			return c.Rules[s.Number-1], c
		}
	}
	return nil, nil
}

// Intercepted says whether an outcome takes a packet to a proxy on this host: REDIRECT and TPROXY do, DNAT to elsewhere, as
// Docker and Kubernetes use it, doesn't.
func Intercepted(d netfilter.Direction, asked netfilter.Packet, o netfilter.Outcome) bool {
	switch o.Verdict {
	case netfilter.Tproxied:
		return true
	case netfilter.Redirected:
		if d == netfilter.Outbound {
			return o.To.Addr().IsLoopback() && !(asked.Destination.IsLoopback() && asked.DestinationPort == o.To.Port())
		}
		return !o.Forwarded && o.To.Port() != asked.DestinationPort
	}
	return false
}

// Redirects says whether any chain that a packet may come to from a built-in one sends it to a port of this host.
func (h Host) Redirects(f netfilter.Family, table, base string) bool {
	names := h.Set.ReachableFrom(f, table, base)
	for _, t := range h.Set.Find(f, table) {
		for _, n := range names {
			if c := t.Chain(n); c != nil && slices.ContainsFunc(c.Rules, func(r *netfilter.Rule) bool { return r.Target == "REDIRECT" || r.Target == "TPROXY" }) {
				return true
			}
		}
	}
	return false
}

// owner is how a rule tells the user it is limited to.
var owner = regexp.MustCompile(`--uid-owner (\S+)|owner UID match (\S+)`)

// Exempt gives the users that rules on the way out let pass, as the rules write them.
func (h Host) Exempt(f netfilter.Family) []string {
	var out []string
	names := h.Set.ReachableFrom(f, "nat", "OUTPUT")
	for _, t := range h.Set.Find(f, "nat") {
		for _, n := range names {
			c := t.Chain(n)
			if c == nil {
				continue
			}
			for _, r := range c.Rules {
				if r.Target != "RETURN" && r.Target != "ACCEPT" {
					continue
				}
				if m := owner.FindStringSubmatch(r.Text); m != nil && !strings.Contains(r.Text, "! --uid-owner") {
					if u := cmp.Or(m[1], m[2]); !slices.Contains(out, u) {
						out = append(out, u)
					}
				}
			}
		}
	}
	return out
}

// Settle gives the outcome of a result, also where all that is uncertain is what a listing without -v hides; sure says whether
// that isn't so. The error is an *evidence.Missing.
func (h Host) Settle(r netfilter.Result) (o netfilter.Outcome, sure bool, err error) {
	switch {
	case r.Verdict != netfilter.Unknown:
		return r.Outcome, true, nil
	case r.AsShown != nil && r.AsShown.Verdict != netfilter.Unknown:
		return *r.AsShown, false, nil
	case len(r.Why) == 0:
		return r.Outcome, false, h.Missing("the rules can't tell")
	}
	return r.Outcome, false, h.Missing("the rules can't tell: %s", strings.Join(r.Why, "; "))
}

// Excerpt shows the rules that took part.
func Excerpt(r netfilter.Result) string {
	const most = 8
	var lines []string
	for i, s := range r.Steps {
		if i == most {
			lines = append(lines, "…")
			break
		}
		lines = append(lines, s.String())
	}
	if r.Rule != nil && !slices.Contains(lines, r.Rule.String()) {
		lines = append(lines, r.Rule.String())
	}
	if len(lines) == 0 {
		lines = []string{"no rule matches"}
	}
	return strings.Join(lines, "\n")
}

// ErrName is of a destination whose address can't be told.
var ErrName = errors.New("the destination's address isn't known")

// Destination gives the address and port of a request's destination. A name's is that of the forwarding rules, where there
// is but one that may be meant; rules are nil where they aren't known. The port is 80 where none is named.
func Destination(text, network string, rules []evidence.ForwardingRule) (netip.AddrPort, error) {
	q, err := envoy.ParseDestination(text)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("%w: %w", ErrName, err)
	}
	const http = 80
	port := uint16(cmp.Or(q.Port, http)) // #nosec G115 -- ParseDestination takes 16 bits
	if q.IP.IsValid() {
		return netip.AddrPortFrom(q.IP, port), nil
	}
	var found []netip.Addr
	for _, r := range rules {
		a, err := netip.ParseAddr(r.IPAddress)
		if err != nil || r.Scheme != evidence.SelfManaged || network != "" && r.Network != "" && r.Network != network || q.Port != 0 && !inRange(r.PortRange, q.Port) {
			continue
		}
		if a.IsUnspecified() {
			return netip.AddrPort{}, fmt.Errorf("%w: forwarding rule %s is for any address; name the destination by its IP address", ErrName, r.Name)
		}
		if !slices.Contains(found, a) {
			found = append(found, a)
		}
		if from, _, _ := strings.Cut(r.PortRange, "-"); q.Port == 0 {
			if n, err := strconv.ParseUint(from, 10, 16); err == nil && n > 0 {
				port = uint16(n)
			}
		}
	}
	if len(found) != 1 {
		return netip.AddrPort{}, fmt.Errorf("%w: of the forwarding rules, %d addresses may be meant by %.100s; name it by its IP address", ErrName, len(found), text)
	}
	return netip.AddrPortFrom(found[0], port), nil
}

// inRange says whether a port is in a forwarding rule's range; one without a range has every port.
func inRange(r string, port int) bool {
	if r == "" {
		return true
	}
	from, to, ok := strings.Cut(r, "-")
	if !ok {
		to = from
	}
	a, err1 := strconv.Atoi(strings.TrimSpace(from))
	b, err2 := strconv.Atoi(strings.TrimSpace(to))
	return err1 == nil && err2 == nil && port >= a && port <= b
}

// Out is a packet that an application sends.
func (h Host) Out(to netip.AddrPort, uid, gid int) netfilter.Packet {
	return netfilter.Packet{Destination: to.Addr(), DestinationPort: to.Port(), UID: uid, GID: gid}
}
