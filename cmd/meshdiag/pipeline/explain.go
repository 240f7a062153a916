package pipeline

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/meshdiag/meshdiag/checks"
	"github.com/meshdiag/meshdiag/collect/accesslog"
	"github.com/meshdiag/meshdiag/collect/artifact"
	"github.com/meshdiag/meshdiag/collect/logscan"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

const (
	// maxUnpacked bounds what a gzip file is unpacked to. It is far beyond a day's log of a busy gateway, and takes seconds; a
	// file made to unpack without end stops there.
	maxUnpacked = 64 << 30
	// maxHarmless bounds the notes on messages that tell no fault, and maxQuote the bytes of each one's text.
	maxHarmless = 20
	maxQuote    = 200
)

// ErrEmpty says that a text to be explained holds nothing.
var ErrEmpty = errors.New("is empty")

// ErrArchive says that what is to be explained is an archive of files, not one text.
var ErrArchive = errors.New("is an archive; explain reads one log or text, and meshdiag diagnose -f reads archives")

// Explain reads a log or an error text of any length, and says what the messages in it that the checks know tell. It asks no
// live system, and takes the same memory for a line as for a terabyte. name is how the report calls the text; gzip is
// unpacked. A regular file is read from where it stands, in several places at once.
//
// Errors: [ErrEmpty], [ErrArchive], what reading gave, and ctx's own, where it ended first.
func Explain(ctx context.Context, name string, r io.Reader) (*diagnose.Report, error) {
	scanner, err := logscan.New(checks.Signatures(), accesslog.Anchors()...)
	if err != nil {
		return nil, fmt.Errorf("log signatures: %w", err)
	}
	src := evidence.Source{Collector: "file", Detail: name, Vantage: evidence.FromWorkload, Time: time.Now(), Pasted: true}
	found, err := scanLog(ctx, scanner, name, r, src)
	switch {
	case err != nil:
		return nil, err
	case found.stats.Bytes == 0:
		return nil, fmt.Errorf("%s %w", name, ErrEmpty)
	}
	messages, stats, requests := found.messages, found.stats, found.requests.List()
	for i := range messages {
		messages[i].Of = stats.Lines
	}
	entry := evidence.ArtifactFile{Name: name, Kind: "log", Note: summary(stats) + requestNote(found.requests), Used: true}
	engine, err := diagnose.New(diagnose.Config{Checks: checks.All(), Collectors: []diagnose.Collector{{
		Name:     "log",
		Provides: []evidence.Name{evidence.Artifacts.Name(), evidence.LogMessages.Name(), evidence.AccessLogs.Name()},
		Collect: func(_ context.Context, _ diagnose.Request, _ *evidence.View, set *evidence.Set) error {
			evidence.Put(set, evidence.Artifacts, []evidence.ArtifactFile{entry}, src)
			evidence.Put(set, evidence.LogMessages, messages, src)
			if len(requests) > 0 {
				evidence.Put(set, evidence.AccessLogs, requests, src)
			}
			return nil
		},
	}}})
	if err != nil {
		return nil, fmt.Errorf("the checks: %w", err)
	}
	rep, err := engine.Diagnose(ctx, diagnose.Request{}, nil)
	if err != nil {
		return nil, err
	}
	harmless := withoutCause(messages, rep.Causes)
	rep.Notes = append(rep.Notes, harmless...)
	if rep.Verdict == diagnose.Inconclusive {
		rep.Headline = fmt.Sprintf("Nothing that meshdiag knows is in %s.", plural(stats.Lines, "the line read", "the %d lines read"))
		if len(messages) > 0 || len(requests) > 0 {
			rep.Headline = fmt.Sprintf("What meshdiag knows in %s tells no fault.", plural(stats.Lines, "the line read", "the %d lines read"))
		}
	}
	return rep, nil
}

// scanned is what a text holds.
type scanned struct {
	messages []evidence.LogMessage
	stats    logscan.Stats
	requests *accesslog.Groups
}

// scanLog scans a file in place where it can, else as it comes. It returns when ctx ends, even where a read hangs.
func scanLog(ctx context.Context, s *logscan.Scanner, name string, r io.Reader, src evidence.Source) (scanned, error) {
	type outcome struct {
		scanned
		err      error
		panicked any
	}
	done := make(chan outcome, 1)
	go func() {
		var o outcome
		defer func() {
			o.panicked = recover()
			done <- o
		}()
		o.scanned, o.err = scanNow(ctx, s, name, r, src)
	}()
	select {
	case o := <-done:
		if o.panicked != nil {
			panic(o.panicked) // on the caller's goroutine, which may know what to do
		}
		return o.scanned, o.err
	case <-ctx.Done():
		return scanned{}, fmt.Errorf("reading %s: %w", name, ctx.Err())
	}
}

func scanNow(ctx context.Context, s *logscan.Scanner, name string, r io.Reader, src evidence.Source) (scanned, error) {
	out := scanned{requests: accesslog.New(name, src)}
	s = s.Watched(out.requests.Block)
	if f, ok := r.(*os.File); ok {
		st, err := f.Stat()
		if err != nil {
			return scanned{}, fmt.Errorf("reading %s: %w", name, err)
		}
		switch at, err := f.Seek(0, io.SeekCurrent); {
		case st.IsDir():
			return scanned{}, fmt.Errorf("%s is a folder; a file was expected", name)
		case st.Mode().IsRegular() && err == nil && st.Size() > at && !isGzip(f, at) && !isEntries(f, at) && !isTar(f, at):
			size := st.Size() - at
			out.messages, out.stats, err = s.ScanFile(ctx, io.NewSectionReader(f, at, size), size, name, src)
			return out, err
		case st.Mode()&os.ModeNamedPipe != 0:
			widen(f)
		}
	}
	in, err := unpacked(&stoppable{ctx, r})
	if err != nil {
		return scanned{}, fmt.Errorf("reading %s: %w", name, err)
	}
	head := make([]byte, tarHead)
	n, err := io.ReadFull(in, head)
	switch {
	case err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
		return scanned{}, fmt.Errorf("reading %s: %w", name, err)
	case tarMagic(head[:n]):
		return scanned{}, fmt.Errorf("%s %w", name, ErrArchive)
	}
	in = io.MultiReader(bytes.NewReader(head[:n]), in)
	if in, err = entries(in); err != nil {
		return scanned{}, fmt.Errorf("reading %s: %w", name, err)
	}
	out.messages, out.stats, err = s.Scan(in, name, src)
	return out, err
}

// entriesStart is how JSON begins that isn't one object a line. Envoy's own lines begin with a bracket and a digit.
var entriesStart = regexp.MustCompile(`^\s*(?:\[\s*\{|\{\s*\n)`)

const (
	// maxEntries bounds the JSON that is looked at as a whole, in bytes: tens of thousands of entries. What is larger is read line by line.
	maxEntries = 16 << 20
	// entriesHead is how much of a text is looked at to tell whether it may be such JSON.
	entriesHead = 64
)

func isEntries(f io.ReaderAt, at int64) bool {
	head := make([]byte, entriesHead)
	n, _ := f.ReadAt(head, at)
	return entriesStart.Match(head[:n])
}

// entries gives Cloud Logging's entries a line each, where a text is a JSON document of them, and any other text as it is.
func entries(r io.Reader) (io.Reader, error) {
	head := make([]byte, entriesHead)
	n, err := io.ReadFull(r, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, err
	}
	r = io.MultiReader(bytes.NewReader(head[:n]), r)
	if !entriesStart.Match(head[:n]) {
		return r, nil
	}
	text, err := io.ReadAll(io.LimitReader(r, maxEntries+1))
	if err != nil {
		return nil, err
	}
	if len(text) <= maxEntries {
		if lines, ok := artifact.LogLines(text); ok {
			return lines, nil
		}
	}
	return io.MultiReader(bytes.NewReader(text), r), nil
}

// stoppable ends reading with ctx.
type stoppable struct {
	ctx context.Context
	r   io.Reader
}

func (s *stoppable) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, fmt.Errorf("stopped: %w", err)
	}
	return s.r.Read(p)
}

const (
	// tarHead is the length of a tar archive's first header, and tarMark where the mark stands in it.
	// https://pubs.opengroup.org/onlinepubs/9799919799/utilities/pax.html
	tarHead = 512
	tarMark = 257
)

func tarMagic(head []byte) bool {
	return len(head) == tarHead && bytes.HasPrefix(head[tarMark:], []byte("ustar"))
}

func isTar(f io.ReaderAt, at int64) bool {
	head := make([]byte, tarHead)
	n, _ := f.ReadAt(head, at)
	return tarMagic(head[:n])
}

// IsArchive says whether a text is a tar archive, in gzip or not.
func IsArchive(text []byte) bool {
	in, err := unpacked(bytes.NewReader(text))
	if err != nil {
		return false
	}
	head := make([]byte, tarHead)
	n, _ := io.ReadFull(in, head)
	return tarMagic(head[:n])
}

var gzipMark = []byte{0x1f, 0x8b}

func isGzip(f io.ReaderAt, at int64) bool {
	mark := make([]byte, len(gzipMark))
	_, err := f.ReadAt(mark, at)
	return err == nil && bytes.Equal(mark, gzipMark)
}

// unpacked unpacks gzip, and gives any other text as it is.
func unpacked(r io.Reader) (io.Reader, error) {
	mark := make([]byte, len(gzipMark))
	n, err := io.ReadFull(r, mark)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, err
	}
	r = io.MultiReader(bytes.NewReader(mark[:n]), r)
	if !bytes.Equal(mark[:n], gzipMark) {
		return r, nil
	}
	z, err := gzip.NewReader(r)
	if err != nil {
		return nil, fmt.Errorf("gzip: %w", err)
	}
	return &bounded{z, maxUnpacked}, nil
}

// bounded fails where more than left bytes come.
type bounded struct {
	r    io.Reader
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, fmt.Errorf("gzip: it unpacks to more than %d GiB", int64(maxUnpacked)>>30)
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		// Else the scan would take it for the end of the text.
		err = errors.New("gzip: it ends in the middle (cut off?)")
	}
	return n, err
}

func summary(s logscan.Stats) string {
	out := fmt.Sprintf("no known message in %s", plural(s.Lines, "1 line", "%d lines"))
	if s.Matched > 0 {
		out = fmt.Sprintf("%s with a known message, of %d", plural(s.Matched, "1 line", "%d lines"), s.Lines)
	}
	if s.Dropped > 0 {
		out += fmt.Sprintf("; %s of further messages left out", plural(s.Dropped, "1 occurrence", "%d occurrences"))
	}
	return out
}

// requestNote says how many requests a text tells of; "" where it tells of none.
func requestNote(g *accesslog.Groups) string {
	if g.Entries() == 0 {
		return ""
	}
	out := "; " + plural(g.Entries(), "1 request", "%d requests") + " of an access log"
	if n := g.Dropped(); n > 0 {
		out += fmt.Sprintf(", %d of them left out", n)
	}
	return out
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return fmt.Sprintf(many, n)
}

// withoutCause tells of the messages whose signature no cause rests on: the reader sees that they were recognised, and
// found harmless.
func withoutCause(messages []evidence.LogMessage, causes []diagnose.Finding) []string {
	meaning := map[string]string{}
	for _, s := range checks.Signatures() {
		meaning[s.ID] = s.Meaning
	}
	cited := map[string]bool{}
	for _, c := range causes {
		for _, x := range c.Evidence {
			cited[x.Source.Detail] = true
		}
	}
	var order []string
	by := map[string][]evidence.LogMessage{}
	for _, m := range messages {
		if by[m.Signature] == nil {
			order = append(order, m.Signature)
		}
		by[m.Signature] = append(by[m.Signature], m)
	}
	var out []string
	for _, id := range order {
		if slices.ContainsFunc(by[id], func(m evidence.LogMessage) bool { return cited[m.Source.Detail] }) {
			continue
		}
		if len(out) == maxHarmless {
			out = append(out, "more known messages that tell no fault are not listed")
			break
		}
		out = append(out, note(id, meaning[id], by[id]))
	}
	return out
}

// note tells of one signature's messages, of which there is at least one.
func note(id, meaning string, l []evidence.LogMessage) string {
	first, count, last, from, to := l[0], 0, 0, time.Time{}, time.Time{}
	for _, m := range l {
		count += m.Count
		last = max(last, m.LastLine)
		if from.IsZero() || !m.First.IsZero() && m.First.Before(from) {
			from = m.First
		}
		if m.Last.After(to) {
			to = m.Last
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "known, and no fault as it stands here: %s (%s), ", meaning, id)
	if count == 1 {
		fmt.Fprintf(&b, "on line %d", first.Line)
	} else {
		fmt.Fprintf(&b, "%d times, lines %d to %d", count, first.Line, last)
	}
	if !from.IsZero() {
		fmt.Fprintf(&b, ", %s", from.Format(time.RFC3339))
		if !to.Equal(from) {
			fmt.Fprintf(&b, " to %s", to.Format(time.RFC3339))
		}
	}
	text := first.Text
	if len(text) > maxQuote {
		text = "…" + strings.ToValidUTF8(text[len(text)-maxQuote:], "") // a line begins with what the logger adds
	}
	fmt.Fprintf(&b, "; first: %s", text)
	return b.String()
}
