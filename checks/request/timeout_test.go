package request_test

import (
	"testing"
	"time"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/checks/request"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestTimeout(t *testing.T) {
	took := func(g evidence.AccessGroup, d time.Duration) evidence.AccessGroup {
		g.Duration = d
		return g
	}
	checkstest.Run(t, request.Timeout, []checkstest.Case{
		{Name: "the route's", Request: onNetwork, Put: access(took(group(cart, 504, "response_timeout", "UT"), 15*time.Second)), Want: []checkstest.Want{{
			Summary: "5 requests to outbound|8080||cart.shop.svc.cluster.local (cart:8080) ran into the proxy's timeout after up to 15s.", Params: map[string]string{"slow": "yes", "idle": ""}}}},
		{Name: "the route's, of a traffic log", Request: onNetwork, Put: access(group("", 504, "", "UT")), Want: []checkstest.Want{{Summary: "5 requests to cart:8080 ran into the proxy's timeout."}}},
		{Name: "an idle stream", Put: access(took(group(cart, 0, "stream_idle_timeout", "SI"), 301*time.Second)), Want: []checkstest.Want{{
			Summary: "were ended by the proxy after up to 5m1s: a stream may be idle for five minutes.", Params: map[string]string{"idle": "yes", "slow": ""}}}},
		{Name: "an idle stream with a shorter limit", Put: access(with(took(group(cart, 408, "stream_idle_timeout"), time.Minute), func(g *evidence.AccessGroup) { g.Count = 1 })), Want: []checkstest.Want{{Summary: "1 request to outbound|8080||cart.shop.svc.cluster.local (cart:8080) was ended by the proxy after 1m0s, because nothing was sent on it for too long."}}},
		{Name: "a stream's whole time", Request: onNetwork, Put: access(group(cart, 200, "upstream_max_stream_duration_reached", "UMSDR")), Want: []checkstest.Want{{Summary: "timeout"}}},

		{Name: "504 of the application", Put: access(group(cart, 504, "via_upstream"))},
		{Name: "the client gave up", Put: access(took(group(cart, 0, "downstream_remote_disconnect", "DC"), 15*time.Second))},
		{Name: "no connection in time", Put: access(group(cart, 503, "upstream_reset_before_response_started{connection_timeout}", "UF"))},
		{Name: "slow and well", Put: access(took(group(cart, 200, ""), time.Minute))},
		{Name: "denied", Put: fail(requests), Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Put: late(requests), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Outcome: diagnose.OutcomeSkipped},
	})
}
