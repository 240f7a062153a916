package config

import (
	"fmt"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// NetworkMismatch finds a proxy that names another VPC network than the forwarding rules do.
var NetworkMismatch = diagnose.Check{
	ID: "config/network-mismatch",
	Doc: diagnose.Doc{
		Title: "The proxy and the forwarding rules name different VPC networks",
		Explanation: "A proxy tells the control plane the name of a VPC network, and gets what the forwarding rules with the scheme " +
			"INTERNAL_SELF_MANAGED on the network of that very name lead to. The names are compared as text: one letter off, and the answer is NOT_FOUND.",
		Quiet: "Names are compared by the last segment of the network's URL, so that a rule of a service project on the host project's Shared VPC " +
			"network matches. Proxies of a Mesh or of a Gateway scope (mesh: or scope: in the node id) take no forwarding rules.",
		Remedy: append([]diagnose.Step{
			{
				If:      "ask_again",
				Text:    "The proxy given is on {{ask_again}}, and so are the rules: ask again about that network",
				Command: "meshdiag diagnose --project={{project}} --network={{ask_again}}",
			},
			{
				If:   "move",
				Text: "Or, if {{move}} is to get the configuration of {{rules_network}}, correct the network in its bootstrap, and restart it: it leaves {{ask_again}} then",
			},
			{
				If:      "envoy",
				Text:    "In {{envoy}}, write the network {{rules_network}} into TRAFFICDIRECTOR_NETWORK_NAME and into the networks/ part of node.id, and restart Envoy",
				Command: "grep -nE 'TRAFFICDIRECTOR_NETWORK_NAME|/networks/' {{envoy}}",
			},
			{
				If:      "grpc",
				Text:    "In {{grpc}}, the networks/ part of node.id must name {{rules_network}}: run the bootstrap generator again with --vpc-network-name={{rules_network}}, and restart the client",
				Command: "grep -n '/networks/' {{grpc}}",
			},
			{
				If:      "sidecar_env",
				Text:    "In {{sidecar_env}}, set VPC_NETWORK_NAME to {{rules_network}} and restart the proxy with its run.sh",
				Command: "grep -n VPC_NETWORK_NAME {{sidecar_env}}",
			},
			{
				If:      "instance",
				Text:    "A VM made with --service-proxy takes the network from its template: see which one it has, and make a new template with --service-proxy=enabled,network={{rules_network}}",
				Command: `gcloud compute instances describe {{instance}} --zone={{zone}} --project={{project}} --flatten="metadata[gce-service-proxy]"`,
			},
			{
				Unless:  "file",
				Text:    "See which networks the rules are on, and compare with TRAFFICDIRECTOR_NETWORK_NAME, node.id or --service-proxy:network of the proxies",
				Command: listRules,
			},
		}, copyRule("proxy_network")...),
		References: []string{refAttributes, refRules},
	},
	Severity: diagnose.Blocking,
	Layer:    diagnose.LayerConfig,
	Symptoms: []diagnose.Symptom{diagnose.SymptomNoConfig, diagnose.SymptomRequestsFail},
	Needs:    []evidence.Name{evidence.ForwardingRules.Name(), evidence.Bootstraps.Name(), evidence.ProjectFact.Name()},
	Explains: explainedByConfig,
	Applies:  namesNetwork,
	Evaluate: networkMismatch,
}

// listRules lists Traffic Director's forwarding rules with their networks.
const listRules = "gcloud compute forwarding-rules list --global --project={{project}} --filter=loadBalancingScheme=INTERNAL_SELF_MANAGED " +
	`--format="table(name,network.basename(),target.basename(),IPAddress,portRange)"`

// copyRule are the steps that put a copy of a rule onto the network that a parameter names; a rule's own can't be changed.
func copyRule(network string) []diagnose.Step {
	var out []diagnose.Step
	for _, kind := range []string{"http", "grpc", "tcp"} {
		out = append(out, diagnose.Step{
			If: kind + "_proxy",
			Text: "Or, if the proxies are right and the rule {{rule}} is wrong: a rule's network can't be changed, but a second rule on {{" + network +
				"}} may lead to the same target proxy",
			Command: "gcloud compute forwarding-rules create {{rule}}-{{" + network + "}} --global --load-balancing-scheme=INTERNAL_SELF_MANAGED --network={{" + network +
				"}} --address={{address}} --ports={{ports}} --target-" + kind + "-proxy={{" + kind + "_proxy}} --project={{project}}",
		})
	}
	return out
}

func networkMismatch(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	asked, who, err := askedNetwork(req, v)
	if err != nil {
		return nil, err
	}
	m := mismatch{req: req, own: ownProject(req, v), pasted: pasted(v, evidence.ForwardingRules.Name())}
	var list []evidence.ForwardingRule
	list, m.incomplete = evidence.Whole(v, evidence.ForwardingRules)
	m.rules = newRuleSet(list)
	if len(m.rules.of(m.own.ID).managed) == 0 {
		return nil, m.incomplete // none at all is another condition
	}
	if req.Target.Network != "" {
		m.target(asked, who)
	}
	for _, p := range who {
		m.proxy(asked, p)
	}
	if len(m.causes) == 0 {
		return nil, m.open
	}
	return m.causes, nil
}

// mismatch compares networks.
type mismatch struct {
	req        diagnose.Request
	own        evidence.Project
	rules      ruleSet
	pasted     bool
	incomplete error // why some rules may not be known
	open       error // why a comparison could not be made
	causes     []diagnose.Cause
}

// absent says whether it is sure that no rule is on a network.
func (m *mismatch) absent(network string) bool {
	if len(m.rules.on(network)) > 0 {
		return false
	}
	err := m.incomplete
	if err == nil {
		err = m.rules.undecided(network)
	}
	if err != nil && m.open == nil {
		m.open = err
	}
	return err == nil
}

// target compares the network asked about with the rules'.
func (m *mismatch) target(asked claim, who []identity) {
	if !m.absent(asked.Value) {
		return
	}
	c := m.cause(asked.Value, "")
	c.About[diagnose.AboutProject] = []string{m.req.Target.Project}
	c.Subject = m.subject(asked.Value)
	c.Summary = m.summary("The proxies asked about are on network", asked.Value)
	for _, p := range who {
		at, _ := p.vpc()
		if at.Value == asked.Value {
			c.Evidence = append(c.Evidence, p.exhibit(at))
			if p.File != "" && c.Params["file"] == "" {
				for k, v := range p.params() { // the name that was asked about is likely taken from this very file
					c.Params[k] = v
				}
			}
			continue
		}
		if len(m.rules.on(at.Value)) > 0 {
			// The proxy given and the rules agree: what is off is the question.
			c.Severity = diagnose.Degrading
			c.Params["ask_again"] = at.Value
			c.Summary = fmt.Sprintf("Network %s was asked about, and no forwarding rule is on it; the rules and %s are on network %s.",
				quote(asked.Value), p.Subject, quote(at.Value))
			c.Evidence = append(c.Evidence, p.exhibit(at))
			withoutCopy(c.Params)
			break
		}
	}
	m.causes = append(m.causes, c)
}

// proxy compares what one proxy says with the network asked about and with the rules.
func (m *mismatch) proxy(asked claim, p identity) {
	at, _ := p.vpc()
	requested := m.req.Target.Network != ""
	switch {
	case requested && at.Value == asked.Value:
	case m.absent(at.Value):
		c := m.cause(at.Value, p.Key)
		c.About[diagnose.AboutNode] = []string{p.NodeID}
		c.Subject = p.Subject
		c.Summary = m.summary(p.Subject+" names network", at.Value)
		m.add(c, p, at)
	case requested && len(m.rules.on(asked.Value)) > 0 && len(m.rules.on(at.Value)) > 0:
		c := m.cause(at.Value, p.Key)
		c.About[diagnose.AboutNode] = []string{p.NodeID}
		// Both networks have rules: the proxy may be in order, and the question off. Nothing is to be rewritten before that is known.
		c.Subject, c.Confidence, c.Severity = p.Subject, diagnose.Likely, diagnose.Degrading
		c.Params["rules_network"], c.Params["ask_again"], c.Params["move"] = asked.Value, at.Value, p.Subject
		withoutCopy(c.Params)
		c.Summary = fmt.Sprintf("%s names network %s, not %s that was asked about: it gets the configuration of %s.",
			p.Subject, quote(at.Value), quote(asked.Value), quote(at.Value))
		c.Evidence = append([]diagnose.Exhibit{p.exhibit(at)}, c.Evidence...)
		m.causes = append(m.causes, c)
		return
	}
	for _, other := range p.Places[1:] {
		if other.Kind != vpcPlace || other.Value == at.Value || len(m.rules.on(at.Value)) == 0 || !m.absent(other.Value) {
			continue
		}
		c := m.cause(other.Value, p.Key)
		c.About[diagnose.AboutNode] = []string{p.NodeID}
		c.Subject, c.Confidence, c.Severity = p.Subject, diagnose.Possible, diagnose.Degrading
		c.Params["rules_network"] = at.Value
		c.Summary = fmt.Sprintf("%s names two networks: %s in %s, which the rules are on, and %s in %s.",
			p.Subject, quote(at.Value), at.Field, quote(other.Value), other.Field)
		m.add(c, p, at)
		return
	}
}

// withoutCopy leaves out the steps of copyRule.
func withoutCopy(params map[string]string) {
	for _, k := range []string{"http_proxy", "grpc_proxy", "tcp_proxy"} {
		delete(params, k)
	}
}

func (m *mismatch) add(c diagnose.Cause, p identity, at claim) {
	for k, v := range p.params() {
		c.Params[k] = v
	}
	c.Evidence = append([]diagnose.Exhibit{p.exhibit(at)}, c.Evidence...)
	m.causes = append(m.causes, c)
}

func (m *mismatch) subject(network string) string {
	if p := m.req.Target.Project; p != "" {
		return "network " + network + " of project " + p
	}
	return "network " + network
}

// summary says which network has no rule, and which have.
func (m *mismatch) summary(who, network string) string {
	all := m.rules.networks()
	if n := len(m.rules.managed); n > 1 {
		who += fmt.Sprintf(" %s, but none of the %d forwarding rules with INTERNAL_SELF_MANAGED is on it: they are on %s.", quote(network), n, few(quoted(all)))
	} else {
		who += fmt.Sprintf(" %s, but the one forwarding rule with INTERNAL_SELF_MANAGED is on %s.", quote(network), quote(all[0]))
	}
	if near, ok := nearest(network, all); ok && len(all) > 1 {
		who += fmt.Sprintf(" The closest name is %s.", quote(near))
	}
	return who
}

// cause makes the cause for a network without rules, with the network that was probably meant.
func (m *mismatch) cause(network, key string) diagnose.Cause {
	confidence := diagnose.Confirmed
	if m.pasted {
		confidence = diagnose.Likely // the list given may be a part of the rules
	}
	all := m.rules.networks()
	meant, ok := nearest(network, all)
	if t := m.req.Target.Network; t != "" && t != network && len(m.rules.on(evidence.LastSegment(t))) > 0 {
		meant = evidence.LastSegment(t)
	} else if !ok {
		meant = all[0]
	}
	p := map[string]string{
		"proxy_network": network, "rules_network": meant,
		"project": projectParam(m.req, m.rules.managed, nil),
	}
	ruleParams(m.rules.on(meant)[0], p)
	return diagnose.Cause{
		Key: key, About: diagnose.About{diagnose.AboutNetwork: {network}}, Confidence: confidence, Params: p,
		Evidence: []diagnose.Exhibit{ruleExhibit(m.rules.managed)},
	}
}
