package envoy

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

// The pieces of hand-made dumps. Every listener, cluster and so on is written in Envoy's own JSON.

func section(name, lists string) string {
	return fmt.Sprintf(`{"@type": "type.googleapis.com/envoy.admin.v3.%sConfigDump", %s}`, name, lists)
}

func configs(sections ...string) string {
	return `{"configs": [` + strings.Join(sections, ",\n") + `]}`
}

func active(listeners ...string) string {
	for i, l := range listeners {
		listeners[i] = `{"active_state": {"version_info": "7", "listener": ` + l + `}}`
	}
	return section("Listeners", `"dynamic_listeners": [`+strings.Join(listeners, ",")+`]`)
}

func clusterDump(clusters ...string) string {
	for i, c := range clusters {
		clusters[i] = `{"cluster": ` + c + `}`
	}
	return section("Clusters", `"dynamic_active_clusters": [`+strings.Join(clusters, ",")+`]`)
}

func routeDump(routes ...string) string {
	for i, r := range routes {
		routes[i] = `{"route_config": ` + r + `}`
	}
	return section("Routes", `"dynamic_route_configs": [`+strings.Join(routes, ",")+`]`)
}

func endpointDump(assignments ...string) string {
	for i, a := range assignments {
		assignments[i] = `{"endpoint_config": ` + a + `}`
	}
	return section("Endpoints", `"dynamic_endpoint_configs": [`+strings.Join(assignments, ",")+`]`)
}

func addr(ip string, port int) string {
	return fmt.Sprintf(`{"socket_address": {"address": %q, "port_value": %d}}`, ip, port)
}

func listenerJSON(name, ip string, port int, rest string) string {
	return fmt.Sprintf(`{"name": %q, "address": %s, %s}`, name, addr(ip, port), rest)
}

// tcp is a filter chain that proxies to a cluster of its own name.
func tcp(name, match string) string {
	if match == "" {
		return fmt.Sprintf(`{"name": %q, "filters": [%s]}`, name, tcpProxy(name))
	}
	return fmt.Sprintf(`{"name": %q, "filter_chain_match": {%s}, "filters": [%s]}`, name, match, tcpProxy(name))
}

func tcpProxy(cluster string) string {
	return fmt.Sprintf(`{"name": "envoy.filters.network.tcp_proxy", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy", "cluster": %q}}`, cluster)
}

func hcm(fields string) string {
	return `{"name": "envoy.filters.network.http_connection_manager", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager", ` + fields + `}}`
}

func rds(name string) string {
	return hcm(fmt.Sprintf(`"rds": {"route_config_name": %q, "config_source": {"ads": {}}}`, name))
}

func chains(cs ...string) string { return `"filter_chains": [` + strings.Join(cs, ",") + `]` }

func parse(t testing.TB, s string) *Dump {
	t.Helper()
	d, err := ParseDump([]byte(s))
	if err != nil {
		t.Fatalf("%v\n%s", err, s)
	}
	if len(d.Problems) > 0 {
		t.Fatalf("problems: %v\n%s", d.Problems, s)
	}
	return d
}

// took gives the filter chain that a walk took, or how it ended without one.
func took(r Result) string {
	for _, h := range r.Path {
		if h.Kind == FilterChainHop {
			return h.Name
		}
	}
	switch {
	case r.Missing != nil && r.Missing.Kind == FilterChainHop:
		return "closed"
	case r.Unknown != nil:
		return "needs " + strings.Join(r.Unknown.Needs, " and ")
	}
	return path(r)
}

func TestFilterChainMatch(t *testing.T) {
	const noDefault = ""
	withDefault := `, "default_filter_chain": ` + tcp("default", "")
	port := func(n int) string { return fmt.Sprintf(`"destination_port": %d`, n) }
	net := func(ps ...string) string {
		for i, p := range ps {
			ip, n, _ := strings.Cut(p, "/")
			ps[i] = fmt.Sprintf(`{"address_prefix": %q, "prefix_len": %s}`, ip, n)
		}
		return `"prefix_ranges": [` + strings.Join(ps, ",") + `]`
	}
	sni := func(names string) string { return `"server_names": [` + names + `]` }
	inspect := `"listener_filters": [{"name": "envoy.filters.listener.original_dst"}, {"name": "envoy.filters.listener.tls_inspector"}, {"name": "envoy.filters.listener.http_inspector"}], `
	at := func(s string) Query { q, _ := ParseDestination(s); return q }
	tls := func(q Query, sni string, alpn ...string) Query {
		q.Transport, q.SNI = "tls", sni
		q.ALPN = append([]string{}, alpn...)
		return q
	}
	from := func(q Query, s string) Query { q.Source = netip.MustParseAddrPort(s); return q }
	for _, tc := range []struct {
		name   string
		chains []string
		rest   string
		q      Query
		want   string
	}{
		{"the port's chain", []string{tcp("a", port(80)), tcp("b", port(81))}, noDefault, at("10.0.0.1:81"), "b"},
		{"any port's chain", []string{tcp("a", port(80)), tcp("any", "")}, noDefault, at("10.0.0.1:81"), "any"},
		{"no chain, no default", []string{tcp("a", port(80))}, noDefault, at("10.0.0.1:81"), "closed"},
		{"no chain, default", []string{tcp("a", port(80))}, withDefault, at("10.0.0.1:81"), "default"},
		{"port before address: no way back to any port", []string{tcp("a", port(80)+","+net("10.0.0.1/32")), tcp("any", net("10.0.0.0/8"))}, noDefault, at("10.0.0.2:80"), "closed"},
		{"port before address: but to the default", []string{tcp("a", port(80)+","+net("10.0.0.1/32")), tcp("any", "")}, withDefault, at("10.0.0.2:80"), "default"},
		{"the longest prefix", []string{tcp("wide", net("10.0.0.0/8")), tcp("narrow", net("10.1.0.0/16")), tcp("any", "")}, noDefault, at("10.1.2.3:80"), "narrow"},
		{"the wider prefix", []string{tcp("wide", net("10.0.0.0/8")), tcp("narrow", net("10.1.0.0/16")), tcp("any", "")}, noDefault, at("10.2.2.3:80"), "wide"},
		{"no prefix", []string{tcp("wide", net("10.0.0.0/8")), tcp("any", "")}, noDefault, at("192.168.0.1:80"), "any"},
		{"several prefixes", []string{tcp("a", net("10.0.0.0/8", "192.168.0.0/16")), tcp("b", net("192.168.1.0/24"))}, noDefault, at("192.168.2.1:80"), "a"},
		{"IPv6 prefix", []string{tcp("four", net("10.0.0.0/8")), tcp("six", net("fd00::/8"))}, noDefault, at("[fd00::1]:80"), "six"},
		{"prefix with host bits", []string{tcp("a", net("10.1.2.3/8"))}, noDefault, at("10.9.9.9:80"), "a"},
		{"address before server name: no way back", []string{tcp("a", net("10.1.0.0/16")+","+sni(`"a.example.com"`)), tcp("wide", net("10.0.0.0/8"))}, noDefault, tls(at("10.1.0.1:443"), "b.example.com"), "closed"},
		{"exact server name", []string{tcp("any", ""), tcp("w", sni(`"*.example.com"`)), tcp("x", sni(`"www.example.com"`))}, noDefault, tls(at("10.1.0.1:443"), "WWW.example.com"), "x"},
		{"nearest wildcard", []string{tcp("com", sni(`"*.com"`)), tcp("w", sni(`"*.Example.com"`))}, noDefault, tls(at("10.1.0.1:443"), "www.example.com"), "w"},
		{"farther wildcard", []string{tcp("com", sni(`"*.com"`)), tcp("w", sni(`"*.example.com"`))}, noDefault, tls(at("10.1.0.1:443"), "a.b.other.com"), "com"},
		{"a wildcard isn't its own suffix", []string{tcp("w", sni(`"*.example.com"`)), tcp("any", "")}, noDefault, tls(at("10.1.0.1:443"), "example.com"), "any"},
		{"server name before protocol: no way back", []string{tcp("x", sni(`"a.com"`)+`, "application_protocols": ["h2"]`), tcp("any", "")}, withDefault, tls(at("10.1.0.1:443"), "a.com", "http/1.1"), "default"},
		{"server name unknown", []string{tcp("x", sni(`"a.com"`)), tcp("y", sni(`"b.com"`))}, noDefault, Query{IP: netip.MustParseAddr("10.1.0.1"), Port: 443, Transport: "tls"}, "needs the server name (SNI)"},
		{"plaintext has no server name", []string{tcp("x", sni(`"a.com"`)), tcp("any", "")}, noDefault, at("10.1.0.1:443").PlainHTTP(), "any"},
		{"the given protocol", []string{tcp("h2", `"application_protocols": ["h2"]`), tcp("any", "")}, noDefault, tls(at("10.1.0.1:443"), "a.com", "h3", "h2"), "h2"},
		{"transport", []string{tcp("tls", `"transport_protocol": "tls"`), tcp("raw", `"transport_protocol": "raw_buffer"`)}, noDefault, at("10.1.0.1:443").PlainHTTP(), "raw"},
		{"transport before protocol: no way back", []string{tcp("tls", `"transport_protocol": "tls", "application_protocols": ["istio"]`), tcp("any", "")}, noDefault, tls(at("10.1.0.1:443"), "a", "h2"), "closed"},
		{"transport unknown", []string{tcp("tls", `"transport_protocol": "tls"`), tcp("raw", `"transport_protocol": "raw_buffer"`)}, noDefault, at("10.1.0.1:443"), "needs whether the connection is TLS"},
		{"source address", []string{tcp("a", `"source_prefix_ranges": [{"address_prefix": "10.9.0.0", "prefix_len": 16}]`), tcp("any", "")}, noDefault, from(at("10.1.0.1:80"), "10.9.1.1:4000"), "a"},
		{"source address unknown", []string{tcp("a", `"source_prefix_ranges": [{"address_prefix": "10.9.0.0", "prefix_len": 16}]`), tcp("any", "")}, noDefault, at("10.1.0.1:80"), "needs the source address"},
		{"directly connected source", []string{tcp("a", `"direct_source_prefix_ranges": [{"address_prefix": "10.9.0.0", "prefix_len": 16}]`)}, noDefault, from(at("10.1.0.1:80"), "10.8.1.1:4000"), "closed"},
		{"source port", []string{tcp("a", `"source_ports": [4000, 4001]`), tcp("any", "")}, noDefault, from(at("10.1.0.1:80"), "10.8.1.1:4001"), "a"},
		{"same address", []string{tcp("l", `"source_type": "SAME_IP_OR_LOOPBACK"`), tcp("e", `"source_type": "EXTERNAL"`)}, noDefault, from(at("10.1.0.1:80"), "10.1.0.1:4001"), "l"},
		{"loopback", []string{tcp("l", `"source_type": "LOCAL"`), tcp("any", "")}, noDefault, from(at("10.1.0.1:80"), "127.0.0.1:4001"), "l"},
		{"external", []string{tcp("l", `"source_type": "SAME_IP_OR_LOOPBACK"`), tcp("any", "")}, noDefault, from(at("10.1.0.1:80"), "10.1.0.2:4001"), "any"},
		{"an unreadable prefix isn't no prefix", []string{tcp("a", `"prefix_ranges": []`)}, noDefault, at("10.1.0.1:80"), "a"},
		{"no chains at all", nil, withDefault, at("10.1.0.1:80"), "default"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := parse(t, configs(active(listenerJSON("l", "0.0.0.0", 15001, inspect+chains(tc.chains...)+tc.rest))))
			if got := took(Walk(d, nil, tc.q)); got != tc.want {
				t.Errorf("took %s, want %s", got, tc.want)
			}
		})
	}
}

func TestUnreadablePrefix(t *testing.T) {
	d, err := ParseDump([]byte(configs(active(listenerJSON("l", "0.0.0.0", 80, chains(tcp("a", `"prefix_ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 64}]`)))))))
	if err != nil || len(d.Problems) != 1 || !strings.Contains(d.Problems[0].Place, "prefix_ranges[0]") {
		t.Fatal(err, d.Problems)
	}
	if got := took(Walk(d, nil, Query{IP: netip.MustParseAddr("10.0.0.1"), Port: 80})); got != "closed" {
		t.Errorf("took %s", got)
	}
}

func TestInspectors(t *testing.T) {
	two := chains(tcp("tls", `"transport_protocol": "tls"`), tcp("raw", `"transport_protocol": "raw_buffer"`))
	raw := chains(tcp("raw", `"transport_protocol": "raw_buffer"`))
	q := Query{IP: netip.MustParseAddr("10.0.0.1"), Port: 443}
	for _, tc := range []struct{ name, listener, want string }{
		{"Envoy adds the inspector that a chain needs", two, "needs whether the connection is TLS"},
		{"without one, all is raw_buffer", raw, "raw"},
		{"with one, it isn't", raw + `, "listener_filters": [{"name": "envoy.filters.listener.tls_inspector"}]`, "needs whether the connection is TLS"},
	} {
		d := parse(t, configs(active(listenerJSON("l", "0.0.0.0", 443, tc.listener))))
		if got := took(Walk(d, nil, q)); got != tc.want {
			t.Errorf("%s: took %s, want %s", tc.name, got, tc.want)
		}
	}
}

func TestChainsThatLeadToOnePlace(t *testing.T) {
	inline := func(name string) string {
		return hcm(fmt.Sprintf(`"route_config": {"name": %q, "virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "app"}}]}]}`, name))
	}
	tls := `{"name": "mtls", "filter_chain_match": {"transport_protocol": "tls"}, "filters": [` + inline("inbound|80||") + `]}`
	raw := `{"name": "plain", "filter_chain_match": {"transport_protocol": "raw_buffer"}, "filters": [` + tcpProxy("app") + `]}`
	d := parse(t, configs(active(listenerJSON("l", "0.0.0.0", 80, chains(tls, raw))), clusterDump(`{"name": "app", "type": "ORIGINAL_DST"}`)))
	r := Walk(d, nil, Query{IP: netip.MustParseAddr("10.0.0.1"), Port: 80})
	if r.Unknown != nil || r.Missing != nil || len(r.Notes) != 1 {
		t.Errorf("%s %v", path(r), r.Notes)
	}
}

func TestListenerFound(t *testing.T) {
	outbound := listenerJSON("virtualOutbound", "0.0.0.0", 15001, `"use_original_dst": true, "traffic_direction": "OUTBOUND", `+chains(tcp("blackhole", `"destination_port": 15001`), tcp("PassthroughCluster", "")))
	inbound := listenerJSON("virtualInbound", "0.0.0.0", 15006, `"use_original_dst": true, "traffic_direction": "INBOUND", `+chains(tcp("inbound|9080||", `"destination_port": 9080`), tcp("InboundPassthroughCluster", `"prefix_ranges": [{"address_prefix": "0.0.0.0", "prefix_len": 0}]`)))
	unbound := func(name, ip string, port int) string {
		return listenerJSON(name, ip, port, `"bind_to_port": false, "traffic_direction": "OUTBOUND", `+chains(tcp(name, "")))
	}
	istio := active(outbound, inbound, unbound("0.0.0.0_80", "0.0.0.0", 80), unbound("10.0.0.1_80", "10.0.0.1", 80), unbound("10.0.0.9_443", "10.0.0.9", 443))
	td := active(listenerJSON("TRAFFICDIRECTOR_INTERCEPTION_LISTENER", "0.0.0.0", 15001, chains(
		tcp("rule", `"prefix_ranges": [{"address_prefix": "10.0.0.1", "prefix_len": 32}], "destination_port": 80`))))
	six := active(listenerJSON("six", "::", 80, chains(tcp("x", ""))))
	compat := active(`{"name": "both", "address": {"socket_address": {"address": "::", "port_value": 80, "ipv4_compat": true}}, ` + chains(tcp("x", "")) + `}`)
	state := func(field string) string {
		return section("Listeners", `"dynamic_listeners": [{"name": "l", "`+field+`": {"listener": `+listenerJSON("l", "0.0.0.0", 80, chains(tcp("x", "")))+`}}]`)
	}
	refused := section("Listeners", `"dynamic_listeners": [{"name": "l", "error_state": {"details": "cannot bind '0.0.0.0:80': Permission denied\nmore", "last_update_attempt": "2026-01-02T03:04:05Z", "version_info": "8"}}]`)
	in := func(port int) Query { return Query{Direction: Inbound, Port: port} }
	at := func(s string) Query { q, _ := ParseDestination(s); return q }
	for _, tc := range []struct {
		name, dump string
		q          Query
		want       string // the beginning of the path
		why        string // of what's missing
	}{
		{"handed to the listener of that address", istio, at("10.0.0.1:80"), "listener virtualOutbound > listener 10.0.0.1_80 > filter-chain 10.0.0.1_80", ""},
		{"handed to the listener of any address", istio, at("10.0.0.2:80"), "listener virtualOutbound > listener 0.0.0.0_80 > filter-chain 0.0.0.0_80", ""},
		{"handed to none: its own chains", istio, at("10.0.0.2:443"), "listener virtualOutbound > filter-chain PassthroughCluster", ""},
		{"its own port", istio, at("10.0.0.2:15001"), "listener virtualOutbound > filter-chain blackhole", ""},
		{"inbound by port", istio, in(9080), "listener virtualInbound > filter-chain inbound|9080||", ""},
		{"inbound, a port without chain of its own", istio, Query{Direction: Inbound, Port: 9081, IP: netip.MustParseAddr("10.4.4.4")}, "listener virtualInbound > filter-chain InboundPassthroughCluster", ""},
		{"Traffic Director's rule", td, at("10.0.0.1:80"), "listener TRAFFICDIRECTOR_INTERCEPTION_LISTENER > filter-chain rule", ""},
		{"Traffic Director, another VIP", td, at("10.0.0.2:80"), "listener TRAFFICDIRECTOR_INTERCEPTION_LISTENER > missing filter-chain 10.0.0.2:80", "none fits the destination address"},
		{"Traffic Director, another port", td, at("10.0.0.1:81"), "listener TRAFFICDIRECTOR_INTERCEPTION_LISTENER > missing filter-chain 10.0.0.1:81", "none fits the destination port"},
		{"[::] doesn't take IPv4", six, at("10.0.0.1:80"), "missing listener 10.0.0.1:80", "no listener is bound"},
		{"[::] takes IPv6", six, at("[fd00::1]:80"), "listener six > filter-chain x", ""},
		{"[::] with ipv4_compat does", compat, at("10.0.0.1:80"), "listener both > filter-chain x", ""},
		{"not bound, and no capture", active(unbound("u", "0.0.0.0", 80)), at("10.0.0.1:80"), "missing listener 10.0.0.1:80", "isn't bound to its port"},
		{"warming", state("warming_state"), at("10.0.0.1:80"), "missing listener 10.0.0.1:80", "listener l is warming"},
		{"draining", state("draining_state"), at("10.0.0.1:80"), "missing listener 10.0.0.1:80", "listener l is draining"},
		{"rejected", refused, at("10.0.0.1:80"), "missing listener 10.0.0.1:80", "listener l was rejected: cannot bind '0.0.0.0:80': Permission denied"},
		{"inbound, none", td, in(8080), "listener TRAFFICDIRECTOR_INTERCEPTION_LISTENER > missing filter-chain port 8080", ""},
		{"no port", istio, Query{IP: netip.MustParseAddr("10.0.0.1")}, "unknown listener needs the destination port", ""},
		{"nothing", istio, Query{}, "unknown listener needs the destination's address and port", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := Walk(parse(t, configs(tc.dump)), nil, tc.q)
			if got := path(r); !strings.HasPrefix(got, tc.want) {
				t.Errorf("got %s, want %s", got, tc.want)
			}
			if tc.why != "" && (r.Missing == nil || !strings.Contains(r.Missing.Why, tc.why)) {
				t.Errorf("missing %+v, want why %q", r.Missing, tc.why)
			}
		})
	}
}

func TestPartialDumpIsUnknown(t *testing.T) {
	one := `{"configs": [{"@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump.DynamicListener", "name": "l", "active_state": {"listener": ` +
		listenerJSON("l", "0.0.0.0", 80, chains(`{"filters": [`+rds("r")+`]}`)) + `}}]}`
	d := parse(t, one)
	if d.Knows(ListenerSection) || !d.Has(ListenerSection) || len(d.Listeners) != 1 || d.Listeners[0].State != Active {
		t.Fatalf("%+v", d)
	}
	for q, want := range map[string]string{"10.0.0.1:80": "unknown route", "10.0.0.1:81": "unknown listener"} {
		r := Walk(d, nil, dest(t, q))
		if r.Missing != nil || !strings.Contains(path(r), want) {
			t.Errorf("%s: %s", q, path(r))
		}
	}
}
