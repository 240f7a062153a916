package backend

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// fixed is the health check of service web at a port of its own.
func fixed(port int) func(*evidence.Set) {
	return put(evidence.HealthChecks, []evidence.HealthCheck{{Name: "web-hc", SelfLink: base + "global/healthChecks/web-hc", Type: "HTTP", PortSpec: "USE_FIXED_PORT", Port: port}})
}

var serving = put(evidence.HealthChecks, []evidence.HealthCheck{{Name: "web-hc", SelfLink: base + "global/healthChecks/web-hc", Type: "HTTP", PortSpec: "USE_SERVING_PORT"}})

func firewalls(network string, rules ...evidence.FirewallRule) func(*evidence.Set) {
	src := api
	src.Detail = "compute.networks.getEffectiveFirewalls"
	return putFrom(evidence.EffectiveFirewalls, []evidence.FirewallSet{{Network: network, Rules: rules, Source: src}}, src)
}

// rule makes an ingress rule of a VPC for all of TCP.
func rule(action string, priority int, ranges ...string) evidence.FirewallRule {
	r := evidence.FirewallRule{
		Name: fmt.Sprintf("%s-%d", action, priority), Priority: priority, Direction: "INGRESS", Action: action, Level: 9,
		Protocols: []evidence.ProtocolPorts{{Protocol: "tcp"}},
	}
	for _, s := range ranges {
		r.Ranges = append(r.Ranges, netip.MustParsePrefix(s))
	}
	return r
}

// policy makes it a rule of a policy.
func policy(name string, level int, r evidence.FirewallRule) evidence.FirewallRule {
	r.Policy, r.Level = name, level
	return r
}

func with(r evidence.FirewallRule, change func(*evidence.FirewallRule)) evidence.FirewallRule {
	change(&r)
	return r
}

func TestHealthCheckBlocked(t *testing.T) {
	sick := health(endpoints(2, groupA, unhealthy), endpoints(1, groupB, unhealthy))
	both := []string{"35.191.0.0/16", "130.211.0.0/22"}
	port := func(n uint16) func(*evidence.FirewallRule) {
		return func(r *evidence.FirewallRule) {
			r.Protocols = []evidence.ProtocolPorts{{Protocol: "tcp", Ports: [][2]uint16{{n, n}}}}
		}
	}
	forDB := func(r *evidence.FirewallRule) { r.TargetTags = []string{"db"} }
	machines := func(tags ...string) func(*evidence.Set) {
		var l []evidence.Instance
		for _, e := range append(endpoints(2, groupA, ""), endpoints(1, groupB, "")...) {
			l = append(l, evidence.Instance{Name: evidence.LastSegment(e.Instance), Zone: e.Zone, Networks: []string{"mesh-vpc"}, Tags: tags})
		}
		return put(evidence.Instances, l)
	}
	shared := group(groupA, 2, 8080)
	shared.NetworkProject = "net-host-77aa"
	internal := rule("allow", 1000, "10.0.0.0/8")
	checkstest.Run(t, HealthCheckBlocked, []checkstest.Case{
		{Name: "nothing admits them", Request: network, Put: all(sick, services(web()), serving, firewalls("mesh-vpc", internal)),
			Want: []checkstest.Want{{Subject: "backend service web", Summary: "No firewall rule on network mesh-vpc admits health checks from 35.191.0.0/16 and 130.211.0.0/22 to tcp:8080; all 3 endpoints", Confidence: diagnose.Confirmed,
				Excerpt: "implied rule denies", Params: map[string]string{"network": "mesh-vpc", "port": "8080", "priority": "1000", "network_project": projectID}}}},
		{Name: "one of the two ranges", Request: network, Put: all(sick, services(web()), serving, firewalls("mesh-vpc", rule("allow", 1000, "35.191.0.0/16"))), Want: []checkstest.Want{{Summary: "from 130.211.0.0/22 to"}}},
		{Name: "the serving port alone is open", Request: network, Put: all(sick, services(web()), fixed(9000), firewalls("mesh-vpc", with(rule("allow", 1000, both...), port(8080)))), Want: []checkstest.Want{{Summary: "to tcp:9000"}}},
		{Name: "a rule of the network denies", Request: network, Put: all(sick, services(web()), serving, firewalls("mesh-vpc", rule("deny", 500, "0.0.0.0/0"), rule("allow", 1000, both...))),
			Want: []checkstest.Want{{Summary: "VPC firewall rule deny-500, priority 500: deny", Params: map[string]string{"priority": "499"}}}},
		{Name: "a policy denies", Request: network, Put: all(sick, services(web()), serving, firewalls("mesh-vpc", policy("org-baseline", 0, rule("deny", 10, "0.0.0.0/0")), rule("allow", 1000, both...))),
			Want: []checkstest.Want{{Summary: "firewall policy org-baseline, rule deny-10", Params: map[string]string{"policy": "org-baseline", "rule_priority": "10"}}}},
		{Name: "admitted for others' tag alone", Request: network, Put: all(sick, services(web()), serving, machines("web"), firewalls("mesh-vpc", with(rule("allow", 1000, both...), forDB))), Want: []checkstest.Want{{Confidence: diagnose.Confirmed}}},
		{Name: "Shared VPC", Request: network, Put: all(sick, services(web()), serving, groups(shared), firewalls("mesh-vpc")), Want: []checkstest.Want{{Params: map[string]string{"network_project": "net-host-77aa"}}}},
		{Name: "the health check isn't known", Request: network, Put: all(sick, services(web()), deny(evidence.HealthChecks.Name()), firewalls("mesh-vpc")), Want: []checkstest.Want{{Confidence: diagnose.Likely}}},
		{Name: "the VM's own firewall", Request: network, Put: all(health(endpoints(1, groupA, unhealthy)), services(web(backends(groupA))), serving, func(s *evidence.Set) {
			evidence.Put(s, evidence.EffectiveFirewalls, []evidence.FirewallSet{
				{Network: "mesh-vpc", Rules: []evidence.FirewallRule{rule("allow", 1, "0.0.0.0/0")}, Source: api}, {Network: "mesh-vpc", Instance: "vm-10-128-0-10", Source: api},
			}, api)
		}), Want: []checkstest.Want{{}}},

		{Name: "the firewall is from a file", Request: network, Put: all(sick, services(web()), serving, func(s *evidence.Set) {
			evidence.Put(s, evidence.EffectiveFirewalls, []evidence.FirewallSet{{Source: pasted}}, pasted)
		}), Want: []checkstest.Want{{Summary: "No firewall rule admits health checks", Confidence: diagnose.Likely, Params: map[string]string{"network": "mesh-vpc"}}}},

		{Name: "admitted", Request: network, Put: all(sick, services(web()), serving, firewalls("mesh-vpc", with(rule("allow", 1000, both...), port(8080))))},
		{Name: "admitted by a broader rule", Request: network, Put: all(sick, services(web()), serving, firewalls("mesh-vpc", rule("allow", 1000, "0.0.0.0/0")))},
		{Name: "admitted for their tag", Request: network, Put: all(sick, services(web()), serving, machines("web", "db"), firewalls("mesh-vpc", with(rule("allow", 1000, both...), forDB)))},
		{Name: "one is healthy", Request: network, Put: all(health(endpoints(2, groupA, unhealthy), endpoints(1, groupB, healthy)), services(web()), serving, firewalls("mesh-vpc"))},
		{Name: "no health is told", Request: network, Put: all(health(endpoints(2, groupA, "")), services(web()), serving, firewalls("mesh-vpc"))},
		{Name: "checked by the proxies", Request: network, Put: all(sick, services(web()), serving, firewalls("mesh-vpc"), groups(
			evidence.EndpointGroup{URL: groupA, Type: "NON_GCP_PRIVATE_IP_PORT"}, evidence.EndpointGroup{URL: groupB, Type: "INTERNET_FQDN_PORT"}))},
		{Name: "IPv6 endpoints", Request: network, Put: all(health([]evidence.EndpointHealth{{Service: "web", Group: groupA, Address: "fd20::5", Port: 80, State: unhealthy}}), services(web()), serving, firewalls("mesh-vpc"))},
		{Name: "of a load balancer", Request: network, Put: all(sick, services(web(scheme("INTERNAL_MANAGED"))), serving, firewalls("mesh-vpc"))},
		{Name: "for a tag, and the VMs' aren't known", Request: network, Put: all(sick, services(web()), serving, firewalls("mesh-vpc", with(rule("allow", 1000, both...), forDB))), Outcome: diagnose.OutcomeInconclusive, Reason: "isn't certain"},
		{Name: "conditions that ranges don't show", Request: network, Put: all(sick, services(web()), serving, firewalls("mesh-vpc",
			policy("org", 0, with(rule("allow", 10), func(r *evidence.FirewallRule) { r.Opaque = []string{"source threat list x"} })))), Outcome: diagnose.OutcomeInconclusive},
		{Name: "another network's firewall", Request: network, Put: all(sick, services(web()), serving, machines(), firewalls("other-vpc")), Outcome: diagnose.OutcomeInconclusive, Reason: "isn't known"},
		{Name: "admitted at the serving port, and the check's isn't known", Request: network, Put: all(sick, services(web()), deny(evidence.HealthChecks.Name()), firewalls("mesh-vpc", rule("allow", 1, "0.0.0.0/0"))), Outcome: diagnose.OutcomeInconclusive},
		{Name: "the firewall is denied", Request: network, Put: all(sick, services(web()), serving, deny(evidence.EffectiveFirewalls.Name())), Outcome: diagnose.OutcomeInconclusive},
		{Name: "the firewall wasn't asked for", Request: files, Put: unnamed(endpoints(2, groupA, unhealthy)), Outcome: diagnose.OutcomeSkipped},
		{Name: "denied", Request: network, Put: deny(evidence.BackendHealth.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Request: network, Put: late(evidence.BackendHealth.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Request: files, Outcome: diagnose.OutcomeSkipped},
	})
}
