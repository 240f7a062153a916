package envoy

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// corpus reads a dump that nobody on this project wrote.
func corpus(tb testing.TB, name string) []byte {
	tb.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "..", "shared", "corpus", "envoy", name))
	if os.IsNotExist(err) {
		tb.Skip("no corpus beside the repository")
	}
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func path(r Result) string {
	var s []string
	for _, h := range r.Path {
		s = append(s, string(h.Kind)+" "+h.Name)
	}
	switch {
	case r.Missing != nil:
		s = append(s, "missing "+string(r.Missing.Kind)+" "+r.Missing.Name)
	case r.Unknown != nil:
		s = append(s, "unknown "+string(r.Unknown.At)+" needs "+strings.Join(r.Unknown.Needs, ", "))
	}
	return strings.Join(s, " > ")
}

func dest(t *testing.T, s string) Query {
	t.Helper()
	q, err := ParseDestination(s)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func TestCorpusOSM(t *testing.T) {
	b := corpus(t, "osm-sidecar-config_dump.json")
	if k := Recognise(b); k != ConfigDump {
		t.Fatalf("recognised as %q", k)
	}
	d, err := ParseDump(b)
	if err != nil || len(d.Problems) > 0 {
		t.Fatal(err, d.Problems)
	}
	if d.NodeID != "38cf2479-bfea-4c1e-a961-f8f8e2b2e8cb.sidecar.bookbuyer.bookbuyer.cluster.local" || d.Version != "1.18.3" {
		t.Errorf("node %q, version %q", d.NodeID, d.Version)
	}
	if len(d.Listeners) != 1 || len(d.Clusters) != 2 || len(d.RouteConfigs) != 1 || len(d.Secrets) != 2 {
		t.Errorf("%d listeners, %d clusters, %d routes, %d secrets", len(d.Listeners), len(d.Clusters), len(d.RouteConfigs), len(d.Secrets))
	}
	if d.Clusters[1].BackendService != "" {
		t.Error("a Traffic Director backend service in an OSM dump")
	}
	host := dest(t, "10.0.77.207:14001")
	host.Authority = "bookstore.bookstore:14001"
	lower := host
	lower.Authority = "other.bookstore"
	port := dest(t, "10.0.77.207:14002")
	for _, tc := range []struct {
		q    Query
		want string
	}{
		{host, "listener outbound-listener > filter-chain outbound-mesh-http-filter-chain:bookstore/bookstore > filter envoy.filters.network.http_connection_manager > route rds-outbound > virtual-host outbound_virtual-host|bookstore.bookstore > route-entry regex .* and 1 headers or parameters > cluster bookstore/bookstore > unknown endpoints needs "},
		{lower, "listener outbound-listener > filter-chain outbound-mesh-http-filter-chain:bookstore/bookstore > filter envoy.filters.network.http_connection_manager > route rds-outbound > missing virtual-host other.bookstore"},
		{port, "listener outbound-listener > missing filter-chain 10.0.77.207:14002"},
		{dest(t, "10.0.77.207:14001"), "listener outbound-listener > filter-chain outbound-mesh-http-filter-chain:bookstore/bookstore > filter envoy.filters.network.http_connection_manager > route rds-outbound > unknown virtual-host needs the Host or :authority header"},
		{dest(t, "bookstore.bookstore:14001"), "listener outbound-listener > filter-chain outbound-mesh-http-filter-chain:bookstore/bookstore > filter envoy.filters.network.http_connection_manager > route rds-outbound > virtual-host outbound_virtual-host|bookstore.bookstore > route-entry regex .* and 1 headers or parameters > cluster bookstore/bookstore > unknown endpoints needs "},
		{Query{Direction: Inbound, Port: 14001}, "missing listener port 14001"},
	} {
		if got := path(Walk(d, nil, tc.q)); got != tc.want {
			t.Errorf("%s %s:\ngot  %s\nwant %s", tc.q.destination(), tc.q.Authority, got, tc.want)
		}
	}
}

func TestCorpusIstio(t *testing.T) {
	b := corpus(t, "istio-sidecar-config_dump.json")
	d, err := ParseDump(b)
	if err != nil || len(d.Problems) > 0 {
		t.Fatal(err, d.Problems)
	}
	if d.Metadata["ISTIO_VERSION"] != "1.21.0-1226" {
		t.Errorf("metadata %v", d.Metadata)
	}
	if out, _ := json.Marshal(d); strings.Contains(string(out), "LS0tLS1CRUdJTi") {
		t.Error("key material was kept")
	}
	in := func(s string) Query { q := dest(t, s); q.Direction = Inbound; return q }
	h2 := in("192.168.195.248:9000")
	h2.ALPN = []string{"h2c"}
	tcp := h2
	tcp.ALPN = []string{}
	for _, tc := range []struct {
		q    Query
		want string
	}{
		{in("10.104.171.68:8000"), "listener main_internal > filter-chain inbound-vip|8000||httpbin.default.svc.cluster.local-http > filter envoy.filters.network.http_connection_manager > route inbound-vip|8000|http|httpbin.default.svc.cluster.local > virtual-host inbound|http|8000 > route-entry default > cluster inbound-vip|8000|http|httpbin.default.svc.cluster.local > missing endpoints inbound-vip|8000|http|httpbin.default.svc.cluster.local"},
		{in("10.104.171.68:8100"), "listener main_internal > filter-chain inbound-vip|8100||httpbin.default.svc.cluster.local-http > filter envoy.filters.network.http_connection_manager > route inbound-vip|8100|http|httpbin.default.svc.cluster.local > virtual-host inbound|http|8100 > route-entry default > missing cluster inbound-vip|8100|http|httpbin.default.svc.cluster.local"},
		{in("10.104.171.68:8200"), "listener main_internal > missing filter-chain 10.104.171.68:8200"},
		{in("10.104.171.69:8000"), "listener main_internal > missing filter-chain 10.104.171.69:8000"},
		{Query{Direction: Inbound, Port: 15021, Path: "/healthz/ready"}, "listener  > filter-chain (unnamed) > filter envoy.filters.network.http_connection_manager > route (unnamed) > virtual-host backend > route-entry prefix /healthz/ready > cluster agent > endpoints agent"},
		{Query{Direction: Inbound, Port: 15021, Path: "/other"}, "listener  > filter-chain (unnamed) > filter envoy.filters.network.http_connection_manager > route (unnamed) > virtual-host backend > missing route-entry 192.168.252.229:15021/other"},
	} {
		if got := path(Walk(d, nil, tc.q)); got != tc.want {
			t.Errorf("%s:\ngot  %s\nwant %s", tc.q.destination(), got, tc.want)
		}
	}
	for _, q := range []Query{h2, tcp} {
		t.Log(path(Walk(d, nil, q)))
	}
	if r := Walk(d, nil, Query{Direction: Inbound, Port: 15021, Path: "/healthz/ready"}); r.Path[0].Place != "configs[3].static_listeners[0]" || r.Hosts[0].Address != "127.0.0.1:15020" {
		t.Errorf("%+v", r)
	}
	_ = netip.Addr{}
}

func TestCorpusCutOff(t *testing.T) {
	for _, name := range []string{"istio-sidecar-config_dump.json", "osm-sidecar-config_dump.json"} {
		b := corpus(t, name)
		whole, err := ParseDump(b)
		if err != nil {
			t.Fatal(err)
		}
		for tenth := range 10 {
			cut := b[:len(b)*tenth/10]
			d, err := ParseDump(cut)
			if err == nil {
				t.Fatalf("%s cut at %d/10 gave no error", name, tenth)
			}
			if tenth == 0 {
				continue
			}
			if !strings.Contains(err.Error(), "cut off at byte ") || tenth > 0 && !strings.Contains(err.Error(), "in configs[") {
				t.Errorf("cut at %d/10: %v", tenth, err)
			}
			if Recognise(cut) != ConfigDump {
				t.Errorf("cut at %d/10: not recognised", tenth)
			}
			if len(d.Listeners) > len(whole.Listeners) || len(d.Clusters) > len(whole.Clusters) || d.Knows(SecretSection) {
				t.Errorf("cut at %d/10: more than the whole", tenth)
			}
			for i := range d.Clusters {
				if d.Clusters[i].Name != whole.Clusters[i].Name {
					t.Errorf("cut at %d/10: cluster %d is %q", tenth, i, d.Clusters[i].Name)
				}
			}
			if r := Walk(d, nil, Query{Port: 80, IP: netip.MustParseAddr("10.0.77.207")}); !d.Knows(ListenerSection) && r.Missing != nil && r.Missing.Kind == ListenerHop {
				t.Errorf("cut at %d/10: a listener is missing from a dump that doesn't know its listeners", tenth)
			}
		}
	}
}
