package diagnose

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meshdiag/meshdiag/evidence"
)

// TestRecordings holds when the packet rules of a bundle count as seen on the VM asked about.
func TestRecordings(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	const node = "projects/482915067713/networks/mesh-vpc/nodes/9f1c~10.128.0.5"
	vm := Target{Project: "mesh-prod", Network: "mesh-vpc", Zone: "us-central1-b", Instance: "frontend-vm"}
	self := evidence.WorkloadIdentity{Project: "mesh-prod", Number: "482915067713", Zone: "us-central1-b", Instance: "frontend-vm", InstanceID: "77"}
	identity := func(change func(*evidence.WorkloadIdentity)) evidence.WorkloadIdentity {
		out := self
		change(&out)
		return out
	}
	target := func(change func(*Target)) Target {
		out := vm
		change(&out)
		return out
	}
	recorded := func(ago time.Duration, id evidence.WorkloadIdentity, nodes ...string) evidence.Recording {
		return evidence.Recording{File: "bundle.tar.gz", Identity: id, NodeIDs: nodes, Taken: now.Add(-ago)}
	}
	clock := func(r evidence.Recording, ahead time.Duration) evidence.Recording {
		r.Ahead, r.ClockKnown = ahead, true
		return r
	}
	for _, tc := range []struct {
		name      string
		target    Target
		recording evidence.Recording
		failed    string // why the rules couldn't be read
		why       string // it doesn't count; "" where it does
	}{
		{name: "the VM, just now", target: vm, recording: recorded(time.Minute, self)},
		{name: "by the project's number and the VM's", target: target(func(t *Target) { t.Project, t.Instance = "482915067713", "77" }), recording: recorded(time.Minute, self)},
		{name: "a zone as a URL", target: target(func(t *Target) { t.Zone = "projects/mesh-prod/zones/us-central1-b" }), recording: recorded(time.Minute, self)},
		{name: "at the edge", target: vm, recording: recorded(15*time.Minute, self)},
		{name: "a clock a little ahead", target: vm, recording: recorded(-time.Minute, self)},
		{name: "a clock that is an hour ahead, as was measured", target: vm, recording: clock(recorded(-time.Hour, self), time.Hour)},
		{name: "the metadata server didn't answer, and the bootstrap has the node asked about", target: target(func(t *Target) { t.NodeID = node }), recording: recorded(time.Minute, evidence.WorkloadIdentity{}, node)},

		{name: "old", target: vm, recording: recorded(3*time.Hour+time.Minute, self), why: "bundle.tar.gz was recorded 3 h ago, and a recording counts for 15 min"},
		{name: "just too old", target: vm, recording: recorded(15*time.Minute+time.Second, self), why: "was recorded 15 min ago"},
		{name: "days old", target: vm, recording: recorded(80*time.Hour, self), why: "was recorded 3 days ago"},
		{name: "from the future", target: vm, recording: recorded(-time.Hour, self), why: "was recorded 1 h in the future, by the clock here"},
		{name: "fresh by a clock that is an hour ahead", target: vm, recording: clock(recorded(time.Minute, self), time.Hour), why: "was recorded 1 h ago"},
		{name: "no time", target: vm, recording: evidence.Recording{File: "bundle.tar.gz", Identity: self}, why: "doesn't tell when it was recorded"},
		{name: "another VM", target: vm, recording: recorded(time.Minute, identity(func(i *evidence.WorkloadIdentity) { i.Instance, i.InstanceID = "frontend-vm-2", "78" })), why: "was recorded on VM us-central1-b/frontend-vm-2 of project mesh-prod"},
		{name: "of the same name in another zone", target: vm, recording: recorded(time.Minute, identity(func(i *evidence.WorkloadIdentity) { i.Zone = "us-central1-c" })), why: "VM us-central1-c/frontend-vm"},
		{name: "of the same name in another project", target: vm, recording: recorded(time.Minute, identity(func(i *evidence.WorkloadIdentity) { i.Project, i.Number = "mesh-test", "1" })), why: "of project mesh-test"},
		{name: "an earlier VM of that name", target: vm, recording: recorded(time.Minute, identity(func(i *evidence.WorkloadIdentity) { i.InstanceID = "76" })), why: "was recorded on an earlier VM of that name (its number was 76, and is 77 now)"},
		{name: "no identity", target: vm, recording: recorded(time.Minute, evidence.WorkloadIdentity{}, node), why: "doesn't tell on which VM it was recorded"},
		{name: "no identity, another node", target: target(func(t *Target) { t.NodeID = node + "6" }), recording: recorded(time.Minute, evidence.WorkloadIdentity{}, node), why: "doesn't tell on which VM it was recorded"},
		{name: "no zone", target: vm, recording: recorded(time.Minute, identity(func(i *evidence.WorkloadIdentity) { i.Zone = "" })), why: "doesn't tell on which VM it was recorded"},
		{name: "not root", target: vm, recording: recorded(time.Minute, self), failed: "iptables-save: needs root", why: "iptables-save: needs root"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			src := evidence.Source{Collector: "file", Detail: "bundle.tar.gz/manifest.json", Vantage: evidence.FromWorkload, Time: tc.recording.Taken, Pasted: true, Recording: tc.recording.File}
			tc.recording.Source = src
			req := Request{Target: tc.target}
			api := evidence.Source{Collector: "gcp", Vantage: evidence.FromAPI}
			collectors := append(seen(req, evidence.PacketRules.Name(), evidence.Instances.Name()), Collector{
				Name: "other", Provides: []evidence.Name{evidence.PacketRules.Name(), evidence.Instances.Name()},
				Collect: func(_ context.Context, _ Request, _ *evidence.View, s *evidence.Set) error {
					evidence.Put(s, evidence.Instances, []evidence.Instance{{Name: "frontend-vm", Zone: "us-central1-b", ID: "77", Source: api}}, api)
					evidence.Put(s, evidence.Recordings, []evidence.Recording{tc.recording}, src)
					if tc.failed != "" {
						s.Fail(evidence.PacketRules.Name(), src, errors.New(tc.failed))
						return nil
					}
					evidence.Put(s, evidence.PacketRules, []evidence.HostRules{{Source: src}}, src)
					return nil
				}})
			rep, err := engine(t, Config{Collectors: collectors, Now: func() time.Time { return now }}).Diagnose(t.Context(), req, nil)
			if err != nil {
				t.Fatal(err)
			}
			want := Inconclusive
			if tc.why == "" {
				want = Healthy
			}
			i := slices.IndexFunc(rep.Unseen, func(u Unseen) bool { return u.Fact == evidence.PacketRules.Name() && u.Mandatory })
			if rep.Verdict != want || (i < 0) != (want == Healthy) || i >= 0 && !strings.Contains(rep.Unseen[i].Reason, tc.why) {
				t.Errorf("%s: %+v", rep.Verdict, rep.Unseen)
			}
			if len(rep.Notes) != 1 || !strings.Contains(rep.Notes[0], "bundle.tar.gz") || tc.failed == "" && !strings.Contains(rep.Notes[0], tc.why) {
				t.Errorf("notes %q", rep.Notes)
			}
		})
	}
}

// TestRecordingsOfProxies holds which bundles are of a proxy that is asked about without its VM, and that nothing depends on
// any where a whole network is asked about.
func TestRecordingsOfProxies(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	e := engine(t, Config{Now: func() time.Time { return now }})
	for _, tc := range []struct {
		target Target
		nodes  []string
		want   string
	}{
		{Target{Project: "p", Network: "n", NodeID: "a"}, []string{"b", "a"}, "b.tgz was recorded on the machine of node a 5 s ago, and counts as seen there"},
		{Target{Project: "p", Network: "n", NodeID: "a"}, []string{"b"}, "b.tgz is of other proxies (b): it doesn't count as seen on the machine of node a"},
		{Target{Project: "p", Network: "n", NodeID: "a"}, nil, "b.tgz names no node id: it doesn't count as seen on the machine of node a"},
		{Target{Project: "p", Network: "n"}, []string{"a"}, ""},
		{Target{}, []string{"a"}, ""},
	} {
		set := evidence.NewSet()
		evidence.Put(set, evidence.Recordings, []evidence.Recording{{File: "b.tgz", NodeIDs: tc.nodes, Taken: now.Add(-5 * time.Second)}}, evidence.Source{Pasted: true})
		_, notes, _ := e.recordings(Request{Target: tc.target}, set)
		if got := strings.Join(notes, "\n"); got != tc.want {
			t.Errorf("%+v: %q, want %q", tc.target, got, tc.want)
		}
	}
	// Two bundles of one name can't be told apart.
	set := evidence.NewSet()
	for _, ago := range []time.Duration{time.Minute, 3 * time.Hour} {
		src := evidence.Source{Pasted: true, Time: now.Add(-ago)}
		evidence.Put(set, evidence.Recordings, []evidence.Recording{{File: "b.tgz", NodeIDs: []string{"a"}, Taken: src.Time, Source: src}}, src)
	}
	if counted, _, _ := e.recordings(Request{Target: Target{Project: "p", Network: "n", NodeID: "a"}}, set); counted["b.tgz"] {
		t.Error("an old bundle counts for one of its name")
	}
}
