package config

import (
	"fmt"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// ProjectNumberMismatch finds a proxy that names another project than the one that holds its configuration.
var ProjectNumberMismatch = diagnose.Check{
	ID: "config/project-number-mismatch",
	Doc: diagnose.Doc{
		Title: "The proxy names another project than its configuration is in",
		Explanation: "A proxy tells the control plane the number of the project that holds its forwarding rules or Mesh, as decimal digits. " +
			"With another project's number, or with the project's ID in its place, the control plane finds nothing there and answers NOT_FOUND. " +
			"With a Shared VPC it is the project that holds the rules, be it the host or a service project, and not the one that owns the network.",
		Quiet: "A project asked about by ID and one named by its number are the same project.",
		Remedy: []diagnose.Step{
			{
				Unless:  "number",
				Text:    "Find the number of the project that holds the configuration",
				Command: `gcloud projects describe {{project}} --format="value(projectNumber)"`,
			},
			{
				If:      "number",
				Text:    "The project's number is {{number}}; this shows it again",
				Command: `gcloud projects describe {{project}} --format="value(projectNumber)"`,
			},
			{
				If:      "envoy",
				Text:    "In {{envoy}}, write the number into TRAFFICDIRECTOR_GCP_PROJECT_NUMBER and into the projects/ part of node.id, and restart Envoy",
				Command: "grep -nE 'TRAFFICDIRECTOR_GCP_PROJECT_NUMBER|projects/' {{envoy}}",
			},
			{
				If:      "grpc",
				Text:    "In {{grpc}}, the projects/ part of node.id must hold the number: run the bootstrap generator again with --gcp-project-number, and restart the client",
				Command: "grep -n 'projects/' {{grpc}}",
			},
			{
				If:      "sidecar_env",
				Text:    "In {{sidecar_env}}, set GCP_PROJECT_NUMBER to the number and restart the proxy with its run.sh",
				Command: "grep -n GCP_PROJECT_NUMBER {{sidecar_env}}",
			},
			{
				If:      "rules_project",
				Text:    "The rules are in project {{rules_project}}: proxies of this network must name its number, and their service account must be one of a project that has a rule on the network",
				Command: `gcloud projects describe {{rules_project}} --format="value(projectNumber)"`,
			},
			{
				If:      "rules_project",
				Text:    "Then ask again about that project",
				Command: "meshdiag diagnose --project={{rules_project}} --network={{network}}",
			},
		},
		References: []string{refAttributes, refLimitations},
	},
	Severity: diagnose.Blocking,
	Layer:    diagnose.LayerConfig,
	Symptoms: []diagnose.Symptom{diagnose.SymptomNoConfig, diagnose.SymptomRequestsFail},
	Needs:    []evidence.Name{evidence.ProjectFact.Name(), evidence.Bootstraps.Name(), evidence.ForwardingRules.Name()},
	Explains: explainedByConfig,
	Evaluate: projectNumberMismatch,
}

func projectNumberMismatch(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	who, err := proxies(req, v)
	if err != nil {
		return nil, err
	}
	project, unknown := evidence.Get(v, evidence.ProjectFact)
	own := ownProject(req, v)
	var causes []diagnose.Cause
	named := 0
	for _, p := range who {
		named += len(p.Projects)
		if c, ok := wrongNumber(req, p, own); ok {
			causes = append(causes, c)
		}
	}
	elsewhere, open := rulesElsewhere(req, v, own, who)
	causes = append(causes, elsewhere...)
	switch {
	case len(causes) > 0:
		return causes, nil
	case named > 0 && own.Number == "":
		return nil, unknown // numbers that can be compared with none
	case open != nil:
		return nil, open
	case named == 0 && req.Target.Project == "":
		return nil, diagnose.Skip("nothing names a project by number")
	case named == 0 && project.Number == "":
		return nil, unknown
	}
	return nil, nil
}

// wrongNumber compares the project numbers that one proxy gives with the project's, and with one another.
func wrongNumber(req diagnose.Request, p identity, own evidence.Project) (diagnose.Cause, bool) {
	c := diagnose.Cause{
		Subject: p.Subject, Key: p.Key, Confidence: diagnose.Confirmed, Params: p.params(), About: p.about(),
	}
	c.Params["number"] = own.Number
	if req.Target.Project == "" {
		c.Params["project"] = projectParam(req, nil, []identity{p})
	}
	for _, n := range p.Projects {
		c.Evidence = append(c.Evidence, p.exhibit(n))
	}
	show := func() {
		id := own.ID
		if id == "" {
			id = req.Target.Project
		}
		if own.Number != "" {
			c.Evidence = append(c.Evidence, diagnose.Exhibit{Fact: evidence.ProjectFact.Name(), Excerpt: fmt.Sprintf("project %s has the number %s", quote(id), own.Number)})
		}
	}
	for _, n := range p.Projects {
		switch {
		case !evidence.Numeric(n.Value):
			c.About[diagnose.AboutProject] = []string{n.Value}
			c.Summary = fmt.Sprintf("%s gives %s as project in %s, where the project's number belongs%s.", p.Subject, quote(n.Value), n.Field, is(own.Number))
			if req.Target.Project == "" {
				c.Params["project"] = n.Value // most likely its ID
			}
			show()
			return c, true
		case own.Number != "" && n.Value != own.Number:
			c.About[diagnose.AboutProject] = []string{n.Value}
			c.Summary = fmt.Sprintf("%s names project %s in %s; the number of project %s is %s.", p.Subject, n.Value, n.Field, asked(req, own), own.Number)
			show()
			return c, true
		}
	}
	if len(p.Projects) > 1 && p.Projects[0].Value != p.Projects[1].Value {
		a, b := p.Projects[0], p.Projects[1]
		c.Confidence = diagnose.Likely
		c.Summary = fmt.Sprintf("%s names two projects: %s in %s, and %s in %s.", p.Subject, a.Value, a.Field, b.Value, b.Field)
		return c, true
	}
	return diagnose.Cause{}, false
}

func is(number string) string {
	if number == "" {
		return ""
	}
	return " (" + number + ")"
}

func asked(req diagnose.Request, own evidence.Project) string {
	if own.ID != "" {
		return own.ID
	}
	return req.Target.Project
}

// rulesElsewhere finds a network whose rules are all in another project than the one asked about: host and service projects
// of one Shared VPC are easily taken for one another. The error is why that can't be told.
func rulesElsewhere(req diagnose.Request, v *evidence.View, own evidence.Project, who []identity) ([]diagnose.Cause, error) {
	if req.Target.Network == "" {
		return nil, nil
	}
	for _, p := range who {
		if _, vpc := p.vpc(); !vpc {
			return nil, nil // a Mesh's or a scope's proxy
		}
	}
	list, err := evidence.Whole(v, evidence.ForwardingRules)
	network := evidence.LastSegment(req.Target.Network)
	on := newRuleSet(list).on(network)
	if len(on) == 0 {
		return nil, failed(err) // no rule on the network: other checks, where it is sure
	}
	if own.ID == "" {
		return nil, nil // whose rules they are can't be told
	}
	for _, r := range on {
		if r.Project == "" || r.Project == own.ID {
			return nil, nil
		}
	}
	if err != nil {
		return nil, err
	}
	r := on[0]
	c := diagnose.Cause{
		Subject:    "project " + own.ID,
		Confidence: diagnose.Likely,
		Params:     map[string]string{"rules_project": r.Project, "network": network, "number": own.Number, "rule": r.Name},
		Evidence:   []diagnose.Exhibit{ruleExhibit(on)},
	}
	switch r.NetworkProject {
	case own.ID:
		c.Confidence = diagnose.Confirmed
		c.Summary = fmt.Sprintf("Network %s belongs to %s, the host project, but its rules (%s) are in service project %s, whose number the proxies must name.",
			quote(network), quote(own.ID), ruleNames(on), quote(r.Project))
	case r.Project:
		c.Summary = fmt.Sprintf("The rules on network %s (%s) are in project %s, which owns the network, and not in %s; the proxies must name the number of %s.",
			quote(network), ruleNames(on), quote(r.Project), quote(own.ID), quote(r.Project))
	default:
		c.Summary = fmt.Sprintf("The rules on network %s (%s) are in project %s, and not in %s; the proxies must name the number of %s.",
			quote(network), ruleNames(on), quote(r.Project), quote(own.ID), quote(r.Project))
	}
	return []diagnose.Cause{c}, nil
}
