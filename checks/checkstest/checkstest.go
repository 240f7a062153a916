// Package checkstest runs one check over a table of cases, and holds the check to its word: the facts it declares are those
// it reads, its remedy has every parameter filled in, its signatures recognise their examples, and it has at least three
// cases in which it fires and three near-misses in which it must not.
package checkstest

import (
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// Want describes one cause that is expected. Empty fields aren't compared; text fields must be contained.
type Want struct {
	Subject, Summary string
	Key              string
	Confidence       diagnose.Confidence
	Severity         diagnose.Severity
	Params           map[string]string // these must be so; others may be there
	Excerpt          string            // some exhibit must contain it
}

// Case is one row. Want's causes must be found, in that order, and no others. Without Want, Outcome says how the check
// must end: PASSED (the default), SKIPPED or INCONCLUSIVE.
type Case struct {
	Name    string
	Request diagnose.Request
	Put     func(*evidence.Set)
	Want    []Want
	Outcome diagnose.Outcome
	Reason  string // must be contained in the reason of a SKIPPED or INCONCLUSIVE outcome
	// Unfilled are parameters that may stay unknown in this case's remedy.
	Unfilled []string
}

// The least number of cases of each sort.
const leastCases = 3

// Run runs the table.
func Run(t *testing.T, c diagnose.Check, cases []Case) {
	t.Helper()
	engine, err := diagnose.New(diagnose.Config{Checks: []diagnose.Check{c}})
	if err != nil {
		t.Fatal(err)
	}
	reads := map[evidence.Name]bool{}
	fires, quiet := 0, 0
	for _, tc := range cases {
		if len(tc.Want) > 0 {
			fires++
		} else {
			quiet++
		}
		t.Run(tc.Name, func(t *testing.T) {
			set := evidence.NewSet()
			if tc.Put != nil {
				tc.Put(set)
			}
			if c.Applies == nil || c.Applies(tc.Request) {
				v := evidence.NewView(set)
				_, _ = c.Evaluate(tc.Request, v)
				for _, n := range v.Reads() {
					reads[n] = true
				}
			}
			one(t, engine, c, tc, set)
		})
	}
	if fires < leastCases || quiet < leastCases {
		t.Errorf("%s has %d cases in which it fires and %d near-misses; at least %d of each are needed", c.ID, fires, quiet, leastCases)
	}
	var got []evidence.Name
	for n := range reads {
		got = append(got, n)
	}
	slices.Sort(got)
	want := slices.Clone(c.Needs)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%s declares the facts %v, and over all cases reads %v", c.ID, want, got)
	}
	Signatures(t, c.Signatures)
}

func one(t *testing.T, engine *diagnose.Engine, c diagnose.Check, tc Case, set *evidence.Set) {
	t.Helper()
	found, res := engine.Evaluate(c.ID, tc.Request, set)
	again, _ := engine.Evaluate(c.ID, tc.Request, set)
	if !reflect.DeepEqual(found, again) {
		t.Errorf("two runs over the same evidence differ:\n%+v\n%+v", found, again)
	}
	want := tc.Outcome
	switch {
	case len(tc.Want) > 0:
		want = diagnose.OutcomeFound
	case want == "":
		want = diagnose.OutcomePassed
	}
	if res.Outcome != want {
		t.Fatalf("outcome %s (%s), want %s; found %+v", res.Outcome, res.Reason, want, found)
	}
	if !strings.Contains(res.Reason, tc.Reason) {
		t.Errorf("reason %q does not contain %q", res.Reason, tc.Reason)
	}
	if len(found) != len(tc.Want) {
		t.Fatalf("%d causes, want %d: %+v", len(found), len(tc.Want), found)
	}
	for i, w := range tc.Want {
		cause(t, found[i], w, tc.Unfilled)
	}
}

var capitals = regexp.MustCompile(`\{\{\w+\}\}`)

func cause(t *testing.T, f diagnose.Finding, w Want, unfilled []string) {
	t.Helper()
	contains := func(what, got, want string) {
		t.Helper()
		if !strings.Contains(got, want) {
			t.Errorf("%s %q does not contain %q", what, got, want)
		}
	}
	contains("subject", f.Subject, w.Subject)
	contains("summary", f.Summary, w.Summary)
	if w.Key != "" && f.Key() != w.Key {
		t.Errorf("key %q, want %q", f.Key(), w.Key)
	}
	if w.Confidence != diagnose.ConfidenceUnset && f.Confidence != w.Confidence {
		t.Errorf("confidence %s, want %s", f.Confidence, w.Confidence)
	}
	if w.Severity != diagnose.SeverityUnset && f.Severity != w.Severity {
		t.Errorf("severity %s, want %s", f.Severity, w.Severity)
	}
	for k, v := range w.Params {
		if f.Params[k] != v {
			t.Errorf("parameter %s is %q, want %q", k, f.Params[k], v)
		}
	}
	if w.Excerpt != "" && !slices.ContainsFunc(f.Evidence, func(x diagnose.Exhibit) bool { return strings.Contains(x.Excerpt, w.Excerpt) }) {
		t.Errorf("no exhibit contains %q: %+v", w.Excerpt, f.Evidence)
	}
	switch {
	case f.Subject == "" || f.Summary == "":
		t.Errorf("a cause needs a subject and a summary: %+v", f)
	case len(f.Evidence) == 0:
		t.Errorf("a cause needs evidence to show: %+v", f)
	case len(f.Remedy) == 0:
		t.Errorf("a cause needs something to do: %+v", f)
	}
	for _, name := range f.Unfilled() {
		if !slices.Contains(unfilled, name) {
			t.Errorf("the remedy does not know %s: %+v", name, f.Remedy)
		}
	}
	for _, a := range f.Remedy {
		if capitals.MatchString(a.Text + a.Command) {
			t.Errorf("a step is left with a template in it: %+v", a)
		}
	}
}

// Signatures holds signatures to their word: anchors long enough for the scan, a pattern that compiles, and examples that
// hold an anchor and match.
func Signatures(t *testing.T, list []diagnose.Signature) {
	t.Helper()
	for _, s := range list {
		re, err := regexp.Compile(s.Pattern)
		if err != nil {
			t.Errorf("signature %s: %v", s.ID, err)
			continue
		}
		if len(s.Anchors) == 0 || len(s.Examples) == 0 || s.ID == "" || s.Meaning == "" {
			t.Errorf("signature %q needs an ID, anchors, examples and a meaning", s.ID)
		}
		for _, a := range s.Anchors {
			if len(a) < 8 {
				t.Errorf("signature %s: anchor %q is shorter than 8 bytes", s.ID, a)
			}
		}
		for _, x := range s.Examples {
			if !slices.ContainsFunc(s.Anchors, func(a string) bool { return strings.Contains(x, a) }) {
				t.Errorf("signature %s: no anchor in %q", s.ID, x)
			}
			if !re.MatchString(x) {
				t.Errorf("signature %s: the pattern does not match %q", s.ID, x)
			}
		}
	}
}
