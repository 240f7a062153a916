package xds

import (
	"slices"
	"testing"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// The special case takes the general one of the same client, type and reason under it, and no other.
func TestSpecialFoldsGeneral(t *testing.T) {
	listenerA := because(server(ldsURL, interception, evidence.Error), "Error adding/updating listener(s) "+interception+": "+denied+"\nweb: bad filter")
	for _, tc := range []struct {
		name string
		req  diagnose.Request
		put  func(*evidence.Set)
		want []diagnose.CheckID // roots, in order
	}{
		{"one client, and another reason of the same response", target, seenStatus(status(nodeA, listenerA)),
			[]diagnose.CheckID{AccessLogUnwritable.ID, ConfigRejected.ID}},
		{"another client's rejection stays", target, seenStatus(
			status(nodeA, because(client(ldsURL, interception, evidence.Nacked), denied)),
			status(nodeB, because(client(cdsURL, "shop", evidence.Nacked), "bad"))),
			[]diagnose.CheckID{AccessLogUnwritable.ID, ConfigRejected.ID}},
		{"many clients", target, seenStatus(
			status(nodeA, because(client(ldsURL, interception, evidence.Nacked), denied)),
			status(nodeB, because(client(ldsURL, interception, evidence.Nacked), denied))),
			[]diagnose.CheckID{AccessLogUnwritable.ID}},
		{"a log", files, logged(oneLiner + "\n" + lds80), []diagnose.CheckID{AccessLogUnwritable.ID, PrivilegedPort.ID}},
		{"a log with an address in use", files, logged(prefix + "gRPC config for " + ldsURL + " rejected: Error adding/updating listener(s) a: cannot bind '0.0.0.0:8080': Address already in use"),
			[]diagnose.CheckID{AddressInUse.ID}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e, err := diagnose.New(diagnose.Config{
				Checks:     []diagnose.Check{ConfigRejected, AccessLogUnwritable, PrivilegedPort, AddressInUse},
				Collectors: []diagnose.Collector{{Name: "test", Provides: rejectionNeeds, Collect: collect(tc.put)}},
			})
			if err != nil {
				t.Fatal(err)
			}
			rep, err := e.Diagnose(t.Context(), tc.req, nil)
			if err != nil {
				t.Fatal(err)
			}
			var got []diagnose.CheckID
			for _, c := range rep.Causes {
				got = append(got, c.Check)
				if c.Check != ConfigRejected.ID && !slices.Contains(c.Symptoms, ConfigRejected.ID) {
					t.Errorf("%s does not list the rejection as its symptom", c.Check)
				}
			}
			slices.Sort(got)
			if !slices.Equal(got, tc.want) {
				t.Errorf("causes %v, want %v", got, tc.want)
			}
		})
	}
}
