package traffic

import (
	"fmt"
	"slices"
	"strings"

	"github.com/meshdiag/meshdiag/checks/hostrules"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/netfilter"
)

// OutboundNotIntercepted finds hosts whose rules take nothing that is sent to the proxy.
var OutboundNotIntercepted = diagnose.Check{
	ID:       "traffic/outbound-not-intercepted",
	Severity: diagnose.Blocking,
	Layer:    diagnose.LayerInterception,
	Symptoms: []diagnose.Symptom{diagnose.SymptomRequestsFail},
	Doc: diagnose.Doc{
		Title: "No rule takes outgoing traffic to the proxy",
		Explanation: "Applications know nothing of the mesh: packet filter rules in the nat table's OUTPUT chain take their connections to the proxy. " +
			"There are none here, so connections go where they were sent, past the mesh; an address that only the mesh knows leads nowhere.",
		Quiet: "When rules weren't all read, when nftables' own rules are in force, for proxyless gRPC, for gateways, and for the rules of a Kubernetes node, whose pods have their own.",
		Remedy: append(slices.Clone(setUp),
			diagnose.Step{If: "unread", Text: "Linux has two engines for such rules, and both are in force: see those of the {{unread}} one too.", Command: "sudo iptables-nft-save -t nat; sudo iptables-legacy-save -t nat"}),
		References: []string{refAutoVMs, refTroubleshooting},
	},
	Needs:    needs(evidence.EnvoyDumps.Name()),
	Explains: []diagnose.CheckID{"traffic/vip-not-intercepted"},
	Evaluate: outboundNotIntercepted,
}

func outboundNotIntercepted(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	boots, _ := evidence.Get(v, evidence.Bootstraps)
	dumps, _ := evidence.Get(v, evidence.EnvoyDumps)
	return each(v, func(h hostrules.Host) ([]diagnose.Cause, error) {
		if err := meantFor(req, h, boots, dumps); err != nil {
			return nil, err
		}
		for _, f := range []netfilter.Family{netfilter.IPv4, netfilter.IPv6} {
			if len(h.Mesh(f, "nat", "OUTPUT"))+len(h.Mesh(f, "mangle", "OUTPUT")) > 0 || h.Redirects(f, "nat", "OUTPUT") {
				return nil, nil
			}
		}
		if err := h.Doubt(); err != nil {
			return nil, err
		}
		if !h.Has(netfilter.IPv4, "nat") {
			return nil, h.Missing("the nat table was not read: run iptables-save as root")
		}
		const http = 80
		if list, unsure := ranges(h, netfilter.IPv4, http); len(list) > 0 {
			return nil, nil
		} else if unsure {
			return nil, h.Missing("which addresses the rules take elsewhere can't be told")
		}
		unused := unreached(h)
		summary := "No rule takes outgoing traffic to the proxy: the nat table's OUTPUT chain leads to no ISTIO_OUTPUT or SERVICE_PROXY_* chain."
		if unused != "" {
			summary = fmt.Sprintf("Outgoing traffic isn't taken to the proxy: chain %s is there, and nothing in the nat table's OUTPUT chain jumps to it.", unused)
		}
		reach := h.Set.ReachableFrom(netfilter.IPv4, "nat", "OUTPUT")
		excerpt := "nat OUTPUT leads to: " + strings.Join(reach[min(len(reach), 1):], ", ")
		if len(reach) <= 1 {
			excerpt = "nat OUTPUT leads to no other chain"
		}
		confidence := diagnose.Confirmed
		params := map[string]string{}
		if other := h.OtherEngine(netfilter.IPv4); other != "" {
			params["unread"] = other
			confidence = diagnose.Likely
			summary = strings.TrimSuffix(summary, ".") + "; the tables of iptables' " + other + " engine were not read."
		}
		return []diagnose.Cause{cause(h, summary, confidence, params, excerpt)}, nil
	})
}

// unreached gives a chain of a mesh's set-up that is in the nat table and that nothing outgoing comes to.
func unreached(h hostrules.Host) string {
	for _, t := range h.Set.Find(netfilter.IPv4, "nat") {
		for _, c := range t.Chains {
			if c.Name == "ISTIO_OUTPUT" || strings.HasPrefix(c.Name, "SERVICE_PROXY_") && c.Name != "SERVICE_PROXY_INBOUND" && c.Name != "SERVICE_PROXY_IN_REDIRECT" {
				return c.Name
			}
		}
	}
	return ""
}

// meantFor says why a host's rules needn't take anything to a proxy, nil where they should.
func meantFor(req diagnose.Request, h hostrules.Host, boots []evidence.Bootstrap, dumps []evidence.EnvoyDump) error {
	var nodes []string
	metadata := []map[string]string{}
	envoys, grpc := len(h.Users) > 0, false
	for _, b := range boots {
		grpc = grpc || b.Kind == evidence.GRPCBootstrap
		envoys = envoys || b.Kind != evidence.GRPCBootstrap
		if b.Kind != evidence.GRPCBootstrap {
			nodes, metadata = append(nodes, b.NodeID), append(metadata, b.Metadata)
		}
	}
	for _, d := range dumps {
		if !d.Baseline && d.Dump != nil {
			envoys = true
			nodes, metadata = append(nodes, d.Dump.NodeID), append(metadata, d.Dump.Metadata)
		}
	}
	t := req.Target
	switch {
	case h.KubernetesNode():
		return diagnose.Skip("the rules are those of a Kubernetes node; a pod's are in its own network namespace")
	case slices.ContainsFunc(nodes, func(id string) bool { return strings.HasPrefix(id[strings.LastIndexByte(id, '/')+1:], "router~") }):
		return diagnose.Skip("the proxy is a gateway, to which clients connect by themselves")
	case slices.ContainsFunc(metadata, func(m map[string]string) bool { return m["INTERCEPTION_MODE"] == "NONE" }):
		return diagnose.Skip("the proxy was set up without interception (INTERCEPTION_MODE is NONE)")
	case grpc && !envoys:
		return diagnose.Skip("the client is proxyless gRPC, which needs no rules")
	case !envoys && t.Destination == "" && t.Instance == "" && t.NodeID == "" && unreached(h) == "":
		return diagnose.Skip("nothing tells that a proxy runs on this host")
	}
	return nil
}
