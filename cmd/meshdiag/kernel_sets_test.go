//go:build linux

package main

// hostSetup is the rules of a host and its proxy, what is found of them, and where a connection ends: at "envoy", at the
// "app" of the host or the "peer", or "refused" or in a "timeout".
type hostSetup struct {
	name, rules string
	user        int      // that the proxy runs as; 1337 if 0
	listens     []string // where the proxy does; on 15001 and 15006 of all addresses if nil
	serving     int      // the port that is asked about, from outside; the VIP, by an application of the host, if 0
	causes      []string
	ends        string
}

const (
	loop         = "controlplane/traffic-loops-to-proxy"
	notTaken     = "traffic/outbound-not-intercepted"
	noRange      = "traffic/vip-not-intercepted"
	excluded     = "traffic/excluded-destination"
	wrongPort    = "traffic/redirect-port-mismatch"
	notTakenIn   = "traffic/inbound-port-not-intercepted"
	droppedIn    = "traffic/inbound-port-dropped"
	proxyPasses  = "-A OUTPUT -m owner --uid-owner 1337 -j RETURN\n-A OUTPUT -d 127.0.0.1/32 -j RETURN\n"
	takesAll     = "-A OUTPUT -p tcp -j REDIRECT --to-ports 15001\n"
	takesMesh    = "-A OUTPUT -p tcp -d 10.100.0.0/16 -j REDIRECT --to-ports 15001\n"
	takes8080    = "-A PREROUTING -p tcp --dport 8080 -j REDIRECT --to-ports 15006\n"
	throughProxy = "envoy"
)

func table(name, rules string) string { return "*" + name + "\n" + rules + "\nCOMMIT\n" }

// byHand is what the guide for a VM set up by hand shows, with the ranges that are intercepted.
func byHand(ranges string) string {
	return table("nat", `-N ISTIO_OUTPUT
-N ISTIO_REDIRECT
-A OUTPUT -p tcp -j ISTIO_OUTPUT
-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001
-A ISTIO_OUTPUT -m owner --uid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -d 127.0.0.1/32 -j RETURN
-A ISTIO_OUTPUT -d `+ranges+` -j ISTIO_REDIRECT
-A ISTIO_OUTPUT -j RETURN`)
}

// istio is a sidecar's, with inbound interception of all ports but 22.
var istio = table("nat", `-N ISTIO_INBOUND
-N ISTIO_REDIRECT
-N ISTIO_IN_REDIRECT
-N ISTIO_OUTPUT
-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001
-A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15006
-A PREROUTING -p tcp -j ISTIO_INBOUND
-A ISTIO_INBOUND -p tcp --dport 22 -j RETURN
-A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT
-A OUTPUT -j ISTIO_OUTPUT
-A ISTIO_OUTPUT -o lo ! -d 127.0.0.1/32 -p tcp ! --dport 15008 -m owner --uid-owner 1337 -j ISTIO_IN_REDIRECT
-A ISTIO_OUTPUT -o lo -m owner ! --uid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -m owner --uid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -m owner --gid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -d 127.0.0.1/32 -j RETURN
-A ISTIO_OUTPUT -j ISTIO_REDIRECT`)

// agent is what the service proxy agent sets.
var agent = table("nat", `-N SERVICE_PROXY_OUTPUT
-N SERVICE_PROXY_SERVICE_CIDRS
-N SERVICE_PROXY_REDIRECT
-N SERVICE_PROXY_INBOUND
-N SERVICE_PROXY_IN_REDIRECT
-A OUTPUT -p tcp -j SERVICE_PROXY_OUTPUT
-A PREROUTING -p tcp -j SERVICE_PROXY_INBOUND
-A SERVICE_PROXY_OUTPUT -m owner --gid-owner 1337 -j RETURN
-A SERVICE_PROXY_OUTPUT -j SERVICE_PROXY_SERVICE_CIDRS
-A SERVICE_PROXY_SERVICE_CIDRS -d 10.100.0.0/20 -j SERVICE_PROXY_REDIRECT
-A SERVICE_PROXY_INBOUND -p tcp -m tcp --dport 3306 -j SERVICE_PROXY_IN_REDIRECT
-A SERVICE_PROXY_REDIRECT -p tcp -j REDIRECT --to-ports 15001
-A SERVICE_PROXY_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15006`)

var hostSetups = []hostSetup{
	{name: "no rules", causes: []string{notTaken}, ends: "peer"},
	{name: "a chain that nothing leads to", rules: table("nat", "-N ISTIO_OUTPUT\n-A ISTIO_OUTPUT -p tcp -j REDIRECT --to-ports 15001"), causes: []string{notTaken}, ends: "peer"},
	{name: "by hand", rules: byHand("10.100.0.0/24"), ends: throughProxy},
	{name: "by hand, the VIP in no range", rules: byHand("10.100.7.0/24"), causes: []string{noRange}, ends: "peer"},
	{name: "by hand, a range that ends before the VIP", rules: byHand("10.100.0.0/32"), causes: []string{noRange}, ends: "peer"},
	{name: "istio", rules: istio, ends: throughProxy},
	{name: "the agent's chains", rules: agent, ends: throughProxy},

	{name: "another user passes", rules: table("nat", "-A OUTPUT -m owner --uid-owner 1006 -j RETURN\n"+takesAll), causes: []string{loop}, ends: throughProxy},
	{name: "the proxy is another user", rules: istio, user: otherUser, causes: []string{loop}, ends: throughProxy},
	{name: "the proxy passes, too late", rules: table("nat", takesAll+proxyPasses), causes: []string{loop}, ends: throughProxy},
	{name: "another user, who passes", rules: table("nat", "-A OUTPUT -m owner --uid-owner 1006 -j RETURN\n"+takesAll), user: otherUser, ends: throughProxy},
	{name: "the proxy's group passes", rules: table("nat", "-A OUTPUT -m owner --gid-owner 1337 -j RETURN\n"+takesAll), ends: throughProxy},
	{name: "a range of users passes", rules: table("nat", "-A OUTPUT -m owner --uid-owner 1330-1340 -j RETURN\n"+takesAll), ends: throughProxy},
	{name: "all but the proxy's user", rules: table("nat", "-A OUTPUT -p tcp -m owner ! --uid-owner 1337 -j REDIRECT --to-ports 15001"), ends: throughProxy},
	{name: "all but another user", rules: table("nat", "-A OUTPUT -p tcp -m owner ! --uid-owner 1006 -j REDIRECT --to-ports 15001"), causes: []string{loop}, ends: throughProxy},

	{name: "an excluded range", rules: table("nat", proxyPasses+"-A OUTPUT -d 10.100.0.0/24 -j RETURN\n"+takesMesh), causes: []string{excluded}, ends: "peer"},
	{name: "an excluded port", rules: table("nat", proxyPasses+"-A OUTPUT -p tcp --dport 80 -j RETURN\n"+takesMesh), causes: []string{excluded}, ends: "peer"},
	{name: "an exclusion behind what intercepts", rules: table("nat", proxyPasses+takesMesh+"-A OUTPUT -d 10.100.0.0/24 -j RETURN"), ends: throughProxy},
	{name: "a negated range without the VIP", rules: table("nat", proxyPasses+"-A OUTPUT -p tcp ! -d 10.100.0.0/16 -j REDIRECT --to-ports 15001"), causes: []string{noRange}, ends: "peer"},
	{name: "a negated range with the VIP", rules: table("nat", proxyPasses+"-A OUTPUT -p tcp ! -d 10.77.0.0/24 -j REDIRECT --to-ports 15001"), ends: throughProxy},

	{name: "a port on which nothing listens", rules: table("nat", "-A OUTPUT -p tcp -d 10.100.0.0/16 -j REDIRECT --to-ports 15009"), causes: []string{wrongPort}, ends: "refused"},
	{name: "the proxy listens elsewhere", rules: byHand("10.100.0.0/24"), listens: []string{":15002"}, causes: []string{wrongPort}, ends: "refused"},

	{name: "what comes in, istio", rules: istio, serving: 8080, ends: throughProxy},
	{name: "what comes in, a port that passes", rules: istio, serving: 22, causes: []string{notTakenIn}, ends: "app"},
	{name: "what comes in, another port's rule", rules: agent, serving: 8080, causes: []string{notTakenIn}, ends: "app"},
	{name: "what comes in, a port on which nothing listens", rules: table("nat", proxyPasses+takesMesh+"-A PREROUTING -p tcp --dport 8080 -j REDIRECT --to-ports 15009"), serving: 8080, causes: []string{wrongPort}, ends: "refused"},
	{name: "what comes in, a listener on loopback", rules: istio, serving: 8080, listens: []string{":15001", "127.0.0.1:15006"}, causes: []string{wrongPort}, ends: "refused"},
	{name: "dropped on the proxy's port", rules: table("nat", proxyPasses+takesMesh+takes8080) + table("filter", "-A INPUT -p tcp --dport 15006 -j DROP"), serving: 8080, causes: []string{droppedIn}, ends: "timeout"},
	{name: "dropped on the port that was asked for", rules: table("nat", proxyPasses+takesMesh+takes8080) + table("filter", "-A INPUT -i eth0 -p tcp --dport 8080 -j DROP"), serving: 8080, ends: throughProxy},
	{name: "dropped before interception", rules: table("raw", "-A PREROUTING -p tcp --dport 8080 -j DROP") + table("nat", proxyPasses+takesMesh+takes8080), serving: 8080, causes: []string{droppedIn}, ends: "timeout"},
	{name: "rejected on the proxy's port", rules: table("nat", proxyPasses+takesMesh+takes8080) + table("filter", "-A INPUT -p tcp --dport 15006 -j REJECT --reject-with tcp-reset"), serving: 8080, causes: []string{droppedIn}, ends: "refused"},
	{name: "dropped by policy", rules: table("nat", proxyPasses+takesMesh+takes8080) + table("filter", ":INPUT DROP\n-A INPUT -i lo -j ACCEPT\n-A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT\n-A INPUT -p tcp --dport 8080 -j ACCEPT"), serving: 8080, causes: []string{droppedIn}, ends: "timeout"},
	{name: "dropped on the interface that clients come by", rules: table("nat", proxyPasses+takesMesh+takes8080) + table("filter", "-A INPUT -i eth0 -p tcp -m tcp --dport 15006 -j DROP"), serving: 8080, causes: []string{droppedIn}, ends: "timeout"},
	{name: "dropped on another interface", rules: table("nat", proxyPasses+takesMesh+takes8080) + table("filter", "-A INPUT -i eth1 -p tcp --dport 15006 -j DROP"), serving: 8080, ends: throughProxy},
	{name: "dropped on all but another interface", rules: table("nat", proxyPasses+takesMesh+takes8080) + table("filter", "-A INPUT ! -i eth1 -p tcp --dport 15006 -j DROP"), serving: 8080, causes: []string{droppedIn}, ends: "timeout"},
	{name: "what comes in is taken on one interface", rules: table("nat", proxyPasses+takesMesh+"-A PREROUTING -i eth0 -p tcp --dport 8080 -j REDIRECT --to-ports 15006"), serving: 8080, ends: throughProxy},
	{name: "what comes in is taken on another interface", rules: table("nat", proxyPasses+takesMesh+"-A PREROUTING -i eth1 -p tcp --dport 8080 -j REDIRECT --to-ports 15006"), serving: 8080, causes: []string{notTakenIn}, ends: "app"},
	{name: "what comes in is taken for the host's address", rules: table("nat", proxyPasses+takesMesh+"-A PREROUTING -d 10.77.0.2 -p tcp --dport 8080 -j REDIRECT --to-ports 15006"), serving: 8080, ends: throughProxy},
	{name: "what comes in is taken for another address", rules: table("nat", proxyPasses+takesMesh+"-A PREROUTING -d 10.77.0.3 -p tcp --dport 8080 -j REDIRECT --to-ports 15006"), serving: 8080, causes: []string{notTakenIn}, ends: "app"},
	{name: "what leaves by one interface", rules: table("nat", proxyPasses+"-A OUTPUT -o eth0 -p tcp -d 10.100.0.0/16 -j REDIRECT --to-ports 15001"), ends: throughProxy},
	{name: "what is sent from the host's address", rules: table("nat", proxyPasses+"-A OUTPUT -s 10.77.0.2 -p tcp -d 10.100.0.0/16 -j REDIRECT --to-ports 15001"), ends: throughProxy},
	{name: "only other ports are taken", rules: table("nat", proxyPasses+"-A OUTPUT -p tcp -d 10.100.0.0/16 -m multiport --dports 443,8080 -j REDIRECT --to-ports 15001"), causes: []string{noRange}, ends: "peer"},
	{name: "a range of addresses with the VIP", rules: table("nat", proxyPasses+"-A OUTPUT -p tcp -m iprange --dst-range 10.100.0.0-10.100.0.9 -j REDIRECT --to-ports 15001"), ends: throughProxy},
	{name: "all ports but the one", rules: table("nat", proxyPasses+"-A OUTPUT -p tcp ! --dport 80 -j REDIRECT --to-ports 15001"), causes: []string{noRange}, ends: "peer"},
	{name: "the proxy's replies are dropped", rules: table("nat", proxyPasses+takesMesh+takes8080) + table("filter", "-A OUTPUT -p tcp --sport 15006 -j DROP"), serving: 8080, causes: []string{droppedIn}, ends: "timeout"},
}
