package netfilter

import (
	"slices"
)

// explorer walks the rules once for every combination of what isn't known, as far as it is asked for.
type explorer struct {
	set   *Set
	host  *Host
	dir   Direction
	ask   Packet
	reply bool
	ways  int
	steps int
}

// doubt is a question that came up on a way and can't be answered: does this condition hold?
type doubt struct {
	why    string
	rule   *Step
	likely bool // the answer taken first
	hidden bool // is it that a listing doesn't show interfaces?
}

// way is one walk through the rules, under given answers to its doubts.
type way struct {
	out     Outcome
	steps   []Step
	rule    *Step
	why     []string // of an outcome that is Unknown in itself
	doubts  []doubt
	assumed []string
	asShown *Outcome
}

// explore gives the outcome under the answers given, if further answers make no difference, and else one that is Unknown
// for the first doubt that makes one.
func (e *explorer) explore(given []bool) way {
	if e.ways++; e.ways > maxWays {
		return way{why: []string{tooMuch}}
	}
	return e.compare(given, e.walk(given))
}

const tooMuch = "more is in doubt than can be walked through"

// compare takes a walk whose further doubts were answered as is likely, and walks where they are answered otherwise.
func (e *explorer) compare(given []bool, w way) way {
	if len(w.doubts) <= len(given) {
		return w
	}
	d := w.doubts[len(given)]
	a := e.compare(append(slices.Clone(given), d.likely), w)
	var b way
	if len(w.doubts) > maxDoubts {
		b.why = []string{tooMuch}
	} else {
		b = e.explore(append(slices.Clone(given), !d.likely))
	}
	if a.out.Verdict != Unknown && a.out == b.out {
		a.assumed = merge(a.assumed, b.assumed)
		return a
	}
	if a.out.Verdict == Unknown && b.out.Verdict == Unknown && slices.Equal(a.why, b.why) {
		return a // in doubt either way, and not because of d
	}
	out := way{steps: a.steps, rule: d.rule, assumed: merge(a.assumed, b.assumed)}
	out.why = merge(merge([]string{d.why}, a.why), b.why)
	if d.hidden {
		switch {
		case a.out.Verdict != Unknown:
			out.asShown = &a.out
		default:
			out.asShown = a.asShown
		}
		if out.asShown != nil {
			out.rule = a.rule
		}
	}
	return out
}

func merge(a, b []string) []string {
	for _, s := range b {
		if !slices.Contains(a, s) {
			a = append(slices.Clip(a), s)
		}
	}
	return a
}
