package controlplane

import (
	"fmt"
	"slices"
	"strings"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// nearest gives the probes made from the workload itself where there are any, else all: a probe from elsewhere neither
// clears nor accuses a workload that was asked itself.
func nearest[T any](list []T, source func(T) evidence.Source) []T {
	var own []T
	for _, x := range list {
		if source(x).Vantage == evidence.FromWorkload {
			own = append(own, x)
		}
	}
	if len(own) > 0 {
		return own
	}
	return list
}

// gotThrough says whether the control plane answered CSDS to the very machine that a failed probe was made from: then clients
// there get to it some other way than the probe's (HTTPS_PROXY, which gRPC heeds, or an entry in /etc/hosts), and the probe
// accuses nothing.
func gotThrough(v *evidence.View, probe evidence.Source) bool {
	if probe.Vantage == evidence.FromWorkload {
		return false
	}
	_, err := evidence.Get(v, evidence.Clients)
	src, ok := v.SourceOf(evidence.Clients.Name())
	return err == nil && ok && !src.Pasted
}

// seenFrom gives how sure a probe's result makes us, and the words that say from where it was seen.
func seenFrom(s evidence.Source) (diagnose.Confidence, string) {
	if s.Vantage == evidence.FromWorkload {
		return diagnose.Confirmed, "from the workload"
	}
	return diagnose.Likely, "from the machine meshdiag runs on"
}

// listed joins words as in a sentence, the first few of them.
func listed(words []string) string {
	const most = 4
	if extra := len(words) - most; extra > 0 {
		return strings.Join(words[:most], ", ") + fmt.Sprintf(" and %d more", extra)
	}
	switch len(words) {
	case 0:
		return ""
	case 1:
		return words[0]
	default:
		return strings.Join(words[:len(words)-1], ", ") + " and " + words[len(words)-1]
	}
}

// unique gives the words once each, in their order.
func unique(words []string) []string {
	var out []string
	for _, w := range words {
		if !slices.Contains(out, w) {
			out = append(out, w)
		}
	}
	return out
}

// plural writes a count with its noun.
func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// scopeOf names the network, Mesh or Gateway scope that a request is about.
func scopeOf(t diagnose.Target) string {
	switch {
	case t.Network != "":
		return "network " + t.Network
	case t.GatewayScope() != "":
		return "Gateway scope " + t.GatewayScope()
	case t.MeshName() != "":
		return "Mesh " + t.MeshName()
	}
	return "mesh"
}
