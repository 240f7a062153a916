package netfilter

import (
	"fmt"
	"net/netip"
	"slices"
)

// Verdict is what becomes of a packet.
type Verdict uint8

// The verdicts. The zero Verdict is Unknown: it takes rules to say anything else.
const (
	Unknown    Verdict = iota // the rules can't tell; see Why
	Delivered                 // goes where it was sent
	Redirected                // goes elsewhere: to another address or port
	Tproxied                  // is given to a transparent proxy's socket, its destination unchanged
	Dropped                   // vanishes
	Rejected                  // is answered with an error
)

func (v Verdict) String() string {
	return [...]string{"unknown", "delivered", "redirected", "tproxied", "dropped", "rejected"}[min(v, Rejected)]
}

// Outcome is what becomes of a packet, and where.
type Outcome struct {
	Verdict Verdict
	// To is the address and port at which the packet arrives, or would have where it was dropped: a listener must be
	// there. The address is that of the packet where the interface's, to which REDIRECT sends, isn't known.
	To netip.AddrPort
	// LastPort is the end of the range of ports that one is taken from; otherwise To's port.
	LastPort uint16
	// Rewritten says that nat changed the destination, whatever became of the packet then.
	Rewritten bool
	// Forwarded says that the packet isn't for this host.
	Forwarded bool
	// Reply says that the answer is what is dropped or rejected: see [Set.Connect].
	Reply bool
	// With is what a rejected packet is answered with, as iptables names it: "icmp-port-unreachable".
	With string
}

func (o Outcome) String() string {
	s := o.Verdict.String()
	switch {
	case o.Reply:
		s = "reply " + s
	case o.Verdict == Redirected || o.Verdict == Tproxied:
		s += " to " + o.To.String()
	}
	return s
}

// Step is a rule that a packet matched, or the policy of a built-in chain that decided.
type Step struct {
	Family  Family
	Table   string
	Backend Backend
	Chain   string
	Number  int // of the rule in its chain; 0 for the policy
	Line    int // of the rule in its text
	Text    string
}

func (s Step) String() string {
	if s.Number == 0 {
		return fmt.Sprintf("%s %s: %s", s.Table, s.Chain, s.Text)
	}
	return fmt.Sprintf("%s %s rule %d: %s", s.Table, s.Chain, s.Number, s.Text)
}

// Result is the answer to one question.
type Result struct {
	Outcome
	// Steps are the rules that matched, in order. Where the verdict is Unknown, they are those of one possible way.
	Steps []Step
	// Rule is the step that decided: the redirect, the drop, or for a packet that goes where it was sent the rule that
	// ended nat, or nil where none matched. Where the verdict is Unknown it is the first rule whose effect can't be told, or
	// the one that decides AsShown.
	Rule *Step
	// Why says for Unknown what it is that can't be known.
	Why []string
	// Unread names what takes part on this way and wasn't read: it was taken for empty.
	Unread []string
	// Assumed is what else the answer rests on.
	Assumed []string
	// AsShown is the outcome if the rules of a listing without -v, which doesn't show interfaces, are limited to none, but for
	// those that make no sense without: see mustBeLimited. It is there where that is all that makes the verdict Unknown.
	AsShown *Outcome
}

// Limits of one evaluation.
const (
	// maxSteps is how many rules are looked at: rule sets may jump so that their number grows exponentially. Half a second
	// or so, and twenty times what the largest set that is read holds.
	maxSteps = 5_000_000
	// maxWays is how many combinations of what isn't known are walked: eight doubts, all of which matter. Beyond, the answer
	// would be Unknown anyhow.
	maxWays = 256
	// maxDoubts is how many doubts one way may meet: each costs at least a walk.
	maxDoubts = 128
	// maxDepth is how deep jumps may nest; the nft backend takes 16, and no sane legacy set comes near.
	maxDepth = 128
	// maxTrace and maxWhy keep a result readable.
	maxTrace = 256
	maxWhy   = 8
)

// Evaluate says what the rules do with a packet.
func (s *Set) Evaluate(h Host, d Direction, p Packet) Result { return s.evaluate(h, d, p, false) }

// Connect says what becomes of a connection that the packet begins: the packet, and where it arrives the reply to it,
// which goes back through other chains. A policy of DROP with no rule for ESTABLISHED connections lets the first out and
// not the second in.
func (s *Set) Connect(h Host, d Direction, p Packet) Result { return s.evaluate(h, d, p, true) }

func (s *Set) evaluate(h Host, d Direction, p Packet, reply bool) Result {
	f := FamilyOf(p.Destination)
	fail := func(why string) Result { return Result{Why: []string{why}} }
	switch {
	case f == 0:
		return fail("the packet has no destination")
	case p.Source.IsValid() && FamilyOf(p.Source) != f:
		return fail("the packet's source and destination are of different families")
	case d != Inbound && d != Outbound:
		return fail("the packet has no direction")
	}
	if !s.Complete[f] && !slices.ContainsFunc(s.Tables, func(t *Table) bool { return t.Family == f }) {
		if len(s.NFTTables) > 0 {
			return fail(fmt.Sprintf("the rules are nftables' own (%s), which are not evaluated", s.NFTTables[0]))
		}
		return fail(fmt.Sprintf("no %s rules were read", f))
	}
	e := &explorer{set: s, host: &h, dir: d, ask: p, reply: reply}
	res := e.explore(nil)
	out := Result{Outcome: res.out, Steps: res.steps, Rule: res.rule, Why: res.why, Assumed: res.assumed, AsShown: res.asShown}
	out.Unread = s.unread(f, d)
	if len(out.Why) > maxWhy {
		out.Why = append(out.Why[:maxWhy:maxWhy], fmt.Sprintf("and %d more", len(out.Why)-maxWhy))
	}
	return out
}

// unread names the tables on a way that aren't in the set.
func (s *Set) unread(f Family, d Direction) []string {
	var out []string
	tables := []string{"raw", "mangle", "nat", "filter"}
	if !s.Complete[f] {
		for _, t := range tables {
			if len(s.Find(f, t)) == 0 {
				out = append(out, fmt.Sprintf("%s %s", f, t))
			}
		}
	}
	if s.UnreadLegacy {
		out = append(out, "iptables-legacy tables")
	}
	for _, t := range s.NFTTables {
		out = append(out, "nft table "+t)
	}
	return out
}

// Intercepted gives the destinations that the packet, sent from this host, would be redirected or given to a transparent
// proxy for, as the fewest prefixes, whatever its own Destination's last bits; which also gives the family. Those of which
// the rules can't tell are in unknown.
func (s *Set) Intercepted(h Host, p Packet) (redirected, unknown []netip.Prefix, err error) {
	return s.intercepted(h, p, func(r Result) Verdict { return r.Verdict })
}

// ShownIntercepted is like Intercepted, and takes the rules of a listing without -v as it shows them.
func (s *Set) ShownIntercepted(h Host, p Packet) (redirected, unknown []netip.Prefix, err error) {
	return s.intercepted(h, p, func(r Result) Verdict {
		if r.AsShown != nil {
			return r.AsShown.Verdict
		}
		return r.Verdict
	})
}

func (s *Set) intercepted(h Host, p Packet, verdict func(Result) Verdict) (redirected, unknown []netip.Prefix, err error) {
	f := FamilyOf(p.Destination)
	edges, err := s.edges(h, f)
	if err != nil {
		return nil, nil, err
	}
	add := func(to []netip.Prefix, from, last netip.Addr) []netip.Prefix { return append(to, cover(from, last)...) }
	var from netip.Addr
	var have Verdict
	for i, a := range edges {
		p.Destination = a
		v := Delivered
		switch verdict(s.Evaluate(h, Outbound, p)) {
		case Unknown:
			v = Unknown
		case Redirected, Tproxied:
			v = Redirected
		}
		if i > 0 && v != have {
			if have == Redirected {
				redirected = add(redirected, from, a.Prev())
			} else if have == Unknown {
				unknown = add(unknown, from, a.Prev())
			}
		}
		if i == 0 || v != have {
			from, have = a, v
		}
	}
	last := lastOf(netip.PrefixFrom(edges[0], 0))
	switch have {
	case Redirected:
		redirected = add(redirected, from, last)
	case Unknown:
		unknown = add(unknown, from, last)
	}
	return redirected, unknown, nil
}
