package request

import (
	"fmt"
	"time"

	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

const (
	// beforeShutdown is how long before a pod's proxy says that it ends requests may fail for it: the application, told at the
	// same time, may be quicker, and clocks differ.
	beforeShutdown = 5 * time.Second
	// afterShutdown is how long after it: clients learn of an endpoint's end with some delay, and the proxy drains for some
	// seconds.
	afterShutdown = 60 * time.Second
)

// ShutdownRace finds requests that fail while the pod they go to is being deleted.
var ShutdownRace = diagnose.Check{
	ID:       "request/shutdown-race",
	Severity: diagnose.Degrading,
	Layer:    diagnose.LayerBackend,
	Symptoms: []diagnose.Symptom{diagnose.SymptomRequestsFail},
	Doc: diagnose.Doc{
		Title: "Requests fail while pods are shut down",
		Explanation: "When a pod is deleted, its containers are told to end at the same time as the mesh is told to send nothing more to it. Requests that are under way or still " +
			"come in meanwhile meet an application that is gone (connection refused, 503 UF or UC), or lose the sidecar before the application is done.",
		Quiet: "When the failures aren't confined to the minute around a shutdown, or the log carries no times.",
		Remedy: []diagnose.Step{
			{Text: "Let the application go on serving for a while after SIGTERM: a preStop hook that sleeps for some seconds is the simplest way (it restarts the pods)", Command: `kubectl explain pod.spec.containers.lifecycle.preStop`},
			{Text: "Let the sidecar wait until connections are closed: EXIT_ON_ZERO_ACTIVE_CONNECTIONS in proxyMetadata, or a longer terminationDrainDuration, by the pod's annotation proxy.istio.io/config"},
			{Text: "With native sidecars (Kubernetes 1.29 and later) the proxy ends after the application. Is istio-proxy among the init containers?", Command: `kubectl get pods -A -o jsonpath='{range .items[*]}{.metadata.namespace}/{.metadata.name}{"\t"}{.spec.initContainers[*].name}{"\n"}{end}'`},
			{If: "service", Text: "Let clients retry what they may: retries in the VirtualService of {{service}}, for connect-failure,refused-stream,unavailable"},
		},
		References: []string{refProblems, "https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/"},
	},
	Needs:      []evidence.Name{evidence.AccessLogs.Name(), evidence.LogMessages.Name()},
	Explains:   []diagnose.CheckID{"request/upstream-refused", "request/no-healthy-upstream"},
	Signatures: []diagnose.Signature{messages.ProxyTerminating},
	Evaluate:   shutdownRace,
}

// window is the time around a shutdown.
type window struct {
	from, to time.Time
	message  evidence.LogMessage
}

func shutdownRace(_ diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	groups, err := evidence.Get(v, evidence.AccessLogs)
	if err != nil {
		return nil, err
	}
	log, err := evidence.Get(v, evidence.LogMessages)
	if err != nil {
		return nil, err
	}
	var windows []window
	for _, m := range log {
		if m.Signature != messages.ProxyTerminating.ID || m.First.IsZero() {
			continue
		}
		for _, at := range []time.Time{m.First, m.Last} {
			windows = append(windows, window{at.Add(-beforeShutdown), at.Add(afterShutdown), m})
		}
	}
	around := func(g evidence.AccessGroup) *window {
		for i, w := range windows {
			if !g.First.IsZero() && !g.First.Before(w.from) && !g.Last.After(w.to) {
				return &windows[i]
			}
		}
		return nil
	}
	// A place that fails at other times too has another cause, which this must not hide.
	also := map[string]bool{}
	for _, g := range groups {
		if cutOff(g) && around(g) == nil {
			also[g.Cluster] = true
		}
	}
	list, more := bunches(groups, func(g evidence.AccessGroup) bool { return cutOff(g) && !also[g.Cluster] })
	var causes []diagnose.Cause
	for _, b := range list {
		w := around(b.groups[0])
		confidence := diagnose.Possible // another pod's shutdown may be a coincidence
		if w.message.File == b.groups[0].File {
			confidence = diagnose.Likely
		}
		c := b.cause(confidence, fmt.Sprintf("%s failed between %s and %s, while a pod was shut down (%s).", b.share(),
			b.first.UTC().Format(time.TimeOnly), b.last.UTC().Format(time.TimeOnly), w.message.First.UTC().Format(time.TimeOnly)))
		c.Evidence = append(c.Evidence, messageExhibit(w.message))
		causes = append(causes, c)
	}
	return leftOut(causes, more), nil
}

// cutOff says whether a request failed as one does whose upstream goes away.
func cutOff(g evidence.AccessGroup) bool {
	return refused(reasons(g)) || (g.Code == 503 || g.Code == 0) && flagged(g, "UF", "UC", "UR", "UH")
}
