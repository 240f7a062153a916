package config

import (
	"fmt"
	"strings"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// NoForwardingRule finds a project without any forwarding rule for Traffic Director.
var NoForwardingRule = diagnose.Check{
	ID: "config/no-forwarding-rule",
	Doc: diagnose.Doc{
		Title: "No forwarding rule for Traffic Director",
		Explanation: "A proxy that names a VPC network gets its configuration from the forwarding rules with the load balancing scheme " +
			"INTERNAL_SELF_MANAGED on that network. The project has none, so that the control plane answers every such proxy with NOT_FOUND.",
		Quiet: "Proxies of a Mesh or of a Gateway scope take routes, not forwarding rules. Where rules exist on another network, " +
			"config/network-mismatch tells; where they are in another project on the same network, config/project-number-mismatch.",
		Remedy: []diagnose.Step{
			{
				If:      "meshes",
				Text:    "The project has Meshes ({{meshes}}). If the proxy belongs to one of them, it needs no forwarding rule: its node id must name mesh:NAME in place of the network. Ask again about the Mesh.",
				Command: "gcloud network-services meshes list --location=global --project={{project}}",
			},
			{
				Text:    "See which target proxies the project has; a forwarding rule leads to one of them",
				Command: "gcloud compute target-http-proxies list --project={{project}} && gcloud compute target-grpc-proxies list --project={{project}}",
			},
			{
				Text: "Create a global forwarding rule on the proxy's network. Set TARGET_PROXY to the target HTTP proxy first; for a target gRPC proxy use --target-grpc-proxy instead",
				Command: "gcloud compute forwarding-rules create {{network}}-mesh-rule --global --load-balancing-scheme=INTERNAL_SELF_MANAGED --network={{network}} " +
					`--address=0.0.0.0 --ports=80 --target-http-proxy="${TARGET_PROXY:?the name of the target HTTP proxy}" --project={{project}}`,
			},
		},
		References: []string{refRules, refAttributes},
	},
	Severity: diagnose.Blocking,
	Layer:    diagnose.LayerConfig,
	Symptoms: []diagnose.Symptom{diagnose.SymptomNoConfig, diagnose.SymptomRequestsFail},
	Needs: []evidence.Name{
		evidence.ForwardingRules.Name(), evidence.Bootstraps.Name(), evidence.ProjectFact.Name(), evidence.Meshes.Name(),
	},
	Explains: append([]diagnose.CheckID{"xds/config-not-sent", "xds/resource-missing"}, explainedByConfig...),
	Applies:  namesNetwork,
	Evaluate: noForwardingRule,
}

// namesNetwork says whether a request may be about proxies of a VPC network: it names one, or has files that may.
func namesNetwork(req diagnose.Request) bool {
	if req.Target.Mesh != "" {
		return false
	}
	if p, ok := fromNodeID(req.Target.NodeID, "node id"); ok && req.Target.Network == "" {
		_, vpc := p.vpc()
		return vpc
	}
	return true
}

// askedNetwork gives the VPC network to judge, and the proxies that name one. The node asked about and bootstraps know better
// than the request what a proxy asks for: where they all name Meshes or scopes, rules don't matter.
func askedNetwork(req diagnose.Request, v *evidence.View) (asked claim, who []identity, err error) {
	all, err := proxies(req, v)
	elsewhere := 0
	for _, p := range all {
		if _, ok := p.vpc(); ok {
			who = append(who, p)
		} else if _, ok := p.where(); ok {
			elsewhere++
		}
	}
	switch {
	case req.Target.Network != "" && (len(who) > 0 || elsewhere == 0):
		return claim{evidence.LastSegment(req.Target.Network), "the network asked about"}, who, nil
	case len(who) > 0:
		c, _ := who[0].vpc()
		return c, who, nil
	case elsewhere > 0:
		return claim{}, nil, diagnose.Skip("the proxy names a Mesh or a Gateway scope, which takes routes and no forwarding rules")
	case err != nil:
		return claim{}, nil, err
	default:
		return claim{}, nil, diagnose.Skip("nothing names the VPC network of a proxy")
	}
}

func noForwardingRule(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	asked, who, err := askedNetwork(req, v)
	if err != nil {
		return nil, err
	}
	meshes, _ := evidence.Get(v, evidence.Meshes) // only tempers the finding
	own := ownProject(req, v)
	rules, err := evidence.Whole(v, evidence.ForwardingRules)
	set := newRuleSet(rules)
	if len(set.of(own.ID).managed) > 0 || len(set.on(asked.Value)) > 0 {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if err := set.undecided(asked.Value); err != nil {
		return nil, err
	}
	project := projectParam(req, rules, who)
	cause := diagnose.Cause{
		Subject:    "network " + asked.Value + " of project " + project,
		About:      diagnose.About{diagnose.AboutProject: {project}},
		Confidence: diagnose.Confirmed,
		Params:     map[string]string{"network": asked.Value, "project": project},
	}
	if project == "" {
		cause.Subject = "network " + asked.Value
	}
	of := plural(len(rules), "forwarding rule", "forwarding rules")
	cause.Summary = fmt.Sprintf("The project has %s, none with the scheme INTERNAL_SELF_MANAGED: proxies on network %s get no configuration.", of, quote(asked.Value))
	if len(rules) == 0 {
		cause.Summary = fmt.Sprintf("The project has no forwarding rule at all: proxies on network %s get no configuration.", quote(asked.Value))
	}
	excerpt := of + ", global and regional; INTERNAL_SELF_MANAGED: 0"
	if pasted(v, evidence.ForwardingRules.Name()) {
		cause.Confidence = diagnose.Likely
		cause.Summary = fmt.Sprintf("The files hold %s, none with the scheme INTERNAL_SELF_MANAGED: proxies on network %s need one.", of, quote(asked.Value))
	}
	if len(meshes) > 0 {
		var names []string
		for _, m := range meshes {
			names = append(names, m.Name)
		}
		cause.Confidence = min(cause.Confidence, diagnose.Likely)
		cause.Params["meshes"] = strings.Join(names[:min(len(names), 5)], ", ")
		cause.Summary += fmt.Sprintf(" (It has %s, whose proxies need none.)", plural(len(meshes), "Mesh", "Meshes"))
	}
	cause.Evidence = []diagnose.Exhibit{{Fact: evidence.ForwardingRules.Name(), Excerpt: excerpt}}
	for _, p := range who {
		if c, ok := p.vpc(); ok && c.Value == asked.Value {
			cause.Evidence = append(cause.Evidence, p.exhibit(c))
		}
	}
	return []diagnose.Cause{cause}, nil
}
