package traffic

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/meshdiag/meshdiag/checks/hostrules"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/envoy"
	"github.com/meshdiag/meshdiag/evidence/netfilter"
)

// RedirectPortMismatch finds redirects to where the proxy doesn't listen.
var RedirectPortMismatch = diagnose.Check{
	ID:       "traffic/redirect-port-mismatch",
	Severity: diagnose.Blocking,
	Layer:    diagnose.LayerInterception,
	Symptoms: []diagnose.Symptom{diagnose.SymptomRequestsFail},
	Doc: diagnose.Doc{
		Title: "Traffic is redirected to a port on which the proxy doesn't listen",
		Explanation: "The rules take connections to a port of the host, and the proxy doesn't listen there, so the kernel refuses them. What a process of the host sends lands " +
			"on 127.0.0.1; what comes in lands on the interface's address, where a listener bound to 127.0.0.1 doesn't take it.",
		Quiet: "When what comes in is taken to port 15001 and the proxy listens there, as on a VM set up by hand; and when no Envoy runs, which is another fault.",
		Remedy: []diagnose.Step{
			{Text: "See the sockets that the proxy listens on.", Command: showListen},
			{Text: "See where the rules lead: look for --to-ports.", Command: showNAT},
			{Text: "Make both the same. On a VM set up by hand that is ENVOY_PORT in sidecar.env (run the start script again as root), and TRAFFICDIRECTOR_INTERCEPTION_PORT in the bootstrap's node metadata; " +
				"on a VM made with --service-proxy the template's proxy-port; a Mesh's interceptionPort must be that too."},
			{If: "loopback", Text: "The proxy listens on port {{port}} of 127.0.0.1 alone: what comes in needs a listener on 0.0.0.0."},
		},
		References: []string{refAutoVMs, refIstioPorts, refIptables},
	},
	Needs:    needs(evidence.Sockets.Name(), evidence.EnvoyListeners.Name(), evidence.EnvoyDumps.Name()),
	Evaluate: redirectPortMismatch,
}

func redirectPortMismatch(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	procs, _ := evidence.Get(v, evidence.Processes)
	by, open := listeners(v)
	return each(v, func(h hostrules.Host) ([]diagnose.Cause, error) {
		list, unsure := landings(req, h)
		if len(list) == 0 && unsure != nil {
			return nil, unsure
		}
		if len(list) == 0 {
			return nil, diagnose.Skip("the rules take nothing to a port of the host")
		}
		if open != nil {
			return nil, open
		}
		if h.Key != "" {
			return nil, diagnose.Skip("the rules of several hosts were given, and nothing tells which sockets are whose")
		}
		if err := h.NoProxy(); len(h.Users) == 0 && err != nil {
			return nil, err
		}
		if len(h.Users) == 0 && slices.ContainsFunc(procs, func(p evidence.ProcessList) bool { return p.Whole }) {
			return nil, diagnose.Skip("no Envoy runs on the host")
		}
		var causes []diagnose.Cause
		for _, l := range list {
			if c, found := refused(h, l, by); found {
				causes = append(causes, c)
			}
		}
		if len(causes) == 0 {
			return nil, unsure
		}
		return causes, nil
	})
}

// landing is where a packet comes to.
type landing struct {
	direction netfilter.Direction
	asked     netfilter.Packet
	excerpt   string
	to        netip.AddrPort
	sure      bool
	tproxy    bool
}

// landings gives where the rules take what is sent, and what comes in: each port once. The error is an
// *evidence.Missing: why the rules can't tell of some.
func landings(req diagnose.Request, h hostrules.Host) (out []landing, unsure error) {
	add := func(d netfilter.Direction, a hostrules.Arrival, err error) {
		if err != nil {
			unsure = err
			return
		}
		o := a.Outcome
		if !hostrules.Intercepted(d, a.Packet, o) ||
			slices.ContainsFunc(out, func(l landing) bool { return l.direction == d && l.to.Port() == o.To.Port() }) {
			return
		}
		out = append(out, landing{d, a.Packet, a.Excerpt(), o.To, a.Sure, o.Verdict == netfilter.Tproxied})
	}
	send := func(to netip.AddrPort) {
		p := h.Out(to, hostrules.AnyUser, hostrules.AnyUser)
		r := h.Set.Evaluate(h.Kernel, netfilter.Outbound, p)
		o, sure, err := h.Settle(r)
		add(netfilter.Outbound, hostrules.Arrival{Packet: p, Result: r, Outcome: o, Sure: sure}, err)
	}
	const http = 80
	if to, err := hostrules.Destination(req.Target.Destination, "", nil); err == nil && req.Target.Destination != "" {
		send(to)
	} else {
		list, _ := ranges(h, netfilter.IPv4, http)
		for _, p := range list[:min(len(list), 4)] { // all are by the same rule, as a rule
			send(netip.AddrPortFrom(p.Addr(), http))
		}
	}
	const anyPort = 8080 // one of those that sets of rules for any port take
	a, err := h.Arrive(cmp.Or(req.Target.ServingPort, anyPort), h.Set.Evaluate)
	add(netfilter.Inbound, a, err)
	return out, unsure
}

// listener is a place at which the proxy, or something else, listens.
type listener struct {
	address netip.Addr
	port    int
	process string // "" where that isn't known
}

func (l listener) String() string {
	s := netip.AddrPortFrom(l.address, uint16(l.port)).String() // #nosec G115 -- a port
	if l.process != "" {
		s += " (" + l.process + ")"
	}
	return s
}

// takes says whether a connection to an address comes to the listener. An IPv6 wildcard takes IPv4 too, unless it was told not
// to, which a list of sockets doesn't show.
func (l listener) takes(to netip.AddrPort, anyAddress bool) bool {
	return l.port == int(to.Port()) && (anyAddress || l.address.IsUnspecified() || l.address == to.Addr().Unmap())
}

// bound is where the proxy, or the whole host, listens.
type bound struct {
	list []listener
	fact evidence.Name // that tells of it
}

// listeners gives the host's sockets; or else what the proxy's admin interface says that it listens on, or what its
// configuration makes it listen on. open is an *evidence.Missing.
func listeners(v *evidence.View) (b bound, open error) {
	list, err := evidence.Whole(v, evidence.Sockets)
	told, terr := evidence.Whole(v, evidence.EnvoyListeners)
	dumps, derr := evidence.Whole(v, evidence.EnvoyDumps)
	if err == nil {
		b.fact = evidence.Sockets.Name()
		for _, l := range list {
			if !l.Whole {
				return b, &evidence.Missing{Name: evidence.Sockets.Name(), Why: evidence.Failed, Err: fmt.Errorf("not all listening sockets are in the list"), Source: l.Source}
			}
			for _, s := range l.List {
				if a, err := netip.ParseAddr(s.Address); err == nil {
					b.list = append(b.list, listener{a.Unmap().WithZone(""), s.Port, s.Process})
				}
			}
		}
		return b, nil
	}
	if terr == nil && len(told) == 1 {
		b.fact = evidence.EnvoyListeners.Name()
		for _, l := range told[0].List {
			b.add(l.Addresses)
		}
		return b, nil
	}
	if derr != nil {
		var m *evidence.Missing
		if errors.As(err, &m) && m.Why == evidence.NotAsked {
			return b, derr
		}
		return b, err
	}
	own := slices.DeleteFunc(slices.Clone(dumps), func(d evidence.EnvoyDump) bool { return d.Baseline || d.Dump == nil })
	if len(own) != 1 || !own[0].Dump.Knows(envoy.ListenerSection) {
		return b, err
	}
	b.fact = evidence.EnvoyDumps.Name()
	for _, l := range own[0].Dump.Listeners {
		if !l.Unbound && !l.Internal {
			b.add(l.Addresses)
		}
	}
	return b, nil
}

func (b *bound) add(addresses []envoy.Address) {
	for _, a := range addresses {
		if ip, err := netip.ParseAddr(a.Host); err == nil {
			b.list = append(b.list, listener{ip.Unmap(), a.Port, ""})
		}
	}
}

// refused says whether nothing of the proxy's takes what a redirect brings.
func refused(h hostrules.Host, l landing, at bound) (diagnose.Cause, bool) {
	what, by := "What processes send", at.list
	if l.direction == netfilter.Inbound {
		what = fmt.Sprintf("What comes in for port %d", l.asked.DestinationPort)
	}
	confidence := shown(l.sure)
	if at.fact != evidence.Sockets.Name() {
		confidence = diagnose.Likely // another program may listen there
	}
	// The address that REDIRECT sends what comes in to is the interface's, known or not: it is no loopback one.
	takes := func(b listener) bool {
		if l.tproxy {
			return b.takes(l.to, true)
		}
		return b.takes(l.to, l.direction == netfilter.Inbound && !b.address.IsLoopback() && !b.address.IsUnspecified())
	}
	named := slices.ContainsFunc(by, func(b listener) bool { return b.process == hostrules.EnvoyProcess })
	var loopback, foreign *listener
	for i, b := range by {
		switch {
		case b.port != int(l.to.Port()):
		case !takes(b):
			loopback = &by[i]
		case named && b.process != "" && b.process != hostrules.EnvoyProcess:
			foreign = &by[i]
		default:
			return diagnose.Cause{}, false
		}
	}
	port := strconv.Itoa(int(l.to.Port()))
	params := map[string]string{"port": port}
	var summary string
	switch {
	case foreign != nil:
		summary = fmt.Sprintf("%s is taken to port %s, which %s holds, and not Envoy.", what, port, foreign.process)
	case loopback != nil:
		params["loopback"] = "yes"
		summary = fmt.Sprintf("%s is taken to port %s of the interface's address, and the proxy listens on %s alone.", what, port, loopback.address)
		if l.direction == netfilter.Outbound {
			delete(params, "loopback")
			summary = fmt.Sprintf("%s is taken to %s, and the proxy listens on port %s of %s alone.", what, l.to, port, loopback.address)
		}
	default:
		summary = fmt.Sprintf("%s is taken to port %s, on which nothing listens; the proxy has %s.", what, port, ports(by))
	}
	c := cause(h, summary, confidence, params, l.excerpt)
	c.Evidence = append(c.Evidence, diagnose.Exhibit{Fact: at.fact, Excerpt: "listening: " + everything(by)})
	return c, true
}

func ports(list []listener) string {
	named := slices.ContainsFunc(list, func(b listener) bool { return b.process == hostrules.EnvoyProcess })
	var out []string
	for _, b := range list {
		if p := strconv.Itoa(b.port); (!named || b.process == hostrules.EnvoyProcess) && !slices.Contains(out, p) && len(out) < 6 {
			out = append(out, p)
		}
	}
	return cmp.Or(strings.Join(out, ", "), "none")
}

func everything(list []listener) string {
	const most = 12
	var out []string
	for _, b := range list[:min(len(list), most)] {
		out = append(out, b.String())
	}
	if len(list) > most {
		out = append(out, fmt.Sprintf("and %d more", len(list)-most))
	}
	return cmp.Or(strings.Join(out, ", "), "nothing")
}
