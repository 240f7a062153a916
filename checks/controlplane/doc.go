// Package controlplane holds the checks of area controlplane: the proxy can't reach the control plane, or is refused by
// it. One check a file, named after its ID; what several of them share is in streams.go (what logs say of xDS streams),
// probes.go (from where a probe was made) and vms.go (which VMs are meant).
package controlplane

import "github.com/meshdiag/meshdiag/diagnose"

// disconnected are the symptoms of a proxy that the control plane can't be reached from, or that it refuses.
var disconnected = []diagnose.CheckID{
	"controlplane/no-client-connected", "controlplane/client-not-connected", "controlplane/stream-errors", "controlplane/api-errors",
	"xds/no-dynamic-config", "xds/initial-fetch-timeout", "vm/envoy-not-live", "proxyless/produced-zero-addresses",
}

// unserved are the symptoms of a proxy that gets no answer from the control plane.
var unserved = []diagnose.CheckID{"xds/no-dynamic-config", "xds/initial-fetch-timeout", "vm/envoy-not-live", "proxyless/produced-zero-addresses"}
