// Package netfilter reads iptables rule sets and answers what the kernel does with one packet.
//
// A rule set is read in any of the forms that the tools print (iptables-save, iptables -S, iptables -L) and walked as the
// kernel walks it, through the tables of each hook in their order of priority:
//
//	sent by this host:  OUTPUT raw, mangle, nat, filter, security; POSTROUTING mangle, nat;
//	                    then, where the destination is this host, in again by lo (below, without nat)
//	arriving here:      PREROUTING raw, mangle, nat; INPUT mangle, filter, security, nat
//	passing through:    PREROUTING as above; FORWARD mangle, filter, security; POSTROUTING mangle, nat
//
// So raw and mangle see the port that was asked for, and filter INPUT the one that nat rewrote it to. The order is that of
// include/uapi/linux/netfilter_ipv4.h in Linux; iptables(8) and iptables-extensions(8) tell what the rules mean.
//
// Nothing is guessed. Where something that can't be known here decides (an extension that isn't known, a user name, a
// chain that the text lacks), both possibilities are walked, and the verdict is [Unknown], naming the rule, unless they
// come to the same end.
package netfilter

import (
	"fmt"
	"net/netip"
	"slices"
)

// Family is the address family a table is for.
type Family uint8

// The two families. The zero Family stands for none.
const (
	IPv4 Family = 4
	IPv6 Family = 6
)

func (f Family) String() string {
	switch f {
	case IPv4:
		return "IPv4"
	case IPv6:
		return "IPv6"
	}
	return "no family"
}

// FamilyOf gives an address's family; an IPv4 address in IPv6 clothes is IPv4.
func FamilyOf(a netip.Addr) Family {
	switch {
	case !a.IsValid():
		return 0
	case a.Unmap().Is4():
		return IPv4
	}
	return IPv6
}

// Backend says which of the kernel's two engines holds a table. A host may have both at once, and both are then in force.
type Backend string

// The backends. The zero Backend is that of a text that doesn't say.
const (
	NFT    Backend = "nft"
	Legacy Backend = "legacy"
)

// Form is the form of a text, the more telling the higher.
type Form uint8

// The forms. A Listing (iptables -L without -v) doesn't show the interfaces that a rule is limited to.
const (
	Listing        Form = iota + 1 // iptables -L
	VerboseListing                 // iptables -L -v
	Commands                       // iptables -S, or commands
	Save                           // iptables-save, or input of iptables-restore
)

func (f Form) String() string {
	return [...]string{"nothing", "iptables -L", "iptables -L -v", "iptables -S", "iptables-save"}[min(f, Save)]
}

// Set is the rules of one host, as far as they were read. A Set isn't changed by its methods, and may be read by several
// goroutines.
type Set struct {
	Tables []*Table
	// Notes are what the text says beside its rules, and what was assumed in reading it.
	Notes []string
	// NFTTables are the tables of an nftables ruleset in the text ("inet firewalld"), which are not evaluated. Those that
	// iptables-nft keeps are left out, if their rules were read.
	NFTTables []string
	// UnreadLegacy says that the text warns of iptables-legacy tables, which it doesn't hold.
	UnreadLegacy bool
	// Complete names the families of which all tables that the kernel has are here, so that an absent one is empty.
	// [Parse] tells it from a whole iptables-save; a caller who ran the commands may know it otherwise.
	Complete map[Family]bool
}

// Table is one table of one family.
type Table struct {
	Family  Family
	Name    string // "nat"
	Backend Backend
	Form    Form
	Chains  []*Chain

	byName map[string]*Chain
}

// Chain is one chain.
type Chain struct {
	Name   string
	Policy string // of a built-in chain: "ACCEPT", "DROP"; empty where the text doesn't tell
	Rules  []*Rule

	declared bool
}

// Rule is one rule.
type Rule struct {
	Number  int    // in its chain, from 1
	Line    int    // in its text, from 1
	Text    string // as written
	Target  string // of -j or -g; empty where the rule has none
	Goto    bool   // -g
	Packets uint64 // how many matched it, where Counted
	Counted bool
	Problem string // why it couldn't be read; such a rule may match anything

	conditions []condition
	action     action
	hidden     bool // from a listing that doesn't show interfaces
}

// Chain gives a chain by name, nil if there is none.
func (t *Table) Chain(name string) *Chain { return t.byName[name] }

func (t *Table) chain(name string) *Chain {
	if c := t.byName[name]; c != nil {
		return c
	}
	c := &Chain{Name: name}
	if t.byName == nil {
		t.byName = map[string]*Chain{}
	}
	t.byName[name] = c
	t.Chains = append(t.Chains, c)
	return c
}

// Find gives the tables of a family and name: none, one, or one of each backend.
func (s *Set) Find(f Family, name string) []*Table {
	var out []*Table
	for _, t := range s.Tables {
		if t.Family == f && t.Name == name {
			out = append(out, t)
		}
	}
	return out
}

// Rules counts the rules.
func (s *Set) Rules() int {
	n := 0
	for _, t := range s.Tables {
		for _, c := range t.Chains {
			n += len(c.Rules)
		}
	}
	return n
}

// ReachableFrom gives the names of the chains that a packet in the built-in chain base of a table ("nat", "OUTPUT") may
// come to, base first, whatever the conditions of the jumps: a chain that isn't among them does nothing there.
func (s *Set) ReachableFrom(f Family, table, base string) []string {
	var out []string
	seen := map[string]bool{}
	for _, t := range s.Find(f, table) {
		if t.Chain(base) == nil {
			continue
		}
		for todo := []string{base}; len(todo) > 0; {
			name := todo[0]
			todo = todo[1:]
			c := t.Chain(name)
			if c == nil || seen[string(t.Backend)+" "+name] {
				continue
			}
			seen[string(t.Backend)+" "+name] = true
			if !slices.Contains(out, name) {
				out = append(out, name)
			}
			for _, r := range c.Rules {
				if r.action.kind == actJump {
					todo = append(todo, r.Target)
				}
			}
		}
	}
	return out
}

// Merge joins texts of one host: the nat table from one, filter from another, IPv6 from a third. Where two hold the same
// table, the more telling form is kept, and of two equal ones the later; a note says so if they differ.
func Merge(sets ...Set) Set {
	var out Set
	for _, s := range sets {
		for _, t := range s.Tables {
			out.add(t)
		}
		for _, n := range s.Notes {
			out.note(n)
		}
		for _, n := range s.NFTTables {
			if !slices.Contains(out.NFTTables, n) {
				out.NFTTables = append(out.NFTTables, n)
			}
		}
		out.UnreadLegacy = out.UnreadLegacy || s.UnreadLegacy
		for f, ok := range s.Complete {
			out.complete(f, ok)
		}
	}
	out.settle()
	return out
}

func (s *Set) complete(f Family, ok bool) {
	if s.Complete == nil {
		s.Complete = map[Family]bool{}
	}
	s.Complete[f] = s.Complete[f] || ok
}

func (s *Set) note(n string) {
	if !slices.Contains(s.Notes, n) {
		s.Notes = append(s.Notes, n)
	}
}

func (s *Set) add(t *Table) {
	for i, have := range s.Tables {
		if have.Family != t.Family || have.Name != t.Name ||
			have.Backend != t.Backend && have.Backend != "" && t.Backend != "" {
			continue
		}
		if !same(have, t) {
			s.note(fmt.Sprintf("the %s table %s was given more than once, with different rules: the later and more telling text was used", t.Family, t.Name))
		}
		if t.Form >= have.Form {
			s.Tables[i] = t
		}
		return
	}
	s.Tables = append(s.Tables, t)
}

// same compares by what rules say, where both texts have one form; counters aside.
func same(a, b *Table) bool {
	if a.Form != b.Form {
		return true
	}
	if len(a.Chains) != len(b.Chains) {
		return false
	}
	for _, c := range a.Chains {
		d := b.Chain(c.Name)
		if d == nil || c.Policy != d.Policy || !slices.EqualFunc(c.Rules, d.Rules, func(x, y *Rule) bool { return x.Text == y.Text }) {
			return false
		}
	}
	return true
}

// settle drops what further tables have answered: the legacy tables a warning spoke of, the nftables ones that
// iptables-nft's rules stand for.
func (s *Set) settle() {
	var legacy, nft bool
	for _, t := range s.Tables {
		legacy = legacy || t.Backend == Legacy
		nft = nft || t.Backend != Legacy
	}
	s.UnreadLegacy = s.UnreadLegacy && !legacy
	if nft {
		s.NFTTables = slices.DeleteFunc(s.NFTTables, compatTable)
	}
}

// compatTable tells the tables that iptables-nft keeps by their names; nobody else can use those beside it.
func compatTable(n string) bool {
	switch n {
	case "ip raw", "ip mangle", "ip nat", "ip filter", "ip security",
		"ip6 raw", "ip6 mangle", "ip6 nat", "ip6 filter", "ip6 security":
		return true
	}
	return false
}
