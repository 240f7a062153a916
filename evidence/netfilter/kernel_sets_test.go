//go:build linux

package netfilter_test

import "fmt"

// ruleSet is a rule set, as iptables-restore takes it, and what connections do under it.
type ruleSet struct {
	name      string
	v4, v6    string
	setup     []string // commands, run in the namespace
	questions []question
}

// question is a connection, made in the namespace by a user, or from outside, and where it ends: at "host:" or "peer:" and
// the address and port that accepted it, perhaps " by" another port's listener, or as an error.
type question struct {
	uid     int
	inbound bool
	dst     string
	want    string
}

func (q question) String() string {
	if q.inbound {
		return "from outside to " + q.dst
	}
	return fmt.Sprintf("from user %d to %s", q.uid, q.dst)
}

func out(uid int, dst, want string) question { return question{uid: uid, dst: dst, want: want} }
func in(dst, want string) question           { return question{inbound: true, dst: dst, want: want} }

const (
	app, envoy = 1000, 1337
	vip        = "10.100.0.1:80"
	vip6       = "[fd01::1]:80"
	proxied    = "host:127.0.0.1:15001"
	proxied6   = "host:[::1]:15001"
)

// manual is what the guide for a VM set up by hand shows.
const manual = `*nat
-N ISTIO_IN_REDIRECT
-N ISTIO_OUTPUT
-N ISTIO_REDIRECT
-A OUTPUT -p tcp -j ISTIO_OUTPUT
-A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15001
-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001
-A ISTIO_OUTPUT -m owner --uid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -d 127.0.0.1/32 -j RETURN
-A ISTIO_OUTPUT -d 10.100.0.0/24 -j ISTIO_REDIRECT
-A ISTIO_OUTPUT -j RETURN
COMMIT
`

// sidecar is Istio's, with inbound interception of all ports.
const sidecar = `*nat
-N ISTIO_INBOUND
-N ISTIO_REDIRECT
-N ISTIO_IN_REDIRECT
-N ISTIO_OUTPUT
-A ISTIO_INBOUND -p tcp --dport 15008 -j RETURN
-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001
-A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15006
-A PREROUTING -p tcp -j ISTIO_INBOUND
-A ISTIO_INBOUND -p tcp --dport 22 -j RETURN
-A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT
-A OUTPUT -j ISTIO_OUTPUT
-A ISTIO_OUTPUT -o lo -s 127.0.0.6/32 -j RETURN
-A ISTIO_OUTPUT -o lo ! -d 127.0.0.1/32 -p tcp ! --dport 15008 -m owner --uid-owner 1337 -j ISTIO_IN_REDIRECT
-A ISTIO_OUTPUT -o lo -m owner ! --uid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -m owner --uid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -m owner --gid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -d 127.0.0.1/32 -j RETURN
-A ISTIO_OUTPUT -j ISTIO_REDIRECT
COMMIT
`

// filter makes a rule set of one table.
func filter(rules string) string { return "*filter\n" + rules + "\nCOMMIT\n" }
func nat(rules string) string    { return "*nat\n" + rules + "\nCOMMIT\n" }
func mangle(rules string) string { return "*mangle\n" + rules + "\nCOMMIT\n" }
func raw(rules string) string    { return "*raw\n" + rules + "\nCOMMIT\n" }

const allIn = "-A PREROUTING -p tcp --dport 8080 -j REDIRECT --to-ports 15006"

var ruleSets = []ruleSet{
	{name: "no rules", questions: []question{
		out(app, vip, "peer:"+vip), in("10.77.0.2:8080", "host:10.77.0.2:8080"), out(app, "10.100.0.1:81", "refused"),
	}},
	{name: "by hand", v4: manual, questions: []question{
		out(app, vip, proxied), out(envoy, vip, "peer:"+vip), out(app, "127.0.0.1:8080", "host:127.0.0.1:8080"),
		out(app, "10.100.1.1:80", "peer:10.100.1.1:80"), in("10.77.0.2:8080", "host:10.77.0.2:8080"), out(app, vip6, "peer:"+vip6),
	}},
	{name: "the proxy's own connections loop", v4: nat(`-N ISTIO_OUTPUT
-A OUTPUT -p tcp -j ISTIO_OUTPUT
-A ISTIO_OUTPUT -d 127.0.0.1/32 -j RETURN
-A ISTIO_OUTPUT -d 10.100.0.0/16 -p tcp -j REDIRECT --to-ports 15001
-A ISTIO_OUTPUT -m owner --uid-owner 1337 -j RETURN`), questions: []question{
		out(envoy, vip, proxied), out(app, vip, proxied),
	}},
	{name: "another user is exempt", v4: nat(`-A OUTPUT -m owner --uid-owner 1006 -j RETURN
-A OUTPUT -p tcp -d 10.100.0.0/16 -j REDIRECT --to-ports 15001`), questions: []question{
		out(envoy, vip, proxied), out(1006, vip, "peer:"+vip),
	}},
	{name: "a range of users", v4: nat(`-A OUTPUT -p tcp -m owner --uid-owner 1330-1340 -j ACCEPT
-A OUTPUT -p tcp -m owner ! --gid-owner 1000-1005 -j ACCEPT
-A OUTPUT -p tcp -d 10.100.0.0/16 -j REDIRECT --to-ports 15001`), questions: []question{
		out(envoy, vip, "peer:"+vip), out(app, vip, proxied), out(1006, vip, "peer:"+vip),
	}},
	{name: "the VIP is in no range", v4: nat(`-A OUTPUT -p tcp -d 10.100.7.0/24 -j REDIRECT --to-ports 15001`), questions: []question{
		out(app, vip, "peer:"+vip), out(app, "10.100.7.9:80", proxied),
	}},
	{name: "redirect to a port where nobody listens", v4: nat(`-A OUTPUT -p tcp -d 10.100.0.0/16 -j REDIRECT --to-ports 15009
-A PREROUTING -p tcp --dport 8080 -j REDIRECT --to-ports 15009`), questions: []question{
		out(app, vip, "refused"), in("10.77.0.2:8080", "refused"), in("10.77.0.2:8081", "host:10.77.0.2:8081"),
	}},
	{name: "sidecar", v4: sidecar, questions: []question{
		out(app, vip, proxied), out(envoy, vip, "peer:"+vip), in("10.77.0.2:8080", "host:10.77.0.2:15006"),
		in("10.77.0.3:9999", "host:10.77.0.2:15006"), in("10.77.0.2:22", "host:10.77.0.2:22"), out(app, "10.77.0.2:8080", "host:10.77.0.2:8080"),
		out(envoy, "10.77.0.2:8080", "host:127.0.0.1:15006"), out(envoy, "127.0.0.1:8080", "host:127.0.0.1:8080"), in("10.77.0.2:15008", "refused"),
	}},
	{name: "the agent's chains", v4: nat(`-N SERVICE_PROXY_OUTPUT
-N SERVICE_PROXY_SERVICE_CIDRS
-N SERVICE_PROXY_REDIRECT
-N SERVICE_PROXY_INBOUND
-N SERVICE_PROXY_IN_REDIRECT
-A OUTPUT -p tcp -j SERVICE_PROXY_OUTPUT
-A PREROUTING -p tcp -j SERVICE_PROXY_INBOUND
-A SERVICE_PROXY_OUTPUT -m owner --gid-owner 1337 -j RETURN
-A SERVICE_PROXY_OUTPUT -j SERVICE_PROXY_SERVICE_CIDRS
-A SERVICE_PROXY_SERVICE_CIDRS -d 10.100.0.0/20 -j SERVICE_PROXY_REDIRECT
-A SERVICE_PROXY_SERVICE_CIDRS -d 10.100.64.1/32 -j SERVICE_PROXY_REDIRECT
-A SERVICE_PROXY_INBOUND -p tcp -m tcp --dport 3306 -j SERVICE_PROXY_IN_REDIRECT
-A SERVICE_PROXY_REDIRECT -p tcp -j REDIRECT --to-ports 15001
-A SERVICE_PROXY_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15006`), questions: []question{
		out(app, "10.100.15.1:80", proxied), out(app, "10.100.16.1:80", "peer:10.100.16.1:80"), out(app, "10.100.64.1:443", proxied),
		out(envoy, vip, "peer:"+vip), in("10.77.0.2:3306", "host:10.77.0.2:15006"), in("10.77.0.2:8080", "host:10.77.0.2:8080"),
	}},
	{name: "dropped on the port that was asked for", v4: nat(allIn) + filter("-A INPUT -p tcp --dport 8080 -j DROP"), questions: []question{
		in("10.77.0.2:8080", "host:10.77.0.2:15006"),
	}},
	{name: "dropped on the port redirected to", v4: nat(allIn) + filter("-A INPUT -p tcp --dport 15006 -j DROP"), questions: []question{
		in("10.77.0.2:8080", "timeout"), in("10.77.0.2:8081", "host:10.77.0.2:8081"),
	}},
	{name: "dropped before interception, in raw", v4: raw("-A PREROUTING -p tcp --dport 8080 -j DROP") + nat(allIn), questions: []question{
		in("10.77.0.2:8080", "timeout"), in("10.77.0.2:15006", "host:10.77.0.2:15006"),
	}},
	{name: "dropped before interception, in mangle", v4: mangle("-A PREROUTING -p tcp --dport 8080 -j DROP") + nat(allIn), questions: []question{
		in("10.77.0.2:8080", "timeout"),
	}},
	{name: "dropped behind interception, in mangle", v4: mangle("-A INPUT -p tcp --dport 15006 -j DROP\n-A INPUT -p tcp --dport 8081 -j DROP") + nat(allIn), questions: []question{
		in("10.77.0.2:8080", "timeout"), in("10.77.0.2:8081", "timeout"),
	}},
	{name: "policy drop, intercepted port open", v4: nat(allIn) + filter(`:INPUT DROP [0:0]
-A INPUT -i lo -j ACCEPT
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -p tcp --dport 15006 -j ACCEPT
-A INPUT -p tcp --dport 22 -m state --state NEW -j ACCEPT`), questions: []question{
		in("10.77.0.2:8080", "host:10.77.0.2:15006"), in("10.77.0.2:8081", "timeout"), in("10.77.0.2:22", "host:10.77.0.2:22"),
		out(app, vip, "peer:"+vip), out(app, "127.0.0.1:8080", "host:127.0.0.1:8080"),
	}},
	{name: "policy drop that forgets replies", v4: filter(":INPUT DROP [0:0]\n-A INPUT -p tcp --dport 8080 -j ACCEPT"), questions: []question{
		out(app, vip, "timeout"), in("10.77.0.2:8080", "host:10.77.0.2:8080"), in("10.77.0.2:22", "timeout"), out(app, "127.0.0.1:8080", "timeout"),
	}},
	{name: "policy drop on the way out", v4: filter(`:OUTPUT DROP [0:0]
-A OUTPUT -o lo -j ACCEPT
-A OUTPUT -p tcp -m tcp --dport 80 -j ACCEPT
-A OUTPUT -p tcp -m tcp --sport 8080 -m conntrack --ctstate ESTABLISHED -j ACCEPT`), questions: []question{
		out(app, vip, "peer:"+vip), out(app, "10.100.0.1:443", "timeout"), in("10.77.0.2:8080", "host:10.77.0.2:8080"), in("10.77.0.2:8081", "timeout"),
	}},
	{name: "filter OUTPUT sees the redirected port and the first interface", v4: nat("-A OUTPUT -p tcp -d 10.100.0.0/16 -j REDIRECT --to-ports 15001") +
		filter(`-A OUTPUT -o lo -p tcp --dport 15001 -j DROP
-A OUTPUT -p tcp --dport 80 -j REJECT
-A OUTPUT -o eth0 -d 127.0.0.1/32 -p tcp --dport 15001 -m owner --uid-owner 1006 -j REJECT`), questions: []question{
		out(app, vip, proxied), out(1006, vip, "refused"), out(app, "127.0.0.1:15001", "timeout"),
	}},
	{name: "filter INPUT on lo sees the redirected port", v4: nat("-A OUTPUT -p tcp -d 10.100.0.0/16 -j REDIRECT --to-ports 15001") +
		filter("-A INPUT -i lo -p tcp --dport 15001 -j DROP\n-A INPUT -i lo -p tcp --dport 80 -j REJECT"), questions: []question{
		out(app, vip, "timeout"), in("10.77.0.2:15001", "host:10.77.0.2:15001"),
	}},
	{name: "PREROUTING doesn't rewrite again", v4: nat(`-A OUTPUT -p tcp -d 10.100.0.0/16 -j REDIRECT --to-ports 15001
-A PREROUTING -p tcp -j REDIRECT --to-ports 15006`), questions: []question{
		out(app, vip, proxied), out(app, "127.0.0.1:8080", "host:127.0.0.1:8080"), in("10.77.0.2:8080", "host:10.77.0.2:15006"),
	}},
	{name: "excluded ports and ranges", v4: nat(`-A OUTPUT -p tcp --dport 3306 -j RETURN
-A OUTPUT -p tcp -m multiport --dports 22,440:445 -j RETURN
-A OUTPUT -d 10.100.5.0/24 -j RETURN
-A OUTPUT -d 127.0.0.0/8 -j RETURN
-A OUTPUT -p tcp -j REDIRECT --to-ports 15001`), questions: []question{
		out(app, "10.100.0.1:3306", "peer:10.100.0.1:3306"), out(app, "10.100.0.1:443", "peer:10.100.0.1:443"), out(app, "10.100.5.1:80", "peer:10.100.5.1:80"),
		out(app, "10.100.0.1:8080", proxied), out(app, "10.77.0.2:8080", proxied),
	}},
	{name: "negated ranges", v4: nat(`-A OUTPUT ! -d 10.100.0.0/17 -j RETURN
-A OUTPUT -p tcp ! --dport 80:90 -j RETURN
-A OUTPUT -p tcp -m multiport ! --sports 1:1023 -m owner ! --uid-owner 1337 -j REDIRECT --to-ports 15001`), questions: []question{
		out(app, vip, proxied), out(app, "10.100.200.1:80", "peer:10.100.200.1:80"), out(app, "10.100.0.1:443", "peer:10.100.0.1:443"), out(envoy, vip, "peer:"+vip),
	}},
	{name: "rejected", v4: filter(`-A INPUT -p tcp --dport 8080 -j REJECT
-A INPUT -p tcp --dport 8081 -j REJECT --reject-with tcp-reset
-A INPUT -p tcp --dport 22 -j REJECT --reject-with icmp-host-prohibited
-A OUTPUT -p tcp -d 10.100.0.1 --dport 80 -j REJECT --reject-with tcp-reset
-A OUTPUT -p tcp -d 10.100.0.1 --dport 443 -j REJECT --reject-with icmp-admin-prohibited`), questions: []question{
		in("10.77.0.2:8080", "refused"), in("10.77.0.2:8081", "refused"), in("10.77.0.2:22", "unreachable"), out(app, vip, "refused"), out(app, "10.100.0.1:443", "unreachable"),
	}},
	{name: "goto and return", v4: nat(`-N A
-N B
-N C
-A OUTPUT -p tcp -j A
-A OUTPUT -p tcp -j REDIRECT --to-ports 15002
-A A -p tcp --dport 80 -g B
-A A -p tcp --dport 443 -j C
-A A -p tcp -j REDIRECT --to-ports 15001
-A B -p tcp -d 10.100.0.9 -j REDIRECT --to-ports 15006
-A C -p tcp -j RETURN`), questions: []question{
		out(app, vip, "host:127.0.0.1:15002"), out(app, "10.100.0.9:80", "host:127.0.0.1:15006"), out(app, "10.100.0.1:443", proxied),
	}},
	{name: "the first match wins", v4: nat(`-A OUTPUT -p tcp -d 10.100.0.1 -j REDIRECT --to-ports 15002
-A OUTPUT -p tcp -d 10.100.0.0/16 -j REDIRECT --to-ports 15001`), questions: []question{
		out(app, vip, "host:127.0.0.1:15002"), out(app, "10.100.0.2:80", proxied),
	}},
	{name: "rewritten to another host", v4: nat(`-A OUTPUT -p tcp -d 10.100.0.1 --dport 80 -j DNAT --to-destination 10.100.0.2:8080
-A OUTPUT -p tcp -d 10.100.0.3 -j DNAT --to-destination 127.0.0.1
-A OUTPUT -p tcp -d 10.100.0.4 -j DNAT --to-destination 10.77.0.3:8081
-A PREROUTING -p tcp --dport 8080 -j DNAT --to-destination 10.77.0.3:8081
-A POSTROUTING -p tcp -o eth0 -j MASQUERADE`) + filter("-A OUTPUT -p tcp --dport 8080 -d 10.100.0.1 -j DROP"), questions: []question{
		out(app, vip, "peer:10.100.0.2:8080"), out(app, "10.100.0.3:8080", "host:127.0.0.1:8080"), out(app, "10.100.0.4:1", "host:10.77.0.3:8081"),
		in("10.77.0.2:8080", "host:10.77.0.3:8081"),
	}},
	{name: "marks", v4: mangle(`-A OUTPUT -p tcp -d 10.100.0.0/24 -j MARK --set-mark 0x10
-A OUTPUT -p tcp -d 10.100.0.1 -j MARK --or-mark 0x3
-A OUTPUT -p tcp -d 10.100.0.2 -j MARK --and-mark 0xf
-A OUTPUT -p tcp -d 10.100.0.4 -j MARK --xor-mark 0x30
-A OUTPUT -p tcp -m mark --mark 0x13 -j CONNMARK --save-mark
-A INPUT -p tcp -i lo -m mark --mark 0x20 -j DROP`) + nat(`-A OUTPUT -p tcp -m connmark --mark 0x3/0x3 -j REDIRECT --to-ports 15002
-A OUTPUT -p tcp -m mark --mark 0x10/0xf0 -j REDIRECT --to-ports 15001
-A OUTPUT -p tcp -m mark --mark 0x20 -j REDIRECT --to-ports 15006`), questions: []question{
		out(app, vip, "host:127.0.0.1:15002"), out(app, "10.100.0.2:80", "peer:10.100.0.2:80"), out(app, "10.100.0.3:80", proxied), out(app, "10.100.0.4:80", "timeout"),
	}},
	{name: "only to this host's addresses", v4: nat(`-A OUTPUT -p tcp -m addrtype --dst-type LOCAL -j REDIRECT --to-ports 15002
-A OUTPUT -p tcp -m addrtype ! --dst-type LOCAL -m iprange --dst-range 10.100.0.1-10.100.0.7 -j REDIRECT --to-ports 15001
-A PREROUTING -p tcp -m addrtype --dst-type LOCAL -m tcp --dport 8080 -j REDIRECT --to-ports 15006`), questions: []question{
		out(app, "10.77.0.3:8080", "host:127.0.0.1:15002"), out(app, "10.100.0.7:80", proxied), out(app, "10.100.0.8:80", "peer:10.100.0.8:80"),
		in("10.77.0.3:8080", "host:10.77.0.2:15006"),
	}},
	{name: "not tracked, so not rewritten", v4: raw("-A OUTPUT -p tcp -d 10.100.0.1 -j CT --notrack\n-A PREROUTING -p tcp --dport 8080 -j NOTRACK") +
		nat("-A OUTPUT -p tcp -d 10.100.0.0/16 -j REDIRECT --to-ports 15001\n"+allIn), questions: []question{
		out(app, vip, "peer:"+vip), out(app, "10.100.0.2:80", proxied), in("10.77.0.2:8080", "host:10.77.0.2:8080"),
	}},
	{name: "flags, comments and logs", v4: filter(`-A INPUT -p tcp -m tcp --dport 8080 --tcp-flags SYN,ACK SYN,ACK -j DROP
-A INPUT -p tcp -m comment --comment "-j DROP everything" -m tcp --dport 8080
-A INPUT -p tcp -m tcp --dport 8081 -j NFLOG --nflog-group 9
-A INPUT -p tcp -m tcp ! --syn -m conntrack --ctstate NEW -j DROP
-A INPUT -p tcp -m tcp --dport 22 --syn -j DROP
-A INPUT -f -j DROP`), questions: []question{
		in("10.77.0.2:8080", "host:10.77.0.2:8080"), in("10.77.0.2:8081", "host:10.77.0.2:8081"), in("10.77.0.2:22", "timeout"),
	}},
	{name: "what was asked for, behind rewriting", v4: nat(allIn) + filter(`-A INPUT -p tcp -m conntrack --ctorigdstport 8080 -j DROP
-A INPUT -p tcp -m conntrack --ctstate DNAT -j REJECT`), questions: []question{
		in("10.77.0.2:8080", "timeout"), in("10.77.0.2:15006", "host:10.77.0.2:15006"),
	}},
	{name: "interfaces by wildcard", v4: nat(`-A PREROUTING -i wlan+ -p tcp -j REDIRECT --to-ports 15001
-A PREROUTING -i eth+ -p tcp --dport 8080 -j REDIRECT --to-ports 15006
-A OUTPUT ! -o eth+ -p tcp -j RETURN
-A OUTPUT -p tcp --dport 80 -j REDIRECT --to-ports 15001`), questions: []question{
		in("10.77.0.2:8080", "host:10.77.0.2:15006"), out(app, vip, proxied), out(app, "10.77.0.2:22", "host:10.77.0.2:22"),
	}},
	{name: "limited to other sources", v4: filter("-A INPUT -s 192.168.0.0/16 -p tcp --dport 8080 -j DROP\n-A INPUT -s 10.77.0.1 -p tcp --dport 8081 -j DROP\n-A INPUT ! -s 10.77.0.0/24 -j DROP\n-A INPUT ! -i lo -p tcp --dport 22 -j DROP"), questions: []question{
		in("10.77.0.2:8080", "host:10.77.0.2:8080"), in("10.77.0.2:8081", "timeout"), out(app, "127.0.0.1:22", "timeout"), out(app, "10.77.0.3:22", "host:10.77.0.3:22"), in("10.77.0.2:22", "timeout"),
	}},
	{name: "a port within the range is kept", v4: nat(`-A OUTPUT -p tcp -d 10.100.0.0/16 -j REDIRECT --to-ports 8080-8081
-A PREROUTING -p tcp -j REDIRECT`), questions: []question{
		out(app, "10.100.0.1:8081", "host:127.0.0.1:8081"), in("10.77.0.3:22", "host:10.77.0.2:22"),
	}},
	{name: "IPv6", v4: manual, v6: nat(`-A OUTPUT -p tcp -m owner --uid-owner 1337 -j RETURN
-A OUTPUT -d ::1/128 -j RETURN
-A OUTPUT -p tcp -d fd01::/64 -j REDIRECT --to-ports 15001
-A PREROUTING -p tcp --dport 8080 -j REDIRECT --to-ports 15006`) + filter("-A INPUT -p tcp --dport 8081 -j REJECT\n-A INPUT -p tcp --dport 22 -j DROP"), questions: []question{
		out(app, vip6, proxied6), out(envoy, vip6, "peer:"+vip6), out(app, "[fd01:1::1]:80", "peer:[fd01:1::1]:80"), in("[fd77::2]:8080", "host:[fd77::2]:15006"),
		in("[fd77::2]:8081", "refused"), in("[fd77::2]:22", "timeout"), out(app, vip, proxied),
	}},
	{name: "transparent proxy", v4: mangle(`-N DIVERT
-N INBOUND
-A PREROUTING -p tcp -j INBOUND
-A INBOUND -p tcp --dport 22 -j RETURN
-A INBOUND -p tcp -m conntrack --ctstate RELATED,ESTABLISHED -j DIVERT
-A INBOUND -i lo -j RETURN
-A INBOUND ! -d 127.0.0.1/32 -p tcp -j TPROXY --tproxy-mark 1337/0xffffffff --on-port 15006
-A DIVERT -j MARK --set-mark 1337
-A DIVERT -j ACCEPT`) + filter("-A INPUT -p tcp --dport 15006 -j DROP\n-A INPUT -p tcp --dport 8081 -j DROP\n-A INPUT -p tcp --dport 3306 -m mark ! --mark 1337 -j DROP"),
		setup: []string{"ip rule add fwmark 1337 lookup 133", "ip route add local default dev lo table 133"},
		questions: []question{
			in("10.77.0.2:8080", "host:10.77.0.2:8080 by 15006"), in("10.77.0.2:8081", "timeout"), in("10.77.0.2:22", "host:10.77.0.2:22"),
			in("10.77.0.2:3306", "host:10.77.0.2:3306 by 15006"), in("10.77.0.2:9999", "host:10.77.0.2:9999 by 15006"),
		}},
}

// The two halves of what both backends may hold at once, and what connections do then.
var (
	redirectSome = ruleSet{v4: nat(allIn+"\n-A OUTPUT -p tcp -d 10.100.0.0/16 -j REDIRECT --to-ports 15001") + filter(":INPUT ACCEPT [0:0]\n-A INPUT -p tcp -j ACCEPT")}
	dropSome     = ruleSet{v4: nat("-A OUTPUT -p tcp -d 10.100.0.1 --dport 443 -j RETURN") + filter("-A INPUT -p tcp --dport 15006 -j DROP\n-A INPUT -p tcp --dport 8081 -j DROP")}

	bothQuestions = []question{
		in("10.77.0.2:8080", "timeout"), in("10.77.0.2:8081", "timeout"), in("10.77.0.2:22", "host:10.77.0.2:22"), out(app, "10.100.0.1:443", proxied), out(app, vip, proxied),
	}
)
