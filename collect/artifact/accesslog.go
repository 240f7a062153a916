package artifact

import (
	"fmt"

	"github.com/meshdiag/meshdiag/collect/accesslog"
	"github.com/meshdiag/meshdiag/evidence"
)

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
