// Package evidence holds what was learnt about a mesh: typed facts, each known or unknown for a stated reason, with where
// and when it was seen.
//
// Collectors write facts into a [Set]; checks read them through a [View], which remembers what was read. "Unknown" is a
// type of its own here, [Missing]: an API that answered 403 can't be mistaken for an empty list, because there is no
// value to look at. The package depends on the standard library alone.
package evidence

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// Name names one fact, in lower-kebab case: "forwarding-rules". Names appear in reports, so they are permanent.
type Name string

// Vantage says from where a fact was seen. A probe from the machine meshdiag runs on doesn't clear the VM or pod.
type Vantage string

// The three places a fact can be seen from.
const (
	FromService  Vantage = "service"  // the machine that meshdiag runs on
	FromWorkload Vantage = "workload" // the VM, pod or proxy itself
	FromAPI      Vantage = "api"      // an API of Google Cloud or Kubernetes, the control plane included
)

// Source says where, how and when a fact was seen.
type Source struct {
	Collector string    // the collector that saw it, "csds"
	Detail    string    // what it asked or read: an API method, a file's name and line
	Vantage   Vantage   // from where
	Time      time.Time // when it was seen; for a file, when the file says it was written, else when it was read
	Pasted    bool      // from a file or text handed in, not from a live system
	Recording string    // the recorder's bundle that the fact is from, as its [Recording] names it; "" for none
}

func (s Source) String() string {
	if s.Detail == "" {
		return s.Collector
	}
	return s.Collector + " " + s.Detail
}

func (s Source) compare(o Source) int {
	live := func(p bool) int {
		if p {
			return 1
		}
		return 0
	}
	return cmp.Or(cmp.Compare(live(s.Pasted), live(o.Pasted)), cmp.Compare(s.Collector, o.Collector), cmp.Compare(s.Detail, o.Detail))
}

// Key is the typed handle of one fact.
type Key[T any] struct {
	name  Name
	merge func(a, b T) T
}

// NewKey makes the handle of a fact that has one value. Where several sources tell it, a live one wins over a pasted one,
// and among equals the first by collector and detail.
func NewKey[T any](name Name) Key[T] { return Key[T]{name: name} }

// NewListKey makes the handle of a fact whose values from several sources add up: logs, bootstraps, rules.
func NewListKey[E any](name Name) Key[[]E] {
	return Key[[]E]{name: name, merge: func(a, b []E) []E { return append(slices.Clip(a), b...) }}
}

// Name gives the fact's name.
func (k Key[T]) Name() Name { return k.name }

// Why says why a fact isn't known.
type Why int

// The reasons a fact isn't known.
const (
	NotAsked Why = iota // nobody was asked for it: no such target, no such file
	Failed              // it was asked for, and couldn't be learnt
	Late                // it was asked for, and the deadline came first
)

// Missing is the error for a fact that isn't known.
type Missing struct {
	Name   Name
	Why    Why
	Err    error  // what went wrong; nil for NotAsked
	Source Source // who tried
}

func (m *Missing) Error() string {
	switch {
	case m.Why == NotAsked:
		return fmt.Sprintf("%s was not asked for", m.Name)
	case m.Why == Late:
		return fmt.Sprintf("%s was not known in time: %v", m.Name, m.Err)
	default:
		return fmt.Sprintf("%s could not be read: %v", m.Name, m.Err)
	}
}

// Unwrap gives what went wrong.
func (m *Missing) Unwrap() error { return m.Err }

// Denied is the error of a source that refused to tell, with what would make it tell.
type Denied struct {
	What       string // what was to be read, "the forwarding rules of project p"
	Permission string // the permission that is missing, "compute.forwardingRules.list"; may be empty
	Role       string // a predefined role that has it, "roles/compute.networkViewer"; may be empty
	Command    string // a command that grants it, ready to paste; may be empty
	Err        error
}

func (d *Denied) Error() string {
	s := "not allowed to read " + d.What
	if d.Permission != "" {
		s += " (needs " + d.Permission + ")"
	}
	return s
}

// Unwrap gives the refusal as it came.
func (d *Denied) Unwrap() error { return d.Err }

// Observation is one source's word on one fact.
type Observation struct {
	Name   Name
	Source Source
	Err    error // why it isn't known; nil where it is
	Late   bool  // the deadline came first
	value  any
}

// Known says whether the source told the fact.
func (o Observation) Known() bool { return o.Err == nil }

// Set gathers the facts of one diagnosis. It may be used by several goroutines.
type Set struct {
	mu  sync.RWMutex
	obs map[Name][]Observation
}

// NewSet makes an empty set.
func NewSet() *Set { return &Set{obs: map[Name][]Observation{}} }

// Put records a fact.
func Put[T any](s *Set, k Key[T], v T, src Source) {
	s.add(Observation{Name: k.name, Source: src, value: v})
}

// Fail records that a fact was asked for and couldn't be learnt. A nil err is recorded as an unnamed failure: a failure
// never turns into a known fact.
func (s *Set) Fail(n Name, src Source, err error) {
	if err == nil {
		err = errors.New("failed without a reason")
	}
	s.add(Observation{Name: n, Source: src, Err: err})
}

// FailLate records that the deadline came before the fact.
func (s *Set) FailLate(n Name, src Source, err error) {
	if err == nil {
		err = errors.New("the deadline came first")
	}
	s.add(Observation{Name: n, Source: src, Err: err, Late: true})
}

func (s *Set) add(o Observation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.obs[o.Name] = append(s.obs[o.Name], o)
}

// Has says whether some source said something, known or not, of the fact.
func (s *Set) Has(n Name) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.obs[n]) > 0
}

// Absorb adds every observation of another set.
func (s *Set) Absorb(o *Set) {
	for _, x := range o.Observations() {
		s.add(x)
	}
}

// Observations gives every observation, sorted by fact, then live before pasted, then by collector and detail.
func (s *Set) Observations() []Observation {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var out []Observation
	for _, l := range s.obs {
		out = append(out, l...)
	}
	slices.SortStableFunc(out, func(a, b Observation) int {
		return cmp.Or(strings.Compare(string(a.Name), string(b.Name)), a.Source.compare(b.Source))
	})
	return out
}

func (s *Set) of(n Name) []Observation {
	s.mu.RLock()
	l := slices.Clone(s.obs[n])
	s.mu.RUnlock()
	slices.SortStableFunc(l, func(a, b Observation) int { return a.Source.compare(b.Source) })
	return l
}

// View reads a set, and remembers which facts were read. It isn't for several goroutines: each check gets its own.
type View struct {
	set   *Set
	reads map[Name]bool
}

// NewView makes a view of a set.
func NewView(s *Set) *View { return &View{set: s, reads: map[Name]bool{}} }

// Reads gives the names of the facts that were read, sorted.
func (v *View) Reads() []Name {
	out := make([]Name, 0, len(v.reads))
	for n := range v.reads {
		out = append(out, n)
	}
	slices.Sort(out)
	return out
}

// Get reads a fact. The error, if any, is a [*Missing].
//
// Of several sources those that know are used, merged where the key merges; it is missing only where no source knows.
func Get[T any](v *View, k Key[T]) (T, error) {
	v.reads[k.name] = true
	var out T
	known := false
	var failed *Missing
	for _, o := range v.set.of(k.name) {
		if !o.Known() {
			if failed == nil {
				failed = &Missing{Name: k.name, Why: Failed, Err: o.Err, Source: o.Source}
				if o.Late {
					failed.Why = Late
				}
			}
			continue
		}
		t, ok := o.value.(T)
		if !ok {
			// Two keys share a name: a mistake in this program, not in the mesh.
			return out, &Missing{Name: k.name, Why: Failed, Err: fmt.Errorf("holds %T, not %T", o.value, out), Source: o.Source}
		}
		switch {
		case !known:
			out, known = t, true
		case k.merge != nil:
			out = k.merge(out, t)
		}
	}
	switch {
	case known:
		return out, nil
	case failed != nil:
		return out, failed
	default:
		return out, &Missing{Name: k.name, Why: NotAsked}
	}
}

// Whole reads a fact like [Get], and is missing also where one source failed beside others that knew: what isn't in the part
// that is known may be in the part that isn't. A file that failed beside a live source that knew takes nothing away. Checks
// that conclude from an absence use it.
func Whole[T any](v *View, k Key[T]) (T, error) {
	t, err := Get(v, k)
	if err != nil {
		return t, err
	}
	obs := v.set.of(k.name)
	live := slices.ContainsFunc(obs, func(o Observation) bool { return o.Known() && !o.Source.Pasted })
	for _, o := range obs {
		if o.Known() || (o.Source.Pasted && live) {
			continue
		}
		m := &Missing{Name: k.name, Why: Failed, Err: o.Err, Source: o.Source}
		if o.Late {
			m.Why = Late
		}
		return t, m
	}
	return t, nil
}

// SourceOf gives the source that Get would answer from (the first, where several add up). It doesn't count as a read.
func (v *View) SourceOf(n Name) (Source, bool) {
	l := v.set.of(n)
	for _, o := range l {
		if o.Known() {
			return o.Source, true
		}
	}
	if len(l) > 0 {
		return l[0].Source, true
	}
	return Source{}, false
}

// Tally reads facts that can stand in for each other, and keeps count of what was missing.
//
// A check with several possible sources reads each with [Read]; if it found nothing wrong, it returns Err: nil where
// something was known and nothing failed, else the [*Missing] that says why no clean bill can be given.
type Tally struct {
	known   bool
	failed  *Missing
	unasked *Missing
}

// Read reads a fact like [Get], and notes in t whether it was known. ok says whether it was.
func Read[T any](t *Tally, v *View, k Key[T]) (T, bool) {
	x, err := Get(v, k)
	if err == nil {
		t.known = true
		return x, true
	}
	var m *Missing
	if !errors.As(err, &m) {
		m = &Missing{Name: k.name, Why: Failed, Err: err}
	}
	switch {
	case m.Why == NotAsked && t.unasked == nil:
		t.unasked = m
	case m.Why != NotAsked && t.failed == nil:
		t.failed = m
	}
	return x, false
}

// Err says why no clean bill can be given, nil if one can.
func (t *Tally) Err() error {
	switch {
	case t.failed != nil:
		return t.failed
	case !t.known && t.unasked != nil:
		return t.unasked
	}
	return nil
}
