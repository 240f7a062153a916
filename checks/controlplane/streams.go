package controlplane

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/meshdiag/meshdiag/checks/messages"
	"github.com/meshdiag/meshdiag/diagnose"
	"github.com/meshdiag/meshdiag/evidence"
)

// The gRPC status codes that checks tell apart.
// https://grpc.io/docs/guides/status-codes/
const (
	codeUnknown            = -1 // the message carries none
	codeInvalidArgument    = 3
	codeNotFound           = 5
	codePermissionDenied   = 7
	codeResourceExhausted  = 8
	codeFailedPrecondition = 9
	codeUnimplemented      = 12
	codeInternal           = 13
	codeUnavailable        = 14
	codeUnauthenticated    = 16
)

// codeNames are the codes by name, without underscores and in lower case: grpc-go writes "PermissionDenied", others
// "PERMISSION_DENIED".
var codeNames = []string{
	"ok", "canceled", "unknown", "invalidargument", "deadlineexceeded", "notfound", "alreadyexists", "permissiondenied",
	"resourceexhausted", "failedprecondition", "aborted", "outofrange", "unimplemented", "internal", "unavailable", "dataloss",
	"unauthenticated",
}

// loadReports is the method by which a proxy reports load; its failures leave the configuration alone.
const loadReports = "StreamLoadStats"

// closure is one kind of stream failure in one log, whatever program reported it.
type closure struct {
	evidence.LogMessage
	method string
	code   int
	text   string
	echo   bool // a line that repeats a failure to each of its watchers, so that its count says little
	lasts  bool // the line itself says that the failure persists
}

// closures gives the stream failures among messages, in their order; those that a success came with are left out.
func closures(msgs []evidence.LogMessage) []closure {
	var out []closure
	for _, m := range msgs {
		c := closure{LogMessage: m, code: codeUnknown, text: strings.TrimSpace(m.Fields["text"])}
		switch m.Signature {
		case messages.StreamClosed.ID:
			c.method, c.lasts = m.Fields["method"], m.Fields["again"] != ""
			c.code = parseCode(m.Fields["code"])
		case messages.ADSFailed.ID:
			if afterAnswers(m) {
				continue // the stream had worked, and ended as streams do
			}
			c.echo = strings.HasPrefix(m.Fields["event"], "error received")
			c.code = named(m.Fields["status"], m.Fields["java"], m.Fields["core"])
			if c.code == codeUnknown {
				c.code = parseCode(m.Fields["code"])
			}
		default:
			continue
		}
		out = append(out, c)
	}
	return out
}

func parseCode(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		return codeUnknown
	}
	return n
}

func named(names ...string) int {
	for _, n := range names {
		if i := slices.Index(codeNames, strings.ToLower(strings.ReplaceAll(n, "_", ""))); i >= 0 {
			return i
		}
	}
	return codeUnknown
}

// routine says whether a closure is one of those by which healthy control planes end streams every half hour or so: code
// 13 without a text, and a connection that the server said goodbye to without an error.
// https://github.com/grpc/proposal/blob/master/A9-server-side-conn-mgt.md
func (c closure) routine() bool {
	switch {
	case c.code == 0:
		return true
	case c.code == codeInternal && c.text == "":
		return !c.rapid()
	case c.code == codeUnavailable || c.code == codeUnknown:
		return strings.Contains(c.text, "NO_ERROR") || strings.HasPrefix(c.text, "ADS stream closed by server")
	}
	return false
}

const (
	// rapidCount and rapidSeconds tell a stream that never holds from one that is renewed as a routine: control planes
	// renew them after half an hour, and Envoy's retries of a stream that fails are 30 s apart at most.
	rapidCount   = 5
	rapidSeconds = 60
)

// rapid says whether the closure came back so fast that it can't be the routine.
func (c closure) rapid() bool {
	if c.Count < rapidCount || c.First.IsZero() || c.Last.IsZero() {
		return false
	}
	return c.Last.Sub(c.First).Seconds()/float64(c.Count-1) < rapidSeconds
}

// after says whether the last of a came after the last of b, as far as the log's lines or times tell.
func after(a, b evidence.LogMessage) bool { return a.File == b.File && lastOf(a).after(b) }

// moment is a place in a log: a line, a time, or both.
type moment struct {
	line int
	at   time.Time
}

func lastOf(m evidence.LogMessage) moment { return moment{max(m.Line, m.LastLine), m.Last} }

// after says whether the moment comes after the last of m, of the same log.
func (t moment) after(m evidence.LogMessage) bool {
	o := lastOf(m)
	if t.line != 0 && o.line != 0 {
		return t.line > o.line
	}
	return !t.at.IsZero() && !o.at.IsZero() && t.at.After(o.at)
}

// successes are the last moments, by log, at which a stream is known to have worked.
type successes map[string]moment

// worked finds when streams last worked: the control plane answered, or a stream ended as a routine, which had been up.
func worked(msgs []evidence.LogMessage) successes {
	out := successes{}
	note := func(m evidence.LogMessage) {
		t, o := lastOf(m), out[m.File]
		if t.line > o.line {
			o.line = t.line
		}
		if t.at.After(o.at) {
			o.at = t.at
		}
		out[m.File] = o
	}
	for _, m := range msgs {
		if m.Signature == messages.StreamWorked.ID || afterAnswers(m) {
			note(m)
		}
	}
	for _, c := range closures(msgs) {
		if c.code != 0 && c.routine() {
			note(c.LogMessage)
		}
	}
	return out
}

// after says whether a stream worked after the last of m: then m is of the past.
func (s successes) after(m evidence.LogMessage) bool { return s[m.File].after(m) }

// afterAnswers says whether a message is grpc-go's word that a stream ended which had brought answers.
func afterAnswers(m evidence.LogMessage) bool {
	return m.Signature == messages.ADSFailed.ID && strings.HasPrefix(m.Fields["text"], "after having received")
}

// xdsCall says whether a refusal was, as far as its line says, one of an xDS stream, not of another call that the same
// program made.
func xdsCall(m evidence.LogMessage) bool {
	s := m.Fields["service"]
	return m.Fields["client"] == "" && (s == "" || s == "trafficdirector" || s == "meshconfig")
}

// The texts that checks know by themselves, as they stand inside a closure's text.
var (
	scopesText      = regexp.MustCompile(messages.InsufficientScopes.Pattern)
	permissionText  = regexp.MustCompile(messages.PermissionDenied.Pattern)
	apiText         = regexp.MustCompile(messages.APIDisabled.Pattern)
	credentialsText = regexp.MustCompile(messages.BadCredentials.Pattern)
	callerText      = regexp.MustCompile(`(?i)caller does not have permission`)
	tooLargeText    = regexp.MustCompile(`message (?:is )?larger than max|message length .* exceeds`)
)

// fileKey gives the key of a cause that rests on one log: the whole target where there is one log only.
func fileKey(msgs []evidence.LogMessage, file string) string {
	for _, m := range msgs {
		if m.File != file {
			return "files/" + file
		}
	}
	return ""
}

// proxyOf names the proxy that a log is of.
func proxyOf(req diagnose.Request, m evidence.LogMessage) string {
	switch {
	case m.Fields["node"] != "":
		return m.Fields["node"]
	case req.Target.NodeID != "":
		return req.Target.NodeID
	case m.File != "":
		return "the proxy that wrote " + m.File
	default:
		return "the proxy that wrote this message"
	}
}

// aboutProxy names the proxy that a log is of, where it says so itself.
func aboutProxy(m evidence.LogMessage) diagnose.About {
	return diagnose.About{diagnose.AboutNode: {m.Fields["node"]}}
}

// speaker gives the message of a group that names its node, the first one else.
func speaker(group []closure) evidence.LogMessage {
	for _, c := range group {
		if c.Fields["node"] != "" {
			return c.LogMessage
		}
	}
	return group[0].LogMessage
}

// quote shows a message as an exhibit.
func quote(m evidence.LogMessage) diagnose.Exhibit {
	where := m.File
	if where == "" {
		where = "text"
	}
	if m.Line > 0 {
		where += fmt.Sprintf(", line %d", m.Line)
	}
	if m.Count > 1 {
		where += fmt.Sprintf(" (%d times", m.Count)
		if m.LastLine > m.Line {
			where += fmt.Sprintf(", the last on line %d", m.LastLine)
		}
		where += ")"
	}
	return diagnose.Exhibit{Fact: evidence.LogMessages.Name(), Excerpt: where + ": " + clip(m.Text, maxExcerpt), Source: m.Source}
}

// inLog says where a summary's words come from.
func inLog(m evidence.LogMessage) string {
	if m.File == "" {
		return "the text given"
	}
	return m.File
}

const (
	maxExcerpt = 400 // bytes of a log line to show: enough for Google's longest refusals
	maxWords   = 120 // bytes of a server's words in a summary of about 200
)

// clip cuts a text on a rune's border.
func clip(s string, n int) string {
	s = strings.TrimSpace(s)
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}

// byFile groups closures by log, in the order of their first lines; it keeps the order of files too.
func byFile(list []closure) [][]closure {
	var files []string
	groups := map[string][]closure{}
	for _, c := range list {
		if _, ok := groups[c.File]; !ok {
			files = append(files, c.File)
		}
		groups[c.File] = append(groups[c.File], c)
	}
	slices.Sort(files)
	out := make([][]closure, 0, len(files))
	for _, f := range files {
		out = append(out, groups[f])
	}
	return out
}

// pastedLines is how many lines a text has at most that somebody pasted for one message in it, with what stands around it.
const pastedLines = 5

// pastedAlone says whether a message is what a short text was pasted for: it came once, and there is no log around it that
// could tell whether the failure passed.
func pastedAlone(m evidence.LogMessage) bool { return m.Of > 0 && m.Of <= pastedLines && m.Count <= 1 }

// The texts that tell by themselves that no connection was made. A connection that ended isn't among them: servers end them
// when they restart. Neither is "no healthy upstream", which Envoy says once while it starts.
var (
	unresolvedText  = regexp.MustCompile(`no such host|[Dd]omain name does not exist|DNS resolution failed|[Nn]ame or service not known`)
	unconnectedText = regexp.MustCompile(`i/o timeout|connection refused|no route to host|network is unreachable|reset reason: (?:local |remote )?connection (?:failure|timeout)|` +
		`failed to connect to (?:upstream|all addresses)|failed to create upstream grpc client`)
)

// Codes with which a server turns a request down for what it is, so that it will not pass by itself.
var refusals = []int{codeInvalidArgument, codePermissionDenied, codeFailedPrecondition, codeUnimplemented}

// explicit says whether a single failure tells by itself that something is wrong.
func (c closure) explicit() bool {
	if c.method == loadReports || notFoundText.MatchString(c.text) {
		return false
	}
	return unresolvedText.MatchString(c.text) || unconnectedText.MatchString(c.text) || c.text != "" && slices.Contains(refusals, c.code)
}

// echoSpan is over how long echoes of failures must be spread to tell of more than one: grpc-go tells each watcher of one
// failure within milliseconds, and waits no longer than two minutes before it tries again.
const echoSpan = time.Minute

// times counts how often the failures of a group came, not counting one failure for each of its watchers.
func times(list []closure) int {
	n, echoes := 0, 0
	for _, c := range list {
		switch {
		case !c.echo:
			n += max(c.Count, 1)
		case !c.First.IsZero() && c.Last.Sub(c.First) >= echoSpan:
			echoes = max(echoes, 2)
		default:
			echoes = max(echoes, 1)
		}
		if c.lasts {
			n++ // "closed since 52s ago": the first one was reported at debug level
		}
	}
	return max(n, echoes)
}
