package istiod

import (
	"fmt"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// ConfigNotReceived finds a proxy that waits for its configuration from istiod.
var ConfigNotReceived = diagnose.Check{
	ID:         "istiod/config-not-received",
	Severity:   diagnose.Blocking,
	Layer:      diagnose.LayerCluster,
	Symptoms:   []diagnose.Symptom{diagnose.SymptomNoConfig, diagnose.SymptomNotConnected, diagnose.SymptomPodNotStarting},
	Needs:      readinessNeeds,
	Explains:   []diagnose.CheckID{"startup/proxy-readiness-timeout", "controlplane/stream-errors"},
	Signatures: readinessSignatures,
	Doc: diagnose.Doc{
		Title: "The proxy gets no configuration from istiod",
		Explanation: "At each readiness probe the proxy's agent says what the proxy waits for. Until clusters and listeners have come from istiod, the pod isn't ready and takes no traffic. The proxy doesn't reach istiod, " +
			"istiod refuses it, or istiod has too much to do. Before Istio 1.12 the line asks whether Pilot is running, since then whether Istiod is; it is the same line.",
		Quiet: "The first minute of a proxy, in which a few such lines are normal. The proxy got ready after it. A count says that something was rejected (istiod/config-rejected). " +
			"The discovery address is one of Google's: the checks of controlplane and config tell of that.",
		Remedy: []diagnose.Step{
			{Text: "See whether istiod runs and is ready", Command: "kubectl -n istio-system get pods -l app=istiod -o wide"},
			{If: "known_pod", Text: "Read what the proxy's agent says of its connection to istiod (\"failed to connect to upstream\", \"failed to create certificate\")", Command: "kubectl -n {{namespace}} logs {{pod}} -c istio-proxy --tail=200"},
			{Unless: "known_pod", Text: "Read what the proxy's agent says of its connection to istiod (\"failed to connect to upstream\", \"failed to create certificate\") in the same log."},
			{If: "known_pod", Text: "Ask istiod for its version from within the pod: an answer says that its name resolves and that it runs; configuration comes from port 15012 beside it. Distroless images of the proxy have no curl", Command: "kubectl -n {{namespace}} exec {{pod}} -c istio-proxy -- curl -sS -m 5 http://istiod.istio-system:15014/version"},
			{Text: "See whether a NetworkPolicy keeps the pod's namespace from istio-system, ports 15012 and 15014", Command: "kubectl get networkpolicies -A"},
			{If: "part", Text: "A part came: istiod is reached. See whether it is overloaded, and what its log says of this proxy", Command: "kubectl -n istio-system logs -l app=istiod --tail=200"},
			{Text: "See which proxies istiod knows", Command: "istioctl proxy-status"},
		},
		References: []string{refProxyIssues, refResources, "https://github.com/istio/istio/blob/master/pilot/cmd/pilot-agent/status/ready/probe.go"},
	},
	Evaluate: configNotReceived,
}

func configNotReceived(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	all, err := proxyLogs(req, v)
	if err != nil {
		return nil, err
	}
	own, skip := handedOver(req, v, all)
	if skip != nil {
		return nil, skip
	}
	var out []diagnose.Cause
	for _, l := range own {
		if l.rejected() || l.settled() || l.early() || len(out) >= maxCauses {
			continue
		}
		c := l.cause(req, countLogs(v))
		n := l.counts()
		what := "has received nothing from istiod"
		if l.last.Fields["config"] == "not fully received" || n.clusters > 0 || n.listeners > 0 {
			what = "has received only a part of its configuration from istiod"
			c.Params["part"] = "yes"
			switch {
			case n.listeners == 0 && n.clusters > 0:
				what += ", and no listeners"
			case n.clusters == 0 && n.listeners > 0:
				what += ", and no clusters"
			}
		}
		c.Summary = fmt.Sprintf("%s %s", upper(c.Subject), what)
		if n.known {
			c.Summary += fmt.Sprintf(" (updates taken: %d of clusters, %d of listeners)", n.clusters, n.listeners)
		}
		c.Summary += l.how()
		if l.agent != nil {
			why := l.agent.Fields["text"]
			if why == "" {
				why = l.agent.Fields["client"]
			}
			c.Summary += "; its agent does not get through to " + orName(l.upstream) + ": " + clip(why, maxWords)
			c.Evidence = append(c.Evidence, diagnose.Exhibit{Fact: evidence.LogMessages.Name(), Excerpt: clip(l.agent.Text, maxExcerpt), Source: l.agent.Source})
		}
		c.Summary = sentence(c.Summary)
		out = append(out, c)
	}
	if len(out) > 0 {
		return out, nil
	}
	_, err = evidence.Whole(v, evidence.LogMessages)
	return nil, failed(err)
}

func orName(address string) string {
	if address == "" {
		return "istiod"
	}
	return address
}

// countLogs gives how many logs there are that hold anything known: one alone is of what is asked about.
func countLogs(v *evidence.View) int {
	logs, _ := evidence.Get(v, evidence.LogMessages)
	files := map[string]bool{}
	for _, m := range logs {
		files[m.File] = true
	}
	return len(files)
}
