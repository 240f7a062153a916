package envoy

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"runtime"
	"strconv"
	"strings"
	"testing"
)

// everything is a dump that has every field this package reads.
func everything() string {
	hcmAll := hcm(`"stat_prefix": "s", "route_config": {"name": "inline", "ignore_port_in_host_matching": true, "vhost_header": "", "virtual_hosts": [{"name": "v", "domains": ["*"], "require_tls": "NONE", "routes": [
		{"name": "n", "match": {"path_separated_prefix": "/a", "case_sensitive": false, "grpc": {}, "runtime_fraction": {"default_value": {"numerator": 1, "denominator": "MILLION"}},
		 "headers": [{"name": "h", "range_match": {"start": "1", "end": "2"}}, {"name": "i", "string_match": {"safe_regex": {"regex": "x"}, "ignore_case": true}, "invert_match": true}], "query_parameters": [{"name": "q", "present_match": true}], "dynamic_metadata": [{}]},
		 "route": {"weighted_clusters": {"clusters": [{"name": "a", "weight": 1}, {"name": "b", "weight": {"value": 2}}]}}},
		{"match": {"safe_regex": {"regex": ".*"}}, "direct_response": {"status": 404}}]}]}, "http_filters": [{"name": "envoy.filters.http.router"}], "strip_any_host_port": true`)
	match := `"destination_port": 80, "prefix_ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}], "server_names": ["a.b"], "transport_protocol": "tls", "application_protocols": ["h2"], "source_type": "EXTERNAL", "source_prefix_ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}], "direct_source_prefix_ranges": [{"address_prefix": "::", "prefix_len": 0}], "source_ports": [1]`
	l := `{"name": "l", "address": ` + addr("0.0.0.0", 80) + `, "additional_addresses": [{"address": ` + addr("::", 80) + `}], "traffic_direction": "OUTBOUND", "use_original_dst": true, "bind_to_port": false, "deprecated_v1": {"bind_to_port": false},
		"listener_filters": [{"name": "envoy.filters.listener.original_dst"}], "filter_chains": [{"name": "c", "filter_chain_match": {` + match + `}, "filters": [` + hcmAll + `], "transport_socket": {"name": "tls"}}], "default_filter_chain": ` + tcp("d", "") + `,
		"filter_chain_matcher": {"matcher_tree": {"input": {"typed_config": {"@type": "x.DestinationPortInput"}}, "exact_match_map": {"map": {"80": {"action": {"name": "c", "typed_config": {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": "c"}}}}}}, "on_no_match": {"matcher": {"matcher_tree": {"input": {"typed_config": {"@type": "x.DestinationIPInput"}}, "custom_match": {"typed_config": {"range_matchers": [{"ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}], "exclusive": true, "on_match": {"action": {"name": "c"}}}]}}}}}}}`
	return configs(
		`{"@type": "type.googleapis.com/envoy.admin.v3.BootstrapConfigDump", "bootstrap": {"node": {"id": "sidecar~10.1.1.1~p.ns~d", "cluster": "c", "metadata": {"INSTANCE_IPS": "10.1.1.1,fd00::1", "x": {"y": 1}}, "user_agent_build_version": {"version": {"major_number": 1, "minor_number": 2, "patch": 3}}}, "admin": {"address": `+addr("127.0.0.1", 15000)+`}}, "last_updated": "2026-01-02T03:04:05.678Z"}`,
		section("Listeners", `"version_info": "1", "static_listeners": [{"listener": `+l+`, "last_updated": "2026-01-02T03:04:05Z"}], "dynamic_listeners": [{"name": "l", "active_state": {"version_info": "2", "listener": `+l+`, "last_updated": "2026-01-02T03:04:05Z"}, "warming_state": {"listener": `+l+`}, "draining_state": {"listener": `+l+`}, "error_state": {"failed_configuration": {"@type": "x"}, "details": "no", "last_update_attempt": "2026-01-02T03:04:05Z", "version_info": "3"}, "client_status": "NACKED"},
			{"name": "api", "active_state": {"listener": {"name": "api", "api_listener": {"api_listener": {"@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager", "rds": {"route_config_name": "r"}}}}}}]`),
		section("Clusters", `"static_clusters": [{"cluster": {"name": "a", "type": "STATIC", "load_assignment": `+cla("a", "", "UNHEALTHY")+`}}], "dynamic_active_clusters": [{"version_info": "1", "cluster": {"name": "b", "type": "EDS", "alt_stat_name": "s", "eds_cluster_config": {"service_name": "svc"}, "transport_socket": {"name": "tls"}, "metadata": {"filter_metadata": {"com.google.trafficdirector": {"backend_service_name": "bs"}}}}, "error_state": {"details": "x"}}, {"cluster": {"name": "g", "cluster_type": {"name": "envoy.clusters.aggregate", "typed_config": {"clusters": ["a", "b"]}}}}], "dynamic_warming_clusters": [{"cluster": {"name": "w"}}]`),
		section("Routes", `"static_route_configs": [], "dynamic_route_configs": [{"version_info": "1", "route_config": {"name": "r", "vhds": {}, "virtual_hosts": [`+vhost("v", "a", "b")+`]}}, {"client_status": "REQUESTED"}]`),
		section("ScopedRoutes", `"dynamic_scoped_route_configs": [{"name": "set", "scoped_route_configs": [{"name": "s", "route_configuration_name": "r", "key": {"fragments": [{"string_key": "k"}]}}]}]`),
		section("Endpoints", `"dynamic_endpoint_configs": [{"endpoint_config": {"cluster_name": "svc", "endpoints": [{"priority": 1, "locality": {"region": "r"}, "leds_cluster_locality_config": {}, "lb_endpoints": [{"endpoint": {"hostname": "h", "address": {"envoy_internal_address": {"server_listener_name": "i", "endpoint_id": "e"}}}, "load_balancing_weight": 3}, {"endpoint": {"address": {"pipe": {"path": "/x"}}}}]}]}}]`),
		section("Secrets", `"dynamic_active_secrets": [{"name": "default", "version_info": "1", "secret": {"tls_certificate": {"private_key": {"inline_bytes": "S0VZ"}}}}], "dynamic_warming_secrets": [{"name": "late", "error_state": {"details": "x"}}]`),
		section("Ecds", `"ecds_filters": [{"version_info": "1", "ecds_filter": {"name": "f"}}]`),
	)
}

func TestParseDump(t *testing.T) {
	d := parse(t, everything())
	if d.NodeID != "sidecar~10.1.1.1~p.ns~d" || d.Version != "1.2.3" || d.AdminAddress.String() != "127.0.0.1:15000" || len(selfIPs(d)) != 2 {
		t.Errorf("%q %q %v %v", d.NodeID, d.Version, d.AdminAddress, selfIPs(d))
	}
	var states []State
	for _, l := range d.Listeners {
		states = append(states, l.State)
	}
	if !reflect.DeepEqual(states, []State{StaticState, Active, Warming, Draining, Active}) {
		t.Errorf("states %v", states)
	}
	l := d.Listeners[1]
	if l.Version != "2" || l.Error == nil || l.Error.Details != "no" || l.Error.Version != "3" || l.Error.LastAttempt.IsZero() || l.ClientStatus != "NACKED" ||
		l.Place != "configs[1].dynamic_listeners[0].active_state" || !l.Unbound || !l.UseOriginalDst || len(l.Addresses) != 2 || l.LastUpdated.Year() != 2026 {
		t.Errorf("%+v", l)
	}
	m := l.Chains[0].Match
	if m.DestinationPort != 80 || len(m.Prefixes) != 1 || m.ServerNames[0] != "a.b" || m.Transport != "tls" || m.ALPN[0] != "h2" || m.SourceType != "EXTERNAL" || len(m.Source) != 1 || len(m.DirectSource) != 1 || m.SourcePorts[0] != 1 {
		t.Errorf("%+v", m)
	}
	r := l.Chains[0].Filters[0].HTTP.Inline.VirtualHosts[0].Routes[0]
	if r.Match.Kind != PathSeparatedPrefix || !r.Match.IgnoreCase || !r.Match.GRPC || r.Match.Fraction != 1e-6 || len(r.Match.Headers) != 2 || len(r.Match.Query) != 1 || r.Match.Other[0] != "dynamic_metadata" || r.Action.Clusters[1].Weight != 2 {
		t.Errorf("%+v", r)
	}
	if len(d.Clusters) != 4 || d.Clusters[1].BackendService != "bs" || d.Clusters[1].ServiceName != "svc" || d.Clusters[2].Aggregate[1] != "b" || d.Clusters[3].State != Warming || len(d.Clusters[0].Inline.Endpoints) != 2 {
		t.Errorf("%+v", d.Clusters)
	}
	if len(d.RouteConfigs) != 2 || !d.RouteConfigs[0].VHDS || d.RouteConfigs[1].ClientStatus != "REQUESTED" || d.RouteConfigs[1].State != Warming {
		t.Errorf("%+v", d.RouteConfigs)
	}
	if len(d.ScopedRoutes) != 1 || d.ScopedRoutes[0].Set != "set" || d.ScopedRoutes[0].RouteConfig != "r" || d.ScopedRoutes[0].Key[0] != "k" {
		t.Errorf("%+v", d.ScopedRoutes)
	}
	e := d.Endpoints[0]
	if e.Name != "svc" || !e.LEDS || e.Endpoints[0].Address.String() != "internal:i/e" || e.Endpoints[0].Weight != 3 || e.Endpoints[0].Priority != 1 || e.Endpoints[0].Zone != "r" || e.Endpoints[1].Address.String() != "pipe:/x" {
		t.Errorf("%+v", e)
	}
	if len(d.Secrets) != 2 || d.Secrets[1].State != Warming || d.Secrets[1].Error == nil || len(d.Extensions) != 1 || d.Extensions[0].Name != "f" {
		t.Errorf("%+v %+v", d.Secrets, d.Extensions)
	}
	for _, s := range []Section{ListenerSection, ClusterSection, RouteSection, ScopedSection, EndpointSection, SecretSection, ECDSSection} {
		if !d.Knows(s) {
			t.Errorf("doesn't know %s", s)
		}
	}
	if out := fmt.Sprintf("%+v", d); strings.Contains(out, "S0VZ") {
		t.Error("a private key was kept")
	}
}

// camelCase rewrites every member's name as istioctl prints it.
func camelCase(v any) any {
	switch v := v.(type) {
	case map[string]any:
		m := map[string]any{}
		for k, x := range v {
			if !strings.ContainsAny(k, "@.") && strings.ToLower(k) == k {
				p := strings.Split(k, "_")
				for i := 1; i < len(p); i++ {
					p[i] = strings.ToUpper(p[i][:1]) + p[i][1:]
				}
				// backend_service_name is a name in a Struct, not a field.
				if k != "backend_service_name" {
					k = strings.Join(p, "")
				}
			}
			m[k] = camelCase(x)
		}
		return m
	case []any:
		for i := range v {
			v[i] = camelCase(v[i])
		}
	}
	return v
}

func TestCamelCase(t *testing.T) {
	var v any
	if err := json.Unmarshal([]byte(everything()), &v); err != nil {
		t.Fatal(err)
	}
	snake, _ := json.Marshal(v) // members sorted, as the other one's are
	camel, _ := json.Marshal(camelCase(v))
	a, d := parse(t, string(snake)), parse(t, string(camel))
	strip := func(d *Dump) string {
		for i := range d.Clusters {
			d.Clusters[i].fields = nil
		}
		out, _ := json.Marshal(d)
		return string(out)
	}
	x, y := strip(a), strip(d)
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			t.Fatalf("snake_case and camelCase differ: %.200s\n%.200s", x[i:], y[i:])
		}
	}
	if !d.camel || a.camel {
		t.Error("camel isn't told")
	}
}

func TestIstioctlLists(t *testing.T) {
	for in, want := range map[string][3]int{
		`[` + listenerJSON("l", "0.0.0.0", 80, chains(tcp("a", ""))) + `]`:       {1, 0, 0},
		`[{"name": "r", "virtualHosts": []}, {"name": "s", "virtualHosts": []}]`: {0, 2, 0},
		`[{"name": "c", "type": "EDS", "connectTimeout": "1s"}]`:                 {0, 0, 1},
	} {
		d := parse(t, in)
		if got := [3]int{len(d.Listeners), len(d.RouteConfigs), len(d.Clusters)}; got != want {
			t.Errorf("%.40s: %v, want %v", in, got, want)
		}
		if d.Knows(ListenerSection) || d.Knows(ClusterSection) {
			t.Error("a list may be filtered")
		}
	}
	if _, err := ParseDump([]byte(`[1, {"name": "x"}]`)); !errors.Is(err, ErrNotDump) {
		t.Error(err)
	}
}

// TestWrongTypes replaces each value of a dump by one of another type: nothing panics, the place is named, and the other
// sections are as they were.
func TestWrongTypes(t *testing.T) {
	var v any
	if err := json.Unmarshal([]byte(everything()), &v); err != nil {
		t.Fatal(err)
	}
	whole := parse(t, everything())
	n := 0
	var mutate func(v any, set func(any))
	mutate = func(v any, set func(any)) {
		for _, wrong := range []any{nil, 7.0, "text", true, []any{3.0, nil, "x", []any{}}, map[string]any{"x": 1.0}} {
			if reflect.TypeOf(wrong) == reflect.TypeOf(v) && wrong != nil {
				continue
			}
			set(wrong)
			n++
		}
		set(v)
		switch v := v.(type) {
		case map[string]any:
			for k, x := range v {
				mutate(x, func(y any) { v[k] = y; set(v) })
			}
		case []any:
			for i, x := range v {
				mutate(x, func(y any) { v[i] = y; set(v) })
			}
		}
	}
	calls := 0
	mutate(v, func(root any) {
		if calls++; underRace && calls%7 != 0 {
			return
		}
		b, err := json.Marshal(root)
		if err != nil {
			t.Fatal(err)
		}
		d, err := ParseDump(b)
		if err != nil && !errors.Is(err, ErrNotDump) {
			t.Fatalf("%v\n%.200s", err, b)
		}
		if len(d.Listeners) > len(whole.Listeners)+4 || len(d.Problems) > maxProblems {
			t.Fatalf("%d listeners, %d problems", len(d.Listeners), len(d.Problems))
		}
		Walk(d, nil, Query{IP: netip.MustParseAddr("10.0.0.1"), Port: 80})
		if n%5 == 0 {
			Diff(whole, d)
			Recognise(b)
		}
	})
	if n < 1000 {
		t.Errorf("only %d values replaced", n)
	}
	d, err := ParseDump([]byte(configs(active(listenerJSON("l", "0.0.0.0", 80, chains(tcp("a", `"destination_port": {"value": []}`)))), clusterDump(`{"name": "ok"}`))))
	if err != nil || len(d.Problems) != 1 || d.Problems[0].Place != "configs[0].dynamic_listeners[0].active_state.listener.filter_chains[0].filter_chain_match.destination_port.value" ||
		d.Problems[0].Reason != "expected a number, found an array" || len(d.Clusters) != 1 {
		t.Errorf("%v %+v", err, d.Problems)
	}
}

func TestCutAnywhere(t *testing.T) {
	s := everything()
	whole := parse(t, s)
	for i := 0; i < len(s); i += 5 { // every place would take the race detector six seconds
		d, err := ParseDump([]byte(s[:i]))
		var syntax *SyntaxError
		if !errors.As(err, &syntax) || !syntax.Truncated || syntax.Offset != i {
			t.Fatalf("cut at %d: %v", i, err)
		}
		if len(d.Listeners) > len(whole.Listeners) || len(d.Clusters) > len(whole.Clusters) || len(d.Endpoints) > len(whole.Endpoints) {
			t.Fatalf("cut at %d: more than the whole", i)
		}
	}
	_, err := ParseDump([]byte(s[:strings.Index(s, `"server_names"`)+3]))
	if err == nil || !strings.Contains(err.Error(), "cut off at byte ") || !strings.Contains(err.Error(), "in configs[1].static_listeners[0].listener.filter_chains[0].filter_chain_match") {
		t.Error(err)
	}
	if _, err := ParseDump([]byte(s + "}")); err == nil || !strings.Contains(err.Error(), "more after the end") {
		t.Error(err)
	}
}

func TestBounds(t *testing.T) {
	deep := strings.Repeat(`{"configs": [`, 3000)
	if _, err := ParseDump([]byte(deep)); err == nil || !strings.Contains(err.Error(), "nested deeper than") {
		t.Error(err)
	}
	skipped := `{"x": ` + strings.Repeat("[", 1<<20)
	if _, err := ParseDump([]byte(skipped)); err == nil || !strings.Contains(err.Error(), "nested deeper than") {
		t.Error(err)
	}
	// Empty values would take fifty times their own size.
	small := configs(endpointDump(`{"cluster_name": "a", "endpoints": [{"lb_endpoints": [` + strings.Repeat("{},", 1<<20) + `{}]}]}`))
	d, err := ParseDump([]byte(small))
	if err != nil || d.Knows(EndpointSection) || len(d.Problems) == 0 {
		t.Error(err, d.Knows(EndpointSection), d.Problems)
	}
}

// large makes a dump of so many MB: half clusters, indented as Envoy does, and half assignments of eight endpoints.
func large(mb int) []byte {
	var s strings.Builder
	s.Grow(mb<<20 + 1<<16)
	fill := func(to int, item string) {
		before, after, _ := strings.Cut(item, "NAME")
		for i := 0; s.Len() < to; i++ {
			if i > 0 {
				s.WriteString(",\n")
			}
			s.WriteString(before)
			s.WriteString(strconv.Itoa(i))
			s.WriteString(after)
		}
	}
	s.WriteString(`{"configs": [` + active(listenerJSON("l", "0.0.0.0", 80, chains(tcp("0", "")))))
	s.WriteString(`, {"@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump", "dynamic_active_clusters": [`)
	fill(mb<<19, `     {
      "version_info": "1",
      "cluster": {
       "@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster",
       "name": "NAME",
       "type": "EDS",
       "connect_timeout": "30s",
       "circuit_breakers": {
        "thresholds": [
         {
          "max_connections": 65536
         }
        ]
       }
      }
     }`)
	s.WriteString(`]}, {"@type": "type.googleapis.com/envoy.admin.v3.EndpointsConfigDump", "dynamic_endpoint_configs": [`)
	fill(mb<<20, `{"endpoint_config": `+cla("NAME", "", "HEALTHY", "HEALTHY", "HEALTHY", "HEALTHY", "HEALTHY", "HEALTHY", "UNHEALTHY")+"}")
	s.WriteString("]}]}")
	return []byte(s.String())
}

func TestLargeDump(t *testing.T) {
	mb := 100
	if underRace {
		mb = 20
	}
	b := large(mb)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	d, err := ParseDump(b)
	if err != nil || len(d.Problems) > 0 {
		t.Fatal(err, d.Problems)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	kept, allocated := after.HeapAlloc-before.HeapAlloc, after.TotalAlloc-before.TotalAlloc
	if kept>>20 > uint64(3*mb) || allocated>>20 > uint64(6*mb) {
		t.Errorf("a dump of %d MB keeps %d MB and allocates %d MB", mb, kept>>20, allocated>>20)
	}
	t.Logf("%d clusters, %d assignments, %d MB kept, %d MB allocated", len(d.Clusters), len(d.Endpoints), kept>>20, allocated>>20)
	r := Walk(d, nil, Query{IP: netip.MustParseAddr("10.0.0.1"), Port: 80})
	if len(r.Hosts) != 8 || r.Missing != nil {
		t.Error(path(r))
	}
	cut, err := ParseDump(b[:len(b)/2])
	var syntax *SyntaxError
	if !errors.As(err, &syntax) || len(cut.Clusters) == 0 || cut.Knows(EndpointSection) {
		t.Errorf("half of it: %v, %d clusters", err, len(cut.Clusters))
	}
}
