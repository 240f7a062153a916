package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// proxylessRefused is the Compute API's refusal of a rule for proxyless gRPC on an address of its own. The reference says
// what is refused and not in which words, so that it is recognised by the two things that any wording names, and by its
// being an error.
// https://cloud.google.com/compute/docs/reference/rest/v1/globalForwardingRules/insert, IPAddress
var proxylessRefused = diagnose.Signature{
	ID:      "proxyless-address-refused",
	Anchors: []string{"validateForProxyless", "validate_for_proxyless"},
	Pattern: `(?:Invalid value|nvalid IP|rror 400|ERROR:|"code": ?400)[^\n]*?(?:` +
		`(?:validateForProxyless|validate_for_proxyless)[^\n]*\b0\.0\.0\.0\b|\b0\.0\.0\.0\b[^\n]*(?:validateForProxyless|validate_for_proxyless))`,
	Meaning: "the API refused a forwarding rule for proxyless gRPC whose address isn't 0.0.0.0",
	Examples: []string{
		` - Invalid value for field 'resource.IPAddress': '10.0.0.5'. The IP address must be 0.0.0.0 when the target gRPC proxy has validateForProxyless set to true.`,
		`Error: Error creating GlobalForwardingRule: googleapi: Error 400: Invalid value for field 'resource.IPAddress': '10.0.0.5'. With validate_for_proxyless the address should be 0.0.0.0, invalid`,
		`{"error": {"code": 400, "message": "Invalid value for field 'resource.IPAddress': '10.0.0.5'. A forwarding rule that references a target gRPC proxy with validateForProxyless must use IP address 0.0.0.0."}}`,
	},
}

// ProxylessValidation finds rules for gRPC that clients without a sidecar can't use.
var ProxylessValidation = diagnose.Check{
	ID: "config/proxyless-validation",
	Doc: diagnose.Doc{
		Title: "The gRPC rule is not set up for proxyless clients",
		Explanation: "A gRPC client that dials xds:///… without a sidecar is served through a target gRPC proxy with validateForProxyless, whose URL map leads to " +
			"backend services with the protocol GRPC alone; its forwarding rule has the address 0.0.0.0. Without the flag such a client must not use xds:///.",
		Quiet: "A target gRPC proxy without the flag beside one that has it may serve gRPC clients behind Envoy sidecars. HTTP target proxies aren't judged.",
		Remedy: []diagnose.Step{
			{
				If: "grpc_proxy", Text: "See the target gRPC proxy",
				Command: "gcloud compute target-grpc-proxies describe {{grpc_proxy}} --project={{project}}",
			},
			{
				If: "remake", Text: "validateForProxyless can't be switched on later: make a second target gRPC proxy with it on the same URL map",
				Command: "gcloud compute target-grpc-proxies create {{grpc_proxy}}-proxyless --url-map={{url_map}} --validate-for-proxyless --project={{project}}",
			},
			{
				If: "remake", Text: "Then a rule that leads to it, on the address 0.0.0.0. Where an old rule holds this address and port, take another port (clients dial it: xds:///HOST:PORT), or delete the old rule first, which cuts off those it serves",
				Command: "gcloud compute forwarding-rules create {{rule}}-proxyless --global --load-balancing-scheme=INTERNAL_SELF_MANAGED --network={{network}} --address=0.0.0.0 --ports={{ports}} --target-grpc-proxy={{grpc_proxy}}-proxyless --project={{project}}",
			},
			{
				If: "backend_service", Text: "See the backend service {{backend_service}}; behind a target gRPC proxy its protocol must be GRPC, and its clients and servers must speak gRPC",
				Command: `gcloud compute backend-services describe {{backend_service}} --global --project={{project}} --format="yaml(name,protocol,loadBalancingScheme,usedBy)"`,
			},
			{
				If: "backend_service", Text: "If nothing but gRPC uses it, change its protocol; other users of the same backend service feel this too",
				Command: "gcloud compute backend-services update {{backend_service}} --global --protocol=GRPC --project={{project}}",
			},
			{
				If:   "refused",
				Text: "Create the forwarding rule with --address=0.0.0.0: clients without a sidecar find it by the name they dial, not by an address",
			},
		},
		References: []string{refGRPCProxy, refRules},
	},
	Severity: diagnose.Blocking,
	Layer:    diagnose.LayerConfig,
	Symptoms: []diagnose.Symptom{diagnose.SymptomNoConfig, diagnose.SymptomRequestsFail},
	Needs: []evidence.Name{
		evidence.LogMessages.Name(), evidence.Clients.Name(), evidence.Bootstraps.Name(), evidence.ForwardingRules.Name(),
		evidence.TargetProxies.Name(), evidence.URLMaps.Name(), evidence.BackendServices.Name(),
	},
	Signatures: []diagnose.Signature{proxylessRefused},
	Explains:   []diagnose.CheckID{"xds/config-not-sent", "xds/resource-missing", "proxyless/produced-zero-addresses"},
	Evaluate:   proxylessValidation,
}

func proxylessValidation(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	log, errLog := evidence.Get(v, evidence.LogMessages)
	causes := refusals(log)
	more, err := unvalidated(req, v)
	causes = append(causes, more...)
	if len(causes) > 0 {
		return causes, nil
	}
	if errLog == nil {
		err = failed(err) // the log is known and holds no refusal: the rest need not have been asked for
	}
	return nil, err
}

// refusals makes a cause of the API's refusals.
func refusals(log []evidence.LogMessage) []diagnose.Cause {
	for _, m := range log {
		if m.Signature == proxylessRefused.ID {
			return []diagnose.Cause{{
				Subject: "forwarding rule for proxyless gRPC", Confidence: diagnose.Likely,
				Summary:  "The API refused a forwarding rule for a target gRPC proxy with validateForProxyless, because its address is not 0.0.0.0.",
				Params:   map[string]string{"refused": "yes"},
				Evidence: []diagnose.Exhibit{{Fact: evidence.LogMessages.Name(), Excerpt: excerpt(m), Source: m.Source}},
			}}
		}
	}
	return nil
}

// clientele is who uses the rules of a network, as far as it is known.
type clientele struct {
	network string
	grpc    diagnose.Exhibit // shows a client without a sidecar
	mixed   bool             // there are others, or there may be
}

// users finds a client without a sidecar on a VPC network. The error says why none is known.
func users(req diagnose.Request, v *evidence.View) (u clientele, err error) {
	_, said, errBoot := bootstraps(req, v)
	list, errClients := evidence.Get(v, evidence.Clients)
	u.network = evidence.LastSegment(req.Target.Network)
	found := false
	for _, c := range list.Clients {
		p := fromBootstrap(evidence.Bootstrap{NodeID: c.NodeID, Metadata: c.Metadata})
		at, ok := p.vpc()
		if !ok || (u.network != "" && at.Value != u.network) {
			continue
		}
		if !strings.HasPrefix(c.UserAgentName, "gRPC") {
			u.mixed = true // also where another node is asked about: the rules are for all of the network
			continue
		}
		if !found && (req.Target.NodeID == "" || c.NodeID == req.Target.NodeID) {
			found, u.network = true, at.Value
			u.grpc = diagnose.Exhibit{Fact: evidence.Clients.Name(), Excerpt: "node " + c.NodeID + " is " + strings.TrimSpace(c.UserAgentName+" "+c.UserAgentVersion)}
		}
	}
	for _, p := range said {
		at, ok := p.vpc()
		if p.Kind != evidence.GRPCBootstrap || !ok || (u.network != "" && at.Value != u.network) {
			continue
		}
		if !found {
			found, u.network = true, at.Value
			u.grpc = diagnose.Exhibit{Fact: evidence.Bootstraps.Name(), Excerpt: p.Subject + " is a gRPC client's", Source: p.Source}
		}
	}
	if found {
		u.mixed = u.mixed || errClients != nil // who else is there isn't known
		return u, nil
	}
	if err = failed(errClients); err == nil {
		err = failed(errBoot)
	}
	if err == nil && errClients != nil && errBoot != nil {
		err = errClients
	}
	if err == nil {
		err = diagnose.Skip("no gRPC client without a sidecar is known")
	}
	return u, err
}

// unvalidated judges the target gRPC proxies that rules on the network lead to, and the backend services behind them.
func unvalidated(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	if req.Target.Mesh != "" {
		return nil, diagnose.Skip("a Mesh serves proxyless clients by GRPCRoutes")
	}
	u, err := users(req, v)
	if err != nil {
		return nil, err
	}
	// That no other proxy validates, and that a name is found nowhere, takes whole lists.
	rules, err := evidence.Whole(v, evidence.ForwardingRules)
	if err != nil {
		return nil, err
	}
	targets, err := evidence.Whole(v, evidence.TargetProxies)
	if err != nil {
		return nil, err
	}
	type reached struct {
		rule   evidence.ForwardingRule
		target evidence.TargetProxy
	}
	var good, bare []reached
	for _, r := range newRuleSet(rules).on(u.network) {
		t, ok := targetOf(r, targets)
		switch {
		case !ok || t.Kind != "grpc":
		case t.ValidateForProxyless:
			good = append(good, reached{r, t})
		default:
			bare = append(bare, reached{r, t})
		}
	}
	if u.mixed && len(good) > 0 {
		bare = nil // others may be those that the proxies without the flag are for
	}
	var causes []diagnose.Cause
	seen := map[string]bool{}
	for _, b := range bare {
		if seen[b.target.Name] {
			continue
		}
		seen[b.target.Name] = true
		c := diagnose.Cause{
			Subject: "target gRPC proxy " + b.target.Name, Confidence: diagnose.Confirmed,
			Summary: fmt.Sprintf("Target gRPC proxy %s on network %s lacks validateForProxyless, and clients without a sidecar use the network.", quote(b.target.Name), quote(u.network)),
			Params:  map[string]string{"remake": "yes", "url_map": evidence.LastSegment(b.target.URLMap)},
			Evidence: []diagnose.Exhibit{
				{Fact: evidence.TargetProxies.Name(), Excerpt: "target gRPC proxy " + quote(b.target.Name) + ": validateForProxyless false", Source: b.target.Source},
				ruleExhibit([]evidence.ForwardingRule{b.rule}), u.grpc,
			},
		}
		switch {
		case len(good) > 0:
			c.Confidence = diagnose.Possible // the clients seen may use the others alone
		case u.mixed:
			c.Confidence = diagnose.Likely
		}
		proxylessParams(req, b.rule, b.target, u, c.Params)
		causes = append(causes, c)
	}
	for _, x := range append(good, bare...) {
		more, err := wrongProtocol(v, x.target)
		if err != nil {
			if len(causes) > 0 {
				break
			}
			return nil, err
		}
		for _, bs := range more {
			if seen["\n"+bs.Name] {
				continue
			}
			seen["\n"+bs.Name] = true
			c := diagnose.Cause{
				Subject: "backend service " + bs.Name, Confidence: diagnose.Confirmed,
				Summary: fmt.Sprintf("Backend service %s behind target gRPC proxy %s has the protocol %s, not GRPC.", quote(bs.Name), quote(x.target.Name), bs.Protocol),
				Params:  map[string]string{"backend_service": bs.Name},
				Evidence: []diagnose.Exhibit{
					{Fact: evidence.BackendServices.Name(), Excerpt: "backend service " + quote(bs.Name) + ": protocol " + bs.Protocol}, u.grpc,
				},
			}
			proxylessParams(req, x.rule, x.target, u, c.Params)
			causes = append(causes, c)
		}
	}
	return causes, nil
}

func proxylessParams(req diagnose.Request, r evidence.ForwardingRule, t evidence.TargetProxy, u clientele, into map[string]string) {
	ruleParams(r, into)
	into["grpc_proxy"], into["network"] = t.Name, u.network
	into["project"] = projectParam(req, []evidence.ForwardingRule{r}, nil)
}

// wrongProtocol gives the backend services behind a target proxy whose protocol isn't GRPC. One whose protocol isn't shown
// is left out.
func wrongProtocol(v *evidence.View, t evidence.TargetProxy) ([]evidence.BackendService, error) {
	maps, err := evidence.Get(v, evidence.URLMaps)
	if err != nil {
		return nil, err
	}
	services, err := evidence.Get(v, evidence.BackendServices)
	if err != nil {
		return nil, err
	}
	var out []evidence.BackendService
	for _, m := range maps {
		if m.Name == "" || m.Name != evidence.LastSegment(t.URLMap) {
			continue
		}
		for _, s := range services {
			behind := slices.ContainsFunc(m.Services, func(url string) bool { return evidence.LastSegment(url) == s.Name })
			if behind && s.Protocol != "" && s.Protocol != "GRPC" {
				out = append(out, s)
			}
		}
	}
	return out, nil
}
