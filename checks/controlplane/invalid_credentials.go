package controlplane

import (
	"fmt"
	"slices"
	"strings"

	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// InvalidCredentials finds that the control plane refuses the proxy's credentials (code 16), again and again or with
// nothing after it. A single refusal that a success follows is a token that was renewed.
var InvalidCredentials = diagnose.Check{
	ID:         "controlplane/invalid-credentials",
	Severity:   diagnose.Blocking,
	Layer:      diagnose.LayerAPI,
	Symptoms:   []diagnose.Symptom{diagnose.SymptomNotConnected, diagnose.SymptomNoConfig},
	Needs:      []evidence.Name{evidence.LogMessages.Name()},
	Explains:   disconnected,
	Signatures: []diagnose.Signature{messages.StreamClosed, messages.ADSFailed, messages.BadCredentials, messages.StreamWorked},
	Doc: diagnose.Doc{
		Title: "The control plane refuses the proxy's credentials",
		Explanation: "Streams end with code 16, unauthenticated: the access token is missing, expired or malformed, or the file that holds it can't be read. " +
			"That is about who the proxy is; a token that is good but too narrow, or an account without the permission, gives code 7.",
		Quiet: "A single code 16 with a success after it (a token renewed just then); the refusal of another client's call to another API.",
		Remedy: []diagnose.Step{
			{If: "file", Text: "The token file can't be read by the proxy's user: see who may. In a pod, set securityContext.fsGroup to the proxy's group (1337 for Istio's).", Command: "ls -lL {{file}}"},
			{If: "instance", Text: "See whether the metadata server gives a token for the VM's service account.",
				Command: "gcloud compute ssh {{instance}} --zone={{zone}} --project={{project}} --command='curl -s -o /dev/null -w \"%{http_code}\\n\" -H Metadata-Flavor:Google http://metadata.google.internal/computeMetadata/v1/instance/service-accounts/default/token'"},
			{Unless: "instance", Text: "On the workload, see whether the metadata server gives a token: 200 is right, 404 means that there is no service account.",
				Command: "curl -s -o /dev/null -w '%{http_code}\\n' -H Metadata-Flavor:Google http://metadata.google.internal/computeMetadata/v1/instance/service-accounts/default/token"},
			{Text: "Where a key file is used (GOOGLE_APPLICATION_CREDENTIALS), see that its key still exists and isn't disabled; the key's id is private_key_id in the file. Prefer an attached service account to a key."},
			{Text: "A clock that is wrong by more than a few minutes makes tokens invalid.", Command: "date -u; timedatectl status"},
		},
		References: []string{
			"https://cloud.google.com/docs/authentication/application-default-credentials",
			"https://cloud.google.com/traffic-director/docs/troubleshooting",
		},
	},
	Evaluate: invalidCredentials,
}

func invalidCredentials(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	msgs, err := evidence.Get(v, evidence.LogMessages)
	if err != nil {
		return nil, err
	}
	var refused []closure
	streams := map[string]bool{} // the logs in which a stream was refused
	for _, c := range closures(msgs) {
		if c.code == codeUnauthenticated {
			refused = append(refused, c)
			streams[c.File] = true
		}
	}
	for _, m := range msgs {
		// The text without a stream around it: pasted alone, or printed by a program that this package doesn't know.
		if m.Signature == messages.BadCredentials.ID && xdsCall(m) && !streams[m.File] {
			refused = append(refused, closure{LogMessage: m, code: codeUnauthenticated, text: m.Fields["text"]})
		}
	}
	good := worked(msgs)
	var causes []diagnose.Cause
	for _, group := range byFile(refused) {
		latest := group[0]
		for _, c := range group {
			if after(c.LogMessage, latest.LogMessage) {
				latest = c
			}
		}
		// Whether the stream came up again is asked of the latest refusal: earlier ones are of the past with it.
		if good.after(latest.LogMessage) || recovered(latest, msgs) {
			continue
		}
		n := times(group)
		how := "with nothing after it"
		if n > 1 {
			how = fmt.Sprintf("%d times", n)
		}
		text := latest.text
		if text == "" {
			text = "no text"
		}
		c := diagnose.Cause{
			About:   aboutProxy(speaker(group)),
			Subject: proxyOf(req, speaker(group)), Key: fileKey(msgs, latest.File), Confidence: diagnose.Likely,
			Summary: fmt.Sprintf("The control plane refused the proxy's credentials (code 16) %s in %s: %s.", how, inLog(latest.LogMessage), strings.TrimSuffix(clip(text, maxWords), ".")),
			Params:  map[string]string{"file": tokenFile(text)},
		}
		for _, g := range group[:min(len(group), maxQuotes)] {
			c.Evidence = append(c.Evidence, quote(g.LogMessage))
		}
		causes = append(causes, c)
	}
	return causes, nil
}

// maxQuotes is how many log lines a cause shows: more say nothing new.
const maxQuotes = 3

// recovered says whether a stream that failed once got further afterwards: a later failure of another kind means that the
// credentials were taken by then.
func recovered(c closure, msgs []evidence.LogMessage) bool {
	if c.Count > 1 {
		return false
	}
	return slices.ContainsFunc(closures(msgs), func(o closure) bool {
		switch o.code {
		case codeNotFound, codePermissionDenied, codeResourceExhausted:
			return after(o.LogMessage, c.LogMessage) // refusals that come after authentication
		}
		return false
	})
}

// tokenFile gives the path in a message that a token file can't be read.
func tokenFile(text string) string {
	_, rest, ok := strings.Cut(text, "failed to read token file ")
	if !ok {
		return ""
	}
	rest = strings.TrimLeft(rest, `\"'`)
	if i := strings.IndexAny(rest, `\"':`); i > 0 {
		return rest[:i]
	}
	return ""
}
