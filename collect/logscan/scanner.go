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
	// maxWorkers bounds the goroutines that look at blocks: beyond, memory is the limit, not the processor.
	maxWorkers = 8
)

// sizes are how a scan cuts its text. Tests take small ones.
type sizes struct {
	block   int // what is looked at at a time: little enough for the second level cache, enough to make the calls negligible
	tail    int // what is read of a file beyond a block, for its last line: longer ones are read on their own
	sample  int // what is looked at to learn which grams are rare: a few hundred lines
	ahead   int // blocks that may be looked at before an earlier one is done
	workers int
}

func defaultSizes() sizes {
	return sizes{block: 256 << 10, tail: 8 << 10, sample: 64 << 10, ahead: 256, workers: min(runtime.GOMAXPROCS(0), maxWorkers)}
}

// Scanner looks for the messages of its signatures. It may be used by several goroutines.
type Scanner struct {
	signatures []signature
	anchors    [][]byte
	owner      []int // the signature of each anchor
	matcher    *matcher
	sizes      sizes
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
func New(sigs []diagnose.Signature) (*Scanner, error) {
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
	s.matcher = newMatcher(s.anchors, nil)
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
		switch {
		case len(a) < MinAnchor:
			return fmt.Errorf("anchor %q has %d bytes, needs at least %d", a, len(a), MinAnchor)
		case len(a) > maxAnchor:
			return fmt.Errorf("anchor %.40q… has %d bytes, may have %d", a, len(a), maxAnchor)
		case strings.ContainsAny(a, "\n\r"):
			return fmt.Errorf("anchor %q holds a line break", a)
		}
		for _, sp := range spellings(a) {
			s.anchors = append(s.anchors, []byte(sp))
			s.owner = append(s.owner, len(s.signatures))
		}
	}
	s.signatures = append(s.signatures, signature{id: sig.ID, pattern: re, names: re.SubexpNames()})
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
