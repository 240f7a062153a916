// Package controlplane holds the checks of area controlplane: the proxy can't reach the control plane, or is refused by
// it. One check a file, named after its ID; what several of them share is in streams.go (what logs say of xDS streams),
// probes.go (from where a probe was made) and vms.go (which VMs are meant).
package controlplane
