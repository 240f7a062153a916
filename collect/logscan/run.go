package logscan

import (
	"cmp"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"

	"github.com/meshdiag/meshdiag/evidence"
)

// result is what was found in some lines that follow each other.
type result struct {
	bytes   int64
	lines   int
	matched int
	dropped int
	records []record
	watched func(text []byte, number int) // the watch's, of these lines; nil where it was shown none
	done    func(before int)
	err     error // reading ended here
}

// run is one scan under way. Its workers hand in results in any order; they are added up in that of the text.
type run struct {
	scanner *Scanner
	matchers
	name string // of the file
	src  evidence.Source

	mu      sync.Mutex
	turn    *sync.Cond      // next has grown, or the run has stopped
	waiting map[int]*result // results whose turn hasn't come
	next    int             // whose turn it is
	stopped bool            // nothing that comes later counts
	err     error
	broken  any // what a worker panicked with

	stats  Stats
	groups map[string]*evidence.LogMessage
	kept   []int // distinct messages, by signature
}

func newRun(s *Scanner, name string, src evidence.Source) *run {
	r := &run{scanner: s, matchers: s.matchersFor(nil), name: name, src: src, waiting: map[int]*result{}, groups: map[string]*evidence.LogMessage{}, kept: make([]int, len(s.signatures))}
	r.turn = sync.NewCond(&r.mu)
	return r
}

// learn fits the matcher to the text's start. A text that is all there is isn't worth it.
func (r *run) learn(sample []byte) {
	if most := r.scanner.sizes.sample; len(sample) >= most {
		r.matchers = r.scanner.matchersFor(sample[:most])
	}
}

// deliver hands in the result of number i, and those after it that waited for it. It holds a caller back who is too far
// ahead of the others, and says whether there is any use in going on.
func (r *run) deliver(i int, res *result) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i-r.next >= r.scanner.sizes.ahead && !r.stopped {
		r.turn.Wait()
	}
	r.waiting[i] = res
	for ; ; r.next++ {
		res, ok := r.waiting[r.next]
		if !ok {
			break
		}
		delete(r.waiting, r.next)
		if !r.stopped {
			r.add(res)
		}
	}
	r.turn.Broadcast()
	return !r.stopped
}

// guard runs a worker. A panic in it is kept for the goroutine that asked for the scan.
func (r *run) guard(work func()) {
	defer func() {
		if p := recover(); p != nil {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.broken = fmt.Sprintf("%v\n%s", p, debug.Stack())
			r.stopped = true
			r.turn.Broadcast()
		}
	}()
	work()
}

// add adds a result to those before it.
func (r *run) add(res *result) {
	for i := range res.records {
		r.count(&res.records[i])
	}
	if res.done != nil {
		res.done(r.stats.Lines)
	}
	r.stats.Bytes += res.bytes
	r.stats.Lines += res.lines
	r.stats.Matched += res.matched
	r.stats.Dropped += res.dropped
	if res.err != nil {
		r.err, r.stopped = res.err, true
	}
}

func (r *run) count(c *record) {
	line, last := r.stats.Lines+c.line+1, r.stats.Lines+c.last+1
	g := r.groups[c.kind.key]
	if g == nil {
		if r.kept[c.kind.sig] >= maxPerSignature {
			r.stats.Dropped += c.count
			return
		}
		r.kept[c.kind.sig]++
		g = &evidence.LogMessage{Signature: r.scanner.signatures[c.kind.sig].id, Fields: c.kind.fields, File: r.name, Line: line, Text: c.text, Source: r.src}
		g.Source.Detail = fmt.Sprintf("%s line %d", r.name, line)
		r.groups[c.kind.key] = g
	}
	g.Count += c.count
	g.LastLine = last
	if g.First.IsZero() || !c.from.IsZero() && c.from.Before(g.First) {
		g.First = c.from
	}
	if c.to.After(g.Last) {
		g.Last = c.to
	}
}

// outcome gives what was found, once all workers have ended.
func (r *run) outcome() ([]evidence.LogMessage, Stats, error) {
	if r.broken != nil {
		panic(r.broken)
	}
	out := make([]evidence.LogMessage, 0, len(r.groups))
	keys := make(map[*evidence.LogMessage]string, len(r.groups))
	order := make([]*evidence.LogMessage, 0, len(r.groups))
	for k, g := range r.groups {
		keys[g] = k
		order = append(order, g)
	}
	slices.SortFunc(order, func(a, b *evidence.LogMessage) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(keys[a], keys[b]))
	})
	for _, g := range order {
		out = append(out, *g)
	}
	if r.err != nil {
		return out, r.stats, fmt.Errorf("reading %s: %w", r.name, r.err)
	}
	return out, r.stats, nil
}
