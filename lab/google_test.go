package lab

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	cloudresourcemanager "google.golang.org/api/cloudresourcemanager/v3"
	compute "google.golang.org/api/compute/v1"
	"google.golang.org/api/googleapi"
	logging "google.golang.org/api/logging/v2"
	monitoring "google.golang.org/api/monitoring/v3"
	networkservices "google.golang.org/api/networkservices/v1"
	"google.golang.org/api/option"
	policytroubleshooter "google.golang.org/api/policytroubleshooter/v1"
	serviceusage "google.golang.org/api/serviceusage/v1"
	trafficdirector "google.golang.org/api/trafficdirector/v3"

	"github.com/meshdiag/meshdiag/lab/discovery"
)

// clients are Google's own, pointed at a world.
type clients struct {
	compute  *compute.Service
	routing  *networkservices.Service
	projects *cloudresourcemanager.Service
	usage    *serviceusage.Service
	policies *policytroubleshooter.Service
	director *trafficdirector.Service
	logs     *logging.Service
	metrics  *monitoring.Service
}

func (v *visitor) clients(t *testing.T) *clients {
	t.Helper()
	base := v.Connection().GCPEndpoint
	opts := []option.ClientOption{option.WithEndpoint(base), option.WithHTTPClient(v.http)}
	c := &clients{}
	var errs [8]error
	c.compute, errs[0] = compute.NewService(t.Context(), option.WithEndpoint(base+"/compute/v1/"), option.WithHTTPClient(v.http))
	c.routing, errs[1] = networkservices.NewService(t.Context(), opts...)
	c.projects, errs[2] = cloudresourcemanager.NewService(t.Context(), opts...)
	c.usage, errs[3] = serviceusage.NewService(t.Context(), opts...)
	c.policies, errs[4] = policytroubleshooter.NewService(t.Context(), opts...)
	c.director, errs[5] = trafficdirector.NewService(t.Context(), opts...)
	c.logs, errs[6] = logging.NewService(t.Context(), opts...)
	c.metrics, errs[7] = monitoring.NewService(t.Context(), opts...)
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// everyCall makes every call that the lab answers, and gives the error of each by name.
func (v *visitor) everyCall(t *testing.T) map[string]error {
	t.Helper()
	c, ctx := v.clients(t), t.Context()
	s := v.Scenario()
	p, parent := s.Project.ID, "projects/"+s.Project.ID+"/locations/global"
	errs := map[string]error{}
	try := func(name string, call func() error) { errs[name] = call() }
	try("compute projects", func() error { _, err := c.compute.Projects.Get(p).Do(); return err })
	try("rules", func() error {
		return c.compute.GlobalForwardingRules.List(p).Pages(ctx, func(*compute.ForwardingRuleList) error { return nil })
	})
	try("aggregated rules", func() error {
		return c.compute.ForwardingRules.AggregatedList(p).Pages(ctx, func(*compute.ForwardingRuleAggregatedList) error { return nil })
	})
	try("gRPC proxies", func() error {
		return c.compute.TargetGrpcProxies.List(p).Pages(ctx, func(*compute.TargetGrpcProxyList) error { return nil })
	})
	try("HTTP proxies", func() error {
		return c.compute.TargetHttpProxies.List(p).Pages(ctx, func(*compute.TargetHttpProxyList) error { return nil })
	})
	try("HTTPS proxies", func() error {
		return c.compute.TargetHttpsProxies.List(p).Pages(ctx, func(*compute.TargetHttpsProxyList) error { return nil })
	})
	try("TCP proxies", func() error {
		return c.compute.TargetTcpProxies.List(p).Pages(ctx, func(*compute.TargetTcpProxyList) error { return nil })
	})
	try("URL maps", func() error {
		return c.compute.UrlMaps.List(p).Pages(ctx, func(*compute.UrlMapList) error { return nil })
	})
	try("backend services", func() error {
		return c.compute.BackendServices.List(p).Pages(ctx, func(*compute.BackendServiceList) error { return nil })
	})
	for _, svc := range s.Services {
		try("backend service "+svc.Name, func() error { _, err := c.compute.BackendServices.Get(p, svc.Name).Do(); return err })
		if !svc.NoRule && svc.Proxy != "tcp" {
			try("URL map "+svc.Name, func() error { _, err := c.compute.UrlMaps.Get(p, svc.Name+"-url-map").Do(); return err })
		}
	}
	for i := range s.Instances {
		vm := &s.Instances[i]
		try("instance "+vm.Name, func() error { _, err := c.compute.Instances.Get(p, s.Zone, vm.Name).Do(); return err })
		try("guest attributes of "+vm.Name, func() error {
			_, err := c.compute.Instances.GetGuestAttributes(p, s.Zone, vm.Name).QueryPath("gce-service-proxy/").Do()
			if _, ok := s.guestAttributes(vm, time.Now()); !ok && httpCode(err) == http.StatusNotFound {
				return nil // there are none
			}
			return err
		})
		try("serial port of "+vm.Name, func() error {
			_, err := c.compute.Instances.GetSerialPortOutput(p, s.Zone, vm.Name).Port(1).Start(-100).Do()
			return err
		})
		try("firewall of "+vm.Name, func() error {
			_, err := c.compute.Instances.GetEffectiveFirewalls(p, s.Zone, vm.Name, "nic0").Do()
			return err
		})
	}
	v.backendCalls(c, try)
	try("log", func() error {
		return c.logs.Entries.List(&logging.ListLogEntriesRequest{ResourceNames: []string{"projects/" + p}, OrderBy: "timestamp desc", PageSize: 100}).
			Pages(ctx, func(*logging.ListLogEntriesResponse) error { return nil })
	})
	now := time.Now().UTC()
	try("request counts", func() error {
		return c.metrics.Projects.TimeSeries.List("projects/"+p).Filter(countsFilter).IntervalStartTime(now.Add(-time.Hour).Format(time.RFC3339)).
			IntervalEndTime(now.Format(time.RFC3339)).AggregationAlignmentPeriod("300s").AggregationPerSeriesAligner("ALIGN_DELTA").
			AggregationCrossSeriesReducer("REDUCE_SUM").AggregationGroupByFields("metric.label.response_code").
			Pages(ctx, func(*monitoring.ListTimeSeriesResponse) error { return nil })
	})
	at := c.routing.Projects.Locations
	try("meshes", func() error {
		return at.Meshes.List(parent).Pages(ctx, func(*networkservices.ListMeshesResponse) error { return nil })
	})
	for _, m := range s.Meshes {
		try("mesh "+m.Name, func() error { _, err := at.Meshes.Get(parent + "/meshes/" + m.Name).Do(); return err })
		try("routes of mesh "+m.Name, func() error {
			return at.Meshes.RouteViews.List(parent+"/meshes/"+m.Name).Pages(ctx, func(*networkservices.ListMeshRouteViewsResponse) error { return nil })
		})
	}
	try("gateways", func() error {
		return at.Gateways.List(parent).Pages(ctx, func(*networkservices.ListGatewaysResponse) error { return nil })
	})
	for _, g := range s.Gateways {
		try("gateway "+g.Name, func() error { _, err := at.Gateways.Get(parent + "/gateways/" + g.Name).Do(); return err })
		try("routes of gateway "+g.Name, func() error {
			return at.Gateways.RouteViews.List(parent+"/gateways/"+g.Name).Pages(ctx, func(*networkservices.ListGatewayRouteViewsResponse) error { return nil })
		})
	}
	try("gRPC routes", func() error {
		return at.GrpcRoutes.List(parent).Pages(ctx, func(*networkservices.ListGrpcRoutesResponse) error { return nil })
	})
	try("HTTP routes", func() error {
		return at.HttpRoutes.List(parent).Pages(ctx, func(*networkservices.ListHttpRoutesResponse) error { return nil })
	})
	try("TCP routes", func() error {
		return at.TcpRoutes.List(parent).Pages(ctx, func(*networkservices.ListTcpRoutesResponse) error { return nil })
	})
	try("TLS routes", func() error {
		return at.TlsRoutes.List(parent).Pages(ctx, func(*networkservices.ListTlsRoutesResponse) error { return nil })
	})
	for _, name := range []string{s.Project.ID, s.Project.Number} {
		try("project "+name, func() error { _, err := c.projects.Projects.Get("projects/" + name).Do(); return err })
		try("service of "+name, func() error {
			_, err := c.usage.Services.Get("projects/" + name + "/services/" + trafficDirectorHost).Do()
			return err
		})
	}
	try("services", func() error {
		_, err := c.usage.Services.BatchGet("projects/"+s.Project.Number).Names("projects/"+s.Project.Number+"/services/"+trafficDirectorHost,
			"projects/"+s.Project.Number+"/services/"+networkServicesHost).Do()
		return err
	})
	try("IAM policy", func() error {
		_, err := c.projects.Projects.GetIamPolicy("projects/"+p, &cloudresourcemanager.GetIamPolicyRequest{}).Do()
		return err
	})
	try("IAM permissions", func() error {
		_, err := c.projects.Projects.TestIamPermissions("projects/"+p,
			&cloudresourcemanager.TestIamPermissionsRequest{Permissions: []string{"compute.instances.get", "compute.instances.delete"}}).Do()
		return err
	})
	try("troubleshooter", func() error {
		_, err := v.troubleshoot(c, defaultAccount, "trafficdirector.networks.getConfigs")
		return err
	})
	try("client status", func() error { _, err := c.director.Discovery.ClientStatus(v.restRequest("")).Do(); return err })
	for i := range s.Clients {
		id := s.Clients[i].nodeID()
		try("status of "+s.Clients[i].Name, func() error { _, err := c.director.Discovery.ClientStatus(v.restRequest(id)).Do(); return err })
	}
	return errs
}

const countsFilter = `metric.type="serviceruntime.googleapis.com/api/request_count" AND resource.type="consumed_api" AND resource.labels.service="trafficdirector.googleapis.com"`

// backendCalls makes the calls about what is behind services, and about the firewall before it.
func (v *visitor) backendCalls(c *clients, try func(string, func() error)) {
	s := v.Scenario()
	p := s.Project.ID
	try("health checks", func() error {
		return c.compute.HealthChecks.AggregatedList(p).Pages(context.Background(), func(*compute.HealthChecksAggregatedList) error { return nil })
	})
	for i := range s.Services {
		svc := &s.Services[i]
		for j, b := range svc.Backends {
			name := svc.groupName(j)
			try("health of "+name, func() error {
				_, err := c.compute.BackendServices.GetHealth(p, svc.Name, &compute.ResourceGroupReference{
					Group: "https://www.googleapis.com/compute/v1/projects/" + p + "/zones/" + b.Zone + "/" + b.groupCollection() + "/" + name}).Do()
				return err
			})
			if b.Kind == "instance-group" {
				try("group "+name, func() error { _, err := c.compute.InstanceGroups.Get(p, b.Zone, name).Do(); return err })
				continue
			}
			try("group "+name, func() error { _, err := c.compute.NetworkEndpointGroups.Get(p, b.Zone, name).Do(); return err })
			try("endpoints of "+name, func() error {
				return c.compute.NetworkEndpointGroups.ListNetworkEndpoints(p, b.Zone, name, &compute.NetworkEndpointGroupsListEndpointsRequest{HealthStatus: "SKIP"}).
					Pages(context.Background(), func(*compute.NetworkEndpointGroupsListNetworkEndpoints) error { return nil })
			})
		}
	}
	try("network", func() error { _, err := c.compute.Networks.Get(p, s.Network).Do(); return err })
	try("firewall", func() error { _, err := c.compute.Networks.GetEffectiveFirewalls(p, s.Network).Do(); return err })
}

func (v *visitor) troubleshoot(c *clients, account, permission string) (string, error) {
	s := v.Scenario()
	r, err := c.policies.Iam.Troubleshoot(&policytroubleshooter.GoogleCloudPolicytroubleshooterV1TroubleshootIamPolicyRequest{
		AccessTuple: &policytroubleshooter.GoogleCloudPolicytroubleshooterV1AccessTuple{Principal: s.email(account), Permission: permission,
			FullResourceName: "//cloudresourcemanager.googleapis.com/projects/" + s.Project.ID}}).Do()
	if err != nil {
		return "", err
	}
	return r.Access, nil
}

func (v *visitor) restRequest(nodeID string) *trafficdirector.ClientStatusRequest {
	exact := func(s string) *trafficdirector.StringMatcher { return &trafficdirector.StringMatcher{Exact: s} }
	field := func(k, val string) *trafficdirector.StructMatcher {
		return &trafficdirector.StructMatcher{Path: []*trafficdirector.PathSegment{{Key: k}}, Value: &trafficdirector.ValueMatcher{StringMatch: exact(val)}}
	}
	s, target := v.Scenario(), v.Target()
	key, value := "TRAFFICDIRECTOR_NETWORK_NAME", target.Network
	if target.Mesh != "" {
		key, value = "TRAFFICDIRECTOR_MESH_SCOPE_NAME", "mesh:"+target.Mesh
	}
	m := &trafficdirector.NodeMatcher{NodeMetadatas: []*trafficdirector.StructMatcher{
		field("TRAFFICDIRECTOR_GCP_PROJECT_NUMBER", s.Project.Number), field(key, value)}}
	if nodeID != "" {
		m.NodeId = exact(nodeID)
	}
	return &trafficdirector.ClientStatusRequest{NodeMatchers: []*trafficdirector.NodeMatcher{m},
		Node: &trafficdirector.Node{Id: "projects/" + s.Project.Number + "/networks/" + value + "/nodes/visitor"}}
}

// Every request that Google's own clients make and every answer of the lab must be one that Google's discovery
// documents describe, in every scenario.
func TestExchangesMatchDiscoveryDocuments(t *testing.T) {
	checker, err := discovery.Load()
	if err != nil {
		t.Fatal(err)
	}
	all, err := Scenarios()
	if err != nil {
		t.Fatal(err)
	}
	all = append(all, wideScenario(t))
	var mu sync.Mutex
	seen := map[string]bool{}
	for _, s := range all {
		t.Run(s.Name, func(t *testing.T) {
			v := startScenario(t, s, Options{Observe: func(method, path string, request []byte, status int, response []byte) {
				id, faults := checker.Check(method, path, request, status, response)
				mu.Lock()
				defer mu.Unlock()
				seen[id] = true
				for _, f := range faults {
					t.Errorf("%s %s (%d): %s", method, path, status, f)
				}
			}})
			v.everyCall(t)
		})
	}
	const methods = 41 // what the lab answers
	delete(seen, "")
	if len(seen) != methods {
		t.Errorf("%d methods were called, expected %d: %q", len(seen), methods, sortedKeys(seen))
	}
}

// wideScenario has what the shipped scenarios have no need for.
func wideScenario(t *testing.T) Scenario {
	t.Helper()
	s, err := parseScenario("wide.yaml", []byte(`
name: wide
summary: Every kind of resource, and more of them than fit on a page.
services:
  - {name: a, port: 1001}
  - {name: b, port: 1002, proxy: http, protocol: HTTP}
  - {name: c, port: 1003, proxy: tcp, protocol: TCP}
  - {name: d, port: 1004, backends: [{kind: instance-group}, {type: NON_GCP_PRIVATE_IP_PORT}, {zone: us-central1-b, endpoints: 4, unhealthy: 1}]}
  - {name: e, port: 1005, load_balancing_scheme: EXTERNAL_MANAGED}
meshes:
  - {name: m1, routes: [{service: a}, {service: b, kind: http}, {service: c, kind: tcp}, {service: d, kind: tls}]}
  - {name: m2}
  - {name: m3}
gateways:
  - {name: g1, scope: edge, routes: [{service: a}, {service: b, kind: http}]}
instances:
  - name: vm-1
    account: mesh-proxy
    tags: [web]
    serial_port: "started\n"
    log: [{text: one}, {text: two, ago: 2m}, {text: three, ago: 3m}]
  - {name: vm-2, no_guest_attributes: true}
firewalls:
  - {name: in, ranges: [10.0.0.0/8], protocols: ["tcp:80,8000-9000", udp]}
  - {name: out, direction: EGRESS, action: deny, ranges: [0.0.0.0/0], tags: [web]}
firewall_policies:
  - {name: org, rules: [{action: goto_next, ranges: [0.0.0.0/0], priority: 10}]}
  - {name: net, type: NETWORK, rules: [{direction: EGRESS, ranges: [10.0.0.0/8], priority: 5}]}
clients:
  - {name: at-edge, dial: a, network: "scope:edge"}
expect: {verdict: HEALTHY, exit: 0}
`))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestPaging(t *testing.T) {
	v := startScenario(t, wideScenario(t), Options{})
	c := v.clients(t)
	var names []string
	pages := 0
	err := c.compute.ForwardingRules.AggregatedList("mesh-prod-4f2a").Pages(t.Context(), func(l *compute.ForwardingRuleAggregatedList) error {
		pages++
		for _, scope := range l.Items {
			for _, r := range scope.ForwardingRules {
				names = append(names, r.Name)
			}
		}
		return nil
	})
	slices.Sort(names)
	if want := "[a-rule b-rule c-rule d-rule e-rule]"; err != nil || fmt.Sprint(names) != want || pages != 3 {
		t.Errorf("%d pages, %q, %v; expected three with %s", pages, names, err, want)
	}
	_, err = c.compute.GlobalForwardingRules.List("mesh-prod-4f2a").PageToken("7").Do()
	if code := httpCode(err); code != http.StatusBadRequest {
		t.Errorf("a made-up page token gives %d", code)
	}
}

func httpCode(err error) int {
	if e, ok := err.(*googleapi.Error); ok { //nolint:errorlint // the clients return it bare
		return e.Code
	}
	return 0
}

func TestHealthyAnswersEverything(t *testing.T) {
	for _, name := range []string{"healthy", "healthy-mesh"} {
		for call, err := range startWorld(t, name, Options{}).everyCall(t) {
			if err != nil {
				t.Errorf("%s: %s: %v", name, call, err)
			}
		}
	}
}

func TestEvidenceDenied(t *testing.T) {
	for call, err := range startWorld(t, "evidence-denied", Options{}).everyCall(t) {
		if httpCode(err) != http.StatusForbidden {
			t.Errorf("%s: %v, expected 403", call, err)
		}
	}
}

func TestRefusals(t *testing.T) {
	v := startWorld(t, "api-disabled", Options{})
	c := v.clients(t)
	_, err := c.director.Discovery.ClientStatus(v.restRequest("")).Do()
	if httpCode(err) != http.StatusForbidden || !strings.Contains(fmt.Sprint(err), "SERVICE_DISABLED") {
		t.Errorf("a disabled API answers %v", err)
	}
	svc, err := c.usage.Services.Get("projects/mesh-prod-4f2a/services/" + trafficDirectorHost).Do()
	if err != nil || svc.State != "DISABLED" {
		t.Errorf("Service Usage says %+v, %v", svc, err)
	}
	for what, err := range map[string]error{
		"another project": func() error { _, err := c.projects.Projects.Get("projects/another").Do(); return err }(),
		"another project's rules": func() error {
			_, err := c.compute.GlobalForwardingRules.List("another").Do()
			return err
		}(),
		"quota of another project": func() error {
			call := c.projects.Projects.Get("projects/mesh-prod-4f2a")
			call.Header().Set("X-Goog-User-Project", "another")
			_, err := call.Do()
			return err
		}(),
	} {
		if httpCode(err) != http.StatusForbidden {
			t.Errorf("%s: %v, expected 403", what, err)
		}
	}
	for what, err := range map[string]error{
		"a URL map": func() error { _, err := c.compute.UrlMaps.Get("mesh-prod-4f2a", "none").Do(); return err }(),
		"a mesh": func() error {
			_, err := c.routing.Projects.Locations.Meshes.Get("projects/mesh-prod-4f2a/locations/global/meshes/none").Do()
			return err
		}(),
		"an instance": func() error {
			_, err := c.compute.Instances.Get("mesh-prod-4f2a", "us-central1-a", "none").Do()
			return err
		}(),
	} {
		if httpCode(err) != http.StatusNotFound {
			t.Errorf("%s that does not exist: %v, expected 404", what, err)
		}
	}
}

func TestProxyPermissions(t *testing.T) {
	for scenario, want := range map[string]string{"missing-permission": "NOT_GRANTED", "missing-oauth-scope": "GRANTED"} {
		v := startWorld(t, scenario, Options{})
		c := v.clients(t)
		target := v.Target()
		vm, err := c.compute.Instances.Get(target.Project, target.Zone, target.Instance).Do()
		if err != nil {
			t.Fatal(err)
		}
		account, ok := v.scenario.accountOf(vm.ServiceAccounts[0].Email)
		if !ok {
			t.Fatalf("the VM runs as %s", vm.ServiceAccounts[0].Email)
		}
		if got, err := v.troubleshoot(c, account, "trafficdirector.networks.getConfigs"); err != nil || got != want {
			t.Errorf("%s: %s, %v; expected %s", scenario, got, err, want)
		}
		if has := slices.Contains(vm.ServiceAccounts[0].Scopes, scopePrefix+scopeCloudPlatform); has != (scenario == "missing-permission") {
			t.Errorf("%s: scopes %q", scenario, vm.ServiceAccounts[0].Scopes)
		}
	}
}
