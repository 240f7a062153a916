package hostrules

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/netfilter"
)

func up(name string, addresses ...string) evidence.Interface {
	i := evidence.Interface{Name: name, Up: true, Loopback: name == "lo"}
	for _, a := range addresses {
		i.Addresses = append(i.Addresses, netip.MustParsePrefix(a))
	}
	return i
}

// dropping is a host that takes port 8080 to its proxy, and drops on one interface what comes there.
const dropping = `*nat
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A PREROUTING -p tcp -m tcp --dport 8080 -j REDIRECT --to-ports 15001
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -i eth1 -p tcp -m tcp --dport 15001 -j DROP
COMMIT
`

func TestArrive(t *testing.T) {
	lo := up("lo", "127.0.0.1/8")
	eth0, eth1, docker0 := up("eth0", "10.128.0.5/32", "fe80::1/64"), up("eth1", "10.9.0.5/32"), up("docker0", "172.17.0.1/16")
	down := up("eth1", "10.9.0.5/32")
	down.Up = false
	const nodeID = "projects/1/networks/n/nodes/8f1c0a52-71de-4a4d-9d0b-6a1f3c2b9e77~10.9.0.5"
	for _, tc := range []struct {
		name       string
		interfaces []evidence.Interface
		other      bool   // the interfaces are of another bundle
		primary    string // by the metadata server
		nodeID     string
		want       string // the verdict and the interface, or the error
		assumed    string
	}{
		{name: "not recorded", want: "undecided: the rules can't tell"},
		{name: "of another host", interfaces: []evidence.Interface{lo, eth0}, other: true, want: "undecided: the rules can't tell"},
		{name: "one", interfaces: []evidence.Interface{lo, eth0}, want: "redirected eth0 10.128.0.5"},
		{name: "one, that drops", interfaces: []evidence.Interface{lo, eth1}, want: "dropped eth1 10.9.0.5"},
		{name: "two that are alike", interfaces: []evidence.Interface{lo, eth0, docker0}, want: "redirected eth0 10.128.0.5", assumed: "asked for every interface: eth0, docker0"},
		{name: "two that differ", interfaces: []evidence.Interface{lo, eth0, eth1}, want: "undecided: a connection to port 8080 that arrives on eth0 is redirected to 10.128.0.5:15001, and on eth1 dropped"},
		{name: "the metadata server's", interfaces: []evidence.Interface{lo, eth0, eth1}, primary: "10.128.0.5", want: "redirected eth0 10.128.0.5", assumed: "assumed: clients come by eth0, which has the host's primary address 10.128.0.5, and not by eth1"},
		{name: "the metadata server's other", interfaces: []evidence.Interface{lo, eth0, eth1}, primary: "10.9.0.5", want: "dropped eth1 10.9.0.5", assumed: "assumed: clients come by eth1"},
		{name: "the node id's before the metadata server's", interfaces: []evidence.Interface{lo, eth0, eth1}, primary: "10.128.0.5", nodeID: nodeID, want: "dropped eth1 10.9.0.5", assumed: "assumed: clients come by eth1"},
		{name: "a primary address that no interface has, as in a pod", interfaces: []evidence.Interface{lo, eth0}, primary: "10.128.0.99", want: "redirected eth0 10.128.0.5"},
		{name: "the other is down", interfaces: []evidence.Interface{lo, eth0, down}, want: "redirected eth0 10.128.0.5"},
		{name: "the other has no address", interfaces: []evidence.Interface{lo, eth0, up("eth1")}, want: "redirected eth0 10.128.0.5"},
		{name: "loopback alone", interfaces: []evidence.Interface{lo}, want: "undecided: the rules can't tell"},
		{name: "no addresses", interfaces: []evidence.Interface{lo, up("eth0")}, want: "undecided: no interface of the host has an address"},
	} {
		set, err := netfilter.Parse([]byte(dropping))
		if err != nil {
			t.Fatal(err)
		}
		facts := evidence.NewSet()
		src := evidence.Source{Detail: "b.tgz/manifest.json", Pasted: true, Recording: "b.tgz"}
		evidence.Put(facts, evidence.PacketRules, []evidence.HostRules{{Set: set, Source: src}}, src)
		if tc.interfaces != nil {
			from := src
			if tc.other {
				from.Recording = "c.tgz"
			}
			evidence.Put(facts, evidence.Interfaces, []evidence.InterfaceList{{List: tc.interfaces, Source: from}}, from)
		}
		if tc.primary != "" {
			evidence.Put(facts, evidence.Recordings, []evidence.Recording{{File: "b.tgz", Identity: evidence.WorkloadIdentity{Address: netip.MustParseAddr(tc.primary)}}}, src)
		}
		if tc.nodeID != "" {
			evidence.Put(facts, evidence.Bootstraps, []evidence.Bootstrap{{Kind: evidence.EnvoyBootstrap, NodeID: tc.nodeID}}, src)
		}
		hosts, err := Hosts(evidence.NewView(facts))
		if err != nil {
			t.Fatal(err)
		}
		a, err := hosts[0].Arrive(8080, hosts[0].Set.Connect)
		got := a.Outcome.Verdict.String() + " " + a.Packet.InInterface + " " + a.Packet.Destination.String()
		if err != nil {
			got = "undecided: " + strings.TrimPrefix(err.Error(), "packet-rules could not be read: ")
		}
		if !strings.HasPrefix(got, tc.want) || !strings.HasPrefix(a.Assumed, tc.assumed) || tc.assumed == "" && a.Assumed != "" && err == nil {
			t.Errorf("%s: %s (%s)\nwant %s (%s)", tc.name, got, a.Assumed, tc.want, tc.assumed)
		}
	}
}

// TestNetworks holds that an Envoy with a network of its own isn't taken for the host's, and that one of which nothing is
// known isn't either.
func TestNetworks(t *testing.T) {
	const here, container = 4026531840, 4026532217
	envoy := func(pid int, uid int, network uint64) evidence.Process {
		return evidence.Process{PID: pid, UID: uid, GID: uid, User: "envoy", Command: "envoy", Network: network}
	}
	for _, tc := range []struct {
		name    string
		network uint64
		list    []evidence.Process
		users   []int
		proxy   string // what NoProxy says
	}{
		{"the host's", here, []evidence.Process{envoy(8, 997, here)}, []int{997}, ""},
		{"the host's, and a container's", here, []evidence.Process{envoy(8, 997, here), envoy(9, 101, container)}, []int{997}, "network of its own"},
		{"a container's alone", here, []evidence.Process{envoy(9, 101, container)}, nil, "Envoy (process 9) has a network of its own"},
		{"a container with the host's network", here, []evidence.Process{envoy(9, 101, here)}, []int{101}, ""},
		{"not root", here, []evidence.Process{envoy(9, 101, 0)}, nil, "whether Envoy (process 9) has the network of these rules could not be read: needs root"},
		{"a recording from before", 0, []evidence.Process{envoy(9, 101, 0)}, []int{101}, ""},
		{"no Envoy", here, []evidence.Process{{PID: 1, Command: "systemd", Network: container}}, nil, ""},
	} {
		h := Host{}
		h.Kernel.Users = map[string]int{}
		h.processes(evidence.ProcessList{List: tc.list, Whole: true, Network: tc.network})
		var users []int
		for _, u := range h.Users {
			users = append(users, u.UID)
		}
		got := ""
		if err := h.NoProxy(); err != nil {
			got = err.Error()
		}
		if !slices.Equal(users, tc.users) || !strings.Contains(got, tc.proxy) || tc.proxy == "" && got != "" {
			t.Errorf("%s: users %v, %q", tc.name, users, got)
		}
	}
}
