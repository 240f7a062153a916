package vm

import (
	"fmt"
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestEnvoyNotRunning(t *testing.T) {
	list := func(whole bool, src evidence.Source, args ...string) evidence.ProcessList {
		l := evidence.ProcessList{Whole: whole, Source: src}
		for i, a := range append([]string{"/sbin/init", "[kthreadd]", "/usr/sbin/sshd -D"}, args...) {
			var command string
			_, _ = fmt.Sscan(a, &command)
			for i := len(command) - 1; i >= 0; i-- {
				if command[i] == '/' {
					command = command[i+1:]
					break
				}
			}
			l.List = append(l.List, evidence.Process{PID: i + 1, Command: command, Args: a})
		}
		return l
	}
	ps := func(whole bool, src evidence.Source, args ...string) func(*evidence.Set) {
		return putFrom(evidence.Processes, []evidence.ProcessList{list(whole, src, args...)}, src)
	}
	live := evidence.Source{Collector: "host", Vantage: evidence.FromWorkload, Time: noon}
	// grepped is "ps aux | grep envoy": the search alone is left.
	grepped := putFrom(evidence.Processes, []evidence.ProcessList{{List: []evidence.Process{{PID: 4711, Command: "grep", Args: "grep envoy"}}, Source: pasted}}, pasted)
	other := pasted
	other.Detail = "web-2.txt"
	boot := putFrom(evidence.Bootstraps, []evidence.Bootstrap{{Kind: evidence.EnvoyBootstrap}}, pasted)
	networked := func(src evidence.Source, network uint64) func(*evidence.Set) {
		return putFrom(evidence.Processes, []evidence.ProcessList{{Whole: true, Network: 4026531840, Source: src, List: []evidence.Process{
			{PID: 1, Command: "systemd", Network: 4026531840}, {PID: 9, Command: "envoy", Network: network}}}}, src)
	}
	checkstest.Run(t, EnvoyNotRunning, []checkstest.Case{
		{Name: "a whole list", Request: target, Put: all(ps(true, live, "/usr/bin/python3 app.py"), vms(web())),
			Want: []checkstest.Want{{Subject: "VM europe-west1-b/web-1", Summary: "not among the 4 processes", Confidence: diagnose.Confirmed, Params: map[string]string{"agent": "yes"}}}},
		{Name: "a file, beside a bootstrap", Request: files, Put: all(ps(true, pasted), boot), Want: []checkstest.Want{{Summary: "in web-1.txt", Confidence: diagnose.Likely}}},
		{Name: "ps aux | grep envoy", Request: files, Put: grepped, Want: []checkstest.Want{{Summary: "found only itself"}}},
		{Name: "people look at its files", Request: files, Put: all(boot, ps(true, pasted, "tail -f /var/log/envoy/envoy.err.log", "vim /etc/envoy/envoy.yaml", "sudo grep envoy /var/log/syslog")), Want: []checkstest.Want{{}}},
		{Name: "two VMs", Request: files, Put: func(s *evidence.Set) {
			boot(s)
			evidence.Put(s, evidence.Processes, []evidence.ProcessList{list(true, pasted)}, pasted)
			evidence.Put(s, evidence.Processes, []evidence.ProcessList{list(true, other)}, other)
		}, Want: []checkstest.Want{{Key: "files/web-1.txt"}, {Key: "files/web-2.txt"}}},

		{Name: "in a container with a network of its own", Request: target, Put: networked(live, 4026532217), Outcome: diagnose.OutcomeInconclusive, Reason: "the only Envoy (process 9) has a network of its own"},
		{Name: "in a container with the VM's network", Request: target, Put: networked(live, 4026531840)},
		{Name: "its network can't be read", Request: target, Put: networked(live, 0)},
		{Name: "a host of which nothing says that it should run one", Request: files, Put: ps(true, pasted), Outcome: diagnose.OutcomeSkipped},
		{Name: "it runs", Request: target, Put: all(ps(true, live, "/usr/local/bin/envoy --config-path /etc/envoy.yaml"), vms(web()))},
		{Name: "under another name", Request: target, Put: ps(true, live, "/opt/proxy/sidecar --config-path /etc/x.yaml --service-cluster c")},
		{Name: "a build of its own", Request: target, Put: ps(true, live, "/opt/envoy-1.30.1/bin/envoy-static -c x")},
		{Name: "in a container", Request: target, Put: ps(true, live, "docker run --net=host envoyproxy/envoy:v1.30.1")},
		{Name: "by a shell", Request: target, Put: ps(true, live, "sudo -u envoy /usr/local/bin/envoy -c /etc/envoy.yaml")},
		{Name: "Istio's agent", Request: target, Put: ps(true, live, "/usr/local/bin/pilot-agent proxy")},
		{Name: "grep beside it", Request: files, Put: putFrom(evidence.Processes, []evidence.ProcessList{{List: []evidence.Process{{Command: "envoy"}, {Command: "grep", Args: "grep envoy"}}}}, pasted)},
		{Name: "some of the processes", Request: files, Put: ps(false, pasted), Outcome: diagnose.OutcomeSkipped, Reason: "isn't that of the whole host"},
		{Name: "a Kubernetes node", Request: files, Put: ps(true, pasted, "/home/kubernetes/bin/kubelet --v=2"), Outcome: diagnose.OutcomeSkipped},
		{Name: "it answers", Request: target, Put: all(ps(true, live), put(evidence.EnvoyInfos, []evidence.EnvoyInfo{{Source: live}}))},
		{Name: "proxyless", Request: files, Put: all(ps(true, pasted), putFrom(evidence.Bootstraps, []evidence.Bootstrap{{Kind: evidence.GRPCBootstrap}}, pasted)), Outcome: diagnose.OutcomeSkipped},
		{Name: "failed", Request: target, Put: deny(evidence.Processes.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Request: target, Put: late(evidence.Processes.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Request: network, Outcome: diagnose.OutcomeSkipped},
	})
}
