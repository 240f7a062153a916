package diagnose

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshdiag/meshdiag/evidence"
)

var (
	one = evidence.NewKey[int]("one")
	two = evidence.NewKey[int]("two")
)

func source(name string) evidence.Source {
	return evidence.Source{Collector: name, Vantage: evidence.FromAPI}
}

// gives makes a collector that tells a fact.
func gives(name string, k evidence.Key[int], v int, needs ...evidence.Name) Collector {
	return Collector{Name: name, Provides: []evidence.Name{k.Name()}, Needs: needs,
		Collect: func(_ context.Context, _ Request, _ *evidence.View, s *evidence.Set) error {
			evidence.Put(s, k, v, source(name))
			return nil
		}}
}

// positive makes a check that finds a fault where the fact is above zero.
func positive(id CheckID, k evidence.Key[int], explains ...CheckID) Check {
	return Check{ID: id, Doc: Doc{Title: string(id)}, Severity: Blocking, Layer: LayerConfig, Needs: []evidence.Name{k.Name()}, Explains: explains,
		Evaluate: func(_ Request, v *evidence.View) ([]Cause, error) {
			n, err := evidence.Get(v, k)
			if err != nil || n <= 0 {
				return nil, err
			}
			return []Cause{{Subject: string(id), Summary: fmt.Sprintf("%s is %d.", k.Name(), n), Confidence: Confirmed,
				Evidence: []Exhibit{{Fact: k.Name(), Excerpt: fmt.Sprint(n)}}}}, nil
		}}
}

func engine(t *testing.T, cfg Config) *Engine {
	t.Helper()
	e, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func outcome(r *Report, id CheckID) Result {
	for _, x := range r.Results {
		if x.Check == id {
			return x
		}
	}
	return Result{}
}

// liveTarget has every fact of mandatoryFacts' first two rows.
var liveTarget = Request{Target: Target{Project: "p", Network: "n"}}

// seen makes collectors that tell each mandatory fact of a request, but those left out.
func seen(req Request, leftOut ...evidence.Name) []Collector {
	var out []Collector
	for _, n := range mandatory(req) {
		if slices.Contains(leftOut, n) {
			continue
		}
		out = append(out, gives("tells-"+string(n), evidence.NewKey[int](n), 1))
	}
	return out
}

func TestVerdictRestsOnMandatoryFacts(t *testing.T) {
	ok := positive("area/quiet", two)
	vm := Request{Target: Target{Project: "p", Network: "n", Zone: "z", Instance: "i"}}
	way := Request{Target: Target{Project: "p", Network: "n", Destination: "10.0.0.1:80"}}
	clients := func(agents ...string) Collector {
		return Collector{Name: "clients", Provides: []evidence.Name{evidence.Clients.Name()}, Collect: func(_ context.Context, _ Request, _ *evidence.View, set *evidence.Set) error {
			var list evidence.ClientList
			for i, a := range agents {
				list.Clients = append(list.Clients, evidence.Client{NodeID: fmt.Sprint(i), UserAgentName: a})
			}
			evidence.Put(set, evidence.Clients, list, evidence.Source{})
			return nil
		}}
	}
	denied := Collector{Name: "denied", Provides: []evidence.Name{evidence.Clients.Name()},
		Collect: func(context.Context, Request, *evidence.View, *evidence.Set) error {
			return &evidence.Denied{What: "the clients", Permission: "a.b.c", Command: "gcloud x"}
		}}
	for _, tc := range []struct {
		name       string
		req        Request
		collectors []Collector
		want       Verdict
		unseen     evidence.Name
	}{
		{"all seen", liveTarget, append(seen(liveTarget), gives("two", two, 0)), Healthy, ""},
		{"one not asked", liveTarget, append(seen(liveTarget, evidence.ForwardingRules.Name()), gives("two", two, 0)), Inconclusive, evidence.ForwardingRules.Name()},
		{"one denied", liveTarget, append(seen(liveTarget, evidence.Clients.Name()), denied, gives("two", two, 0)), Inconclusive, evidence.Clients.Name()},
		{"one denied beside a source that knew", liveTarget, append(seen(liveTarget), denied, gives("two", two, 0)), Inconclusive, evidence.Clients.Name()},
		{"a VM whose interception nobody can see", vm, append(seen(vm, evidence.PacketRules.Name()), gives("two", two, 0)), Inconclusive, evidence.PacketRules.Name()},
		{"a destination that nobody followed", way, append(seen(liveTarget), gives("two", two, 0)), Inconclusive, evidence.EnvoyDumps.Name()},
		{"a destination whose interception nobody saw", way, append(seen(way, evidence.PacketRules.Name()), gives("two", two, 0)), Inconclusive, evidence.PacketRules.Name()},
		{"a destination that was followed", way, append(seen(way), gives("two", two, 0)), Healthy, ""},
		{"a port served that nobody looked at", Request{Target: Target{Project: "p", Network: "n", ServingPort: 80}}, append(seen(liveTarget), gives("two", two, 0)), Inconclusive, evidence.EnvoyDumps.Name()},
		{"a destination of gRPC clients", way, append(seen(liveTarget, evidence.Clients.Name()), clients("gRPC Go", "gRPC C++"), gives("two", two, 0)), Healthy, ""},
		{"a destination of gRPC clients and an Envoy", way, append(seen(liveTarget, evidence.Clients.Name()), clients("gRPC Go", "envoy"), gives("two", two, 0)), Inconclusive, evidence.EnvoyDumps.Name()},
		{"what a gRPC client dials", Request{Target: Target{Project: "p", Network: "n", Destination: "xds:///x"}}, append(seen(liveTarget), gives("two", two, 0)), Healthy, ""},
		{"a fault", liveTarget, append(seen(liveTarget), gives("two", two, 1)), CausesFound, ""},
		{"no target", Request{}, []Collector{gives("two", two, 0)}, Inconclusive, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r, err := engine(t, Config{Collectors: tc.collectors, Checks: []Check{ok}}).Diagnose(t.Context(), tc.req, nil)
			if err != nil {
				t.Fatal(err)
			}
			if r.Verdict != tc.want {
				t.Errorf("verdict %s, want %s: %+v", r.Verdict, tc.want, r.Unseen)
			}
			if tc.unseen != "" && !slices.ContainsFunc(r.Unseen, func(u Unseen) bool { return u.Fact == tc.unseen && u.Mandatory }) {
				t.Errorf("%s isn't listed as unseen and mandatory: %+v", tc.unseen, r.Unseen)
			}
		})
	}
}

func TestPastedFactNeverMakesHealthy(t *testing.T) {
	cs := seen(liveTarget, evidence.Clients.Name())
	cs = append(cs, Collector{Name: "file", Provides: []evidence.Name{evidence.Clients.Name()},
		Collect: func(_ context.Context, _ Request, _ *evidence.View, s *evidence.Set) error {
			evidence.Put(s, evidence.NewKey[int](evidence.Clients.Name()), 1, evidence.Source{Collector: "file", Pasted: true})
			return nil
		}})
	r, err := engine(t, Config{Collectors: cs}).Diagnose(t.Context(), liveTarget, nil)
	if err != nil {
		t.Fatal(err)
	}
	if r.Verdict != Inconclusive {
		t.Errorf("verdict %s with a fact that only a file tells", r.Verdict)
	}
}

func TestOpenCheckForbidsHealthy(t *testing.T) {
	broken := Collector{Name: "broken", Provides: []evidence.Name{two.Name()},
		Collect: func(context.Context, Request, *evidence.View, *evidence.Set) error { return errors.New("500") }}
	r, err := engine(t, Config{Collectors: append(seen(liveTarget), broken), Checks: []Check{positive("area/open", two)}}).Diagnose(t.Context(), liveTarget, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := outcome(r, "area/open"); got.Outcome != OutcomeInconclusive || !strings.Contains(got.Reason, "500") {
		t.Errorf("outcome %+v", got)
	}
	if r.Verdict != Inconclusive {
		t.Errorf("verdict %s", r.Verdict)
	}
}

// Of one proxy it is told that nobody asked where its requests go.
func TestHealthyTellsWhatWasNotFollowed(t *testing.T) {
	const told = "No destination was named"
	for _, tc := range []struct {
		target Target
		want   bool
	}{
		{Target{Project: "p", Network: "n", NodeID: "x"}, true},
		{Target{Project: "p", Network: "n"}, false},
		{Target{Project: "p", Network: "n", NodeID: "x", Destination: "a:80"}, false},
	} {
		req := Request{Target: tc.target}
		r, err := engine(t, Config{Collectors: append(seen(req), gives("two", two, 0)), Checks: []Check{positive("area/quiet", two)}}).Diagnose(t.Context(), req, nil)
		if err != nil || r.Verdict != Healthy || strings.Contains(r.Headline, told) != tc.want {
			t.Errorf("%v: %v, %s: %s", tc.target, err, r.Verdict, r.Headline)
		}
	}
}

// What few may read doesn't stand in the way of a clean bill, and is told.
func TestOptionalFactIsTold(t *testing.T) {
	name := evidence.APIRequests.Name()
	broken := Collector{Name: "broken", Provides: []evidence.Name{name},
		Collect: func(context.Context, Request, *evidence.View, *evidence.Set) error { return errors.New("403") }}
	r, err := engine(t, Config{Collectors: append(seen(liveTarget), broken), Checks: []Check{positive("area/open", evidence.NewKey[int](name))}}).Diagnose(t.Context(), liveTarget, nil)
	if err != nil {
		t.Fatal(err)
	}
	if r.Verdict != Healthy || !strings.Contains(r.Headline, "1 check of its backends and API use could not be decided") || len(r.Unseen) != 1 {
		t.Errorf("%s: %s %+v", r.Verdict, r.Headline, r.Unseen)
	}
}

func TestPanicsHurtNothingElse(t *testing.T) {
	bad := positive("area/bad", one)
	bad.Evaluate = func(Request, *evidence.View) ([]Cause, error) { panic("a check") }
	worse := Collector{Name: "worse", Provides: []evidence.Name{"three"},
		Collect: func(context.Context, Request, *evidence.View, *evidence.Set) error { panic("a collector") }}
	needy := positive("area/needy", evidence.NewKey[int]("three"))
	e := engine(t, Config{Collectors: []Collector{worse, gives("one", one, 1), gives("two", two, 1)}, Checks: []Check{bad, needy, positive("area/good", two)}})
	r, err := e.Diagnose(t.Context(), Request{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[CheckID]Outcome{"area/bad": OutcomeInconclusive, "area/needy": OutcomeInconclusive, "area/good": OutcomeFound} {
		if got := outcome(r, id); got.Outcome != want {
			t.Errorf("%s ended %+v, want %s", id, got, want)
		}
	}
	if strings.Contains(outcome(r, "area/bad").Reason, "a check") {
		t.Error("the report tells what the panic said")
	}
}

func TestLateCollectorIsInconclusive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		deaf := Collector{Name: "deaf", Provides: []evidence.Name{one.Name()}, Timeout: time.Hour,
			Collect: func(context.Context, Request, *evidence.View, *evidence.Set) error {
				time.Sleep(time.Hour) // doesn't heed its context; the clock is synctest's
				return nil
			}}
		part := Collector{Name: "part", Provides: []evidence.Name{"four"},
			Collect: func(ctx context.Context, _ Request, _ *evidence.View, s *evidence.Set) error {
				evidence.Put(s, evidence.NewKey[int]("four"), 4, source("part"))
				<-ctx.Done()
				return ctx.Err()
			}}
		e := engine(t, Config{Timeout: 5 * time.Second, Collectors: []Collector{deaf, part, gives("two", two, 1)},
			Checks: []Check{positive("area/late", one), positive("area/four", evidence.NewKey[int]("four")), positive("area/good", two)}})
		start := time.Now()
		r, err := e.Diagnose(t.Context(), Request{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took != 5*time.Second {
			t.Errorf("took %v, and the deadline is 5 s", took)
		}
		for id, want := range map[CheckID]Outcome{"area/late": OutcomeInconclusive, "area/four": OutcomeFound, "area/good": OutcomeFound} {
			if got := outcome(r, id); got.Outcome != want {
				t.Errorf("%s ended %+v, want %s", id, got, want)
			}
		}
		time.Sleep(2 * time.Hour) // let the deaf one end
	})
}

func TestCallersDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := Collector{Name: "slow", Provides: []evidence.Name{one.Name()},
			Collect: func(ctx context.Context, _ Request, _ *evidence.View, _ *evidence.Set) error {
				<-ctx.Done()
				return ctx.Err()
			}}
		e := engine(t, Config{Collectors: []Collector{slow}, Checks: []Check{positive("area/late", one)}})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		r, err := e.Diagnose(ctx, Request{}, nil)
		if err != nil || ctx.Err() != nil {
			t.Fatalf("no report before the caller's deadline: %v, %v", err, ctx.Err())
		}
		if got := outcome(r, "area/late"); got.Outcome != OutcomeInconclusive {
			t.Errorf("ended %+v", got)
		}
		<-ctx.Done()
		if _, err := e.Diagnose(ctx, Request{}, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("an expired deadline gives %v", err)
		}
	})
}

func TestCollectorsRunAtOnceAndInOrderOfNeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var cs []Collector
		var checks []Check
		for i := range 8 {
			k := evidence.NewKey[int](evidence.Name(fmt.Sprintf("fact%d", i)))
			c := gives(fmt.Sprintf("c%d", i), k, 0)
			inner := c.Collect
			c.Collect = func(ctx context.Context, r Request, v *evidence.View, s *evidence.Set) error {
				time.Sleep(time.Second) // the clock is synctest's
				return inner(ctx, r, v, s)
			}
			cs = append(cs, c)
			checks = append(checks, positive(CheckID(fmt.Sprintf("area/c%d", i)), k))
		}
		follower := Collector{Name: "follower", Provides: []evidence.Name{one.Name()}, Needs: []evidence.Name{"fact0"},
			Collect: func(_ context.Context, _ Request, v *evidence.View, s *evidence.Set) error {
				n, err := evidence.Get(v, evidence.NewKey[int]("fact0"))
				if err != nil {
					return err
				}
				time.Sleep(time.Second)
				evidence.Put(s, one, n+1, source("follower"))
				return nil
			}}
		unwanted := Collector{Name: "unwanted", Provides: []evidence.Name{"nobody-reads-it"},
			Collect: func(context.Context, Request, *evidence.View, *evidence.Set) error {
				t.Error("a collector that no check needs was run")
				return nil
			}}
		e := engine(t, Config{Collectors: append(cs, follower, unwanted), Checks: append(checks, positive("area/follows", one))})
		start := time.Now()
		r, err := e.Diagnose(t.Context(), Request{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took != 2*time.Second {
			t.Errorf("took %v; the longest chain is 2 s", took)
		}
		if got := outcome(r, "area/follows"); got.Outcome != OutcomeFound {
			t.Errorf("ended %+v", got)
		}
	})
}

func TestFolding(t *testing.T) {
	at := func(id CheckID, key string, explains ...CheckID) Check {
		c := positive(id, one, explains...)
		c.Evaluate = func(_ Request, v *evidence.View) ([]Cause, error) {
			_, err := evidence.Get(v, one)
			return []Cause{{Subject: key, Key: key, Summary: "s", Evidence: []Exhibit{{Fact: one.Name()}}}}, err
		}
		return c
	}
	for _, tc := range []struct {
		name   string
		checks []Check
		roots  []CheckID
		symp   map[CheckID][]CheckID
	}{
		{"chain", []Check{at("a/root", "", "a/mid"), at("a/mid", "", "a/leaf"), at("a/leaf", "")}, []CheckID{"a/root"}, map[CheckID][]CheckID{"a/root": {"a/leaf", "a/mid"}}},
		{"another client's fault", []Check{at("a/root", "nodes/1", "a/leaf"), at("a/leaf", "nodes/2")}, []CheckID{"a/leaf", "a/root"}, nil},
		{"the same client's", []Check{at("a/root", "nodes/1", "a/leaf"), at("a/leaf", "nodes/1/Listener")}, []CheckID{"a/root"}, map[CheckID][]CheckID{"a/root": {"a/leaf"}}},
		{"a name that only begins alike", []Check{at("a/root", "nodes/1", "a/leaf"), at("a/leaf", "nodes/10")}, []CheckID{"a/leaf", "a/root"}, nil},
		{"two roots", []Check{at("a/x", "", "a/leaf"), at("a/y", "", "a/leaf"), at("a/leaf", "")}, []CheckID{"a/x", "a/y"}, map[CheckID][]CheckID{"a/x": {"a/leaf"}, "a/y": {"a/leaf"}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r, err := engine(t, Config{Collectors: []Collector{gives("one", one, 1)}, Checks: tc.checks}).Diagnose(t.Context(), Request{}, nil)
			if err != nil {
				t.Fatal(err)
			}
			var roots []CheckID
			for _, f := range r.Causes {
				roots = append(roots, f.Check)
				if !slices.Equal(f.Symptoms, tc.symp[f.Check]) {
					t.Errorf("%s has the symptoms %v, want %v", f.Check, f.Symptoms, tc.symp[f.Check])
				}
				for _, s := range f.Symptoms {
					if got := outcome(r, s); got.Outcome != OutcomeSymptom {
						t.Errorf("%s ended %+v", s, got)
					}
				}
			}
			slices.Sort(roots)
			if !slices.Equal(roots, tc.roots) {
				t.Errorf("roots %v, want %v", roots, tc.roots)
			}
		})
	}
}

func TestRankingAndOrderAreFixed(t *testing.T) {
	mk := func(id CheckID, sev Severity, l Layer, s ...Symptom) Check {
		c := positive(id, one)
		c.Severity, c.Layer, c.Symptoms = sev, l, s
		return c
	}
	checks := []Check{
		mk("a/backend", Blocking, LayerBackend), mk("a/api", Blocking, LayerAPI), mk("a/advice", Advice, LayerAPI, SymptomRequestsFail), mk("a/degrading", Degrading, LayerAPI),
	}
	e := engine(t, Config{Collectors: []Collector{gives("one", one, 1)}, Checks: checks})
	order := func(s Symptom) (ids []CheckID) {
		r, err := e.Diagnose(t.Context(), Request{Symptom: s}, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range r.Causes {
			ids = append(ids, f.Check)
		}
		return ids
	}
	for range 20 {
		if got, want := order(SymptomNone), []CheckID{"a/api", "a/backend", "a/degrading", "a/advice"}; !slices.Equal(got, want) {
			t.Fatalf("order %v, want %v", got, want)
		}
		if got, want := order(SymptomRequestsFail), []CheckID{"a/advice", "a/api", "a/backend", "a/degrading"}; !slices.Equal(got, want) {
			t.Fatalf("order with a symptom %v, want %v", got, want)
		}
	}
}

func TestCatalogueIsChecked(t *testing.T) {
	loop1, loop2 := positive("a/one", one, "a/two"), positive("a/two", one, "a/one")
	untitled := positive("a/untitled", one)
	untitled.Doc.Title = ""
	for name, tc := range map[string]struct {
		checks []Check
		want   string
	}{
		"loop":     {[]Check{loop1, loop2}, "explains itself"},
		"twice":    {[]Check{positive("a/one", one), positive("a/one", one)}, "listed twice"},
		"bad ID":   {[]Check{positive("A/One", one)}, "lower-kebab"},
		"untitled": {[]Check{untitled}, "Doc.Title"},
	} {
		if _, err := New(Config{Checks: tc.checks}); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
}

func TestNothingUsable(t *testing.T) {
	files := func(used bool) Collector {
		return Collector{Name: "file", Provides: []evidence.Name{evidence.Artifacts.Name()},
			Collect: func(_ context.Context, _ Request, _ *evidence.View, s *evidence.Set) error {
				evidence.Put(s, evidence.Artifacts, []evidence.ArtifactFile{{Name: "x.json", Note: "binary", Used: used}}, evidence.Source{Collector: "file", Pasted: true})
				return nil
			}}
	}
	req := Request{Artifacts: []Artifact{{Name: "y"}, {Name: "x.json"}}}
	_, err := engine(t, Config{Collectors: []Collector{files(false)}}).Diagnose(t.Context(), req, nil)
	var bad *BadInput
	if !errors.As(err, &bad) || bad.Field != "artifacts[1]" || !strings.Contains(err.Error(), "x.json: binary") {
		t.Errorf("error %v", err)
	}
	if _, err := engine(t, Config{Collectors: []Collector{files(true)}}).Diagnose(t.Context(), req, nil); err != nil {
		t.Error(err)
	}
	req.Target = liveTarget.Target
	r, err := engine(t, Config{Collectors: []Collector{files(false)}}).Diagnose(t.Context(), req, nil)
	if err != nil || len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "x.json was not used: binary") {
		t.Errorf("a live target beside it gives %v, %+v", err, r)
	}
}

func TestRenderQuotesForTheShell(t *testing.T) {
	steps := []Step{{Text: "about {{a}}", Command: "cmd {{a}} --b={{b}}"}, {If: "c", Text: "only with c"}, {Unless: "c", Text: "only without c"}}
	for _, tc := range []struct {
		params map[string]string
		want   []Action
	}{
		{map[string]string{"a": "x", "b": "y"}, []Action{{"about x", "cmd x --b=y"}, {"only without c", ""}}},
		{map[string]string{"a": "x; rm -rf /", "b": "it's"}, []Action{{"about x; rm -rf /", `cmd 'x; rm -rf /' --b='it'\''s'`}, {"only without c", ""}}},
		{map[string]string{"a": "--flags-file=/etc/x", "c": "1"}, []Action{{"about --flags-file=/etc/x", "cmd A --b=B"}, {"only with c", ""}}},
		{map[string]string{"a": "x\x1b[31m\ny", "b": "$(id)", "c": "1"}, []Action{{"about x[31my", "cmd 'x[31my' --b='$(id)'"}, {"only with c", ""}}},
	} {
		if got := Render(steps, tc.params); !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%v gives\n%q, want\n%q", tc.params, got, tc.want)
		}
	}
}

func TestValidateRefuses(t *testing.T) {
	refused := &BadInput{Field: "target.kubernetes.cluster", Message: "no such context"}
	e, err := New(Config{Validate: func(Request) error { return refused }, Collectors: []Collector{{
		Name: "never", Provides: []evidence.Name{evidence.Artifacts.Name()},
		Collect: func(context.Context, Request, *evidence.View, *evidence.Set) error {
			t.Error("a refused request was collected for")
			return nil
		},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	var bad *BadInput
	if _, err := e.Diagnose(t.Context(), Request{Target: Target{Namespace: "shop"}}, nil); !errors.As(err, &bad) || bad != refused {
		t.Errorf("got %v", err)
	}
}
