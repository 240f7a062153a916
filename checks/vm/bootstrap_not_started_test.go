package vm

import (
	"testing"
	"time"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestBootstrapNotStarted(t *testing.T) {
	project := func(v string) func(*evidence.Set) {
		return put(evidence.ProjectMetadata, map[string]string{evidence.EnableGuestAttributes: v})
	}
	const json = `{"api-version":"0.2"}`
	checkstest.Run(t, BootstrapNotStarted, []checkstest.Case{
		{Name: "404, and guest attributes are on", Request: target, Put: all(absent, vms(web())),
			Want: []checkstest.Want{{Subject: "VM europe-west1-b/web-1", Summary: "has not begun 24 hours after", Confidence: diagnose.Confirmed, Excerpt: "enable-guest-attributes=TRUE"}}},
		{Name: "[none], literally", Request: target, Put: all(attrs("bootstrap-status", "[none]"), vms(web())), Want: []checkstest.Want{{Excerpt: "[none]"}}},
		{Name: "other keys are set, this one isn't", Request: target, Put: all(attrs("proxy-version", ""), vms(web())), Want: []checkstest.Want{{Excerpt: "(not set)"}}},
		{Name: "on by the project alone", Request: target, Put: all(absent, vms(web(metadata(evidence.ServiceProxyKey, json))), project("true")), Want: []checkstest.Want{{Excerpt: "on the project true"}}},
		{Name: "the VM's value beats the project's", Request: target, Put: all(absent, vms(web()), project("FALSE")), Want: []checkstest.Want{{}}},
		{Name: "from files", Request: files, Put: all(table("bootstrap-status", ""), putFrom(evidence.Instances, []evidence.Instance{web(fromFile)}, pasted)),
			Want: []checkstest.Want{{Confidence: diagnose.Likely}}},
		{Name: "its age isn't known", Request: target, Put: all(absent, vms(web(func(i *evidence.Instance) { i.Created = time.Time{} }))), Want: []checkstest.Want{{Confidence: diagnose.Likely}}},

		{Name: "404, and they are off", Request: target, Put: all(absent, vms(web(metadata(evidence.ServiceProxyKey, json, evidence.EnableGuestAttributes, "FALSE")))), Outcome: diagnose.OutcomeSkipped, Reason: "are off"},
		{Name: "404, and they are off on the VM, on for the project", Request: target,
			Put: all(absent, vms(web(metadata(evidence.ServiceProxyKey, json, evidence.EnableGuestAttributes, "FALSE"))), project("TRUE")), Outcome: diagnose.OutcomeSkipped},
		{Name: "404, and the project's metadata is denied", Request: target, Put: all(absent, vms(web(metadata(evidence.ServiceProxyKey, json))), deny(evidence.ProjectMetadata.Name())), Outcome: diagnose.OutcomeInconclusive},
		{Name: "404, and the VM can't be read", Request: target, Put: all(absent, deny(evidence.Instances.Name())), Outcome: diagnose.OutcomeInconclusive},
		{Name: "made four minutes ago", Request: target, Put: all(absent, vms(web(made(4*time.Minute)))), Outcome: diagnose.OutcomeInconclusive, Reason: "4 minutes ago"},
		{Name: "no service proxy", Request: target, Put: all(absent, vms(web(plain))), Outcome: diagnose.OutcomeSkipped},
		{Name: "stopped", Request: target, Put: all(absent, vms(web(status("TERMINATED")))), Outcome: diagnose.OutcomeSkipped},
		{Name: "done", Request: target, Put: all(attrs("bootstrap-status", "FINISHED"), vms(web()))},
		{Name: "under way", Request: target, Put: all(attrs("bootstrap-status", "IN PROGRESS"), vms(web()))},
		{Name: "the agent reports", Request: target, Put: all(attrs("agent-heartbeat", beat(time.Minute)), vms(web())), Outcome: diagnose.OutcomeInconclusive},
		{Name: "a query of another key", Request: files, Put: func(s *evidence.Set) {
			g := guest(pasted, "proxy-version", "x/1.30.1/Clean/RELEASE/BoringSSL")
			g.Partial = true
			evidence.Put(s, evidence.GuestAttributes, g, pasted)
		}, Outcome: diagnose.OutcomeSkipped, Reason: "only some"},
		{Name: "another VM's", Request: target, Put: all(putFrom(evidence.GuestAttributes, evidence.GuestAttributeSet{Instance: "db-1", Source: pasted}, pasted), vms(web())), Outcome: diagnose.OutcomeSkipped, Reason: "VM db-1"},
		{Name: "denied", Request: target, Put: all(deny(evidence.GuestAttributes.Name()), vms(web())), Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Request: target, Put: late(evidence.GuestAttributes.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Request: network, Outcome: diagnose.OutcomeSkipped},
	})
}
