package logscan

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// The bounds of a scan.
const (
	// MinAnchor is the least length of an anchor: a shorter one is in too many lines, and the matcher's stride would shrink.
	MinAnchor = 8
	// maxAnchor keeps an anchor well within what is kept on either side of a position in a long line.
	maxAnchor = 1 << 10
	// reach is how much of a long line the pattern is given before and after an anchor's window. Envoy's longest rejections
	// quote a whole resource, some tens of kilobytes.
	reach = 32 << 10
	// hop is the length of the windows of a line; each is looked at once a signature, so a line costs its length a few times
	// over, whatever is in it.
	hop = 32 << 10
	// maxWindows bounds the windows of one line that a signature's pattern is tried on. A line of 50 MB has 1,600, which for
	// many signatures would take minutes; a real message stands in a line once.
	maxWindows = 64
	// maxPerSignature bounds the distinct messages kept of one signature. A person reads a handful; a thousand nodes may well
	// be named.
	maxPerSignature = 1000
	// maxText bounds the excerpt of a line: a screenful.
	maxText = 2000
	// maxField bounds one field's value: resource names and reasons are shorter by far.
	maxField = 1000
	// maxWatched bounds a line that a [Watch] is shown: Envoy takes request headers of 60 KiB, of which an access log names a
	// few.
	maxWatched = 64 << 10
	// maxWorkers bounds the goroutines that look at blocks: beyond, memory is the limit, not the processor.
	maxWorkers = 8
)

// sizes are how a scan cuts its text. Tests take small ones.
type sizes struct {
	block   int // what is looked at at a time: little enough for the second level cache, enough to make the calls negligible
	tail    int // what is read of a file beyond a block, for its last line: longer ones are read on their own
	sample  int // what is looked at to learn which grams are rare: a few hundred lines
	ahead   int // blocks that may be looked at before an earlier one is done: what was found in them is kept meanwhile
	workers int
}

func defaultSizes() sizes {
	return sizes{block: 256 << 10, tail: 8 << 10, sample: 64 << 10, ahead: 32, workers: min(runtime.GOMAXPROCS(0), maxWorkers)}
}

// Scanner looks for the messages of its signatures. It may be used by several goroutines.
type Scanner struct {
	signatures []signature
	anchors    [][]byte
	owner      []int    // the signature of each anchor
	watched    [][]byte // anchors of lines that a watch is shown
	found      matchers // of a text that nothing is known of
	watching   *matcher // for the watched anchors alone
	watch      Watch
	sizes      sizes
}

// matchers are for a whole text, and for the lines in it that hold an anchor.
type matchers struct {
	any *matcher // a signature's or a watched one
	own *matcher // a signature's
}

// matchersFor gives those that fit a text like the sample; nil is a text that nothing is known of.
func (s *Scanner) matchersFor(sample []byte) matchers {
	found := s.found
	if sample != nil {
		found = s.newMatchers(gramCounts(sample))
	}
	if s.watch == nil {
		found.any = found.own
	}
	return found
}

func (s *Scanner) newMatchers(seen []uint32) matchers {
	own := newMatcher(s.anchors, seen)
	if len(s.watched) == 0 {
		return matchers{own, own}
	}
	return matchers{newMatcher(slices.Concat(s.anchors, s.watched), seen), own}
}

// Watch looks at the lines that hold a watched anchor, beside the scan for messages. It is called for each block of the text
// that has such lines, by several goroutines at once. line is given each of them, without its line feed, and its number in
// the block, from 0. done is called afterwards, in the order of the text and never at the same time as another, with the
// number of lines before the block. What done isn't called for was not reached.
//
// A line of more than 64 KiB isn't shown.
type Watch func() (line func(text []byte, number int), done func(before int))

// Watched gives a scanner like s that shows w the lines with a watched anchor.
func (s *Scanner) Watched(w Watch) *Scanner {
	out := *s
	out.watch = w
	return &out
}

type signature struct {
	id      string
	pattern *regexp.Regexp
	names   []string
}

// Stats says what a scan went through.
type Stats struct {
	Bytes   int64 // of text, byte order marks and colours left out
	Lines   int
	Matched int // lines with a known message
	Dropped int // occurrences that aren't told: of distinct messages beyond the thousandth of their signature, and far into a line of megabytes
}

// New makes a scanner. Checks may share a signature; it is looked for once. The error names the signature that is wrong: an
// anchor of less than [MinAnchor] bytes, a pattern that isn't a regular expression (RE2), or one id with two meanings.
//
// A pattern can't tell times of day apart that stand near a line's start: lines that differ there alone are taken for the
// same message. It may capture them.
//
// watched are anchors of lines that are of interest besides: see [Scanner.Watched].
func New(sigs []diagnose.Signature, watched ...string) (*Scanner, error) {
	s := &Scanner{sizes: defaultSizes()}
	seen := map[string]diagnose.Signature{}
	for _, sig := range sigs {
		if old, ok := seen[sig.ID]; ok {
			if old.Pattern != sig.Pattern || !slices.Equal(old.Anchors, sig.Anchors) {
				return nil, fmt.Errorf("signature %q is given twice, with different anchors or patterns", sig.ID)
			}
			continue
		}
		seen[sig.ID] = sig
		if err := s.add(sig); err != nil {
			return nil, fmt.Errorf("signature %q: %w", sig.ID, err)
		}
	}
	for _, a := range watched {
		if err := checkAnchor(a); err != nil {
			return nil, fmt.Errorf("watched: %w", err)
		}
		for _, sp := range spellings(a) {
			s.watched = append(s.watched, []byte(sp))
		}
	}
	s.watching = newMatcher(s.watched, nil)
	s.found = s.newMatchers(nil)
	return s, nil
}

func (s *Scanner) add(sig diagnose.Signature) error {
	switch {
	case sig.ID == "":
		return errors.New("has no id")
	case len(sig.Anchors) == 0:
		return errors.New("has no anchor")
	case sig.Pattern == "":
		return errors.New("has no pattern")
	}
	re, err := regexp.Compile(sig.Pattern)
	if err != nil {
		return fmt.Errorf("pattern: %w", err)
	}
	for _, a := range sig.Anchors {
		if err := checkAnchor(a); err != nil {
			return err
		}
		for _, sp := range spellings(a) {
			s.anchors = append(s.anchors, []byte(sp))
			s.owner = append(s.owner, len(s.signatures))
		}
	}
	s.signatures = append(s.signatures, signature{id: sig.ID, pattern: re, names: re.SubexpNames()})
	return nil
}

func checkAnchor(a string) error {
	switch {
	case len(a) < MinAnchor:
		return fmt.Errorf("anchor %q has %d bytes, needs at least %d", a, len(a), MinAnchor)
	case len(a) > maxAnchor:
		return fmt.Errorf("anchor %.40q… has %d bytes, may have %d", a, len(a), maxAnchor)
	case strings.ContainsAny(a, "\n\r"):
		return fmt.Errorf("anchor %q holds a line break", a)
	}
	return nil
}

// Scan reads a log to its end and gives its known messages, in the order of their first lines. file and src are what the
// messages will name. Where reading fails, what was found so far comes with the error.
//
// It reads on the caller's goroutine while others look at what was read, and has none left when it returns.
func (s *Scanner) Scan(r io.Reader, file string, src evidence.Source) ([]evidence.LogMessage, Stats, error) {
	return newRun(s, file, src).stream(r)
}

// ScanFile does the same for a file of size bytes, of which it reads several parts at once. It ends soon after ctx does, with
// its error. What is appended to the file meanwhile isn't read; a file that got shorter is an error.
func (s *Scanner) ScanFile(ctx context.Context, f io.ReaderAt, size int64, file string, src evidence.Source) ([]evidence.LogMessage, Stats, error) {
	return newRun(s, file, src).file(ctx, f, size)
}
