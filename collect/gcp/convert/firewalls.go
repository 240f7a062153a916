package convert

import (
	"net/netip"
	"strconv"
	"strings"

	compute "google.golang.org/api/compute/v1"

	"github.com/meshdiag/meshdiag/evidence"
)

// The actions of a VPC firewall rule, in the words of policies.
const (
	allow = "allow"
	deny  = "deny"
)

// Firewall converts a VPC firewall rule. Its ranges are the sources of an ingress rule, the destinations of an egress one; a
// condition on the other side is kept as an opaque one.
func Firewall(f *compute.Firewall, level int) evidence.FirewallRule {
	if f == nil {
		return evidence.FirewallRule{Level: level}
	}
	out := evidence.FirewallRule{
		Name: f.Name, Level: level, Priority: int(f.Priority), Direction: f.Direction, Action: deny, Disabled: f.Disabled,
		TargetTags: f.TargetTags, TargetAccounts: f.TargetServiceAccounts, SourceTags: f.SourceTags, SourceAccounts: f.SourceServiceAccounts,
	}
	if out.Direction == "" {
		out.Direction = "INGRESS" // the default
	}
	if len(f.Allowed) > 0 {
		out.Action = allow
	}
	for _, a := range f.Allowed {
		if a != nil {
			protocol(&out, a.IPProtocol, a.Ports)
		}
	}
	for _, d := range f.Denied {
		if d != nil {
			protocol(&out, d.IPProtocol, d.Ports)
		}
	}
	if out.Direction == "EGRESS" {
		ranges(&out, f.DestinationRanges)
		opaque(&out, "source range", f.SourceRanges...)
	} else {
		ranges(&out, f.SourceRanges)
		opaque(&out, "destination range", f.DestinationRanges...)
	}
	return out
}

// PolicyRule converts a rule of a firewall policy. Conditions that neither ranges, ports nor service accounts show are kept
// as opaque ones.
func PolicyRule(r *compute.FirewallPolicyRule, policy string, level int) evidence.FirewallRule {
	if r == nil {
		return evidence.FirewallRule{Policy: policy, Level: level}
	}
	out := evidence.FirewallRule{
		Name: r.RuleName, Policy: policy, Level: level, Priority: int(r.Priority), Direction: r.Direction, Action: r.Action, Disabled: r.Disabled,
		TargetAccounts: r.TargetServiceAccounts,
	}
	secureTags(&out, "target secure tag", r.TargetSecureTags)
	m := r.Match
	if m == nil {
		return out
	}
	for _, l := range m.Layer4Configs {
		if l != nil {
			protocol(&out, l.IpProtocol, l.Ports)
		}
	}
	if r.Direction == "EGRESS" {
		ranges(&out, m.DestIpRanges)
		opaque(&out, "source range", m.SrcIpRanges...)
	} else {
		ranges(&out, m.SrcIpRanges)
		opaque(&out, "destination range", m.DestIpRanges...)
	}
	secureTags(&out, "source secure tag", m.SrcSecureTags)
	for _, side := range []struct {
		name                                      string
		groups, fqdns, regions, threats, networks []string
		networkType, networkContext               string
	}{
		{"source", m.SrcAddressGroups, m.SrcFqdns, m.SrcRegionCodes, m.SrcThreatIntelligences, m.SrcNetworks, m.SrcNetworkType, m.SrcNetworkContext},
		{"destination", m.DestAddressGroups, m.DestFqdns, m.DestRegionCodes, m.DestThreatIntelligences, nil, m.DestNetworkType, m.DestNetworkContext},
	} {
		opaque(&out, side.name+" address group", side.groups...)
		opaque(&out, side.name+" FQDN", side.fqdns...)
		opaque(&out, side.name+" region", side.regions...)
		opaque(&out, side.name+" threat list", side.threats...)
		opaque(&out, side.name+" network", side.networks...)
		for _, t := range []string{side.networkType, side.networkContext} {
			if t != "" && t != "UNSPECIFIED" {
				opaque(&out, side.name+" network type", t)
			}
		}
	}
	return out
}

func opaque(r *evidence.FirewallRule, what string, values ...string) {
	for _, v := range values {
		r.Opaque = append(r.Opaque, what+" "+v)
	}
}

func secureTags(r *evidence.FirewallRule, what string, tags []*compute.FirewallPolicyRuleSecureTag) {
	for _, t := range tags {
		if t != nil {
			opaque(r, what, t.Name)
		}
	}
}

// ranges reads address ranges; one that can't be read is a condition that isn't shown.
func ranges(r *evidence.FirewallRule, in []string) {
	for _, s := range in {
		if p, err := netip.ParsePrefix(s); err == nil {
			r.Ranges = append(r.Ranges, p.Masked())
		} else if a, err := netip.ParseAddr(s); err == nil {
			r.Ranges = append(r.Ranges, netip.PrefixFrom(a, a.BitLen()))
		} else {
			opaque(r, "range", s)
		}
	}
}

// protocol reads a protocol and its ports, "22" or "8000-9000".
func protocol(r *evidence.FirewallRule, name string, ports []string) {
	out := evidence.ProtocolPorts{Protocol: strings.ToLower(name)}
	for _, s := range ports {
		from, to, isRange := strings.Cut(s, "-")
		if !isRange {
			to = from
		}
		low, err1 := strconv.ParseUint(from, 10, 16)
		high, err2 := strconv.ParseUint(to, 10, 16)
		if err1 != nil || err2 != nil || low > high {
			opaque(r, "ports", s)
			continue
		}
		out.Ports = append(out.Ports, [2]uint16{uint16(low), uint16(high)})
	}
	if len(ports) > 0 && len(out.Ports) == 0 {
		return // none of its ports could be read: without any it would stand for all of them
	}
	r.Protocols = append(r.Protocols, out)
}
