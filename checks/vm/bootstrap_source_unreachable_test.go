package vm

import (
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestBootstrapSourceUnreachable(t *testing.T) {
	const (
		boot     = "[    0.000000] Linux version 5.10.0-28-cloud-amd64"
		gsutil   = "ERROR: Unable to find the server at storage.googleapis.com"
		zonal    = "AccessDeniedException: 403 482915067713-compute@developer.gserviceaccount.com does not have storage.objects.list access to the Google Cloud Storage bucket."
		copying  = "Copying gs://gce-service-proxy/service-proxy-agent/releases/service-proxy-agent-0.2.tgz..."
		complete = "Operation completed over 1 objects/11.2 MiB."
		apt      = "E: Failed to fetch http://deb.debian.org/debian/pool/main/i/iptables/iptables_1.8.7-1_amd64.deb  Could not connect to deb.debian.org:80 (151.101.194.132), connection timed out"
		osconfig = `OSConfigAgent[412]: 2026-03-02T11:58:31.1021Z OSConfigAgent Error main.go:88: rpc error: code = Unavailable desc = connection error: desc = "transport: Error while dialing: dial tcp 142.250.1.95:443: i/o timeout"`
		recipe   = "OSConfigAgent Info: Installing recipe: install-gce-service-proxy-agent"
	)
	checkstest.Run(t, BootstrapSourceUnreachable, []checkstest.Case{
		{Name: "Cloud Storage", Request: target, Put: all(serial(boot, gsutil), vms(web())),
			Want: []checkstest.Want{{Subject: "VM europe-west1-b/web-1", Summary: "from storage.googleapis.com", Confidence: diagnose.Likely, Excerpt: "serial port 1: ERROR: Unable"}}},
		{Name: "the bucket refuses, twice", Request: target, Put: all(serial(zonal, zonal), vms(web())), Want: []checkstest.Want{{Summary: "does not have storage.objects.list"}}},
		{Name: "packages", Request: target, Put: all(serial(copying, complete, apt), vms(web())), Want: []checkstest.Want{{Summary: "from deb.debian.org"}}},
		{Name: "OS Config", Request: target, Put: all(serial(boot, osconfig), vms(web())), Want: []checkstest.Want{{Summary: "could not fetch"}}},
		{Name: "the VM isn't known, its log names the set-up", Request: files, Put: serial(copying, apt), Want: []checkstest.Want{{Subject: "VM web-1"}}, Unfilled: open},
		{Name: "a pasted line", Request: files, Put: logs(message(messages.FetchFailed.ID, "CommandException: gs://gce-service-proxy-europe-west1-b/x: ServiceException: 401 Anonymous caller")), Want: []checkstest.Want{{}}, Unfilled: open},

		{Name: "the second bucket had it", Request: target, Put: all(serial(zonal, copying, complete), vms(web()))},
		{Name: "packages came on the second try", Request: target, Put: all(serial(apt, "Fetched 1,234 kB in 2s (617 kB/s)"), vms(web()))},
		{Name: "OS Config came back", Request: target, Put: all(serial(osconfig, recipe), vms(web()))},
		{Name: "the agent started after all", Request: target, Put: all(serial(gsutil, "systemd[1]: Started Service Proxy Agent."), vms(web()))},
		{Name: "a VM's own start-up script", Request: target, Put: all(serial(boot, apt), vms(web(plain)))},
		{Name: "an application's log", Request: files, Put: logs(message(messages.FetchFailed.ID, "curl: (6) Could not resolve host: storage.googleapis.com"))},
		{Name: "done", Request: target, Put: all(serial(apt), vms(web()), attrs("bootstrap-status", "FINISHED")), Outcome: diagnose.OutcomeSkipped},
		{Name: "denied", Request: target, Put: deny(evidence.SerialPorts.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Request: target, Put: late(evidence.SerialPorts.Name()), Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Request: network, Outcome: diagnose.OutcomeSkipped},
	})
}
