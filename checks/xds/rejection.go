package xds

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// rejectionNeeds and rejectionSignatures are what every check about a rejection reads.
var (
	rejectionNeeds      = []evidence.Name{evidence.ClientStatuses.Name(), evidence.LogMessages.Name()}
	rejectionSignatures = []diagnose.Signature{
		messages.EnvoyConfigRejected, messages.EnvoyUpdateError, messages.EnvoyFileDenied, messages.EnvoyBindFailed,
		messages.EnvoyDuplicateListener, messages.EnvoyDuplicateDomain, messages.GRPCNack, messages.GRPCJavaRejected, messages.GRPCJavaReason,
		messages.IstiodNack, messages.EnvoyListenerAccepted, messages.EnvoyClustersAccepted, messages.GRPCAck,
		messages.IstiodAck,
	}
)

// rejection is one reason for which one client (or the client behind one log) refused resources of one type.
type rejection struct {
	client string // node id; empty where a log doesn't say
	file   string // of a log
	log    bool   // a message says so, no status was seen
	bare   bool   // a listener failed, and nothing says that it came over xDS
	typ    string // "Listener"
	names  []string
	others []string // of the same response: marked as well, and not named by the reason
	reason string   // empty where nobody told it
	norm   string   // what tells the reason from others; the same for clients with the same trouble
	when   time.Time
	kept   bool // the client goes on with an earlier version
	shown  []diagnose.Exhibit
	agent  string // what the client says it is: "envoy", "gRPC Go"; empty where it doesn't, and in a group of several kinds
}

// rejections gives every rejection that stands, in a fixed order, and of how many clients the status is known. What was
// accepted since is left out. The error says why nothing can be concluded from finding none.
func rejections(req diagnose.Request, v *evidence.View) ([]rejection, int, error) {
	var t evidence.Tally
	statuses, haveStatus := evidence.Read(&t, v, evidence.ClientStatuses)
	logs, _ := evidence.Read(&t, v, evidence.LogMessages)
	err := t.Err()
	if err == nil && haveStatus {
		err = undecided(v, statuses)
	}
	out := fromStatuses(statuses)
	out = attribute(req.Target.NodeID, out, fromLogs(logs), statuses)
	return out, clientCount(statuses), err
}

// undecided says why statuses don't clear anyone: some source failed, or none of them holds a status.
func undecided(v *evidence.View, statuses []evidence.ClientStatus) error {
	if _, err := evidence.Whole(v, evidence.ClientStatuses); err != nil {
		return err
	}
	some := false
	for _, s := range statuses {
		for _, r := range s.Resources {
			some = true
			if r.Server > evidence.ServerUnknown || r.Client > evidence.ClientUnknown || r.Static || r.Reason != "" {
				return nil
			}
		}
	}
	if some {
		return errors.New("the status of every resource is unknown in the answers")
	}
	return nil
}

func clientCount(statuses []evidence.ClientStatus) int {
	ids := map[string]bool{}
	for _, s := range statuses {
		ids[s.Client.NodeID] = true
	}
	return len(ids)
}

// refused says whether a resource's status is a rejection. A dump of a proxy's configuration carries a reason alone.
func refused(r evidence.Resource) bool {
	switch {
	case r.Static:
		return false
	case r.Client == evidence.Nacked, r.Client == evidence.ReceivedError:
		return true
	case r.Client != evidence.ClientViewAbsent && r.Client != evidence.ClientUnknown:
		return false // the client's own word on itself goes before the control plane's
	case r.Server == evidence.Error:
		return true
	default:
		return r.Server == evidence.ServerViewAbsent && r.Reason != ""
	}
}

// accepted says whether a resource's status is an acceptance.
func accepted(r evidence.Resource) bool {
	return !refused(r) && (r.Client == evidence.Acked || (r.Client == evidence.ClientViewAbsent && r.Server == evidence.Synced))
}

// seen is one resource with the status that it is from.
type seen struct {
	evidence.Resource
	in *evidence.ClientStatus
}

// fromStatuses gives the rejections that CSDS, or a client's dump, tells.
func fromStatuses(statuses []evidence.ClientStatus) []rejection {
	type place struct{ client, scope, typ string }
	bad, good := map[place][]seen{}, map[place][]seen{}
	var order []place
	for i := range statuses {
		s := &statuses[i]
		for _, r := range s.Resources {
			p := place{s.Client.NodeID, s.ClientScope, r.Type()}
			switch {
			case accepted(r):
				good[p] = append(good[p], seen{r, s})
			case refused(r):
				if bad[p] == nil {
					order = append(order, p)
				}
				bad[p] = append(bad[p], seen{r, s})
			}
		}
	}
	var out []rejection
	for _, p := range order {
		standing := slices.DeleteFunc(bad[p], func(b seen) bool {
			return slices.ContainsFunc(good[p], func(g seen) bool { return (b.Name == g.Name || b.Name == "") && since(b, g) })
		})
		out = append(out, ofType(p.client, p.typ, standing)...)
	}
	return out
}

// since says whether g, accepted, came after b, rejected: in a later answer, or by its own time or version in the same.
func since(b, g seen) bool {
	if b.in.Source.Pasted != g.in.Source.Pasted {
		return b.in.Source.Pasted // what is live now goes before what a file says
	}
	if x, y := b.in.Asked, g.in.Asked; !x.IsZero() && !y.IsZero() && !x.Equal(y) {
		return y.After(x)
	}
	failed := b.ReasonTime
	if failed.IsZero() {
		failed = b.LastUpdated
	}
	if !failed.IsZero() && !g.LastUpdated.IsZero() {
		return g.LastUpdated.After(failed)
	}
	// Traffic Director counts versions in nanoseconds of time.
	x, errX := strconv.ParseUint(b.Version, 10, 64)
	y, errY := strconv.ParseUint(g.Version, 10, 64)
	return errX == nil && errY == nil && y > x
}

// ofType sorts one client's rejected resources of one type by reason. A client rejects a response as a whole, so resources
// without a reason are those that were rejected along with the others, where any other has one.
func ofType(client, typ string, bad []seen) []rejection {
	var out []rejection
	at := map[string]int{}
	var silent []seen
	add := func(reason, name string, s seen) {
		k := normal(reason, name, client)
		i, ok := at[k]
		if !ok {
			i = len(out)
			at[k] = i
			out = append(out, rejection{client: client, typ: typ, reason: reason, norm: k, kept: true, agent: s.in.Client.UserAgentName})
		}
		r := &out[i]
		if name != "" && !slices.Contains(r.names, name) {
			r.names = append(r.names, name)
		}
		r.mark(s)
	}
	for _, s := range bad {
		if strings.TrimSpace(s.Reason) == "" {
			silent = append(silent, s)
			continue
		}
		for _, f := range faults(s.Reason) {
			name := f.resource
			if name == "" {
				name = s.Name
			}
			add(f.reason, name, s)
		}
	}
	if len(out) == 0 {
		for _, s := range silent {
			add("", s.Name, s)
		}
		silent = nil
	}
	for i := range out {
		for _, s := range append(slices.Clone(bad), silent...) {
			if s.Name != "" && !slices.Contains(out[i].names, s.Name) && !slices.Contains(out[i].others, s.Name) {
				out[i].others = append(out[i].others, s.Name)
			}
		}
		slices.Sort(out[i].names)
		slices.Sort(out[i].others)
	}
	return out
}

// mark notes a rejected resource in the rejection it belongs to.
func (r *rejection) mark(s seen) {
	when := s.ReasonTime
	if when.IsZero() {
		when = s.LastUpdated
	}
	if when.After(r.when) {
		r.when = when
	}
	// A client's own view gives the version that it goes on with, none where it never had one.
	if s.Client != evidence.Nacked || s.Version == "" {
		r.kept = false
	}
	r.shown = show(r.shown, s)
}

// show adds a resource's state to what is shown: to the exhibit of the same answer, where there is one, in which what was
// said already isn't said again.
func show(l []diagnose.Exhibit, s seen) []diagnose.Exhibit {
	x := s.excerpt()
	if n := len(l); n > 0 && l[n-1].Fact == evidence.ClientStatuses.Name() && l[n-1].Source == s.in.Source {
		if has := l[n-1].Excerpt; !strings.Contains(has, x) && strings.Count(has, "\n")+strings.Count(x, "\n")+2 <= maxLines {
			l[n-1].Excerpt = has + "\n" + x
		}
		return l
	}
	if len(l) >= maxShown {
		return l
	}
	return append(l, diagnose.Exhibit{Fact: evidence.ClientStatuses.Name(), Excerpt: x, Source: s.in.Source})
}

// excerpt tells a resource's state in a line, and the reason in the next.
func (s seen) excerpt() string {
	var b strings.Builder
	b.WriteString(s.Type())
	if s.Name != "" {
		b.WriteString(" " + s.Name)
	}
	b.WriteString(": " + s.state())
	if s.Version != "" {
		b.WriteString(", version " + s.Version)
	}
	if !s.LastUpdated.IsZero() {
		b.WriteString(", last updated " + s.LastUpdated.UTC().Format(time.RFC3339))
	}
	if s.Samples > 1 {
		b.WriteString(", the same in " + strconv.Itoa(s.Samples) + " samples over " + s.SampleSpan.Round(time.Millisecond).String())
	}
	if s.in.ClientScope != "" {
		b.WriteString(", channel " + s.in.ClientScope)
	}
	if !strings.Contains(s.in.Source.Detail, s.in.Client.NodeID) {
		b.WriteString(", client " + s.in.Client.NodeID)
	}
	if s.Reason != "" {
		b.WriteString("\n" + clip(oneLine(s.Reason), maxReason))
	}
	return b.String()
}

// state names the status as CSDS does, and whose view it is.
func (s seen) state() string {
	var p []string
	if s.Server != evidence.ServerViewAbsent {
		p = append(p, s.Server.String()+" as the control plane sees it")
	}
	if s.Client != evidence.ClientViewAbsent {
		p = append(p, s.Client.String()+" as the client sees it")
	}
	if len(p) == 0 {
		return "error_state"
	}
	return strings.Join(p, ", ")
}
