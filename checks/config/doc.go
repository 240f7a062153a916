// Package config finds out why the control plane has no configuration for a proxy: no forwarding rule, Mesh or route that
// matches what the proxy says it is.
package config
