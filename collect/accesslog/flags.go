package accesslog

import (
	"slices"
	"strings"
)

// maxFlags bounds the response flags of one entry; Envoy has some thirty.
const maxFlags = 32

// longFlags are the long names of Envoy's response flags (RESPONSE_FLAGS_LONG) with the short ones.
// https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage, RESPONSE_FLAGS
func longFlags() map[string]string {
	return map[string]string{
		"FailedLocalHealthCheck":           "LH",
		"NoHealthyUpstream":                "UH",
		"UpstreamRequestTimeout":           "UT",
		"LocalReset":                       "LR",
		"UpstreamRemoteReset":              "UR",
		"UpstreamConnectionFailure":        "UF",
		"UpstreamConnectionTermination":    "UC",
		"UpstreamOverflow":                 "UO",
		"NoRouteFound":                     "NR",
		"DelayInjected":                    "DI",
		"FaultInjected":                    "FI",
		"RateLimited":                      "RL",
		"UnauthorizedExternalService":      "UAEX",
		"RateLimitServiceError":            "RLSE",
		"DownstreamConnectionTermination":  "DC",
		"UpstreamRetryLimitExceeded":       "URX",
		"StreamIdleTimeout":                "SI",
		"InvalidEnvoyRequestHeaders":       "IH",
		"DownstreamProtocolError":          "DPE",
		"UpstreamMaxStreamDurationReached": "UMSDR",
		"ResponseFromCacheFilter":          "RFCF",
		"NoFilterConfigFound":              "NFCF",
		"DurationTimeout":                  "DT",
		"UpstreamProtocolError":            "UPE",
		"NoClusterFound":                   "NC",
		"OverloadManagerTerminated":        "OM",
		"DnsResolutionFailed":              "DF",
		"DropOverload":                     "DO",
		"DownstreamRemoteReset":            "DR",
		"UnconditionalDropOverload":        "UDO",
	}
}

// flagNames maps both forms to the short one.
var flagNames = func() map[string]string {
	m := longFlags()
	for _, short := range longFlags() {
		m[short] = short
	}
	return m
}()

// parseFlags reads "-", "UF,URX" or "UpstreamConnectionFailure,UpstreamRetryLimitExceeded". ok is false where one of them
// is no flag of Envoy's; custom ones (CUSTOM_RESPONSE_FLAGS) are of upper-case letters, and kept.
func parseFlags(s string) (flags []string, ok bool) {
	if s == "-" || s == "" {
		return nil, true
	}
	for f := range strings.SplitSeq(s, ",") {
		short, known := flagNames[f]
		if !known {
			if len(f) < 2 || len(f) > 8 || strings.Trim(f, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_") != "" {
				return nil, false
			}
			short = f
		}
		if !slices.Contains(flags, short) {
			flags = append(flags, short)
		}
		if len(flags) > maxFlags {
			return nil, false
		}
	}
	return flags, true
}
