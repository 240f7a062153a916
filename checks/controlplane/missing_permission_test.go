package controlplane

import (
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestMissingPermission(t *testing.T) {
	state := func(p string, a evidence.Access, method string) evidence.PermissionState {
		return evidence.PermissionState{Principal: account, Permission: p, Project: projectID, Access: a, Method: method, Source: api}
	}
	states := func(l ...evidence.PermissionState) func(*evidence.Set) { return put(evidence.ProxyPermissions, l) }
	full, policy := fullEvaluation, "project-policy"
	configs, metrics := state(getConfigs, evidence.AccessGranted, full), state(reportMetrics, evidence.AccessGranted, full)
	refused := msg(messages.PermissionDenied.ID, 4,
		"gRPC config stream closed: 7, Permission 'trafficdirector.networks.getConfigs' denied on resource '//trafficdirector.googleapis.com/projects/482915067713/networks/mesh-vpc' (or it may not exist).",
		map[string]string{"permission": getConfigs, "project": number})
	loads := msg(messages.PermissionDenied.ID, 5, "StreamLoadStats gRPC config stream closed: 7, Permission 'trafficdirector.networks.reportMetrics' denied", map[string]string{"permission": reportMetrics})
	generic := msg(messages.StreamClosed.ID, 4, "gRPC config stream closed: 7, The caller does not have permission", map[string]string{"code": "7", "text": "The caller does not have permission"})
	other := msg(messages.StreamClosed.ID, 4, "gRPC config stream closed: 7, Request is prohibited by organization's policy.", map[string]string{"code": "7", "text": "Request is prohibited by organization's policy."})
	proxyless := msg(messages.ADSFailed.ID, 4, "ADS stream closed: rpc error: code = PermissionDenied desc = The caller does not have permission",
		map[string]string{"event": "ADS stream closed", "status": "PermissionDenied", "text": "The caller does not have permission"})
	ok := msg(messages.StreamWorked.ID, 30, "cds: add 3 cluster(s)", nil)
	unfilled := []string{"project"}
	checkstest.Run(t, MissingPermission, []checkstest.Case{
		{Name: "a full evaluation denies", Request: vm, Put: states(state(getConfigs, evidence.AccessDenied, full), state(reportMetrics, evidence.AccessDenied, full)),
			Want: []checkstest.Want{{Subject: account, Summary: account + " lacks trafficdirector.networks.getConfigs in project mesh-prod-4f2a: Policy Troubleshooter says so.",
				Confidence: diagnose.Confirmed, Severity: diagnose.Blocking, Params: map[string]string{"service_account": account}, Excerpt: "reportMetrics denied"}}},
		{Name: "the project's policy alone", Request: vm, Put: states(state(getConfigs, evidence.AccessNotInPolicy, policy)),
			Want: []checkstest.Want{{Summary: "were not seen", Confidence: diagnose.Likely, Severity: diagnose.Blocking}}},
		{Name: "denied by another method", Request: vm, Put: states(state(getConfigs, evidence.AccessDenied, policy)), Want: []checkstest.Want{{Confidence: diagnose.Likely}}},
		{Name: "load reports alone", Request: vm, Put: states(configs, state(reportMetrics, evidence.AccessDenied, full)),
			Want: []checkstest.Want{{Summary: "gets configuration but may not report load", Confidence: diagnose.Confirmed, Severity: diagnose.Degrading}}},
		{Name: "a log names the permission", Request: files, Put: logs(refused, generic), Unfilled: unfilled,
			Want: []checkstest.Want{{Subject: "proxy.log", Summary: "it lacks trafficdirector.networks.getConfigs", Confidence: diagnose.Confirmed, Params: map[string]string{"project": number}, Excerpt: "line 4"}}},
		{Name: "a log, permissions denied to us", Request: vm, Put: all(deny(evidence.ProxyPermissions.Name()), logs(refused)), Want: []checkstest.Want{{Confidence: diagnose.Confirmed}}},
		{Name: "a log, and the account holds it now", Request: vm, Put: all(states(configs, metrics), logs(refused)),
			Want: []checkstest.Want{{Summary: "holds it now", Confidence: diagnose.Possible}}},
		{Name: "a log names no permission", Request: network, Put: logs(generic), Want: []checkstest.Want{{Confidence: diagnose.Likely}}},
		{Name: "a proxyless client's log", Request: network, Put: logs(proxyless), Want: []checkstest.Want{{Confidence: diagnose.Likely}}},
		{Name: "a log on load reports", Request: files, Put: logs(loads), Unfilled: unfilled,
			Want: []checkstest.Want{{Summary: "load reports", Severity: diagnose.Degrading, Confidence: diagnose.Confirmed}}},

		{Name: "granted", Request: vm, Put: states(configs, metrics)},
		{Name: "a role of the project's own policy", Request: vm, Put: states(state(getConfigs, evidence.AccessGranted, policy))},
		{Name: "not in the project's policy, but a full evaluation grants", Request: vm, Put: states(state(getConfigs, evidence.AccessNotInPolicy, policy), configs)},
		{Name: "not in one policy, granted by another", Request: vm, Put: states(state(getConfigs, evidence.AccessNotInPolicy, policy), state(getConfigs, evidence.AccessGranted, policy))},
		{Name: "the control plane answered later", Request: files, Put: logs(refused, generic, ok)},
		{Name: "code 7 for another reason", Request: files, Put: logs(other)},
		{Name: "not known", Request: vm, Put: states(state(getConfigs, evidence.AccessUnknown, full)), Outcome: diagnose.OutcomeInconclusive, Reason: "could not be evaluated"},
		{Name: "nothing told of a principal", Request: vm, Put: states(), Outcome: diagnose.OutcomeSkipped},
		{Name: "denied", Request: vm, Put: deny(evidence.ProxyPermissions.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Request: vm, Put: late(evidence.ProxyPermissions.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Request: network, Outcome: diagnose.OutcomeSkipped},
	})
}
