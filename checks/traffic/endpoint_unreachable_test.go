package traffic

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/envoy"
)

func TestEndpointUnreachable(t *testing.T) {
	const (
		base     = "https://www.googleapis.com/compute/v1/projects/" + project + "/"
		group    = base + "zones/us-central1-a/networkEndpointGroups/checkout-neg"
		instance = base + "zones/us-central1-a/instances/checkout-vm-1"
		cluster  = "cloud-internal-istio:cloud_mp_482915067713_7421907744103829471"
		timedOut = "upstream_reset_before_response_started{connection_timeout}"
		any      = "0.0.0.0/0"
	)
	api := evidence.Source{Collector: "gcp", Detail: "compute.networks.getEffectiveFirewalls", Vantage: evidence.FromAPI}
	live := diagnose.Request{Target: diagnose.Target{Project: project, Network: network, NodeID: nodeID}} // 10.128.0.5
	vm := diagnose.Request{Target: diagnose.Target{Project: project, Network: network, Zone: "us-central1-a", Instance: "web-1"}}
	all := diagnose.Request{Target: diagnose.Target{Project: project, Network: network}}

	put := func(list ...func(*evidence.Set)) func(*evidence.Set) {
		return func(s *evidence.Set) {
			for _, f := range list {
				f(s)
			}
		}
	}
	rule := func(action string, priority int, ranges ...string) evidence.FirewallRule {
		r := evidence.FirewallRule{Name: action, Priority: priority, Direction: "INGRESS", Action: action, Level: 9, Protocols: []evidence.ProtocolPorts{{Protocol: "tcp"}}}
		for _, s := range ranges {
			r.Ranges = append(r.Ranges, netip.MustParsePrefix(s))
		}
		return r
	}
	with := func(r evidence.FirewallRule, change func(*evidence.FirewallRule)) evidence.FirewallRule {
		change(&r)
		return r
	}
	checks := rule("allow", 1000, "35.191.0.0/16", "130.211.0.0/22")
	in := func(network string, rules ...evidence.FirewallRule) func(*evidence.Set) {
		return func(s *evidence.Set) {
			evidence.Put(s, evidence.EffectiveFirewalls, []evidence.FirewallSet{{Network: network, Rules: rules, Source: api}}, api)
		}
	}
	pasted := func(network string, rules ...evidence.FirewallRule) func(*evidence.Set) {
		src := evidence.Source{Collector: "file", Detail: "firewall.json", Vantage: evidence.FromAPI, Pasted: true}
		return func(s *evidence.Set) {
			evidence.Put(s, evidence.EffectiveFirewalls, []evidence.FirewallSet{{Network: network, Rules: rules, Source: src}}, src)
		}
	}
	endpoints := func(state string, addresses ...string) func(*evidence.Set) {
		var l []evidence.EndpointHealth
		for _, a := range addresses {
			l = append(l, evidence.EndpointHealth{Service: "checkout", Group: group, Zone: "us-central1-a", Address: a, Port: 8080, Instance: instance, State: state, Source: api})
		}
		return func(s *evidence.Set) { evidence.Put(s, evidence.BackendHealth, l, api) }
	}
	neg := func(change func(*evidence.EndpointGroup)) func(*evidence.Set) {
		g := evidence.EndpointGroup{URL: group, Kind: "neg", Type: "GCE_VM_IP_PORT", Network: network}
		change(&g)
		return func(s *evidence.Set) { evidence.Put(s, evidence.EndpointGroups, []evidence.EndpointGroup{g}, api) }
	}
	healthy := put(endpoints("HEALTHY", "10.132.0.10"), neg(func(*evidence.EndpointGroup) {}))
	log := func(upstream, details string, flags ...string) func(*evidence.Set) {
		src := evidence.Source{Collector: "file", Detail: "access.log", Vantage: evidence.FromWorkload, Pasted: true}
		return func(s *evidence.Set) {
			evidence.Put(s, evidence.AccessLogs, []evidence.AccessGroup{{File: "access.log", Flags: flags, Details: details, Code: 503, Cluster: cluster, Upstream: upstream, Count: 12,
				Sample: `"GET / HTTP/1.1" 503 ` + details + " " + upstream, Source: src}}, src)
		}
	}
	slow := log("10.132.0.10:8080", timedOut, "UF")
	message := func(signature string, fields map[string]string) func(*evidence.Set) {
		src := evidence.Source{Collector: "file", Detail: "app.log", Vantage: evidence.FromWorkload, Pasted: true}
		return func(s *evidence.Set) {
			evidence.Put(s, evidence.LogMessages, []evidence.LogMessage{{Signature: signature, Fields: fields, Text: "a line", Count: 3, Source: src}}, src)
		}
	}
	stats := func(n int64) func(*evidence.Set) {
		return func(s *evidence.Set) {
			evidence.Put(s, evidence.EnvoyStats, []evidence.EnvoyCounters{{Stats: envoy.Stats{"cluster." + cluster + ".upstream_cx_connect_timeout": n}, Source: api}}, api)
		}
	}
	hosts := func(addresses ...string) func(*evidence.Set) {
		text := ""
		for _, a := range addresses {
			text += cluster + "::" + a + "::health_flags::healthy\n"
		}
		h, err := envoy.ParseHosts([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return func(s *evidence.Set) {
			evidence.Put(s, evidence.EnvoyHosts, []evidence.EnvoyHostStates{{Hosts: h, Source: api}}, api)
		}
	}
	machines := func(change func(client, endpoint *evidence.Instance)) func(*evidence.Set) {
		client := evidence.Instance{Name: "web-1", Zone: "us-central1-a", Networks: []string{network}, Addresses: []string{"10.128.0.5"}, Source: api}
		endpoint := evidence.Instance{Name: "checkout-vm-1", Zone: "us-central1-a", Networks: []string{network}, Addresses: []string{"10.132.0.10"}, Source: api}
		change(&client, &endpoint)
		return func(s *evidence.Set) {
			evidence.Put(s, evidence.Instances, []evidence.Instance{client, endpoint}, api)
		}
	}
	boot := func(s *evidence.Set) {
		evidence.Put(s, evidence.Bootstraps, []evidence.Bootstrap{{Kind: evidence.GRPCBootstrap, NodeID: "projects/482915067713/networks/mesh-vpc/nodes/8f1c0a52", Metadata: map[string]string{"INSTANCE_IP": "10.128.0.7"}, Source: api}}, api)
	}
	listed := func(ids ...string) func(*evidence.Set) {
		var l []evidence.Client
		for _, ip := range ids {
			l = append(l, evidence.Client{NodeID: "projects/482915067713/networks/mesh-vpc/nodes/x-" + ip + "~" + ip})
		}
		return func(s *evidence.Set) { evidence.Put(s, evidence.Clients, evidence.ClientList{Clients: l}, api) }
	}
	scheme := func(v string) func(*evidence.Set) {
		return func(s *evidence.Set) {
			evidence.Put(s, evidence.BackendServices, []evidence.BackendService{{Name: "checkout", Scheme: v, Backends: []evidence.Backend{{Group: group}}}}, api)
		}
	}
	deny := func(n evidence.Name) func(*evidence.Set) {
		return func(s *evidence.Set) {
			s.Fail(n, api, &evidence.Denied{What: "it", Permission: "some.permission.get", Err: errors.New("403")})
		}
	}
	out := func(r evidence.FirewallRule) evidence.FirewallRule { r.Direction = "EGRESS"; return r }
	org := func(r evidence.FirewallRule) evidence.FirewallRule { r.Policy, r.Level = "org-baseline", 0; return r }
	for80 := func(r *evidence.FirewallRule) { r.Protocols[0].Ports = [][2]uint16{{80, 80}} }
	tagged := func(r *evidence.FirewallRule) { r.TargetTags = []string{"backend"} }
	account := func(r *evidence.FirewallRule) { r.SourceAccounts = []string{"web@p.iam.gserviceaccount.com"} }

	checkstest.Run(t, EndpointUnreachable, []checkstest.Case{
		{Name: "checks alone are admitted", Request: live, Put: put(healthy, slow, in(network, checks)),
			Want: []checkstest.Want{{Subject: "backend service checkout", Confidence: diagnose.Confirmed, Excerpt: "implied rule denies",
				Summary: "No firewall rule on network mesh-vpc admits client 10.128.0.5 to 10.132.0.10:8080, a healthy endpoint of backend service checkout; connections to 10.132.0.10:8080 time out.",
				Params:  map[string]string{"clients": "10.128.0.5", "port": "8080", "network": network, "network_project": project, "priority": "1000"}}}},
		{Name: "a hierarchical policy denies", Request: live, Put: put(healthy, slow, in(network, org(with(rule("deny", 10, "10.0.0.0/8"), func(*evidence.FirewallRule) {})), rule("allow", 1, any))),
			Want: []checkstest.Want{{Summary: "firewall policy org-baseline, rule deny", Confidence: diagnose.Confirmed, Params: map[string]string{"policy": "org-baseline", "rule_priority": "10"}}}},
		{Name: "a rule of the network denies first", Request: live, Put: put(healthy, slow, in(network, rule("deny", 500, "10.128.0.0/20"), rule("allow", 1000, any))),
			Want: []checkstest.Want{{Summary: "denies client 10.128.0.5", Params: map[string]string{"priority": "499"}}}},
		{Name: "another port is open", Request: live, Put: put(healthy, slow, in(network, checks, with(rule("allow", 1000, any), for80))), Want: []checkstest.Want{{}}},
		{Name: "open for another tag", Request: live, Put: put(healthy, slow, machines(func(_, e *evidence.Instance) { e.Tags = []string{"db"} }), in(network, with(rule("allow", 1000, any), tagged))),
			Want: []checkstest.Want{{Confidence: diagnose.Confirmed}}},
		{Name: "open for another service account", Request: vm, Put: put(healthy, slow, machines(func(c, _ *evidence.Instance) {
			c.ServiceAccounts = []evidence.ServiceAccount{{Email: "batch@p.iam.gserviceaccount.com"}}
		}), in(network, with(rule("allow", 1000), account))), Want: []checkstest.Want{{Confidence: diagnose.Confirmed}}},
		{Name: "the client may not send", Request: live, Put: put(healthy, slow, in(network, rule("allow", 1000, any), out(rule("deny", 1000, "10.132.0.0/16")))),
			Want: []checkstest.Want{{Summary: "doesn't let client 10.128.0.5 out to 10.132.0.10:8080", Params: map[string]string{"endpoints": "10.132.0.10", "egress": "yes"}}}},
		{Name: "a gRPC client says so", Request: all, Put: put(healthy, boot, message("dial-timeout", map[string]string{"address": "10.132.0.10:8080"}), in(network, checks)),
			Want: []checkstest.Want{{Summary: "client 10.128.0.7"}}},
		{Name: "the proxy's counters say so", Request: live, Put: put(healthy, stats(40), hosts("10.132.0.10:8080"), in(network, checks)),
			Want: []checkstest.Want{{Confidence: diagnose.Likely, Summary: "of cluster cloud-internal-istio", Excerpt: "upstream_cx_connect_timeout: 40"}}},
		{Name: "the answer's text alone", Request: live, Put: put(healthy, message("upstream-connect-error", map[string]string{"reason": "connection timeout"}), in(network, checks)),
			Want: []checkstest.Want{{Confidence: diagnose.Likely}}},
		{Name: "some clients alone", Request: all, Put: put(healthy, slow, listed("10.128.0.5", "10.200.0.5"), in(network, rule("allow", 1000, "10.128.0.0/20"))),
			Want: []checkstest.Want{{Confidence: diagnose.Likely, Params: map[string]string{"clients": "10.200.0.5"}}}},
		{Name: "Shared VPC", Request: live, Put: put(endpoints("HEALTHY", "10.132.0.10"), neg(func(g *evidence.EndpointGroup) { g.NetworkProject = "net-host-77aa" }), slow, in(network, checks)),
			Want: []checkstest.Want{{Params: map[string]string{"network_project": "net-host-77aa"}}}},
		{Name: "the endpoint's network isn't told", Request: live, Put: put(endpoints("HEALTHY", "10.132.0.10"), slow, in(network, checks)), Want: []checkstest.Want{{Confidence: diagnose.Likely}}},
		{Name: "the firewall is from a file", Request: live, Put: put(healthy, slow, pasted(network, checks)), Want: []checkstest.Want{{Summary: "on network mesh-vpc", Confidence: diagnose.Likely}}},
		{Name: "the firewall is from a file without VPC rules", Request: live, Put: put(healthy, slow, pasted("", org(rule("deny", 1, any)))), Want: []checkstest.Want{{Confidence: diagnose.Likely, Params: map[string]string{"network": network}}}},
		{Name: "the kernel's limit", Request: live, Put: put(healthy, log("10.132.0.10:8080", "upstream_reset_before_response_started{remote_connection_failure,delayed_connect_error:_110}", "UF"), in(network, checks)), Want: []checkstest.Want{{}}},

		{Name: "both are admitted", Request: live, Put: put(healthy, slow, in(network, checks, rule("allow", 65534, "10.128.0.0/9")))},
		{Name: "no timeouts", Request: live, Put: put(healthy, log("10.132.0.10:8080", "via_upstream"), in(network, checks))},
		{Name: "refused, and not timed out", Request: live, Put: put(healthy, log("10.132.0.10:8080", "upstream_reset_before_response_started{remote_connection_failure,delayed_connect_error:_111}", "UF"), in(network, checks))},
		{Name: "a request's own time limit", Request: live, Put: put(healthy, log("10.132.0.10:8080", "response_timeout", "UT"), in(network, checks))},
		{Name: "unhealthy", Request: live, Put: put(endpoints("UNHEALTHY", "10.132.0.10"), neg(func(*evidence.EndpointGroup) {}), slow, in(network, checks))},
		{Name: "no health is told", Request: live, Put: put(endpoints("", "10.132.0.10"), slow, in(network, checks))},
		{Name: "of a host outside of the mesh", Request: live, Put: put(healthy, log("203.0.113.9:443", timedOut, "UF"), in(network, checks))},
		{Name: "another port of the endpoint", Request: live, Put: put(healthy, log("10.132.0.10:9090", timedOut, "UF"), in(network, checks))},
		{Name: "the cluster's hosts are others", Request: live, Put: put(healthy, stats(40), hosts("10.99.0.1:8080"), in(network, checks))},
		{Name: "the counter is 0", Request: live, Put: put(healthy, stats(0), in(network, checks))},
		{Name: "of some endpoints alone, and not which", Request: live, Put: put(endpoints("HEALTHY", "10.132.0.10", "10.128.0.9"), neg(func(*evidence.EndpointGroup) {}), message("upstream-connect-error", map[string]string{"reason": "connection timeout"}),
			in(network, rule("allow", 1000, any), out(rule("deny", 1000, "10.132.0.0/16"))))},
		{Name: "checked by the proxies, outside of Google Cloud", Request: live, Put: put(endpoints("HEALTHY", "10.132.0.10"), neg(func(g *evidence.EndpointGroup) { g.Type = "NON_GCP_PRIVATE_IP_PORT" }), slow, in(network, checks))},
		{Name: "of a load balancer", Request: live, Put: put(healthy, slow, scheme("INTERNAL_MANAGED"), in(network, checks))},
		{Name: "on one host", Request: live, Put: put(endpoints("HEALTHY", "10.128.0.5"), neg(func(*evidence.EndpointGroup) {}), log("10.128.0.5:8080", timedOut, "UF"), in(network, checks))},
		{Name: "open for its tag", Request: live, Put: put(healthy, slow, machines(func(_, e *evidence.Instance) { e.Tags = []string{"backend"} }), in(network, with(rule("allow", 1000, any), tagged)))},
		{Name: "open for its service account", Request: vm, Put: put(healthy, slow, machines(func(c, _ *evidence.Instance) {
			c.ServiceAccounts = []evidence.ServiceAccount{{Email: "web@p.iam.gserviceaccount.com"}}
		}), in(network, with(rule("allow", 1000), account)))},
		{Name: "a tag, and the VM's aren't known", Request: live, Put: put(healthy, slow, in(network, with(rule("allow", 1000, any), tagged))), Outcome: diagnose.OutcomeInconclusive, Reason: "isn't certain"},
		{Name: "an account, and the client's isn't known", Request: live, Put: put(healthy, slow, in(network, with(rule("allow", 1000), account))), Outcome: diagnose.OutcomeInconclusive, Reason: "isn't certain"},
		{Name: "another network's endpoint", Request: live, Put: put(endpoints("HEALTHY", "10.132.0.10"), neg(func(g *evidence.EndpointGroup) { g.Network = "other-vpc" }), slow, in(network, checks)), Outcome: diagnose.OutcomeInconclusive, Reason: "isn't known"},
		{Name: "no client's address", Request: all, Put: put(healthy, slow, in(network, checks)), Outcome: diagnose.OutcomeInconclusive, Reason: "addresses"},
		{Name: "the firewall is denied", Request: live, Put: put(healthy, slow, deny(evidence.EffectiveFirewalls.Name())), Outcome: diagnose.OutcomeInconclusive},
		{Name: "the firewall wasn't asked for", Request: diagnose.Request{}, Put: put(healthy, slow), Outcome: diagnose.OutcomeSkipped},
		{Name: "the health is denied", Request: live, Put: put(slow, deny(evidence.BackendHealth.Name())), Outcome: diagnose.OutcomeInconclusive},
		{Name: "the log is denied", Request: live, Put: put(healthy, deny(evidence.LogMessages.Name())), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Request: diagnose.Request{}, Outcome: diagnose.OutcomeSkipped},
	})
}
