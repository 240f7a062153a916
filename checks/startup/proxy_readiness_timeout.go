package startup

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
	"github.com/meshdiag/meshdiag/evidence/kube"
)

// ProxyReadinessTimeout finds proxies that don't become ready.
var ProxyReadinessTimeout = diagnose.Check{
	ID:         "startup/proxy-readiness-timeout",
	Severity:   diagnose.Blocking,
	Layer:      diagnose.LayerCluster,
	Symptoms:   []diagnose.Symptom{diagnose.SymptomPodNotStarting, diagnose.SymptomRequestsFail, diagnose.SymptomNoConfig},
	Needs:      needs,
	Explains:   []diagnose.CheckID{idNotReady},
	Signatures: []diagnose.Signature{messages.ProxyWaitFailed, messages.ProxyNotReady, messages.ProxyReady, messages.ProbeFailed},
	Doc: diagnose.Doc{
		Title: "The proxy does not become ready",
		Explanation: "A proxy is ready when it has its first configuration and its listeners work. While it isn't, the pod isn't ready either, and takes no traffic. Where the application is held until then, " +
			"pilot-agent wait gives up after a minute, the kubelet ends the proxy for it and starts it again. What the proxy waits for is told by its log: most often the control plane, which can't be reached, " +
			"refuses it, or has no configuration for it.",
		Quiet: "The first half minute of a proxy, failed probes that were followed by readiness, a pod that is being deleted, and other containers' probes.",
		Remedy: []diagnose.Step{
			{Text: "Read what it waits for", Command: "kubectl -n {{namespace}} logs {{pod}} -c istio-proxy --tail=200"},
			{If: "rejected", Text: "It received its configuration and rejected part of it; the log names the listener or cluster and the reason"},
			{If: "unreceived", Unless: "managed", Text: "It receives nothing from the control plane: is istiod ready, and does it know the proxy?", Command: "kubectl -n istio-system get pods -l app=istiod"},
			{If: "unreceived", Unless: "managed", Text: "Does the control plane know the proxy, and has it sent what it needs?", Command: "istioctl proxy-status"},
			{If: "managed", Text: "The control plane is managed ({{managed}}): the proxy has to reach trafficdirector.googleapis.com or meshconfig.googleapis.com, with the workload's identity. Look at the causes of the areas controlplane and config, or ask for them with --project and --network or --mesh"},
			{Text: "Is it short of CPU? A proxy that is throttled at its limit takes long, too", Command: "kubectl -n {{namespace}} top pods {{pod}} --containers"},
		},
		References: []string{refStartup, refGuide, "https://docs.cloud.google.com/service-mesh/v1.22/docs/troubleshooting/troubleshoot-resources"},
	},
	Evaluate: proxyReadinessTimeout,
}

func proxyReadinessTimeout(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	s := look(req, v)
	var list []found
	undated := false
	for _, x := range s.all() {
		if !x.pod.Deleted.IsZero() || x.pod.Ended() {
			continue
		}
		if f, ok := unready(x); ok {
			list = append(list, f)
			continue
		}
		st := x.pod.StatusOf(kube.ProxyContainer)
		undated = undated || x.now.IsZero() && st != nil && st.State.Running != nil && !st.Ready
	}
	switch err := s.open(); {
	case len(list) > 0:
		return s.causes(list), nil
	case err != nil:
		return nil, err
	case undated:
		return nil, diagnose.Skip("a proxy isn't ready, and the files given don't tell since when")
	}
	return nil, nil
}

// unready says whether a start's proxy took, or takes, too long.
func unready(x *start) (found, bool) {
	f := found{x: x, params: map[string]string{}}
	st := x.pod.StatusOf(kube.ProxyContainer)
	r := x.readiness()
	waits := hookFailures(x, &f)
	for _, l := range x.lines {
		if l.Signature == messages.ProxyNotReady.ID && l.Fields["terminated"] == "" {
			f.lines = append(f.lines, l)
			if l.Fields["config"] == "not received" {
				f.params["unreceived"] = "true"
			}
			if l.Fields["config"] == "received" {
				f.params["rejected"] = "true"
			}
		}
	}
	if x.seen && (x.proxy == nil || st != nil && st.Ready && waits == "") {
		return f, false
	}
	if x.seen && st != nil && st.Ready {
		// The hook failed and the proxy came up afterwards: the start was disturbed, no more.
		f.confidence, f.severity = diagnose.Confirmed, diagnose.Advice
		f.word, f.summary = "waited", fmt.Sprintf("The start of %s was held for its proxy in vain at first, and the proxy was started again: %s.", x.title(), waits)
		return f, true
	}
	long, since := x.unreadyFor(st, r)
	why := because(f.params, f.lines)
	switch {
	case waits != "":
		f.confidence = diagnose.Likely
		if x.seen && st != nil {
			f.confidence = diagnose.Confirmed
		}
		f.word, f.summary = "wait", fmt.Sprintf("The start of %s is held for its proxy, which did not become ready: %s.", x.title(), waits)
	case x.seen && whyWaiting(st) == "CrashLoopBackOff" && ended(st) != nil && ended(st).ExitCode != 0:
		f.confidence = diagnose.Confirmed
		f.word, f.summary = "crash", fmt.Sprintf("The proxy of %s keeps ending with exit code %d, and does not become ready%s.", x.title(), ended(st).ExitCode, why)
	case long < patience:
		return f, false
	case x.seen && st != nil && st.State.Running != nil:
		f.confidence = diagnose.Confirmed
		f.word, f.summary = "running", fmt.Sprintf("The proxy of %s runs and is not ready %s after its start%s.", x.title(), spell(long), why)
	case x.seen:
		return f, false // it doesn't run: why not is another question
	default:
		f.confidence = diagnose.Likely
		f.word, f.summary = "said", fmt.Sprintf("The proxy of %s was not ready for %s, %s%s.", x.title(), spell(long), since, why)
	}
	return f, true
}

// hookFailures gives what the hook that holds the application said when it gave up.
func hookFailures(x *start, f *found) string {
	said := ""
	for _, e := range x.events {
		if e.Reason == "FailedPostStartHook" && strings.Contains(e.Message, "pilot-agent wait") {
			f.events = append(f.events, e)
			said = cut(hookWords(e.Message), maxQuote)
		}
	}
	for _, l := range x.lines {
		if l.Signature != messages.ProxyWaitFailed.ID {
			continue
		}
		f.lines = append(f.lines, l)
		if what, _, _ := lineWords(l); said == "" {
			said = cut(strings.TrimPrefix(what, "the wait for the proxy failed: "), maxQuote)
		}
	}
	return strings.TrimRight(said, ".")
}

// unreadyFor gives how long the proxy hasn't been ready, and what says so; 0 where it is, or was, ready, or nothing tells.
func (x *start) unreadyFor(st *kube.ContainerStatus, r readiness) (time.Duration, string) {
	from := r.started
	if st != nil && st.State.Running != nil {
		from = st.State.Running.Started // of this run
	}
	if from.IsZero() && len(r.not) > 0 && !x.seen {
		from = r.not[0]
	}
	till := x.now
	if n := len(r.not); n > 0 && r.not[n-1].After(till) {
		till = r.not[n-1]
	}
	if from.IsZero() || till.IsZero() {
		return 0, ""
	}
	if !r.ready.IsZero() && !r.ready.Before(from) {
		return 0, "" // it was ready in this run
	}
	return till.Sub(from), "as its log and the kubelet's probes say"
}

// because says what the proxy waits for, as far as its log tells.
func because(p map[string]string, lines []line) string {
	switch {
	case p["rejected"] != "":
		return ": it rejected a part of its configuration"
	case p["unreceived"] != "":
		return ": it received no configuration from the control plane"
	}
	i := slices.IndexFunc(lines, func(l line) bool { return l.Signature == messages.ProxyNotReady.ID })
	if i < 0 {
		return ""
	}
	if words := notReadyWords(lines[i]); words != "" {
		return ": " + cut(words, maxQuote)
	}
	return ""
}

// spell writes a time that is long.
func spell(d time.Duration) string { return d.Round(time.Second).String() }
