package gcp

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

const (
	globalRules = "GET compute/v1/projects/mesh-prod/global/forwardingRules"
	allRules    = "GET compute/v1/projects/mesh-prod/aggregated/forwardingRules"
	link        = "https://www.googleapis.com/compute/v1/projects/mesh-prod/"
)

func rule(name, scope string) string {
	return `{"name":"` + name + `","selfLink":"` + link + scope + `/forwardingRules/` + name + `","loadBalancingScheme":"INTERNAL_SELF_MANAGED"}`
}

func TestForwardingRules(t *testing.T) {
	empty := say(`{}`)
	for _, tt := range []struct {
		name    string
		answers map[string]http.HandlerFunc
		want    string // names, "-" where the fact is unknown
		fails   string
	}{
		{"every page, each rule once", map[string]http.HandlerFunc{
			globalRules:        say(`{"items":[` + rule("a", "global") + `],"nextPageToken":"2"}`),
			globalRules + "?2": say(`{"items":[` + rule("b", "global") + `]}`),
			allRules:           say(`{"items":{"global":{"forwardingRules":[` + rule("a", "global") + `]},"regions/x":{"warning":{"code":"NO_RESULTS_ON_PAGE"}}},"nextPageToken":"q"}`),
			allRules + "?q":    say(`{"items":{"regions/us":{"forwardingRules":[` + rule("a", "regions/us") + `]}}}`),
		}, "a b a", ""},
		{"none", map[string]http.HandlerFunc{globalRules: empty, allRules: empty}, "", ""},
		{"second page fails", map[string]http.HandlerFunc{
			globalRules: say(`{"items":[` + rule("a", "global") + `],"nextPageToken":"2"}`), globalRules + "?2": denied("compute.globalForwardingRules.list"), allRules: empty,
		}, "-", "compute.globalForwardingRules.list"},
		{"aggregated fails", map[string]http.HandlerFunc{globalRules: empty, allRules: denied("compute.forwardingRules.list")}, "-", "compute.forwardingRules.list"},
		{"a region is out of reach", map[string]http.HandlerFunc{
			globalRules: say(`{"items":[` + rule("a", "global") + `]}`), allRules: say(`{"unreachables":["regions/us"]}`),
		}, "a", "regions/us"},
		{"a scope warns", map[string]http.HandlerFunc{
			globalRules: empty, allRules: say(`{"items":{"regions/us":{"warning":{"code":"UNREACHABLE"}}}}`),
		}, "", "regions/us: UNREACHABLE"},
		{"the same page for ever", map[string]http.HandlerFunc{
			globalRules: say(`{"nextPageToken":"2"}`), globalRules + "?2": say(`{"nextPageToken":"2"}`), allRules: empty,
		}, "-", "same page twice"},
		{"cut-off JSON", map[string]http.HandlerFunc{globalRules: say(`{"items":[`), allRules: empty}, "-", "unexpected end of JSON input"},
		{"wrong types", map[string]http.HandlerFunc{globalRules: say(`{"items":"none"}`), allRules: empty}, "-", "cannot unmarshal"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			view, set := run(t, newGoogle(t, tt.answers).api(nil), onNetwork, "forwarding-rules")
			got, err := evidence.Get(view, evidence.ForwardingRules)
			var names []string
			for _, r := range got {
				names = append(names, r.Name)
			}
			if err != nil {
				names = []string{"-"}
			}
			if strings.Join(names, " ") != tt.want {
				t.Errorf("got %v, want %s", names, tt.want)
			}
			ferr := failure(set, "forwarding-rules")
			if (ferr == nil) != (tt.fails == "") || (ferr != nil && !strings.Contains(ferr.Error(), tt.fails)) {
				t.Errorf("failure %v, want %q", ferr, tt.fails)
			}
		})
	}
}

func TestEndlessPages(t *testing.T) {
	g := newGoogle(t, nil)
	n := 0
	a := g.api(nil)
	err := a.pages(t.Context(), access{what: "x"}, func(context.Context, string) (string, error) { n++; return strings.Repeat("x", n), nil })
	if err == nil || n != maxPages {
		t.Errorf("got %v after %d", err, n)
	}
}

func TestBehindTheRules(t *testing.T) {
	at := func(r string) string { return "GET compute/v1/projects/mesh-prod/global/" + r }
	answers := map[string]http.HandlerFunc{
		at("targetGrpcProxies"):  say(`{"items":[{"name":"g","urlMap":"m","validateForProxyless":true}]}`),
		at("targetHttpProxies"):  say(`{"items":[{"name":"h","proxyBind":true}]}`),
		at("targetHttpsProxies"): say(`{"items":[{"name":"s"}]}`),
		at("targetTcpProxies"):   say(`{"items":[{"name":"t","service":"b"}]}`),
		at("urlMaps"):            say(`{"items":[{"name":"m","defaultService":"b"}],"nextPageToken":"2"}`),
		at("urlMaps") + "?2":     say(`{"items":[{"name":"n"}]}`),
		at("backendServices"):    say(`{"items":[{"name":"b","protocol":"GRPC","loadBalancingScheme":"INTERNAL_SELF_MANAGED"}]}`),
	}
	view, _ := run(t, newGoogle(t, answers).api(nil), onNetwork, "target-proxies", "url-maps", "backend-services")
	proxies, err := evidence.Get(view, evidence.TargetProxies)
	if err != nil || len(proxies) != 4 || !proxies[0].ValidateForProxyless || !proxies[1].ProxyBind || proxies[2].Kind != "https" || proxies[3].Service != "b" {
		t.Errorf("got %+v, %v", proxies, err)
	}
	maps, err := evidence.Get(view, evidence.URLMaps)
	if err != nil || len(maps) != 2 {
		t.Errorf("got %+v, %v", maps, err)
	}
	services, err := evidence.Get(view, evidence.BackendServices)
	if err != nil || len(services) != 1 || services[0].Protocol != "GRPC" {
		t.Errorf("got %+v, %v", services, err)
	}
	answers[at("targetTcpProxies")] = denied("compute.targetTcpProxies.list")
	view, _ = run(t, newGoogle(t, answers).api(nil), onNetwork, "target-proxies")
	if got, err := evidence.Get(view, evidence.TargetProxies); err == nil {
		t.Errorf("with one kind refused: %+v", got)
	}
}

func TestInstance(t *testing.T) {
	const get = "GET compute/v1/projects/mesh-prod/zones/us-central1-a/instances/vm-1"
	view, _ := run(t, newGoogle(t, map[string]http.HandlerFunc{get: say(`{"name":"vm-1","id":"77","status":"RUNNING","zone":"x/zones/us-central1-a"}`)}).api(nil), onVM, "instances")
	got, err := evidence.Get(view, evidence.Instances)
	if err != nil || len(got) != 1 || got[0].ID != "77" || got[0].Zone != "us-central1-a" {
		t.Errorf("got %+v, %v", got, err)
	}
	for name, tt := range map[string]struct {
		answer http.HandlerFunc
		zone   string
		want   string
	}{
		"missing":    {nil, "us-central1-a", "there is no VM vm-1 in zone us-central1-a of project mesh-prod"},
		"denied":     {denied("compute.instances.get"), "us-central1-a", "not allowed to read VM"},
		"another VM": {say(`{"name":"vm-2"}`), "us-central1-a", `about VM "vm-2"`},
		"no zone":    {nil, "", "target.zone"},
	} {
		t.Run(name, func(t *testing.T) {
			req := onVM
			req.Target.Zone = tt.zone
			view, set := run(t, newGoogle(t, map[string]http.HandlerFunc{get: tt.answer}).api(nil), req, "instances")
			if got, err := evidence.Get(view, evidence.Instances); err == nil {
				t.Errorf("got %+v", got)
			}
			if err := failure(set, "instances"); !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v", err)
			}
		})
	}
	ofVM := []string{"gcp/instances", "gcp/proxy-permissions", "gcp/guest-attributes", "gcp/project-metadata", "gcp/serial-port"}
	for _, c := range newGoogle(t, nil).api(nil).Collectors() {
		if c.Name == "gcp/fleet-mesh" {
			continue // of a cluster
		}
		if vm := slices.Contains(ofVM, c.Name); c.Applies(onNetwork) == vm {
			t.Errorf("%s applies to a network: %v", c.Name, !vm)
		}
	}
}

const routing = "GET v1/projects/mesh-prod/locations/"

func TestMeshesAndGateways(t *testing.T) {
	mesh := `{"name":"projects/mesh-prod/locations/global/meshes/sidecars","interceptionPort":15001}`
	for name, tt := range map[string]struct {
		answers map[string]http.HandlerFunc
		fails   string
	}{
		"all locations": {map[string]http.HandlerFunc{routing + "-/meshes": say(`{"meshes":[` + mesh + `]}`), routing + "-/gateways": say(`{"gateways":[{"name":"x/locations/eu/gateways/g","scope":"s"}]}`)}, ""},
		"global alone":  {map[string]http.HandlerFunc{routing + "global/meshes": say(`{"meshes":[` + mesh + `]}`), routing + "global/gateways": say(`{"gateways":[{"name":"x/locations/eu/gateways/g","scope":"s"}]}`)}, ""},
		"in part":       {map[string]http.HandlerFunc{routing + "-/meshes": say(`{"meshes":[` + mesh + `],"unreachable":["locations/eu"]}`), routing + "-/gateways": say(`{"gateways":[{"name":"x/locations/eu/gateways/g","scope":"s"}]}`)}, "locations/eu"},
	} {
		t.Run(name, func(t *testing.T) {
			view, set := run(t, newGoogle(t, tt.answers).api(nil), onMesh, "meshes", "gateways")
			meshes, err := evidence.Get(view, evidence.Meshes)
			if err != nil || len(meshes) != 1 || meshes[0] != (evidence.Mesh{Name: "sidecars", Location: "global", Project: "mesh-prod", InterceptionPort: 15001}) {
				t.Errorf("got %+v, %v", meshes, err)
			}
			gateways, err := evidence.Get(view, evidence.Gateways)
			if err != nil || len(gateways) != 1 || gateways[0].Location != "eu" || gateways[0].Scope != "s" {
				t.Errorf("got %+v, %v", gateways, err)
			}
			if ferr := failure(set, "meshes"); (ferr == nil) != (tt.fails == "") || (ferr != nil && !strings.Contains(ferr.Error(), tt.fails)) {
				t.Errorf("got %v", ferr)
			}
		})
	}
	view, set := run(t, newGoogle(t, map[string]http.HandlerFunc{routing + "-/meshes": denied("networkservices.meshes.list")}).api(nil), onMesh, "meshes")
	if _, err := evidence.Get(view, evidence.Meshes); err == nil {
		t.Error("a refusal reads as no mesh")
	}
	var d *evidence.Denied
	if !errors.As(failure(set, "meshes"), &d) || d.Role != networkViewer {
		t.Errorf("got %v", failure(set, "meshes"))
	}
}

func TestRoutes(t *testing.T) {
	const views = routing + "global/meshes/sidecars/routeViews"
	scope := diagnose.Request{Target: diagnose.Target{Project: "mesh-prod", Mesh: "scope:edge"}}
	own := say(`{"grpcRoutes":[{"name":"projects/1/locations/global/grpcRoutes/r","meshes":["projects/1/locations/global/meshes/sidecars"],"hostnames":["a"]}]}`)
	foreign := say(`{"meshRouteViews":[{"routeId":"f","routeLocation":"global","routeType":"HttpRoute","routeProjectNumber":"2"},{"routeId":"r","routeLocation":"global","routeType":"GrpcRoute"}]}`)
	for name, tt := range map[string]struct {
		req     diagnose.Request
		answers map[string]http.HandlerFunc
		want    string // kind/name, "-" where the fact is unknown
		fails   string
	}{
		"own and foreign":          {onMesh, map[string]http.HandlerFunc{routing + "-/grpcRoutes": own, views: foreign}, "grpc/r http/f", ""},
		"none":                     {onMesh, map[string]http.HandlerFunc{views: say(`{}`)}, "", ""},
		"mesh doesn't exist":       {onMesh, map[string]http.HandlerFunc{routing + "-/meshes": say(`{}`)}, "", ""},
		"mesh elsewhere":           {onMesh, map[string]http.HandlerFunc{routing + "-/meshes": say(`{"meshes":[{"name":"x/locations/eu/meshes/sidecars"}]}`), routing + "eu/meshes/sidecars/routeViews": foreign}, "http/f grpc/r", ""},
		"views refused, own known": {onMesh, map[string]http.HandlerFunc{routing + "-/grpcRoutes": own, views: denied("networkservices.route_views.list")}, "grpc/r", "networkservices.route_views.list"},
		"views refused, none own":  {onMesh, map[string]http.HandlerFunc{views: denied("networkservices.route_views.list")}, "-", "networkservices.route_views.list"},
		"one kind refused":         {onMesh, map[string]http.HandlerFunc{routing + "-/grpcRoutes": own, views: foreign, routing + "-/tlsRoutes": denied("networkservices.tlsRoutes.list")}, "-", "networkservices.tlsRoutes.list"},
		"a gateway's": {scope, map[string]http.HandlerFunc{
			routing + "-/gateways":                   say(`{"gateways":[{"name":"x/locations/global/gateways/g","scope":"edge"},{"name":"x/locations/global/gateways/h","scope":"other"}]}`),
			routing + "global/gateways/g/routeViews": say(`{"gatewayRouteViews":[{"routeId":"t","routeLocation":"global","routeType":"TlsRoute"}]}`),
		}, "tls/t", ""},
		"a gateway's, refused": {scope, map[string]http.HandlerFunc{routing + "-/gateways": denied("networkservices.gateways.list")}, "-", "networkservices.gateways.list"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, k := range []string{"httpRoutes", "grpcRoutes", "tcpRoutes", "tlsRoutes"} {
				if tt.answers[routing+"-/"+k] == nil {
					tt.answers[routing+"-/"+k] = say(`{}`)
				}
			}
			view, set := run(t, newGoogle(t, tt.answers).api(nil), tt.req, "routes")
			got, err := evidence.Get(view, evidence.Routes)
			var names []string
			for _, r := range got {
				names = append(names, r.Kind+"/"+r.Name)
			}
			if err != nil {
				names = []string{"-"}
			}
			if strings.Join(names, " ") != tt.want {
				t.Errorf("got %v, want %s", names, tt.want)
			}
			ferr := failure(set, "routes")
			if (ferr == nil) != (tt.fails == "") || (ferr != nil && !strings.Contains(ferr.Error(), tt.fails)) {
				t.Errorf("failure %v, want %q", ferr, tt.fails)
			}
		})
	}
}
