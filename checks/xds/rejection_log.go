package xds

import (
	"cmp"
	"slices"
	"strings"

	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// shortTypes are the names that logs give types, other than the last part of their URL.
var shortTypes = map[string]string{
	"LDS": "Listener", "RDS": "RouteConfiguration", "CDS": "Cluster", "EDS": "ClusterLoadAssignment",
	"SDS": "Secret", "SRDS": "ScopedRouteConfiguration", "ECDS": "TypedExtensionConfig",
	"ListenerResource": "Listener", "RouteConfigResource": "RouteConfiguration", "RouteConfigurationResource": "RouteConfiguration",
	"ClusterResource": "Cluster", "EndpointsResource": "ClusterLoadAssignment",
	"listener": "Listener", "cluster": "Cluster",
}

// typeOf gives the resource type that a message is about; "" where it doesn't say.
func typeOf(m evidence.LogMessage) string {
	for _, f := range []string{"type_url", "xds", "kind"} {
		if s := m.Fields[f]; s != "" {
			s = evidence.Resource{TypeURL: s}.Type()
			if long, ok := shortTypes[s]; ok {
				return long
			}
			return s
		}
	}
	return ""
}

// isHead says whether a message begins a rejection, isTail whether it may continue one on the next line.
func isHead(m evidence.LogMessage) bool {
	switch m.Signature {
	case messages.EnvoyConfigRejected.ID, messages.GRPCNack.ID, messages.GRPCJavaRejected.ID, messages.IstiodNack.ID:
		return true
	}
	return false
}

func isTail(m evidence.LogMessage) bool {
	switch m.Signature {
	case messages.EnvoyUpdateError.ID, messages.EnvoyFileDenied.ID, messages.EnvoyBindFailed.ID,
		messages.EnvoyDuplicateListener.ID, messages.EnvoyDuplicateDomain.ID, messages.GRPCJavaReason.ID:
		return true
	}
	return false
}

// chain is a rejection as logged: its first line, and those that carry its details on.
type chain struct {
	head evidence.LogMessage
	tail []evidence.LogMessage
}

func (c chain) last() evidence.LogMessage {
	if n := len(c.tail); n > 0 {
		return c.tail[n-1]
	}
	return c.head
}

// chains puts the messages of one file together, in its order.
func chains(file []evidence.LogMessage) []chain {
	l := slices.DeleteFunc(slices.Clone(file), func(m evidence.LogMessage) bool { return !isHead(m) && !isTail(m) })
	// On one line the message that begins a rejection goes first, then the head of Envoy's details: they hold the others.
	rank := func(m evidence.LogMessage) int {
		switch {
		case isHead(m):
			return 0
		case m.Signature == messages.EnvoyUpdateError.ID:
			return 1
		}
		return 2
	}
	slices.SortStableFunc(l, func(a, b evidence.LogMessage) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(rank(a), rank(b)), strings.Compare(a.Signature, b.Signature), strings.Compare(a.Text, b.Text))
	})
	var out []chain
	line := -1
	for _, m := range l {
		switch {
		case m.Line == line && line > 0 && len(out) > 0:
			// The same line again, by another signature.
		case m.Line == line+1 && isTail(m) && len(out) > 0 && line > 0:
			c := &out[len(out)-1]
			c.tail = append(c.tail, m)
		default:
			out = append(out, chain{head: m})
		}
		line = m.Line
	}
	return out
}

// fromLogs gives the rejections that logs tell and that nothing later in the same log takes back.
func fromLogs(logs []evidence.LogMessage) []rejection {
	var files []string
	by := map[string][]evidence.LogMessage{}
	for _, m := range logs {
		if by[m.File] == nil {
			files = append(files, m.File)
		}
		by[m.File] = append(by[m.File], m)
	}
	var out []rejection
	for _, f := range files {
		for _, c := range chains(by[f]) {
			for _, r := range c.rejections(f) {
				if !takenBack(r, c, by[f]) {
					out = append(out, r)
				}
			}
		}
	}
	return out
}

// rejections reads a chain: one rejection a reason.
func (c chain) rejections(file string) []rejection {
	base := rejection{file: file, log: true, typ: typeOf(c.head), client: logClient(c.head), when: c.last().Last}
	text := detail(c.head)
	if c.head.Signature == messages.EnvoyFileDenied.ID || c.head.Signature == messages.EnvoyBindFailed.ID ||
		c.head.Signature == messages.EnvoyDuplicateListener.ID {
		base.bare = true
		base.typ = "Listener"
	}
	excerpt := strings.TrimSpace(c.head.Text)
	if c.head.Signature == messages.EnvoyDuplicateDomain.ID {
		// By itself the line is the details of a rejection. Inside another it may as well be about a file's configuration.
		base.bare = !strings.HasPrefix(excerpt, "Only unique")
		base.typ = "RouteConfiguration"
	}
	src := c.head.Source
	for _, m := range c.tail {
		text += "\n" + detail(m)
		excerpt += "\n" + strings.TrimSpace(m.Text)
		if base.typ == "" {
			base.typ = typeOf(m)
		}
	}
	if base.typ == "" {
		base.typ = "Listener"
	}
	base.shown = []diagnose.Exhibit{{Fact: evidence.LogMessages.Name(), Excerpt: clip(excerpt, maxExcerpt), Source: src}}
	var out []rejection
	at := map[string]int{}
	for _, f := range faults(text) {
		k := normal(f.reason, f.resource, base.client)
		i, ok := at[k]
		if !ok {
			i = len(out)
			at[k] = i
			r := base
			r.reason, r.norm = f.reason, k
			out = append(out, r)
		}
		if f.resource != "" && !slices.Contains(out[i].names, f.resource) {
			out[i].names = append(out[i].names, f.resource)
		}
	}
	if len(out) == 0 {
		out = append(out, base)
	}
	return out
}

// detail gives the part of a message that says why.
func detail(m evidence.LogMessage) string {
	var d string
	switch m.Signature {
	case messages.EnvoyUpdateError.ID:
		d = "Error adding/updating " + m.Fields["kind"] + "(s) " + m.Fields["details"]
	case messages.EnvoyFileDenied.ID, messages.EnvoyBindFailed.ID, messages.EnvoyDuplicateListener.ID, messages.EnvoyDuplicateDomain.ID,
		messages.GRPCJavaReason.ID:
		d = m.Text
		// A line of its own is the details; on a line with a time and a level in front, the message begins behind them.
		if strings.HasPrefix(d, "[") || strings.HasPrefix(d, "{") || strings.Contains(d, "\t") {
			d = core(m)
		}
	default:
		d = m.Fields["details"]
	}
	if strings.HasPrefix(strings.TrimSpace(m.Text), "{") {
		d = untilQuote(d)
	}
	return strings.TrimSpace(d)
}

// core rebuilds a reason from a message's fields.
func core(m evidence.LogMessage) string {
	f := m.Fields
	switch m.Signature {
	case messages.EnvoyFileDenied.ID:
		return "unable to open file '" + f["path"] + "': Permission denied"
	case messages.EnvoyBindFailed.ID:
		return "cannot bind '" + f["address"] + "': " + f["error"]
	case messages.EnvoyDuplicateDomain.ID:
		return "Only unique values for domains are permitted. Duplicate entry of domain " + f["domain"]
	case messages.GRPCJavaReason.ID:
		return f["xds"] + " response resource '" + f["resource"] + "' validation error: " + f["details"]
	}
	if f["name"] != "" {
		return "duplicate listener " + f["name"] + " found"
	}
	return "error adding listener: '" + f["listener"] + "' has duplicate address '" + f["address"] + "'"
}

// untilQuote cuts text out of a JSON string: up to the quote that ends it.
func untilQuote(s string) string {
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return s[:i]
		}
	}
	return s
}

// logClient gives the client that a message names: istiod's connection id is the node id with a counter.
func logClient(m evidence.LogMessage) string {
	id := m.Fields["node"]
	if i := strings.LastIndexByte(id, '-'); i > 0 && evidence.Numeric(id[i+1:]) {
		id = id[:i]
	}
	return id
}

// takenBack says whether the log goes on with an acceptance.
//
// State-of-the-world responses of listeners and clusters hold them all, so any later acceptance of the type will do. An
// incremental one speaks of what it names alone.
func takenBack(r rejection, c chain, file []evidence.LogMessage) bool {
	after := max(c.last().LastLine, c.last().Line)
	delta := c.head.Fields["form"] == "delta"
	return slices.ContainsFunc(file, func(m evidence.LogMessage) bool {
		if max(m.LastLine, m.Line) <= after {
			return false
		}
		switch m.Signature {
		case messages.EnvoyListenerAccepted.ID:
			return r.typ == "Listener" && m.Fields["skipped"] == "" &&
				(!delta || len(r.names) == 0 || slices.Contains(r.names, m.Fields["name"]))
		case messages.EnvoyClustersAccepted.ID:
			return r.typ == "Cluster" && !delta
		case messages.GRPCAck.ID:
			return c.head.Signature == messages.GRPCNack.ID && typeOf(m) == r.typ
		case messages.IstiodAck.ID:
			return c.head.Signature == messages.IstiodNack.ID && typeOf(m) == r.typ && logClient(m) == r.client
		}
		return false
	})
}

// attribute joins what logs say with what statuses say, where it is plain which client wrote the log: the one asked about,
// or the only one known where it has rejected resources of that type.
func attribute(asked string, status, logs []rejection, statuses []evidence.ClientStatus) []rejection {
	only := ""
	if clientCount(statuses) == 1 {
		only = statuses[0].Client.NodeID
	}
	out := slices.Clone(status)
	for _, l := range logs {
		if l.client == "" && asked != "" {
			l.client = asked
		}
		if l.client == "" && only != "" && slices.ContainsFunc(status, func(s rejection) bool { return s.client == only && s.typ == l.typ }) {
			l.client = only
		}
		if l.client == "" || !slices.ContainsFunc(statuses, func(s evidence.ClientStatus) bool { return s.Client.NodeID == l.client }) {
			out = append(out, l)
			continue
		}
		if acceptedSince(l, statuses) {
			continue
		}
		out = join(out, l)
	}
	return out
}

// acceptedSince says whether a live status of the client, taken after the log's last word, shows the type accepted.
func acceptedSince(l rejection, statuses []evidence.ClientStatus) bool {
	any := false
	for _, s := range statuses {
		if s.Client.NodeID != l.client || s.Source.Pasted || (!l.when.IsZero() && !s.Asked.After(l.when)) {
			continue
		}
		for _, r := range s.Resources {
			if r.Type() != l.typ || r.Static {
				continue
			}
			if !accepted(r) {
				return false
			}
			any = true
		}
	}
	return any
}

// join adds a logged rejection to that of the same client, type and reason, or to one that lacks the reason.
func join(list []rejection, l rejection) []rejection {
	for i := range list {
		s := &list[i]
		if s.client != l.client || s.typ != l.typ || (s.reason != "" && s.norm != l.norm) {
			continue
		}
		if s.reason == "" {
			s.reason, s.norm = l.reason, l.norm
			if len(l.names) > 0 {
				for _, n := range s.names {
					if !slices.Contains(l.names, n) {
						s.others = append(s.others, n)
					}
				}
				s.names = l.names
			}
		}
		s.shown = append(s.shown, l.shown...)
		s.bare = false
		return list
	}
	return append(list, l)
}
