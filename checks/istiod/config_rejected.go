package istiod

import (
	"fmt"
	"slices"
	"strings"

	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// ConfigRejected finds a proxy that rejected what istiod sent, where nothing better tells what that was.
var ConfigRejected = diagnose.Check{
	ID:       "istiod/config-rejected",
	Severity: diagnose.Blocking,
	Layer:    diagnose.LayerConfig,
	Symptoms: []diagnose.Symptom{diagnose.SymptomConfigRejected, diagnose.SymptomNoConfig, diagnose.SymptomPodNotStarting},
	Needs:    append([]evidence.Name{evidence.ClientStatuses.Name()}, readinessNeeds...),
	Explains: []diagnose.CheckID{"startup/proxy-readiness-timeout"},
	Signatures: append([]diagnose.Signature{
		messages.EnvoyConfigRejected, messages.EnvoyUpdateError, messages.IstiodNack,
	}, readinessSignatures...),
	Doc: diagnose.Doc{
		Title: "The proxy rejected its configuration from istiod",
		Explanation: "The line with which the proxy's agent says that the proxy isn't ready counts the updates that it took and rejected, of clusters (cds) and of listeners (lds). What was rejected, and why, it doesn't tell: " +
			"Envoy's own line does, and so do istiod's log and the proxy's configuration dump. Since Istio 1.12 the line says \"but was rejected\"; before, it read as if nothing had come, and the counts alone told.",
		Quiet: "The proxy got ready after it. The same log, or the proxy's dump, tells what was rejected and why: then xds/config-rejected tells it. The proxy's control plane is Google's.",
		Remedy: []diagnose.Step{
			{If: "known_pod", Text: "Find the reason in the proxy's log, then hand the whole log to meshdiag with -f", Command: "kubectl -n {{namespace}} logs {{pod}} -c istio-proxy | grep -A 3 rejected"},
			{Unless: "known_pod", Text: "Find the reason: Envoy's own line says \"rejected\" and names the resource. Hand the whole log to meshdiag with -f."},
			{Text: "Or in istiod's, which names the proxy", Command: "kubectl -n istio-system logs -l app=istiod --tail=-1 | grep 'ACK ERROR'"},
			{If: "known_pod", Text: "Or ask Envoy", Command: "kubectl -n {{namespace}} exec {{pod}} -c istio-proxy -- pilot-agent request GET config_dump | grep -A 8 error_state"},
			{Text: "EnvoyFilters are the first to suspect: they patch what istiod makes, and nothing checks the outcome", Command: "kubectl get envoyfilters -A"},
		},
		References: []string{refProxyIssues, refProxyCommands, "https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol"},
	},
	Evaluate: configRejected,
}

func configRejected(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	all, err := proxyLogs(req, v)
	if err != nil {
		return nil, err
	}
	own, skip := handedOver(req, v, all)
	if skip != nil {
		return nil, skip
	}
	logs, _ := evidence.Get(v, evidence.LogMessages)
	statuses, _ := evidence.Get(v, evidence.ClientStatuses)
	told := 0
	var out []diagnose.Cause
	for _, l := range own {
		if !l.rejected() || l.settled() || len(out) >= maxCauses {
			continue
		}
		if l.tells(logs) || l.dumped(statuses) {
			told++
			continue
		}
		c := l.cause(req, countLogs(v))
		c.Confidence = diagnose.Likely // no proxy rejects anything just because it starts
		n := l.counts()
		var what []string
		if n.listenersRejected > 0 {
			what = append(what, plural(n.listenersRejected, "update of listeners (LDS)", "updates of listeners (LDS)"))
		}
		if n.clustersRejected > 0 {
			what = append(what, plural(n.clustersRejected, "update of clusters (CDS)", "updates of clusters (CDS)"))
		}
		if len(what) == 0 {
			what = []string{"configuration of a type that the line does not tell"}
		}
		c.Summary = fmt.Sprintf("%s rejected %s from istiod%s; why is in Envoy's own log.", upper(c.Subject), strings.Join(what, " and "), l.how())
		out = append(out, c)
	}
	if len(out) > 0 {
		return out, nil
	}
	if _, err = evidence.Whole(v, evidence.LogMessages); failed(err) != nil {
		return nil, err
	}
	if told > 0 {
		return nil, diagnose.Skip("what was rejected, and why, is known: xds/config-rejected tells it")
	}
	return nil, nil
}

// tells says whether some log says what the proxy rejected: its own, or istiod's about it.
func (l *proxyLog) tells(logs []evidence.LogMessage) bool {
	return slices.ContainsFunc(logs, func(m evidence.LogMessage) bool {
		switch m.Signature {
		case messages.EnvoyConfigRejected.ID, messages.EnvoyUpdateError.ID:
			return m.File == l.file
		case messages.IstiodNack.ID:
			return l.name == "" || strings.Contains(m.Fields["node"], "~"+l.name+"."+l.ns+"~")
		}
		return false
	})
}

// dumped says whether the proxy's status tells what it rejected.
func (l *proxyLog) dumped(statuses []evidence.ClientStatus) bool {
	return slices.ContainsFunc(statuses, func(s evidence.ClientStatus) bool {
		if l.name != "" && strings.Count(s.Client.NodeID, "~") == 3 && !strings.Contains(s.Client.NodeID, "~"+l.name+"."+l.ns+"~") {
			return false // another pod's
		}
		return slices.ContainsFunc(s.Resources, func(r evidence.Resource) bool {
			return r.Client == evidence.Nacked || r.Client == evidence.ReceivedError || r.Server == evidence.Error || r.Reason != ""
		})
	})
}
