package lab

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	compute "google.golang.org/api/compute/v1"
	logging "google.golang.org/api/logging/v2"
)

func TestGuestAttributesOfVMs(t *testing.T) {
	for scenario, want := range map[string]string{
		"vm-well":                      "FINISHED",
		"vm-bootstrap-failed":          "FAILED",
		"vm-bootstrap-not-started":     "404",
		"vm-guest-attributes-disabled": "404",
	} {
		v := startWorld(t, scenario, Options{})
		target := v.Target()
		got, err := v.clients(t).compute.Instances.GetGuestAttributes(target.Project, target.Zone, target.Instance).QueryPath("gce-service-proxy/").Do()
		said := fmt.Sprint(httpCode(err))
		if err == nil {
			for _, i := range got.QueryValue.Items {
				if i.Key == "bootstrap-status" {
					said = i.Value
				}
				if at, err := time.Parse(time.RFC3339, i.Value); i.Key == "agent-heartbeat" && (err != nil || time.Since(at) > time.Minute) {
					t.Errorf("%s: heartbeat %s", scenario, i.Value)
				}
			}
		}
		if said != want {
			t.Errorf("%s: %s (%v), expected %s", scenario, said, err, want)
		}
	}
}

func TestSerialPortAndLogOfVMs(t *testing.T) {
	v := startScenario(t, wideScenario(t), Options{})
	c := v.clients(t)
	for start, want := range map[int64]string{0: "started\n", -3: "ed\n", -100: "started\n", 5: "ed\n", 100: ""} {
		got, err := c.compute.Instances.GetSerialPortOutput("mesh-prod-4f2a", "us-central1-a", "vm-1").Port(1).Start(start).Do()
		if err != nil || got.Contents != want {
			t.Errorf("from %d: %+v, %v, expected %q", start, got, err, want)
		}
	}
	list := func(q *logging.ListLogEntriesRequest) string {
		var out []string
		err := c.logs.Entries.List(q).Pages(t.Context(), func(l *logging.ListLogEntriesResponse) error {
			for _, e := range l.Entries {
				out = append(out, string(e.JsonPayload))
			}
			return nil
		})
		if err != nil {
			return fmt.Sprint(httpCode(err))
		}
		return strings.NewReplacer(`{"message":"`, "", `"}`, "").Replace(strings.Join(out, " "))
	}
	project := []string{"projects/mesh-prod-4f2a"}
	for _, tt := range []struct {
		q    *logging.ListLogEntriesRequest
		want string
	}{
		{&logging.ListLogEntriesRequest{ResourceNames: project}, "three two one"},
		{&logging.ListLogEntriesRequest{ResourceNames: project, OrderBy: "timestamp desc"}, "one two three"},
		{&logging.ListLogEntriesRequest{ResourceNames: project, Filter: `timestamp>="` + time.Now().Add(-150*time.Second).UTC().Format(time.RFC3339Nano) + `"`}, "two one"},
		{&logging.ListLogEntriesRequest{ResourceNames: project, Filter: `resource.labels.instance_id="5"`}, ""},
		{&logging.ListLogEntriesRequest{ResourceNames: project, Filter: `timestamp>="noon"`}, "400"},
		{&logging.ListLogEntriesRequest{ResourceNames: project, OrderBy: "severity"}, "400"},
		{&logging.ListLogEntriesRequest{ResourceNames: []string{"projects/another"}}, "403"},
		{&logging.ListLogEntriesRequest{}, "400"},
	} {
		if got := list(tt.q); got != tt.want {
			t.Errorf("%+v: %q, expected %q", tt.q, got, tt.want)
		}
	}
}

func TestFirewallsByTag(t *testing.T) {
	v := startScenario(t, wideScenario(t), Options{})
	c := v.clients(t)
	for vm, want := range map[string]int{"vm-1": 2, "vm-2": 1} {
		got, err := c.compute.Instances.GetEffectiveFirewalls("mesh-prod-4f2a", "us-central1-a", vm, "nic0").Do()
		if err != nil || len(got.Firewalls) != want || len(got.FirewallPolicys) != 2 {
			t.Errorf("%s: %+v, %v", vm, got, err)
		}
	}
	if _, err := c.compute.Instances.GetEffectiveFirewalls("mesh-prod-4f2a", "us-central1-a", "vm-1", "nic7").Do(); httpCode(err) != http.StatusBadRequest {
		t.Errorf("an interface that does not exist: %v", err)
	}
	if _, err := c.compute.Networks.GetEffectiveFirewalls("mesh-prod-4f2a", "other").Do(); httpCode(err) != http.StatusNotFound {
		t.Errorf("a network that does not exist: %v", err)
	}
}

func TestHealthOfGroups(t *testing.T) {
	v := startScenario(t, wideScenario(t), Options{})
	c := v.clients(t)
	const zones = "https://compute.googleapis.com/compute/v1/projects/mesh-prod-4f2a/zones/"
	for group, want := range map[string]string{
		"us-central1-b/networkEndpointGroups/d-neg-3": "UNHEALTHY HEALTHY HEALTHY HEALTHY",
		"us-central1-a/networkEndpointGroups/d-neg-2": "",
		"us-central1-a/instanceGroups/d-group":        "HEALTHY HEALTHY HEALTHY",
		"us-central1-a/networkEndpointGroups/a-neg":   "400", // of another service
	} {
		h, err := c.compute.BackendServices.GetHealth("mesh-prod-4f2a", "d", &compute.ResourceGroupReference{Group: zones + group}).Do()
		var states []string
		if err != nil {
			states = []string{fmt.Sprint(httpCode(err))}
		} else {
			for _, s := range h.HealthStatus {
				states = append(states, s.HealthState)
			}
		}
		if got := strings.Join(states, " "); got != want {
			t.Errorf("%s: %q, expected %q", group, got, want)
		}
	}
}
