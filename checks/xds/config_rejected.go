package xds

import (
	"fmt"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// ConfigRejected finds resources that a client refused.
var ConfigRejected = diagnose.Check{
	ID:       "xds/config-rejected",
	Severity: diagnose.Blocking,
	Layer:    diagnose.LayerConfig,
	Symptoms: []diagnose.Symptom{diagnose.SymptomConfigRejected, diagnose.SymptomNoConfig, diagnose.SymptomRequestsFail},
	Doc: diagnose.Doc{
		Title: "The client rejected its configuration",
		Explanation: "An xDS client that can't use what the control plane sent answers with a NACK and goes on with what it had before, or with " +
			"nothing. The control plane doesn't send the same again until something changes, so the client stays behind. A " +
			"client accepts or rejects a response as a whole: the control plane marks every resource of a rejected response " +
			"as ERROR, also those that are in order. Envoy takes over the listeners and clusters of the response that are in order; " +
			"gRPC takes over the resources that are.",
		Quiet: "When the same resource was accepted since: by a later status or time or version, or by a later line of the same log.",
		Remedy: []diagnose.Step{
			{Unless: "reason", Text: "Nobody told the reason: the control plane's view of a client often lacks it. The client itself knows it."},
			{If: "ask_envoy", Text: "Ask Envoy, on its VM or in its pod (administration port 15000, unless its bootstrap says otherwise):",
				Command: `curl -s 'http://localhost:15000/config_dump?include_eds' | grep -A 8 error_state`},
			{If: "ask_envoy", Text: "Or look into its log, then hand the log to meshdiag with -f. Where the log is on the VM:",
				Command: `sudo grep -rhE -A 2 'gRPC config for .* rejected|delta config for .* rejected' /var/log/envoy`},
			{If: "ask_grpc", Text: "A gRPC client tells it through its own CSDS service, if the program serves gRPC's admin services. Set ADMIN to their address, HOST:PORT:",
				Command: `grpcdebug "${ADMIN:?HOST:PORT of the client's admin services}" xds status`},
			{If: "ask_grpc", Text: "Or look into the program's log for a line of gRPC's xDS client that says NACK; gRPC Go writes it where GRPC_GO_LOG_SEVERITY_LEVEL=warning is set."},
			{If: "reason", Text: "Correct what the reason names ({{reason}}) in {{origin}}."},
			{If: "project", Text: "Compare with the clients' versions: a field that the client is too old for is refused too. What the control plane makes the configuration from:",
				Command: "gcloud compute forwarding-rules list --project={{project}} --filter=loadBalancingScheme=INTERNAL_SELF_MANAGED"},
			{Text: "The client takes the corrected configuration over by itself; it needs no restart. Ask again after a minute."},
		},
		References: []string{
			"https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol",
			"https://cloud.google.com/traffic-director/docs/client-status",
			"https://www.envoyproxy.io/docs/envoy/latest/operations/admin",
		},
	},
	Needs:      rejectionNeeds,
	Signatures: rejectionSignatures,
	Evaluate:   configRejected,
}

func configRejected(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	list, total, err := rejections(req, v)
	var overXDS []group
	for _, g := range grouped(list) {
		if !g.bare {
			overXDS = append(overXDS, g)
		}
	}
	var out []diagnose.Cause
	for _, g := range bounded(overXDS) {
		c := diagnose.Cause{
			Subject: subject(g.clients, total, g.file), Key: g.key(), About: g.about(), Summary: g.rejected(total),
			Confidence: g.confidence(), Params: g.params(), Evidence: g.shown,
		}
		if g.kept {
			c.Severity = diagnose.Degrading
		}
		out = append(out, c)
	}
	if len(out) > 0 {
		return out, nil
	}
	return nil, err
}

// rejected is the summary: who, what, and why.
func (g group) rejected(total int) string {
	what := g.typ + " configuration"
	switch {
	case len(g.names) == 1:
		what = g.typ + " " + brief(g.names[0], maxNameSize)
	case len(g.names) > 1:
		what = fmt.Sprintf("%d %s resources (%s)", len(g.names), g.typ, some(g.names, maxNameSize/maxNamed))
	}
	why := "the control plane does not tell why"
	switch {
	case g.reason != "":
		why = clip(oneLine(g.reason), maxBrief)
	case g.log:
		why = "the log does not tell why"
	}
	s := fmt.Sprintf("%s rejected %s: %s.", who(g.clients, total), what, trimStop(why))
	if g.several > 0 {
		s += fmt.Sprintf(" %s are not listed one by one.", plural(g.several, "further reason"))
	}
	return s
}
