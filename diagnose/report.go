package diagnose

import (
	"time"

	"github.com/meshdiag/meshdiag/evidence"
)

// Verdict is the answer in one word.
type Verdict string

// The verdicts.
const (
	CausesFound  Verdict = "CAUSES_FOUND"
	Healthy      Verdict = "HEALTHY"      // all that this target makes mandatory was seen, and nothing is wrong
	Inconclusive Verdict = "INCONCLUSIVE" // nothing was found, and not all was seen
)

// Outcome is how one check ended.
type Outcome string

// The outcomes.
const (
	OutcomePassed       Outcome = "PASSED"
	OutcomeFound        Outcome = "FOUND"
	OutcomeSymptom      Outcome = "SYMPTOM" // found, and explained by another cause
	OutcomeSkipped      Outcome = "SKIPPED" // doesn't apply, or no such evidence was asked for
	OutcomeInconclusive Outcome = "INCONCLUSIVE"
)

// Report answers a request. Its lists are in a fixed order for the same evidence.
type Report struct {
	Target       Target
	Verdict      Verdict
	Headline     string // the verdict in one sentence
	Causes       []Finding
	Results      []Result
	Observations []evidence.Observation
	Unseen       []Unseen
	Notes        []string // what a reader should know besides: files not recognised, limits reached
	Timing       Timing
}

// Finding is a cause with what its check knows of it.
type Finding struct {
	Check       CheckID
	Title       string
	Severity    Severity
	Confidence  Confidence
	Subject     string
	Summary     string
	Explanation string
	Evidence    []Exhibit
	Remedy      []Action
	References  []string
	Symptoms    []CheckID // checks whose causes this one explains
	Params      map[string]string

	key      string
	keys     []string // by which it folds and is folded: its own and those of what was joined with it
	about    About
	unfilled []string
}

// Action is one step of a remedy, filled in.
type Action struct{ Text, Command string }

// Result says how one check ended and why.
type Result struct {
	Check   CheckID
	Outcome Outcome
	Reason  string // for SKIPPED and INCONCLUSIVE; for SYMPTOM the check that explains it

	missing evidence.Name // the fact that an inconclusive check lacked
}

// Unseen is something that couldn't be seen, with what would show it.
type Unseen struct {
	Fact       evidence.Name
	Reason     string
	Source     evidence.Source
	Permission string
	Role       string
	Command    string
	Mandatory  bool // HEALTHY can't be given without it

	derived bool // only for want of another fact
}

// Timing says how long what took.
type Timing struct {
	Started    time.Time
	Took       time.Duration
	Collectors []CollectorTiming
}

// CollectorTiming says how long one collector took.
type CollectorTiming struct {
	Name string
	Took time.Duration
	Late bool
	Err  string
}

// Event tells the progress of a diagnosis: exactly one field is set.
type Event struct {
	CollectorStarted string
	Collector        *CollectorTiming
	Check            *Result
}
