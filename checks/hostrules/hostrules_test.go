package hostrules

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/netfilter"
)

func TestDestination(t *testing.T) {
	rule := func(scheme, network, address, ports string) evidence.ForwardingRule {
		return evidence.ForwardingRule{Name: "td", Scheme: scheme, Network: network, IPAddress: address, PortRange: ports}
	}
	one := []evidence.ForwardingRule{rule(evidence.SelfManaged, "mesh-vpc", "10.0.0.7", "8080-8080"), rule("EXTERNAL", "", "203.0.113.1", "80-80"), rule(evidence.SelfManaged, "other", "10.0.0.8", "8080-8080")}
	for _, tc := range []struct {
		text  string
		rules []evidence.ForwardingRule
		want  string
	}{
		{"10.0.0.9:8080", nil, "10.0.0.9:8080"},
		{"10.0.0.9", nil, "10.0.0.9:80"},
		{"[fd00::7]:443", nil, "[fd00::7]:443"},
		{"::ffff:10.0.0.9", nil, "10.0.0.9:80"},
		{"payments:8080", one, "10.0.0.7:8080"},
		{"payments", one, "10.0.0.7:8080"},
		{"payments:80", one, ""},
		{"payments", nil, ""},
		{"payments", []evidence.ForwardingRule{rule(evidence.SelfManaged, "", "0.0.0.0", "")}, ""},
		{"payments:9000", []evidence.ForwardingRule{rule(evidence.SelfManaged, "mesh-vpc", "10.0.0.7", ""), rule(evidence.SelfManaged, "mesh-vpc", "10.0.0.7", "9000-9010")}, "10.0.0.7:9000"},
		{"payments:9000", []evidence.ForwardingRule{rule(evidence.SelfManaged, "mesh-vpc", "10.0.0.7", ""), rule(evidence.SelfManaged, "mesh-vpc", "10.0.0.8", "")}, ""},
		{"a:b:c", nil, ""},
	} {
		got, err := Destination(tc.text, "mesh-vpc", tc.rules)
		if tc.want == "" {
			if !errors.Is(err, ErrName) {
				t.Errorf("%s: %v, error %v", tc.text, got, err)
			}
			continue
		}
		if err != nil || got != netip.MustParseAddrPort(tc.want) {
			t.Errorf("%s: %v, want %s; error %v", tc.text, got, tc.want, err)
		}
	}
}

// TestHostsApart holds that processes of one host are never taken for another's.
func TestHostsApart(t *testing.T) {
	set := evidence.NewSet()
	for _, name := range []string{"a.tgz", "b.tgz"} {
		src := evidence.Source{Detail: name + "/manifest.json", Pasted: true}
		evidence.Put(set, evidence.PacketRules, []evidence.HostRules{{Files: []string{name + "/packet-rules.txt"}, Source: src}}, src)
	}
	src := evidence.Source{Detail: "b.tgz/processes.json", Pasted: true}
	evidence.Put(set, evidence.Processes, []evidence.ProcessList{{Source: src, List: []evidence.Process{
		{PID: 8, User: "envoy", UID: 997, GID: -1, Command: "envoy"}, {PID: 9, User: "envoy", UID: 997, GID: -1, Command: "envoy"}, {PID: 10, User: "?", UID: -1, Command: "envoy"}}}}, src)
	hosts, err := Hosts(evidence.NewView(set))
	if err != nil || len(hosts) != 2 {
		t.Fatalf("%v, error %v", hosts, err)
	}
	a, b := hosts[0], hosts[1]
	if len(a.Users) != 0 || a.Key != "files/a.tgz/packet-rules.txt" {
		t.Errorf("%+v", a)
	}
	if len(b.Users) != 1 || b.Users[0].UID != 997 || b.Users[0].GID != netfilter.NoID || b.Users[0].String() != "UID 997 (envoy)" || b.Kernel.Users["envoy"] != 997 {
		t.Errorf("%+v", b)
	}
}

func TestAddressAndUserOfBootstraps(t *testing.T) {
	set := evidence.NewSet()
	src := evidence.Source{Detail: "f", Pasted: true}
	evidence.Put(set, evidence.PacketRules, []evidence.HostRules{{Source: src}}, src)
	evidence.Put(set, evidence.Bootstraps, []evidence.Bootstrap{
		{Kind: evidence.EnvoyBootstrap, NodeID: "projects/1/networks/n/nodes/8f1c0a52-71de-4a4d-9d0b-6a1f3c2b9e77~10.128.0.5"},
		{Kind: evidence.SidecarEnvFile, Metadata: map[string]string{"ENVOY_USER": "envoy"}},
	}, src)
	hosts, err := Hosts(evidence.NewView(set))
	if err != nil || hosts[0].Address != netip.MustParseAddr("10.128.0.5") || len(hosts[0].Users) != 0 || hosts[0].Key != "" {
		t.Errorf("%+v, error %v: a user's name alone tells no number", hosts, err)
	}
}

func TestExempt(t *testing.T) {
	set, err := netfilter.Parse([]byte("*nat\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -m owner --uid-owner 997 -j RETURN\n-A OUTPUT -m owner ! --uid-owner 5 -j RETURN\n-A OUTPUT -m owner --uid-owner 6 -j REDIRECT --to-ports 1\nCOMMIT\n"))
	if err != nil {
		t.Fatal(err)
	}
	h := Host{HostRules: evidence.HostRules{Set: set}}
	if got := h.Exempt(netfilter.IPv4); len(got) != 1 || got[0] != "997" {
		t.Errorf("%v", got)
	}
}
