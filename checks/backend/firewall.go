package backend

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"

	"github.com/meshdiag/meshdiag/evidence"
)

// fate is what becomes of packets; several bits are of several packets, or of a rule that can't be decided.
type fate uint8

// What becomes of a packet.
const (
	admitted fate = 1 << iota
	blocked
	unknown = admitted | blocked
)

// outcome is what becomes of the packets of an address range.
type outcome struct {
	fate
	// by is the rule that blocks them, the first of several; nil where no rule is for them, so that the rule that every
	// network has at its end, deny all ingress, does.
	by *evidence.FirewallRule
	// undecided is a rule of which it can't be told whether it is for them.
	undecided *evidence.FirewallRule
}

func (o outcome) and(p outcome) outcome {
	if o.fate&blocked == 0 {
		o.by = p.by
	}
	o.fate |= p.fate
	if o.undecided == nil {
		o.undecided = p.undecided
	}
	return o
}

// vm is what firewall rules choose their targets by.
type vm struct {
	known    bool // whether tags and accounts are
	tags     []string
	accounts []string
}

// packets are TCP packets to one port of one VM.
type packets struct {
	port uint16
	to   vm
}

// maxParts bounds the parts into which rules may cut a range: real ones cut it into a few.
const maxParts = 4096

// firewall evaluates the effective firewall of a VM's interface for what comes in.
//
// Rules are taken level by level (hierarchical policies from the organisation down, then the network's own), within a level
// by priority; of VPC rules with the same one, a rule that denies comes first. The first that matches decides; goto_next hands
// over to the next level; at the end everything is denied.
// https://docs.cloud.google.com/firewall/docs/firewall-policies-rule-eval-order
type firewall struct {
	rules []evidence.FirewallRule
	p     packets
	parts int
}

func newFirewall(set evidence.FirewallSet, p packets) *firewall {
	f := &firewall{p: p}
	for _, r := range set.Rules {
		if r.Direction == "INGRESS" && !r.Disabled && coversPort(r, p.port) && p.to.target(r) != no {
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
func (v vm) target(r evidence.FirewallRule) answer {
	if len(r.TargetTags) == 0 && len(r.TargetAccounts) == 0 {
		return yes
	}
	if !v.known {
		return maybe
	}
	in := func(have []string) func(string) bool {
		return func(s string) bool { return slices.Contains(have, s) }
	}
	if slices.ContainsFunc(r.TargetTags, in(v.tags)) || slices.ContainsFunc(r.TargetAccounts, in(v.accounts)) {
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

// source says whether a rule is for packets from a range. Google's probers are no VMs: they have no tags and no accounts, so
// that a rule which names sources by those alone is not for them.
func source(r evidence.FirewallRule, from netip.Prefix) answer {
	if len(r.Opaque) > 0 {
		return maybe
	}
	if len(r.Ranges) == 0 {
		if len(r.SourceTags)+len(r.SourceAccounts) > 0 {
			return no
		}
		return yes // the default is any
	}
	a := no
	for _, p := range r.Ranges {
		switch {
		case p.Bits() <= from.Bits() && p.Contains(from.Addr()):
			return yes
		case p.Overlaps(from):
			a = partly
		}
	}
	return a
}

// from says what becomes of the packets from a range.
func (f *firewall) from(p netip.Prefix) outcome {
	all := make([]*evidence.FirewallRule, len(f.rules))
	for i := range f.rules {
		all[i] = &f.rules[i]
	}
	return f.part(all, p)
}

// part says what becomes of the packets from a part of a range, by the rules that are left for it. Where a rule is for a part
// of that only, it is cut in two.
func (f *firewall) part(rules []*evidence.FirewallRule, p netip.Prefix) outcome {
	if f.parts++; f.parts > maxParts {
		return outcome{fate: unknown}
	}
	w := way{to: f.p.to}
	cut := false
	for _, r := range rules {
		a := source(*r, p)
		cut = cut || a == partly
		if a != no {
			w.rules, w.matches = append(w.rules, r), append(w.matches, a)
		}
	}
	if cut {
		low, high := halves(p)
		return f.part(w.rules, low).and(f.part(w.rules, high))
	}
	w.memo = make([]*outcome, len(w.rules)+1)
	return w.walk(0)
}

// way is the rules that packets meet, with whether they match.
type way struct {
	to      vm
	rules   []*evidence.FirewallRule
	matches []answer
	memo    []*outcome
}

// walk evaluates the rules from index i on. A rule that may or may not match leaves both ways open.
func (w *way) walk(i int) outcome {
	if w.memo[i] != nil {
		return *w.memo[i]
	}
	out := outcome{fate: blocked} // the implied rule at the end
	switch {
	case i == len(w.rules):
	case w.matches[i] == yes && w.to.target(*w.rules[i]) == yes:
		out = w.apply(i)
	default:
		out = w.apply(i).and(w.walk(i + 1))
		if out.fate == unknown && out.undecided == nil {
			out.undecided = w.rules[i]
		}
	}
	w.memo[i] = &out
	return out
}

// apply does what rule i says.
func (w *way) apply(i int) outcome {
	r := w.rules[i]
	switch r.Action {
	case "allow":
		return outcome{fate: admitted}
	case "deny":
		return outcome{fate: blocked, by: r}
	case "goto_next":
		next := i + 1
		for next < len(w.rules) && w.rules[next].Level == r.Level {
			next++
		}
		return w.walk(next)
	}
	return outcome{fate: unknown, undecided: r} // an inspection, which may let it pass or not
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

// describe names a rule: the policy's or VPC's, with its priority and action.
func describe(r *evidence.FirewallRule) string {
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
