//go:build !race

package envoy

const underRace = false
