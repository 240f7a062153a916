package xds

import (
	"fmt"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// PrivilegedPort finds a listener on a port that the proxy's user may not bind.
var PrivilegedPort = diagnose.Check{
	ID:       "xds/privileged-port",
	Severity: diagnose.Blocking,
	Layer:    diagnose.LayerConfig,
	Symptoms: []diagnose.Symptom{diagnose.SymptomConfigRejected, diagnose.SymptomRequestsFail},
	Doc: diagnose.Doc{
		Title: "Envoy may not bind a port below 1024",
		Explanation: "On Linux only root, or a process with the capability CAP_NET_BIND_SERVICE, may listen on ports below 1024. " +
			"Envoy's images run as an ordinary user since 1.15, and so do distroless gateways: they reject a listener on port 80 or 443.",
		Quiet: "When the port is 1024 or above (then something else forbids it, SELinux for instance), or the address is in use.",
		Remedy: []diagnose.Step{
			{Text: "Best: let the listener take a port of 1024 or above, and map port {{port}} to it where clients connect (targetPort of the Service, the forwarding rule's or Gateway's port)."},
			{Text: "Or, in Kubernetes, allow the gateway's pods to bind port {{port}}: add the sysctl net.ipv4.ip_unprivileged_port_start=0 to spec.template.spec.securityContext.sysctls of the gateway's Deployment (this restarts its pods)."},
			{Text: "Or, on a VM, give Envoy's binary the capability, and restart Envoy:",
				Command: `sudo setcap cap_net_bind_service=+ep "$(readlink -f /proc/$(pgrep -xo envoy)/exe)"`},
		},
		References: []string{
			"https://docs.cloud.google.com/service-mesh/docs/troubleshooting/troubleshoot-proxy",
			"https://www.envoyproxy.io/docs/envoy/latest/version_history/v1.15/v1.15.0",
			"https://docs.kernel.org/networking/ip-sysctl.html",
		},
	},
	Needs:      rejectionNeeds,
	Signatures: rejectionSignatures,
	Explains:   []diagnose.CheckID{"xds/config-rejected"},
	Evaluate:   privilegedPort,
}

func privilegedPort(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	return special(req, v, portDenial, func(g group, k kind, who string) (string, map[string]string) {
		return fmt.Sprintf("%s may not bind %s for %s: permission denied, as its user may not use ports below 1024.", who, k.address, g.listener()),
			map[string]string{"port": k.port, "address": k.address}
	})
}
