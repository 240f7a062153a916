package vm

import (
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestSerialLogErrors(t *testing.T) {
	const (
		script = "startup-script: /tmp/tmp.x1/service-proxy-agent/service-proxy-agent-bootstrap.sh: line 212: dpkg: command not found"
		unit   = "[   61.2] systemd[1]: service-proxy-agent.service: Failed with result 'exit-code'."
		recipe = "OSConfigAgent Error policies.go:74: Error installing recipe: error running step 0 (RunScript): exit status 1"
	)
	checkstest.Run(t, SerialLogErrors, []checkstest.Case{
		{Name: "the script", Request: target, Put: all(serial(script), vms(web())),
			Want: []checkstest.Want{{Subject: "VM europe-west1-b/web-1", Summary: "dpkg: command not found", Confidence: diagnose.Possible, Excerpt: "serial port 1: startup-script"}}},
		{Name: "several", Request: target, Put: serial(script, recipe, unit, unit, unit), Want: []checkstest.Want{{Excerpt: "(and 2 lines more)"}}},
		{Name: "its lines again as a log's", Request: target, Put: all(serial(script), func(s *evidence.Set) {
			m := message(messages.ServiceProxySetup.ID, script)
			m.Source = evidence.Source{Collector: "gcp", Detail: "compute.instances.getSerialPortOutput line 1", Vantage: evidence.FromAPI, Time: noon}
			evidence.Put(s, evidence.LogMessages, []evidence.LogMessage{m}, m.Source)
		}), Want: []checkstest.Want{{Excerpt: "serial port 1"}}},
		{Name: "the recipe", Request: files, Put: serial(recipe), Want: []checkstest.Want{{Summary: "Error installing recipe"}}, Unfilled: open},
		{Name: "a pasted line", Request: files, Put: logs(message(messages.ServiceProxySetup.ID, unit)), Want: []checkstest.Want{{Excerpt: "agent.log, line 3"}}, Unfilled: open},

		{Name: "of a kind that is known", Request: target, Put: serial("service-proxy-agent-bootstrap.sh: error: curl: (6) Could not resolve host: storage.googleapis.com",
			"service-proxy-agent: error: modprobe: FATAL: Module ip6_tables not found in directory /lib/modules/5.10")},
		{Name: "it started in the end", Request: target, Put: serial(unit, "systemd[1]: Started Service Proxy Agent.")},
		{Name: "it started in the end, in colours", Request: target, Put: serial(unit, "[\x1b[0;32m  OK  \x1b[0m] Started \x1b[0;1;39mService Proxy Agent\x1b[0m.")},
		{Name: "no errors", Request: target, Put: serial("service-proxy-agent: checked, 0 errors", "service-proxy-agent: done without any errors")},
		{Name: "errors of others", Request: target, Put: serial("systemd[1]: nginx.service: Failed with result 'exit-code'.", "kernel: EXT4-fs error")},
		{Name: "done", Request: target, Put: all(serial(script), attrs("bootstrap-status", "FINISHED")), Outcome: diagnose.OutcomeSkipped},
		{Name: "stopped", Request: target, Put: all(serial(script), vms(web(status("TERMINATED")))), Outcome: diagnose.OutcomeSkipped},
		{Name: "denied", Request: target, Put: deny(evidence.SerialPorts.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Request: target, Put: late(evidence.SerialPorts.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Request: network, Outcome: diagnose.OutcomeSkipped},
	})
}
