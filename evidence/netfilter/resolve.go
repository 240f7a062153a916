package netfilter

import (
	"fmt"
	"slices"
	"strings"
)

// resolve names the tables and families that the text doesn't, and puts the set together.
func (p *parser) resolve() Set {
	set := Set{NFTTables: p.nft, UnreadLegacy: p.legacy}
	for _, n := range p.notes {
		set.note(n)
	}
	for _, s := range p.sections {
		if s.table.Name == "" {
			name, sure := s.inferTable()
			if s.table.Name = name; !sure {
				set.note(fmt.Sprintf("line %d: the text doesn't say which table these rules are in: taken for %s", s.line, name))
			}
		}
		if s.family == 0 {
			s.family = s.inferFamily()
		}
	}
	p.families(&set)
	whole := map[Family]int{}
	for _, s := range p.sections {
		s.table.Family = s.family
		for _, c := range s.table.Chains {
			for i, r := range c.Rules {
				r.Number = i + 1
			}
		}
		if s.table.Form == Listing && s.verbose {
			s.table.Form = VerboseListing
		}
		if s.whole {
			whole[s.family]++
		}
		set.add(&s.table)
	}
	for f, n := range whole {
		// One table may be all that "iptables-save -t" was asked for; nobody asks so for two.
		set.complete(f, n > 1)
	}
	set.settle()
	return set
}

// inferTable tells a table by its built-in chains, which differ; where they weren't all printed, by what only one table's
// rules may do.
func (s *section) inferTable() (name string, sure bool) {
	has := func(chain string) bool {
		c := s.table.Chain(chain)
		return c != nil && c.Policy != ""
	}
	switch {
	case has("POSTROUTING") && has("FORWARD"):
		return "mangle", true
	case has("POSTROUTING"):
		return "nat", true
	case has("FORWARD"):
		return "filter", true
	case has("PREROUTING") && has("OUTPUT"):
		return "raw", true
	}
	for _, c := range s.table.Chains {
		for _, r := range c.Rules {
			switch r.action.kind {
			case actRedirect, actDNAT, actSNAT:
				return "nat", true
			case actTproxy, actMark:
				return "mangle", true
			case actNotrack:
				return "raw", true
			case actReject:
				return "filter", true
			}
		}
	}
	if slices.ContainsFunc(s.table.Chains, func(c *Chain) bool {
		return hookOrder(c.Name) == 0 || hookOrder(c.Name) == 4 || strings.HasPrefix(c.Name, "ISTIO_") || strings.HasPrefix(c.Name, "SERVICE_PROXY_")
	}) {
		return "nat", false
	}
	return "filter", false
}

// inferFamily tells a table's family by the addresses in its rules, 0 where there are none.
func (s *section) inferFamily() Family {
	for _, c := range s.table.Chains {
		for _, r := range c.Rules {
			if strings.HasPrefix(r.action.with, "icmp6-") {
				return IPv6
			}
			for _, c := range r.conditions {
				if a, ok := c.test.(address); ok && len(a.nets) > 0 {
					if len(a.nets[0].addr) == 4 {
						return IPv4
					}
					return IPv6
				}
			}
		}
	}
	return 0
}

// families gives the rest a family. Tables that stand together are of one; a second table of one name is the other's.
func (p *parser) families(set *Set) {
	var group []*section
	var of Family
	done := map[Family]bool{}
	flush := func() {
		if len(group) == 0 {
			return
		}
		if of == 0 {
			if of = IPv4; done[IPv4] && !done[IPv6] {
				of = IPv6
			}
			set.note(fmt.Sprintf("line %d: the text doesn't say whether these rules are for IPv4 or IPv6: taken for %s", group[0].line, of))
		}
		for _, s := range group {
			s.family = of
		}
		done[of] = true
		group, of = nil, 0
	}
	for _, s := range p.sections {
		if slices.ContainsFunc(group, func(o *section) bool { return o.table.Name == s.table.Name }) || of != 0 && s.family != 0 && of != s.family {
			flush()
		}
		group = append(group, s)
		if of == 0 {
			of = s.family
		}
	}
	flush()
}
