package controlplane

import (
	"testing"
	"time"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestAPIErrors(t *testing.T) {
	start := time.Date(2026, 11, 3, 11, 0, 0, 0, time.UTC)
	// every gives one point of a code in each of some intervals, beside many good answers.
	every := func(code string, n int64, intervals ...int) func(*evidence.Set) {
		return func(s *evidence.Set) {
			c := evidence.APIRequestCounts{API: "trafficdirector.googleapis.com", From: start, To: start.Add(time.Hour)}
			for i := range 12 {
				c.Points = append(c.Points, evidence.APIRequestPoint{Time: start.Add(time.Duration(i) * 5 * time.Minute), Code: "200", Count: 10})
			}
			for _, i := range intervals {
				c.Points = append(c.Points, evidence.APIRequestPoint{Time: start.Add(time.Duration(i) * 5 * time.Minute), Code: code, Count: n})
			}
			evidence.Put(s, evidence.APIRequests, c, evidence.Source{Collector: "gcp", Vantage: evidence.FromAPI})
		}
	}
	checkstest.Run(t, APIErrors, []checkstest.Case{
		{Name: "refused all the time", Request: network, Put: every("403", 4, 8, 9, 10, 11), Want: []checkstest.Want{{Summary: "16 of 136 requests with 403", Confidence: diagnose.Likely, Params: map[string]string{"refused": "yes"}}}},
		{Name: "not found", Request: network, Put: every("404", 1, 0, 5, 11), Want: []checkstest.Want{{Params: map[string]string{"absent": "yes"}}}},
		{Name: "quota", Request: network, Put: every("429", 7, 9, 10, 11), Want: []checkstest.Want{{Params: map[string]string{"quota": "yes"}}}},
		{Name: "by gRPC's names", Request: network, Put: every("UNAUTHENTICATED", 2, 3, 4, 11), Want: []checkstest.Want{{Params: map[string]string{"unauthenticated": "yes"}}}},
		{Name: "some other", Request: network, Put: every("500", 2, 3, 4, 10), Want: []checkstest.Want{{Params: map[string]string{"other": "yes"}}}},

		{Name: "only good ones", Request: network, Put: every("200", 1)},
		{Name: "reconnects", Request: network, Put: every("503", 3, 0, 1, 2, 3, 4, 5)},
		{Name: "cancelled", Request: network, Put: every("499", 3, 0, 1, 2, 3, 4, 5)},
		{Name: "a short time", Request: network, Put: every("403", 50, 4, 5)},
		{Name: "it has stopped", Request: network, Put: every("403", 50, 0, 1, 2, 3, 4)},
		{Name: "somebody's CSDS calls", Request: network, Put: func(s *evidence.Set) {
			c := evidence.APIRequestCounts{API: "trafficdirector.googleapis.com", From: start, To: start.Add(time.Hour)}
			for i := range 12 {
				c.Points = append(c.Points, evidence.APIRequestPoint{Time: start.Add(time.Duration(i) * 5 * time.Minute), Code: "403", Count: 9,
					Method: "envoy.service.status.v3.ClientStatusDiscoveryService.StreamClientStatus"})
			}
			evidence.Put(s, evidence.APIRequests, c, evidence.Source{Collector: "gcp", Vantage: evidence.FromAPI})
		}},
		{Name: "a part of it could not be read", Request: network, Put: all(every("200", 1), deny(evidence.APIRequests.Name())), Outcome: diagnose.OutcomeInconclusive},
		{Name: "no requests at all", Request: network, Put: func(s *evidence.Set) {
			evidence.Put(s, evidence.APIRequests, evidence.APIRequestCounts{}, evidence.Source{})
		}},
		{Name: "denied", Request: network, Put: deny(evidence.APIRequests.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Request: network, Put: late(evidence.APIRequests.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Request: files, Outcome: diagnose.OutcomeSkipped},
	})
}
