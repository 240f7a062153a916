package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

// InjectorConfigMapMismatch finds a sidecar injector of a GKE cluster that tells proxies of another project or network than the
// forwarding rules are for.
var InjectorConfigMapMismatch = diagnose.Check{
	ID: "config/injector-configmap-mismatch",
	Doc: diagnose.Doc{
		Title: "The injector's ConfigMap names another project or network than the rules",
		Explanation: "The sidecar injector for GKE writes the proxyMetadata of its ConfigMap into every sidecar: TRAFFICDIRECTOR_GCP_PROJECT_NUMBER and TRAFFICDIRECTOR_NETWORK_NAME say where the proxy takes its " +
			"configuration from. Where no forwarding rule with INTERNAL_SELF_MANAGED is on that network, or the number is another project's, the control plane answers every proxy of the cluster with NOT_FOUND.",
		Quiet: "The ConfigMap names a Mesh (TRAFFICDIRECTOR_MESH_NAME, or mesh:NAME as the network): such proxies take routes. The values agree after quotes, the prefix ISTIO_META_ and the network's URL are taken away. " +
			"There are no rules at all (config/no-forwarding-rule).",
		Remedy: []diagnose.Step{
			{If: "right_network", Text: "Set TRAFFICDIRECTOR_NETWORK_NAME under defaultConfig.proxyMetadata to {{right_network}}", Command: "kubectl -n {{configmap_namespace}} edit configmap {{configmap}}"},
			{If: "right_number", Text: "Set TRAFFICDIRECTOR_GCP_PROJECT_NUMBER under defaultConfig.proxyMetadata to {{right_number}}, in quotes", Command: "kubectl -n {{configmap_namespace}} edit configmap {{configmap}}"},
			{If: "ask_number", Text: "Set TRAFFICDIRECTOR_GCP_PROJECT_NUMBER under defaultConfig.proxyMetadata to the number of the project that the rules are in, in quotes", Command: "kubectl -n {{configmap_namespace}} edit configmap {{configmap}}"},
			{If: "named_project", Text: "The number is told by", Command: "gcloud projects describe {{named_project}} --format='value(projectNumber)'"},
			{Text: "Restart the injector, which reads it when it starts", Command: "kubectl -n {{configmap_namespace}} rollout restart deployment"},
			{If: "namespace", Text: "Restart the workloads with sidecars: they keep what they were injected with", Command: "kubectl -n {{namespace}} rollout restart deployment"},
			{Unless: "namespace", Text: "Restart the workloads with sidecars (kubectl rollout restart): they keep what they were injected with."},
		},
		References: []string{refAttributes, "https://docs.cloud.google.com/traffic-director/docs/set-up-gke-pods-auto", refRules},
	},
	Severity: diagnose.Blocking,
	Layer:    diagnose.LayerConfig,
	Symptoms: []diagnose.Symptom{diagnose.SymptomNoConfig, diagnose.SymptomRequestsFail},
	Needs:    []evidence.Name{evidence.ConfigMaps.Name(), evidence.ForwardingRules.Name(), evidence.ProjectFact.Name()},
	Explains: append([]diagnose.CheckID{"config/network-mismatch", "config/project-number-mismatch", "xds/config-not-sent", "xds/resource-missing"}, explainedByConfig...),
	Applies:  namesNetwork,
	Evaluate: injectorConfigMapMismatch,
}

// proxyMetadata finds the entries of proxyMetadata that say where a proxy takes its configuration from, outside comments. The
// prefix is what Istio's agent asks for of variables that it makes node metadata of.
var proxyMetadata = regexp.MustCompile(`(?m)^[ \t]*["']?(?:ISTIO_META_)?(TRAFFICDIRECTOR_(?:GCP_PROJECT_NUMBER|NETWORK_NAME|MESH_NAME|SCOPE_NAME))["']?[ \t]*:[ \t]*(?:"([^"\n]*)"|'([^'\n]*)'|([^\s#][^#\n]*?))?[ \t]*(?:#[^\n]*)?,?\r?$`)

// projectID is what a project's ID looks like. The package's own ConfigMap holds "my-project-here".
var projectID = regexp.MustCompile(`^[a-z][a-z0-9-]{4,28}[a-z0-9]$`)

func injectorConfigMapMismatch(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	batches, err := evidence.Get(v, evidence.ConfigMaps)
	if err != nil {
		return nil, err
	}
	type settings struct {
		configMap *kube.ConfigMap
		values    map[string]string
		source    evidence.Source
	}
	var list []settings
	seen := map[string]bool{}
	for _, b := range batches {
		for i := range b.Items {
			m := &b.Items[i]
			values := metadataIn(m)
			if seen[m.Ref()] || len(values) == 0 {
				continue
			}
			seen[m.Ref()] = true
			list = append(list, settings{m, values, b.Source})
		}
	}
	if len(list) == 0 {
		_, err := evidence.Whole(v, evidence.ConfigMaps)
		if err == nil {
			err = diagnose.Skip("no ConfigMap of Traffic Director's sidecar injector is in what was seen")
		}
		return nil, err
	}
	rules, rerr := evidence.Whole(v, evidence.ForwardingRules)
	j := injector{req: req, own: ownProject(req, v), rules: newRuleSet(rules), incomplete: rerr, pasted: pasted(v, evidence.ForwardingRules.Name())}
	var out []diagnose.Cause
	for _, s := range list {
		c, ok := j.judge(s.configMap, s.values, s.source)
		if !ok {
			continue
		}
		if len(list) > 1 {
			c.Key = "configmaps/" + s.configMap.Ref()
		}
		out = append(out, c)
	}
	if len(out) > 0 {
		return out, nil
	}
	return nil, j.open
}

// metadataIn reads the entries of a ConfigMap, by their names; empty values are left out. The mesh's configuration goes before other
// keys.
func metadataIn(m *kube.ConfigMap) map[string]string {
	keys := []string{"mesh"}
	for k := range m.Data {
		if k != "mesh" {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys[1:])
	out := map[string]string{}
	for _, k := range keys {
		for _, g := range proxyMetadata.FindAllStringSubmatch(m.Data[k], -1) {
			if value := strings.TrimSpace(g[2] + g[3] + g[4]); out[g[1]] == "" && value != "" {
				out[g[1]] = value
			}
		}
	}
	return out
}

// injector compares ConfigMaps with the rules.
type injector struct {
	req        diagnose.Request
	own        evidence.Project
	rules      ruleSet
	incomplete error // why some rules may not be known
	pasted     bool
	open       error // why a comparison could not be made
}

func (j *injector) judge(m *kube.ConfigMap, values map[string]string, src evidence.Source) (c diagnose.Cause, bad bool) {
	number, network := values[evidence.MetadataProject], values[evidence.MetadataNetwork]
	at := placeOf(network, evidence.MetadataNetwork)
	if values[metadataMesh2] != "" || values[metadataScope] != "" || network != "" && at.Kind != vpcPlace {
		return c, false
	}
	c = diagnose.Cause{
		Subject: "ConfigMap " + m.Ref(), Confidence: diagnose.Confirmed, About: diagnose.About{},
		Params: map[string]string{"configmap": m.Name, "configmap_namespace": m.Namespace},
	}
	show := func(k, v string) {
		c.Evidence = append(c.Evidence, diagnose.Exhibit{Fact: evidence.ConfigMaps.Name(), Excerpt: k + ": " + quote(v), Source: src})
	}
	var wrong []string
	if network != "" {
		if what := j.wrongNetwork(at.Value, c.Params); what != "" {
			wrong = append(wrong, what)
			show(evidence.MetadataNetwork, network)
			c.Evidence = append(c.Evidence, ruleExhibit(j.rules.managed))
			c.About[diagnose.AboutNetwork] = []string{at.Value}
			if j.pasted {
				c.Confidence = diagnose.Likely // the list given may be a part of the rules
			}
		}
	}
	if number != "" {
		if what := j.wrongNumber(number, at.Value, c.Params); what != "" {
			wrong = append(wrong, what)
			show(evidence.MetadataProject, number)
			if j.own.Number != "" {
				c.Evidence = append(c.Evidence, diagnose.Exhibit{Fact: evidence.ProjectFact.Name(), Excerpt: fmt.Sprintf("project %s has the number %s", quote(asked(j.req, j.own)), j.own.Number)})
			}
		}
	}
	c.Summary = fmt.Sprintf("The injector's ConfigMap %s %s.", m.Ref(), strings.Join(wrong, ", and "))
	return c, len(wrong) > 0
}

// wrongNetwork says what is wrong with the network that proxies are told.
func (j *injector) wrongNetwork(network string, params map[string]string) string {
	if len(j.rules.on(network)) > 0 {
		return ""
	}
	err := j.incomplete
	if err == nil {
		err = j.rules.undecided(network)
	}
	if err != nil {
		j.open = err
		return ""
	}
	all := j.rules.networks()
	if len(all) == 0 {
		return "" // config/no-forwarding-rule tells it
	}
	meant, ok := nearest(network, all)
	if t := evidence.LastSegment(j.req.Target.Network); t != "" && len(j.rules.on(t)) > 0 {
		meant = t
	} else if !ok {
		meant = all[0]
	}
	params["right_network"] = meant
	return fmt.Sprintf("gives proxies the network %s, and the forwarding rules with INTERNAL_SELF_MANAGED are on %s", quote(network), few(quoted(all)))
}

// wrongNumber says what is wrong with the project that proxies are told. Rules may be in another project of a Shared VPC: then its
// number is as good.
func (j *injector) wrongNumber(number, network string, params map[string]string) string {
	switch {
	case !evidence.Numeric(number):
		params["right_number"] = j.own.Number
		if j.own.Number != "" {
			return fmt.Sprintf("gives proxies the project %s, where its number %s belongs", quote(number), j.own.Number)
		}
		params["ask_number"], params["named_project"] = "yes", j.req.Target.Project
		if params["named_project"] == "" && projectID.MatchString(number) && !strings.HasSuffix(number, "-here") {
			params["named_project"] = number
		}
		return fmt.Sprintf("gives proxies the project %s, where its number belongs", quote(number))
	case j.own.Number == "" || number == j.own.Number:
		return ""
	case j.incomplete != nil:
		j.open = j.incomplete
		return ""
	}
	for _, r := range j.rules.managed {
		if r.Project != "" && j.own.ID != "" && r.Project != j.own.ID && (network == "" || r.Network == network || len(j.rules.on(network)) == 0) {
			return "" // the number may be of the project that has this rule
		}
	}
	if len(j.rules.managed) == 0 {
		return "" // nothing says that the project asked about is the one
	}
	params["right_number"] = j.own.Number
	return fmt.Sprintf("gives proxies the project number %s, and the rules are in project %s, whose number is %s", number, asked(j.req, j.own), j.own.Number)
}
