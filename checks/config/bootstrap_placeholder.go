package config

import (
	"fmt"
	"strings"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// BootstrapPlaceholder finds a bootstrap that still holds a template's text.
var BootstrapPlaceholder = diagnose.Check{
	ID: "config/bootstrap-placeholder",
	Doc: diagnose.Doc{
		Title: "The bootstrap still holds a template's placeholder",
		Explanation: "Bootstrap templates hold words such as PROJECT_NUMBER, VPC_NETWORK_NAME, <NETWORK> or ${NETWORK} where values belong. " +
			"Left there, the proxy sends them to the control plane as they are, and no network, project or Mesh has that name.",
		Quiet: "Bootstraps of other control planes than Traffic Director aren't judged.",
		Remedy: []diagnose.Step{
			{Text: "In {{file}}, put the value into {{field}}, where it says {{value}}", Command: "grep -nF -e {{value}} {{file}}"},
			{
				If:      "project",
				Text:    "The project's number",
				Command: `gcloud projects describe {{project}} --format="value(projectNumber)"`,
			},
			{
				If:      "project",
				Text:    "The networks that forwarding rules are on",
				Command: listRules,
			},
			{Text: "Restart the proxy, so that it reads the file again"},
		},
		References: []string{refAttributes, refXDS},
	},
	Severity: diagnose.Blocking,
	Layer:    diagnose.LayerConfig,
	Symptoms: []diagnose.Symptom{diagnose.SymptomNoConfig, diagnose.SymptomNotConnected},
	Needs:    []evidence.Name{evidence.Bootstraps.Name()},
	Explains: append([]diagnose.CheckID{
		"config/bootstrap-incomplete", "config/network-mismatch", "config/project-number-mismatch", "config/mesh-not-found",
		"config/mesh-has-no-routes", "xds/config-not-sent", "xds/resource-missing",
	}, explainedByConfig...),
	Evaluate: bootstrapPlaceholder,
}

func bootstrapPlaceholder(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	list, who, err := bootstraps(req, v)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, errNoBootstrap
	}
	var causes []diagnose.Cause
	for i, b := range list {
		if len(b.Placeholders) == 0 {
			continue
		}
		first := b.Placeholders[0]
		var lines, each []string
		for _, p := range b.Placeholders {
			lines = append(lines, p.Field+": "+quote(p.Value))
			each = append(each, quote(p.Value)+" in "+p.Field)
		}
		const most = 3
		if n := len(lines) - most; n > 0 {
			lines = append(lines[:most], fmt.Sprintf("and %d more", n))
		}
		params := who[i].params()
		params["field"], params["value"] = first.Field, first.Value
		causes = append(causes, diagnose.Cause{
			Subject: who[i].Subject, Key: who[i].Key, Confidence: diagnose.Confirmed, Params: params,
			Summary: fmt.Sprintf("%s still holds the template's %s.", who[i].Subject, few(each)),
			Evidence: []diagnose.Exhibit{{
				Fact: evidence.Bootstraps.Name(), Excerpt: strings.Join(lines, "\n"), Source: b.Source,
			}},
		})
	}
	return causes, nil
}
