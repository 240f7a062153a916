package logscan

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/meshdiag/meshdiag/evidence"
)

// task is a block of whole lines to be looked at, and its number.
type task struct {
	number int
	block  []byte
}

// stream scans what in gives: this goroutine reads and cuts, others look.
func (r *run) stream(in io.Reader) ([]evidence.LogMessage, Stats, error) {
	size := r.scanner.sizes
	text, err := decoded(in)
	if err != nil {
		r.err = err
		return r.outcome()
	}
	src := &source{r: text}
	buf := make([]byte, size.block)
	n, err := io.ReadFull(src, buf)
	if isEnd(err) {
		// All of it: most texts are a few lines.
		w := newWorker(r.scanner, r.matchers)
		w.block(buf[:n])
		r.deliver(0, w.res)
		return r.outcome()
	}
	r.learn(buf[:n])

	// Besides buf, one block is being filled, one waits, and each worker has one.
	pool := make(chan []byte, size.workers+3)
	for range size.workers + 2 {
		pool <- make([]byte, size.block)
	}
	tasks := make(chan task, 1)
	var wg sync.WaitGroup
	for range size.workers {
		wg.Go(func() {
			r.guard(func() {
				w := newWorker(r.scanner, r.matchers)
				for t := range tasks {
					res := w.begin()
					w.block(t.block)
					r.deliver(t.number, res)
					pool <- t.block[:size.block]
				}
			})
			for t := range tasks { // after a panic, so that the reader finds room
				pool <- t.block[:size.block]
			}
		})
	}
	r.guard(func() {
		defer close(tasks)
		r.cut(src, buf, n, err, tasks, pool)
	})
	wg.Wait()
	return r.outcome()
}

// cut reads blocks, of which buf[:n] is the first, and hands their whole lines out. Lines that don't fit in a block it looks
// at itself. err is what ended the reading of buf.
func (r *run) cut(src *source, buf []byte, n int, err error, tasks chan<- task, pool <-chan []byte) {
	own := newWorker(r.scanner, r.matchers)
	for number := 0; ; number++ {
		whole := bytes.LastIndexByte(buf[:n], '\n') + 1
		switch {
		case isEnd(err):
			tasks <- task{number, buf[:n]}
			return
		case err != nil:
			tasks <- task{number, buf[:whole]}
			r.deliver(number+1, &result{err: err})
			return
		case whole > 0:
			next := <-pool
			kept := copy(next, buf[whole:n])
			tasks <- task{number, buf[:whole]}
			buf = next
			n, err = io.ReadFull(src, buf[kept:])
			n += kept
		default:
			src.back = append(bytes.Clone(buf[:n]), src.back...)
			res := own.begin()
			var rest []byte
			rest, err = own.long(src)
			if err != nil && !isEnd(err) {
				res.err = err
			}
			if !r.deliver(number, res) || err != nil {
				return
			}
			src.back = append(rest, src.back...)
			n, err = io.ReadFull(src, buf)
		}
	}
}

func isEnd(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }

// file scans a file of size bytes: workers read and look, a block each at a time.
func (r *run) file(ctx context.Context, f io.ReaderAt, length int64) ([]evidence.LogMessage, Stats, error) {
	size := r.scanner.sizes
	start := make([]byte, min(length, int64(size.sample)))
	if r.err = readAt(ctx, f, start, 0); r.err != nil {
		return r.outcome()
	}
	if isUTF16(start) {
		return r.stream(&section{ctx, f, 0, length})
	}
	r.learn(start)
	from := int64(0)
	if bytes.HasPrefix(start, []byte(utf8Mark)) {
		from = int64(len(utf8Mark))
	}
	blocks := (length - from + int64(size.block) - 1) / int64(size.block)
	var taken atomic.Int64
	var wg sync.WaitGroup
	for range min(int64(size.workers), blocks) {
		wg.Go(func() {
			r.guard(func() {
				w := newWorker(r.scanner, r.matchers)
				buf := make([]byte, 1+size.block+size.tail)
				for {
					i := taken.Add(1) - 1
					if i >= blocks {
						return
					}
					res := w.begin()
					first := from + i*int64(size.block)
					res.err = w.part(ctx, f, length, first, min(first+int64(size.block), length), i == 0, buf)
					if !r.deliver(int(i), res) {
						return
					}
				}
			})
		})
	}
	wg.Wait()
	return r.outcome()
}

// part looks at the lines of a file that begin in [from, to). whole says that a line begins at from for sure. buf has room
// for the part, a byte before it and some behind.
func (w *worker) part(ctx context.Context, f io.ReaderAt, length, from, to int64, whole bool, buf []byte) error {
	at := from
	if !whole {
		at-- // if it's a line feed, a line begins at from
	}
	b := buf[:min(length-at, int64(len(buf)))]
	if err := readAt(ctx, f, b, at); err != nil {
		return err
	}
	last := int(to - 1 - at) // the last place at which a line that is looked at here may begin
	start := 0
	if !whole {
		if start = bytes.IndexByte(b[:last], '\n') + 1; start == 0 {
			return nil
		}
	}
	if i := bytes.IndexByte(b[last:], '\n'); i >= 0 {
		w.block(b[start : last+i+1])
		return nil
	}
	if at+int64(len(b)) == length {
		w.block(b[start:])
		return nil
	}
	tail := start + bytes.LastIndexByte(b[start:last], '\n') + 1
	// Looking may change b, so what is to be read again isn't taken from it.
	w.block(b[start:tail])
	_, err := w.long(&section{ctx, f, at + int64(tail), length})
	if isEnd(err) {
		return nil
	}
	return err
}

// section reads a file from a place to its end.
type section struct {
	ctx     context.Context
	f       io.ReaderAt
	at, end int64
}

func (s *section) Read(p []byte) (int, error) {
	if s.at >= s.end {
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), s.end-s.at)]
	if err := readAt(s.ctx, s.f, p, s.at); err != nil {
		return 0, err
	}
	s.at += int64(len(p))
	return len(p), nil
}

// readAt fills b.
func readAt(ctx context.Context, f io.ReaderAt, b []byte, at int64) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("stopped: %w", err)
	}
	n, err := f.ReadAt(b, at)
	switch {
	case n == len(b):
		return nil
	case err == nil || isEnd(err):
		return errors.New("the file got shorter meanwhile")
	default:
		return err
	}
}

// long looks at one line of any length, from its start. rest is what was read beyond it; err is io.EOF where the text ends
// with it.
//
// It keeps what is within reach of the window that it looks at, so that it finds what it would in the whole line.
func (w *worker) long(in io.Reader) (rest []byte, err error) {
	const piece = 32 << 10
	raw := make([]byte, piece)
	text := make([]byte, 0, 2*reach+hop+2*piece)
	var head []byte
	var strip stripper
	var length, base, done int // of the line so far; where text begins in it; up to where it was looked at
	w.hits = w.hits[:0]
	clear(w.tried)
	look := func() {
		start := max(0, done-reach)
		w.window(text[start-base:min(done+hop+reach-base, len(text))], nil, done-start, head, w.res.lines)
		done += hop
		if start = max(0, done-reach); start > base {
			text = text[:copy(text, text[start-base:])]
			base = start
		}
	}
	ended := false
	for !ended && err == nil {
		var n int
		n, err = in.Read(raw)
		got := raw[:n]
		if i := bytes.IndexByte(got, '\n'); i >= 0 {
			ended, err = true, nil // an error comes again with the next read
			rest = bytes.Clone(got[i+1:])
			got = got[:i]
			w.res.bytes++
		}
		got = strip.strip(got)
		length += len(got)
		text = append(text, got...)
		if base == 0 {
			head = bytes.Clone(text[:min(len(text), timeReach)])
		}
		// A byte more than the window needs: the line's last one may be a carriage return, which isn't of the line.
		for length > done+hop+reach {
			look()
		}
	}
	w.res.bytes += int64(length)
	if bytes.HasSuffix(text, []byte{'\r'}) {
		text = text[:len(text)-1]
		head = head[:min(len(head), base+len(text))]
	}
	if base == 0 && w.watches(text) {
		w.show(text, w.res.lines)
	}
	for done < base+len(text) {
		look()
	}
	if len(w.hits) > 0 {
		w.res.matched++
	}
	if ended || length > 0 {
		w.res.lines++
	}
	return rest, err
}
