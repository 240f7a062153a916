package proxyless

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

const (
	// maxExhibits bounds the messages shown of one cause.
	maxExhibits = 3
	// maxExcerpt bounds a message shown.
	maxExcerpt = 500
)

// Pages that several checks refer to.
const (
	refTrouble  = "https://docs.cloud.google.com/service-mesh/docs/service-routing/troubleshooting-proxyless"
	refOverview = "https://docs.cloud.google.com/service-mesh/legacy/load-balancing-apis/proxyless-overview"
	refA27      = "https://github.com/grpc/proposal/blob/master/A27-xds-global-load-balancing.md"
	refA47      = "https://github.com/grpc/proposal/blob/master/A47-xds-federation.md"
	refGen      = "https://github.com/GoogleCloudPlatform/traffic-director-grpc-bootstrap"
)

// generate is how a bootstrap is made anew, on a VM or in a pod of Google Cloud.
const generate = "./td-grpc-bootstrap > bootstrap.json"

// of gives the messages of a signature.
func of(log []evidence.LogMessage, s diagnose.Signature) []evidence.LogMessage {
	var out []evidence.LogMessage
	for _, m := range log {
		if m.Signature == s.ID {
			out = append(out, m)
		}
	}
	return out
}

// shown makes exhibits of messages.
func shown(list []evidence.LogMessage) []diagnose.Exhibit {
	var out []diagnose.Exhibit
	for _, m := range list[:min(len(list), maxExhibits)] {
		text := shorten(m.Text, maxExcerpt)
		if m.File != "" {
			text = fmt.Sprintf("%s:%d: %s", m.File, m.Line, text)
		}
		if m.Count > 1 {
			text += fmt.Sprintf(" (%d times, to line %d)", m.Count, m.LastLine)
		}
		out = append(out, diagnose.Exhibit{Fact: evidence.LogMessages.Name(), Excerpt: text, Source: m.Source})
	}
	return out
}

// total adds the messages' counts up.
func total(list []evidence.LogMessage) int {
	n := 0
	for _, m := range list {
		n += m.Count
	}
	return n
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// first gives the first of a message's fields that isn't empty.
func first(m evidence.LogMessage, names ...string) string {
	for _, n := range names {
		if s := m.Fields[n]; s != "" {
			return strings.TrimSpace(s)
		}
	}
	return ""
}

func shorten(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xc0 == 0x80 {
		n--
	}
	return s[:n] + "…"
}

// grpcBootstraps gives the bootstraps of gRPC clients.
func grpcBootstraps(list []evidence.Bootstrap) []evidence.Bootstrap {
	var out []evidence.Bootstrap
	for _, b := range list {
		if b.Kind == evidence.GRPCBootstrap {
			out = append(out, b)
		}
	}
	return out
}

// fileKey is the key of a cause about one of n files.
func fileKey(name string, n int) string {
	if n <= 1 {
		return ""
	}
	return "files/" + strings.ReplaceAll(cmp.Or(name, "unnamed"), "/", "%2F")
}
