package controlplane

import (
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

const scopePrefix = "https://www.googleapis.com/auth/"

// webVM is the VM that requests name, with a service account's scopes.
func webVM(scopes ...string) evidence.Instance {
	return evidence.Instance{
		Name: "web-1", Zone: "europe-west1-b", Project: projectID, ID: "3633122484352464042", Status: "RUNNING", Networks: []string{vpc},
		ServiceAccounts: []evidence.ServiceAccount{{Email: account, Scopes: scopes}}, Source: api,
	}
}

// proxy is a VM made to run a service proxy.
func proxy(i evidence.Instance) evidence.Instance {
	i.Metadata = map[string]string{evidence.ServiceProxyKey: `{"api-version":"0.2"}`}
	return i
}

func fromFile(i evidence.Instance) evidence.Instance { i.Source = pasted; return i }

func called(i evidence.Instance, name string) evidence.Instance { i.Name = name; return i }

func TestMissingOAuthScope(t *testing.T) {
	vms := func(l ...evidence.Instance) func(*evidence.Set) { return put(evidence.Instances, l) }
	pastedVMs := func(l ...evidence.Instance) func(*evidence.Set) { return putFrom(evidence.Instances, l, pasted) }
	said := msg(messages.InsufficientScopes.ID, 7, "gRPC config stream closed: 7, Request had insufficient authentication scopes.", map[string]string{})
	by := func(field, value string) evidence.LogMessage {
		m := said
		m.Fields = map[string]string{field: value}
		return m
	}
	inFile := func(m evidence.LogMessage, file string) evidence.LogMessage { m.File = file; return m }
	full := scopePrefix + "cloud-platform"
	gke := webVM(scopePrefix + "devstorage.read_only")
	gke.Labels = map[string]string{"goog-gke-node": ""}
	checkstest.Run(t, MissingOAuthScope, []checkstest.Case{
		{Name: "the target's VM", Request: vm, Put: vms(webVM(scopePrefix+"devstorage.read_only", scopePrefix+"logging.write")),
			Want: []checkstest.Want{{Subject: "VM europe-west1-b/web-1", Summary: account + " of VM web-1 lacks the cloud-platform scope; it has devstorage.read_only and logging.write.",
				Confidence: diagnose.Confirmed, Params: map[string]string{"service_account": account}, Excerpt: "logging.write"}}},
		{Name: "a scope that only looks wide", Request: vm, Put: vms(webVM(scopePrefix+"cloud-platform.read-only", scopePrefix+"compute")), Want: []checkstest.Want{{}}},
		{Name: "no scope at all", Request: vm, Put: vms(webVM()), Want: []checkstest.Want{{Summary: "it has none"}}},
		{Name: "VMs made to run a proxy, of a file", Request: files, Put: pastedVMs(
			fromFile(proxy(webVM(scopePrefix+"compute"))), fromFile(called(proxy(webVM(full)), "web-2")), fromFile(called(webVM(), "db-1"))),
			Want: []checkstest.Want{{Subject: "web-1", Key: "instances/europe-west1-b/web-1"}}},
		{Name: "a log", Request: files, Put: logs(said), Want: []checkstest.Want{{Subject: "the proxy that wrote proxy.log", Summary: "refused the proxy's access token", Confidence: diagnose.Likely, Excerpt: "line 7"}}},
		{Name: "a log, and the target's VM was denied", Request: vm, Put: all(deny(evidence.Instances.Name()), logs(said)), Want: []checkstest.Want{{Confidence: diagnose.Likely}}},
		{Name: "one log of two", Request: files, Put: logs(said, inFile(msg(messages.StreamWorked.ID, 9, "cds: add 3 cluster(s)", nil), "other.log")), Want: []checkstest.Want{{Key: "files/proxy.log"}}},

		{Name: "the full scope", Request: vm, Put: vms(webVM(full))},
		{Name: "the full scope among many", Request: vm, Put: vms(webVM(scopePrefix+"compute", full, scopePrefix+"logging.write"))},
		{Name: "another VM than the target's", Request: vm, Put: vms(webVM(full), called(webVM(), "db-1"))},
		{Name: "no service account is another check's", Request: vm, Put: vms(evidence.Instance{Name: "web-1", Zone: "europe-west1-b"})},
		{Name: "a GKE node", Request: vm, Put: vms(gke), Outcome: diagnose.OutcomeSkipped, Reason: "GKE"},
		{Name: "VMs that run no proxy", Request: files, Put: pastedVMs(fromFile(webVM(scopePrefix + "compute"))), Outcome: diagnose.OutcomeSkipped},
		{Name: "a file that leaves scopes out", Request: files, Put: pastedVMs(fromFile(proxy(webVM())))},
		{Name: "the control plane answered later", Request: files, Put: logs(said, msg(messages.StreamWorked.ID, 20, "cds: add 3 cluster(s)", nil))},
		{Name: "another client's refusal", Request: files, Put: logs(by("client", "googleapi: "))},
		{Name: "another API's refusal", Request: files, Put: logs(by("service", "storage"))},
		{Name: "the VM is not in the answer", Request: vm, Put: vms(), Outcome: diagnose.OutcomeInconclusive},
		{Name: "denied", Request: vm, Put: deny(evidence.Instances.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "denied, a clean log", Request: vm, Put: all(deny(evidence.Instances.Name()), logs()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Request: vm, Put: late(evidence.Instances.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Request: network, Outcome: diagnose.OutcomeSkipped},
	})
}
