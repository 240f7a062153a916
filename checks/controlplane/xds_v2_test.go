package controlplane

import (
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestXDSv2(t *testing.T) {
	const place = "dynamic_resources.ads_config.transport_api_version"
	boot := func(file string, change func(*evidence.Bootstrap)) evidence.Bootstrap {
		b := evidence.Bootstrap{
			Kind: evidence.EnvoyBootstrap, File: file, Transport: evidence.TransportV2, V2Places: []string{place},
			Servers: []string{"trafficdirector.googleapis.com:443"}, Source: pasted,
		}
		if change != nil {
			change(&b)
		}
		return b
	}
	boots := func(b ...evidence.Bootstrap) func(*evidence.Set) { return putFrom(evidence.Bootstraps, b, pasted) }
	v3 := boot("v3.yaml", func(b *evidence.Bootstrap) { b.Transport, b.V2Places = evidence.TransportV3, nil })
	transport := msg(V2Transport.ID, 3, "V2 (and AUTO) xDS transport protocol versions are deprecated in ads_config", nil)
	types := msg(V2Types.ID, 9, "gRPC config for type.googleapis.com/envoy.api.v2.Listener rejected: Error adding/updating listener(s) TRAFFICDIRECTOR_INTERCEPTION_PORT: x", map[string]string{"type": "Listener"})
	istio := msg(V2Types.ID, 9, "gRPC config for type.googleapis.com/envoy.api.v2.Listener rejected: Error adding/updating listener(s) 0.0.0.0_80: x", map[string]string{"type": "Listener"})
	unfilled := []string{"project"}
	checkstest.Run(t, XDSv2, []checkstest.Case{
		{Name: "a v2 bootstrap", Request: files, Put: boots(boot("bootstrap.yaml", nil)), Unfilled: unfilled,
			Want: []checkstest.Want{{Subject: "bootstrap.yaml", Summary: "names xDS v2 in " + place, Confidence: diagnose.Confirmed, Params: map[string]string{"file": "bootstrap.yaml"}, Excerpt: place}}},
		{Name: "v2 as the transport alone", Request: network, Put: boots(boot("b.yaml", func(b *evidence.Bootstrap) { b.V2Places = nil })), Want: []checkstest.Want{{Summary: "transport_api_version"}}},
		{Name: "one of two", Request: files, Put: boots(boot("old.yaml", nil), v3), Want: []checkstest.Want{{Key: "files/old.yaml"}}},
		{Name: "a custom endpoint, Google's metadata", Request: files, Put: boots(boot("b.yaml", func(b *evidence.Bootstrap) {
			b.Servers, b.Metadata = []string{"127.0.0.1:4430"}, map[string]string{evidence.MetadataNetwork: vpc}
		})), Want: []checkstest.Want{{}}},
		{Name: "Envoy says so", Request: files, Put: logs(transport), Want: []checkstest.Want{{Subject: "proxy.log", Confidence: diagnose.Likely, Excerpt: "line 3"}}},
		{Name: "a v2 type, in a log of Google's mesh", Request: files, Put: logs(types), Want: []checkstest.Want{{Summary: "names xDS v2 (Listener)", Confidence: diagnose.Possible}}},
		{Name: "a v2 type, with a target", Request: node, Put: logs(istio), Want: []checkstest.Want{{Subject: nodeID, Confidence: diagnose.Possible}}},

		{Name: "v3", Request: files, Put: boots(v3)},
		{Name: "the version is not said", Request: files, Put: boots(boot("b.yaml", func(b *evidence.Bootstrap) { b.Transport, b.V2Places = "", nil }))},
		{Name: "another control plane's bootstrap", Request: files, Put: boots(boot("istio.yaml", func(b *evidence.Bootstrap) {
			b.Servers, b.NodeID = []string{"istiod.istio-system.svc:15012"}, "sidecar~10.4.0.7~web.shop~shop.svc.cluster.local"
		}))},
		{Name: "proxyless", Request: files, Put: boots(boot("td.json", func(b *evidence.Bootstrap) { b.Kind = evidence.GRPCBootstrap }))},
		{Name: "another control plane's log", Request: files, Put: logs(istio)},
		{Name: "a log of v3", Request: files, Put: logs(msg(messages.StreamWorked.ID, 3, "lds: add/update listener 'TRAFFICDIRECTOR_INTERCEPTION_LISTENER'", nil))},
		{Name: "failed", Request: files, Put: deny(evidence.Bootstraps.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Request: files, Put: late(evidence.LogMessages.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Request: network, Outcome: diagnose.OutcomeSkipped},
	})
}
