package convert

import (
	"fmt"
	"strings"
	"testing"

	compute "google.golang.org/api/compute/v1"

	"github.com/meshdiag/meshdiag/evidence"
)

func TestBackendsOfService(t *testing.T) {
	got := BackendService(&compute.BackendService{Name: "a", PortName: "grpc", HealthChecks: []string{"h"}, Backends: []*compute.Backend{nil, {Group: "g", CapacityScaler: 0.5}}})
	if got.PortName != "grpc" || len(got.HealthChecks) != 1 || len(got.Backends) != 1 || got.Backends[0] != (evidence.Backend{Group: "g", Capacity: 0.5}) {
		t.Errorf("got %+v", got)
	}
	if got := BackendService(nil); got.Name != "" {
		t.Errorf("got %+v", got)
	}
}

func TestHealthCheckPorts(t *testing.T) {
	const fixed, named, serving = "USE_FIXED_PORT", "USE_NAMED_PORT", "USE_SERVING_PORT"
	for _, tt := range []struct {
		in   *compute.HealthCheck
		want string
	}{
		{nil, " 0 "},
		{&compute.HealthCheck{Type: "GRPC", GrpcHealthCheck: &compute.GRPCHealthCheck{PortSpecification: serving}}, serving + " 0 "},
		{&compute.HealthCheck{Type: "GRPC_WITH_TLS", GrpcTlsHealthCheck: &compute.GRPCTLSHealthCheck{Port: 443}}, fixed + " 443 "},
		{&compute.HealthCheck{Type: "HTTP", HttpHealthCheck: &compute.HTTPHealthCheck{Port: 80}}, fixed + " 80 "},
		{&compute.HealthCheck{Type: "HTTPS", HttpsHealthCheck: &compute.HTTPSHealthCheck{PortName: "web"}}, named + " 0 web"},
		{&compute.HealthCheck{Type: "HTTP2", Http2HealthCheck: &compute.HTTP2HealthCheck{PortSpecification: serving}}, serving + " 0 "},
		{&compute.HealthCheck{Type: "TCP", TcpHealthCheck: &compute.TCPHealthCheck{Port: 1}}, fixed + " 1 "},
		{&compute.HealthCheck{Type: "SSL", SslHealthCheck: &compute.SSLHealthCheck{Port: 2}}, fixed + " 2 "},
	} {
		got := HealthCheck(tt.in)
		if s := fmt.Sprintf("%s %d %s", got.PortSpec, got.Port, got.PortName); s != tt.want {
			t.Errorf("%+v gives %q, want %q", tt.in, s, tt.want)
		}
	}
}

func TestFirewallRules(t *testing.T) {
	show := func(r evidence.FirewallRule) string {
		return strings.TrimSpace(fmt.Sprint(r.Direction, " ", r.Action, " ", r.Ranges, " ", r.Protocols, " ", r.Opaque))
	}
	for _, tt := range []struct{ name, got, want string }{
		{"nothing", show(Firewall(nil, 0)), "  [] [] []"},
		{"allow", show(Firewall(&compute.Firewall{Direction: "INGRESS", SourceRanges: []string{"10.1.2.3/8", "1.2.3.4", "bad"}, Allowed: []*compute.FirewallAllowed{nil, {IPProtocol: "TCP", Ports: []string{"80", "90-99"}}}}, 1)),
			"INGRESS allow [10.0.0.0/8 1.2.3.4/32] [{tcp [[80 80] [90 99]]}] [range bad]"},
		{"ports that can't be read aren't all ports", show(Firewall(&compute.Firewall{Allowed: []*compute.FirewallAllowed{{IPProtocol: "tcp", Ports: []string{"99-90", "x", "70000"}}}}, 1)),
			"INGRESS allow [] [] [ports 99-90 ports x ports 70000]"},
		{"deny egress", show(Firewall(&compute.Firewall{Direction: "EGRESS", DestinationRanges: []string{"0.0.0.0/0"}, SourceRanges: []string{"10.0.0.0/8"}, Denied: []*compute.FirewallDenied{{IPProtocol: "all"}}}, 1)),
			"EGRESS deny [0.0.0.0/0] [{all []}] [source range 10.0.0.0/8]"},
		{"policy", show(PolicyRule(&compute.FirewallPolicyRule{Direction: "INGRESS", Action: "allow", TargetSecureTags: []*compute.FirewallPolicyRuleSecureTag{nil, {Name: "tagValues/1"}},
			Match: &compute.FirewallPolicyRuleMatcher{SrcIpRanges: []string{"::/0"}, SrcRegionCodes: []string{"DE"}, SrcNetworkType: "INTERNET", DestIpRanges: []string{"10.0.0.0/8"},
				SrcSecureTags: []*compute.FirewallPolicyRuleSecureTag{{Name: "tagValues/2"}}, Layer4Configs: []*compute.FirewallPolicyRuleMatcherLayer4Config{nil, {IpProtocol: "tcp"}}}}, "p", 1)),
			"INGRESS allow [::/0] [{tcp []}] [target secure tag tagValues/1 destination range 10.0.0.0/8 source secure tag tagValues/2 source region DE source network type INTERNET]"},
		{"policy, egress", show(PolicyRule(&compute.FirewallPolicyRule{Direction: "EGRESS", Action: "deny", Match: &compute.FirewallPolicyRuleMatcher{DestFqdns: []string{"x.y"}}}, "p", 1)),
			"EGRESS deny [] [] [destination FQDN x.y]"},
		{"policy without a match", show(PolicyRule(&compute.FirewallPolicyRule{Direction: "EGRESS", Action: "deny"}, "p", 1)), "EGRESS deny [] [] []"},
		{"no rule", show(PolicyRule(nil, "p", 1)), "[] [] []"},
	} {
		if strings.TrimSpace(tt.got) != strings.TrimSpace(tt.want) {
			t.Errorf("%s: got %q, want %q", tt.name, tt.got, tt.want)
		}
	}
}
