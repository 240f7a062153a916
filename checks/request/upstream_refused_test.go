package request_test

import (
	"testing"
	"time"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/checks/request"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestUpstreamRefused(t *testing.T) {
	const details = "upstream_reset_before_response_started{remote_connection_failure,delayed_connect_error:_111}"
	refused := group(local, 503, details, "UF")
	from := func(g evidence.AccessGroup, after, until time.Duration) evidence.AccessGroup {
		g.First, g.Last = noon.Add(after), noon.Add(until)
		return g
	}
	ready := message(messages.ProxyReady, "Envoy proxy is ready", nil)
	ready.First, ready.Last = noon.Add(5*time.Minute), noon.Add(5*time.Minute)
	list := func(whole bool, s ...evidence.Socket) evidence.SocketList {
		return evidence.SocketList{List: s, Whole: whole, Source: file}
	}
	checkstest.Run(t, request.UpstreamRefused, []checkstest.Case{
		{Name: "refused", Put: access(refused), Want: []checkstest.Want{{
			Summary: "5 requests to inbound|8080|| (cart:8080) failed: 10.8.2.4:8080 refused the connection.", Confidence: diagnose.Likely, Params: map[string]string{"port": "8080"}}}},
		{Name: "in the words of new releases, TCP", Put: access(with(group(cart, 0, "", "UF", "URX"), func(g *evidence.AccessGroup) { g.Transport = "delayed_connect_error:_Connection_refused" })),
			Want: []checkstest.Want{{Summary: "refused the connection", Params: map[string]string{"service": "cart", "namespace": "shop"}}}},
		{Name: "in the words of old releases", Put: access(with(group(cart, 503, "", "UF"), func(g *evidence.AccessGroup) { g.Transport, g.Upstream = "delayed connect error: 111", "" })),
			Want: []checkstest.Want{{Summary: "the upstream host refused the connection"}}},
		{Name: "nothing listens", Put: puts(access(refused), sockets(list(true, evidence.Socket{Address: "0.0.0.0", Port: 9090}))),
			Want: []checkstest.Want{{Summary: "10.8.2.4:8080 refused the connection: nothing listens on port 8080 there.", Excerpt: "nothing listens on port 8080"}}},
		{Name: "loopback alone", Put: puts(access(refused), sockets(list(true, evidence.Socket{Address: "127.0.0.1", Port: 8080}))),
			Want: []checkstest.Want{{Summary: "port 8080 is listened on at 127.0.0.1 alone", Params: map[string]string{"loopback": "yes"}}}},
		{Name: "sockets of another host say nothing", Put: puts(access(group(cart, 503, details, "UF")), sockets(list(true))), Want: []checkstest.Want{{Summary: "10.8.2.4:8080 refused the connection."}}},
		{Name: "a part of the sockets says nothing", Put: puts(access(refused), sockets(list(false))), Want: []checkstest.Want{{Summary: "10.8.2.4:8080 refused the connection."}}},
		{Name: "something listens by now", Put: puts(access(refused), sockets(list(true, evidence.Socket{Address: "::", Port: 8080}))), Want: []checkstest.Want{{Summary: "10.8.2.4:8080 refused the connection."}}},
		{Name: "sockets denied", Put: puts(access(refused), fail(evidence.Sockets.Name())), Want: []checkstest.Want{{Summary: "10.8.2.4:8080 refused the connection."}}},
		{Name: "never answered since it started", Put: puts(access(from(refused, 0, 10*time.Second)), logs(ready)), Want: []checkstest.Want{{Summary: "refused the connection"}}},
		{Name: "for an hour, then answered", Put: access(from(refused, 0, time.Hour), from(group(local, 200, ""), 0, 2*time.Hour)), Want: []checkstest.Want{{Summary: "5 of 10 requests"}}},
		{Name: "the body alone", Put: logs(connectError("delayed connect error: 111")), Want: []checkstest.Want{{Summary: "A proxy answered 1 time that the upstream host refused", Confidence: diagnose.Possible}}},

		{Name: "a targetPort that the containers don't declare", Put: puts(access(group(cart, 503, details, "UF")), services(service("cart", 8080, "8081")), pods(pod("cart-1", "10.8.2.4", 9090))),
			Want: []checkstest.Want{{Summary: "10.8.2.4:8080 refused the connection: targetPort 8081 of Service shop/cart is none that the containers of pod shop/cart-1 declare (9090 http).", Confidence: diagnose.Likely, Excerpt: "Service shop/cart: port 8080, targetPort 8081"}}},
		{Name: "a port that comes in and isn't declared", Put: puts(access(refused), services(service("cart", 80, "8080")), pods(pod("cart-1", "10.8.2.4", 9090))),
			Want: []checkstest.Want{{Summary: "targetPort 8080 of Service shop/cart is none that the containers of pod shop/cart-1 declare", Params: map[string]string{"service": "cart", "namespace": "shop"}}}},
		{Name: "a port that comes in, of no Service", Put: puts(access(refused), pods(pod("cart-1", "10.8.2.4", 9090))), Want: []checkstest.Want{{Summary: "no container of pod shop/cart-1 declares port 8080 (they declare 9090 http)"}}},
		{Name: "a declared port says nothing", Put: puts(access(group(cart, 503, details, "UF")), services(service("cart", 8080, "http")), pods(pod("cart-1", "10.8.2.4", 9090))), Want: []checkstest.Want{{Summary: "10.8.2.4:8080 refused the connection."}}},
		{Name: "nothing declared says nothing", Put: puts(access(group(cart, 503, details, "UF")), services(service("cart", 8080, "8081")), pods(pod("cart-1", "10.8.2.4"))), Want: []checkstest.Want{{Summary: "10.8.2.4:8080 refused the connection."}}},
		{Name: "sockets go before declarations", Put: puts(access(refused), pods(pod("cart-1", "10.8.2.4", 9090)), sockets(list(true, evidence.Socket{Address: "127.0.0.1", Port: 8080}))), Want: []checkstest.Want{{Summary: "listened on at 127.0.0.1 alone."}}},

		{Name: "an application that starts", Put: access(from(refused, 0, 20*time.Second), from(group(local, 200, ""), 25*time.Second, time.Hour))},
		{Name: "an application that starts soon after its proxy", Put: puts(access(from(refused, 0, 5*time.Minute+30*time.Second), from(group(local, 200, ""), 6*time.Minute, time.Hour)), logs(ready))},
		{Name: "timed out", Put: access(group(cart, 503, "upstream_reset_before_response_started{connection_timeout}", "UF"))},
		{Name: "another error", Put: access(group(cart, 503, "upstream_reset_before_response_started{connection_failure,delayed_connect_error:_113}", "UF"))},
		{Name: "a stream to the control plane", Put: logs(func() evidence.LogMessage {
			m := connectError("delayed connect error: 111")
			m.Fields["stream"] = "gRPC config stream"
			return m
		}())},
		{Name: "denied", Put: fail(requests, logFact), Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Put: puts(late(requests), logs()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Outcome: diagnose.OutcomeSkipped},
	})
}
