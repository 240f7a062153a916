package proxyless

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// TargetNotMatched finds dial targets that no forwarding rule's port and no host rule is for, or in a Mesh no route.
var TargetNotMatched = diagnose.Check{
	ID:       "proxyless/target-not-matched",
	Severity: diagnose.Blocking,
	Layer:    diagnose.LayerConfig,
	Symptoms: []diagnose.Symptom{diagnose.SymptomNoConfig, diagnose.SymptomRequestsFail},
	Doc: diagnose.Doc{
		Title: "What the gRPC client dials matches no rule",
		Explanation: "For xds:///HOST:PORT the control plane first looks for a forwarding rule with that port (80 where the target gives none), and then for a host rule, in the URL map behind it, " +
			"that is HOST:PORT as it was dialled: shop, shop:80 and shop:8080 are three different hosts. In a Mesh it looks for a route with that hostname. Where nothing matches the " +
			"client gets no listener, and its calls fail.",
		Quiet: "For clients with a sidecar, which reach rules by address; where a host rule has a wildcard or the URL map has no host rules; where no rule is on the network at all (config/no-forwarding-rule).",
		Remedy: []diagnose.Step{
			{If: "told", Text: "For {{dial}} there must be a forwarding rule with port {{port}} on the client's network, and behind it a host rule that is {{dial}} letter by letter; in a Mesh, a route with that hostname. See the rules", Command: "gcloud compute forwarding-rules list --global --project={{project}} --filter=loadBalancingScheme=INTERNAL_SELF_MANAGED --format='table(name,network.basename(),portRange,target.basename())'"},
			{If: "other_port", Text: "Dial a port that a rule has, or make a rule for port {{port}}. See the rules", Command: "gcloud compute forwarding-rules list --global --project={{project}} --filter=loadBalancingScheme=INTERNAL_SELF_MANAGED --format='table(name,network.basename(),portRange,target.basename())'"},
			{If: "url_map", Text: "Add {{dial}} to the hosts of the URL map's host rule (letter by letter, the port with it), or dial what is there. Host rules must differ between URL maps", Command: "gcloud compute url-maps describe {{url_map}} --global --project={{project}} --format='yaml(hostRules)'"},
			{If: "in_mesh", Text: "Add {{dial}} to the hostnames of a route of the Mesh, or dial what is there", Command: "gcloud network-services grpc-routes list --location=global --project={{project}} --format='yaml(name,meshes,hostnames)'"},
		},
		References: []string{refOverview, "https://cloud.google.com/traffic-director/docs/routing-rule-maps", refTrouble},
	},
	Needs: []evidence.Name{
		evidence.LogMessages.Name(), evidence.Bootstraps.Name(), evidence.Clients.Name(), evidence.ForwardingRules.Name(), evidence.TargetProxies.Name(),
		evidence.URLMaps.Name(), evidence.Routes.Name(),
	},
	Explains:   []diagnose.CheckID{"xds/config-not-sent", "xds/resource-missing", "proxyless/produced-zero-addresses"},
	Signatures: []diagnose.Signature{messages.GRPCListenerMissing},
	Evaluate:   targetNotMatched,
}

// dialled is one thing that a gRPC client dials.
type dialled struct {
	target
	message *evidence.LogMessage // that says there is no listener for it
	asked   bool                 // named in the request
}

func targetNotMatched(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	list, scope, err := whatIsDialled(req, v)
	if err != nil {
		return nil, err
	}
	var causes []diagnose.Cause
	for _, d := range list {
		var c *diagnose.Cause
		var err error
		if scope != "" {
			c, err = unmatched(d, scope, v)
		}
		var missing *evidence.Missing
		if d.message != nil && (scope == "" || errors.As(err, &missing) && missing.Why == evidence.NotAsked) {
			c, err = told(d), nil
		}
		if err != nil {
			return causes, err
		}
		if c == nil {
			continue
		}
		c.Subject = "xds:///" + d.text
		if !d.asked && len(list) > 1 {
			c.Key = "dials/" + d.text
		}
		c.Params["dial"], c.Params["port"] = d.text, fmt.Sprint(d.port)
		if d.message != nil {
			if c.Params["told"] == "" {
				c.Confidence = diagnose.Confirmed
			}
			c.Evidence = append(c.Evidence, shown([]evidence.LogMessage{*d.message})...)
		}
		causes = append(causes, *c)
	}
	return causes, nil
}

// whatIsDialled gives what gRPC clients without a proxy dial, and the scope that they name themselves: the segment of a node
// id. The error says why nothing is known.
func whatIsDialled(req diagnose.Request, v *evidence.View) (list []dialled, scope string, err error) {
	log, errLog := evidence.Get(v, evidence.LogMessages)
	bootstraps, errBoot := evidence.Get(v, evidence.Bootstraps)
	clients, errClients := evidence.Get(v, evidence.Clients)
	scope = req.Target.Scope()
	client := false
	for _, b := range grpcBootstraps(bootstraps) {
		client = true
		if id, err := evidence.ParseNodeID(b.NodeID); err == nil && scope == "" {
			scope = id.Network
		}
	}
	for _, c := range clients.Clients {
		client = client || strings.HasPrefix(c.UserAgentName, "gRPC") && (req.Target.NodeID == "" || req.Target.NodeID == c.NodeID)
	}
	for _, m := range of(log, messages.GRPCListenerMissing) {
		t, ok := parseTarget(listenerHost(first(m, "name", "target", "java", "core")))
		if ok && !slices.ContainsFunc(list, func(d dialled) bool { return d.text == t.text }) {
			list = append(list, dialled{target: t, message: &m})
		}
	}
	if t, ok := parseTarget(req.Target.Destination); ok && (client || len(list) > 0 || strings.HasPrefix(req.Target.Destination, "xds:")) {
		if i := slices.IndexFunc(list, func(d dialled) bool { return d.text == t.text }); i >= 0 {
			list[i].asked = true
		} else {
			list = append(list, dialled{target: t, asked: true})
		}
	}
	switch {
	case len(list) > 0 && scope == "":
		// Without a network or Mesh there is nothing to compare with: what the client said is all.
		list = slices.DeleteFunc(list, func(d dialled) bool { return d.message == nil })
		if len(list) == 0 {
			return nil, "", diagnose.Skip("the client's network or Mesh is not known")
		}
		return list, "", nil
	case len(list) > 0:
		return list, scope, nil
	case req.Target.Destination == "" && errLog != nil:
		return nil, "", errLog
	case req.Target.Destination == "" || client:
		return nil, "", diagnose.Skip("what a gRPC client dials is not known")
	case errBoot != nil && errClients != nil && missing(errClients):
		return nil, "", errClients
	}
	return nil, "", diagnose.Skip("no gRPC client without a sidecar is known")
}

// told gives the cause that a client's message alone tells, where nothing is there to compare what it dials with.
func told(d dialled) *diagnose.Cause {
	c := &diagnose.Cause{
		Confidence: diagnose.Likely, Params: map[string]string{"told": "yes"},
		Summary: fmt.Sprintf("A gRPC client dials xds:///%s, and said %s that the control plane has no listener for it.", d.text, times(d.message.Count)),
	}
	if d.message.Count <= 1 && d.message.Fields["name"] != "" {
		c.Confidence = diagnose.Possible // what was removed may have come back, which no client tells
	}
	return c
}

// unmatched judges one target; nil where something matches it, or may.
func unmatched(d dialled, scope string, v *evidence.View) (*diagnose.Cause, error) {
	if mesh, ok := strings.CutPrefix(scope, evidence.MeshPrefix); ok {
		return noRouteFor(d, mesh, v)
	}
	if strings.HasPrefix(scope, evidence.ScopePrefix) {
		return nil, diagnose.Skip("gRPC clients of a Gateway scope are not judged")
	}
	rules, err := evidence.Whole(v, evidence.ForwardingRules)
	if err != nil {
		return nil, err
	}
	var all, mine []evidence.ForwardingRule
	for _, r := range rules {
		if !forGRPC(r, scope) {
			continue
		}
		all = append(all, r)
		if hasPort(r, d.port) {
			mine = append(mine, r)
		}
	}
	switch {
	case len(all) == 0:
		return nil, diagnose.Skip("no forwarding rule for gRPC is on network %s", scope)
	case len(mine) == 0:
		var lines []string
		for _, r := range all {
			lines = append(lines, r.Name+" has port "+portText(r))
		}
		slices.Sort(lines)
		return &diagnose.Cause{
			Confidence: diagnose.Confirmed, Params: map[string]string{"other_port": "yes"},
			Summary:  fmt.Sprintf("A gRPC client dials xds:///%s, and no forwarding rule on network %q has port %d%s.", d.text, scope, d.port, d.byDefault()),
			Evidence: []diagnose.Exhibit{{Fact: evidence.ForwardingRules.Name(), Excerpt: strings.Join(lines[:min(len(lines), 5)], "\n"), Source: all[0].Source}},
		}, nil
	}
	return noHostRuleFor(d, mine, v)
}

// noHostRuleFor looks at the URL maps behind rules that have the port.
func noHostRuleFor(d dialled, rules []evidence.ForwardingRule, v *evidence.View) (*diagnose.Cause, error) {
	proxies, err := evidence.Whole(v, evidence.TargetProxies)
	if err != nil {
		return nil, err
	}
	maps, err := evidence.Whole(v, evidence.URLMaps)
	if err != nil {
		return nil, err
	}
	var lines []string
	name := ""
	for _, r := range rules {
		i := slices.IndexFunc(proxies, func(p evidence.TargetProxy) bool { return same(p.SelfLink, p.Name, r.Target) })
		if i < 0 {
			return nil, diagnose.Skip("the target proxy of forwarding rule %s is not known", r.Name)
		}
		j := slices.IndexFunc(maps, func(m evidence.URLMap) bool { return same(m.SelfLink, m.Name, proxies[i].URLMap) })
		if j < 0 {
			return nil, diagnose.Skip("the URL map of forwarding rule %s is not known", r.Name)
		}
		m := maps[j]
		if len(m.Hosts) == 0 || slices.ContainsFunc(m.Hosts, d.matches) {
			return nil, nil
		}
		name = m.Name
		lines = append(lines, fmt.Sprintf("URL map %s has the hosts %s", m.Name, some(m.Hosts)))
	}
	return &diagnose.Cause{
		Confidence: diagnose.Likely, Params: map[string]string{"url_map": name},
		Summary: fmt.Sprintf("A gRPC client dials xds:///%s, and no host rule behind port %d is %q%s.", d.text, d.port, d.text, like(d, lines)),
		Evidence: []diagnose.Exhibit{
			{Fact: evidence.URLMaps.Name(), Excerpt: strings.Join(lines[:min(len(lines), 5)], "\n")},
			{Fact: evidence.ForwardingRules.Name(), Excerpt: fmt.Sprintf("%s has port %s", rules[0].Name, portText(rules[0])), Source: rules[0].Source},
		},
	}, nil
}

// noRouteFor looks at the routes of a Mesh.
func noRouteFor(d dialled, mesh string, v *evidence.View) (*diagnose.Cause, error) {
	routes, err := evidence.Whole(v, evidence.Routes)
	if err != nil {
		return nil, err
	}
	var hosts []string
	for _, r := range routes {
		if !slices.Contains(r.Meshes, mesh) || r.Kind != "grpc" && r.Kind != "http" {
			continue
		}
		if len(r.Hostnames) == 0 || slices.ContainsFunc(r.Hostnames, d.matches) {
			return nil, nil
		}
		hosts = append(hosts, r.Hostnames...)
	}
	if len(hosts) == 0 {
		return nil, diagnose.Skip("no gRPC or HTTP route is attached to Mesh %s", mesh)
	}
	line := fmt.Sprintf("routes of Mesh %s have the hostnames %s", mesh, some(hosts))
	return &diagnose.Cause{
		Confidence: diagnose.Likely, Params: map[string]string{"in_mesh": "yes"},
		Summary:  fmt.Sprintf("A gRPC client dials xds:///%s, and no route of Mesh %q has the hostname %q%s.", d.text, mesh, d.text, like(d, []string{line})),
		Evidence: []diagnose.Exhibit{{Fact: evidence.Routes.Name(), Excerpt: line}},
	}, nil
}

// like adds the host that differs in its port alone.
func like(d dialled, lines []string) string {
	for _, l := range lines {
		for _, w := range strings.Fields(l) {
			w = strings.Trim(w, ",")
			if t, ok := parseTarget(w); ok && w != d.text && strings.EqualFold(t.host, d.host) && !strings.Contains(w, "*") {
				return fmt.Sprintf(" (there is %q)", w)
			}
		}
	}
	return ""
}

func some(hosts []string) string {
	const most = 5 // more than a person compares at once
	hosts = slices.Sorted(slices.Values(hosts))
	hosts = slices.Compact(hosts)
	s := strings.Join(hosts[:min(len(hosts), most)], ", ")
	if n := len(hosts) - most; n > 0 {
		s += fmt.Sprintf(" and %d more", n)
	}
	return s
}

// listenerHost gives what was dialled of a listener's name: the name itself, or the last part of an xdstp name
// (xdstp://AUTHORITY/envoy.config.listener.v3.Listener/…/HOST:PORT, percent-encoded).
func listenerHost(name string) string {
	if !strings.HasPrefix(name, "xdstp:") {
		return name
	}
	s, err := url.PathUnescape(name[strings.LastIndexByte(name, '/')+1:])
	if err != nil {
		return ""
	}
	return s
}
