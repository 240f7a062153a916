// Package traffic holds the checks of interception: whether the packets of a host's applications, and those meant for them,
// come to its proxy, as the host's packet filter rules have it.
package traffic

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"

	"github.com/meshdiag/meshdiag/checks/hostrules"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/netfilter"
)

// Pages that several checks refer to.
const (
	refAutoVMs         = "https://cloud.google.com/service-mesh/docs/service-routing/auto-vms-options"
	refManualVMs       = "https://cloud.google.com/service-mesh/legacy/load-balancing-apis/advanced-setup"
	refTroubleshooting = "https://cloud.google.com/traffic-director/docs/troubleshooting"
	refIptables        = "https://man7.org/linux/man-pages/man8/iptables-extensions.8.html"
	refIstioPorts      = "https://istio.io/latest/docs/ops/deployment/application-requirements/"
)

// Commands that several checks give.
const (
	showNAT    = "sudo iptables -t nat -S"
	showAll    = "sudo iptables-save"
	showListen = "sudo ss -lntp"
)

// setUp says how the rules are made, by deployment.
var setUp = []diagnose.Step{
	{Text: "See the rules that are in force, on the host itself (in a pod: in its network namespace).", Command: showNAT},
	{If: "instance", Text: "On a VM made with --service-proxy the agent sets the rules: see why it didn't.",
		Command: "gcloud compute instances get-guest-attributes {{instance}} --zone={{zone}} --project={{project}} --query-path=gce-service-proxy/"},
	{Text: "On a VM set up by hand run the start script of its package again as root; it hides what iptables answers, so look at the rules afterwards."},
}

func needs(more ...evidence.Name) []evidence.Name { return append(hostrules.Needs(), more...) }

func asksDestination(r diagnose.Request) bool { return r.Target.Destination != "" }
func asksServing(r diagnose.Request) bool     { return r.Target.ServingPort != 0 }

// destination gives the destination asked about; a name's is that of the forwarding rules. The error is a reason to skip, or an
// *evidence.Missing.
func destination(req diagnose.Request, v *evidence.View) (netip.AddrPort, error) {
	rules, rulesErr := evidence.Whole(v, evidence.ForwardingRules)
	to, err := hostrules.Destination(req.Target.Destination, req.Target.Network, rules)
	if err != nil && rulesErr != nil {
		return to, rulesErr
	}
	if err != nil {
		return to, diagnose.Skip("%v", err)
	}
	return to, nil
}

// each asks every host. A host of which nothing can be told makes the check inconclusive where no other shows a fault.
func each(v *evidence.View, ask func(hostrules.Host) ([]diagnose.Cause, error)) ([]diagnose.Cause, error) {
	hosts, err := hostrules.Hosts(v)
	if err != nil {
		return nil, err
	}
	var causes []diagnose.Cause
	var open error
	for _, h := range hosts {
		found, err := ask(h)
		causes = append(causes, found...)
		if err != nil && open == nil {
			open = err
		}
	}
	if len(causes) > 0 {
		return causes, nil
	}
	return nil, open
}

// cause makes a cause about a host.
func cause(h hostrules.Host, summary string, confidence diagnose.Confidence, params map[string]string, excerpt string) diagnose.Cause {
	return diagnose.Cause{
		Subject: h.Name(), Key: h.Key, Summary: summary, Confidence: confidence, Params: params,
		Evidence: []diagnose.Exhibit{{Fact: evidence.PacketRules.Name(), Excerpt: excerpt, Source: h.Source}},
	}
}

// shown is the confidence of what rests on a listing that hides interfaces.
func shown(sure bool) diagnose.Confidence {
	if sure {
		return diagnose.Confirmed
	}
	return diagnose.Likely
}

// application asks for a packet of an application, and says whether it comes to the proxy.
func application(h hostrules.Host, to netip.AddrPort) (r netfilter.Result, intercepted, sure bool, err error) {
	p := h.Out(to, hostrules.AnyUser, hostrules.AnyUser)
	r = h.Set.Evaluate(h.Kernel, netfilter.Outbound, p)
	o, sure, err := h.Settle(r)
	if err != nil {
		return r, false, false, err
	}
	if hostrules.Intercepted(netfilter.Outbound, p, o) {
		return r, true, sure, nil
	}
	if !h.Has(netfilter.FamilyOf(to.Addr()), "nat") {
		return r, false, false, h.Missing("the nat table of %s was not read", netfilter.FamilyOf(to.Addr()))
	}
	return r, false, sure, h.Doubt()
}

// ranges gives the destinations that an application's packets to a port are taken to the proxy for; unsure says that the rules
// can't tell of some.
func ranges(h hostrules.Host, f netfilter.Family, port uint16) (list []netip.Prefix, unsure bool) {
	from := netip.IPv4Unspecified()
	if f == netfilter.IPv6 {
		from = netip.IPv6Unspecified()
	}
	list, unknown, err := h.Set.Intercepted(h.Kernel, h.Out(netip.AddrPortFrom(from, port), hostrules.AnyUser, hostrules.AnyUser))
	list = slices.DeleteFunc(list, func(p netip.Prefix) bool { return p.Addr().IsLoopback() })
	return list, err != nil || len(unknown) > 0
}

// shownRanges gives those that a listing without -v, which hides interfaces, shows as taken to the proxy for a destination's port.
func shownRanges(h hostrules.Host, to netip.AddrPort) []netip.Prefix {
	from := netip.IPv4Unspecified()
	if netfilter.FamilyOf(to.Addr()) == netfilter.IPv6 {
		from = netip.IPv6Unspecified()
	}
	list, _, err := h.Set.ShownIntercepted(h.Kernel, h.Out(netip.AddrPortFrom(from, to.Port()), hostrules.AnyUser, hostrules.AnyUser))
	if err != nil {
		return nil
	}
	return slices.DeleteFunc(list, func(p netip.Prefix) bool { return p.Addr().IsLoopback() })
}

func listed(list []netip.Prefix) string {
	const most = 4
	s := ""
	for i, p := range list {
		if i == most {
			return s + ", and " + strconv.Itoa(len(list)-most) + " more"
		}
		if i > 0 {
			s += ", "
		}
		s += p.String()
	}
	return cmp.Or(s, "none")
}
