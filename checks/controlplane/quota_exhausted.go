package controlplane

import (
	"fmt"
	"strings"

	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// QuotaExhausted finds that the control plane turns streams away for a quota (code 8), more than once, or in a message pasted by itself.
var QuotaExhausted = diagnose.Check{
	ID:         "controlplane/quota-exhausted",
	Severity:   diagnose.Degrading,
	Layer:      diagnose.LayerAPI,
	Symptoms:   []diagnose.Symptom{diagnose.SymptomNotConnected, diagnose.SymptomNoConfig},
	Needs:      []evidence.Name{evidence.LogMessages.Name()},
	Explains:   disconnected,
	Signatures: []diagnose.Signature{messages.StreamClosed, messages.ADSFailed},
	Doc: diagnose.Doc{
		Title: "A quota of the control plane is exhausted",
		Explanation: "Streams end with code 8, resource exhausted: the project asks for more than its quota, by many proxies that connect at once or by proxies that connect over and over. " +
			"Proxies that are turned away keep the configuration they have, and new ones get none until they are let in.",
		Quiet: "Code 8 once in a log (a text of up to five lines, explained by itself, is taken at its word); code 8 for a message larger than the receiver takes, which no quota changes.",
		Remedy: []diagnose.Step{
			{If: "project", Text: "See which quota it is, and how much of it is used: in the console, IAM & Admin, Quotas, service Traffic Director API of project {{project}}."},
			{Text: "See whether proxies restart in a loop or connect over and over; that uses up the quota by itself."},
			{Text: "Ask for more on the same page."},
		},
		References: []string{
			"https://docs.cloud.google.com/service-mesh/quotas",
			"https://cloud.google.com/docs/quotas/view-manage",
		},
	},
	Evaluate: quotaExhausted,
}

func quotaExhausted(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	msgs, err := evidence.Get(v, evidence.LogMessages)
	if err != nil {
		return nil, err
	}
	good := worked(msgs)
	var over []closure
	for _, c := range closures(msgs) {
		if c.quota() {
			over = append(over, c)
		}
	}
	var causes []diagnose.Cause
	for _, group := range byFile(over) {
		n := times(group)
		first := group[0]
		alone := n < 2
		if alone && (!pastedAlone(first.LogMessage) || first.method == loadReports || good.after(first.LogMessage)) {
			continue
		}
		c := diagnose.Cause{
			About:   aboutProxy(speaker(group)),
			Subject: proxyOf(req, speaker(group)), Key: fileKey(msgs, first.File), Confidence: diagnose.Likely,
			Summary: fmt.Sprintf("The control plane turned the proxy away for a quota (code 8) %d times in %s: %s.", n, inLog(first.LogMessage),
				strings.TrimSuffix(orNone(clip(first.text, maxWords)), ".")),
		}
		if alone {
			c.Confidence = diagnose.Possible
			c.Summary = fmt.Sprintf("The control plane turned the proxy away for a quota (code 8), as far as one message tells: %s.", strings.TrimSuffix(orNone(clip(first.text, maxWords)), "."))
		}
		for _, g := range group[:min(len(group), maxQuotes)] {
			c.Evidence = append(c.Evidence, quote(g.LogMessage))
		}
		causes = append(causes, c)
	}
	return causes, nil
}

// quota says whether a stream was turned away for a quota. Code 8 is also that of a message over the receiver's limit.
func (c closure) quota() bool {
	return c.code == codeResourceExhausted && !tooLargeText.MatchString(c.text)
}
