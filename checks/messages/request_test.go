package messages_test

import (
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
)

func TestRequestSignatures(t *testing.T) {
	checkstest.Signatures(t, []diagnose.Signature{
		messages.AccessDenied, messages.UpstreamConnectError, messages.ProxyTerminating, messages.ProxyReady, messages.InitialFetchTimeout,
	})
	for _, c := range []struct {
		sig         diagnose.Signature
		line        string
		field, want string
	}{
		{messages.AccessDenied, "enforced denied, matched policy ns[shop]-policy[deny]-rule[1]\tthread=2", "policy", "ns[shop]-policy[deny]-rule[1]"},
		{messages.UpstreamConnectError, "upstream connect error or disconnect/reset before headers. reset reason: connection failure, transport failure reason: delayed connect error: 111", "transport", "delayed connect error: 111"},
		{messages.UpstreamConnectError, "gRPC config stream closed: 14, upstream connect error or disconnect/reset before headers. reset reason: connection failure", "stream", "gRPC config stream"},
		{messages.UpstreamConnectError, `{"m":"upstream connect error or disconnect/reset before headers. reset reason: overflow"}`, "reason", "overflow"},
		{messages.EndpointDialTimeout, `Error while dialing: dial tcp 10.132.0.10:50051: i/o timeout"`, "address", "10.132.0.10:50051"},
		{messages.EndpointDialTimeout, `dial tcp: lookup trafficdirector.googleapis.com on 10.0.0.2:53: read udp 10.0.0.9:33071->10.0.0.2:53: i/o timeout`, "address", ""},
		{messages.InitialFetchTimeout, "gRPC config: initial fetch timed out for type.googleapis.com/envoy.config.listener.v3.Listener", "type_url", "type.googleapis.com/envoy.config.listener.v3.Listener"},
	} {
		if got := fields(c.sig, c.line)[c.field]; got != c.want {
			t.Errorf("%s: %s is %q, want %q", c.line, c.field, got, c.want)
		}
	}
}
