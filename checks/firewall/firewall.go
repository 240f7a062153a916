// Package firewall says what the firewall in force of a VPC network does with TCP connections, for the checks that need it.
package firewall

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/meshdiag/meshdiag/evidence"
)

// Fate is what becomes of packets; several bits are of several packets, or of a rule that can't be decided.
type Fate uint8

// What becomes of a packet.
const (
	Admitted Fate = 1 << iota
	Blocked
	Unknown = Admitted | Blocked
)

// Outcome is what becomes of the packets of an address range.
type Outcome struct {
	Fate Fate
	// By is the rule that blocks them, the first of several; nil where no rule is for them, so that the rule that every
	// network has at its end, deny all ingress, does.
	By *evidence.FirewallRule
	// Undecided is a rule of which it can't be told whether it is for them.
	Undecided *evidence.FirewallRule
}

// Doubt says why an outcome is Unknown.
func (o Outcome) Doubt() string {
	if o.Undecided == nil {
		return "rules admit a part of the range"
	}
	return Describe(o.Undecided)
}

// And joins the outcomes of two parts of a range.
func (o Outcome) And(p Outcome) Outcome {
	if o.Fate&Blocked == 0 {
		o.By = p.By
	}
	o.Fate |= p.Fate
	if o.Undecided == nil {
		o.Undecided = p.Undecided
	}
	return o
}

// Machine is what firewall rules choose VMs by.
type Machine struct {
	Known    bool // whether tags and accounts are
	Tags     []string
	Accounts []string
}

// Directions of packets, as rules name them.
const (
	Ingress = "INGRESS"
	Egress  = "EGRESS"
)

// Packets are TCP packets to one port, as they come in to a VM, or leave one.
type Packets struct {
	Direction string // "" is Ingress
	Port      uint16 // the destination's
	// Target is the VM whose firewall it is: with Ingress the one that they are for, with Egress the one that sends them.
	Target Machine
	// Sender is the VM that sends what comes in; nil where it is none, as Google's probers are.
	Sender *Machine
}

// maxParts bounds the parts into which rules may cut a range: real ones cut it into a few.
const maxParts = 4096

// Firewall evaluates the effective firewall of a VM's interface.
//
// Rules are taken level by level (hierarchical policies from the organisation down, then the network's own), within a level
// by priority; of VPC rules with the same one, a rule that denies comes first. The first that matches decides; goto_next hands
// over to the next level; at the end what comes in is denied, and what leaves is admitted.
// https://docs.cloud.google.com/firewall/docs/firewall-policies-rule-eval-order
type Firewall struct {
	rules []evidence.FirewallRule
	p     Packets
	parts int
}

// New takes the rules that are for packets.
func New(set evidence.FirewallSet, p Packets) *Firewall {
	p.Direction = cmp.Or(p.Direction, Ingress)
	f := &Firewall{p: p}
	for _, r := range set.Rules {
		if r.Direction == p.Direction && !r.Disabled && coversPort(r, p.Port) && p.Target.target(r) != no {
			f.rules = append(f.rules, r)
		}
	}
	slices.SortStableFunc(f.rules, func(a, b evidence.FirewallRule) int {
		return cmp.Or(cmp.Compare(a.Level, b.Level), cmp.Compare(a.Priority, b.Priority), cmp.Compare(lenient(a), lenient(b)))
	})
	return f
}

// lenient orders VPC rules of one priority: those that deny first.
func lenient(r evidence.FirewallRule) int {
	if r.Policy == "" && r.Action != "deny" {
		return 1
	}
	return 0
}

// answer is whether a rule is for something.
type answer int

const (
	no answer = iota
	yes
	maybe
	partly // it is for a part of the range
)

// target says whether a rule is for the VM. Of a VM whose tags and accounts aren't known that can't be told.
func (v Machine) target(r evidence.FirewallRule) answer {
	if len(r.TargetTags) == 0 && len(r.TargetAccounts) == 0 {
		return yes
	}
	if !v.Known {
		return maybe
	}
	in := func(have []string) func(string) bool {
		return func(s string) bool { return slices.Contains(have, s) }
	}
	if slices.ContainsFunc(r.TargetTags, in(v.Tags)) || slices.ContainsFunc(r.TargetAccounts, in(v.Accounts)) {
		return yes
	}
	return no
}

// coversPort says whether a rule is for TCP to a port. Without protocols it is for all of them.
func coversPort(r evidence.FirewallRule, port uint16) bool {
	return len(r.Protocols) == 0 || slices.ContainsFunc(r.Protocols, func(p evidence.ProtocolPorts) bool {
		if p.Protocol != "tcp" && p.Protocol != "all" && p.Protocol != "6" {
			return false
		}
		return len(p.Ports) == 0 || slices.ContainsFunc(p.Ports, func(r [2]uint16) bool { return r[0] <= port && port <= r[1] })
	})
}

// covers says whether a rule is for packets from a range, or to it where they leave. Rules may name what sends by tags and
// accounts besides: those are of VMs.
func (p Packets) covers(r evidence.FirewallRule, peer netip.Prefix) answer {
	if len(r.Opaque) > 0 {
		return maybe
	}
	sender := p.sentBy(r)
	if len(r.Ranges) == 0 && len(r.SourceTags)+len(r.SourceAccounts) == 0 {
		return yes // the default is any
	}
	a := no
	for _, in := range r.Ranges {
		switch {
		case in.Bits() <= peer.Bits() && in.Contains(peer.Addr()):
			return yes
		case in.Overlaps(peer):
			a = partly
		}
	}
	if sender == yes || a == no {
		return sender
	}
	return a
}

// sentBy says whether a rule names what sends by its tags or accounts.
func (p Packets) sentBy(r evidence.FirewallRule) answer {
	switch {
	case len(r.SourceTags)+len(r.SourceAccounts) == 0 || p.Sender == nil || p.Direction != Ingress:
		return no
	case !p.Sender.Known:
		return maybe
	}
	if slices.ContainsFunc(r.SourceTags, func(s string) bool { return slices.Contains(p.Sender.Tags, s) }) ||
		slices.ContainsFunc(r.SourceAccounts, func(s string) bool { return slices.Contains(p.Sender.Accounts, s) }) {
		return yes
	}
	return no
}

// Range says what becomes of the packets from a range, or to it where they leave.
func (f *Firewall) Range(p netip.Prefix) Outcome {
	f.parts = 0
	all := make([]*evidence.FirewallRule, len(f.rules))
	for i := range f.rules {
		all[i] = &f.rules[i]
	}
	return f.part(all, p)
}

// part says what becomes of the packets from a part of a range, by the rules that are left for it. Where a rule is for a part
// of that only, it is cut in two.
func (f *Firewall) part(rules []*evidence.FirewallRule, p netip.Prefix) Outcome {
	if f.parts++; f.parts > maxParts {
		return Outcome{Fate: Unknown}
	}
	w := way{packets: f.p}
	cut := false
	for _, r := range rules {
		a := f.p.covers(*r, p)
		cut = cut || a == partly
		if a != no {
			w.rules, w.matches = append(w.rules, r), append(w.matches, a)
		}
	}
	if cut {
		low, high := halves(p)
		return f.part(w.rules, low).And(f.part(w.rules, high))
	}
	w.memo = make([]*Outcome, len(w.rules)+1)
	return w.walk(0)
}

// way is the rules that packets meet, with whether they match.
type way struct {
	packets Packets
	rules   []*evidence.FirewallRule
	matches []answer
	memo    []*Outcome
}

// walk evaluates the rules from index i on. A rule that may or may not match leaves both ways open.
func (w *way) walk(i int) Outcome {
	if w.memo[i] != nil {
		return *w.memo[i]
	}
	out := Outcome{Fate: Blocked} // the implied rule at the end
	if w.packets.Direction == Egress {
		out.Fate = Admitted
	}
	switch {
	case i == len(w.rules):
	case w.matches[i] == yes && w.packets.Target.target(*w.rules[i]) == yes:
		out = w.apply(i)
	default:
		out = w.apply(i).And(w.walk(i + 1))
		if out.Fate == Unknown && out.Undecided == nil {
			out.Undecided = w.rules[i]
		}
	}
	w.memo[i] = &out
	return out
}

// apply does what rule i says.
func (w *way) apply(i int) Outcome {
	r := w.rules[i]
	switch r.Action {
	case "allow":
		return Outcome{Fate: Admitted}
	case "deny":
		return Outcome{Fate: Blocked, By: r}
	case "goto_next":
		next := i + 1
		for next < len(w.rules) && w.rules[next].Level == r.Level {
			next++
		}
		return w.walk(next)
	}
	return Outcome{Fate: Unknown, Undecided: r} // an inspection, which may let it pass or not
}

// halves cuts a range in two. It is never called for a single address: what overlaps that contains it.
func halves(p netip.Prefix) (low, high netip.Prefix) {
	bits := p.Bits() + 1
	b := p.Masked().Addr().AsSlice()
	low = netip.PrefixFrom(p.Masked().Addr(), bits)
	b[(bits-1)/8] |= 1 << (7 - (bits-1)%8)
	a, _ := netip.AddrFromSlice(b)
	return low, netip.PrefixFrom(a, bits)
}

// Describe names a rule: the policy's or VPC's, with its priority and action.
func Describe(r *evidence.FirewallRule) string {
	if r == nil {
		return "no rule (the implied rule denies all ingress)"
	}
	name := r.Name
	if name == "" {
		name = "without a name"
	}
	where := "VPC firewall rule "
	if r.Policy != "" {
		where = "firewall policy " + r.Policy + ", rule "
	}
	return where + name + ", priority " + strconv.Itoa(r.Priority) + ": " + r.Action
}

// On names a network behind what is on it; "" where that isn't known.
func On(network string) string {
	if network == "" {
		return ""
	}
	return " on network " + network
}

// Of gives the firewall in force for an endpoint's VM: the VM's own, else that of its network.
func Of(e evidence.EndpointHealth, sets []evidence.FirewallSet, groups []evidence.EndpointGroup, vms []evidence.Instance) (evidence.FirewallSet, Machine, bool) {
	name := evidence.LastSegment(e.Instance)
	var m Machine
	network := ""
	for _, i := range vms {
		if name != "" && i.Name == name && (e.Zone == "" || i.Zone == "" || region(evidence.LastSegment(i.Zone)) == region(e.Zone)) {
			if machine := MachineOf(i); machine.Known {
				m = machine
				if len(i.Networks) > 0 {
					network = evidence.LastSegment(i.Networks[0])
				}
			}
		}
	}
	for _, g := range groups {
		if network == "" && evidence.SameResource(g.URL, e.Group) {
			network = g.Network
		}
	}
	set, ok := Find(sets, name, network)
	return set, m, ok
}

// MachineOf gives what rules choose a VM by. A file that leaves fields out doesn't tell.
func MachineOf(i evidence.Instance) Machine {
	if i.Source.Pasted && len(i.Networks) == 0 {
		return Machine{}
	}
	m := Machine{Known: true, Tags: i.Tags}
	for _, a := range i.ServiceAccounts {
		m.Accounts = append(m.Accounts, a.Email)
	}
	return m
}

// Find gives the firewall of a VM, or else that of its network; where no network is known, the only one there is.
func Find(sets []evidence.FirewallSet, instance, network string) (evidence.FirewallSet, bool) {
	var found []evidence.FirewallSet
	for _, s := range sets {
		switch {
		case instance != "" && evidence.LastSegment(s.Instance) == instance:
			return s, true
		case s.Instance == "" && (network == "" || s.Network == network || s.Network == ""): // a file of policies alone names none
			found = append(found, s)
		}
	}
	if len(found) != 1 {
		return evidence.FirewallSet{}, false
	}
	return found[0], true
}

// region gives the region of a zone; what is a region already stays as it is.
func region(zone string) string {
	if i := strings.LastIndexByte(zone, '-'); i >= 0 && len(zone) == i+2 {
		return zone[:i]
	}
	return zone
}
