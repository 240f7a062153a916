package proxyless_test

import (
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/checks/proxyless"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestProducedZeroAddresses(t *testing.T) {
	said := func(fields map[string]string) evidence.LogMessage {
		return message(messages.GRPCNoAddresses, "rpc error: code = Unavailable desc = name resolver error: produced zero addresses", fields)
	}
	checkstest.Run(t, proxyless.ProducedZeroAddresses, []checkstest.Case{
		{Name: "of any resolver", Put: logs(said(nil)), Want: []checkstest.Want{{Summary: "A gRPC client said once that there is no address to send its calls to.", Confidence: diagnose.Possible}}},
		{Name: "of a client with a bootstrap", Request: onNetwork, Put: puts(logs(said(nil)), bootstraps(bootstrap(nil))), Want: []checkstest.Want{{Confidence: diagnose.Likely}}},
		{Name: "the line names xds", Put: logs(said(map[string]string{"xds": "xds:///"}), said(nil)), Want: []checkstest.Want{{Summary: "2 times", Confidence: diagnose.Likely}}},
		{Name: "Go, today", Put: logs(message(messages.GRPCNoAddresses, "weighted-target: no targets to pick from", map[string]string{"policy": "weighted-target: no targets to pick from"})), Want: []checkstest.Want{{Confidence: diagnose.Likely}}},
		{Name: "Java", Put: logs(said(map[string]string{"endpoint": "No usable endpoint"})), Want: []checkstest.Want{{Confidence: diagnose.Likely}}},

		{Name: "on the way to the control plane", Put: logs(said(map[string]string{"xds": "xDS node id", "stream": "xDS stream"}))},
		{Name: "other messages", Put: puts(logs(unrelated), bootstraps(bootstrap(nil)))},
		{Name: "an empty log", Put: logs()},
		{Name: "denied", Put: fail(evidence.LogMessages.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Put: late(evidence.LogMessages.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Outcome: diagnose.OutcomeSkipped},
	})
}
