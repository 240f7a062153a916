package pipeline

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"

	"github.com/meshdiag/meshdiag/collect/accesslog"
)

const (
	// requestBlock is what is looked at for access log entries at a time: the cache of a core holds it.
	requestBlock = 256 << 10
	// requestSample is how much of a text without any entry is looked at for entries. Looking takes several times as long as
	// the scan for messages, and a proxy that logs requests has one among its first hundred thousand lines.
	requestSample = 16 << 20
)

// errNoRequests ends the look for entries.
var errNoRequests = errors.New("no access log")

// requests counts the access log entries of a text, as long as there is hope of any. What is kept is bounded.
type requests struct {
	*accesslog.Groups
	seen int64
	cut  bool // there was none in the sample, and the rest was not looked at
}

// Write looks at the next part of the text. It never fails: what is read besides goes on.
func (q *requests) Write(p []byte) (int, error) {
	if q.cut = q.cut || q.seen >= requestSample && q.Entries() == 0; q.cut {
		return len(p), nil
	}
	q.seen += int64(len(p))
	return q.Groups.Write(p)
}

// note says how many requests a text tells of; "" where it was read to its end and tells of none.
func (q *requests) note() string {
	switch {
	case q.cut:
		return fmt.Sprintf("; no request of an access log in its first %d MiB, where they were looked for", requestSample>>20)
	case q.Entries() == 0:
		return ""
	}
	out := "; " + plural(q.Entries(), "1 request", "%d requests") + " of an access log"
	if n := q.Dropped(); n > 0 {
		out += fmt.Sprintf(", %d of them left out", n)
	}
	return out
}

// untilCut is the writer that ends a copy once there is no hope.
type untilCut struct{ *requests }

func (u untilCut) Write(p []byte) (int, error) {
	n, err := u.requests.Write(p)
	if err == nil && u.cut {
		err = errNoRequests
	}
	return n, err
}

// countRequests counts the entries of a file while others scan it for messages. wait waits for the end, and must be called.
func countRequests(ctx context.Context, f io.Reader, into *requests) (wait func() error) {
	var err error
	var panicked any
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { panicked = recover() }()
		_, err = io.CopyBuffer(untilCut{into}, struct{ io.Reader }{inUTF8(&stoppable{ctx, f})}, make([]byte, requestBlock))
	}()
	return func() error {
		<-done
		if panicked != nil {
			panic(panicked) // on the caller's goroutine, which may know what to do
		}
		if errors.Is(err, errNoRequests) {
			return nil
		}
		return err
	}
}

// inUTF8 gives UTF-16 that begins with its mark as UTF-8, and any other text as it is.
func inUTF8(r io.Reader) io.Reader {
	b := bufio.NewReaderSize(r, requestBlock)
	if mark, err := b.Peek(2); err == nil && (mark[0] == 0xff && mark[1] == 0xfe || mark[0] == 0xfe && mark[1] == 0xff) {
		return transform.NewReader(b, unicode.BOMOverride(transform.Nop))
	}
	return b
}
