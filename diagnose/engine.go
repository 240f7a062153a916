package diagnose

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/meshdiag/meshdiag/evidence"
)

const (
	// DefaultTimeout bounds a diagnosis: a person waits at a terminal, a bot at a chat's own limit.
	DefaultTimeout = 30 * time.Second
	// collectorTimeout bounds a collector that states none: a Google API answers in well under a second, or not at all.
	collectorTimeout = 10 * time.Second
	// maxGrace is what is kept of the deadline for collectors to hand in what they have, and for the report itself.
	maxGrace = 500 * time.Millisecond
)

// Config makes an [Engine].
type Config struct {
	Collectors []Collector
	Checks     []Check
	Timeout    time.Duration // 0 takes DefaultTimeout
	// Validate, if not nil, refuses a request that names what isn't there to be asked, with a [*BadInput].
	Validate func(Request) error
	Logger   *slog.Logger // nil logs nothing
	Now      func() time.Time
}

// Engine answers requests. It may be used by several goroutines.
type Engine struct {
	cfg  Config
	byID map[CheckID]Check
}

var checkID = regexp.MustCompile(`^[a-z]+/[a-z0-9]+(-[a-z0-9]+)*$`)

// New checks the catalogue and makes an engine.
func New(cfg Config) (*Engine, error) {
	if cfg.Timeout <= 0 {
		cfg.Timeout = DefaultTimeout
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	cfg.Checks = slices.Clone(cfg.Checks)
	slices.SortFunc(cfg.Checks, func(a, b Check) int { return strings.Compare(string(a.ID), string(b.ID)) })
	e := &Engine{cfg: cfg, byID: map[CheckID]Check{}}
	for _, c := range cfg.Checks {
		switch _, dup := e.byID[c.ID]; {
		case !checkID.MatchString(string(c.ID)):
			return nil, fmt.Errorf("check %q: the ID must be area/condition in lower-kebab case", c.ID)
		case dup:
			return nil, fmt.Errorf("check %s is listed twice", c.ID)
		case c.Evaluate == nil || c.Doc.Title == "" || c.Severity == SeverityUnset || c.Layer == 0:
			return nil, fmt.Errorf("check %s needs Evaluate, Doc.Title, Severity and Layer", c.ID)
		}
		e.byID[c.ID] = c
	}
	for _, c := range cfg.Checks {
		reach := map[CheckID]bool{}
		e.reach(c.ID, reach)
		if reach[c.ID] {
			return nil, fmt.Errorf("check %s explains itself", c.ID)
		}
	}
	return e, nil
}

func (e *Engine) reach(id CheckID, seen map[CheckID]bool) {
	for _, x := range e.byID[id].Explains {
		if !seen[x] {
			seen[x] = true
			e.reach(x, seen)
		}
	}
}

// Checks gives the catalogue, sorted by ID.
func (e *Engine) Checks() []Check { return slices.Clone(e.cfg.Checks) }

// BadInput says that a request can't be answered as it is.
type BadInput struct {
	Field   string // "artifacts[0]", "target.node_id"
	Message string // what was expected, in one line
}

func (b *BadInput) Error() string { return b.Field + ": " + b.Message }

// collected is what one collector brought.
type collected struct {
	index  int
	facts  *evidence.Set
	timing CollectorTiming
}

// Diagnose answers a request. emit, if not nil, is told of progress, from one goroutine at a time.
//
// A fault found is a report, not an error. Errors: a [*BadInput] where nothing in the request could be used, or where
// Config.Validate refuses it, and ctx's own where it ended before a report could be made.
func (e *Engine) Diagnose(ctx context.Context, req Request, emit func(Event)) (*Report, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("diagnosing %s: %w", req.Target, err)
	}
	if e.cfg.Validate != nil {
		if err := e.cfg.Validate(req); err != nil {
			return nil, err
		}
	}
	if emit == nil {
		emit = func(Event) {}
	}
	started := e.cfg.Now()
	budget := e.cfg.Timeout
	if dl, ok := ctx.Deadline(); ok {
		budget = min(budget, time.Until(dl))
	}
	grace := min(maxGrace, budget/10)
	cctx, cancel := context.WithTimeout(ctx, budget-grace)
	defer cancel()

	var checks []Check
	results := map[CheckID]Result{}
	for _, c := range e.cfg.Checks {
		if c.Applies == nil || c.Applies(req) {
			checks = append(checks, c)
		} else {
			results[c.ID] = Result{Check: c.ID, Outcome: OutcomeSkipped, Reason: "does not apply to this request"}
		}
	}
	run := e.selectCollectors(req, checks)

	set := evidence.NewSet()
	done := make(chan collected, len(run)) // one slot each: a late collector never blocks
	ready := make([]chan struct{}, len(run))
	for i := range run {
		ready[i] = make(chan struct{})
	}
	for i, c := range run {
		go e.collect(cctx, req, c, i, waitFor(req, run, ready, i), set, done)
		emit(Event{CollectorStarted: c.Name})
	}

	var causes []Finding
	pending := map[int]bool{}
	for i := range run {
		pending[i] = true
	}
	evaluateReady := func(all bool) {
		for _, c := range checks {
			if _, was := results[c.ID]; was || (!all && waiting(c, run, pending)) {
				continue
			}
			found, res := e.evaluate(c, req, set)
			results[c.ID] = res
			causes = append(causes, found...)
			emit(Event{Check: &res})
		}
	}
	evaluateReady(false)
	timings := make([]CollectorTiming, 0, len(run))
	giveUp := time.NewTimer(budget)
	defer giveUp.Stop()
	for len(pending) > 0 {
		select {
		case got := <-done:
			delete(pending, got.index)
			set.Absorb(got.facts)
			close(ready[got.index])
			timings = append(timings, got.timing)
			emit(Event{Collector: &got.timing})
			evaluateReady(false)
			continue
		case <-ctx.Done():
			if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return nil, fmt.Errorf("diagnosing %s: %w", req.Target, ctx.Err())
			}
		case <-giveUp.C:
		}
		for i := range run {
			if !pending[i] {
				continue
			}
			delete(pending, i)
			t := CollectorTiming{Name: run[i].Name, Took: e.cfg.Now().Sub(started), Late: true, Err: "did not end before the deadline"}
			for _, n := range run[i].Provides {
				set.FailLate(n, evidence.Source{Collector: run[i].Name, Time: e.cfg.Now()}, errors.New("the collector did not end before the deadline"))
			}
			timings = append(timings, t)
			emit(Event{Collector: &t})
		}
	}
	evaluateReady(true)

	rep := e.report(req, set, causes, results)
	slices.SortFunc(timings, func(a, b CollectorTiming) int { return strings.Compare(a.Name, b.Name) })
	rep.Timing = Timing{Started: started, Took: e.cfg.Now().Sub(started), Collectors: timings}
	if bad := nothingUsable(req, set); bad != nil {
		return nil, bad
	}
	return rep, nil
}

// nothingUsable finds the request that names nothing live and whose every file is of no use.
func nothingUsable(req Request, set *evidence.Set) *BadInput {
	if req.Target.Live() || req.Target.Kubernetes() {
		return nil
	}
	files, err := evidence.Get(evidence.NewView(set), evidence.Artifacts)
	if err != nil || len(files) == 0 {
		return nil
	}
	var bad *BadInput
	for _, f := range files {
		if f.Used {
			return nil
		}
		if bad == nil {
			i := slices.IndexFunc(req.Artifacts, func(a Artifact) bool { return a.Name == f.Name || strings.HasPrefix(f.Name, a.Name+"/") })
			bad = &BadInput{Field: fmt.Sprintf("artifacts[%d]", max(i, 0)), Message: f.Name + ": " + f.Note}
		}
	}
	return bad
}

// selectCollectors gives the collectors that an applicable check, or the verdict, needs, and those that they need.
func (e *Engine) selectCollectors(req Request, checks []Check) []Collector {
	wanted := map[evidence.Name]bool{}
	for _, c := range checks {
		for _, n := range c.Needs {
			wanted[n] = true
		}
	}
	for _, n := range mandatory(req) {
		wanted[n] = true
	}
	wanted[evidence.Artifacts.Name()] = true
	picked := make([]bool, len(e.cfg.Collectors))
	for again := true; again; {
		again = false
		for i, c := range e.cfg.Collectors {
			if picked[i] || (c.Applies != nil && !c.Applies(req)) || !slices.ContainsFunc(c.Provides, func(n evidence.Name) bool { return wanted[n] }) {
				continue
			}
			picked[i], again = true, true
			for _, n := range c.Needs {
				wanted[n] = true
			}
		}
	}
	var out []Collector
	for i, c := range e.cfg.Collectors {
		if picked[i] {
			out = append(out, c)
		}
	}
	return out
}

// waitFor gives the channels that close when the facts that collector i needs are in.
func waitFor(req Request, run []Collector, ready []chan struct{}, i int) []chan struct{} {
	needs := run[i].Needs
	if run[i].Await != nil {
		needs = run[i].Await(req)
	}
	var out []chan struct{}
	for j, other := range run {
		if j != i && overlap(needs, other.Provides) {
			out = append(out, ready[j])
		}
	}
	return out
}

// waiting says whether a collector that check c needs is still under way.
func waiting(c Check, run []Collector, pending map[int]bool) bool {
	for i := range pending {
		if overlap(c.Needs, run[i].Provides) {
			return true
		}
	}
	return false
}

func overlap(a, b []evidence.Name) bool {
	return slices.ContainsFunc(a, func(n evidence.Name) bool { return slices.Contains(b, n) })
}

// collect runs one collector on a set of its own: what comes after the deadline reaches nobody.
func (e *Engine) collect(ctx context.Context, req Request, c Collector, i int, needs []chan struct{}, shared *evidence.Set, done chan<- collected) {
	for _, n := range needs {
		select {
		case <-n:
		case <-ctx.Done():
		}
	}
	timeout := c.Timeout
	if timeout <= 0 {
		timeout = collectorTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	own := evidence.NewSet()
	start := time.Now()
	err := func() (err error) {
		defer func() {
			if p := recover(); p != nil {
				e.cfg.Logger.Error("collector panicked", "collector", c.Name, "panic", p, "stack", string(debug.Stack()))
				err = errors.New("internal error in the collector")
			}
		}()
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("waiting for what it needs: %w", err)
		}
		return c.Collect(ctx, req, evidence.NewView(shared), own)
	}()
	t := CollectorTiming{Name: c.Name, Took: time.Since(start)}
	src := evidence.Source{Collector: c.Name, Time: e.cfg.Now()}
	if err != nil {
		t.Err = err.Error()
	}
	for _, n := range c.Provides {
		switch {
		case own.Has(n) || err == nil:
			// A collector that ended well and said nothing of a fact wasn't asked for it.
		case errors.Is(err, context.DeadlineExceeded):
			t.Late = true
			own.FailLate(n, src, err)
		default:
			own.Fail(n, src, err)
		}
	}
	done <- collected{index: i, facts: own, timing: t}
}

// Evaluate asks one check, by its ID, of the evidence in a set, as [Engine.Diagnose] does; findings are not folded.
func (e *Engine) Evaluate(id CheckID, req Request, set *evidence.Set) ([]Finding, Result) {
	c, ok := e.byID[id]
	switch {
	case !ok:
		return nil, Result{Check: id, Outcome: OutcomeSkipped, Reason: "no such check"}
	case c.Applies != nil && !c.Applies(req):
		return nil, Result{Check: id, Outcome: OutcomeSkipped, Reason: "does not apply to this request"}
	}
	return e.evaluate(c, req, set)
}

// evaluate asks one check.
func (e *Engine) evaluate(c Check, req Request, set *evidence.Set) (found []Finding, res Result) {
	res = Result{Check: c.ID, Outcome: OutcomePassed}
	defer func() {
		if p := recover(); p != nil {
			e.cfg.Logger.Error("check panicked", "check", c.ID, "panic", p, "stack", string(debug.Stack()))
			found, res = nil, Result{Check: c.ID, Outcome: OutcomeInconclusive, Reason: "internal error in the check"}
		}
	}()
	view := evidence.NewView(set)
	causes, err := c.Evaluate(req, view)
	var missing *evidence.Missing
	var skip *NotApplicable
	switch {
	case err == nil:
	case errors.As(err, &missing) && missing.Why == evidence.NotAsked:
		return nil, Result{Check: c.ID, Outcome: OutcomeSkipped, Reason: missing.Error()}
	case errors.As(err, &skip):
		return nil, Result{Check: c.ID, Outcome: OutcomeSkipped, Reason: skip.Reason}
	default:
		res := Result{Check: c.ID, Outcome: OutcomeInconclusive, Reason: err.Error()}
		if missing != nil {
			res.missing = missing.Name
		}
		return nil, res
	}
	for _, cause := range causes {
		found = append(found, finding(c, req, cause, view))
	}
	if len(found) > 0 {
		res.Outcome = OutcomeFound
	}
	return found, res
}
