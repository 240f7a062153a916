package traffic

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/meshdiag/meshdiag/checks/hostrules"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/netfilter"
)

// VIPNotIntercepted finds destinations that the rules leave out, though they take others to the proxy.
var VIPNotIntercepted = diagnose.Check{
	ID:       "traffic/vip-not-intercepted",
	Severity: diagnose.Blocking,
	Layer:    diagnose.LayerInterception,
	Symptoms: []diagnose.Symptom{diagnose.SymptomRequestsFail},
	Doc: diagnose.Doc{
		Title: "The destination's address isn't taken to the proxy",
		Explanation: "The rules take some ranges of addresses to the proxy, and the destination's address is in none of them. The connection goes to that " +
			"address itself, past the mesh; the address of a forwarding rule belongs to no machine, so nothing answers there.",
		Quiet: "When a broader range holds the address, when everything is intercepted, and when a rule leaves the address out on purpose.",
		Remedy: []diagnose.Step{
			{Text: "See what the rules take to the proxy.", Command: showNAT},
			{If: "only_port", Text: "The rule that takes port {{only_port}} names its ports (--dport or --dports), and neither way of deployment writes such rules: whoever added it must add port {{port}}, or leave the ports out."},
			{If: "by_hand", Text: "A VM set up by hand: add {{cidr}}, or a range that holds it, to SERVICE_CIDR in sidecar.env, and set the rules anew with the start script, which restarts Envoy too. " +
				"Run this in the folder that its package was unpacked in; the file as it was stays as sidecar.env.bak.",
				Command: `sudo sed -i.bak -E "s|^((export )?SERVICE_CIDR=)['\"]?([^'\"]+)['\"]?|\1'\3,{{cidr}}'|" sidecar.env && grep SERVICE_CIDR= sidecar.env && sudo ./run.sh start`},
			{If: "by_hand", Text: "In a pod, add {{cidr}} to the annotation traffic.sidecar.istio.io/includeOutboundIPRanges, and make the pod anew."},
			{If: "agent_vm", Text: "On a VM made with --service-proxy the agent writes the ranges, from what the control plane tells it: see whether it failed.",
				Command: "gcloud compute instances get-guest-attributes {{instance}} --zone={{zone}} --project={{project}} --query-path=gce-service-proxy/"},
			{If: "by_agent", Text: "If it didn't fail, have everything intercepted: make a new instance template (gcloud beta) with the options of the old one and --service-proxy=enabled,intercept-all-outbound-traffic beside its other " +
				"values of --service-proxy, and make the VM anew from it; a VM keeps the options that it was made with. Addresses that must stay direct go to exclude-outbound-ip-ranges."},
			{If: "agent_vm", Text: "The options it has:",
				Command: `gcloud compute instances describe {{instance}} --zone={{zone}} --project={{project}} --flatten="metadata[gce-service-proxy]"`},
		},
		References: []string{refAutoVMs, refManualVMs, refTroubleshooting},
	},
	Needs:    needs(evidence.ForwardingRules.Name()),
	Applies:  asksDestination,
	Evaluate: vipNotIntercepted,
}

func vipNotIntercepted(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	to, err := destination(req, v)
	return each(v, func(h hostrules.Host) ([]diagnose.Cause, error) {
		switch {
		case err != nil:
			return nil, err
		case to.Addr().IsLoopback():
			return nil, diagnose.Skip("%s is the host itself", to.Addr())
		case h.KubernetesNode():
			return nil, diagnose.Skip("the rules are those of a Kubernetes node; a pod's are in its own network namespace")
		}
		r, intercepted, sure, err := application(h, to)
		if intercepted || err != nil {
			return nil, err
		}
		list, unsure := ranges(h, netfilter.FamilyOf(to.Addr()), to.Port())
		taken := listed(list)
		_, excluded := exclusion(h, r)
		switch {
		case excluded || r.Verdict != netfilter.Delivered && r.AsShown == nil || r.Rewritten:
			return nil, nil // another check's
		case len(list) == 0 && unsure && bareListing(h, netfilter.FamilyOf(to.Addr())):
			// Of this packet the rules can tell all the same.
			if list = shownRanges(h, to); len(list) == 0 {
				return nil, h.Missing("which addresses are intercepted can't be told from a listing without -v")
			}
			taken = listed(list) + ", as far as a listing without -v shows"
		case len(list) == 0 && unsure:
			return nil, h.Missing("which addresses are intercepted can't be told")
		case len(list) == 0:
			if other := otherPort(h, to); other != 0 {
				params := map[string]string{"address": to.Addr().String(), "only_port": strconv.Itoa(int(other)), "port": strconv.Itoa(int(to.Port()))}
				return []diagnose.Cause{cause(h, fmt.Sprintf("The rules take port %d of %s to the proxy, and not port %d.", other, to.Addr(), to.Port()), shown(sure), params, hostrules.Excerpt(r))}, nil
			}
			return nil, diagnose.Skip("the rules take nothing to a proxy for port %d", to.Port())
		}
		return []diagnose.Cause{cause(h, fmt.Sprintf("%s is in no range that the rules take to the proxy (%s).", to.Addr(), taken), shown(sure),
			deployed(req, h, to.Addr()), "taken to the proxy: "+taken+"\n"+hostrules.Excerpt(r))}, nil
	})
}

// deployed gives the parameters by which the remedy is that of the way the proxy was deployed: the chains tell it. Where they
// don't, both ways are told.
func deployed(req diagnose.Request, h hostrules.Host, to netip.Addr) map[string]string {
	out := map[string]string{"address": to.String(), "cidr": netip.PrefixFrom(to, to.BitLen()).String()}
	f := netfilter.FamilyOf(to)
	chains := append(h.Mesh(f, "nat", "OUTPUT"), h.Mesh(f, "mangle", "OUTPUT")...)
	has := func(prefix string) bool {
		return slices.ContainsFunc(chains, func(c string) bool { return strings.HasPrefix(c, prefix) })
	}
	if has("ISTIO_") || !has("SERVICE_PROXY_") {
		out["by_hand"] = "yes"
	}
	if has("SERVICE_PROXY_") || !has("ISTIO_") {
		out["by_agent"] = "yes"
		out["agent_vm"] = req.Target.Instance
	}
	return out
}

// otherPort gives a port of a destination's address that the rules do take to the proxy, 0 if none is found: rules that are
// limited to ports name those that services have, or take all but some.
func otherPort(h hostrules.Host, to netip.AddrPort) uint16 {
	for _, port := range []uint16{80, 443, 8080, 8443, 50051, 9} {
		if _, taken, sure, err := application(h, netip.AddrPortFrom(to.Addr(), port)); err == nil && taken && sure {
			return port
		}
	}
	return 0
}

// bareListing says whether nat was read from a listing that hides interfaces, by which no range is certain.
func bareListing(h hostrules.Host, f netfilter.Family) bool {
	return slices.ContainsFunc(h.Set.Find(f, "nat"), func(t *netfilter.Table) bool { return t.Form == netfilter.Listing })
}
