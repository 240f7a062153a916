package xds

import (
	"testing"

	"github.com/meshdiag/meshdiag/checks/checkstest"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

func TestAccessLogUnwritable(t *testing.T) {
	rejected := func(reason string) evidence.ClientStatus {
		return status(nodeA, because(server(ldsURL, interception, evidence.Error), reason))
	}
	path := map[string]string{"path": "/var/log/envoy.log"}
	checkstest.Run(t, AccessLogUnwritable, []checkstest.Case{
		{Name: "the client's word through CSDS", Request: target, Put: seenStatus(rejected("Error adding/updating listener(s) " + interception + ": " + denied)),
			Want: []checkstest.Want{{Subject: nodeA, Confidence: diagnose.Confirmed, Params: path, Severity: diagnose.Blocking,
				Summary: "The client could not open /var/log/envoy.log for listener " + interception + ": permission denied"}}},
		{Name: "the log, as the guide prints it", Request: files, Put: logged(guideLog),
			Want: []checkstest.Want{{Subject: "envoy.log", Confidence: diagnose.Likely, Params: path, Excerpt: denied}}},
		{Name: "the log, on one line", Request: target, Put: logged(oneLiner),
			Want: []checkstest.Want{{Params: path}}},
		{Name: "the reason alone, pasted", Request: files, Put: logged(denied), Want: []checkstest.Want{{Params: path}}},
		{Name: "a path with a space is quoted", Request: files, Put: logged("unable to open file '/var/log/my mesh/a.log': Permission denied"),
			Want: []checkstest.Want{{Params: map[string]string{"path": "/var/log/my mesh/a.log"}}}},
		{Name: "several listeners, one cause", Request: target, Put: seenStatus(rejected("Error adding/updating listener(s) a: " + denied + "\nb: " + denied)),
			Want: []checkstest.Want{{Summary: "listener a and b"}}},
		{Name: "an earlier version still works", Request: oneNode, Put: seenStatus(status(nodeA, because(version(client(ldsURL, "a", evidence.Nacked), "7"), denied))),
			Want: []checkstest.Want{{Severity: diagnose.Degrading}}},

		{Name: "near-miss: no such file", Request: target, Put: seenStatus(rejected("unable to open file '/var/log/envoy/a.log': No such file or directory"))},
		{Name: "near-miss: read-only file system", Request: files, Put: logged(prefix + "gRPC config for " + ldsURL + " rejected: Error adding/updating listener(s) a: unable to open file '/a.log': Read-only file system")},
		{Name: "near-miss: another file is denied", Request: target, Put: seenStatus(rejected("Failed to load certificate chain from /etc/ssl/tls.crt: Permission denied"))},
		{Name: "near-miss: a port is denied", Request: files, Put: logged(lds80)},
		{Name: "near-miss: accepted since", Request: files, Put: logged(oneLiner + "\n" + added + interception + "'")},
		{Name: "near-miss: no reason is told", Request: target, Put: seenStatus(rejected(""))},
		{Name: "denied", Request: target, Put: refuse, Outcome: diagnose.OutcomeInconclusive},
		{Name: "late", Request: target, Put: late, Outcome: diagnose.OutcomeInconclusive},
		{Name: "not asked", Request: target, Outcome: diagnose.OutcomeSkipped},
	})
}
