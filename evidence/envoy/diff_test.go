package envoy

import (
	"fmt"
	"strings"
	"testing"
)

func told(ds []Difference) string {
	var s []string
	for _, x := range ds {
		s = append(s, fmt.Sprintf("%s %s %s [%s|%s]", x.Kind, x.Of, x.Name, x.Good, x.Bad))
	}
	return strings.Join(s, "\n")
}

func TestDiff(t *testing.T) {
	self := func(ip string) string {
		return fmt.Sprintf(`{"bootstrap": {"node": {"id": "sidecar~%s~pod-%s.ns~d"}}}`, ip, ip)
	}
	td := func(chains ...string) string {
		return active(listenerJSON("l", "0.0.0.0", 15001, `"filter_chains": [`+strings.Join(chains, ",")+`]`))
	}
	rule := func(name, ip, rc string) string {
		return fmt.Sprintf(`{"name": %q, "filter_chain_match": {"destination_port": 80, "prefix_ranges": [{"address_prefix": %q, "prefix_len": 32}]}, "filters": [%s]}`, name, ip, rds(rc))
	}
	to := func(cluster string) string {
		return fmt.Sprintf(`"routes": [{"match": {"prefix": "/api"}, "route": {"cluster": %q}}, {"match": {"prefix": "/"}, "route": {"cluster": "rest"}}]`, cluster)
	}
	vh := func(name, domains, routes string) string {
		return fmt.Sprintf(`{"name": %q, "domains": [%s], %s}`, name, domains, routes)
	}
	rc := func(vhs ...string) string {
		return routeDump(`{"name": "r", "virtual_hosts": [` + strings.Join(vhs, ",") + `]}`)
	}
	refused := section("Listeners", `"dynamic_listeners": [{"name": "l", "error_state": {"details": "duplicate listener l found\nmore"}}]`)
	full := func(ip string) string {
		return configs(self(ip), active(
			listenerJSON(ip+"_8080", ip, 8080, `"traffic_direction": "INBOUND", `+chains(tcp("inbound|8080||", fmt.Sprintf(`"prefix_ranges": [{"address_prefix": %q, "prefix_len": 32}]`, ip)))),
			listenerJSON("l", "0.0.0.0", 15001, chains(rule("one", "10.0.0.1", "r")))),
			clusterDump(eds("a"), fmt.Sprintf(`{"name": "inbound|8080||", "load_assignment": {"cluster_name": "inbound|8080||", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": %s}}]}]}}`, addr(ip, 8080))),
			rc(vh("v", `"a.b"`, to("a"))), endpointDump(cla("a", "", "")))
	}
	for _, tc := range []struct{ name, good, bad, want string }{
		{"alike but for the workload", full("10.1.1.1"), full("10.1.1.22"), ""},
		{"itself", everything(), everything(), "rejected listener l [|no]\nrejected cluster b [|x]"},
		{"versions and times", strings.ReplaceAll(everything(), `"error_state"`, `"no_error"`), strings.NewReplacer(`"error_state"`, `"no_error"`, `"version_info": "1"`, `"version_info": "99"`, "2026-01-02", "2025-05-06").Replace(everything()), ""},
		{"a listener", configs(td(rule("one", "10.0.0.1", "r"))), configs(active()), "lacks listener l [|]"},
		{"a refused listener", configs(td(rule("one", "10.0.0.1", "r"))), configs(refused), "rejected listener l [|duplicate listener l found]"},
		{"a warming listener", configs(td(rule("one", "10.0.0.1", "r"))), configs(section("Listeners", `"dynamic_listeners": [{"name": "l", "warming_state": {"listener": {"name": "l"}}}]`)), "not serving listener l [|it is warming]"},
		{"a filter chain", configs(td(rule("one", "10.0.0.1", "r"), rule("two", "10.0.0.2", "r"))), configs(td(rule("one", "10.0.0.1", "r"))), "lacks filter-chain two of listener l (matched by destination port 80, address 10.0.0.2/32) [|]"},
		{"the order of chains", configs(td(rule("one", "10.0.0.1", "r"), rule("two", "10.0.0.2", "r"))), configs(td(rule("two", "10.0.0.2", "r"), rule("one", "10.0.0.1", "r"))), ""},
		{"a chain of another name", configs(td(rule("one", "10.0.0.1", "r"))), configs(td(rule("uno", "10.0.0.1", "r"))), ""},
		{"another route configuration", configs(td(rule("one", "10.0.0.1", "r"))), configs(td(rule("one", "10.0.0.1", "q"))), "leads elsewhere filter-chain one of listener l (matched by destination port 80, address 10.0.0.1/32) [rds:r scoped:|rds:q scoped:]"},
		{"another cluster", configs(td(tcp("c", ""))), configs(td(strings.ReplaceAll(tcp("c", ""), `"cluster": "c"`, `"cluster": "d"`))), "leads elsewhere filter-chain c of listener l (it takes any connection) [clusters:c=0;|clusters:d=0;]"},
		{"a default chain", configs(active(listenerJSON("l", "0.0.0.0", 1, `"default_filter_chain": `+tcp("d", "")))), configs(active(listenerJSON("l", "0.0.0.0", 1, `"filter_chains": []`))), "lacks filter-chain d of listener l (it takes any connection) [|]"},
		{"plaintext", configs(td(`{"name": "c", "transport_socket": {"name": "envoy.transport_sockets.tls"}}`)), configs(td(`{"name": "c"}`)), "differs filter-chain c of listener l (it takes any connection): transport socket [envoy.transport_sockets.tls|none: plaintext]"},
		{"another port", configs(active(listenerJSON("l", "0.0.0.0", 80, `"filter_chains": []`))), configs(active(listenerJSON("l", "0.0.0.0", 81, `"filter_chains": []`))), "differs listener l: address [0.0.0.0:80|0.0.0.0:81]"},
		{"a route configuration", configs(rc()), configs(routeDump()), "lacks route r [|]"},
		{"a virtual host", configs(rc(vh("v", `"a.b", "a"`, to("x")))), configs(rc()), "lacks virtual-host virtual host v of route configuration r [domains a, a.b|]"},
		{"a domain", configs(rc(vh("v", `"a.b", "a"`, to("x")))), configs(rc(vh("v", `"a"`, to("x")))), "lacks virtual-host virtual host v of route configuration r [domains a.b|]"},
		{"domains grouped otherwise", configs(rc(vh("v", `"a.b", "A"`, to("x")))), configs(rc(vh("w", `"a"`, to("x")), vh("v", `"a.b"`, to("x")))), ""},
		{"a route", configs(rc(vh("v", `"a"`, to("x")))), configs(rc(vh("v", `"a"`, `"routes": [{"match": {"prefix": "/"}, "route": {"cluster": "rest"}}]`))), "lacks route-entry route prefix /api of virtual host v of route configuration r [clusters:x=0;|]"},
		{"a route elsewhere", configs(rc(vh("v", `"a"`, to("x")))), configs(rc(vh("v", `"a"`, to("y")))), "leads elsewhere route-entry route prefix /api of virtual host v of route configuration r [clusters:x=0;|clusters:y=0;]"},
		{"routes in another order", configs(rc(vh("v", `"a"`, to("x")))), configs(rc(vh("v", `"a"`, `"routes": [{"match": {"prefix": "/"}, "route": {"cluster": "rest"}}, {"match": {"prefix": "/api"}, "route": {"cluster": "x"}}]`))), "differs route-entry order of the routes of virtual host v of route configuration r [prefix /api [] [] 1; prefix / [] [] 1|prefix / [] [] 1; prefix /api [] [] 1]"},
		{"what the broken one has on top", configs(rc(), clusterDump(), endpointDump()), configs(rc(vh("v", `"a"`, to("x"))), clusterDump(eds("a")), endpointDump(cla("a", ""))), ""},
		{"a cluster", configs(clusterDump(eds("a"), eds("b"))), configs(clusterDump(eds("b"))), "lacks cluster a [|]"},
		{"a warming cluster", configs(clusterDump(eds("a"))), configs(section("Clusters", `"dynamic_warming_clusters": [{"cluster": `+eds("a")+`}]`)), "not serving cluster a [|it is warming]"},
		{"a cluster's type", configs(clusterDump(eds("a"))), configs(clusterDump(`{"name": "a", "type": "STATIC"}`)), "differs cluster a: type [EDS|STATIC]"},
		{"a cluster's TLS", configs(clusterDump(`{"name": "a", "transport_socket": {"name": "tls"}}`)), configs(clusterDump(`{"name": "a"}`)), "differs cluster a: transport socket [tls|none: plaintext]"},
		{"a cluster's other fields", configs(clusterDump(`{"name": "a", "connect_timeout": "1s", "circuit_breakers": {"x": 1}}`)), configs(clusterDump(`{"name":"a",  "circuit_breakers":{ "x" :1}, "connect_timeout": "30s"}`)), "differs cluster a: other fields [connect_timeout|]"},
		{"endpoints", configs(endpointDump(cla("a", ""))), configs(endpointDump()), "lacks endpoints a [|]"},
		{"no endpoints", configs(endpointDump(cla("a", "", ""))), configs(endpointDump(cla("a"))), "no endpoints endpoints a [2 endpoints|none]"},
		{"unhealthy endpoints", configs(endpointDump(cla("a", "", ""))), configs(endpointDump(cla("a", "UNHEALTHY", "UNHEALTHY"))), "no endpoints endpoints a [2 of 2 healthy|0 of 2 healthy]"},
		{"an endpoint", configs(endpointDump(cla("a", "", ""))), configs(endpointDump(cla("a", ""))), "differs endpoints a [2 endpoints|1 endpoints, without 10.8.0.2:8080]"},
		{"an endpoint's health", configs(endpointDump(cla("a", "", ""))), configs(endpointDump(cla("a", "", "UNHEALTHY"))), "differs endpoints a [2 of 2 healthy|1 of 2 healthy]"},
		{"not dumped", configs(endpointDump(cla("a", ""))), configs(clusterDump()), "not compared endpoints endpoints [|the broken proxy's dump has no whole endpoints section]"},
		{"the most meaningful first", configs(td(rule("one", "10.0.0.1", "r")), clusterDump(eds("a"), eds("b")), endpointDump(cla("b", ""))), configs(section("Listeners", `"dynamic_listeners": []`), clusterDump(`{"name": "b", "type": "STATIC"}`), endpointDump(cla("b"))), "lacks listener l [|]\nlacks cluster a [|]\nno endpoints endpoints b [1 endpoints|none]\ndiffers cluster b: type [EDS|STATIC]"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ds, more := Diff(parse(t, tc.good), parse(t, tc.bad))
			if got := told(ds); got != tc.want || more != 0 {
				t.Errorf("got\n%s\nwant\n%s", got, tc.want)
			}
		})
	}
}

func TestDiffIsBounded(t *testing.T) {
	var cs []string
	for i := range 30_000 {
		cs = append(cs, eds(fmt.Sprintf("c%d", i)))
	}
	good := parse(t, configs(clusterDump(cs...)))
	ds, more := Diff(good, parse(t, configs(clusterDump())))
	if len(ds) != maxDifferences || more != 30_000-maxDifferences {
		t.Errorf("%d and %d more", len(ds), more)
	}
}

func TestDiffOfTheCorpus(t *testing.T) {
	a, err := ParseDump(corpus(t, "osm-sidecar-config_dump.json"))
	if err != nil {
		t.Fatal(err)
	}
	if ds, more := Diff(a, a); len(ds) != 0 || more != 0 {
		t.Errorf("a dump differs from itself:\n%s", told(ds))
	}
	b, err := ParseDump(corpus(t, "istio-sidecar-config_dump.json"))
	if err != nil {
		t.Fatal(err)
	}
	ds, _ := Diff(a, b)
	if got := told(ds); !strings.HasPrefix(got, "lacks listener outbound-listener ") || strings.Contains(strings.ToLower(got), "google") {
		t.Error(got)
	}
}
