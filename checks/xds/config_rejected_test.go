package xds

import (
	"testing"
	"time"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestConfigRejected(t *testing.T) {
	noRoute := `xds: error parsing "ListenerResource" response: resource "shop:8080": no RouteSpecifier: api_listener:{}`
	pastedGood := status(nodeA, server(ldsURL, interception, evidence.Synced))
	pastedGood.Source = paste
	later := status(nodeA, server(ldsURL, interception, evidence.Synced))
	later.Asked = noon.Add(time.Minute)
	var many []evidence.Resource
	for _, n := range []string{"a", "b", "c", "d", "e"} {
		many = append(many, server(ldsURL, "10.0.0.1_"+n, evidence.Error))
	}
	checkstest.Run(t, ConfigRejected, []checkstest.Case{
		{
			Name: "the control plane's view, without a reason: one cause for the whole response", Request: target,
			Put: seenStatus(status(nodeA, append(many, server(cdsURL, "shop", evidence.Synced))...), status(nodeB, server(ldsURL, "10.0.0.1_a", evidence.Synced))),
			Want: []checkstest.Want{{
				Subject: nodeA, Key: "nodes/" + nodeA + "/Listener/reason-not-told", Confidence: diagnose.Confirmed, Severity: diagnose.Blocking,
				Summary: "5 Listener resources (10.0.0.1_a, 10.0.0.1_b, 10.0.0.1_c and 2 more): the control plane does not tell why", Excerpt: "ERROR as the control plane sees it",
			}},
		},
		{
			Name: "the client's own view, with a reason and an earlier version that works", Request: target,
			Put: seenStatus(status(nodeA, because(version(client(ldsURL, "shop:8080", evidence.Nacked), "3"), noRoute))),
			Want: []checkstest.Want{{
				Summary: "The client rejected Listener shop:8080: no RouteSpecifier: api_listener:{}.", Severity: diagnose.Degrading,
				Params: map[string]string{"resource": "shop:8080", "node_id": nodeA}, Excerpt: "NACKED as the client sees it",
			}},
		},
		{
			Name: "an xdstp name is told by its last segment", Request: target,
			Put:  seenStatus(status(nodeA, server(ldsURL, "xdstp://traffic-director-global.xds.googleapis.com/envoy.config.listener.v3.Listener/482915067713/mesh-vpc/checkout:50051", evidence.Error))),
			Want: []checkstest.Want{{Summary: "The client rejected Listener checkout:50051: the control plane does not tell why.", Excerpt: "xdstp://", Params: map[string]string{"ask_envoy": "yes", "ask_grpc": ""}}},
		},
		{
			Name: "a gRPC client is not asked Envoy's way", Request: target,
			Put:  seenStatus(agent("gRPC Go", status(nodeA, server(ldsURL, "checkout:50051", evidence.Error)))),
			Want: []checkstest.Want{{Params: map[string]string{"ask_envoy": "", "ask_grpc": "yes"}}},
		},
		{
			Name: "an Envoy and a gRPC client are asked either way", Request: target,
			Put: seenStatus(status(nodeA, server(ldsURL, "checkout:50051", evidence.Error)),
				agent("gRPC Java", status(nodeB, server(ldsURL, "checkout:50051", evidence.Error)))),
			Want: []checkstest.Want{{Params: map[string]string{"ask_envoy": "yes", "ask_grpc": "yes"}}},
		},
		{
			Name: "a first NACK before any resource was known", Request: target,
			Put:  seenStatus(status(nodeA, because(client(ldsURL, "", evidence.Nacked), "error parsing \"ListenerResource\" response: top level errors: invalid wire type"))),
			Want: []checkstest.Want{{Summary: "The client rejected Listener configuration: invalid wire type.", Severity: diagnose.Blocking}},
		},
		{
			Name: "two resources, two reasons, and others rejected along with them", Request: target,
			Put: seenStatus(status(nodeA,
				because(server(ldsURL, "a", evidence.Error), "Error adding/updating listener(s) a: "+denied+"\nb: route: unknown weighted cluster\n"),
				server(ldsURL, "b", evidence.Error), server(ldsURL, "c", evidence.Error))),
			Want: []checkstest.Want{
				{Summary: "The client rejected Listener b: route: unknown weighted cluster."},
				{Summary: "The client rejected Listener a: " + denied},
			},
		},
		{
			Name: "the same at three of four clients is one cause", Request: target,
			Put: seenStatus(
				status(nodeA, because(client(cdsURL, "shop", evidence.Nacked), "cluster shop at 10.128.0.7: unexpected lbPolicy MAGLEV")),
				status(nodeB, because(client(cdsURL, "shop", evidence.Nacked), "cluster shop at 10.128.0.8: unexpected lbPolicy MAGLEV")),
				status(nodeC, because(client(cdsURL, "cart", evidence.ReceivedError), "cluster cart at 10.128.0.9: unexpected lbPolicy MAGLEV")),
				status("projects/482915067713/networks/mesh-vpc/nodes/d", client(cdsURL, "shop", evidence.Acked))),
			Want: []checkstest.Want{{Subject: "3 of 4 clients: ", Key: "clients/Cluster/cluster%20%E2%80%A6%20at%20ADDRESS:%20unexpected%20lbPolicy%20MAGLEV", Summary: "3 of 4 clients rejected 2 Cluster resources (cart and shop)"}},
		},
		{
			Name: "a dump of the proxy's configuration, with an error_state alone", Request: files, Put: seenStatus(status("",
				because(evidence.Resource{TypeURL: ldsURL, Name: interception}, denied))),
			Want: []checkstest.Want{{Summary: interception + ": unable to open file"}},
		},
		{
			Name: "the log names the reason, the control plane does not", Request: target,
			Put: put([]evidence.ClientStatus{status(nodeA, server(ldsURL, interception, evidence.Error), server(ldsURL, "other", evidence.Error))}, scan("envoy.log", guideLog)),
			Want: []checkstest.Want{{
				Key: "nodes/" + nodeA + "/Listener/file%20%2Fvar%2Flog%2Fenvoy.log", Confidence: diagnose.Confirmed,
				Summary: "Listener " + interception + ": unable to open file", Excerpt: denied,
			}},
		},
		{
			Name: "a log alone, type URL of v2, on three lines", Request: files, Put: logged(guideLog),
			Want: []checkstest.Want{{Subject: "the client that wrote envoy.log", Key: "files/envoy.log/Listener/file%20%2Fvar%2Flog%2Fenvoy.log", Confidence: diagnose.Likely}},
		},
		{
			Name: "routes, rejected by a log", Request: files, Put: logged("x\n" + rdsNack + "\n" + rdsNack),
			Want: []checkstest.Want{{Summary: "RouteConfiguration configuration: Only unique values for domains are permitted.", Excerpt: "Duplicate entry of domain shop.example.com"}},
		},
		{
			Name: "in JSON", Request: files,
			Put:  logged(`{"severity":"WARNING","message":"gRPC config for ` + cdsURL + ` rejected: Error adding/updating cluster(s) shop: Proto constraint validation failed (\"value\" must not be empty)","time":"x"}`),
			Want: []checkstest.Want{{Summary: `Cluster shop: Proto constraint validation failed ("value" must not be empty).`}},
		},
		{
			Name: "grpc-go, old and new", Request: files,
			Put: logged(`WARNING: [xds] Sending NACK for resource type: "` + ldsURL + `", version: "3", nonce: "5", reason: ` + noRoute +
				"\nWARNING: [xds] Sending NACK for response type: ClusterResource, version: 2, nonce: 7, reason: unexpected lbPolicy MAGLEV in response"),
			Want: []checkstest.Want{{Summary: "Cluster configuration: unexpected lbPolicy MAGLEV"}, {Summary: "Listener shop:8080: no RouteSpecifier"}},
		},
		{
			Name: "grpc-java, reasons on lines of their own", Request: files,
			Put: logged("Failed processing CDS Response version 16 nonce 4. Errors:\nCDS response Cluster 'shop' validation error: unspecified cluster discovery type"),
			Want: []checkstest.Want{{
				Summary: "Cluster shop: unspecified cluster discovery type",
			}},
		},
		{
			Name: "istiod names the proxy", Request: files,
			Put:  logged("warn\tads\tADS:LDS: ACK ERROR sidecar~10.8.1.14~shop-7d4f.shop~shop.svc.cluster.local-12 Internal:Error adding/updating listener(s) 0.0.0.0_9: bad filter"),
			Want: []checkstest.Want{{Subject: "sidecar~10.8.1.14~shop-7d4f.shop~shop.svc.cluster.local", Summary: "Listener 0.0.0.0_9: bad filter"}},
		},
		{
			Name: "a delta rejection and another listener's acceptance", Request: files,
			Put:  logged("delta config for " + ldsURL + " rejected: Error adding/updating listener(s) a: bad filter\n" + added + "b'"),
			Want: []checkstest.Want{{Summary: "Listener a: bad filter"}},
		},
		{
			Name: "accepted before, rejected since", Request: files, Put: logged(added + "a'\n" + lds80),
			Want: []checkstest.Want{{Summary: "Listener 0.0.0.0_80: cannot bind"}},
		},

		{Name: "near-miss: rejected earlier, accepted since, by time", Request: target, Put: seenStatus(status(nodeA,
			updated(because(server(ldsURL, "a", evidence.Error), "x"), time.Hour), updated(server(ldsURL, "a", evidence.Synced), time.Minute)))},
		{Name: "near-miss: by version", Request: target, Put: seenStatus(status(nodeA,
			version(server(ldsURL, "", evidence.Error), "1617141154495058478"), version(server(ldsURL, "a", evidence.Synced), "1617141155495058478")))},
		{Name: "near-miss: by a later answer", Request: target, Put: seenStatus(status(nodeA, server(ldsURL, interception, evidence.Error)), later)},
		{Name: "near-miss: an old file says rejected, the live answer says accepted", Request: target, Put: func(s *evidence.Set) {
			old := status(nodeA, server(ldsURL, interception, evidence.Error))
			old.Source = paste
			evidence.Put(s, evidence.ClientStatuses, []evidence.ClientStatus{old}, paste)
			evidence.Put(s, evidence.ClientStatuses, []evidence.ClientStatus{status(nodeA, server(ldsURL, interception, evidence.Synced))}, csds)
		}},
		{Name: "near-miss: the client itself has it accepted, whatever the control plane still shows", Request: target, Put: seenStatus(status(nodeA,
			evidence.Resource{TypeURL: ldsURL, Name: "a", Server: evidence.Error, Client: evidence.Acked}))},
		{Name: "near-miss: an accepted resource that keeps an old reason", Request: target, Put: seenStatus(status(nodeA, because(client(ldsURL, "a", evidence.Acked), "old")))},
		{Name: "near-miss: a log goes on with the listener accepted", Request: files, Put: logged(oneLiner + "\n" + added + interception + "'")},
		{Name: "near-miss: clusters accepted since", Request: files, Put: logged(prefix + "gRPC config for " + cdsURL + " rejected: Error adding/updating cluster(s) shop: bad\ncds: added/updated 3 cluster(s), skipped 0 unmodified cluster(s)")},
		{Name: "near-miss: a gRPC client acknowledged since", Request: files, Put: logged(`Sending NACK for resource type: "` + ldsURL + `", version: "3", nonce: "5", reason: x` + "\n" + `Sending ACK for resource type: "` + ldsURL + `", version: "4", nonce: "6"`)},
		{Name: "near-miss: the log is older than the live status of the node asked about", Request: oneNode,
			Put: put([]evidence.ClientStatus{status(nodeA, server(ldsURL, interception, evidence.Synced))}, at(noon.Add(-time.Hour), scan("envoy.log", oneLiner)))},
		{Name: "two virtual hosts with one domain, the details alone", Request: files, Put: logged("Only unique values for domains are permitted. Duplicate entry of domain checkout:8080"),
			Want: []checkstest.Want{{Summary: "rejected RouteConfiguration configuration: Only unique values for domains are permitted", Confidence: diagnose.Likely}}},
		{Name: "two virtual hosts with one domain, on the next line", Request: files, Put: logged("delta config for type.googleapis.com/envoy.config.route.v3.RouteConfiguration rejected:\nOnly unique values for domains are permitted. Duplicate entry of domain x"),
			Want: []checkstest.Want{{Summary: "Only unique values for domains"}}},
		{Name: "near-miss: two virtual hosts with one domain in a file's configuration", Request: files, Put: logged("[critical][main] error initializing configuration '/etc/envoy.yaml': Only unique values for domains are permitted. Duplicate entry of domain x")},
		{Name: "near-miss: a bind error at start is no rejection", Request: files, Put: logged("error initializing configuration: cannot bind '0.0.0.0:80': Permission denied")},
		{Name: "near-miss: static, stale, not sent, requested", Request: target, Put: seenStatus(status(nodeA,
			evidence.Resource{TypeURL: cdsURL, Name: "local", Server: evidence.Error, Static: true},
			server(ldsURL, "a", evidence.Stale), server(cdsURL, "b", evidence.NotSent), client(edsURL, "c", evidence.Requested)))},
		{Name: "a log with nothing of the kind", Request: files, Put: logged("all fine")},
		{Name: "denied", Request: target, Put: refuse, Outcome: diagnose.OutcomeInconclusive, Reason: "trafficdirector.networks.getConfigs"},
		{Name: "late", Request: target, Put: late, Outcome: diagnose.OutcomeInconclusive, Reason: "not known in time"},
		{Name: "not asked", Request: target, Outcome: diagnose.OutcomeSkipped},
		{Name: "part of the clients is unknown", Request: target, Put: partly(pastedGood), Outcome: diagnose.OutcomeInconclusive},
		{Name: "a status that is unknown clears nobody", Request: target, Put: seenStatus(status(nodeA, server(ldsURL, "a", evidence.ServerUnknown), client(cdsURL, "b", evidence.ClientUnknown))),
			Outcome: diagnose.OutcomeInconclusive, Reason: "unknown"},
	})
}

// A fleet with many different troubles still gives a handful of causes.
func TestConfigRejectedIsBounded(t *testing.T) {
	var l []evidence.ClientStatus
	for i := range 60 {
		n := string(rune('a'+i%26)) + string(rune('a'+i/26))
		l = append(l, status("projects/482915067713/networks/mesh-vpc/nodes/"+n, because(client(edsURL, "e", evidence.Nacked), "trouble "+n)))
	}
	set := evidence.NewSet()
	seenStatus(l...)(set)
	causes, err := configRejected(target, evidence.NewView(set))
	if err != nil || len(causes) != maxGroups {
		t.Fatalf("%d causes, want %d (%v)", len(causes), maxGroups, err)
	}
	if last := causes[len(causes)-1]; last.Subject[:8] != "51 of 60" {
		t.Errorf("the last cause speaks for %q, want 51 of 60", last.Subject)
	}
}
