package vm

import (
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestIPv6ModulesMissing(t *testing.T) {
	const (
		boot  = "[    0.000000] Linux version 5.10.0-28-cloud-amd64 (debian-kernel@lists.debian.org)"
		nat   = "[   61.204511] startup-script: ip6tables v1.8.7 (legacy): can't initialize ip6tables table `nat': Table does not exist (do you need to insmod?)"
		probe = "modprobe: FATAL: Module ip6_tables not found in directory /lib/modules/5.10.0-28-cloud-amd64"
	)
	modules := func(l evidence.ModuleList) func(*evidence.Set) {
		l.Source = workload
		return putFrom(evidence.KernelModules, []evidence.ModuleList{l}, workload)
	}
	missing := modules(evidence.ModuleList{Loaded: []string{"ip_tables", "nf_nat"}, Missing: []string{"ip6table_nat", "ip6_tables"}})
	loaded := modules(evidence.ModuleList{Loaded: []string{"ip_tables", "ip6_tables"}})
	checkstest.Run(t, IPv6ModulesMissing, []checkstest.Case{
		{Name: "the log and the modules", Request: target, Put: all(serial(boot, probe, nat), missing, vms(web())),
			Want: []checkstest.Want{{Subject: "VM europe-west1-b/web-1", Summary: "lacks ip6_tables, ip6table_nat", Confidence: diagnose.Confirmed, Excerpt: "serial port 1: modprobe: FATAL"}}},
		{Name: "the log alone", Request: target, Put: serial(boot, nat), Want: []checkstest.Want{{Confidence: diagnose.Likely, Summary: "ip6tables failed"}}},
		{Name: "the modules alone", Request: files, Put: missing, Want: []checkstest.Want{{Confidence: diagnose.Possible, Excerpt: "neither loaded nor on disk"}}, Unfilled: open},
		{Name: "a pasted line", Request: files, Put: logs(message(messages.IPv6ModulesMissing.ID, probe)), Want: []checkstest.Want{{Confidence: diagnose.Likely}}, Unfilled: open},

		{Name: "started again since", Request: target, Put: serial(boot, nat, boot, "[   20.1] startup-script: ok")},
		{Name: "they can be loaded by now", Request: target, Put: all(serial(boot, nat), loaded)},
		{Name: "IPv6 is switched off", Request: target, Put: serial(boot, "ip6tables v1.8.7 (legacy): can't initialize ip6tables table `filter': Address family not supported by protocol")},
		{Name: "modules of IPv4", Request: files, Put: modules(evidence.ModuleList{Missing: []string{"iptable_raw"}})},
		{Name: "done", Request: target, Put: all(serial(boot, nat), attrs("bootstrap-status", "FINISHED")), Outcome: diagnose.OutcomeSkipped},
		{Name: "stopped", Request: target, Put: all(serial(boot, nat), vms(web(status("TERMINATED")))), Outcome: diagnose.OutcomeSkipped},
		{Name: "denied", Request: target, Put: deny(evidence.SerialPorts.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Request: target, Put: late(evidence.SerialPorts.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Request: network, Outcome: diagnose.OutcomeSkipped},
	})
}
