//go:build race

package envoy

// underRace makes the largest tests smaller: the race detector slows loops over bytes tenfold, and they start no goroutine.
const underRace = true
