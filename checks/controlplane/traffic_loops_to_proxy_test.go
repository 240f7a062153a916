package controlplane

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/envoy"
	"github.com/meshdiag/meshdiag/evidence/netfilter"
)

// listedVM is what iptables -t nat -L prints of a VM's rules. The first of ISTIO_OUTPUT is limited to lo, which isn't shown.
const listedVM = `Chain OUTPUT (policy ACCEPT)
target     prot opt source               destination
ISTIO_OUTPUT  tcp  --  anywhere             anywhere

Chain ISTIO_OUTPUT (1 references)
target     prot opt source               destination
ISTIO_REDIRECT  all  --  anywhere            !localhost
RETURN     all  --  anywhere             anywhere             owner UID match 997
ISTIO_REDIRECT  all  --  anywhere             10.0.0.0/8

Chain ISTIO_REDIRECT (1 references)
target     prot opt source               destination
REDIRECT   tcp  --  anywhere             anywhere             redir ports 15001
`

func TestTrafficLoopsToProxy(t *testing.T) {
	const head = "*nat\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:ISTIO_OUTPUT - [0:0]\n:ISTIO_REDIRECT - [0:0]\n-A OUTPUT -p tcp -j ISTIO_OUTPUT\n-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001\n"
	const uid, gid, local = "-A ISTIO_OUTPUT -m owner --uid-owner 997 -j RETURN\n", "-A ISTIO_OUTPUT -m owner --gid-owner 997 -j RETURN\n", "-A ISTIO_OUTPUT -d 127.0.0.1/32 -j RETURN\n"
	const everything, some, end = "-A ISTIO_OUTPUT -j ISTIO_REDIRECT\n", "-A ISTIO_OUTPUT -d 10.0.0.0/8 -j ISTIO_REDIRECT\n-A ISTIO_OUTPUT -j RETURN\n", "COMMIT\n"
	rulesBut := func(change func(*evidence.HostRules), text string) func(*evidence.Set) {
		set, err := netfilter.Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		h := evidence.HostRules{Set: set, Files: []string{"rules.txt"}, Source: pasted}
		if change != nil {
			change(&h)
		}
		return putFrom(evidence.PacketRules, []evidence.HostRules{h}, pasted)
	}
	rules := func(parts ...string) func(*evidence.Set) { return rulesBut(nil, head+strings.Join(parts, "")+end) }
	running := func(user string, uid, gid int) func(*evidence.Set) {
		return putFrom(evidence.Processes, []evidence.ProcessList{{Whole: true, Source: pasted, List: []evidence.Process{
			{PID: 1, User: "root", Command: "systemd"}, {PID: 812, User: user, UID: uid, GID: gid, Command: "envoy"}}}}, pasted)
	}
	// networked is an Envoy of UID 998 with a network; the rules' is 4026531840.
	networked := func(network uint64) func(*evidence.Set) {
		return putFrom(evidence.Processes, []evidence.ProcessList{{Whole: true, Network: 4026531840, Source: pasted, List: []evidence.Process{
			{PID: 812, User: "998", UID: 998, GID: 998, Command: "envoy", Network: network}}}}, pasted)
	}
	endpoints := func(address string) func(*evidence.Set) {
		return putFrom(evidence.EnvoyHosts, []evidence.EnvoyHostStates{{Source: pasted, Hosts: &envoy.Hosts{Clusters: []envoy.ClusterHosts{
			{Name: "cloud-internal-istio:cloud_mp_payments", Hosts: []envoy.Host{{Address: envoy.Address{Host: address, Port: 8080}}}}}}}}, pasted)
	}
	dns := func(src evidence.Source, address string) func(*evidence.Set) {
		return putFrom(evidence.DNSProbe, []evidence.DNSResult{{Host: "trafficdirector.googleapis.com", RCode: "NOERROR", Addresses: []netip.Addr{netip.MustParseAddr(address)}, Source: src}}, src)
	}
	env := func(user string) func(*evidence.Set) {
		return putFrom(evidence.Bootstraps, []evidence.Bootstrap{{Kind: evidence.SidecarEnvFile, File: "sidecar.env", Metadata: map[string]string{"ENVOY_USER": user}, Source: pasted}}, pasted)
	}
	dump := putFrom(evidence.EnvoyDumps, []evidence.EnvoyDump{{Dump: &envoy.Dump{Endpoints: []envoy.Assignment{{Endpoints: []envoy.Endpoint{{Address: envoy.Address{Host: "10.1.2.3", Port: 80}}}}}}, Source: pasted}}, pasted)
	checkstest.Run(t, TrafficLoopsToProxy, []checkstest.Case{
		{Name: "another user", Request: files, Put: all(rules(uid, gid, local, everything), running("envoy", 998, 998)),
			Want: []checkstest.Want{{Subject: "rules.txt", Confidence: diagnose.Confirmed, Excerpt: "-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001",
				Summary: "come back to its port 15001: it runs as UID 998 (envoy), and the rules let UID 997 pass."}}},
		{Name: "no user, an endpoint in a range", Request: files, Put: all(rules(local, some), running("envoy", 997, 997), endpoints("10.0.0.9")),
			Want: []checkstest.Want{{Summary: "endpoint 10.0.0.9:8080 of cluster cloud-internal-istio:cloud_mp_payments come back to its port 15001: it runs as UID 997 (envoy), and the rules let no user pass."}}},
		{Name: "no user, an endpoint of the dump", Request: files, Put: all(rules(local, some), running("envoy", 997, 997), dump), Want: []checkstest.Want{{Summary: "endpoint 10.1.2.3:80"}}},
		{Name: "behind the redirect", Request: files, Put: all(rules(local, everything, uid), running("envoy", 997, 997)), Want: []checkstest.Want{{Summary: "let UID 997 pass, too late or not for this"}}},
		{Name: "the control plane by its name, as the VM resolves it", Request: files, Put: all(rules(local, some), running("root", 0, 0), dns(workload, "10.3.3.3")), Want: []checkstest.Want{{Summary: "the control plane (10.3.3.3)", Confidence: diagnose.Confirmed}}},
		{Name: "as another machine resolves it", Request: vm, Put: all(rules(local, some), running("root", 0, 0), dns(service, "10.3.3.3")), Want: []checkstest.Want{{Confidence: diagnose.Likely}}},
		{Name: "ENVOY_USER alone", Request: files, Put: all(rules(uid, local, everything), env("998")), Want: []checkstest.Want{{Confidence: diagnose.Likely, Excerpt: "ENVOY_USER of sidecar.env"}}},

		{Name: "the user first", Request: files, Put: all(rules(uid, local, everything), running("envoy", 997, 997), endpoints("10.0.0.9"))},
		{Name: "a listing, whose rule for all but localhost is for what the host sends to itself", Request: files, Put: all(rulesBut(nil, listedVM), running("envoy", 997, 997), endpoints("10.0.0.9"))},
		{Name: "the group first", Request: files, Put: all(rules(gid, local, everything), running("envoy", 998, 997), endpoints("10.0.0.9"))},
		{Name: "no user, and nothing that it needs in a range", Request: files, Put: all(rules(local, some), running("envoy", 997, 997), endpoints("172.16.0.9"), dns(workload, "142.250.1.95"))},
		{Name: "no user, and its endpoints aren't known", Request: files, Put: all(rules(local, some), running("envoy", 997, 997)), Outcome: diagnose.OutcomeSkipped},
		{Name: "no user, and its endpoints couldn't be read", Request: files, Put: all(rules(local, some), running("envoy", 997, 997), late(evidence.EnvoyHosts.Name())), Outcome: diagnose.OutcomeInconclusive},
		{Name: "a second Envoy is an application", Request: files, Put: all(rules(uid, local, everything), running("envoy", 997, 997),
			putFrom(evidence.Processes, []evidence.ProcessList{{Source: pasted, List: []evidence.Process{{PID: 900, User: "web", UID: 1000, GID: 1000, Command: "envoy"}}}}, pasted))},
		{Name: "an endpoint on the host", Request: files, Put: all(rules(some), running("envoy", 997, 997), endpoints("127.0.0.1"))},
		{Name: "Docker's DNAT", Request: files, Put: all(rules("-A OUTPUT -p tcp -d 10.0.0.9/32 -j DNAT --to-destination 172.17.0.2:80\n"), running("envoy", 997, 997), endpoints("10.0.0.9"))},
		{Name: "the group isn't known, and decides", Request: files, Put: all(rules(gid, local, everything), running("envoy", 998, -1)), Outcome: diagnose.OutcomeInconclusive, Reason: "can't tell"},
		{Name: "another user's Envoy in a container", Request: files, Put: all(rules(uid, local, everything), networked(4026532217)), Outcome: diagnose.OutcomeSkipped, Reason: "network of its own"},
		{Name: "another user's Envoy, whose network can't be read", Request: files, Put: all(rules(uid, local, everything), networked(0)), Outcome: diagnose.OutcomeInconclusive, Reason: "needs root"},
		{Name: "nftables", Request: files, Put: all(rulesBut(nil, "table inet mesh {\n}\n"), running("envoy", 997, 997)), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not root", Request: files, Put: all(rulesBut(func(h *evidence.HostRules) { h.Unread = "not root" }, head+local+some+end), running("envoy", 997, 997)), Outcome: diagnose.OutcomeInconclusive, Reason: "not root"},
		{Name: "processes failed", Request: files, Put: all(rules(uid, local, everything), late(evidence.Processes.Name())), Outcome: diagnose.OutcomeInconclusive},
		{Name: "processes not asked for", Request: files, Put: rules(local, everything), Outcome: diagnose.OutcomeSkipped},
		{Name: "no Envoy", Request: files, Put: all(rules(local, everything), putFrom(evidence.Processes, []evidence.ProcessList{{Whole: true, Source: pasted}}, pasted)), Outcome: diagnose.OutcomeSkipped, Reason: "no Envoy"},
		{Name: "denied", Request: files, Put: deny(evidence.PacketRules.Name()), Outcome: diagnose.OutcomeInconclusive},
	})
}

// TestSidecarsDontLoop asks about rule sets as Istio writes them, with its proxy's user.
func TestSidecarsDontLoop(t *testing.T) {
	engine, err := diagnose.New(diagnose.Config{Checks: []diagnose.Check{TrafficLoopsToProxy}})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"istio-cni-include-exclude-ip.txt", "istio-inbound-ports-include.txt",
		"istio-inbound-ports-wildcard.txt", "istio-ipnets.txt", "istio-tproxy.txt",
	} {
		text, err := os.ReadFile(filepath.Join("..", "..", "..", "shared", "corpus", "iptables", name))
		if err != nil {
			t.Skipf("the corpus isn't here: %v", err)
		}
		rules, err := netfilter.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		set := evidence.NewSet()
		evidence.Put(set, evidence.PacketRules, []evidence.HostRules{{Set: rules, Source: pasted}}, pasted)
		evidence.Put(set, evidence.Processes, []evidence.ProcessList{{Source: pasted, List: []evidence.Process{{PID: 1, User: "istio-proxy", UID: 1337, GID: 1337, Command: "envoy"}}}}, pasted)
		if found, res := engine.Evaluate(TrafficLoopsToProxy.ID, diagnose.Request{}, set); len(found) > 0 || res.Outcome != diagnose.OutcomePassed {
			t.Errorf("%s: %s (%s): %+v", name, res.Outcome, res.Reason, found)
		}
	}
}
