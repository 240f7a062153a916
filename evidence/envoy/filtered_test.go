package envoy

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

// TestResourceForms reads what /config_dump?resource=LIST prints: the list's entries as configs of their own.
func TestResourceForms(t *testing.T) {
	typ := func(name, fields string) string {
		return `{"configs": [{"@type": "type.googleapis.com/envoy.admin.v3.` + name + `", ` + fields + `}]}`
	}
	for _, tc := range []struct {
		in      string
		section Section
		got     func(*Dump) []Resource
		name    string
		state   State
	}{
		{typ("ListenersConfigDump.StaticListener", `"listener": {"name": "x"}`), ListenerSection, func(d *Dump) []Resource { return []Resource{d.Listeners[0].Resource} }, "x", StaticState},
		{typ("ListenersConfigDump.DynamicListener", `"name": "x", "warming_state": {"listener": {"name": "x"}}`), ListenerSection, func(d *Dump) []Resource { return []Resource{d.Listeners[0].Resource} }, "x", Warming},
		{typ("ListenersConfigDump.DynamicListener", `"name": "x", "error_state": {"details": "no"}`), ListenerSection, func(d *Dump) []Resource { return []Resource{d.Listeners[0].Resource} }, "x", Rejected},
		{typ("ClustersConfigDump.DynamicCluster", `"cluster": {"name": "x"}`), ClusterSection, func(d *Dump) []Resource { return []Resource{d.Clusters[0].Resource} }, "x", Active},
		{typ("ClustersConfigDump.StaticCluster", `"cluster": {"name": "x"}`), ClusterSection, func(d *Dump) []Resource { return []Resource{d.Clusters[0].Resource} }, "x", StaticState},
		{typ("RoutesConfigDump.DynamicRouteConfig", `"route_config": {"name": "x"}`), RouteSection, func(d *Dump) []Resource { return []Resource{d.RouteConfigs[0].Resource} }, "x", Active},
		{typ("EndpointsConfigDump.DynamicEndpointConfig", `"endpoint_config": {"cluster_name": "x"}`), EndpointSection, func(d *Dump) []Resource { return []Resource{d.Endpoints[0].Resource} }, "x", Active},
		{typ("SecretsConfigDump.DynamicSecret", `"name": "x", "secret": {}`), SecretSection, func(d *Dump) []Resource { return d.Secrets }, "x", Active},
		{typ("EcdsConfigDump.EcdsFilterConfig", `"ecds_filter": {"name": "x"}`), ECDSSection, func(d *Dump) []Resource { return d.Extensions }, "x", Active},
		{typ("ScopedRoutesConfigDump.InlineScopedRouteConfigs", `"name": "set", "scoped_route_configs": [{"name": "x"}]`), ScopedSection, func(d *Dump) []Resource { return []Resource{d.ScopedRoutes[0].Resource} }, "x", StaticState},
	} {
		d := parse(t, tc.in)
		if d.Knows(tc.section) || !d.Has(tc.section) || Recognise([]byte(tc.in)) != ConfigDump {
			t.Errorf("%s: knows %t, has %t", tc.in, d.Knows(tc.section), d.Has(tc.section))
		}
		if r := tc.got(d); len(r) != 1 || r[0].Name != tc.name || r[0].State != tc.state || r[0].Place != "configs[0]" && !strings.HasPrefix(r[0].Place, "configs[0].") {
			t.Errorf("%s: %+v", tc.in, r)
		}
	}
}

func TestWrongTypeMakesSectionPartial(t *testing.T) {
	for in, want := range map[string]bool{`"dynamic_listeners": []`: true, `"dynamic_listeners": null`: true, `"dynamic_listeners": 7`: false, `"dynamic_listeners": [7]`: false,
		`"dynamic_listeners": [{"active_state": {"listener": []}}]`: false, `"version_info": 7`: true} {
		d, err := ParseDump([]byte(configs(section("Listeners", in))))
		if err != nil || d.Knows(ListenerSection) != want {
			t.Errorf("%s: knows %t, want %t (%v)", in, d.Knows(ListenerSection), want, err)
		}
	}
}

func TestFilterChainMatcher(t *testing.T) {
	action := func(chain string) string {
		return fmt.Sprintf(`{"action": {"name": %q, "typed_config": {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": %q}}}`, chain, chain)
	}
	tree := func(input, rest, noMatch string) string {
		s := fmt.Sprintf(`{"matcher_tree": {"input": {"name": "i", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.matching.common_inputs.network.v3.%s"}}, %s}`, input, rest)
		if noMatch != "" {
			s += `, "on_no_match": ` + noMatch
		}
		return s + "}"
	}
	exact := func(kv ...string) string {
		var s []string
		for i := 0; i < len(kv); i += 2 {
			s = append(s, fmt.Sprintf("%q: %s", kv[i], kv[i+1]))
		}
		return `"exact_match_map": {"map": {` + strings.Join(s, ", ") + `}}`
	}
	ranges := func(rs ...string) string {
		return `"custom_match": {"name": "ip", "typed_config": {"@type": "type.googleapis.com/xds.type.matcher.v3.IPMatcher", "range_matchers": [` + strings.Join(rs, ", ") + `]}}`
	}
	in := func(ip string, bits int, exclusive bool, then string) string {
		return fmt.Sprintf(`{"ranges": [{"address_prefix": %q, "prefix_len": %d}], "exclusive": %t, "on_match": %s}`, ip, bits, exclusive, then)
	}
	nested := func(m string) string { return `{"matcher": ` + m + `}` }
	port := func(then string) string { return nested(tree("DestinationPortInput", exact("80", then), "")) }
	q := func(s string) Query { q, _ := ParseDestination(s); return q }
	alpn := q("10.1.0.1:80")
	alpn.Transport, alpn.ALPN = "raw_buffer", []string{"h2c"}
	sni := q("10.1.0.1:80")
	sni.SNI = "www.a.b"
	src := q("10.1.0.1:80")
	src.Source = netip.MustParseAddrPort("10.9.0.1:99")
	for _, tc := range []struct {
		name, matcher string
		q             Query
		want          string
	}{
		{"port", tree("DestinationPortInput", exact("80", action("a")), ""), q("10.1.0.1:80"), "a"},
		{"another port", tree("DestinationPortInput", exact("80", action("a")), ""), q("10.1.0.1:81"), "closed"},
		{"another port, on_no_match", tree("DestinationPortInput", exact("80", action("a")), action("b")), q("10.1.0.1:81"), "b"},
		{"a name without a chain", tree("DestinationPortInput", exact("80", action("z")), ""), q("10.1.0.1:80"), "closed"},
		{"address", tree("DestinationIPInput", ranges(in("10.0.0.0", 8, false, action("a")), in("10.1.0.0", 16, false, action("b"))), ""), q("10.1.0.1:80"), "b"},
		{"the wider range", tree("DestinationIPInput", ranges(in("10.0.0.0", 8, false, action("a")), in("10.1.0.0", 16, false, action("b"))), ""), q("10.2.0.1:80"), "a"},
		{"no match in the longer range: the wider one", tree("DestinationIPInput", ranges(in("10.0.0.0", 8, false, action("a")), in("10.1.0.0", 16, false, port(action("b")))), ""), q("10.1.0.1:81"), "a"},
		{"but for an exclusive one", tree("DestinationIPInput", ranges(in("10.0.0.0", 8, true, action("a")), in("10.1.0.0", 16, false, port(action("b")))), ""), q("10.1.0.1:81"), "closed"},
		{"no range", tree("DestinationIPInput", ranges(in("10.0.0.0", 8, false, action("a"))), action("b")), q("11.1.0.1:81"), "b"},
		{"protocol", tree("ApplicationProtocolInput", exact("'h2c'", action("a")), ""), alpn, "a"},
		{"protocol unknown", tree("ApplicationProtocolInput", exact("'h2c'", action("a")), ""), q("10.1.0.1:80"), "needs ApplicationProtocolInput"},
		{"server name by prefix", tree("ServerNameInput", `"prefix_match_map": {"map": {"www": `+action("b")+`, "www.a": `+action("a")+`}}`, ""), sni, "a"},
		{"transport", tree("TransportProtocolInput", exact("tls", action("a")), ""), sni, "a"},
		{"source", tree("SourceIPInput", ranges(in("10.9.0.0", 16, false, action("a"))), ""), src, "a"},
		{"source port", tree("SourcePortInput", exact("99", action("a")), ""), src, "a"},
		{"source unknown", tree("SourceIPInput", ranges(in("10.9.0.0", 16, false, action("a"))), ""), q("10.1.0.1:80"), "needs SourceIPInput"},
		{"an input of another kind", tree("FilterStateInput", exact("99", action("a")), ""), src, "needs FilterStateInput"},
		{"a list", `{"matcher_list": {}}`, src, "needs filter_chain_matcher holds matcher_list, which isn't followed"},
		{"another action", tree("DestinationPortInput", exact("80", `{"action": {"name": "x", "typed_config": {"@type": "other"}}}`), ""), src, "needs filter_chain_matcher holds action x, which isn't followed"},
		{"nothing", `{}`, src, "needs filter_chain_matcher holds an empty matcher, which isn't followed"},
	} {
		// The chains' own criteria don't count where there's a matcher.
		l := listenerJSON("l", "0.0.0.0", 15001, `"listener_filters": [{"name": "envoy.filters.listener.original_dst"}, {"name": "envoy.filters.listener.tls_inspector"}, {"name": "envoy.filters.listener.http_inspector"}], `+
			chains(tcp("a", `"destination_port": 9`), tcp("b", ""))+`, "filter_chain_matcher": `+tc.matcher)
		if got := took(Walk(parse(t, configs(active(l))), nil, tc.q)); got != tc.want {
			t.Errorf("%s: took %s, want %s", tc.name, got, tc.want)
		}
	}
}

func TestPending(t *testing.T) {
	for in, want := range map[string]string{
		`{"route_config": {"name": "r"}, "client_status": "NACKED", "error_state": {"details": "bad domain"}}`: "",
		`{"name": "r", "client_status": "REQUESTED"}`:                                                          "its state is REQUESTED",
		`{"name": "r", "error_state": {"details": "bad domain\nmore"}}`:                                        "it was rejected: bad domain",
	} {
		d := parse(t, configs(active(listenerJSON("l", "0.0.0.0", 80, chains(`{"filters": [`+rds("r")+`]}`))), section("Routes", `"dynamic_route_configs": [`+in+`]`)))
		r := Walk(d, nil, Query{IP: netip.MustParseAddr("10.0.0.1"), Port: 80, Authority: "a"})
		switch {
		case want == "" && (r.Missing == nil || r.Missing.Kind != VirtualHostHop || len(r.Notes) != 1):
			t.Errorf("%s: %s %v", in, path(r), r.Notes)
		case want != "" && (r.Missing == nil || r.Missing.Kind != RouteHop || r.Missing.Why != want):
			t.Errorf("%s: %+v", in, r.Missing)
		}
	}
}

// TestOneInterceptionListener is a VM whose rules send both directions to one port.
func TestOneInterceptionListener(t *testing.T) {
	node := `{"bootstrap": {"node": {"id": "projects/1/networks/default/nodes/a", "metadata": {"TRAFFICDIRECTOR_INTERCEPTION_PORT": "15001"}}}}`
	old := listenerJSON("virtual", "0.0.0.0", 15001, `"use_original_dst": {"value": true}, `+chains(tcp("passthrough", "")))
	app := listenerJSON("10.1.1.1_8080", "10.1.1.1", 8080, `"traffic_direction": "INBOUND", "deprecated_v1": {"bind_to_port": false}, `+chains(tcp("inbound", "")))
	other := listenerJSON("other", "0.0.0.0", 15009, `"use_original_dst": true, `+chains(tcp("other", "")))
	d := parse(t, configs(node, active(other, old, app)))
	for _, tc := range []struct {
		q    Query
		want string
	}{
		{Query{Direction: Inbound, IP: netip.MustParseAddr("10.1.1.1"), Port: 8080}, "listener virtual > listener 10.1.1.1_8080 > filter-chain inbound"},
		{Query{Direction: Inbound, Port: 8080}, "listener virtual > listener 10.1.1.1_8080 > filter-chain inbound"},
		{Query{Direction: Inbound, Port: 8081}, "listener virtual > filter-chain passthrough"},
		{Query{IP: netip.MustParseAddr("10.1.1.2"), Port: 8080}, "listener virtual > filter-chain passthrough"},
	} {
		if got := path(Walk(d, nil, tc.q)); !strings.HasPrefix(got, tc.want) {
			t.Errorf("%s %s: %s, want %s", tc.q.Direction, tc.q.destination(), got, tc.want)
		}
	}
}
