package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// MetadataFilterMismatch finds a proxy whose node metadata no rule on its network admits.
var MetadataFilterMismatch = diagnose.Check{
	ID: "config/metadata-filter-mismatch",
	Doc: diagnose.Doc{
		Title: "The rules' metadata filters do not admit the proxy",
		Explanation: "A forwarding rule with metadataFilters is shown to those proxies alone whose node metadata has the labels it asks for: all of them with " +
			"MATCH_ALL, one of them with MATCH_ANY, and every filter of the rule. To another proxy the rule and all it leads to don't exist; where no rule is " +
			"left, the control plane answers as if there were none.",
		Quiet: "One rule on the network that admits the proxy is enough. Labels are compared exactly, with the metadata's top-level values.",
		Remedy: []diagnose.Step{
			{
				Text:    "See what the rule asks for",
				Command: `gcloud compute forwarding-rules describe {{rule}} --global --project={{project}} --format="yaml(name,network,metadataFilters)"`,
			},
			{
				If:      "file",
				Text:    "If the proxy is to get this configuration, give it the label under node.metadata in {{file}} ({{label}}: {{value}}), and restart it",
				Command: "grep -n metadata {{file}}",
			},
			{
				Unless: "file",
				Text:   "If the proxy is to get this configuration, give it the label under node.metadata of its bootstrap ({{label}}: {{value}}), and restart it",
			},
			{
				If:   "instance",
				Text: "On a VM made with --service-proxy the labels come from --service-proxy-labels of its template: make a new template with {{label}}={{value}}",
			},
			{Text: "Or make a rule without this filter. A rule's filters can't be changed: create a second rule, on another address or port, before you delete this one"},
		},
		References: []string{refRules, refRuleAPI},
	},
	Severity: diagnose.Blocking,
	Layer:    diagnose.LayerConfig,
	Symptoms: []diagnose.Symptom{diagnose.SymptomNoConfig, diagnose.SymptomRequestsFail},
	Needs:    []evidence.Name{evidence.ForwardingRules.Name(), evidence.Bootstraps.Name(), evidence.Clients.Name()},
	Explains: explainedByConfig,
	Applies:  namesNetwork,
	Evaluate: metadataFilterMismatch,
}

// labelled is a proxy whose metadata is known.
type labelled struct {
	identity
	network string
}

func metadataFilterMismatch(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	nodes, open := labelledNodes(req, v)
	list, err := evidence.Whole(v, evidence.ForwardingRules)
	set := newRuleSet(list)
	var missing *evidence.Missing
	if errors.As(err, &missing) && len(list) == 0 {
		return nil, err
	}
	filtered := slices.ContainsFunc(set.managed, func(r evidence.ForwardingRule) bool { return len(r.MetadataFilters) > 0 })
	if err == nil && !filtered {
		return nil, nil // nothing that could keep a proxy out, whoever it is
	}
	if len(nodes) == 0 {
		if open == nil {
			open = diagnose.Skip("no proxy's metadata is known")
		}
		return nil, open
	}
	var causes []diagnose.Cause
	shut := map[string][]labelled{} // by what they lack, for clients that CSDS lists
	var order []string
	for _, n := range nodes {
		on := set.on(n.network)
		if len(on) == 0 || slices.ContainsFunc(on, func(r evidence.ForwardingRule) bool { return admits(r, n.Metadata) }) {
			continue
		}
		if err != nil {
			return nil, err // a rule that isn't known may admit it
		}
		if n.Fact == evidence.Bootstraps.Name() {
			causes = append(causes, shutOut(req, on, []labelled{n}))
			continue
		}
		g := n.network + "\n" + lacking(on, n.Metadata)
		if shut[g] == nil {
			order = append(order, g)
		}
		shut[g] = append(shut[g], n)
	}
	for _, g := range order {
		causes = append(causes, shutOut(req, set.on(shut[g][0].network), shut[g]))
	}
	if len(causes) == 0 {
		return nil, open
	}
	return causes, nil
}

// labelledNodes gives the bootstraps and the clients of CSDS that name a VPC network and whose metadata is known: of a node
// that is asked about that one alone. The error says why some aren't known.
func labelledNodes(req diagnose.Request, v *evidence.View) (out []labelled, err error) {
	_, said, errBoot := bootstraps(req, v)
	for _, p := range said {
		if at, ok := p.vpc(); ok && p.Kind != evidence.SidecarEnvFile { // sidecar.env holds variables, not node metadata
			out = append(out, labelled{p, at.Value})
		}
	}
	clients, errClients := evidence.Get(v, evidence.Clients)
	for _, c := range clients.Clients {
		if len(c.Metadata) == 0 || (req.Target.NodeID != "" && c.NodeID != req.Target.NodeID) {
			continue // the answer needn't carry the metadata
		}
		p := fromBootstrap(evidence.Bootstrap{NodeID: c.NodeID, Metadata: c.Metadata})
		p.Subject, p.Key, p.Fact, p.NodeID = "node "+c.NodeID, "nodes/"+c.NodeID, evidence.Clients.Name(), c.NodeID
		if c.NodeID == req.Target.NodeID {
			p.Key = ""
		}
		p.Kind, p.Source = "", evidence.Source{}
		if at, ok := p.vpc(); ok {
			out = append(out, labelled{p, at.Value})
		}
	}
	if err = failed(errClients); err == nil {
		err = failed(errBoot)
	}
	if len(out) == 0 && err == nil {
		err = errClients
	}
	return out, err
}

// admits says whether a rule is shown to a node with this metadata. A kind of match that isn't known admits: it accuses
// nobody.
// https://cloud.google.com/compute/docs/reference/rest/v1/globalForwardingRules/insert, metadataFilters
func admits(r evidence.ForwardingRule, metadata map[string]string) bool {
	for _, f := range r.MetadataFilters {
		has := func(l evidence.Label) bool { v, ok := metadata[l.Name]; return ok && v == l.Value }
		hasNot := func(l evidence.Label) bool { return !has(l) }
		switch f.Match {
		case "MATCH_ALL":
			if slices.ContainsFunc(f.Labels, hasNot) {
				return false
			}
		case "MATCH_ANY":
			if len(f.Labels) > 0 && !slices.ContainsFunc(f.Labels, has) {
				return false
			}
		}
	}
	return true
}

// lacking tells, for each label that the rules ask for, what a node has in its place.
func lacking(on []evidence.ForwardingRule, metadata map[string]string) string {
	var out []string
	for _, r := range on {
		for _, f := range r.MetadataFilters {
			for _, l := range f.Labels {
				v, ok := metadata[l.Name]
				switch {
				case !ok:
					out = append(out, quote(l.Name)+" not there")
				case v != l.Value:
					out = append(out, quote(l.Name)+": "+quote(v))
				}
			}
		}
	}
	slices.Sort(out)
	return strings.Join(slices.Compact(out), "\n")
}

// shutOut makes the cause for nodes that lack the same labels.
func shutOut(req diagnose.Request, on []evidence.ForwardingRule, nodes []labelled) diagnose.Cause {
	n := nodes[0]
	r := on[0]
	rule := "rule " + quote(r.Name) + " on network " + quote(n.network)
	if len(on) > 1 {
		rule = fmt.Sprintf("none of the %d rules on network %s", len(on), quote(n.network))
	}
	wants, first := asksFor(r, n.Metadata)
	confidence := diagnose.Confirmed
	if n.File == "" {
		confidence = diagnose.Likely // the control plane may show less of a node's metadata than the node sent
	}
	c := diagnose.Cause{Subject: n.Subject, Key: n.Key, Confidence: confidence, Params: n.params(), About: diagnose.About{diagnose.AboutNetwork: {n.network}}}
	for _, n := range nodes {
		c.About[diagnose.AboutNode] = append(c.About[diagnose.AboutNode], n.NodeID)
	}
	c.Params["rule"], c.Params["label"], c.Params["value"] = r.Name, first.Name, first.Value
	c.Params["network"], c.Params["project"] = n.network, projectParam(req, on, []identity{n.identity})
	who := n.Subject
	if len(nodes) > 1 {
		c.Subject, c.Key = fmt.Sprintf("%d nodes of network %s", len(nodes), n.network), "nodes"
		who = plural(len(nodes), "node", "nodes")
		delete(c.Params, "node_id")
	}
	has := lacking(on, n.Metadata)
	if len(on) == 1 {
		c.Summary = fmt.Sprintf("The only %s asks for %s; %s has %s.", rule, wants, who, few(strings.Split(has, "\n")))
	} else {
		c.Summary = fmt.Sprintf("By their metadata filters %s admits %s: rule %s asks for %s; it has %s.", rule, who, quote(r.Name), wants, few(strings.Split(has, "\n")))
	}
	var lines []string
	for _, r := range on[:min(len(on), 3)] {
		w, _ := asksFor(r, nil)
		lines = append(lines, "rule "+quote(r.Name)+": "+w)
	}
	c.Evidence = []diagnose.Exhibit{
		{Fact: evidence.ForwardingRules.Name(), Excerpt: strings.Join(lines, "\n"), Source: r.Source},
		{Fact: n.Fact, Excerpt: n.Subject + "\n" + has, Source: n.Source},
	}
	return c
}

// asksFor tells a rule's filters, and gives a label that a node lacks: one that it has with another value, where there is
// such a one, as a wrong value is likelier than a label nobody thought of.
func asksFor(r evidence.ForwardingRule, metadata map[string]string) (text string, first evidence.Label) {
	var all []string
	other := false // first is there, with another value
	for _, f := range r.MetadataFilters {
		var labels []string
		for _, l := range f.Labels {
			labels = append(labels, l.Name+"="+l.Value)
			v, has := metadata[l.Name]
			if (!has || v != l.Value) && (first.Name == "" || (has && !other)) {
				first, other = l, has
			}
		}
		all = append(all, f.Match+" of "+few(quoted(labels)))
	}
	return strings.Join(all, " and "), first
}
