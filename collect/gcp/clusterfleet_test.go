package gcp

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestFleetMesh(t *testing.T) {
	const get = "GET v1/projects/mesh-prod/locations/global/features/servicemesh"
	state := func(name, impl, cp string) string {
		return `"projects/482915067713/locations/us-central1/memberships/` + name + `":{"state":{"updateTime":"2026-03-04T09:00:00Z"},"servicemesh":{"controlPlaneManagement":{"state":"` + cp + `","implementation":"` + impl + `","details":[{"code":"REVISION_READY","details":"Ready: asm-managed"},null]},"dataPlaneManagement":{"state":"ACTIVE"},"conditions":[{"code":"CNI_INSTALLATION_FAILED","severity":"ERROR","documentationLink":"https://x"}]}}`
	}
	one := `{"membershipStates":{` + state("prod", "TRAFFIC_DIRECTOR", "ACTIVE") + `},"membershipSpecs":{"projects/482915067713/locations/us-central1/memberships/prod":{"mesh":{"management":"MANAGEMENT_AUTOMATIC"}}}}`
	two := `{"membershipStates":{` + state("prod", "TRAFFIC_DIRECTOR", "ACTIVE") + "," + state("test", "ISTIOD", "STALLED") + `}}`
	for _, tt := range []struct {
		name, cluster string
		answer        http.HandlerFunc
		want          string
		known         bool
		fails         string
	}{
		{"one membership", "", say(one), "[prod AUTOMATIC TRAFFIC_DIRECTOR ACTIVE ACTIVE CNI_INSTALLATION_FAILED 1]", true, ""},
		{"found by its context", "gke_mesh-prod_us-central1_test", say(two), "[test  ISTIOD STALLED ACTIVE CNI_INSTALLATION_FAILED 1]", true, ""},
		{"several, none named", "", say(two), "[]", false, "which of the fleet's 2 memberships"},
		{"several, another named", "kind-kind", say(two), "[]", false, "cluster kind-kind"},
		{"never switched on", "", refuse(404, "NOT_FOUND", "Resource 'projects/mesh-prod/locations/global/features/servicemesh' was not found", "", nil), "[]", true, ""},
		{"other features alone", "", say(`{"membershipStates":{"m":{"state":{"code":"OK"}}}}`), "[]", true, ""},
		{"denied", "", refuse(403, "PERMISSION_DENIED", "no", "", nil), "[]", false, "needs gkehub.features.get"},
		{"in part", "", say(`{"unreachable":["us-east1"],"membershipStates":{` + state("prod", "ISTIOD", "ACTIVE") + `}}`), "[prod  ISTIOD ACTIVE ACTIVE CNI_INSTALLATION_FAILED 1]", true, "us-east1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			target := diagnose.Request{Target: diagnose.Target{Project: "mesh-prod", Namespace: "shop", Cluster: tt.cluster}}
			view, set := run(t, newGoogle(t, map[string]http.HandlerFunc{get: tt.answer}).api(withScanner(t)), target, "fleet-mesh")
			outcomeOf(t, set, "fleet-mesh", tt.known, tt.fails)
			got, _ := evidence.Get(view, evidence.FleetMesh)
			out := []string{}
			for _, m := range got {
				out = append(out, fmt.Sprint(m.Membership[len(m.Membership)-4:], " ", m.Management, " ", m.Implementation, " ", m.ControlPlane, " ", m.DataPlane, " ", m.Conditions[0].Code, " ", len(m.Details)))
			}
			if fmt.Sprint(out) != tt.want {
				t.Errorf("got %v, want %s", out, tt.want)
			}
		})
	}
}
