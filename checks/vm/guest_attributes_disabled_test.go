package vm

import (
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestGuestAttributesDisabled(t *testing.T) {
	const json = `{"api-version":"0.2"}`
	project := func(kv ...string) func(*evidence.Set) {
		m := map[string]string{}
		for n := 0; n < len(kv); n += 2 {
			m[kv[n]] = kv[n+1]
		}
		return put(evidence.ProjectMetadata, m)
	}
	unset := vms(web(metadata(evidence.ServiceProxyKey, json)))
	off := web(metadata(evidence.ServiceProxyKey, json, evidence.EnableGuestAttributes, "FALSE"))
	checkstest.Run(t, GuestAttributesDisabled, []checkstest.Case{
		{Name: "set nowhere", Request: target, Put: all(absent, unset, project()),
			Want: []checkstest.Want{{Subject: "VM europe-west1-b/web-1", Summary: "is not set on neither VM nor project", Severity: diagnose.Advice, Confidence: diagnose.Confirmed, Excerpt: "on the project not set"}}},
		{Name: "off on the VM, on for the project", Request: target, Put: all(absent, vms(off), project(evidence.EnableGuestAttributes, "TRUE")),
			Want: []checkstest.Want{{Summary: "is FALSE on the VM", Excerpt: "enable-guest-attributes=FALSE"}}},
		{Name: "off for the project", Request: target, Put: all(deny(evidence.GuestAttributes.Name()), unset, project(evidence.EnableGuestAttributes, "no")), Want: []checkstest.Want{{Summary: "is no on the project"}}},
		{Name: "the one VM of a file", Request: files, Put: putFrom(evidence.Instances, []evidence.Instance{off}, pasted), Want: []checkstest.Want{{}}},

		{Name: "on", Request: target, Put: all(absent, vms(web()), project())},
		{Name: "on for the project", Request: target, Put: all(absent, unset, project(evidence.EnableGuestAttributes, "true"))},
		{Name: "they can be read", Request: target, Put: all(attrs("bootstrap-status", "FINISHED"), vms(off), project())},
		{Name: "no service proxy", Request: target, Put: all(absent, vms(web(plain)), project()), Outcome: diagnose.OutcomeSkipped},
		{Name: "the project's metadata is denied", Request: target, Put: all(absent, unset, deny(evidence.ProjectMetadata.Name())), Outcome: diagnose.OutcomeInconclusive},
		{Name: "a file, and the project isn't known", Request: files, Put: unset, Outcome: diagnose.OutcomeSkipped},
		{Name: "a list of VMs", Request: files, Put: vms(off, web(plain)), Outcome: diagnose.OutcomeSkipped},
		{Name: "denied", Request: target, Put: deny(evidence.Instances.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Request: target, Put: late(evidence.Instances.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Request: network, Outcome: diagnose.OutcomeSkipped},
	})
}
