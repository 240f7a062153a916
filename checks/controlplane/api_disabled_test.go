package controlplane

import (
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestAPIDisabled(t *testing.T) {
	state := func(name, s string) evidence.APIService { return evidence.APIService{Name: name, State: s} }
	services := func(l ...evidence.APIService) func(*evidence.Set) { return put(evidence.Services, l) }
	on := state(trafficDirectorAPI, "ENABLED")
	off := state(trafficDirectorAPI, "DISABLED")
	project := put(evidence.ProjectFact, evidence.Project{ID: projectID, Number: number})
	const text = "Traffic Director API has not been used in project 482915067713 before or it is disabled. Enable it by visiting https://console.developers.google.com/apis/api/trafficdirector.googleapis.com/overview?project=482915067713 then retry."
	said := func(service, api, in string) evidence.LogMessage {
		return msg(messages.APIDisabled.ID, 12, text, map[string]string{"service": service, "api": api, "project": in})
	}
	refused := func(k evidence.Key[[]evidence.CallResult], reason, message string) func(*evidence.Set) {
		return putFrom(k, []evidence.CallResult{{Host: "trafficdirector.googleapis.com", Answered: true, Code: "PERMISSION_DENIED", Reason: reason, Message: message, Source: service}}, service)
	}
	checkstest.Run(t, APIDisabled, []checkstest.Case{
		{Name: "disabled", Request: network, Put: services(off, state("compute.googleapis.com", "ENABLED")),
			Want: []checkstest.Want{{Subject: "trafficdirector.googleapis.com in project mesh-prod-4f2a", Summary: "Service Usage says DISABLED", Confidence: diagnose.Confirmed,
				Params: map[string]string{"service": trafficDirectorAPI, "project": projectID}}}},
		{Name: "network services, for a mesh", Request: meshReq, Put: services(on, state(networkServicesAPI, "DISABLED")),
			Want: []checkstest.Want{{Subject: networkServicesAPI, Confidence: diagnose.Confirmed}}},
		{Name: "both, for a Gateway scope", Request: scopeReq, Put: services(off, state(networkServicesAPI, "DISABLED")),
			Want: []checkstest.Want{{Subject: trafficDirectorAPI}, {Subject: networkServicesAPI}}},
		{Name: "services denied, and the control plane says so over REST", Request: network, Put: all(deny(evidence.Services.Name()), refused(evidence.RESTProbe, "SERVICE_DISABLED", text)),
			Want: []checkstest.Want{{Summary: "SERVICE_DISABLED", Confidence: diagnose.Likely, Params: map[string]string{"project": number}, Excerpt: "PERMISSION_DENIED SERVICE_DISABLED"}}},
		{Name: "the same, the project's number known", Request: network, Put: all(project, deny(evidence.Services.Name()), refused(evidence.RESTProbe, "SERVICE_DISABLED", text)),
			Want: []checkstest.Want{{Confidence: diagnose.Confirmed}}},
		{Name: "over gRPC, without a text", Request: network, Put: refused(evidence.GRPCProbe, "SERVICE_DISABLED", ""),
			Want: []checkstest.Want{{Params: map[string]string{"project": projectID}}}},
		{Name: "a file says so", Request: files, Put: logs(said(trafficDirectorAPI, "Traffic Director API", number)),
			Want: []checkstest.Want{{Subject: "in project 482915067713", Summary: "proxy.log", Confidence: diagnose.Likely, Excerpt: "proxy.log, line 12: Traffic Director API"}}},
		{Name: "a file says so by title alone", Request: files, Put: logs(said("", "Network Services API", "")),
			Want: []checkstest.Want{{Subject: networkServicesAPI}}},
		{Name: "a file says so of another project than the target's", Request: network, Put: all(services(on), project, logs(said(trafficDirectorAPI, "Traffic Director API", "99887766"))),
			Want: []checkstest.Want{{Subject: "in project 99887766", Confidence: diagnose.Likely}}},

		{Name: "enabled", Request: network, Put: services(on)},
		{Name: "enabled, another is off", Request: network, Put: services(on, state("cloudtrace.googleapis.com", "DISABLED"))},
		{Name: "network services is off, for a network", Request: network, Put: services(on, state(networkServicesAPI, "DISABLED"))},
		{Name: "enabled since the message", Request: network, Put: all(services(on), project, logs(said(trafficDirectorAPI, "Traffic Director API", number)))},
		{Name: "another API's message", Request: files, Put: logs(said("cloudtrace.googleapis.com", "Cloud Trace API", number))},
		{Name: "another API's title", Request: files, Put: logs(said("", "Cloud Trace API", number))},
		{Name: "the proxy connected later on", Request: files, Put: logs(said(trafficDirectorAPI, "Traffic Director API", number), msg(messages.StreamWorked.ID, 40, "cds: add 3 cluster(s)", nil))},
		{Name: "refused for another reason", Request: network, Put: all(services(on), refused(evidence.RESTProbe, "ACCESS_TOKEN_SCOPE_INSUFFICIENT", "Request had insufficient authentication scopes."))},
		{Name: "refused for another API", Request: network, Put: all(services(on), refused(evidence.RESTProbe, "SERVICE_DISABLED",
			"Cloud Trace API has not been used in project 482915067713 before or it is disabled. Enable it by visiting https://console.developers.google.com/apis/api/cloudtrace.googleapis.com/overview"))},
		{Name: "refused for the project of meshdiag's own credentials", Request: network, Put: all(services(on), project, refused(evidence.GRPCProbe, "SERVICE_DISABLED",
			"Traffic Director API has not been used in project 764086051850 before or it is disabled."))},
		{Name: "live says enabled, a file disabled", Request: network, Put: all(services(on), putFrom(evidence.Services, []evidence.APIService{off}, pasted))},
		{Name: "a list of enabled services, from a file", Request: files, Put: putFrom(evidence.Services, []evidence.APIService{state("compute.googleapis.com", "ENABLED")}, pasted),
			Outcome: diagnose.OutcomeSkipped, Reason: "a list of services alone"},
		{Name: "a disabled one, from a file, without a target", Request: files, Put: putFrom(evidence.Services, []evidence.APIService{off}, pasted), Outcome: diagnose.OutcomeSkipped},
		{Name: "a list of enabled services, from a file, with a target", Request: network,
			Put:     all(deny(evidence.Services.Name()), putFrom(evidence.Services, []evidence.APIService{state("compute.googleapis.com", "ENABLED")}, pasted)),
			Outcome: diagnose.OutcomeInconclusive, Reason: "does not say whether trafficdirector"},
		{Name: "a state that is not meaningful", Request: network, Put: services(state(trafficDirectorAPI, "STATE_UNSPECIFIED")), Outcome: diagnose.OutcomeInconclusive},
		{Name: "denied", Request: network, Put: deny(evidence.Services.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Request: network, Put: late(evidence.Services.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Request: files, Outcome: diagnose.OutcomeSkipped},
	})
}
