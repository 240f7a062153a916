package messages_test

import (
	"maps"
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
)

func TestNotFoundSignatures(t *testing.T) {
	checkstest.Signatures(t, []diagnose.Signature{messages.ConfigNotFound, messages.EntityNotFound})
	const td, csm = "Traffic Director", "Cloud Service Mesh"
	cases := []struct {
		name string
		sig  diagnose.Signature
		line string
		want map[string]string // nil: not recognised
	}{
		{"network", messages.ConfigNotFound, csm + ` configuration was not found for network "mesh-vpc" in project "482915067713".`,
			map[string]string{"product": csm, "kind": "network", "name": "mesh-vpc", "project": "482915067713"}},
		{"escaped twice", messages.ConfigNotFound, td + ` configuration was not found for scope \\\"edge\\\" in project \\\"482915067713\\\".`,
			map[string]string{"product": td, "kind": "scope", "name": "edge", "project": "482915067713"}},
		{"unicode escapes", messages.ConfigNotFound, td + ` configuration was not found for mesh \u0022shop\u0022 in project \u00224829\u0022.`,
			map[string]string{"product": td, "kind": "mesh", "name": "shop", "project": "4829"}},
		{"no quotes, a full stop behind", messages.ConfigNotFound, td + ` configuration was not found for network default in project 482915067713.`,
			map[string]string{"product": td, "kind": "network", "name": "default", "project": "482915067713"}},
		{"a Mesh as network, a project of a domain", messages.ConfigNotFound, td + ` configuration was not found for network "mesh:shop" in project "example.com:shop-1".`,
			map[string]string{"product": td, "kind": "network", "name": "mesh:shop", "project": "example.com:shop-1"}},
		{"cut behind the network", messages.ConfigNotFound, csm + ` configuration was not found for network "VPC_NAME" in`,
			map[string]string{"product": csm, "kind": "network", "name": "VPC_NAME"}},
		{"bare", messages.ConfigNotFound, td + ` configuration was not found.`, map[string]string{"product": td}},
		{"another product", messages.ConfigNotFound, `Target configuration was not found for network "x"`, nil},
		{"stream", messages.EntityNotFound, `StreamLoadStats gRPC config stream closed: 5, Requested entity was not found.`, map[string]string{"stream": "gRPC config stream"}},
		{"own line", messages.EntityNotFound, `  Requested entity was not found.`, map[string]string{}},
		{"gcloud's", messages.EntityNotFound, `ERROR: (gcloud.compute.instances.describe) NOT_FOUND: Requested entity was not found.`, nil},
		{"another API's in Go", messages.EntityNotFound, `rpc error: code = NotFound desc = Requested entity was not found.`, nil},
		{"another code", messages.EntityNotFound, `gRPC config stream closed: 14, Requested entity was not found by proxy`, nil},
	}
	for _, c := range cases {
		if got := fields(c.sig, c.line); (got == nil) != (c.want == nil) || !maps.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
