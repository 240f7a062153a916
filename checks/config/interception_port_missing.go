package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// InterceptionPortMissing finds an Envoy bootstrap without a port for the interception listener.
var InterceptionPortMissing = diagnose.Check{
	ID: "config/interception-port-missing",
	Doc: diagnose.Doc{
		Title: "The bootstrap names no interception port",
		Explanation: "Traffic Director makes the listener that intercepted outbound traffic goes to on the port in TRAFFICDIRECTOR_INTERCEPTION_PORT. " +
			"Where the value is empty it makes none: redirected connections are refused, though the proxy is connected and has its configuration.",
		Quiet: "Middle proxies and gateways (target proxies with proxyBind) need no interception listener, proxyless gRPC has none, and proxies of a Mesh " +
			"take the port from the Mesh (15001 where it names none).",
		Remedy: []diagnose.Step{
			{
				Text:    "See to which port traffic is redirected on the machine; 15001 is the default",
				Command: "sudo iptables -t nat -S | grep -- --to-ports",
			},
			{
				Text:    "In {{file}}, set TRAFFICDIRECTOR_INTERCEPTION_PORT under node.metadata to that port, as a string (\"15001\"), and restart Envoy",
				Command: "grep -n TRAFFICDIRECTOR_ {{file}}",
			},
		},
		References: []string{refAttributes},
	},
	Severity: diagnose.Blocking,
	Layer:    diagnose.LayerInterception,
	Symptoms: []diagnose.Symptom{diagnose.SymptomRequestsFail},
	Needs:    []evidence.Name{evidence.Bootstraps.Name(), evidence.ForwardingRules.Name(), evidence.TargetProxies.Name()},
	Explains: []diagnose.CheckID{"xds/destination-not-configured"},
	Evaluate: interceptionPortMissing,
}

func interceptionPortMissing(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	list, who, err := bootstraps(req, v)
	if err != nil {
		return nil, err
	}
	var t evidence.Tally
	rules, _ := evidence.Read(&t, v, evidence.ForwardingRules)
	targets, _ := evidence.Read(&t, v, evidence.TargetProxies)
	set := newRuleSet(rules)
	envoys := 0
	var causes []diagnose.Cause
	var open error
	for i, b := range list {
		p := who[i]
		at, onVPC := p.vpc()
		if b.Kind != evidence.EnvoyBootstrap || (len(p.Places) > 0 && !onVPC) {
			continue
		}
		envoys++
		port, there := b.Metadata[evidence.MetadataIntercept]
		if strings.TrimSpace(port) != "" || (!there && !hasAttribute(b)) {
			continue
		}
		if set.bound(at.Value, targets) {
			continue // a gateway or middle proxy may be what this is
		}
		c := diagnose.Cause{
			Subject: p.Subject, Key: p.Key, Confidence: diagnose.Confirmed, Params: p.params(),
			Summary: fmt.Sprintf("%s is empty in %s: the proxy gets no listener for intercepted traffic.", evidence.MetadataIntercept, p.Subject),
			Evidence: []diagnose.Exhibit{{
				Fact: evidence.Bootstraps.Name(), Excerpt: "node.metadata." + evidence.MetadataIntercept + ": " + quote(port), Source: b.Source,
			}},
		}
		bindKnown := t.Err() == nil && len(rules) > 0
		switch {
		case there && !bindKnown:
			c.Confidence = diagnose.Likely // whether it is a gateway isn't known
		case !there && failed(t.Err()) != nil:
			open = t.Err()
			continue
		case !there:
			c.Confidence = diagnose.Possible
			if bindKnown {
				c.Confidence = diagnose.Likely
			}
			c.Summary = fmt.Sprintf("%s is not in %s, which has other attributes of Traffic Director: a sidecar gets no listener for intercepted traffic.", evidence.MetadataIntercept, p.Subject)
			c.Evidence[0].Excerpt = "node.metadata." + evidence.MetadataIntercept + ": not there"
		}
		causes = append(causes, c)
	}
	switch {
	case len(causes) > 0:
		return causes, nil
	case open != nil:
		return nil, open
	case envoys == 0:
		return nil, diagnose.Skip("no Envoy bootstrap of a network's sidecar is given")
	}
	return nil, nil
}

// hasAttribute says whether the bootstrap's metadata has attributes for Traffic Director at all. One that carries project and
// network in its node id alone may have the rest elsewhere.
func hasAttribute(b evidence.Bootstrap) bool {
	for k := range b.Metadata {
		if strings.HasPrefix(k, metadataPrefix) {
			return true
		}
	}
	return false
}

// bound says whether a target proxy that a rule on the network leads to binds the rule's address itself.
func (s ruleSet) bound(network string, targets []evidence.TargetProxy) bool {
	return slices.ContainsFunc(s.managed, func(r evidence.ForwardingRule) bool {
		if network != "" && r.Network != network {
			return false
		}
		t, ok := targetOf(r, targets)
		return ok && t.ProxyBind
	})
}

// targetOf gives the target proxy that a rule leads to. URLs of one resource differ by host and version of the API.
func targetOf(r evidence.ForwardingRule, targets []evidence.TargetProxy) (evidence.TargetProxy, bool) {
	kinds := map[string]string{"grpc": "targetGrpcProxies", "http": "targetHttpProxies", "https": "targetHttpsProxies", "tcp": "targetTcpProxies"}
	for _, t := range targets {
		if r.Target != "" && strings.Contains(r.Target, "/"+kinds[t.Kind]+"/") && evidence.LastSegment(r.Target) == t.Name {
			return t, true
		}
	}
	return evidence.TargetProxy{}, false
}
