package gcp

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

const (
	services = "GET compute/v1/projects/mesh-prod/global/backendServices"
	zoneA    = "compute/v1/projects/mesh-prod/zones/us-central1-a/"
	groupURL = link + "zones/us-central1-a/"
	getNEG   = "GET " + zoneA + "networkEndpointGroups/neg-1"
	listNEG  = "POST " + zoneA + "networkEndpointGroups/neg-1/listNetworkEndpoints"
	getGroup = "GET " + zoneA + "instanceGroups/ig-1"
	health   = "POST compute/v1/projects/mesh-prod/global/backendServices/cart/getHealth"
)

// cart is a list with the backend service cart on the groups given, and one that isn't the mesh's.
func cart(groups ...string) http.HandlerFunc {
	var b []string
	for _, g := range groups {
		b = append(b, `{"group":"`+groupURL+g+`","capacityScaler":1}`)
	}
	return say(`{"items":[{"name":"cart","loadBalancingScheme":"INTERNAL_SELF_MANAGED","protocol":"GRPC","portName":"grpc","healthChecks":["h"],"backends":[` + strings.Join(b, ",") + `]},
		{"name":"web","loadBalancingScheme":"EXTERNAL_MANAGED","backends":[{"group":"` + groupURL + `instanceGroups/web"}]}]}`)
}

func TestHealthChecks(t *testing.T) {
	const list = "GET compute/v1/projects/mesh-prod/aggregated/healthChecks"
	for _, tt := range []struct {
		name    string
		answers map[string]http.HandlerFunc
		want    string
		known   bool
		fails   string
	}{
		{"global and regional, two pages", map[string]http.HandlerFunc{
			list:        say(`{"items":{"global":{"healthChecks":[{"name":"a","type":"GRPC","grpcHealthCheck":{"portSpecification":"USE_SERVING_PORT"}}]},"regions/x":{"warning":{"code":"NO_RESULTS_ON_PAGE"}}},"nextPageToken":"2"}`),
			list + "?2": say(`{"items":{"regions/x":{"healthChecks":[{"name":"b","type":"HTTP","httpHealthCheck":{"port":8080}}]}}}`),
		}, "a GRPC USE_SERVING_PORT 0; b HTTP USE_FIXED_PORT 8080", true, ""},
		{"none", map[string]http.HandlerFunc{list: say(`{}`)}, "", true, ""},
		{"a region out of reach", map[string]http.HandlerFunc{list: say(`{"unreachables":["regions/x"]}`)}, "", true, "regions/x"},
		{"denied", map[string]http.HandlerFunc{list: denied("compute.healthChecks.list")}, "", false, "needs compute.healthChecks.list"},
		{"malformed", map[string]http.HandlerFunc{list: say(`{"items":[]}`)}, "", false, "cannot unmarshal"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			view, set := run(t, newGoogle(t, tt.answers).api(nil), onNetwork, "health-checks")
			outcomeOf(t, set, "health-checks", tt.known, tt.fails)
			got, _ := evidence.Get(view, evidence.HealthChecks)
			var lines []string
			for _, h := range got {
				lines = append(lines, fmt.Sprint(h.Name, " ", h.Type, " ", h.PortSpec, " ", h.Port))
				if h.Source.Detail != "compute.healthChecks.aggregatedList" {
					t.Errorf("source %s", h.Source)
				}
			}
			if strings.Join(lines, "; ") != tt.want {
				t.Errorf("got %q, want %q", lines, tt.want)
			}
		})
	}
}

func TestEndpointGroups(t *testing.T) {
	neg := say(`{"name":"neg-1","networkEndpointType":"GCE_VM_IP_PORT","network":"` + link + `global/networks/mesh-vpc","defaultPort":80,"size":9}`)
	for _, tt := range []struct {
		name    string
		answers map[string]http.HandlerFunc
		want    string // kind, type, zone, endpoints, ports, network and its project
		known   bool
		fails   string
	}{
		{"a NEG, its endpoints on two pages", map[string]http.HandlerFunc{services: cart("networkEndpointGroups/neg-1"), getNEG: neg,
			listNEG:        say(`{"items":[{"networkEndpoint":{"port":50051}},{"networkEndpoint":{}},null],"nextPageToken":"2"}`),
			listNEG + "?2": say(`{"items":[{"networkEndpoint":{"port":50051}}]}`),
		}, "neg GCE_VM_IP_PORT us-central1-a 3 [80 50051] mesh-vpc mesh-prod", true, ""},
		{"an empty NEG", map[string]http.HandlerFunc{services: cart("networkEndpointGroups/neg-1"), getNEG: neg, listNEG: say(`{}`)},
			"neg GCE_VM_IP_PORT us-central1-a 0 [80] mesh-vpc mesh-prod", true, ""},
		{"endpoints refused: the size is known", map[string]http.HandlerFunc{services: cart("networkEndpointGroups/neg-1"), getNEG: neg, listNEG: denied("compute.networkEndpointGroups.get")},
			"neg GCE_VM_IP_PORT us-central1-a 9 [80] mesh-vpc mesh-prod", true, "needs compute.networkEndpointGroups.get"},
		{"a group that lists no endpoints", map[string]http.HandlerFunc{services: cart("networkEndpointGroups/neg-1"), getNEG: say(`{"networkEndpointType":"SERVERLESS"}`)},
			"neg SERVERLESS us-central1-a -1 []  ", true, ""},
		{"an instance group: the port that the service names", map[string]http.HandlerFunc{services: cart("instanceGroups/ig-1"),
			getGroup: say(`{"size":2,"network":"` + link + `global/networks/mesh-vpc","namedPorts":[{"name":"grpc","port":50051},{"name":"web","port":80},null]}`)},
			"instance-group  us-central1-a 2 [50051] mesh-vpc mesh-prod", true, ""},
		{"one of two refused", map[string]http.HandlerFunc{services: cart("instanceGroups/ig-1", "networkEndpointGroups/neg-1"), getNEG: neg, listNEG: say(`{}`), getGroup: denied("compute.instanceGroups.get")},
			"neg GCE_VM_IP_PORT us-central1-a 0 [80] mesh-vpc mesh-prod", true, "needs compute.instanceGroups.get"},
		{"all refused", map[string]http.HandlerFunc{services: cart("instanceGroups/ig-1"), getGroup: denied("compute.instanceGroups.get")}, "", false, "needs compute.instanceGroups.get"},
		{"no backend", map[string]http.HandlerFunc{services: cart()}, "", true, ""},
		{"services refused", map[string]http.HandlerFunc{services: denied("compute.backendServices.list")}, "", false, "the backend services aren't known"},
		{"no group at all", map[string]http.HandlerFunc{services: say(`{"items":[{"loadBalancingScheme":"INTERNAL_SELF_MANAGED","backends":[{"group":"x"},{"group":"` + link + `global/addresses/a"}]}]}`)}, "", false, "no URL of an instance group"},
		{"malformed", map[string]http.HandlerFunc{services: cart("networkEndpointGroups/neg-1"), getNEG: say(`[`)}, "", false, "unexpected end of JSON"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			view, set := run(t, newGoogle(t, tt.answers).api(nil), onNetwork, "backend-services", "endpoint-groups")
			outcomeOf(t, set, "endpoint-groups", tt.known, tt.fails)
			got, _ := evidence.Get(view, evidence.EndpointGroups)
			var lines []string
			for _, g := range got {
				lines = append(lines, fmt.Sprint(g.Kind, " ", g.Type, " ", g.Zone, " ", g.Endpoints, " ", g.Ports, " ", g.Network, " ", g.NetworkProject))
			}
			if strings.Join(lines, "; ") != tt.want {
				t.Errorf("got %q, want %q", lines, tt.want)
			}
		})
	}
}

func TestEndpointGroupsElsewhere(t *testing.T) {
	g := newGoogle(t, map[string]http.HandlerFunc{
		services: say(`{"items":[{"loadBalancingScheme":"INTERNAL_SELF_MANAGED","backends":[{"group":"` + link + `global/networkEndpointGroups/g"},{"group":"` + link + `regions/r/networkEndpointGroups/n"},{"group":"` + link + `regions/r/instanceGroups/i"}]}]}`),
		"GET compute/v1/projects/mesh-prod/global/networkEndpointGroups/g":                       say(`{"networkEndpointType":"INTERNET_FQDN_PORT"}`),
		"POST compute/v1/projects/mesh-prod/global/networkEndpointGroups/g/listNetworkEndpoints": say(`{"items":[{"networkEndpoint":{"fqdn":"x","port":443}}]}`),
		"GET compute/v1/projects/mesh-prod/regions/r/networkEndpointGroups/n":                    say(`{"networkEndpointType":"PRIVATE_SERVICE_CONNECT"}`),
		"GET compute/v1/projects/mesh-prod/regions/r/instanceGroups/i":                           say(`{"size":4,"namedPorts":[{"name":"a","port":1}]}`),
	})
	view, set := run(t, g.api(nil), onNetwork, "backend-services", "endpoint-groups", "backend-health")
	got, err := evidence.Get(view, evidence.EndpointGroups)
	if err != nil || len(got) != 3 || !got[0].CheckedByProxy() || got[1].Endpoints != 4 || len(got[1].Ports) != 1 || got[2].Endpoints != -1 || failure(set, "endpoint-groups") != nil {
		t.Errorf("got %+v, %v, %v", got, err, failure(set, "endpoint-groups"))
	}
}

func TestBoundedGroups(t *testing.T) {
	groups := make([]string, maxGroups+20)
	for i := range groups {
		groups[i] = fmt.Sprintf("instanceGroups/ig-%03d", i)
	}
	answers := map[string]http.HandlerFunc{services: cart(groups...), health: say(`{}`)}
	for _, g := range groups {
		answers["GET "+zoneA+g] = say(`{"size":1}`)
	}
	view, set := run(t, newGoogle(t, answers).api(nil), onNetwork, "backend-services", "endpoint-groups", "backend-health")
	if got, err := evidence.Get(view, evidence.EndpointGroups); err != nil || len(got) != maxGroups {
		t.Errorf("%d groups, %v", len(got), err)
	}
	outcomeOf(t, set, "endpoint-groups", true, "100 of 120 were looked into")
	outcomeOf(t, set, "backend-health", true, "100 of 120 were asked about")
}

func TestBackendHealth(t *testing.T) {
	neg := say(`{"networkEndpointType":"GCE_VM_IP_PORT"}`)
	for _, tt := range []struct {
		name    string
		answers map[string]http.HandlerFunc
		want    string
		known   bool
		fails   string
	}{
		{"endpoints", map[string]http.HandlerFunc{services: cart("networkEndpointGroups/neg-1"), getNEG: neg, listNEG: say(`{}`),
			health: say(`{"healthStatus":[{"ipAddress":"10.0.0.1","port":80,"healthState":"UNHEALTHY"},{"ipAddress":"10.0.0.2"}]}`)},
			"cart us-central1-a 10.0.0.1:80 UNHEALTHY; cart us-central1-a 10.0.0.2:0 ", true, ""},
		{"nothing told", map[string]http.HandlerFunc{services: cart("networkEndpointGroups/neg-1"), getNEG: neg, listNEG: say(`{}`), health: say(`{}`)}, "", true, ""},
		{"checked by the proxies: not asked", map[string]http.HandlerFunc{services: cart("networkEndpointGroups/neg-1"), getNEG: say(`{"networkEndpointType":"NON_GCP_PRIVATE_IP_PORT"}`), listNEG: say(`{}`)}, "", true, ""},
		{"groups unknown: asked all the same", map[string]http.HandlerFunc{services: cart("networkEndpointGroups/neg-1"), health: say(`{"healthStatus":[{"ipAddress":"10.0.0.1","healthState":"HEALTHY"}]}`)},
			"cart us-central1-a 10.0.0.1:0 HEALTHY", true, ""},
		{"denied", map[string]http.HandlerFunc{services: cart("networkEndpointGroups/neg-1"), getNEG: neg, listNEG: say(`{}`), health: denied("compute.backendServices.get")}, "", false, "needs compute.backendServices.get"},
		{"malformed", map[string]http.HandlerFunc{services: cart("networkEndpointGroups/neg-1"), health: say(`{"healthStatus":1}`)}, "", false, "cannot unmarshal"},
		{"no backend", map[string]http.HandlerFunc{services: cart()}, "", true, ""},
		{"services refused", map[string]http.HandlerFunc{services: denied("compute.backendServices.list")}, "", false, "needs compute.backendServices.list"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			view, set := run(t, newGoogle(t, tt.answers).api(nil), onNetwork, "backend-services", "endpoint-groups", "backend-health")
			outcomeOf(t, set, "backend-health", tt.known, tt.fails)
			got, _ := evidence.Get(view, evidence.BackendHealth)
			var lines []string
			for _, h := range got {
				lines = append(lines, fmt.Sprintf("%s %s %s:%d %s", h.Service, h.Zone, h.Address, h.Port, h.State))
			}
			if strings.Join(lines, "; ") != tt.want {
				t.Errorf("got %q, want %q", lines, tt.want)
			}
		})
	}
}

func TestAPIRequests(t *testing.T) {
	const list = "GET v3/projects/mesh-prod/timeSeries"
	series := func(code, end, value string) string {
		return `{"metric":{"labels":{"response_code":"` + code + `"}},"resource":{"labels":{"method":"M"}},"points":[null,{"interval":{"endTime":"` + end + `"},"value":` + value + `}]}`
	}
	for _, tt := range []struct {
		name    string
		answers map[string]http.HandlerFunc
		want    string
		known   bool
		fails   string
	}{
		{"two pages, by time", map[string]http.HandlerFunc{
			list: func(w http.ResponseWriter, r *http.Request) {
				q := r.URL.Query()
				if q.Get("interval.startTime") != "2026-03-04T09:00:00Z" || q.Get("interval.endTime") != "2026-03-04T10:00:00Z" || q.Get("aggregation.alignmentPeriod") != "300s" ||
					!strings.Contains(q.Get("filter"), `service="trafficdirector.googleapis.com"`) {
					refuse(400, "INVALID_ARGUMENT", r.URL.RawQuery, "", nil)(w, r)
					return
				}
				say(`{"timeSeries":[`+series("403", "2026-03-04T10:00:00Z", `{"int64Value":"7"}`)+`],"nextPageToken":"2"}`)(w, r)
			},
			list + "?2": say(`{"timeSeries":[` + series("200", "2026-03-04T09:55:00Z", `{"doubleValue":3}`) + `,null]}`),
		}, "[09:55 M 200 3 10:00 M 403 7]", true, ""},
		{"none", map[string]http.HandlerFunc{list: say(`{}`)}, "[]", true, ""},
		{"in part", map[string]http.HandlerFunc{list: say(`{"executionErrors":[{"message":"a cell is down"}]}`)}, "[]", true, "a cell is down"},
		{"denied", map[string]http.HandlerFunc{list: refuse(403, "PERMISSION_DENIED", "no", "", nil)}, "[]", false, "needs monitoring.timeSeries.list"},
		{"no time", map[string]http.HandlerFunc{list: say(`{"timeSeries":[` + series("200", "noon", `{"int64Value":"1"}`) + `]}`)}, "[]", false, "the end of an interval"},
		{"no number", map[string]http.HandlerFunc{list: say(`{"timeSeries":[` + series("200", "2026-03-04T09:55:00Z", `{"boolValue":true}`) + `]}`)}, "[]", false, "isn't a number"},
		{"the second page is refused", map[string]http.HandlerFunc{list: say(`{"nextPageToken":"2"}`), list + "?2": refuse(403, "PERMISSION_DENIED", "no", "", nil)}, "[]", false, "needs monitoring.timeSeries.list"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			view, set := run(t, newGoogle(t, tt.answers).api(withScanner(t)), onNetwork, "api-requests")
			outcomeOf(t, set, "api-requests", tt.known, tt.fails)
			got, _ := evidence.Get(view, evidence.APIRequests)
			var points []string
			for _, p := range got.Points {
				points = append(points, fmt.Sprint(p.Time.Format("15:04"), " ", p.Method, " ", p.Code, " ", p.Count))
			}
			if fmt.Sprint(points) != tt.want {
				t.Errorf("got %v, want %s", points, tt.want)
			}
			if tt.known && (got.API != "trafficdirector.googleapis.com" || got.To.Sub(got.From) != time.Hour) {
				t.Errorf("got %+v", got)
			}
		})
	}
}

const (
	networkWalls = "GET compute/v1/projects/mesh-prod/global/networks/mesh-vpc/getEffectiveFirewalls"
	vmWalls      = vm1 + "/getEffectiveFirewalls"
	network      = "GET compute/v1/projects/mesh-prod/global/networks/mesh-vpc"
)

const walls = `{"firewallPolicys":[
	{"type":"NETWORK_REGIONAL","name":"reg","priority":1,"rules":[{"action":"allow","direction":"INGRESS","priority":1,"ruleName":"regional","match":{}}]},
	{"type":"NETWORK","name":"net","priority":2,"rules":[{"action":"deny","direction":"INGRESS","priority":1,"ruleName":"global","match":{"srcIpRanges":["10.0.0.0/8"]}}]},
	{"type":"SYSTEM_GLOBAL","name":"sys","rules":[{"action":"allow","direction":"INGRESS","priority":1,"ruleName":"system","match":{}}]},
	{"type":"HIERARCHY","name":"1","shortName":"org","rules":[{"action":"goto_next","direction":"INGRESS","priority":9,"ruleName":"last","match":{}},{"action":"deny","direction":"INGRESS","priority":1,"ruleName":"first","match":{"srcFqdns":["x.y"]}},
		{"action":"deny","direction":"INGRESS","priority":2,"ruleName":"of another network","targetResources":["` + link + `global/networks/other"]},{"action":"deny","targetType":"INTERNAL_MANAGED_LB","ruleName":"of load balancers"}]},
	{"type":"HIERARCHY","name":"2","shortName":"folder","rules":[{"action":"allow","direction":"INGRESS","priority":0,"ruleName":"folder","match":{}}]}],
 "firewalls":[{"name":"b","priority":1000,"allowed":[{"IPProtocol":"tcp","ports":["80","8000-9000"]}],"sourceRanges":["35.191.0.0/16"]},{"name":"a","priority":1000,"denied":[{"IPProtocol":"all"}],"network":"` + link + `global/networks/mesh-vpc"}]}`

func TestFirewalls(t *testing.T) {
	plain := say(`{"firewalls":[{"name":"a","allowed":[{"IPProtocol":"all"}]}]}`)
	byMesh := diagnose.Request{Target: diagnose.Target{Project: "mesh-prod", Mesh: "sidecars"}}
	for _, tt := range []struct {
		name    string
		req     diagnose.Request
		answers map[string]http.HandlerFunc
		want    string // network, instance, rules
		known   bool
		fails   string
	}{
		{"policies after VPC rules", onNetwork, map[string]http.HandlerFunc{networkWalls: say(walls), network: say(`{}`)},
			"mesh-vpc: first last folder system a b global regional", true, ""},
		{"policies before VPC rules", onNetwork, map[string]http.HandlerFunc{networkWalls: say(walls), network: say(`{"networkFirewallPolicyEnforcementOrder":"BEFORE_CLASSIC_FIREWALL"}`)},
			"mesh-vpc: first last folder system global regional a b", true, ""},
		{"order unknown", onNetwork, map[string]http.HandlerFunc{networkWalls: say(walls), network: denied("compute.networks.get")}, "", false, "needs compute.networks.get"},
		{"VPC rules alone: the order isn't asked", onNetwork, map[string]http.HandlerFunc{networkWalls: plain}, "mesh-vpc: a", true, ""},
		{"a VM and its network", onVM, map[string]http.HandlerFunc{networkWalls: plain, vmWalls: plain}, "mesh-vpc: a; mesh-vpc vm-1: a", true, ""},
		{"the VM's is refused", onVM, map[string]http.HandlerFunc{networkWalls: plain, vmWalls: denied("compute.instances.getEffectiveFirewalls")}, "mesh-vpc: a", true, "needs compute.instances.getEffectiveFirewalls"},
		{"denied", onNetwork, map[string]http.HandlerFunc{networkWalls: denied("compute.networks.getEffectiveFirewalls")}, "", false, "needs compute.networks.getEffectiveFirewalls"},
		{"malformed", onNetwork, map[string]http.HandlerFunc{networkWalls: say(`{"firewalls":"none"}`)}, "", false, "cannot unmarshal"},
		{"of a mesh: the endpoints' network", byMesh, map[string]http.HandlerFunc{networkWalls: plain, services: cart("instanceGroups/ig-1"),
			getGroup: say(`{"network":"` + link + `global/networks/mesh-vpc"}`)}, "mesh-vpc: a", true, ""},
		{"of a mesh, groups unknown", byMesh, map[string]http.HandlerFunc{services: denied("compute.backendServices.list")}, "", false, "which networks the endpoints are on isn't known"},
		{"no rule at all", onNetwork, map[string]http.HandlerFunc{networkWalls: say(`{}`)}, "mesh-vpc:", true, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			names := []string{"effective-firewalls"}
			if tt.req.Target.Mesh != "" {
				names = []string{"backend-services", "endpoint-groups", "effective-firewalls"}
			}
			view, set := run(t, newGoogle(t, tt.answers).api(nil), tt.req, names...)
			outcomeOf(t, set, "effective-firewalls", tt.known, tt.fails)
			got, _ := evidence.Get(view, evidence.EffectiveFirewalls)
			var lines []string
			for _, s := range got {
				line := strings.TrimSpace(s.Network+" "+s.Instance) + ":"
				for _, r := range s.Rules {
					line += " " + r.Name
				}
				lines = append(lines, line)
			}
			if strings.Join(lines, "; ") != tt.want {
				t.Errorf("got %q, want %q", lines, tt.want)
			}
		})
	}
}

func TestFirewallOfSharedVPC(t *testing.T) {
	g := newGoogle(t, map[string]http.HandlerFunc{
		globalRules: say(`{"items":[{"name":"r","network":"` + strings.Replace(link, "mesh-prod", "host", 1) + `global/networks/mesh-vpc"}]}`),
		allRules:    say(`{}`),
		"GET compute/v1/projects/host/global/networks/mesh-vpc/getEffectiveFirewalls": say(`{}`),
	})
	_, set := run(t, g.api(nil), onNetwork, "forwarding-rules", "effective-firewalls")
	outcomeOf(t, set, "effective-firewalls", true, "")
}
