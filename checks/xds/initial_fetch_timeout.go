package xds

import (
	"fmt"
	"strings"

	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// InitialFetchTimeout finds proxies that gave up waiting for a part of their first configuration.
var InitialFetchTimeout = diagnose.Check{
	ID:       "xds/initial-fetch-timeout",
	Severity: diagnose.Degrading,
	Layer:    diagnose.LayerConfig,
	Symptoms: []diagnose.Symptom{diagnose.SymptomNoConfig, diagnose.SymptomRequestsFail},
	Doc: diagnose.Doc{
		Title: "The proxy started without configuration that did not come in time",
		Explanation: "Envoy waits a while (initial_fetch_timeout, 15 seconds by default) for the first answer to each subscription, then goes on without it: it serves with no listeners, " +
			"routes or endpoints of that subscription until they come. The control plane can't be reached, is slow, or has nothing of the kind for this proxy.",
		Quiet: "When the same log shows afterwards that listeners or clusters were taken over, for timeouts of those.",
		Remedy: []diagnose.Step{
			{Text: "Has the configuration come since?", Command: "curl -s http://localhost:15000/stats | grep -E '(lds|cds|ads).*(update_success|update_failure|init_fetch_timeout|connected_state)'"},
			{Text: "If not, look at what the log says of the stream to the control plane before that line, and let meshdiag read the whole log"},
			{If: "node_id", Text: "If the stream is well, does the control plane have such a resource for this proxy?", Command: "meshdiag diagnose --project {{project}} --node-id {{node_id}}"},
		},
		References: []string{"https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/core/v3/config_source.proto"},
	},
	Needs:      []evidence.Name{evidence.LogMessages.Name()},
	Signatures: []diagnose.Signature{messages.InitialFetchTimeout, messages.EnvoyListenerAccepted, messages.EnvoyClustersAccepted},
	Evaluate:   initialFetchTimeout,
}

func initialFetchTimeout(_ diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	log, err := evidence.Get(v, evidence.LogMessages)
	if err != nil {
		return nil, err
	}
	var causes []diagnose.Cause
	at := map[string]int{} // one cause a log
	types := map[string][]string{}
	for _, m := range log {
		if m.Signature != messages.InitialFetchTimeout.ID || cameSince(m, log) {
			continue
		}
		url := m.Fields["type_url"]
		name := evidence.Resource{TypeURL: url}.Type()
		i, ok := at[m.File]
		if !ok {
			i = len(causes)
			at[m.File] = i
			subject := "the proxy"
			if m.File != "" {
				subject = "the proxy of " + m.File
			}
			causes = append(causes, diagnose.Cause{Subject: subject, About: diagnose.About{}, Confidence: diagnose.Likely, Params: map[string]string{}})
		}
		c := &causes[i]
		types[m.File] = append(types[m.File], name)
		c.Summary = fmt.Sprintf("The proxy gave up waiting for its first %s.", strings.Join(types[m.File], ", "))
		if len(c.Evidence) < maxShown {
			c.Evidence = append(c.Evidence, diagnose.Exhibit{Fact: evidence.LogMessages.Name(), Excerpt: clip(m.Text, maxExcerpt), Source: m.Source})
		}
	}
	if len(causes) > 1 {
		for f, i := range at {
			causes[i].Key = "files/" + strings.ReplaceAll(f, "/", "%2F")
		}
	}
	return causes, nil
}

// cameSince says whether a log shows that what was waited for came after all.
func cameSince(m evidence.LogMessage, log []evidence.LogMessage) bool {
	signature := ""
	switch (evidence.Resource{TypeURL: m.Fields["type_url"]}).Type() {
	case "Listener":
		signature = messages.EnvoyListenerAccepted.ID
	case "Cluster":
		signature = messages.EnvoyClustersAccepted.ID
	}
	for _, o := range log {
		if signature != "" && o.Signature == signature && o.File == m.File && o.LastLine > m.LastLine {
			return true
		}
	}
	return false
}
