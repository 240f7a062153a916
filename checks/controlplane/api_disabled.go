package controlplane

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// The APIs that a mesh made with Google Cloud's APIs rests on.
const (
	trafficDirectorAPI = "trafficdirector.googleapis.com"
	networkServicesAPI = "networkservices.googleapis.com" // holds Meshes, Gateways and routes
)

// refusedDisabled is the reason Google's APIs give in ErrorInfo for a call to an API that isn't enabled.
// https://github.com/googleapis/googleapis/blob/master/google/api/error_reason.proto
const refusedDisabled = "SERVICE_DISABLED"

// APIDisabled finds that an API that the mesh rests on is not enabled in the project.
var APIDisabled = diagnose.Check{
	ID:       "controlplane/api-disabled",
	Severity: diagnose.Blocking,
	Layer:    diagnose.LayerAPI,
	Symptoms: []diagnose.Symptom{diagnose.SymptomNotConnected, diagnose.SymptomNoConfig},
	Needs: []evidence.Name{
		evidence.Services.Name(), evidence.ProjectFact.Name(), evidence.RESTProbe.Name(), evidence.GRPCProbe.Name(), evidence.LogMessages.Name(),
	},
	Explains:   disconnected,
	Signatures: []diagnose.Signature{messages.APIDisabled, messages.StreamClosed, messages.ADSFailed, messages.StreamWorked},
	Doc: diagnose.Doc{
		Title: "An API that the mesh rests on is not enabled",
		Explanation: "The control plane refuses every proxy of a project in which trafficdirector.googleapis.com isn't enabled. " +
			"Meshes, Gateways and their routes need networkservices.googleapis.com besides.",
		Quiet: "Another API is off; Service Usage says now that the API is enabled, and the message is older; a list of services is all there is, and no project is asked about.",
		Remedy: []diagnose.Step{
			{If: "project", Text: "Enable the API. It takes a few minutes to be known everywhere; proxies connect by themselves then.", Command: "gcloud services enable {{service}} --project={{project}}"},
			{Unless: "project", Text: "Enable the API in the proxies' project. It takes a few minutes to be known everywhere; proxies connect by themselves then.", Command: "gcloud services enable {{service}}"},
			{If: "project", Text: "See that it is enabled.", Command: "gcloud services list --enabled --project={{project}} --filter=config.name={{service}}"},
		},
		References: []string{
			"https://cloud.google.com/service-usage/docs/enable-disable",
			"https://cloud.google.com/traffic-director/docs/troubleshooting",
		},
	},
	Evaluate: apiDisabled,
}

func apiDisabled(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	needed := []string{trafficDirectorAPI}
	if req.Target.Mesh != "" {
		needed = append(needed, networkServicesAPI)
	}
	states, servicesErr := evidence.Get(v, evidence.Services)
	project, _ := evidence.Get(v, evidence.ProjectFact) // without it, a message's project is taken as the target's
	var tally evidence.Tally
	found := map[string]*diagnose.Cause{}

	add := func(service, in string, c diagnose.Confidence, said string, x diagnose.Exhibit) {
		if f := found[service]; f != nil {
			f.Evidence = append(f.Evidence, x)
			return
		}
		where := " in the project"
		if in != "" {
			where = " in project " + in
		}
		found[service] = &diagnose.Cause{
			Subject: service + where, Confidence: c,
			About:    diagnose.About{diagnose.AboutAPI: {service}, diagnose.AboutProject: {in}},
			Summary:  fmt.Sprintf("%s is not enabled%s: %s.", service, where, said),
			Params:   map[string]string{"service": service, "project": in},
			Evidence: []diagnose.Exhibit{x},
		}
	}

	open := "" // a needed API whose state isn't known
	for _, s := range needed {
		state := stateOf(states, s)
		switch {
		case state == "DISABLED" && req.Target.Live():
			add(s, req.Target.Project, diagnose.Confirmed, "Service Usage says "+state,
				diagnose.Exhibit{Fact: evidence.Services.Name(), Excerpt: s + ": " + state})
		case state != "ENABLED" && state != "DISABLED" && open == "":
			open = s
		}
	}
	for _, key := range []evidence.Key[[]evidence.CallResult]{evidence.RESTProbe, evidence.GRPCProbe} {
		calls, _ := evidence.Read(&tally, v, key)
		for _, c := range calls {
			if c.Reason != refusedDisabled {
				continue
			}
			service, in := trafficDirectorAPI, req.Target.Project
			if m := apiText.FindStringSubmatch(c.Message); m != nil && m[apiText.SubexpIndex("api")] != "" {
				service, in = serviceIn(m[apiText.SubexpIndex("service")], m[apiText.SubexpIndex("api")]), m[apiText.SubexpIndex("project")]
			}
			// A refusal names the project that the call was counted for. Where that isn't the target's, meshdiag's own
			// credentials were refused (those of "gcloud auth application-default login" count for a project of Google's).
			same, sure := sameProject(in, req.Target.Project, project)
			if service == "" || !same {
				continue
			}
			confidence := diagnose.Confirmed
			if !sure {
				confidence = diagnose.Likely
			}
			add(service, in, confidence, "the control plane answered "+c.Reason,
				diagnose.Exhibit{Fact: key.Name(), Excerpt: clip(strings.TrimSpace(c.Code+" "+c.Reason+" "+c.Message), maxExcerpt), Source: c.Source})
		}
	}
	msgs, _ := evidence.Read(&tally, v, evidence.LogMessages)
	good := worked(msgs)
	for _, m := range msgs {
		service := serviceIn(cmp.Or(m.Fields["service"], m.Fields["disabled"]), m.Fields["api"])
		if service == "" && m.Fields["stream"] != "" && m.Fields["disabled"] == "" {
			service = trafficDirectorAPI // whose stream it is
		}
		if m.Signature != messages.APIDisabled.ID || service == "" || good.after(m) {
			continue
		}
		in := m.Fields["project"]
		if same, _ := sameProject(in, req.Target.Project, project); same && stateOf(states, service) == "ENABLED" && liveSource(v, evidence.Services.Name()) {
			continue // enabled since
		}
		add(service, in, diagnose.Likely, "a message in "+inLog(m)+" says so", quote(m))
	}

	var causes []diagnose.Cause
	for _, s := range []string{trafficDirectorAPI, networkServicesAPI} {
		if f := found[s]; f != nil {
			causes = append(causes, *f)
		}
	}
	switch {
	case len(causes) > 0:
		return causes, nil
	case req.Target.Live() && servicesErr != nil:
		return nil, servicesErr
	case req.Target.Live() && open != "":
		return nil, &evidence.Missing{Name: evidence.Services.Name(), Why: evidence.Failed, Err: errors.New("the answer does not say whether " + open + " is enabled")}
	case req.Target.Live():
		return nil, nil
	case servicesErr == nil && tally.Err() != nil:
		return nil, diagnose.Skip("a list of services alone says nothing of a mesh: name the project and the network or mesh")
	}
	return nil, tally.Err()
}

// stateOf gives an API's state, "" where it isn't listed. The live answer stands before pasted ones.
func stateOf(list []evidence.APIService, name string) string {
	i := slices.IndexFunc(list, func(s evidence.APIService) bool { return s.Name == name })
	if i < 0 {
		return ""
	}
	return list[i].State
}

// serviceIn gives which of the needed APIs a refusal is about, "" where it is another.
func serviceIn(service, title string) string {
	switch {
	case service == trafficDirectorAPI || service == networkServicesAPI:
		return service
	case service != "":
		return ""
	case strings.HasSuffix(title, "Traffic Director API"), strings.HasSuffix(title, "Cloud Service Mesh API"):
		return trafficDirectorAPI
	case strings.HasSuffix(title, "Network Services API"):
		return networkServicesAPI
	}
	return ""
}

// liveSource says whether a fact was told by a live system.
func liveSource(v *evidence.View, n evidence.Name) bool {
	src, ok := v.SourceOf(n)
	return ok && !src.Pasted
}

// sameProject says whether a name may be the target's project, which is known by id and by number, and whether that is
// sure.
func sameProject(name, target string, p evidence.Project) (same, sure bool) {
	switch {
	case name == "" || name == target || name == p.ID || name == p.Number:
		return true, true
	case p.ID == "" || p.Number == "":
		return true, false
	default:
		return false, true
	}
}
