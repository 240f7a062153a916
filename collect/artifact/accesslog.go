package artifact

import (
	"bufio"
	"fmt"
	"io"

	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"

	"github.com/meshdiag/meshdiag/collect/accesslog"
	"github.com/meshdiag/meshdiag/evidence"
)

// watched gives r as it is read for its messages, and counts the access log entries in what is read. What it gives is UTF-8.
func (in *input) watched(r io.Reader, src evidence.Source) (io.Reader, *accesslog.Groups) {
	b := bufio.NewReader(r)
	if mark, err := b.Peek(2); err == nil && hasUTF16Mark(mark) {
		r = transform.NewReader(b, unicode.BOMOverride(transform.Nop))
	} else {
		r = b
	}
	groups := accesslog.New(in.name, src)
	return io.TeeReader(r, groups), groups
}

// putRequests records the access log entries of a log, and gives what to say of them; "" where there are none.
func (in *input) putRequests(groups *accesslog.Groups, src evidence.Source) string {
	list := groups.List()
	if len(list) == 0 {
		return ""
	}
	evidence.Put(in.set, evidence.AccessLogs, list, src)
	note := "; " + count(groups.Entries(), "request") + " of an access log"
	if n := groups.Dropped(); n > 0 {
		note += fmt.Sprintf(", %d of them left out", n)
	}
	return note
}
