package controlplane

import (
	"fmt"
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/envoy"
)

func TestEnvoyTooOld(t *testing.T) {
	client := func(id, name, v string) evidence.Client {
		return evidence.Client{NodeID: nodes + id, UserAgentName: name, UserAgentVersion: v, Metadata: map[string]string{"ISTIO_VERSION": "1.6.3"}}
	}
	clients := func(c ...evidence.Client) func(*evidence.Set) {
		return put(evidence.Clients, evidence.ClientList{ProjectNumber: number, Clients: c})
	}
	status := func(c evidence.Client) func(*evidence.Set) {
		return putFrom(evidence.ClientStatuses, []evidence.ClientStatus{{Client: c, Source: pasted}}, pasted)
	}
	boot := func(k evidence.BootstrapKind, file, agent string) evidence.Bootstrap {
		return evidence.Bootstrap{Kind: k, File: file, UserAgent: agent, Source: pasted}
	}
	boots := func(b ...evidence.Bootstrap) func(*evidence.Set) { return putFrom(evidence.Bootstraps, b, pasted) }
	says := func(line int, v string) evidence.LogMessage {
		return msg(EnvoyVersion.ID, line, "envoy  version: dc78069b10cc94fa07bb974b7101dd1b42e2e7bf/"+v+"/Clean/RELEASE/BoringSSL", map[string]string{"version": v})
	}
	attribute := func(version string) func(*evidence.Set) {
		return func(s *evidence.Set) {
			evidence.Put(s, evidence.GuestAttributes, evidence.GuestAttributeSet{Instance: "checkout-1", Zone: "us-central1-a", Values: map[string]string{evidence.GuestProxyVersion: version}}, evidence.Source{})
		}
	}
	info := func(version string) func(*evidence.Set) {
		return putFrom(evidence.EnvoyInfos, []evidence.EnvoyInfo{{Info: envoy.ServerInfo{Version: version, State: "LIVE", Node: envoy.Node{ID: nodeID}}, File: "server_info.json"}}, pasted)
	}
	target := client("8f1c0a52-71de-4a4d-9d0b-6a1f3c2b9e77~10.128.0.5", "envoy", "1.15.1-dev")
	var fleet []evidence.Client
	for i := range 8 {
		fleet = append(fleet, client(fmt.Sprintf("n%d~10.128.0.%d", i, i), "envoy", fmt.Sprintf("1.2%d.0", i)))
	}
	checkstest.Run(t, EnvoyTooOld, []checkstest.Case{
		{Name: "one client of several", Request: network, Put: clients(client("a~10.128.0.1", "envoy", "1.24.8"), client("b~10.128.0.2", "envoy", "1.30.1")),
			Want: []checkstest.Want{{Subject: nodes + "a~10.128.0.1", Key: "nodes/" + nodes + "a~10.128.0.1", Summary: "The Envoy of node a~10.128.0.1 is 1.24.8; Cloud Service Mesh supports 1.24.9 and later.",
				Confidence: diagnose.Confirmed, Excerpt: "user agent envoy 1.24.8"}}},
		{Name: "the node asked about", Request: node, Put: clients(target, client("b~10.128.0.2", "envoy", "1.9.0")), Want: []checkstest.Want{{Subject: nodeID, Summary: "1.15.1-dev"}}},
		{Name: "listed, and its status too", Request: node, Put: all(clients(target), status(target)), Want: []checkstest.Want{{}}},
		{Name: "a status from a file", Request: files, Put: status(client("a", "envoy", "1.20.0")), Want: []checkstest.Want{{Summary: "1.20.0"}}},
		{Name: "many", Request: network, Put: clients(append(fleet, client("x", "envoy", "1.19.0"), client("y", "envoy", "1.18.0"))...),
			Want: []checkstest.Want{{Subject: "7 of 10 Envoy proxies", Summary: "1.18.0, 1.19.0, 1.20.0, 1.21.0 and 3 more"}}},
		{Name: "a guest attribute or log", Request: files, Put: logs(says(3, "1.15.1-dev")), Want: []checkstest.Want{{Subject: "proxy.log", Summary: "is 1.15.1-dev", Excerpt: "envoy  version"}}},
		{Name: "a bootstrap", Request: files, Put: boots(boot(evidence.EnvoyBootstrap, "bootstrap.yaml", "1.19.1")), Want: []checkstest.Want{{Subject: "bootstrap.yaml"}}},
		{Name: "one bootstrap of two", Request: files, Put: boots(boot(evidence.EnvoyBootstrap, "a.yaml", "1.19.1"), boot(evidence.EnvoyBootstrap, "b.yaml", "")),
			Want: []checkstest.Want{{Key: "files/a.yaml"}}},
		{Name: "a guest attribute", Request: vm, Put: attribute("dc78069b/1.15.1-dev/Clean/RELEASE/BoringSSL"), Want: []checkstest.Want{{Subject: "VM checkout-1", Summary: "1.15.1-dev", Excerpt: "proxy-version"}}},
		{Name: "a pasted guest attribute", Request: files, Put: func(s *evidence.Set) {
			evidence.Put(s, evidence.GuestAttributes, evidence.GuestAttributeSet{Values: map[string]string{evidence.GuestProxyVersion: "dc78069b/1.20.1-dev/Clean/RELEASE/BoringSSL"}}, pasted)
		}, Want: []checkstest.Want{{Subject: "the VM", Summary: "The Envoy of the VM is 1.20.1-dev"}}},
		{Name: "/server_info", Request: files, Put: info("dc78069b/1.20.0/Clean/RELEASE/BoringSSL"), Want: []checkstest.Want{{Subject: nodeID, Summary: "1.20.0"}}},
		{Name: "a guest attribute of a later one", Request: vm, Put: attribute("dc78069b/1.30.0/Clean/RELEASE/BoringSSL")},
		{Name: "/server_info of a later one", Request: files, Put: info("dc78069b/1.30.0/Clean/RELEASE/BoringSSL")},
		{Name: "clients denied, a log tells", Request: vm, Put: all(deny(evidence.Clients.Name()), logs(says(3, "1.9.1"))), Want: []checkstest.Want{{}}},

		{Name: "a configuration dump that was read as a log", Request: files, Put: logs(msg(DumpInLog.ID, 4, `"@type": "type.googleapis.com/envoy.admin.v3.BootstrapConfigDump",`, nil), says(8, "1.18.3"))},
		{Name: "new enough", Request: network, Put: clients(client("a", "envoy", "1.24.9"), client("b", "envoy", "1.30.1"))},
		{Name: "a development build of a later one", Request: network, Put: clients(client("a", "envoy", "1.25.0-dev"))},
		{Name: "a later major version", Request: network, Put: clients(client("a", "envoy", "2.0.0"))},
		{Name: "proxyless", Request: network, Put: clients(client("a", "gRPC Go", "1.15.0"), client("b", "gRPC Java", "1.38.0-SNAPSHOT"))},
		{Name: "no version told", Request: network, Put: clients(client("a", "envoy", ""), client("b", "envoy", "0.0.0"))},
		{Name: "another node is old", Request: node, Put: clients(client("b~10.128.0.2", "envoy", "1.9.0"))},
		{Name: "upgraded since", Request: files, Put: logs(says(3, "1.15.1"), says(90, "1.30.1"))},
		{Name: "a gRPC bootstrap", Request: files, Put: boots(boot(evidence.GRPCBootstrap, "td.json", "1.15.0"))},
		{Name: "denied", Request: network, Put: deny(evidence.Clients.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Request: network, Put: late(evidence.ClientStatuses.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Request: files, Outcome: diagnose.OutcomeSkipped},
	})
}

func TestParseVersion(t *testing.T) {
	for s, want := range map[string]version{
		"1.24.9": {1, 24, 9}, "1.15.1-dev": {1, 15, 1}, "v1.30.1": {1, 30, 1}, "1.30.1+build": {1, 30, 1}, "sha/1.15.1-dev/Clean/RELEASE/BoringSSL": {1, 15, 1},
		"": {}, "1.24": {}, "latest": {}, "1.x.3": {}, "1.-2.3": {}, "0.0.0": {},
	} {
		got, ok := parseVersion(s)
		if got != want && ok || ok != (want != version{}) {
			t.Errorf("%q gives %v, %v; want %v", s, got, ok, want)
		}
	}
}
