package diagnose

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/meshdiag/meshdiag/evidence"
)

// Sources as they come: an API's, a proxy's log, its dump.
func fromAPI(detail string) evidence.Source {
	return evidence.Source{Collector: "gcp", Detail: detail, Vantage: evidence.FromAPI}
}

func fromFile(name string) evidence.Source {
	return evidence.Source{Collector: "file", Detail: name, Vantage: evidence.FromWorkload, Pasted: true}
}

func cause(subject string, c Confidence, about About, fact evidence.Name, src evidence.Source) Cause {
	key := ""
	if src.Pasted {
		key = "files/" + src.Detail
	}
	return Cause{Subject: subject, Key: key, Summary: subject + ".", Confidence: c, About: about,
		Evidence: []Exhibit{{Fact: fact, Excerpt: fmt.Sprint(subject, src.Detail), Source: src}}}
}

// The proxies of these tests: vm-a with an address that node A names, vm-b, and a node B that says nothing of where it runs.
const (
	nodeA = "projects/482915067713/networks/mesh-vpc/nodes/5f0c1a5e~10.128.0.7"
	nodeB = "projects/482915067713/networks/mesh-vpc/nodes/99e2d1aa"
	vmA   = "us-central1-a/vm-a"
	vmB   = "us-central1-a/vm-b"
)

func knowsVMs() Collector {
	return Collector{Name: "vms", Provides: []evidence.Name{evidence.Instances.Name(), evidence.ProjectFact.Name(), evidence.Recordings.Name(), one.Name()},
		Collect: func(_ context.Context, _ Request, _ *evidence.View, s *evidence.Set) error {
			evidence.Put(s, one, 1, fromAPI("one"))
			evidence.Put(s, evidence.Recordings, []evidence.Recording{
				{File: "a.tar.gz", NodeIDs: []string{nodeA}}, {File: "b.tar.gz", Identity: evidence.WorkloadIdentity{Zone: "us-central1-a", Instance: "vm-b"}},
			}, fromFile("bundles"))
			evidence.Put(s, evidence.ProjectFact, evidence.Project{ID: "mesh-prod-4f2a", Number: "482915067713"}, fromAPI("projects.get"))
			evidence.Put(s, evidence.Instances, []evidence.Instance{
				{Name: "vm-a", Zone: "us-central1-a", Addresses: []string{"10.128.0.7"}, ServiceAccounts: []evidence.ServiceAccount{{Email: "a@x"}}},
				{Name: "vm-b", Zone: "us-central1-a", Addresses: []string{"10.128.0.8"}, ServiceAccounts: []evidence.ServiceAccount{{Email: "b@x"}}},
			}, fromAPI("instances"))
			return nil
		}}
}

// TestJoining holds what one check's causes become.
func TestJoining(t *testing.T) {
	logs, dumps := evidence.LogMessages.Name(), evidence.EnvoyDumps.Name()
	vms, permissions := evidence.Instances.Name(), evidence.ProxyPermissions.Name()
	log := func(file string, about About) Cause { return cause("log "+file, Likely, about, logs, fromFile(file)) }
	dump := func(file, node string) Cause {
		return cause("dump "+file, Likely, About{AboutNode: {node}}, dumps, fromFile(file))
	}
	api := func(name string) Cause {
		return cause("vm "+name, Likely, About{AboutVM: {name}}, vms, fromAPI("instances"))
	}
	account := func(email string) Cause {
		return cause("account "+email, Likely, About{AboutAccount: {email}}, permissions, fromAPI("troubleshoot"))
	}
	recorded := func(file, bundle string) Cause {
		c := log(file, About{})
		c.Evidence[0].Source.Recording = bundle
		return c
	}
	oneProxy := Request{Target: Target{Project: "mesh-prod-4f2a", Network: "mesh-vpc", Zone: "us-central1-a", Instance: "vm-a"}}
	for _, tc := range []struct {
		name string
		req  Request
		in   []Cause
		want []string // subject, confidence and number of exhibits
	}{
		{"one alone", Request{}, []Cause{log("a.log", About{})}, []string{"log a.log: likely, 1"}},
		{"a nameless log and the only VM", Request{}, []Cause{api(vmB), log("a.log", About{})}, []string{"vm " + vmB + ": confirmed, 2"}},
		{"log, API and dump", Request{}, []Cause{log("a.log", About{}), api(vmA), dump("dump.json", nodeA)}, []string{"vm " + vmA + ": confirmed, 3"}},
		{"a log that names the VM's node", Request{}, []Cause{log("a.log", About{AboutNode: {nodeA}}), api(vmA)}, []string{"log a.log: confirmed, 2"}},
		{"a log that names another VM's node", Request{}, []Cause{log("a.log", About{AboutNode: {nodeA}}), api(vmB)}, []string{"log a.log: likely, 1", "vm " + vmB + ": likely, 1"}},
		{"a log that names a node of nobody knows where", Request{}, []Cause{log("a.log", About{AboutNode: {nodeB}}), api(vmB)}, []string{"log a.log: likely, 1", "vm " + vmB + ": likely, 1"}},
		{"two VMs", Request{}, []Cause{api(vmA), api(vmB)}, []string{"vm " + vmA + ": likely, 1", "vm " + vmB + ": likely, 1"}},
		{"two VMs, and a log of one of them", Request{}, []Cause{api(vmA), api(vmB), log("a.log", About{})}, []string{"log a.log: likely, 1", "vm " + vmA + ": likely, 1", "vm " + vmB + ": likely, 1"}},
		{"two accounts", Request{}, []Cause{account("a@x"), account("b@x")}, []string{"account a@x: likely, 1", "account b@x: likely, 1"}},
		{"an account and two proxies' logs", Request{}, []Cause{account("c@x"), log("a.log", About{}), log("b.log", About{})}, []string{"account c@x: confirmed, 3"}},
		{"an account, and a log of a proxy with another", Request{}, []Cause{account("b@x"), log("a.log", About{AboutNode: {nodeA}})}, []string{"account b@x: likely, 1", "log a.log: likely, 1"}},
		{"two accounts, and a log of a proxy with the first", Request{}, []Cause{account("a@x"), account("b@x"), log("a.log", About{AboutNode: {nodeA}})},
			[]string{"account a@x: confirmed, 2", "account b@x: likely, 1"}},
		{"two logs", Request{}, []Cause{log("a.log", About{}), log("b.log", About{})}, []string{"log a.log: likely, 1", "log b.log: likely, 1"}},
		{"two logs, and one proxy asked for", oneProxy, []Cause{log("a.log", About{}), log("b.log", About{})}, []string{"log a.log: likely, 2"}},
		{"one proxy asked for, and a nameless log", oneProxy, []Cause{account("a@x"), log("a.log", About{})}, []string{"account a@x: confirmed, 2"}},
		{"one proxy asked for, and another's log", oneProxy, []Cause{account("a@x"), log("a.log", About{AboutNode: {nodeB}})}, []string{"account a@x: likely, 1", "log a.log: likely, 1"}},
		{"one log told twice", Request{}, []Cause{log("a.log", About{}), log("a.log", About{})}, []string{"log a.log: likely, 1"}},
		{"logs of two nodes", Request{}, []Cause{log("a.log", About{AboutNode: {nodeA}}), log("b.log", About{AboutNode: {nodeB}})}, []string{"log a.log: likely, 1", "log b.log: likely, 1"}},
		{"two dumps of one node", Request{}, []Cause{dump("a.json", nodeB), dump("b.json", nodeB)}, []string{"dump a.json: likely, 2"}},
		{"a dump and a nameless log", Request{}, []Cause{dump("a.json", nodeB), log("a.log", About{})}, []string{"dump a.json: confirmed, 2"}},
		{"two dumps and a nameless log", Request{}, []Cause{dump("a.json", nodeA), dump("b.json", nodeB), log("a.log", About{})}, []string{"dump a.json: likely, 1", "dump b.json: likely, 1", "log a.log: likely, 1"}},
		{"logs of one recording", Request{}, []Cause{recorded("a.log", "a.tar.gz"), recorded("b.log", "a.tar.gz")}, []string{"log a.log: likely, 2"}},
		{"logs of two recordings", Request{}, []Cause{recorded("a.log", "a.tar.gz"), recorded("b.log", "b.tar.gz")}, []string{"log a.log: likely, 1", "log b.log: likely, 1"}},
		{"a recording's log and its VM", Request{}, []Cause{recorded("a.log", "a.tar.gz"), api(vmA), api(vmB)}, []string{"vm " + vmA + ": confirmed, 2", "vm " + vmB + ": likely, 1"}},
		{"two networks", Request{}, []Cause{log("a.log", About{AboutNetwork: {"mesh-vpc"}}), cause("rules", Likely, About{AboutNetwork: {"other"}}, vms, fromAPI("rules"))},
			[]string{"log a.log: likely, 1", "rules: likely, 1"}},
		{"a project by id and by number", Request{}, []Cause{log("a.log", About{AboutProject: {"482915067713"}}), cause("rules", Likely, About{AboutProject: {"mesh-prod-4f2a"}}, vms, fromAPI("rules"))},
			[]string{"rules: confirmed, 2"}},
		{"a project by id and another's number", Request{}, []Cause{log("a.log", About{AboutProject: {"777"}}), cause("rules", Likely, About{AboutProject: {"mesh-prod-4f2a"}}, vms, fromAPI("rules"))},
			[]string{"log a.log: likely, 1", "rules: likely, 1"}},
		{"two that may be", Request{}, []Cause{cause("guess", Possible, About{}, vms, fromAPI("instances")), cause("log", Possible, About{}, logs, fromFile("a.log"))}, []string{"guess: likely, 2"}},
		{"one that may be doesn't confirm", Request{}, []Cause{cause("guess", Possible, About{}, vms, fromAPI("instances")), log("a.log", About{})}, []string{"log a.log: likely, 2"}},
		{"without names nothing joins", Request{}, []Cause{log("a.log", nil), api(vmA)}, []string{"log a.log: likely, 1", "vm " + vmA + ": likely, 1"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for range 2 { // whatever the order they are told in
				c := positive("a/joined", one)
				c.Evaluate = func(_ Request, v *evidence.View) ([]Cause, error) {
					_, err := evidence.Get(v, one)
					return tc.in, err
				}
				// The engine runs collectors that a check needs.
				c.Needs = append(c.Needs, evidence.Instances.Name())
				r, err := engine(t, Config{Collectors: []Collector{knowsVMs()}, Checks: []Check{c}}).Diagnose(t.Context(), tc.req, nil)
				if err != nil {
					t.Fatal(err)
				}
				var got []string
				for _, f := range r.Causes {
					got = append(got, fmt.Sprintf("%s: %s, %d", f.Subject, f.Confidence, len(f.Evidence)))
				}
				slices.Sort(got)
				want := slices.Sorted(slices.Values(tc.want))
				if len(got) != len(want) || !slices.Equal(got, want) && !sameButSpeaker(got, want) {
					t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
				}
				slices.Reverse(tc.in)
			}
		})
	}
}

// sameButSpeaker says whether two lists differ only in which of several that name the same number of things speaks for all.
func sameButSpeaker(a, b []string) bool {
	tail := func(s string) string { _, t, _ := strings.Cut(s, ": "); return t }
	for i := range a {
		if tail(a[i]) != tail(b[i]) {
			return false
		}
	}
	return true
}

// A cause doesn't explain what names something else, and does what names the same, wherever it was told.
func TestFoldingHeedsNames(t *testing.T) {
	rules := evidence.ForwardingRules.Name()
	root := func(key string, about About) Cause {
		c := cause("root", Likely, about, rules, fromAPI("rules"))
		c.Key = key
		return c
	}
	leaf := func(file string, about About) Cause {
		return cause("leaf", Likely, about, evidence.LogMessages.Name(), fromFile(file))
	}
	oneProxy := Request{Target: Target{Project: "p", Network: "n", NodeID: nodeA}}
	for _, tc := range []struct {
		name       string
		req        Request
		root, leaf Cause
		folded     bool
		confidence Confidence // of the root
	}{
		{"a nameless log", Request{}, root("", About{AboutNetwork: {"n"}}), leaf("a.log", About{}), true, Likely},
		{"the same network", Request{}, root("", About{AboutNetwork: {"n"}}), leaf("a.log", About{AboutNetwork: {"n"}}), true, Confirmed},
		{"another network", Request{}, root("", About{AboutNetwork: {"n"}}), leaf("a.log", About{AboutNetwork: {"m"}}), false, Likely},
		{"one of several files, and the same network", Request{}, root("files/b.json", About{AboutNetwork: {"n"}}), leaf("a.log", About{AboutNetwork: {"n"}}), true, Confirmed},
		{"one of several files, and a nameless log", Request{}, root("files/b.json", About{AboutNetwork: {"n"}}), leaf("a.log", About{}), false, Likely},
		{"one proxy asked for, and a nameless log", oneProxy, root("", About{AboutNode: {nodeA}}), leaf("a.log", About{}), true, Likely},
		{"another proxy", oneProxy, root("", About{AboutNode: {nodeA}}), leaf("a.log", About{AboutNode: {nodeB}}), false, Likely},
		{"a node's own cause, and its log by file", Request{}, root("nodes/"+nodeA, About{AboutNode: {nodeA}}), leaf("a.log", About{AboutNode: {nodeA}}), true, Confirmed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			says := func(id CheckID, c Cause, explains ...CheckID) Check {
				out := positive(id, one, explains...)
				out.Evaluate = func(_ Request, v *evidence.View) ([]Cause, error) {
					_, err := evidence.Get(v, one)
					return []Cause{c}, err
				}
				return out
			}
			r, err := engine(t, Config{Collectors: []Collector{gives("one", one, 1)}, Checks: []Check{says("a/root", tc.root, "a/leaf"), says("a/leaf", tc.leaf)}}).
				Diagnose(t.Context(), tc.req, nil)
			if err != nil {
				t.Fatal(err)
			}
			i := slices.IndexFunc(r.Causes, func(f Finding) bool { return f.Check == "a/root" })
			if folded := len(r.Causes) == 1; i < 0 || folded != tc.folded || r.Causes[i].Confidence != tc.confidence {
				t.Fatalf("folded %v, causes %+v", folded, r.Causes)
			}
			if n := len(r.Causes[i].Evidence); tc.folded && n != 2 {
				t.Errorf("%d exhibits: the symptom's is not shown", n)
			}
		})
	}
}
