package main

import (
	"net/netip"

	"github.com/spf13/cobra"

	"github.com/meshdiag/meshdiag/cmd/meshdiag/pipeline"
)

// connectionFlags say where the outside world is.
type connectionFlags struct {
	trafficDirector, gcp, dns, ca, credentials, quota string
	ranges                                            []string
	envoyAdmin                                        string
	envoyAllowed                                      []string
	kubeconfig                                        string
	podExec                                           bool
}

func (f *connectionFlags) add(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVar(&f.trafficDirector, "traffic-director-endpoint", "trafficdirector.googleapis.com:443", "control plane, `HOST:PORT`")
	fs.StringVar(&f.gcp, "gcp-endpoint", "", "one base `URL` for all Google REST APIs (default each API's own)")
	fs.StringVar(&f.dns, "dns-server", "", "DNS server, `IP:PORT` (default the system's)")
	fs.StringVar(&f.ca, "ca-file", "", "PEM `FILE` of CA certificates to trust besides the system's")
	fs.StringVar(&f.credentials, "credentials-file", "", "Google credentials `FILE` (default Application Default Credentials)")
	fs.StringVar(&f.quota, "quota-project", "", "`PROJECT` that API calls are billed to")
	fs.StringVar(&f.envoyAdmin, "envoy-admin", "", "ask the Envoy whose admin interface is at `HOST:PORT` too, with GET alone; loopback, or a host that --envoy-admin-allow names")
	fs.StringArrayVar(&f.envoyAllowed, "envoy-admin-allow", nil, "`HOST` beyond loopback that --envoy-admin may name; repeatable")
	fs.StringVar(&f.kubeconfig, "kubeconfig", "", "`FILE` with the contexts of Kubernetes clusters (default $KUBECONFIG, ~/.kube/config, then the cluster that meshdiag runs in)")
	fs.BoolVar(&f.podExec, "pod-exec", false, "ask the proxy of --pod for its configuration too, by running `pilot-agent request GET` in its container")
	fs.StringArrayVar(&f.ranges, "control-plane-range", nil,
		"`CIDR` where the control plane may be found besides Google's addresses, such as a Private Service Connect range; repeatable")
}

func (f *connectionFlags) connection() (pipeline.Connection, error) {
	c := pipeline.Connection{
		TrafficDirectorEndpoint: f.trafficDirector, GCPEndpoint: f.gcp, DNSServer: f.dns, CAFile: f.ca,
		CredentialsFile: f.credentials, QuotaProject: f.quota, EnvoyAdmin: f.envoyAdmin, EnvoyAdminAllowed: f.envoyAllowed,
		Kubeconfig: f.kubeconfig, PodExec: f.podExec,
	}
	for _, r := range f.ranges {
		p, err := netip.ParsePrefix(r)
		if err != nil {
			return c, usage("--control-plane-range %q is not a range such as 10.0.0.0/24", r)
		}
		c.Ranges = append(c.Ranges, p)
	}
	return c, nil
}
