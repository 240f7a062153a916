package vm

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// EnvoyNotRunning finds that no Envoy is among the processes of a VM.
var EnvoyNotRunning = diagnose.Check{
	ID:       "vm/envoy-not-running",
	Severity: diagnose.Blocking,
	Layer:    diagnose.LayerVM,
	Symptoms: []diagnose.Symptom{diagnose.SymptomNotConnected, diagnose.SymptomNoConfig, diagnose.SymptomRequestsFail},
	Needs:    []evidence.Name{evidence.Processes.Name(), evidence.EnvoyInfos.Name(), evidence.Bootstraps.Name(), evidence.Instances.Name()},
	Explains: []diagnose.CheckID{"controlplane/client-not-connected", "controlplane/no-client-connected"},
	Doc: diagnose.Doc{
		Title:       "Envoy does not run on the VM",
		Explanation: "The VM's process list holds no Envoy. Traffic that is intercepted is sent to a port that nobody listens on, and is refused; the control plane sees no client.",
		Quiet: "Envoy runs under another name or in a container; the list is only some of the host's processes, or that of one container; its admin interface answers; the clients are " +
			"proxyless, and need no Envoy; a node of a Kubernetes cluster.",
		Remedy: []diagnose.Step{
			{Text: "See why it ended, on the VM: the end of its log.", Command: "sudo tail -n 50 /var/log/envoy/envoy.err.log"},
			{If: "agent", Text: "The agent starts Envoy where the VM was made with --service-proxy: start the agent again.", Command: "sudo systemctl restart service-proxy-agent"},
			{Unless: "agent", Text: "Start it the way it was deployed: by its service, or by run.sh of the traffic-director package.", Command: "systemctl list-units --all '*envoy*' '*proxy*'"},
			{Text: "See that it stays up.", Command: "curl -s localhost:15000/server_info"},
		},
		References: []string{refTroubleshooting, "https://www.envoyproxy.io/docs/envoy/latest/operations/cli"},
	},
	Evaluate: envoyNotRunning,
}

func envoyNotRunning(req diagnose.Request, v *evidence.View) ([]diagnose.Cause, error) {
	lists, err := evidence.Get(v, evidence.Processes)
	infos, _ := evidence.Get(v, evidence.EnvoyInfos)
	boots, _ := evidence.Get(v, evidence.Bootstraps)
	vm, vmErr := about(req, v, "")
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(infos, func(i evidence.EnvoyInfo) bool { return !i.Source.Pasted }) {
		return nil, nil // it answered just now
	}
	grpc := func(b evidence.Bootstrap) bool { return b.Kind == evidence.GRPCBootstrap }
	if slices.ContainsFunc(boots, grpc) && !slices.ContainsFunc(boots, func(b evidence.Bootstrap) bool { return !grpc(b) }) {
		return nil, diagnose.Skip("the clients are proxyless, and need no Envoy")
	}
	// A host whose processes were merely listed need not have a proxy; one that was searched for it should.
	expected := vmErr == nil || req.Target.Instance != "" || slices.ContainsFunc(boots, func(b evidence.Bootstrap) bool { return !grpc(b) })
	var open error
	var causes []diagnose.Cause
	for _, l := range lists {
		filtered, kubelet := false, false
		if slices.ContainsFunc(l.List, func(p evidence.Process) bool { return mayBeEnvoy(p) && l.Belongs(p) != evidence.Elsewhere }) {
			return nil, nil
		}
		if i := slices.IndexFunc(l.List, mayBeEnvoy); i >= 0 {
			open = &evidence.Missing{Name: evidence.Processes.Name(), Why: evidence.Failed, Source: l.Source,
				Err: fmt.Errorf("the only Envoy (process %d) has a network of its own, as in a container, and whether it is the VM's proxy can't be told", l.List[i].PID)}
			continue
		}
		for _, p := range l.List {
			filtered = filtered || isGrep(p)
			kubelet = kubelet || p.Command == "kubelet"
		}
		switch {
		case kubelet:
			open = diagnose.Skip("the host is a node of a Kubernetes cluster")
			continue
		case !l.Whole && !filtered:
			open = diagnose.Skip("the process list isn't that of the whole host")
			continue
		case !filtered && !expected:
			open = diagnose.Skip("nothing says that an Envoy should run on this host")
			continue
		}
		c := diagnose.Cause{Confidence: diagnose.Confirmed, Subject: named(req.Target.Instance), Params: params(req, evidence.Instance{}, "")}
		if vmErr == nil {
			c.Subject, c.Params = subject(req, vm, ""), params(req, vm, "")
			if serviceProxy(vm) {
				c.Params["agent"] = "yes"
			}
		} else if req.Target.Instance != "" {
			c.Subject = subject(req, vm, "")
		}
		if l.Source.Pasted {
			c.Confidence = diagnose.Likely
		}
		if len(lists) > 1 {
			c.Key = "files/" + cmp.Or(l.Source.Detail, l.Source.Collector)
		}
		what := fmt.Sprintf("%d processes, none of them Envoy", len(l.List))
		c.Summary = fmt.Sprintf("Envoy does not run: it is not among the %d processes in %s.", len(l.List), cmp.Or(l.Source.Detail, "the list"))
		if !l.Whole {
			what = "the processes that name envoy: the search for it alone"
			c.Summary = fmt.Sprintf("Envoy does not run: a search for it among the processes (%s) found only itself.", cmp.Or(l.Source.Detail, "the list"))
		}
		c.Evidence = []diagnose.Exhibit{{Fact: evidence.Processes.Name(), Excerpt: what, Source: l.Source}}
		causes = append(causes, c)
	}
	if len(causes) > 0 {
		return causes, nil
	}
	return nil, open
}

// readers are programs that have "envoy" among their arguments because a person looks for it, or at its files.
var readers = []string{
	"grep", "egrep", "fgrep", "rg", "ag", "tail", "less", "more", "cat", "vi", "vim", "nano", "watch", "journalctl", "curl", "wget", "ps", "pgrep", "pkill", "ssh", "sshd", "man",
	"tcpdump", "strace", "lsof", "ls", "rm", "mv", "cp", "chown", "chmod",
}

// shells run what their arguments say: what they run is a process of its own.
var shells = []string{"sudo", "su", "bash", "sh", "dash", "zsh", "screen", "tmux"}

// mayBeEnvoy says whether a process is Envoy, or may be: by its name, by its arguments, by flags that only Envoy takes. A
// program that looks for it isn't.
func mayBeEnvoy(p evidence.Process) bool {
	command := strings.ToLower(p.Command)
	args := strings.ToLower(p.Args)
	switch {
	case command == "envoy", command == "pilot-agent":
		return true
	case slices.Contains(readers, command):
		return false
	case slices.Contains(shells, command):
		// "sh -c 'envoy …'" may well have become Envoy itself; "sh -c 'ps aux | grep envoy'" has not.
		for _, w := range strings.Fields(args) {
			if slices.Contains(readers, path.Base(strings.Trim(w, `'"`))) {
				return false
			}
		}
	}
	for _, flag := range []string{"--config-path", "--config-yaml", "--service-cluster", "--service-node", "--drain-time-s", "--parent-shutdown-time-s"} {
		if strings.Contains(args, flag) {
			return true
		}
	}
	return strings.Contains(args, "envoy") || strings.Contains(command, "envoy")
}

// isGrep says whether a process is a search for Envoy: then the list is its outcome, and was filtered for it.
func isGrep(p evidence.Process) bool {
	return strings.Contains(p.Command, "grep") && strings.Contains(strings.ToLower(p.Args), "envoy")
}
