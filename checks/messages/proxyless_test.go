package messages_test

import (
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
)

func TestProxylessSignatures(t *testing.T) {
	checkstest.Signatures(t, []diagnose.Signature{
		messages.GRPCBootstrapMissing, messages.GRPCBootstrapUnreadable, messages.GRPCBootstrapInvalid, messages.GRPCGeneratorFailed, messages.GRPCAuthorityUnknown,
		messages.GRPCNoAddresses, messages.GRPCListenerMissing,
	})
	for _, c := range []struct {
		name string
		sig  diagnose.Signature
		line string
		want map[string]string // nil: not recognised
	}{
		{"a missing file", messages.GRPCBootstrapUnreadable, `xds: failed to read bootstrap config from file "/b.json": open /b.json: no such file or directory`, map[string]string{"file": "/b.json", "error": "no such file or directory"}},
		{"escaped", messages.GRPCBootstrapUnreadable, `{"e":"failed to read bootstrap config from file \"/b.json\": open /b.json: permission denied"}`, map[string]string{"file": "/b.json", "error": "permission denied"}},
		{"old", messages.GRPCBootstrapUnreadable, `xds: Failed to read bootstrap config: open /b.json: no such file or directory`, map[string]string{"path": "/b.json", "reason": "no such file or directory"}},
		{"the generator", messages.GRPCGeneratorFailed, `Error: unable to generate mesh id: failed to determine GKE cluster name: x`, map[string]string{"doing": "unable to generate mesh id", "reason": "failed to determine GKE cluster name: x"}},
		{"the generator's flags", messages.GRPCGeneratorFailed, `Error: --config-mesh flag cannot be specified while --generate-mesh-id is also set.`, map[string]string{"flags": "--config-mesh flag cannot be specified while --generate-mesh-id is also set"}},
		{"the generator's warning", messages.GRPCGeneratorFailed, `Warning: failed to determine zone: could not discover instance zone: x`, nil},
		{"Firebase's project", messages.GRPCGeneratorFailed, `Error: Failed to determine project ID: Error while making request: getaddrinfo ENOTFOUND metadata.google.internal.`, nil},
		{"another tool's project", messages.GRPCGeneratorFailed, `Error: failed to determine project id: no default project is set`, nil},
		{"a field of another program", messages.GRPCBootstrapInvalid, `key not found in bootstrap configuration`, nil},
		{"another JSON", messages.GRPCBootstrapInvalid, `errors validating JSON: [field:loadBalancingConfig error:field not present]`, nil},
		{"the field", messages.GRPCBootstrapInvalid, "xds: required field `xds_servers` not found in bootstrap configuration: {", map[string]string{"problem": "required field `xds_servers` not found in bootstrap"}},
		{"authority", messages.GRPCAuthorityUnknown, `xds: authority "a.b" specified in dial target "xds://a.b/c:80" is not found in the bootstrap file`, map[string]string{"authority": "a.b", "target": "xds://a.b/c:80"}},
		{"the service's", messages.GRPCNoAddresses, `could not call xds:///c: rpc error: code = Unavailable desc = name resolver error: produced zero addresses`, map[string]string{"xds": "xds:///"}},
		{"nobody's", messages.GRPCNoAddresses, `rpc error: code = Unavailable desc = name resolver error: produced zero addresses`, map[string]string{}},
		{"the control plane's", messages.GRPCNoAddresses, `[xDS node id: x]: xds: error received from xDS stream: rpc error: code = Unavailable desc = name resolver error: produced zero addresses`, map[string]string{"xds": "xDS node id", "stream": "xDS stream"}},
		{"the control plane's, in the log", messages.GRPCNoAddresses, `WARNING: [xds] [xds-client 0x1] [ads-stream 0x2] ADS stream closed: rpc error: code = Unavailable desc = name resolver error: produced zero addresses`, map[string]string{"xds": "[xds]", "stream": "ads-stream"}},
		{"xdstp", messages.GRPCListenerMissing, `xds: resource "xdstp://td/x/1/n/checkout:80" of type "ListenerResource" has been removed`, map[string]string{"name": "xdstp://td/x/1/n/checkout:80"}},
		{"another type", messages.GRPCListenerMissing, `xds: resource "r" of type "RouteConfigResource" has been removed`, nil},
	} {
		got := fields(c.sig, c.line)
		if (got == nil) != (c.want == nil) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
			continue
		}
		for k, v := range got {
			if v != "" && c.want[k] != v {
				t.Errorf("%s: field %s is %q, want %q", c.name, k, v, c.want[k])
			}
		}
		for k, v := range c.want {
			if got[k] != v {
				t.Errorf("%s: field %s is %q, want %q", c.name, k, got[k], v)
			}
		}
	}
}
