package envoy

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

func eds(name string) string {
	return fmt.Sprintf(`{"name": %q, "type": "EDS", "eds_cluster_config": {"eds_config": {"ads": {}}}}`, name)
}

// cla is a ClusterLoadAssignment: each endpoint's health by its own address.
func cla(cluster string, health ...string) string {
	var es []string
	for i, h := range health {
		s := ""
		if h != "" {
			s = fmt.Sprintf(`"health_status": %q, `, h)
		}
		es = append(es, fmt.Sprintf(`{%s"endpoint": {"address": %s}}`, s, addr(fmt.Sprintf("10.8.0.%d", i+1), 8080)))
	}
	return fmt.Sprintf(`{"cluster_name": %q, "endpoints": [{"locality": {"zone": "us-central1-a"}, "lb_endpoints": [%s]}]}`, cluster, strings.Join(es, ","))
}

func TestClusters(t *testing.T) {
	at := func(route string, sections ...string) string {
		l := active(listenerJSON("l", "0.0.0.0", 8080, chains(`{"filters": [`+hcm(`"route_config": {"virtual_hosts": [{"domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {`+route+`}}]}]}`)+`]}`)))
		return configs(append([]string{l}, sections...)...)
	}
	aggregate := func(name string, of ...string) string {
		return fmt.Sprintf(`{"name": %q, "cluster_type": {"name": "envoy.clusters.aggregate", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.clusters.aggregate.v3.ClusterConfig", "clusters": ["%s"]}}}`, name, strings.Join(of, `", "`))
	}
	weighted := `"weighted_clusters": {"clusters": [{"name": "a", "weight": 90}, {"name": "b", "weight": 10}, {"name": "off", "weight": 0}]}`
	one := `"cluster": "a"`
	live := "a::observability_name::a\na::10.8.0.1:8080::health_flags::/failed_active_hc/active_hc_timeout\na::10.8.0.1:8080::weight::1\na::10.8.0.2:8080::health_flags::healthy\n"
	sick := strings.ReplaceAll(live, "healthy", "/failed_outlier_check")
	static := `{"name": "a", "load_assignment": ` + cla("a", "") + `}`
	for _, tc := range []struct {
		name, dump, hosts, want, more string // more: in why, or among the notes
		healthy, total                int
	}{
		{"EDS", at(one, clusterDump(eds("a")), endpointDump(cla("a", "", "HEALTHY", "UNHEALTHY"))), "", "endpoints a", "", 2, 3},
		{"EDS by service name", at(one, clusterDump(`{"name": "a", "type": "EDS", "eds_cluster_config": {"service_name": "svc"}}`), endpointDump(cla("svc", ""))), "", "endpoints svc", "", 1, 1},
		{"degraded is used, draining and timed out aren't", at(one, clusterDump(eds("a")), endpointDump(cla("a", "DEGRADED", "DRAINING", "TIMEOUT"))), "", "endpoints a", "", 1, 3},
		{"all unhealthy", at(one, clusterDump(eds("a")), endpointDump(cla("a", "UNHEALTHY", "UNHEALTHY"))), "", "endpoints a", "", 0, 2},
		{"no endpoint in it", at(one, clusterDump(eds("a")), endpointDump(cla("a"))), "", "missing endpoints a", "has no endpoints", 0, 0},
		{"none for it", at(one, clusterDump(eds("a")), endpointDump(cla("b", ""))), "", "missing endpoints a", "EDS gave no endpoints", 0, 0},
		{"without include_eds", at(one, clusterDump(eds("a"))), "", "unknown endpoints needs ", "include_eds", 0, 0},
		{"without include_eds, with /clusters", at(one, clusterDump(eds("a"))), live, "endpoints a", "", 1, 2},
		{"/clusters knows better", at(one, clusterDump(eds("a")), endpointDump(cla("a", "HEALTHY", "HEALTHY"))), sick, "endpoints a", "", 0, 2},
		{"/clusters has no host", at(one, clusterDump(eds("a"))), "a::observability_name::a\n", "missing endpoints a", "", 0, 0},
		{"static", at(one, clusterDump(static)), "", "endpoints a", "", 1, 1},
		{"static, none", at(one, clusterDump(`{"name": "a", "type": "STATIC"}`)), "", "missing endpoints a", "", 0, 0},
		{"REGISTRY_ONLY", at(`"cluster": "BlackHoleCluster"`, clusterDump(`{"name": "BlackHoleCluster", "type": "STATIC"}`)), "", "missing endpoints BlackHoleCluster", "REGISTRY_ONLY", 0, 0},
		{"DNS", at(one, clusterDump(`{"name": "a", "type": "STRICT_DNS", "load_assignment": `+cla("a", "")+`}`)), "", "endpoints a", "", 1, 1},
		{"original destination", at(one, clusterDump(`{"name": "a", "type": "ORIGINAL_DST"}`)), "", "endpoints 10.0.0.1:8080", "", 0, 0},
		{"custom type", at(one, clusterDump(`{"name": "a", "cluster_type": {"name": "envoy.clusters.dynamic_forward_proxy"}}`)), "", "endpoints a", "", 0, 0},
		{"LEDS", at(one, clusterDump(eds("a")), endpointDump(`{"cluster_name": "a", "endpoints": [{"leds_cluster_locality_config": {}}]}`)), "", "unknown endpoints needs ", "LEDS", 0, 0},
		{"no cluster", at(one, clusterDump(eds("b"))), "", "missing cluster a", "no cluster of that name", 0, 0},
		{"no cluster section", at(one), "", "unknown cluster needs ", "clusters section", 0, 0},
		{"warming", at(one, section("Clusters", `"dynamic_warming_clusters": [{"cluster": `+eds("a")+`}]`)), "", "missing cluster a", "warming: it waits", 0, 0},
		{"rejected", at(one, section("Clusters", `"dynamic_active_clusters": [{"cluster": {"name": "a"}, "error_state": {"details": "bad"}}]`)), "", "missing endpoints a", "the last update of cluster a was rejected: bad", 0, 0},
		{"weighted", at(weighted, clusterDump(eds("a"), eds("b")), endpointDump(cla("a", ""), cla("b", ""))), "", "endpoints b", "", 2, 2},
		{"weighted, one alive", at(weighted, clusterDump(eds("a"), eds("b")), endpointDump(cla("b", ""))), "", "endpoints b", "cluster a: endpoints a", 1, 1},
		{"weighted, one unhealthy", at(weighted, clusterDump(eds("a"), eds("b")), endpointDump(cla("a", "UNHEALTHY"), cla("b", ""))), "", "endpoints b", "cluster a: none of its 1 endpoints is healthy", 1, 2},
		{"weighted, none alive", at(weighted, clusterDump(eds("a")), endpointDump()), "", "missing endpoints a", "all 2 weighted clusters", 0, 0},
		{"aggregate", at(`"cluster": "agg"`, clusterDump(aggregate("agg", "a", "b"), eds("a"), eds("b")), endpointDump(cla("a", ""), cla("b", ""))), "", "endpoints a", "", 1, 1},
		{"aggregate, the second", at(`"cluster": "agg"`, clusterDump(aggregate("agg", "a", "b"), eds("a"), eds("b")), endpointDump(cla("a", "UNHEALTHY"), cla("b", ""))), "", "endpoints b", "passes over a", 1, 1},
		{"aggregate, all unhealthy", at(`"cluster": "agg"`, clusterDump(aggregate("agg", "a", "b"), eds("a"), eds("b")), endpointDump(cla("a", "UNHEALTHY"), cla("b", "UNHEALTHY"))), "", "endpoints a", "passes over b", 0, 1},
		{"aggregate, none", at(`"cluster": "agg"`, clusterDump(aggregate("agg", "a", "b"), eds("a")), endpointDump()), "", "missing endpoints a", "", 0, 0},
		{"aggregate of itself", at(`"cluster": "agg"`, clusterDump(aggregate("agg", "agg")), endpointDump()), "", "unknown cluster needs ", "leads into itself", 0, 0},
		{"by header", at(`"cluster_header": "X-Cluster"`, clusterDump(static)), "", "unknown cluster needs the request header X-Cluster", "", 0, 0},
		{"plugin", at(`"cluster_specifier_plugin": "x"`, clusterDump(static)), "", "unknown cluster needs ", "cluster_specifier_plugin isn't followed", 0, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var hosts *Hosts
			if tc.hosts != "" {
				var err error
				if hosts, err = ParseHosts([]byte(tc.hosts)); err != nil {
					t.Fatal(err)
				}
			}
			r := Walk(parse(t, tc.dump), hosts, Query{IP: netip.MustParseAddr("10.0.0.1"), Port: 8080, Path: "/"})
			if got := path(r); !strings.HasSuffix(got, tc.want) {
				t.Errorf("got %s, want %s", got, tc.want)
			}
			said := strings.Join(r.Notes, "\n")
			if r.Missing != nil {
				said += r.Missing.Why
			}
			if r.Unknown != nil {
				said += r.Unknown.Why
			}
			if !strings.Contains(said, tc.more) {
				t.Errorf("said %q, want %q", said, tc.more)
			}
			healthy := 0
			for _, h := range r.Hosts {
				if h.Healthy {
					healthy++
				} else if h.Why == "" {
					t.Errorf("%s is unhealthy without a why", h.Address)
				}
			}
			if healthy != tc.healthy || len(r.Hosts) != tc.total || r.AllUnhealthy() != (tc.total > 0 && tc.healthy == 0) {
				t.Errorf("%d of %d healthy, want %d of %d", healthy, len(r.Hosts), tc.healthy, tc.total)
			}
		})
	}
	q := Query{IP: netip.MustParseAddr("10.0.0.1"), Port: 8080, Path: "/", Headers: map[string]string{"x-cluster": "a"}}
	if r := Walk(parse(t, at(`"cluster_header": "X-Cluster"`, clusterDump(static))), nil, q); len(r.Hosts) != 1 {
		t.Error(path(r))
	}
}

func TestByName(t *testing.T) {
	td := clusterDump(`{"name": "cloud-internal-istio:cloud_mp_1_2", "type": "EDS", "metadata": {"filter_metadata": {"com.google.trafficdirector": {"backend_service_name": "td-vm-service"}}}}`)
	istio := clusterDump(`{"name": "outbound|9080||reviews.default.svc.cluster.local", "type": "EDS"}`, `{"name": "outbound|9080|v1|reviews.default.svc.cluster.local", "type": "EDS"}`, `{"name": "inbound|9080||", "type": "STATIC"}`)
	both := clusterDump(`{"name": "outbound|9080||reviews.default.svc.cluster.local", "type": "EDS"}`, `{"name": "outbound|9081||reviews.default.svc.cluster.local", "type": "EDS"}`)
	capture := func(filters string) string {
		return active(listenerJSON("TRAFFICDIRECTOR_INTERCEPTION_LISTENER", "0.0.0.0", 15001, chains(
			`{"name": "one", "filter_chain_match": {"destination_port": 80, "prefix_ranges": [{"address_prefix": "10.0.0.1", "prefix_len": 32}]}, "filters": [`+filters+`]}`)))
	}
	rc := func(hosts ...string) string {
		return routeDump(`{"name": "r", "virtual_hosts": [` + strings.Join(hosts, ",") + `]}`)
	}
	two := active(
		listenerJSON("a", "10.0.0.1", 80, chains(`{"filters": [`+rds("r")+`]}`)),
		listenerJSON("b", "10.0.0.2", 80, chains(`{"filters": [`+hcm(`"route_config": {"name": "q", "virtual_hosts": [`+vhost("other", "web.example.com")+`]}`)+`]}`)))
	proxyless := active(`{"name": "web.example.com:80", "api_listener": {"api_listener": {"@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager", "rds": {"route_config_name": "r"}}}}`,
		`{"name": "xdstp://traffic-director-global.xds.googleapis.com/envoy.config.listener.v3.Listener/new.example.com:8080", "api_listener": {"api_listener": {"@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager", "rds": {"route_config_name": "r"}}}}`)
	for _, tc := range []struct{ name, dump, dest, want string }{
		{"by its virtual host", configs(capture(rds("r")), rc(vhost("v", "web.example.com"))), "web.example.com:80", "listener TRAFFICDIRECTOR_INTERCEPTION_LISTENER > filter-chain one > filter envoy.filters.network.http_connection_manager > route r > virtual-host v > route-entry v"},
		{"without port", configs(capture(rds("r")), rc(vhost("v", "web.example.com"))), "web.example.com", "listener TRAFFICDIRECTOR_INTERCEPTION_LISTENER > filter-chain one > "},
		{"another port", configs(capture(rds("r")), rc(vhost("v", "web.example.com")), clusterDump()), "web.example.com:81", "missing virtual-host web.example.com:81"},
		{"another name", configs(capture(rds("r")), rc(vhost("v", "web.example.com")), clusterDump()), "api.example.com:80", "missing virtual-host api.example.com:80"},
		{"any host", configs(capture(rds("r")), rc(vhost("v", "*"))), "api.example.com:80", "unknown virtual-host needs the destination address of api.example.com"},
		{"several", configs(two, rc(vhost("v", "web.example.com"))), "web.example.com:80", "unknown listener needs the destination address of web.example.com"},
		{"backend service", configs(capture(tcpProxy("x")), td), "td-vm-service", "cluster cloud-internal-istio:cloud_mp_1_2 > unknown endpoints"},
		{"Istio's TCP service", configs(capture(tcpProxy("x")), istio), "reviews.default.svc.cluster.local:9080", "cluster outbound|9080||reviews.default.svc.cluster.local > "},
		{"short name", configs(capture(tcpProxy("x")), istio), "reviews.default:9080", "cluster outbound|9080||reviews.default.svc.cluster.local > "},
		{"another port of it", configs(capture(tcpProxy("x")), istio), "reviews.default:9081", "missing virtual-host"},
		{"of several ports", configs(capture(tcpProxy("x")), both), "reviews.default", "unknown cluster needs the destination's address and port"},
		{"no routes in the dump", configs(capture(rds("r")), clusterDump()), "web.example.com:80", "unknown virtual-host"},
		{"no clusters in the dump", configs(capture(tcpProxy("x"))), "web.example.com:80", "unknown virtual-host"},
		{"gRPC", configs(proxyless, rc(vhost("v", "web.example.com:80"))), "xds:///web.example.com", "listener web.example.com:80 > filter (unnamed) > route r > virtual-host v"},
		{"gRPC with an authority", configs(proxyless, rc(vhost("v", "new.example.com:8080"))), "xds://traffic-director-global.xds.googleapis.com/new.example.com:8080", "listener xdstp://traffic-director-global.xds.googleapis.com/envoy.config.listener.v3.Listener/new.example.com:8080 > filter (unnamed) > route r > virtual-host v"},
		{"gRPC, another port", configs(proxyless, rc(vhost("v", "web.example.com:80")), clusterDump()), "xds:///web.example.com:81", "missing virtual-host web.example.com:81"},
	} {
		r := Walk(parse(t, tc.dump), nil, dest(t, tc.dest))
		if got := path(r); !strings.HasPrefix(got, tc.want) {
			t.Errorf("%s:\ngot  %s\nwant %s", tc.name, got, tc.want)
		}
	}
}

func TestParseDestination(t *testing.T) {
	for in, want := range map[string]string{
		"10.0.0.1:80": "10.0.0.1:80", "[fd00::1]:80": "[fd00::1]:80", "::ffff:10.0.0.1": "10.0.0.1", "fd00::1": "fd00::1", "Web.Example.com.": "web.example.com", "web:80": "web:80",
		"xds:///web": "web:80", "xds://authority/web:1": "web:1",
		"": "error", ":80": "error", "web:0": "error", "web:65536": "error", "web:http": "error", "a:b:c": "error", "xds://web": "error",
	} {
		q, err := ParseDestination(in)
		got := "error"
		if err == nil {
			got = q.destination()
		}
		if got != want {
			t.Errorf("%q: got %s (%v), want %s", in, got, err, want)
		}
	}
}
