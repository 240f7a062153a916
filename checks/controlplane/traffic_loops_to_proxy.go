package controlplane

import (
	"cmp"
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

// TrafficLoopsToProxy finds rules that take the proxy's own connections back to it.
var TrafficLoopsToProxy = diagnose.Check{
	ID:       "controlplane/traffic-loops-to-proxy",
	Severity: diagnose.Blocking,
	Layer:    diagnose.LayerNetwork,
	Symptoms: []diagnose.Symptom{diagnose.SymptomNotConnected, diagnose.SymptomRequestsFail},
	Doc: diagnose.Doc{
		Title: "The proxy's own traffic is taken back to the proxy",
		Explanation: "The rules that take applications' connections to the proxy must let those of the proxy's own user pass first. They don't, so the proxy's connections to the " +
			"control plane or to an endpoint come back to the proxy, again and again, and never arrive.",
		Quiet: "When a rule for the proxy's user or group lets pass before any redirect, and when neither the control plane nor the endpoints are in a range that is intercepted.",
		Remedy: []diagnose.Step{
			{Text: "See which user the proxy runs as (it is {{uid}}).", Command: "ps -o uid,gid,user,args -C envoy"},
			{Text: "See which users the rules let pass (those are {{exempt}}), and in which order.", Command: "sudo iptables -t nat -S"},
			{Text: "Make them the same: on a VM set up by hand run Envoy as ENVOY_USER of sidecar.env, set EXCLUDE_ENVOY_USER_FROM_INTERCEPT='true', and run the start script again as root. " +
				"The rule that lets the proxy's user pass must come before every redirect."},
		},
		References: []string{
			"https://cloud.google.com/traffic-director/docs/troubleshooting",
			"https://man7.org/linux/man-pages/man8/iptables-extensions.8.html",
		},
	},
	Needs:    append(hostrules.Needs(), evidence.DNSProbe.Name(), evidence.EnvoyHosts.Name(), evidence.EnvoyDumps.Name()),
	Explains: append([]diagnose.CheckID{"controlplane/tcp-blocked", "controlplane/tls-failure", "controlplane/grpc-blocked"}, disconnected...),
	Evaluate: trafficLoopsToProxy,
}

// googleAddresses stand for the control plane where nobody tells which of its addresses it has: one of each of the ranges that
// www.googleapis.com's names resolve to, and of private.googleapis.com and restricted.googleapis.com. Only rules that take them
// all are said to take the control plane.
// https://cloud.google.com/vpc/docs/configure-private-google-access
func googleAddresses() []netip.Addr {
	var out []netip.Addr
	for _, s := range []string{"199.36.153.8", "199.36.153.4", "142.250.1.95", "172.217.0.95", "216.58.192.95", "74.125.20.95"} {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

// wanted is an address that the proxy connects to.
type wanted struct {
	to   netip.AddrPort
	what string // "the control plane", "endpoint 10.0.0.9:8080 of cluster x"
	// elsewhere says that another machine than the proxy's told the address.
	elsewhere bool
}

func trafficLoopsToProxy(_ diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	hosts, err := hostrules.Hosts(v)
	_, procErr := evidence.Get(v, evidence.Processes)
	control, endpoints := controlAddresses(v), endpointAddresses(v)
	_, hostsErr := evidence.Get(v, evidence.EnvoyHosts)
	if err != nil {
		return nil, err
	}
	var causes []diagnose.Cause
	var open error
	for _, h := range hosts {
		if h.KubernetesNode() {
			open = cmp.Or(open, diagnose.Skip("the rules are those of a Kubernetes node; a pod's are in its own network namespace"))
			continue
		}
		if len(h.Users) == 0 {
			open = cmp.Or(open, h.NoProxy(), procErr, diagnose.Skip("no Envoy is among the processes, and nothing tells its user"))
			continue
		}
		var found []diagnose.Cause
		passes := false
		for _, u := range h.Users {
			c, err := loops(h, u, control, endpoints)
			open = cmp.Or(open, err)
			found = append(found, c...)
			passes = passes || c == nil && err == nil
			if len(endpoints) == 0 && c == nil && takenBack(h, u) {
				open = cmp.Or(open, hostsErr) // some addresses come back, and which the proxy needs isn't known
			}
		}
		// Of two users the one that passes is the sidecar's, and the other Envoy an application that is meant to be intercepted.
		if !passes {
			causes = append(causes, found...)
		}
	}
	if len(causes) > 0 {
		return causes, nil
	}
	return nil, open
}

// loops asks for what one user's proxy connects to, and gives a cause for the first address whose packets come back.
func loops(h hostrules.Host, u hostrules.User, control, endpoints []wanted) ([]diagnose.Cause, error) {
	var open error
	ask := func(w wanted) (netfilter.Result, bool, bool) {
		p := h.Out(w.to, u.UID, u.GID)
		r := h.Set.Evaluate(h.Kernel, netfilter.Outbound, p)
		o, sure, err := h.Settle(r)
		if err != nil {
			if open == nil {
				open = err
			}
			return r, false, false
		}
		return r, hostrules.Intercepted(netfilter.Outbound, p, o), sure
	}
	say := func(w wanted, r netfilter.Result, sure bool) []diagnose.Cause {
		exempt := h.Exempt(netfilter.FamilyOf(w.to.Addr()))
		has := "the rules let no user pass"
		if len(exempt) > 0 {
			has = "the rules let UID " + strings.Join(exempt, ", ") + " pass"
			if slices.Contains(exempt, strconv.Itoa(u.UID)) || slices.Contains(exempt, u.Name) {
				has += ", too late or not for this"
			}
		}
		confidence := diagnose.Confirmed
		if !sure || h.Unread != "" || w.elsewhere || u.Fact == evidence.Bootstraps.Name() {
			confidence = diagnose.Likely
		}
		return []diagnose.Cause{{
			Subject: h.Name(), Key: h.Key, Confidence: confidence,
			Summary: fmt.Sprintf("The proxy's own connections to %s come back to its port %d: it runs as %s, and %s.", w.what, r.To.Port(), u, has),
			Params:  map[string]string{"uid": u.String(), "exempt": cmp.Or(strings.Join(exempt, ", "), "none")},
			Evidence: []diagnose.Exhibit{
				{Fact: evidence.PacketRules.Name(), Excerpt: hostrules.Excerpt(r), Source: h.Source},
				{Fact: u.Fact, Excerpt: fmt.Sprintf("Envoy is %s, by %s", u, u.Where), Source: u.Source},
			},
		}}
	}
	for _, w := range append(slices.Clone(control), endpoints...) {
		if r, back, sure := ask(w); back {
			return say(w, r, sure), nil
		}
	}
	if len(control) == 0 {
		first := true
		var at wanted
		var res netfilter.Result
		all, certain := true, true
		for _, a := range googleAddresses() {
			w := wanted{netip.AddrPortFrom(a, https), "the control plane, whichever of Google's addresses it has,", false}
			r, back, sure := ask(w)
			all, certain = all && back, certain && sure
			if first {
				at, res, first = w, r, false
			}
		}
		if all {
			return say(at, res, certain), nil
		}
	}
	if open != nil {
		return nil, open
	}
	if !h.Has(netfilter.IPv4, "nat") {
		return nil, h.Missing("the nat table was not read: run iptables-save as root")
	}
	return nil, h.Doubt()
}

// takenBack says whether the rules take anything that a user sends to the proxy, but to the host itself.
func takenBack(h hostrules.Host, u hostrules.User) bool {
	list, _, err := h.Set.Intercepted(h.Kernel, h.Out(netip.AddrPortFrom(netip.IPv4Unspecified(), https), u.UID, u.GID))
	return err == nil && slices.ContainsFunc(list, func(p netip.Prefix) bool { return !p.Addr().IsLoopback() })
}

// https is the port that the control plane listens on.
const https = 443

// controlAddresses gives the addresses that resolvers gave for the control plane.
func controlAddresses(v *evidence.View) []wanted {
	var out []wanted
	list, _ := evidence.Get(v, evidence.DNSProbe)
	for _, d := range list {
		for _, a := range d.Addresses {
			out = add(out, wanted{netip.AddrPortFrom(a.Unmap(), https), "the control plane (" + a.Unmap().String() + ")", d.Source.Vantage != evidence.FromWorkload})
		}
	}
	return out
}

// endpointAddresses gives the endpoints that the proxy knows, but those on its own host, which it reaches by lo.
func endpointAddresses(v *evidence.View) []wanted {
	var out []wanted
	put := func(a envoy.Address, cluster string) {
		ip, err := netip.ParseAddr(a.Host)
		if err != nil || a.Port < 1 || a.Port > 65535 || ip.IsLoopback() || ip.IsUnspecified() {
			return
		}
		to := netip.AddrPortFrom(ip.Unmap(), uint16(a.Port))
		out = add(out, wanted{to, fmt.Sprintf("endpoint %s of cluster %.80s", to, cluster), false})
	}
	states, _ := evidence.Get(v, evidence.EnvoyHosts)
	dumps, _ := evidence.Get(v, evidence.EnvoyDumps)
	for _, s := range states {
		if s.Hosts == nil {
			continue
		}
		for _, c := range s.Hosts.Clusters {
			for _, h := range c.Hosts {
				put(h.Address, c.Name)
			}
		}
	}
	for _, d := range dumps {
		if d.Baseline || d.Dump == nil {
			continue
		}
		for _, a := range d.Dump.Endpoints {
			for _, e := range a.Endpoints {
				put(e.Address, a.Name)
			}
		}
	}
	return out
}

// mostWanted bounds the addresses that are asked for: a rule set treats most of them alike.
const mostWanted = 200

func add(out []wanted, w wanted) []wanted {
	if len(out) >= mostWanted || slices.ContainsFunc(out, func(o wanted) bool { return o.to == w.to }) {
		return out
	}
	return append(out, w)
}
