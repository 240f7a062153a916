package controlplane

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// StreamErrors finds xDS streams that fail over and over for a reason that no other check knows.
var StreamErrors = diagnose.Check{
	ID:       "controlplane/stream-errors",
	Severity: diagnose.Degrading,
	Layer:    diagnose.LayerNetwork,
	Symptoms: []diagnose.Symptom{diagnose.SymptomNotConnected, diagnose.SymptomNoConfig},
	Needs:    []evidence.Name{evidence.LogMessages.Name()},
	Explains: append([]diagnose.CheckID{"controlplane/no-client-connected", "controlplane/client-not-connected", "controlplane/api-errors"}, unserved...),
	Signatures: []diagnose.Signature{
		messages.StreamClosed, messages.ADSFailed, messages.StreamWorked, messages.LoadReportFailed, messages.HostNotFound,
		messages.AgentUpstreamFailed, messages.AgentUpstreamConnected, messages.UpdateFailed, messages.Goaway,
	},
	Doc: diagnose.Doc{
		Title: "Streams to the control plane keep failing",
		Explanation: "The proxy's log reports the same failure of its xDS streams again and again, with no sign of success after it; or a short text was pasted for one failure of theirs. " +
			"While no stream holds, a proxy keeps the configuration it has; a new one has none.",
		Quiet: "Streams that are renewed as a routine (code 13 without a text about every half hour, code 14 after a goaway NO_ERROR); codes 4, 8 and 14 once in a log, as while a proxy starts (a text of up to five lines, explained by itself, is taken at its word where it says that no connection was made or that a request was turned down); " +
			"failures with an answer of the control plane's after them; texts that another check knows (scopes, permissions, an API that is off, credentials, quota, configuration not found); a stream of load reports that is opened again now and then; " +
			"a name that does not resolve, where it is not known to be the control plane's.",
		Remedy: []diagnose.Step{
			{If: "dns", Text: "The name did not resolve: ask from the workload, in a pod through its own resolver. A private zone for googleapis.com needs a record for this name too.",
				Command: "dig +noall +comments +answer trafficdirector.googleapis.com"},
			{If: "dial", Text: "The text says that no connection was made: from the workload, see whether the name resolves and the port answers.", Command: "curl -sv --max-time 10 https://trafficdirector.googleapis.com/ -o /dev/null"},
			{If: "upstream", Text: "Envoy has no address for its control plane's cluster: see that the cluster which the bootstrap names for ADS resolves (DNS) and has the right host.",
				Command: "curl -s 'http://localhost:15000/clusters' | grep -E 'trafficdirector|xds'"},
			{If: "upstream", Text: "For a sidecar whose control plane is istiod, that host is discoveryAddress in the mesh's ProxyConfig, or in the pod's annotation proxy.istio.io/config: it has to name istiod's Service.", Command: "kubectl -n istio-system get configmaps -o yaml | grep -n discoveryAddress"},
			{If: "perimeter", Text: "A VPC Service Controls perimeter refuses the call; its audit log names the rule."},
			{Text: "Raise the proxy's log level for a minute, and hand the log to meshdiag with -f.", Command: "curl -s -X POST 'http://localhost:15000/logging?config=debug'"},
			{If: "project", Text: "See what the control plane's own API metrics say of these calls: in the console, APIs & Services, Traffic Director API of project {{project}}, errors by response code."},
		},
		References: []string{
			"https://cloud.google.com/traffic-director/docs/troubleshooting",
			"https://grpc.io/docs/guides/status-codes/",
		},
	},
	Evaluate: streamErrors,
}

// What a failure's text hints at, by the parameter that brings up the step of the remedy.
var hints = []struct {
	param string
	text  *regexp.Regexp
}{
	{"dns", unresolvedText},
	{"upstream", regexp.MustCompile(`no healthy upstream`)},
	{"dial", regexp.MustCompile(`no such host|[Dd]ialing|dial tcp|connection refused|i/o timeout|connection (?:failure|termination|timeout)|reset reason`)},
	{"perimeter", regexp.MustCompile(`vpcServiceControls|organization's policy`)},
}

func streamErrors(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	msgs, err := evidence.Get(v, evidence.LogMessages)
	if err != nil {
		return nil, err
	}
	good := worked(msgs)
	var odd []closure
	for _, c := range closures(msgs) {
		if !c.routine() && !c.knownElsewhere() && !good.after(c.LogMessage) {
			odd = append(odd, c)
		}
	}
	odd = append(odd, linkFailures(msgs, good)...)
	var causes []diagnose.Cause
	for _, group := range byFile(odd) {
		// One cause a log: the failures of one proxy are told together, the most frequent first.
		kinds := byKind(group)
		most, n := kinds[0], times(kinds[0])
		for _, k := range kinds[1:] {
			if t := times(k); t > n {
				most, n = k, t
			}
		}
		alone := n < 2
		if alone {
			i := slices.IndexFunc(group, func(c closure) bool { return pastedAlone(c.LogMessage) && c.explicit() })
			if i < 0 {
				continue
			}
			most = group[i : i+1]
		}
		first := most[0]
		c := diagnose.Cause{
			About:   aboutProxy(speaker(group)),
			Subject: proxyOf(req, speaker(group)), Key: fileKey(msgs, first.File), Confidence: diagnose.Likely,
			Summary: fmt.Sprintf("The proxy's xDS streams failed %d times in %s with %s: %s.", n, inLog(first.LogMessage), first.codeWord(),
				strings.TrimSuffix(orNoText(clip(first.text, maxWords)), ".")),
			Params: map[string]string{},
		}
		if first.method == loadReports {
			c.Summary = strings.Replace(c.Summary, "xDS streams", "load report streams", 1)
		}
		if alone {
			c.Confidence = diagnose.Possible
			c.Summary = fmt.Sprintf("%s, as far as one message tells (%s): %s.", first.meaning(), first.codeWord(), strings.TrimSuffix(clip(first.text, maxWords), "."))
		}
		for _, h := range hints {
			if h.text.MatchString(first.text) {
				c.Params[h.param] = "yes"
			}
		}
		for _, g := range most[:min(len(most), maxQuotes)] {
			c.Evidence = append(c.Evidence, quote(g.LogMessage))
		}
		causes = append(causes, c)
	}
	return causes, nil
}

var notFoundText = regexp.MustCompile(`(?i)not found`)

// meaning says what a single failure tells.
func (c closure) meaning() string {
	switch {
	case unresolvedText.MatchString(c.text):
		return "The control plane's name did not resolve where the proxy runs"
	case unconnectedText.MatchString(c.text):
		return "The proxy got no connection to the control plane"
	}
	return "The control plane turned the proxy's request down"
}

// knownElsewhere says whether another check knows what this failure is.
func (c closure) knownElsewhere() bool {
	switch {
	case scopesText.MatchString(c.text), permissionText.MatchString(c.text), apiText.MatchString(c.text), credentialsText.MatchString(c.text):
		return true
	case c.code == codePermissionDenied && callerText.MatchString(c.text):
		return true
	case c.code == codeUnauthenticated || c.quota():
		return true
	case c.code == codeNotFound || c.code == codeUnknown:
		// "configuration was not found", "Requested entity was not found."
		return notFoundText.MatchString(c.text)
	}
	return false
}

var digits = regexp.MustCompile(`[0-9]+`)

// byKind groups the failures of one log by code and text; numbers in a text (ports, addresses, seconds) don't make another
// kind.
func byKind(list []closure) [][]closure {
	type kind struct {
		code  int
		loads bool
		text  string
	}
	at := map[kind]int{}
	var out [][]closure
	for _, c := range list {
		k := kind{c.code, c.method == loadReports, digits.ReplaceAllString(c.text, "#")}
		i, ok := at[k]
		if !ok {
			i = len(out)
			at[k] = i
			out = append(out, nil)
		}
		out[i] = append(out[i], c)
	}
	return out
}

// codeWord names a failure's code.
func (c closure) codeWord() string {
	if c.code == codeUnknown {
		return "no code"
	}
	return fmt.Sprintf("code %d", c.code)
}

func orNoText(s string) string {
	if s == "" {
		return "no text"
	}
	return s
}
