package xds

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/envoy"
)

// dumpParts are what a test's config dump is made of; each is JSON as /config_dump prints it.
type dumpParts struct {
	chains   string // filter chains of the outbound listener
	routes   []string
	clusters []string
	assigned []string
	inbound  string // filter chains of the inbound listener
	static   bool   // nothing dynamic at all
	warming  time.Duration
}

const (
	toCheckout = `{"filter_chain_match":{"prefix_ranges":[{"address_prefix":"10.0.0.1","prefix_len":32}],"destination_port":80},"filters":[{"name":"envoy.filters.network.http_connection_manager","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager","rds":{"route_config_name":"URL_MAP/482915067713.checkout"}}}]}`
	vhost      = `{"name":"URL_MAP/482915067713.checkout","virtual_hosts":[{"name":"checkout","domains":["%s"],"routes":[{"match":{"prefix":"%s"},"route":{"cluster":"checkout"}}]}]}`
	eds        = `{"name":"checkout","type":"EDS","eds_cluster_config":{"eds_config":{"ads":{}}}}`
	inChain    = `{"filter_chain_match":{"destination_port":%d},"filters":[{"name":"envoy.filters.network.tcp_proxy","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy","cluster":"checkout"}}]}`
)

func assigned(health ...string) string {
	var hosts []string
	for i, h := range health {
		hosts = append(hosts, fmt.Sprintf(`{"endpoint":{"address":{"socket_address":{"address":"10.128.0.%d","port_value":8080}}},"health_status":"%s"}`, i+10, h))
	}
	return `{"cluster_name":"checkout","endpoints":[{"lb_endpoints":[` + strings.Join(hosts, ",") + `]}]}`
}

func (p dumpParts) dump(t *testing.T) evidence.EnvoyDump {
	t.Helper()
	wrap := func(kind, list, inner string, all []string) string {
		var out []string
		for _, x := range all {
			out = append(out, fmt.Sprintf(`{"version_info":"7","%s":%s,"last_updated":"2026-11-03T11:59:59Z"}`, inner, x))
		}
		return fmt.Sprintf(`{"@type":"type.googleapis.com/envoy.admin.v3.%s","%s":[%s]}`, kind, list, strings.Join(out, ","))
	}
	listener := func(name, direction, chains string, port int) string {
		state := "active_state"
		at := noon
		if p.warming != 0 {
			state, at = "warming_state", noon.Add(-p.warming)
		}
		return fmt.Sprintf(`{"name":"%s","%s":{"version_info":"7","listener":{"name":"%s","address":{"socket_address":{"address":"0.0.0.0","port_value":%d}},"traffic_direction":"%s","listener_filters":[{"name":"envoy.filters.listener.original_dst"}],"use_original_dst":true,"filter_chains":[%s]},"last_updated":"%s"}}`,
			name, state, name, port, direction, chains, at.Format(time.RFC3339))
	}
	var listeners []string
	if !p.static {
		listeners = append(listeners, listener("TRAFFICDIRECTOR_INTERCEPTION_LISTENER", "OUTBOUND", p.chains, 15001))
		if p.inbound != "" {
			listeners = append(listeners, listener("inbound", "INBOUND", p.inbound, 15006))
		}
	}
	text := fmt.Sprintf(`{"configs":[
		{"@type":"type.googleapis.com/envoy.admin.v3.BootstrapConfigDump","bootstrap":{"node":{"id":"%s"}}},
		%s,
		{"@type":"type.googleapis.com/envoy.admin.v3.ListenersConfigDump","dynamic_listeners":[%s]},
		%s, %s]}`, nodeA,
		wrap("ClustersConfigDump", "dynamic_active_clusters", "cluster", p.clusters), strings.Join(listeners, ","),
		wrap("RoutesConfigDump", "dynamic_route_configs", "route_config", p.routes),
		wrap("EndpointsConfigDump", "dynamic_endpoint_configs", "endpoint_config", p.assigned))
	d, err := envoy.ParseDump([]byte(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return evidence.EnvoyDump{Dump: d, File: "config_dump.json", Source: evidence.Source{Collector: "envoyadmin", Vantage: evidence.FromWorkload, Time: noon}}
}

// whole is a proxy that takes 10.0.0.1:80 to two healthy endpoints.
func whole() dumpParts {
	return dumpParts{chains: toCheckout, routes: []string{fmt.Sprintf(vhost, "*", "/")}, clusters: []string{eds}, assigned: []string{assigned("HEALTHY", "HEALTHY")},
		inbound: fmt.Sprintf(inChain, 8080)}
}

func asking(destination string, port int) diagnose.Request {
	r := target
	r.Target.NodeID, r.Target.Destination, r.Target.ServingPort = nodeA, destination, port
	r.Target.Zone, r.Target.Instance = "us-central1-a", "checkout-1"
	return r
}

func dumps(list ...evidence.EnvoyDump) func(*evidence.Set) {
	return func(s *evidence.Set) { evidence.Put(s, evidence.EnvoyDumps, list, list[0].Source) }
}

func baseline(d evidence.EnvoyDump) evidence.EnvoyDump { d.Baseline = true; return d }

func hostsOf(t *testing.T, text string) *envoy.Hosts {
	t.Helper()
	h, err := envoy.ParseHosts([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// commonQuiet are cases in which every check of a walk must be quiet.
func commonQuiet(t *testing.T, req diagnose.Request) []checkstest.Case {
	t.Helper()
	return []checkstest.Case{
		{Name: "the way is whole", Request: req, Put: dumps(whole().dump(t))},
		{Name: "no dump was given", Request: req, Outcome: diagnose.OutcomeSkipped},
		{Name: "the dump could not be read", Request: req, Outcome: diagnose.OutcomeInconclusive, Put: func(s *evidence.Set) {
			s.Fail(evidence.EnvoyDumps.Name(), evidence.Source{}, errors.New("connection refused"))
		}},
		{Name: "only one to compare with", Request: req, Outcome: diagnose.OutcomeSkipped, Put: dumps(baseline(whole().dump(t)))},
	}
}

func TestDestinationNotConfigured(t *testing.T) {
	otherHost := whole()
	otherHost.routes = []string{fmt.Sprintf(vhost, "cart.example.com", "/")}
	byName := asking("checkout.example.com:80", 0)
	cases := append(commonQuiet(t, asking("10.0.0.1:80", 0)),
		checkstest.Case{Name: "another address", Request: asking("10.0.0.2:80", 0), Put: dumps(whole().dump(t)),
			Want: []checkstest.Want{{Subject: "10.0.0.2:80", Summary: "no filter chain", Excerpt: "TRAFFICDIRECTOR_INTERCEPTION_LISTENER", Confidence: diagnose.Confirmed}}},
		checkstest.Case{Name: "another port", Request: asking("10.0.0.1:8443", 0), Put: dumps(whole().dump(t)), Want: []checkstest.Want{{Summary: "no filter chain"}}},
		checkstest.Case{Name: "no virtual host", Request: byName, Put: dumps(otherHost.dump(t)), Want: []checkstest.Want{{Summary: "no virtual host", Subject: "checkout.example.com:80"}}},
		checkstest.Case{Name: "a working proxy beside it", Request: asking("10.0.0.2:80", 0), Put: dumps(baseline(whole().dump(t)), whole().dump(t)),
			Want: []checkstest.Want{{Summary: "no filter chain"}}},
		checkstest.Case{Name: "health given too", Request: asking("10.0.0.1:80", 0), Put: func(s *evidence.Set) {
			dumps(whole().dump(t))(s)
			evidence.Put(s, evidence.EnvoyHosts, []evidence.EnvoyHostStates{{Hosts: hostsOf(t, "checkout::10.128.0.10:8080::health_flags::healthy\n")}}, evidence.Source{})
		}},
	)
	checkstest.Run(t, DestinationNotConfigured, cases)
}

func TestRouteNotFound(t *testing.T) {
	gone, otherPath, named := whole(), whole(), whole()
	gone.routes = nil
	otherPath.routes = []string{fmt.Sprintf(vhost, "*", "/api/")}
	named.routes = []string{strings.Replace(fmt.Sprintf(vhost, "*", "/"), "482915067713.checkout", "482915067713.other", 1)}
	req := asking("10.0.0.1:80", 0)
	elsewhere := req
	elsewhere.Target.NodeID = ""
	checkstest.Run(t, RouteNotFound, append(commonQuiet(t, req),
		checkstest.Case{Name: "no route configuration", Request: req, Put: dumps(gone.dump(t)), Want: []checkstest.Want{{Summary: "route configuration URL_MAP/482915067713.checkout", Confidence: diagnose.Confirmed}}},
		checkstest.Case{Name: "one of another name", Request: req, Put: dumps(named.dump(t)), Want: []checkstest.Want{{Summary: "does not have"}}},
		checkstest.Case{Name: "another proxy's", Request: elsewhere, Put: dumps(gone.dump(t)), Want: []checkstest.Want{{Key: "nodes/" + nodeA}}},
		checkstest.Case{Name: "a path decides, and none was given", Request: req, Put: dumps(otherPath.dump(t)), Outcome: diagnose.OutcomeInconclusive, Reason: "path"},
	))
}

func TestClusterNotFound(t *testing.T) {
	gone, other := whole(), whole()
	gone.clusters = nil
	other.clusters = []string{strings.Replace(eds, "checkout", "cart", 1)}
	req := asking("10.0.0.1:80", 0)
	checkstest.Run(t, ClusterNotFound, append(commonQuiet(t, req),
		checkstest.Case{Name: "no cluster", Request: req, Put: dumps(gone.dump(t)), Want: []checkstest.Want{{Summary: "cluster checkout, which the proxy does not have"}}},
		checkstest.Case{Name: "another cluster", Request: req, Put: dumps(other.dump(t)), Want: []checkstest.Want{{Summary: "cluster checkout"}}},
		checkstest.Case{Name: "for traffic that comes in", Request: asking("", 8080), Put: dumps(gone.dump(t)), Want: []checkstest.Want{{Subject: "serving port 8080"}}},
	))
}

func TestNoEndpoints(t *testing.T) {
	none, empty, absent := whole(), whole(), whole()
	none.assigned = []string{`{"cluster_name":"checkout","endpoints":[]}`}
	empty.assigned = []string{assigned()}
	absent.assigned = []string{`{"cluster_name":"cart","endpoints":[]}`}
	req := asking("10.0.0.1:80", 0)
	checkstest.Run(t, NoEndpoints, append(commonQuiet(t, req),
		checkstest.Case{Name: "an empty assignment", Request: req, Put: dumps(none.dump(t)), Want: []checkstest.Want{{Summary: "cluster checkout, which has no endpoint"}}},
		checkstest.Case{Name: "a locality without endpoints", Request: req, Put: dumps(empty.dump(t)), Want: []checkstest.Want{{Summary: "no endpoint"}}},
		checkstest.Case{Name: "no assignment at all", Request: req, Put: dumps(absent.dump(t)), Want: []checkstest.Want{{Summary: "no endpoint"}}},
		checkstest.Case{Name: "unhealthy ones are endpoints", Request: req, Put: dumps(func() evidence.EnvoyDump {
			p := whole()
			p.assigned = []string{assigned("UNHEALTHY")}
			return p.dump(t)
		}())},
	))
}

func TestEndpointsUnhealthy(t *testing.T) {
	all, some := whole(), whole()
	all.assigned, some.assigned = []string{assigned("UNHEALTHY", "DRAINING")}, []string{assigned("UNHEALTHY", "HEALTHY")}
	req := asking("10.0.0.1:80", 0)
	flags := func(f string) func(*evidence.Set) {
		return func(s *evidence.Set) {
			dumps(whole().dump(t))(s)
			evidence.Put(s, evidence.EnvoyHosts, []evidence.EnvoyHostStates{{Hosts: hostsOf(t, fmt.Sprintf("checkout::10.128.0.10:8080::health_flags::%s\ncheckout::10.128.0.11:8080::health_flags::%s\n", f, f))}}, evidence.Source{})
		}
	}
	checkstest.Run(t, EndpointsUnhealthy, append(commonQuiet(t, req),
		checkstest.Case{Name: "all by EDS", Request: req, Put: dumps(all.dump(t)), Want: []checkstest.Want{{Summary: "All 2 endpoints", Excerpt: "10.128.0.10:8080", Params: map[string]string{"endpoint": "10.128.0.10:8080"}}}},
		checkstest.Case{Name: "all by active checks", Request: req, Put: flags("/failed_active_hc"), Want: []checkstest.Want{{Summary: "failed_active_hc"}}},
		checkstest.Case{Name: "all ejected", Request: req, Put: flags("/failed_outlier_check"), Want: []checkstest.Want{{Summary: "failed_outlier_check"}}},
		checkstest.Case{Name: "one healthy", Request: req, Put: dumps(some.dump(t))},
		checkstest.Case{Name: "healthy by /clusters", Request: req, Put: flags("healthy")},
	))
}

func TestInboundPortNotConfigured(t *testing.T) {
	anyPort, none := whole(), whole()
	anyPort.inbound = strings.Replace(fmt.Sprintf(inChain, 1), `{"destination_port":1}`, `{}`, 1)
	none.inbound = ""
	checkstest.Run(t, InboundPortNotConfigured, append(commonQuiet(t, asking("", 8080)),
		checkstest.Case{Name: "another port", Request: asking("", 9090), Put: dumps(whole().dump(t)), Want: []checkstest.Want{{Subject: "serving port 9090", Params: map[string]string{"port": "9090"}}}},
		checkstest.Case{Name: "no inbound listener", Request: asking("", 8080), Put: dumps(none.dump(t)), Want: []checkstest.Want{{Summary: "no inbound listener for port 8080"}}},
		checkstest.Case{Name: "beside a destination that is whole", Request: asking("10.0.0.1:80", 9090), Put: dumps(whole().dump(t)), Want: []checkstest.Want{{Summary: "port 9090"}}},
		checkstest.Case{Name: "a chain that takes any port", Request: asking("", 9090), Put: dumps(anyPort.dump(t))},
	))
}

func TestNoDynamicConfig(t *testing.T) {
	bare := dumpParts{static: true}
	boot := func(file string, servers ...string) func(*evidence.Set) {
		return func(s *evidence.Set) {
			dumps(bare.dump(t))(s)
			evidence.Put(s, evidence.Bootstraps, []evidence.Bootstrap{{Kind: evidence.EnvoyBootstrap, File: file, Servers: servers}}, evidence.Source{})
		}
	}
	warming := whole()
	warming.clusters, warming.warming = nil, time.Second
	quiet := commonQuiet(t, target)
	quiet[3].Outcome = diagnose.OutcomePassed // a working proxy's dump is a dump
	checkstest.Run(t, NoDynamicConfig, append(quiet,
		checkstest.Case{Name: "nothing dynamic", Request: target, Put: dumps(bare.dump(t)), Want: []checkstest.Want{{Subject: nodeA, Key: "nodes/" + nodeA}}},
		checkstest.Case{Name: "the proxy asked about", Request: oneNode, Put: dumps(bare.dump(t)), Want: []checkstest.Want{{Subject: nodeA}}},
		checkstest.Case{Name: "though its bootstrap names a control plane", Request: files, Put: boot("config_dump.json", "trafficdirector.googleapis.com:443"), Want: []checkstest.Want{{Subject: nodeA}}},
		checkstest.Case{Name: "its bootstrap names none", Request: files, Put: boot("config_dump.json")},
		checkstest.Case{Name: "a listener is warming", Request: target, Put: dumps(warming.dump(t))},
	))
}

func TestListenerWarming(t *testing.T) {
	long, short := whole(), whole()
	long.warming, short.warming = 10*time.Minute, 20*time.Second
	long.inbound, short.inbound = "", ""
	pasted := long.dump(t)
	pasted.Source.Pasted, pasted.Source.Time = true, noon.Add(24*time.Hour)
	stale := dumpParts{chains: toCheckout, warming: 10 * time.Minute}.dump(t) // nothing in it is newer
	stale.Source.Pasted = true
	quiet := commonQuiet(t, target)
	quiet[3].Outcome = diagnose.OutcomePassed
	checkstest.Run(t, ListenerWarming, append(quiet,
		checkstest.Case{Name: "ten minutes", Request: target, Put: dumps(long.dump(t)), Want: []checkstest.Want{{Summary: "warming for 10m0s"}}},
		checkstest.Case{Name: "a file, by what else is in it", Request: files, Put: dumps(pasted), Want: []checkstest.Want{{Summary: "warming for 9m59s"}}},
		checkstest.Case{Name: "with what it waits for", Request: target, Put: func(s *evidence.Set) {
			dumps(long.dump(t))(s)
			evidence.Put(s, evidence.EnvoyPending, []evidence.EnvoyInit{{Unready: []envoy.Unready{{Manager: "init manager Listener-local-init-manager TRAFFICDIRECTOR_INTERCEPTION_LISTENER 1", Targets: []string{"target RdsRouteConfigSubscription RDS init URL_MAP/x"}}}}}, evidence.Source{})
		}, Want: []checkstest.Want{{Summary: "waiting for target RdsRouteConf"}}},
		checkstest.Case{Name: "twenty seconds", Request: target, Put: dumps(short.dump(t))},
		checkstest.Case{Name: "a file of which nobody knows when it was taken", Request: files, Put: dumps(stale)},
	))
}
