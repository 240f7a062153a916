package netfilter

import (
	"fmt"
	"net/netip"
	"slices"
)

// fate is what a chain, a table or a hook does with a packet.
type fate uint8

const (
	fateReturn fate = iota // nothing: back to where it came from
	fateAccept
	fateDrop
	fateReject
	fateUnknown
)

// walk is one way of a packet through the rules.
type walk struct {
	*explorer
	way
	p      *packet
	given  []bool
	known  map[string]bool
	active map[*Chain]bool
	hook   string
	visits int

	dstDone, srcDone bool // nat has been asked, and isn't again
	decided          *Step
	last             *Step // the last rule that matched
	tproxy           netip.AddrPort
	with             string
}

func (e *explorer) walk(given []bool) way {
	w := &walk{explorer: e, given: given, known: map[string]bool{}, active: map[*Chain]bool{}, p: newPacket(e.host, e.dir, e.ask)}
	if w.p.state != New {
		w.dstDone, w.srcDone = true, true
	}
	f := w.send()
	w.out = w.outcome(f)
	if e.reply && w.arrived() {
		w.connect()
	}
	w.rule = w.decided
	return w.way
}

func (w *walk) arrived() bool {
	v := w.out.Verdict
	return v == Delivered || v == Redirected || v == Tproxied
}

// send takes the packet through its hooks.
func (w *walk) send() fate {
	if w.dir == Outbound {
		if f := w.pass("OUTPUT"); f != fateAccept {
			return f
		}
		if f := w.leave(); f != fateAccept {
			return f
		}
		if !w.p.here() && w.p.out.name != "lo" {
			return fateAccept
		}
		// In again by lo, with the connection's mapping made and no process to own it.
		w.p.in, w.p.out, w.p.socket = link{name: "lo"}, link{}, false
	}
	if f := w.pass("PREROUTING"); f != fateAccept {
		return f
	}
	if w.p.inbound && w.p.dnat && w.p.dst.IsLoopback() && w.p.in.name != "lo" {
		if !w.choose("route_localnet", doubt{why: "a packet from outside that is rewritten to a loopback address is dropped unless net.ipv4.conf.*.route_localnet is set", rule: w.decided}) {
			return fateDrop
		}
	}
	if !w.here() && !w.tproxy.IsValid() {
		w.out.Forwarded = true
		w.p.out = link{external: true}
		if f := w.pass("FORWARD"); f != fateAccept {
			return f
		}
		return w.leave()
	}
	return w.pass("INPUT")
}

// here says whether a packet that came in is for this host.
func (w *walk) here() bool {
	p := w.p
	switch {
	case p.in.name == "lo" && !p.inbound:
		return true
	case len(p.host.Interfaces) == 0 && p.dnat && p.dst.sure && p.dst.Addr != p.orig && !p.dst.IsLoopback():
		return w.choose("here", doubt{why: fmt.Sprintf("whether %s is an address of this host isn't known", p.dst), rule: w.decided})
	}
	return p.here()
}

// leave is POSTROUTING, where the interface is that of the destination as rewritten.
func (w *walk) leave() fate {
	if w.p.dnat && w.p.dst.Addr != w.p.orig {
		w.p.route("")
	}
	return w.pass("POSTROUTING")
}

func (w *walk) outcome(f fate) Outcome {
	o := w.out
	p := w.p
	o.To, o.LastPort, o.Rewritten = netip.AddrPortFrom(p.dst.Addr, p.dport.from), p.dport.to, p.dnat
	switch f {
	case fateDrop:
		o.Verdict = Dropped
	case fateReject:
		o.Verdict, o.With = Rejected, w.with
	case fateUnknown:
		o = Outcome{}
	default:
		switch {
		case w.tproxy.IsValid():
			o.Verdict = Tproxied
		case p.dnat && (p.dst.Addr != p.orig || p.dport != span{p.origPort, p.origPort}):
			o.Verdict = Redirected
		default:
			o.Verdict = Delivered
		}
	}
	if w.tproxy.IsValid() && f != fateUnknown {
		o.To, o.LastPort = w.tproxy, w.tproxy.Port()
	}
	return o
}

// hookTables gives the tables of a hook in their order.
func hookTables(hook string) []string {
	switch hook {
	case "PREROUTING":
		return []string{"raw", "mangle", "nat"}
	case "INPUT":
		return []string{"mangle", "filter", "security", "nat"}
	case "FORWARD":
		return []string{"mangle", "filter", "security"}
	case "OUTPUT":
		return []string{"raw", "mangle", "nat", "filter", "security"}
	}
	return []string{"mangle", "nat"}
}

// pass takes the packet through one hook.
func (w *walk) pass(hook string) fate {
	w.hook = hook
	for _, name := range hookTables(hook) {
		if name == "nat" {
			done := &w.dstDone
			if hook == "INPUT" || hook == "POSTROUTING" {
				done = &w.srcDone
			}
			if *done || w.p.untracked {
				continue
			}
			*done = true
		}
		if f := w.tables(name, hook); f != fateAccept {
			return f
		}
	}
	return fateAccept
}

// tables takes the packet through one table of a hook, or the two that the two backends have of it.
func (w *walk) tables(name, hook string) fate {
	tables := w.set.Find(w.p.family, name)
	if len(tables) == 0 && name == "nat" && hook != "INPUT" && hook != "POSTROUTING" && !w.set.Complete[w.p.family] {
		if w.choose("nat", doubt{why: fmt.Sprintf("the %s nat table wasn't read", w.p.family)}) {
			return w.fail(fmt.Sprintf("the %s nat table wasn't read", w.p.family))
		}
	}
	if len(tables) == 2 && w.choose("backends", doubt{why: "both backends have rules, and which come first isn't known"}) {
		tables = []*Table{tables[1], tables[0]}
	}
	before := *w.p
	for _, t := range tables {
		c := t.Chain(hook)
		if c == nil {
			continue
		}
		if f := w.base(t, c); f != fateAccept {
			return f
		}
		if name == "nat" && (w.p.dnat != before.dnat || w.p.snat != before.snat) {
			break
		}
	}
	return fateAccept
}

// base walks a built-in chain.
func (w *walk) base(t *Table, c *Chain) fate {
	w.last = nil
	f := w.chain(t, c, nil)
	if t.Name == "nat" && w.decided == nil && (w.hook == "OUTPUT" || w.hook == "PREROUTING") {
		w.decided = w.last
	}
	if f != fateReturn {
		return f
	}
	step := &Step{t.Family, t.Name, t.Backend, c.Name, 0, 0, "policy " + c.Policy}
	switch c.Policy {
	case "ACCEPT":
		return fateAccept
	case "DROP":
		w.mark(*step)
		w.decided = step
		return fateDrop
	case "":
		// Only filter's and security's policies are anything but ACCEPT in practice, and the text has this table's rules.
		if (t.Name == "filter" || t.Name == "security") &&
			w.choose("policy "+t.Name+c.Name, doubt{why: fmt.Sprintf("the text doesn't show the policy of %s %s", t.Name, c.Name)}) {
			step.Text = "policy not shown"
			w.decided = step
			return fateDrop
		}
		return fateAccept
	}
	return w.fail(fmt.Sprintf("the policy of %s %s is %s", t.Name, c.Name, c.Policy))
}

func (w *walk) fail(why string) fate {
	w.why = merge(w.why, []string{why})
	return fateUnknown
}

func (w *walk) mark(s Step) {
	if len(w.way.steps) < maxTrace {
		w.way.steps = append(w.way.steps, s)
	}
}

// choose answers a doubt: as it was answered before on this way, or as given, or as is likely.
func (w *walk) choose(key string, d doubt) bool {
	if v, ok := w.known[key]; ok {
		return v
	}
	v := d.likely
	if len(w.doubts) < len(w.given) {
		v = w.given[len(w.doubts)]
	}
	w.doubts = append(w.doubts, d)
	w.known[key] = v
	return v
}

// chain walks a chain's rules.
func (w *walk) chain(t *Table, c *Chain, from *Step) fate {
	if w.active[c] || len(w.active) >= maxDepth {
		w.decided = from
		if w.active[c] {
			return w.fail(fmt.Sprintf("the jumps go in a circle: %s %s leads to itself, by %s", t.Name, c.Name, from))
		}
		return w.fail(fmt.Sprintf("jumps are nested deeper than %d", maxDepth))
	}
	w.active[c] = true
	defer delete(w.active, c)
	for _, r := range c.Rules {
		if w.explorer.steps++; w.explorer.steps > maxSteps {
			return w.fail(fmt.Sprintf("more than %d rules would have to be looked at", maxSteps))
		}
		if len(w.doubts) > maxDoubts {
			w.decided = stepOf(t, c, r)
			return w.fail(tooMuch)
		}
		if !w.matches(t, c, r) {
			continue
		}
		step := stepOf(t, c, r)
		w.mark(*step)
		if r.action.kind == actReturn || r.action.kind == actAccept {
			w.last = step
		}
		if f, done := w.act(t, r, step); done {
			return f
		}
	}
	return fateReturn
}

func stepOf(t *Table, c *Chain, r *Rule) *Step {
	return &Step{t.Family, t.Name, t.Backend, c.Name, r.Number, r.Line, r.Text}
}

// matches asks a rule's conditions: first those that can be answered, and the others only if it matters.
func (w *walk) matches(t *Table, ch *Chain, r *Rule) bool {
	var open []condition
	for _, c := range r.conditions {
		switch a := c.test.ask(w.p); {
		case a == maybe:
			open = append(open, c)
		case (a == yes) == c.neg:
			return false
		}
	}
	if r.action.kind == actNone {
		return len(open) == 0
	}
	step := &Step{}
	if len(open) > 0 || r.hidden {
		step = stepOf(t, ch, r)
	}
	for _, c := range open {
		if w.choose(w.key(c), doubt{why: w.whyOpen(r, c, step), rule: step}) == c.neg {
			return false
		}
	}
	if r.hidden && !slices.ContainsFunc(r.conditions, func(c condition) bool { _, is := c.test.(device); return is }) {
		return w.choose(fmt.Sprintf("hidden %s %t %p", w.hook, w.p.reply, r), doubt{
			why:  "iptables -L without -v doesn't show the interfaces that a rule is limited to: " + step.String(),
			rule: step, likely: !mustBeLimited(w.p, ch, r), hidden: true,
		})
	}
	return true
}

func (w *walk) whyOpen(r *Rule, c condition, step *Step) string {
	if r.Problem != "" {
		return fmt.Sprintf("line %d can't be read: %s", r.Line, r.Problem)
	}
	return fmt.Sprintf("whether %q holds can't be told: %s", c.String(), step)
}

// key says which doubts have one answer: the same question about the same packet.
func (w *walk) key(c condition) string {
	switch t := c.test.(type) {
	case owner:
		return c.text
	case anything:
		if t.volatile {
			w.visits++
			return fmt.Sprint(c.text, w.visits)
		}
	}
	return fmt.Sprint(w.hook, " ", w.p.dnat, w.p.snat, w.p.reply, c.text)
}

// act does what a rule's target does, and says whether that ends the chain.
func (w *walk) act(t *Table, r *Rule, step *Step) (fate, bool) {
	p, a := w.p, r.action
	switch a.kind {
	case actNone:
	case actJump:
		next := t.Chain(r.Target)
		if next == nil {
			w.decided = step
			if _, builtin := kindOf(r.Target); builtin {
				return w.fail(fmt.Sprintf("what %s does isn't known: %s", r.Target, step)), true
			}
			return w.fail(fmt.Sprintf("%s is neither a chain in the text nor a target that is known: %s", r.Target, step)), true
		}
		f := w.chain(t, next, step)
		return f, f != fateReturn || r.Goto
	case actAccept:
		return fateAccept, true
	case actReturn:
		return fateReturn, true
	case actDrop:
		w.decided = step
		return fateDrop, true
	case actReject:
		w.decided, w.with = step, a.with
		if w.with == "" {
			w.with = map[Family]string{IPv4: "icmp-port-unreachable", IPv6: "icmp6-port-unreachable"}[p.family]
		}
		return fateReject, true
	case actRedirect, actDNAT:
		w.decided = step
		w.rewrite(a)
		return fateAccept, true
	case actSNAT:
		p.snat = true
		p.src = place{remote: p.out.name != "lo"}
		return fateAccept, true
	case actTproxy:
		w.decided = step
		w.toProxy(a)
		return fateAccept, true
	case actMark:
		p.mark = a.newMark(p.mark, 0)
	case actConnmark:
		w.connmark(a)
	case actScramble:
		p.markSure = false
	case actNotrack:
		p.untracked = true
	default:
		w.decided = step
		if r.Problem != "" {
			return w.fail(fmt.Sprintf("line %d can't be read: %s", r.Line, r.Problem)), true
		}
		return w.fail(fmt.Sprintf("what %s does with the packet isn't known: %s", r.Target, step)), true
	}
	return fateReturn, false
}

func (w *walk) connmark(a action) {
	p := w.p
	switch {
	case a.restore:
		p.mark, p.markSure = a.newMark(p.mark, p.connmark), p.connSure && p.markSure
	case a.save:
		p.connmark, p.connSure = a.newMark(p.connmark, p.mark), p.markSure && (p.connSure || a.mask == ^uint32(0))
	default:
		p.connmark = a.newMark(p.connmark, 0)
	}
}

// rewrite is what REDIRECT and DNAT do. REDIRECT sends to 127.0.0.1 or ::1 what this host sent itself, and what comes from
// outside to the interface's first address.
func (w *walk) rewrite(a action) {
	p := w.p
	p.dnat = true
	switch {
	case a.kind == actRedirect && w.hook == "OUTPUT" || a.kind == actRedirect && p.in.name == "lo":
		home := netip.AddrFrom4([4]byte{127, 0, 0, 1})
		if p.family == IPv6 {
			home = netip.IPv6Loopback()
		}
		p.dst = place{Addr: home, sure: true}
	case a.kind == actRedirect:
		if first := p.host.first(p.in.name, p.family); first.IsValid() {
			p.dst = place{Addr: first, sure: true}
		} else {
			p.dst = place{Addr: p.dst.Addr, own: true, remote: true}
			w.assumed = merge(w.assumed, []string{"the interface that the packet arrives on has its destination's address"})
		}
	case a.addr.IsValid():
		p.dst = place{Addr: a.addr.Unmap(), sure: a.addr == a.last}
	}
	// A port within the range is kept, unless chance was asked for.
	if a.ports.to != 0 && (a.random || p.dport.from != p.dport.to || p.dport.from < a.ports.from || a.ports.to < p.dport.to) {
		p.dport = a.ports
	}
}

// toProxy is what TPROXY does: the packet goes on as it is, to a socket of another address and port.
func (w *walk) toProxy(a action) {
	p := w.p
	p.mark = p.mark&^a.mask ^ a.value
	addr := a.addr.Unmap()
	if !addr.IsValid() {
		if addr = p.host.first(p.in.name, p.family); !addr.IsValid() {
			addr = p.dst.Addr
		}
	}
	w.tproxy = netip.AddrPortFrom(addr, a.ports.from)
	if !p.here() {
		w.assumed = merge(w.assumed, []string{fmt.Sprintf("packets with mark %#x are routed to this host (ip rule, ip route … local)", p.mark)})
	}
}
