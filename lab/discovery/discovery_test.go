package discovery

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func checker(t *testing.T) *Checker {
	t.Helper()
	c, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCheck(t *testing.T) {
	c := checker(t)
	for _, tc := range []struct {
		name, method, path, request string
		status                      int
		response                    string
		id                          string
		fault                       string // part of the only fault; empty for none
	}{
		{name: "a list", method: "GET", path: "/compute/v1/projects/p/global/forwardingRules?maxResults=500", status: 200,
			response: `{"items":[{"name":"r","id":"123","IPAddress":"10.0.0.1","loadBalancingScheme":"INTERNAL_SELF_MANAGED"}]}`,
			id:       "compute.globalForwardingRules.list"},
		{name: "unknown parameter", method: "GET", path: "/compute/v1/projects/p/global/forwardingRules?pageSize=5", status: 200,
			response: `{}`, id: "compute.globalForwardingRules.list", fault: `unknown parameter "pageSize"`},
		{name: "number for a uint64", method: "GET", path: "/compute/v1/projects/p/global/forwardingRules", status: 200,
			response: `{"items":[{"id":123}]}`, id: "compute.globalForwardingRules.list", fault: "items[0].id: a JSON float64"},
		{name: "unknown field", method: "GET", path: "/compute/v1/projects/p/global/forwardingRules", status: 200,
			response: `{"items":[{"ipAddress":"x"}]}`, id: "compute.globalForwardingRules.list", fault: `no field "ipAddress"`},
		{name: "enum", method: "GET", path: "/compute/v1/projects/p/global/forwardingRules", status: 200,
			response: `{"items":[{"loadBalancingScheme":"SELF"}]}`, id: "compute.globalForwardingRules.list", fault: `"SELF" is no value`},
		{name: "custom method", method: "POST", path: "/v3/projects/p:testIamPermissions", request: `{"permissions":["a"]}`, status: 200,
			response: `{}`, id: "cloudresourcemanager.projects.testIamPermissions"},
		{name: "bad request body", method: "POST", path: "/v3/projects/p:testIamPermissions", request: `{"permission":"a"}`, status: 200,
			response: `{}`, id: "cloudresourcemanager.projects.testIamPermissions", fault: `no field "permission"`},
		{name: "body of a GET", method: "GET", path: "/v3/projects/p", request: `{}`, status: 200, response: `{}`,
			id: "cloudresourcemanager.projects.get", fault: "takes none"},
		{name: "an error", method: "GET", path: "/v3/projects/p", status: 403, id: "cloudresourcemanager.projects.get",
			response: `{"error":{"code":403,"message":"no","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo"}]}}`},
		{name: "an error's code", method: "GET", path: "/v3/projects/p", status: 403, id: "cloudresourcemanager.projects.get",
			response: `{"error":{"code":404,"message":"no"}}`, fault: "code 404"},
		{name: "no such method", method: "GET", path: "/v1/projects/p/nonsense/x", status: 200, fault: "no method"},
		{name: "not JSON", method: "GET", path: "/v3/projects/p", status: 200, response: `<html>`,
			id: "cloudresourcemanager.projects.get", fault: "invalid character"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			id, faults := c.Check(tc.method, tc.path, []byte(tc.request), tc.status, []byte(tc.response))
			if id != tc.id {
				t.Errorf("method %q, expected %q", id, tc.id)
			}
			switch {
			case tc.fault == "" && len(faults) > 0:
				t.Errorf("faults: %q", faults)
			case tc.fault != "" && (len(faults) != 1 || !strings.Contains(faults[0], tc.fault)):
				t.Errorf("faults %q, expected one with %q", faults, tc.fault)
			}
		})
	}
}

// Answers that Google's servers gave must pass, or the checker is too strict. Their project redacted them, and with
// that put text where a number was.
func TestRealAnswers(t *testing.T) {
	c := checker(t)
	dir := corpus(t)
	for file, path := range map[string]string{
		"forwardingRules-aggregated.json": "/compute/v1/projects/p/aggregated/forwardingRules",
		"instances-list.json":             "/compute/v1/projects/p/zones/z/instances",
		"services-list.json":              "/v1/projects/p/services",
	} {
		b, err := os.ReadFile(filepath.Join(dir, "gcp", file))
		if err != nil {
			t.Fatal(err)
		}
		id, faults := c.Check("GET", path, nil, 200, b)
		if id == "" {
			t.Errorf("%s: no method for %s", file, path)
		}
		faults = slices.DeleteFunc(faults, func(f string) bool { return strings.Contains(f, "REDACTED") || strings.Contains(f, "redacted") })
		if len(faults) > 0 {
			t.Errorf("%s: %d faults, first %q", file, len(faults), faults[0])
		}
	}
}

func corpus(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			c := filepath.Join(dir, "..", "shared", "corpus")
			if _, err := os.Stat(c); err != nil {
				t.Skipf("no corpus beside the repository: %v", err)
			}
			return c
		}
	}
	t.Fatal("no go.mod above the test")
	return ""
}
