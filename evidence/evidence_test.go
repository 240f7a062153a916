package evidence

import (
	"errors"
	"slices"
	"testing"
)

var (
	number = NewKey[int]("number")
	list   = NewListKey[string]("list")
)

func TestGet(t *testing.T) {
	live, file := Source{Collector: "z-live"}, Source{Collector: "a-file", Pasted: true}
	for _, tc := range []struct {
		name  string
		put   func(*Set)
		want  int
		why   Why
		known bool
		whole bool
	}{
		{"nobody asked", func(*Set) {}, 0, NotAsked, false, false},
		{"zero is known", func(s *Set) { Put(s, number, 0, live) }, 0, 0, true, true},
		{"failed", func(s *Set) { s.Fail("number", live, errors.New("403")) }, 0, Failed, false, false},
		{"failed without a reason", func(s *Set) { s.Fail("number", live, nil) }, 0, Failed, false, false},
		{"late", func(s *Set) { s.FailLate("number", live, nil) }, 0, Late, false, false},
		{"live before pasted", func(s *Set) { Put(s, number, 1, file); Put(s, number, 2, live) }, 2, 0, true, true},
		{"pasted beside a live failure", func(s *Set) { Put(s, number, 1, file); s.Fail("number", live, errors.New("403")) }, 1, 0, true, false},
		{"a file beside a broken file", func(s *Set) { Put(s, number, 1, file); s.Fail("number", file, errors.New("one page of several")) }, 1, 0, true, false},
		{"live beside a broken file", func(s *Set) { Put(s, number, 2, live); s.Fail("number", file, errors.New("cut")) }, 2, 0, true, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := NewSet()
			tc.put(s)
			v := NewView(s)
			got, err := Get(v, number)
			var m *Missing
			switch {
			case tc.known && (err != nil || got != tc.want):
				t.Errorf("got %d, %v; want %d", got, err, tc.want)
			case !tc.known && (!errors.As(err, &m) || m.Why != tc.why):
				t.Errorf("got %d, %v; want it missing as %d", got, err, tc.why)
			}
			if _, err := Whole(v, number); (err == nil) != tc.whole {
				t.Errorf("Whole gives %v", err)
			}
			if !slices.Equal(v.Reads(), []Name{"number"}) {
				t.Errorf("reads %v", v.Reads())
			}
		})
	}
}

func TestListsAddUpInOrder(t *testing.T) {
	s := NewSet()
	Put(s, list, []string{"file"}, Source{Collector: "a", Pasted: true})
	Put(s, list, []string{"second"}, Source{Collector: "live", Detail: "2"})
	Put(s, list, []string{"first"}, Source{Collector: "live", Detail: "1"})
	for range 10 {
		got, err := Get(NewView(s), list)
		if want := []string{"first", "second", "file"}; err != nil || !slices.Equal(got, want) {
			t.Fatalf("got %v, %v; want %v", got, err, want)
		}
	}
}

func TestWrongTypeIsMissing(t *testing.T) {
	s := NewSet()
	Put(s, NewKey[string]("number"), "x", Source{})
	if _, err := Get(NewView(s), number); err == nil {
		t.Error("a fact of another type was taken")
	}
}

func TestTally(t *testing.T) {
	s := NewSet()
	s.Fail("denied", Source{}, errors.New("403"))
	Put(s, number, 1, Source{})
	v := NewView(s)
	denied, absent := NewKey[int]("denied"), NewKey[int]("absent")
	for _, tc := range []struct {
		name  string
		keys  []Key[int]
		why   Why
		clean bool
	}{
		{"one known, one not asked", []Key[int]{absent, number}, 0, true},
		{"one known, one denied", []Key[int]{number, denied}, Failed, false},
		{"nothing asked", []Key[int]{absent}, NotAsked, false},
		{"not asked and denied", []Key[int]{absent, denied}, Failed, false},
	} {
		var tally Tally
		for _, k := range tc.keys {
			Read(&tally, v, k)
		}
		err := tally.Err()
		var m *Missing
		if tc.clean != (err == nil) || (!tc.clean && (!errors.As(err, &m) || m.Why != tc.why)) {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
}

func TestParseNodeID(t *testing.T) {
	for _, tc := range []struct{ in, vpc, mesh, scope string }{
		{"projects/1/networks/default/nodes/a", "default", "", ""},
		{"projects/1/networks/mesh:m/nodes/sidecar~10.0.0.1~p.ns~ns.svc.cluster.local", "", "m", ""},
		{"projects/1/networks/scope:s/nodes/a/b", "", "", "s"},
	} {
		n, err := ParseNodeID(tc.in)
		if err != nil || n.VPC() != tc.vpc || n.Mesh() != tc.mesh || n.Scope() != tc.scope || n.String() != tc.in {
			t.Errorf("%s gives %+v, %v", tc.in, n, err)
		}
	}
	for _, bad := range []string{"", "x", "projects/1/networks/n", "projects//networks/n/nodes/a", "projects/1/networks/n/nodes/", "sidecar~10.0.0.1~p.ns~ns.svc.cluster.local"} {
		if _, err := ParseNodeID(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
