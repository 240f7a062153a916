package lab

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	compute "google.golang.org/api/compute/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const computeBase = "https://www.googleapis.com/compute/v1/projects/"

// creationTime is when everything in the mesh was made: before anybody complained.
const creationTime = "2025-03-04T09:12:45.318-08:00"

func (g *googleAPIs) compute() {
	call := func(permission string) api {
		return api{host: computeHost, permission: "compute." + permission, scopes: []string{"compute", "compute.readonly"}}
	}
	const global = "GET /compute/v1/projects/{project}/global/"
	g.handle("GET /compute/v1/projects/{project}", call("projects.get"), g.computeProject)
	g.handle(global+"forwardingRules", call("globalForwardingRules.list"), func(_ identity, r *http.Request) (any, error) {
		items, next, err := page(r, "maxResults", g.forwardingRules())
		return &compute.ForwardingRuleList{Kind: "compute#forwardingRuleList", Id: g.listID("global/forwardingRules"),
			SelfLink: g.link("global/forwardingRules"), Items: items, NextPageToken: next}, err
	})
	g.handle("GET /compute/v1/projects/{project}/aggregated/forwardingRules", call("forwardingRules.list"), g.aggregatedRules)
	g.handle(global+"targetGrpcProxies", call("targetGrpcProxies.list"), func(_ identity, r *http.Request) (any, error) {
		items, next, err := page(r, "maxResults", g.grpcProxies())
		return &compute.TargetGrpcProxyList{Kind: "compute#targetGrpcProxyList", Id: g.listID("global/targetGrpcProxies"),
			SelfLink: g.link("global/targetGrpcProxies"), Items: items, NextPageToken: next}, err
	})
	g.handle(global+"targetHttpProxies", call("targetHttpProxies.list"), func(_ identity, r *http.Request) (any, error) {
		items, next, err := page(r, "maxResults", g.httpProxies())
		return &compute.TargetHttpProxyList{Kind: "compute#targetHttpProxyList", Id: g.listID("global/targetHttpProxies"),
			SelfLink: g.link("global/targetHttpProxies"), Items: items, NextPageToken: next}, err
	})
	g.handle(global+"targetHttpsProxies", call("targetHttpsProxies.list"), func(_ identity, r *http.Request) (any, error) {
		return &compute.TargetHttpsProxyList{Kind: "compute#targetHttpsProxyList", Id: g.listID("global/targetHttpsProxies"),
			SelfLink: g.link("global/targetHttpsProxies")}, nil
	})
	g.handle(global+"targetTcpProxies", call("targetTcpProxies.list"), func(_ identity, r *http.Request) (any, error) {
		items, next, err := page(r, "maxResults", g.tcpProxies())
		return &compute.TargetTcpProxyList{Kind: "compute#targetTcpProxyList", Id: g.listID("global/targetTcpProxies"),
			SelfLink: g.link("global/targetTcpProxies"), Items: items, NextPageToken: next}, err
	})
	g.handle(global+"urlMaps", call("urlMaps.list"), func(_ identity, r *http.Request) (any, error) {
		items, next, err := page(r, "maxResults", g.urlMaps())
		return &compute.UrlMapList{Kind: "compute#urlMapList", Id: g.listID("global/urlMaps"),
			SelfLink: g.link("global/urlMaps"), Items: items, NextPageToken: next}, err
	})
	g.handle(global+"urlMaps/{name}", call("urlMaps.get"), func(_ identity, r *http.Request) (any, error) {
		return get(g.urlMaps(), "urlMaps", r, func(m *compute.UrlMap) string { return m.Name })
	})
	g.handle(global+"backendServices", call("backendServices.list"), func(_ identity, r *http.Request) (any, error) {
		items, next, err := page(r, "maxResults", g.backendServices())
		return &compute.BackendServiceList{Kind: "compute#backendServiceList", Id: g.listID("global/backendServices"),
			SelfLink: g.link("global/backendServices"), Items: items, NextPageToken: next}, err
	})
	g.handle(global+"backendServices/{name}", call("backendServices.get"), func(_ identity, r *http.Request) (any, error) {
		return get(g.backendServices(), "backendServices", r, func(b *compute.BackendService) string { return b.Name })
	})
	g.handle("GET /compute/v1/projects/{project}/zones/{zone}/instances/{name}", call("instances.get"), g.instance)
}

func (g *googleAPIs) link(path string) string {
	return computeBase + g.scenario.Project.ID + "/" + path
}

func (g *googleAPIs) listID(path string) string {
	return "projects/" + g.scenario.Project.ID + "/" + path
}

func get[T any](all []*T, collection string, r *http.Request, name func(*T) string) (any, error) {
	want := r.PathValue("name")
	if i := slices.IndexFunc(all, func(v *T) bool { return name(v) == want }); i >= 0 {
		return all[i], nil
	}
	return nil, computeNotFound(r.PathValue("project"), "global/"+collection+"/"+want)
}

func computeNotFound(project, path string) error {
	return status.Errorf(codes.NotFound, "The resource 'projects/%s/%s' was not found", project, path)
}

func (g *googleAPIs) computeProject(identity, *http.Request) (any, error) {
	s := g.scenario
	return &compute.Project{Kind: "compute#project", Id: resourceID("projects/" + s.Project.ID), Name: s.Project.ID,
		CreationTimestamp: creationTime, SelfLink: strings.TrimSuffix(g.link(""), "/"),
		DefaultServiceAccount: s.Project.Number + "-compute@developer.gserviceaccount.com", XpnProjectStatus: "UNSPECIFIED_XPN_PROJECT_STATUS",
		DefaultNetworkTier: "PREMIUM", CommonInstanceMetadata: metadataItems(s.Project.Metadata)}, nil
}

// proxyCollection is the collection that a kind of target proxy lives in, and how its names end.
func proxyCollection(kind string) (collection, suffix string) {
	switch kind {
	case "http":
		return "targetHttpProxies", "-http-proxy"
	case "tcp":
		return "targetTcpProxies", "-tcp-proxy"
	}
	return "targetGrpcProxies", "-grpc-proxy"
}

func (g *googleAPIs) withRules() []*Service {
	var out []*Service
	for i := range g.scenario.Services {
		if v := &g.scenario.Services[i]; !v.NoRule {
			out = append(out, v)
		}
	}
	return out
}

func (g *googleAPIs) forwardingRules() []*compute.ForwardingRule {
	var out []*compute.ForwardingRule
	for _, v := range g.withRules() {
		name := v.Name + "-rule"
		collection, suffix := proxyCollection(v.Proxy)
		rule := &compute.ForwardingRule{Kind: "compute#forwardingRule", Id: resourceID("forwardingRules/" + name), Name: name,
			CreationTimestamp: creationTime, SelfLink: g.link("global/forwardingRules/" + name),
			IPAddress: v.Address, IPProtocol: "TCP", PortRange: fmt.Sprintf("%d-%d", v.Port, v.Port),
			Target: g.link("global/" + collection + "/" + v.Name + suffix), Network: g.link("global/networks/" + v.Network),
			LoadBalancingScheme: v.Scheme, NetworkTier: "PREMIUM", Fingerprint: "3Gk8rT0yq9c="}
		for _, f := range v.Filters {
			mf := &compute.MetadataFilter{FilterMatchCriteria: f.Match}
			for _, k := range sortedKeys(f.Labels) {
				mf.FilterLabels = append(mf.FilterLabels, &compute.MetadataFilterLabelMatch{Name: k, Value: f.Labels[k]})
			}
			rule.MetadataFilters = append(rule.MetadataFilters, mf)
		}
		if v.Scheme != schemeSelfManaged {
			rule.Network = "" // only rules for the mesh name a network here
		}
		out = append(out, rule)
	}
	return out
}

// regions are those that the aggregated list names besides "global".
func regions() []string { return []string{"europe-west1", "us-central1"} }

// aggregatedRules spreads the rules of a page over the scopes; a scope without any carries a warning, as Google's
// answers do.
func (g *googleAPIs) aggregatedRules(_ identity, r *http.Request) (any, error) {
	items, next, err := page(r, "maxResults", g.forwardingRules())
	if err != nil {
		return nil, err
	}
	out := &compute.ForwardingRuleAggregatedList{Kind: "compute#forwardingRuleAggregatedList", NextPageToken: next,
		Id: g.listID("aggregated/forwardingRules"), SelfLink: g.link("aggregated/forwardingRules"),
		Items: map[string]compute.ForwardingRulesScopedList{}}
	for _, region := range regions() {
		out.Items["regions/"+region] = emptyScope("regions/" + region)
	}
	out.Items["global"] = emptyScope("global")
	if len(items) > 0 {
		out.Items["global"] = compute.ForwardingRulesScopedList{ForwardingRules: items}
	}
	return out, nil
}

func emptyScope(scope string) compute.ForwardingRulesScopedList {
	return compute.ForwardingRulesScopedList{Warning: &compute.ForwardingRulesScopedListWarning{Code: "NO_RESULTS_ON_PAGE",
		Message: fmt.Sprintf("There are no results for scope '%s' on this page.", scope),
		Data:    []*compute.ForwardingRulesScopedListWarningData{{Key: "scope", Value: scope}}}}
}

func (g *googleAPIs) grpcProxies() []*compute.TargetGrpcProxy {
	var out []*compute.TargetGrpcProxy
	for _, v := range g.withRules() {
		if v.Proxy != "grpc" {
			continue
		}
		name := v.Name + "-grpc-proxy"
		out = append(out, &compute.TargetGrpcProxy{Kind: "compute#targetGrpcProxy", Id: resourceID(name), Name: name,
			CreationTimestamp: creationTime, SelfLink: g.link("global/targetGrpcProxies/" + name), Fingerprint: "Zl0aR8yUe1s=",
			UrlMap: g.link("global/urlMaps/" + v.Name + "-url-map"), ValidateForProxyless: !v.NotValidatedForProxyless,
			ForceSendFields: []string{"ValidateForProxyless"}})
	}
	return out
}

func (g *googleAPIs) httpProxies() []*compute.TargetHttpProxy {
	var out []*compute.TargetHttpProxy
	for _, v := range g.withRules() {
		if v.Proxy != "http" {
			continue
		}
		name := v.Name + "-http-proxy"
		out = append(out, &compute.TargetHttpProxy{Kind: "compute#targetHttpProxy", Id: resourceID(name), Name: name,
			CreationTimestamp: creationTime, SelfLink: g.link("global/targetHttpProxies/" + name), Fingerprint: "qT7dP3mVb6o=",
			UrlMap: g.link("global/urlMaps/" + v.Name + "-url-map")})
	}
	return out
}

func (g *googleAPIs) tcpProxies() []*compute.TargetTcpProxy {
	var out []*compute.TargetTcpProxy
	for _, v := range g.withRules() {
		if v.Proxy != "tcp" {
			continue
		}
		name := v.Name + "-tcp-proxy"
		out = append(out, &compute.TargetTcpProxy{Kind: "compute#targetTcpProxy", Id: resourceID(name), Name: name,
			CreationTimestamp: creationTime, SelfLink: g.link("global/targetTcpProxies/" + name), ProxyHeader: "NONE",
			Service: g.link("global/backendServices/" + v.Name)})
	}
	return out
}

func (g *googleAPIs) urlMaps() []*compute.UrlMap {
	var out []*compute.UrlMap
	for _, v := range g.withRules() {
		if v.Proxy == "tcp" {
			continue
		}
		name, service := v.Name+"-url-map", g.link("global/backendServices/"+v.Name)
		out = append(out, &compute.UrlMap{Kind: "compute#urlMap", Id: resourceID(name), Name: name,
			CreationTimestamp: creationTime, SelfLink: g.link("global/urlMaps/" + name), Fingerprint: "8bXwN4cJt2M=",
			DefaultService: service,
			HostRules:      []*compute.HostRule{{Hosts: []string{fmt.Sprintf("%s:%d", v.Name, v.Port)}, PathMatcher: v.Name + "-matcher"}},
			PathMatchers:   []*compute.PathMatcher{{Name: v.Name + "-matcher", DefaultService: service}}})
	}
	return out
}

func (g *googleAPIs) backendServices() []*compute.BackendService {
	var out []*compute.BackendService
	for _, v := range g.scenario.Services {
		out = append(out, &compute.BackendService{Kind: "compute#backendService", Id: resourceID("backendServices/" + v.Name), Name: v.Name,
			CreationTimestamp: creationTime, SelfLink: g.link("global/backendServices/" + v.Name), Fingerprint: "rO5sL9fHg7A=",
			Protocol: v.Protocol, LoadBalancingScheme: v.Scheme, LocalityLbPolicy: "ROUND_ROBIN", PortName: "grpc", TimeoutSec: 30,
			SessionAffinity: "NONE", HealthChecks: []string{g.link("global/healthChecks/" + v.Name + "-health-check")},
			Backends: g.backendsOf(&v)})
	}
	return out
}

func (g *googleAPIs) instance(_ identity, r *http.Request) (any, error) {
	s, zone, name := g.scenario, r.PathValue("zone"), r.PathValue("name")
	i := s.instance(name)
	if i == nil || zone != s.Zone {
		return nil, computeNotFound(r.PathValue("project"), "zones/"+zone+"/instances/"+name)
	}
	region := zone[:max(strings.LastIndexByte(zone, '-'), 0)]
	out := &compute.Instance{Kind: "compute#instance", Id: resourceID("instances/" + name), Name: name, Status: i.Status,
		CreationTimestamp: creationTime, LastStartTimestamp: creationTime, Zone: g.link("zones/" + zone),
		SelfLink: g.link("zones/" + zone + "/instances/" + name), MachineType: g.link("zones/" + zone + "/machineTypes/e2-medium"),
		CpuPlatform: "Intel Broadwell", Fingerprint: "kD2vC6nYp4I=", LabelFingerprint: "42WmSpB8rSM=",
		NetworkInterfaces: []*compute.NetworkInterface{{Kind: "compute#networkInterface", Name: "nic0", NetworkIP: s.instanceIP(name),
			Network: g.link("global/networks/" + s.Network), Subnetwork: g.link("regions/" + region + "/subnetworks/" + s.Network),
			StackType: "IPV4_ONLY", Fingerprint: "uW1gE5xZa3Q="}},
		Metadata: metadataItems(s.metadata(i)), Labels: map[string]string{guestNamespace: "on"},
		Tags: &compute.Tags{Fingerprint: "42WmSpB8rSM=", Items: i.Tags},
	}
	if i.Account != "" {
		sa := &compute.ServiceAccount{Email: s.email(i.Account)}
		for _, scope := range i.Scopes {
			sa.Scopes = append(sa.Scopes, scopePrefix+scope)
		}
		out.ServiceAccounts = []*compute.ServiceAccount{sa}
	}
	return out, nil
}

// instanceIP is the VM's address: its place in the scenario gives the last byte.
func (s *Scenario) instanceIP(name string) string {
	const firstHost = 10 // below are the gateway and what else a subnetwork reserves
	return fmt.Sprintf("10.128.0.%d", firstHost+slices.IndexFunc(s.Instances, func(i Instance) bool { return i.Name == name }))
}
