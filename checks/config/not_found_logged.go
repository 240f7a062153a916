package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// NotFoundLogged finds a control plane's word, in a log, that it has no configuration for the proxy.
var NotFoundLogged = diagnose.Check{
	ID: "config/not-found-logged",
	Doc: diagnose.Doc{
		Title: "The control plane logged that it has no configuration for the proxy",
		Explanation: "The proxy reached the control plane and was let in, and the control plane found nothing under the network, Mesh or scope and the " +
			"project that the proxy named. A log alone doesn't tell which side is wrong: compare in the order given.",
		Quiet: "Where the forwarding rules or Meshes are known and hold what the message says is missing, the message is of the past, or a more exact check speaks.",
		Remedy: []diagnose.Step{
			{
				If: "network", Text: "Is there a forwarding rule with INTERNAL_SELF_MANAGED in the project, on network {{network}}? Compare letter by letter",
				Command: listRules,
			},
			{
				If: "mesh", Text: "Is there a Mesh called {{mesh}} in the project, and are routes attached to it?",
				Command: "gcloud network-services meshes list --location=global --project={{project}}",
			},
			{
				If: "scope", Text: "Is there a Gateway with the scope {{scope}} in the project, and are routes attached to it?",
				Command: `gcloud network-services gateways list --location=global --project={{project}} --format="table(name.basename(),scope)"`,
			},
			{
				If: "nameless", Text: "Is there a forwarding rule with INTERNAL_SELF_MANAGED on the proxy's network, or a Mesh of the name it gives? Compare letter by letter",
				Command: listRules,
			},
			{
				If: "project", Text: "Is the project the one that holds them, and does the proxy give its number and not its ID? In a Shared VPC it may be the host or a service project",
				Command: `gcloud projects describe {{project}} --format="value(projectNumber,projectId)"`,
			},
			{Text: "What does the proxy name? On the VM or in the container, look into its bootstrap: node.id, TRAFFICDIRECTOR_NETWORK_NAME, TRAFFICDIRECTOR_GCP_PROJECT_NUMBER, or sidecar.env. On VMs made with --service-proxy, at --service-proxy:network; on GKE, at the sidecar injector's ConfigMap"},
			{
				If: "network", Text: "Have the rules metadataFilters, and does the proxy's node metadata satisfy them?",
				Command: `gcloud compute forwarding-rules list --global --project={{project}} --filter=loadBalancingScheme=INTERNAL_SELF_MANAGED --format="yaml(name,network,metadataFilters)"`,
			},
			{Text: "Or let meshdiag compare: hand in the bootstrap together with this log, and name the project and the network or Mesh"},
		},
		References: []string{refRules, refAttributes},
	},
	Severity: diagnose.Blocking,
	Layer:    diagnose.LayerConfig,
	Symptoms: []diagnose.Symptom{diagnose.SymptomNoConfig},
	Needs: []evidence.Name{
		evidence.LogMessages.Name(), evidence.ForwardingRules.Name(), evidence.Meshes.Name(), evidence.Gateways.Name(), evidence.ProjectFact.Name(),
	},
	Explains: []diagnose.CheckID{
		"controlplane/no-client-connected", "controlplane/client-not-connected", "controlplane/api-errors",
		"xds/no-dynamic-config", "xds/initial-fetch-timeout", "vm/envoy-not-live", "proxyless/produced-zero-addresses",
	},
	Signatures: []diagnose.Signature{messages.ConfigNotFound, messages.EntityNotFound},
	Evaluate:   notFoundLogged,
}

func notFoundLogged(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	log, err := evidence.Get(v, evidence.LogMessages)
	if err != nil {
		return nil, err
	}
	own := ownProject(req, v)
	var causes []diagnose.Cause
	at := map[string]int{} // one cause for each thing that wasn't found
	for _, m := range log {
		if m.Signature != messages.ConfigNotFound.ID && m.Signature != messages.EntityNotFound.ID {
			continue
		}
		missing := loggedPlace(req, m)
		// What is known is of the project asked about: it refutes no message about another.
		if !otherProject(m.Fields["project"], own) && there(v, missing) {
			continue
		}
		c := logged(req, m, missing)
		if i, ok := at[c.Subject]; ok {
			causes[i].Evidence = append(causes[i].Evidence, c.Evidence...)
			causes[i].Confidence = max(causes[i].Confidence, c.Confidence)
			continue
		}
		at[c.Subject] = len(causes)
		causes = append(causes, c)
	}
	// A message that names nothing is one more line on what another names.
	if i, ok := at[unnamed]; ok && len(causes) > 1 {
		j := (i + 1) % len(causes)
		causes[j].Evidence = append(causes[j].Evidence, causes[i].Evidence...)
		causes = slices.Delete(causes, i, i+1)
	}
	return causes, nil
}

// unnamed is the subject of messages that don't say what wasn't found.
const unnamed = "the proxy's configuration"

// loggedPlace gives what a message says wasn't found; where it doesn't say, what was asked about.
func loggedPlace(req diagnose.Request, m evidence.LogMessage) place {
	name := m.Fields["name"]
	switch m.Fields["kind"] {
	case "network":
		return placeOf(name, "log")
	case "mesh":
		return place{meshPlace, claim{strings.TrimPrefix(name, evidence.MeshPrefix), "log"}}
	case "scope":
		return place{scopePlace, claim{strings.TrimPrefix(name, evidence.ScopePrefix), "log"}}
	}
	if s := req.Target.Scope(); s != "" {
		return placeOf(s, "target")
	}
	return place{}
}

// otherProject says whether a project that a message names is certainly not this one.
func otherProject(named string, own evidence.Project) bool {
	if evidence.Numeric(named) {
		return own.Number != "" && named != own.Number
	}
	return named != "" && own.ID != "" && named != own.ID
}

// there says whether the APIs, or their answers as files, show what a message says is missing.
func there(v *evidence.View, p place) bool {
	// Each is read whatever is missing, so that the facts needed are the same for every message.
	rules, _ := evidence.Get(v, evidence.ForwardingRules)
	meshes, _ := evidence.Get(v, evidence.Meshes)
	gateways, _ := evidence.Get(v, evidence.Gateways)
	switch p.Kind {
	case vpcPlace:
		return len(newRuleSet(rules).on(p.Value)) > 0
	case meshPlace:
		return slices.ContainsFunc(meshes, func(m evidence.Mesh) bool { return evidence.LastSegment(m.Name) == p.Value })
	case scopePlace:
		return slices.ContainsFunc(gateways, func(g evidence.Gateway) bool { return g.Scope == p.Value })
	}
	return false
}

func logged(req diagnose.Request, m evidence.LogMessage, p place) diagnose.Cause {
	c := diagnose.Cause{
		Subject: unnamed, Confidence: diagnose.Likely, About: diagnose.About{}, Params: map[string]string{},
		Evidence: []diagnose.Exhibit{{Fact: evidence.LogMessages.Name(), Excerpt: excerpt(m), Source: m.Source}},
	}
	project := m.Fields["project"]
	if m.Fields["name"] != "" { // else the place is what was asked about
		c.About = diagnose.About{placeAspects[p.Kind]: {p.Value}, diagnose.AboutProject: {project}}
	}
	switch {
	case req.Target.Project != "":
		c.Params["project"] = req.Target.Project
	default:
		c.Params["project"] = project
	}
	if p.Value != "" {
		c.Params[string(p.Kind)] = p.Value
		c.Subject = string(p.Kind) + " " + p.Value
		if project != "" {
			c.Subject += " of project " + project
		}
	} else {
		c.Params["nameless"] = "yes"
	}
	times := plural(m.Count, "time", "times")
	switch {
	case m.Fields["name"] != "":
		c.Summary = fmt.Sprintf("The control plane answered %s that it has no configuration for %s %s%s.", times, p.Kind, quote(p.Value), inProject(project))
	case m.Signature == messages.EntityNotFound.ID && m.Fields["stream"] == "":
		c.Confidence = diagnose.Possible // many APIs say so
		c.Summary = fmt.Sprintf("Something answered %s that the requested entity was not found, as the control plane does where it has no configuration for a proxy.", times)
	default:
		c.Summary = fmt.Sprintf("The control plane answered %s that it did not find the configuration, without saying for which network, Mesh or project.", times)
	}
	return c
}

func inProject(p string) string {
	if p == "" {
		return ""
	}
	return " in project " + quote(p)
}

// excerpt shows a message with its place.
func excerpt(m evidence.LogMessage) string {
	s := m.Text
	if m.File != "" {
		s = fmt.Sprintf("%s:%d: %s", m.File, m.Line, s)
	}
	if m.Count > 1 {
		s += fmt.Sprintf(" (%d times, to line %d)", m.Count, m.LastLine)
	}
	return s
}
