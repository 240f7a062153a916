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
