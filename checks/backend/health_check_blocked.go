package backend

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/meshdiag/meshdiag/checks/firewall"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// probers are the ranges that Google's health checks come from; all of both must be let in.
// https://cloud.google.com/load-balancing/docs/health-check-concepts#ip-ranges
var probers = []netip.Prefix{netip.MustParsePrefix("35.191.0.0/16"), netip.MustParsePrefix("130.211.0.0/22")}

// HealthCheckBlocked finds that the firewall in force keeps Google's health checks from endpoints that are all unhealthy.
var HealthCheckBlocked = diagnose.Check{
	ID:       "backend/health-check-blocked",
	Severity: diagnose.Degrading,
	Layer:    diagnose.LayerNetwork,
	Symptoms: []diagnose.Symptom{diagnose.SymptomRequestsFail},
	Needs: []evidence.Name{
		evidence.BackendHealth.Name(), evidence.BackendServices.Name(), evidence.HealthChecks.Name(), evidence.EndpointGroups.Name(),
		evidence.EffectiveFirewalls.Name(), evidence.Instances.Name(),
	},
	Explains: []diagnose.CheckID{"backend/fail-open", "backend/some-unhealthy", "xds/endpoints-unhealthy", "request/no-healthy-upstream", "proxyless/produced-zero-addresses"},
	Doc: diagnose.Doc{
		Title: "The firewall keeps health checks from the endpoints",
		Explanation: "Google checks endpoints' health from 35.191.0.0/16 and 130.211.0.0/22. Every network denies what comes in unless a rule admits it; hierarchical and network " +
			"firewall policies can deny it whatever a rule of the network says. Here the rules in force, taken together, do not admit the checks, and every endpoint is unhealthy.",
		Quiet: "Some endpoints are healthy; a broader rule admits the checks; the endpoints' groups are checked by the proxies themselves (NON_GCP_PRIVATE_IP_PORT, INTERNET_FQDN_PORT); " +
			"what is in force isn't certain, for conditions that ranges don't show or for tags that aren't known; a plain list of rules, which leaves policies out.",
		Remedy: []diagnose.Step{
			{Unless: "policy", Text: "Add a rule that admits the checks (add --target-tags to limit it to the endpoints' VMs). A new rule changes no other one.",
				Command: "gcloud compute firewall-rules create allow-health-checks-{{port}} --project={{network_project}} --network={{network}} --direction=INGRESS --action=ALLOW --priority={{priority}} --source-ranges=35.191.0.0/16,130.211.0.0/22 --rules=tcp:{{port}}"},
			{If: "policy", Text: "Firewall policy {{policy}} denies them before a rule of the network is asked: whoever owns it must add a rule to it that allows tcp:{{port}} from 35.191.0.0/16 and 130.211.0.0/22, with a priority below {{rule_priority}}."},
			{Text: "See all that is in force.", Command: "gcloud compute networks get-effective-firewalls {{network}} --project={{network_project}}"},
			seeHealth[0], seeHealth[1],
		},
		References: []string{
			"https://cloud.google.com/load-balancing/docs/health-check-concepts#ip-ranges",
			"https://docs.cloud.google.com/firewall/docs/firewall-policies-rule-eval-order",
		},
	},
	Evaluate: healthCheckBlocked,
}

// defaultPriority is that of a VPC rule that names none.
const defaultPriority = 1000

func healthCheckBlocked(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	health, err := evidence.Get(v, evidence.BackendHealth)
	defs, defsErr := evidence.Get(v, evidence.BackendServices)
	checks, checksErr := evidence.Get(v, evidence.HealthChecks)
	groups, _ := evidence.Get(v, evidence.EndpointGroups)
	sets, setsErr := evidence.Get(v, evidence.EffectiveFirewalls)
	vms, _ := evidence.Get(v, evidence.Instances)
	if err != nil {
		return nil, err
	}
	var causes []diagnose.Cause
	var open error
	for _, s := range meshServices(health, defs) {
		s.endpoints = slices.DeleteFunc(slices.Clone(s.endpoints), func(e evidence.EndpointHealth) bool {
			a, err := netip.ParseAddr(e.Address)
			// Checks of IPv6 endpoints come from other ranges.
			return err == nil && !a.Is4() || slices.ContainsFunc(groups, func(g evidence.EndpointGroup) bool {
				return g.CheckedByProxy() && evidence.SameResource(g.URL, e.Group)
			})
		})
		if bad := s.count(unhealthy); bad == 0 || bad < len(s.endpoints) {
			continue
		}
		if setsErr != nil {
			open = setsErr
			continue
		}
		port, certain := checkedPort(s, checks)
		c, err := blockedService(req, s, port, certain, sets, groups, vms)
		switch {
		case err != nil:
			open = err
		case c != nil:
			causes = append(causes, *c)
		case !certain: // let in at the serving port, and the check may ask another one
			open = cmp.Or(defsErr, checksErr, fmt.Errorf("which port health checks %s ask isn't known", s.of()))
		}
	}
	if len(causes) > 0 {
		return causes, nil
	}
	return nil, open
}

// checkedPort gives the port that a service's health checks ask, 0 for that of each endpoint. certain says whether the
// health check tells so.
func checkedPort(s service, checks []evidence.HealthCheck) (port int, certain bool) {
	if len(s.def.HealthChecks) == 0 {
		return 0, false
	}
	i := slices.IndexFunc(checks, func(h evidence.HealthCheck) bool { return isOf(s.def, h) })
	if i < 0 {
		return 0, false
	}
	switch h := checks[i]; {
	case h.PortSpec == "USE_FIXED_PORT" && h.Port > 0:
		return h.Port, true
	case h.PortSpec == "USE_SERVING_PORT", h.PortSpec == "USE_NAMED_PORT" && h.PortName != "" && h.PortName == s.def.PortName:
		return 0, true
	}
	return 0, false
}

// isOf says whether a health check is a backend service's.
func isOf(s evidence.BackendService, h evidence.HealthCheck) bool {
	return slices.ContainsFunc(s.HealthChecks, func(url string) bool {
		return evidence.SameResource(url, h.SelfLink) || h.SelfLink == "" && evidence.LastSegment(url) == h.Name
	})
}

// blockedService judges a service all of whose endpoints are unhealthy. No cause and no error says that its health checks are
// let in.
func blockedService(req diagnose.Request, s service, port int, certain bool, sets []evidence.FirewallSet, groups []evidence.EndpointGroup, vms []evidence.Instance) (*diagnose.Cause, error) {
	var shut []string // the ranges that are kept out
	var by firewall.Outcome
	var in evidence.FirewallSet
	shutPort, decided := 0, 0
	var open error
	for _, e := range s.endpoints {
		set, machine, ok := firewall.Of(e, sets, groups, vms)
		p := cmp.Or(port, e.Port)
		if !ok || p <= 0 || p > 65535 {
			open = fmt.Errorf("which firewall is in force for endpoint %s:%d %s isn't known", e.Address, e.Port, s.of())
			continue
		}
		f := firewall.New(set, firewall.Packets{Port: uint16(p), Target: machine})
		var out []string
		var why firewall.Outcome
		doubt := false
		for _, from := range probers {
			switch o := f.Range(from); {
			case o.Fate == firewall.Blocked:
				out = append(out, from.String())
				why = why.And(o)
			case o.Fate == firewall.Unknown:
				doubt = true
				open = fmt.Errorf("whether the firewall admits health checks to tcp:%d %s isn't certain: %s", p, s.of(), o.Doubt())
			}
		}
		switch {
		case len(out) > 0:
			decided++
			if len(shut) == 0 {
				shut, by, in, shutPort = out, why, set, p
			}
		case !doubt:
			return nil, nil // this one's are let in, and it is unhealthy all the same
		}
	}
	if decided == 0 {
		return nil, open
	}
	c := s.cause(req)
	// A file may be of a VM's interface, whose firewall isn't that of another.
	if !certain || decided < len(s.endpoints) || !s.defined || in.Source.Pasted {
		c.Confidence = diagnose.Likely
	}
	ranges := strings.Join(shut, " and ")
	if by.By == nil {
		c.Summary = fmt.Sprintf("No firewall rule%s admits health checks from %s to tcp:%d; all %d endpoints %s are unhealthy.", firewall.On(in.Network), ranges, shutPort, len(s.endpoints), s.of())
	} else {
		c.Summary = fmt.Sprintf("The firewall denies health checks from %s to tcp:%d (%s); all %d endpoints %s are unhealthy.", ranges, shutPort, firewall.Describe(by.By), len(s.endpoints), s.of())
	}
	if in.Network != "" {
		c.Params["network"] = in.Network
	}
	c.Params["port"] = strconv.Itoa(shutPort)
	c.Params["network_project"] = networkProject(req, s, groups)
	c.Params["priority"] = strconv.Itoa(defaultPriority)
	if by.By != nil {
		c.Params["rule_priority"] = strconv.Itoa(by.By.Priority)
		c.Params["policy"] = by.By.Policy
		if by.By.Policy == "" && by.By.Priority <= defaultPriority {
			c.Params["priority"] = strconv.Itoa(max(by.By.Priority-1, 0))
		}
	}
	c.Evidence = []diagnose.Exhibit{
		{Fact: evidence.EffectiveFirewalls.Name(), Source: in.Source, Excerpt: fmt.Sprintf("tcp:%d from %s: %s", shutPort, ranges, firewall.Describe(by.By))},
		s.sick(),
	}
	return &c, nil
}

// networkProject gives the project that the endpoints' network is in: a Shared VPC's host project.
func networkProject(req diagnose.Request, s service, groups []evidence.EndpointGroup) string {
	for _, g := range groups {
		if g.NetworkProject != "" && slices.ContainsFunc(s.endpoints, func(e evidence.EndpointHealth) bool { return evidence.SameResource(e.Group, g.URL) }) {
			return g.NetworkProject
		}
	}
	return cmp.Or(req.Target.Project, project(s.def.SelfLink))
}
