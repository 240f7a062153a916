package controlplane

import (
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestQuotaExhausted(t *testing.T) {
	const quota = "Quota exceeded for quota metric 'Stream requests' and limit 'Stream requests per minute' of service 'trafficdirector.googleapis.com' for consumer 'project_number:482915067713'."
	lasting := closed(10, "8", quota)
	lasting.Fields["again"] = "since"
	checkstest.Run(t, QuotaExhausted, []checkstest.Case{
		{Name: "repeated", Request: network, Put: logs(many(closed(10, "8", quota), 4, 40)),
			Want: []checkstest.Want{{Subject: "proxy.log", Summary: "for a quota (code 8) 4 times in proxy.log: Quota exceeded", Confidence: diagnose.Likely, Severity: diagnose.Degrading, Excerpt: "4 times"}}},
		{Name: "in two wordings", Request: files, Put: logs(closed(10, "8", quota), closed(14, "8", "RESOURCE_EXHAUSTED")), Want: []checkstest.Want{{Summary: "2 times"}}},
		{Name: "the line says that it lasts", Request: files, Put: logs(lasting), Want: []checkstest.Want{{}}},
		{Name: "a proxyless client", Request: files, Put: logs(many(ads(1, "ADS stream closed", "ResourceExhausted", quota), 2, 3)), Want: []checkstest.Want{{}}},
		{Name: "repeated, with answers in between", Request: files, Put: logs(many(closed(10, "8", quota), 4, 40), came(20)), Want: []checkstest.Want{{}}},

		{Name: "once, pasted by itself", Request: files, Put: logs(of(1, closed(1, "8", quota))),
			Want: []checkstest.Want{{Summary: "for a quota (code 8), as far as one message tells: Quota exceeded", Confidence: diagnose.Possible}}},

		{Name: "once, pasted with an answer after it", Request: files, Put: logs(of(2, closed(1, "8", quota)), of(2, came(2)))},
		{Name: "once, in a log that goes on", Request: files, Put: logs(of(40, closed(10, "8", quota)))},
		{Name: "too large, pasted by itself", Request: files, Put: logs(of(1, closed(1, "8", "grpc: received message larger than max (5242880 vs. 4194304)")))},
		{Name: "once", Request: files, Put: logs(closed(10, "8", quota))},
		{Name: "once, told to several watchers", Request: files, Put: logs(ads(1, "ADS stream closed", "ResourceExhausted", quota), many(ads(2, "error received from xDS stream", "ResourceExhausted", quota), 4, 5))},
		{Name: "a message that is too large", Request: files, Put: logs(many(closed(10, "8", "grpc: received message larger than max (5242880 vs. 4194304)"), 4, 40))},
		{Name: "another code", Request: files, Put: logs(many(closed(10, "14", "no healthy upstream"), 4, 40))},
		{Name: "failed", Request: files, Put: deny(evidence.LogMessages.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Request: files, Put: late(evidence.LogMessages.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Request: network, Outcome: diagnose.OutcomeSkipped},
	})
}
