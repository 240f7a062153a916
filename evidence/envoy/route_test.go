package envoy

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

// ended says what a walk's request came to: the last hop's name, and what stopped it.
func ended(r Result) string {
	switch {
	case r.Missing != nil:
		return "missing " + string(r.Missing.Kind)
	case r.Unknown != nil:
		return "needs " + strings.Join(r.Unknown.Needs, " and ")
	}
	for i := len(r.Path) - 1; i >= 0; i-- {
		if h := r.Path[i]; h.Kind == RouteEntryHop || h.Kind == VirtualHostHop {
			return h.Name
		}
	}
	return path(r)
}

// vhost is a virtual host whose one route is named as it is and answers by itself.
func vhost(name string, domains ...string) string {
	return fmt.Sprintf(`{"name": %q, "domains": ["%s"], "routes": [{"match": {"prefix": "/"}, "direct_response": {"status": 200}, "name": %q}]}`, name, strings.Join(domains, `", "`), name)
}

func httpDump(hcmFields, routeConfig string) string {
	return configs(active(listenerJSON("l", "0.0.0.0", 8080, chains(`{"filters": [`+hcm(hcmFields+`"rds": {"route_config_name": "r"}`)+`]}`))), routeDump(routeConfig), clusterDump())
}

func TestVirtualHost(t *testing.T) {
	all := []string{
		vhost("any", "*"), vhost("exact", "www.foo.com"), vhost("upper", "UPPER.foo.com"), vhost("suffix", "*.foo.com"), vhost("longer", "*-bar.foo.com"),
		vhost("prefix", "foo.*"), vhost("longer prefix", "foo.bar.*"), vhost("port", "api.bar:8080"), vhost("bare", "bare.bar"), vhost("v6", "[::1]"),
	}
	const rest = `, "ignore_port_in_host_matching": true`
	for _, tc := range []struct {
		name, hcm, rc, host, want string
		hosts                     []string
	}{
		{"exact", "", "", "www.foo.com", "exact", all},
		{"case doesn't matter", "", "", "WWW.Foo.com", "exact", all},
		{"nor in the domain", "", "", "upper.foo.com", "upper", all},
		{"suffix", "", "", "x.foo.com", "suffix", all},
		{"suffix of many labels", "", "", "x.y.foo.com", "suffix", all},
		{"the longer suffix", "", "", "baz-bar.foo.com", "longer", all},
		{"a wildcard isn't empty", "", "", "-bar.foo.com", "suffix", all},
		{"nor here", "", "", ".foo.com", "any", all},
		{"nor is the domain itself", "", "", "foo.com", "prefix", all},
		{"suffix before prefix", "", "", "foo.foo.com", "suffix", all},
		{"prefix", "", "", "foo.org", "prefix", all},
		{"the longer prefix", "", "", "foo.bar.org", "longer prefix", all},
		{"any", "", "", "other.org", "any", all},
		{"none without *", "", "", "other.org", "missing virtual-host", all[1:]},
		{"a port is part of the host", "", "", "www.foo.com:8080", "any", all},
		{"so it is in the domain", "", "", "api.bar:8080", "port", all},
		{"strip_any_host_port", `"strip_any_host_port": true, `, "", "www.foo.com:99", "exact", all},
		{"strip_any_host_port takes it from all", `"strip_any_host_port": true, `, "", "api.bar:8080", "any", all},
		{"strip_matching_host_port", `"strip_matching_host_port": true, `, "", "www.foo.com:8080", "exact", all},
		{"strip_matching_host_port, another port", `"strip_matching_host_port": true, `, "", "www.foo.com:8081", "any", all},
		{"ignore_port_in_host_matching", "", rest, "www.foo.com:99", "exact", all},
		{"a port that isn't a number isn't stripped", `"strip_any_host_port": true, `, "", "bare.bar:http", "any", all},
		{"strip_trailing_host_dot", `"strip_trailing_host_dot": true, `, "", "www.foo.com.", "exact", all},
		{"the dot stays otherwise", "", "", "www.foo.com.", "any", all},
		{"IPv6 has no port", `"strip_any_host_port": true, `, "", "[::1]", "v6", all},
		{"IPv6 with port", `"strip_any_host_port": true, `, "", "[::1]:80", "v6", all},
		{"no Host, one virtual host for any", "", "", "", "any", all[:1]},
		{"no Host", "", "", "", "needs the Host or :authority header", all},
		{"no virtual hosts", "", "", "", "missing virtual-host", nil},
		{"VHDS may give more", "", `, "vhds": {}`, "other.org", "needs ", all[1:]},
		{"another header", "", `, "vhost_header": "x-host"`, "www.foo.com", "needs the request header x-host", all},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := parse(t, httpDump(tc.hcm, fmt.Sprintf(`{"name": "r", "virtual_hosts": [%s]%s}`, strings.Join(tc.hosts, ","), tc.rc)))
			r := Walk(d, nil, Query{IP: netip.MustParseAddr("10.0.0.1"), Port: 8080, Authority: tc.host})
			if got := ended(r); got != tc.want {
				t.Errorf("got %s, want %s\n%s", got, tc.want, path(r))
			}
		})
	}
}

func TestHostOfAName(t *testing.T) {
	d := parse(t, httpDump("", fmt.Sprintf(`{"name": "r", "virtual_hosts": [%s, %s]}`, vhost("any", "*"), vhost("named", "reviews"))))
	r := Walk(d, nil, Query{IP: netip.MustParseAddr("10.0.0.1"), Port: 8080, Name: "reviews"})
	if ended(r) != "named" || len(r.Notes) == 0 || !strings.Contains(r.Notes[0], "Host reviews:8080 meets virtual host any") {
		t.Errorf("%s %q", path(r), r.Notes)
	}
}

func TestRoute(t *testing.T) {
	q := func(path string) Query {
		return Query{IP: netip.MustParseAddr("10.0.0.1"), Port: 8080, Authority: "a", Path: path, Method: "GET"}
	}
	with := func(q Query, kv ...string) Query {
		q.Headers = map[string]string{}
		for i := 0; i < len(kv); i += 2 {
			q.Headers[kv[i]] = kv[i+1]
		}
		return q
	}
	post := q("/")
	post.Method = "POST"
	connect := q("/")
	connect.Method = "CONNECT"
	header := func(m string) string { return `"prefix": "/", "headers": [{"name": "X-Env", ` + m + `}]` }
	query := func(m string) string { return `"prefix": "/", "query_parameters": [{"name": "v", ` + m + `}]` }
	for _, tc := range []struct {
		name, match string
		q           Query
		want        string // "m": this route; "rest": the one below it
	}{
		{"prefix", `"prefix": "/api"`, q("/apis"), "m"},
		{"prefix not", `"prefix": "/api"`, q("/ap"), "rest"},
		{"the query isn't path", `"path": "/api"`, q("/api?x=1"), "m"},
		{"nor the fragment", `"path": "/api"`, q("/api#x"), "m"},
		{"path is whole", `"path": "/api"`, q("/api/"), "rest"},
		{"case", `"path": "/api"`, q("/API"), "rest"},
		{"no case", `"path": "/api", "case_sensitive": false`, q("/API"), "m"},
		{"separated", `"path_separated_prefix": "/api"`, q("/api/v1"), "m"},
		{"separated, alone", `"path_separated_prefix": "/api"`, q("/api"), "m"},
		{"separated not", `"path_separated_prefix": "/api"`, q("/apis"), "rest"},
		{"regex is whole", `"safe_regex": {"regex": "/v[0-9]+"}`, q("/v1/x"), "rest"},
		{"regex", `"safe_regex": {"regex": "/v[0-9]+/.*"}`, q("/v1/x"), "m"},
		{"regex alternatives are whole", `"safe_regex": {"regex": "/a|/b"}`, q("/ab"), "rest"},
		{"regex beyond Go", `"safe_regex": {"regex": "(?<x"}`, q("/v1/x"), `needs an answer to the regular expression "(?<x"`},
		{"no path: prefix /", `"prefix": "/"`, q(""), "m"},
		{"no path: regex .*", `"safe_regex": {"regex": ".*"}`, q(""), "m"},
		{"no path", `"prefix": "/api"`, q(""), "needs the path"},
		{"CONNECT", `"connect_matcher": {}`, connect, "m"},
		{"not CONNECT", `"connect_matcher": {}`, q("/"), "rest"},
		{"template", `"path_match_policy": {}`, q("/"), "needs an answer to a path_match_policy, which isn't followed"},
		{"header exact", header(`"exact_match": "dev"`), with(q("/"), "x-env", "dev"), "m"},
		{"header exact not", header(`"exact_match": "dev"`), with(q("/"), "x-env", "prod"), "rest"},
		{"header absent", header(`"exact_match": "dev"`), with(q("/")), "rest"},
		{"header unknown", header(`"exact_match": "dev"`), q("/"), "needs the request header x-env"},
		{"header inverted", header(`"exact_match": "dev", "invert_match": true`), with(q("/"), "x-env", "prod"), "m"},
		{"header inverted but absent", header(`"exact_match": "dev", "invert_match": true`), with(q("/")), "rest"},
		{"absent as empty", header(`"exact_match": "dev", "invert_match": true, "treat_missing_header_as_empty": true`), with(q("/")), "m"},
		{"present", header(`"present_match": true`), with(q("/"), "x-env", ""), "m"},
		{"present not", header(`"present_match": true`), with(q("/")), "rest"},
		{"present false", header(`"present_match": false`), with(q("/")), "m"},
		{"present inverted", header(`"present_match": true, "invert_match": true`), with(q("/")), "m"},
		{"only a name", `"prefix": "/", "headers": [{"name": "x-env"}]`, with(q("/"), "x-env", "1"), "m"},
		{"string_match", header(`"string_match": {"prefix": "DE", "ignore_case": true}`), with(q("/"), "x-env", "dev"), "m"},
		{"string_match suffix", header(`"string_match": {"suffix": "v"}`), with(q("/"), "x-env", "dev"), "m"},
		{"string_match contains", header(`"string_match": {"contains": "z"}`), with(q("/"), "x-env", "dev"), "rest"},
		{"string_match regex is whole", header(`"string_match": {"safe_regex": {"regex": "de"}}`), with(q("/"), "x-env", "dev"), "rest"},
		{"string_match custom", header(`"string_match": {"custom": {}}`), with(q("/"), "x-env", "dev"), "needs an answer to a matcher of X-Env, which isn't followed"},
		{"range", header(`"range_match": {"start": "1", "end": "3"}`), with(q("/"), "x-env", "2"), "m"},
		{"range ends before its end", header(`"range_match": {"start": "1", "end": "3"}`), with(q("/"), "x-env", "3"), "rest"},
		{"method", `"prefix": "/", "headers": [{"name": ":method", "exact_match": "POST"}]`, post, "m"},
		{"any method", `"prefix": "/", "headers": [{"name": ":method", "safe_regex_match": {"regex": ".*"}}]`, Query{IP: netip.MustParseAddr("10.0.0.1"), Port: 8080, Authority: "a"}, "m"},
		{"authority", `"prefix": "/", "headers": [{"name": ":authority", "exact_match": "a"}]`, q("/"), "m"},
		{"query", query(`"string_match": {"exact": "1"}`), q("/?u=0&v=1"), "m"},
		{"query absent", query(`"string_match": {"exact": "1"}`), q("/"), "rest"},
		{"query present", query(`"present_match": true`), q("/?v"), "m"},
		{"gRPC", `"prefix": "/", "grpc": {}`, with(q("/"), "content-type", "application/grpc+proto"), "m"},
		{"not gRPC", `"prefix": "/", "grpc": {}`, with(q("/"), "content-type", "text/html"), "rest"},
		{"gRPC unknown", `"prefix": "/", "grpc": {}`, q("/"), "needs the request header content-type"},
		{"all requests", `"prefix": "/", "runtime_fraction": {"default_value": {"numerator": 100}}`, q("/"), "m"},
		{"no requests", `"prefix": "/", "runtime_fraction": {"default_value": {}}`, q("/"), "rest"},
		{"some requests", `"prefix": "/", "runtime_fraction": {"default_value": {"numerator": 5, "denominator": "TEN_THOUSAND"}}`, q("/"), "needs chance: a route takes a share of the requests (runtime_fraction)"},
		{"TLS context", `"prefix": "/", "tls_context": {"presented": true}`, q("/"), "needs the request's tls context"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := parse(t, httpDump("", `{"name": "r", "virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [
				{"name": "m", "match": {`+tc.match+`}, "direct_response": {"status": 200}},
				{"name": "rest", "match": {"prefix": ""}, "redirect": {}}]}]}`))
			if got := ended(Walk(d, nil, tc.q)); got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
		})
	}
}

func TestRouteConfigurations(t *testing.T) {
	at := func(filter string, sections ...string) string {
		return configs(append([]string{active(listenerJSON("l", "0.0.0.0", 8080, chains(`{"filters": [`+filter+`]}`)))}, sections...)...)
	}
	vh := `"virtual_hosts": [` + vhost("v", "*") + `]`
	scopes := func(names ...string) string {
		var s []string
		for _, n := range names {
			s = append(s, fmt.Sprintf(`{"name": "s-%s", "route_configuration_name": %q, "key": {"fragments": [{"string_key": "x"}]}}`, n, n))
		}
		return section("ScopedRoutes", `"dynamic_scoped_route_configs": [{"name": "set", "scoped_route_configs": [`+strings.Join(s, ",")+`]}]`)
	}
	scoped := hcm(`"scoped_routes": {"name": "set", "scope_key_builder": {}}`)
	for _, tc := range []struct{ name, dump, want string }{
		{"inline", at(hcm(`"route_config": {"name": "r", ` + vh + `}`)), "v"},
		{"RDS", at(rds("r"), routeDump(`{"name": "r", `+vh+`}`)), "v"},
		{"RDS of another name", at(rds("r"), routeDump(`{"name": "q", `+vh+`}`)), "missing route"},
		{"RDS, no such section", at(rds("r")), "needs "},
		{"RDS, an empty section", at(rds("r"), `{"@type": "type.googleapis.com/envoy.admin.v3.RoutesConfigDump"}`), "missing route"},
		{"neither", at(hcm(`"stat_prefix": "x"`)), "missing route"},
		{"one scope", at(scoped, scopes("r"), routeDump(`{"name": "r", `+vh+`}`)), "v"},
		{"two scopes", at(scoped, scopes("r", "q"), routeDump(`{"name": "r", `+vh+`}`)), "needs the scope's key"},
		{"no scope", at(scoped, scopes()), "missing route"},
		{"matcher tree", at(hcm(`"route_config": {"virtual_hosts": [{"name": "v", "domains": ["*"], "matcher": {}}]}`)), "needs "},
		{"no route", at(hcm(`"route_config": {"virtual_hosts": [{"name": "v", "domains": ["*"]}]}`)), "missing route-entry"},
		{"another filter", at(`{"name": "envoy.filters.network.redis_proxy", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.network.redis_proxy.v3.RedisProxy"}}`), "needs "},
		{"TypedStruct", at(`{"name": "h", "typed_config": {"@type": "type.googleapis.com/udpa.type.v1.TypedStruct", "type_url": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager", "value": {"route_config": {` + vh + `}}}}`), "v"},
		{"v2", at(`{"name": "envoy.http_connection_manager", "config": {"route_config": {` + vh + `}}}`), "v"},
	} {
		if got := ended(Walk(parse(t, tc.dump), nil, Query{IP: netip.MustParseAddr("10.0.0.1"), Port: 8080, Path: "/"})); got != tc.want {
			t.Errorf("%s: got %s, want %s", tc.name, got, tc.want)
		}
	}
	empty := parse(t, configs(active(listenerJSON("l", "0.0.0.0", 8080, chains(`{}`)))))
	if r := Walk(empty, nil, Query{IP: netip.MustParseAddr("10.0.0.1"), Port: 8080}); r.Missing == nil || r.Missing.Kind != FilterChainHop || !strings.Contains(r.Missing.Why, "no network filters") {
		t.Errorf("%s", path(r))
	}
}
