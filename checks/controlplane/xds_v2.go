package controlplane

import (
	"fmt"
	"slices"
	"strings"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// The messages that name the v2 transport or v2 types. A configuration that is rejected for a v2 filter inside it isn't
// among them: that is about the configuration, not about how it came.
var (
	// V2Transport is Envoy's complaint about its bootstrap.
	// https://github.com/envoyproxy/envoy/blob/main/source/common/config/utility.h
	V2Transport = diagnose.Signature{
		ID:      "envoy-v2-transport",
		Anchors: []string{"V2 (and AUTO) xDS transport"},
		Pattern: `V2 \(and AUTO\) xDS transport protocol versions are (?:deprecated|not supported)`,
		Meaning: "Envoy's bootstrap names the v2 xDS transport, or none",
		Examples: []string{
			`[critical][main] error initializing configuration '/etc/envoy/bootstrap.yaml': V2 (and AUTO) xDS transport protocol versions are deprecated in ads_config`,
			`V2 (and AUTO) xDS transport protocol versions are not supported in config_source`,
		},
	}
	// V2Types is a message about a v2 stream or a v2 resource on it. Fields: type ("Listener", or the v2 service).
	V2Types = diagnose.Signature{
		ID:      "xds-v2-types",
		Anchors: []string{"type.googleapis.com/envoy.api.v2.", "envoy.service.discovery.v2.AggregatedDiscoveryService"},
		Pattern: `(?:config for|update for|timed out for|type:?) "?type\.googleapis\.com/envoy\.api\.v2\.(?P<type>\w+)|(?P<service>envoy\.service\.discovery\.v2\.AggregatedDiscoveryService)`,
		Meaning: "an xDS v2 stream, or a v2 resource on it",
		Examples: []string{
			`gRPC config for type.googleapis.com/envoy.api.v2.Listener rejected: Error adding/updating listener(s) x: y`,
			`gRPC config: initial fetch timed out for type.googleapis.com/envoy.api.v2.Cluster`,
			`unknown service envoy.service.discovery.v2.AggregatedDiscoveryService`,
		},
	}
)

// XDSv2 finds a proxy that speaks xDS v2, which the control plane no longer does.
var XDSv2 = diagnose.Check{
	ID:         "controlplane/xds-v2",
	Severity:   diagnose.Blocking,
	Layer:      diagnose.LayerConfig,
	Symptoms:   []diagnose.Symptom{diagnose.SymptomNotConnected, diagnose.SymptomNoConfig},
	Needs:      []evidence.Name{evidence.Bootstraps.Name(), evidence.LogMessages.Name()},
	Explains:   disconnected,
	Signatures: []diagnose.Signature{V2Transport, V2Types},
	Doc: diagnose.Doc{
		Title: "The proxy speaks xDS v2",
		Explanation: "Cloud Service Mesh ended support for xDS v2 on 20 June 2024 and speaks v3 alone. A bootstrap must name v3 as the transport and as the resources' version, " +
			"and carry project number and network in node.id, projects/NUMBER/networks/NETWORK/nodes/ID.",
		Quiet: "A v3 bootstrap; a bootstrap of another control plane than Google's; a proxyless bootstrap, which grpc-go reads as v3 in any case; a v2 filter inside configuration that was sent over v3.",
		Remedy: []diagnose.Step{
			{If: "places", Text: "Set these fields of {{file}} to V3: {{places}}"},
			{Unless: "places", Text: "Set transport_api_version and resource_api_version to V3 wherever the bootstrap names a control plane (ads_config, lds_config, cds_config)."},
			{Text: "Write node.id as projects/NUMBER/networks/NETWORK/nodes/ID, with the project's number; v2's metadata alone isn't enough any more."},
			{If: "project", Text: "See the project's number.", Command: "gcloud projects describe {{project}} --format='value(projectNumber)'"},
			{Text: "Give the proxies' service account roles/trafficdirector.client: v3 checks permissions that v2 did not."},
			{If: "file", Text: "See that Envoy takes the new bootstrap, then restart it.", Command: "envoy --mode validate -c {{file}}"},
		},
		References: []string{
			"https://docs.cloud.google.com/service-mesh/docs/service-routing/xds-control-plane-apis",
			"https://www.envoyproxy.io/docs/envoy/latest/api/api_supported_versions",
		},
	},
	Evaluate: xdsV2,
}

func xdsV2(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	var tally evidence.Tally
	boots, _ := evidence.Read(&tally, v, evidence.Bootstraps)
	msgs, _ := evidence.Read(&tally, v, evidence.LogMessages)
	var causes []diagnose.Cause
	for _, b := range boots {
		places := slices.Clone(b.V2Places)
		if len(places) == 0 && b.Transport == evidence.TransportV2 {
			places = []string{"transport_api_version"}
		}
		if b.Kind != evidence.EnvoyBootstrap || len(places) == 0 || !ofTrafficDirector(b) {
			continue
		}
		key := ""
		if len(boots) > 1 {
			key = "files/" + b.File
		}
		causes = append(causes, diagnose.Cause{
			Subject: b.File, Key: key, Confidence: diagnose.Confirmed,
			About:   diagnose.About{diagnose.AboutNode: {b.NodeID}},
			Summary: fmt.Sprintf("Bootstrap %s names xDS v2 in %s; the control plane speaks v3 alone.", b.File, listed(places)),
			Params:  map[string]string{"file": b.File, "places": listed(places)},
			Evidence: []diagnose.Exhibit{{
				Fact: evidence.Bootstraps.Name(), Excerpt: b.File + ": V2 in " + listed(places), Source: b.Source,
			}},
		})
	}
	google := trafficDirectorLogs(req, msgs)
	for _, m := range msgs {
		c := diagnose.Cause{Subject: proxyOf(req, m), Key: fileKey(msgs, m.File), About: aboutProxy(m), Evidence: []diagnose.Exhibit{quote(m)}}
		switch {
		case m.Signature == V2Transport.ID:
			c.Confidence = diagnose.Likely
			c.Summary = fmt.Sprintf("Envoy says in %s that its bootstrap names the v2 xDS transport, or none; the control plane speaks v3 alone.", inLog(m))
		case m.Signature == V2Types.ID && google[m.File]:
			// Google's control plane has sent no such thing for long: an old log, or another control plane's words.
			c.Confidence = diagnose.Possible
			c.Summary = fmt.Sprintf("%s names xDS v2 (%s); the control plane speaks v3 alone.", inLog(m), m.Fields["type"]+m.Fields["service"])
		default:
			continue
		}
		causes = append(causes, c)
	}
	if len(causes) > 0 {
		return causes, nil
	}
	return nil, tally.Err()
}

// ofTrafficDirector says whether a bootstrap is for Google's control plane. One that names no server is taken to be.
func ofTrafficDirector(b evidence.Bootstrap) bool {
	if _, err := evidence.ParseNodeID(b.NodeID); err == nil || len(b.Servers) == 0 {
		return true
	}
	for k := range b.Metadata {
		if strings.HasPrefix(k, "TRAFFICDIRECTOR_") {
			return true
		}
	}
	return slices.ContainsFunc(b.Servers, func(s string) bool { return strings.Contains(s, "trafficdirector") })
}

// trafficDirectorLogs gives the logs that are of a proxy of Google's control plane, as far as they show it.
func trafficDirectorLogs(req diagnose.Request, msgs []evidence.LogMessage) map[string]bool {
	out := map[string]bool{}
	for _, m := range msgs {
		if req.Target.Live() || strings.Contains(strings.ToLower(m.Text), "trafficdirector") || strings.Contains(m.Text, "Traffic Director") ||
			strings.Contains(m.Text, "Cloud Service Mesh") {
			out[m.File] = true
		}
	}
	return out
}
