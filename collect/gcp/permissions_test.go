package gcp

import (
	"encoding/json"
	"errors"
	"net/http"
	"testing"

	cloudresourcemanager "google.golang.org/api/cloudresourcemanager/v3"

	"github.com/meshdiag/meshdiag/evidence"
)

const proxyAccount = "proxy@mesh-prod.iam.gserviceaccount.com"

func TestPermissions(t *testing.T) {
	const (
		ask    = "POST v1/iam:troubleshoot"
		policy = "POST v3/projects/mesh-prod:getIamPolicy"
	)
	access := func(s string) http.HandlerFunc { return say(`{"access":"` + s + `"}`) }
	no := refuse(403, "PERMISSION_DENIED", "no", "", nil)
	bound := func(bindings string) http.HandlerFunc { return say(`{"version":3,"bindings":[` + bindings + `]}`) }
	me := `"members":["serviceAccount:` + proxyAccount + `"]`
	type answers = map[string]http.HandlerFunc
	for name, tt := range map[string]struct {
		answers    answers
		get, send  evidence.Access // getConfigs, reportMetrics
		method     string          // "" where nothing is known
		fails      bool
		permission string // of the failure
	}{
		"granted":                {answers{ask: access("GRANTED")}, evidence.AccessGranted, evidence.AccessGranted, byTroubleshooter, false, ""},
		"not granted":            {answers{ask: access("NOT_GRANTED")}, evidence.AccessDenied, evidence.AccessDenied, byTroubleshooter, false, ""},
		"conditional":            {answers{ask: access("UNKNOWN_CONDITIONAL")}, evidence.AccessUnknown, evidence.AccessUnknown, byTroubleshooter, false, ""},
		"info denied, policy":    {answers{ask: access("UNKNOWN_INFO_DENIED"), policy: bound(`{"role":"roles/trafficdirector.client",` + me + `}`)}, evidence.AccessGranted, evidence.AccessGranted, byPolicy, false, ""},
		"refused, viewer":        {answers{ask: no, policy: bound(`{"role":"roles/viewer",` + me + `}`)}, evidence.AccessGranted, evidence.AccessNotInPolicy, byPolicy, true, "resourcemanager.projects.getIamPolicy"},
		"refused, not in policy": {answers{ask: no, policy: bound(`{"role":"roles/logging.logWriter",` + me + `},{"role":"roles/owner","members":["user:a@b.c"]}`)}, evidence.AccessNotInPolicy, evidence.AccessNotInPolicy, byPolicy, true, "resourcemanager.projects.getIamPolicy"},
		"refused twice":          {answers{ask: no, policy: no}, 0, 0, "", true, "resourcemanager.projects.getIamPolicy"},
		"nonsense":               {answers{ask: access(""), policy: no}, 0, 0, "", true, "resourcemanager.projects.getIamPolicy"},
	} {
		t.Run(name, func(t *testing.T) {
			tt.answers["GET compute/v1/projects/mesh-prod/zones/us-central1-a/instances/vm-1"] = say(`{"name":"vm-1","serviceAccounts":[{"email":"` + proxyAccount + `"}]}`)
			tt.answers[projects+"mesh-prod"] = say(`{"name":"projects/482915067713","projectId":"mesh-prod"}`)
			view, set := run(t, newGoogle(t, tt.answers).api(nil), onVM, "instances", "project", "proxy-permissions")
			got, err := evidence.Get(view, evidence.ProxyPermissions)
			switch {
			case tt.method == "":
				if err == nil {
					t.Errorf("got %+v", got)
				}
			case err != nil || len(got) != 2:
				t.Fatalf("got %+v, %v", got, err)
			default:
				for i, want := range []evidence.Access{tt.get, tt.send} {
					if got[i].Access != want || got[i].Method != tt.method || got[i].Principal != proxyAccount || got[i].Project != "mesh-prod" {
						t.Errorf("got %+v, want %v by %s", got[i], want, tt.method)
					}
				}
			}
			ferr := failure(set, "proxy-permissions")
			var d *evidence.Denied
			if (ferr != nil) != tt.fails || (ferr != nil && (!errors.As(ferr, &d) || d.Permission != tt.permission || d.Command == "")) {
				t.Errorf("failure %v", ferr)
			}
		})
	}
}

func TestTroubleshootQuestion(t *testing.T) {
	var asked struct {
		AccessTuple struct{ FullResourceName, Permission, Principal string }
	}
	g := newGoogle(t, map[string]http.HandlerFunc{"POST v1/iam:troubleshoot": func(w http.ResponseWriter, r *http.Request) {
		if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
			t.Error(err)
		}
		say(`{"access":"GRANTED"}`)(w, r)
	}})
	if _, err := g.api(nil).troubleshoot(t.Context(), "mesh-prod", proxyAccount, getConfigs); err != nil {
		t.Fatal(err)
	}
	if a := asked.AccessTuple; a.FullResourceName != "//cloudresourcemanager.googleapis.com/projects/mesh-prod" || a.Permission != getConfigs || a.Principal != proxyAccount {
		t.Errorf("got %+v", a)
	}
}

func TestPermissionsWithoutAnAccount(t *testing.T) {
	for name, vm := range map[string]http.HandlerFunc{"none": say(`{"name":"vm-1"}`), "unknown": denied("compute.instances.get")} {
		t.Run(name, func(t *testing.T) {
			g := newGoogle(t, map[string]http.HandlerFunc{"GET compute/v1/projects/mesh-prod/zones/us-central1-a/instances/vm-1": vm})
			view, _ := run(t, g.api(nil), onVM, "instances", "proxy-permissions")
			if got, err := evidence.Get(view, evidence.ProxyPermissions); err == nil {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func policyOf(role, member string, conditional bool) *cloudresourcemanager.Policy {
	b := &cloudresourcemanager.Binding{Role: role, Members: []string{member}}
	if conditional {
		b.Condition = &cloudresourcemanager.Expr{Expression: "request.time < timestamp('2030-01-01T00:00:00Z')"}
	}
	return &cloudresourcemanager.Policy{Bindings: []*cloudresourcemanager.Binding{nil, b}}
}

func TestInPolicy(t *testing.T) {
	for name, tt := range map[string]struct {
		role, member string
		condition    bool
		want         evidence.Access
	}{
		"client":               {"roles/trafficdirector.client", "serviceAccount:" + proxyAccount, false, evidence.AccessGranted},
		"editor":               {"roles/editor", "serviceAccount:" + proxyAccount, false, evidence.AccessGranted},
		"everybody":            {"roles/compute.networkViewer", "allAuthenticatedUsers", false, evidence.AccessGranted},
		"conditional":          {"roles/trafficdirector.client", "serviceAccount:" + proxyAccount, true, evidence.AccessUnknown},
		"custom role":          {"projects/mesh-prod/roles/proxy", "serviceAccount:" + proxyAccount, false, evidence.AccessUnknown},
		"custom role, another": {"organizations/1/roles/proxy", "serviceAccount:other@x.iam.gserviceaccount.com", false, evidence.AccessNotInPolicy},
		"group":                {"roles/trafficdirector.client", "group:proxies@example.com", false, evidence.AccessUnknown},
		"group, other role":    {"roles/storage.admin", "group:proxies@example.com", false, evidence.AccessNotInPolicy},
		"principal set":        {"roles/editor", "principalSet://cloudresourcemanager.googleapis.com/projects/1/type/ServiceAccount", false, evidence.AccessUnknown},
		"domain":               {"roles/viewer", "domain:example.com", false, evidence.AccessUnknown},
		"deleted":              {"roles/owner", "deleted:serviceAccount:" + proxyAccount + "?uid=1", false, evidence.AccessNotInPolicy},
	} {
		t.Run(name, func(t *testing.T) {
			if got := inPolicy(policyOf(tt.role, tt.member, tt.condition), proxyAccount, getConfigs); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}
