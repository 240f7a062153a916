package traffic

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/envoy"
	"github.com/meshdiag/meshdiag/evidence/netfilter"
)

const (
	project = "mesh-prod-4f2a"
	network = "mesh-vpc"
	nodeID  = "projects/482915067713/networks/mesh-vpc/nodes/8f1c0a52-71de-4a4d-9d0b-6a1f3c2b9e77~10.128.0.5"
)

// manual is what the package for VMs sets up by hand for one range of services; Envoy runs as UID 997.
const manual = `*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:ISTIO_INBOUND - [0:0]
:ISTIO_IN_REDIRECT - [0:0]
:ISTIO_OUTPUT - [0:0]
:ISTIO_REDIRECT - [0:0]
-A PREROUTING -p tcp -j ISTIO_INBOUND
-A OUTPUT -p tcp -j ISTIO_OUTPUT
-A ISTIO_INBOUND -p tcp -m tcp --dport 22 -j RETURN
-A ISTIO_INBOUND -p tcp -m tcp --dport 8080 -j ISTIO_IN_REDIRECT
-A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15001
-A ISTIO_OUTPUT -p tcp -m tcp --dport 3306 -j RETURN
-A ISTIO_OUTPUT -m owner --uid-owner 997 -j RETURN
-A ISTIO_OUTPUT -m owner --gid-owner 997 -j RETURN
-A ISTIO_OUTPUT -d 127.0.0.1/32 -j RETURN
-A ISTIO_OUTPUT -d 10.9.0.0/16 -j RETURN
-A ISTIO_OUTPUT -d 10.0.0.0/8 -j ISTIO_REDIRECT
-A ISTIO_OUTPUT -j RETURN
-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001
COMMIT
`

// agent is what the agent of --service-proxy sets up.
const agent = `*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:SERVICE_PROXY_INBOUND - [0:0]
:SERVICE_PROXY_IN_REDIRECT - [0:0]
:SERVICE_PROXY_OUTPUT - [0:0]
:SERVICE_PROXY_REDIRECT - [0:0]
:SERVICE_PROXY_SERVICE_CIDRS - [0:0]
-A PREROUTING -p tcp -j SERVICE_PROXY_INBOUND
-A OUTPUT -p tcp -j SERVICE_PROXY_OUTPUT
-A SERVICE_PROXY_INBOUND -p tcp -m tcp --dport 8080 -j SERVICE_PROXY_IN_REDIRECT
-A SERVICE_PROXY_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15001
-A SERVICE_PROXY_OUTPUT -m owner --uid-owner 997 -j RETURN
-A SERVICE_PROXY_OUTPUT -j SERVICE_PROXY_SERVICE_CIDRS
-A SERVICE_PROXY_REDIRECT -p tcp -j REDIRECT --to-ports 15001
-A SERVICE_PROXY_SERVICE_CIDRS -d 10.0.0.0/24 -j SERVICE_PROXY_REDIRECT
COMMIT
`

// sidecar is what a pod has today: all ports but the proxy's own; the proxy is UID and GID 1337.
const sidecar = `*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:ISTIO_INBOUND - [0:0]
:ISTIO_IN_REDIRECT - [0:0]
:ISTIO_OUTPUT - [0:0]
:ISTIO_REDIRECT - [0:0]
-A PREROUTING -p tcp -j ISTIO_INBOUND
-A OUTPUT -p tcp -j ISTIO_OUTPUT
-A ISTIO_INBOUND -p tcp -m tcp --dport 15008 -j RETURN
-A ISTIO_INBOUND -p tcp -m tcp --dport 15090 -j RETURN
-A ISTIO_INBOUND -p tcp -m tcp --dport 15021 -j RETURN
-A ISTIO_INBOUND -p tcp -m tcp --dport 15020 -j RETURN
-A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT
-A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15006
-A ISTIO_OUTPUT -s 127.0.0.6/32 -o lo -j RETURN
-A ISTIO_OUTPUT ! -d 127.0.0.1/32 -o lo -p tcp -m tcp ! --dport 15008 -m owner --uid-owner 1337 -j ISTIO_IN_REDIRECT
-A ISTIO_OUTPUT -o lo -m owner ! --uid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -m owner --uid-owner 1337 -j RETURN
-A ISTIO_OUTPUT ! -d 127.0.0.1/32 -o lo -p tcp -m tcp ! --dport 15008 -m owner --gid-owner 1337 -j ISTIO_IN_REDIRECT
-A ISTIO_OUTPUT -o lo -m owner ! --gid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -m owner --gid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -d 127.0.0.1/32 -j RETURN
-A ISTIO_OUTPUT -j ISTIO_REDIRECT
-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001
COMMIT
`

const (
	emptyNAT = "*nat\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\nCOMMIT\n"
	filter   = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n"
	docker   = "*nat\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n:DOCKER - [0:0]\n" +
		"-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER\n-A DOCKER ! -i docker0 -p tcp -m tcp --dport 9000 -j DNAT --to-destination 172.17.0.2:9000\nCOMMIT\n"
	node = "*nat\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:KUBE-SERVICES - [0:0]\n-A PREROUTING -j KUBE-SERVICES\n-A OUTPUT -j KUBE-SERVICES\nCOMMIT\n"
)

var (
	vm       = diagnose.Target{Project: project, Network: network, Zone: "us-central1-b", Instance: "payments-7c4"}
	files    = diagnose.Request{}
	fromFile = evidence.Source{Collector: "file", Detail: "rules.txt", Vantage: evidence.FromWorkload, Pasted: true}
)

func to(destination string) diagnose.Request {
	t := vm
	t.Destination = destination
	return diagnose.Request{Target: t}
}

func serving(port int) diagnose.Request {
	t := vm
	t.ServingPort = port
	return diagnose.Request{Target: t}
}

func all(list ...checkstest.Put) checkstest.Put { return checkstest.All(list...) }

func put[T any](k evidence.Key[T], v T) func(*evidence.Set) {
	return func(s *evidence.Set) { evidence.Put(s, k, v, fromFile) }
}

// rules are those of one host, from one or several texts.
func rules(texts ...string) func(*evidence.Set) { return rulesBut(nil, texts...) }

func rulesBut(change func(*evidence.HostRules), texts ...string) func(*evidence.Set) {
	var sets []netfilter.Set
	for _, t := range texts {
		set, err := netfilter.Parse([]byte(t))
		if err != nil {
			panic(err)
		}
		sets = append(sets, set)
	}
	h := evidence.HostRules{Set: netfilter.Merge(sets...), Files: []string{"rules.txt"}, Source: fromFile}
	if change != nil {
		change(&h)
	}
	return put(evidence.PacketRules, []evidence.HostRules{h})
}

func unread(h *evidence.HostRules) { h.Unread = "not root" }

// running is a host on which Envoy runs as a user.
func running(uid int) func(*evidence.Set) {
	return put(evidence.Processes, []evidence.ProcessList{{Whole: true, Source: fromFile, List: []evidence.Process{
		{PID: 1, User: "root", UID: 0, GID: 0, Command: "systemd"},
		{PID: 812, User: "envoy", UID: uid, GID: uid, Command: "envoy", Args: "/usr/local/bin/envoy -c /etc/envoy/bootstrap.yaml"},
	}}})
}

// recorded is a host's interfaces as a recorder found them, its address on the first, beside its rules.
func recorded(texts ...string) func(*evidence.Set) {
	src := fromFile
	src.Recording = "bundle.tar.gz"
	return all(
		rulesBut(func(h *evidence.HostRules) { h.Source = src }, texts...),
		put(evidence.Interfaces, []evidence.InterfaceList{{Source: src, List: []evidence.Interface{
			{Name: "lo", Up: true, Loopback: true, Addresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8")}},
			{Name: "eth0", Up: true, Addresses: []netip.Prefix{netip.MustParsePrefix("10.128.0.5/32")}},
			{Name: "eth1", Up: true, Addresses: []netip.Prefix{netip.MustParsePrefix("10.9.0.5/32")}},
		}}}),
		put(evidence.Recordings, []evidence.Recording{{File: src.Recording, Source: src}}),
	)
}

func listening(list ...evidence.Socket) func(*evidence.Set) {
	return put(evidence.Sockets, []evidence.SocketList{{Whole: true, Source: fromFile, List: list}})
}

func boot(b evidence.Bootstrap) func(*evidence.Set) {
	return put(evidence.Bootstraps, []evidence.Bootstrap{b})
}

func dump(d *envoy.Dump) func(*evidence.Set) {
	return put(evidence.EnvoyDumps, []evidence.EnvoyDump{{Dump: d, File: "dump.json", Source: fromFile}})
}

func vips(addresses ...string) func(*evidence.Set) {
	var list []evidence.ForwardingRule
	for _, a := range addresses {
		list = append(list, evidence.ForwardingRule{Name: "td", Scheme: evidence.SelfManaged, Network: network, IPAddress: a, PortRange: "80-80"})
	}
	return put(evidence.ForwardingRules, list)
}

func deny(n evidence.Name) func(*evidence.Set) {
	return func(s *evidence.Set) {
		s.Fail(n, evidence.Source{Collector: "test"}, &evidence.Denied{Permission: "compute.forwardingRules.list", Err: errors.New("403")})
	}
}

func late(n evidence.Name) func(*evidence.Set) {
	return func(s *evidence.Set) {
		s.FailLate(n, evidence.Source{Collector: "test"}, errors.New("no answer in time"))
	}
}

// corpus reads a rule set that others wrote, from the folder beside the repository.
func corpus(t *testing.T, name string) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
	}
	b, err := os.ReadFile(filepath.Join(dir, "..", "shared", "corpus", "iptables", name))
	if err != nil {
		t.Skipf("the corpus isn't here: %v", err)
	}
	return string(b)
}
