package envoy

import (
	"net/netip"
	"strings"
	"testing"
)

func FuzzParseDump(f *testing.F) {
	f.Add([]byte(everything()))
	f.Add([]byte(configs(active(listenerJSON("l", "0.0.0.0", 80, chains(tcp("a", `"destination_port": 80`)))))))
	f.Add([]byte(`[{"name": "l", "filterChains": [{}]}]`))
	whole := parse(f, everything())
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := ParseDump(b)
		if d == nil || err != nil && err.Error() == "" {
			t.Fatal("no dump, or an error that says nothing")
		}
		for _, q := range []Query{{IP: netip.MustParseAddr("10.0.0.1"), Port: 80}, {Name: "a", Port: 80}, {Direction: Inbound, Port: 80}} {
			checkResult(t, Walk(d, nil, q))
		}
		for _, pair := range [][2]*Dump{{whole, d}, {d, whole}, {d, d}} {
			if ds, _ := Diff(pair[0], pair[1]); len(ds) > maxDifferences {
				t.Fatal("an unbounded diff")
			}
		}
		Recognise(b)
	})
}

func checkResult(t *testing.T, r Result) {
	t.Helper()
	if r.Missing != nil && r.Unknown != nil {
		t.Fatalf("missing %+v and unknown %+v", r.Missing, r.Unknown)
	}
	if r.Missing != nil && (r.Missing.Kind == "" || r.Missing.Why == "") {
		t.Fatalf("missing without a why: %+v", r.Missing)
	}
	if r.Unknown != nil && r.Unknown.Why == "" {
		t.Fatalf("unknown without a why: %+v", r.Unknown)
	}
	if r.Missing == nil && r.Unknown == nil && len(r.Path) == 0 {
		t.Fatal("nothing at all")
	}
}

func FuzzWalk(f *testing.F) {
	dump := parse(f, everything())
	vh := httpDump(`"strip_matching_host_port": true, `, `{"name": "r", "virtual_hosts": [`+vhost("any", "*")+","+vhost("s", "*.foo.com")+","+vhost("p", "foo.*")+`]}`)
	other := parse(f, vh)
	hosts, err := ParseHosts([]byte(clustersText))
	if err != nil {
		f.Fatal(err)
	}
	f.Add("10.0.0.1:80", "foo.com", "/a?q=1", "a.b", "tls", "h2", "10.0.0.2:1", false)
	f.Add("10.0.0.1:8080", "x.foo.com:8080", "/", "", "raw_buffer", "", "", true)
	f.Add("xds:///api", "", "", "", "", "", "", false)
	f.Fuzz(func(t *testing.T, dest, authority, path, sni, transport, alpn, source string, inbound bool) {
		q, err := ParseDestination(dest)
		if err != nil {
			return
		}
		q.Authority, q.Path, q.SNI, q.Transport = authority, path, sni, transport
		if alpn != "" {
			q.ALPN = strings.Split(alpn, ",")
		}
		q.Source, _ = netip.ParseAddrPort(source)
		if inbound {
			q.Direction = Inbound
		}
		for _, d := range []*Dump{dump, other} {
			checkResult(t, Walk(d, hosts, q))
		}
	})
}

func FuzzAdmin(f *testing.F) {
	for in := range samples {
		f.Add([]byte(in))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		Recognise(b)
		ParseServerInfo(b)
		if h, _ := ParseHosts(b); h == nil {
			t.Fatal("no hosts")
		}
		ParseListening(b)
		ParseStats(b)
		ParseCerts(b)
		ParseInitDump(b)
	})
}
