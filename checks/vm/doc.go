// Package vm finds faults of the Compute Engine VM that a proxy runs on: whether it runs, whether its set-up as a service
// proxy went through, and whether the agent and Envoy on it live.
package vm
