package config_test

import (
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/checks/config"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func vm(name, spec string, networks ...string) evidence.Instance {
	i := evidence.Instance{Name: name, Zone: "us-central1-a", Project: projectID, Status: "RUNNING", Networks: networks, Source: gcp, Metadata: map[string]string{"enable-osconfig": "true"}}
	if spec != "" {
		i.Metadata[evidence.ServiceProxyKey] = `{"_disclaimer":"…","api-version":"0.2","proxy-spec":` + spec + `}`
	}
	return i
}

func vms(i ...evidence.Instance) func(*evidence.Set) { return put(evidence.Instances, i) }

func TestServiceProxyNetworkMismatch(t *testing.T) {
	oneVM := onNetwork
	oneVM.Target.Zone, oneVM.Target.Instance = "us-central1-a", "web-1"
	ours := rules(rule("web", network))
	checkstest.Run(t, config.ServiceProxyNetworkMismatch, []checkstest.Case{
		{
			Name: "another network", Request: oneVM, Put: puts(ours, vms(vm("web-1", `{"network":"mesh-vpc-old","proxy-port":15001}`, network))),
			Want: []checkstest.Want{{
				Subject: "VM web-1", Key: "", Confidence: diagnose.Confirmed, Excerpt: `proxy-spec.network "mesh-vpc-old"`,
				Summary: `names network "mesh-vpc-old"; the forwarding rules with INTERNAL_SELF_MANAGED are on "mesh-vpc".`,
				Params:  map[string]string{"rules_network": network},
			}},
		},
		{
			Name: "empty on two networks", Request: oneVM, Put: puts(ours, vms(vm("web-1", `{"network":""}`, "mgmt", network))),
			Want: []checkstest.Want{{Summary: "proxy-spec.network is empty", Params: map[string]string{"rules_network": network}}},
		},
		{
			Name: "one VM of a pasted list, the rules unknown", Request: filesOnly, Put: vms(vm("web-1", `{"network":"mesh-vpc"}`, network), vm("web-2", `{}`, "mgmt", "a")),
			Want: []checkstest.Want{{Subject: "VM web-2", Key: "instances/us-central1-a/web-2"}},
		},
		{
			Name: "pasted list and pasted rules", Request: filesOnly,
			Put:  puts(paste(evidence.ForwardingRules, []evidence.ForwardingRule{rule("web", network)}), vms(vm("web-1", `{"network":"mesh-vcp"}`, "prod"))),
			Want: []checkstest.Want{{Confidence: diagnose.Likely, Params: map[string]string{"rules_network": network}}},
		},
		{Name: "the right network", Request: oneVM, Put: puts(ours, vms(vm("web-1", `{"network":"mesh-vpc"}`, "mgmt", network)))},
		{Name: "by URL", Request: oneVM, Put: puts(ours, vms(vm("web-1", `{"network":"projects/host/global/networks/mesh-vpc"}`, network)))},
		{Name: "empty on one network", Request: oneVM, Put: puts(ours, vms(vm("web-1", `{"network":""}`, network)))},
		{Name: "two interfaces on one network", Request: oneVM, Put: puts(ours, vms(vm("web-1", `{}`, network, network)))},
		{Name: "a Mesh", Request: oneVM, Put: puts(ours, vms(vm("web-1", `{"mesh":"checkout-mesh"}`, "a", "b")))},
		{Name: "a scope", Request: oneVM, Put: puts(ours, vms(vm("web-1", `{"scope":"edge","network":"x"}`, "a", "b")))},
		{Name: "no rules at all is another row's", Request: oneVM, Put: puts(rules(), vms(vm("web-1", `{"network":"x"}`, network)))},
		{Name: "VMs that are no service proxies", Request: filesOnly, Put: puts(ours, vms(vm("db-1", "", "a", "b"))), Outcome: diagnose.OutcomeSkipped},
		{Name: "another VM than asked about", Request: oneVM, Put: puts(ours, vms(vm("web-2", `{"network":"x"}`, network))), Outcome: diagnose.OutcomeSkipped},
		{Name: "not JSON", Request: oneVM, Put: puts(ours, vms(evidence.Instance{Name: "web-1", Metadata: map[string]string{evidence.ServiceProxyKey: "{"}})), Outcome: diagnose.OutcomeInconclusive, Reason: "VM web-1"},
		{Name: "VM denied", Request: oneVM, Put: puts(ours, fail("instances")), Outcome: diagnose.OutcomeInconclusive},
		{Name: "VM late", Request: oneVM, Put: puts(ours, late("instances")), Outcome: diagnose.OutcomeInconclusive},
		{Name: "rules denied", Request: oneVM, Put: puts(fail("forwarding-rules"), vms(vm("web-1", `{"network":"x"}`, network))), Outcome: diagnose.OutcomeInconclusive},
		{Name: "rules not asked for", Request: filesOnly, Put: vms(vm("web-1", `{"network":"x"}`, network)), Outcome: diagnose.OutcomeSkipped},
		{Name: "not asked", Request: onNetwork, Outcome: diagnose.OutcomeSkipped},
	})
}
