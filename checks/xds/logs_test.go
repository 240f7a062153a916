package xds

import (
	"maps"
	"regexp"
	"strings"
	"time"

	"github.com/meshdiag/meshdiag/evidence"
)

// scan reads a log the way the messages of one are gathered: each line against each signature, equal ones counted.
func scan(file, text string) []evidence.LogMessage {
	var out []evidence.LogMessage
	for i, line := range strings.Split(text, "\n") {
		for _, s := range rejectionSignatures {
			re := regexp.MustCompile(s.Pattern)
			m := re.FindStringSubmatch(line)
			if m == nil {
				continue
			}
			f := map[string]string{}
			for j, n := range re.SubexpNames() {
				if n != "" {
					f[n] = m[j]
				}
			}
			at := -1
			for j := range out {
				if out[j].Signature == s.ID && maps.Equal(out[j].Fields, f) {
					at = j
				}
			}
			if at >= 0 {
				out[at].Count++
				out[at].LastLine = i + 1
				continue
			}
			out = append(out, evidence.LogMessage{
				Signature: s.ID, Fields: f, File: file, Line: i + 1, LastLine: i + 1, Text: line, Count: 1, Source: paste,
			})
		}
	}
	if out == nil {
		out = []evidence.LogMessage{}
	}
	return out
}

// logged is a log of one file.
func logged(text string) func(*evidence.Set) { return put(nil, scan("envoy.log", text)) }

// at gives messages a time.
func at(when time.Time, l []evidence.LogMessage) []evidence.LogMessage {
	for i := range l {
		l[i].First, l[i].Last = when, when
	}
	return l
}

const (
	guideLog = "gRPC config for " + ldsURLv2 + " rejected:\nError adding/updating listener(s) " + interception + ":\n" + denied
	prefix   = "[2026-11-03 11:58:00.101][12][warning][config] [source/extensions/config_subscription/grpc/grpc_subscription_impl.cc:138] "
	oneLiner = prefix + "gRPC config for " + ldsURL + " rejected: Error adding/updating listener(s) " + interception + ": " + denied
	lds80    = prefix + "gRPC config for " + ldsURL + " rejected: Error adding/updating listener(s) 0.0.0.0_80: cannot bind '0.0.0.0:80': Permission denied"
	added    = "[2026-11-03 11:59:00.101][12][info][upstream] [source/common/listener_manager/lds_api.cc:106] lds: add/update listener '"
	rdsNack  = prefix + "gRPC config for " + rdsURL + " rejected: Only unique values for domains are permitted. Duplicate entry of domain shop.example.com in route shop-map"
)
